/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going on from an engine that was restored from a backup as another one (rows.md 6):
 * whether it was, and the one transaction that makes it the group's engine.
 *
 * `meta` says which engine the group was in.  An engine that is another one has a part of what was
 * acknowledged at best, so nobody serves it until somebody accepts that, by a number that is
 * good for this group, generation, engine and no other.  Then, in one transaction: `meta`
 * gets the next generation and the engine's identity, and all owners and members go.
 * So nothing that compares what was there before can be committed any more, and whoever repeats the
 * transaction, behind a crash say, finds it done.
 *
 * Pure but for the engine that it is given.  For group_meta.c; any thread.
 */
#ifndef AGGREGATOR_ROWS_RESTORED_H
#define AGGREGATOR_ROWS_RESTORED_H

#include "aggregator/rows/engine/engine.h"
#include "aggregator/rows/meta.h"

#define RESTORED_NUMBER_SIZE 9 /* 8 hex digits and a NUL */
#define RESTORED_WHY_SIZE 400  /* bytes of restored_why()'s text */

enum restored {
	RESTORED_NOT,      /* it is the group's engine, or nobody can tell */
	RESTORED_UNKNOWN,  /* `meta` does not say yet which engine that is: it has to */
	RESTORED_REFUSED,  /* it was restored, and nobody has accepted that */
	RESTORED_ACCEPTED, /* it was: restored_commit() is due */
};

/* identity: of the engine, 0: it has none.  accept: the number that was given, or NULL. */
enum restored restored_judge(const struct meta *meta, uint64_t identity, const char *accept);

/* The number that accepts it. */
void restored_number(const struct meta *meta, uint64_t identity, char out[RESTORED_NUMBER_SIZE]);

/* Why it is refused, and what to do, for people. */
void restored_why(const struct meta *meta, uint64_t identity, char out[RESTORED_WHY_SIZE]);

/*
 * That transaction.  prefix: of the tenant's keys; before: `meta` as it is stored; next: as it will be;
 * text: where it is written.  0, and done() follows; or -ENOMEM.
 */
int restored_commit(struct engine *engine, struct mp_str prefix, struct mp_str before, const struct meta *next,
		    struct buf *text, engine_done_fn *done, void *ctx);

#endif
