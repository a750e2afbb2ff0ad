/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows under every fault of the simulated engine: members take shards from one
 * another, are stopped, cut off, killed and started again, while clients put.
 * In the end nothing that was acknowledged is lost, doubled or reordered, and
 * nothing that was refused is there.  Reads see what was acknowledged before them, and
 * subscriptions have every cell once and in order.  `test_owner_sim SEED` replays one.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"
#include "tests/unit/aggregator/rows_truth.h"
#include "tests/unit/aggregator/sim_group.h"
#include "tests/unit/aggregator/rows_reads.h"

static void attempt(struct sim *sim, void *ctx);

/* ---------------------------------------------------------------------- members */

static void on_row(void *ctx, struct row *row)
{
	struct member *m = ctx;

	if (m->owner)
		owner_row_changed(m->owner, row);
	if (m->reader)
		reader_row_changed(m->reader, row);
	subscribe_row_changed(row);
}

static struct members *build_members(struct member *m)
{
	struct members_options options = {
		.engine = m->engine, .copy = m->copy, .owner = m->owner, .host = &m->host,
		.net = { net_ping, net_usurped, m }, .n_shards = WORLD_SHARDS,
		.self = { .version = "x", .nonce = m->owner->nonce, .since_ms = host_wall(m) },
	};

	snprintf(options.self.id, sizeof(options.self.id), "%s", m->name);
	snprintf(options.self.url, sizeof(options.self.url), "%s", m->name);
	return members_new(&options);
}

static void member_start(struct member *m)
{
	struct world *w = m->world;
	const struct copy_calls calls = { on_loaded, on_row, on_owner, on_other, m };

	m->host = (struct rows_host){ host_clock, host_wall, host_chance, m };
	m->engine = engine_sim_open(w->store, &m->actor);
	m->copy = copy_new(&(struct copy_options){ m->engine, &m->host, TENANT, WORLD_SHARDS, 64 }, &calls);
	m->owner = owner_new(&(struct owner_options){
		.engine = m->engine, .copy = m->copy, .host = &m->host, .member = slice_of(m->name),
		.nonce = sim_random(w->sim), .n_shards = WORLD_SHARDS,
		.limits = { .rows = 60, .bytes = 1 << 16, .waiting = 64 } });
	m->reader = reader_new(&(struct reader_options){ m->engine, m->copy, &m->host });
	m->members = w->agree ? build_members(m) : NULL;
	m->members_at = 0;
	m->life++;
	w->lives++;
	copy_start(m->copy);
	member_turn(m);
	if (!w->agree)
		member_greed(w->sim, m);
}

static void count_member(struct member *m)
{
	struct owner_counts counts;

	owner_count(m->owner, &counts);
	m->world->takeovers += counts.takeovers;
	m->world->kills += counts.kills;
	m->world->found += counts.found;
	m->world->lost += counts.lost;
}

/* Nobody will answer for what it owed: who waits for it finds a broken connection. */
static void member_end(struct member *m)
{
	struct world *w = m->world;

	if (!m->engine)
		return;
	count_member(m);
	engine_sim_kill(m->engine);
	sim_kill(w->sim, &m->actor);
	m->engine = NULL;
	m->timer = 0;
	m->owner->asked = 0;
	m->copy->asked = 0;
	reads_end(m);
	if (m->members) {
		m->members->writing = false;
		m->members->proving = 0;
	}
	members_free(m->members);
	owner_free(m->owner);
	copy_free(m->copy);
	m->members = NULL;
	m->owner = NULL;
	m->copy = NULL;
}

/* ---------------------------------------------------------------------- clients */

/* Final when no earlier attempt can still be carried out. */
static bool is_refusal(enum put_code code)
{
	return code == PUT_PRECONDITION || code == PUT_GONE || code == PUT_NOT_THERE || code == PUT_REFUSED;
}

/* What a client library makes of an answer. */
static void take_answer(struct op *op, const struct put_answer *answer)
{
	struct world *w = op->world;

	op->code = answer->code;
	if (answer->code == PUT_COMMITTED || answer->code == PUT_REPEATED) {
		op->incarnation = answer->incarnation;
		op->seq = answer->seq;
		w->acked++;
		w->deleted += op->kind == PUT_DELETE;
		w->repeated += answer->code == PUT_REPEATED;
		client_ends(op);
		return;
	}
	/* Without a key it cannot be put again. */
	if (answer->code == PUT_UNKNOWN && !op->keyed) {
		w->unknown++;
		client_ends(op);
		return;
	}
	if (is_refusal(answer->code) && op->began > op->unanswered_until) {
		w->refused++;
		w->gone += answer->code == PUT_GONE;
		client_ends(op);
		return;
	}
	w->retries++;
	(void)sim_after(w->sim, NULL, sim_between(w->sim, 5, 200) * NS_PER_MS, attempt, op);
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
			       .cell_kind = CELL_DATA, .has_if_match = op->has_if_match,
			       .if_match = op->if_match, .base = op->base, .done = on_done,
			       .deadline = sim->now_ns + PUT_NS, .floor = op->floor };
	a->put.policies.has_keep_cells = op->keep_cells;
	a->put.policies.keep_cells = op->keep_cells;
	if (op->keyed)
		a->put.key = slice_of(op->key);
	owner_put(m->owner, &a->put);
	if (op->base.kind == BASE_UNKNOWN)
		op->base = a->put.base; /* as the first member stamps it */
	if (m->engine)
		member_turn(m);
}

static struct world *the_world; /* of clients, which are known by their number */

/* Often the highest seq that some member knows, or one beside it. */
static uint64_t draw_match(struct world *w, unsigned row)
{
	struct member *m = &w->member[sim_below(w->sim, w->n_members)];
	struct row *known = m->engine ? copy_row(m->copy, slice_of(row_names[row])) : NULL;

	return (known ? known->applied : 0) + sim_below(w->sim, 3) / 2;
}

/* Something else than cells; without a key, so that it may be asked once only. */
static void draw_admin(struct world *w, struct op *op)
{
	static const enum put_kind kinds[] = { PUT_DELETE, PUT_FLOOR, PUT_POLICIES };

	op->kind = kinds[sim_below(w->sim, 3)];
	op->n = 0;
	op->keyed = false;
	op->floor = draw_match(w, op->row) * sim_below(w->sim, 5) / 4;
	op->keep_cells = op->kind == PUT_POLICIES ? sim_between(w->sim, 1, 30) : 0;
}

static void client_next(struct sim *sim, void *ctx)
{
	struct world *w = the_world;
	struct op *op = &w->op[w->n_ops];

	if (!w->left) {
		w->busy--;
		return;
	}
	w->left--;
	w->n_ops++;
	*op = (struct op){ .world = w, .client = (unsigned)(uintptr_t)ctx,
			   .row = (unsigned)sim_below(sim, WORLD_ROWS), .invoked = sim->now_ns,
			   .n = 1 + sim_below(sim, WORLD_CELLS), .keyed = sim_below(sim, 4) > 0 };
	snprintf(op->key, sizeof(op->key), "k%u", (unsigned)(op - w->op));
	for (size_t i = 0; i < op->n; i++) {
		snprintf(op->bytes[i], sizeof(op->bytes[i]), "%s.%zu", op->key, i);
		op->content[i] = slice_of(op->bytes[i]);
	}
	if (sim_below(sim, 5) == 0) {
		op->has_if_match = true;
		op->if_match = draw_match(w, op->row);
	} else if (w->admin && sim_below(sim, 8) == 0) {
		draw_admin(w, op);
	}
	attempt(sim, op);
}

/* --------------------------------------------------------------------- scenario */

struct totals {
	uint64_t acked, repeated, refused, gone, deleted, unknown, given_up, retries, lives, takeovers, kills, found, lost;
	uint64_t reads, unread, delivered, resumed, ended;
	uint64_t fault[SIM_FAULTS];
	enum plant plant; /* for all seeds */
};

static void world_begin(struct world *w, struct sim *sim, enum plant plant)
{
	the_world = w;
	memset(w, 0, sizeof(*w));
	w->sim = sim;
	w->plant = plant;
	w->store = sim_store_new(sim);
	w->n_members = (unsigned)sim_between(sim, 1, WORLD_MEMBERS);
	w->left = (unsigned)sim_between(sim, 50, 300);
	w->agree = sim_below(sim, 2);
	w->admin = sim_below(sim, 2);
	draw_odds(w);
	for (unsigned i = 0; i < w->n_members; i++) {
		struct member *m = &w->member[i];

		m->world = w;
		snprintf(m->name, sizeof(m->name), "m%u", i);
		sim_actor_init(&m->actor, m->name);
		member_start(m);
	}
	w->busy = WORLD_CLIENTS;
	for (uintptr_t i = 0; i < WORLD_CLIENTS; i++)
		client_next(sim, (void *)i);
	reads_begin(w);
	sim_store_weather(w->store, RUN_NS);
	disaster(sim, w);
}

static void turn_all(struct world *w)
{
	for (unsigned i = 0; i < w->n_members; i++) {
		struct member *m = &w->member[i];

		if (m->engine && !m->actor.stopped &&
		    (owner_is_woken(m->owner) || reader_is_woken(m->reader) || (m->members && members_is_woken(m->members))))
			member_turn(m);
	}
}

static void scenario(struct sim *sim, void *ctx)
{
	static struct world w;
	struct totals *totals = ctx;
	uint64_t end = sim->now_ns + RUN_NS, limit = end + 120 * NS_PER_S;
	bool quiet = false;

	world_begin(&w, sim, totals->plant);
	while (!sim->failed && sim->now_ns < limit && sim_step(sim)) {
		turn_all(&w);
		if (!quiet && sim->now_ns > end) {
			calm(&w);
			quiet = true;
			limit = sim->now_ns + SIM_CALM_NS + 60 * NS_PER_S;
		}
		if (quiet && !w.busy && limit > sim->now_ns + SIM_CALM_NS + 5 * NS_PER_S)
			limit = sim->now_ns + SIM_CALM_NS + 5 * NS_PER_S;
	}
	for (unsigned r = 0; r < WORLD_ROWS && !sim->failed; r++)
		check_row(&w, r);
	if (!sim->failed)
		check_copies(&w);
	if (!sim->failed)
		check_subs(&w);
	for (int f = 0; f < SIM_FAULTS; f++)
		totals->fault[f] += sim_store_count(w.store, (enum sim_fault)f);
	sim_mix(sim, w.acked);
	for (unsigned i = 0; i < w.n_members; i++)
		member_end(&w.member[i]);
	totals->acked += w.acked;
	totals->repeated += w.repeated;
	totals->refused += w.refused;
	totals->gone += w.gone;
	totals->deleted += w.deleted;
	totals->unknown += w.unknown;
	totals->given_up += w.given_up;
	totals->retries += w.retries;
	totals->lives += w.lives;
	totals->takeovers += w.takeovers;
	totals->kills += w.kills;
	totals->found += w.found;
	totals->lost += w.lost;
	totals->reads += w.reads;
	totals->unread += w.unread;
	totals->delivered += w.delivered;
	totals->resumed += w.resumed;
	totals->ended += w.ended;
	sim_store_free(w.store);
}

/* Is it found, by something that says so? */
static void plant(enum plant kind, const char *name, const char *says)
{
	static struct totals totals;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	struct sim_plan plan = { .name = name, .scenario = scenario, .ctx = &totals, .first = 1, .seeds = 100, .out = out };
	bool good;

	totals.plant = kind;
	good = sim_run(&plan);
	(void)fclose(out);
	ok(!good && strstr(text, says), "planted and found: %s", name);
	free(text);
}

int main(int argc, char **argv)
{
	static struct totals totals;
	struct sim_plan plan = { .name = "rows under every fault", .scenario = scenario, .ctx = &totals,
				 .first = 1, .seeds = 2000, .twice = 1 };

	sim_plan_args(&plan, argc, argv);
	ok(sim_run(&plan), "%s", plan.name);
	printf("# acked %" PRIu64 " repeated %" PRIu64 " refused %" PRIu64 " gone %" PRIu64
	       " deleted %" PRIu64 " unknown %" PRIu64
	       " given up %" PRIu64 " retries %" PRIu64 " lives %" PRIu64
	       " takeovers %" PRIu64 " lost %" PRIu64 " kills %" PRIu64 " found %" PRIu64 "\n", totals.acked,
	       totals.repeated, totals.refused, totals.gone, totals.deleted, totals.unknown, totals.given_up, totals.retries, totals.lives, totals.takeovers, totals.lost,
	       totals.kills, totals.found);
	printf("# reads %" PRIu64 ", not told %" PRIu64 "; cells delivered %" PRIu64 ", subscriptions resumed %" PRIu64
	       ", ended %" PRIu64 "\n", totals.reads, totals.unread, totals.delivered, totals.resumed, totals.ended);
	tell_faults(totals.fault, plan.seeds);
	if (plan.seeds > 100) {
		ok(totals.reads > 10000 && totals.delivered > 10000 && totals.resumed > 100 && totals.ended > 10, "they read");
		plant(PLANT_STALE, "a read from the copy", "has a head of before it began");
		plant(PLANT_GAP, "a subscription that skips a cell when it goes on", "was given");
		plant(PLANT_TWICE, "one that has a cell twice", "was given");
	}
	return done();
}
