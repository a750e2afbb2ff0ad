/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promises of aggregator/rows/engine/engine.h, checked on any engine: the
 * conformance suite.  A test binary opens an empty engine and runs suite_run();
 * what only that engine can do it tests itself, with the helpers below.
 *
 * Engines that live on a libuv loop use suite_loop, between suite_uv_init() and
 * suite_uv_fini().  Another kind of time sets suite_until (test_engine_sim.c).
 */
#ifndef TESTS_UNIT_AGGREGATOR_ENGINE_SUITE_H
#define TESTS_UNIT_AGGREGATOR_ENGINE_SUITE_H

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "aggregator/rows/engine/engine.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

#define SUITE_ITEMS 16
#define SUITE_PATIENCE_MS 60000 /* for one answer; a slow machine is no failure */
#define SUITE_ASKED 64         /* answers that are kept, to see one that is given twice */

/* A copy of an answer. */
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

/* Is what was waited for there?  ctx as suite_until() got it. */
typedef bool suite_enough_fn(const void *ctx);

static inline void suite_uv_until(suite_enough_fn *enough, const void *ctx);

static uv_loop_t suite_loop;
static uv_timer_t suite_patience; /* wakes a loop on which nothing happens */
static struct engine *suite_engine;
static struct suite_answer suite_asked[SUITE_ASKED];
static size_t suite_n_asked; /* calls so far; the next one's answer is suite_asked[n % SUITE_ASKED] */

/* Turns time on until enough() holds, nothing can come any more, or patience ends. */
static void (*suite_until)(suite_enough_fn *enough, const void *ctx) = suite_uv_until;

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

static inline void suite_on_patience(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

static inline void suite_uv_until(suite_enough_fn *enough, const void *ctx)
{
	bool late = false;

	suite_patience.data = &late;
	uv_timer_start(&suite_patience, suite_on_patience, SUITE_PATIENCE_MS, 0);
	uv_unref((uv_handle_t *)&suite_patience);
	while (!enough(ctx) && !late && uv_run(&suite_loop, UV_RUN_ONCE))
		;
	uv_timer_stop(&suite_patience);
}

/* 0 or a negative errno.  suite_uv_fini() is due when the engine was closed. */
static inline int suite_uv_init(void)
{
	int r = uv_loop_init(&suite_loop);

	return r ? r : uv_timer_init(&suite_loop, &suite_patience);
}

static inline void suite_uv_fini(void)
{
	uv_close((uv_handle_t *)&suite_patience, NULL);
	uv_run(&suite_loop, UV_RUN_DEFAULT);
	is_int(uv_loop_close(&suite_loop), 0, "nothing is left on the loop");
}

static inline bool suite_never(const void *ctx)
{
	(void)ctx;
	return false;
}

/* Until nothing can come any more: only for engines that come to rest. */
static inline void suite_turn(void)
{
	suite_until(suite_never, NULL);
}

static inline bool suite_answered(const void *ctx)
{
	return ((const struct suite_answer *)ctx)->calls;
}

/* An empty answer; what lay there was given once, or the test fails. */
static inline struct suite_answer *suite_ask(void)
{
	struct suite_answer *answer = &suite_asked[suite_n_asked++ % SUITE_ASKED];

	if (suite_n_asked > SUITE_ASKED && answer->calls != 1)
		ok(false, "an answer was given %d times", answer->calls);
	*answer = (struct suite_answer){ 0 };
	return answer;
}

/* Waits for the answer of a call that returned r. */
static inline struct suite_answer suite_await(const struct suite_answer *answer, int r)
{
	if (r || answer->calls)
		ok(false, "the call said %d and answered %d times from within", r, answer->calls);
	suite_until(suite_answered, answer);
	if (answer->calls != 1)
		ok(false, "one answer, not %d", answer->calls);
	return *answer;
}

static inline struct suite_answer suite_commit(const struct engine_txn *txn)
{
	struct suite_answer *answer = suite_ask();

	return suite_await(answer, suite_engine->ops->commit(suite_engine, txn, suite_done, answer));
}

static inline struct suite_answer suite_range(const struct engine_range *range)
{
	struct suite_answer *answer = suite_ask();

	return suite_await(answer, suite_engine->ops->range(suite_engine, range, suite_done, answer));
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
	const struct mp_str reads[] = { MP_LIT("t/b"), MP_LIT("t/none"), MP_LIT("t/a") };
	struct engine_txn txn = { fresh, 1, make, 2, reads, 3 };
	struct suite_answer answer = suite_commit(&txn);
	uint64_t revision = answer.revision;

	is_int((int)answer.outcome, ENGINE_COMMITTED, "made what was absent: %s", answer.why);
	suite_is("t/b", "", "an empty value is a value");
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_FAILED, "not twice");
	is_int((long)answer.n, 2, "the reads are what there is");
	ok(!strcmp(answer.key[0], "t/b") && !strcmp(answer.key[1], "t/a") && !strcmp(answer.value[1], "1"),
	   "of the keys that were asked for, in that order");
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
	range = (struct engine_range){ .from = MP_LIT("r/b"), .end = MP_LIT("r/d"), .bytes = 64 };
	answer = suite_range(&range);
	ok(answer.n == 3 && !answer.more, "fewer bytes than it may have");
	range.bytes = 1;
	answer = suite_range(&range);
	ok(answer.n == 3 ? !answer.more : answer.n && answer.more, "with more bytes it is whole, or says that it is not");
	is_int((int)suite_commit(&(struct engine_txn){ .ops = &op, .n_ops = 1 }).outcome, ENGINE_COMMITTED,
	       "a range is deleted");
	range = (struct engine_range){ .from = MP_LIT("r/"), .end = MP_LIT("r0") };
	answer = suite_range(&range);
	ok(answer.n == 2 && !strcmp(answer.key[0], "r/a") && !strcmp(answer.key[1], "r/d"), "and no more");
}

/* What a watch is to be told in the end. */
struct suite_wanted {
	const struct suite_watch *watch;
	const char *text;
};

static inline bool suite_told(const void *ctx)
{
	const struct suite_wanted *wanted = ctx;

	return !strcmp(wanted->watch->text, wanted->text);
}

static inline void suite_watched(const struct suite_watch *watch, const char *text, const char *name)
{
	const struct suite_wanted wanted = { watch, text };

	suite_until(suite_told, &wanted);
	is_str(watch->text, text, "%s", name);
}

static inline uint64_t suite_watch(const char *from, const char *end, uint64_t after, struct suite_watch *to)
{
	const struct engine_watch calls = { suite_events, suite_ended, to };

	return suite_engine->ops->watch(suite_engine, slice_of(from), slice_of(end), after, &calls);
}

/* One from a revision on sees all that comes behind it, whole; each is waited for before the next. */
static inline void suite_watches(void)
{
	static struct suite_watch all, one, late; /* they outlive an engine that calls too late */
	const struct engine_op ops[] = { { ENGINE_PUT, MP_LIT("w/b"), MP_LIT("2"), false },
					 { ENGINE_DELETE, MP_LIT("w/none"), { 0 }, false },
					 { ENGINE_PUT, MP_LIT("x"), MP_LIT("9"), false },
					 { ENGINE_DELETE, MP_LIT("w/a"), { 0 }, false } };
	const struct engine_op range = { ENGINE_DELETE_RANGE, MP_LIT("w/"), MP_LIT("w0"), false };
	const struct engine_compare no = { MP_LIT("w/none"), MP_LIT("something") };
	uint64_t now = suite_put("w", "0").revision, id, id_one, id_late;

	all = one = late = (struct suite_watch){ .text = "" };
	id = suite_watch("w/", "w0", now, &all);
	id_one = suite_watch("w/b", "w/b\x01", now, &one);
	ok(id && id_one && id != id_one, "two watches");
	(void)suite_put("w/a", "1");
	suite_watched(&all, "+w/a=1|", "a change is told");
	(void)suite_commit(&(struct engine_txn){ .ops = ops, .n_ops = 4 });
	suite_watched(&all, "+w/a=1|+w/b=2-w/a|", "each change once, in order, transactions whole");
	(void)suite_commit(&(struct engine_txn){ .compares = &no, .n_compares = 1, .ops = ops, .n_ops = 4 });
	suite_watched(&one, "+w/b=2|", "only of its range");
	suite_engine->ops->unwatch(suite_engine, id_one);
	(void)suite_put("w/b", "3");
	suite_watched(&all, "+w/a=1|+w/b=2-w/a|+w/b=3|", "nothing of what failed");
	(void)suite_put("w/c", "");
	suite_watched(&all, "+w/a=1|+w/b=2-w/a|+w/b=3|+w/c=|", "an empty value is told as such");
	ok(all.revision == suite_get("w/b").revision, "the revision is that of the change");
	(void)suite_commit(&(struct engine_txn){ .ops = &range, .n_ops = 1 });
	suite_watched(&all, "+w/a=1|+w/b=2-w/a|+w/b=3|+w/c=|-w/b-w/c|", "a deleted range is told key by key");
	is_str(one.text, "+w/b=2|", "nothing after unwatch()");
	id_late = suite_watch("w/", "w0", all.revision, &late);
	(void)suite_put("w/d", "4");
	suite_watched(&late, "+w/d=4|", "a watch from a revision goes on behind it");
	suite_engine->ops->unwatch(suite_engine, id);
	suite_engine->ops->unwatch(suite_engine, id_late);
}

static inline bool suite_any(const void *ctx)
{
	return ((const struct suite_watch *)ctx)->text[0];
}

/* "From now on" begins when the engine has heard of it: changes are made until one is told. */
static inline void suite_watch_now(void)
{
	static struct suite_watch watch;
	uint64_t id;

	(void)suite_put("n/a", "before");
	watch = (struct suite_watch){ .text = "" };
	id = suite_watch("n/", "n0", 0, &watch);
	for (int i = 0; i < 100 && !watch.text[0]; i++)
		(void)suite_put("n/a", "after");
	suite_until(suite_any, &watch);
	ok(!strncmp(watch.text, "+n/a=after", 10), "a watch from now on: %s", watch.text);
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

static inline bool suite_is_closed(const void *ctx)
{
	return *(const int *)ctx;
}

/* Ends suite_engine. */
static inline void suite_close(void)
{
	int closed = 0;

	suite_engine->ops->close(suite_engine, suite_closed, &closed);
	suite_until(suite_is_closed, &closed);
	if (!closed)
		ok(false, "closed");
}

static inline void suite_last(void)
{
	struct suite_answer *answer = suite_ask();
	const struct engine_op op = { ENGINE_PUT, MP_LIT("last"), MP_LIT("1"), false };
	const struct engine_txn txn = { .ops = &op, .n_ops = 1 };
	static int closed;

	closed = 0;
	suite_engine->ops->commit(suite_engine, &txn, suite_done, answer);
	suite_engine->ops->close(suite_engine, suite_closed, &closed);
	suite_until(suite_is_closed, &closed);
	is_int(answer->calls, 1, "what was under way is answered");
	is_int(closed, 1, "then it is closed");
}

/* Nothing was answered twice, however late. */
static inline void suite_once(void)
{
	for (size_t i = 0; i < SUITE_ASKED && i < suite_n_asked; i++)
		if (suite_asked[i].calls != 1)
			ok(false, "an answer was given %d times", suite_asked[i].calls);
	suite_n_asked = 0;
}

/* Leaves the engine closed. */
static inline void suite_run(struct engine *engine)
{
	suite_engine = engine;
	suite_transactions();
	suite_ranges();
	suite_watches();
	suite_watch_now();
	suite_bounds();
	suite_last();
	suite_once();
}

#endif
