/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subscriptions of the client of rows; see rows_client.h.
 *
 * A stream that breaks, falls silent or is ended by its member is resumed behind
 * the last cell at another one.  A member that says that what comes next is gone
 * may be behind: the row itself is asked, which is linearizable, before the
 * subscriber is told.  A stream by prefix has no place to resume at: it begins
 * anew, and what was seen is left out.
 *
 * libcurl's data() only keeps the bytes; they are looked at when it may be called
 * again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/rows_client_priv.h"
#include "lib/rows_frames.h"
#include "lib/rows_lives.h"
#include "lib/slice.h"

#define HEARTBEAT_MS 5000
#define HEARTBEAT_LEAST_MS 100
#define HEARTBEAT_MOST_MS 60000
#define BYTES_MAX ((size_t)8 << 20) /* that came and were not looked at: a round brings 1 MiB */
#define ROWS_MAX 100000             /* of a prefix */
#define BUSY_MS 100                 /* a member that cannot serve it is left alone for so long */

struct rows_subscription {
	struct list link;           /* in client->subscriptions */
	struct list ready;          /* in client->ready, while there are bytes */
	struct rowc_waiter waiter;  /* for the next connection; while there is one, for its silence */
	struct rows_client *client;
	struct rows_subscribe_calls calls;
	struct buf name;            /* of the row, or prefix */
	bool by_prefix, wait;       /* as in struct rows_subscribe */
	bool joining;               /* where to begin is to be asked first */
	uint64_t heartbeat_ms;
	uint64_t incarnation;       /* 0: that of the first cell */
	uint64_t next;              /* seq; 0: the first that comes */
	bool seen;                  /* the cells before `next` were there, in that incarnation */
	unsigned ahead;             /* heartbeats, one behind the other, of a row that ends before `next` */
	uint64_t told;              /* the highest seq of which a heartbeat was told; of one row only */
	struct map places;          /* by prefix: struct rows_lives by name; owned */
	struct http_task *task;     /* the stream */
	struct rowc_request *asking; /* the row itself */
	struct buf bytes;           /* of the stream, or of a refusal */
	bool streams;               /* they are frames */
	uint64_t connection;        /* number of the stream, from 1 */
	uint64_t alive_at;          /* when something came last */
	uint32_t tries;             /* connections since the last cell or heartbeat */
	size_t member;              /* of the stream */
	bool busy;                  /* its callbacks are under way: it is freed behind them */
	bool dead;                  /* it has ended */
};

/* ----------------------------------------------------------------------- the end */

static void sub_free(struct rows_subscription *sub)
{
	for (struct map_entry *e = map_next(&sub->places, NULL); e; e = map_next(&sub->places, e))
		free(map_entry_value(e));
	map_fini(&sub->places);
	buf_fini(&sub->name);
	buf_fini(&sub->bytes);
	free(sub);
}

/* Nothing comes any more.  It is gone, unless it is busy. */
static void sub_kill(struct rows_subscription *sub)
{
	list_remove(&sub->link);
	list_remove(&sub->ready);
	list_remove(&sub->waiter.link);
	http_task_cancel(sub->task);
	rowc_request_cancel(sub->asking);
	sub->task = NULL;
	sub->asking = NULL;
	sub->dead = true;
	if (!sub->busy)
		sub_free(sub);
}

static void sub_end(struct rows_subscription *sub, const struct rows_ended *ended)
{
	struct rows_subscribe_calls calls = sub->calls;
	bool busy = sub->busy;

	sub->busy = true; /* what `ended` points to is the subscription's */
	sub_kill(sub);
	if (calls.ended)
		calls.ended(calls.ctx, ended);
	sub->busy = busy;
	if (!busy)
		sub_free(sub);
}

void rowc_subscriptions_drop(struct rows_client *client)
{
	struct list *link;

	while ((link = list_pop_front(&client->subscriptions)))
		sub_kill(LIST_ENTRY_OF(link, struct rows_subscription, link));
}

/* -------------------------------------------------------------------- connections */

static uint64_t silence(const struct rows_subscription *sub)
{
	return sub->heartbeat_ms * 5 / 2;
}

/* The stream is of no use any more: another one follows. */
static void sub_break(struct rows_subscription *sub)
{
	struct rows_client *client = sub->client;

	http_task_cancel(sub->task);
	sub->task = NULL;
	sub->tries++;
	rowc_wait(client, &sub->waiter,
		  rowc_now(client) + rows_pause(sub->tries, client->members.n, rowc_chance(client)));
}

static void on_asked(void *ctx, const struct rows_answer *answer);

/* What the row itself says. */
static void ask(struct rows_subscription *sub)
{
	int rc;

	http_task_cancel(sub->task);
	sub->task = NULL;
	list_remove(&sub->waiter.link);
	sub->asking = rowc_request_new(sub->client, &rowc_kind_row, buf_slice(&sub->name), on_asked, sub, &rc);
	if (sub->asking)
		rowc_request_start(sub->asking, 0, 0);
	else
		sub_break(sub); /* later */
}

static void add_query(const struct rows_subscription *sub, struct buf *out)
{
	(void)buf_add_str(out, sub->by_prefix ? "/v1/subscribe?prefix=" : "/v1/subscribe?row=");
	rowc_add_escaped(out, buf_slice(&sub->name));
	(void)buf_printf(out, "&heartbeat=%" PRIu64, sub->heartbeat_ms);
	if (sub->next)
		(void)buf_printf(out, "&from=%" PRIu64, sub->next);
	if (sub->incarnation)
		(void)buf_printf(out, "&incarnation=%016" PRIx64, sub->incarnation);
	else if (sub->wait)
		(void)buf_add_str(out, "&create=wait");
}

static bool on_data(void *ctx, struct mp_str bytes);
static void on_done(void *ctx, const struct http_multi_end *end);

static void sub_connect(struct rows_subscription *sub)
{
	const struct http_multi_calls calls = { .data = on_data, .done = on_done, .ctx = sub };
	struct rows_client *client = sub->client;
	uint64_t until, now = rowc_now(client);
	const char *fields[] = { "Accept: application/vnd.middlepipe.frames",
				 client->authorization.len ? buf_str(&client->authorization) : NULL, NULL };
	size_t member = rows_members_pick(&client->members, ROWS_NOBODY, sub->member, now, rowc_chance(client), &until);
	struct buf url;

	if (member == ROWS_NOBODY) {
		rowc_wait(client, &sub->waiter, until);
		return;
	}
	sub->member = member;
	sub->connection++;
	sub->alive_at = now;
	sub->streams = false;
	buf_reset(&sub->bytes);
	buf_init(&url, ROWS_URL_MAX + ROWS_TARGET_MAX);
	(void)buf_add_str(&url, client->urls[member]);
	add_query(sub, &url);
	if (!url.error)
		sub->task = http_multi_start(client->http, &(struct http_multi_request){ .url = url.ptr,
					     .fields = fields }, &calls);
	buf_fini(&url);
	if (sub->task)
		rowc_wait(client, &sub->waiter, now + silence(sub));
	else
		sub_break(sub);
}

static void on_wait(struct rowc_waiter *waiter)
{
	struct rows_subscription *sub = ROWC_OF(waiter, struct rows_subscription, waiter);
	uint64_t now = rowc_now(sub->client);

	if (!sub->task && sub->joining) {
		ask(sub);
	} else if (!sub->task) {
		sub_connect(sub);
	} else if (now - sub->alive_at < silence(sub)) {
		rowc_wait(sub->client, waiter, sub->alive_at + silence(sub));
	} else {
		rows_members_told(&sub->client->members, sub->member, false, now, rowc_chance(sub->client));
		sub_break(sub);
	}
}

/* ------------------------------------------------------------------- the row itself */

/* Where a join begins. */
static void begin(struct rows_subscription *sub, const struct rows_answer *answer)
{
	sub->joining = false;
	sub->incarnation = answer->incarnation;
	sub->seen = answer->outcome == ROWS_OK;
	sub->next = answer->highest + 1;
	rowc_wait(sub->client, &sub->waiter, rowc_now(sub->client));
}

static void on_asked(void *ctx, const struct rows_answer *answer)
{
	struct rows_subscription *sub = ctx;
	bool there = answer->outcome == ROWS_OK, absent = answer->outcome == ROWS_NOT_THERE;
	bool other = there && ((sub->incarnation && sub->incarnation != answer->incarnation) ||
			       (sub->next && sub->next < answer->floor));
	bool lost = there && !other && sub->seen && sub->next > answer->highest + 1;
	struct rows_ended ended = { .outcome = ROWS_GONE, .why = answer->why };

	sub->asking = NULL;
	if (sub->joining && (there || absent)) {
		begin(sub, answer);
	} else if (answer->outcome == ROWS_REJECTED) {
		ended.outcome = ROWS_REJECTED;
		sub_end(sub, &ended);
	} else if (other || lost) {
		ended.incarnation = answer->incarnation;
		ended.floor = answer->floor;
		ended.why = lost ? "cells that were seen are not there: an older state of the row was restored" :
				   "the row was made again, or its floor has passed what was to come next";
		sub_end(sub, &ended);
	} else if (absent && (sub->incarnation || !sub->wait)) {
		ended.outcome = sub->incarnation ? ROWS_GONE : ROWS_NOT_THERE;
		sub_end(sub, &ended);
	} else {
		sub_break(sub); /* the member was behind, or nobody knows */
	}
}

/* ----------------------------------------------------------------------- frames */

/* What becomes of the stream. */
enum next { GO_ON, BREAK, ASK };

static void tell_cell(struct rows_subscription *sub, const struct rows_frame *frame)
{
	const struct rows_cell cell = { .row = frame->row, .incarnation = frame->incarnation, .seq = frame->seq,
					.kind = frame->cell_kind, .time_ms = frame->time, .key = frame->key,
					.origin = frame->origin, .content = frame->content };

	sub->tries = 0;
	sub->calls.cell(sub->calls.ctx, &cell);
}

static enum next row_cell(struct rows_subscription *sub, const struct rows_frame *frame)
{
	if (!sub->incarnation)
		sub->incarnation = frame->incarnation;
	if (!slice_eq(frame->row, buf_slice(&sub->name)) || frame->incarnation != sub->incarnation ||
	    (sub->next && frame->seq > sub->next))
		return BREAK; /* that was not asked for */
	if (frame->seq < sub->next)
		return GO_ON;
	sub->next = frame->seq + 1;
	sub->seen = true;
	tell_cell(sub, frame);
	return GO_ON;
}

/* NULL without memory, or when there are too many. */
static struct rows_lives *place_of(struct rows_subscription *sub, struct mp_str row)
{
	struct rows_lives *place = map_get(&sub->places, row);

	if (place)
		return place;
	place = calloc(1, sizeof(*place));
	if (place && map_put(&sub->places, row, place, NULL) < 0) {
		free(place);
		place = NULL;
	}
	return place;
}

static enum next prefix_cell(struct rows_subscription *sub, const struct rows_frame *frame)
{
	const struct rows_ended many = { .outcome = ROWS_REJECTED, .why = "too many rows begin so" };
	struct rows_lives *place = place_of(sub, frame->row);
	bool first, gap;

	if (!slice_starts(frame->row, buf_slice(&sub->name)))
		return BREAK;
	if (!place) {
		sub_end(sub, &many);
		return GO_ON;
	}
	first = place->connection != sub->connection;
	if (!rows_lives_enter(place, frame->incarnation, sub->connection) || frame->seq < place->now.next)
		return GO_ON;
	gap = place->now.next && frame->seq > place->now.next;
	if (gap && !first)
		return BREAK;
	if (gap && sub->calls.missed)
		sub->calls.missed(sub->calls.ctx, frame->row, frame->seq);
	if (sub->dead)
		return GO_ON;
	place->now.next = frame->seq + 1;
	tell_cell(sub, frame);
	return GO_ON;
}

static enum next on_cell(struct rows_subscription *sub, const struct rows_frame *frame)
{
	return sub->by_prefix ? prefix_cell(sub, frame) : row_cell(sub, frame);
}

/* The row ends before what was seen.  A member that is behind says so once; then the row itself is asked. */
static bool is_ahead(struct rows_subscription *sub, const struct rows_frame *beat)
{
	bool ahead = !sub->by_prefix && sub->seen && sub->next > beat->seq + 1;

	sub->ahead = ahead ? sub->ahead + 1 : 0;
	return sub->ahead > 1;
}

/* What the subscriber of a row is told does not go back, though the next member may be behind the one before. */
static void tell_heartbeat(struct rows_subscription *sub, const struct rows_frame *frame)
{
	const struct rows_beat beat = { frame->row, frame->incarnation, frame->seq, frame->time };

	if (!sub->calls.heartbeat || sub->ahead || (!sub->by_prefix && frame->seq < sub->told))
		return;
	sub->told = frame->seq;
	sub->calls.heartbeat(sub->calls.ctx, &beat);
}

static enum next on_heartbeat(struct rows_subscription *sub, const struct rows_frame *frame)
{
	sub->tries = 0;
	if (!frame->row.len)
		return GO_ON;
	if (!sub->by_prefix && sub->incarnation && sub->incarnation != frame->incarnation)
		return ASK;
	if (is_ahead(sub, frame))
		return ASK;
	if (!sub->by_prefix)
		sub->incarnation = frame->incarnation;
	tell_heartbeat(sub, frame);
	return GO_ON;
}

static enum next on_end(struct rows_subscription *sub, const struct rows_frame *frame)
{
	struct rows_member *member = &sub->client->members.all[sub->member];

	if (slice_eq(frame->key, MP_LIT("gone")) && !sub->by_prefix)
		return ASK;
	if (!slice_eq(frame->key, MP_LIT("slow")))
		member->not_before = rowc_now(sub->client) + BUSY_MS;
	return BREAK;
}

static enum next (*const on_frame[])(struct rows_subscription *sub, const struct rows_frame *frame) = {
	[ROWS_FRAME_CELL] = on_cell,
	[ROWS_FRAME_HEARTBEAT] = on_heartbeat,
	[ROWS_FRAME_END] = on_end,
};

/* All frames that are there.  They may end it. */
static enum next read_frames(struct rows_subscription *sub)
{
	enum next next = GO_ON;
	size_t at = 0;

	while (next == GO_ON && !sub->dead) {
		struct rows_frame frame;
		int size = rows_frame_read(slice_skip(buf_slice(&sub->bytes), at), &frame, NULL);

		if (size < 0)
			next = BREAK;
		if (size <= 0)
			break;
		at += (size_t)size;
		if (frame.kind < sizeof(on_frame) / sizeof(on_frame[0]) && on_frame[frame.kind])
			next = on_frame[frame.kind](sub, &frame);
	}
	buf_consume(&sub->bytes, at);
	return next;
}

/* GO_ON as well when it is gone. */
static enum next look(struct rows_subscription *sub, bool *ret_gone)
{
	enum next next = GO_ON;

	sub->busy = true;
	if (sub->streams)
		next = read_frames(sub);
	sub->busy = false;
	*ret_gone = sub->dead;
	if (sub->dead)
		sub_free(sub);
	return *ret_gone ? GO_ON : next;
}

static void follow(struct rows_subscription *sub, enum next next)
{
	if (next == ASK)
		ask(sub);
	else if (next == BREAK)
		sub_break(sub);
}

void rowc_subscriptions_turn(struct rows_client *client)
{
	struct list *link;

	while ((link = list_pop_front(&client->ready))) {
		struct rows_subscription *sub = LIST_ENTRY_OF(link, struct rows_subscription, ready);
		bool gone;
		enum next next = look(sub, &gone);

		if (!gone)
			follow(sub, next);
	}
}

/* ------------------------------------------------------------------------ the stream */

static bool on_data(void *ctx, struct mp_str bytes)
{
	struct rows_subscription *sub = ctx;

	sub->streams = http_task_status(sub->task) == 200;
	sub->alive_at = rowc_now(sub->client);
	if (list_empty(&sub->ready))
		list_push_back(&sub->client->ready, &sub->ready);
	return buf_add_slice(&sub->bytes, bytes) == 0;
}

/* A status that is no stream. */
static void refused(struct rows_subscription *sub, int status)
{
	CLEANUP_JSON json_t *root = NULL;
	struct rows_member *member = &sub->client->members.all[sub->member];
	struct rows_ended ended = { .outcome = ROWS_REJECTED, .why = "the member does not allow it" };

	(void)json_load_text(buf_slice(&sub->bytes), BYTES_MAX, 4, &root, NULL); /* then there is no text */
	if (json_is_string(json_object_get(root, "error")))
		ended.why = json_string_value(json_object_get(root, "error"));
	if ((status == 404 || status == 410) && !sub->by_prefix) {
		ask(sub);
	} else if (status == 400 || status == 401 || status == 403) {
		sub_end(sub, &ended);
	} else {
		member->not_before = rowc_now(sub->client) + BUSY_MS;
		sub_break(sub);
	}
}

static void on_done(void *ctx, const struct http_multi_end *end)
{
	struct rows_subscription *sub = ctx;
	struct rows_client *client = sub->client;
	enum next next;
	bool gone;

	sub->task = NULL;
	list_remove(&sub->ready);
	rows_members_told(&client->members, sub->member, end->status || sub->streams, rowc_now(client),
			  rowc_chance(client));
	if (end->status && end->status != 200) {
		refused(sub, end->status);
		return;
	}
	next = look(sub, &gone);
	if (!gone)
		follow(sub, next == GO_ON ? BREAK : next);
}

/* ----------------------------------------------------------------------- the calls */

static int check(const struct rows_subscribe *s, struct err *err)
{
	if (!s->by_prefix && rowc_name_check(s->name, err) < 0)
		return -EINVAL;
	if (s->by_prefix && (s->name.len > 256 || s->from > 1 || s->incarnation))
		return err_set(err, -EINVAL, "a prefix has 256 bytes at most, and all of its rows begin at their floors");
	if (s->from > INT64_MAX)
		return err_set(err, -EINVAL, "no seq is so high");
	if (s->heartbeat_ms && (s->heartbeat_ms < HEARTBEAT_LEAST_MS || s->heartbeat_ms > HEARTBEAT_MOST_MS))
		return err_set(err, -EINVAL, "a heartbeat comes every %d to %d ms", HEARTBEAT_LEAST_MS,
			       HEARTBEAT_MOST_MS);
	return 0;
}

static int start(struct rows_client *client, const struct rows_subscribe *s, const struct rows_subscribe_calls *calls,
		 bool joining, struct rows_subscription **ret, struct err *err)
{
	struct rows_subscription *sub;

	if (check(s, err) < 0)
		return -EINVAL;
	if (client->closed)
		return err_set(err, -EINVAL, "the client is being closed");
	sub = calloc(1, sizeof(*sub));
	if (!sub)
		return err_set(err, -ENOMEM, "out of memory");
	*sub = (struct rows_subscription){ .client = client, .calls = *calls, .by_prefix = s->by_prefix,
					   .wait = s->wait, .joining = joining, .incarnation = s->incarnation,
					   .seen = s->incarnation && s->from,
					   .next = s->by_prefix ? 0 : s->from, .member = ROWS_NOBODY,
					   .heartbeat_ms = s->heartbeat_ms ? s->heartbeat_ms : HEARTBEAT_MS };
	list_init(&sub->link);
	list_init(&sub->ready);
	list_init(&sub->waiter.link);
	sub->waiter.fire = on_wait;
	map_init(&sub->places, ROWS_MAX);
	buf_init(&sub->name, 256);
	buf_init(&sub->bytes, BYTES_MAX);
	if (buf_add_slice(&sub->name, s->name) < 0) {
		sub_free(sub);
		return err_set(err, -ENOMEM, "out of memory");
	}
	list_push_back(&client->subscriptions, &sub->link);
	rowc_wait(client, &sub->waiter, rowc_now(client));
	*ret = sub;
	return 0;
}

int rows_client_subscribe(struct rows_client *client, const struct rows_subscribe *subscribe,
			  const struct rows_subscribe_calls *calls, struct rows_subscription **ret, struct err *err)
{
	return start(client, subscribe, calls, false, ret, err);
}

void rows_client_unsubscribe(struct rows_subscription *sub)
{
	if (sub)
		sub_kill(sub);
}

int rows_client_join(struct rows_client *client, struct mp_str row, const struct rows_subscribe_calls *calls,
		     struct rows_subscription **ret, struct err *err)
{
	return start(client, &(struct rows_subscribe){ .name = row, .wait = true }, calls, true, ret, err);
}

void rows_client_leave(struct rows_subscription *sub)
{
	rows_client_unsubscribe(sub);
}
