/* SPDX-License-Identifier: Apache-2.0 */
/*
 * middlepipe rows put: cells into a row, once, whatever happens on the way.
 *
 * A put has an idempotency key and a base (docs/rows-api.md): with both it can
 * be sent again, here or to another aggregator, and is applied once.  Whether
 * it was done is known from 200 and 201 that say where, and from a refusal when
 * no earlier attempt is unanswered; else it is said that it is unknown.
 *
 * A dry run asks the owner whether it would be put, and has no key: it changes nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cf-plugin/control.h"
#include "cf-plugin/rows_commands.h"
#include "lib/base64.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hex.h"
#include "lib/json.h"

#define CELLS_TYPE "Content-Type: application/vnd.middlepipe.cells+json"
#define BYTES_TYPE "Content-Type: application/octet-stream"
#define BODY_MAX ((size_t)4 << 20) /* bytes of a request */
#define CELLS_MAX 4096             /* in one put */
#define KEY_BYTES_MAX 64
#define ATTEMPT_MS 10000           /* that one may take */
#define PAUSE_MIN_MS 50            /* between two */
#define PAUSE_MAX_MS 2000

static const char *file, *key, *base;
static int64_t if_match = -1, wait_ms;
static bool dry_run;

static const struct opt options[] = {
	{ .name = "file", .letter = 'f', .type = OPT_STRING, .target = &file, .arg = "FILE",
	  .help = "the bytes of the cell; - is standard input, as without FILE and TEXT" },
	{ .name = "key", .letter = 'k', .type = OPT_STRING, .target = &key, .arg = "KEY",
	  .help = "idempotency key, 1 to 64 printable characters (default: drawn)" },
	{ .name = "base", .type = OPT_STRING, .target = &base, .arg = "BASE",
	  .help = "INCARNATION:SEQ of the row when this was first put, as an earlier try has said" },
	{ .name = "if-match", .type = OPT_INT, .target = &if_match, .arg = "SEQ",
	  .help = "only while the highest seq is that (0: no cell)" },
	{ .name = "dry-run", .letter = 'n', .type = OPT_FLAG, .target = &dry_run,
	  .help = "only ask whether it would be put: by the row's check, and all else that a put meets" },
	{ .name = "wait", .type = OPT_DURATION_MS, .target = &wait_ms, .def = "30s", .max = 86400000, .arg = "TIME",
	  .help = "try again for that long while it cannot be done (0: once)" },
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe rows put",
	.usage = "[OPTION]... ROW [TEXT]...",
	.summary = "put cells into a row",
	.text = "Each TEXT is a cell; several are put at consecutive seqs or not at all. Without any the cell\n"
		"is read from a file or standard input. A row that is not there is made.\n\n"
		"It is tried again with the same key and base while aggregators are not there or cannot say\n"
		"what became of it, and is applied once all the same.",
	.opts = options,
	.examples = "middlepipe rows put greetings hello\n"
		    "middlepipe rows put --key order-17 --if-match 16 orders < order.json",
	.exit_codes = ROWS_EXIT_CODES,
};

/* The put as it is tried. */
struct attempt {
	struct rows_api api;
	struct buf path, body;
	char key_field[96], base_field[96], match_field[48]; /* "" without */
	const char *type;  /* of the content */
	bool doubt;        /* an attempt is unanswered: it may have been done */
	uint64_t until;    /* ns; no further try after it */
	uint64_t pause_ms; /* before the next one */
	unsigned tries;
	int rc;            /* of the last one: 0 and ... */
	struct http_reply reply; /* ... its answer, or a negative errno and ... */
	struct err why;    /* ... the reason */
};

/* ------------------------------------------------------------------- the options */

static bool printable(const char *text, size_t most)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		if (text[i] < ' ' || text[i] > '~')
			return false;
	}
	return len && len <= most && text[0] != ' ' && text[len - 1] != ' ';
}

static int set_fields(struct attempt *a)
{
	uint64_t drawn[2];
	char digits[33] = "";

	if (key && !printable(key, KEY_BYTES_MAX))
		return cli_usage(&command, "--key wants 1 to %d printable ASCII characters", KEY_BYTES_MAX);
	if (base && (!printable(base, 40) || !strchr(base, ':')))
		return cli_usage(&command, "--base wants INCARNATION:SEQ, INCARNATION:- or -:0, not \"%s\"", base);
	if (dry_run && key)
		return cli_usage(&command, "--dry-run puts nothing: it has no --key");
	if (base && !key)
		return cli_usage(&command, "--base is of no use without the --key that was used then");
	if (!key && !dry_run) {
		if (getrandom(drawn, sizeof(drawn), 0) != (ssize_t)sizeof(drawn))
			return cli_fail(&command, CLI_FAILED, "no random key is to be had: %s", strerror(errno));
		hex_encode(digits, drawn, sizeof(drawn));
	}
	if (!dry_run)
		(void)snprintf(a->key_field, sizeof(a->key_field), "Idempotency-Key: %s", key ? key : digits);
	if (base)
		(void)snprintf(a->base_field, sizeof(a->base_field), "Middlepipe-Base: %s", base);
	if (if_match >= 0)
		(void)snprintf(a->match_field, sizeof(a->match_field), "If-Match: \"%" PRId64 "\"", if_match);
	return CLI_OK;
}

/* --------------------------------------------------------------------- the cells */

static int read_stdin(struct buf *out)
{
	ssize_t n;

	do {
		char *room = buf_reserve(out, 65536);

		n = room ? read(STDIN_FILENO, room, 65536) : -1;
		if (n > 0)
			buf_commit(out, (size_t)n);
	} while (n > 0 || (n < 0 && !out->error && errno == EINTR));
	if (out->error == -E2BIG)
		return cli_fail(&command, ROWS_REFUSED, "standard input has more than %zu bytes", BODY_MAX);
	return n < 0 ? cli_fail(&command, CLI_FAILED, "standard input: %s", strerror(errno)) : CLI_OK;
}

static int read_texts(struct attempt *a, int n, char **texts)
{
	if (n > CELLS_MAX)
		return cli_usage(&command, "%d cells at most go together", CELLS_MAX);
	a->type = CELLS_TYPE;
	(void)buf_add_str(&a->body, "{\"cells\":[");
	for (int i = 0; i < n; i++) {
		(void)buf_add_str(&a->body, i ? ",\"" : "\"");
		(void)base64_encode(&a->body, slice_of(texts[i]));
		(void)buf_add_str(&a->body, "\"");
	}
	(void)buf_add_str(&a->body, "]}");
	return CLI_OK;
}

static int read_cells(struct attempt *a, int n, char **texts)
{
	struct err err = { 0 };
	int code = CLI_OK;

	a->type = BYTES_TYPE;
	buf_init(&a->body, BODY_MAX);
	if (n && file)
		return cli_usage(&command, "the cell is TEXT or --file, not both");
	if (n == 1)
		(void)buf_add_str(&a->body, texts[0]);
	else if (n)
		code = read_texts(a, n, texts);
	else if (!file || !strcmp(file, "-"))
		code = read_stdin(&a->body);
	else if (file_read(file, BODY_MAX, &a->body, &err) < 0)
		return cli_fail(&command, CLI_FAILED, "--file: %s", err.text);
	if (!code && a->body.error)
		code = cli_fail(&command, ROWS_REFUSED, "a put has %zu bytes at most", BODY_MAX);
	return code;
}

/* -------------------------------------------------------------------- the base */

static void set_base(struct attempt *a, struct mp_str text)
{
	if (!a->base_field[0] && text.len && text.len < 48)
		(void)snprintf(a->base_field, sizeof(a->base_field), "Middlepipe-Base: %.*s", SLICE_ARG(text));
}

/*
 * A put whose answer got lost can be sent again only with a base: it is asked
 * for beforehand.  Who may not read the row goes without, until an answer
 * tells one.
 */
static void find_base(struct attempt *a, const char *name)
{
	CLEANUP_JSON json_t *row = NULL;
	struct http_reply reply;
	struct mp_str text;
	struct err err = { 0 };
	char base_text[64];
	struct buf path;

	if (a->base_field[0] || !wait_ms || dry_run || rows_path(&a->api, &path, name, ""))
		return;
	if (!rows_ask(&a->api, &(struct rows_call){ .path = buf_str(&path) }, &reply, &err)) {
		if (reply.status == 404 && http_reply_field(&reply, "Middlepipe-Base", &text)) {
			set_base(a, text); /* there is no such row, or no longer */
		} else if (reply.status == 200 &&
			   !json_load_text(buf_slice(&reply.body), BODY_MAX, 4, &row, NULL)) {
			(void)snprintf(base_text, sizeof(base_text), "%s:%" JSON_INTEGER_FORMAT,
				       rows_text(row, "incarnation"), rows_number(row, "highest"));
			set_base(a, slice_of(base_text));
		}
		http_reply_fini(&reply);
	}
	buf_fini(&path);
}

/* ------------------------------------------------------------------ the attempts */

/* As one word for a shell. */
static void print_word(const char *text)
{
	putc('\'', stderr);
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", stderr);
		else
			putc(*text, stderr);
	}
	putc('\'', stderr);
}

static int unknown(const struct attempt *a)
{
	cli_fail(&command, 0, "it is unknown whether it was put");
	fprintf(stderr, "  To learn which, put the same bytes again with: --key ");
	print_word(a->key_field + strlen("Idempotency-Key: "));
	fprintf(stderr, "%s%s\n", a->base_field[0] ? " --base " : "",
		a->base_field[0] ? a->base_field + strlen("Middlepipe-Base: ") : "");
	if (!a->base_field[0])
		fprintf(stderr, "  (no aggregator has told a base: look at the row first, it could be put twice)\n");
	return ROWS_UNKNOWN;
}

static int print(const struct attempt *a, int status, json_t *document)
{
	if (dry_run && rows_options.json) {
		control_print_json(document, true);
	} else if (dry_run) {
		printf("it would be put, at %" JSON_INTEGER_FORMAT "\n", rows_number(document, "seq"));
	} else if (rows_options.json) {
		json_object_set_new(document, "repeated", json_boolean(status == 200));
		json_object_set_new(document, "tries", json_integer(a->tries));
		json_object_set_new(document, "key", json_string(a->key_field + strlen("Idempotency-Key: ")));
		control_print_json(document, true);
	} else {
		printf("%" JSON_INTEGER_FORMAT "\n", rows_number(document, "seq"));
	}
	return CLI_OK;
}

/* Waits a little, longer each time; false: there is no time left. */
static bool again(struct attempt *a)
{
	uint64_t now = clock_now(&clock_monotonic), pause = a->pause_ms * NS_PER_MS;

	if (now + pause >= a->until)
		return false;
	usleep((useconds_t)(pause / NS_PER_US));
	a->pause_ms = a->pause_ms * 2 < PAUSE_MAX_MS ? a->pause_ms * 2 : PAUSE_MAX_MS;
	rows_next(&a->api);
	return true;
}

/* There is no further attempt. */
static int conclude(const struct attempt *a)
{
	if (!a->doubt)
		return a->rc ? rows_failed(&a->api, a->rc, false, &a->why) : rows_refused(&a->api, &a->reply);
	if (a->rc)
		cli_fail(&command, 0, "%s", a->why.text);
	else
		(void)rows_refused(&a->api, &a->reply);
	return unknown(a);
}

/* It may have been done.  Without a base the next attempt would not be known from this one. */
static int doubt(struct attempt *a)
{
	a->doubt |= !dry_run;
	return a->doubt && !a->base_field[0] ? conclude(a) : -EAGAIN;
}

/* Where it was put.  Anything may say 200: it is believed when it says where. */
static int take_success(struct attempt *a)
{
	CLEANUP_JSON json_t *document = NULL;

	if (json_load_text(buf_slice(&a->reply.body), BODY_MAX, 4, &document, NULL) || rows_number(document, "seq") <= 0)
		return doubt(a);
	return print(a, a->reply.status, document);
}

/* An answer: CLI_OK or an exit code; -EAGAIN: try again. */
static int take_answer(struct attempt *a)
{
	int status = a->reply.status;
	struct mp_str text = { 0 };

	if (status == 200 || status == 201)
		return take_success(a);
	if (http_reply_field(&a->reply, "Middlepipe-Base", &text))
		set_base(a, text);
	if (rows_in_doubt(status))
		return doubt(a);
	if (rows_again(status))
		return -EAGAIN;
	return a->doubt ? unknown(a) : rows_refused(&a->api, &a->reply);
}

/* One attempt; as take_answer().  What went wrong stays, in case it is the last. */
static int attempt(struct attempt *a, const struct rows_call *call)
{
	struct err err = { 0 };

	if (!a->rc)
		http_reply_fini(&a->reply);
	a->reply = (struct http_reply){ 0 };
	a->rc = rows_send(&a->api, a->api.at, call, &a->reply, &err);
	a->why = err;
	a->tries++;
	if (!a->rc)
		return take_answer(a);
	return rows_unsent(a->rc) ? -EAGAIN : doubt(a);
}

static int put(struct attempt *a)
{
	int code;

	a->pause_ms = PAUSE_MIN_MS;
	a->until = clock_now(&clock_monotonic) + (uint64_t)wait_ms * NS_PER_MS;
	do {
		const char *fields[5] = { a->type };
		size_t n = 1;
		struct rows_call call = { .method = "POST", .path = buf_str(&a->path), .fields = fields,
					  .body = slice_make(buf_str(&a->body), a->body.len),
					  .timeout_ms = ATTEMPT_MS };

		if (a->key_field[0])
			fields[n++] = a->key_field;
		if (a->base_field[0] && !dry_run)
			fields[n++] = a->base_field;
		if (a->match_field[0])
			fields[n] = a->match_field;
		code = attempt(a, &call);
	} while (code == -EAGAIN && again(a));
	if (code == -EAGAIN)
		code = conclude(a); /* there is no time for another one */
	if (!a->rc)
		http_reply_fini(&a->reply);
	return code;
}

static int run(int argc, char **argv)
{
	struct attempt a = { .rc = -EAGAIN }; /* no answer yet */
	struct cli_words words;
	int code;

	if (!rows_begin(&a.api, &command, 1, CELLS_MAX + 1, argc, argv, &words, &code))
		return code;
	code = set_fields(&a);
	code = code ? code : rows_path(&a.api, &a.path, words.words[0], dry_run ? "/check" : "/cells");
	code = code ? code : read_cells(&a, words.n - 1, words.words + 1);
	if (!code) {
		find_base(&a, words.words[0]);
		code = put(&a);
	}
	buf_fini(&a.path);
	buf_fini(&a.body);
	rows_api_fini(&a.api);
	return code;
}

const struct cli_command rows_put = { &command, run };
