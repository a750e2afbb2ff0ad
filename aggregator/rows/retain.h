/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retention (rows.md 3.6, 4.4): how far the floor moves by a row's policies, and
 * which batches may leave the engine.  A batch stays whole until all its cells
 * are below the floor and its idempotency keys are older than the newest
 * KEPT_CELLS cells and than KEPT_MS.  The cells of a deleted row go in slices:
 * the floor of a tombstone says how far they have.
 *
 * Pure.
 */
#ifndef AGGREGATOR_ROWS_RETAIN_H
#define AGGREGATOR_ROWS_RETAIN_H

#include "aggregator/rows/row.h"

#define KEPT_CELLS 65536
#define KEPT_MS (UINT64_C(10) * 60 * 1000)

/* Moves the floor by keep_cells: with every change of the row, because it costs nothing. */
void retain_floor(struct head *next);

/*
 * The chores: moves the floor of `next` by bytes and age, and returns the seq
 * below which all batches may go, 0 for none.  `next` is a head of the row's
 * incarnation that will be written; now_ms: since 1970.
 */
uint64_t retain(const struct row *row, struct head *next, uint64_t now_ms);

/* Where the floor would be by the row's policies, if there were snapshots enough. */
uint64_t retain_wish(const struct row *row, uint64_t now_ms);

/* Are there chores by now? */
bool retain_due(const struct row *row, uint64_t now_ms);

#endif
