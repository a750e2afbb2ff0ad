/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulated groups of test_owner_sim.c and test_checks_sim.c have in
 * common: a member's clock and chance, its news, pings and turns, its deaths, and what
 * becomes of an attempt.  Included behind the one's world (rows_world.h,
 * checks_world.h), whose struct member, attempt and op it works on.
 *
 * Whoever includes it has five functions of its own.
 */
#ifndef TESTS_UNIT_AGGREGATOR_SIM_GROUP_H
#define TESTS_UNIT_AGGREGATOR_SIM_GROUP_H

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "tests/lib/tap.h"

#define RUN_NS (20 * NS_PER_S) /* of weather */
#define PUT_NS (2 * NS_PER_S)  /* that a member is given for a put */
#define TENANT MP_LIT("t")
#define SIM_WALL_MS 1795000000000 /* at the start */
#define HURRIED_MAX 100        /* turns without sleep */

static void member_start(struct member *m);
static void member_end(struct member *m);
static uint64_t member_reads(struct member *m); /* its part of a turn that has to do with reading; when it wants the next */
static void client_next(struct sim *sim, void *ctx);
static void take_answer(struct op *op, const struct put_answer *answer);

/* ---------------------------------------------------------------------- members */

static inline uint64_t host_clock(void *ctx)
{
	return ((struct member *)ctx)->world->sim->now_ns;
}

static inline uint64_t host_wall(void *ctx)
{
	return SIM_WALL_MS + host_clock(ctx) / NS_PER_MS;
}

static inline uint64_t host_chance(void *ctx)
{
	return sim_random(((struct member *)ctx)->world->sim);
}

static inline void on_loaded(void *ctx)
{
	(void)ctx;
}

static inline void on_owner(void *ctx, uint32_t shard)
{
	struct member *m = ctx;

	if (m->owner)
		owner_shard_changed(m->owner, shard);
	if (m->members)
		members_shard_changed(m->members, shard);
}

static inline void on_other(void *ctx, const struct key *key, struct mp_str value)
{
	struct member *m = ctx;

	if (m->members && key->kind == KEY_MEMBER)
		members_key(m->members, key, value);
}

/* ------------------------------------------------------------------------ pings */

static inline void on_pong(struct sim *sim, void *ctx)
{
	struct sim_ping *ping = ctx;
	struct member *from = ping->from, *to = ping->to;
	bool asks = from->engine && from->life == ping->life;

	(void)sim;
	ping->from = NULL;
	if (asks)
		members_pong(from->members, to->name, ping->nonce,
			     !to->engine ? PONG_REFUSED : to->actor.stopped ? PONG_SILENT :
			     to->owner->nonce != ping->nonce ? PONG_REFUSED : PONG_ALIVE);
}

static inline void net_ping(void *ctx, const char *id, uint64_t nonce, const char *url)
{
	struct member *m = ctx;
	struct world *w = m->world;
	struct sim_ping *ping = NULL;

	for (size_t i = 0; i < WORLD_PINGS && !ping; i++)
		if (!w->ping[i].from)
			ping = &w->ping[i];
	assert(ping && !strcmp(url, id));
	*ping = (struct sim_ping){ .from = m, .to = &w->member[id[1] - '0'], .nonce = nonce, .life = m->life };
	(void)sim_after(w->sim, NULL,
			ping->to->engine && ping->to->actor.stopped ? MEMBER_PING_MS * NS_PER_MS : NS_PER_MS,
			on_pong, ping);
}

static inline void net_usurped(void *ctx, const char *why)
{
	struct member *m = ctx;

	sim_fail(m->world->sim, "%s: %s", m->name, why);
}

/* ------------------------------------------------------------------------ turns */

static inline void member_wake(struct sim *sim, void *ctx);

/* What mp-aggregator's loop does before it sleeps. */
static inline void member_turn(struct member *m)
{
	struct sim *sim = m->world->sim;
	uint64_t next = copy_wake(m->copy), other;

	if (m->members && (members_is_woken(m->members) || sim->now_ns >= m->members_at))
		m->members_at = members_wake(m->members);
	do {
		other = owner_wake(m->owner);
	} while (owner_is_woken(m->owner));
	next = next < other ? next : other;
	other = member_reads(m);
	next = next < other ? next : other;
	if (m->members && m->members_at < next)
		next = m->members_at;
	/* Who has to wait for something must sleep meanwhile. */
	m->hurried = next > sim->now_ns ? 0 : m->hurried + 1;
	sim_check(sim, m->hurried < HURRIED_MAX, "%s does not sleep", m->name);
	sim_cancel(sim, m->timer);
	m->timer = sim_timer(sim, &m->actor, next > sim->now_ns ? next - sim->now_ns : NS_PER_MS, member_wake, m);
}

static inline void member_wake(struct sim *sim, void *ctx)
{
	struct member *m = ctx;

	(void)sim;
	m->timer = 0;
	member_turn(m);
}

/* Takes some shard from whoever has it, now and then. */
static inline void member_greed(struct sim *sim, void *ctx)
{
	struct member *m = ctx;
	uint32_t shard = (uint32_t)sim_below(sim, WORLD_SHARDS);

	owner_want(m->owner, shard, sim_below(sim, 8) > 0);
	for (uint32_t s = 0; s < WORLD_SHARDS; s++)
		if (!copy_owner(m->copy, s).ptr)
			owner_want(m->owner, s, true);
	(void)sim_timer(sim, &m->actor, sim_between(sim, 50, 1500) * NS_PER_MS, member_greed, m);
}

static inline void member_start_again(struct sim *sim, void *ctx)
{
	struct member *m = ctx;

	(void)sim;
	if (!m->engine)
		member_start(m);
}

static inline void disaster(struct sim *sim, void *ctx)
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

static inline void client_ends(struct op *op)
{
	struct world *w = op->world;

	op->returned = w->sim->now_ns;
	(void)sim_after(w->sim, NULL, sim_between(w->sim, 1, 100) * NS_PER_MS, client_next,
			(void *)(uintptr_t)op->client);
}

static inline void on_done(struct put *put, const struct put_answer *answer)
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

static inline void give_up(struct sim *sim, void *ctx)
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

static inline struct attempt *free_attempt(struct world *w)
{
	for (size_t i = 0; i < WORLD_ATTEMPTS; i++)
		if (!w->attempt[i].op)
			return &w->attempt[i];
	return NULL;
}

/* ----------------------------------------------------------------------- faults */

/* A third of all faults, each as often as it has to be. */
static inline void draw_odds(struct world *w)
{
	static const struct { enum sim_fault fault; uint32_t odds; } odds[] = {
		{ SIM_ANSWER_LOST, 30000 }, { SIM_REQUEST_LOST, 30000 }, { SIM_COMMIT_LATE, 30000 },
		{ SIM_TWICE, 30000 }, { SIM_AGAIN, 30000 }, { SIM_NOT_SENT, 10000 }, { SIM_NO_SPACE, 10000 },
		{ SIM_RANGE_LOST, 30000 }, { SIM_SLOW, 30000 },
		{ SIM_WATCH_DELAYED, 30000 }, { SIM_WATCH_ENDED, 5000 }, { SIM_WATCH_COMPACTED, 2000 },
		{ SIM_WATCH_MERGED, 30000 }, { SIM_EVENT_LOST, 5000 }, { SIM_CUT, 10000 }, { SIM_STOPPED, 10000 },
		{ SIM_SLOW_LINK, 10000 }, { SIM_FULL, 2000 }, { SIM_COMPACTED, 5000 },
	};

	for (size_t i = 0; i < sizeof(odds) / sizeof(odds[0]); i++)
		if (sim_below(w->sim, 3) == 0)
			sim_store_odds(w->store, odds[i].fault, odds[i].odds);
}

/* No more faults, and nothing new is begun. */
static inline void calm(struct world *w)
{
	w->left = 0;
	for (int f = 0; f < SIM_FAULTS; f++) {
		sim_store_odds(w->store, (enum sim_fault)f, 0);
		for (unsigned i = 0; i < w->n_members; i++)
			if (w->member[i].engine)
				engine_sim_odds(w->member[i].engine, (enum sim_fault)f, 0);
	}
}

/* Each has happened, those that belong to other tests aside. */
static inline void tell_faults(const uint64_t count[SIM_FAULTS], unsigned long seeds)
{
	for (int f = 0; f < SIM_FAULTS; f++)
		if (f != SIM_STALE && f != SIM_RESTORED && f != SIM_LEASE_GONE && seeds > 100)
			ok(count[f], "%s %" PRIu64 " times", sim_fault_name((enum sim_fault)f), count[f]);
}

#endif
