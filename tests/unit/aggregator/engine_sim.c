/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See engine_sim.h.  A request goes one way to the store, is carried out there at
 * one point in time, and its answer comes back another way; its time limit runs
 * at whoever asked.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/slice.h"
#include "tests/unit/aggregator/engine_sim_priv.h"

#define RESET_PER_MILLION 250000 /* of the lost ones: how many are noticed before the limit */
#define SLOW_MAX_NS (2 * NS_PER_S)

/* ---------------------------------------------------------------------- lending */

struct mp_str sim_lend(char **at, struct mp_str bytes)
{
	struct mp_str copy = { bytes.ptr ? *at : NULL, bytes.len };

	if (bytes.len)
		memcpy(*at, bytes.ptr, bytes.len);
	*at += bytes.len;
	return copy;
}

void *sim_lend_begin(size_t size)
{
	void *bytes = malloc(size + 1); /* an empty one at the end has an address, too */

	assert(bytes);
	return bytes;
}

void sim_lend_end(void *bytes, size_t size)
{
	/* A compiler leaves out what is written right before free(). */
	static void *(*const volatile overwrite)(void *, int, size_t) = memset;

	if (bytes)
		overwrite(bytes, 0xdb, size);
	free(bytes);
}

/* -------------------------------------------------------------------- for people */

static void describe(struct buf *out, char sign, struct mp_str key, struct mp_str value)
{
	char quoted[44];

	buf_printf(out, " %c%.*s", sign, SLICE_ARG(key));
	if (value.ptr)
		buf_printf(out, "=%s", slice_quote(quoted, sizeof(quoted), value));
}

static void trace_txn(const struct sim_request *r)
{
	static const char signs[] = { [ENGINE_PUT] = '+', [ENGINE_DELETE] = '-', [ENGINE_DELETE_RANGE] = '-' };
	struct sim *sim = r->engine->store->sim;
	struct buf text;

	if (!sim->trace)
		return;
	buf_init(&text, (size_t)1 << 20);
	for (size_t i = 0; i < r->txn.n_compares; i++)
		describe(&text, '?', r->txn.compares[i].key, r->txn.compares[i].value);
	for (size_t i = 0; i < r->txn.n_ops; i++)
		describe(&text, signs[r->txn.ops[i].kind], r->txn.ops[i].key, r->txn.ops[i].value);
	for (size_t i = 0; i < r->txn.n_reads; i++)
		describe(&text, '<', r->txn.reads[i], (struct mp_str){ 0 });
	sim_note(sim, "%s: #%llu commit%s", r->engine->actor->name, (unsigned long long)r->number, buf_str(&text));
	buf_fini(&text);
}

static const char *outcome_name(enum engine_outcome outcome)
{
	static const char *const names[] = { "committed", "failed", "refused", "unknown" };

	return names[outcome];
}

/* ---------------------------------------------------------------------- answering */

static void reply_free(struct sim_reply *reply)
{
	if (reply)
		free(reply->items);
	free(reply);
}

static void request_free(struct sim_request *r)
{
	list_remove(&r->link);
	reply_free(r->reply);
	free(r->bytes);
	free(r);
}

static void request_release(struct sim_request *r)
{
	if (!--r->events)
		request_free(r);
}

static void on_closed(struct sim *sim, void *ctx)
{
	struct engine_sim *e = ctx;

	sim_note(sim, "%s: closed", e->actor->name);
	e->dead = true;
	sim_lease_check(e);
	e->closed(e->closed_ctx);
}

static void close_when_idle(struct engine_sim *e)
{
	if (e->closed && !e->under_way)
		sim_after(e->store->sim, e->actor, 0, on_closed, e);
}

static struct engine_item *lend_items(const struct engine_item *items, size_t n, size_t *ret_size)
{
	size_t size = n * sizeof(*items);
	struct engine_item *copy;
	char *bytes;

	for (size_t i = 0; i < n; i++)
		size += items[i].key.len + items[i].value.len;
	copy = sim_lend_begin(size);
	bytes = (char *)(copy + n);
	for (size_t i = 0; i < n; i++) {
		copy[i].key = sim_lend(&bytes, items[i].key);
		copy[i].value = sim_lend(&bytes, items[i].value);
	}
	*ret_size = size;
	return copy;
}

/* Once; what comes behind that is ignored, as it would be on a closed connection. */
static void request_answer(struct sim_request *r, const struct engine_answer *answer)
{
	struct engine_sim *e = r->engine;
	struct sim *sim = e->store->sim;
	struct engine_answer lent = *answer;
	struct engine_item *items;
	size_t size;

	if (r->answered)
		return;
	r->answered = true;
	if (r->limit) {
		sim_cancel(sim, r->limit);
		r->events--; /* the caller holds it, too */
	}
	e->under_way--;
	e->serving = answer->outcome != ENGINE_UNKNOWN && r->fault != SIM_NOT_SENT;
	if (r->no_space || (answer->outcome == ENGINE_COMMITTED && r->writes))
		e->full = r->no_space;
	sim_note(sim, "%s: #%llu %s, %zu items, revision %llu %s", e->actor->name, (unsigned long long)r->number,
		 outcome_name(answer->outcome), answer->n_items, (unsigned long long)answer->revision, answer->why);
	sim_mix(sim, answer->revision << 2 | answer->outcome);
	items = lend_items(answer->items, answer->n_items, &size);
	lent.items = items;
	r->done(r->ctx, &lent);
	sim_lend_end(items, size);
	if (!e->dead)
		close_when_idle(e);
}

static void unknown(struct sim_request *r, const char *why)
{
	request_answer(r, &(struct engine_answer){ .outcome = ENGINE_UNKNOWN, .why = why });
	request_release(r);
}

static void on_limit(struct sim *sim, void *ctx)
{
	struct sim_request *r = ctx;

	(void)sim;
	r->limit = 0;
	unknown(r, "no answer in time");
}

static void on_reset(struct sim *sim, void *ctx)
{
	(void)sim;
	unknown(ctx, "the connection broke");
}

static void on_not_sent(struct sim *sim, void *ctx)
{
	struct sim_request *r = ctx;

	(void)sim;
	sim_fault_count(r->engine, SIM_NOT_SENT);
	request_answer(r, &(struct engine_answer){ .outcome = ENGINE_REFUSED, .why = "not sent" });
	request_release(r);
}

static void on_reply(struct sim *sim, void *ctx)
{
	struct sim_request *r = ctx;

	if (r->engine->cut & SIM_IN)
		sim_note(sim, "#%llu: its answer is cut off", (unsigned long long)r->number);
	else
		request_answer(r, &r->reply->answer);
	request_release(r);
}

static uint64_t request_way(struct sim_request *r)
{
	uint64_t way = sim_way(r->engine);

	if (!sim_fault_draw(r->engine, SIM_SLOW))
		return way;
	sim_fault_count(r->engine, SIM_SLOW);
	way *= sim_between(r->engine->store->sim, 10, 100);
	return way < SLOW_MAX_NS ? way : SLOW_MAX_NS;
}

/* Owns the reply; there is one a request. */
static void reply_send(struct sim_request *r, struct sim_reply *reply)
{
	reply->answer.items = reply->items;
	assert(!r->reply);
	r->reply = reply;
	if (r->answered || r->lost || r->engine->dead)
		return;
	r->events++;
	sim_after(r->engine->store->sim, r->engine->actor, request_way(r), on_reply, r);
}

/* Nobody who asked hears of it, before the limit or at all. */
static void lose(struct sim_request *r)
{
	struct sim *sim = r->engine->store->sim;

	sim_note(sim, "#%llu: lost", (unsigned long long)r->number);
	r->lost = true;
	if (r->answered || r->engine->dead || !sim_chance(sim, RESET_PER_MILLION))
		return;
	r->events++;
	sim_after(sim, r->engine->actor, sim_way(r->engine), on_reset, r);
}

/* What becomes of a reply, by the request's fault. */
static void reply_or_lose(struct sim_request *r, struct sim_reply *reply, bool twice)
{
	bool committed = reply->answer.outcome == ENGINE_COMMITTED;

	/* Twice: the connection died with the answer, and the library sends again. */
	if ((r->fault == SIM_TWICE && !twice) || (r->fault == SIM_AGAIN && twice)) {
		reply_free(reply);
		return;
	}
	if (twice && reply->answer.outcome == ENGINE_REFUSED)
		reply->answer.outcome = ENGINE_UNKNOWN; /* that is said of the second one only */
	if (r->fault == SIM_RANGE_LOST || (r->fault == SIM_ANSWER_LOST && committed)) {
		sim_fault_count(r->engine, r->fault);
		reply_free(reply);
		lose(r);
		return;
	}
	reply_send(r, reply);
}

/* One that is late lies within the store already, and no cut keeps it off. */
static bool lies_there(const struct sim_request *r, bool twice)
{
	return r->fault == SIM_COMMIT_LATE || (r->fault == SIM_AGAIN && twice);
}

static void on_arrive(struct sim *sim, void *ctx)
{
	struct sim_request *r = ctx;
	struct engine_sim *e = r->engine;
	bool twice = r->arrivals++;

	if (r->restores != e->store->restores || (e->cut & SIM_OUT && !lies_there(r, twice))) {
		lose(r);
	} else if (r->fault != SIM_AGAIN || !twice || r->happened) {
		if (twice)
			sim_note(sim, "#%llu arrives again", (unsigned long long)r->number);
		if (twice && r->happened)
			sim_fault_count(e, r->fault);
		reply_or_lose(r, sim_request_run(r), twice);
	}
	request_release(r);
}

/* ------------------------------------------------------------------------ asking */

static bool applies(const struct sim_request *r, enum sim_fault fault)
{
	if (fault == SIM_STALE)
		return r->range.stale;
	return fault != SIM_NO_SPACE || sim_txn_puts(&r->txn, false);
}

/* The fault of a request; each that can hit it is drawn, the first one counts. */
static enum sim_fault request_fault(const struct sim_request *r)
{
	static const enum sim_fault writes[] = { SIM_REQUEST_LOST, SIM_COMMIT_LATE, SIM_TWICE, SIM_AGAIN,
						 SIM_ANSWER_LOST, SIM_NO_SPACE, SIM_NOT_SENT, SIM_FAULTS };
	static const enum sim_fault reads[] = { SIM_RANGE_LOST, SIM_STALE, SIM_FAULTS };
	enum sim_fault found = SIM_FAULTS;

	for (const enum sim_fault *at = r->writes ? writes : reads; *at != SIM_FAULTS; at++)
		if (applies(r, *at) && sim_fault_draw(r->engine, *at) && found == SIM_FAULTS)
			found = *at;
	return found;
}

static void arrive_after(struct sim_request *r, uint64_t ns)
{
	r->events++;
	sim_after(r->engine->store->sim, NULL, ns, on_arrive, r);
}

/* On its way; r->events counts what will let go of it. */
static int request_send(struct sim_request *r)
{
	struct engine_sim *e = r->engine;
	struct sim *sim = e->store->sim;
	uint64_t way = request_way(r);

	r->events++;
	r->limit = sim_timer(sim, e->actor, SIM_LIMIT_NS, on_limit, r);
	r->fault = request_fault(r);
	if (r->fault != SIM_FAULTS)
		sim_note(sim, "#%llu: %s", (unsigned long long)r->number, sim_fault_name(r->fault));
	if (e->cut & SIM_OUT) {
		lose(r);
	} else if (r->fault == SIM_REQUEST_LOST) {
		sim_fault_count(e, r->fault);
		lose(r);
	} else if (r->fault == SIM_NOT_SENT) {
		r->events++;
		sim_timer(sim, e->actor, sim_between(sim, 1, SIM_LIMIT_NS - 1), on_not_sent, r);
	} else if (r->fault == SIM_COMMIT_LATE) {
		arrive_after(r, SIM_LIMIT_NS + sim_between(sim, 1, SIM_LATE_MAX_NS));
		lose(r);
	} else {
		arrive_after(r, way);
		if (r->fault == SIM_TWICE)
			arrive_after(r, way + sim_between(sim, 1, 50 * NS_PER_MS));
		if (r->fault == SIM_AGAIN)
			arrive_after(r, way + sim_between(sim, 1, SIM_LATE_MAX_NS));
	}
	return 0;
}

/* `size`: of what it is going to point into. */
static struct sim_request *request_new(struct engine_sim *e, engine_done_fn *done, void *ctx, size_t size)
{
	struct sim_request *r = calloc(1, sizeof(*r));

	assert(r && !e->dead && !e->closed);
	r->engine = e;
	r->done = done;
	r->ctx = ctx;
	r->number = ++e->store->asked;
	r->restores = e->store->restores;
	r->lease = e->lease;
	r->fault = SIM_FAULTS;
	r->bytes = malloc(size + 1);
	assert(r->bytes);
	list_push_back(&e->store->requests, &r->link);
	e->under_way++;
	return r;
}

static size_t txn_size(const struct engine_txn *txn)
{
	size_t size = txn->n_compares * sizeof(*txn->compares) + txn->n_ops * sizeof(*txn->ops) +
		      txn->n_reads * sizeof(*txn->reads);

	for (size_t i = 0; i < txn->n_compares; i++)
		size += txn->compares[i].key.len + txn->compares[i].value.len;
	for (size_t i = 0; i < txn->n_ops; i++)
		size += txn->ops[i].key.len + txn->ops[i].value.len;
	for (size_t i = 0; i < txn->n_reads; i++)
		size += txn->reads[i].len;
	return size;
}

/* What was borrowed is overwritten by the caller as soon as the call is over. */
static void txn_copy(struct sim_request *r, const struct engine_txn *txn)
{
	struct engine_compare *compares = (struct engine_compare *)(void *)r->bytes;
	struct engine_op *ops = (struct engine_op *)(compares + txn->n_compares);
	struct mp_str *reads = (struct mp_str *)(ops + txn->n_ops);
	char *bytes = (char *)(reads + txn->n_reads);

	for (size_t i = 0; i < txn->n_compares; i++) {
		compares[i].key = sim_lend(&bytes, txn->compares[i].key);
		compares[i].value = sim_lend(&bytes, txn->compares[i].value);
	}
	for (size_t i = 0; i < txn->n_ops; i++) {
		ops[i] = txn->ops[i];
		ops[i].key = sim_lend(&bytes, txn->ops[i].key);
		ops[i].value = sim_lend(&bytes, txn->ops[i].value);
	}
	for (size_t i = 0; i < txn->n_reads; i++)
		reads[i] = sim_lend(&bytes, txn->reads[i]);
	r->txn = (struct engine_txn){ compares, txn->n_compares, ops, txn->n_ops, reads, txn->n_reads };
	r->writes = txn->n_ops;
}

/* Is that key one of those that the op is about? */
static bool op_has(const struct engine_op *op, struct mp_str key)
{
	if (op->kind != ENGINE_DELETE_RANGE)
		return op->key.len == key.len && slice_eq(op->key, key);
	return slice_compare(key, op->key) >= 0 && slice_compare(key, op->value) < 0;
}

static const char *op_wrong(const struct engine_txn *txn, size_t i)
{
	const struct engine_op *op = &txn->ops[i];

	if (!op->key.len || op->key.len > ENGINE_KEY_MAX)
		return "a key is empty or too long";
	for (size_t j = 0; j < i; j++)
		if (op_has(&txn->ops[j], op->key) || op_has(op, txn->ops[j].key))
			return "a key stands there twice";
	return NULL;
}

static const char *txn_wrong(const struct engine_txn *txn, size_t size)
{
	const char *wrong = NULL;

	if (size > SIM_BYTES_MAX)
		return "too many bytes";
	if (txn->n_compares > SIM_OPS_MAX || txn->n_ops > SIM_OPS_MAX || txn->n_reads > SIM_OPS_MAX)
		return "too many operations";
	for (size_t i = 0; i < txn->n_compares; i++)
		if (txn->compares[i].key.len > ENGINE_KEY_MAX)
			return "a key is too long";
	for (size_t i = 0; i < txn->n_ops && !wrong; i++)
		wrong = op_wrong(txn, i);
	return wrong;
}

static int engine_commit(struct engine *engine, const struct engine_txn *txn, engine_done_fn *done, void *ctx)
{
	size_t size = txn_size(txn);
	const char *wrong = txn_wrong(txn, size);
	struct sim_request *r = request_new(engine_sim_of(engine), done, ctx, size);

	txn_copy(r, txn);
	trace_txn(r);
	if (!wrong)
		return request_send(r);
	reply_send(r, sim_reply_new(r, ENGINE_REFUSED, wrong));
	return 0;
}

static int engine_range(struct engine *engine, const struct engine_range *range, engine_done_fn *done, void *ctx)
{
	size_t size = range->from.len + range->end.len;
	struct sim_request *r = request_new(engine_sim_of(engine), done, ctx, size);
	char *bytes = r->bytes;

	r->ranges = true;
	r->range = *range;
	r->range.from = sim_lend(&bytes, range->from);
	r->range.end = sim_lend(&bytes, range->end);
	sim_note(r->engine->store->sim, "%s: #%llu range %.*s%s%.*s%s", r->engine->actor->name,
		 (unsigned long long)r->number, SLICE_ARG(range->from), range->end.len ? " to " : "",
		 SLICE_ARG(range->end), range->stale ? ", stale" : "");
	return request_send(r);
}

/* --------------------------------------------------------------------- life cycle */

static void engine_health(const struct engine *engine, struct engine_health *ret)
{
	const struct engine_sim *e = engine_sim_of(engine);

	*ret = (struct engine_health){ .serving = e->serving, .full = e->full || e->store->full };
	(void)snprintf(ret->text, sizeof(ret->text), "%s",
		       ret->full ? "no space" : ret->serving ? "" : "the store does not answer");
}

static void engine_close(struct engine *engine, void (*closed)(void *ctx), void *ctx)
{
	struct engine_sim *e = engine_sim_of(engine);

	assert(!e->dead && !e->closed);
	e->closed = closed;
	e->closed_ctx = ctx;
	sim_watches_free(e);
	close_when_idle(e);
}

static const struct engine_ops engine_sim_ops = {
	.name = "simulated",
	.commit = engine_commit,
	.range = engine_range,
	.watch = sim_watch_begin,
	.unwatch = sim_watch_stop,
	.health = engine_health,
	.close = engine_close,
};

struct engine *engine_sim_open(struct sim_store *store, struct sim_actor *actor)
{
	struct engine_sim *e = calloc(1, sizeof(*e));

	assert(e);
	e->engine.ops = &engine_sim_ops;
	e->store = store;
	e->actor = actor;
	engine_sim_link(&e->engine, SIM_WAY_LOW_NS, SIM_WAY_HIGH_NS);
	e->serving = true;
	e->lease = ++store->leases;
	memcpy(e->odds, store->odds, sizeof(e->odds));
	list_push_back(&store->engines, &e->link);
	return &e->engine;
}

struct sim_store *sim_store_new(struct sim *sim)
{
	struct sim_store *store = calloc(1, sizeof(*store));

	assert(store);
	store->sim = sim;
	sim_map_init(&store->map);
	list_init(&store->engines);
	list_init(&store->requests);
	list_init(&store->watches);
	return store;
}

void sim_store_free(struct sim_store *store)
{
	LIST_FOR_EACH_SAFE(link, &store->requests)
		request_free(LIST_ENTRY_OF(link, struct sim_request, link));
	LIST_FOR_EACH_SAFE(engine, &store->engines) {
		sim_watches_free(LIST_ENTRY_OF(engine, struct engine_sim, link));
		free(LIST_ENTRY_OF(engine, struct engine_sim, link));
	}
	sim_map_fini(&store->map);
	free(store);
}
