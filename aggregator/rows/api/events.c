/* SPDX-License-Identifier: Apache-2.0 */
/* See events.h. */
#include "aggregator/rows/api/events.h"

#include <inttypes.h>

#include "aggregator/rows/api/api.h"
#include "lib/json_text.h"
#include "lib/le.h"
#include "lib/slice.h"

#define FRAME_HEAD 40

/* ---------------------------------------------------------------- server-sent events */

static void sse_cell_of_many(struct buf *out, const struct row *row, const struct cell *cell)
{
	(void)buf_add_str(out, "event: cell\ndata: ");
	rows_add_cell(out, row, cell, true);
	(void)buf_add_str(out, "\n\n");
}

/* The id comes back as Last-Event-ID. */
static void sse_cell(struct buf *out, const struct row *row, const struct cell *cell)
{
	(void)buf_printf(out, "id: %" PRIu64 "@%016" PRIx64 "\n", cell->seq, row->head.incarnation);
	sse_cell_of_many(out, row, cell);
}

static void sse_heartbeat(struct buf *out, const struct row *row)
{
	(void)buf_add_str(out, "event: heartbeat\ndata: {");
	if (row) {
		(void)buf_add_str(out, "\"row\":");
		(void)json_text_add(out, row_name(row));
		(void)buf_printf(out, ",\"incarnation\":\"%016" PRIx64 "\",\"highest\":%" PRIu64 ",\"floor\":%" PRIu64
				 ",\"forks\":[]", row->head.incarnation, row->head.last, row->head.floor);
	}
	(void)buf_add_str(out, "}\n\n");
}

static void sse_end(struct buf *out, const char *code, const char *why, uint64_t floor)
{
	(void)buf_printf(out, "event: end\ndata: {\"code\":\"%s\",\"error\":", code);
	(void)json_text_add(out, slice_of(why));
	if (floor)
		(void)buf_printf(out, ",\"floor\":%" PRIu64, floor);
	(void)buf_add_str(out, "}\n\n");
}

/* -------------------------------------------------------------------------- frames */

enum frame_kind { FRAME_CELL = 1, FRAME_HEARTBEAT = 2, FRAME_END = 3 };

/* A frame with what is common to all; the cell's fields as the kind has them. */
static void frame(struct buf *out, enum frame_kind kind, const struct row *row, const struct cell *cell)
{
	struct mp_str name = row ? row_name(row) : (struct mp_str){ 0 };
	char head[FRAME_HEAD] = { 0 };

	le_put(head, FRAME_HEAD - 4 + name.len + cell->key.len + cell->origin.len + cell->content.len, 4);
	head[4] = (char)kind;
	head[5] = (char)cell->kind;
	le_put(head + 6, name.len, 2);
	le_put(head + 8, row ? row->head.incarnation : 0, 8);
	le_put(head + 16, cell->seq, 8);
	le_put(head + 24, cell->time_ms, 8);
	head[32] = (char)cell->key.len;
	le_put(head + 34, cell->origin.len, 2);
	le_put(head + 36, cell->content.len, 4);
	(void)buf_add(out, head, sizeof(head));
	(void)buf_add_slice(out, name);
	(void)buf_add_slice(out, cell->key);
	(void)buf_add_slice(out, cell->origin);
	(void)buf_add_slice(out, cell->content);
}

static void frame_cell(struct buf *out, const struct row *row, const struct cell *cell)
{
	frame(out, FRAME_CELL, row, cell);
}

static void frame_heartbeat(struct buf *out, const struct row *row)
{
	const struct cell cell = { .seq = row ? row->head.last : 0, .time_ms = row ? row->head.floor : 0 };

	frame(out, FRAME_HEARTBEAT, row, &cell);
}

static void frame_end(struct buf *out, const char *code, const char *why, uint64_t floor)
{
	const struct cell cell = { .time_ms = floor, .key = slice_of(code), .content = slice_of(why) };

	frame(out, FRAME_END, NULL, &cell);
}

const struct stream_format rows_stream_formats[STREAM_FORMATS] = {
	[STREAM_SSE] = { "text/event-stream", sse_cell, sse_heartbeat, sse_end },
	[STREAM_SSE_MANY] = { "text/event-stream", sse_cell_of_many, sse_heartbeat, sse_end },
	[STREAM_FRAMES] = { "application/vnd.middlepipe.frames", frame_cell, frame_heartbeat, frame_end },
};
