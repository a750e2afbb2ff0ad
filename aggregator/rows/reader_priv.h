/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the reader: what reader.c and its simulation know. */
#ifndef AGGREGATOR_ROWS_READER_PRIV_H
#define AGGREGATOR_ROWS_READER_PRIV_H

#include "aggregator/rows/reader.h"
#include "lib/buf.h"

#define READER_ROWS 100 /* heads that one transaction reads: etcd takes 128 operations */

struct reader {
	struct engine *engine;       /* borrowed */
	struct copy *copy;           /* borrowed */
	const struct rows_host *host; /* borrowed */
	struct list waiting;         /* reads that no transaction serves yet */
	struct list flying;          /* those that the one on its way serves */
	struct list behind;          /* those whose row the copy does not have yet */
	struct row *row[READER_ROWS];   /* whose heads the transaction reads; NULL: the copy knows none, or has no place for it */
	struct buf key[READER_ROWS];    /* the heads' keys */
	struct mp_str reads[READER_ROWS]; /* likewise */
	size_t n_rows;               /* of them */
	struct row nobody;           /* stands for rows that nobody has heard of */
	bool asked;                  /* one is on its way */
	uint64_t asked_at;           /* ns; since when */
	uint64_t hold_until;         /* ns; the next one waits till then, see hold() ... */
	size_t hold_for;             /* ... unless it would serve so many */
	bool woken;                  /* see reader_is_woken() */
	bool dead;                   /* reader_free() was called */
	struct reader_counts counts;
};

#endif
