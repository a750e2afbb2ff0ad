/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches of the simulated engine.  Each walks the store's log at its own pace,
 * with at most one event under way: its start, the next transaction, or its end.
 */
#include <assert.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/unit/aggregator/engine_sim_priv.h"

static void on_pump(struct sim *sim, void *ctx);

static void watch_free(struct sim_watch *w)
{
	struct sim *sim = w->engine->store->sim;

	w->over = true;
	sim_cancel(sim, w->next);
	sim_cancel(sim, w->detect);
	w->next = w->detect = 0;
	list_remove(&w->link);
	if (w->calling)
		return; /* by whoever calls */
	free((char *)(uintptr_t)w->from.ptr);
	free((char *)(uintptr_t)w->end.ptr);
	free(w);
}

static bool in_range(const struct sim_watch *w, struct mp_str key)
{
	return slice_compare(key, w->from) >= 0 && slice_compare(key, w->end) < 0;
}

/* Goes to the next change that it is to be told of.  False: there is none yet. */
static bool has_next(struct sim_watch *w)
{
	const struct sim_map *map = &w->engine->store->map;

	while (w->at < map->n_log &&
	       (map->log[w->at].revision <= w->after || !in_range(w, map->log[w->at].key)))
		w->at++;
	return w->at < map->n_log;
}

static void schedule(struct sim_watch *w, uint64_t ns, sim_fn *fn)
{
	struct engine_sim *e = w->engine;

	sim_cancel(e->store->sim, w->next);
	w->next = sim_after(e->store->sim, e->actor, ns, fn, w);
}

/* The next change is on its way, since it was made. */
static void kick(struct sim_watch *w)
{
	struct sim_store *store = w->engine->store;
	uint64_t due;

	if (!w->started || w->ending || w->over || w->next || w->engine->cut & SIM_IN || !has_next(w))
		return;
	due = store->map.log[w->at].at_ns + sim_way(w->engine);
	schedule(w, due > store->sim->now_ns ? due - store->sim->now_ns : 0, on_pump);
}

/* ---------------------------------------------------------------------- the end */

static void on_ended(struct sim *sim, void *ctx)
{
	struct sim_watch *w = ctx;

	w->next = 0;
	sim_note(sim, "%s: watch %llu ended, compacted %llu: %s", w->engine->actor->name,
		 (unsigned long long)w->id, (unsigned long long)w->compacted, w->why);
	w->calling = w->over = true;
	w->calls.ended(w->calls.ctx, w->compacted, w->why);
	w->calling = false;
	watch_free(w);
}

/* `why` is a literal. */
static void end(struct sim_watch *w, uint64_t compacted, const char *why)
{
	if (w->ending)
		return;
	w->ending = true;
	w->compacted = compacted;
	w->why = why;
	schedule(w, sim_way(w->engine), on_ended);
}

/* ----------------------------------------------------------------------- telling */

static struct engine_event *lend_events(const struct sim_watch *w, size_t n, size_t *ret_size)
{
	const struct sim_change *log = w->engine->store->map.log;
	size_t size = n * sizeof(struct engine_event), left = n;
	struct engine_event *events;
	char *bytes;

	for (size_t i = w->at; left; i++)
		if (in_range(w, log[i].key)) {
			size += log[i].key.len + log[i].value.len;
			left--;
		}
	events = sim_lend_begin(size);
	bytes = (char *)(events + n);
	for (size_t i = w->at; left < n; i++)
		if (in_range(w, log[i].key)) {
			events[left].key = sim_lend(&bytes, log[i].key);
			events[left++].value = sim_lend(&bytes, log[i].value);
		}
	*ret_size = size;
	return events;
}

/* The next n changes in its range, those up to `behind` of the log; the rest of them is lost. */
static void tell(struct sim_watch *w, size_t n, size_t behind)
{
	struct sim_store *store = w->engine->store;
	uint64_t revision = store->map.log[behind - 1].revision;
	size_t size;
	struct engine_event *events = n ? lend_events(w, n, &size) : NULL;

	w->at = behind;
	w->after = revision;
	w->held = w->merge = false;
	if (!n)
		return;
	sim_note(store->sim, "%s: watch %llu is told of revision %llu, %zu events", w->engine->actor->name,
		 (unsigned long long)w->id, (unsigned long long)revision, n);
	sim_mix(store->sim, revision);
	w->calling = true;
	w->calls.events(w->calls.ctx, revision, events, n);
	w->calling = false;
	sim_lend_end(events, size);
}

/* Counts the changes of the next transaction, or of all of them, and where they end. */
static size_t count_events(const struct sim_watch *w, bool all, size_t *ret_behind, size_t *ret_transactions)
{
	const struct sim_map *map = &w->engine->store->map;
	uint64_t last = 0;
	size_t n = 0, i = w->at;

	*ret_transactions = 0;
	for (; i < map->n_log && (all || map->log[i].revision == map->log[w->at].revision); i++) {
		if (!in_range(w, map->log[i].key))
			continue;
		*ret_transactions += map->log[i].revision != last;
		last = map->log[i].revision;
		n++;
	}
	*ret_behind = i;
	return n;
}

/* A fault of this transaction that ends or holds the watch: nothing is told now. */
static bool held_up(struct sim_watch *w)
{
	struct engine_sim *e = w->engine;
	struct sim *sim = e->store->sim;
	bool ended = sim_fault_draw(e, SIM_WATCH_ENDED), compacted = sim_fault_draw(e, SIM_WATCH_COMPACTED);
	bool delayed = w->at >= w->caught_up && sim_fault_draw(e, SIM_WATCH_DELAYED);
	bool merged = sim_fault_draw(e, SIM_WATCH_MERGED);

	if (ended) {
		sim_fault_count(e, SIM_WATCH_ENDED);
		end(w, 0, "the connection broke");
	} else if (compacted) {
		sim_fault_count(e, SIM_WATCH_COMPACTED);
		sim_store_compact(e->store, e->store->map.revision);
		end(w, e->store->map.revision, "compacted");
	} else if (delayed) {
		sim_fault_count(e, SIM_WATCH_DELAYED);
		schedule(w, sim_between(sim, 50 * NS_PER_MS, 2 * NS_PER_S), on_pump);
	} else if (merged) {
		schedule(w, sim_between(sim, NS_PER_MS, 50 * NS_PER_MS), on_pump);
	}
	w->held = delayed || merged;
	w->merge = merged && !delayed;
	return w->next;
}

/* The next transaction has arrived. */
static void on_pump(struct sim *sim, void *ctx)
{
	struct sim_watch *w = ctx;
	size_t n, behind, transactions;

	w->next = 0;
	if (w->engine->cut & SIM_IN || !has_next(w))
		return; /* cut: it comes when that is healed */
	if (!w->held && held_up(w))
		return;
	if (w->held && !w->merge)
		w->caught_up = w->engine->store->map.n_log;
	n = count_events(w, w->merge, &behind, &transactions);
	if (transactions > 1)
		sim_fault_count(w->engine, SIM_WATCH_MERGED);
	if (sim_fault_draw(w->engine, SIM_EVENT_LOST)) {
		sim_fault_count(w->engine, SIM_EVENT_LOST);
		n = sim_below(sim, 2) ? n - 1 : 0;
	}
	tell(w, n, behind);
	if (w->over)
		watch_free(w);
	else
		kick(w);
}

void sim_watches_changed(struct sim_store *store)
{
	LIST_FOR_EACH(link, &store->watches)
		kick(LIST_ENTRY_OF(link, struct sim_watch, link));
}

/* --------------------------------------------------------------------- beginning */

static void on_detect(struct sim *sim, void *ctx)
{
	struct sim_watch *w = ctx;

	(void)sim;
	w->detect = 0;
	end(w, 0, "no leader");
}

static void cut_or_healed(struct sim_watch *w)
{
	struct sim *sim = w->engine->store->sim;

	if (!(w->engine->cut & SIM_IN)) {
		sim_cancel(sim, w->detect);
		w->detect = 0;
		kick(w);
	} else if (!w->detect && !w->over) {
		w->detect = sim_after(sim, w->engine->actor, sim_between(sim, NS_PER_MS, 3 * NS_PER_S),
				      on_detect, w);
	}
}

/* The store hears of it. */
static void on_start(struct sim *sim, void *ctx)
{
	struct sim_watch *w = ctx;
	const struct sim_map *map = &w->engine->store->map;

	(void)sim;
	w->next = 0;
	if (w->engine->cut & SIM_OUT) {
		end(w, 0, "no connection");
		return;
	}
	if (w->after && w->after + 1 < map->compacted) {
		end(w, map->compacted, "compacted");
		return;
	}
	w->started = true;
	w->after = w->after ? w->after : map->revision;
	w->at = sim_map_since(map, w->after);
	cut_or_healed(w);
}

uint64_t sim_watch_begin(struct engine *engine, struct mp_str from, struct mp_str last, uint64_t after,
			 const struct engine_watch *calls)
{
	struct engine_sim *e = engine_sim_of(engine);
	struct sim_watch *w = calloc(1, sizeof(*w));

	assert(w && !e->dead && !e->closed);
	w->engine = e;
	w->id = ++e->store->watched;
	w->from = slice_make(slice_dup(from), from.len);
	w->end = slice_make(slice_dup(last), last.len);
	assert(w->from.ptr && w->end.ptr);
	w->after = after;
	w->calls = *calls;
	list_push_back(&e->store->watches, &w->link);
	sim_note(e->store->sim, "%s: watch %llu of %.*s behind %llu", e->actor->name, (unsigned long long)w->id,
		 SLICE_ARG(from), (unsigned long long)after);
	schedule(w, sim_way(e), on_start);
	return w->id;
}

void sim_watch_stop(struct engine *engine, uint64_t id)
{
	LIST_FOR_EACH_SAFE(link, &engine_sim_of(engine)->store->watches) {
		struct sim_watch *w = LIST_ENTRY_OF(link, struct sim_watch, link);

		if (w->id == id && w->engine == engine_sim_of(engine))
			watch_free(w);
	}
}

/* ---------------------------------------------------------------- of an engine */

void sim_watches_cut(struct engine_sim *engine)
{
	LIST_FOR_EACH(link, &engine->store->watches) {
		struct sim_watch *w = LIST_ENTRY_OF(link, struct sim_watch, link);

		if (w->engine == engine && w->started)
			cut_or_healed(w);
	}
}

void sim_watches_break(struct engine_sim *engine, const char *why)
{
	LIST_FOR_EACH(link, &engine->store->watches) {
		struct sim_watch *w = LIST_ENTRY_OF(link, struct sim_watch, link);

		if (w->engine == engine && !w->over)
			end(w, 0, why);
	}
}

void sim_watches_free(struct engine_sim *engine)
{
	LIST_FOR_EACH_SAFE(link, &engine->store->watches) {
		struct sim_watch *w = LIST_ENTRY_OF(link, struct sim_watch, link);

		if (w->engine == engine)
			watch_free(w);
	}
}
