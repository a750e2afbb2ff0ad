/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a subscription to rows (docs/rows-api.md, Subscribing): reading them
 * out of the bytes of a stream.  For rows_subscribe.c.  Pure: it keeps nothing,
 * and what it gives points into the bytes that it was given.
 */
#ifndef LIB_ROWS_FRAMES_H
#define LIB_ROWS_FRAMES_H

#include <stdint.h>

#include "lib/err.h"
#include "middlepipe/types.h"

/* Bytes of a frame: more than what a whole request may hold is none. */
#define ROWS_FRAME_MAX ((4u << 20) + (128u << 10))

enum rows_frame_kind { ROWS_FRAME_CELL = 1, ROWS_FRAME_HEARTBEAT = 2, ROWS_FRAME_END = 3 };

/* What stands in one; by kind, fields that it has not are 0. */
struct rows_frame {
	uint8_t kind;         /* enum rows_frame_kind, or a later one: to be passed over */
	uint8_t cell_kind;    /* of the cell */
	uint64_t incarnation; /* of the row */
	uint64_t seq;         /* of the cell; heartbeat: highest */
	uint64_t time;        /* of the cell, ms since 1970; heartbeat and end: floor */
	struct mp_str row;    /* its name; empty: of no row */
	struct mp_str key;    /* idempotency key; end: code */
	struct mp_str origin; /* who put it */
	struct mp_str content; /* of the cell; end: text for people */
};

/*
 * The frame at the start of the bytes: its size with *ret written, 0 when it is
 * not all there yet, or -EPROTO and err: the stream cannot be read any more.
 */
int rows_frame_read(struct mp_str bytes, struct rows_frame *ret, struct err *err);

#endif
