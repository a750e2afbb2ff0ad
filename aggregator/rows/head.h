/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a row: the value of its one key `row/<name>` (rows.md 2), which
 * every commit compares and rewrites.  JSON, so that an operator can read it
 * with the engine's own tools; what is as by default is left out, because a
 * transaction carries the heads of up to 60 rows, twice, and each watch again:
 *
 *	{"format":2,"incarnation":"00000000000000ff","batch":"000102030405060708090a0b0c0d0e0f","last":17}
 *	{"format":2,"incarnation":"00000000000000ff","before":"00000000000000aa",
 *	 "batch":"000102030405060708090a0b0c0d0e0f","deleted":true,"check":"unique","partition":"live",
 *	 "last":17,"floor":3,"keep_cells":1000,"keep_bytes":1,"keep_ms":60000,"snapshot":2,"rules":1}
 *
 * Format 1 had all of them always (but for the rules of no check); it is read, not written.
 * Members compare heads by value: there is exactly one text that is written for a head.
 * Pure; any thread.
 */
#ifndef AGGREGATOR_ROWS_HEAD_H
#define AGGREGATOR_ROWS_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "aggregator/rows/batch.h"

#ifndef HEAD_FORMAT /* tests build programs of another one */
#define HEAD_FORMAT 2
#endif
#define HEAD_SIZE_MAX 512 /* bytes of the text, at most */
#define HEAD_NUMBER_MAX (INT64_MAX - 1) /* of its numbers */
#define CHECK_NAME_MAX 63 /* bytes */

/* What a row does without a majority (rows.md 5). */
enum row_partition { ROW_SAFE, ROW_LIVE };

struct head {
	uint64_t incarnation;  /* random; a row that is made again has another */
	uint64_t before;       /* that of the tombstone which it took the place of; 0: of none */
	uint64_t last;         /* greatest seq; 0: no cell yet */
	struct batch_id batch; /* drawn by whoever wrote the head; its batch, if it had one, has the same */
	uint64_t floor;        /* smallest seq that may be read, 1 to last + 1 */
	bool deleted;          /* a tombstone: nothing but the incarnation and `last` counts */
	char check[CHECK_NAME_MAX + 1]; /* name of the semantic check, "" for none */
	enum row_partition partition;
	uint64_t keep_cells;   /* retention: newest cells that stay; 0: all */
	uint64_t keep_bytes;   /* bytes of cells; 0: all */
	uint64_t keep_ms;      /* age; 0: any */
	uint64_t snapshot;     /* seq of the state snapshot that the floor rests on; 0: none */
	uint64_t rules;        /* of the check, as its owner had them when it was set; 0, and not in the text, without one */
};

/* May a check be called so?  [a-z][a-z0-9-]*, at most CHECK_NAME_MAX bytes. */
bool check_name_ok(struct mp_str name);

/* Appends the text.  0, or -EINVAL for a head that head_read() would not take, or as buf_add(). */
int head_write(struct buf *out, const struct head *head);

/*
 * 0 and *ret.  -EINVAL: no head; -EPROTONOSUPPORT: of a newer format; err says
 * what is wrong, with the path.  -ENOMEM.
 */
int head_read(struct mp_str text, struct head *ret, struct err *err);

#endif
