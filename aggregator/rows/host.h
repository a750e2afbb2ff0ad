/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pure part of rows (copy, owner, subscriptions) gets from whoever
 * runs it: a clock and chance.  In mp-aggregator that is group.c over
 * libuv, in tests a simulation (tests/lib/sim.h).
 */
#ifndef AGGREGATOR_ROWS_HOST_H
#define AGGREGATOR_ROWS_HOST_H

#include <stdint.h>

struct rows_host {
	uint64_t (*now)(void *ctx);    /* ns, monotonic */
	uint64_t (*wall)(void *ctx);   /* ms since 1970, for the cells' time */
	uint64_t (*random)(void *ctx); /* 64 random bits, fit for ids */
	void *ctx;                     /* for all of them */
};

static inline uint64_t host_now(const struct rows_host *host)
{
	return host->now(host->ctx);
}

#endif
