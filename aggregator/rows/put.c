/* SPDX-License-Identifier: Apache-2.0 */
/* See put.h.  The order of the tests is that of rows.md 3.7. */
#include "aggregator/rows/put.h"

#include "aggregator/rows/row.h"
#include "lib/slice.h"

size_t put_size(const struct put *put)
{
	size_t size = 0;

	for (size_t i = 0; i < put->n; i++)
		size += BATCH_CELL_HEAD_SIZE + put->key.len + put->origin.len + put->content[i].len;
	return size;
}

struct base base_of(const struct row *row)
{
	if (!row->head_text)
		return (struct base){ .kind = BASE_ABSENT };
	if (row->head.deleted)
		return (struct base){ .kind = BASE_DELETED, .incarnation = row->head.incarnation };
	return (struct base){ BASE_SEEN, row->head.incarnation, row->head.last };
}

/*
 * From which seq on the row's cells may have been put since the base: 0 is
 * from the first.  False: it is another life of the row.
 */
static bool since(const struct base *base, const struct row *row, uint64_t *ret)
{
	const struct head *head = &row->head;

	*ret = 0;
	switch (base->kind) {
	case BASE_UNKNOWN:
		*ret = head->last; /* it was not there before it came here */
		return true;
	case BASE_ABSENT:
		return !row->head_text || (!head->deleted && !head->before);
	case BASE_DELETED:
		return row->head_text && (head->deleted ? head->incarnation : head->before) == base->incarnation;
	case BASE_SEEN:
		*ret = base->seq;
		return row_exists(row) && head->incarnation == base->incarnation;
	}
	return false;
}

/* The cells from seq on are those of the put. */
static bool same_bytes(const struct put *put, const struct row *row, uint64_t seq, uint32_t n)
{
	struct row_walk walk;
	struct cell cell;

	if (n != put->n)
		return false;
	row_walk(&walk, row, seq);
	for (size_t i = 0; i < put->n; i++)
		if (!row_walk_next(&walk, &cell) || cell.kind != put->cell_kind ||
		    !slice_eq(cell.content, put->content[i]))
			return false;
	return true;
}

static enum put_code say(struct put_answer *ret, enum put_code code, const char *why)
{
	ret->code = code;
	ret->why = why;
	return code;
}

/* Was it done before?  PUT_COMMITTED: no. */
static enum put_code judge_key(const struct put *put, const struct row *row, struct put_answer *ret)
{
	uint64_t after, seq;
	uint32_t n;

	if (!since(&put->base, row, &after))
		return say(ret, PUT_GONE, "the row was deleted or made again since this was first put");
	if (put->base.kind == BASE_SEEN && row_exists(row) && put->base.seq > row->head.last)
		return say(ret, PUT_GONE, "cells that were seen are not there: an older state of the row was restored");
	if (!put->key.len || !row_exists(row))
		return PUT_COMMITTED;
	seq = row_find(row, put->key, after, &n);
	if (!seq && after + 1 < row_first(row) && put->base.kind != BASE_UNKNOWN)
		return say(ret, PUT_GONE, "too old: whether it was put cannot be known any more");
	if (!seq)
		return PUT_COMMITTED;
	ret->seq = seq;
	if (same_bytes(put, row, seq, n))
		return say(ret, PUT_REPEATED, "");
	return say(ret, PUT_KEY_REUSED, "that idempotency key was used for other cells");
}

/* What is no put of cells may say which life of the row it means. */
static enum put_code judge_life(const struct put *put, const struct row *row, struct put_answer *ret)
{
	uint64_t after;

	if (!since(&put->base, row, &after))
		return say(ret, PUT_GONE, "the row was deleted or made again since the base");
	if (put->kind != PUT_POLICIES && !row_exists(row))
		return say(ret, PUT_NOT_THERE, "no such row");
	return PUT_COMMITTED;
}

static enum put_code judge_policies(const struct put *put, const struct row *row, struct put_answer *ret)
{
	const struct policies *new = &put->policies;

	if (new->has_check && row_exists(row) && row->head.last &&
	    !slice_eq(slice_of(new->check), slice_of(row->head.check)))
		return say(ret, PUT_REFUSED, "the check of a row that has cells cannot be changed");
	return PUT_COMMITTED;
}

static enum put_code judge_floor(const struct put *put, const struct row *row, struct put_answer *ret)
{
	if (put->floor > row->head.last + 1)
		return say(ret, PUT_REFUSED, "the floor cannot be above the next seq");
	if (put->floor <= row->head.floor)
		return say(ret, PUT_REPEATED, "");
	return PUT_COMMITTED;
}

enum put_code put_judge(const struct put *put, const struct row *row, struct put_answer *ret)
{
	enum put_code code;

	*ret = (struct put_answer){ .code = PUT_COMMITTED, .why = "" };
	ret->incarnation = row_exists(row) ? row->head.incarnation : 0;
	ret->highest = row_exists(row) ? row->head.last : 0;
	ret->floor = row_exists(row) ? row->head.floor : 1;
	code = put->kind == PUT_CELLS ? judge_key(put, row, ret) : judge_life(put, row, ret);
	if (code == PUT_COMMITTED && put->has_if_match && put->if_match != ret->highest)
		code = say(ret, PUT_PRECONDITION, "the highest seq is another");
	if (code == PUT_COMMITTED && put->kind == PUT_POLICIES)
		code = judge_policies(put, row, ret);
	if (code == PUT_COMMITTED && put->kind == PUT_FLOOR)
		code = judge_floor(put, row, ret);
	return code;
}
