/* SPDX-License-Identifier: Apache-2.0 */
/* aggregator/rows/batch.c: what was written is read again, what was damaged is not. */
#include "aggregator/rows/batch.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static const struct batch_id id = { "0123456789abcde" };

static const struct cell cells[] = {
	{ .kind = CELL_DATA, .time_ms = 1700000000123, .key = MP_LIT_INIT("k1"), .origin = MP_LIT_INIT("10.0.0.1"),
	  .content = MP_LIT_INIT("one") },
	{ .kind = CELL_DATA, .time_ms = 0, .content = MP_LIT_INIT("") },
	{ .kind = 200, .time_ms = UINT64_MAX, .key = MP_LIT_INIT("k\0y"), .content = MP_LIT_INIT("\0\xff\n") },
};

#define N (sizeof(cells) / sizeof(cells[0]))

static void make(struct buf *out, uint64_t first)
{
	buf_init(out, 4 << 20);
	batch_begin(out, &id, first);
	for (size_t i = 0; i < N; i++)
		batch_add(out, &cells[i]);
	is_int(batch_end(out), 0, "a batch is made");
}

static void test_same(void)
{
	struct batch batch;
	struct err err = { 0 };
	struct cell cell;
	struct buf out;
	size_t size = BATCH_HEAD_SIZE;

	make(&out, 41);
	for (size_t i = 0; i < N; i++)
		size += batch_cell_size(&cells[i]);
	is_int((long)out.len, (long)size, "of the size that was reckoned");
	is_int(batch_open(buf_slice(&out), &batch, &err), 0, "and opened");
	ok(!memcmp(&batch.id, &id, sizeof(id)) && batch.first == 41 && batch.n == N, "its head");
	for (size_t i = 0; i < N; i++) {
		ok(batch_next(&batch, &cell) && cell.seq == 41 + i && cell.kind == cells[i].kind &&
		   cell.time_ms == cells[i].time_ms && slice_eq(cell.key, cells[i].key) &&
		   slice_eq(cell.origin, cells[i].origin) && slice_eq(cell.content, cells[i].content),
		   "cell %zu", i);
	}
	ok(!batch_next(&batch, &cell), "no more");
	buf_fini(&out);
}

/* The layout is stored for ever; the checksum of RFC 3720 is that of any implementation. */
static void test_layout(void)
{
	static const unsigned char want[] = {
		0x71, 0xd9, 0x52, 0x04, 1, 0, 0, 0, '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a',
		'b', 'c', 'd', 'e', 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 1, 1, 1, 0, 2, 0, 0,
		0, 5, 0, 0, 0, 0, 0, 0, 0, 'k', 'o', 'h', 'i',
	};
	const struct cell cell = { .kind = CELL_DATA, .time_ms = 5, .key = MP_LIT("k"),
				   .origin = MP_LIT("o"), .content = MP_LIT("hi") };
	struct buf out;

	buf_init(&out, 1000);
	batch_begin(&out, &id, 7);
	batch_add(&out, &cell);
	batch_end(&out);
	is_int((long)out.len, (long)sizeof(want), "the size of a known batch");
	ok(out.len == sizeof(want) && !memcmp(out.ptr, want, sizeof(want)), "its bytes");
	buf_fini(&out);
}

static void test_damaged(void)
{
	struct batch batch;
	struct err err = { 0 };
	struct buf out;
	size_t found = 0;

	make(&out, 1);
	for (size_t bit = 0; bit < out.len * 8; bit++) {
		out.ptr[bit / 8] ^= (char)(1 << bit % 8);
		found += batch_open(buf_slice(&out), &batch, &err) == -EINVAL;
		out.ptr[bit / 8] ^= (char)(1 << bit % 8);
	}
	is_int((long)found, (long)(out.len * 8), "each flipped bit is found");
	found = 0;
	for (size_t len = 0; len < out.len; len++)
		found += batch_open(slice_make(out.ptr, len), &batch, &err) == -EINVAL;
	is_int((long)found, (long)out.len, "each cut is found");
	is_int(batch_open(buf_slice(&out), &batch, &err), 0, "and the whole is still right");
	buf_fini(&out);
}

/* A right checksum over wrong numbers: a member with a fault. */
static void test_wrong_numbers(void)
{
	static const struct {
		size_t at;      /* offset in the batch */
		char value;     /* written there */
		int want;       /* what batch_open() says */
		const char *what;
	} rows[] = {
		{ 4, 2, -EPROTONOSUPPORT, "a newer format" }, { 24, 0, -EINVAL, "a first seq of 0" },
		{ 32, 2, -EINVAL, "fewer cells than there are" }, { 32, 4, -EINVAL, "more cells than there are" },
		{ 36, 1, -EINVAL, "another size" }, { 40, 0, -EINVAL, "a cell without a kind" },
		{ 41, 65, -EINVAL, "a key that is too long" }, { 43, 2, -EINVAL, "an origin that is too long" },
		{ 47, 1, -EINVAL, "content that is too long" },
	};
	struct batch batch;
	struct err err = { 0 };
	struct buf out;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		make(&out, 1);
		out.ptr[rows[i].at] = rows[i].value;
		batch_sum(&out);
		is_int(batch_open(buf_slice(&out), &batch, &err), rows[i].want, "%s: %s", rows[i].what,
		       err.text);
		buf_fini(&out);
	}
}

static void test_bounds(void)
{
	char *big = calloc(1, CELL_BYTES_MAX + 1);
	struct cell cell = { .kind = CELL_DATA, .content = { big, CELL_BYTES_MAX } };
	struct buf out;

	buf_init(&out, 4 << 20);
	batch_begin(&out, &id, 1);
	is_int(batch_end(&out), -EINVAL, "a batch without a cell is none");
	is_int(batch_add(&out, &cell), 0, "the largest cell");
	cell.content.len++;
	is_int(batch_add(&out, &cell), -EINVAL, "one byte more");
	cell.content.len = 1;
	cell.key = slice_make(big, CELL_KEY_MAX + 1);
	is_int(batch_add(&out, &cell), -EINVAL, "a key that is too long");
	cell.key.len = CELL_KEY_MAX;
	cell.origin = slice_make(big, CELL_ORIGIN_MAX + 1);
	is_int(batch_add(&out, &cell), -EINVAL, "an origin that is too long");
	cell.origin.len = CELL_ORIGIN_MAX;
	is_int(batch_add(&out, &cell), 0, "the longest of both");
	cell.kind = 0;
	is_int(batch_add(&out, &cell), -EINVAL, "a cell of no kind");
	is_int(batch_end(&out), 0, "what was refused left nothing behind");
	buf_fini(&out);
	buf_init(&out, BATCH_HEAD_SIZE + 10);
	batch_begin(&out, &id, 1);
	is_int(batch_add(&out, &cells[0]), -E2BIG, "no room");
	is_int(batch_end(&out), -E2BIG, "is told at the end, too");
	buf_fini(&out);
	free(big);
}

int main(void)
{
	test_same();
	test_layout();
	test_damaged();
	test_wrong_numbers();
	test_bounds();
	return done();
}
