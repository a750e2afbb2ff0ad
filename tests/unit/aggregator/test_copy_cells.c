/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading all that is stored: that it is all, and what it costs.  etcd looks at
 * each key of a range, however few it answers, so the keys of all ranges
 * that are asked for are counted: they have to grow with what is stored, not
 * with its square.
 */
#include "aggregator/rows/copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"
#include "tests/unit/aggregator/copy_quiet.h"
#include "tests/unit/aggregator/sim_map.h"

#define LIFE 7      /* incarnation of all rows */
#define ROWS 1000
#define HOT 30000   /* cells, each a batch of its own */
#define LARGE 100   /* batches of a row of large ones */
#define NAME MP_LIT("r")
#define CONTENT 200 /* bytes of a cell */
#define ANSWERS 10000 /* more than any of these needs */

struct question {
	struct question *next;
	engine_done_fn *done;
	void *ctx;
	struct engine_range range;
	char from[512], end[512];
};

static struct {
	struct engine engine;
	struct sim_map map;
	struct question *first, **last; /* that were not answered yet */
	uint64_t looked, asked;         /* keys that etcd would have looked at, and ranges */
	bool watched;
	struct engine_watch watch;
	uint64_t now;
	struct copy *copy;
	struct mp_str prefix;
} w;

/* ---------------------------------------------------------------------- the engine */

static struct mp_str keep(char *memory, struct mp_str text)
{
	memcpy(memory, text.ptr, text.len);
	return slice_make(memory, text.len);
}

static int on_range(struct engine *engine, const struct engine_range *range, engine_done_fn *end_fn, void *ctx)
{
	struct question *q = calloc(1, sizeof(*q));

	(void)engine;
	*q = (struct question){ .done = end_fn, .ctx = ctx, .range = *range };
	q->range.from = keep(q->from, range->from);
	if (range->end.len)
		q->range.end = keep(q->end, range->end);
	*w.last = q;
	w.last = &q->next;
	return 0;
}

static uint64_t on_watch(struct engine *engine, struct mp_str from, struct mp_str end, uint64_t after,
			 const struct engine_watch *watch)
{
	(void)engine;
	(void)from;
	(void)end;
	(void)after;
	w.watch = *watch;
	w.watched = true;
	return 1;
}

static const struct engine_ops ops = { .name = "counted", .range = on_range, .watch = on_watch, .unwatch = quiet_unwatch };

static void answer(const struct question *q)
{
	struct engine_answer answer = { .outcome = ENGINE_COMMITTED, .revision = w.map.revision, .why = "" };
	size_t at = sim_map_seek(&w.map, q->range.from), bytes = 0;
	size_t end = q->range.end.len ? sim_map_seek(&w.map, q->range.end) : at + 1;
	struct engine_item *items;

	end = end < at ? at : end; /* a range that ends before it begins is empty */
	items = calloc(end - at + 1, sizeof(*items));
	w.looked += end - at;
	w.asked++;
	for (; at < end && !answer.more; at++) {
		items[answer.n_items].key = w.map.keys[at].key;
		items[answer.n_items].value = sim_map_at(&w.map, at, w.map.revision);
		bytes += items[answer.n_items].key.len + items[answer.n_items].value.len;
		answer.n_items++;
		answer.more = at + 1 < end && engine_range_full(&q->range, answer.n_items, bytes);
	}
	answer.items = items;
	q->done(q->ctx, &answer);
	free(items);
}

/* Answers so many questions at most. */
static void answer_some(size_t n)
{
	struct question *q;

	while (n-- && (q = w.first)) {
		w.first = q->next;
		if (!w.first)
			w.last = &w.first;
		answer(q);
		free(q);
	}
}

static void answer_all(void)
{
	answer_some(ANSWERS);
	ok(!w.first, "there is an end to it");
}

/* ------------------------------------------------------------------------ what is stored */

static void put(const struct buf *key, const struct buf *value)
{
	sim_map_put(&w.map, buf_slice(key), buf_slice(value), 0);
}

static void put_head(struct mp_str name, const struct head *head)
{
	struct buf key, value;

	buf_init(&key, KEY_MAX);
	buf_init(&value, HEAD_SIZE_MAX);
	(void)key_head(&key, w.prefix, name);
	if (head_write(&value, head) < 0)
		ok(false, "the head of %.*s can be written", SLICE_ARG(name));
	put(&key, &value);
	buf_fini(&key);
	buf_fini(&value);
}

/* A batch of n cells. */
static void put_batch(struct mp_str name, uint64_t first, uint32_t n)
{
	static const char content[CONTENT];
	const struct batch_id id = { { 1 } };
	struct buf key, value;

	buf_init(&key, KEY_MAX);
	buf_init(&value, 1 << 20);
	(void)key_cells(&key, w.prefix, name, LIFE, first);
	(void)batch_begin(&value, &id, first);
	for (uint32_t i = 0; i < n; i++)
		(void)batch_add(&value, &(struct cell){ .kind = CELL_DATA, .key = MP_LIT("k"),
							.content = slice_make(content, CONTENT) });
	(void)batch_end(&value);
	put(&key, &value);
	buf_fini(&key);
	buf_fini(&value);
}

/* A row whose cells are stored from `from` on, in batches of `each`, up to `last`. */
static void put_row(const char *name, uint64_t from, uint64_t last, uint32_t each)
{
	put_head(slice_of(name), &(struct head){ .incarnation = LIFE, .last = last, .floor = from });
	for (uint64_t seq = from; seq <= last; seq += each)
		put_batch(slice_of(name), seq, last - seq + 1 < each ? (uint32_t)(last - seq + 1) : each);
}

/* ---------------------------------------------------------------------------- the copy */

static const struct rows_host host = { quiet_clock, quiet_clock, quiet_clock, &w.now };

static void begin(void)
{
	const struct copy_options options = { .engine = &w.engine, .host = &host, .tenant = MP_LIT("t"), .n_shards = 4,
					      .rows_max = 2 * ROWS };
	const struct copy_calls calls = { quiet_loaded, quiet_row, quiet_owner, quiet_other, NULL };

	memset(&w, 0, sizeof(w));
	w.engine.ops = &ops;
	w.last = &w.first;
	w.now = NS_PER_S;
	sim_map_init(&w.map);
	w.copy = copy_new(&options, &calls);
	w.prefix = copy_prefix(w.copy);
}

static void load(void)
{
	(void)sim_map_end(&w.map);
	copy_start(w.copy);
	answer_all();
}

static void end(void)
{
	answer_some(ANSWERS);
	copy_free(w.copy);
	sim_map_fini(&w.map);
}

static size_t n_whole(void)
{
	size_t n = 0;

	for (struct map_entry *e = map_next(copy_rows(w.copy), NULL); e; e = map_next(copy_rows(w.copy), e)) {
		const struct row *row = map_entry_value(e);

		n += row_whole(row) && row_complete(row) && (!row_exists(row) || row_first(row) == row->head.floor);
	}
	return n;
}

/* All keys were looked at this often, about. */
static void cost_is(uint64_t times, uint64_t asked, const char *name)
{
	ok(w.looked <= times * w.map.n_keys && w.asked <= asked, "%s: %" PRIu64 " ranges, %" PRIu64 " keys of %zu", name,
	   w.asked, w.looked, w.map.n_keys);
	w.looked = w.asked = 0;
}

/* ------------------------------------------------------------------------------- tests */

static void test_many_rows(void)
{
	char name[16];

	begin();
	for (int i = 0; i < ROWS; i++) {
		(void)snprintf(name, sizeof(name), "r%04d", i);
		if (i % 10 == 9) /* a tombstone, whose cells have not gone yet */
			put_head(slice_of(name), &(struct head){ .incarnation = LIFE, .last = 3, .floor = 1, .deleted = true });
		if (i % 10 == 9)
			put_batch(slice_of(name), 1, 3);
		else
			put_row(name, 1 + (uint64_t)(i % 7), (uint64_t)(7 + i % 20), 2);
	}
	load();
	ok(w.watched && n_whole() == ROWS, "many rows are read: %zu", n_whole());
	cost_is(2, 10, "several at a time");
	end();
}

/* Nothing large lies between two rows that are read together: "hot-a" is behind "hot", and its cells before. */
static void test_between(void)
{
	const struct head gone = { .incarnation = LIFE, .last = HOT, .floor = 1, .deleted = true };

	begin();
	put_row("hot", 1, HOT, 1);
	put_row("hot-a", 1, 10, 1);
	put_row("i", 1, 10, 1);
	load();
	ok(w.watched && n_whole() == 3, "a large row among small ones is read");
	cost_is(3, 15, "for itself");
	end();
	begin();
	put_row("a", 1, 10, 1);
	put_head(MP_LIT("b"), &gone);
	for (uint64_t seq = 1; seq <= HOT; seq++)
		put_batch(MP_LIT("b"), seq, 1);
	put_row("c", 1, 10, 1);
	load();
	ok(w.watched && n_whole() == 3, "rows on both sides of what is left of a large one");
	ok(w.looked < 100, "which is not read at all: %" PRIu64 " keys", w.looked);
	end();
}

static void test_hot_row(void)
{
	struct row *row;

	begin();
	put_row("before", 1, 10, 1);
	put_row("hot", 1000, 1000 + HOT - 1, 1); /* its first ones have left */
	put_row("later", 1, 10, 1);
	load();
	row = copy_row(w.copy, MP_LIT("hot"));
	ok(w.watched && n_whole() == 3, "a row of many batches is read");
	is_u64(row->n_batches, HOT, "all of them");
	cost_is(3, 15, "in parts");
	row_read_anew(row);
	copy_doubt(w.copy, row);
	answer_all();
	ok(row_whole(row) && row->n_batches == HOT, "it is read again");
	cost_is(3, 15, "in parts, too");
	end();
}

/* Others have large batches, and many cells in few of them. */
static void test_large(void)
{
	begin();
	put_row("large", 1, (uint64_t)LARGE * 4000, 4000);
	put_row("small", 1, 3, 1);
	load();
	ok(w.watched && n_whole() == 2, "large batches are read");
	is_u64(copy_row(w.copy, MP_LIT("large"))->n_batches, LARGE, "all of them");
	cost_is(3, LARGE / 2 + 5, "a page at a time");
	end();
}

/* "a!" is before "a/", where the cells of "a" are, and its head is behind that of "a". */
static void test_order(void)
{
	begin();
	put_row("a", 1, 10, 1);
	put_row("a!", 1, 10, 1);
	put_row("a!!", 1, 10, 3);
	put_row("a0", 1, 10, 1);
	put_row("a/", 1, 10, 1);
	load();
	ok(w.watched && n_whole() == 5, "names whose cells are in another order than their heads");
	end();
}

/* Damage: a hole in the middle of a row, a head that speaks of too much, keys of nobody. */
static void test_holes(void)
{
	struct buf key;

	begin();
	put_head(MP_LIT("hole"), &(struct head){ .incarnation = LIFE, .last = 40000, .floor = 1 });
	for (uint64_t seq = 1; seq <= 40000; seq += seq == 9000 ? 20000 : 1)
		put_batch(MP_LIT("hole"), seq, 1);
	put_head(MP_LIT("less"), &(struct head){ .incarnation = LIFE, .last = INT64_MAX - 1, .floor = 1 });
	for (uint64_t seq = 1; seq <= 9000; seq++)
		put_batch(MP_LIT("less"), seq, 1);
	put_row("z", 1, 10, 1);
	buf_init(&key, KEY_MAX);
	(void)key_cells(&key, w.prefix, MP_LIT("z"), LIFE, 1);
	(void)buf_add_str(&key, "x"); /* no such number */
	put(&key, &key);
	buf_fini(&key);
	load();
	ok(w.watched && row_whole(copy_row(w.copy, MP_LIT("z"))), "a damaged row ends, and others are read");
	ok(!row_whole(copy_row(w.copy, MP_LIT("hole"))), "it is not served without its middle");
	ok(!row_whole(copy_row(w.copy, MP_LIT("less"))), "nor without its end");
	end();
}

/* Keys of nobody far behind a hole. */
static void test_nobody(void)
{
	static char large[1 << 20];
	struct buf key;

	begin();
	put_head(NAME, &(struct head){ .incarnation = LIFE, .last = INT64_MAX - 1, .floor = 1 });
	for (uint64_t seq = 1; seq <= 25000; seq++)
		put_batch(NAME, seq, 1);
	buf_init(&key, KEY_MAX);
	for (unsigned i = 0; i < 6; i++) {
		buf_reset(&key);
		(void)key_cells(&key, w.prefix, NAME, LIFE, (UINT64_C(1) << 60) + i);
		(void)buf_add_str(&key, "x");
		sim_map_put(&w.map, buf_slice(&key), slice_make(large, sizeof(large)), 0);
	}
	buf_fini(&key);
	load();
	ok(w.watched && !row_whole(copy_row(w.copy, NAME)), "large keys of nobody are passed: %" PRIu64 " ranges", w.asked);
	end();
}

static void test_head_damaged(void)
{
	struct buf key;

	begin();
	buf_init(&key, KEY_MAX);
	(void)key_head(&key, w.prefix, NAME);
	sim_map_put(&w.map, buf_slice(&key), MP_LIT("{\"format\":99}"), 0);
	buf_fini(&key);
	put_batch(NAME, 1, 1);
	load();
	ok(w.watched && !row_whole(copy_row(w.copy, NAME)), "a row whose head cannot be read is not taken for one that is not there");
	end();
}

/* ----------------------------------------------------------- tests: rows that are read again */

/* What the watch says of a key that is stored. */
static void tell(const struct buf *key)
{
	const struct engine_event event = { buf_slice(key), sim_map_get(&w.map, buf_slice(key), w.map.revision) };

	w.watch.events(w.watch.ctx, w.map.revision, &event, 1);
}

/* The copy has 10,000 cells and knows of HOT: it has asked for the next of them. */
static struct row *ask_for_more(void)
{
	const struct head next = { .incarnation = LIFE, .last = HOT, .floor = 1 };
	struct row *row;
	struct buf text;

	begin();
	put_row("r", 1, 10000, 1);
	load();
	row = copy_row(w.copy, NAME);
	put_head(NAME, &next);
	for (uint64_t seq = 10001; seq <= HOT; seq++)
		put_batch(NAME, seq, 1);
	(void)sim_map_end(&w.map);
	buf_init(&text, HEAD_SIZE_MAX);
	(void)head_write(&text, &next);
	copy_wrote(w.copy, row, buf_slice(&text), (struct mp_str){ 0 }, w.map.revision); /* the watch is late */
	buf_fini(&text);
	answer_some(1); /* the head */
	return row;
}

static void test_watch_overtakes(void)
{
	struct row *row = ask_for_more();
	struct buf key;

	buf_init(&key, KEY_MAX);
	for (uint64_t seq = 10001; seq <= 20000; seq++) {
		buf_reset(&key);
		(void)key_cells(&key, w.prefix, NAME, LIFE, seq);
		tell(&key);
	}
	buf_fini(&key);
	answer_some(1);
	ok(row->n_batches == 20000 && !row->reading, "cells that the watch brought meanwhile are not taken for missing");
	answer_all();
	ok(row_whole(row) && row->n_batches == HOT, "the others are read");
	end();
}

static void test_deleted_meanwhile(void)
{
	struct row *row = ask_for_more();
	struct buf key;

	put_head(NAME, &(struct head){ .incarnation = LIFE, .last = HOT, .floor = 1, .deleted = true });
	(void)sim_map_end(&w.map);
	buf_init(&key, KEY_MAX);
	(void)key_head(&key, w.prefix, NAME);
	tell(&key);
	buf_fini(&key);
	answer_all();
	ok(row_whole(row) && !row_exists(row) && !row->n_batches, "a row that is deleted meanwhile has no cells");
	end();
}

int main(void)
{
	test_many_rows();
	test_between();
	test_hot_row();
	test_large();
	test_order();
	test_holes();
	test_nobody();
	test_head_damaged();
	test_watch_overtakes();
	test_deleted_meanwhile();
	return done();
}
