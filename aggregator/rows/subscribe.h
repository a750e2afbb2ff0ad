/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subscriptions: each cell of a row from a seq on, once and in order, from the
 * copy of whichever member is asked (rows.md 4.3).
 *
 * Pure; one thread, that of the copy.
 */
#ifndef AGGREGATOR_ROWS_SUBSCRIBE_H
#define AGGREGATOR_ROWS_SUBSCRIBE_H

#include "aggregator/rows/row.h"

/* Owned by whoever subscribes, until ended() or subscription_stop(). */
struct subscription {
	/*
	 * The next cell, borrowed.  0: taken, or taken with the remark that no more
	 * fit for now; -EAGAIN: not taken, try again at subscription_pump().
	 */
	int (*cell)(struct subscription *sub, const struct cell *cell);
	/*
	 * It is over: the row was deleted or made again, or its floor has passed what
	 * was to come next.  Not from within subscription_start().
	 */
	void (*ended)(struct subscription *sub, const char *why);

	/* For reading. */
	struct row *row;
	uint64_t incarnation; /* of the row; 0: it is not there yet */
	uint64_t next;        /* seq of the cell that comes next */
	struct list link;     /* in row->followers */
};

/* Why a subscription cannot begin; SUBSCRIBE_OK: it can. */
enum subscribe_answer { SUBSCRIBE_OK, SUBSCRIBE_NOT_THERE, SUBSCRIBE_GONE };

/*
 * Begins with seq `from` (0 counts as the floor) of that incarnation (0: the one there is).  With `wait`
 * a row that is not there is waited for.  The cells come from subscription_pump().
 */
enum subscribe_answer subscription_start(struct subscription *sub, struct row *row, uint64_t from,
					 uint64_t incarnation, bool wait);

/* Gives what there is, until cell() takes no more. */
void subscription_pump(struct subscription *sub);

/* Nothing is called any more.  Harmless when it has ended. */
void subscription_stop(struct subscription *sub);

/* To be called by whoever gets the copy's calls. */
void subscribe_row_changed(struct row *row);

#endif
