/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading all cells, at one revision, when their heads are known.  They are
 * asked for in stretches that hold about as many keys as will be answered,
 * because of what CELLS_WINDOW says (keys.h): several small rows together, or
 * a part of a large one.
 */
#include "aggregator/rows/copy_priv.h"

#include <stdlib.h>

#include "lib/slice.h"

static void ask_or_end(struct copy *copy);

/* -------------------------------------------------------------------------- the rows */

/* Cells that are stored of it, at most. */
static uint64_t n_cells(const struct row *row)
{
	return row->head.deleted ? row->head.last + 1 - row->head.floor : row->head.last;
}

static int order(const void *a, const void *b)
{
	return key_cells_order(row_name(*(struct row *const *)a), row_name(*(struct row *const *)b));
}

/* False without memory. */
static bool set_rows(struct copy *copy, struct copy_stretch *s)
{
	s->rows = calloc(map_count(&copy->rows) + 1, sizeof(struct row *));
	if (!s->rows)
		return false;
	for (struct map_entry *e = map_next(&copy->rows, NULL); e; e = map_next(&copy->rows, e)) {
		struct row *row = map_entry_value(e);

		row_read_anew(row);
		if (n_cells(row))
			s->rows[s->n_rows++] = row;
	}
	qsort(s->rows, s->n_rows, sizeof(struct row *), order);
	return true;
}

/* Place of the first row from there on that exists: what is left of others is not read for its own sake. */
static size_t existing(const struct copy_stretch *s, size_t place)
{
	while (place < s->n_rows && !row_exists(s->rows[place]))
		place++;
	return place;
}

static void set_key(struct copy *copy, enum copy_text which, const struct row *row, uint64_t seq)
{
	buf_reset(&copy->text[which]);
	(void)key_cells(&copy->text[which], copy_prefix(copy), row_name(row), row->head.incarnation, seq);
}

/* ------------------------------------------------------------------ the next stretch */

/* Takes rows behind the stretch into it while they are small; it has so many cells. */
static void widen(struct copy_stretch *s, uint64_t cells)
{
	for (size_t i = s->last + 1; i < s->n_rows && n_cells(s->rows[i]) <= CELLS_WINDOW - cells; i++) {
		cells += n_cells(s->rows[i]);
		if (row_exists(s->rows[i]))
			s->last = i;
	}
}

/* How far the stretch goes that begins at COPY_FROM. */
static void set_end(struct copy *copy, struct copy_stretch *s)
{
	uint64_t last = s->rows[s->first]->head.last, left = s->seq <= last ? last - s->seq : 0;

	s->last = s->first;
	s->end = s->seq ? cells_until(s->seq, last) : CELLS_END;
	if (left < CELLS_WINDOW)
		widen(s, left);
	set_key(copy, COPY_TO, s->rows[s->last], s->end);
}

/* It was cut behind that key: which row is that of, and how far has it been read? */
static void find_place(struct copy *copy, struct copy_stretch *s, struct mp_str text)
{
	const struct row *row;
	struct key key;

	for (; s->first != s->last; s->first = existing(s, s->first + 1)) {
		set_key(copy, COPY_TO, s->rows[s->first], CELLS_END);
		if (slice_compare(text, copy_text(copy, COPY_TO)) < 0)
			break;
	}
	row = s->rows[s->first];
	s->seq = 0; /* behind a key of nobody */
	if (key_parse(text, copy_prefix(copy), &key) == 0 && key.incarnation == row->head.incarnation &&
	    slice_eq(slice_make(key.name, key.name_size), row_name(row)))
		s->seq = key.seq + 1;
}

/* Goes behind what was answered. */
static void go_behind(struct copy *copy, struct copy_stretch *s, const struct engine_answer *answer)
{
	if (answer->more && answer->n_items) {
		find_place(copy, s, engine_last_key(answer));
		(void)key_behind(&copy->text[COPY_FROM], engine_last_key(answer)); /* seen when it is asked for */
		return;
	}
	s->seq = s->end == CELLS_END ? 0 : s->end;
	s->first = s->seq ? s->last : existing(s, s->last + 1);
	if (s->first < s->n_rows)
		set_key(copy, COPY_FROM, s->rows[s->first], s->seq);
	if (!answer->n_items)
		s->seq = 0;
}

/* --------------------------------------------------------------------------- reading */

static void on_cells(void *ctx, const struct engine_answer *answer)
{
	struct copy *copy = ctx;

	if (!copy_take_page(copy, answer))
		return;
	go_behind(copy, &copy->stretch, answer);
	ask_or_end(copy);
}

static void forget_rows(struct copy_stretch *s)
{
	free(s->rows);
	*s = (struct copy_stretch){ 0 };
}

static void all_read(struct copy *copy)
{
	forget_rows(&copy->stretch);
	for (struct map_entry *e = map_next(&copy->rows, NULL); e; e = map_next(&copy->rows, e)) {
		struct row *row = map_entry_value(e);

		if (row->head_text || !row->doubtful) /* else there is a head that cannot be read */
			(void)row_settle(row);
	}
	copy_begin_watch(copy);
	copy_settle(copy);
}

static void ask_or_end(struct copy *copy)
{
	if (copy->stretch.first == copy->stretch.n_rows) {
		all_read(copy);
		return;
	}
	set_end(copy, &copy->stretch);
	copy_ask_page(copy, COPY_TO, on_cells);
}

void copy_read_cells(struct copy *copy)
{
	struct copy_stretch *s = &copy->stretch;

	copy->state = COPY_CELLS;
	forget_rows(s);
	if (!set_rows(copy, s)) {
		copy_later(copy);
		return;
	}
	s->first = existing(s, 0);
	if (s->first < s->n_rows)
		set_key(copy, COPY_FROM, s->rows[s->first], 0);
	ask_or_end(copy);
}
