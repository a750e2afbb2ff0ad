/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the checks; tests look in. */
#ifndef AGGREGATOR_ROWS_CHECKS_PRIV_H
#define AGGREGATOR_ROWS_CHECKS_PRIV_H

#include "aggregator/rows/checks.h"
#include "aggregator/rows/snapshot_load.h"

/* What judges the puts of a row. */
struct row_check {
	struct checks *checks;
	struct row *row;                 /* whose it is: row->check */
	struct list link;                /* in checks->all */
	struct list busy;                /* in checks->busy while there are more cells to take in */
	const struct mp_aggregator *half; /* never changes, like the next */
	uint64_t incarnation;            /* life of the row */
	void *self;                      /* the instance; NULL: none yet */
	uint64_t applied;                /* seq of the last cell that it took in */
	struct snapshot_load *load;      /* its snapshot is being read; NULL: it is not */
	uint64_t loading;                /* seq of that */
	uint64_t suspect;                /* seq of the snapshot that was not there, or damaged */
	uint64_t again_at;               /* ns; not before, because the last time failed */
	int error;                       /* of that */
	uint64_t large_until;            /* ns; its state was too large for a snapshot: none is tried till then */
};

struct checks {
	struct checks_options options;
	struct owner_checks calls;    /* for the owner */
	struct list all;              /* every struct row_check */
	struct list busy;             /* of them those with more to do, in turn */
	struct mp_cell *cells;        /* pending ones, and the proposal's behind them; owned */
	const struct mp_cell **list;  /* pointers to them; owned */
	size_t room;                  /* of both */
	size_t n_known;               /* of them filled */
	char reason[MP_REASON_MAX];   /* of the last refusal */
};

#endif
