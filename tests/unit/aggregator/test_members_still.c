/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two rules of rows.md 3.3, on virtual time.  A member that stood still (SIGSTOP) suspects nobody who is
 * well: pings get lost now and then, never two from one to another in a row, so that nobody
 * who runs ever has to be suspected.  And a shard with an owner that lives moves at most every two
 * seconds, while members are killed and started again as fast as may be.
 * `test_members_still SEED` replays one of the first.
 */
#define NODES 3
#define SHARDS 8
#include "tests/unit/aggregator/members_world.h"

#define DROPS 300000                 /* of a million pings */
#define SETTLE_NS (4 * NS_PER_S)
#define RUN_NS (60 * NS_PER_S)
#define STOP_MAX_MS 3000

struct totals {
	uint64_t stops, lost, unsure; /* see struct world; in all */
	uint64_t right;            /* suspicions of a member that stood still */
	uint64_t lively, soonest;  /* likewise */
	uint64_t restarts;
};

static void begin(struct sim *sim)
{
	world_begin(sim);
	for (unsigned i = 0; i < NODES; i++)
		start(sim, &w.node[i]);
	run_for(SETTLE_NS);
}

/* ------------------------------------------------------------------- standing still */

/* Whoever is suspected is the one that stands still, or has stood still just now.  How many suspect it. */
static unsigned look_at_all(const struct node *still)
{
	unsigned right = 0;

	for (unsigned i = 0; i < NODES; i++) {
		const struct member_info *info;

		for (size_t k = 0; (info = members_at(w.node[i].members, k)); k++) {
			if (!info->suspected)
				continue;
			sim_check(w.sim, still && !strcmp(info->id, still->name), "%s suspects %s", w.node[i].name, info->id);
			right++;
		}
	}
	return right;
}

/* With a look at all of them after each event. */
static unsigned watch_for(uint64_t ns, const struct node *still)
{
	uint64_t until = w.sim->now_ns + ns;
	unsigned most = 0;

	while (!w.sim->failed && w.sim->now_ns < until && sim_step(w.sim)) {
		unsigned n;

		turn_all();
		n = look_at_all(still);
		most = n > most ? n : most;
	}
	return most;
}

static void stand_still(struct sim *sim, void *ctx)
{
	struct totals *totals = ctx;
	uint64_t until;

	begin(sim);
	w.drops = DROPS;
	until = sim->now_ns + RUN_NS;
	while (!sim->failed && sim->now_ns < until) {
		struct node *still = &w.node[1 + sim_below(sim, NODES - 1)];
		uint64_t ns = sim_between(sim, 20, STOP_MAX_MS) * NS_PER_MS;

		stop_for(still, ns);
		totals->stops++;
		totals->right += watch_for(ns + HEARD_NS, still);
		(void)watch_for(sim_between(sim, 100, 1000) * NS_PER_MS, NULL);
	}
	totals->lost += w.lost;
	totals->unsure += w.unsure;
	world_end();
}

/* -------------------------------------------------------------------------- moves */

static void restart(struct sim *sim, void *ctx)
{
	struct totals *totals = ctx;
	uint64_t until;

	begin(sim);
	until = sim->now_ns + RUN_NS;
	while (!sim->failed && sim->now_ns < until) {
		struct node *n = &w.node[1 + sim_below(sim, NODES - 1)];

		if (n->engine)
			end(n);
		else
			start(sim, n);
		totals->restarts += n->engine != NULL;
		run_for(sim_between(sim, 50, 3000) * NS_PER_MS);
	}
	totals->lively += w.lively;
	if (w.lively && (!totals->soonest || w.soonest < totals->soonest))
		totals->soonest = w.soonest;
	world_end();
}

int main(int argc, char **argv)
{
	static struct totals totals;
	struct sim_plan plan = { .name = "a member that stood still suspects nobody who is well", .scenario = stand_still,
				 .ctx = &totals, .first = 1, .seeds = 100, .twice = 20 };
	struct sim_plan moves = { .name = "a shard with an owner that lives moves at most every two seconds",
				  .scenario = restart, .ctx = &totals, .first = 1, .seeds = 100, .twice = 20 };

	sim_plan_args(&plan, argc, argv);
	ok(sim_run(&plan), "%s", plan.name);
	ok(totals.unsure && totals.unsure < totals.lost / 2, "%" PRIu64 " stops, of %" PRIu64 " lost pings %" PRIu64 " did not count",
	   totals.stops, totals.lost, totals.unsure);
	ok(totals.right, "it was suspected itself %" PRIu64 " times", totals.right);
	ok(sim_run(&moves), "%s", moves.name);
	ok(totals.lively && totals.soonest + WAY_NS >= MOVE_NS,
	   "%" PRIu64 " such moves in %" PRIu64 " restarts, the soonest after %" PRIu64 " ms", totals.lively, totals.restarts,
	   totals.soonest / NS_PER_MS);
	return done();
}
