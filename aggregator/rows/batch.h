/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch: consecutive cells of one row, the value of one key (rows.md 1, 2).
 *
 *	offset  bytes
 *	0       4   CRC-32C of all that follows
 *	4       1   format, 1
 *	5       3   zero
 *	8       16  batch id, random
 *	24      8   seq of the first cell, from 1
 *	32      4   number of cells, 1 and up
 *	36      4   bytes of all cells that follow
 *	40          the cells, one behind the other:
 *	        1   kind
 *	        1   bytes of the idempotency key, at most 64
 *	        2   bytes of the origin, at most 256
 *	        4   bytes of the content
 *	        8   time, milliseconds since 1970
 *	            key, origin, content
 *
 * Numbers are little-endian, nothing is padded.  A batch that is read was
 * written by a member, perhaps a newer one, and lay on a disk: everything is
 * checked, and one that fails is never served (rows.md 7).
 *
 * Pure; any thread.
 */
#ifndef AGGREGATOR_ROWS_BATCH_H
#define AGGREGATOR_ROWS_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

#define BATCH_FORMAT 1
#define BATCH_ID_SIZE 16
#define BATCH_HEAD_SIZE 40
#define BATCH_CELL_HEAD_SIZE 16
#define CELL_KEY_MAX 64
#define CELL_ORIGIN_MAX 256
#define CELL_BYTES_MAX (1u << 20)

/* What a cell is: MP_CELL_* of halves.  Append-only; what a reader does not know it passes on. */
enum cell_kind {
	CELL_DATA = 1,     /* put by a client */
	CELL_CONFLICT = 2, /* of a fork, refused when it came home; content: why */
	CELL_BASE = 3,     /* the first of a fork */
	CELL_ADMIN = 4,    /* put by somebody with admin rights on the row, for its check */
};

struct cell {
	uint64_t seq;          /* from 1 */
	uint8_t kind;          /* enum cell_kind */
	uint64_t time_ms;      /* since 1970, by its owner's clock; for people */
	struct mp_str key;     /* idempotency key; the cells of an atomic put share it */
	struct mp_str origin;  /* who put it, as the aggregator that took it says */
	struct mp_str content; /* the bytes */
};

struct batch_id {
	uint8_t bytes[BATCH_ID_SIZE];
};

/* A batch that was checked; borrows from the value that it was opened from. */
struct batch {
	struct batch_id id;
	uint64_t first;     /* seq of the first cell */
	uint32_t n;         /* cells, at least 1 */
	struct mp_str rest; /* the cells that batch_next() has not given yet */
	uint64_t seq;       /* of the next one */
};

/* Starts a batch at the end of `out`, which must be empty. */
int batch_begin(struct buf *out, const struct batch_id *id, uint64_t first_seq);

/* Bytes that a cell takes in a batch. */
static inline size_t batch_cell_size(const struct cell *cell)
{
	return BATCH_CELL_HEAD_SIZE + cell->key.len + cell->origin.len + cell->content.len;
}

/* Appends a cell; its seq is what stands next.  0, -EINVAL for one out of bounds, or as buf_add(). */
int batch_add(struct buf *out, const struct cell *cell);

/* Writes number, size and checksum.  0, or -EINVAL when there is no cell. */
int batch_end(struct buf *out);

/* Writes the checksum of what stands there; for tests that make a wrong batch look right. */
void batch_sum(struct buf *out);

/*
 * Checks all of it.  0; -EINVAL: damaged, or no batch; -EPROTONOSUPPORT: of a
 * newer format.  err says what.
 */
int batch_open(struct mp_str value, struct batch *ret, struct err *err);

/* The same of a value that batch_open() has taken before: nothing is checked. */
void batch_view(struct mp_str value, struct batch *ret);

/* Gives the next cell, borrowed from the value; false behind the last. */
bool batch_next(struct batch *batch, struct cell *ret);

#endif
