/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a state snapshot (snapshot.h) out of the engine, a few parts at a time.
 * For checks.c, which makes instances from it, and for whoever asks over HTTP.
 * The engine's thread.
 */
#ifndef AGGREGATOR_ROWS_SNAPSHOT_LOAD_H
#define AGGREGATOR_ROWS_SNAPSHOT_LOAD_H

#include "aggregator/rows/engine/engine.h"
#include "aggregator/rows/snapshot.h"
#include "lib/list.h"

struct snapshot_load;

/*
 * How it ended.  0: `bytes` is the snapshot, by those rules of its check, for the
 * duration of the call; -EAGAIN: the engine did not answer; -EINVAL: it is damaged or not there,
 * `why` says so; -EPROTONOSUPPORT, -ENOMEM.
 */
typedef void snapshot_loaded_fn(void *ctx, int r, struct mp_str bytes, uint32_t rules, const char *why);

/* Which one. */
struct snapshot_id {
	struct mp_str prefix;   /* of the tenant's keys */
	struct mp_str row;      /* its name */
	uint64_t incarnation;
	uint64_t seq;           /* of the last cell in it */
};

/* done() is called later, once; what the id points to is copied.  NULL without memory. */
struct snapshot_load *snapshot_load(struct engine *engine, const struct snapshot_id *id,
				    snapshot_loaded_fn *done, void *ctx);

/* done() is not called any more. */
void snapshot_load_cancel(struct snapshot_load *load);

#endif
