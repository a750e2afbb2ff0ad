/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stream of cells is written as: server-sent events, or frames (docs/rows-api.md).
 *
 * For subscribe.c; pure.
 */
#ifndef AGGREGATOR_ROWS_API_EVENTS_H
#define AGGREGATOR_ROWS_API_EVENTS_H

#include "aggregator/rows/row.h"
#include "lib/buf.h"

/* Each appends one event to `out`, whose error tells of memory. */
struct stream_format {
	const char *type; /* of the content */
	void (*cell)(struct buf *out, const struct row *row, const struct cell *cell);
	void (*heartbeat)(struct buf *out, const struct row *row); /* row NULL: of none */
	void (*end)(struct buf *out, const char *code, const char *why, uint64_t floor);
};

enum {
	STREAM_SSE,
	STREAM_SSE_MANY, /* of several rows: no id tells where all of them are */
	STREAM_FRAMES,
	STREAM_FORMATS
};

extern const struct stream_format rows_stream_formats[STREAM_FORMATS];

#endif
