/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A state snapshot: what the cells of a row up to a seq came to, as its check
 * wrote it (middlepipe/aggregator.h).  It lies in the engine in parts, each
 * the value of a key of its own (keys.h):
 *
 *	offset  bytes
 *	0       4   CRC-32C of all that follows in this part
 *	4       1   format, 1
 *	5       3   zero
 *	8       4   rules of the check that wrote it
 *	12      4   CRC-32C of the bytes of all parts
 *	16      8   bytes of all parts
 *	24      4   number of this part, from 0
 *	28      4   parts
 *	32          bytes; as many as in all parts but the last
 *
 * Numbers are little-endian.  What is read was written by a member, perhaps a
 * newer one, and lay on a disk: everything is checked.
 *
 * Pure; any thread.
 */
#ifndef AGGREGATOR_ROWS_SNAPSHOT_H
#define AGGREGATOR_ROWS_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

#define SNAPSHOT_FORMAT 1
#define SNAPSHOT_HEAD_SIZE 32
#define SNAPSHOT_SIZE_MAX (8u << 20)       /* bytes in all: MP_SNAPSHOT_MAX */
#define SNAPSHOT_PART_MAX ((size_t)512 << 10) /* bytes of a part, its head included */
#define SNAPSHOT_PARTS_MAX 65536           /* so that a key has four digits for them */

/* How many parts of at most part_size bytes; at least one. */
uint32_t snapshot_parts(size_t size, size_t part_size);

/* Appends part i of the snapshot `bytes`.  0, -EINVAL for sizes out of bounds, or as buf_add(). */
int snapshot_write(struct buf *out, struct mp_str bytes, uint32_t rules, size_t part_size, uint32_t i);

/* Sets the checksum of a part right; for tests that make a wrong one look right. */
void snapshot_sum(struct buf *part);

/* What the first part has said of all. */
struct snapshot_reader {
	struct buf bytes;   /* so far */
	uint32_t rules;     /* of the check that wrote it */
	uint32_t crc;       /* of all bytes */
	uint64_t size;      /* of all parts */
	uint32_t n_parts;   /* 0: none was taken yet */
	uint32_t next;      /* part that comes next */
};

void snapshot_reader_init(struct snapshot_reader *reader);
void snapshot_reader_fini(struct snapshot_reader *reader);

/* Takes the next part.  0; -EINVAL: damaged, or another part; -EPROTONOSUPPORT: of a newer format; -ENOMEM. */
int snapshot_take(struct snapshot_reader *reader, struct mp_str value, struct err *err);

/* There is no further part. */
static inline bool snapshot_is_whole(const struct snapshot_reader *reader)
{
	return reader->n_parts && reader->next == reader->n_parts;
}

/* All parts were taken, and reader->bytes is the snapshot?  0 or -EINVAL. */
int snapshot_end(const struct snapshot_reader *reader, struct err *err);

#endif
