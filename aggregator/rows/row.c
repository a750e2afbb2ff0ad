/* SPDX-License-Identifier: Apache-2.0 */
/* See row.h. */
#include "aggregator/rows/row.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/keys.h"
#include "lib/slice.h"

#define BATCHES_MIN 4 /* places to begin with */

struct row *row_new(struct mp_str name, uint32_t n_shards)
{
	struct row *row = calloc(1, sizeof(*row));

	if (!row)
		return NULL;
	list_init(&row->followers);
	list_init(&row->touched);
	list_init(&row->doubt);
	row->name = slice_dup(name);
	row->name_size = name.len;
	row->shard = row_shard(name, n_shards);
	if (!row->name) {
		free(row);
		return NULL;
	}
	return row;
}

static void count_bytes(struct row *row, uint64_t more, uint64_t less)
{
	row->bytes += more - less;
	if (row->total)
		*row->total += more - less;
}

/* Lets go of the first n batches. */
static void drop_batches(struct row *row, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct row_batch *b = &row->batches[row->gone + i];

		count_bytes(row, 0, b->size);
		free(b->value);
	}
	row->gone += n;
	row->n_batches -= n;
	if (!row->n_batches)
		row->gone = 0;
}

static void forget(struct row *row)
{
	drop_batches(row, row->n_batches);
	row_keys_fini(row);
	row->applied = 0;
	row->reading = false;
}

void row_read_anew(struct row *row)
{
	forget(row);
	row->reading = true;
}

bool row_settle(struct row *row)
{
	row->reading = false;
	if (!row->n_batches && (row->head.deleted || row->head.floor == row->head.last + 1))
		row->applied = row->head.last; /* none is kept */
	row->doubtful = !row_complete(row);
	return !row->doubtful;
}

bool row_complete(const struct row *row)
{
	return row->applied == row->head.last && (!row_exists(row) || row_first(row) <= row->head.floor);
}

void row_free(struct row *row)
{
	if (!row)
		return;
	forget(row);
	list_remove(&row->followers);
	list_remove(&row->touched);
	list_remove(&row->doubt);
	free(row->batches);
	free(row->head_text);
	free(row->name);
	free(row);
}

/* ------------------------------------------------------------------------ head */

static int keep_text(struct row *row, struct mp_str text)
{
	char *copy = slice_dup(text);

	if (!copy)
		return -ENOMEM;
	free(row->head_text);
	row->head_text = copy;
	row->head_size = text.len;
	return 0;
}

int row_set_head(struct row *row, struct mp_str text, struct err *err)
{
	struct head head = { 0 };
	int r;

	/* The watch tells of what its owner knows already. */
	if (text.ptr && !row->head.deleted && row_head_is(row, text))
		return 0;
	r = text.ptr ? head_read(text, &head, err) : 0;
	if (r < 0)
		return r;
	if (text.ptr && keep_text(row, text) < 0)
		return err_set(err, -ENOMEM, "no memory for the head of a row");
	if (!text.ptr) {
		free(row->head_text);
		row->head_text = NULL;
		row->head_size = 0;
	}
	if (!text.ptr || head.deleted || head.incarnation != row->head.incarnation)
		forget(row);
	if (head.deleted)
		row->applied = head.last;
	row->head = head;
	return 0;
}

/* --------------------------------------------------------------------- batches */

/* A place behind the last batch. */
static struct row_batch *place(struct row *row)
{
	if (row->gone && row->gone + row->n_batches == row->cap && row->gone >= row->n_batches) {
		memcpy(row->batches, row->batches + row->gone, row->n_batches * sizeof(*row->batches));
		row->gone = 0;
	}
	if (row->gone + row->n_batches == row->cap) {
		size_t cap = row->cap ? row->cap + row->cap / 2 : BATCHES_MIN;
		struct row_batch *more = reallocarray(row->batches, cap, sizeof(*more));

		if (!more)
			return NULL;
		row->batches = more;
		row->cap = cap;
	}
	return &row->batches[row->gone + row->n_batches];
}

static int keep(struct row *row, struct mp_str value, const struct batch *batch)
{
	struct row_batch *b = place(row);

	if (!b || row_keys_reserve(row, batch->n) < 0)
		return -ENOMEM;
	*b = (struct row_batch){ batch->first, batch->n, (uint32_t)value.len, malloc(value.len) };
	if (!b->value)
		return -ENOMEM;
	memcpy(b->value, value.ptr, value.len);
	row->n_batches++;
	count_bytes(row, value.len, 0);
	row->applied = batch->first + batch->n - 1;
	row->reading = false;
	row_keys_add(row, b);
	return 0;
}

int row_take(struct row *row, struct mp_str value, struct err *err)
{
	struct batch batch;
	int r = batch_open(value, &batch, err);

	if (r < 0)
		return r;
	if (batch.first <= row->applied)
		return batch.first + batch.n - 1 <= row->applied ? -EALREADY : -ERANGE;
	if (batch.first != row->applied + 1 && !row->reading)
		return -ERANGE;
	return keep(row, value, &batch);
}

void row_drop(struct row *row, uint64_t seq)
{
	size_t n = 0;

	while (n < row->n_batches &&
	       row->batches[row->gone + n].first + row->batches[row->gone + n].n <= seq)
		n++;
	drop_batches(row, n);
}

uint64_t row_first(const struct row *row)
{
	return row->n_batches ? row->batches[row->gone].first : row->applied + 1;
}

/* Place of the last batch that begins at or before seq; n_batches when there is none. */
static size_t find_batch(const struct row *row, uint64_t seq)
{
	const struct row_batch *all = row->batches + row->gone;
	size_t low = 0, high = row->n_batches;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (all[middle].first <= seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? low - 1 : row->n_batches;
}

const struct row_batch *row_batch_of(const struct row *row, uint64_t seq)
{
	size_t at = seq > row->applied ? row->n_batches : find_batch(row, seq);

	return at < row->n_batches ? &row->batches[row->gone + at] : NULL;
}

/* ----------------------------------------------------------------------- cells */

void row_walk(struct row_walk *walk, const struct row *row, uint64_t seq)
{
	uint64_t first = row_first(row);
	struct cell skipped;

	*walk = (struct row_walk){ .row = row, .seq = seq < first ? first : seq };
	if (!row->n_batches || walk->seq > row->applied) {
		walk->at = row->n_batches;
		return;
	}
	walk->at = find_batch(row, walk->seq);
	batch_view(row_batch_value(&row->batches[row->gone + walk->at]), &walk->batch);
	while (walk->batch.seq < walk->seq && batch_next(&walk->batch, &skipped))
		;
}

bool row_walk_next(struct row_walk *walk, struct cell *ret)
{
	while (walk->at < walk->row->n_batches) {
		if (batch_next(&walk->batch, ret)) {
			walk->seq = ret->seq + 1;
			return true;
		}
		if (++walk->at < walk->row->n_batches)
			batch_view(row_batch_value(&walk->row->batches[walk->row->gone + walk->at]),
				   &walk->batch);
	}
	return false;
}

bool row_cell(const struct row *row, uint64_t seq, struct cell *ret)
{
	struct row_walk walk;

	if (seq < row_first(row) || seq > row->applied)
		return false;
	row_walk(&walk, row, seq);
	return row_walk_next(&walk, ret);
}
