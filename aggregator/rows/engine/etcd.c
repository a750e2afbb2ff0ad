/* SPDX-License-Identifier: Apache-2.0 */
/* See etcd.h; etcd_priv.h says what is where. */
#include "aggregator/rows/engine/etcd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/engine/etcd_body.h"
#include "aggregator/rows/engine/etcd_priv.h"
#include "lib/slice.h"

#define FLYING_MAX 128       /* calls that are sent at a time: a connection each */
#define CONNECT_MS 300L      /* until a connection stands */
#define KEPT_MAX 64L         /* connections that are kept for later */
#define TRIES 3u             /* of a read, while there is time */

static struct etcd *of(const struct engine *engine)
{
	return (struct etcd *)(uintptr_t)engine;
}

/* ---------------------------------------------------------------------- calls */

static void call_free(struct etcd_call *call)
{
	list_remove(&call->link);
	etcd_ask_fini(&call->ask);
	free(call->read_keys);
	buf_fini(&call->keys);
	buf_fini(&call->last);
	free(call);
}

/* Nothing follows from the call any more but its answer. */
void etcd_call_end(struct etcd_call *call, enum engine_outcome outcome, const char *why)
{
	struct etcd *e = call->ask.etcd;

	if (outcome != ENGINE_COMMITTED && outcome != ENGINE_FAILED)
		etcd_answer_again(&call->ask.answer, call->ask.answer.method, 0); /* no items */
	call->outcome = outcome;
	(void)snprintf(call->why, sizeof(call->why), "%s", why);
	list_remove(&call->link);
	list_push_back(&e->over, &call->link);
	etcd_wake(e);
}

/* The items as the caller gets them; NULL without memory, or when there are none. */
static struct engine_item *items_of(const struct etcd_answer *a)
{
	struct engine_item *items = a->n_items ? calloc(a->n_items, sizeof(*items)) : NULL;

	for (size_t i = 0; items && i < a->n_items; i++) {
		items[i].key = etcd_item_key(a, i);
		items[i].value = etcd_item_value(a, i);
	}
	return items;
}

/*
 * Of what was not sent the caller asks health() whether that was etcd's fault: an
 * endpoint that got good since does not change it.
 */
static void call_done(struct etcd_call *call, const struct engine_answer *answer)
{
	struct engine_health *health = &call->ask.etcd->health;
	bool serving = health->serving;

	health->serving = serving && !call->unsent;
	call->done(call->ctx, answer);
	health->serving = serving && !health->damaged;
}

static void call_answer(struct etcd_call *call)
{
	struct engine_item *items = items_of(&call->ask.answer);
	struct engine_answer answer = { .outcome = call->outcome, .items = items,
					.n_items = call->ask.answer.n_items, .more = call->more,
					.revision = call->revision, .why = call->why };

	/* What was read cannot be told; a transaction that read nothing is not touched by it. */
	if (answer.n_items && !items)
		answer = (struct engine_answer){ .outcome = ENGINE_UNKNOWN, .why = "out of memory" };
	call_done(call, &answer);
	free(items);
	call_free(call);
}

static void answer_over(struct etcd *e)
{
	/* Callbacks may put more at the end, and end none. */
	LIST_FOR_EACH_SAFE(link, &e->over)
		call_answer(LIST_ENTRY_OF(link, struct etcd_call, link));
}

/* It was not sent and will not be. */
static void call_unsent(struct etcd_call *call, const char *why)
{
	call->unsent = true;
	etcd_call_end(call, call->reads ? ENGINE_UNKNOWN : ENGINE_REFUSED, why);
}

static void no_endpoint(struct etcd_call *call)
{
	struct etcd *e = call->ask.etcd;
	char why[256];

	if (e->health.damaged)
		call_unsent(call, e->health.text);
	else if (call->leased && etcd_pick(e))
		call_unsent(call, "etcd gives no lease");
	else {
		(void)snprintf(why, sizeof(why), "no etcd endpoint answers: %s: %.100s", e->ends[0].url, e->ends[0].why);
		call_unsent(call, why);
	}
}

/* How long it may take; a read leaves time for another endpoint. */
static uint64_t time_for(const struct etcd_call *call, uint64_t now)
{
	const struct etcd *e = call->ask.etcd;
	uint64_t left = call->deadline > now ? call->deadline - now : 1;

	if (!call->reads)
		return e->timeout_ms;
	return call->tries || e->n_ends == 1 ? left : left * 4 / 7 + 1;
}

/* Sends it when it can be.  False: it has to wait. */
static bool call_send(struct etcd_call *call, uint64_t now)
{
	struct etcd *e = call->ask.etcd;
	const struct endpoint *before = call->tries ? call->ask.at : NULL;
	struct endpoint *at = before ? etcd_pick_other(e, before) : etcd_pick(e);

	if (!at && call->ask.leaderless)
		at = etcd_pick_stale(e, before);
	if (!at || e->n_flying >= FLYING_MAX || (call->leased && !e->lease.id))
		return false;
	etcd_answer_again(&call->ask.answer, call->ask.answer.method, call->page_first);
	if ((call->leased && etcd_body_lease(&call->ask.body, e->lease.id) < 0) ||
	    !etcd_ask_send(&call->ask, at, time_for(call, now))) {
		call_unsent(call, "out of memory");
		return true;
	}
	call->tries++;
	e->n_flying++;
	list_remove(&call->link);
	list_push_back(&e->flying, &call->link);
	return true;
}

static void call_wait(struct etcd_call *call)
{
	struct etcd *e = call->ask.etcd;

	list_remove(&call->link);
	list_push_back(&e->waiting, &call->link);
	if (!call_send(call, uv_now(e->loop)))
		etcd_wake(e);
}

/* A copy may be left at any one. */
static unsigned tries_of(const struct etcd_call *call)
{
	return call->ask.leaderless ? TRIES + (unsigned)call->ask.etcd->n_ends : TRIES;
}

/* An answer, or none.  What was not done may be asked again, while there is time. */
static void on_answer(struct etcd_ask *ask, struct etcd_verdict *verdict)
{
	struct etcd_call *call = LIST_ENTRY_OF(ask, struct etcd_call, ask);
	struct etcd *e = ask->etcd;
	bool trouble = verdict->kind == ETCD_TROUBLE || verdict->kind == ETCD_NO_TOKEN;
	bool in_time = uv_now(e->loop) < call->deadline;

	e->n_flying--;
	if (trouble && in_time && (call->reads ? call->tries < tries_of(call) : !ask->sent)) {
		call_wait(call);
		return;
	}
	if (trouble && !call->reads && !ask->sent)
		call_unsent(call, verdict->why);
	else if (!call->answered(call, verdict))
		call_wait(call);
	if (!list_empty(&e->waiting))
		etcd_wake(e);
}

static struct etcd_call *call_new(struct etcd *e, engine_done_fn *done, void *ctx, enum etcd_method method)
{
	struct etcd_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	list_init(&call->link);
	etcd_ask_init(&call->ask, e, on_answer);
	call->done = done;
	call->ctx = ctx;
	call->ask.answer.method = method;
	uv_update_time(e->loop); /* a loop that was busy is no reason to be late */
	call->deadline = uv_now(e->loop) + e->timeout_ms;
	buf_init(&call->keys, SIZE_MAX);
	buf_init(&call->last, ENGINE_KEY_MAX + 1);
	return call;
}

/* Takes a call that is complete. */
static int call_begin(struct etcd_call *call)
{
	struct etcd *e = call->ask.etcd;

	if (e->closing || e->health.damaged)
		call_unsent(call, e->closing ? "the engine is closed" : e->health.text);
	else
		call_wait(call);
	return 0;
}

/* Of calls that wait: those that can be are sent, those that waited too long are over. */
static uint64_t calls_work(struct etcd *e, uint64_t now)
{
	uint64_t due = ETCD_NEVER;

	LIST_FOR_EACH_SAFE(link, &e->waiting) {
		struct etcd_call *call = LIST_ENTRY_OF(link, struct etcd_call, link);

		if (e->closing)
			call_unsent(call, "the engine is closed");
		else if (e->health.damaged || (!call_send(call, now) && call->deadline <= now))
			no_endpoint(call);
		else
			etcd_sooner(&due, call->deadline);
	}
	return due;
}

/* --------------------------------------------------------------- transactions */

static const char *txn_wrong(const struct etcd *e, const struct engine_txn *txn)
{
	const struct engine_etcd_limits *limits = &e->limits;
	const char *wrong = engine_txn_wrong(txn);

	if (wrong)
		return wrong;
	if (txn->n_compares > limits->max_ops || txn->n_ops > limits->max_ops || txn->n_reads > limits->max_ops)
		return "more operations than etcd takes in one transaction (--max-txn-ops)";
	if (etcd_body_cost(txn) > limits->max_bytes)
		return "more bytes than etcd takes in one request (--max-request-bytes)";
	return NULL;
}

static bool has_put(const struct engine_txn *txn)
{
	for (size_t i = 0; i < txn->n_ops; i++)
		if (txn->ops[i].kind == ENGINE_PUT)
			return true;
	return false;
}

static bool txn_answered(struct etcd_call *call, struct etcd_verdict *verdict)
{
	struct etcd *e = call->ask.etcd;
	bool was_good = verdict->kind == ETCD_GOOD;
	enum engine_outcome outcome = etcd_txn_outcome(&call->ask.answer, &call->txn, verdict);

	if (verdict->kind == ETCD_NO_LEASE)
		etcd_lease_gone(e);
	if (outcome == ENGINE_COMMITTED && call->puts)
		etcd_has_room(e);
	if (outcome == ENGINE_COMMITTED || outcome == ENGINE_FAILED)
		call->revision = call->ask.answer.revision;
	else if (was_good)
		etcd_misfit(e, call->ask.at, verdict->why);
	if (call->drops)
		etcd_answer_again(&call->ask.answer, call->ask.answer.method, 0);
	etcd_call_end(call, outcome, outcome == ENGINE_COMMITTED ? "" : verdict->why);
	return true;
}

/* What is read when nothing is: see engine_commit(). */
static const struct mp_str nothing = MP_LIT_INIT("middlepipe/");

/* Keys that are read are kept, to look at the answer by. */
static bool keep_reads(struct etcd_call *call, const struct engine_txn *txn)
{
	size_t at = 0;

	call->read_keys = calloc(txn->n_reads + 1, sizeof(*call->read_keys));
	for (size_t i = 0; call->read_keys && i < txn->n_reads; i++)
		(void)buf_add_slice(&call->keys, txn->reads[i]); /* seen below */
	if (!call->read_keys || call->keys.error)
		return false;
	for (size_t i = 0; i < txn->n_reads; at += txn->reads[i++].len)
		call->read_keys[i] = slice_make(call->keys.ptr + at, txn->reads[i].len);
	call->txn = (struct engine_txn){ .n_compares = txn->n_compares, .n_ops = txn->n_ops,
					 .reads = call->read_keys, .n_reads = txn->n_reads };
	return true;
}

static int engine_commit(struct engine *engine, const struct engine_txn *asked, engine_done_fn *done, void *ctx)
{
	struct etcd *e = of(engine);
	struct etcd_call *call = call_new(e, done, ctx, ETCD_TXN);
	const char *wrong = txn_wrong(e, asked);
	struct engine_txn more = *asked, *txn = &more;

	if (!call)
		return -ENOMEM;
	/*
	 * Only reads tell etcd that a transaction without operations is to be
	 * linearizable: without any, it would answer from an old copy.
	 */
	if (!more.n_ops && !more.n_reads) {
		call->drops = true;
		more.reads = more.n_compares ? &more.compares[0].key : &nothing;
		more.n_reads = 1;
	}
	call->reads = !txn->n_compares && !txn->n_ops;
	call->leased = etcd_body_leased(txn);
	call->puts = has_put(txn);
	call->answered = txn_answered;
	if (wrong) {
		etcd_call_end(call, ENGINE_REFUSED, wrong);
		return 0;
	}
	if (!keep_reads(call, txn) || etcd_body_txn(&call->ask.body, txn)) {
		call_free(call);
		return -ENOMEM;
	}
	e->lease.wanted |= call->leased;
	return call_begin(call);
}

static int engine_range(struct engine *engine, const struct engine_range *range, engine_done_fn *done, void *ctx)
{
	struct etcd *e = of(engine);
	struct etcd_call *call = call_new(e, done, ctx, ETCD_RANGE);

	if (!call)
		return -ENOMEM;
	call->reads = true;
	call->answered = etcd_range_answered;
	if (range->from.len > ENGINE_KEY_MAX || range->end.len > ENGINE_KEY_MAX || !range->from.len) {
		etcd_call_end(call, ENGINE_REFUSED, "a key is empty or too long");
		return 0;
	}
	if (!etcd_range_begin(call, range)) {
		call_free(call);
		return -ENOMEM;
	}
	return call_begin(call);
}

/* ----------------------------------------------------------------- life cycle */

static void on_timer_closed(uv_handle_t *handle)
{
	struct etcd *e = handle->data;
	void (*closed)(void *) = e->closed;
	void *ctx = e->closed_ctx;

	etcd_free(e);
	closed(ctx);
}

static void on_http_closed(void *ctx)
{
	struct etcd *e = ctx;

	if (!--e->open_http)
		uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

/* Once what was under way is answered. */
static void close_work(struct etcd *e)
{
	if (e->closed_http || !list_empty(&e->waiting) || !list_empty(&e->flying) || !list_empty(&e->over) ||
	    etcd_lease_revoke(e))
		return;
	e->closed_http = true;
	etcd_watches_fini(e);
	etcd_lease_fini(e);
	for (size_t i = 0; i < e->n_ends; i++)
		if (e->ends[i].probe.done)
			etcd_ask_fini(&e->ends[i].probe);
	uv_timer_stop(&e->timer);
	http_multi_close(e->calls, on_http_closed, e);
	http_multi_close(e->streams, on_http_closed, e);
}

static void on_timer(uv_timer_t *timer)
{
	struct etcd *e = timer->data;
	uint64_t now = uv_now(e->loop), due = ETCD_NEVER;

	answer_over(e);
	etcd_watches_tell(e);
	etcd_sooner(&due, etcd_ends_work(e, now));
	etcd_sooner(&due, etcd_lease_work(e, now));
	etcd_sooner(&due, calls_work(e, now));
	if (e->closing) {
		close_work(e);
		return;
	}
	etcd_sooner(&due, etcd_watches_work(e, now));
	/* What woke us meanwhile has its turn in the next round. */
	if (due != ETCD_NEVER && !uv_is_active((uv_handle_t *)timer))
		uv_timer_start(timer, on_timer, due > now ? due - now : 0, 0);
}

void etcd_wake(struct etcd *e)
{
	if (!e->closed_http)
		uv_timer_start(&e->timer, on_timer, 0, 0);
}

/* libcurl has worked. */
static void on_turned(void *ctx)
{
	struct etcd *e = ctx;

	answer_over(e);
	etcd_watches_tell(e);
}

void etcd_stop(struct etcd *e, const char *why)
{
	if (e->health.damaged)
		return;
	e->health.damaged = true;
	e->health.serving = false;
	(void)snprintf(e->health.text, sizeof(e->health.text), "%s", why);
	etcd_watches_end(e, NULL, why);
	etcd_wake(e);
}

static uint64_t engine_watch(struct engine *engine, struct mp_str from, struct mp_str end, uint64_t after,
			     const struct engine_watch *calls)
{
	return of(engine)->closing ? 0 : etcd_watch(of(engine), from, end, after, calls);
}

static void engine_unwatch(struct engine *engine, uint64_t id)
{
	etcd_unwatch(of(engine), id);
}

static void engine_health(const struct engine *engine, struct engine_health *ret)
{
	*ret = of(engine)->health;
}

static void engine_close(struct engine *engine, void (*closed)(void *ctx), void *ctx)
{
	struct etcd *e = of(engine);

	e->closing = true;
	e->closed = closed;
	e->closed_ctx = ctx;
	etcd_wake(e);
}

static const struct engine_ops ops = {
	.name = "etcd",
	.commit = engine_commit,
	.range = engine_range,
	.watch = engine_watch,
	.unwatch = engine_unwatch,
	.health = engine_health,
	.identity = engine_etcd_cluster,
	.close = engine_close,
};

/* Connections of one kind: etcd's gRPC is HTTP/2. */
static int open_http(struct etcd *e, struct http_multi **ret, struct err *err)
{
	const struct http_multi_options options = { .ca = e->texts[ETCD_CA], .cert = e->texts[ETCD_CERT],
						    .key = e->texts[ETCD_KEY], .connect_ms = CONNECT_MS, .kept = KEPT_MAX,
						    .h2 = true, .turned = on_turned, .ctx = e };
	int rc = http_multi_open(e->loop, &options, ret, err);

	e->open_http += !rc;
	return rc;
}

static void on_never_opened(void *ctx)
{
	etcd_free(ctx);
}

int engine_etcd_open(uv_loop_t *loop, const struct engine_etcd_options *options, struct engine **ret, struct err *err)
{
	struct etcd *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return err_set(err, -ENOMEM, "out of memory");
	e->engine.ops = &ops;
	e->loop = loop;
	list_init(&e->waiting);
	list_init(&e->flying);
	list_init(&e->over);
	list_init(&e->watches);
	(void)snprintf(e->health.text, sizeof(e->health.text), "etcd has not answered yet");
	rc = etcd_set_options(e, options, err);
	if (!rc)
		rc = open_http(e, &e->calls, err);
	if (!rc)
		rc = open_http(e, &e->streams, err);
	if (rc) {
		if (e->calls)
			http_multi_close(e->calls, on_never_opened, e);
		else
			etcd_free(e);
		return rc;
	}
	uv_timer_init(loop, &e->timer); /* cannot fail */
	e->timer.data = e;
	etcd_lease_init(e);
	etcd_wake(e);
	*ret = &e->engine;
	return 0;
}

struct engine_etcd_limits engine_etcd_limits(const struct engine *engine)
{
	return of(engine)->limits;
}

uint64_t engine_etcd_cluster(const struct engine *engine)
{
	return of(engine)->cluster;
}

void engine_etcd_counts(const struct engine *engine, struct engine_etcd_counts *ret)
{
	struct etcd *e = of(engine);

	*ret = e->counts;
	for (size_t i = 0; i < e->n_ends; i++)
		ret->good += e->ends[i].good;
}
