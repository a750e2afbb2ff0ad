/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams over HTTP: one row, or all whose names begin so, as server-sent
 * events or as frames; see api.h and docs/rows-api.md.
 *
 * A stream has a follower for each of its rows.  It writes as long as the
 * client reads: what the client has not read waits in the rows themselves, and
 * a client that has read nothing for a whole heartbeat and is more than 1 MiB
 * behind is sent away.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/api.h"
#include "aggregator/rows/api/events.h"
#include "aggregator/rows/subscribe.h"
#include "lib/slice.h"

#define HEARTBEAT_MS 5000
#define HEARTBEAT_LEAST_MS 100
#define HEARTBEAT_MOST_MS 60000
#define UNREAD_HIGH ((size_t)256 << 10) /* bytes; then it waits for the client */
#define UNREAD_LOW ((size_t)64 << 10)
#define BEHIND_MAX ((uint64_t)1 << 20)  /* bytes of cells */
#define EVENT_MAX ((size_t)2 << 20)     /* bytes of one event, base64 included */
#define BEAT_MAX ((size_t)1 << 20)      /* likewise of a heartbeat of many rows, but for the last */

struct stream;

/* A row of a stream. */
struct follower {
	struct subscription sub;
	struct stream *stream;
	struct list link;       /* in stream->followers */
	struct row *row;        /* that is followed */
	uint64_t told_highest, told_floor; /* of the last heartbeat */
	bool told;              /* there was one */
};

struct stream {
	struct rows_http *http;
	struct http_req *req;
	const struct stream_format *format;
	struct list link;        /* in http->streams */
	struct list wait_link;   /* in http->waiting: rows may come that it wants; to itself when none can */
	struct list followers;
	struct buf prefix;       /* of the names; empty and by_prefix: all rows; else the name that is waited for */
	uint64_t from;           /* seq to begin with in the row that is waited for */
	bool by_prefix;
	bool blocked;            /* the client has to read first */
	bool failed;             /* an event could not be made: it ends with the next heartbeat */
	bool ending;             /* the farewell was sent */
	size_t unread;           /* at the last heartbeat */
	struct buf out;          /* an event in the making */
	uv_timer_t timer;        /* heartbeats */
};

/* ---------------------------------------------------------------------- life cycle */

static void on_closed(uv_handle_t *handle)
{
	struct stream *s = handle->data;

	buf_fini(&s->prefix);
	buf_fini(&s->out);
	free(s);
}

static void free_followers(struct stream *s)
{
	LIST_FOR_EACH_SAFE(link, &s->followers) {
		struct follower *f = LIST_ENTRY_OF(link, struct follower, link);

		subscription_stop(&f->sub);
		free(f);
	}
	list_init(&s->followers);
}

/* Nothing comes from it any more; its memory goes when its timer has. */
static void stream_close(struct stream *s, struct mp_str farewell)
{
	if (s->ending)
		return;
	s->ending = true;
	free_followers(s);
	list_remove(&s->link);
	list_remove(&s->wait_link);
	http_stream_end(s->req, farewell);
	uv_timer_stop(&s->timer);
	uv_close((uv_handle_t *)&s->timer, on_closed);
}

static void stream_end(struct stream *s, const char *code, const char *why, uint64_t floor)
{
	if (s->ending)
		return;
	buf_reset(&s->out);
	s->format->end(&s->out, code, why, floor);
	stream_close(s, buf_slice(&s->out));
}

static void on_gone(void *ctx)
{
	stream_close(ctx, (struct mp_str){ 0 });
}

void rows_end_streams(struct rows_http *http, const char *code, const char *why)
{
	while (!list_empty(&http->streams))
		stream_end(LIST_ENTRY_OF(http->streams.next, struct stream, link), code, why, 0);
}

/* ------------------------------------------------------------------------- writing */

static void pump_all(struct stream *s)
{
	LIST_FOR_EACH_SAFE(link, &s->followers) {
		if (s->blocked || s->ending)
			return;
		subscription_pump(&LIST_ENTRY_OF(link, struct follower, link)->sub);
	}
}

static void on_drained(void *ctx)
{
	struct stream *s = ctx;

	if (s->ending)
		return;
	s->blocked = false;
	pump_all(s);
}

/*
 * What stands in s->out, all or nothing of it.  False: nothing, and it has to come again.  Either way the
 * client may have to read first: a large cell may need all the room that there is.
 */
static bool write_out(struct stream *s)
{
	int rc = s->out.error ? s->out.error : http_stream_write(s->req, buf_slice(&s->out));

	s->failed |= rc && rc != -ENOBUFS && rc != -EPIPE;
	s->blocked = rc || http_stream_unread(s->req) > UNREAD_HIGH;
	if (!rc && s->blocked)
		http_stream_on_drain(s->req, UNREAD_LOW, on_drained, s);
	else if (rc == -ENOBUFS)
		http_stream_on_drain(s->req, 0, on_drained, s);
	return !rc;
}

static int on_cell(struct subscription *sub, const struct cell *cell)
{
	struct follower *f = (struct follower *)(void *)((char *)sub - offsetof(struct follower, sub));
	struct stream *s = f->stream;

	if (s->blocked)
		return -EAGAIN;
	buf_reset(&s->out);
	s->format->cell(&s->out, sub->row, cell);
	return write_out(s) ? 0 : -EAGAIN;
}

static void on_ended(struct subscription *sub, const char *why)
{
	struct follower *f = (struct follower *)(void *)((char *)sub - offsetof(struct follower, sub));
	struct stream *s = f->stream;

	if (!s->by_prefix) {
		stream_end(s, "gone", why, sub->row->head.floor);
		return;
	}
	/* Others go on; the row may come again, or has: what it has now nothing else would send. */
	f->told = false;
	(void)subscription_start(sub, f->row, 0, 0, true);
	subscription_pump(sub);
}

/* ----------------------------------------------------------------------- heartbeat */

static void beat_row(struct stream *s, struct follower *f)
{
	const struct head *head = &f->row->head;

	/* Of another life only when its cells are here: then this follower ends, and another begins. */
	if (!row_exists(f->row) || f->sub.incarnation != head->incarnation ||
	    (s->by_prefix && f->told && f->told_highest == head->last && f->told_floor == head->floor))
		return;
	s->format->heartbeat(&s->out, f->row);
	f->told = true;
	f->told_highest = head->last;
	f->told_floor = head->floor;
}

/* Cells of the row that the client was not sent yet. */
static uint64_t cells_behind(const struct follower *f)
{
	return f->sub.next && f->row->applied >= f->sub.next ? f->row->applied + 1 - f->sub.next : 0;
}

static uint64_t bytes_behind(const struct stream *s)
{
	uint64_t bytes = 0;

	LIST_FOR_EACH(link, &s->followers) {
		const struct follower *f = LIST_ENTRY_OF(link, struct follower, link);
		const struct row *row = f->row;
		uint64_t held = row->applied + 1 - row_first(row), behind = cells_behind(f);

		bytes += held && behind <= held ? row->bytes / held * behind : 0;
	}
	return bytes;
}

struct rows_lag rows_streams_lag(const struct rows_http *http)
{
	struct rows_lag lag = { 0 };

	LIST_FOR_EACH(link, &http->streams) {
		const struct stream *s = LIST_ENTRY_OF(link, struct stream, link);
		uint64_t bytes = bytes_behind(s) + http_stream_unread(s->req);

		lag.bytes += bytes;
		lag.bytes_max = bytes > lag.bytes_max ? bytes : lag.bytes_max;
		LIST_FOR_EACH(follower, &s->followers) {
			uint64_t cells = cells_behind(LIST_ENTRY_OF(follower, struct follower, link));

			lag.cells_max = cells > lag.cells_max ? cells : lag.cells_max;
		}
	}
	return lag;
}

/* Rights are taken away, and a stream has no end: whoever may read no longer is told. */
static bool may_read(const struct stream *s)
{
	const struct follower *first = list_empty(&s->followers) ? NULL :
				       LIST_ENTRY_OF(s->followers.next, struct follower, link);

	http_find_again(s->req);
	return http_may(s->req, RIGHT_READ, s->by_prefix || !first ? buf_slice(&s->prefix) : row_name(first->row));
}

static void beat(struct stream *s)
{
	size_t unread = http_stream_unread(s->req);

	if (!may_read(s)) {
		stream_end(s, "forbidden", "the right to read it was taken away", 0);
		return;
	}
	if (s->failed) {
		stream_end(s, "unavailable", "out of memory", 0);
		return;
	}
	if (s->blocked && s->unread && unread >= s->unread && bytes_behind(s) > BEHIND_MAX) {
		s->http->slow++;
		stream_end(s, "slow", "the client does not read, and is more than 1 MiB behind", 0);
		return;
	}
	s->unread = s->blocked ? unread : 0;
	if (s->blocked)
		return; /* it has enough to read */
	buf_reset(&s->out);
	LIST_FOR_EACH(link, &s->followers)
		if (s->out.len < BEAT_MAX) /* the rest is told with the next one */
			beat_row(s, LIST_ENTRY_OF(link, struct follower, link));
	if (!s->out.len)
		s->format->heartbeat(&s->out, NULL);
	if (!write_out(s))
		LIST_FOR_EACH(link, &s->followers)
			LIST_ENTRY_OF(link, struct follower, link)->told = false;
}

static void on_timer(uv_timer_t *timer)
{
	beat(timer->data);
}

/* --------------------------------------------------------------------------- start */

static struct follower *follow(struct stream *s, struct row *row)
{
	struct follower *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->stream = s;
	f->row = row;
	f->sub.cell = on_cell;
	f->sub.ended = on_ended;
	list_push_back(&s->followers, &f->link);
	return f;
}

static bool follows(const struct stream *s, const struct row *row)
{
	LIST_FOR_EACH(link, &row->followers) {
		const struct subscription *sub = LIST_ENTRY_OF(link, struct subscription, link);

		/* Reads that wait for a cell follow rows as well. */
		if (sub->cell == on_cell && LIST_ENTRY_OF(sub, struct follower, sub)->stream == s)
			return true;
	}
	return false;
}

/* Is that a row that it waits for? */
static bool wants(const struct stream *s, const struct row *row)
{
	if (!s->by_prefix)
		return row_exists(row) && slice_eq(row_name(row), buf_slice(&s->prefix));
	return slice_starts(row_name(row), buf_slice(&s->prefix)) && row_exists(row) && !follows(s, row);
}

/*
 * A row that has come.  By prefix: from where it was when the stream began, which is the floor.  One that
 * nobody has made has no place in the copy, so that who may only read takes none.
 */
static void add_row(struct stream *s, struct row *row)
{
	struct follower *f;

	if (!wants(s, row))
		return;
	f = follow(s, row);
	if (!f) {
		stream_end(s, "unavailable", "out of memory", 0);
		return;
	}
	if (!s->by_prefix)
		list_remove(&s->wait_link);
	if (subscription_start(&f->sub, row, s->from, 0, true) == SUBSCRIBE_OK)
		subscription_pump(&f->sub);
	else
		stream_end(s, "gone", "the row's floor has passed what was to come first", row->head.floor);
}

/*
 * For each change of each row: only a row that has come concerns those who wait, many as they may be.
 * Its end and its next life may come as one change.
 */
void rows_streams_row(struct rows_http *http, struct row *row)
{
	uint64_t before = row->announced;

	row->announced = row_exists(row) ? row->head.incarnation : 0;
	if (!row->announced || row->announced == before)
		return;
	LIST_FOR_EACH_SAFE(link, &http->waiting)
		add_row(LIST_ENTRY_OF(link, struct stream, wait_link), row);
	rows_reads_row(http, row);
}

static void add_rows(struct stream *s)
{
	const struct map *rows = copy_rows(group_copy(s->http->group));

	for (struct map_entry *e = map_next(rows, NULL); e && !s->ending; e = map_next(rows, e))
		add_row(s, map_entry_value(e));
}

/* The first thing a client reads is a heartbeat: it tells how far there is to go. */
static void run(struct stream *s, uint64_t every_ms)
{
	struct http_field fields[] = { { "Content-Type", s->format->type }, { "Cache-Control", "no-store" },
				       { NULL, NULL } };

	uv_timer_init(group_loop(s->http->group), &s->timer);
	s->timer.data = s;
	list_push_back(&s->http->streams, &s->link);
	s->http->n_streams++;
	if (http_stream_open(s->req, 200, fields) < 0) {
		stream_close(s, (struct mp_str){ 0 });
		return;
	}
	http_on_gone(s->req, on_gone, s);
	uv_timer_start(&s->timer, on_timer, every_ms, every_ms);
	beat(s);
	if (s->ending)
		return;
	if (s->by_prefix || list_empty(&s->followers))
		list_push_back(&s->http->waiting, &s->wait_link);
	if (s->by_prefix)
		add_rows(s);
	else
		pump_all(s);
}

static void stream_free(struct stream *s)
{
	free_followers(s);
	buf_fini(&s->prefix);
	buf_fini(&s->out);
	free(s);
}

static struct stream *stream_new(struct rows_http *http, struct http_req *req)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->http = http;
	s->req = req;
	s->format = &rows_stream_formats[rows_accepts(req, slice_of(rows_stream_formats[STREAM_FRAMES].type)) ?
					 STREAM_FRAMES : STREAM_SSE];
	list_init(&s->link);
	list_init(&s->wait_link);
	list_init(&s->followers);
	buf_init(&s->prefix, ROW_NAME_MAX);
	buf_init(&s->out, EVENT_MAX);
	return s;
}

/* What the query asks for. */
struct wish {
	struct mp_str row, prefix; /* one of them */
	bool by_prefix;
	uint64_t from, incarnation, every_ms;
	bool wait;                 /* for a row that is not there */
};

static bool mistake(struct http_req *req, const char *why)
{
	http_answer_error(req, 400, "bad_request", "%s", why);
	return false;
}

/* What goes with a row only. */
static bool read_row_wish(struct http_req *req, struct wish *ret)
{
	struct mp_str text;
	struct err err = { 0 };

	if (row_name_check(ret->row, &err) < 0)
		return mistake(req, err.text);
	ret->wait = http_query(req, "create", &text);
	if (ret->wait && !slice_eq(text, MP_LIT("wait")))
		return mistake(req, "create wants wait");
	if (http_query(req, "incarnation", &text) && !rows_incarnation(text, &ret->incarnation))
		return mistake(req, "incarnation wants 16 lower-case hex digits");
	return rows_query_number(req, "from", INT64_MAX, &ret->from);
}

/* False: answered. */
static bool read_wish(struct http_req *req, struct wish *ret)
{
	bool row = http_query(req, "row", &ret->row);

	ret->by_prefix = http_query(req, "prefix", &ret->prefix);
	ret->every_ms = HEARTBEAT_MS;
	if (row == ret->by_prefix)
		return mistake(req, "wants row or prefix, and not both");
	if (!rows_query_only(req, row ? "row from incarnation create heartbeat" : "prefix heartbeat"))
		return false;
	if (row && !read_row_wish(req, ret))
		return false;
	if (!rows_query_number(req, "heartbeat", HEARTBEAT_MOST_MS, &ret->every_ms))
		return false;
	if (ret->every_ms < HEARTBEAT_LEAST_MS)
		return mistake(req, "heartbeat wants 100 to 60000 ms");
	if (http_may(req, RIGHT_READ, row ? ret->row : ret->prefix))
		return true;
	http_deny(req);
	return false;
}

/* EventSource says so where it goes on: seq@incarnation, as events have it, or the seq alone. */
static void read_last_event(struct http_req *req, struct wish *wish)
{
	struct mp_str text, life;
	uint64_t seq, incarnation = wish->incarnation;

	if (!http_header(req, "Last-Event-ID", &text) ||
	    (slice_cut(text, '@', &text, &life) && !rows_incarnation(life, &incarnation)) ||
	    slice_to_u64(text, &seq) < 0 || seq >= INT64_MAX)
		return;
	wish->from = seq + 1;
	wish->incarnation = incarnation;
}

/* row NULL: there never was one. */
static void answer_gone(struct http_req *req, const struct row *row)
{
	const struct head head = row ? row->head : (struct head){ 0 };
	struct buf body;

	buf_init(&body, 4096);
	(void)buf_printf(&body, "{\"error\":\"below the row's floor, or of another life of the row\","
			 "\"code\":\"gone\",\"floor\":%" PRIu64 ",\"snapshot\":%" PRIu64
			 ",\"incarnation\":\"%016" PRIx64 "\"}",
			 head.floor ? head.floor : 1, head.snapshot, head.incarnation);
	rows_answer(req, 410, &body);
}

static void start_row(struct stream *s, const struct wish *wish)
{
	enum subscribe_answer answer = SUBSCRIBE_NOT_THERE;
	struct row *row = copy_row(group_copy(s->http->group), wish->row);
	struct follower *f = NULL;

	s->from = wish->from;
	if (row && (f = follow(s, row)))
		answer = subscription_start(&f->sub, row, wish->from, wish->incarnation, wish->wait);
	else if (!row && wish->wait && wish->incarnation)
		answer = SUBSCRIBE_GONE;
	else if (!row && wish->wait && buf_add_slice(&s->prefix, wish->row) == 0)
		answer = SUBSCRIBE_OK; /* add_row() */
	if (answer == SUBSCRIBE_OK) {
		run(s, wish->every_ms);
		return;
	}
	if (answer == SUBSCRIBE_GONE)
		answer_gone(s->req, row);
	else if (row && !f)
		http_answer_error(s->req, 503, "unavailable", "out of memory");
	else
		http_answer_error(s->req, 404, "not_there", "no such row");
	stream_free(s);
}

void rows_subscribe(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct wish wish = { 0 };
	struct stream *s;

	if (!read_wish(req, &wish))
		return;
	read_last_event(req, &wish);
	s = group_copy(http->group) ? stream_new(http, req) : NULL;
	if (!s) {
		http_answer_error(req, 503, "unavailable", "it has not read its rows yet");
		return;
	}
	s->by_prefix = wish.by_prefix;
	if (s->by_prefix && s->format == &rows_stream_formats[STREAM_SSE])
		s->format = &rows_stream_formats[STREAM_SSE_MANY];
	(void)buf_add_slice(&s->prefix, wish.prefix);
	if (wish.by_prefix)
		run(s, wish.every_ms);
	else
		start_row(s, &wish);
}
