/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aggregator/rows/checks.c and plan_snapshot.c without faults: what the half is
 * asked, how an instance is made, what is stored of it.  One member over the
 * simulated engine, and a half that counts.
 */
#include "tests/unit/aggregator/checks_ask.h"

/* ------------------------------------------------------------------------ tests */

static void test_asked(void)
{
	struct asked a, b, c, d;
	struct cell cell;

	begin();
	is_int(put(&a, "r", PUT_POLICIES, "nope"), PUT_REFUSED, "a check that there is not");
	is_str(a.why, "neither the row's owner nor a member that it knows has such a check", "is refused");
	is_int(put(&a, "r", PUT_POLICIES, "count"), PUT_COMMITTED, "one that there is");
	is_int(seen.made, 0, "no instance is made before it is asked for");
	ask(&a, "r", PUT_CELLS, "one");
	turn();
	ask(&b, "r", PUT_CELLS, "two");
	ask(&c, "r", PUT_CELLS, "three");
	ask(&d, "r", PUT_CELLS, "no");
	ok(answer_of(&a) == PUT_COMMITTED && answer_of(&b) == PUT_COMMITTED && answer_of(&c) == PUT_COMMITTED,
	   "three puts");
	is_int(answer_of(&d), PUT_REFUSED, "and one that is refused");
	is_str(d.why, "behind 3 and 0", "by what is committed, not by what may fail");
	ok(seen.same_again, "pending cells keep their numbers");
	ok(a.put.id && a.put.id < b.put.id && b.put.id < c.put.id && c.put.id < d.put.id, "which all differ");
	ok(row_cell(copy_row(stand.copy, MP_LIT("r")), 3, &cell) && cell.time_ms == c.put.time_ms &&
	   seen.time_ms == c.put.time_ms, "a cell is stored with the time that was checked");
	is_int(seen.applied, 3, "each cell is taken in once");
	end();
}

/* The same put judged again is the same cell. */
static void test_later(void)
{
	struct asked a, b;

	begin();
	(void)put(&a, "r", PUT_POLICIES, "count");
	put_many("r", 1);
	engine_sim_script(stand.engine, SIM_REQUEST_LOST, 1);
	ask(&a, "r", PUT_CELLS, "a");
	ask(&b, "r", PUT_CELLS, "b");
	is_int(answer_of(&a), PUT_COMMITTED, "a put whose first flight failed");
	is_int(answer_of(&b), PUT_COMMITTED, "and the one behind it");
	ok(seen.same_again && seen.id == b.put.id, "are asked about by the same numbers");
	end();
}

static void test_slices(void)
{
	struct asked a, b;
	int most = 0, before;
	bool first = false;

	begin();
	(void)put(&a, "r", PUT_POLICIES, "count");
	put_many("r", 95);
	own_anew();
	seen.applied = 0;
	ask(&a, "r", PUT_CELLS, "late");
	ask(&b, "other", PUT_CELLS, "x");
	while (!a.done && seen.applied < 200) {
		before = seen.applied;
		turn();
		if (seen.applied - before > most)
			most = seen.applied - before;
		first = first || (b.done && !a.done);
	}
	is_int(a.answer.code, PUT_COMMITTED, "a put waits until the instance is made");
	ok(most <= 2 * SLICE, "at most %d cells are taken in at a time", most);
	ok(first && b.answer.code == PUT_COMMITTED, "while those of other rows go on");
	is_int(a.answer.seq, 96, "it is behind all");
	end();
}

static void test_memory(void)
{
	struct asked a;

	begin();
	(void)put(&a, "r", PUT_POLICIES, "count");
	put_many("r", 5);
	seen.no_memory = 1;
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_UNAVAILABLE, "without memory: 503");
	is_int(put(&a, "r", PUT_CELLS, "no"), PUT_REFUSED, "then it is made again");
	is_str(a.why, "behind 5 and 0", "from all cells");
	is_int(seen.made, 2, "as a second instance");
	end();
}

static void test_rules(void)
{
	struct asked a;

	begin();
	(void)put(&a, "r", PUT_POLICIES, "count");
	put_many("r", 2);
	count.rules = 2;
	own_anew();
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_UNAVAILABLE, "a member with other rules");
	is_str(a.why, "the row goes by other rules of its check than this member has", "says so");
	is_int(put(&a, "r", PUT_POLICIES, "count"), PUT_COMMITTED, "until an admin sets the check again");
	is_int((long)copy_row(stand.copy, MP_LIT("r"))->head.rules, 2, "with its rules");
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_COMMITTED, "then it serves");
	is_int(put(&a, "r", PUT_POLICIES, ""), PUT_REFUSED, "a check cannot be taken away from cells");
	end();
}

static void test_snapshot(void)
{
	struct asked a;
	struct row *row;

	begin();
	seen.padding = 150;
	(void)put(&a, "r", PUT_POLICIES, "count");
	put_many("r", 10);
	is_int(compact(&a, "r", 5), PUT_COMMITTED, "the floor is moved");
	row = copy_row(stand.copy, MP_LIT("r"));
	ok(row->head.floor == 5 && row->head.snapshot == 10, "on a snapshot of all");
	is_int(n_stored(), 3, "in three parts");
	put_many("r", 3);
	is_int(compact(&a, "r", 14), PUT_COMMITTED, "up to the end");
	ok(row->head.floor == 14 && row->head.snapshot == 13, "on another");
	is_int(n_stored(), 3, "in whose place the first has gone");
	is_int(compact(&a, "r", 15), PUT_REFUSED, "not further");
	own_anew();
	seen.applied = 0;
	put_many("r", 1);
	is_int(put(&a, "r", PUT_CELLS, "no"), PUT_REFUSED, "an instance from the snapshot");
	is_str(a.why, "behind 14 and 0", "counts on");
	ok(seen.restored == 1 && seen.applied == 1, "with the cells behind it alone");
	end();
}

static void test_retention(void)
{
	struct asked a;
	uint64_t later;
	struct row *row;

	begin();
	ask(&a, "r", PUT_POLICIES, "count");
	a.put.policies.has_keep_cells = true;
	a.put.policies.keep_cells = 5;
	(void)answer_of(&a);
	put_many("r", 15);
	row = copy_row(stand.copy, MP_LIT("r"));
	later = stand.sim.now_ns + 10 * NS_PER_S;
	(void)until(is_later, &later);
	ok(!row->head.snapshot && row->head.floor == 1, "15 cells are not worth a snapshot");
	put_many("r", 10);
	later = stand.sim.now_ns + 10 * NS_PER_S;
	(void)until(is_later, &later);
	ok(row->head.snapshot == 25 && row->head.floor == 21, "25 are: the floor is %" PRIu64, row->head.floor);
	put_many("r", 1);
	is_int((long)row->head.floor, 22, "and follows up to it");
	is_int(put(&a, "r", PUT_DELETE, ""), PUT_COMMITTED, "the row is deleted");
	ok(until(no_more_stored, NULL), "and its snapshot goes");
	end();
}

/* What is larger than a snapshot may be is told so, and not tried all the time. */
static void test_large(void)
{
	struct asked a;
	uint64_t later;
	struct row *row;

	begin();
	seen.padding = SNAPSHOT_SIZE_MAX - 7;
	ask(&a, "r", PUT_POLICIES, "count");
	a.put.policies.has_keep_cells = true;
	a.put.policies.keep_cells = 5;
	(void)answer_of(&a);
	put_many("r", 30);
	later = stand.sim.now_ns + 10 * NS_PER_S;
	(void)until(is_later, &later);
	row = copy_row(stand.copy, MP_LIT("r"));
	ok(!row->head.snapshot && row->head.floor == 1, "one byte too many: the floor stays");
	is_int(seen.snapshots, 1, "and it is tried once in that time");
	is_int(compact(&a, "r", 9), PUT_FULL, "who wants the floor to move");
	is_str(a.why, "the floor rests on a state of the row's check, which may have 8388608 bytes", "is told why it does not");
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_COMMITTED, "puts go on");
	seen.padding = 100;
	ok(row->check->large_until > stand.sim.now_ns + 30 * NS_PER_S, "the next time is in a minute");
	row->check->large_until = 0; /* as if it were over */
	later = stand.sim.now_ns + 5 * NS_PER_S;
	(void)until(is_later, &later);
	ok(row->head.snapshot == 31 && row->head.floor == 27, "one that has become smaller is stored, a minute later");
	end();
}

static void ask_dry(struct asked *a, const char *row, const char *content)
{
	ask(a, row, PUT_CELLS, content);
	a->put.dry = true;
}

/* What is only judged is judged as it would be put, and leaves nothing behind. */
static void test_dry(void)
{
	struct asked a, b, c;
	struct owner_counts before, now;

	begin();
	ask_dry(&a, "none", "x");
	is_int(answer_of(&a), PUT_REPEATED, "it would be put into a row that is not there");
	ok(a.answer.seq == 1 && !copy_row(stand.copy, MP_LIT("none"))->head_text, "as its first cell, and makes none");
	(void)put(&a, "r", PUT_POLICIES, "count");
	put_many("r", 3);
	owner_count(stand.owner, &before);
	ask_dry(&a, "r", "x");
	is_int(answer_of(&a), PUT_REPEATED, "it would be put");
	ok(a.answer.seq == 4 && a.answer.highest == 3, "as the next cell");
	ask_dry(&a, "r", "no");
	is_int(answer_of(&a), PUT_REFUSED, "it would be refused");
	is_str(a.why, "behind 3 and 0", "with the reason");
	ask_dry(&a, "r", "x");
	a.put.has_if_match = true;
	a.put.if_match = 2;
	is_int(answer_of(&a), PUT_PRECONDITION, "or would not fit");
	owner_count(stand.owner, &now);
	ok(now.dry == before.dry + 3 && now.cells == before.cells && !owner_refusals(stand.owner)->n &&
		   now.put[PUT_REFUSED] == before.put[PUT_REFUSED], "it is counted as what it is");
	ask(&a, "r", PUT_CELLS, "one");
	ask_dry(&b, "r", "x");
	ask(&c, "r", PUT_CELLS, "two");
	ok(answer_of(&b) == PUT_REPEATED && b.answer.seq == 5 && answer_of(&a) == PUT_COMMITTED &&
		   answer_of(&c) == PUT_COMMITTED && c.answer.seq == 5, "behind what is pending, which goes on without it");
	is_int((long)copy_row(stand.copy, MP_LIT("r"))->head.last, 5, "nothing else was stored");
	end();
}

static enum put_code give(struct asked *a, const char *row, uint64_t n, uint64_t seq)
{
	char state[200] = { 0 };

	memcpy(state, &n, sizeof(n));
	ask(a, row, PUT_STATE, "");
	a->put.state = slice_make(state, sizeof(state));
	a->put.state_seq = seq;
	return answer_of(a);
}

/* A row begins behind a state from elsewhere. */
static void test_given(void)
{
	struct asked a, b, c;
	const struct head *head;

	begin();
	is_int(give(&a, "r", 40, 40), PUT_NOT_THERE, "a state for no row");
	(void)put(&a, "plain", PUT_POLICIES, "");
	is_int(give(&a, "plain", 40, 40), PUT_REFUSED, "for one without a check");
	(void)put(&a, "r", PUT_POLICIES, "count");
	is_int(give(&a, "r", 40, 40), PUT_COMMITTED, "for one with a check and no cells");
	head = &copy_row(stand.copy, MP_LIT("r"))->head;
	ok(head->last == 40 && head->floor == 41 && head->snapshot == 40, "it begins behind that");
	is_int(n_stored(), 3, "the snapshot is there, in three parts");
	is_int(put(&a, "r", PUT_CELLS, "no"), PUT_REFUSED, "its check goes on from there");
	is_str(a.why, "behind 40 and 0", "from that state");
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_COMMITTED, "a cell is put");
	is_int((long)a.answer.seq, 41, "at the next seq");
	is_int(give(&a, "r", 50, 50), PUT_REFUSED, "a second state is refused");
	own_anew();
	is_int(put(&a, "r", PUT_CELLS, "no"), PUT_REFUSED, "whoever owns it next");
	is_str(a.why, "behind 41 and 0", "goes on from there, too");
	(void)put(&a, "s", PUT_POLICIES, "count");
	ask(&b, "s", PUT_STATE, "");
	b.put.state = MP_LIT("12345678");
	b.put.state_seq = 9;
	ask(&c, "s", PUT_CELLS, "x");
	ok(answer_of(&b) == PUT_REFUSED && answer_of(&c) == PUT_COMMITTED && c.answer.seq == 1,
	   "a cell that comes while it is stored was first");
	is_int(copy_row(stand.copy, MP_LIT("s"))->head.snapshot, 0, "and there is no snapshot");
	end();
}

static bool has_cells(void *ctx)
{
	return ((const struct row *)ctx)->head.last;
}

/* One that takes longer to store than its put may take. */
static void test_given_late(void)
{
	static const char state[2000] = { 9 };
	struct asked a;

	begin();
	(void)put(&a, "r", PUT_POLICIES, "count");
	ask(&a, "r", PUT_STATE, "");
	a.put.state = slice_make(state, sizeof(state));
	a.put.state_seq = 9;
	a.put.deadline = stand.sim.now_ns; /* it has waited elsewhere */
	is_int(answer_of(&a), PUT_UNAVAILABLE, "nothing was done: 503");
	is_int(n_stored(), 0, "which is true");
	ask(&a, "r", PUT_STATE, "");
	a.put.state = slice_make(state, sizeof(state));
	a.put.state_seq = 9;
	a.put.deadline = stand.sim.now_ns + 20 * NS_PER_MS;
	is_int(answer_of(&a), PUT_UNKNOWN, "some parts are stored: 504");
	ok(n_stored() > 0 && n_stored() < 20, "%d of some twenty", n_stored());
	ok(until(has_cells, copy_row(stand.copy, MP_LIT("r"))), "and the others follow");
	ask(&a, "r", PUT_CELLS, "no");
	is_int(answer_of(&a), PUT_REFUSED, "the row begins behind it");
	is_str(a.why, "behind 9 and 0", "as if it had been answered");
	end();
}

/* A check that another member has: it may be set, and puts wait for the shard to move. */
static void test_elsewhere(void)
{
	struct asked a;
	uint64_t asked_at;

	begin();
	seen.others = 7;
	is_int(put(&a, "r", PUT_POLICIES, "other"), PUT_COMMITTED, "a check that another member has");
	is_int((long)copy_row(stand.copy, MP_LIT("r"))->head.rules, 7, "goes by its rules");
	asked_at = stand.sim.now_ns;
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_UNAVAILABLE, "the shard does not move");
	ok(stand.sim.now_ns - asked_at >= NS_PER_S, "the put has waited for that");
	seen.others = 8;
	asked_at = stand.sim.now_ns;
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_UNAVAILABLE, "by other rules nobody can judge");
	ok(stand.sim.now_ns - asked_at < NS_PER_S, "which is told at once");
	is_str(a.why, "this member has not the row's check", "with the reason");
	end();
}

static void on_meddled(void *ctx, const struct engine_answer *answer)
{
	*(bool *)ctx = answer->outcome == ENGINE_COMMITTED;
}

static void test_damage(void)
{
	struct asked a;
	struct row *row;
	struct buf key;
	bool done = false;
	struct engine_op op = { .kind = ENGINE_PUT, .value = MP_LIT("no part of a snapshot") };

	begin();
	(void)put(&a, "r", PUT_POLICIES, "count");
	put_many("r", 10);
	is_int(compact(&a, "r", 2), PUT_COMMITTED, "a snapshot, and all cells are still held");
	row = copy_row(stand.copy, MP_LIT("r"));
	buf_init(&key, KEY_MAX);
	(void)key_snapshot(&key, PREFIX, row_name(row), row->head.incarnation, 10, 0);
	op.key = buf_slice(&key);
	(void)stand.engine->ops->commit(stand.engine, &(struct engine_txn){ .ops = &op, .n_ops = 1 }, on_meddled, &done);
	(void)until(is_true, &done);
	own_anew();
	is_int(put(&a, "r", PUT_CELLS, "no"), PUT_REFUSED, "a damaged snapshot: the cells will do");
	is_str(a.why, "behind 10 and 0", "from the first");
	is_int(seen.restored, 0, "nothing was restored");
	row_drop(row, 9); /* as if they had left the engine, too */
	own_anew();
	is_int(put(&a, "r", PUT_CELLS, "x"), PUT_UNAVAILABLE, "without them: 503");
	buf_fini(&key);
	end();
}

int main(void)
{
	test_asked();
	test_later();
	test_slices();
	test_memory();
	test_rules();
	test_snapshot();
	test_retention();
	test_large();
	test_given();
	test_given_late();
	test_dry();
	test_elsewhere();
	test_damage();
	return done();
}
