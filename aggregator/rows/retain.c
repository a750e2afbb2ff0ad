/* SPDX-License-Identifier: Apache-2.0 */
/* See retain.h. */
#include "aggregator/rows/retain.h"

/* So much goes together, since a deletion is as dear as a put. */
#define TRIM_BATCHES 64 /* that many ... */
#define TRIM_SHARE 64   /* ... or that part of the row's bytes: few large ones would hold up a row at its limit for ever */
#define SLICE 16384     /* cells of a deleted row that go at once */

/* Time of the newest cell of a batch. */
static uint64_t newest(const struct row_batch *b)
{
	struct batch batch;
	struct cell cell;
	uint64_t time = 0;

	batch_view(row_batch_value(b), &batch);
	while (batch_next(&batch, &cell))
		time = cell.time_ms > time ? cell.time_ms : time;
	return time;
}

/*
 * The floor by age: behind the last of the batches from the present one on that are too old as
 * a whole.  Those below it may be many, wait for the key window only, and are not looked at.
 */
static uint64_t floor_by_age(const struct row *row, uint64_t floor, uint64_t keep_ms, uint64_t now_ms)
{
	const struct row_batch *end = row->batches + row->gone + row->n_batches;
	const struct row_batch *b;

	floor = floor > row_first(row) ? floor : row_first(row);
	b = row_batch_of(row, floor);
	for (; b && b < end && newest(b) + keep_ms <= now_ms; b++)
		floor = b->first + b->n;
	return floor;
}

/* The floor by bytes: whole batches, counted from the newest, which stays however large it is. */
static uint64_t floor_by_bytes(const struct row *row, uint64_t keep_bytes)
{
	uint64_t bytes = 0, floor = row->applied + 1;

	for (size_t i = row->n_batches; i-- > 0;) {
		const struct row_batch *b = &row->batches[row->gone + i];

		bytes += b->size;
		if (bytes > keep_bytes && i + 1 < row->n_batches)
			break;
		floor = b->first;
	}
	return floor;
}

/* With a check the floor rests on a snapshot. */
static void raise_floor(struct head *next, uint64_t floor)
{
	if (next->check[0] && floor > next->snapshot + 1)
		floor = next->snapshot + 1;
	if (floor > next->floor)
		next->floor = floor;
}

void retain_floor(struct head *next)
{
	if (!next->deleted && next->keep_cells && next->last > next->keep_cells)
		raise_floor(next, next->last - next->keep_cells + 1);
}

/* Seq behind the last batch that may go. */
static uint64_t trim_to(const struct row *row, const struct head *next, uint64_t now_ms)
{
	uint64_t to = 0, bytes = 0;
	size_t n = 0;

	for (; n < row->n_batches; n++) {
		const struct row_batch *b = &row->batches[row->gone + n];
		uint64_t behind = b->first + b->n;

		if (behind > next->floor || next->last - (behind - 1) < KEPT_CELLS ||
		    newest(b) + KEPT_MS > now_ms)
			break;
		to = behind;
		bytes += b->size;
	}
	return n >= TRIM_BATCHES || bytes >= row->bytes / TRIM_SHARE ? to : 0;
}

static uint64_t next_slice(struct head *next)
{
	if (next->floor > next->last)
		return 0;
	next->floor = next->last - next->floor < SLICE ? next->last + 1 : next->floor + SLICE;
	return next->floor;
}

uint64_t retain(const struct row *row, struct head *next, uint64_t now_ms)
{
	if (next->deleted)
		return row->head.deleted ? next_slice(next) : 0; /* the tombstone first */
	if (next->keep_bytes && row->bytes > next->keep_bytes)
		raise_floor(next, floor_by_bytes(row, next->keep_bytes));
	if (next->keep_ms)
		raise_floor(next, floor_by_age(row, next->floor, next->keep_ms, now_ms));
	return trim_to(row, next, now_ms);
}

uint64_t retain_wish(const struct row *row, uint64_t now_ms)
{
	struct head next = row->head;

	next.check[0] = '\0'; /* which holds the floor back */
	retain_floor(&next);
	(void)retain(row, &next, now_ms);
	return next.floor;
}

bool retain_due(const struct row *row, uint64_t now_ms)
{
	struct head next = row->head;

	return row->head_text && (retain(row, &next, now_ms) || next.floor != row->head.floor);
}
