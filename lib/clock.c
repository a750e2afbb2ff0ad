/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clocks: the kernel's, and one that a test moves.
 *
 * Called at the edges; the functions are safe in any thread, a fake clock
 * belongs to one.
 */
#include "lib/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts = {0};

	(void)clock_gettime(id, &ts); /* fails for unknown clocks only */
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t monotonic_now(const struct clock *clock)
{
	(void)clock;
	return read_clock(CLOCK_MONOTONIC);
}

const struct clock clock_monotonic = {.now = monotonic_now};

static uint64_t fake_now(const struct clock *clock)
{
	return ((const struct fake_clock *)clock)->now_ns;
}

void fake_clock_init(struct fake_clock *fake, uint64_t now_ns)
{
	*fake = (struct fake_clock){.base = {.now = fake_now}, .now_ns = now_ns};
}

void fake_clock_advance(struct fake_clock *fake, uint64_t by_ns)
{
	fake->now_ns += by_ns;
}

uint64_t clock_wall_now(void)
{
	return read_clock(CLOCK_REALTIME);
}

const char *clock_wall_format(uint64_t wall_ns, char out[CLOCK_WALL_SIZE])
{
	unsigned ms = (unsigned)(wall_ns % NS_PER_S / NS_PER_MS);
	time_t seconds = (time_t)(wall_ns / NS_PER_S);
	struct tm tm = {0};
	size_t len;

	(void)gmtime_r(&seconds, &tm); /* 64 bits of nanoseconds end in 2554 */
	len = strftime(out, CLOCK_WALL_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out + len, CLOCK_WALL_SIZE - len, ".%03uZ", ms);
	return out;
}
