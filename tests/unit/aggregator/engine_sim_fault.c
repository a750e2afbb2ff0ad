/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong in the simulated engine: odds and scripts, cuts, stops, the weather. */
#include <assert.h>

#include "tests/unit/aggregator/engine_sim_priv.h"

#define WEATHER_LOW_NS (50 * NS_PER_MS)  /* between two draws, at least */
#define WEATHER_HIGH_NS (150 * NS_PER_MS)
#define SPELL_LOW_NS (10 * NS_PER_MS)    /* what the weather makes lasts that long at least */
#define SPELL_HIGH_NS (4 * NS_PER_S)
#define LEASE_LOW_NS (2 * NS_PER_S)      /* a lease that nobody keeps alive */
#define LEASE_HIGH_NS (5 * NS_PER_S)
#define SLOW_LOW_NS (5 * NS_PER_MS)      /* one way of a slow link */
#define SLOW_HIGH_NS (400 * NS_PER_MS)
#define BACKUP_AGE_MAX 20                /* transactions */

const char *sim_fault_name(enum sim_fault fault)
{
	static const char *const names[SIM_FAULTS] = {
		[SIM_ANSWER_LOST] = "answer lost",
		[SIM_REQUEST_LOST] = "request lost",
		[SIM_COMMIT_LATE] = "committed late",
		[SIM_TWICE] = "delivered twice",
		[SIM_AGAIN] = "delivered again",
		[SIM_NOT_SENT] = "not sent",
		[SIM_NO_SPACE] = "no space",
		[SIM_RANGE_LOST] = "range lost",
		[SIM_STALE] = "stale range",
		[SIM_SLOW] = "slow request",
		[SIM_WATCH_DELAYED] = "watch delayed",
		[SIM_WATCH_ENDED] = "watch ended",
		[SIM_WATCH_COMPACTED] = "watch compacted",
		[SIM_WATCH_MERGED] = "watch merged",
		[SIM_EVENT_LOST] = "event lost",
		[SIM_CUT] = "cut off",
		[SIM_STOPPED] = "stopped",
		[SIM_SLOW_LINK] = "slow link",
		[SIM_FULL] = "full",
		[SIM_COMPACTED] = "compacted",
		[SIM_RESTORED] = "restored",
		[SIM_KILLED] = "killed",
		[SIM_LEASE_GONE] = "lease gone",
	};

	return names[fault];
}

/* ------------------------------------------------------------- odds and scripts */

void engine_sim_odds(struct engine *engine, enum sim_fault fault, uint32_t per_million)
{
	engine_sim_of(engine)->odds[fault] = per_million;
}

void sim_store_odds(struct sim_store *store, enum sim_fault fault, uint32_t per_million)
{
	store->odds[fault] = per_million;
}

void engine_sim_script(struct engine *engine, enum sim_fault fault, unsigned n)
{
	struct engine_sim *e = engine_sim_of(engine);

	assert(n && e->n_script < SCRIPT_MAX);
	e->script[e->n_script].fault = fault;
	e->script[e->n_script++].n = n;
}

/* Counts the draw; takes out what has had its turn. */
static bool scripted(struct engine_sim *e, enum sim_fault fault)
{
	bool found = false;
	size_t kept = 0;

	for (size_t i = 0; i < e->n_script; i++) {
		if (e->script[i].fault == fault && !--e->script[i].n)
			found = true;
		else
			e->script[kept++] = e->script[i];
	}
	e->n_script = kept;
	return found;
}

bool sim_fault_draw(struct engine_sim *engine, enum sim_fault fault)
{
	bool drawn = sim_chance(engine->store->sim, engine->odds[fault]);

	return scripted(engine, fault) || drawn;
}

void sim_fault_count(struct engine_sim *engine, enum sim_fault fault)
{
	engine->counts[fault]++;
	engine->store->counts[fault]++;
	sim_note(engine->store->sim, "%s: fault: %s", engine->actor->name, sim_fault_name(fault));
}

uint64_t engine_sim_count(const struct engine *engine, enum sim_fault fault)
{
	return engine_sim_of(engine)->counts[fault];
}

uint64_t sim_store_count(const struct sim_store *store, enum sim_fault fault)
{
	return store->counts[fault];
}

const struct sim_map *sim_store_map(const struct sim_store *store)
{
	return &store->map;
}

/* ----------------------------------------------------------------------- leases */

static void on_lease_end(struct sim *sim, void *ctx)
{
	struct engine_sim *e = ctx;

	e->lease_end = 0;
	e->store->map.now_ns = sim->now_ns;
	sim_map_delete_lease(&e->store->map, e->lease);
	e->lease = ++e->store->leases;
	e->lease_ended = true;
	if (!sim_map_end(&e->store->map))
		return;
	sim_fault_count(e, SIM_LEASE_GONE);
	sim_watches_changed(e->store);
}

static void on_lease_lost(struct sim *sim, void *ctx)
{
	struct engine_sim *e = ctx;

	sim_note(sim, "%s: has another lease", e->actor->name);
	if (e->lease_lost && !e->closed)
		e->lease_lost(e->lease_ctx);
}

void engine_sim_lease_lost(struct engine *engine, void (*fn)(void *ctx), void *ctx)
{
	engine_sim_of(engine)->lease_lost = fn;
	engine_sim_of(engine)->lease_ctx = ctx;
}

/* It is kept alive again, or it has ended and another one is granted. */
static void lease_kept(struct engine_sim *e)
{
	struct sim *sim = e->store->sim;

	sim_cancel(sim, e->lease_end);
	e->lease_end = 0;
	if (e->lease_ended)
		sim_after(sim, e->actor, sim_way(e) + sim_way(e), on_lease_lost, e);
	e->lease_ended = false;
}

void sim_lease_check(struct engine_sim *engine)
{
	struct sim *sim = engine->store->sim;

	if (!engine->dead && !engine->actor->stopped && !(engine->cut & SIM_OUT)) {
		lease_kept(engine);
	} else if (!engine->lease_end) {
		engine->lease_end = sim_after(sim, NULL, sim_between(sim, LEASE_LOW_NS, LEASE_HIGH_NS),
					      on_lease_end, engine);
	}
}

/* ---------------------------------------------------------------- of one engine */

uint64_t sim_way(struct engine_sim *engine)
{
	return sim_between(engine->store->sim, engine->low_ns, engine->high_ns);
}

void engine_sim_link(struct engine *engine, uint64_t low_ns, uint64_t high_ns)
{
	engine_sim_of(engine)->low_ns = low_ns;
	engine_sim_of(engine)->high_ns = high_ns;
}

void engine_sim_cut(struct engine *engine, unsigned ways)
{
	struct engine_sim *e = engine_sim_of(engine);

	sim_cancel(e->store->sim, e->heal);
	e->heal = 0;
	if (ways && !e->cut)
		sim_fault_count(e, SIM_CUT);
	sim_note(e->store->sim, "%s: cut:%s%s%s", e->actor->name, ways & SIM_OUT ? " out" : "",
		 ways & SIM_IN ? " in" : "", ways ? "" : " healed");
	e->cut = ways;
	sim_watches_cut(e);
	sim_lease_check(e);
}

static void on_resume(struct sim *sim, void *ctx)
{
	struct engine_sim *e = ctx;

	e->resume = 0;
	sim_resume(sim, e->actor);
	sim_lease_check(e);
}

void engine_sim_stop(struct engine *engine, uint64_t for_ns)
{
	struct engine_sim *e = engine_sim_of(engine);

	if (e->actor->stopped || e->dead)
		return;
	sim_fault_count(e, SIM_STOPPED);
	sim_stop(e->store->sim, e->actor);
	e->resume = sim_after(e->store->sim, NULL, for_ns, on_resume, e);
	sim_lease_check(e);
}

void engine_sim_kill(struct engine *engine)
{
	struct engine_sim *e = engine_sim_of(engine);
	struct sim *sim = e->store->sim;

	assert(!e->dead);
	sim_fault_count(e, SIM_KILLED);
	sim_cancel(sim, e->resume);
	sim_cancel(sim, e->heal);
	sim_cancel(sim, e->unslow);
	e->resume = e->heal = e->unslow = 0;
	sim_watches_free(e);
	sim_kill(sim, e->actor);
	e->dead = true;
	sim_lease_check(e);
}

/* ----------------------------------------------------------------- of the store */

void sim_store_full(struct sim_store *store, bool full)
{
	sim_cancel(store->sim, store->full_end);
	store->full_end = 0;
	if (full && !store->full)
		store->counts[SIM_FULL]++;
	store->full = full;
	sim_note(store->sim, "the store %s", full ? "is full" : "has space");
}

void sim_store_compact(struct sim_store *store, uint64_t revision)
{
	assert(revision <= store->map.revision);
	if (revision <= store->map.compacted)
		return;
	store->map.compacted = revision;
	store->counts[SIM_COMPACTED]++;
	sim_note(store->sim, "the store is compacted up to %llu", (unsigned long long)revision);
}

void sim_store_restore(struct sim_store *store, uint64_t revision)
{
	sim_note(store->sim, "the store is restored: from %llu back to %llu",
		 (unsigned long long)store->map.revision, (unsigned long long)revision);
	sim_map_restore(&store->map, revision);
	store->restores++;
	store->counts[SIM_RESTORED]++;
	LIST_FOR_EACH(link, &store->engines)
		sim_watches_break(LIST_ENTRY_OF(link, struct engine_sim, link), "the server went away");
}

/* ------------------------------------------------------------------------ weather */

static uint64_t spell(struct sim *sim)
{
	return sim_between(sim, SPELL_LOW_NS, SPELL_HIGH_NS);
}

static void on_heal(struct sim *sim, void *ctx)
{
	struct engine_sim *e = ctx;

	(void)sim;
	e->heal = 0;
	engine_sim_cut(&e->engine, 0);
}

static void on_unslow(struct sim *sim, void *ctx)
{
	struct engine_sim *e = ctx;

	sim_note(sim, "%s: the link is fast", e->actor->name);
	e->unslow = 0;
	engine_sim_link(&e->engine, SIM_WAY_LOW_NS, SIM_WAY_HIGH_NS);
}

static void on_space(struct sim *sim, void *ctx)
{
	struct sim_store *store = ctx;

	(void)sim;
	store->full_end = 0;
	sim_store_full(store, false);
}

/* Three in five cut both ways. */
static unsigned draw_ways(struct sim *sim)
{
	static const unsigned ways[] = { SIM_OUT, SIM_IN, SIM_OUT | SIM_IN, SIM_OUT | SIM_IN, SIM_OUT | SIM_IN };

	return ways[sim_below(sim, 5)];
}

static void engine_weather(struct engine_sim *e)
{
	struct sim *sim = e->store->sim;

	if (sim_fault_draw(e, SIM_CUT) && !e->cut) {
		engine_sim_cut(&e->engine, draw_ways(sim));
		e->heal = sim_after(sim, NULL, spell(sim), on_heal, e);
	}
	if (sim_fault_draw(e, SIM_STOPPED))
		engine_sim_stop(&e->engine, spell(sim));
	if (sim_fault_draw(e, SIM_SLOW_LINK) && !e->unslow) {
		sim_fault_count(e, SIM_SLOW_LINK);
		engine_sim_link(&e->engine, SLOW_LOW_NS, SLOW_HIGH_NS);
		e->unslow = sim_after(sim, NULL, spell(sim), on_unslow, e);
	}
}

static void store_weather(struct sim_store *store)
{
	struct sim *sim = store->sim;
	uint64_t age;

	if (sim_chance(sim, store->odds[SIM_FULL]) && !store->full) {
		sim_store_full(store, true);
		store->full_end = sim_after(sim, NULL, spell(sim), on_space, store);
	}
	if (sim_chance(sim, store->odds[SIM_COMPACTED]))
		sim_store_compact(store, store->map.revision);
	if (sim_chance(sim, store->odds[SIM_RESTORED])) {
		age = sim_between(sim, 1, BACKUP_AGE_MAX);
		sim_store_restore(store, store->map.revision > age ? store->map.revision - age : 1);
	}
}

static void on_weather(struct sim *sim, void *ctx)
{
	struct sim_store *store = ctx;

	store->weather = 0;
	if (sim->now_ns >= store->weather_ends_ns)
		return;
	LIST_FOR_EACH(link, &store->engines)
		if (!LIST_ENTRY_OF(link, struct engine_sim, link)->dead)
			engine_weather(LIST_ENTRY_OF(link, struct engine_sim, link));
	store_weather(store);
	store->weather = sim_after(sim, NULL, sim_between(sim, WEATHER_LOW_NS, WEATHER_HIGH_NS), on_weather, store);
}

void sim_store_weather(struct sim_store *store, uint64_t for_ns)
{
	store->weather_ends_ns = store->sim->now_ns + for_ns;
	if (!store->weather)
		store->weather = sim_after(store->sim, NULL, WEATHER_LOW_NS, on_weather, store);
}
