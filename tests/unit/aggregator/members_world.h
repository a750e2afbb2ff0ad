/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members on virtual time, for tests of members.c: each with a copy and an owner of shards over one
 * simulated store, pings between them, and what the first one sees of who owns what.
 * Included once, behind the numbers NODES (at most 100) and SHARDS.
 *
 * A shard with an owner that lives moves no sooner than two seconds after it has moved: that is
 * looked at always.
 */
#ifndef TESTS_UNIT_AGGREGATOR_MEMBERS_WORLD_H
#define TESTS_UNIT_AGGREGATOR_MEMBERS_WORLD_H

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

#define PINGS 1024               /* under way at once */
#define PING_WAY_NS NS_PER_MS    /* of a ping, and of its answer */
#define MOVE_NS (2 * NS_PER_S)
#define WAY_NS (50 * NS_PER_MS)  /* by which the moments differ at which a move is heard of */
#define HEARD_NS (800 * NS_PER_MS) /* after a stop: by then all have had an answer from it */
#define HURRIED_MAX 100

struct node {
	char name[8];
	struct sim_actor actor;
	struct engine *engine; /* NULL while it is dead */
	struct rows_host host;
	struct copy *copy;
	struct owner *owner;
	struct members *members;
	uint64_t members_at;   /* ns; when it is to be woken */
	uint64_t timer;        /* its next wake */
	unsigned hurried;      /* turns, one behind the other, after which it wanted the next at once */
	uint64_t still_until;  /* ns; it is, or was stopped */
	bool engine_beside;    /* it runs a member of the engine */
};

struct ping {
	struct node *from, *to; /* from NULL: this place is free */
	uint64_t nonce;         /* of the process that is meant */
	enum pong pong;         /* what comes of it */
	uint64_t way, loss;     /* events: it is under way; nobody waits for it any more */
};

/* The first node is never harmed, and sees what happens. */
struct world {
	struct sim *sim;
	struct sim_store *store;
	struct node node[NODES];
	struct ping ping[PINGS];
	struct owner_name owner[SHARDS]; /* nonce 0: nobody */
	uint64_t moved_at[SHARDS];   /* ns */
	uint64_t moves;
	uint64_t lively;             /* of them those from an owner that lives ... */
	uint64_t soonest;            /* ... and the least time, ns, after the move before */
	uint32_t drops;              /* of a million pings; of two from one to another not both */
	bool dropped[NODES][NODES];  /* the last one was */
	uint64_t lost, unsure;       /* pings; and of them those by one that has not heard of the store lately */
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

static struct node *node_of(const char *name)
{
	return &w.node[(name[1] - '0') * 10 + name[2] - '0'];
}

/* For so long that all others know. */
static bool lives(const struct owner_name *name)
{
	const struct node *n = node_of(name->member);

	return n->engine && n->owner->nonce == name->nonce && w.sim->now_ns >= n->still_until + HEARD_NS &&
	       !n->members->self.draining;
}

static void stop_for(struct node *n, uint64_t ns)
{
	engine_sim_stop(n->engine, ns);
	n->still_until = w.sim->now_ns + ns;
}

/* What the first node hears of a shard. */
static void watch_move(uint32_t shard)
{
	struct owner_name name = { .nonce = 0 }, *before = &w.owner[shard];
	uint64_t since = w.sim->now_ns - w.moved_at[shard];

	(void)owner_text_read(copy_owner(w.node[0].copy, shard), &name);
	if (name.nonce == before->nonce)
		return;
	if (before->nonce && name.nonce && lives(before)) {
		sim_check(w.sim, since + WAY_NS >= MOVE_NS, "shard %u: from %s to %s after %" PRIu64 " ms", shard,
			  before->member, name.member, since / NS_PER_MS);
		w.lively++;
		w.soonest = !w.soonest || since < w.soonest ? since : w.soonest;
	}
	sim_note(w.sim, "shard %u: %s", shard, name.nonce ? name.member : "nobody's");
	*before = name;
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

/* ------------------------------------------------------------------------ pings */

static void ping_end(struct ping *ping)
{
	sim_cancel(w.sim, ping->way);
	sim_cancel(w.sim, ping->loss);
	ping->from = NULL;
}

static void on_pong(struct sim *sim, void *ctx)
{
	struct ping *ping = ctx;
	struct node *from = ping->from;

	(void)sim;
	ping->way = 0;
	ping_end(ping);
	members_pong(from->members, ping->to->name, ping->nonce, ping->pong);
}

/* The time is over.  One who was stopped finds that, or the answer, first (sim_timer()). */
static void on_loss(struct sim *sim, void *ctx)
{
	struct ping *ping = ctx;
	struct members *m = ping->from->members;

	ping->loss = 0;
	w.lost++;
	w.unsure += sim->now_ns - m->well_at >= 250 * NS_PER_MS;
	ping_end(ping);
	members_pong(m, ping->to->name, ping->nonce, PONG_SILENT);
}

static void on_ping(struct sim *sim, void *ctx)
{
	struct ping *ping = ctx;
	const struct node *to = ping->to;

	ping->way = 0;
	if (to->engine && to->actor.stopped)
		return;
	ping->pong = !to->engine || to->owner->nonce != ping->nonce ? PONG_REFUSED : PONG_ALIVE;
	ping->way = sim_after(sim, &ping->from->actor, PING_WAY_NS, on_pong, ping);
}

static bool drop(struct node *from, struct node *to)
{
	bool *last = &w.dropped[from - w.node][to - w.node];

	*last = !*last && sim_chance(w.sim, w.drops);
	return *last;
}

static void net_ping(void *ctx, const char *id, uint64_t nonce, const char *url)
{
	struct node *n = ctx;
	struct ping *ping = w.ping;

	(void)url;
	while (ping < w.ping + PINGS && ping->from)
		ping++;
	assert(ping < w.ping + PINGS);
	*ping = (struct ping){ .from = n, .to = node_of(id), .nonce = nonce };
	ping->loss = sim_timer(w.sim, &n->actor, MEMBER_PING_MS * NS_PER_MS, on_loss, ping);
	if (!drop(n, ping->to))
		ping->way = sim_after(w.sim, NULL, PING_WAY_NS, on_ping, ping);
}

static void net_usurped(void *ctx, const char *why)
{
	sim_fail(w.sim, "%s: %s", ((struct node *)ctx)->name, why);
}

/* ---------------------------------------------------------------- turns and lives */

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
	copy_start(n->copy);
	turn(n);
}

static void end(struct node *n)
{
	if (!n->engine)
		return;
	for (size_t i = 0; i < PINGS; i++)
		if (w.ping[i].from == n)
			ping_end(&w.ping[i]);
	engine_sim_kill(n->engine);
	sim_kill(w.sim, &n->actor);
	n->engine = NULL;
	n->timer = 0;
	n->owner->asked = 0;
	n->copy->asked = 0;
	n->members->writing = false;
	n->members->proving = 0;
	members_free(n->members);
	owner_free(n->owner);
	copy_free(n->copy);
	n->members = NULL;
	n->owner = NULL;
	n->copy = NULL;
}

/* --------------------------------------------------------------------- the world */

/* All are dead. */
static void world_begin(struct sim *sim)
{
	memset(&w, 0, sizeof(w));
	w.sim = sim;
	w.store = sim_store_new(sim);
	for (unsigned i = 0; i < NODES; i++) {
		(void)snprintf(w.node[i].name, sizeof(w.node[i].name), "m%02u", i);
		sim_actor_init(&w.node[i].actor, w.node[i].name);
	}
}

static void world_end(void)
{
	sim_mix(w.sim, w.moves);
	for (unsigned i = 0; i < NODES; i++)
		end(&w.node[i]);
	sim_store_free(w.store);
}

/* What a node's loop does: all that have something to do do it. */
static void turn_all(void)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &w.node[i];

		if (n->engine && !n->actor.stopped && (owner_is_woken(n->owner) || members_is_woken(n->members)))
			turn(n);
	}
}

static void run_for(uint64_t ns)
{
	uint64_t until = w.sim->now_ns + ns;

	while (!w.sim->failed && w.sim->now_ns < until && sim_step(w.sim))
		turn_all();
}

#endif
