/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a copy calls and is given, for tests of it that look at little of that.
 *
 *	const struct copy_calls calls = { quiet_loaded, on_row, quiet_owner, quiet_other, NULL };
 *	const struct rows_host host = { quiet_clock, quiet_clock, quiet_clock, &now_ns };
 */
#ifndef TESTS_UNIT_AGGREGATOR_COPY_QUIET_H
#define TESTS_UNIT_AGGREGATOR_COPY_QUIET_H

#include "aggregator/rows/copy.h"

static inline void quiet_loaded(void *ctx)
{
	(void)ctx;
}

static inline void quiet_row(void *ctx, struct row *row)
{
	(void)ctx;
	(void)row;
}

static inline void quiet_owner(void *ctx, uint32_t shard)
{
	(void)ctx;
	(void)shard;
}

static inline void quiet_other(void *ctx, const struct key *key, struct mp_str value)
{
	(void)ctx;
	(void)key;
	(void)value;
}

/* An engine's, whose watches never end. */
static inline void quiet_unwatch(struct engine *engine, uint64_t id)
{
	(void)engine;
	(void)id;
}

/* A time that the test sets. */
static inline uint64_t quiet_clock(void *now_ns)
{
	return *(const uint64_t *)now_ns;
}

#endif
