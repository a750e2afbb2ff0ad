/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parcels: puts that a member takes to the owner of their rows, many in one request
 * (POST /v1/parcels), and what is answered to each.  api/send.c writes the one and
 * reads the other, api/receive.c vice versa.
 *
 *	a put        offset  bytes
 *	             0       4   bytes that follow
 *	             4       1   kind of the base (enum base_kind)
 *	             5       1   bytes of the idempotency key
 *	             6       2   bytes of the row's name
 *	             8       2   bytes of the origin
 *	             10      1   1: with an If-Match
 *	             11      1   zero
 *	             12      4   milliseconds that it may still take
 *	             16      8   incarnation of the base
 *	             24      8   seq of the base
 *	             32      8   If-Match
 *	             40          name, key, origin, content
 *
 *	an answer    0       4   bytes that follow
 *	             4       4   which put of the parcel, from 0
 *	             8       2   code (enum put_code, or PARCEL_DENIED)
 *	             10      2   zero
 *	             12      4   zero
 *	             16      8   incarnation
 *	             24      8   seq
 *	             32      8   highest
 *	             40      8   floor
 *	             48          why
 *
 * Numbers are little-endian.  Whoever reads believes nothing.  Pure; any thread.
 */
#ifndef AGGREGATOR_ROWS_PARCEL_H
#define AGGREGATOR_ROWS_PARCEL_H

#include "aggregator/rows/put.h"

#define PARCEL_PUT_HEAD 40
#define PARCEL_ANSWER_HEAD 48
#define PARCEL_WHY_MAX 512              /* bytes; what is longer is cut */
#define PARCEL_CONTENT_MAX ((size_t)64 << 10) /* of one put; larger ones go by themselves */
#define PARCEL_BYTES ((size_t)256 << 10) /* of a parcel; the last put may go beyond it */
#define PARCEL_MAX 1024                 /* puts */
#define PARCEL_DENIED 403               /* an answer's code: no right to put into that row, or no such name or key */

/* Appends a put of one cell.  0, or as buf_add(). */
int parcel_add(struct buf *out, const struct put *put, uint32_t left_ms);

/*
 * Takes a put off the front: 1, and what the parcel says of it, borrowed, the rest of
 * *ret being zeros; *ret_content is its cell.  0 at the end; -EINVAL: that is no put.
 * Name and key are not checked.
 */
int parcel_next(struct mp_str *rest, struct put *ret, struct mp_str *ret_content, uint32_t *ret_left_ms);

/* Appends the answer to put `which`; code: as in struct put_answer, or PARCEL_DENIED.  0, or as buf_add(). */
int parcel_add_answer(struct buf *out, uint32_t which, const struct put_answer *answer, int code);

/* An answer as it came. */
struct parcel_answer {
	uint32_t which;
	bool denied;              /* PARCEL_DENIED; there is nothing else then */
	struct put_answer answer; /* its `why` is the one below */
	char why[PARCEL_WHY_MAX + 1];
};

/* Takes an answer off the front: 1; 0: it is not whole yet; -EINVAL: that is none. */
int parcel_next_answer(struct mp_str *rest, struct parcel_answer *ret);

#endif
