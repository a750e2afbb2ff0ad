/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated engine under thousands of seeds: whatever goes wrong, the promises
 * of aggregator/rows/engine/engine.h hold.  Members count up, each with a watch; the truth is the store's
 * log.  Each kind of fault has to have happened.
 *
 * `test_engine_sim_many SEED` replays one.
 */
#include <stdlib.h>
#include <time.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"
#include "tests/unit/aggregator/engine_sim.h"

#define SEEDS 2000
#define MEMBERS 3
#define KEYS 2           /* counters */
#define ATTEMPTS_MAX 8192 /* commits of a run */
#define VALUE_SIZE 32
#define WEATHER_NS (10 * NS_PER_S)

/* A commit: "<count>:<number of the attempt>" under the comparison of the value before. */
struct attempt {
	bool answered;               /* or its member was killed */
	enum engine_outcome outcome; /* UNKNOWN before */
	bool shown;                  /* it failed, by what it has put itself */
	unsigned in_log;             /* times that it happened */
};

struct member {
	struct world *world;
	struct sim_actor actor;
	struct engine *engine;      /* NULL: killed, and not there again yet */
	unsigned key;               /* that it is at */
	size_t attempt;             /* under way */
	uint64_t floor;             /* revision that a range must show */
	bool asked;                 /* one request is under way */
	char seen[KEYS][VALUE_SIZE]; /* by the watch */
	uint64_t seen_revision;     /* likewise */
	bool follows;               /* the watch is there */
	bool reading;               /* what the watch begins behind is being read */
};

struct world {
	struct sim *sim;
	struct sim_store *store;
	struct member members[MEMBERS];
	struct attempt attempts[ATTEMPTS_MAX];
	size_t n_attempts;
	uint64_t highest;     /* revision that was answered to anybody */
	bool loses_events;    /* watches have gaps, by their odds */
	bool doubles;         /* requests arrive twice, by their odds */
	bool backups;         /* nothing that was acknowledged is safe */
	uint64_t ends_ns;     /* nothing is begun behind that */
};

/* Over all seeds. */
struct totals {
	uint64_t counts[SIM_FAULTS];
	uint64_t commits, events;
};

static const char *const keys[KEYS] = { "n/a", "n/b" };
static const char *const twins[KEYS] = { "n/a+", "n/b+" }; /* put in the same transaction */

static void go_on(struct member *m, uint64_t ns);

static uint64_t count_of(struct mp_str value)
{
	struct mp_str count, rest;
	uint64_t n = 0;

	(void)slice_cut(value, ':', &count, &rest);
	(void)slice_to_u64(count, &n); /* nothing counts as 0 */
	return n;
}

static size_t attempt_of(struct mp_str value)
{
	struct mp_str count, rest;
	uint64_t n = 0;

	(void)slice_cut(value, ':', &count, &rest);
	(void)slice_to_u64(rest, &n); /* what was there at first: 0, which is none */
	return n;
}

/* -------------------------------------------------------------------- watching */

static int key_index(struct mp_str key, const char *const names[KEYS])
{
	for (int i = 0; i < KEYS; i++)
		if (slice_eq(key, slice_of(names[i])))
			return i;
	return -1;
}

static void saw(struct member *m, int at, struct mp_str value)
{
	uint64_t before = count_of(slice_of(m->seen[at])), now = count_of(value);

	sim_check(m->world->sim, now == before + 1 || (m->world->loses_events && now > before) || m->world->backups,
		  "%s: a watch is told %llu behind %llu", m->actor.name, (unsigned long long)now,
		  (unsigned long long)before);
	(void)snprintf(m->seen[at], VALUE_SIZE, "%.*s", SLICE_ARG(value));
}

static void on_events(void *ctx, uint64_t revision, const struct engine_event *events, size_t n)
{
	struct member *m = ctx;
	struct sim *sim = m->world->sim;
	size_t pairs = 0;

	sim_check(sim, m->follows && n, "%s: events behind the end", m->actor.name);
	sim_check(sim, revision > m->seen_revision || m->world->backups, "%s: revisions go back", m->actor.name);
	m->seen_revision = revision;
	for (size_t i = 0; i < n; i++) {
		int at = key_index(events[i].key, keys), twin = key_index(events[i].key, twins);

		pairs += at >= 0;
		pairs -= twin >= 0;
		if (at >= 0)
			saw(m, at, events[i].value);
		if (twin >= 0)
			sim_check(sim, slice_eq(events[i].value, slice_of(m->seen[twin])), "%s: twins differ",
				  m->actor.name);
	}
	sim_check(sim, !pairs || m->world->loses_events, "%s: half a transaction", m->actor.name);
}

static void follow(struct member *m);

static void on_ended(void *ctx, uint64_t compacted, const char *why)
{
	struct member *m = ctx;

	(void)why;
	m->follows = false;
	if (compacted && !m->world->backups)
		sim_check(m->world->sim, compacted <= sim_store_map(m->world->store)->revision, "compacted ahead");
	follow(m);
}

/* What is there now; the watch begins behind it. */
static void on_read(void *ctx, const struct engine_answer *answer)
{
	struct member *m = ctx;
	const struct engine_watch calls = { on_events, on_ended, m };

	m->reading = false;
	if (answer->outcome != ENGINE_COMMITTED) {
		follow(m);
		return;
	}
	memset(m->seen, 0, sizeof(m->seen));
	for (size_t i = 0; i < answer->n_items; i++) {
		int at = key_index(answer->items[i].key, keys);

		if (at >= 0)
			(void)snprintf(m->seen[at], VALUE_SIZE, "%.*s", SLICE_ARG(answer->items[i].value));
	}
	m->seen_revision = answer->revision;
	m->follows = true;
	m->engine->ops->watch(m->engine, MP_LIT("n/"), MP_LIT("n0"), answer->revision, &calls);
}

static void on_follow(struct sim *sim, void *ctx)
{
	struct member *m = ctx;
	const struct engine_range range = { .from = MP_LIT("n/"), .end = MP_LIT("n0") };

	(void)sim;
	m->engine->ops->range(m->engine, &range, on_read, m);
}

static void follow(struct member *m)
{
	sim_check(m->world->sim, !m->reading && !m->follows, "%s: called twice", m->actor.name);
	m->reading = true;
	sim_timer(m->world->sim, &m->actor, 20 * NS_PER_MS, on_follow, m);
}

/* -------------------------------------------------------------------- counting */

static void heard(struct world *w, uint64_t revision)
{
	if (revision > w->highest)
		w->highest = revision;
}

static void on_done(void *ctx, const struct engine_answer *answer)
{
	struct member *m = ctx;
	struct attempt *attempt = &m->world->attempts[m->attempt];

	sim_check(m->world->sim, m->asked && !attempt->answered, "%s: an answer twice", m->actor.name);
	m->asked = false;
	attempt->answered = true;
	attempt->outcome = answer->outcome;
	if (answer->outcome != ENGINE_UNKNOWN)
		heard(m->world, answer->revision);
	for (size_t i = 0; i < answer->n_items; i++)
		attempt->shown |= attempt_of(answer->items[i].value) == m->attempt;
	go_on(m, sim_between(m->world->sim, 1, 80 * NS_PER_MS));
}

/* One more than that. */
static void count_up(struct member *m, struct mp_str before)
{
	struct world *w = m->world;
	struct mp_str key = slice_of(keys[m->key]);
	char next[VALUE_SIZE];
	const struct engine_compare compare = { key, before };
	struct engine_op ops[2] = { { ENGINE_PUT, key, { 0 }, false },
				    { ENGINE_PUT, slice_of(twins[m->key]), { 0 }, false } };

	if (w->n_attempts == ATTEMPTS_MAX)
		return;
	m->attempt = w->n_attempts++;
	w->attempts[m->attempt].outcome = ENGINE_UNKNOWN;
	(void)snprintf(next, sizeof(next), "%llu:%zu", (unsigned long long)count_of(before) + 1, m->attempt);
	ops[0].value = ops[1].value = slice_of(next);
	m->asked = true;
	m->engine->ops->commit(m->engine, &(struct engine_txn){ &compare, 1, ops, 2, &key, 1 }, on_done, m);
}

/* A range shows all that anybody was told of before it was asked for. */
static void on_value(void *ctx, const struct engine_answer *answer)
{
	struct member *m = ctx;
	struct world *w = m->world;
	const struct sim_map *map = sim_store_map(w->store);
	struct mp_str value = answer->n_items ? answer->items[0].value : (struct mp_str){ 0 };

	sim_check(w->sim, m->asked, "%s: an answer twice", m->actor.name);
	m->asked = false;
	if (answer->outcome != ENGINE_COMMITTED || m->key == KEYS) {
		go_on(m, sim_between(w->sim, 1, 80 * NS_PER_MS));
		return;
	}
	heard(w, answer->revision);
	sim_check(w->sim, answer->revision >= m->floor || w->backups, "%s: a range shows %llu, and %llu was known",
		  m->actor.name, (unsigned long long)answer->revision, (unsigned long long)m->floor);
	sim_check(w->sim, w->backups || slice_eq(value, sim_map_get(map, slice_of(keys[m->key]), answer->revision)),
		  "%s: a range shows what never was", m->actor.name);
	count_up(m, value);
}

static void put_lease(struct member *m)
{
	const struct engine_op op = { ENGINE_PUT, slice_of(m->actor.name), MP_LIT(""), true };
	const struct engine_txn txn = { .ops = &op, .n_ops = 1 };

	m->attempt = 0; /* none of those that count */
	m->world->attempts[0] = (struct attempt){ 0 };
	m->engine->ops->commit(m->engine, &txn, on_value, m);
}

static void on_turn(struct sim *sim, void *ctx)
{
	struct member *m = ctx;
	struct engine_range range = { 0 };

	if (sim->now_ns > m->world->ends_ns)
		return;
	m->asked = true;
	m->key = (unsigned)sim_below(sim, KEYS + 1);
	m->floor = m->world->highest;
	if (m->key == KEYS && sim_below(sim, 2)) {
		put_lease(m);
		return;
	}
	range.from = slice_of(keys[m->key % KEYS]);
	range.stale = m->key == KEYS;
	m->engine->ops->range(m->engine, &range, on_value, m);
}

static void go_on(struct member *m, uint64_t ns)
{
	sim_timer(m->world->sim, &m->actor, ns, on_turn, m);
}

/* -------------------------------------------------------------------- the world */

static void on_birth(struct sim *sim, void *ctx)
{
	struct member *m = ctx;

	m->engine = engine_sim_open(m->world->store, &m->actor);
	m->asked = m->follows = m->reading = false;
	follow(m);
	go_on(m, sim_between(sim, 1, 80 * NS_PER_MS));
}

static void on_death(struct sim *sim, void *ctx)
{
	struct world *w = ctx;
	struct member *m = &w->members[sim_below(sim, MEMBERS)];

	if (sim->now_ns > w->ends_ns - NS_PER_S)
		return;
	if (m->engine) {
		engine_sim_kill(m->engine);
		m->engine = NULL;
		sim_after(sim, NULL, sim_between(sim, 1, NS_PER_S), on_birth, m);
	}
	sim_after(sim, NULL, sim_between(sim, NS_PER_S, 5 * NS_PER_S), on_death, w);
}

/* Each seed has half of the faults, each as often as it likes. */
static void set_odds(struct world *w)
{
	static const uint32_t most[SIM_FAULTS] = {
		[SIM_ANSWER_LOST] = 50000, [SIM_REQUEST_LOST] = 50000, [SIM_COMMIT_LATE] = 50000,
		[SIM_TWICE] = 50000, [SIM_AGAIN] = 50000, [SIM_NO_SPACE] = 50000, [SIM_NOT_SENT] = 50000,
		[SIM_RANGE_LOST] = 50000, [SIM_STALE] = 500000, [SIM_SLOW] = 50000,
		[SIM_WATCH_DELAYED] = 50000, [SIM_WATCH_ENDED] = 20000,
		[SIM_WATCH_COMPACTED] = 10000, [SIM_WATCH_MERGED] = 300000, [SIM_EVENT_LOST] = 20000,
		[SIM_CUT] = 20000, [SIM_STOPPED] = 20000, [SIM_SLOW_LINK] = 20000, [SIM_FULL] = 10000,
		[SIM_COMPACTED] = 20000, [SIM_RESTORED] = 10000,
	};

	for (int fault = 0; fault < SIM_FAULTS; fault++) {
		uint32_t odds = (uint32_t)sim_below(w->sim, 2 * (uint64_t)most[fault] + 1);

		sim_store_odds(w->store, (enum sim_fault)fault, odds > most[fault] ? 0 : odds);
		w->loses_events |= fault == SIM_EVENT_LOST && odds <= most[fault];
		w->doubles |= fault == SIM_TWICE && odds <= most[fault];
	}
	/* A backup voids most of the rest: one seed in eight. */
	w->backups = !sim_below(w->sim, 8);
	if (!w->backups)
		sim_store_odds(w->store, SIM_RESTORED, 0);
}

/*
 * A request that arrived twice and failed may have happened the first time, and
 * be shown no more: others have gone on meanwhile.
 */
static void check_attempt(struct world *w, size_t i)
{
	const struct attempt *a = &w->attempts[i];
	bool once = a->in_log == 1, never = !a->in_log, good = once || never;

	if (a->outcome == ENGINE_COMMITTED || a->shown)
		good = once;
	else if (a->outcome == ENGINE_REFUSED || (a->outcome == ENGINE_FAILED && !w->doubles))
		good = never;
	sim_check(w->sim, good, "attempt %zu: outcome %d, and it happened %u times", i, a->outcome, a->in_log);
}

/* What everybody was told against what there is. */
static void check_log(struct world *w)
{
	const struct sim_map *map = sim_store_map(w->store);
	uint64_t counts[KEYS] = { 0 };

	for (size_t i = 0; i < map->n_log; i++) {
		int at = key_index(map->log[i].key, keys);

		if (at < 0)
			continue;
		sim_check(w->sim, count_of(map->log[i].value) == ++counts[at], "the log has a gap");
		w->attempts[attempt_of(map->log[i].value)].in_log++;
	}
	for (size_t i = 1; i < w->n_attempts && !w->backups; i++)
		check_attempt(w, i);
}

/* When all is calm everybody has seen everything. */
static void check_members(struct world *w)
{
	const struct sim_map *map = sim_store_map(w->store);

	for (int i = 0; i < MEMBERS; i++) {
		struct member *m = &w->members[i];

		sim_check(w->sim, !m->asked && m->engine, "%s: never answered", m->actor.name);
		sim_check(w->sim, m->follows || w->backups, "%s: has no watch", m->actor.name);
		for (int k = 0; k < KEYS && !w->loses_events && !w->backups; k++)
			sim_check(w->sim, slice_eq(slice_of(m->seen[k]),
						   sim_map_get(map, slice_of(keys[k]), map->revision)),
				  "%s: its watch has not seen the last of %s", m->actor.name, keys[k]);
	}
}

static void scenario(struct sim *sim, void *ctx)
{
	static const char *const names[MEMBERS] = { "one", "two", "three" };
	struct totals *totals = ctx;
	struct world *w = calloc(1, sizeof(*w));

	*w = (struct world){ .sim = sim, .store = sim_store_new(sim), .n_attempts = 1,
			     .ends_ns = sim->now_ns + WEATHER_NS };
	set_odds(w);
	for (int i = 0; i < MEMBERS; i++) {
		w->members[i].world = w;
		sim_actor_init(&w->members[i].actor, names[i]);
		on_birth(sim, &w->members[i]);
	}
	if (sim_below(sim, 2))
		sim_after(sim, NULL, sim_between(sim, 1, 5 * NS_PER_S), on_death, w);
	sim_store_weather(w->store, WEATHER_NS);
	sim_run_for(sim, WEATHER_NS + SIM_CALM_NS);
	check_log(w);
	check_members(w);
	for (int i = 0; i < SIM_FAULTS; i++)
		totals->counts[i] += sim_store_count(w->store, (enum sim_fault)i);
	totals->commits += w->n_attempts - 1;
	totals->events += sim->steps;
	sim_store_free(w->store);
	free(w);
}

/* A seed with its trace, as text; freed by the caller. */
static char *traced(uint64_t seed)
{
	static struct totals totals;
	struct sim_plan plan = { .name = "engines", .scenario = scenario, .ctx = &totals, .first = seed,
				 .seeds = 1, .verbose = true };
	size_t size;
	char *text;

	plan.out = open_memstream(&text, &size);
	if (!plan.out)
		return NULL;
	(void)sim_run(&plan); /* told by main() */
	fclose(plan.out);
	return text;
}

/* Line by line; the digest says it for the others. */
static void test_replay(void)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		char *first = traced(seed), *again = traced(seed);

		ok(first && again && strlen(first) > 10000 && !strcmp(first, again), "seed %d replays exactly", (int)seed);
		free(first);
		free(again);
	}
}

int main(int argc, char **argv)
{
	static struct totals totals;
	struct sim_plan plan = { .name = "engines", .scenario = scenario, .ctx = &totals, .first = 1,
				 .seeds = SEEDS, .twice = 50 };
	clock_t began = clock();

	sim_plan_args(&plan, argc, argv);
	ok(sim_run(&plan), "the engine's promises hold under %llu seeds", (unsigned long long)plan.seeds);
	note("%llu commits, %llu events, %.2f s of CPU", (unsigned long long)totals.commits,
	     (unsigned long long)totals.events, (double)(clock() - began) / CLOCKS_PER_SEC);
	if (plan.seeds < SEEDS)
		return done();
	test_replay();
	for (int i = 0; i < SIM_FAULTS; i++)
		ok(totals.counts[i], "%s: %llu times", sim_fault_name((enum sim_fault)i),
		   (unsigned long long)totals.counts[i]);
	return done();
}
