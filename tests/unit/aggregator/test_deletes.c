/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What deleted rows leave behind (aggregator/rows/plan.c, plan_snapshot.c): nothing, in
 * the engine and in memory, whatever else is on the flight.
 */
#include "tests/unit/aggregator/checks_ask.h"

#define LONG_LAST UINT64_C(40000) /* cells of a row that goes in slices */

/* Keys of that kind that a row has in the engine. */
static int n_keys(const char *name, enum key_kind kind)
{
	const struct sim_map *map = sim_store_map(stand.store);
	int n = 0;

	for (size_t i = 0; i < map->n_keys; i++) {
		struct key key;

		n += sim_map_at(map, i, map->revision).ptr && !key_parse(map->keys[i].key, PREFIX, &key) &&
		     key.kind == kind && !strcmp(key.name, name);
	}
	return n;
}

static struct row *row_of(const char *name)
{
	return copy_row(stand.copy, slice_of(name));
}

/* The row has no slice left. */
static bool has_gone(void *ctx)
{
	const struct head *head = &((const struct row *)ctx)->head;

	return head->deleted && head->floor > head->last;
}

static void pass(uint64_t ns)
{
	uint64_t later = stand.sim.now_ns + ns;

	(void)until(is_later, &later);
}

/* The owner has just looked for chores. */
static bool has_looked(void *ctx)
{
	return stand.owner->chores_at > *(uint64_t *)ctx;
}

static void next_chores(void)
{
	uint64_t at = stand.owner->chores_at;

	(void)until(has_looked, &at);
}

/* Two rows with the check: `s`, which retention wants a snapshot of, and `r`, which has one. */
static void begin_two(void)
{
	struct asked a;

	begin();
	seen.padding = 150;
	ask(&a, "s", PUT_POLICIES, "count");
	a.put.policies.has_keep_cells = true;
	a.put.policies.keep_cells = 5;
	(void)answer_of(&a);
	(void)put(&a, "r", PUT_POLICIES, "count");
	put_many("r", 10);
	is_int(compact(&a, "r", 5), PUT_COMMITTED, "a row with a snapshot");
	is_int(n_keys("r", KEY_SNAPSHOT), 3, "in three parts");
}

/* Both are looked at in one round of chores. */
static void test_beside(void)
{
	struct asked a;

	begin_two();
	next_chores();
	put_many("s", 25);
	is_int(put(&a, "r", PUT_DELETE, ""), PUT_COMMITTED, "it is deleted");
	is_int(n_keys("s", KEY_SNAPSHOT), 0, "before another begins to store its own");
	ok(until(has_gone, row_of("r")), "its cells go");
	ok(n_keys("s", KEY_SNAPSHOT) > 0, "together with parts of the other's snapshot");
	is_int(n_keys("r", KEY_SNAPSHOT), 0, "and none of its own is left");
	is_int(n_keys("r", KEY_CELLS), 0, "nor cells");
	pass(5 * NS_PER_S);
	is_int((long)row_of("s")->head.snapshot, 25, "the other's is whole");
	end();
}

/* The row is made again before its cells went, while another stores its snapshot. */
static void test_again(void)
{
	struct asked a, b, c, d;

	begin_two();
	next_chores();
	put_many("s", 15);
	is_int(put(&a, "r", PUT_DELETE, ""), PUT_COMMITTED, "it is deleted");
	ask(&b, "s", PUT_FLOOR, "");
	b.put.floor = 10;
	ask(&c, "t", PUT_CELLS, "x");
	turn();
	ask(&d, "r", PUT_CELLS, "x");
	ok(answer_of(&c) == PUT_COMMITTED && answer_of(&d) == PUT_COMMITTED && !b.done, "and made again meanwhile");
	is_int(answer_of(&b), PUT_COMMITTED, "the other has its snapshot");
	is_int(n_keys("r", KEY_SNAPSHOT), 0, "no part is left of the first life's");
	is_int(n_keys("r", KEY_CELLS), 1, "and of its cells the new one");
	end();
}

/* A row that never had a cell, but part of a state. */
static void test_no_cells(void)
{
	static const char state[2000];
	struct asked a, b, c;

	begin();
	(void)put(&a, "r", PUT_POLICIES, "count");
	ask(&a, "r", PUT_STATE, "");
	a.put.state = slice_make(state, sizeof(state));
	a.put.state_seq = 7;
	while (n_stored() < 3)
		turn();
	is_int(put(&b, "r", PUT_DELETE, ""), PUT_COMMITTED, "a row is deleted while its state is stored");
	is_int(answer_of(&a), PUT_NOT_THERE, "who brought the state is told");
	is_int(n_stored(), 0, "its parts go at once");
	pass(5 * NS_PER_S);
	is_int(n_stored(), 0, "and none follows");
	(void)put(&a, "s", PUT_POLICIES, "count");
	put_many("s", 10);
	(void)put(&a, "r", PUT_POLICIES, "count");
	seen.padding = 1000;
	ask(&c, "s", PUT_FLOOR, "");
	c.put.floor = 10;
	while (!n_stored())
		turn();
	is_int(put(&b, "r", PUT_DELETE, ""), PUT_COMMITTED, "another, while a third row stores its snapshot");
	ok(!c.done, "which takes longer");
	is_int(answer_of(&c), PUT_COMMITTED, "which is stored");
	end();
}

/* ----------------------------------------------------------------------- slices */

static void test_long(void)
{
	struct asked a;

	begin();
	put_many("r", 30);
	row_drop(row_of("r"), 21); /* as if they had left the engine long ago */
	is_int(put(&a, "r", PUT_DELETE, ""), PUT_COMMITTED, "a row whose first cells went before");
	is_int((long)row_of("r")->head.floor, 21, "goes from the first that there is");
	ok(until(has_gone, row_of("r")), "to its end");
	is_int(n_keys("r", KEY_CELLS), 0, "and what was before that goes with it");
	put_many("s", 3);
	row_drop(row_of("s"), 4);
	is_int(put(&a, "s", PUT_DELETE, ""), PUT_COMMITTED, "one whose cells all went");
	ok(until(has_gone, row_of("s")) && !n_keys("s", KEY_CELLS), "goes, too");
	(void)put(&a, "t", PUT_POLICIES, "");
	is_int(put(&a, "t", PUT_DELETE, ""), PUT_COMMITTED, "and one that never had any");
	ok(has_gone(row_of("t")), "at once");
	end();
}

static void on_meddled(void *ctx, const struct engine_answer *answer)
{
	*(bool *)ctx = answer->outcome == ENGINE_COMMITTED;
}

/* The key gets that value behind the owner's back. */
static void store(const struct buf *key, struct mp_str value)
{
	struct engine_op op = { .kind = ENGINE_PUT, .key = buf_slice(key), .value = value };
	bool done = false;

	(void)stand.engine->ops->commit(stand.engine, &(struct engine_txn){ .ops = &op, .n_ops = 1 }, on_meddled, &done);
	(void)until(is_true, &done);
}

/* A tombstone as older programs wrote it, and batches of 10,000 cells. */
static void store_old(void)
{
	struct head head = { .incarnation = 5, .last = LONG_LAST, .floor = 1, .deleted = true, .check = "count", .rules = 1,
			     .snapshot = 7 };
	struct buf key, text;

	buf_init(&key, KEY_MAX);
	buf_init(&text, HEAD_SIZE_MAX);
	for (uint64_t seq = 1; seq < LONG_LAST; seq += 10000) {
		buf_reset(&key);
		(void)key_cells(&key, PREFIX, MP_LIT("r"), 5, seq);
		store(&key, MP_LIT("cells"));
	}
	buf_reset(&key);
	(void)key_snapshot(&key, PREFIX, MP_LIT("r"), 5, 7, 0);
	store(&key, MP_LIT("part"));
	buf_reset(&key);
	(void)key_head(&key, PREFIX, MP_LIT("r"));
	ok(head_write(&text, &head) == 0, "the tombstone of an older program");
	store(&key, buf_slice(&text));
	buf_fini(&key);
	buf_fini(&text);
}

static void test_old(void)
{
	begin();
	store_old();
	is_int(n_keys("r", KEY_CELLS), 4, "with all its cells");
	next_chores();
	pass(NS_PER_S);
	ok(n_keys("r", KEY_CELLS) == 2 && !has_gone(row_of("r")), "goes on in slices");
	is_int(n_keys("r", KEY_SNAPSHOT), 1, "its snapshot stays as long");
	own_anew();
	ok(until(has_gone, row_of("r")), "the next owner ends it");
	ok(!n_keys("r", KEY_CELLS) && !n_stored(), "then nothing is left");
	end();
}

/* ----------------------------------------------------------------------- memory */

/* How many rows the owner remembers. */
static int n_owned(void)
{
	int n = 0;

	LIST_FOR_EACH(link, &stand.owner->all)
		n++;
	return n;
}

static void test_memory(void)
{
	static const char large[200000];
	struct asked a;
	struct row *row;

	begin();
	stand.owner->limits.bytes = 1 << 20;
	(void)put(&a, "r", PUT_POLICIES, "count");
	ask(&a, "r", PUT_CELLS, "");
	a.content = slice_make(large, sizeof(large));
	is_int(answer_of(&a), PUT_COMMITTED, "a large cell");
	row = row_of("r");
	ok(row->owned->batch.cap <= 65536, "its memory is given back behind the flight");
	put_many("r", 3);
	ok(row->owned->batch.cap, "that of small ones waits for the next");
	next_chores();
	next_chores();
	ok(n_owned() == 1 && !row->owned->batch.cap && row->keys.slot, "for some seconds");
	is_int(put(&a, "r", PUT_DELETE, ""), PUT_COMMITTED, "the row is deleted");
	ok(until(has_gone, row), "and its cells go");
	next_chores();
	ok(!row->owned && !row->keys.slot && !row->check && !n_owned(), "then nothing of it is remembered");
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_COMMITTED, "it can be made again");
	end();
}

static void ask_keyed(struct asked *a, const char *row)
{
	ask(a, row, PUT_CELLS, "x");
	a->put.key = MP_LIT("key");
}

/* Shards that move away take along what was remembered of their rows. */
static void test_moved(void)
{
	struct asked a, b;
	struct base base;

	begin();
	put_many("r", 3);
	put_many("s", 3);
	ask_keyed(&a, "r");
	base = a.put.base;
	is_int(answer_of(&a), PUT_COMMITTED, "a put with a key");
	is_int(n_owned(), 2, "two rows");
	owner_want(stand.owner, 0, false);
	ask(&b, "s", PUT_CELLS, "x");
	b.put.deadline = stand.sim.now_ns + 50 * NS_PER_S;
	ok(until(lost_it, NULL), "their shard moves away");
	next_chores();
	next_chores();
	ok(b.done && !n_owned() && !row_of("r")->owned && !row_of("r")->keys.slot, "nothing is remembered of them");
	owner_want(stand.owner, 0, true);
	ok(until(follows_and_owns, NULL), "it comes back");
	ask_keyed(&b, "r");
	b.put.base = base;
	ok(answer_of(&b) == PUT_REPEATED && b.answer.seq == a.answer.seq, "and keys are found as before");
	end();
}

int main(void)
{
	test_beside();
	test_again();
	test_no_cells();
	test_long();
	test_old();
	test_memory();
	test_moved();
	return done();
}
