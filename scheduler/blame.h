/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page by which the supervisor knows which filter took its worker down.
 *
 * A shared anonymous mapping, made by the supervisor and inherited by every
 * worker.  The worker notes which unit it is about to run; when it dies, or
 * is found hung, the supervisor reads the note and leaves that middlepipe out
 * of the next worker.  Nothing here is locked: one thread writes each word.
 *
 * The data thread's calls are watched by the control thread.  load() and
 * unload() run on the control thread itself, so a timer of the kernel's ends
 * the worker when they do not return.
 */
#ifndef SCHEDULER_BLAME_H
#define SCHEDULER_BLAME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/chain.h"

/*
 * Units alive at once, more than a chain file of CHAIN_TEXT_MAX bytes can ask
 * for.  What has no number is not loaded.  Pages that are not used cost nothing.
 */
#define BLAME_UNITS (1u << 18)
#define BLAME_NAME (CHAIN_NAME_MAX + 1) /* bytes of a middlepipe's name, NUL included */
#define BLAME_EJECTED 64u               /* middlepipes left out at once */

/* Exit code of a worker that ends itself because a filter hangs. */
#define BLAME_EXIT_HUNG 75

/* A middlepipe that is left out, and why. */
struct blame_ejected {
	char middlepipe[BLAME_NAME]; /* "" when the place is free */
	char reason[128];
	uint64_t wall_ns; /* when */
};

/* A number's row. */
struct blame_unit {
	char middlepipe[BLAME_NAME]; /* "" when the number is free */
	uint32_t next_free;          /* then: another such number, 0: none */
};

struct blame {
	/* Data thread: number of the unit that runs now, 0: none. */
	_Alignas(64) _Atomic uint32_t running;
	/* Counts rounds of the loop, so that two looks at the same number differ. */
	_Atomic uint32_t round;
	/* Control thread: the unit that is being loaded, or unloaded. */
	_Alignas(64) _Atomic uint32_t loading;
	_Atomic uint32_t unloading;
	_Atomic uint32_t hung; /* unit that the watchdog found, 0: none */
	uint64_t budget_ms;    /* time budget, for the reason's text */
	uint64_t load_ms;      /* of load() and unload(), 0: not watched */
	uint32_t restarts;     /* workers started after the first; supervisor's */
	_Atomic bool ready;    /* some worker has served apps */
	struct blame_ejected ejected[BLAME_EJECTED];
	uint32_t n_units;    /* the greatest number given out; control thread */
	uint32_t first_free; /* head of the list of numbers that were given back */
	struct blame_unit unit[BLAME_UNITS]; /* by number; 0 is nobody's */
};

/* Makes the mapping; NULL without memory. */
struct blame *blame_new(void);

/* A number for a unit of that middlepipe; 0 when all are taken.  Control thread. */
uint32_t blame_number(struct blame *blame, const char *middlepipe);
void blame_number_free(struct blame *blame, uint32_t number); /* takes 0 */

/* Whose a number is: "" for one that was not given out, whatever its value. */
const char *blame_name(const struct blame *blame, uint32_t number);

static inline void blame_enter(struct blame *blame, uint32_t number)
{
	atomic_store_explicit(&blame->running, number, memory_order_release);
}

/*
 * A new round of the data thread's loop.  Rounds are short, so that counting
 * them tells a filter that hangs from one that is called again and again; a
 * count of every call would cost each filter 3 ns.
 */
static inline void blame_round(struct blame *blame)
{
	atomic_store_explicit(&blame->round,
			      atomic_load_explicit(&blame->round, memory_order_relaxed) + 1,
			      memory_order_release);
}

static inline void blame_leave(struct blame *blame)
{
	atomic_store_explicit(&blame->running, 0, memory_order_release);
}

/* Control thread, at start: SIGALRM is to end the process, whatever was inherited. */
void blame_load_open(void);

/*
 * Brackets load() or unload(): `word` is &blame->loading or &blame->unloading.
 * No handler: the worker just dies, even of a filter that left a lock held.
 */
void blame_load_enter(struct blame *blame, _Atomic uint32_t *word, uint32_t number);
void blame_load_leave(struct blame *blame, _Atomic uint32_t *word);

/*
 * Supervisor, after a worker's death: `status` is wait()'s.  Ejects whom the
 * notes name and returns the row, or NULL when no filter is to blame.
 */
const struct blame_ejected *blame_verdict(struct blame *blame, int status);

/* Leaves a middlepipe out; the oldest gives way when all places are taken. */
struct blame_ejected *blame_eject(struct blame *blame, const char *middlepipe, const char *reason);

/* The row of a middlepipe that is left out, or NULL. */
const struct blame_ejected *blame_find(const struct blame *blame, const char *middlepipe);

/* Takes it back in. */
void blame_forgive(struct blame *blame, const char *middlepipe);

#endif
