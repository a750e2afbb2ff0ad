/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Semantic checks: which aggregator half (middlepipe/aggregator.h) judges the
 * puts of a row, and the instance that it judges them by (rows.md 3.5).
 *
 * An instance is made when the row's first put asks for it, from the row's
 * state snapshot and the cells behind it, some thousand cells a turn of the
 * loop; puts wait meanwhile.  From then on it takes in the row's cells before
 * each check.  It lives while this process owns the row, and is made again when
 * the row has another life or the half ran out of memory.
 *
 * For the owner, through struct owner_checks; its thread.
 */
#ifndef AGGREGATOR_ROWS_CHECKS_H
#define AGGREGATOR_ROWS_CHECKS_H

#include "aggregator/rows/engine/engine.h"
#include "aggregator/rows/host.h"
#include "aggregator/rows/owner.h"
#include "middlepipe/aggregator.h"

#define CHECKS_SLICE 4096 /* cells taken in at a time: about 2 ms */

struct checks;

struct checks_options {
	struct engine *engine;        /* borrowed; outlives the checks */
	const struct rows_host *host; /* borrowed likewise */
	struct mp_str prefix;         /* borrowed likewise: copy_prefix() */
	/* The half of that name, which stays, or NULL. */
	const struct mp_aggregator *(*find)(void *ctx, const char *name);
	void *ctx;                    /* of find() */
	size_t slice;                 /* cells taken in at a time, before others have their turn */
	/*
	 * Has another member that check, with so many rules, or 0: any?  Their number, or 0:
	 * nobody has it.  Then its rows wait until their shard has moved there.  NULL: this
	 * process is alone.  Gets ctx.
	 */
	uint32_t (*elsewhere)(void *ctx, const char *name, uint32_t rules);
};

/* NULL without memory. */
struct checks *checks_new(const struct checks_options *options);

/* Behind owner_free(), which drops what there is of rows.  NULL is allowed. */
void checks_free(struct checks *checks);

/* For owner_options; live as long as the checks. */
const struct owner_checks *checks_calls(struct checks *checks);

#endif
