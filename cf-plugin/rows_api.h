/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to aggregators (docs/rows-api.md), for `middlepipe rows` and
 * `middlepipe aggregator`: the options by which they are reached, the next one
 * when one does not answer, and what is said when they refuse.
 *
 * Blocking; one thread.
 */
#ifndef CF_PLUGIN_ROWS_API_H
#define CF_PLUGIN_ROWS_API_H

#include <jansson.h>

#include "cf-plugin/cli.h"
#include "lib/buf.h"
#include "lib/http_client.h"
#include "lib/slice.h"

#define ROWS_URLS_MAX 16            /* aggregators that can be named */
#define ROWS_PATH_MAX 4096          /* bytes of a path with its query */
#define ROWS_DEFAULT_URL "http://127.0.0.1:9780"

/* Exit codes besides those of cli.h. */
#define ROWS_NOT_THERE 3
#define ROWS_REFUSED 4
#define ROWS_UNKNOWN 5
#define ROWS_EXIT_CODES "0  success\n1  failure: not done\n2  wrong usage\n3  there is no such row or cell\n" \
			"4  the aggregator refuses it: rights, limits, a condition or a check\n" \
			"5  unknown whether it was done"

/* How aggregators are reached: what the options say; texts are borrowed. */
struct rows_options {
	const char *urls;       /* with commas */
	const char *token_file; /* its first line is the token; NULL: none */
	const char *ca, *cert, *key; /* PEM; NULL: not given */
	bool json;              /* print documents */
};

/* One process runs one command: all their tables write here. */
extern struct rows_options rows_options;

#define ROWS_REACH_OPTIONS \
	{ .name = "url", .letter = 'u', .type = OPT_STRING, .target = &rows_options.urls, .arg = "URL[,URL]", \
	  .def = ROWS_DEFAULT_URL, .env = "MIDDLEPIPE_AGGREGATOR", \
	  .help = "aggregators of the group: http://, https:// or the path of a socket; the next one is asked " \
		  "when one does not answer" }, \
	{ .name = "token-file", .type = OPT_STRING, .target = &rows_options.token_file, .arg = "FILE", \
	  .env = "MIDDLEPIPE_AGGREGATOR_TOKEN_FILE", .help = "whose first line is the bearer token" }, \
	ROWS_TLS_OPTIONS
#define ROWS_TLS_OPTIONS \
	{ .name = "ca", .type = OPT_STRING, .target = &rows_options.ca, .arg = "FILE", \
	  .help = "authorities of the aggregators' certificates (PEM; default: the system's)" }, \
	{ .name = "cert", .type = OPT_STRING, .target = &rows_options.cert, .arg = "FILE", \
	  .help = "certificate to show them (PEM)" }, \
	{ .name = "cert-key", .type = OPT_STRING, .target = &rows_options.key, .arg = "FILE", \
	  .help = "its key (PEM; default: in the file of --cert)" }
#define ROWS_JSON_OPTION \
	{ .name = "json", .letter = 'j', .type = OPT_FLAG, .target = &rows_options.json, \
	  .help = "print JSON" }
#define ROWS_OPTIONS ROWS_REACH_OPTIONS, ROWS_JSON_OPTION, CLI_MAN_OPTION

/* Those that can be reached. */
struct rows_api {
	const struct opt_command *command; /* for messages, borrowed */
	char *list;                        /* what url[] points into, owned */
	const char *url[ROWS_URLS_MAX];    /* "http://host:port" or "/path" */
	size_t n;                          /* of them */
	size_t at;                         /* the one that answered last */
	char authorization[4200];          /* the field; "" without a token */
};

/* A call.  All is borrowed. */
struct rows_call {
	const char *method;         /* NULL: GET, or POST with a body */
	const char *path;           /* "/v1/rows?limit=3" */
	const char *const *fields;  /* more "Name: value", NULL at the end; may be NULL */
	struct mp_str body;         /* ptr NULL: none */
	long timeout_ms;            /* 0: HTTP_TIMEOUT_MS */
	int (*on_part)(void *ctx, struct mp_str part); /* as in struct http_request */
	void *ctx;
	long idle_s;                /* likewise */
};

/* Reads what the options say.  CLI_OK, then rows_api_fini() is due; or the exit code, after the reason was printed. */
int rows_api_init(struct rows_api *api, const struct opt_command *command);
void rows_api_fini(struct rows_api *api);

/* cli_options() and rows_api_init() in one.  False: return *ret_code. */
bool rows_begin(struct rows_api *api, const struct opt_command *command, int min, int max, int argc, char **argv,
		struct cli_words *ret, int *ret_code);

/* One call to one aggregator, as http_call(). */
int rows_send(const struct rows_api *api, size_t at, const struct rows_call *call, struct http_reply *ret,
	      struct err *err);

/*
 * To the next aggregator when one is not there or answers 503, beginning with
 * the one that answered last; a change is not sent again when it may have been
 * done, a read whatever went wrong there.  As http_call().
 */
int rows_ask(struct rows_api *api, const struct rows_call *call, struct http_reply *ret, struct err *err);

/*
 * rows_ask() whose 2xx is a JSON document: CLI_OK and *ret, a new reference;
 * or the exit code, after the reason was printed.
 */
int rows_document(struct rows_api *api, const struct rows_call *call, json_t **ret);

/* From now on the next one is asked first. */
static inline void rows_next(struct rows_api *api)
{
	api->at = api->at + 1 < api->n ? api->at + 1 : 0;
}

/* rows_document() of a GET. */
int rows_get_document(struct rows_api *api, const char *path, json_t **ret);

/* The exit code of a call that failed so, or of a change; prints the reason. */
int rows_failed(const struct rows_api *api, int rc, bool change, const struct err *err);

/* The exit code of an answer that is none of what was asked for, but to a change in doubt; prints its reason. */
int rows_refused(const struct rows_api *api, const struct http_reply *reply);

/* True of a status by which a change may have been made, or not: a gateway on the way has them, too. */
bool rows_in_doubt(int status);

/* True of a status that may be another one soon, or elsewhere. */
bool rows_again(int status);

/* True when a call that failed so was never sent. */
bool rows_unsent(int rc);

/*
 * Begins `out` with "/v1/rows/NAME" and what `more` says; buf_fini() is due.
 * CLI_OK, or the exit code after it was said what a name may be.
 */
int rows_path(const struct rows_api *api, struct buf *out, const char *name, const char *more);

/* The text of a member of a document, "" when there is none; borrowed. */
const char *rows_text(const json_t *document, const char *member);
json_int_t rows_number(const json_t *document, const char *member);

#endif
