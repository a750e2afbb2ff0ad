/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of an export, as anybody could send them to be imported: what is taken
 * is in its bounds, and written again it reads the same.  The sums are set
 * right first, else nothing else would ever be looked at.  With FUZZ_PLANT the
 * target keeps a cell's key where it has no room.
 */
#include "lib/export.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base64.h"
#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#define ROOM ((size_t)8 << 20)

#ifdef FUZZ_PLANT
/* The planted bug: a key may be longer than that. */
static void plant(const struct export_cell *cell)
{
	char *copy = malloc(8);

	for (size_t i = 0; copy && i < cell->key.len; i++)
		((char *volatile)copy)[i] = cell->key.ptr[i];
	free(copy);
}
#else
static void plant(const struct export_cell *cell)
{
	(void)cell; /* no bug in an honest build */
}
#endif

static int write_line(struct buf *out, const struct export_line *line)
{
	uint64_t sum = 0;

	switch (line->kind) {
	case EXPORT_BEGIN: return export_write_begin(out, &sum, &line->is.begin);
	case EXPORT_ROW: return export_write_row(out, &sum, &line->is.row);
	case EXPORT_CELL: return export_write_cell(out, &sum, &line->is.cell);
	case EXPORT_GONE: return export_write_gone(out, &sum, line->is.gone);
	case EXPORT_ERROR: return export_write_error(out, &sum, line->is.error);
	case EXPORT_END: return export_write_end(out, &sum, &line->is.end);
	case EXPORT_STATE: return export_write_state(out, &sum, &line->is.state);
	}
	return -1;
}

static void check_bounds(const struct export_line *line)
{
	const struct export_cell *cell = &line->is.cell;
	const struct export_state *state = &line->is.state;

	if (line->kind == EXPORT_STATE)
		FUZZ_CHECK(state->row.len && state->row.len <= EXPORT_NAME_MAX && state->seq && state->rules &&
			   state->part < state->parts && state->parts <= EXPORT_PARTS_MAX &&
			   state->content.len <= EXPORT_DATA_MAX);
	if (line->kind != EXPORT_CELL)
		return;
	plant(cell);
	FUZZ_CHECK(cell->key.len <= 64 && cell->origin.len <= 256 && cell->content.len <= EXPORT_DATA_MAX);
	FUZZ_CHECK(cell->at && cell->seq && cell->kind && cell->row.len && cell->row.len <= EXPORT_NAME_MAX);
}

/* Read, written, read and written again: the two texts are the same. */
static void check_line(struct mp_str text)
{
	struct export_line line, again;
	struct buf first, second;
	uint64_t sum = 0;

	if (export_read(text, &line, NULL))
		return;
	check_bounds(&line);
	buf_init(&first, ROOM);
	buf_init(&second, ROOM);
	FUZZ_CHECK(!write_line(&first, &line) && first.len);
	FUZZ_CHECK(!export_check(slice_make(first.ptr, first.len - 1), &sum, NULL));
	FUZZ_CHECK(!export_read(slice_make(first.ptr, first.len - 1), &again, NULL) && again.kind == line.kind);
	FUZZ_CHECK(!write_line(&second, &again) && slice_eq(buf_slice(&first), buf_slice(&second)));
	export_line_fini(&again);
	export_line_fini(&line);
	buf_fini(&first);
	buf_fini(&second);
}

/* Base64 that is taken has one text. */
static void check_base64(struct mp_str text)
{
	struct buf bytes, again;

	buf_init(&bytes, ROOM);
	buf_init(&again, ROOM);
	if (!base64_decode(&bytes, text)) {
		FUZZ_CHECK(!base64_encode(&again, buf_slice(&bytes)));
		FUZZ_CHECK(slice_eq(buf_slice(&again), text));
	}
	buf_fini(&bytes);
	buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mp_str rest = slice_make(data, size), line;
	struct buf text;
	uint64_t sum = 0;

	while (rest.len) {
		(void)slice_cut(rest, '\n', &line, &rest);
		(void)export_check(line, &sum, NULL);
		check_line(line);
		check_base64(line);
		/* As if the sum stood before it. */
		buf_init(&text, ROOM);
		buf_add_str(&text, "0000000000000000 ");
		buf_add_slice(&text, line);
		check_line(buf_slice(&text));
		buf_fini(&text);
	}
	return 0;
}
