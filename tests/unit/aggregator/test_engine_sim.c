/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated engine: the conformance suite on its own time, then each fault by
 * script: what whoever asked sees, what the store has, and that it was counted.
 */
#include "tests/unit/aggregator/engine_sim.h"
#include "tests/unit/aggregator/engine_suite.h"

#define SUITE_SEEDS 8

static struct sim sim;
static struct sim_store *store;
static struct sim_actor actors[2];
static struct engine *one, *two; /* members of the store */

static void sim_until(suite_enough_fn *enough, const void *ctx)
{
	while (!enough(ctx) && sim_step(&sim))
		;
}

static void begin(uint64_t seed)
{
	sim_init(&sim, seed);
	store = sim_store_new(&sim);
	sim_actor_init(&actors[0], "one");
	sim_actor_init(&actors[1], "two");
	suite_engine = one = engine_sim_open(store, &actors[0]);
	two = engine_sim_open(store, &actors[1]);
}

static void end(void)
{
	sim_store_free(store);
	sim_fini(&sim);
}

static struct suite_answer put_by(struct engine *engine, const char *key, const char *value)
{
	suite_engine = engine;
	return suite_put(key, value);
}

/* The truth. */
static void stored(const char *key, const char *value, const char *name)
{
	const struct sim_map *map = sim_store_map(store);
	struct mp_str have = sim_map_get(map, slice_of(key), map->revision);

	if (value)
		ok(have.ptr && slice_eq(have, slice_of(value)), "%s: %.*s", name, SLICE_ARG(have));
	else
		ok(!have.ptr, "%s", name);
}

static void counted(enum sim_fault fault, uint64_t n)
{
	is_u64(sim_store_count(store, fault), n, "counted: %s", sim_fault_name(fault));
}

/* ------------------------------------------------------------------------- suite */

/* What a slow network and a watch that gathers do is no breach of any promise. */
static void test_suite(uint64_t seed, bool slow)
{
	note("the suite, seed %d%s", (int)seed, slow ? ", slow" : "");
	begin(seed);
	if (slow) {
		engine_sim_odds(one, SIM_SLOW, 200000);
		engine_sim_odds(one, SIM_WATCH_DELAYED, 200000);
		engine_sim_odds(one, SIM_WATCH_MERGED, 500000);
	}
	suite_run(one);
	end();
}

/* ----------------------------------------------------------------------- commits */

static void test_answer_lost(void)
{
	uint64_t asked = sim.now_ns;
	struct suite_answer answer;

	engine_sim_script(one, SIM_ANSWER_LOST, 2);
	is_int((int)put_by(one, "al", "1").outcome, ENGINE_COMMITTED, "the first is answered");
	answer = put_by(one, "al", "2");
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "the answer of the second is lost: %s", answer.why);
	ok(sim.now_ns <= asked + SIM_LIMIT_NS + 10 * NS_PER_MS, "which is known by the limit at last");
	stored("al", "2", "it is there");
	counted(SIM_ANSWER_LOST, 1);
	is_int((int)put_by(one, "al", "3").outcome, ENGINE_COMMITTED, "the third is answered");
}

static void test_request_lost(void)
{
	engine_sim_script(one, SIM_REQUEST_LOST, 1);
	is_int((int)put_by(one, "rl", "1").outcome, ENGINE_UNKNOWN, "a request is lost");
	sim_run_for(&sim, SIM_LATE_MAX_NS * 2);
	stored("rl", NULL, "it never happens");
	counted(SIM_REQUEST_LOST, 1);
}

static void test_late(void)
{
	engine_sim_script(one, SIM_COMMIT_LATE, 1);
	is_int((int)put_by(one, "late", "1").outcome, ENGINE_UNKNOWN, "a commit that hangs");
	suite_is("late", NULL, "a read behind that does not show it");
	sim_run_for(&sim, SIM_LIMIT_NS + SIM_LATE_MAX_NS);
	suite_is("late", "1", "then it happens");
	counted(SIM_COMMIT_LATE, 1);
}

/* What the kill of a flight rests on: its comparison no longer holds. */
static void test_late_fenced(void)
{
	const struct engine_compare held = { MP_LIT("fence"), MP_LIT("1") };
	const struct engine_op op = { ENGINE_PUT, MP_LIT("fenced"), MP_LIT("1"), false };

	(void)put_by(one, "fence", "1");
	engine_sim_script(one, SIM_COMMIT_LATE, 1);
	is_int((int)suite_commit(&(struct engine_txn){ &held, 1, &op, 1, NULL, 0 }).outcome, ENGINE_UNKNOWN,
	       "a commit that hangs, under a comparison");
	(void)put_by(two, "fence", "2");
	sim_run_for(&sim, SIM_LIMIT_NS + SIM_LATE_MAX_NS);
	stored("fenced", NULL, "never happens when that no longer holds");
	counted(SIM_COMMIT_LATE, 0);
}

static void test_twice(void)
{
	const struct engine_compare fresh = { MP_LIT("tw"), { 0 } };
	const struct engine_op op = { ENGINE_PUT, MP_LIT("tw"), MP_LIT("mine"), false };
	const struct mp_str read = MP_LIT("tw");
	struct suite_answer answer;

	suite_engine = one;
	engine_sim_script(one, SIM_TWICE, 1);
	answer = suite_commit(&(struct engine_txn){ &fresh, 1, &op, 1, &read, 1 });
	is_int((int)answer.outcome, ENGINE_FAILED, "delivered twice: the second one fails");
	ok(answer.n == 1 && !strcmp(answer.value[0], "mine"), "by what the first one put, as its reads tell");
	counted(SIM_TWICE, 1);
}

/* What compares is safe from that, what does not is done again. */
static void test_again(void)
{
	engine_sim_script(one, SIM_AGAIN, 1);
	is_int((int)put_by(one, "ag", "1").outcome, ENGINE_COMMITTED, "one that lies about is answered");
	is_int((int)put_by(two, "ag", "2").outcome, ENGINE_COMMITTED, "somebody else goes on");
	sim_run_for(&sim, SIM_LATE_MAX_NS);
	stored("ag", "1", "then it is delivered again");
	counted(SIM_AGAIN, 1);
	counted(SIM_COMMIT_LATE, 0);
}

static void test_not_sent(void)
{
	uint64_t asked = sim.now_ns;

	engine_sim_script(one, SIM_NOT_SENT, 1);
	is_int((int)put_by(one, "not", "1").outcome, ENGINE_REFUSED, "a request that finds no way out");
	ok(sim.now_ns < asked + SIM_LIMIT_NS, "is refused before the limit");
	sim_run_for(&sim, 2 * SIM_LATE_MAX_NS);
	stored("not", NULL, "and never happens");
	counted(SIM_NOT_SENT, 1);
}

static void test_no_space(void)
{
	const struct engine_op op = { ENGINE_DELETE, MP_LIT("ns"), { 0 }, false };
	struct engine_health health;

	(void)put_by(one, "ns", "1");
	engine_sim_script(one, SIM_NO_SPACE, 1);
	is_int((int)suite_put("ns", "2").outcome, ENGINE_REFUSED, "no space for one");
	one->ops->health(one, &health);
	ok(health.full, "which the health tells");
	is_int((int)suite_put("ns", "3").outcome, ENGINE_COMMITTED, "for the next there is");
	one->ops->health(one, &health);
	ok(!health.full, "and that as well");
	sim_store_full(store, true);
	is_int((int)suite_put("ns", "4").outcome, ENGINE_REFUSED, "none for anybody");
	one->ops->health(one, &health);
	ok(health.full && health.text[0], "the health says so: %s", health.text);
	is_int((int)suite_commit(&(struct engine_txn){ .ops = &op, .n_ops = 1 }).outcome, ENGINE_COMMITTED,
	       "what deletes goes");
	suite_is("ns", NULL, "and what reads");
	sim_store_full(store, false);
	one->ops->health(one, &health);
	ok(!health.full && !health.text[0], "there is space again");
	counted(SIM_NO_SPACE, 2);
	counted(SIM_FULL, 1);
}

static void test_limits(void)
{
	static char value[SIM_BYTES_MAX];
	static struct engine_op ops[SIM_OPS_MAX + 1];
	static char keys[SIM_OPS_MAX + 1][8];
	struct engine_op both[2] = { { ENGINE_PUT, MP_LIT("tl/1"), MP_LIT(""), false },
				     { ENGINE_DELETE, MP_LIT("tl/1"), { 0 }, false } };

	suite_engine = one;
	for (int i = 0; i <= SIM_OPS_MAX; i++) {
		(void)snprintf(keys[i], sizeof(keys[i]), "tl/%d", i);
		ops[i] = (struct engine_op){ ENGINE_PUT, slice_of(keys[i]), MP_LIT("v"), false };
	}
	is_int((int)suite_commit(&(struct engine_txn){ .ops = ops, .n_ops = SIM_OPS_MAX + 1 }).outcome,
	       ENGINE_REFUSED, "too many operations");
	is_int((int)suite_commit(&(struct engine_txn){ .ops = ops, .n_ops = SIM_OPS_MAX }).outcome,
	       ENGINE_COMMITTED, "as many as there may be");
	is_int((int)suite_commit(&(struct engine_txn){ .ops = both, .n_ops = 2 }).outcome, ENGINE_REFUSED,
	       "a key twice");
	both[1] = (struct engine_op){ ENGINE_DELETE_RANGE, MP_LIT("tl/"), MP_LIT("tl0"), false };
	is_int((int)suite_commit(&(struct engine_txn){ .ops = both, .n_ops = 2 }).outcome, ENGINE_REFUSED,
	       "and in a range");
	ops[0].value = slice_make(value, sizeof(value));
	is_int((int)suite_commit(&(struct engine_txn){ .ops = ops, .n_ops = 1 }).outcome, ENGINE_REFUSED,
	       "too many bytes");
}

/* ------------------------------------------------------------------------- reads */

static void test_reads(void)
{
	struct engine_range range = { .from = MP_LIT("st"), .stale = true };
	struct suite_answer first = put_by(one, "st", "1"), answer;

	(void)put_by(two, "st", "2");
	engine_sim_script(two, SIM_STALE, 1);
	answer = suite_range(&range);
	ok(answer.outcome == ENGINE_COMMITTED && (answer.n == 0 || !strcmp(answer.value[0], "1")),
	   "a stale range shows what was");
	ok(answer.revision <= first.revision, "and its revision is that of then");
	answer = suite_range(&range);
	ok(answer.n == 1 && !strcmp(answer.value[0], "2"), "by chance it is not");
	counted(SIM_STALE, 1);
	range = (struct engine_range){ .from = MP_LIT("st"), .revision = first.revision };
	answer = suite_range(&range);
	ok(answer.n == 1 && !strcmp(answer.value[0], "1") && answer.revision > first.revision,
	   "as things stood at a revision");
	range.revision = answer.revision + 1;
	is_int((int)suite_range(&range).outcome, ENGINE_REFUSED, "of the future");
	sim_store_compact(store, first.revision + 1);
	range.revision = first.revision;
	is_int((int)suite_range(&range).outcome, ENGINE_REFUSED, "and of what was compacted there is none");
	engine_sim_script(two, SIM_RANGE_LOST, 1);
	is_int((int)suite_get("st").outcome, ENGINE_UNKNOWN, "a range is lost");
	counted(SIM_RANGE_LOST, 1);
}

/* ------------------------------------------------------------------ cuts and stops */

static void test_cut(void)
{
	static struct suite_watch watch;
	struct engine_health health;

	suite_engine = one;
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("cut", "cuu", suite_put("cut", "0").revision, &watch);
	sim_run_for(&sim, NS_PER_S);
	engine_sim_cut(one, SIM_OUT | SIM_IN);
	is_int((int)put_by(one, "cut", "1").outcome, ENGINE_UNKNOWN, "who is cut off knows nothing");
	is_int((int)suite_get("cut").outcome, ENGINE_UNKNOWN, "nor reads");
	one->ops->health(one, &health);
	ok(!health.serving && health.text[0], "the health says so");
	(void)put_by(two, "cut", "2");
	sim_run_for(&sim, 4 * NS_PER_S);
	is_str(watch.text, "!", "its watch ends");
	is_u64(watch.compacted, 0, "because it broke off");
	engine_sim_cut(one, SIM_IN);
	is_int((int)put_by(one, "cut", "3").outcome, ENGINE_UNKNOWN, "nothing comes back");
	stored("cut", "3", "but it went out");
	engine_sim_cut(one, 0);
	suite_is("cut", "3", "healed");
	counted(SIM_CUT, 1);
}

/* What was said meanwhile comes with the healed connection. */
static void test_cut_short(void)
{
	static struct suite_watch watch;
	bool told = false;

	for (int i = 0; i < 20 && !told; i++) {
		uint64_t id;

		suite_engine = one;
		watch = (struct suite_watch){ .text = "" };
		id = suite_watch("cs", "ct", suite_put("cs", "0").revision, &watch);
		sim_run_for(&sim, NS_PER_S);
		engine_sim_cut(one, SIM_IN);
		(void)put_by(two, "cs", "1");
		(void)put_by(two, "cs", "2");
		told = !watch.text[0];
		engine_sim_cut(one, 0);
		sim_run_for(&sim, NS_PER_S);
		told &= !strcmp(watch.text, "+cs=1|+cs=2|");
		one->ops->unwatch(one, id);
	}
	ok(told, "a watch that was cut for a moment goes on: %s", watch.text);
}

static void test_stop(void)
{
	struct suite_answer *answer = suite_ask();
	const struct engine_op op = { ENGINE_PUT, MP_LIT("stop"), MP_LIT("1"), false };
	uint64_t now = sim.now_ns;

	is_int(one->ops->commit(one, &(struct engine_txn){ .ops = &op, .n_ops = 1 }, suite_done, answer), 0, "asked");
	engine_sim_stop(one, 3 * NS_PER_S);
	sim_run_for(&sim, 2 * NS_PER_S);
	is_int(answer->calls, 0, "who is stopped hears nothing");
	stored("stop", "1", "what it asked for happens");
	suite_until(suite_answered, answer);
	is_u64(sim.now_ns - now, 3 * NS_PER_S, "when it goes on it hears it");
	ok(answer->outcome == ENGINE_COMMITTED || answer->outcome == ENGINE_UNKNOWN, "or that its limit has passed");
	sim_run_for(&sim, NS_PER_S);
	is_int(answer->calls, 1, "once");
	counted(SIM_STOPPED, 1);
}

static void test_kill(void)
{
	struct suite_answer *answer = suite_ask();
	static struct suite_watch watch;
	const struct engine_op op = { ENGINE_PUT, MP_LIT("kill"), MP_LIT("1"), false };

	watch = (struct suite_watch){ .text = "" };
	suite_engine = one;
	(void)suite_watch("kill", "kilm", 0, &watch);
	sim_run_for(&sim, NS_PER_S);
	(void)one->ops->commit(one, &(struct engine_txn){ .ops = &op, .n_ops = 1 }, suite_done, answer);
	engine_sim_kill(one);
	sim_run_for(&sim, 10 * NS_PER_S);
	ok(!answer->calls && !watch.text[0], "the dead hear nothing");
	answer->calls = 1;
	stored("kill", "1", "what they asked for happens");
	suite_engine = one = engine_sim_open(store, &actors[0]);
	suite_is("kill", "1", "a new life begins");
	counted(SIM_KILLED, 1);
}

static struct suite_answer put_leased(const char *key)
{
	const struct engine_op op = { ENGINE_PUT, slice_of(key), MP_LIT("1"), true };

	return suite_commit(&(struct engine_txn){ .ops = &op, .n_ops = 1 });
}

static void on_lease_lost(void *ctx)
{
	(*(int *)ctx)++;
}

static void test_lease_lost(void)
{
	int lost = 0;

	suite_engine = one;
	engine_sim_lease_lost(one, on_lease_lost, &lost);
	(void)put_leased("ll");
	engine_sim_cut(one, SIM_OUT);
	sim_run_for(&sim, 6 * NS_PER_S);
	stored("ll", NULL, "the lease of one that was cut off ends");
	is_int(lost, 0, "which it cannot know");
	engine_sim_cut(one, 0);
	sim_run_for(&sim, NS_PER_S);
	is_int(lost, 1, "until it is back");
	is_int((int)put_leased("ll").outcome, ENGINE_COMMITTED, "with another lease");
	sim_run_for(&sim, 10 * NS_PER_S);
	stored("ll", "1", "which is kept");
	is_int(lost, 1, "and told once");
}

static void test_lease(void)
{
	static struct suite_watch watch;

	suite_engine = one;
	is_int((int)put_leased("le/a").outcome, ENGINE_COMMITTED, "a leased key");
	(void)put_leased("le/b");
	(void)suite_put("le/b", "2");
	sim_run_for(&sim, 60 * NS_PER_S);
	stored("le/a", "1", "it stays while its process is there");
	engine_sim_cut(one, SIM_OUT);
	sim_run_for(&sim, NS_PER_S);
	engine_sim_cut(one, 0);
	sim_run_for(&sim, 10 * NS_PER_S);
	stored("le/a", "1", "and over a short cut");
	watch = (struct suite_watch){ .text = "" };
	suite_engine = two;
	(void)suite_watch("le/", "le0", sim_store_map(store)->revision, &watch);
	engine_sim_kill(one);
	sim_run_for(&sim, NS_PER_S);
	stored("le/a", "1", "some seconds are left");
	sim_run_for(&sim, 5 * NS_PER_S);
	stored("le/a", NULL, "then it goes");
	stored("le/b", "2", "what was put again without a lease stays");
	is_str(watch.text, "-le/a|", "the others are told");
	one = engine_sim_open(store, &actors[0]);
	suite_engine = one;
	is_int((int)put_leased("le/a").outcome, ENGINE_COMMITTED, "a new one has a lease of its own");
	sim_run_for(&sim, 10 * NS_PER_S);
	stored("le/a", "1", "which lives");
	counted(SIM_LEASE_GONE, 1);
}

/* ----------------------------------------------------------------------- watches */

static void watch_one(struct suite_watch *watch)
{
	suite_engine = one;
	*watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("w", "x", suite_put("w", "0").revision, watch);
}

static void test_watch_ended(void)
{
	static struct suite_watch watch;

	watch_one(&watch);
	engine_sim_script(one, SIM_WATCH_ENDED, 2);
	(void)suite_put("w", "1");
	suite_watched(&watch, "+w=1|", "the first is told");
	(void)suite_put("w", "2");
	suite_watched(&watch, "+w=1|!", "then the watch ends");
	is_u64(watch.compacted, 0, "and could be begun again behind that");
	counted(SIM_WATCH_ENDED, 1);
}

static void test_watch_compacted(void)
{
	static struct suite_watch watch;
	uint64_t before = put_by(one, "w", "before").revision;

	watch_one(&watch);
	engine_sim_script(one, SIM_WATCH_COMPACTED, 1);
	(void)suite_put("w", "1");
	suite_watched(&watch, "!", "a watch ends");
	is_u64(watch.compacted, sim_store_map(store)->revision, "compacted, up to there");
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("w", "x", before, &watch);
	suite_watched(&watch, "!", "behind an older revision there is none");
	ok(watch.compacted, "for the same reason");
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("w", "x", sim_store_map(store)->compacted, &watch);
	(void)suite_put("w", "2");
	suite_watched(&watch, "+w=2|", "behind that there is one");
	counted(SIM_WATCH_COMPACTED, 1);
	counted(SIM_COMPACTED, 1);
}

static void test_watch_merged(void)
{
	static struct suite_watch watch;

	watch_one(&watch);
	engine_sim_script(one, SIM_WATCH_DELAYED, 1);
	engine_sim_script(one, SIM_WATCH_MERGED, 2);
	for (const char *const *v = (const char *const[]){ "1", "2", "3", "4", NULL }; *v; v++)
		(void)suite_put("w", *v);
	sim_run_for(&sim, 30 * NS_PER_MS);
	is_str(watch.text, "", "a watch is behind");
	sim_run_for(&sim, 3 * NS_PER_S);
	is_str(watch.text, "+w=1|+w=2+w=3+w=4|", "several in one call");
	is_u64(watch.revision, sim_store_map(store)->revision, "with the revision of the last");
	counted(SIM_WATCH_DELAYED, 1);
	counted(SIM_WATCH_MERGED, 1);
}

/* Of a transaction of two events none is told, or the first. */
static void test_event_lost(void)
{
	static struct suite_watch watch;
	const struct engine_op ops[] = { { ENGINE_PUT, MP_LIT("w1"), MP_LIT("1"), false },
					 { ENGINE_PUT, MP_LIT("w2"), MP_LIT("1"), false } };

	watch_one(&watch);
	engine_sim_script(one, SIM_EVENT_LOST, 1);
	(void)suite_commit(&(struct engine_txn){ .ops = ops, .n_ops = 2 });
	sim_run_for(&sim, 10 * NS_PER_S);
	ok(!watch.text[0] || !strcmp(watch.text, "+w1=1|"), "the last event is lost: %s", watch.text);
	(void)suite_put("w", "2");
	sim_run_for(&sim, NS_PER_S);
	ok(strstr(watch.text, "+w=2|") && !strstr(watch.text, "w2"), "and never told");
	counted(SIM_EVENT_LOST, 1);
}

/* ----------------------------------------------------------------------- a backup */

static void test_restored(void)
{
	static struct suite_watch watch;
	uint64_t then = put_by(one, "b", "1").revision, later;

	(void)put_by(one, "b", "2");
	later = put_by(one, "c", "1").revision;
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("b", "d", 0, &watch);
	sim_run_for(&sim, NS_PER_S);
	sim_store_restore(store, then);
	suite_is("b", "1", "what was");
	suite_is("c", NULL, "what was not");
	is_str(watch.text, "!", "watches break off");
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("b", "d", later, &watch);
	sim_run_for(&sim, NS_PER_S);
	is_u64(suite_put("b", "3").revision, then + 1, "revisions are used again");
	sim_run_for(&sim, NS_PER_S);
	is_str(watch.text, "", "one behind a revision that is to come says nothing");
	(void)suite_put("c", "2");
	(void)suite_put("c", "3");
	suite_watched(&watch, "+c=3|", "until then");
	counted(SIM_RESTORED, 1);
}

/* ----------------------------------------------------------------------- borrowing */

static struct mp_str kept; /* what a callback should not have kept */

static void keeping(void *ctx, const struct engine_answer *answer)
{
	kept = answer->items[0].value;
	*(bool *)ctx = slice_eq(kept, MP_LIT("a value"));
}

/* Nothing of a call is needed behind it; that nothing of an answer stays is for ASan to see. */
static void test_borrowed(void)
{
	char key[] = "bo", value[] = "a value";
	const struct engine_op op = { ENGINE_PUT, { key, 2 }, { value, 7 }, false };
	struct suite_answer *answer = suite_ask();
	bool had = false;

	(void)one->ops->commit(one, &(struct engine_txn){ .ops = &op, .n_ops = 1 }, suite_done, answer);
	memset(key, 'x', 2);
	memset(value, 'x', 7);
	suite_until(suite_answered, answer);
	stored("bo", "a value", "a call has copied what it got");
	(void)one->ops->range(one, &(struct engine_range){ .from = MP_LIT("bo") }, keeping, &had);
	suite_turn();
	ok(had, "an answer is there for its call");
}

int main(void)
{
	static void (*const tests[])(void) = {
		test_answer_lost, test_request_lost, test_late, test_late_fenced, test_twice, test_again,
		test_not_sent, test_no_space, test_limits, test_reads, test_cut, test_cut_short, test_stop,
		test_kill, test_lease, test_lease_lost, test_watch_ended, test_watch_compacted,
		test_watch_merged, test_event_lost, test_restored, test_borrowed,
	};

	suite_until = sim_until;
	for (uint64_t seed = 1; seed <= SUITE_SEEDS; seed++)
		test_suite(seed, seed % 2);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		begin(i);
		tests[i]();
		suite_once();
		end();
	}
	return done();
}
