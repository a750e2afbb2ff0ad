/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy and its reader, over an engine whose every answer is written down here: what
 * comes between a question and its answer, damage in the first batch, more rows than a
 * transaction reads.  (Under chance: test_owner_sim.c.)
 */
#include "aggregator/rows/copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/reader.h"
#include "lib/clock.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"
#include "tests/unit/aggregator/copy_quiet.h"

#define ASKED_MAX 16
#define ITEMS_MAX 128
#define LIFE 7 /* incarnation of all rows */
#define MANY 100 /* rows that one transaction reads */
#define NAME MP_LIT("r")

/* A question that was not answered yet. */
struct asked {
	engine_done_fn *done; /* NULL: this place is free */
	void *ctx;
	bool txn;             /* or a range */
	char from[128];       /* key of the range, or the first read */
	size_t n_reads;
};

/* Keys and values that are told next. */
struct items {
	struct engine_item item[ITEMS_MAX];
	struct buf text[2 * ITEMS_MAX];
	size_t n;
};

static struct {
	struct engine engine;
	struct asked asked[ASKED_MAX];
	struct engine_watch watch;
	struct items items;
	struct copy *copy;
	struct reader *reader;
	uint64_t now;            /* ns */
	unsigned rows_told, owners_told;
	struct mp_str prefix;
	bool more;               /* of answers: the limit has cut them */
} w;

/* ---------------------------------------------------------------------- the engine */

static struct asked *ask(engine_done_fn *end_fn, void *ctx, struct mp_str from)
{
	struct asked *a = w.asked;

	while (a->done)
		a++;
	*a = (struct asked){ .done = end_fn, .ctx = ctx };
	(void)snprintf(a->from, sizeof(a->from), "%.*s", SLICE_ARG(from));
	return a;
}

static int on_commit(struct engine *engine, const struct engine_txn *txn, engine_done_fn *end_fn, void *ctx)
{
	struct asked *a = ask(end_fn, ctx, txn->reads[0]);

	(void)engine;
	a->txn = true;
	a->n_reads = txn->n_reads;
	return 0;
}

static int on_range(struct engine *engine, const struct engine_range *range, engine_done_fn *end_fn, void *ctx)
{
	(void)engine;
	(void)ask(end_fn, ctx, range->from);
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
	return 1;
}

static const struct engine_ops ops = { .name = "written", .commit = on_commit, .range = on_range, .watch = on_watch,
				       .unwatch = quiet_unwatch };

static size_t n_asked(void)
{
	size_t n = 0;

	for (size_t i = 0; i < ASKED_MAX; i++)
		n += w.asked[i].done != NULL;
	return n;
}

/* ------------------------------------------------------------------------- its words */

static void add(struct buf *key, struct buf *value)
{
	struct items *items = &w.items;

	items->text[2 * items->n] = *key;
	items->text[2 * items->n + 1] = *value;
	items->item[items->n++] = (struct engine_item){ buf_slice(key), buf_slice(value) };
}

static void add_head(struct mp_str name, uint64_t last, uint64_t floor)
{
	struct head head = { .incarnation = LIFE, .last = last, .floor = floor };
	struct buf key, value;

	buf_init(&key, KEY_MAX);
	buf_init(&value, HEAD_SIZE_MAX);
	(void)key_head(&key, w.prefix, name);
	(void)head_write(&value, &head);
	add(&key, &value);
}

/* A batch of n cells of NAME. */
static struct buf *add_batch(uint64_t first, uint32_t n)
{
	const struct batch_id id = { { 1 } };
	struct buf key, value;

	buf_init(&key, KEY_MAX);
	buf_init(&value, 1 << 16);
	(void)key_cells(&key, w.prefix, NAME, LIFE, first);
	(void)batch_begin(&value, &id, first);
	for (uint32_t i = 0; i < n; i++)
		(void)batch_add(&value, &(struct cell){ .kind = CELL_DATA, .key = MP_LIT("k"), .content = MP_LIT("c") });
	(void)batch_end(&value);
	add(&key, &value);
	return &w.items.text[2 * w.items.n - 1];
}

static void add_owner(uint32_t shard, const char *text)
{
	struct buf key, value;

	buf_init(&key, KEY_MAX);
	buf_init(&value, 64);
	(void)key_owner(&key, w.prefix, shard);
	(void)buf_add_str(&value, text);
	add(&key, &value);
}

static void said(void)
{
	for (size_t i = 0; i < 2 * w.items.n; i++)
		buf_fini(&w.items.text[i]);
	w.items.n = 0;
}

/* Answers the oldest question, with what was added. */
static void answer(uint64_t revision)
{
	const struct engine_answer answer = { .outcome = ENGINE_COMMITTED, .items = w.items.item, .n_items = w.items.n,
					      .revision = revision, .why = "", .more = w.more };
	struct asked a = w.asked[0];

	memmove(w.asked, w.asked + 1, sizeof(w.asked) - sizeof(w.asked[0]));
	w.asked[ASKED_MAX - 1] = (struct asked){ .done = NULL };
	if (a.done)
		a.done(a.ctx, &answer);
	said();
}

/* The watch tells what was added. */
static void tell(uint64_t revision)
{
	struct engine_event events[ITEMS_MAX];

	for (size_t i = 0; i < w.items.n; i++)
		events[i] = (struct engine_event){ w.items.item[i].key, w.items.item[i].value };
	w.watch.events(w.watch.ctx, revision, events, w.items.n);
	said();
}

/* ---------------------------------------------------------------------------- the copy */

static void on_row(void *ctx, struct row *row)
{
	(void)ctx;
	w.rows_told++;
	if (w.reader)
		reader_row_changed(w.reader, row);
}

static void on_owner(void *ctx, uint32_t shard)
{
	(void)ctx;
	(void)shard;
	w.owners_told++;
}

static const struct rows_host host = { quiet_clock, quiet_clock, quiet_clock, &w.now };

static void begin(size_t rows_max)
{
	const struct copy_options options = { .engine = &w.engine, .host = &host, .tenant = MP_LIT("t"), .n_shards = 4,
					      .rows_max = rows_max };
	const struct copy_calls calls = { quiet_loaded, on_row, on_owner, quiet_other, NULL };

	memset(&w, 0, sizeof(w));
	w.engine.ops = &ops;
	w.now = NS_PER_S;
	w.copy = copy_new(&options, &calls);
	w.reader = reader_new(&(struct reader_options){ .engine = &w.engine, .copy = w.copy, .host = &host });
	w.prefix = copy_prefix(w.copy);
	copy_start(w.copy);
}

static void end(void)
{
	reader_free(w.reader);
	copy_free(w.copy);
	while (n_asked())
		answer(1000);
}

/* What waits a while may go on. */
static void later(void)
{
	w.now += NS_PER_S / 2;
	(void)copy_wake(w.copy);
}

/* NAME has the cells 1 to 3. */
static struct row *load_three(void)
{
	begin(10);
	add_head(NAME, 3, 1);
	answer(5);
	(void)add_batch(1, 3);
	answer(5);
	return copy_row(w.copy, NAME);
}

/* ------------------------------------------------------------------------- tests: rows */

/* Between asking for all cells and the answer another cell comes. */
static void test_event_while_read_anew(void)
{
	struct row *row = load_three();

	ok(copy_follows(w.copy) && row_whole(row), "it was read");
	add_head(NAME, 9, 8); /* it was cut off for long: 4 to 7 are gone */
	(void)add_batch(9, 1);
	tell(20);
	ok(!row_whole(row) && n_asked() == 1, "a gap: it is read again");
	add_head(NAME, 9, 8);
	answer(20);
	(void)add_batch(8, 1); /* cells from 4 on begin with 8 */
	(void)add_batch(9, 1);
	answer(20);
	ok(!row_whole(row) && n_asked() == 1, "cells are missing for good: from the start");
	add_head(NAME, 10, 8);
	(void)add_batch(10, 1);
	tell(21);
	(void)add_batch(8, 1); /* as of revision 20 */
	(void)add_batch(9, 1);
	answer(20);
	is_int((long)row_first(row), 8, "it begins with what is stored, not with what came meanwhile");
	for (int i = 0; i < 3 && !row_whole(row); i++) {
		later();
		add_head(NAME, 10, 8);
		answer(21);
		(void)add_batch(10, 1);
		answer(21);
	}
	ok(row_whole(row) && row->applied == 10 && row_first(row) == 8, "then it has all");
	end();
}

static void test_first_damaged(void)
{
	struct row *row;

	begin(10);
	add_head(NAME, 4, 1);
	answer(5);
	add_batch(1, 2)->ptr[40] ^= 1;
	w.items.item[0].value = buf_slice(&w.items.text[1]);
	(void)add_batch(3, 2);
	answer(5);
	row = copy_row(w.copy, NAME);
	ok(!row_whole(row), "without its first cells a row is not whole");
	later();
	add_head(NAME, 4, 1);
	answer(5);
	(void)add_batch(1, 2); /* somebody has mended it */
	(void)add_batch(3, 2);
	answer(5);
	ok(row_whole(row) && row_first(row) == 1, "it is read again until it is");
	end();
}

static void add_head_damaged(void)
{
	struct buf key, value;

	buf_init(&key, KEY_MAX);
	buf_init(&value, 64);
	(void)key_head(&key, w.prefix, NAME);
	(void)buf_add_str(&value, "{\"format\":99}");
	add(&key, &value);
}

/* A head that cannot be read is no reason to serve what was there before. */
static void test_head_damaged(void)
{
	struct row *row = load_three();

	add_head_damaged();
	tell(6);
	ok(!row_whole(row) && n_asked() == 1, "a head of a newer format: it is read again");
	add_head_damaged();
	answer(6);
	ok(!row_whole(row), "and is not served as it was");
	end();
}

/* Nor when it comes while the row is read again, and what is read then agrees with the head before it. */
static void test_head_damaged_meanwhile(void)
{
	struct row *row = load_three();

	add_head(NAME, 4, 1); /* its cell is lost */
	tell(6);
	add_head(NAME, 4, 1);
	answer(6);
	is_int((long)n_asked(), 1, "the cell that is missing is asked for");
	add_head_damaged();
	tell(7);
	(void)add_batch(4, 1);
	answer(6);
	ok(row->applied == 4 && !row_whole(row), "the row is not served as it was before the damage");
	later();
	add_head_damaged();
	answer(7);
	ok(!row_whole(row), "nor later");
	later();
	add_head(NAME, 4, 1);
	answer(8);
	ok(row_whole(row), "until it was mended");
	end();
}

static void test_doubts(void)
{
	struct row *row = load_three();

	for (int i = 0; i < 5; i++)
		copy_doubt(w.copy, row);
	is_int((long)n_asked(), 1, "a row is read once at a time, doubt as you like");
	add_head(NAME, 3, 1);
	answer(6);
	ok(!row_whole(row), "what was doubted meanwhile is not believed");
	later();
	add_head(NAME, 3, 1);
	answer(6);
	ok(row_whole(row) && !n_asked(), "until it is read once more");
	end();
}

/* A second later the copy compares a page of heads, from there; another page follows it when `more`. */
static void compared(const char *from, uint64_t last, bool more, uint64_t revision)
{
	char want[128];

	w.now += NS_PER_S;
	(void)copy_wake(w.copy);
	(void)snprintf(want, sizeof(want), "%.*s%s", SLICE_ARG(w.prefix), from);
	ok(n_asked() == 1 && slice_starts(slice_of(w.asked[0].from), slice_of(want)), "heads are compared from %s on: %s", want,
	   w.asked[0].from);
	w.more = more;
	add_head(NAME, last, 1);
	answer(revision);
	w.more = false;
}

static void test_compare(void)
{
	struct row *row = load_three();
	struct copy_counts counts;

	compared("cells0", 3, true, 6);
	compared("row/r", 3, false, 6);
	compared("cells0", 4, true, 7);
	copy_count(w.copy, &counts);
	ok(row_whole(row) && !counts.lost, "a head that differs may be on its way");
	compared("cells0", 4, true, 8);
	copy_count(w.copy, &counts);
	ok(!row_whole(row) && counts.lost == 1, "a second later the watch has lost it");
	add_head(NAME, 4, 1);
	answer(8);
	(void)add_batch(4, 1);
	answer(8);
	ok(row_whole(row) && row->applied == 4, "and it is read");
	compared("row/r", 5, true, 9);
	compared("row/r", 6, true, 10);
	copy_count(w.copy, &counts);
	is_int((long)counts.lost, 2, "the same page is looked at twice");
	end();
}

static void test_owners(void)
{
	(void)load_three();
	add_owner(1, "one");
	add_owner(1, "two");
	w.owners_told = 0;
	tell(7);
	ok(w.owners_told == 1 && slice_eq(copy_owner(w.copy, 1), MP_LIT("two")), "owners are told of at the end: once");
	end();
}

/* ----------------------------------------------------------------------- tests: reader */

static char last_why[128];
static struct row *got[MANY + 1];
static unsigned n_got;

struct one {
	struct read read;
	char name[16];
	unsigned at; /* in got[] */
};

static void on_read(struct read *read, struct row *row, const char *why)
{
	struct one *one = (struct one *)read;

	got[one->at] = row;
	n_got++;
	(void)snprintf(last_why, sizeof(last_why), "%s", why);
}

static void read_one(struct one *one, unsigned at)
{
	one->at = at;
	(void)snprintf(one->name, sizeof(one->name), "r%03u", at);
	one->read = (struct read){ .name = slice_of(one->name), .deadline = UINT64_MAX, .done = on_read };
	reader_read(w.reader, &one->read);
}

static void add_heads(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "r%03u", i);
		add_head(slice_of(name), 0, 1);
	}
}

/* As many rows as a transaction reads, and one that nobody has heard of. */
static void test_more_than_fit(void)
{
	static struct one ones[MANY + 1];

	begin(MANY + 1);
	add_heads();
	answer(5);
	answer(5);
	n_got = 0;
	for (unsigned i = 0; i <= MANY; i++)
		read_one(&ones[i], i);
	(void)reader_wake(w.reader);
	is_int((long)w.asked[0].n_reads, MANY, "a transaction reads so many");
	add_heads();
	answer(5);
	is_int((long)n_got, MANY, "and answers those");
	w.now += NS_PER_S;
	(void)reader_wake(w.reader);
	answer(5);
	ok(n_got == MANY + 1 && got[MANY] && !row_exists(got[MANY]), "the last one is not there, and not taken for the first");
	end();
}

static void test_no_place(void)
{
	static struct one ones[2];

	begin(MANY);
	add_heads();
	answer(5);
	answer(5);
	n_got = 0;
	read_one(&ones[0], MANY);
	(void)reader_wake(w.reader);
	add_head(MP_LIT("r100"), 0, 1); /* another member has made it */
	answer(6);
	ok(n_got == 1 && !got[MANY], "a row that finds no place here is not said not to be there: %s", last_why);
	end();
}

/* The watch may be ahead of an answer that says that there is no such row. */
static void test_heard_of_meanwhile(void)
{
	static struct one one;

	begin(MANY);
	answer(5);
	answer(5);
	n_got = 0;
	read_one(&one, 0);
	(void)reader_wake(w.reader);
	add_head(MP_LIT("r000"), 0, 1);
	tell(7);
	answer(6);
	ok(n_got == 1 && got[0] && got[0] == copy_row(w.copy, MP_LIT("r000")) && row_exists(got[0]),
	   "a row that has come meanwhile is not said not to be there");
	end();
}

int main(void)
{
	test_event_while_read_anew();
	test_first_damaged();
	test_head_damaged();
	test_head_damaged_meanwhile();
	test_doubts();
	test_compare();
	test_owners();
	test_more_than_fit();
	test_no_place();
	test_heard_of_meanwhile();
	return done();
}
