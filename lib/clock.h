/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time as an argument: whoever needs "now" is given a clock, and a test
 * gives it one that stands still.
 *
 * For the edges of every program; pure code takes a number instead.  The
 * monotonic clock must never be shown to people or sent to other machines:
 * that is what the wall clock is for.
 */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* Room for clock_wall_format(): "2026-11-21T10:00:00.123Z" and a NUL. */
#define CLOCK_WALL_SIZE 32

struct clock {
	/* Nanoseconds since some start; never goes back.  Any thread. */
	uint64_t (*now)(const struct clock *clock);
};

/* CLOCK_MONOTONIC. */
extern const struct clock clock_monotonic;

/* A clock that a test moves by hand. */
struct fake_clock {
	struct clock base; /* first, so that &fake.base is the clock */
	uint64_t now_ns;   /* what it says */
};

static inline uint64_t clock_now(const struct clock *clock)
{
	return clock->now(clock);
}

void fake_clock_init(struct fake_clock *fake, uint64_t now_ns);
void fake_clock_advance(struct fake_clock *fake, uint64_t by_ns);

/* Nanoseconds since 1970, UTC. */
uint64_t clock_wall_now(void);

/* RFC 3339 in UTC with milliseconds, rounded down.  Returns out. */
const char *clock_wall_format(uint64_t wall_ns, char out[CLOCK_WALL_SIZE]);

#endif
