/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Semantic checks under every fault of the simulated engine: clients claim keys
 * of a row with `unique` and take amounts of one with `sum`, while members take
 * shards from one another, run out of memory, are stopped, cut off and killed.
 * In the end each committed cell was allowed where it stands, what was
 * acknowledged is there, what was refused had to be, and the state snapshot that
 * a floor rests on is what the cells come to.  In half of the groups not every member
 * has every check: then shards go to those that have them, or clients would wait for ever.
 * `test_checks_sim SEED` replays one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "middlepipes/registry.h"
#include "tests/lib/tap.h"
#include "tests/unit/aggregator/checks_group.h"
#include "tests/unit/aggregator/checks_truth.h"

static struct world world; /* halves have no other way to it */

static void attempt(struct sim *sim, void *ctx);

/* ----------------------------------------------------------------------- halves */

/* The real ones, but memory runs out now and then. */
static struct mp_aggregator halves[ROWS];

static int32_t apply(unsigned row, void *self, const struct mp_cell *cell)
{
	if (world.left && sim_below(world.sim, 200) == 0) {
		world.count.no_memory++;
		return -ENOMEM;
	}
	return registry_find_half(row_checks[row])->apply(self, cell);
}

static int32_t apply_unique(void *self, const struct mp_cell *cell)
{
	return apply(UNIQUE, self, cell);
}

static int32_t apply_sum(void *self, const struct mp_cell *cell)
{
	return apply(SUM, self, cell);
}

static int32_t restore(unsigned row, void *self, struct mp_str bytes, char *error, size_t size)
{
	world.count.restored++;
	return registry_find_half(row_checks[row])->restore(self, bytes, error, size);
}

static int32_t restore_unique(void *self, struct mp_str bytes, char *error, size_t size)
{
	return restore(UNIQUE, self, bytes, error, size);
}

static int32_t restore_sum(void *self, struct mp_str bytes, char *error, size_t size)
{
	return restore(SUM, self, bytes, error, size);
}

static const struct mp_aggregator *find(void *ctx, const char *name)
{
	const struct member *m = ctx;

	for (unsigned i = 0; i < ROWS; i++)
		if (m->has[i] && !strcmp(halves[i].name, name))
			return &halves[i];
	return NULL;
}

static void make_halves(void)
{
	for (unsigned i = 0; i < ROWS; i++)
		halves[i] = *registry_find_half(row_checks[i]);
	halves[UNIQUE].apply = apply_unique;
	halves[SUM].apply = apply_sum;
	halves[UNIQUE].restore = restore_unique;
	halves[SUM].restore = restore_sum;
}

/* ---------------------------------------------------------------------- members */

static void on_row(void *ctx, struct row *row)
{
	struct member *m = ctx;

	if (m->owner)
		owner_row_changed(m->owner, row);
	if (m->members)
		members_row_changed(m->members, row);
}

static void on_tapped(void *ctx, const struct engine_answer *answer)
{
	struct tap *tap = ctx;

	list_remove(&tap->link);
	tap->done(tap->ctx, answer);
	free(tap);
}

static int tap_range(struct engine *engine, const struct engine_range *range, engine_done_fn *fn, void *ctx)
{
	struct member *m = LIST_ENTRY_OF(engine, struct member, tapped);
	struct tap *tap = calloc(1, sizeof(*tap));

	*tap = (struct tap){ .done = fn, .ctx = ctx };
	list_push_back(&m->reads, &tap->link);
	return m->real->ops->range(m->real, range, on_tapped, tap);
}

static uint64_t tap_watch(struct engine *engine, struct mp_str from, struct mp_str end, uint64_t after,
			  const struct engine_watch *watch)
{
	struct engine *real = LIST_ENTRY_OF(engine, struct member, tapped)->real;

	return real->ops->watch(real, from, end, after, watch);
}

static void tap_unwatch(struct engine *engine, uint64_t id)
{
	struct engine *real = LIST_ENTRY_OF(engine, struct member, tapped)->real;

	real->ops->unwatch(real, id);
}

static const struct engine_ops tap_ops = {
	.name = "tapped", .range = tap_range, .watch = tap_watch, .unwatch = tap_unwatch,
};

static void member_start(struct member *m)
{
	struct world *w = m->world;
	const struct copy_calls calls = { on_loaded, on_row, on_owner, on_other, m };

	m->host = (struct rows_host){ host_clock, host_wall, host_chance, m };
	m->tapped.ops = &tap_ops;
	list_init(&m->reads);
	m->engine = m->real = engine_sim_open(w->store, &m->actor);
	m->copy = copy_new(&(struct copy_options){ &m->tapped, &m->host, TENANT, WORLD_SHARDS, 64 }, &calls);
	m->checks = checks_new(&(struct checks_options){ &m->tapped, &m->host, copy_prefix(m->copy), find, m, 3,
						       find_elsewhere });
	m->owner = owner_new(&(struct owner_options){
		.engine = m->engine, .copy = m->copy, .host = &m->host, .checks = checks_calls(m->checks),
		.member = slice_of(m->name), .nonce = sim_random(w->sim), .n_shards = WORLD_SHARDS,
		.limits = { .rows = 40, .bytes = 1 << 16, .waiting = 64, .snapshot_cells = 10, .snapshot_part = 100 } });
	m->members = w->agree ? build_members(m) : NULL;
	m->members_at = 0;
	m->life++;
	w->count.lives++;
	copy_start(m->copy);
	member_turn(m);
	if (!w->agree)
		member_greed(w->sim, m);
}

/* Nobody will answer for what it owed: who waits for it finds a broken connection. */
/* Nobody reads here. */
static uint64_t member_reads(struct member *m)
{
	(void)m;
	return UINT64_MAX;
}

static void member_end(struct member *m)
{
	struct world *w = m->world;
	struct owner_counts counts;

	if (!m->engine)
		return;
	owner_count(m->owner, &counts);
	w->count.takeovers += counts.takeovers;
	w->count.kills += counts.kills;
	w->count.lost += counts.lost;
	engine_sim_kill(m->engine);
	sim_kill(w->sim, &m->actor);
	m->engine = NULL;
	m->timer = 0;
	m->owner->asked = 0;
	if (m->members) {
		m->members->writing = false;
		m->members->proving = 0;
	}
	members_free(m->members);
	m->members = NULL;
	owner_free(m->owner);
	checks_free(m->checks);
	copy_free(m->copy);
	while (!list_empty(&m->reads))
		on_tapped(LIST_ENTRY_OF(m->reads.next, struct tap, link),
			  &(struct engine_answer){ .outcome = ENGINE_UNKNOWN, .why = "killed" });
	m->owner = NULL;
	m->copy = NULL;
}

/* ---------------------------------------------------------------------- clients */

/* What a client library makes of an answer. */
static void take_answer(struct op *op, const struct put_answer *answer)
{
	struct world *w = op->world;
	bool done = answer->code == PUT_COMMITTED || answer->code == PUT_REPEATED;

	op->code = answer->code;
	if (done && op->kind == PUT_POLICIES)
		w->ready[op->row] = true;
	op->seq = answer->seq;
	/* A floor that cannot be is not asked for again. */
	if (op->kind == PUT_FLOOR && answer->code == PUT_REFUSED) {
		client_ends(op);
		return;
	}
	/* Who was asked for a check may not have heard of those that have it: it is asked for again. */
	if (op->kind == PUT_POLICIES && answer->code == PUT_REFUSED) {
		(void)sim_after(w->sim, NULL, sim_between(w->sim, 5, 200) * NS_PER_MS, attempt, op);
		return;
	}
	/* A refusal is final when no earlier attempt can still be carried out. */
	if (done || (answer->code == PUT_REFUSED && op->began > op->unanswered_until)) {
		w->count.acked += done;
		w->count.refused += !done;
		client_ends(op);
		return;
	}
	w->count.retries++;
	(void)sim_after(w->sim, NULL, sim_between(w->sim, 5, 200) * NS_PER_MS, attempt, op);
}

/* Up to the next seq, as far as that member knows. */
static uint64_t draw_floor(struct member *m, struct mp_str name)
{
	struct row *row = copy_row(m->copy, name);

	return 1 + (row ? sim_below(m->world->sim, row->applied + 2) : 0);
}

static void attempt(struct sim *sim, void *ctx)
{
	struct op *op = ctx;
	struct world *w = op->world;
	struct member *m = &w->member[sim_below(sim, w->n_members)];
	struct attempt *a = free_attempt(w);
	struct mp_str row = slice_of(row_names[op->row]);

	if (!a || !m->engine || m->actor.stopped || !copy_follows(m->copy) ||
	    !owner_has(m->owner, row_shard(row, WORLD_SHARDS))) {
		(void)sim_after(sim, NULL, sim_between(sim, 5, 50) * NS_PER_MS, attempt, op);
		return;
	}
	op->began = sim->now_ns;
	op->now = a;
	op->patience = sim_after(sim, NULL, sim_between(sim, 20, 3000) * NS_PER_MS, give_up, op);
	*a = (struct attempt){ .op = op, .at = m };
	a->put = (struct put){ .kind = op->kind, .row = row, .content = op->content, .n = op->n,
			       .cell_kind = CELL_DATA, .base = op->base, .done = on_done,
			       .key = op->kind == PUT_CELLS ? slice_of(op->key) : (struct mp_str){ 0 },
			       .deadline = sim->now_ns + PUT_NS };
	if (op->kind == PUT_FLOOR)
		a->put.floor = draw_floor(m, row);
	if (op->kind == PUT_POLICIES) {
		a->put.policies = (struct policies){ .has_check = true, .has_keep_cells = true, .keep_cells = 5 };
		snprintf(a->put.policies.check, sizeof(a->put.policies.check), "%s", row_checks[op->row]);
	}
	owner_put(m->owner, &a->put);
	if (op->kind == PUT_CELLS && op->base.kind == BASE_UNKNOWN)
		op->base = a->put.base; /* as the first member stamps it */
	if (m->engine)
		member_turn(m);
}

static void draw_wish(struct sim *sim, struct op *op, struct wish *wish)
{
	static const enum what of_unique[] = { CLAIM, CLAIM, RELEASE }, of_sum[] = { TAKE, TAKE, GIVE, SETTLE };

	*wish = (struct wish){ .key = (unsigned)sim_below(sim, KEYS), .who = op->client,
			       .amount = 1 + (unsigned)sim_below(sim, 60) };
	wish->what = op->row == UNIQUE ? of_unique[sim_below(sim, 3)] : of_sum[sim_below(sim, 4)];
	switch (wish->what) {
	case CLAIM:
	case RELEASE:
		snprintf(wish->text, sizeof(wish->text), "{\"%s\":\"k%u\",\"holder\":\"c%u\"}",
			 wish->what == CLAIM ? "claim" : "release", wish->key, wish->who);
		break;
	default:
		snprintf(wish->text, sizeof(wish->text), "{\"name\":\"c%u\",\"%s\":%u}", wish->who,
			 wish->what == TAKE ? "take" : wish->what == GIVE ? "give" : "set", wish->amount);
	}
}

/* The first clients make the rows, and say what the total is. */
static void draw_op(struct world *w, struct op *op)
{
	op->n = 1 + sim_below(w->sim, CELLS);
	for (size_t i = 0; i < op->n; i++)
		draw_wish(w->sim, op, &op->wish[i]);
	if (w->n_ops <= ROWS) {
		op->row = w->n_ops - 1;
		op->kind = PUT_POLICIES;
		op->n = 0;
	} else if (w->n_ops == ROWS + 1) {
		op->row = SUM;
		op->n = 1;
		op->wish[0] = (struct wish){ .what = BOUND };
		snprintf(op->wish[0].text, sizeof(op->wish[0].text), "{\"total\":%d}", TOTAL);
	}
	else if (sim_below(w->sim, 40) == 0) {
		op->kind = PUT_FLOOR;
		op->n = 0;
	}
	for (size_t i = 0; i < op->n; i++)
		op->content[i] = slice_of(op->wish[i].text);
}

static void client_next(struct sim *sim, void *ctx)
{
	struct world *w = &world;
	unsigned client = (unsigned)(uintptr_t)ctx;
	struct op *op = &w->op[w->n_ops];

	if (w->n_ops >= ROWS && w->left && (!w->ready[UNIQUE] || !w->ready[SUM])) {
		(void)sim_after(sim, NULL, 20 * NS_PER_MS, client_next, ctx);
		return;
	}
	if (!w->left) {
		w->busy--;
		return;
	}
	w->left--;
	w->n_ops++;
	*op = (struct op){ .world = w, .client = client, .row = (unsigned)sim_below(sim, ROWS),
			   .kind = PUT_CELLS, .invoked = sim->now_ns };
	snprintf(op->key, sizeof(op->key), "k%u", (unsigned)(op - w->op));
	draw_op(w, op);
	attempt(sim, op);
}

/* --------------------------------------------------------------------- scenario */

static void world_begin(struct world *w, struct sim *sim)
{
	*w = (struct world){ .sim = sim };
	w->store = sim_store_new(sim);
	w->n_members = (unsigned)sim_between(sim, 1, MEMBERS);
	w->left = (unsigned)sim_between(sim, 50, 300);
	w->agree = sim_below(sim, 2);
	w->count.agreed = w->agree && w->n_members > 1;
	draw_checks(w);
	draw_odds(w);
	for (unsigned i = 0; i < w->n_members; i++) {
		struct member *m = &w->member[i];

		m->world = w;
		snprintf(m->name, sizeof(m->name), "m%u", i);
		sim_actor_init(&m->actor, m->name);
		member_start(m);
	}
	w->busy = CLIENTS;
	for (uintptr_t i = 0; i < CLIENTS; i++)
		client_next(sim, (void *)i);
	sim_store_weather(w->store, RUN_NS);
	disaster(sim, w);
}

/* A check has its snapshot since: the loop has turned with the engine's answer. */
static bool has_loaded(struct member *m)
{
	size_t before = m->loads;

	m->loads = 0;
	LIST_FOR_EACH(link, &m->checks->all)
		m->loads += LIST_ENTRY_OF(link, struct row_check, link)->load != NULL;
	return m->loads < before;
}

static void turn_all(struct world *w)
{
	for (unsigned i = 0; i < w->n_members; i++) {
		struct member *m = &w->member[i];

		if (m->engine && !m->actor.stopped && (has_loaded(m) || owner_is_woken(m->owner)))
			member_turn(m);
	}
}

static void add_totals(struct totals *totals, const struct world *w)
{
	uint64_t *to = (uint64_t *)(void *)totals;
	const uint64_t *from = (const uint64_t *)(const void *)&w->count;

	for (size_t i = 0; i < offsetof(struct totals, fault) / sizeof(*to); i++)
		to[i] += from[i];
	for (int f = 0; f < SIM_FAULTS; f++)
		totals->fault[f] += sim_store_count(w->store, (enum sim_fault)f);
}

static void scenario(struct sim *sim, void *ctx)
{
	struct world *w = &world;
	uint64_t end = sim->now_ns + RUN_NS, limit = end + 120 * NS_PER_S;
	bool quiet = false;

	world_begin(w, sim);
	while (!sim->failed && sim->now_ns < limit && sim_step(sim)) {
		turn_all(w);
		if (!quiet && sim->now_ns > end) {
			calm(w);
			quiet = true;
			limit = sim->now_ns + SIM_CALM_NS + 60 * NS_PER_S;
		}
		if (quiet && !w->busy)
			break;
	}
	sim_check(sim, !w->busy, "%u clients wait for an answer", w->busy);
	for (unsigned r = 0; r < ROWS && !sim->failed; r++)
		check_row(w, r);
	sim_mix(sim, w->count.acked);
	for (unsigned i = 0; i < w->n_members; i++)
		member_end(&w->member[i]);
	add_totals(ctx, w);
	sim_store_free(w->store);
}

int main(int argc, char **argv)
{
	static struct totals totals;
	struct sim_plan plan = { .name = "checks under every fault", .scenario = scenario, .ctx = &totals,
				 .first = 1, .seeds = 2000, .twice = 1 };

	make_halves();
	sim_plan_args(&plan, argc, argv);
	ok(sim_run(&plan), "%s", plan.name);
	printf("# acked %" PRIu64 " refused %" PRIu64 " retries %" PRIu64 " lives %" PRIu64 " takeovers %" PRIu64
	       " lost %" PRIu64 " kills %" PRIu64 " no memory %" PRIu64 " snapshots %" PRIu64 " parts %" PRIu64 " restored %" PRIu64 " agreed %" PRIu64 "\n",
	       totals.acked, totals.refused, totals.retries, totals.lives, totals.takeovers, totals.lost, totals.kills,
	       totals.no_memory, totals.snapshots, totals.parts, totals.restored,
	       totals.agreed);
	ok(plan.seeds < 100 || (totals.acked && totals.refused && totals.no_memory && totals.restored && totals.parts > totals.snapshots && totals.agreed), "all of it has happened");
	tell_faults(totals.fault, plan.seeds);
	return done();
}
