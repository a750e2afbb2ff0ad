/* SPDX-License-Identifier: Apache-2.0 */
/* Rows, cells and lists over HTTP; see api.h and docs/rows-api.md. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/api.h"
#include "aggregator/rows/api/put.h"
#include "aggregator/rows/subscribe.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define RANGE_CELLS 1000                  /* at a time */
#define RANGE_BYTES ((size_t)4 << 20)     /* likewise */
#define ANSWER_MAX ((size_t)16 << 20)     /* in base64, with what stands around it */
#define LIST_ROWS 100                     /* unless another limit is given */
#define LIST_MAX 1000
#define WAIT_MAX_MS 60000

struct asked;

/* What one of the calls makes of a row; the request is answered by it. */
typedef void show_fn(struct asked *a, struct row *row);

/* A read that waits. */
struct asked {
	struct read read;         /* the reader's */
	struct subscription sub;  /* waits for cell at_least */
	uv_timer_t timer;         /* ends that */
	struct list link;         /* in http->waits meanwhile */
	struct http_req *req;
	struct rows_http *http;
	show_fn *show;
	uint64_t from, to, limit; /* of a range; from: of one cell; 0: the latest */
	bool stale;               /* this member's copy will do */
	bool hopes;               /* waits for the row itself */
	uint64_t at_least, wait;  /* seq to wait for, and how long, in ms */
};

static void finish(struct asked *a)
{
	free(a);
}

static void on_timer_closed(uv_handle_t *handle)
{
	finish(handle->data);
}

/* Whoever wants to put into it now has its base; row NULL: there never was one. */
static void answer_absent(struct asked *a, const struct row *row)
{
	const struct base base = row ? base_of(row) : (struct base){ .kind = BASE_ABSENT };
	char text[48];
	const struct http_field fields[] = { { "Middlepipe-Base", rows_base_text(&base, text) }, { NULL, NULL } };

	http_answer_error_fields(a->req, 404, fields, "not_there", "no such row");
}

static void answer_too_low(struct asked *a)
{
	http_answer_error(a->req, 404, "not_there", "the row has no cell %" PRIu64 " yet", a->at_least);
}

static void show(struct asked *a, struct row *row)
{
	if (row_exists(row))
		a->show(a, row);
	else
		answer_absent(a, row);
}

/* ------------------------------------------------------------------- waiting */

static void end_wait(struct asked *a)
{
	list_remove(&a->link);
	if (!a->hopes)
		subscription_stop(&a->sub);
	uv_timer_stop(&a->timer);
	uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

static int on_cell(struct subscription *sub, const struct cell *cell)
{
	struct asked *a = (struct asked *)(void *)((char *)sub - offsetof(struct asked, sub));

	(void)cell;
	show(a, sub->row);
	end_wait(a);
	return -EAGAIN; /* one is enough */
}

static void on_ended(struct subscription *sub, const char *why)
{
	struct asked *a = (struct asked *)(void *)((char *)sub - offsetof(struct asked, sub));

	http_answer_error(a->req, 410, "gone", "%s", why);
	end_wait(a);
}

static void on_timer(uv_timer_t *timer)
{
	struct asked *a = timer->data;

	if (a->hopes)
		answer_absent(a, copy_row(group_copy(a->http->group), a->read.name));
	else
		answer_too_low(a);
	end_wait(a);
}

static void say_later(struct asked *a, const char *why)
{
	static const struct http_field later[] = { { "Retry-After", "1" }, { NULL, NULL } };

	http_answer_error_fields(a->req, 503, later, "unavailable", "%s", why);
}

/* Nobody waits for it any more. */
static void on_gone(void *ctx)
{
	struct asked *a = ctx;

	say_later(a, "nobody waits for it");
	end_wait(a);
}

void rows_end_waits(struct rows_http *http, const char *why)
{
	while (!list_empty(&http->waits)) {
		struct asked *a = LIST_ENTRY_OF(http->waits.next, struct asked, link);

		say_later(a, why);
		end_wait(a);
	}
}

/* The row is there: until it has the cell.  False: answered. */
static bool follow(struct asked *a, struct row *row)
{
	a->hopes = false;
	a->sub.cell = on_cell;
	a->sub.ended = on_ended;
	if (subscription_start(&a->sub, row, a->at_least, 0, false) == SUBSCRIBE_OK)
		return true;
	http_answer_error(a->req, 410, "gone", "the row's floor is above %" PRIu64, a->at_least);
	end_wait(a);
	return false;
}

/* Until there is a cell `at_least`, and the row that it is of; row NULL: there never was one. */
static void wait_for(struct asked *a, struct row *row)
{
	uv_timer_init(group_loop(a->http->group), &a->timer);
	a->timer.data = a;
	list_push_back(&a->http->waits, &a->link);
	a->hopes = !row || !row_exists(row);
	if (!a->hopes && !follow(a, row))
		return;
	uv_timer_start(&a->timer, on_timer, http_gone(a->req) ? 0 : a->wait, 0);
	http_on_gone(a->req, on_gone, a);
}

void rows_reads_row(struct rows_http *http, struct row *row)
{
	LIST_FOR_EACH_SAFE(link, &http->waits) {
		struct asked *a = LIST_ENTRY_OF(link, struct asked, link);

		if (a->hopes && slice_eq(a->read.name, row_name(row)) && follow(a, row))
			subscription_pump(&a->sub);
	}
}

/* --------------------------------------------------------------------- reading */

static void on_read(struct read *read, struct row *row, const char *why)
{
	struct asked *a = (struct asked *)(void *)((char *)read - offsetof(struct asked, read));

	if (!row) {
		say_later(a, why);
	} else if (a->at_least && a->wait && (!row_exists(row) || row->applied < a->at_least)) {
		wait_for(a, row);
		return;
	} else if (a->at_least && row_exists(row) && row->applied < a->at_least) {
		answer_too_low(a);
	} else {
		show(a, row);
	}
	finish(a);
}

/* What this member has, whatever there may be elsewhere. */
static void ask_stale(struct asked *a)
{
	struct row *row = copy_row(group_copy(a->http->group), a->read.name);

	if (row && !row->doubtful) {
		on_read(&a->read, row, "");
		return;
	}
	if (!row && a->at_least && a->wait) {
		wait_for(a, NULL);
		return;
	}
	if (row)
		http_answer_error(a->req, 503, "unavailable", "this member has not all of it just now");
	else
		http_answer_error(a->req, 404, "not_there", "no such row");
	finish(a);
}

static void ask(struct asked *a)
{
	if (!group_copy(a->http->group)) {
		on_read(&a->read, NULL, "it has not read its rows yet");
	} else if (a->stale) {
		ask_stale(a);
	} else {
		a->read.done = on_read;
		a->read.deadline = group_now(a->http->group) + a->http->read_ns;
		group_read(a->http->group, &a->read);
	}
}

/* False: answered. */
static bool read_stale(struct http_req *req, bool *ret)
{
	struct mp_str text;

	*ret = http_query(req, "stale", &text);
	if (!*ret || slice_eq(text, MP_LIT("ok")))
		return true;
	http_answer_error(req, 400, "bad_request", "stale wants ok");
	return false;
}

/* NULL: answered. */
static struct asked *asked_new(struct rows_http *http, struct http_req *req, const char *known,
			       show_fn *show_it)
{
	struct mp_str name;
	struct asked *a;

	if (!rows_name(req, RIGHT_READ, &name) || !rows_query_only(req, known))
		return NULL;
	a = calloc(1, sizeof(*a));
	if (!a) {
		http_answer_error(req, 503, "unavailable", "out of memory");
		return NULL;
	}
	*a = (struct asked){ .read = { .name = name }, .req = req, .http = http, .show = show_it };
	if (read_stale(req, &a->stale) && rows_query_number(req, "at_least", INT64_MAX, &a->at_least) &&
	    rows_query_number(req, "wait", WAIT_MAX_MS, &a->wait))
		return a;
	finish(a);
	return NULL;
}

/* ------------------------------------------------------------------------- row */

static void show_row(struct asked *a, struct row *row)
{
	struct buf body;

	buf_init(&body, 4096);
	rows_add_row(&body, a->http, row);
	rows_answer(a->req, 200, &body);
}

void rows_get(void *ctx, struct http_req *req)
{
	struct asked *a = asked_new(ctx, req, "stale at_least wait", show_row);

	if (a)
		ask(a);
}

/* ----------------------------------------------------------------------- cells */

static void gone(struct asked *a, const struct row *row)
{
	struct buf body;

	buf_init(&body, 4096);
	(void)buf_printf(&body, "{\"error\":\"below the row's floor\",\"code\":\"gone\",\"floor\":%" PRIu64
			 ",\"snapshot\":%" PRIu64 "}", row->head.floor, row->head.snapshot);
	rows_answer(a->req, 410, &body);
}

static void show_range(struct asked *a, struct row *row)
{
	uint64_t from = a->from ? a->from : row->head.floor, n = 0;
	struct row_walk walk;
	struct cell cell;
	struct buf body;

	if (from < row->head.floor) {
		gone(a, row);
		return;
	}
	buf_init(&body, ANSWER_MAX);
	(void)buf_add_str(&body, "{\"row\":");
	(void)json_text_add(&body, row_name(row));
	(void)buf_printf(&body, ",\"incarnation\":\"%016" PRIx64 "\",\"highest\":%" PRIu64 ",\"floor\":%" PRIu64
			 ",\"cells\":[", row->head.incarnation, row->applied, row->head.floor);
	row_walk(&walk, row, from);
	while (n < a->limit && body.len < RANGE_BYTES && row_walk_next(&walk, &cell) &&
	       cell.seq <= a->to) {
		(void)buf_add_str(&body, n++ ? "," : "");
		rows_add_cell(&body, row, &cell, false);
	}
	(void)buf_add_str(&body, "]}");
	rows_answer(a->req, 200, &body);
}

void rows_get_range(void *ctx, struct http_req *req)
{
	struct asked *a = asked_new(ctx, req, "from to limit stale at_least wait", show_range);

	if (!a)
		return;
	a->to = UINT64_MAX;
	a->limit = RANGE_CELLS;
	if (rows_query_number(req, "from", INT64_MAX, &a->from) &&
	    rows_query_number(req, "to", INT64_MAX, &a->to) &&
	    rows_query_number(req, "limit", RANGE_CELLS, &a->limit))
		ask(a);
	else
		finish(a);
}

/* Percent-encodes what a field could not carry. */
static void add_encoded(struct buf *out, struct mp_str text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c > ' ' && c < 0x7f && c != '%')
			(void)buf_add(out, &text.ptr[i], 1);
		else
			(void)buf_printf(out, "%%%02x", c);
	}
}

/* The cell's bytes, the rest of it in fields. */
static void answer_bytes(struct asked *a, const struct row *row, const struct cell *cell)
{
	char etag[24], incarnation[24], time[24], highest[24];
	struct buf key, origin;
	struct http_field fields[9] = { { "Content-Type", "application/octet-stream" } };

	(void)snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", cell->seq);
	(void)snprintf(incarnation, sizeof(incarnation), "%016" PRIx64, row->head.incarnation);
	(void)snprintf(time, sizeof(time), "%" PRIu64, cell->time_ms);
	(void)snprintf(highest, sizeof(highest), "%" PRIu64, row->applied);
	buf_init(&key, 3 * CELL_KEY_MAX);
	buf_init(&origin, 3 * CELL_ORIGIN_MAX);
	add_encoded(&key, cell->key);
	add_encoded(&origin, cell->origin);
	fields[1] = (struct http_field){ "ETag", etag };
	fields[2] = (struct http_field){ "Middlepipe-Row-Incarnation", incarnation };
	fields[3] = (struct http_field){ "Middlepipe-Cell-Time", time };
	fields[4] = (struct http_field){ "Middlepipe-Cell-Kind", cell_kind_name(cell->kind) };
	fields[5] = (struct http_field){ "Middlepipe-Cell-Key", buf_str(&key) };
	fields[6] = (struct http_field){ "Middlepipe-Cell-Origin", buf_str(&origin) };
	fields[7] = (struct http_field){ "Middlepipe-Row-Highest", highest };
	http_answer(a->req, 200, fields, cell->content);
	buf_fini(&key);
	buf_fini(&origin);
}

static void show_cell(struct asked *a, struct row *row)
{
	uint64_t seq = a->from ? a->from : row->applied;
	struct cell cell;
	struct buf body;

	if (seq && seq < row->head.floor) {
		gone(a, row);
	} else if (!row_cell(row, seq, &cell)) {
		http_answer_error(a->req, 404, "not_there", "the row has no such cell");
	} else if (rows_accepts(a->req, MP_LIT("application/json"))) {
		buf_init(&body, ANSWER_MAX);
		rows_add_cell(&body, row, &cell, true);
		rows_answer(a->req, 200, &body);
	} else {
		answer_bytes(a, row, &cell);
	}
}

static bool seq_of(struct mp_str text, uint64_t *ret)
{
	*ret = 0;
	if (slice_eq(text, MP_LIT("latest")))
		return true;
	return text.len && text.ptr[0] != '0' && slice_to_u64(text, ret) == 0 && *ret <= INT64_MAX;
}

void rows_get_cell(void *ctx, struct http_req *req)
{
	struct asked *a = asked_new(ctx, req, "stale at_least wait", show_cell);
	struct row *row;

	if (!a)
		return;
	if (!seq_of(http_param(req, "seq"), &a->from)) {
		http_answer_error(req, 400, "bad_request", "a cell is known by its seq, from 1, or as latest");
		finish(a);
		return;
	}
	/* A cell that is known never changes: the copy's will do. */
	row = group_copy(a->http->group) ? copy_row(group_copy(a->http->group), a->read.name) : NULL;
	if (a->from && row && row_exists(row) && a->from <= row->applied && a->at_least <= row->applied &&
	    a->from >= row->head.floor && a->from >= row_first(row)) {
		show(a, row);
		finish(a);
		return;
	}
	ask(a);
}

/* ------------------------------------------------------------------------ list */

static int by_name(const void *a, const void *b)
{
	return slice_compare(row_name(*(struct row *const *)a), row_name(*(struct row *const *)b));
}

struct row **rows_collect(struct rows_http *http, struct http_req *req, struct mp_str prefix,
			  struct mp_str after, size_t *ret_n)
{
	const struct map *rows = copy_rows(group_copy(http->group));
	struct row **found = calloc(map_count(rows) + 1, sizeof(*found));

	*ret_n = 0;
	for (struct map_entry *e = map_next(rows, NULL); found && e; e = map_next(rows, e)) {
		struct row *row = map_entry_value(e);

		if (row_exists(row) && slice_starts(row_name(row), prefix) &&
		    slice_compare(row_name(row), after) > 0 && http_may(req, RIGHT_READ, row_name(row)))
			found[(*ret_n)++] = row;
	}
	if (found)
		qsort(found, *ret_n, sizeof(struct row *), by_name);
	return found;
}

void rows_list(void *ctx, struct http_req *req)
{
	struct mp_str prefix = { 0 }, after = { 0 };
	struct rows_http *http = ctx;
	uint64_t limit = LIST_ROWS;
	struct row **rows;
	struct buf body;
	size_t n;

	if (!rows_may_somewhere(req, RIGHT_READ) || !rows_query_only(req, "prefix after limit") ||
	    !rows_query_number(req, "limit", LIST_MAX, &limit))
		return;
	if (!group_copy(http->group)) {
		http_answer_error(req, 503, "unavailable", "it has not read its rows yet");
		return;
	}
	(void)http_query(req, "prefix", &prefix);
	(void)http_query(req, "after", &after);
	rows = rows_collect(http, req, prefix, after, &n);
	if (!rows) {
		http_answer_error(req, 503, "unavailable", "out of memory");
		return;
	}
	buf_init(&body, ANSWER_MAX);
	(void)buf_add_str(&body, "{\"rows\":[");
	for (size_t i = 0; i < n && i < limit; i++) {
		(void)buf_add_str(&body, i ? "," : "");
		rows_add_row(&body, http, rows[i]);
	}
	(void)buf_printf(&body, "],\"more\":%s}", n > limit ? "true" : "false");
	free(rows);
	rows_answer(req, 200, &body);
}
