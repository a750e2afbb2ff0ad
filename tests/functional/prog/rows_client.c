/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of rows (lib/rows_client.h), driven by lines: tests/functional/73-rows-client.t
 * writes what is to be done, one call a line, and reads what has become of it, one
 * JSON object a line, in the order in which calls end.
 *
 *	rows_client [--history FILE] [--timeout TIME] ... URL...
 *
 *	put ROW TEXT [KEY [BASE]]     many ROW TEXT...          put-if ROW HIGHEST TEXT
 *	latest ROW   seq ROW N        range ROW FROM            stale ROW    wait ROW SEQ MS
 *	highest ROW  check ROW        policy ROW CHECK          delete ROW
 *	subscribe ROW FROM            follow ROW FROM           prefix NAME  join ROW   leave ID
 *	load ROW[,ROW...] PUTS OUTSTANDING
 *
 * ID is the number of the line that subscribed, from 1.  `follow` and `load` say
 * little; the history (tests/rows/README.md) has all they did.  Standard input's
 * end closes the client.
 */
#include <gnutls/crypto.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/hex.h"
#include "lib/json_text.h"
#include "lib/opt.h"
#include "lib/rows_client.h"
#include "lib/slice.h"

#define TEXTS_MAX 65536
#define WORDS_MAX 4200
#define IDS_MAX 256

static const char *history_file, *token, *ca, *cert, *key;
static int64_t timeout_ms, attempt_ms, open_ms, heartbeat_ms;

static const struct opt opts[] = {
	{ .name = "history", .type = OPT_STRING, .target = &history_file, .arg = "FILE", .help = "write it there" },
	{ .name = "token", .type = OPT_STRING, .target = &token, .arg = "TOKEN", .help = "bearer token" },
	{ .name = "ca", .type = OPT_STRING, .target = &ca, .arg = "FILE", .help = "authorities" },
	{ .name = "cert", .type = OPT_STRING, .target = &cert, .arg = "FILE", .help = "certificate" },
	{ .name = "key", .type = OPT_STRING, .target = &key, .arg = "FILE", .help = "its key" },
	{ .name = "timeout", .type = OPT_DURATION_MS, .target = &timeout_ms, .def = "30s", .arg = "TIME",
	  .help = "deadline of a request" },
	{ .name = "attempt", .type = OPT_DURATION_MS, .target = &attempt_ms, .def = "2s", .arg = "TIME",
	  .help = "of an attempt" },
	{ .name = "open", .type = OPT_DURATION_MS, .target = &open_ms, .def = "10s", .arg = "TIME",
	  .help = "in which an attempt may be applied" },
	{ .name = "heartbeat", .type = OPT_DURATION_MS, .target = &heartbeat_ms, .def = "500ms", .arg = "TIME",
	  .help = "of subscriptions" },
	{ .name = NULL },
};

static uv_loop_t loop;
static struct rows_client *client;
static FILE *history;
static uint64_t calls;  /* events `call` and `sub` so far */
static uint64_t lines;  /* read */

/* One call of ours. */
struct call {
	uint64_t id;         /* its line */
	uint64_t o;          /* number of its latest `call` in the history */
	char *row;           /* owned */
	char *texts;         /* each with a NUL; owned */
	size_t n;            /* cells */
	int64_t if_match;    /* -1: none */
	struct load *load;   /* it belongs to, or NULL */
};

/* Puts that are made one after the other. */
struct load {
	uint64_t id, left, number, begin;
	uint64_t ended[ROWS_UNKNOWN + 1]; /* by outcome */
	uint64_t under_way, attempts_max;
	char *rows[64];
	size_t n_rows;
};

/* A subscriber. */
struct reader {
	uint64_t id, o;  /* line, number in the history */
	bool quiet;      /* for the history only */
	struct rows_subscription *sub; /* NULL: it has ended */
};

static struct reader readers[IDS_MAX];
static size_t n_readers;

static const char *const outcomes[] = {
	[ROWS_OK] = "ok", [ROWS_REFUSED] = "refused", [ROWS_REJECTED] = "rejected", [ROWS_NOT_THERE] = "not_there",
	[ROWS_GONE] = "gone", [ROWS_UNAVAILABLE] = "unavailable", [ROWS_UNKNOWN] = "unknown",
};

/* --------------------------------------------------------------------- writing */

static void add_text(struct buf *out, const char *name, struct mp_str text)
{
	(void)buf_printf(out, ",\"%s\":", name);
	(void)json_text_add(out, text);
}

static void say(struct buf *out)
{
	(void)buf_add_str(out, "}\n");
	fwrite(out->ptr, 1, out->len, stdout);
	fflush(stdout);
	buf_fini(out);
}

static void begin_say(struct buf *out, uint64_t id)
{
	buf_init(out, 32u << 20);
	(void)buf_printf(out, "{\"id\":%" PRIu64, id);
}

static void add_sha(struct buf *out, struct mp_str bytes)
{
	unsigned char digest[32];
	char text[17] = "";

	(void)gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes.ptr ? bytes.ptr : "", bytes.len, digest); /* cannot fail */
	hex_encode(text, digest, 8);
	(void)buf_printf(out, "\"%s\"", text);
}

static void begin_event(struct buf *out, const char *name, uint64_t o)
{
	buf_init(out, 1u << 20);
	(void)buf_printf(out, "{\"t\":%" PRIu64 ",\"e\":\"%s\",\"c\":\"c\",\"o\":%" PRIu64, clock_now(&clock_monotonic),
			 name, o);
}

static void end_event(struct buf *out)
{
	(void)buf_add_str(out, "}\n");
	if (history) {
		fwrite(out->ptr, 1, out->len, history);
		fflush(history);
	}
	buf_fini(out);
}

/* ---------------------------------------------------------------------- attempts */

static void begin_attempt(struct call *call, const struct rows_attempt *a)
{
	const char *text = call->texts;
	struct buf out;

	call->o = ++calls;
	begin_event(&out, "call", call->o);
	add_text(&out, "m", slice_of(a->url));
	(void)buf_add_str(&out, ",\"op\":\"put\"");
	add_text(&out, "row", slice_of(call->row));
	add_text(&out, "key", slice_of(a->key));
	if (a->base[0])
		add_text(&out, "base", slice_of(a->base));
	if (call->if_match >= 0)
		(void)buf_printf(&out, ",\"if\":%" PRId64, call->if_match);
	(void)buf_add_str(&out, ",\"sha\":[");
	for (size_t i = 0; i < call->n; i++, text += strlen(text) + 1) {
		(void)buf_add_str(&out, i ? "," : "");
		add_sha(&out, slice_of(text));
	}
	(void)buf_add_str(&out, "]");
	end_event(&out);
}

static void on_attempt(void *ctx, const struct rows_attempt *a)
{
	struct call *call = a->ctx;
	struct buf out;

	(void)ctx;
	if (!a->over) {
		begin_attempt(call, a);
		return;
	}
	begin_event(&out, "ret", call->o);
	(void)buf_printf(&out, ",\"st\":%d", a->status ? a->status : !a->sent);
	if (a->stamped[0])
		add_text(&out, "base", slice_of(a->stamped));
	if (a->status == 200 || a->status == 201)
		(void)buf_printf(&out, ",\"inc\":\"%016" PRIx64 "\",\"seq\":%" PRIu64 ",\"n\":%zu", a->incarnation, a->seq,
				 call->n);
	end_event(&out);
}

static struct call *call_new(uint64_t id, const char *row, const char *const *texts, size_t n)
{
	struct call *call = calloc(1, sizeof(*call));
	struct buf all;

	if (!call)
		abort();
	buf_init(&all, TEXTS_MAX);
	for (size_t i = 0; i < n; i++)
		(void)buf_add(&all, texts[i], strlen(texts[i]) + 1);
	*call = (struct call){ .id = id, .row = strdup(row), .texts = all.ptr, .n = n, .if_match = -1 };
	return call;
}

static void call_free(struct call *call)
{
	free(call->row);
	free(call->texts);
	free(call);
}

/* ------------------------------------------------------------------------ answers */

static void on_answer(void *ctx, const struct rows_answer *a)
{
	struct call *call = ctx;
	struct buf out;

	begin_say(&out, call->id);
	add_text(&out, "outcome", slice_of(outcomes[a->outcome]));
	(void)buf_printf(&out, ",\"status\":%d,\"incarnation\":\"%016" PRIx64 "\",\"seq\":%" PRIu64 ",\"highest\":%" PRIu64
			 ",\"floor\":%" PRIu64 ",\"attempts\":%" PRIu32, a->status, a->incarnation, a->seq, a->highest,
			 a->floor, a->attempts);
	add_text(&out, "code", slice_of(a->code));
	add_text(&out, "why", slice_of(a->why));
	add_text(&out, "check", slice_of(a->check));
	add_text(&out, "key", slice_of(a->key));
	add_text(&out, "base", slice_of(a->base));
	(void)buf_add_str(&out, ",\"cells\":[");
	for (size_t i = 0; i < a->n; i++) {
		(void)buf_printf(&out, "%s[%" PRIu64 ",%d,", i ? "," : "", a->cells[i].seq, a->cells[i].kind);
		(void)json_text_add(&out, a->cells[i].content);
		(void)buf_add_str(&out, ",");
		(void)json_text_add(&out, a->cells[i].key);
		(void)buf_add_str(&out, "]");
	}
	(void)buf_add_str(&out, "]");
	say(&out);
	call_free(call);
}

/* rc: what the call itself said. */
static void started(struct call *call, int rc, const struct err *err)
{
	struct buf out;

	if (rc == 0)
		return;
	begin_say(&out, call->id);
	(void)buf_printf(&out, ",\"outcome\":\"wrong\",\"status\":%d", rc);
	add_text(&out, "why", slice_of(err->text));
	say(&out);
	call_free(call);
}

/* -------------------------------------------------------------------------- puts */

static int put(struct call *call, const char *put_key, const char *base, rows_done_fn *done, struct err *err)
{
	struct mp_str cells[WORDS_MAX];
	const char *text = call->texts;

	for (size_t i = 0; i < call->n; i++, text += strlen(text) + 1)
		cells[i] = slice_of(text);
	return rows_client_put(client, &(struct rows_put){
		.row = slice_of(call->row), .cells = cells, .n = call->n, .key = put_key, .base = base,
		.has_if_match = call->if_match >= 0, .if_match = (uint64_t)call->if_match }, done, call, err);
}

static void do_put(char **word, size_t n)
{
	struct call *call = call_new(lines, word[1], (const char *const *)&word[2], 1);
	struct err err = { 0 };

	started(call, put(call, n > 3 ? word[3] : NULL, n > 4 ? word[4] : NULL, on_answer, &err), &err);
}

static void do_many(char **word, size_t n)
{
	struct call *call = call_new(lines, word[1], (const char *const *)&word[2], n - 2);
	struct err err = { 0 };

	started(call, put(call, NULL, NULL, on_answer, &err), &err);
}

static void do_put_if(char **word, size_t n)
{
	struct call *call = call_new(lines, word[1], (const char *const *)&word[3], 1);
	struct err err = { 0 };

	(void)n;
	call->if_match = atoll(word[2]);
	started(call, put(call, NULL, NULL, on_answer, &err), &err);
}

/* ------------------------------------------------------------------------ the load */

static void load_next(struct load *load);

static void load_over(struct load *load)
{
	struct buf out;

	begin_say(&out, load->id);
	(void)buf_printf(&out, ",\"outcome\":\"loaded\",\"ms\":%" PRIu64 ",\"attempts_max\":%" PRIu64,
			 (clock_now(&clock_monotonic) - load->begin) / NS_PER_MS, load->attempts_max);
	for (size_t i = 0; i <= ROWS_UNKNOWN; i++)
		(void)buf_printf(&out, ",\"%s\":%" PRIu64, outcomes[i], load->ended[i]);
	say(&out);
	for (size_t i = 0; i < load->n_rows; i++)
		free(load->rows[i]);
	free(load);
}

static void on_loaded(void *ctx, const struct rows_answer *a)
{
	struct call *call = ctx;
	struct load *load = call->load;

	load->ended[a->outcome]++;
	load->attempts_max = a->attempts > load->attempts_max ? a->attempts : load->attempts_max;
	load->under_way--;
	call_free(call);
	load_next(load);
}

static void load_next(struct load *load)
{
	char text[64];
	const char *const texts[] = { text };
	struct err err = { 0 };
	struct call *call;

	if (!load->left) {
		if (!load->under_way)
			load_over(load);
		return;
	}
	load->left--;
	load->under_way++;
	(void)snprintf(text, sizeof(text), "%" PRIu64 "-%" PRIu64, load->id, load->number);
	call = call_new(load->id, load->rows[load->number++ % load->n_rows], texts, 1);
	call->load = load;
	if (put(call, NULL, NULL, on_loaded, &err))
		abort();
}

static void do_load(char **word, size_t n)
{
	struct load *load = calloc(1, sizeof(*load));
	char *save = NULL;

	(void)n;
	if (!load)
		abort();
	*load = (struct load){ .id = lines, .left = strtoull(word[2], NULL, 10), .begin = clock_now(&clock_monotonic) };
	for (char *row = strtok_r(word[1], ",", &save); row && load->n_rows < 64; row = strtok_r(NULL, ",", &save))
		load->rows[load->n_rows++] = strdup(row);
	for (uint64_t i = strtoull(word[3], NULL, 10); i > 0 && load->left; i--)
		load_next(load);
}

/* -------------------------------------------------------------------------- reads */

static void get(const struct rows_get *wish)
{
	struct call *call = call_new(lines, wish->row.ptr, NULL, 0);
	struct err err = { 0 };

	started(call, rows_client_get(client, wish, on_answer, call, &err), &err);
}

static void do_latest(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_LATEST });
}

static void do_stale(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_LATEST, .stale = true });
}

static void do_seq(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_SEQ, .from = strtoull(word[2], NULL, 10) });
}

static void do_range(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_RANGE, .from = strtoull(word[2], NULL, 10) });
}

static void do_wait(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_LATEST, .at_least = strtoull(word[2], NULL, 10),
				.wait_ms = strtoull(word[3], NULL, 10) });
}

static void do_named(char **word, int (*what)(struct rows_client *, struct mp_str, rows_done_fn *, void *, struct err *))
{
	struct call *call = call_new(lines, word[1], NULL, 0);
	struct err err = { 0 };

	started(call, what(client, slice_of(word[1]), on_answer, call, &err), &err);
}

static void do_highest(char **word, size_t n)
{
	(void)n;
	do_named(word, rows_client_highest_sequence_number);
}

static void do_check(char **word, size_t n)
{
	(void)n;
	do_named(word, rows_client_check);
}

static void do_delete(char **word, size_t n)
{
	(void)n;
	do_named(word, rows_client_delete);
}

static void do_policy(char **word, size_t n)
{
	struct call *call = call_new(lines, word[1], NULL, 0);
	struct err err = { 0 };

	(void)n;
	started(call, rows_client_set_semantic_check_policy(client, slice_of(word[1]), slice_of(word[2]), on_answer, call,
							    &err), &err);
}

/* ------------------------------------------------------------------ subscriptions */

static void on_cell(void *ctx, const struct rows_cell *cell)
{
	const struct reader *reader = ctx;
	struct buf out;

	begin_event(&out, "cell", reader->o);
	add_text(&out, "row", cell->row);
	(void)buf_printf(&out, ",\"inc\":\"%016" PRIx64 "\",\"seq\":%" PRIu64, cell->incarnation, cell->seq);
	add_text(&out, "key", cell->key);
	(void)buf_add_str(&out, ",\"sha\":");
	add_sha(&out, cell->content);
	end_event(&out);
	if (reader->quiet)
		return;
	begin_say(&out, reader->id);
	(void)buf_printf(&out, ",\"seq\":%" PRIu64, cell->seq);
	add_text(&out, "row", cell->row);
	add_text(&out, "cell", cell->content);
	say(&out);
}

static void on_heartbeat(void *ctx, const struct rows_beat *beat)
{
	const struct reader *reader = ctx;
	struct buf out;

	begin_event(&out, "beat", reader->o);
	add_text(&out, "row", beat->row);
	(void)buf_printf(&out, ",\"inc\":\"%016" PRIx64 "\",\"highest\":%" PRIu64 ",\"floor\":%" PRIu64, beat->incarnation,
			 beat->highest, beat->floor);
	end_event(&out);
	begin_say(&out, reader->id);
	(void)buf_printf(&out, ",\"beat\":%" PRIu64, beat->highest);
	add_text(&out, "row", beat->row);
	say(&out);
}

static void on_missed(void *ctx, struct mp_str row, uint64_t floor)
{
	const struct reader *reader = ctx;
	struct buf out;

	begin_say(&out, reader->id);
	(void)buf_printf(&out, ",\"missed\":%" PRIu64, floor);
	add_text(&out, "row", row);
	say(&out);
}

static void on_ended(void *ctx, const struct rows_ended *ended)
{
	struct reader *reader = ctx;
	struct buf out;

	reader->sub = NULL;
	begin_event(&out, "end", reader->o);
	add_text(&out, "code", slice_of(outcomes[ended->outcome]));
	end_event(&out);
	begin_say(&out, reader->id);
	add_text(&out, "ended", slice_of(outcomes[ended->outcome]));
	(void)buf_printf(&out, ",\"floor\":%" PRIu64, ended->floor);
	add_text(&out, "why", slice_of(ended->why));
	say(&out);
}

static struct reader *reader_new(struct rows_subscribe_calls *ret_calls)
{
	struct reader *reader = &readers[n_readers++];

	if (n_readers > IDS_MAX)
		abort();
	*reader = (struct reader){ .id = lines, .o = ++calls };
	*ret_calls = (struct rows_subscribe_calls){ on_cell, on_heartbeat, on_missed, on_ended, reader };
	return reader;
}

static void subscribe(char **word, const struct rows_subscribe *s, bool quiet)
{
	struct rows_subscribe_calls c;
	struct reader *reader = reader_new(&c);
	struct err err = { 0 };
	struct buf out;

	reader->quiet = quiet;
	begin_event(&out, "sub", reader->o);
	add_text(&out, s->by_prefix ? "prefix" : "row", slice_of(word[1]));
	(void)buf_printf(&out, ",\"from\":%" PRIu64, s->from ? s->from : 1);
	end_event(&out);
	if (rows_client_subscribe(client, s, &c, &reader->sub, &err) == 0)
		return;
	begin_say(&out, reader->id);
	add_text(&out, "ended", slice_of("wrong"));
	add_text(&out, "why", slice_of(err.text));
	say(&out);
}

static void do_subscribe(char **word, size_t n)
{
	subscribe(word, &(struct rows_subscribe){ .name = slice_of(word[1]), .from = strtoull(word[2], NULL, 10),
						  .wait = n > 3, .heartbeat_ms = (uint64_t)heartbeat_ms }, false);
}

static void do_follow(char **word, size_t n)
{
	(void)n;
	subscribe(word, &(struct rows_subscribe){ .name = slice_of(word[1]), .from = strtoull(word[2], NULL, 10),
						  .wait = true, .heartbeat_ms = (uint64_t)heartbeat_ms }, true);
}

static void do_prefix(char **word, size_t n)
{
	(void)n;
	subscribe(word, &(struct rows_subscribe){ .name = slice_of(word[1]), .by_prefix = true,
						  .heartbeat_ms = (uint64_t)heartbeat_ms }, false);
}

static void do_join(char **word, size_t n)
{
	struct rows_subscribe_calls c;
	struct reader *reader = reader_new(&c);
	struct err err = { 0 };

	(void)n;
	if (rows_client_join(client, slice_of(word[1]), &c, &reader->sub, &err))
		abort();
}

static void do_leave(char **word, size_t n)
{
	struct buf out;

	(void)n;
	for (size_t i = 0; i < n_readers; i++) {
		if (readers[i].id != strtoull(word[1], NULL, 10))
			continue;
		rows_client_leave(readers[i].sub);
		readers[i].sub = NULL;
	}
	begin_say(&out, lines);
	add_text(&out, "outcome", slice_of("left"));
	say(&out);
}

/* -------------------------------------------------------------------------- lines */

static const struct {
	const char *name;
	size_t words; /* at least, its name included */
	void (*work)(char **word, size_t n);
} commands[] = {
	{ "put", 3, do_put }, { "many", 3, do_many }, { "put-if", 4, do_put_if }, { "latest", 2, do_latest },
	{ "stale", 2, do_stale }, { "seq", 3, do_seq }, { "range", 3, do_range }, { "wait", 4, do_wait },
	{ "highest", 2, do_highest }, { "check", 2, do_check }, { "policy", 3, do_policy },
	{ "delete", 2, do_delete }, { "subscribe", 3, do_subscribe }, { "follow", 3, do_follow },
	{ "prefix", 2, do_prefix }, { "join", 2, do_join }, { "leave", 2, do_leave }, { "load", 4, do_load },
};

static void on_line(char *line)
{
	char *words[WORDS_MAX], *save = NULL;
	size_t n = 0;

	lines++;
	for (char *word = strtok_r(line, " ", &save); word && n < WORDS_MAX; word = strtok_r(NULL, " ", &save))
		words[n++] = word;
	for (size_t i = 0; n && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, words[0]) != 0 || n < commands[i].words)
			continue;
		commands[i].work(words, n);
		return;
	}
	fprintf(stderr, "rows_client: line %" PRIu64 " is none\n", lines);
	exit(2);
}

static struct buf input;

static void on_closed(void *ctx)
{
	(void)ctx;
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
	static char bytes[65536];

	(void)handle;
	(void)size;
	*ret = uv_buf_init(bytes, sizeof(bytes));
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	char *end;

	if (n < 0) {
		uv_close((uv_handle_t *)stream, NULL);
		rows_client_close(client, on_closed, NULL);
		return;
	}
	(void)buf_add(&input, bytes->base, (size_t)n);
	while (input.len && (end = memchr(input.ptr, '\n', input.len))) {
		size_t size = (size_t)(end - input.ptr) + 1;
		char *line = slice_dup(slice_make(input.ptr, size - 1));

		on_line(line);
		free(line);
		buf_consume(&input, size);
	}
}

static int open_client(int n, char **urls)
{
	const struct rows_client_options options = {
		.urls = (const char *const *)urls, .n_urls = (size_t)n, .token = token, .ca = ca, .cert = cert, .key = key,
		.timeout_ms = (uint64_t)timeout_ms, .attempt_ms = (uint64_t)attempt_ms, .open_ms = (uint64_t)open_ms,
		.attempt = on_attempt };
	struct err err = { 0 };

	if (rows_client_open(&loop, &options, &client, &err) == 0)
		return 0;
	fprintf(stderr, "rows_client: %s\n", err.text);
	return -1;
}

int main(int argc, char **argv)
{
	static const struct opt_command cmd = { .name = "rows_client", .usage = "[OPTION]... URL...",
						.summary = "drive the client of rows", .opts = opts };
	struct err err = { 0 };
	uv_pipe_t in;
	int first, rc = opt_parse(&cmd, argc, argv, &first, &err);

	if (rc) {
		fprintf(stderr, "rows_client: %s\n", err.text);
		return 2;
	}
	if (history_file) {
		history = fopen(history_file, "w");
		if (!history)
			return 1;
		fprintf(history, "{\"t\":0,\"e\":\"history\",\"v\":1}\n");
	}
	buf_init(&input, 1u << 20);
	uv_loop_init(&loop);
	if (open_client(argc - first, argv + first))
		return 2;
	uv_pipe_init(&loop, &in, 0);
	uv_pipe_open(&in, 0);
	uv_read_start((uv_stream_t *)&in, on_alloc, on_input);
	uv_run(&loop, UV_RUN_DEFAULT);
	buf_fini(&input);
	if (history)
		fclose(history);
	return uv_loop_close(&loop) ? 3 : 0;
}
