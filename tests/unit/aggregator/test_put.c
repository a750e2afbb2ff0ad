/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a put meets at its row (aggregator/rows/put.h): every outcome that put_judge() can
 * have, in the order of rows.md 3.7; then the key window of rows.md 3.6 with the clock that
 * the caller gives, and once more through an owner in virtual time.
 */
#include "aggregator/rows/put.h"

#include "aggregator/rows/retain.h"
#include "tests/unit/aggregator/checks_stand.h"

#define LIFE UINT64_C(0xff)   /* incarnation of the rows below */
#define BEFORE UINT64_C(0xaa) /* of the tombstone that they took the place of, where they did */

/* -------------------------------------------------------------------------- rows */

struct row_is {
	uint64_t last, floor, before;
	bool deleted;
	const char *check;
};

/* The head of a row is that. */
static void set_head(struct row *row, const struct row_is *is)
{
	struct head head = { .incarnation = LIFE, .before = is->before, .last = is->last,
			     .floor = is->floor ? is->floor : 1, .deleted = is->deleted,
			     .rules = is->check ? 1 : 0 };
	struct err err = { 0 };
	struct buf text;

	buf_init(&text, HEAD_SIZE_MAX);
	snprintf(head.check, sizeof(head.check), "%s", is->check ? is->check : "");
	ok(head_write(&text, &head) == 0 && row_set_head(row, buf_slice(&text), &err) == 0, "a head %s", err.text);
	buf_fini(&text);
}

/* A batch of n cells "c0", "c1", ... from that seq on, all of one key. */
static void take(struct row *row, uint64_t first, uint32_t n, const char *key, uint64_t time_ms)
{
	struct batch_id id = { { 1 } };
	struct err err = { 0 };
	struct buf out;

	buf_init(&out, 1 << 20);
	batch_begin(&out, &id, first);
	for (uint32_t i = 0; i < n; i++) {
		char text[16];

		snprintf(text, sizeof(text), "c%" PRIu32, i);
		batch_add(&out, &(struct cell){ .kind = CELL_DATA, .key = slice_of(key), .time_ms = time_ms,
						.content = slice_of(text) });
	}
	batch_end(&out);
	if (row_take(row, buf_slice(&out), &err) != 0)
		ok(false, "a batch from %" PRIu64 ": %s", first, err.text);
	buf_fini(&out);
}

/* A row "r" with keys; NULL: there is none. */
static struct row *row_make(const struct row_is *is)
{
	struct row *row = row_new(MP_LIT("r"), 64);

	if (is)
		set_head(row, is);
	row_keep_keys(row);
	return row;
}

/* 1 to 3: key a; 4 and 5: key b, 6: without one. */
static struct row *row_six(uint64_t before)
{
	struct row *row = row_make(&(struct row_is){ .last = 6, .floor = 1, .before = before });

	take(row, 1, 3, "a", 0);
	take(row, 4, 2, "b", 0);
	take(row, 6, 1, "", 0);
	return row;
}

/* -------------------------------------------------------------------------- puts */

/* Of n cells, at most three, as take() makes them. */
static struct put cells(const char *key, size_t n, struct base base)
{
	static const struct mp_str content[] = { { "c0", 2 }, { "c1", 2 }, { "c2", 2 } };

	return (struct put){ .kind = PUT_CELLS, .row = MP_LIT("r"), .key = slice_of(key), .content = content,
			     .n = n, .cell_kind = CELL_DATA, .base = base };
}

static struct base seen_at(uint64_t seq)
{
	return (struct base){ BASE_SEEN, LIFE, seq };
}

static const struct base unknown = { .kind = BASE_UNKNOWN }, absent = { .kind = BASE_ABSENT },
			 deleted = { .kind = BASE_DELETED, .incarnation = BEFORE };

/* `why`: what the reason begins with; NULL: it is not looked at. */
static void judged(const struct put *put, const struct row *row, enum put_code want, const char *why, const char *name)
{
	struct put_answer got;
	enum put_code code = put_judge(put, row, &got);

	ok(code == want && got.code == want && got.why, "%s", name);
	if (code != want || got.code != want)
		note("got %d and %d, want %d: %s", code, got.code, want, got.why);
	if (why)
		ok(slice_starts(slice_of(got.why), slice_of(why)), "%s: it says \"%s\"", name, got.why);
}

static void cells_judged(const char *key, size_t n, struct base base, const struct row *row, enum put_code want,
			 const char *why, const char *name)
{
	struct put put = cells(key, n, base);

	judged(&put, row, want, why, name);
}

/* --------------------------------------------------------------------- its key */

static void test_retry(void)
{
	struct row *row = row_six(0);
	struct put put = cells("a", 3, seen_at(0)), other;
	struct mp_str changed[3];
	struct put_answer got;

	is_int(put_judge(&put, row, &got), PUT_REPEATED, "a retry is found");
	ok(got.seq == 1 && got.highest == 6 && got.floor == 1 && got.incarnation == LIFE && !got.why[0],
	   "with the first answer, and the row's figures");
	put = cells("b", 2, seen_at(3));
	is_int(put_judge(&put, row, &got), PUT_REPEATED, "behind its base");
	is_int((int64_t)got.seq, 4, "where its first cell is");
	cells_judged("b", 2, seen_at(4), row, PUT_COMMITTED, NULL, "not at or before its base");
	cells_judged("c", 1, seen_at(0), row, PUT_COMMITTED, NULL, "another key is new");
	cells_judged("", 1, seen_at(0), row, PUT_COMMITTED, NULL, "without a key nothing is found");
	cells_judged("a", 3, unknown, row, PUT_COMMITTED, NULL, "made now it was not there before");
	cells_judged("a", 3, absent, row, PUT_REPEATED, NULL, "made when there was no row");
	cells_judged("a", 2, seen_at(0), row, PUT_KEY_REUSED, "that idempotency key", "fewer cells under that key");
	cells_judged("b", 3, seen_at(0), row, PUT_KEY_REUSED, NULL, "more cells under that key");
	other = put = cells("a", 3, seen_at(0));
	memcpy(changed, put.content, sizeof(changed));
	changed[2] = MP_LIT("c3");
	other.content = changed;
	judged(&other, row, PUT_KEY_REUSED, NULL, "other bytes under that key");
	other = put;
	other.cell_kind = CELL_ADMIN;
	judged(&other, row, PUT_KEY_REUSED, NULL, "another kind under that key");
	other = put;
	other.has_if_match = true;
	judged(&other, row, PUT_REPEATED, NULL, "a retry is found before its If-Match is looked at");
	row_free(row);
}

/* ------------------------------------------------------------------ which life */

static void test_lives(void)
{
	struct row *none = row_make(NULL), *row = row_six(0), *again = row_six(BEFORE);
	struct row *gone = row_make(&(struct row_is){ .last = 6, .deleted = true });
	const struct base mine = { .kind = BASE_DELETED, .incarnation = LIFE };
	const struct base wrong = { BASE_SEEN, LIFE + 1, 0 };

	cells_judged("z", 1, absent, none, PUT_COMMITTED, NULL, "a first put makes the row");
	cells_judged("z", 1, unknown, none, PUT_COMMITTED, NULL, "so does one that nobody has stamped");
	cells_judged("z", 1, seen_at(0), none, PUT_GONE, "the row was deleted", "seen, and not there");
	cells_judged("z", 1, deleted, none, PUT_GONE, NULL, "a tombstone was seen, and is not there");
	cells_judged("z", 1, wrong, row, PUT_GONE, "the row was deleted", "another incarnation");
	cells_judged("", 1, wrong, row, PUT_GONE, NULL, "without a key, too");
	cells_judged("z", 1, seen_at(7), row, PUT_GONE, "cells that were seen are not there", "more than there is");
	cells_judged("", 1, seen_at(7), row, PUT_GONE, NULL, "likewise without a key");
	cells_judged("z", 1, seen_at(6), row, PUT_COMMITTED, NULL, "as much as there is");
	cells_judged("z", 1, deleted, row, PUT_GONE, NULL, "a row that was never deleted");
	cells_judged("z", 1, deleted, again, PUT_COMMITTED, NULL, "made again since: the tombstone is the one seen");
	cells_judged("a", 3, deleted, again, PUT_REPEATED, NULL, "it may have made the row");
	cells_judged("z", 1, absent, again, PUT_GONE, NULL, "there was no row, and it has been deleted since");
	cells_judged("z", 1, mine, gone, PUT_COMMITTED, NULL, "behind the tombstone that was seen");
	cells_judged("z", 1, deleted, gone, PUT_GONE, NULL, "behind another one");
	cells_judged("z", 1, absent, gone, PUT_GONE, NULL, "there was no row, now there is a tombstone");
	cells_judged("z", 1, seen_at(6), gone, PUT_GONE, NULL, "seen, and deleted");
	cells_judged("z", 1, unknown, gone, PUT_COMMITTED, NULL, "nobody said: the row is made again");
	ok(base_of(none).kind == BASE_ABSENT && base_of(gone).kind == BASE_DELETED && base_of(row).kind == BASE_SEEN &&
	   base_of(row).seq == 6 && base_of(row).incarnation == LIFE && base_of(gone).incarnation == LIFE,
	   "a put is stamped with the row as it is");
	row_free(none);
	row_free(row);
	row_free(again);
	row_free(gone);
}

/* ------------------------------------------------------------------ If-Match */

static void test_match(void)
{
	struct row *row = row_six(0), *none = row_make(NULL);
	struct put put = cells("z", 1, unknown);

	put.has_if_match = true;
	put.if_match = 6;
	judged(&put, row, PUT_COMMITTED, NULL, "If-Match of the highest seq");
	put.if_match = 5;
	judged(&put, row, PUT_PRECONDITION, "the highest seq", "of another");
	judged(&put, none, PUT_PRECONDITION, NULL, "of a row that is not there");
	put.if_match = 0;
	judged(&put, none, PUT_COMMITTED, NULL, "0: while there is no cell");
	judged(&put, row, PUT_PRECONDITION, NULL, "0, and there are some");
	put.base = seen_at(7);
	judged(&put, row, PUT_GONE, NULL, "the incarnation comes first");
	row_free(row);
	row_free(none);
}

/* ---------------------------------------------------------------- other kinds */

static struct put policy(const char *check)
{
	struct put put = { .kind = PUT_POLICIES, .row = MP_LIT("r"), .policies = { .has_check = check } };

	snprintf(put.policies.check, sizeof(put.policies.check), "%s", check ? check : "");
	return put;
}

static void test_policies(void)
{
	struct row *none = row_make(NULL), *row = row_six(0), *checked, *empty, *gone;
	struct put none_said = policy(NULL), sum = policy("sum"), unique = policy("unique"), away = policy("");

	empty = row_make(&(struct row_is){ .check = "unique" });
	gone = row_make(&(struct row_is){ .last = 6, .deleted = true });
	checked = row_make(&(struct row_is){ .last = 3, .floor = 1, .check = "unique" });
	take(checked, 1, 3, "a", 0);
	judged(&sum, none, PUT_COMMITTED, NULL, "policies make a row");
	judged(&sum, gone, PUT_COMMITTED, NULL, "also behind a tombstone");
	judged(&sum, empty, PUT_COMMITTED, NULL, "the check of a row without cells changes");
	judged(&none_said, row, PUT_COMMITTED, NULL, "what does not speak of a check is taken");
	judged(&away, row, PUT_COMMITTED, NULL, "none, and there is none");
	judged(&sum, row, PUT_REFUSED, "the check of a row that has cells", "a check where there are cells");
	judged(&unique, checked, PUT_COMMITTED, NULL, "the one that it has is set again");
	judged(&sum, checked, PUT_REFUSED, NULL, "another one is not");
	judged(&away, checked, PUT_REFUSED, NULL, "nor is it taken away");
	sum.has_if_match = true;
	sum.if_match = 1;
	judged(&sum, row, PUT_PRECONDITION, NULL, "If-Match comes first");
	row_free(none);
	row_free(row);
	row_free(checked);
	row_free(empty);
	row_free(gone);
}

static void test_floor(void)
{
	struct row *none = row_make(NULL), *row = row_make(&(struct row_is){ .last = 6, .floor = 3 });
	struct row *gone = row_make(&(struct row_is){ .last = 6, .deleted = true });
	struct put put = { .kind = PUT_FLOOR, .row = MP_LIT("r"), .floor = 7 };
	const struct put del = { .kind = PUT_DELETE, .row = MP_LIT("r") };
	struct put state = { .kind = PUT_STATE, .row = MP_LIT("r"), .state_seq = 1 };

	judged(&put, row, PUT_COMMITTED, NULL, "the floor goes behind the last cell");
	put.floor = 8;
	judged(&put, row, PUT_REFUSED, "the floor cannot be above", "and no further");
	put.floor = 4;
	judged(&put, row, PUT_COMMITTED, NULL, "it goes up");
	put.floor = 3;
	judged(&put, row, PUT_REPEATED, NULL, "where it is it stays");
	put.floor = 1;
	judged(&put, row, PUT_REPEATED, NULL, "and it never goes down");
	judged(&put, none, PUT_NOT_THERE, "no such row", "no row, no floor");
	judged(&put, gone, PUT_NOT_THERE, NULL, "nor that of a deleted one");
	judged(&del, row, PUT_COMMITTED, NULL, "a row is deleted");
	judged(&del, none, PUT_NOT_THERE, NULL, "one that is not there is not");
	judged(&del, gone, PUT_NOT_THERE, NULL, "nor twice");
	judged(&state, none, PUT_NOT_THERE, NULL, "a state wants its row");
	row_free(none);
	row_free(row);
	row_free(gone);
}

/* What is no put of cells is for one life of the row, when it says so. */
static void test_life(void)
{
	struct row *none = row_make(NULL), *row = row_six(0), *again = row_six(BEFORE);
	struct row *gone = row_make(&(struct row_is){ .last = 6, .deleted = true });
	const struct base other = { BASE_SEEN, LIFE + 1, 6 };
	static const enum put_kind kinds[] = { PUT_POLICIES, PUT_FLOOR, PUT_DELETE };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct put put = { .kind = kinds[i], .row = MP_LIT("r"), .floor = 2, .base = seen_at(2) };

		judged(&put, row, PUT_COMMITTED, NULL, "the life that was seen");
		judged(&put, gone, PUT_GONE, "the row was deleted", "it was deleted since");
		judged(&put, none, PUT_GONE, NULL, "it is not there at all");
		put.base = other;
		judged(&put, row, PUT_GONE, "the row was deleted", "another life");
		put.base = absent;
		judged(&put, again, PUT_GONE, NULL, "there was no row, and this is its second life");
		put.base = deleted;
		judged(&put, again, PUT_COMMITTED, NULL, "made again since");
	}
	row_free(none);
	row_free(row);
	row_free(again);
	row_free(gone);
}

/* ------------------------------------------------------------- the key window */

#define BATCH 1024                        /* cells */
#define KEPT (KEPT_CELLS / BATCH)         /* batches whose keys are kept, however old */
#define BATCHES (KEPT + 66)               /* so that a trim is worth its while for those before them: retain.c */
#define BEGAN UINT64_C(1795000000000)     /* ms */

/* The owner's chores at that time: what may go goes. */
static void chores(struct row *row, uint64_t now_ms)
{
	struct head next = row->head;
	uint64_t to;

	retain_floor(&next);
	to = retain(row, &next, now_ms);
	if (to)
		row_drop(row, to);
}

/* A row of so many batches, all put at BEGAN, of which only the last may be read. */
static struct row *row_long(uint32_t batches)
{
	const uint64_t last = (uint64_t)batches * BATCH;
	struct row *row = row_make(&(struct row_is){ .last = last, .floor = last - BATCH + 1 });
	char key[16];

	for (uint32_t i = 0; i < batches; i++) {
		snprintf(key, sizeof(key), "b%" PRIu32, i);
		take(row, 1 + (uint64_t)i * BATCH, i ? BATCH : 3, key, BEGAN);
		if (!i) /* so that three contents are the whole put */
			take(row, 4, BATCH - 3, "rest", BEGAN);
	}
	return row;
}

static void test_window(void)
{
	struct row *row = row_long(BATCHES), *few = row_long(KEPT);
	char kept[16];

	chores(few, BEGAN + 100 * KEPT_MS);
	cells_judged("b0", 3, seen_at(0), few, PUT_REPEATED, NULL, "keys of the last 65,536 cells are kept, however old");
	chores(row, BEGAN + KEPT_MS - 1);
	cells_judged("b0", 3, seen_at(0), row, PUT_REPEATED, NULL, "ten minutes, however many have come since");
	cells_judged("b0", 3, absent, row, PUT_REPEATED, NULL, "also when there was no row");
	chores(row, BEGAN + KEPT_MS);
	is_int((int64_t)row_first(row), (BATCHES - KEPT) * BATCH + 1, "then all but 65,536 cells go");
	cells_judged("b0", 3, seen_at(0), row, PUT_GONE, "too old", "and whether it was put cannot be known");
	cells_judged("b0", 3, absent, row, PUT_GONE, "too old", "nor when there was no row");
	snprintf(kept, sizeof(kept), "b%d", BATCHES - 1);
	cells_judged(kept, 3, seen_at(0), row, PUT_KEY_REUSED, NULL, "a key that is kept is found behind any base");
	cells_judged("new", 1, seen_at(0), row, PUT_GONE, "too old", "nor that of a key that never was there");
	cells_judged("new", 1, seen_at(row_first(row) - 2), row, PUT_GONE, "too old", "a base just before the keys");
	cells_judged("new", 1, seen_at(row_first(row) - 1), row, PUT_COMMITTED, NULL, "and one that reaches them");
	cells_judged("", 1, seen_at(0), row, PUT_COMMITTED, NULL, "without a key nothing has to be known");
	cells_judged("b0", 3, unknown, row, PUT_COMMITTED, NULL, "nor of what was never put before");
	row_free(few);
	row_free(row);
}

/* ------------------------------------------------------- the same of an owner */


static struct asked {
	struct put put; /* first */
	struct mp_str content[BATCH];
	struct put_answer answer;
	char why[128];
	bool done;
} asked;

static void on_asked(struct put *put, const struct put_answer *answer)
{
	struct asked *a = (struct asked *)(void *)put;

	a->answer = *answer;
	snprintf(a->why, sizeof(a->why), "%s", answer->why);
	a->done = true;
}

/* What the owner answers to n cells under that key. */
static enum put_code owner_says(const char *key, size_t n, struct base base)
{
	asked.put = (struct put){ .kind = PUT_CELLS, .row = MP_LIT("r"), .key = slice_of(key), .content = asked.content,
				  .n = n, .cell_kind = CELL_DATA, .base = base, .done = on_asked,
				  .deadline = stand.sim.now_ns + 5 * NS_PER_S };
	asked.done = false;
	for (size_t i = 0; i < n; i++)
		asked.content[i] = MP_LIT("x");
	owner_put(stand.owner, &asked.put);
	(void)until(is_true, &asked.done);
	return asked.done ? asked.answer.code : PUT_LATER;
}

static enum put_code owner_keeps(uint64_t cells)
{
	asked.put = (struct put){ .kind = PUT_POLICIES, .row = MP_LIT("r"), .done = on_asked,
				  .deadline = stand.sim.now_ns + 5 * NS_PER_S };
	asked.put.policies.has_keep_cells = true;
	asked.put.policies.keep_cells = cells;
	asked.done = false;
	owner_put(stand.owner, &asked.put);
	(void)until(is_true, &asked.done);
	return asked.done ? asked.answer.code : PUT_LATER;
}

static bool has_let_go(void *ctx)
{
	(void)ctx;
	return row_first(copy_row(stand.copy, MP_LIT("r"))) > 1;
}

/* So long nothing is asked of it: its loop turns when something is due. */
static void pass(uint64_t ns)
{
	uint64_t end_ns = stand.sim.now_ns + ns;

	while (stand.sim.now_ns < end_ns) {
		(void)sim_after(&stand.sim, NULL, NS_PER_S, nothing, NULL);
		while (stand.sim.now_ns < end_ns && sim_step(&stand.sim) && stand.sim.now_ns < stand.next)
			;
		turn();
	}
}

static void test_owner(void)
{
	int n = 0, good = 0;
	struct base base;

	begin();
	ok(owner_says("first", 3, absent) == PUT_COMMITTED && owner_keeps(10) == PUT_COMMITTED,
	   "a put, and a row that keeps ten cells");
	base = (struct base){ BASE_SEEN, asked.answer.incarnation, 3 };
	for (; n < BATCHES; n++) {
		char key[16];

		snprintf(key, sizeof(key), "k%d", n);
		good += owner_says(key, BATCH, unknown) == PUT_COMMITTED;
	}
	is_int(good, n, "more than 65,536 cells come behind it");
	ok(owner_says("first", 3, absent) == PUT_REPEATED && asked.answer.seq == 1 && asked.answer.floor > 3,
	   "its retry is found, though it is below the floor");
	pass((KEPT_MS - 5000) * NS_PER_MS);
	is_int(owner_says("first", 3, absent), PUT_REPEATED, "nearly ten minutes later, too");
	pass(10 * NS_PER_S);
	ok(owner_says("more", 1, unknown) == PUT_COMMITTED && until(has_let_go, NULL), "ten minutes later its batch goes");
	ok(owner_says("first", 3, absent) == PUT_GONE && strstr(asked.why, "too old"), "and its retry is answered 410: %s",
	   asked.why);
	ok(owner_says("never", 1, base) == PUT_GONE && strstr(asked.why, "too old"), "as is any put from then");
	is_int(owner_says("fresh", 1, unknown), PUT_COMMITTED, "who puts for the first time is not told so");
	end();
}

int main(void)
{
	test_retry();
	test_lives();
	test_match();
	test_policies();
	test_floor();
	test_life();
	test_window();
	test_owner();
	return done();
}
