/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promises of aggregator/rows/engine.h, checked on any engine: the
 * conformance suite.  A test binary opens an empty engine and runs suite_run();
 * what only that engine can do it tests itself, with the helpers below.
 */
#ifndef TESTS_UNIT_AGGREGATOR_ENGINE_SUITE_H
#define TESTS_UNIT_AGGREGATOR_ENGINE_SUITE_H

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "aggregator/rows/engine.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

#define SUITE_ITEMS 16

/* A copy of the last answer. */
struct suite_answer {
	enum engine_outcome outcome;
	int calls;                       /* of done() */
	size_t n;                        /* items */
	char key[SUITE_ITEMS][32];
	char value[SUITE_ITEMS][32];
	bool more;
	uint64_t revision;
	char why[200];
};

/* What a watch was told, as text: "+key=value", "-key", "|" behind each call, "!" at the end. */
struct suite_watch {
	char text[2048];
	uint64_t revision;
	uint64_t compacted;
};

static uv_loop_t suite_loop;
static struct engine *suite_engine;

static inline void suite_copy(char to[32], struct mp_str from)
{
	(void)snprintf(to, 32, "%.*s", SLICE_ARG(from));
}

static inline void suite_done(void *ctx, const struct engine_answer *answer)
{
	struct suite_answer *to = ctx;

	to->outcome = answer->outcome;
	to->n = answer->n_items;
	to->more = answer->more;
	to->revision = answer->revision;
	(void)snprintf(to->why, sizeof(to->why), "%s", answer->why ? answer->why : "");
	for (size_t i = 0; i < answer->n_items && i < SUITE_ITEMS; i++) {
		suite_copy(to->key[i], answer->items[i].key);
		suite_copy(to->value[i], answer->items[i].value);
	}
	to->calls++;
}

static inline void suite_events(void *ctx, uint64_t revision, const struct engine_event *events, size_t n)
{
	struct suite_watch *to = ctx;

	for (size_t i = 0; i < n; i++) {
		size_t at = strlen(to->text);

		if (events[i].value.ptr)
			(void)snprintf(to->text + at, sizeof(to->text) - at, "+%.*s=%.*s",
				       SLICE_ARG(events[i].key), SLICE_ARG(events[i].value));
		else
			(void)snprintf(to->text + at, sizeof(to->text) - at, "-%.*s",
				       SLICE_ARG(events[i].key));
	}
	strncat(to->text, "|", sizeof(to->text) - strlen(to->text) - 1);
	to->revision = revision;
}

static inline void suite_ended(void *ctx, uint64_t compacted, const char *why)
{
	struct suite_watch *to = ctx;

	(void)why;
	strncat(to->text, "!", sizeof(to->text) - strlen(to->text) - 1);
	to->compacted = compacted;
}

static inline void suite_turn(void)
{
	uv_run(&suite_loop, UV_RUN_DEFAULT);
}

/* Waits for the answer of a transaction. */
static inline struct suite_answer suite_commit(const struct engine_txn *txn)
{
	struct suite_answer answer = { 0 };
	int r = suite_engine->ops->commit(suite_engine, txn, suite_done, &answer);

	if (r || answer.calls)
		ok(false, "commit() said %d and answered %d times from within", r, answer.calls);
	suite_turn();
	if (answer.calls != 1)
		ok(false, "one answer, not %d", answer.calls);
	return answer;
}

static inline struct suite_answer suite_range(const struct engine_range *range)
{
	struct suite_answer answer = { 0 };
	int r = suite_engine->ops->range(suite_engine, range, suite_done, &answer);

	if (r || answer.calls)
		ok(false, "range() said %d and answered %d times from within", r, answer.calls);
	suite_turn();
	if (answer.calls != 1)
		ok(false, "one answer, not %d", answer.calls);
	return answer;
}

static inline struct suite_answer suite_put(const char *key, const char *value)
{
	const struct engine_op op = { ENGINE_PUT, slice_of(key), slice_of(value), false };

	return suite_commit(&(struct engine_txn){ .ops = &op, .n_ops = 1 });
}

static inline struct suite_answer suite_get(const char *key)
{
	return suite_range(&(struct engine_range){ .from = slice_of(key) });
}

static inline void suite_is(const char *key, const char *value, const char *name)
{
	struct suite_answer answer = suite_get(key);

	is_int((int)answer.outcome, ENGINE_COMMITTED, "%s: read: %s", name, answer.why);
	if (value)
		is_str(answer.n == 1 ? answer.value[0] : "(nothing)", value, "%s", name);
	else
		is_int((long)answer.n, 0, "%s", name);
}

/* -------------------------------------------------------------------- the suite */

static inline void suite_transactions(void)
{
	const struct engine_compare fresh[] = { { MP_LIT("t/a"), { 0 } } };
	const struct engine_compare same[] = { { MP_LIT("t/a"), MP_LIT("1") }, { MP_LIT("t/b"), MP_LIT("") } };
	const struct engine_op make[] = { { ENGINE_PUT, MP_LIT("t/a"), MP_LIT("1"), false },
					  { ENGINE_PUT, MP_LIT("t/b"), MP_LIT(""), false } };
	const struct engine_op change[] = { { ENGINE_PUT, MP_LIT("t/a"), MP_LIT("2"), false },
					    { ENGINE_DELETE, MP_LIT("t/b"), { 0 }, false },
					    { ENGINE_DELETE, MP_LIT("t/none"), { 0 }, false } };
	const struct mp_str reads[] = { MP_LIT("t/a"), MP_LIT("t/none"), MP_LIT("t/b") };
	struct engine_txn txn = { fresh, 1, make, 2, reads, 3 };
	struct suite_answer answer = suite_commit(&txn);
	uint64_t revision = answer.revision;

	is_int((int)answer.outcome, ENGINE_COMMITTED, "made what was absent: %s", answer.why);
	suite_is("t/b", "", "an empty value is a value");
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_FAILED, "not twice");
	is_int((long)answer.n, 2, "the reads are what there is");
	ok(!strcmp(answer.key[0], "t/a") && !strcmp(answer.value[0], "1") && !strcmp(answer.key[1], "t/b"),
	   "of the keys that were asked for");
	ok(answer.revision == revision, "and nothing happened");
	txn = (struct engine_txn){ same, 2, change, 3, NULL, 0 };
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_COMMITTED, "changed what was as expected");
	ok(answer.revision > revision, "the revision counts it");
	suite_is("t/a", "2", "the new value");
	suite_is("t/b", NULL, "what was deleted is gone");
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_FAILED, "a value that has changed fails");
	is_int((long)answer.n, 0, "without reads there are none");
	suite_is("t/a", "2", "nothing of it was done");
	txn = (struct engine_txn){ NULL, 0, NULL, 0, reads, 3 };
	revision = answer.revision;
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_COMMITTED, "nothing to do and to compare: it reads");
	ok(answer.n == 1 && !strcmp(answer.key[0], "t/a") && !strcmp(answer.value[0], "2"), "what there is");
	ok(answer.revision == revision, "and that is no change");
}

static inline void suite_ranges(void)
{
	struct suite_answer answer;
	struct engine_range range = { .from = MP_LIT("r/b"), .end = MP_LIT("r/d") };
	const struct engine_op op = { ENGINE_DELETE_RANGE, MP_LIT("r/b"), MP_LIT("r/c\xff"), false };

	for (const char *const *key = (const char *const[]){ "r/c", "r/a", "r/d", "r/b", "r/ca", NULL }; *key; key++)
		(void)suite_put(*key, *key + 2);
	answer = suite_range(&range);
	is_int((long)answer.n, 3, "a range has its start and not its end");
	ok(!strcmp(answer.key[0], "r/b") && !strcmp(answer.key[1], "r/c") && !strcmp(answer.key[2], "r/ca"),
	   "in order");
	ok(!strcmp(answer.value[1], "c") && !answer.more, "with values, and there are no more");
	range.limit = 2;
	answer = suite_range(&range);
	ok(answer.n == 2 && answer.more && !strcmp(answer.key[1], "r/c"), "a limit cuts, and says so");
	range.last_first = true;
	range.limit = 1;
	answer = suite_range(&range);
	ok(answer.n == 1 && answer.more && !strcmp(answer.key[0], "r/ca"), "the last first");
	range.limit = 3;
	answer = suite_range(&range);
	ok(answer.n == 3 && !answer.more, "a limit that is just enough");
	is_int((int)suite_commit(&(struct engine_txn){ .ops = &op, .n_ops = 1 }).outcome, ENGINE_COMMITTED,
	       "a range is deleted");
	range = (struct engine_range){ .from = MP_LIT("r/"), .end = MP_LIT("r0") };
	answer = suite_range(&range);
	ok(answer.n == 2 && !strcmp(answer.key[0], "r/a") && !strcmp(answer.key[1], "r/d"), "and no more");
}

static inline void suite_watches(void)
{
	struct suite_watch all = { .text = "" }, one = { .text = "" }, late = { .text = "" };
	struct engine_watch calls = { suite_events, suite_ended, &all };
	const struct engine_op ops[] = { { ENGINE_PUT, MP_LIT("w/b"), MP_LIT("2"), false },
					 { ENGINE_DELETE, MP_LIT("w/none"), { 0 }, false },
					 { ENGINE_PUT, MP_LIT("x"), MP_LIT("9"), false },
					 { ENGINE_DELETE, MP_LIT("w/a"), { 0 }, false } };
	const struct engine_op range = { ENGINE_DELETE_RANGE, MP_LIT("w/"), MP_LIT("w0"), false };
	const struct engine_compare no = { MP_LIT("w/none"), MP_LIT("something") };
	uint64_t id, id_one;

	id = suite_engine->ops->watch(suite_engine, MP_LIT("w/"), MP_LIT("w0"), 0, &calls);
	calls.ctx = &one;
	id_one = suite_engine->ops->watch(suite_engine, MP_LIT("w/b"), MP_LIT("w/b\x01"), 0, &calls);
	ok(id && id_one && id != id_one, "two watches");
	(void)suite_put("w/a", "1");
	(void)suite_commit(&(struct engine_txn){ .ops = ops, .n_ops = 4 });
	(void)suite_commit(&(struct engine_txn){ .compares = &no, .n_compares = 1, .ops = ops, .n_ops = 4 });
	is_str(all.text, "+w/a=1|+w/b=2-w/a|", "each change once, in order, transactions whole");
	is_str(one.text, "+w/b=2|", "only of its range");
	suite_engine->ops->unwatch(suite_engine, id_one);
	(void)suite_put("w/b", "3");
	(void)suite_put("w/c", "");
	ok(all.revision == suite_get("w/b").revision, "the revision is that of the change");
	(void)suite_commit(&(struct engine_txn){ .ops = &range, .n_ops = 1 });
	is_str(all.text, "+w/a=1|+w/b=2-w/a|+w/b=3|+w/c=|-w/b-w/c|", "a deleted range is told key by key");
	is_str(one.text, "+w/b=2|", "nothing after unwatch()");
	calls.ctx = &late;
	(void)suite_engine->ops->watch(suite_engine, MP_LIT("w/"), MP_LIT("w0"), all.revision, &calls);
	(void)suite_put("w/d", "4");
	is_str(late.text, "+w/d=4|", "a watch from a revision goes on behind it");
	suite_engine->ops->unwatch(suite_engine, id);
}

static inline void suite_bounds(void)
{
	static char key[ENGINE_KEY_MAX + 1];
	struct engine_op op = { ENGINE_PUT, { key, sizeof(key) }, MP_LIT("v"), false };
	const struct engine_txn txn = { .ops = &op, .n_ops = 1 };
	struct suite_answer answer;

	memset(key, 'k', sizeof(key));
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_REFUSED, "a key that is too long is refused: %s", answer.why);
	op.key.len = 0;
	is_int((int)suite_commit(&txn).outcome, ENGINE_REFUSED, "so is an empty one");
	op.key.len = ENGINE_KEY_MAX;
	is_int((int)suite_commit(&txn).outcome, ENGINE_COMMITTED, "the longest is not");
}

static inline void suite_closed(void *ctx)
{
	(*(int *)ctx)++;
}

static inline void suite_close(void)
{
	struct suite_answer answer = { 0 };
	const struct engine_op op = { ENGINE_PUT, MP_LIT("last"), MP_LIT("1"), false };
	const struct engine_txn txn = { .ops = &op, .n_ops = 1 };
	int closed = 0;

	suite_engine->ops->commit(suite_engine, &txn, suite_done, &answer);
	suite_engine->ops->close(suite_engine, suite_closed, &closed);
	suite_turn();
	is_int(answer.calls, 1, "what was under way is answered");
	is_int(closed, 1, "then it is closed");
}

/* Leaves the engine closed. */
static inline void suite_run(struct engine *engine)
{
	suite_engine = engine;
	suite_transactions();
	suite_ranges();
	suite_watches();
	suite_bounds();
	suite_close();
}

#endif
