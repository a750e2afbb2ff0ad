/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows under every fault of the simulated engine: members take shards from one
 * another, are stopped, cut off, killed and started again, while clients put.
 * In the end nothing that was acknowledged is lost, doubled or reordered, and
 * nothing that was refused is there.  `test_owner_sim SEED` replays one.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"
#include "tests/unit/aggregator/rows_truth.h"

#define RUN_NS (20 * NS_PER_S)  /* of weather */
#define HURRIED_MAX 100
#define PUT_NS (2 * NS_PER_S) /* that a member is given for a put */
#define TENANT MP_LIT("t")

static void member_start(struct member *m);
static void client_next(struct sim *sim, void *ctx);
static void attempt(struct sim *sim, void *ctx);

/* ---------------------------------------------------------------------- members */

static uint64_t host_clock(void *ctx)
{
	return ((struct member *)ctx)->world->sim->now_ns;
}

static uint64_t host_wall(void *ctx)
{
	struct world *w = ((struct member *)ctx)->world;

	return w->wall_ms + w->sim->now_ns / NS_PER_MS;
}

static uint64_t host_chance(void *ctx)
{
	return sim_random(((struct member *)ctx)->world->sim);
}

static void on_loaded(void *ctx)
{
	(void)ctx;
}

static void on_row(void *ctx, struct row *row)
{
	struct member *m = ctx;

	if (m->owner)
		owner_row_changed(m->owner, row);
}

static void on_owner(void *ctx, uint32_t shard)
{
	struct member *m = ctx;

	if (m->owner)
		owner_shard_changed(m->owner, shard);
	if (m->members)
		members_shard_changed(m->members, shard);
}

static void on_other(void *ctx, const struct key *key, struct mp_str value)
{
	struct member *m = ctx;

	if (m->members && key->kind == KEY_MEMBER)
		members_key(m->members, key, value);
}

/* ------------------------------------------------------------------------ pings */

static void on_pong(struct sim *sim, void *ctx)
{
	struct sim_ping *ping = ctx;
	struct member *from = ping->from, *to = ping->to;
	bool asks = from->engine && from->life == ping->life;

	(void)sim;
	ping->from = NULL;
	if (asks)
		members_pong(from->members, to->name,
			     !to->engine ? PONG_REFUSED : to->actor.stopped ? PONG_SILENT : PONG_ALIVE);
}

static void net_ping(void *ctx, const char *id, const char *url)
{
	struct member *m = ctx;
	struct world *w = m->world;
	struct sim_ping *ping = NULL;

	for (size_t i = 0; i < WORLD_PINGS && !ping; i++)
		if (!w->ping[i].from)
			ping = &w->ping[i];
	assert(ping && !strcmp(url, id));
	*ping = (struct sim_ping){ .from = m, .to = &w->member[id[1] - '0'], .life = m->life };
	(void)sim_after(w->sim, NULL,
			ping->to->engine && ping->to->actor.stopped ? MEMBER_PING_MS * NS_PER_MS : NS_PER_MS,
			on_pong, ping);
}

static void net_usurped(void *ctx, const char *why)
{
	struct member *m = ctx;

	sim_fail(m->world->sim, "%s: %s", m->name, why);
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

static void member_wake(struct sim *sim, void *ctx);

/* What mp-aggregator's loop does before it sleeps. */
static void member_turn(struct member *m)
{
	struct sim *sim = m->world->sim;
	uint64_t next = copy_wake(m->copy), other;

	if (m->members && (members_is_woken(m->members) || sim->now_ns >= m->members_at))
		m->members_at = members_wake(m->members);
	do {
		other = owner_wake(m->owner);
	} while (owner_is_woken(m->owner));
	next = next < other ? next : other;
	if (m->members && m->members_at < next)
		next = m->members_at;
	/* Who has to wait for something must sleep meanwhile. */
	m->hurried = next > sim->now_ns ? 0 : m->hurried + 1;
	sim_check(sim, m->hurried < HURRIED_MAX, "%s does not sleep", m->name);
	sim_cancel(sim, m->timer);
	m->timer = sim_timer(sim, &m->actor, next > sim->now_ns ? next - sim->now_ns : NS_PER_MS, member_wake, m);
}

static void member_wake(struct sim *sim, void *ctx)
{
	struct member *m = ctx;

	(void)sim;
	m->timer = 0;
	member_turn(m);
}

/* Takes some shard from whoever has it, now and then. */
static void member_greed(struct sim *sim, void *ctx)
{
	struct member *m = ctx;
	uint32_t shard = (uint32_t)sim_below(sim, WORLD_SHARDS);

	owner_want(m->owner, shard, sim_below(sim, 8) > 0);
	for (uint32_t s = 0; s < WORLD_SHARDS; s++)
		if (!copy_owner(m->copy, s).ptr)
			owner_want(m->owner, s, true);
	(void)sim_timer(sim, &m->actor, sim_between(sim, 50, 1500) * NS_PER_MS, member_greed, m);
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

static void member_start_again(struct sim *sim, void *ctx)
{
	struct member *m = ctx;

	(void)sim;
	if (!m->engine)
		member_start(m);
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
	if (m->members)
		m->members->writing = false;
	members_free(m->members);
	owner_free(m->owner);
	copy_free(m->copy);
	m->members = NULL;
	m->owner = NULL;
	m->copy = NULL;
}

static void disaster(struct sim *sim, void *ctx)
{
	struct world *w = ctx;
	struct member *m = &w->member[sim_below(sim, w->n_members)];

	if (m->engine && w->left) {
		member_end(m);
		(void)sim_after(sim, NULL, sim_between(sim, 10, 2000) * NS_PER_MS, member_start_again, m);
	}
	if (w->left)
		(void)sim_after(sim, NULL, sim_between(sim, 500, 5000) * NS_PER_MS, disaster, w);
}

/* ---------------------------------------------------------------------- clients */

static void client_ends(struct op *op)
{
	struct world *w = op->world;

	op->returned = w->sim->now_ns;
	(void)sim_after(w->sim, NULL, sim_between(w->sim, 1, 100) * NS_PER_MS, client_next,
			(void *)(uintptr_t)op->client);
}

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

static void on_done(struct put *put, const struct put_answer *answer)
{
	struct attempt *a = (struct attempt *)(void *)((char *)put - offsetof(struct attempt, put));
	struct put_answer copy = *answer;
	struct op *op = a->op;

	a->op = NULL;
	if (a->given_up)
		return;
	if (!a->at->engine)
		copy.code = PUT_UNKNOWN; /* that member is dead, and says nothing */
	if (copy.code == PUT_UNKNOWN)
		op->unanswered_until = put->deadline;
	sim_cancel(op->world->sim, op->patience);
	op->now = NULL;
	sim_note(op->world->sim, "op %s at %s: %d seq %" PRIu64 " %s", op->key, a->at->name, copy.code, copy.seq,
		 copy.code == PUT_COMMITTED ? "" : copy.why);
	take_answer(op, &copy);
}

static void give_up(struct sim *sim, void *ctx)
{
	struct op *op = ctx;
	struct put_answer answer = { .code = PUT_UNKNOWN, .why = "" };

	op->now->given_up = true;
	op->unanswered_until = op->now->put.deadline;
	op->now = NULL;
	op->world->given_up++;
	sim_note(sim, "op %s: given up", op->key);
	take_answer(op, &answer);
}

static struct attempt *free_attempt(struct world *w)
{
	for (size_t i = 0; i < WORLD_ATTEMPTS; i++)
		if (!w->attempt[i].op)
			return &w->attempt[i];
	return NULL;
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
	uint64_t fault[SIM_FAULTS];
};

static void world_begin(struct world *w, struct sim *sim)
{
	static const struct { enum sim_fault fault; uint32_t odds; } odds[] = {
		{ SIM_ANSWER_LOST, 30000 }, { SIM_REQUEST_LOST, 30000 }, { SIM_COMMIT_LATE, 30000 },
		{ SIM_TWICE, 30000 }, { SIM_AGAIN, 30000 }, { SIM_NOT_SENT, 10000 }, { SIM_NO_SPACE, 10000 }, { SIM_RANGE_LOST, 30000 }, { SIM_SLOW, 30000 },
		{ SIM_WATCH_DELAYED, 30000 }, { SIM_WATCH_ENDED, 5000 }, { SIM_WATCH_COMPACTED, 2000 },
		{ SIM_WATCH_MERGED, 30000 }, { SIM_EVENT_LOST, 5000 }, { SIM_CUT, 10000 }, { SIM_STOPPED, 10000 },
		{ SIM_SLOW_LINK, 10000 }, { SIM_FULL, 2000 }, { SIM_COMPACTED, 5000 },
	};

	the_world = w;
	*w = (struct world){ .sim = sim, .wall_ms = 1795000000000 };
	w->store = sim_store_new(sim);
	w->n_members = (unsigned)sim_between(sim, 1, WORLD_MEMBERS);
	w->left = (unsigned)sim_between(sim, 50, 300);
	w->agree = sim_below(sim, 2);
	w->admin = sim_below(sim, 2);
	for (size_t i = 0; i < sizeof(odds) / sizeof(odds[0]); i++)
		if (sim_below(sim, 3) == 0)
			sim_store_odds(w->store, odds[i].fault, odds[i].odds);
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
	sim_store_weather(w->store, RUN_NS);
	disaster(sim, w);
}

static void turn_all(struct world *w)
{
	for (unsigned i = 0; i < w->n_members; i++) {
		struct member *m = &w->member[i];

		if (m->engine && !m->actor.stopped &&
		    (owner_is_woken(m->owner) || (m->members && members_is_woken(m->members))))
			member_turn(m);
	}
}

static void calm(struct world *w)
{
	for (int f = 0; f < SIM_FAULTS; f++) {
		sim_store_odds(w->store, (enum sim_fault)f, 0);
		for (unsigned i = 0; i < w->n_members; i++)
			if (w->member[i].engine)
				engine_sim_odds(w->member[i].engine, (enum sim_fault)f, 0);
	}
}

static void scenario(struct sim *sim, void *ctx)
{
	static struct world w;
	struct totals *totals = ctx;
	uint64_t end = sim->now_ns + RUN_NS, limit = end + 120 * NS_PER_S;
	bool quiet = false;

	world_begin(&w, sim);
	while (!sim->failed && sim->now_ns < limit && sim_step(sim)) {
		turn_all(&w);
		if (!quiet && sim->now_ns > end) {
			calm(&w);
			w.left = 0;
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
	sim_store_free(w.store);
}

int main(int argc, char **argv)
{
	static struct totals totals;
	struct sim_plan plan = { .name = "rows under every fault", .scenario = scenario, .ctx = &totals,
				 .first = 1, .seeds = 1000, .twice = 50 };

	sim_plan_args(&plan, argc, argv);
	ok(sim_run(&plan), "%s", plan.name);
	printf("# acked %" PRIu64 " repeated %" PRIu64 " refused %" PRIu64 " gone %" PRIu64
	       " deleted %" PRIu64 " unknown %" PRIu64
	       " given up %" PRIu64 " retries %" PRIu64 " lives %" PRIu64
	       " takeovers %" PRIu64 " lost %" PRIu64 " kills %" PRIu64 " found %" PRIu64 "\n", totals.acked,
	       totals.repeated, totals.refused, totals.gone, totals.deleted, totals.unknown, totals.given_up, totals.retries, totals.lives, totals.takeovers, totals.lost,
	       totals.kills, totals.found);
	for (int f = 0; f < SIM_FAULTS; f++)
		if (f != SIM_STALE && f != SIM_RESTORED && f != SIM_LEASE_GONE && plan.seeds > 100)
			ok(totals.fault[f], "%s %" PRIu64 " times", sim_fault_name((enum sim_fault)f), totals.fault[f]);
	return done();
}
