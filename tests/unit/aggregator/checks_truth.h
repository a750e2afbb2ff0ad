/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is stored in the end, for test_checks_sim.c: each committed cell was
 * allowed where it stands, what was acknowledged is there, what was refused had
 * to be, and the snapshot that a floor rests on is what the cells come to.
 */
#ifndef TESTS_UNIT_AGGREGATOR_CHECKS_TRUTH_H
#define TESTS_UNIT_AGGREGATOR_CHECKS_TRUTH_H

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "middlepipes/half.h"
#include "middlepipes/registry.h"
#include "tests/unit/aggregator/checks_world.h"

/* What both halves are, naively. */
struct model {
	unsigned holder[KEYS]; /* client + 1; 0: nobody */
	unsigned has[CLIENTS];
	unsigned total;
};

static inline unsigned taken(const struct model *model)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < CLIENTS; i++)
		sum += model->has[i];
	return sum;
}

/* False: it has to be refused. */
static inline bool step(struct model *model, const struct wish *wish)
{
	unsigned *holder = &model->holder[wish->key], *has = &model->has[wish->who];

	switch (wish->what) {
	case CLAIM:
		if (*holder && *holder != wish->who + 1)
			return false;
		*holder = wish->who + 1;
		return true;
	case RELEASE:
		if (*holder != wish->who + 1)
			return false;
		*holder = 0;
		return true;
	case TAKE:
		*has += wish->amount;
		return taken(model) <= model->total;
	case GIVE:
		if (*has < wish->amount)
			return false;
		*has -= wish->amount;
		return true;
	case SETTLE:
		*has = wish->amount;
		return taken(model) <= model->total;
	case BOUND:
		model->total = TOTAL;
		return true;
	}
	return false;
}

static inline bool allowed(struct model model, const struct op *op)
{
	for (size_t i = 0; i < op->n; i++)
		if (!step(&model, &op->wish[i]))
			return false;
	return true;
}

/* A cell that is stored in the end, and the row's state behind it. */
struct found {
	struct op *op;
	size_t part;
	struct model model;
};

static inline size_t read_row(struct world *w, unsigned row, struct found *ret)
{
	const struct sim_map *map = sim_store_map(w->store);
	size_t n = 0;

	for (size_t i = 0; i < map->n_keys; i++) {
		struct mp_str value = sim_map_at(map, i, map->revision);
		struct batch batch;
		struct cell cell;
		struct key key;

		if (!value.ptr || key_parse(map->keys[i].key, MP_LIT("middlepipe/t/"), &key) < 0)
			continue;
		if (key.kind != KEY_CELLS || strcmp(key.name, row_names[row]) ||
		    !sim_check(w->sim, batch_open(value, &batch, NULL) == 0, "a batch is damaged"))
			continue;
		while (batch_next(&batch, &cell)) {
			char text[24] = "";

			memcpy(text, cell.key.ptr, cell.key.len < sizeof(text) ? cell.key.len : 0);
			ret[n].op = &w->op[strtoul(text + 1, NULL, 10) % OPS];
			ret[n].part = n && ret[n].op == ret[n - 1].op ? ret[n - 1].part + 1 : 0;
			n++;
			sim_check(w->sim, cell.seq == n, "seq %" PRIu64 " at place %zu", cell.seq, n);
		}
	}
	return n;
}

/* Was there a moment of the last attempt at which it had to be refused? */
static inline void check_refusal(struct world *w, const struct op *op, const struct found *found, size_t n)
{
	const struct model none = { .total = 0 };
	size_t low = 0, high = 0;

	for (size_t i = 0; i < n; i++) {
		const struct op *it = found[i].op;

		if ((it->code == PUT_COMMITTED || it->code == PUT_REPEATED) && it->returned < op->began)
			low = i + 1;
		if (it->invoked <= op->returned)
			high = i + 1;
	}
	for (size_t i = low; i <= high; i++)
		if (!allowed(i ? found[i - 1].model : none, op))
			return;
	sim_fail(w->sim, "op %s was refused, though nothing spoke against it from %zu to %zu", op->key, low, high);
}

/* The value of that key in the end. */
static inline struct mp_str stored(struct world *w, int (*make)(struct buf *, struct mp_str, struct mp_str), unsigned row)
{
	const struct sim_map *map = sim_store_map(w->store);
	struct mp_str found = { 0 };
	struct buf key;

	buf_init(&key, KEY_MAX);
	(void)make(&key, MP_LIT("middlepipe/t/"), slice_of(row_names[row]));
	for (size_t i = 0; i < map->n_keys; i++)
		if (slice_eq(map->keys[i].key, buf_slice(&key)))
			found = sim_map_at(map, i, map->revision);
	buf_fini(&key);
	return found;
}

/* What the row's half makes of the cells up to that seq. */
static inline void fold(struct world *w, unsigned row, const struct found *found, uint64_t seq, struct buf *out)
{
	const struct mp_aggregator *half = registry_find_half(row_checks[row]);
	const struct mp_aggregator_host host = { MP_AGGREGATOR_ABI_MAJOR, MP_AGGREGATOR_ABI_MINOR, sizeof(host), NULL };
	void *self = NULL;

	sim_check(w->sim, half_new(half, &host, NULL, slice_make(NULL, 0), &self, NULL) == 0, "no half");
	for (uint64_t i = 0; i < seq; i++) {
		const struct mp_cell cell = { .size = sizeof(cell), .kind = MP_CELL_DATA, .seq = i + 1,
					      .content = found[i].op->content[found[i].part] };

		sim_check(w->sim, half->apply(self, &cell) == 0, "no memory");
	}
	sim_check(w->sim, half_snapshot(half, self, out) == 0, "no snapshot");
	half->fini(self);
}

/* All parts of that snapshot, and none of older ones, are stored. */
static inline void check_snapshot(struct world *w, unsigned row, const struct found *found, size_t n)
{
	const struct sim_map *map = sim_store_map(w->store);
	struct mp_str text = stored(w, key_head, row);
	struct snapshot_reader reader;
	struct buf want;
	struct head head = { .floor = 1 };
	struct err err = { 0 };
	int r = 0;

	if (!text.ptr)
		return;
	sim_check(w->sim, head_read(text, &head, NULL) == 0 && head.last == n && head.floor <= head.snapshot + 1,
		  "row %s has floor %" PRIu64 " and snapshot %" PRIu64, row_names[row], head.floor, head.snapshot);
	if (!head.snapshot || w->sim->failed)
		return;
	w->count.snapshots++;
	snapshot_reader_init(&reader);
	buf_init(&want, SNAPSHOT_SIZE_MAX);
	for (size_t i = 0; i < map->n_keys && r == 0; i++) {
		struct mp_str value = sim_map_at(map, i, map->revision);
		struct key key;

		if (!value.ptr || key_parse(map->keys[i].key, MP_LIT("middlepipe/t/"), &key) < 0 ||
		    key.kind != KEY_SNAPSHOT || strcmp(key.name, row_names[row]))
			continue;
		sim_check(w->sim, key.seq >= head.snapshot, "an old snapshot has stayed");
		if (key.seq == head.snapshot && !snapshot_is_whole(&reader))
			r = snapshot_take(&reader, value, &err);
	}
	if (r == 0)
		r = snapshot_end(&reader, &err);
	fold(w, row, found, head.snapshot, &want);
	sim_check(w->sim, r == 0 && slice_eq(buf_slice(&reader.bytes), buf_slice(&want)),
		  "the snapshot of %" PRIu64 " cells of row %s is not theirs: %s", head.snapshot, row_names[row], err.text);
	w->count.parts += reader.n_parts;
	snapshot_reader_fini(&reader);
	buf_fini(&want);
}

static inline void check_row(struct world *w, unsigned row)
{
	static struct found found[OPS * CELLS];
	struct model model = { .total = 0 };
	size_t n = read_row(w, row, found);

	for (size_t i = 0; i < n; i++) {
		struct op *op = found[i].op;

		if (!sim_check(w->sim, op->row == row && found[i].part < op->n, "op %s is there twice", op->key))
			return;
		sim_check(w->sim, step(&model, &op->wish[found[i].part]), "cell %zu of op %s was not to be allowed",
			  i + 1, op->key);
		found[i].model = model;
		if (found[i].part)
			continue;
		if (op->code == PUT_COMMITTED || op->code == PUT_REPEATED)
			sim_check(w->sim, op->seq == i + 1, "op %s was acknowledged at %" PRIu64 ", and is at %zu",
				  op->key, op->seq, i + 1);
		else
			sim_check(w->sim, op->code == PUT_UNKNOWN, "op %s was refused, and is there", op->key);
		op->seq = i + 1;
	}
	check_snapshot(w, row, found, n);
	for (unsigned i = 0; i < w->n_ops; i++) {
		const struct op *op = &w->op[i];

		if (op->row != row || op->kind != PUT_CELLS)
			continue;
		sim_check(w->sim, op->returned, "op %s never ended", op->key);
		if (op->code == PUT_COMMITTED || op->code == PUT_REPEATED)
			sim_check(w->sim, op->seq && op->seq <= n && found[op->seq - 1].op == op,
				  "op %s was acknowledged, and is not there", op->key);
		else if (op->code == PUT_REFUSED)
			check_refusal(w, op, found, n);
	}
}

#endif
