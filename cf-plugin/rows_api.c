/* SPDX-License-Identifier: Apache-2.0 */
/* See rows_api.h.  Called by the subcommands of `rows` and `aggregator`. */
#include "cf-plugin/rows_api.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cf-plugin/control.h"
#include "lib/file.h"
#include "lib/json.h"

#define REPLY_MAX ((size_t)64 << 20) /* bytes of a document */
#define DEPTH_MAX 16                 /* nesting of one */
#define TOKEN_MAX 4096               /* bytes */
#define FIELDS_MAX 16                /* of a request, ours included */
#define NAME_MAX_BYTES 256           /* of a row */

struct rows_options rows_options;

/* ----------------------------------------------------------------- the options */

static bool is_url(const char *text)
{
	struct mp_str url = slice_of(text);

	return text[0] == '/' || ((slice_starts(url, MP_LIT("http://")) || slice_starts(url, MP_LIT("https://"))) &&
				  !strpbrk(strstr(text, "//") + 2, "/?# @") && strstr(text, "//")[2]);
}

static int bad_url(const struct rows_api *api, const char *url)
{
	char quoted[128];

	return cli_usage(api->command, "--url (or MIDDLEPIPE_AGGREGATOR) wants http://HOST:PORT, https://HOST:PORT or "
			 "the path of a socket, not %s", slice_quote(quoted, sizeof(quoted), slice_of(url)));
}

static int read_urls(struct rows_api *api)
{
	char *save = NULL;

	api->list = slice_dup(slice_of(rows_options.urls));
	if (!api->list)
		return cli_fail(api->command, CLI_FAILED, "out of memory");
	for (char *url = strtok_r(api->list, ",", &save); url; url = strtok_r(NULL, ",", &save)) {
		size_t len = strlen(url);

		if (api->n == ROWS_URLS_MAX)
			return cli_usage(api->command, "--url: %d aggregators at most", ROWS_URLS_MAX);
		if (len > 1 && url[len - 1] == '/')
			url[len - 1] = '\0';
		if (!is_url(url))
			return bad_url(api, url);
		api->url[api->n++] = url;
	}
	return api->n ? CLI_OK : bad_url(api, rows_options.urls);
}

/* The first line of the file, as a field. */
static int read_token(struct rows_api *api)
{
	struct mp_str token, rest;
	struct err err = { 0 };
	struct buf text;
	int code = CLI_OK;

	if (!rows_options.token_file)
		return CLI_OK;
	if (file_read(rows_options.token_file, TOKEN_MAX, &text, &err) < 0)
		return cli_fail(api->command, CLI_FAILED, "--token-file: %s", err.text);
	(void)slice_cut(buf_slice(&text), '\n', &token, &rest);
	token = slice_trim(token);
	for (size_t i = 0; i < token.len; i++) {
		if (token.ptr[i] <= ' ' || token.ptr[i] > '~')
			code = CLI_FAILED;
	}
	if (code || !token.len)
		code = cli_fail(api->command, CLI_FAILED, "--token-file: the first line of %s is no token (printable "
				"ASCII without blanks)", rows_options.token_file);
	else
		(void)snprintf(api->authorization, sizeof(api->authorization), "Authorization: Bearer %.*s",
			       SLICE_ARG(token));
	explicit_bzero(text.ptr, text.len);
	buf_fini(&text);
	return code;
}

static int check_file(const struct rows_api *api, const char *option, const char *path)
{
	if (!path || !access(path, R_OK))
		return CLI_OK;
	return cli_fail(api->command, CLI_FAILED, "--%s: %s: %s", option, path, strerror(errno));
}

int rows_api_init(struct rows_api *api, const struct opt_command *command)
{
	int code;

	*api = (struct rows_api){ .command = command };
	if (rows_options.key && !rows_options.cert)
		return cli_usage(command, "--cert-key needs --cert");
	code = read_urls(api);
	code = code ? code : read_token(api);
	code = code ? code : check_file(api, "ca", rows_options.ca);
	code = code ? code : check_file(api, "cert", rows_options.cert);
	code = code ? code : check_file(api, "cert-key", rows_options.key);
	if (code)
		rows_api_fini(api);
	return code;
}

bool rows_begin(struct rows_api *api, const struct opt_command *command, int min, int max, int argc, char **argv,
		struct cli_words *ret, int *ret_code)
{
	if (!cli_options(command, min, max, argc, argv, ret, ret_code))
		return false;
	*ret_code = rows_api_init(api, command);
	return *ret_code == CLI_OK;
}

void rows_api_fini(struct rows_api *api)
{
	explicit_bzero(api->authorization, sizeof(api->authorization));
	free(api->list);
	*api = (struct rows_api){ .command = api->command };
}

/* -------------------------------------------------------------------- the calls */

int rows_send(const struct rows_api *api, size_t at, const struct rows_call *call, struct http_reply *ret,
	      struct err *err)
{
	const char *fields[FIELDS_MAX], *base = api->url[at];
	size_t n = 0;
	struct buf url;
	int rc;
	struct http_request request = {
		.unix_socket = base[0] == '/' ? base : NULL,
		.method = call->method, .headers = fields, .body = call->body, .timeout_ms = call->timeout_ms,
		.max_reply = REPLY_MAX, .ca_file = rows_options.ca, .cert_file = rows_options.cert,
		.key_file = rows_options.key, .on_part = call->on_part, .ctx = call->ctx, .idle_s = call->idle_s,
	};

	for (; call->fields && call->fields[n] && n + 2 < FIELDS_MAX; n++)
		fields[n] = call->fields[n];
	if (api->authorization[0])
		fields[n++] = api->authorization;
	fields[n] = NULL;
	buf_init(&url, ROWS_PATH_MAX + 4096);
	(void)buf_printf(&url, "%s%s", base[0] == '/' ? "http://localhost" : base, call->path);
	request.url = buf_str(&url);
	rc = url.error ? err_set(err, url.error, "the URL is too long") : http_call(&request, ret, err);
	buf_fini(&url);
	return rc;
}

bool rows_unsent(int rc)
{
	return rc == -ECONNREFUSED || rc == -ECONNABORTED;
}

static bool changes(const struct rows_call *call)
{
	return call->method ? strcmp(call->method, "GET") != 0 : call->body.ptr != NULL;
}

/* A change may have been done there, and of a stream some was given. */
static bool repeatable(const struct rows_call *call, int rc)
{
	return rows_unsent(rc) || (!changes(call) && !call->on_part);
}

int rows_ask(struct rows_api *api, const struct rows_call *call, struct http_reply *ret, struct err *err)
{
	bool have = false;
	int rc = -ECONNREFUSED;

	for (size_t i = 0; i < api->n; i++) {
		size_t at = (api->at + i) % api->n;
		struct http_reply reply = { 0 };

		rc = rows_send(api, at, call, &reply, err);
		if (rc && !repeatable(call, rc))
			break;
		if (rc)
			continue;
		if (have)
			http_reply_fini(ret);
		*ret = reply;
		have = true;
		if (reply.status == 503 || (!changes(call) && rows_in_doubt(reply.status)))
			continue;
		api->at = at;
		return 0;
	}
	if (have && rc && !repeatable(call, rc)) {
		http_reply_fini(ret);
		have = false;
	}
	return have ? 0 : rc; /* an answer tells more than a closed door */
}

int rows_failed(const struct rows_api *api, int rc, bool change, const struct err *err)
{
	const char *more = "";

	if (change && !rows_unsent(rc))
		return cli_fail(api->command, ROWS_UNKNOWN, "%s; it is unknown whether it was done", err->text);
	if (rc == -ECONNREFUSED && api->n == 1 && !strcmp(api->url[0], ROWS_DEFAULT_URL))
		more = "; start one with 'middlepipe aggregator start', or name one by --url";
	return cli_fail(api->command, CLI_FAILED, "%s%s", err->text, more);
}

/* The exit code of an answer that is not 2xx. */
static int not_done(const struct rows_api *api, const struct rows_call *call, const struct http_reply *reply)
{
	int code = rows_refused(api, reply);

	if (!changes(call) || !rows_in_doubt(reply->status))
		return code;
	fprintf(stderr, "  it is unknown whether it was done\n");
	return ROWS_UNKNOWN;
}

int rows_document(struct rows_api *api, const struct rows_call *call, json_t **ret)
{
	struct http_reply reply;
	struct err err = { 0 };
	int code = CLI_OK, rc = rows_ask(api, call, &reply, &err);

	if (rc)
		return rows_failed(api, rc, changes(call), &err);
	if (reply.status / 100 != 2)
		code = not_done(api, call, &reply);
	else if (json_load_text(buf_slice(&reply.body), REPLY_MAX, DEPTH_MAX, ret, &err))
		code = cli_fail(api->command, changes(call) ? ROWS_UNKNOWN : CLI_FAILED, "%s: the answer (status %d): %s",
				api->url[api->at], reply.status, err.text);
	http_reply_fini(&reply);
	return code;
}

int rows_get_document(struct rows_api *api, const char *path, json_t **ret)
{
	return rows_document(api, &(struct rows_call){ .path = path }, ret);
}

/* ------------------------------------------------------------------ the refusals */

bool rows_in_doubt(int status)
{
	return status >= 500 && status != 503 && status != 507;
}

bool rows_again(int status)
{
	return status == 429 || status == 503 || rows_in_doubt(status);
}

static int exit_code(int status)
{
	if (status == 404 || status == 410)
		return ROWS_NOT_THERE;
	return status < 400 || status == 503 || rows_in_doubt(status) ? CLI_FAILED : ROWS_REFUSED;
}

/* What can be done about it, or NULL. */
static const char *hint(int status)
{
	static const struct { int status; const char *text; } hints[] = {
		{ 401, "say who you are: --token-file or --cert" },
		{ 403, "this token or certificate has no right to it" },
		{ 405, "is that an aggregator of this version?" },
		{ 503, "try again; 'middlepipe rows doctor' says what is wrong" },
		{ 507, "'middlepipe rows doctor' says what is full" },
	};

	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (hints[i].status == status)
			return hints[i].text;
	}
	return NULL;
}

int rows_refused(const struct rows_api *api, const struct http_reply *reply)
{
	CLEANUP_JSON json_t *document = NULL;
	const char *text = hint(reply->status);
	char quoted[160];

	if (!json_load_text(buf_slice(&reply->body), REPLY_MAX, DEPTH_MAX, &document, NULL) &&
	    rows_text(document, "error")[0])
		cli_fail(api->command, 0, "%s (%d %s)", rows_text(document, "error"), reply->status,
			 rows_text(document, "code"));
	else
		cli_fail(api->command, 0, "answered with status %d and %s", reply->status,
			 slice_quote(quoted, sizeof(quoted), buf_slice(&reply->body)));
	if (text)
		fprintf(stderr, "  %s\n", text);
	return exit_code(reply->status);
}

/* ----------------------------------------------------------------------- texts */

int rows_path(const struct rows_api *api, struct buf *out, const char *name, const char *more)
{
	buf_init(out, ROWS_PATH_MAX);
	(void)buf_add_str(out, "/v1/rows/");
	control_escape(out, name);
	(void)buf_add_str(out, more);
	if (name[0] && strlen(name) <= NAME_MAX_BYTES && !out->error)
		return CLI_OK;
	buf_fini(out);
	return cli_usage(api->command, "a row's name has 1 to %d bytes", NAME_MAX_BYTES);
}

const char *rows_text(const json_t *document, const char *member)
{
	const char *text = json_string_value(json_object_get(document, member));

	return text ? text : "";
}

json_int_t rows_number(const json_t *document, const char *member)
{
	return json_integer_value(json_object_get(document, member));
}
