/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual time for tests of pure parts: a queue of events in the order of their
 * time (ties: in that in which they were asked for), and a random generator.  A
 * seed decides everything: the same seed gives the same run, to the last event.
 *
 * A scenario is a function that sets up its world and runs it; sim_run() gives
 * it seed after seed, and when one fails runs it once more with a trace, which
 * it prints:
 *
 *	static void scenario(struct sim *sim, void *ctx) { ... sim_fail(sim, "..."); }
 *
 *	int main(int argc, char **argv)
 *	{
 *		struct sim_plan plan = { .name = "owners", .scenario = scenario, .seeds = 2000 };
 *
 *		sim_plan_args(&plan, argc, argv);
 *		ok(sim_run(&plan), "%s", plan.name);
 *		return done();
 *	}
 *
 * `test_x SEED` replays that one with its trace, `test_x FIRST COUNT` runs a range.
 *
 * One thread.  Nothing here looks at the real clock, at addresses or at memory
 * that was not written.  A test without memory ends: assert().
 */
#ifndef TESTS_LIB_SIM_H
#define TESTS_LIB_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/clock.h"
#include "lib/list.h"
#include "lib/pool.h"

#define SIM_EVENTS_MAX (1u << 16)      /* under way at once */
#define SIM_STEPS_MAX (4u << 20)       /* of a run: more is a run without end */
#define SIM_TRACE_LINES 4096           /* that are kept: the last ones */
#define SIM_TRACE_WIDTH 200            /* bytes of a line */
#define SIM_START_NS (1000 * NS_PER_S) /* what the clock says first */

struct sim;

typedef void sim_fn(struct sim *sim, void *ctx);

/*
 * Somebody to whom events happen, a process say, who can be stopped and killed.
 * Owned by the caller; it must outlive the sim, not what it stands for.
 */
struct sim_actor {
	const char *name;    /* for the trace; borrowed */
	uint64_t life;       /* counts sim_kill(): events of an earlier one never happen */
	bool stopped;        /* what is due waits in `waiting` */
	struct list waiting; /* events, in the order in which they were due */
};

/* Fields are for reading. */
struct sim {
	struct clock clock;      /* first: &sim->clock is the virtual one */
	uint64_t now_ns;         /* never goes back */
	uint64_t seed;           /* of this run */
	uint64_t random[4];      /* state of the generator */
	struct pool events;      /* struct sim_event, in sim.c */
	struct sim_event **heap; /* those that have a time */
	size_t n_heap;           /* of them */
	uint64_t orders;         /* events asked for so far */
	uint64_t steps;          /* events that have happened */
	uint64_t digest;         /* of all that has happened, see sim_mix() */
	bool failed;             /* sim_fail() was called */
	char why[256];           /* by the first one */
	char (*trace)[SIM_TRACE_WIDTH]; /* ring of lines; NULL: none is kept */
	uint64_t traced;         /* lines so far */
};

void sim_init(struct sim *sim, uint64_t seed);
void sim_fini(struct sim *sim);

/* Keeps a trace from now on. */
void sim_trace_on(struct sim *sim);

/* Writes what is kept of it, each line behind `prefix`. */
void sim_trace_print(const struct sim *sim, FILE *out, const char *prefix);

/* ----------------------------------------------------------------------- chance */

/* Xoshiro256**, seeded by splitmix64. */
uint64_t sim_random(struct sim *sim);

/* 0 <= x < n; n > 0. */
uint64_t sim_below(struct sim *sim, uint64_t n);

/* low <= x <= high. */
uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high);

/* True that many times in a million; draws nothing for 0. */
bool sim_chance(struct sim *sim, uint32_t per_million);

/* For tables of callbacks, with the sim as ctx: 64 random bits; now; ms since 1970, which begins at 0. */
uint64_t sim_random_of(void *sim);
uint64_t sim_now_of(void *sim);
uint64_t sim_wall_of(void *sim);

/* ------------------------------------------------------------------------- time */

/*
 * fn(ctx) happens to the actor (NULL: to nobody who could be stopped) in that
 * time, never within the call.  ctx is borrowed until then.  An id, never 0.
 */
uint64_t sim_after(struct sim *sim, struct sim_actor *actor, uint64_t delay_ns, sim_fn *fn, void *ctx);

/*
 * The same, by the actor's own clock.  It differs for one who was stopped: a
 * loop that runs again looks at its timers first, or at what has come meanwhile,
 * and sim_resume() draws which.
 */
uint64_t sim_timer(struct sim *sim, struct sim_actor *actor, uint64_t delay_ns, sim_fn *fn, void *ctx);

/* Ids of what has happened, and 0, are ignored. */
void sim_cancel(struct sim *sim, uint64_t id);

/* Goes on to the next event.  False when there is none, or the run has failed. */
bool sim_step(struct sim *sim);

/* What is due until then; then it is that time. */
void sim_run_until(struct sim *sim, uint64_t at_ns);

static inline void sim_run_for(struct sim *sim, uint64_t ns)
{
	sim_run_until(sim, sim->now_ns + ns);
}

/* ----------------------------------------------------------------------- actors */

void sim_actor_init(struct sim_actor *actor, const char *name);

/* SIGSTOP: events that are due wait. */
void sim_stop(struct sim *sim, struct sim_actor *actor);

/* SIGCONT: they happen now, one behind the other. */
void sim_resume(struct sim *sim, struct sim_actor *actor);

/* SIGKILL: what was to happen to it never does.  The actor may begin anew. */
void sim_kill(struct sim *sim, struct sim_actor *actor);

/* ---------------------------------------------------------------------- findings */

/* A line of the trace, with the time before it. */
__attribute__((format(printf, 2, 3))) void sim_note(struct sim *sim, const char *fmt, ...);

/* Part of the digest: what has to be the same when the seed is run again. */
void sim_mix(struct sim *sim, uint64_t value);

/* The run has failed; the first text counts, and sim_step() does nothing more. */
__attribute__((format(printf, 2, 3))) void sim_fail(struct sim *sim, const char *fmt, ...);

/* sim_fail() when it does not hold; gives whether it did. */
#define sim_check(sim, holds, ...) ((holds) ? true : (sim_fail(sim, __VA_ARGS__), false))

/* ------------------------------------------------------------------------ runner */

struct sim_plan {
	const char *name; /* for people */
	void (*scenario)(struct sim *sim, void *ctx);
	void *ctx;        /* of it; what it counts in there it counts again in a replay */
	uint64_t first;   /* seed */
	uint64_t seeds;   /* how many */
	uint64_t twice;   /* each so-and-so-many-th is run twice, to compare; 0: none */
	bool verbose;     /* the trace of each, failed or not */
	FILE *out;        /* NULL: stdout; lines begin with "# " */
};

/* Takes SEED, or FIRST COUNT, from the command line; anything else is ignored. */
void sim_plan_args(struct sim_plan *plan, int argc, char **argv);

/* Runs seeds until one fails, which is then told.  True: none did. */
bool sim_run(const struct sim_plan *plan);

#endif
