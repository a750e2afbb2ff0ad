/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Twenty members on virtual time: they start one after the other, a few of them come to own all
 * shards, one of those is killed, stopped or drained, comes back, and a few own all
 * again.  `test_members_sim SEED` replays one.
 */
#define NODES 20
#define SHARDS 32
#include "tests/unit/aggregator/members_world.h"

#define ENGINES 5                  /* of them run a member of the engine, in every second run */
#define STARTS_NS (5 * NS_PER_S)   /* within which all start */
#define SETTLE_NS (100 * NS_PER_S) /* a shard that has moved five times stays for half a minute */
#define TAKEOVER_NS (1200 * NS_PER_MS)
#define AWAY_NS (8 * NS_PER_S)     /* a lease has run out by then */
#define STILL_NS (5 * NS_PER_S)

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
		if (sim_check(w.sim, w.owner[s].nonce, "%s: shard %u is nobody's", when, s))
			owners |= UINT32_C(1) << (node_of(w.owner[s].member) - w.node);
	sim_check(w.sim, !(owners & ~few), "%s: of those that own shards some are not chosen: %x, not %x", when, owners, few);
	return few;
}

static unsigned shards_of(const struct node *n)
{
	unsigned count = 0;

	for (uint32_t s = 0; s < SHARDS; s++)
		count += w.owner[s].nonce && !strcmp(w.owner[s].member, n->name);
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

static void start_all(struct sim *sim)
{
	world_begin(sim);
	for (unsigned i = 0; i < NODES; i++) {
		w.node[i].engine_beside = sim->seed % 2 && i % (NODES / ENGINES) == 0;
		if (i)
			(void)sim_after(sim, NULL, sim_below(sim, STARTS_NS), start, &w.node[i]);
		else
			start(sim, &w.node[i]);
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
		stop_for(n, AWAY_NS);
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

	start_all(sim);
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
	world_end();
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
