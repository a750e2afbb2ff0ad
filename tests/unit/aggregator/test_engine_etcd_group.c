/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd engine on three members: the leader dies, the nearest dies, the majority
 * dies.  What was COMMITTED is there, once; what was REFUSED is not.
 */
#include "aggregator/rows/engine/etcd.h"
#include "tests/unit/aggregator/engine_suite.h"
#include "tests/unit/aggregator/etcd_group.h"

#define MEMBERS 3
#define PUTS 400

static struct etcd_group group;
static enum engine_outcome outcomes[PUTS];
static char prefix = 'a'; /* of the keys of one test */

static void open_engine(unsigned timeout_ms)
{
	const struct engine_etcd_options options = { .endpoints = group.urls, .n_endpoints = group.n,
						     .timeout_ms = timeout_ms };
	struct err err = { "" };

	is_int(engine_etcd_open(&suite_loop, &options, &suite_engine, &err), 0, "opened %s", err.text);
}

static bool is_serving(const void *ctx)
{
	struct engine_health now;

	(void)ctx;
	suite_engine->ops->health(suite_engine, &now);
	return now.serving;
}

/* That many are known, so the nearest is used. */
static bool knows(const void *ctx)
{
	struct engine_etcd_counts counts;

	engine_etcd_counts(suite_engine, &counts);
	return counts.good == *(const size_t *)ctx && is_serving(NULL);
}

static uint64_t now_ms(void)
{
	uv_update_time(&suite_loop);
	return uv_now(&suite_loop);
}

/* What that member says of itself: "member_id", "leader"; 0: nothing. */
static unsigned long long status_of(size_t member, const char *field)
{
	char reply[1024];

	if (!group.pid[member] || etcd_group_post(&group, member, "/v3/maintenance/status", "{}", reply, sizeof(reply)) != 200)
		return 0;
	return etcd_group_number(reply, field);
}

/* The leader's index; MEMBERS: none, or nobody tells. */
static size_t leader(void)
{
	for (size_t i = 0; i < MEMBERS; i++) {
		unsigned long long id = status_of(i, "leader");

		if (id && id == status_of(i, "member_id"))
			return i;
	}
	return MEMBERS;
}

static bool has_leader(const void *ctx)
{
	(void)ctx;
	return leader() < MEMBERS;
}

/* On a slow machine they may be choosing another one just now. */
static size_t some_leader(void)
{
	size_t who;

	do
		suite_until(has_leader, NULL);
	while ((who = leader()) == MEMBERS && has_leader(NULL));
	return who;
}

/* Each member answers a linearizable read: who opens an engine uses the first. */
static bool all_serve(const void *ctx)
{
	char reply[1024];

	(void)ctx;
	for (size_t i = 0; i < MEMBERS; i++)
		if (etcd_group_post(&group, i, "/v3/kv/range", "{\"key\":\"YQ==\"}", reply, sizeof(reply)) != 200)
			return false;
	return true;
}

static const char *name(int i, char out[16])
{
	(void)snprintf(out, 16, "%c/%06d", prefix, i);
	return out;
}

/* Puts one after another; each is made once. */
static void put_some(int from, int to)
{
	char key[16];

	for (int i = from; i < to; i++)
		outcomes[i] = suite_put(name(i, key), "1").outcome;
}

/* Goes on until one is committed; when that was, in ms. */
static int put_until_committed(int *at)
{
	uint64_t begin = now_ms();
	char key[16];

	while (*at < PUTS && now_ms() - begin < 30000) {
		outcomes[*at] = suite_put(name(*at, key), "1").outcome;
		if (outcomes[(*at)++] == ENGINE_COMMITTED)
			break;
	}
	return (int)(now_ms() - begin);
}

/* Items there; a read that was not answered in time tells nothing. */
static size_t count_of(const char *key)
{
	uint64_t begin = now_ms();
	struct suite_answer answer;

	do
		answer = suite_get(key);
	while (answer.outcome != ENGINE_COMMITTED && now_ms() - begin < 30000);
	return answer.n;
}

static void check(int n, const char *what)
{
	int lost = 0, doubled = 0, unknown = 0, refused = 0;
	char key[16];

	for (int i = 0; i < n; i++) {
		size_t there = count_of(name(i, key));

		lost += outcomes[i] == ENGINE_COMMITTED && !there;
		doubled += outcomes[i] == ENGINE_REFUSED && there;
		unknown += outcomes[i] == ENGINE_UNKNOWN;
		refused += outcomes[i] == ENGINE_REFUSED;
	}
	is_int(lost, 0, "%s: nothing that was committed is lost", what);
	is_int(doubled, 0, "nothing that was refused was done (%d unknown, %d refused of %d)", unknown, refused, n);
}

static bool has_ended(const void *ctx)
{
	const char *text = ((const struct suite_watch *)ctx)->text;

	return text[0] && text[strlen(text) - 1] == '!';
}

/* ------------------------------------------------------------------------ deaths */

static void test_leader_dies(void)
{
	size_t who;
	int n = 50, took;

	put_some(0, n);
	who = some_leader();
	ok(who < MEMBERS, "there is a leader: %zu", who);
	etcd_group_kill(&group, who, SIGKILL);
	took = put_until_committed(&n);
	ok(outcomes[n - 1] == ENGINE_COMMITTED, "without it puts go on, after %d ms", took);
	check(n, "the leader died");
	etcd_group_start(&group, who);
	suite_until(has_leader, NULL);
}

static void test_nearest_dies(void)
{
	static struct suite_watch watch, again;
	struct engine_etcd_counts before, after;
	int n = 50, took;

	put_some(0, n);
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("Q/", "Q0", 0, &watch);
	(void)suite_put("Q/a", "1");
	suite_watched(&watch, "+Q/a=1|", "a watch runs");
	engine_etcd_counts(suite_engine, &before);
	etcd_group_kill(&group, 0, SIGKILL);
	took = put_until_committed(&n);
	ok(outcomes[n - 1] == ENGINE_COMMITTED, "the nearest died: puts go on elsewhere after %d ms", took);
	engine_etcd_counts(suite_engine, &after);
	ok(after.failovers > before.failovers, "that was a failover");
	suite_until(has_ended, &watch);
	ok(has_ended(&watch), "the watch there has ended");
	(void)suite_watch("Q/", "Q0", watch.revision, &again);
	(void)suite_put("Q/a", "2");
	suite_watched(&again, "+Q/a=2|", "a new one goes on elsewhere");
	check(n, "the nearest died");
	etcd_group_start(&group, 0);
	suite_until(has_leader, NULL);
}

static void test_majority_dies(void)
{
	static struct suite_watch watch;
	char first[16];
	struct engine_range stale = { .from = slice_of(name(0, first)), .stale = true };
	struct suite_answer answer;
	int n = 50, took;

	put_some(0, n);
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("Q/", "Q0", 0, &watch);
	etcd_group_kill(&group, 1, SIGKILL);
	etcd_group_kill(&group, 2, SIGKILL);
	for (int i = 0; i < 3; i++) {
		char key[16];

		answer = suite_put(name(n, key), "1");
		outcomes[n++] = answer.outcome;
		ok(answer.outcome == ENGINE_UNKNOWN || answer.outcome == ENGINE_REFUSED, "without a majority: %s", answer.why);
	}
	answer = suite_get(first);
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "nothing is read: %s", answer.why);
	answer = suite_range(&stale);
	ok(answer.outcome == ENGINE_COMMITTED && answer.n == 1, "but what is left has a copy: %s (of %s)", answer.why, group.urls[0]);
	ok(!is_serving(NULL), "which is not serving");
	suite_until(has_ended, &watch);
	ok(has_ended(&watch), "a watch ends when there is no leader");
	etcd_group_start(&group, 1);
	etcd_group_start(&group, 2);
	took = put_until_committed(&n);
	ok(outcomes[n - 1] == ENGINE_COMMITTED, "they are back: after %d ms", took);
	check(n, "the majority died");
}

/* The nearest stands still, and is not the leader: a read has time for another one. */
static void test_read_elsewhere(void)
{
	size_t who = some_leader(), near = who ? 0 : 1;
	const char *const two[] = { group.urls[near], group.urls[who] };
	const struct engine_etcd_options options = { .endpoints = two, .n_endpoints = 2, .timeout_ms = 5000 };
	struct engine *all = suite_engine;
	struct engine_etcd_counts counts;
	struct suite_answer answer;
	struct err err;

	is_int(engine_etcd_open(&suite_loop, &options, &suite_engine, &err), 0, "opened");
	suite_until(knows, &options.n_endpoints);
	(void)suite_put("near", "1");
	etcd_group_kill(&group, near, SIGSTOP);
	answer = suite_get("near");
	ok(answer.outcome == ENGINE_COMMITTED && answer.n == 1, "a read goes to another one in time: %s", answer.why);
	engine_etcd_counts(suite_engine, &counts);
	ok(counts.troubles > 0, "after trouble");
	etcd_group_kill(&group, near, SIGCONT);
	suite_close();
	suite_engine = all;
}

/*
 * A member that has lost its leader and does not know it yet: what only compares must
 * not be answered from its copy.
 */
static void test_only_compares(void)
{
	const struct engine_compare holds = { MP_LIT("only"), MP_LIT("1") }, fails = { MP_LIT("only"), MP_LIT("2") };
	struct engine_txn txn = { .compares = &holds, .n_compares = 1 };
	size_t who = some_leader(), asked = (who + 1) % MEMBERS;
	unsigned long long old = status_of(who, "member_id");
	const char *const one[] = { group.urls[asked] };
	const struct engine_etcd_options options = { .endpoints = one, .n_endpoints = 1, .timeout_ms = 2000 };
	struct engine *all = suite_engine;
	struct suite_answer answer;
	struct err err;

	is_int(engine_etcd_open(&suite_loop, &options, &suite_engine, &err), 0, "opened");
	is_int((int)suite_put("only", "1").outcome, ENGINE_COMMITTED, "a follower takes a put");
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_COMMITTED, "a comparison alone: %s", answer.why);
	txn.compares = &fails;
	answer = suite_commit(&txn);
	ok(answer.outcome == ENGINE_FAILED && !answer.n, "one that fails, without items: %s", answer.why);
	etcd_group_kill(&group, who, SIGSTOP);
	answer = suite_commit(&txn);
	ok(answer.outcome == ENGINE_UNKNOWN || answer.outcome == ENGINE_REFUSED || status_of(asked, "leader") != old,
	   "it does not answer of its own: %s", answer.why);
	etcd_group_kill(&group, who, SIGCONT);
	suite_close();
	suite_engine = all;
	suite_until(has_leader, NULL);
}

/* A leader that stands still is not dead: it must not answer when it comes back. */
static void test_leader_stands_still(void)
{
	size_t who = some_leader();
	int n = 20, took;

	put_some(0, n);
	etcd_group_kill(&group, who, SIGSTOP);
	took = put_until_committed(&n);
	ok(outcomes[n - 1] == ENGINE_COMMITTED, "the leader stands still: puts go on after %d ms", took);
	etcd_group_kill(&group, who, SIGCONT);
	put_some(n, n + 20);
	check(n + 20, "the leader stood still");
}

int main(void)
{
	static void (*const tests[])(void) = { test_leader_dies, test_nearest_dies, test_majority_dies, test_read_elsewhere, test_only_compares,
					       test_leader_stands_still };
	const size_t all = MEMBERS;

	if (!etcd_group_open(&group, MEMBERS, NULL))
		return skip_all("no etcd (Debian package etcd-server)");
	is_int(suite_uv_init(), 0, "a loop");
	suite_until(has_leader, NULL);
	open_engine(5000);
	suite_run(suite_engine);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++, prefix++) {
		suite_until(all_serve, NULL);
		open_engine(0);
		suite_until(knows, &all);
		tests[i]();
		suite_close();
	}
	etcd_group_close(&group);
	suite_uv_fini();
	return done();
}
