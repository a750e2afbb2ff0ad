/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board: the scheduler's writing side of the standing verdicts
 * (lib/lane.h has the layout, docs/request-path.md the rules).
 *
 * The data thread fills the idle table, flips the header word, and from then on
 * posts verdicts into the entries.  Everything is sized at start.
 */
#ifndef SCHEDULER_BOARD_H
#define SCHEDULER_BOARD_H

#include <middlepipe/types.h>

#include "lib/chain.h"
#include "lib/err.h"
#include "lib/lane.h"

/* Room of the board, fixed at start. */
struct board_limits {
	uint32_t keys;    /* matches */
	uint32_t entries; /* chains: destinations times prefixes */
	uint32_t text;    /* bytes of names and prefixes */
	uint32_t blobs;   /* bytes of REPLY blobs */
};
extern const struct board_limits board_default_limits;

/* What is static in an entry: it holds for one epoch. */
struct board_static {
	uint32_t flags;            /* ENTRY_* */
	struct mp_failure failure; /* what rings the doorbell */
	struct mp_str pipe;        /* binding that a refusal names */
};

struct board; /* opaque; data thread only, but fd and unmapping */

int board_new(const struct board_limits *limits, struct board **ret, struct err *err);
void board_free(struct board *board);
int board_fd(const struct board *board); /* read-only for those who map it; owned by the board */

/*
 * Fills the idle table: entry i is destination/prefix number i in file order,
 * statics[i] belongs to it, and all stand as ASK.  Not visible before
 * board_flip().  Entries that do not fit are left out and the table says so.
 */
void board_fill(struct board *board, const struct chains *chains, const struct board_static *statics);

/* Makes the filled table the one that holds. */
void board_flip(struct board *board, uint64_t epoch, unsigned set);

/*
 * Posts a verdict at entry `index` of the table that holds or, before the
 * flip, was filled last.  REPLY takes a blob: struct board_blob, head, body.
 * -E2BIG when it does not fit: then the entry stands as ASK.
 */
int board_post(struct board *board, uint32_t index, int verdict, uint64_t until_ns,
	       const void *blob, size_t blob_size);

/* True when the entry is on the board at all. */
bool board_has(const struct board *board, uint32_t index);

/* The words that change all the time. */
struct board_header *board_header(struct board *board);

#endif
