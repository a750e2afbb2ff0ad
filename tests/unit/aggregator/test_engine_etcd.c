/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd engine on one real etcd: the conformance suite, and what only etcd has:
 * limits, pages, compaction, leases, no space, and an etcd that stands still, dies,
 * comes back, or comes back as another one.
 */
#include "aggregator/rows/engine/etcd.h"
#include "lib/base64.h"
#include "tests/unit/aggregator/engine_suite.h"
#include "tests/unit/aggregator/etcd_group.h"

#define BIG (1u << 20)

static struct etcd_group group;
static int leases_lost;

static void on_lease_lost(void *ctx)
{
	(void)ctx;
	leases_lost++;
}

/* A slow machine is no failure: only tests of time limits have a short one. */
static struct engine *open_engine(unsigned timeout_ms, unsigned lease_s)
{
	const struct engine_etcd_options options = { .endpoints = group.urls, .n_endpoints = group.n,
						     .timeout_ms = timeout_ms, .lease_s = lease_s,
						     .lease_lost = on_lease_lost };
	struct err err = { "" };

	is_int(engine_etcd_open(&suite_loop, &options, &suite_engine, &err), 0, "opened %s", err.text);
	return suite_engine;
}

static struct engine_health health(void)
{
	struct engine_health now;

	suite_engine->ops->health(suite_engine, &now);
	return now;
}

static bool is_serving(const void *ctx)
{
	(void)ctx;
	return health().serving;
}

static bool is_damaged(const void *ctx)
{
	(void)ctx;
	return health().damaged;
}

static uint64_t now_ms(void)
{
	uv_update_time(&suite_loop);
	return uv_now(&suite_loop);
}

/* ------------------------------------------------------------------------ limits */

static struct suite_answer put_many(size_t n)
{
	static struct engine_op ops[200];
	static char key[200][16];

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(key[i], sizeof(key[i]), "many/%03zu", i);
		ops[i] = (struct engine_op){ ENGINE_PUT, slice_of(key[i]), MP_LIT("v"), false };
	}
	return suite_commit(&(struct engine_txn){ .ops = ops, .n_ops = n });
}

static void test_limits(void)
{
	const struct engine_op twice[] = { { ENGINE_PUT, MP_LIT("twice"), MP_LIT("1"), false },
					   { ENGINE_PUT, MP_LIT("twice"), MP_LIT("2"), false } };
	static char big[3 << 19];
	struct engine_op op = { ENGINE_PUT, MP_LIT("big"), { big, sizeof(big) }, false };
	const struct engine_txn txn = { .ops = &op, .n_ops = 1 };
	struct suite_answer answer;

	is_int((long)engine_etcd_limits(suite_engine).max_ops, 128, "etcd's own limits");
	is_int((int)put_many(128).outcome, ENGINE_COMMITTED, "so many operations are taken");
	answer = put_many(129);
	is_int((int)answer.outcome, ENGINE_REFUSED, "one more is not: %s", answer.why);
	answer = suite_commit(&(struct engine_txn){ .ops = twice, .n_ops = 2 });
	is_int((int)answer.outcome, ENGINE_REFUSED, "HTTP 400 is certain: %s", answer.why);
	suite_is("twice", NULL, "and nothing was done");
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_REFUSED, "a request that is too large: %s", answer.why);
	op.value.len -= 4096;
	answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_COMMITTED, "one that just fits: %s", answer.why);
}

/* ------------------------------------------------------------------------- pages */

struct pages {
	size_t n, wrong, bytes;
	enum engine_outcome outcome;
	uint64_t revision;
	bool more, done, down;
};

static void on_pages(void *ctx, const struct engine_answer *answer)
{
	struct pages *p = ctx;

	for (size_t i = 0; i < answer->n_items; i++) {
		int order = i ? slice_compare(answer->items[i - 1].key, answer->items[i].key) : 0;

		p->wrong += i && (p->down ? order <= 0 : order >= 0);
		p->bytes += answer->items[i].value.len;
	}
	p->n = answer->n_items;
	p->outcome = answer->outcome;
	p->revision = answer->revision;
	p->more = answer->more;
	p->done = true;
}

static bool pages_done(const void *ctx)
{
	return ((const struct pages *)ctx)->done;
}

static struct pages read_range(const struct engine_range *range)
{
	struct pages p = { .down = range->last_first };

	suite_engine->ops->range(suite_engine, range, on_pages, &p);
	suite_until(pages_done, &p);
	return p;
}

static struct pages read_pages(const char *from, const char *end, size_t limit, bool down)
{
	return read_range(&(struct engine_range){ .from = slice_of(from), .end = slice_of(end), .limit = limit,
						  .last_first = down });
}

static void test_pages(void)
{
	static char big[BIG];
	struct suite_answer answer = { .outcome = ENGINE_COMMITTED };
	struct engine_op op = { .kind = ENGINE_PUT, .value = { big, sizeof(big) } };
	const struct engine_txn txn = { .ops = &op, .n_ops = 1 };
	struct engine_etcd_counts before, after;
	struct pages p;
	char key[16];

	p = read_pages("many/", "many0", 0, false);
	ok(p.n == 128 && !p.wrong && !p.more, "a range of more than a page");
	p = read_pages("many/", "many0", 100, false);
	ok(p.n == 100 && !p.wrong && p.more, "the same with a limit");
	p = read_pages("many/", "many0", 128, true);
	ok(p.n == 128 && !p.wrong && !p.more, "downwards, with a limit that is just enough");
	for (int i = 0; i < 40 && answer.outcome == ENGINE_COMMITTED; i++) {
		(void)snprintf(key, sizeof(key), "big/%02d", i);
		op.key = slice_of(key);
		answer = suite_commit(&txn);
	}
	is_int((int)answer.outcome, ENGINE_COMMITTED, "40 MiB: %s", answer.why);
	engine_etcd_counts(suite_engine, &before);
	p = read_pages("big/", "big0", 0, false);
	engine_etcd_counts(suite_engine, &after);
	ok(p.outcome == ENGINE_COMMITTED && p.n == 40 && p.bytes == 40 * BIG && !p.wrong, "are read whole: %zu", p.n);
	is_u64(p.revision, answer.revision, "at one revision");
	note("in %d requests", (int)(after.requests - before.requests));
	p = read_pages("big/", "big0", 0, true);
	ok(p.n == 40 && p.bytes == 40 * BIG && !p.wrong, "and downwards");
	p = read_range(&(struct engine_range){ .from = MP_LIT("big/"), .end = MP_LIT("big0"), .bytes = 18 * BIG });
	ok(p.n >= 18 && p.n < 30 && p.more && !p.wrong, "or about as much as was asked for: %zu", p.n);
	p = read_range(&(struct engine_range){ .from = MP_LIT("big/20"), .end = MP_LIT("big0"), .bytes = 2 * BIG });
	ok(p.n == 2 && p.more && !p.wrong, "the next one begins with what an item had: %zu", p.n);
}

/* libcurl must not let an answer of some pieces lie until something else happens. */
static void test_prompt(void)
{
	static char value[300];
	static char key[100][16];
	struct engine_op ops[100];
	uint64_t begin;
	size_t n = 0;

	for (size_t i = 0; i < 100; i++) {
		(void)snprintf(key[i], sizeof(key[i]), "wide/%03zu", i);
		ops[i] = (struct engine_op){ ENGINE_PUT, slice_of(key[i]), { value, sizeof(value) }, false };
	}
	is_int((int)suite_commit(&(struct engine_txn){ .ops = ops, .n_ops = 100 }).outcome, ENGINE_COMMITTED, "30 KB");
	begin = now_ms();
	for (int i = 0; i < 50; i++)
		n += read_pages("wide/", "wide0", 0, false).n;
	is_int((long)n, 5000, "are read 50 times");
	ok(now_ms() - begin < 5000, "in %d ms: they never wait for a timer", (int)(now_ms() - begin));
}

/* -------------------------------------------------------------- large transactions */

#define PARTS 4      /* puts of a transaction */
#define LARGE 12     /* transactions: more than etcd sends in one piece */
#define PART (300u << 10)

struct large {
	uint64_t first;     /* revision of the first */
	size_t seen;        /* events */
	size_t parted;      /* transactions that were not told whole */
	size_t wrong;       /* events out of their order */
};

/* Part k of transaction i is key "l/<i>/<k>". */
static void on_large(void *ctx, uint64_t revision, const struct engine_event *events, size_t n)
{
	struct large *l = ctx;
	char want[48];

	for (size_t i = 0; i < n; i++, l->seen++) {
		(void)snprintf(want, sizeof(want), "l/%02zu/%zu", l->seen / PARTS, l->seen % PARTS);
		l->wrong += !slice_eq(events[i].key, slice_of(want)) || events[i].value.len != PART;
	}
	l->parted += n % PARTS != 0 || revision != l->first + l->seen / PARTS - 1;
}

static void on_large_ended(void *ctx, uint64_t compacted, const char *why)
{
	(void)compacted;
	((struct large *)ctx)->wrong++;
	note("ended: %s", why);
}

static bool large_seen(const void *ctx)
{
	return ((const struct large *)ctx)->seen >= (size_t)LARGE * PARTS;
}

static uint64_t put_large(size_t i)
{
	static char bytes[PART];
	char key[PARTS][48];
	struct engine_op op[PARTS];

	for (size_t k = 0; k < PARTS; k++) {
		(void)snprintf(key[k], sizeof(key[k]), "l/%02zu/%zu", i, k);
		op[k] = (struct engine_op){ ENGINE_PUT, slice_of(key[k]), { bytes, sizeof(bytes) }, false };
	}
	return suite_commit(&(struct engine_txn){ .ops = op, .n_ops = PARTS }).revision;
}

static void test_fragments(void)
{
	struct large l = { .seen = 0 };
	const struct engine_watch calls = { on_large, on_large_ended, &l };
	uint64_t id;

	for (size_t i = 0; i < LARGE; i++) {
		uint64_t revision = put_large(i);

		l.first = i ? l.first : revision;
	}
	id = suite_engine->ops->watch(suite_engine, MP_LIT("l/"), MP_LIT("l0"), l.first - 1, &calls);
	suite_until(large_seen, &l);
	is_int((long)l.seen, LARGE * PARTS, "a watch from far back is told everything");
	is_int((long)l.wrong, 0, "in order");
	is_int((long)l.parted, 0, "transactions whole, although they come in fragments");
	suite_engine->ops->unwatch(suite_engine, id);
}

/* -------------------------------------------------------------------- compaction */

static bool has_ended(const void *ctx)
{
	const char *text = ((const struct suite_watch *)ctx)->text;

	return text[0] && text[strlen(text) - 1] == '!';
}

static void test_compaction(void)
{
	static struct suite_watch early, late;
	uint64_t first = suite_put("c/a", "1").revision, second = suite_put("c/a", "2").revision;
	struct engine_range old = { .from = MP_LIT("c/a"), .revision = first };
	struct suite_answer answer = suite_range(&old);
	char body[64], reply[256];

	is_str(answer.n ? answer.value[0] : "", "1", "as things stood then");
	old.revision = second + 1000;
	answer = suite_range(&old);
	is_int((int)answer.outcome, ENGINE_REFUSED, "a revision to come is refused: %s", answer.why);
	(void)snprintf(body, sizeof(body), "{\"revision\":\"%llu\",\"physical\":true}", (unsigned long long)second);
	is_int(etcd_group_post(&group, 0, "/v3/kv/compaction", body, reply, sizeof(reply)), 200, "compacted");
	old.revision = first;
	answer = suite_range(&old);
	is_int((int)answer.outcome, ENGINE_REFUSED, "one that is gone is, too: %s", answer.why);
	early = late = (struct suite_watch){ .text = "" };
	(void)suite_watch("c/", "c0", first - 1, &early);
	suite_until(has_ended, &early);
	is_str(early.text, "!", "a watch from before it ends");
	is_u64(early.compacted, second, "and says from where on");
	(void)suite_watch("c/", "c0", second - 1, &late);
	suite_watched(&late, "+c/a=2|", "from there on it goes");
	ok(health().serving && !health().text[0], "and that is no trouble");
}

/* ------------------------------------------------------------------------ leases */

static struct suite_answer put_leased(const char *key)
{
	const struct engine_op op = { ENGINE_PUT, slice_of(key), MP_LIT("here"), true };

	return suite_commit(&(struct engine_txn){ .ops = &op, .n_ops = 1 });
}

static unsigned long long lease_of(const char *key)
{
	char body[128], reply[1024] = "";
	struct buf text;

	buf_init(&text, 100);
	base64_encode(&text, slice_of(key));
	(void)snprintf(body, sizeof(body), "{\"key\":\"%s\"}", buf_str(&text));
	buf_fini(&text);
	(void)etcd_group_post(&group, 0, "/v3/kv/range", body, reply, sizeof(reply));
	return etcd_group_number(reply, "lease");
}

static bool lost_one(const void *ctx)
{
	(void)ctx;
	return leases_lost;
}

static bool is_past(const void *ctx)
{
	return now_ms() >= *(const uint64_t *)ctx;
}

static void revoke_lease(unsigned long long lease)
{
	char body[64], reply[256];

	(void)snprintf(body, sizeof(body), "{\"ID\":\"%llu\"}", lease);
	is_int(etcd_group_post(&group, 0, "/v3/lease/revoke", body, reply, sizeof(reply)), 200, "the lease is revoked");
}

static void test_leases(void)
{
	struct suite_answer answer;
	unsigned long long lease;
	uint64_t until;

	leases_lost = 0;
	(void)open_engine(5000, 1);
	answer = put_leased("member/a");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "a leased key is put: %s", answer.why);
	lease = lease_of("member/a");
	ok(lease != 0, "with a lease");
	until = now_ms() + 3500; /* etcd makes 2 s of 1 s */
	suite_until(is_past, &until);
	suite_is("member/a", "here", "it is kept alive");
	revoke_lease(lease);
	suite_is("member/a", NULL, "without it the key is gone");
	suite_until(lost_one, NULL);
	is_int(leases_lost, 1, "and it is said, once there is another");
	is_int((int)put_leased("member/a").outcome, ENGINE_COMMITTED, "the key is put again");
	ok(lease_of("member/a") && lease_of("member/a") != lease, "with the new one");
	revoke_lease(lease_of("member/a"));
	answer = put_leased("member/a");
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "a lease that is gone: %s", answer.why);
	is_int((int)put_leased("member/a").outcome, ENGINE_COMMITTED, "the next one has a new lease");
	is_int(leases_lost, 2, "which is said");
	suite_close();
	(void)open_engine(5000, 1);
	suite_is("member/a", NULL, "the end gives the lease back");
	suite_close();
}

/* ---------------------------------------------------------------- trouble of etcd */

static void test_standstill(void)
{
	static struct suite_watch watch;
	struct suite_answer answer;
	uint64_t begin;

	(void)open_engine(0, 0);
	suite_until(is_serving, NULL);
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("s/", "s0", 0, &watch);
	(void)suite_put("s/a", "1");
	suite_watched(&watch, "+s/a=1|", "a watch runs");
	etcd_group_kill(&group, 0, SIGSTOP);
	begin = now_ms();
	answer = suite_put("s/a", "2");
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "an etcd that stands still: %s", answer.why);
	ok(now_ms() - begin >= 650 && now_ms() - begin < 3000, "after the time limit: %d ms", (int)(now_ms() - begin));
	ok(!health().serving && health().text[0], "the health says so: %s", health().text);
	answer = suite_put("s/a", "3");
	is_int((int)answer.outcome, ENGINE_REFUSED, "what was never sent did not happen: %s", answer.why);
	answer = suite_get("s/a");
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "nothing can be read: %s", answer.why);
	suite_until(has_ended, &watch);
	ok(has_ended(&watch) && !watch.compacted, "the watch ends, without a compaction: %s", watch.text);
	etcd_group_kill(&group, 0, SIGCONT);
	suite_until(is_serving, NULL);
	ok(health().serving, "it goes on by itself");
	answer = suite_get("s/a");
	ok(answer.n && (!strcmp(answer.value[0], "1") || !strcmp(answer.value[0], "2")),
	   "the unknown one happened or not: %s; the refused one did not", answer.value[0]);
	suite_close();
}

static void test_restart(void)
{
	static struct suite_watch watch;
	struct suite_answer answer;

	(void)open_engine(5000, 0);
	is_int((int)suite_put("k/a", "1").outcome, ENGINE_COMMITTED, "before");
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("k/", "k0", 0, &watch);
	(void)suite_put("k/b", "1");
	suite_watched(&watch, "+k/b=1|", "a watch runs");
	etcd_group_kill(&group, 0, SIGKILL);
	suite_until(has_ended, &watch);
	ok(has_ended(&watch), "it ends with etcd");
	etcd_group_start(&group, 0);
	answer = suite_put("k/a", "2");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "a call waits for the new one: %s", answer.why);
	suite_is("k/b", "1", "which has everything");
	suite_close();
}

static void save(void)
{
	char command[300];

	etcd_group_kill(&group, 0, SIGTERM);
	(void)snprintf(command, sizeof(command), "cp -a %s/m0 %s/copy", group.folder, group.folder);
	ok(etcd_group_run(command), "a backup");
	etcd_group_start(&group, 0);
}

static void restore(void)
{
	char command[300];

	etcd_group_kill(&group, 0, SIGTERM);
	(void)snprintf(command, sizeof(command), "cd %s && rm -r m0 && mv copy m0", group.folder);
	ok(etcd_group_run(command), "is restored");
	etcd_group_start(&group, 0);
}

/* The folder is copied, more is put, the copy comes back. */
static void test_restored(void)
{
	static struct suite_watch watch;
	struct suite_answer answer;

	(void)open_engine(5000, 0);
	(void)suite_put("back/a", "1");
	save();
	answer = suite_put("back/a", "2");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "goes on: %s", answer.why);
	restore();
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("back/", "back0", 0, &watch);
	answer = suite_put("back/a", "3");
	ok(answer.outcome != ENGINE_COMMITTED, "then nothing is committed: %s", answer.why);
	suite_until(is_damaged, NULL);
	ok(health().damaged && !health().serving && strstr(health().text, "backup"), "%s", health().text);
	is_int((int)suite_put("back/a", "4").outcome, ENGINE_REFUSED, "nor sent");
	is_int((int)suite_get("back/a").outcome, ENGINE_UNKNOWN, "nor read");
	suite_until(has_ended, &watch);
	ok(has_ended(&watch), "nor watched");
	suite_close();
}

/* The same, and what was put since was told by a watch only. */
static void test_restored_watched(void)
{
	static struct suite_watch watch;
	char reply[512] = "";

	(void)open_engine(5000, 0);
	(void)suite_put("back/b", "1");
	save();
	suite_is("back/b", "1", "it is up again");
	watch = (struct suite_watch){ .text = "" };
	(void)suite_watch("back/", "back0", 0, &watch);
	is_int(etcd_group_post(&group, 0, "/v3/kv/put", "{\"key\":\"YmFjay9j\",\"value\":\"MQ==\"}", reply, sizeof(reply)), 200,
	       "another puts");
	suite_watched(&watch, "+back/c=1|", "it is told");
	restore();
	is_int((int)suite_get("back/b").outcome, ENGINE_UNKNOWN, "nothing is read");
	ok(health().damaged && strstr(health().text, "backup"), "%s", health().text);
	suite_close();
}

static void test_other_cluster(void)
{
	struct suite_answer answer;
	uint64_t cluster;
	char command[300];

	(void)open_engine(5000, 0);
	(void)suite_put("o/a", "1");
	cluster = engine_etcd_cluster(suite_engine);
	ok(cluster != 0, "it knows its cluster");
	etcd_group_kill(&group, 0, SIGKILL);
	(void)snprintf(command, sizeof(command), "rm -r %s/m0", group.folder);
	ok(etcd_group_run(command), "a new etcd");
	(void)snprintf(group.token, sizeof(group.token), "another");
	etcd_group_start(&group, 0);
	answer = suite_put("o/a", "2");
	is_int((int)answer.outcome, ENGINE_REFUSED, "in another cluster nothing is put: %s", answer.why);
	ok(health().damaged && strstr(health().text, "cluster"), "%s", health().text);
	suite_close();
	(void)open_engine(5000, 0);
	suite_is("o/a", NULL, "it was not even sent");
	ok(engine_etcd_cluster(suite_engine) != cluster, "it is another one");
	suite_close();
}

/* ----------------------------------------------------------------------- no space */

static void disarm(void)
{
	char reply[1024] = "", body[128];
	unsigned long long revision, member;

	(void)etcd_group_post(&group, 0, "/v3/maintenance/status", "{}", reply, sizeof(reply));
	revision = etcd_group_number(reply, "revision");
	member = etcd_group_number(reply, "member_id");
	(void)snprintf(body, sizeof(body), "{\"revision\":\"%llu\",\"physical\":true}", revision);
	(void)etcd_group_post(&group, 0, "/v3/kv/compaction", body, reply, sizeof(reply));
	(void)etcd_group_post(&group, 0, "/v3/maintenance/defragment", "{}", reply, sizeof(reply));
	(void)snprintf(body, sizeof(body), "{\"action\":\"DEACTIVATE\",\"memberID\":\"%llu\",\"alarm\":\"NOSPACE\"}", member);
	is_int(etcd_group_post(&group, 0, "/v3/maintenance/alarm", body, reply, sizeof(reply)), 200, "space is made");
}

static void test_no_space(void)
{
	static char big[BIG];
	const struct engine_op put = { ENGINE_PUT, MP_LIT("full"), { big, sizeof(big) }, false };
	const struct engine_op delete = { ENGINE_DELETE, MP_LIT("full"), { 0 }, false };
	const struct engine_txn txn = { .ops = &put, .n_ops = 1 };
	struct suite_answer answer = { .outcome = ENGINE_COMMITTED };
	int n = 0;

	(void)open_engine(5000, 0);
	while (answer.outcome == ENGINE_COMMITTED && n++ < 40)
		answer = suite_commit(&txn);
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "no space, after %d puts: %s", n - 1, answer.why);
	ok(health().full && strstr(health().text, "disarm"), "%s", health().text);
	answer = suite_commit(&(struct engine_txn){ .ops = &delete, .n_ops = 1 });
	is_int((int)answer.outcome, ENGINE_COMMITTED, "deletes go on: %s", answer.why);
	ok(health().full, "which is no space yet");
	disarm();
	answer = suite_put("full", "no more");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "puts, too: %s", answer.why);
	ok(!health().full && !health().text[0], "and it is full no more");
	suite_close();
}

int main(void)
{
	static const char *const small[] = { "--quota-backend-bytes=16777216", NULL };

	if (!etcd_group_open(&group, 1, NULL))
		return skip_all("no etcd (Debian package etcd-server)");
	is_int(suite_uv_init(), 0, "a loop");
	suite_run(open_engine(5000, 0));
	(void)open_engine(5000, 0);
	test_limits();
	test_pages();
	test_prompt();
	test_fragments();
	test_compaction();
	suite_close();
	test_leases();
	test_standstill();
	test_restart();
	test_restored();
	test_restored_watched();
	test_other_cluster();
	etcd_group_close(&group);
	if (etcd_group_open(&group, 1, small)) {
		test_no_space();
		etcd_group_close(&group);
	}
	suite_uv_fini();
	return done();
}
