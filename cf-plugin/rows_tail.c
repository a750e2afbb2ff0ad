/* SPDX-License-Identifier: Apache-2.0 */
/*
 * middlepipe rows tail: prints cells as they come, each once and in order.
 *
 * When the connection breaks, or an aggregator stops, it goes on at the next
 * one behind what was printed.  A member that says that what comes next is gone
 * may be behind: the row itself is asked before that ends it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cf-plugin/control.h"
#include "cf-plugin/rows_commands.h"
#include "cf-plugin/sse.h"
#include "lib/base64.h"
#include "lib/clock.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/map.h"
#include "lib/rows_lives.h"

#define LINE_MAX ((size_t)4 << 20) /* bytes of an event; a cell has 1 MiB */
#define HEARTBEAT "2000"           /* ms between those that we ask for */
#define SILENCE_S 10               /* then the connection is taken for dead */
#define ROWS_MAX 1000000           /* that a prefix may have */
#define PAUSE_MIN_MS 50            /* between two connections */
#define PAUSE_MAX_MS 2000
#define DIGITS 16                  /* of an incarnation */

static const char *prefix;
static bool bytes_only, wait_row;
static int64_t from = -1, last, count, give_up_ms;

static const struct opt options[] = {
	{ .name = "from", .letter = 'f', .type = OPT_INT, .target = &from, .min = 1, .max = INT64_MAX, .arg = "SEQ",
	  .help = "begin with that cell" },
	{ .name = "last", .letter = 'n', .type = OPT_INT, .target = &last, .def = "10", .max = INT64_MAX, .arg = "N",
	  .help = "begin with the last N cells, when --from is not given" },
	{ .name = "prefix", .letter = 'p', .type = OPT_STRING, .target = &prefix, .arg = "TEXT",
	  .help = "instead of ROW: all rows whose names begin so, from their floors on" },
	{ .name = "count", .letter = 'c', .type = OPT_INT, .target = &count, .def = "0", .max = INT64_MAX, .arg = "N",
	  .help = "end after N cells (0: never)" },
	{ .name = "create", .type = OPT_FLAG, .target = &wait_row, .help = "wait for a row that is not there yet" },
	{ .name = "bytes", .letter = 'b', .type = OPT_FLAG, .target = &bytes_only,
	  .help = "print nothing but each cell's bytes and a newline" },
	{ .name = "give-up", .type = OPT_DURATION_MS, .target = &give_up_ms, .def = "0", .arg = "TIME",
	  .help = "end when no aggregator was to be reached for that long (0: never)" },
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe rows tail",
	.usage = "[OPTION]... ROW | --prefix TEXT",
	.summary = "print a row's cells, and those to come",
	.text = "Follows until interrupted. After a broken connection it goes on by itself, at the next of\n"
		"several aggregators: every cell is printed once, in order. When the row is deleted, or the\n"
		"floor has passed where it was, it ends with exit code 3.",
	.opts = options,
	.examples = "middlepipe rows tail greetings\n"
		    "middlepipe rows tail --url http://10.0.0.5:9780,http://10.0.0.6:9780 --prefix chains/ --json",
	.exit_codes = ROWS_EXIT_CODES,
};

struct tail {
	struct rows_api api;
	struct sse sse;
	const char *row;          /* NULL: by prefix */
	struct map rows;          /* names to struct rows_lives, how far each was printed */
	uint64_t connection;      /* its number, from 1 */
	bool seen;                /* of one row: the cells before the next one were there */
	unsigned behind;          /* heartbeats, one after the other, of a row that ends before what was printed */
	bool gone;                /* it was said that what comes next is, or the row */
	struct err why;           /* in which words */
	uint64_t printed;         /* cells */
	int code;                 /* to end with; -EAGAIN: go on at another */
	bool alive;               /* something came on this connection */
	uint64_t pause_ms;        /* before the next one */
	uint64_t heard_ns;        /* when something came last */
};

/* ---------------------------------------------------------------------- printing */

static struct rows_lives *position_of(struct tail *t, const char *row)
{
	struct rows_lives *p = map_get(&t->rows, slice_of(row));

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (p && map_put(&t->rows, slice_of(row), p, NULL)) {
		free(p);
		p = NULL;
	}
	return p;
}

static void free_positions(struct tail *t)
{
	for (struct map_entry *e = map_next(&t->rows, NULL); e; e = map_next(&t->rows, e))
		free(map_entry_value(e));
	map_fini(&t->rows);
}

/* The bytes as text: what a terminal would take for more is a question mark. */
static void print_plain(struct mp_str bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		putchar((unsigned char)bytes.ptr[i] < ' ' || bytes.ptr[i] == 0x7f ? '?' : bytes.ptr[i]);
}

static int print_cell(const struct tail *t, const json_t *cell)
{
	struct buf bytes;
	int rc;

	if (rows_options.json) {
		control_print_json(cell, true);
		return 0;
	}
	buf_init(&bytes, LINE_MAX);
	rc = base64_decode(&bytes, slice_of(rows_text(cell, "data")));
	if (!rc && bytes_only) {
		(void)fwrite(buf_str(&bytes), 1, bytes.len, stdout); /* looked at by flush() */
	} else if (!rc) {
		if (!t->row)
			printf("%s ", rows_text(cell, "row"));
		printf("%" JSON_INTEGER_FORMAT "%s%s: ", rows_number(cell, "seq"),
		       strcmp(rows_text(cell, "kind"), "data") ? " " : "",
		       strcmp(rows_text(cell, "kind"), "data") ? rows_text(cell, "kind") : "");
		print_plain(buf_slice(&bytes));
	}
	if (!rc)
		putchar('\n');
	buf_fini(&bytes);
	return rc;
}

/* ------------------------------------------------------------------------ events */

static int end_with(struct tail *t, int code)
{
	t->code = code;
	return -ECANCELED;
}

/* The row itself is to be asked. */
static int lose(struct tail *t, const char *why, json_int_t floor)
{
	t->gone = true;
	t->why = (struct err){ "" };
	if (floor)
		(void)err_set(&t->why, 0, "%s (floor %" JSON_INTEGER_FORMAT ")", why, floor);
	else
		(void)err_set(&t->why, 0, "%s", why);
	return end_with(t, -EAGAIN);
}

/* Which life of the row it is of; 0: it does not say. */
static uint64_t life_of(const json_t *said)
{
	uint64_t incarnation;

	return hex_number(slice_of(rows_text(said, "incarnation")), DIGITS, &incarnation) ? incarnation : 0;
}

/* Of one row it is known in which life it is followed. */
static bool is_other_life(struct rows_lives *p, const json_t *said)
{
	if (!p->now.incarnation)
		p->now.incarnation = life_of(said);
	return p->now.incarnation != life_of(said);
}

static int take_cell(struct tail *t, const json_t *cell)
{
	struct rows_lives *p = position_of(t, rows_text(cell, "row"));
	uint64_t seq = (uint64_t)rows_number(cell, "seq");

	if (!p)
		return end_with(t, cli_fail(&command, CLI_FAILED, "too many rows, or out of memory"));
	if (!t->row && !rows_lives_enter(p, life_of(cell), t->connection))
		return 0;
	if (is_other_life(p, cell))
		return lose(t, "the row was made again", 0);
	if (seq < p->now.next)
		return 0; /* by prefix every connection begins at the floors */
	if (t->row && p->now.next && seq > p->now.next)
		return end_with(t, cli_fail(&command, CLI_FAILED, "cell %" PRIu64 " came where %" PRIu64
					    " was due: that must not be", seq, p->now.next));
	if (print_cell(t, cell))
		return end_with(t, cli_fail(&command, CLI_FAILED, "cell %" PRIu64 " is not base64", seq));
	p->now.next = seq + 1;
	t->seen = true;
	t->printed++;
	return count && t->printed >= (uint64_t)count ? end_with(t, CLI_OK) : 0;
}

/* Of one row it tells which life of it this is, and whether it ends before what was printed. */
static int take_heartbeat(struct tail *t, const json_t *beat)
{
	struct rows_lives *p = t->row && rows_text(beat, "row")[0] ? position_of(t, t->row) : NULL;

	if (!p)
		return 0;
	if (is_other_life(p, beat))
		return lose(t, "the row was made again", 0);
	t->behind = t->seen && p->now.next > (uint64_t)rows_number(beat, "highest") + 1 ? t->behind + 1 : 0;
	return t->behind > 1 ? lose(t, "the row ends before what was printed", 0) : 0;
}

static int take_end(struct tail *t, const json_t *end)
{
	if (t->row && !strcmp(rows_text(end, "code"), "gone"))
		return lose(t, rows_text(end, "error"), rows_number(end, "floor"));
	return end_with(t, -EAGAIN); /* slow, stopping: go on */
}

static int on_event(void *ctx, const char *event, struct mp_str data)
{
	CLEANUP_JSON json_t *document = NULL;
	struct tail *t = ctx;
	struct err err = { 0 };

	t->alive = true;
	if (json_load_text(data, LINE_MAX, 4, &document, &err))
		return end_with(t, cli_fail(&command, CLI_FAILED, "an event: %s", err.text));
	if (!strcmp(event, "cell"))
		return take_cell(t, document);
	if (!strcmp(event, "heartbeat"))
		return take_heartbeat(t, document);
	return strcmp(event, "end") ? 0 : take_end(t, document);
}

static int on_part(void *ctx, struct mp_str part)
{
	struct tail *t = ctx;
	int rc = sse_take(&t->sse, part);

	t->heard_ns = clock_now(&clock_monotonic);
	if (rc && rc != -ECANCELED)
		return end_with(t, cli_fail(&command, CLI_FAILED, "an event: %s", strerror(-rc)));
	if (fflush(stdout))
		return end_with(t, CLI_FAILED); /* cli_main() says why */
	return rc;
}

/* ------------------------------------------------------------------- connections */

static void stream_path(struct tail *t, struct buf *out)
{
	struct rows_lives *p = t->row ? position_of(t, t->row) : NULL;

	buf_init(out, ROWS_PATH_MAX);
	(void)buf_printf(out, "/v1/subscribe?heartbeat=" HEARTBEAT "&%s=", t->row ? "row" : "prefix");
	control_escape(out, t->row ? t->row : prefix);
	if (p && p->now.next)
		(void)buf_printf(out, "&from=%" PRIu64, p->now.next);
	if (p && p->now.incarnation)
		(void)buf_printf(out, "&incarnation=%016" PRIx64, p->now.incarnation);
	if (p && wait_row)
		(void)buf_add_str(out, "&create=wait");
}

/* Is it gone?  -EAGAIN: the member was behind, or nobody knows; else what to end with. */
static int judge(const struct tail *t, const struct rows_lives *p, const struct http_reply *reply)
{
	CLEANUP_JSON json_t *row = NULL;
	uint64_t floor, highest;
	bool older;

	if (reply->status == 404 && (p->now.incarnation || !wait_row))
		return cli_fail(&command, ROWS_NOT_THERE, "%s", t->why.text);
	if (reply->status == 401 || reply->status == 403)
		return rows_refused(&t->api, reply);
	if (reply->status != 200 || json_load_text(buf_slice(&reply->body), LINE_MAX, 4, &row, NULL))
		return -EAGAIN;
	floor = (uint64_t)rows_number(row, "floor");
	highest = (uint64_t)rows_number(row, "highest");
	if ((p->now.incarnation && p->now.incarnation != life_of(row)) || (p->now.next && p->now.next < floor))
		return cli_fail(&command, ROWS_NOT_THERE, "%s", t->why.text);
	older = t->seen && p->now.next > highest + 1;
	return older ? cli_fail(&command, ROWS_NOT_THERE, "cells that were seen are not there: an older state of the row "
				"was restored") : -EAGAIN;
}

/* What the row itself says. */
static int ask_row(struct tail *t)
{
	struct rows_lives *p = position_of(t, t->row);
	struct http_reply reply;
	struct err err = { 0 };
	struct buf path;
	int code = -EAGAIN;

	if (!p || rows_path(&t->api, &path, t->row, ""))
		return CLI_FAILED; /* it was there, and was one */
	if (!rows_ask(&t->api, &(struct rows_call){ .path = buf_str(&path) }, &reply, &err)) {
		code = judge(t, p, &reply);
		http_reply_fini(&reply);
	}
	buf_fini(&path);
	return code;
}

/* An answer that is no stream. */
static int take_refusal(struct tail *t, const struct http_reply *reply)
{
	CLEANUP_JSON json_t *document = NULL;

	if (rows_again(reply->status) || reply->status == 408)
		return -EAGAIN;
	if (!t->row || (reply->status != 404 && reply->status != 410))
		return rows_refused(&t->api, reply);
	(void)json_load_text(buf_slice(&reply->body), LINE_MAX, 4, &document, NULL); /* then there is no text */
	(void)lose(t, rows_text(document, "error")[0] ? rows_text(document, "error") : "no such row",
		   rows_number(document, "floor"));
	return -EAGAIN;
}

/* One connection, to its end; t->code says how to go on. */
static void follow(struct tail *t)
{
	static const char *const fields[] = { "Accept: text/event-stream", NULL };
	struct rows_call call = { .fields = fields, .on_part = on_part, .ctx = t, .idle_s = SILENCE_S };
	struct http_reply reply;
	struct err err = { 0 };
	struct buf path;
	int rc;

	sse_reset(&t->sse);
	t->code = -EAGAIN;
	t->alive = t->gone = false;
	t->connection++;
	stream_path(t, &path);
	call.path = buf_str(&path);
	rc = rows_send(&t->api, t->api.at, &call, &reply, &err);
	buf_fini(&path);
	if (!rc && reply.status / 100 != 2)
		t->code = take_refusal(t, &reply);
	if (!rc)
		http_reply_fini(&reply); /* else on_part() has set the code, or it broke */
	if (t->gone)
		t->code = ask_row(t);
}

/* Between two connections.  False: it is given up. */
static bool pause_before_next(struct tail *t)
{
	uint64_t silent_ms = (clock_now(&clock_monotonic) - t->heard_ns) / NS_PER_MS;

	rows_next(&t->api);
	if (t->alive)
		t->pause_ms = PAUSE_MIN_MS;
	else if (give_up_ms && silent_ms >= (uint64_t)give_up_ms)
		return false;
	usleep((useconds_t)(t->pause_ms * 1000));
	t->pause_ms = t->pause_ms * 2 < PAUSE_MAX_MS ? t->pause_ms * 2 : PAUSE_MAX_MS;
	return true;
}

static int follow_all(struct tail *t)
{
	t->pause_ms = PAUSE_MIN_MS;
	t->heard_ns = clock_now(&clock_monotonic);
	do {
		follow(t);
	} while (t->code == -EAGAIN && pause_before_next(t));
	if (t->code == -EAGAIN)
		return cli_fail(&command, CLI_FAILED, "no aggregator was to be reached for %" PRId64 " ms", give_up_ms);
	return t->code;
}

/* ------------------------------------------------------------------------- start */

/* So many before the end, in that life of the row. */
static void begin(struct tail *t, struct rows_lives *p, const json_t *row)
{
	json_int_t highest = rows_number(row, "highest"), floor = rows_number(row, "floor");

	p->now.next = (uint64_t)(highest + 1 - floor > last ? highest + 1 - last : floor);
	p->now.incarnation = life_of(row);
	t->seen = true;
}

/* The row's answer: where to begin.  One that is waited for may not be there, or not be known yet. */
static int take_row(struct tail *t, struct rows_lives *p, const struct http_reply *reply)
{
	CLEANUP_JSON json_t *row = NULL;

	if (reply->status != 200 && wait_row && (reply->status == 404 || rows_again(reply->status)))
		return CLI_OK;
	if (reply->status != 200 || json_load_text(buf_slice(&reply->body), LINE_MAX, 4, &row, NULL))
		return rows_refused(&t->api, reply);
	begin(t, p, row);
	return CLI_OK;
}

/* Where to begin in one row: --from, or so many before the end. */
static int find_start(struct tail *t)
{
	struct rows_lives *p = position_of(t, t->row);
	struct http_reply reply;
	struct err err = { 0 };
	struct buf path;
	int code, rc;

	if (!p)
		return cli_fail(&command, CLI_FAILED, "out of memory");
	p->now.next = from > 0 ? (uint64_t)from : 0;
	if (from > 0)
		return CLI_OK;
	code = rows_path(&t->api, &path, t->row, "");
	if (code)
		return code;
	rc = rows_ask(&t->api, &(struct rows_call){ .path = buf_str(&path) }, &reply, &err);
	buf_fini(&path);
	if (rc)
		return wait_row ? CLI_OK : rows_failed(&t->api, rc, false, &err);
	code = take_row(t, p, &reply);
	http_reply_fini(&reply);
	return code;
}

static int run(int argc, char **argv)
{
	struct tail t = { .code = -EAGAIN };
	struct cli_words words;
	int code;

	if (!rows_begin(&t.api, &command, 0, 1, argc, argv, &words, &code))
		return code;
	map_init(&t.rows, ROWS_MAX);
	sse_init(&t.sse, LINE_MAX, on_event, &t);
	t.row = words.n ? words.words[0] : NULL;
	if (!t.row == !prefix)
		code = cli_usage(&command, "wants either ROW or --prefix");
	else if (prefix && from > 0)
		code = cli_usage(&command, "--from is of one row: with --prefix all begin at their floors");
	else if (t.row)
		code = find_start(&t);
	if (!code)
		code = follow_all(&t);
	sse_fini(&t.sse);
	free_positions(&t);
	rows_api_fini(&t.api);
	return code;
}

const struct cli_command rows_tail = { &command, run };
