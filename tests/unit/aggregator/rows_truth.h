/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The truth of test_owner_sim.c: everything that was ever stored, against what
 * the clients were told, and what the copies have in the end.
 */
#ifndef TESTS_UNIT_AGGREGATOR_ROWS_TRUTH_H
#define TESTS_UNIT_AGGREGATOR_ROWS_TRUTH_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/unit/aggregator/rows_world.h"

static const char *row_names[WORLD_ROWS] = { "a", "b/c", "chains/shop", "nat/%", "x", "y" };

/* A cell that was stored, whenever. */
struct found {
	unsigned op;
	size_t part;
	uint64_t incarnation, seq;
};

/* The cells of a batch. */
static inline size_t read_batch(struct world *w, const char *name, const struct key *key, struct mp_str value,
			 struct found *ret)
{
	struct batch batch;
	struct cell cell;
	size_t n = 0;

	if (!sim_check(w->sim, batch_open(value, &batch, NULL) == 0 && batch.first == key->seq,
		       "row %s: a batch is damaged", name))
		return 0;
	while (batch_next(&batch, &cell)) {
		char text[24] = "";
		unsigned op = 0, part = 0;

		memcpy(text, cell.content.ptr, cell.content.len < sizeof(text) ? cell.content.len : 0);
		sim_check(w->sim, sscanf(text, "k%u.%u", &op, &part) == 2 && op < w->n_ops, "row %s: strange cell",
			  name);
		ret[n++] = (struct found){ op, part, key->incarnation, cell.seq };
	}
	return n;
}

/* All cells that a row ever had, in the order in which they were committed. */
static inline size_t read_row(struct world *w, const char *name, struct found *ret)
{
	const struct sim_map *map = sim_store_map(w->store);
	uint64_t incarnation = 0, next = 1;
	size_t n = 0;

	for (size_t i = 0; i < map->n_log && !w->sim->failed; i++) {
		struct mp_str value = map->log[i].value;
		struct key key;

		if (!value.ptr || key_parse(map->log[i].key, MP_LIT("middlepipe/t/"), &key) < 0 ||
		    key.kind != KEY_CELLS || strcmp(key.name, name) != 0)
			continue;
		if (key.incarnation != incarnation)
			next = 1;
		incarnation = key.incarnation;
		sim_check(w->sim, key.seq == next, "row %s: seq %" PRIu64 " follows %" PRIu64, name, key.seq,
			  next - 1);
		n += read_batch(w, name, &key, value, ret + n);
		next = n ? ret[n - 1].seq + 1 : 1;
	}
	return n;
}

/* at: where it is, or NULL. */
static inline void check_op(struct world *w, const struct op *op, const struct found *at)
{
	bool acked = op->code == PUT_COMMITTED || op->code == PUT_REPEATED;

	sim_check(w->sim, op->returned, "op %s never ended", op->key);
	if (op->kind != PUT_CELLS)
		return;
	if (acked)
		sim_check(w->sim, at && at->seq == op->seq && at->incarnation == op->incarnation,
			  "op %s was acknowledged at %" PRIu64 ", and is at %" PRIu64, op->key, op->seq,
			  at ? at->seq : 0);
	else if (op->code != PUT_UNKNOWN && (op->code != PUT_GONE || !op->unanswered_until))
		sim_check(w->sim, !at, "op %s was refused, and is at %" PRIu64, op->key, at ? at->seq : 0);
	if (at && op->has_if_match && at->seq != op->if_match + 1)
		sim_fail(w->sim, "op %s went to %" PRIu64 " in spite of If-Match %" PRIu64, op->key, at->seq,
			 op->if_match);
}

/* The op was refused for its If-Match: was the highest seq that one all the time? */
static inline void check_refusal(struct world *w, const struct op *op, const struct found *found, size_t n)
{
	const struct op *it = op->if_match && op->if_match <= n ? &w->op[found[op->if_match - 1].op] : NULL;
	const struct op *next = op->if_match < n ? &w->op[found[op->if_match].op] : NULL;
	bool before = !op->if_match || (it && it->seq && it->returned < op->began);
	bool after = op->if_match <= n && (!next || next->invoked > op->returned);

	sim_check(w->sim, !before || !after, "op %s was refused, though the highest seq was %" PRIu64, op->key,
		  op->if_match);
}

/* Where each op is: its first cell, once, and the others behind it. */
static inline void check_places(struct world *w, unsigned row, const struct found *found, size_t n,
			 const struct found **at)
{
	for (size_t i = 0; i < n; i++) {
		const struct found *f = &found[i], *first = at[f->op];
		struct op *op = &w->op[f->op];

		sim_check(w->sim, op->row == row, "op %s is in another row", op->key);
		if (f->part == 0) {
			sim_check(w->sim, !first, "op %s was applied twice, at %" PRIu64 " and %" PRIu64, op->key,
				  first ? first->seq : 0, f->seq);
			at[f->op] = f;
		} else {
			sim_check(w->sim, first && f == first + f->part && f->seq == first->seq + f->part,
				  "op %s is torn", op->key);
		}
	}
}

static inline void check_row(struct world *w, unsigned row)
{
	static struct found found[WORLD_OPS * WORLD_CELLS];
	static const struct found *at[WORLD_OPS];
	size_t n = read_row(w, row_names[row], found);

	memset(at, 0, sizeof(at));
	check_places(w, row, found, n, at);
	for (unsigned i = 0; i < w->n_ops; i++)
		if (w->op[i].row == row)
			check_op(w, &w->op[i], at[i]);
	for (unsigned i = 0; i < w->n_ops && !w->admin; i++)
		if (w->op[i].row == row && w->op[i].code == PUT_PRECONDITION)
			check_refusal(w, &w->op[i], found, n);
	/* Real time: a put that was acknowledged before another was made comes before it. */
	for (size_t i = n; i-- > 0;) {
		struct op *op = &w->op[found[i].op];

		for (size_t j = i; j-- > 0 && i - j < 50;)
			sim_check(w->sim, op->code == PUT_UNKNOWN || w->op[found[j].op].invoked <= op->returned,
				  "op %s was acknowledged before %s was made, and comes after it", op->key,
				  w->op[found[j].op].key);
	}
}

/* The copy has what is stored: the head, and each of its batches. */
static inline void check_copy(struct world *w, struct member *m, const char *name)
{
	const struct sim_map *map = sim_store_map(w->store);
	struct row *row = copy_row(m->copy, slice_of(name));
	struct mp_str head = { 0 };
	size_t batches = 0;
	struct row_walk walk;
	struct cell cell;
	uint64_t seq;

	for (size_t i = 0; i < map->n_keys; i++) {
		struct mp_str value = sim_map_at(map, i, map->revision);
		struct key key;

		if (!value.ptr || key_parse(map->keys[i].key, MP_LIT("middlepipe/t/"), &key) < 0 ||
		    strcmp(key.name, name) != 0)
			continue;
		if (key.kind == KEY_HEAD)
			head = value;
		batches += key.kind == KEY_CELLS && row && !row->head.deleted &&
			   key.incarnation == row->head.incarnation;
		sim_check(w->sim, key.kind != KEY_CELLS || !row || key.incarnation == row->head.incarnation,
			  "cells of another life of row %s are left", name);
	}
	if (!sim_check(w->sim, !head.ptr || (row && slice_eq(row_head_text(row), head) && row_whole(row)),
		       "the copy of %s has another head of row %s", m->name, name) || !row)
		return;
	sim_check(w->sim, row->n_batches == batches, "the copy of %s has %zu batches of row %s instead of %zu",
		  m->name, row->n_batches, name, batches);
	row_walk(&walk, row, 0);
	seq = row_first(row);
	while (row_walk_next(&walk, &cell))
		sim_check(w->sim, cell.seq == seq++, "the copy of %s has a gap in row %s", m->name, name);
	sim_check(w->sim, seq == row->applied + 1, "the copy of %s lacks cells of row %s", m->name, name);
}

static inline void check_copies(struct world *w)
{
	for (unsigned i = 0; i < w->n_members; i++)
		for (unsigned r = 0; r < WORLD_ROWS && w->member[i].engine && !w->sim->failed; r++)
			check_copy(w, &w->member[i], row_names[r]);
}

#endif
