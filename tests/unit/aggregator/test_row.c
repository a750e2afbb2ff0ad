/* SPDX-License-Identifier: Apache-2.0 */
/* Rows: batches in order, keys by the newest put, retention; against a naive model. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/retain.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

#define HEAD(last, floor, more)                                                                      \
	"{\"format\":1,\"incarnation\":\"00000000000000ff\",\"before\":\"0000000000000000\","           \
	"\"batch\":\"00000000000000000000000000000000\",\"deleted\":false,\"check\":\"\","              \
	"\"partition\":\"safe\",\"last\":" last ",\"floor\":" floor ",\"keep_cells\":0,\"keep_bytes\":0," \
	"\"keep_ms\":0,\"snapshot\":0}" more

/* A batch of n cells from that seq on, keys k<first>.. unless key is given; time in ms. */
static struct mp_str make(struct buf *out, uint64_t first, uint32_t n, const char *key, uint64_t time)
{
	struct batch_id id = { { 1 } };
	char text[24];

	buf_reset(out);
	batch_begin(out, &id, first);
	for (uint32_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "k%" PRIu64, first + i);
		batch_add(out, &(struct cell){ .kind = CELL_DATA, .key = slice_of(key ? key : text),
					       .time_ms = time, .content = slice_of(text) });
	}
	batch_end(out);
	return buf_slice(out);
}

static void test_order(void)
{
	struct row *row = row_new(MP_LIT("a"), 64);
	struct err err = { 0 };
	struct buf b;
	struct cell cell;
	uint32_t n;

	buf_init(&b, 1 << 20);
	ok(!row_exists(row) && row_whole(row), "a row that is not there is whole");
	is_int(row_set_head(row, MP_LIT(HEAD("6", "1", "")), &err), 0, "a head: %s", err.text);
	ok(row_exists(row) && !row_whole(row), "its cells are missing");
	is_int(row_take(row, make(&b, 2, 1, NULL, 0), &err), -ERANGE, "not from the middle");
	is_int(row_take(row, make(&b, 1, 3, NULL, 0), &err), 0, "from the start");
	is_int(row_take(row, make(&b, 1, 3, NULL, 0), &err), -EALREADY, "once");
	is_int(row_take(row, make(&b, 3, 2, NULL, 0), &err), -ERANGE, "not over one another");
	is_int(row_take(row, make(&b, 5, 1, NULL, 0), &err), -ERANGE, "no gap");
	is_int(row_take(row, make(&b, 4, 3, "k", 0), &err), 0, "three of one put");
	ok(row_whole(row), "now it is whole");
	ok(!row->keys.slot, "nobody has asked for keys");
	is_int(row_keep_keys(row), 0, "somebody does");
	is_int((long)row_find(row, MP_LIT("k"), 0, &n), 4, "the first of the put");
	is_int(n, 3, "and how many they are");
	is_int((long)row_find(row, MP_LIT("k2"), 1, &n), 2, "a key behind a seq");
	is_int((long)row_find(row, MP_LIT("k2"), 2, &n), 0, "not before it");
	is_int((long)row_find(row, MP_LIT("none"), 0, &n), 0, "no such key");
	ok(row_cell(row, 3, &cell) && slice_eq(cell.content, MP_LIT("k3")), "a cell");
	ok(!row_cell(row, 7, &cell) && !row_cell(row, 0, &cell), "none that is not there");
	b.ptr[50] ^= 1;
	is_int(row_take(row, buf_slice(&b), &err), -EINVAL, "a damaged batch: %s", err.text);
	row_drop(row, 4);
	ok(row_first(row) == 4 && !row_cell(row, 3, &cell) && row_cell(row, 4, &cell), "batches that went are gone");
	is_int((long)row_find(row, MP_LIT("k2"), 0, &n), 0, "with their keys");
	row_read_anew(row);
	is_int(row_take(row, make(&b, 5, 2, NULL, 0), &err), 0, "read anew it begins anywhere");
	ok(!row_settle(row), "but not above the floor: cells are missing");
	is_int(row_set_head(row, MP_LIT(HEAD("6", "5", "")), &err), 0, "a higher floor: %s", err.text);
	ok(row_settle(row) && row_first(row) == 5, "and it is whole");
	is_int(row_set_head(row, MP_LIT("{}"), &err), -EINVAL, "a head that is none");
	ok(row_whole(row), "changes nothing");
	row_free(row);
	buf_fini(&b);
}

#define ROUND_KEYS 500 /* until then nobody asks for them */

/* Thousands of batches with few keys, taken and dropped, against a table of the newest seq of each key. */
static void test_model(void)
{
	static uint64_t newest[64];
	struct row *row = row_new(MP_LIT("m"), 64);
	uint64_t next = 1, wrong = 0, bytes = 0;
	struct err err = { 0 };
	struct buf b;
	unsigned seed = 7;

	buf_init(&b, 1 << 20);
	row_set_head(row, MP_LIT(HEAD("1", "1", "")), &err);
	for (int round = 0; round < 20000; round++) {
		unsigned k = (unsigned)rand_r(&seed) % 64;
		uint32_t n = 1 + (uint32_t)rand_r(&seed) % 4, found;
		char key[8];

		snprintf(key, sizeof(key), "key%u", k);
		wrong += row_take(row, make(&b, next, n, key, 0), &err) != 0;
		newest[k] = next;
		next += n;
		if (round == ROUND_KEYS)
			wrong += row_keep_keys(row) != 0;
		if (rand_r(&seed) % 16 == 0)
			row_drop(row, next - (uint64_t)rand_r(&seed) % 200);
		k = (unsigned)rand_r(&seed) % 64;
		snprintf(key, sizeof(key), "key%u", k);
		wrong += round >= ROUND_KEYS && row_find(row, slice_of(key), 0, &found) != (newest[k] >= row_first(row) ? newest[k] : 0);
	}
	is_int((long)wrong, 0, "every key is found at its newest seq, 19,500 times");
	for (size_t i = 0; i < row->n_batches; i++)
		bytes += row->batches[row->gone + i].size;
	ok(bytes == row->bytes && row->cap < 1000 && row->keys.bits < 14, "and memory follows what is held");
	row_free(row);
	buf_fini(&b);
}

static void test_retention(void)
{
	struct row *row = row_new(MP_LIT("r"), 64);
	struct err err = { 0 };
	struct head next;
	struct buf b;

	buf_init(&b, 1 << 20);
	row_set_head(row, MP_LIT(HEAD("100", "1", "")), &err);
	for (uint64_t i = 0; i < 10; i++)
		row_take(row, make(&b, 1 + 10 * i, 10, NULL, 1000 * i), &err);
	next = row->head;
	next.keep_cells = 25;
	retain_floor(&next);
	is_int((long)next.floor, 76, "so many cells are kept");
	next = row->head;
	is_int((long)retain(row, &next, 5000), 0, "nothing to do");
	next.keep_ms = 3000;
	(void)retain(row, &next, 6500);
	is_int((long)next.floor, 41, "batches that are too old as a whole");
	next = row->head;
	next.keep_bytes = row->bytes / 2 + 200;
	(void)retain(row, &next, 0);
	is_int((long)next.floor, 51, "so many bytes");
	next = row->head;
	next.keep_bytes = 1;
	(void)retain(row, &next, 0);
	is_int((long)next.floor, 91, "the newest batch stays, however large it is");
	next = row->head;
	next.floor = 51;
	next.keep_ms = 3000;
	(void)retain(row, &next, 8500);
	is_int((long)next.floor, 61, "the floor goes on by age from where it is");
	ok(!retain_due(row, 0), "the row itself wants nothing");
	row->head.floor = 101;
	is_int((long)retain(row, &(struct head){ .last = 100 + KEPT_CELLS, .floor = 101 }, KEPT_MS + 9000), 101,
	       "batches go when their keys are old and many have come since");
	is_int((long)retain(row, &(struct head){ .last = 100 + KEPT_CELLS, .floor = 101 }, KEPT_MS - 1), 0,
	       "not while their keys are young");
	is_int((long)retain(row, &(struct head){ .last = 100, .floor = 101 }, 10 * KEPT_MS), 0,
	       "nor while they are among the newest");
	row->head.deleted = true;
	next = (struct head){ .deleted = true, .last = 20000, .floor = 1 };
	is_int((long)retain(row, &next, 0), 16385, "a deleted row goes in slices");
	is_int((long)retain(row, &next, 0), 20001, "to its end");
	is_int((long)retain(row, &next, 0), 0, "and no further");
	row_free(row);
	buf_fini(&b);
}

/* A clock that was ahead for a while does not end retention by age. */
static void test_age(void)
{
	struct row *row = row_new(MP_LIT("r"), 64);
	struct err err = { 0 };
	struct head next;
	struct buf b;

	buf_init(&b, 1 << 20);
	row_set_head(row, MP_LIT(HEAD("40", "11", "")), &err);
	for (uint64_t i = 0; i < 4; i++)
		row_take(row, make(&b, 1 + 10 * i, 10, NULL, i ? 1000 * i : 1000000), &err);
	next = row->head;
	next.keep_ms = 1000;
	(void)retain(row, &next, 3500);
	is_int((long)next.floor, 31, "batches below the floor are not looked at");
	next.floor = 41;
	(void)retain(row, &next, 3500);
	is_int((long)next.floor, 41, "behind the last there is nothing to look at");
	row_drop(row, 21);
	next.floor = 11;
	(void)retain(row, &next, 3500);
	is_int((long)next.floor, 31, "nor before the first");
	row_free(row);
	buf_fini(&b);
}

/* Whether the batches in front go: `n` of n_size bytes may, and so many of rest_size bytes are behind them. */
static bool goes(size_t n, size_t n_size, size_t rest, size_t rest_size)
{
	static const char bytes[4000];
	struct row *row = row_new(MP_LIT("r"), 64);
	struct head next = { .last = n + KEPT_CELLS, .floor = n + 1 };
	struct batch_id id = { { 1 } };
	struct err err = { 0 };
	uint64_t to;
	struct buf b;

	buf_init(&b, 1 << 20);
	row_set_head(row, MP_LIT(HEAD("200", "1", "")), &err);
	for (size_t i = 0; i < n + rest; i++) {
		buf_reset(&b);
		batch_begin(&b, &id, i + 1);
		batch_add(&b, &(struct cell){ .kind = CELL_DATA, .content = slice_make(bytes, i < n ? n_size : rest_size) });
		batch_end(&b);
		row_take(row, buf_slice(&b), &err);
	}
	to = retain(row, &next, KEPT_MS);
	ok(!to || to == n + 1, "all that may go goes together");
	row_free(row);
	buf_fini(&b);
	return to;
}

/* A deletion is as dear as a put: when it is worth it. */
static void test_trim(void)
{
	ok(!goes(1, 1, 100, 1), "one batch of a hundred waits");
	ok(goes(64, 1, 100, 4000), "sixty-four go, however small they are");
	ok(!goes(63, 1, 100, 4000), "sixty-three wait for the next");
	ok(goes(33, 4000, 100, 4000), "unless they are large: a row at its limit of bytes gets room again");
	ok(goes(1, 4000, 50, 1), "one will do");
}

int main(void)
{
	test_order();
	test_model();
	test_retention();
	test_age();
	test_trim();
	return done();
}
