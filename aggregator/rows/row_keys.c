/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idempotency keys of the cells that a row holds: a table of seqs by the
 * key's hash.  The keys themselves stay in the batches.  It is made when the row's owner
 * first wants it: for most members of a group it would be a twentieth of their work.
 *
 * Linear probing; a slot whose cell is not held any more counts as taken until
 * the table is made anew.  Clients choose keys: the hash has a seed of the
 * process, so that they cannot choose collisions (XXH3, xxhash.com).
 */
#include "aggregator/rows/row.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "lib/slice.h"

#define BITS_MIN 4

struct row_key {
	uint32_t hash; /* upper half of the key's hash */
	uint32_t seq;  /* lower half of the cell's seq; 0 with hash 0: empty */
};

static uint64_t hash_of(struct mp_str key)
{
	static uint64_t seed;
	uint64_t hash;

	while (!seed)
		if (getrandom(&seed, sizeof(seed), 0) < 0)
			seed = UINT64_C(0x9e3779b97f4a7c15); /* better than none */
	hash = XXH3_64bits_withSeed(key.ptr, key.len, seed);
	/* A slot in use is never all zeros. */
	return hash | UINT64_C(1) << 32;
}

void row_keys_fini(struct row *row)
{
	free(row->keys.slot);
	row->keys = (struct row_keys){ .kept = row->keys.kept };
}

static uint32_t mask_of(const struct row_keys *keys)
{
	return (UINT32_C(1) << keys->bits) - 1;
}

/* The seq that ends so, at or below `applied`. */
static uint64_t whole_seq(const struct row *row, uint32_t low)
{
	return row->applied - (uint32_t)((uint32_t)row->applied - low);
}

/* The slot holds a cell with that key: its seq, else 0. */
static uint64_t slot_seq(const struct row *row, const struct row_key *slot, struct mp_str key)
{
	uint64_t seq = whole_seq(row, slot->seq);
	struct cell cell;

	if (seq < row_first(row) || !row_cell(row, seq, &cell) || !slice_eq(cell.key, key))
		return 0;
	return seq;
}

/* Where the key is, or the empty slot where it would be. */
static struct row_key *find(const struct row *row, struct mp_str key, uint64_t hash, uint64_t *ret_seq)
{
	const struct row_keys *keys = &row->keys;
	uint32_t at = (uint32_t)hash & mask_of(keys);

	*ret_seq = 0;
	for (;; at = (at + 1) & mask_of(keys)) {
		struct row_key *slot = &keys->slot[at];

		if (!slot->hash)
			return slot;
		if (slot->hash == (uint32_t)(hash >> 32) && (*ret_seq = slot_seq(row, slot, key)))
			return slot;
	}
}


static void add(struct row *row, struct mp_str key, uint64_t seq)
{
	uint64_t hash = hash_of(key), before;
	struct row_key *slot = find(row, key, hash, &before);

	if (!before)
		row->keys.used++;
	*slot = (struct row_key){ (uint32_t)(hash >> 32), (uint32_t)seq };
}

void row_keys_add(struct row *row, const struct row_batch *b)
{
	struct mp_str before = { 0 };
	struct batch batch;
	struct cell cell;

	if (!row->keys.kept)
		return;
	batch_view(row_batch_value(b), &batch);
	while (batch_next(&batch, &cell)) {
		/* Of a put of several cells, which are never in two batches, the first is remembered. */
		if (cell.key.len && !slice_eq(cell.key, before))
			add(row, cell.key, cell.seq);
		before = cell.key;
	}
}

/* A table of 2^bits with the keys of all cells that are held. */
static int make_anew(struct row *row, uint32_t bits)
{
	struct row_keys keys = { .bits = bits, .kept = true, .slot = calloc((size_t)1 << bits, sizeof(*keys.slot)) };

	if (!keys.slot)
		return -ENOMEM;
	free(row->keys.slot);
	row->keys = keys;
	for (size_t i = 0; i < row->n_batches; i++)
		row_keys_add(row, &row->batches[row->gone + i]);
	return 0;
}

int row_keys_reserve(struct row *row, size_t n)
{
	struct row_keys *keys = &row->keys;
	uint64_t held = row->applied + 1 - row_first(row), want = held + n;
	uint32_t bits = BITS_MIN;

	if (!keys->kept || (keys->slot && (keys->used + n) * 4 <= (UINT64_C(3) << keys->bits)))
		return 0;
	while ((UINT64_C(3) << bits) < want * 4)
		bits++;
	/* Room to grow, so that not every batch makes it anew. */
	return bits > 31 ? -ENOMEM : make_anew(row, bits + (keys->slot != NULL));
}

int row_keep_keys(struct row *row)
{
	int r;

	if (row->keys.kept)
		return 0;
	row->keys.kept = true;
	r = row_keys_reserve(row, 0);
	row->keys.kept = r == 0;
	return r;
}

void row_forget_keys(struct row *row)
{
	row_keys_fini(row);
	row->keys.kept = false;
}

uint64_t row_find(const struct row *row, struct mp_str key, uint64_t after, uint32_t *ret_n)
{
	struct batch batch;
	struct cell cell;
	uint64_t seq;

	assert(row->keys.kept);
	*ret_n = 0;
	if (!row->keys.slot || !key.len)
		return 0;
	(void)find(row, key, hash_of(key), &seq);
	if (!seq || seq <= after)
		return 0;
	batch_view(row_batch_value(row_batch_of(row, seq)), &batch);
	while (batch_next(&batch, &cell))
		*ret_n += cell.seq >= seq && slice_eq(cell.key, key);
	return seq;
}
