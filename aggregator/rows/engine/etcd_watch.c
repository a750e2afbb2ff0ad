/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches of the etcd engine: a stream each, on a connection of its own.  It is read
 * as it comes; events stay until their transaction is whole, then they are told.
 * See etcd_priv.h.
 *
 * A transaction is whole when an event of a later one has come, or with the end of an
 * answer of which no further fragment follows: etcd never parts one over two.
 */
#include "aggregator/rows/engine/etcd_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "aggregator/rows/engine/etcd_body.h"
#include "lib/slice.h"

struct watch {
	struct list link;          /* in struct etcd */
	struct etcd *etcd;
	uint64_t id;               /* from 1 */
	struct buf from, end;      /* its range */
	uint64_t told;             /* revision up to which everything was told; 0: it begins now */
	struct engine_watch calls; /* whom it tells */
	struct endpoint *at;       /* where it is; NULL: it waits for one */
	struct http_task *post;    /* its stream */
	struct buf body;           /* of the request */
	struct etcd_answer answer; /* what comes */
	uint64_t due;              /* when it must have begun */
	uint64_t cluster;          /* that the stream is of; 0: it has not said */
	size_t settled;            /* events of whole answers */
	bool created;              /* it has begun */
	bool over;                 /* it ends as soon as that can be told */
	bool trouble;              /* and so does what else is at that endpoint, perhaps */
	bool gone;                 /* unwatched while it was told something */
	uint64_t compacted;        /* of its end */
	char why[256];             /* of its end */
};

static struct watch *find(struct etcd *e, uint64_t id)
{
	LIST_FOR_EACH(link, &e->watches) {
		struct watch *w = LIST_ENTRY_OF(link, struct watch, link);

		if (w->id == id)
			return w;
	}
	return NULL;
}

static void watch_free(struct watch *w)
{
	http_task_cancel(w->post);
	list_remove(&w->link);
	buf_fini(&w->from);
	buf_fini(&w->end);
	buf_fini(&w->body);
	etcd_answer_fini(&w->answer);
	free(w);
}

static void finish(struct watch *w, const char *why)
{
	if (w->over)
		return;
	w->over = true;
	(void)snprintf(w->why, sizeof(w->why), "%s", why);
	etcd_wake(w->etcd);
}

/* ------------------------------------------------------------ what the stream says */

/* From within libcurl: it is only noted. */
static bool on_object(struct etcd_answer *a)
{
	struct watch *w = LIST_ENTRY_OF(a, struct watch, answer);

	if (a->cluster && w->cluster && a->cluster != w->cluster)
		return etcd_answer_fail(a, "two clusters in one watch");
	w->cluster = a->cluster ? a->cluster : w->cluster;
	w->created |= a->created;
	if (w->settled && a->n_items > w->settled && a->items[w->settled].revision == a->items[w->settled - 1].revision)
		return etcd_answer_fail(a, "a transaction over two answers");
	if (!a->fragment)
		w->settled = a->n_items;
	if (a->compact_revision) {
		w->compacted = w->over ? w->compacted : a->compact_revision;
		finish(w, "changes that far back were compacted");
	} else if (a->canceled) {
		finish(w, a->text[0] ? a->text : "etcd has ended it");
	}
	return true;
}

static bool on_data(void *ctx, struct mp_str bytes)
{
	struct watch *w = ctx;

	return w->over || etcd_answer_feed(&w->answer, bytes);
}

static void on_field(void *ctx, struct mp_str name, struct mp_str value)
{
	etcd_answer_field(&((struct watch *)ctx)->answer, name, value);
}

static void on_done(void *ctx, const struct http_multi_end *end)
{
	struct watch *w = ctx;
	char why[256];

	w->post = NULL;
	w->trouble = true;
	if (w->answer.wrong[0])
		(void)snprintf(why, sizeof(why), "%s", w->answer.wrong);
	else if (!end->status)
		(void)snprintf(why, sizeof(why), "%s", end->why);
	else if (w->answer.code)
		(void)snprintf(why, sizeof(why), "gRPC status %" PRIu64 ": %s", w->answer.code, w->answer.text);
	else
		(void)snprintf(why, sizeof(why), "etcd has ended it with HTTP %d", end->status);
	finish(w, why);
}

static bool start(struct watch *w, struct endpoint *at)
{
	const struct http_multi_calls calls = { .data = on_data, .done = on_done, .field = on_field, .ctx = w };
	struct etcd *e = w->etcd;

	if (!w->told)
		w->told = e->seen;
	buf_reset(&w->body);
	etcd_answer_again(&w->answer, ETCD_WATCH, 0);
	if (etcd_body_watch(&w->body, buf_slice(&w->from), buf_slice(&w->end), w->told + 1))
		return false;
	w->at = at;
	w->due = uv_now(e->loop) + e->timeout_ms;
	w->post = etcd_rpc(e->streams, &(struct etcd_request){ .method = ETCD_WATCH, .url = at->url,
							       .body = buf_slice(&w->body), .fresh = true,
							       .token = e->token }, &calls);
	e->counts.watches += w->post != NULL;
	return w->post != NULL;
}

/* ---------------------------------------------------------------------- telling */

/* Of what has come: so many events are of whole transactions. */
static size_t whole(const struct watch *w)
{
	const struct etcd_answer *a = &w->answer;
	size_t n = a->n_items;

	while (n > w->settled && a->items[n - 1].revision == a->items[a->n_items - 1].revision)
		n--;
	return n;
}

static bool in_range(const struct watch *w, struct mp_str key)
{
	return slice_compare(key, buf_slice(&w->from)) >= 0 && slice_compare(key, buf_slice(&w->end)) < 0;
}

/* What etcd would never send ends the watch. */
static bool events_fit(struct watch *w, size_t n)
{
	const struct etcd_answer *a = &w->answer;

	for (size_t i = 0; i < n; i++) {
		uint64_t before = i ? a->items[i - 1].revision : w->told + 1;

		if (a->items[i].revision < before || !in_range(w, etcd_item_key(a, i))) {
			w->trouble = true;
			finish(w, "events that do not fit what is watched");
			return false;
		}
	}
	return true;
}

/* What has come and is whole.  The watch may be gone afterwards. */
static void tell_events(struct watch *w)
{
	size_t n = whole(w);
	struct engine_event *events;

	if (!n || !w->cluster || !etcd_is_ours(w->etcd, w->at, w->cluster) || !events_fit(w, n))
		return;
	events = calloc(n, sizeof(*events));
	if (!events) {
		finish(w, "out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		events[i].key = etcd_item_key(&w->answer, i);
		if (!w->answer.items[i].gone)
			events[i].value = etcd_item_value(&w->answer, i);
	}
	w->told = w->answer.items[n - 1].revision;
	if (w->told > w->etcd->seen)
		w->etcd->seen = w->told; /* what is told was committed: no answer may be of before */
	w->calls.events(w->calls.ctx, w->told, events, n);
	free(events);
	etcd_answer_take(&w->answer, n);
	w->settled = w->settled > n ? w->settled - n : 0;
}

static void tell_end(struct watch *w)
{
	w->gone = true;
	if (w->trouble && w->at)
		etcd_trouble(w->etcd, w->at, w->why);
	w->calls.ended(w->calls.ctx, w->compacted, w->why);
}

static void tell(struct watch *w)
{
	if (w->etcd->closing)
		return; /* asked for by whom we told something just now */
	if (w->created && w->cluster)
		(void)etcd_is_ours(w->etcd, w->at, w->cluster); /* if not, that ends it */
	if (!w->gone && w->answer.n_items)
		tell_events(w);
	if (!w->gone && w->over)
		tell_end(w);
}

void etcd_watches_tell(struct etcd *e)
{
	if (e->closing)
		return;
	e->telling = true;
	LIST_FOR_EACH(link, &e->watches)
		tell(LIST_ENTRY_OF(link, struct watch, link));
	e->telling = false;
	LIST_FOR_EACH_SAFE(link, &e->watches) {
		struct watch *w = LIST_ENTRY_OF(link, struct watch, link);

		if (w->gone)
			watch_free(w);
	}
}

/* ---------------------------------------------------------------------- the rest */

uint64_t etcd_watches_work(struct etcd *e, uint64_t now)
{
	struct endpoint *at = etcd_pick(e);
	uint64_t due = ETCD_NEVER;

	LIST_FOR_EACH(link, &e->watches) {
		struct watch *w = LIST_ENTRY_OF(link, struct watch, link);

		if (w->over || w->created)
			continue;
		if (!w->at && at && !start(w, at))
			finish(w, "out of memory");
		if (now < w->due) {
			etcd_sooner(&due, w->due);
			continue;
		}
		w->trouble = w->at != NULL;
		finish(w, w->at ? "etcd does not begin it" : "no etcd endpoint answers");
	}
	return due;
}

void etcd_watches_end(struct etcd *e, const struct endpoint *at, const char *why)
{
	LIST_FOR_EACH(link, &e->watches) {
		struct watch *w = LIST_ENTRY_OF(link, struct watch, link);

		if (!at || w->at == at)
			finish(w, why);
	}
}

uint64_t etcd_watch(struct etcd *e, struct mp_str from, struct mp_str end, uint64_t after,
		    const struct engine_watch *calls)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return 0;
	list_init(&w->link);
	w->etcd = e;
	w->id = ++e->last_watch;
	w->calls = *calls;
	w->told = after ? after : e->seen;
	w->due = uv_now(e->loop) + e->timeout_ms;
	buf_init(&w->from, ENGINE_KEY_MAX);
	buf_init(&w->end, ENGINE_KEY_MAX);
	buf_init(&w->body, 4 * ENGINE_KEY_MAX);
	etcd_answer_init(&w->answer, ETCD_ANSWER_MAX);
	w->answer.object = on_object;
	if (buf_add_slice(&w->from, from) || buf_add_slice(&w->end, end)) {
		watch_free(w);
		return 0;
	}
	list_push_back(&e->watches, &w->link);
	if (e->health.damaged)
		finish(w, e->health.text);
	etcd_wake(e);
	return w->id;
}

void etcd_unwatch(struct etcd *e, uint64_t id)
{
	struct watch *w = find(e, id);

	if (!w)
		return;
	if (!e->telling) {
		watch_free(w);
		return;
	}
	w->gone = true;
	http_task_cancel(w->post);
	w->post = NULL;
}

void etcd_watches_fini(struct etcd *e)
{
	LIST_FOR_EACH_SAFE(link, &e->watches)
		watch_free(LIST_ENTRY_OF(link, struct watch, link));
}
