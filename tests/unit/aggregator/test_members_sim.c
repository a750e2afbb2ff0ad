/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Twenty members on virtual time: they start one after the other, a few of them come to own all
 * shards, one of those is killed, stopped or drained, comes back, and a few own all
 * again.  A shard with an owner that lives moves no sooner than two seconds after it has moved.
 * `test_members_sim SEED` replays one.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/copy_priv.h"
#include "aggregator/rows/members_priv.h"
#include "aggregator/rows/owner_priv.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"
#include "tests/unit/aggregator/engine_sim.h"

#define NODES 20
#define ENGINES 5                  /* of them run a member of the engine, in every second run */
#define SHARDS 32
#define PINGS 1024                 /* under way at once */
#define STARTS_NS (5 * NS_PER_S)   /* within which all start */
#define SETTLE_NS (100 * NS_PER_S) /* a shard that has moved five times stays for half a minute */
#define TAKEOVER_NS (1200 * NS_PER_MS)
#define MOVE_NS (2 * NS_PER_S)
#define WAY_NS (50 * NS_PER_MS)    /* by which the moments differ at which a move is heard of */
#define AWAY_NS (8 * NS_PER_S)     /* a lease has run out by then */
#define STILL_NS (5 * NS_PER_S)
#define HURRIED_MAX 100

struct world;

struct node {
	struct world *world;
	char name[8];
	struct sim_actor actor;
	struct engine *engine; /* NULL while it is dead */
	struct rows_host host;
	struct copy *copy;
	struct owner *owner;
	struct members *members;
	uint64_t members_at;   /* ns; when it is to be woken */
	uint64_t timer;        /* its next wake */
	unsigned life;         /* how often it was started */
	unsigned hurried;      /* turns, one behind the other, after which it wanted the next at once */
	bool engine_beside;
};

struct ping {
	struct node *from, *to; /* from NULL: this place is free */
	unsigned life;          /* of who asked */
};

/* The first node is never harmed, and sees what happens. */
struct world {
	struct sim *sim;
	struct sim_store *store;
	struct node node[NODES];
	struct ping ping[PINGS];
	char owner[SHARDS][8];       /* by name; "": nobody */
	uint64_t moved_at[SHARDS];   /* ns */
	uint64_t moves;
};

static struct world w;

/* ------------------------------------------------------------------------ a node */

static uint64_t host_clock(void *ctx)
{
	(void)ctx;
	return w.sim->now_ns;
}

static uint64_t host_wall(void *ctx)
{
	(void)ctx;
	return w.sim->now_ns / NS_PER_MS;
}

static uint64_t host_chance(void *ctx)
{
	(void)ctx;
	return sim_random(w.sim);
}

static void on_loaded(void *ctx)
{
	(void)ctx;
}

static void on_row(void *ctx, struct row *row)
{
	(void)ctx;
	(void)row;
}

static bool lives(const char *name)
{
	const struct node *n = &w.node[(name[1] - '0') * 10 + name[2] - '0'];

	return n->engine && !n->actor.stopped && !n->members->self.draining;
}

/* What the first node hears of a shard. */
static void watch_move(uint32_t shard)
{
	struct owner_name name = { .nonce = 0 };

	if (!owner_text_read(copy_owner(w.node[0].copy, shard), &name))
		name.member[0] = '\0';
	if (!strcmp(name.member, w.owner[shard]))
		return;
	if (w.owner[shard][0] && name.member[0] && lives(w.owner[shard]))
		sim_check(w.sim, w.sim->now_ns - w.moved_at[shard] + WAY_NS >= MOVE_NS, "shard %u: from %s to %s too soon",
			  shard, w.owner[shard], name.member);
	sim_note(w.sim, "shard %u: %s", shard, name.member);
	(void)snprintf(w.owner[shard], sizeof(w.owner[shard]), "%s", name.member);
	w.moved_at[shard] = w.sim->now_ns;
	w.moves++;
}

static void on_owner(void *ctx, uint32_t shard)
{
	struct node *n = ctx;

	if (!n->members)
		return;
	owner_shard_changed(n->owner, shard);
	members_shard_changed(n->members, shard);
	if (n == &w.node[0])
		watch_move(shard);
}

static void on_other(void *ctx, const struct key *key, struct mp_str value)
{
	struct node *n = ctx;

	if (key->kind == KEY_MEMBER)
		members_key(n->members, key, value);
}

static void on_pong(struct sim *sim, void *ctx)
{
	struct ping *ping = ctx;
	struct node *from = ping->from, *to = ping->to;

	(void)sim;
	ping->from = NULL;
	if (from->engine && from->life == ping->life)
		members_pong(from->members, to->name,
			     !to->engine ? PONG_REFUSED : to->actor.stopped ? PONG_SILENT : PONG_ALIVE);
}

static void net_ping(void *ctx, const char *id, const char *url)
{
	struct node *n = ctx;
	size_t i = 0;

	(void)url;
	while (i < PINGS && w.ping[i].from)
		i++;
	assert(i < PINGS);
	w.ping[i] = (struct ping){ n, &w.node[(id[1] - '0') * 10 + id[2] - '0'], n->life };
	(void)sim_after(w.sim, NULL, w.ping[i].to->actor.stopped ? MEMBER_PING_MS * NS_PER_MS : NS_PER_MS, on_pong,
			&w.ping[i]);
}

static void net_usurped(void *ctx, const char *why)
{
	sim_fail(w.sim, "%s: %s", ((struct node *)ctx)->name, why);
}

static void wake(struct sim *sim, void *ctx);

/* What mp-aggregator's loop does before it sleeps. */
static void turn(struct node *n)
{
	uint64_t now = w.sim->now_ns, next = copy_wake(n->copy), other;

	if (members_is_woken(n->members) || now >= n->members_at)
		n->members_at = members_wake(n->members);
	do {
		other = owner_wake(n->owner);
	} while (owner_is_woken(n->owner));
	next = next < other ? next : other;
	next = next < n->members_at ? next : n->members_at;
	n->hurried = next > now ? 0 : n->hurried + 1;
	sim_check(w.sim, n->hurried < HURRIED_MAX, "%s does not sleep", n->name);
	sim_cancel(w.sim, n->timer);
	n->timer = sim_timer(w.sim, &n->actor, next > now ? next - now : NS_PER_MS, wake, n);
}

static void wake(struct sim *sim, void *ctx)
{
	struct node *n = ctx;

	(void)sim;
	n->timer = 0;
	turn(n);
}

static struct members *build_members(struct node *n)
{
	struct members_options options = {
		.engine = n->engine, .copy = n->copy, .owner = n->owner, .host = &n->host,
		.net = { net_ping, net_usurped, n }, .n_shards = SHARDS,
		.self = { .version = "x", .nonce = n->owner->nonce, .since_ms = host_wall(n),
			  .engine = n->engine_beside },
	};

	(void)snprintf(options.self.id, sizeof(options.self.id), "%s", n->name);
	(void)snprintf(options.self.url, sizeof(options.self.url), "%s", n->name);
	return members_new(&options);
}

static void start(struct sim *sim, void *ctx)
{
	struct node *n = ctx;
	const struct copy_calls calls = { on_loaded, on_row, on_owner, on_other, n };

	n->host = (struct rows_host){ host_clock, host_wall, host_chance, n };
	n->engine = engine_sim_open(w.store, &n->actor);
	n->copy = copy_new(&(struct copy_options){ n->engine, &n->host, MP_LIT("t"), SHARDS, 64 }, &calls);
	n->owner = owner_new(&(struct owner_options){
		.engine = n->engine, .copy = n->copy, .host = &n->host, .member = slice_of(n->name),
		.nonce = sim_random(sim), .n_shards = SHARDS,
		.limits = { .rows = 60, .bytes = 1 << 16, .waiting = 64 } });
	n->members = build_members(n);
	n->members_at = 0;
	n->hurried = 0;
	n->life++;
	copy_start(n->copy);
	turn(n);
}

static void end(struct node *n)
{
	if (!n->engine)
		return;
	engine_sim_kill(n->engine);
	sim_kill(w.sim, &n->actor);
	n->engine = NULL;
	n->timer = 0;
	n->owner->asked = 0;
	n->copy->asked = 0;
	n->members->writing = false;
	members_free(n->members);
	owner_free(n->owner);
	copy_free(n->copy);
	n->members = NULL;
	n->owner = NULL;
	n->copy = NULL;
}

/* --------------------------------------------------------------------- the world */

static void run_for(uint64_t ns)
{
	uint64_t until = w.sim->now_ns + ns;

	while (!w.sim->failed && w.sim->now_ns < until && sim_step(w.sim))
		for (unsigned i = 0; i < NODES; i++) {
			struct node *n = &w.node[i];

			if (n->engine && !n->actor.stopped && (owner_is_woken(n->owner) || members_is_woken(n->members)))
				turn(n);
		}
}

/* Who is chosen, as one node sees it: a bit for each. */
static uint32_t chosen_of(const struct node *n)
{
	const struct member_info *info;
	uint32_t bits = 0;

	for (size_t i = 0; (info = members_at(n->members, i)); i++)
		bits |= info->chosen ? UINT32_C(1) << ((info->id[1] - '0') * 10 + info->id[2] - '0') : 0;
	return bits;
}

static unsigned count_bits(uint32_t bits)
{
	unsigned n = 0;

	for (; bits; bits &= bits - 1)
		n++;
	return n;
}

/* Everybody sees the same few, and they own all. */
static uint32_t check_few(const char *when)
{
	uint32_t few = chosen_of(&w.node[0]), owners = 0;

	if (w.sim->failed)
		return few;
	sim_check(w.sim, count_bits(few) == MEMBERS_FEW, "%s: %u are chosen", when, count_bits(few));
	for (unsigned i = 0; i < NODES; i++)
		if (w.node[i].engine)
			sim_check(w.sim, chosen_of(&w.node[i]) == few, "%s: %s sees others", when, w.node[i].name);
	for (uint32_t s = 0; s < SHARDS; s++)
		if (sim_check(w.sim, w.owner[s][0], "%s: shard %u is nobody's", when, s))
			owners |= UINT32_C(1) << ((w.owner[s][1] - '0') * 10 + w.owner[s][2] - '0');
	sim_check(w.sim, !(owners & ~few), "%s: of those that own shards some are not chosen: %x, not %x", when, owners, few);
	return few;
}

static unsigned shards_of(const struct node *n)
{
	unsigned count = 0;

	for (uint32_t s = 0; s < SHARDS; s++)
		count += !strcmp(w.owner[s], n->name);
	return count;
}

/* Until others have all its shards; ns. */
static uint64_t wait_takeover(const struct node *n)
{
	uint64_t begin = w.sim->now_ns;

	while (!w.sim->failed && shards_of(n) && w.sim->now_ns - begin < 10 * NS_PER_S)
		run_for(NS_PER_MS);
	return w.sim->now_ns - begin;
}

/* ---------------------------------------------------------------------- scenario */

enum harm { KILLED, STOPPED, DRAINED, HARMS };

struct totals {
	uint64_t harmed[HARMS], longest[HARMS]; /* ns, until its shards are others' */
	uint64_t moves, few_moves;              /* of shards at the start; and while a member was away */
};

static void world_begin(struct sim *sim)
{
	memset(&w, 0, sizeof(w));
	w.sim = sim;
	w.store = sim_store_new(sim);
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &w.node[i];

		n->world = &w;
		n->engine_beside = sim->seed % 2 && i % (NODES / ENGINES) == 0;
		(void)snprintf(n->name, sizeof(n->name), "m%02u", i);
		sim_actor_init(&n->actor, n->name);
		if (i)
			(void)sim_after(sim, NULL, sim_below(sim, STARTS_NS), start, n);
		else
			start(sim, n);
	}
}

static struct node *draw_chosen(uint32_t few)
{
	for (;;) {
		unsigned i = 1 + (unsigned)sim_below(w.sim, NODES - 1);

		if (few >> i & 1)
			return &w.node[i];
	}
}

static void do_harm(struct node *n, enum harm harm)
{
	if (harm == KILLED)
		end(n);
	else if (harm == STOPPED)
		engine_sim_stop(n->engine, AWAY_NS);
	else
		members_drain(n->members);
}

static void scenario(struct sim *sim, void *ctx)
{
	enum harm harm = (enum harm)(sim->seed % HARMS);
	struct totals *totals = ctx;
	uint32_t few, others;
	struct node *n;
	uint64_t took;

	world_begin(sim);
	run_for(STARTS_NS + SETTLE_NS);
	few = check_few("at first");
	for (unsigned i = 0; i < NODES && sim->seed % 2; i++)
		sim_check(sim, !(few >> i & 1) || w.node[i].engine_beside, "%s has no engine", w.node[i].name);
	totals->moves += w.moves;
	if (sim->failed)
		goto out;
	n = draw_chosen(few);
	do_harm(n, harm);
	took = wait_takeover(n);
	sim_check(sim, took <= TAKEOVER_NS, "%" PRIu64 " ms until others had its shards", took / NS_PER_MS);
	totals->longest[harm] = took > totals->longest[harm] ? took : totals->longest[harm];
	totals->harmed[harm]++;
	if (harm == DRAINED)
		end(n); /* as who drains one does in the end */
	run_for(AWAY_NS - STILL_NS);
	if (harm == STOPPED) {
		run_for(STILL_NS + NS_PER_S); /* it goes on */
	} else {
		run_for(SETTLE_NS);
		others = check_few("without it");
		sim_check(sim, count_bits(few & others) == MEMBERS_FEW - 1, "of those that stayed, %x, some went: %x", few, others);
		start(sim, n);
	}
	run_for(SETTLE_NS);
	sim_check(sim, check_few("with it") == few, "it is chosen again");
	totals->few_moves += w.moves;
out:
	sim_mix(sim, w.moves);
	for (unsigned i = 0; i < NODES; i++)
		end(&w.node[i]);
	sim_store_free(w.store);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { [KILLED] = "killed", [STOPPED] = "stopped", [DRAINED] = "drained" };
	static struct totals totals;
	struct sim_plan plan = { .name = "a few of twenty members own all shards", .scenario = scenario, .ctx = &totals,
				 .first = 1, .seeds = 12, .twice = 6 };

	sim_plan_args(&plan, argc, argv);
	ok(sim_run(&plan), "%s", plan.name);
	for (int i = 0; i < HARMS && plan.seeds >= HARMS; i++)
		ok(totals.harmed[i], "%s %" PRIu64 " times; %" PRIu64 " ms at most until others had its shards", names[i],
		   totals.harmed[i], totals.longest[i] / NS_PER_MS);
	printf("# %" PRIu64 " moves at the starts, %" PRIu64 " in all\n", totals.moves, totals.few_moves);
	return done();
}
