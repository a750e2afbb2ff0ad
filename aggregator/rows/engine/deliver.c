/* SPDX-License-Identifier: Apache-2.0 */
/* See deliver.h. */
#include "aggregator/rows/engine/deliver.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/slice.h"

#define BYTES_MAX ((size_t)1 << 30) /* of one answer, or of the events of one transaction */

struct watch {
	struct watch *next;        /* in struct deliver */
	uint64_t id;               /* from 1 */
	struct buf from, end;      /* its range */
	struct engine_watch calls; /* what it calls */
	bool over;                 /* its end is on its way */
	bool missed;               /* it has to end, and there was no memory to tell it */
};

/* ------------------------------------------------------------------- the loop */

/* Where the watch is linked; what stands there is NULL when there is none. */
static struct watch **watch_find(struct deliver *deliver, uint64_t id)
{
	struct watch **at = &deliver->watches;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void watch_remove(struct watch **at)
{
	struct watch *w = *at;

	*at = w->next;
	buf_fini(&w->from);
	buf_fini(&w->end);
	free(w);
}

static void call_watch(struct deliver *deliver, struct delivery *d)
{
	struct watch **at = watch_find(deliver, d->watch);
	struct engine_watch calls;

	if (!*at)
		return; /* nobody watches any more */
	calls = (*at)->calls;
	if (d->events) {
		calls.events(calls.ctx, d->answer.revision, d->events, d->n);
		return;
	}
	watch_remove(at);
	calls.ended(calls.ctx, d->answer.revision, d->why);
}

static void call(struct deliver *deliver, struct delivery *d)
{
	if (d->done) {
		d->answer.items = d->items;
		d->answer.n_items = d->n;
		d->answer.why = d->why;
		d->done(d->ctx, &d->answer);
	} else {
		call_watch(deliver, d);
	}
}

static void delivery_free(struct delivery *d)
{
	free(d->events);
	free(d->items);
	buf_fini(&d->bytes);
	free(d);
}

static void on_closed(uv_handle_t *handle)
{
	struct deliver *deliver = handle->data;

	deliver->closed(deliver->closed_ctx);
}

static void close_now(struct deliver *deliver)
{
	while (deliver->watches)
		watch_remove(&deliver->watches);
	if (!uv_is_closing((uv_handle_t *)&deliver->idle))
		uv_close((uv_handle_t *)&deliver->idle, on_closed);
}

/* What the callbacks ask for meanwhile has its turn in the next round. */
static void on_idle(uv_idle_t *idle)
{
	struct deliver *deliver = idle->data;
	struct delivery *next, *d = deliver->first;

	deliver->first = NULL;
	deliver->last = &deliver->first;
	for (; d; d = next) {
		next = d->next;
		call(deliver, d);
		delivery_free(d);
	}
	if (deliver->first)
		return;
	uv_idle_stop(&deliver->idle);
	if (deliver->closed)
		close_now(deliver);
}

static void post(struct deliver *deliver, struct delivery *d)
{
	*deliver->last = d;
	deliver->last = &d->next;
	uv_idle_start(&deliver->idle, on_idle);
}

void deliver_init(struct deliver *deliver, uv_loop_t *loop)
{
	*deliver = (struct deliver){ .revision = 1 };
	deliver->last = &deliver->first;
	uv_idle_init(loop, &deliver->idle); /* cannot fail */
	deliver->idle.data = deliver;
}

void deliver_close(struct deliver *deliver, void (*closed)(void *ctx), void *ctx)
{
	deliver->closed = closed;
	deliver->closed_ctx = ctx;
	uv_idle_start(&deliver->idle, on_idle);
}

/* -------------------------------------------------------------------- answers */

struct delivery *delivery_new(engine_done_fn *done, void *ctx)
{
	struct delivery *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->done = done;
	d->ctx = ctx;
	buf_init(&d->bytes, BYTES_MAX);
	return d;
}

bool delivery_item(struct delivery *d, struct mp_str key, struct mp_str value)
{
	struct engine_item *items = reallocarray(d->items, d->n + 1, sizeof(*items));

	if (!items)
		return false;
	d->items = items;
	items[d->n].key.len = key.len;
	items[d->n++].value.len = value.len;
	buf_add_slice(&d->bytes, key);
	return !buf_add_slice(&d->bytes, value);
}

void delivery_clear(struct delivery *d)
{
	d->n = 0;
	buf_reset(&d->bytes);
}

/* The bytes stay where they are from now on. */
static void items_settle(struct delivery *d)
{
	const char *at = d->bytes.ptr ? d->bytes.ptr : "";

	for (size_t i = 0; i < d->n; i++) {
		d->items[i].key.ptr = at;
		at += d->items[i].key.len;
		d->items[i].value.ptr = at;
		at += d->items[i].value.len;
	}
}

void deliver_answer(struct deliver *deliver, struct delivery *d, enum engine_outcome outcome,
		    const char *why)
{
	d->answer.outcome = outcome;
	d->answer.revision = deliver->revision;
	(void)snprintf(d->why, sizeof(d->why), "%s", why);
	items_settle(d);
	post(deliver, d);
}

/* -------------------------------------------------------------------- changes */

void changes_init(struct changes *c)
{
	*c = (struct changes){ 0 };
	buf_init(&c->bytes, BYTES_MAX);
}

void changes_fini(struct changes *c)
{
	free(c->list);
	buf_fini(&c->bytes);
}

void changes_add(struct changes *c, struct mp_str key, const struct mp_str *value)
{
	struct engine_event *list = reallocarray(c->list, c->n + 1, sizeof(*list));

	if (!list) {
		c->lost = true;
		return;
	}
	c->list = list;
	list[c->n++] = (struct engine_event){ .key.len = key.len, .value.len = value ? value->len : 0,
					      .value.ptr = value ? "" : NULL };
	buf_add_slice(&c->bytes, key);
	if (value)
		buf_add_slice(&c->bytes, *value);
	c->lost |= c->bytes.error != 0;
}

/* The bytes stay where they are from now on. */
static void changes_settle(struct changes *c)
{
	const char *at = c->bytes.ptr ? c->bytes.ptr : "";

	for (size_t i = 0; i < c->n; i++) {
		c->list[i].key.ptr = at;
		at += c->list[i].key.len;
		if (c->list[i].value.ptr)
			c->list[i].value.ptr = at;
		at += c->list[i].value.len;
	}
}

static bool in_range(const struct watch *w, struct mp_str key)
{
	return slice_compare(key, buf_slice(&w->from)) >= 0 &&
	       slice_compare(key, buf_slice(&w->end)) < 0;
}

/* The watch ends behind what is on its way: it has missed something. */
static void watch_end(struct deliver *deliver, struct watch *w, const char *why)
{
	struct delivery *d = delivery_new(NULL, NULL);

	w->missed = !d; /* then it is tried again at the next change */
	if (!d)
		return;
	w->over = true;
	d->watch = w->id;
	d->answer.revision = deliver->revision;
	(void)snprintf(d->why, sizeof(d->why), "%s", why);
	post(deliver, d);
}

/* Copies what is in the range of the watch.  False without memory. */
static bool tell(struct deliver *deliver, const struct watch *w, const struct changes *c)
{
	struct changes own;
	struct delivery *d;

	changes_init(&own);
	for (size_t i = 0; i < c->n; i++)
		if (in_range(w, c->list[i].key))
			changes_add(&own, c->list[i].key, c->list[i].value.ptr ? &c->list[i].value : NULL);
	d = own.n && !own.lost ? delivery_new(NULL, NULL) : NULL;
	if (!d) {
		bool nothing = !own.n && !own.lost;

		changes_fini(&own);
		return nothing;
	}
	changes_settle(&own);
	d->watch = w->id;
	d->answer.revision = deliver->revision;
	d->events = own.list;
	d->n = own.n;
	d->bytes = own.bytes;
	post(deliver, d);
	return true;
}

void deliver_committed(struct deliver *deliver, struct delivery *d, struct changes *c)
{
	deliver->revision++;
	deliver_answer(deliver, d, ENGINE_COMMITTED, "");
	changes_settle(c);
	for (struct watch *w = deliver->watches; w; w = w->next)
		if (!w->over && (w->missed || c->lost || !tell(deliver, w, c)))
			watch_end(deliver, w, "out of memory");
}

/* ------------------------------------------------------------------- watching */

uint64_t deliver_watch(struct deliver *deliver, struct mp_str from, struct mp_str end,
		       uint64_t after, const struct engine_watch *calls)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return 0;
	w->id = ++deliver->last_watch;
	w->calls = *calls;
	buf_init(&w->from, ENGINE_KEY_MAX);
	buf_init(&w->end, ENGINE_KEY_MAX);
	buf_add_slice(&w->from, from);
	buf_add_slice(&w->end, end);
	w->next = deliver->watches;
	deliver->watches = w;
	if (w->from.error || w->end.error) {
		watch_remove(&deliver->watches);
		return 0;
	}
	if (after && after != deliver->revision)
		watch_end(deliver, w, "changes before the present ones are not kept");
	return w->id;
}

void deliver_unwatch(struct deliver *deliver, uint64_t id)
{
	struct watch **at = watch_find(deliver, id);

	if (*at)
		watch_remove(at);
}
