/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd engine before an etcd that answers wrongly in every way: nothing is ever
 * COMMITTED that was not, the text says what was wrong, memory is bounded, and a
 * request arrives at most once.
 *
 * The server is hostile_etcd.h.
 */
#include <sys/mman.h>
#include <sys/resource.h>

#include "aggregator/rows/engine/etcd.h"
#include "tests/unit/aggregator/engine_suite.h"
#include "tests/unit/aggregator/etcd_group.h"
#include "tests/unit/aggregator/hostile_etcd.h"

#define TRIES 20
#define PUT "3{2{1{3=9}}} "
#define KV "2{1'a' 3=3 5'1'} "
#define RANGE(kvs) HEADER "3{1{" kvs "}} "
#define GOOD HEADER "2=1 " PUT

/* None of these says that the transaction (a comparison, a put, a read of "a") was committed. */
static const struct hostile unary[] = {
	{ "no answer", RAW, NONE, NONE, NULL, NULL },
	{ "silence", SILENCE, NONE, NONE, NULL, NULL },
	{ "a head and no more", HOLD, NONE, NONE, NULL, NULL },
	{ "no message", BYTES, NONE, NONE, NULL, NULL },
	{ "an empty message", MESSAGES, S(";"), NONE, NULL, NULL },
	{ "noise", BYTES, S("\x01\x02\xff\xfe"), NONE, NULL, NULL },
	{ "half a message", BYTES, S("\0\0\0\0\x20\x0a\x08\x08\x07"), NONE, NULL, NULL },
	{ "half a prefix", BYTES, S("\0\0\0"), NONE, NULL, NULL },
	{ "two answers", MESSAGES, S(GOOD ";" GOOD ";"), NONE, NULL, NULL },
	{ "an answer and no status", NO_END, S(GOOD ";"), NONE, NULL, NULL },
	{ "an answer, then the end of the connection", CUT, S(GOOD ";"), NONE, NULL, NULL },
	{ "an answer, then nothing", HOLD, S(GOOD ";"), NONE, NULL, NULL },
	{ "a compressed message", BYTES, S("\x01\0\0\0\x02\x10\x01"), NONE, NULL, NULL },
	{ "a message of 4 GiB", BYTES, S("\0\xff\xff\xff\xff\x0a"), NONE, NULL, NULL },
	{ "a field without a number", BYTES, S("\0\0\0\0\x02\x00\x01"), NONE, NULL, NULL },
	{ "a number without an end", BYTES, S("\0\0\0\0\x0c\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), NONE, NULL, NULL },
	{ "an unknown type", BYTES, S("\0\0\0\0\x02\x17\x01"), NONE, NULL, NULL },
	{ "a group", BYTES, S("\0\0\0\0\x02\x0b\x0c"), NONE, NULL, NULL },
	{ "a field longer than its message", BYTES, S("\0\0\0\0\x03\x0a\x7f\x01"), NONE, NULL, NULL },
	{ "no header", MESSAGES, S("2=1 " PUT ";"), NONE, NULL, NULL },
	{ "a header that is a text", MESSAGES, S("1'x' 2=1 " PUT ";"), NONE, NULL, NULL },
	{ "a header that is a number", MESSAGES, S("1=7 2=1 " PUT ";"), NONE, NULL, NULL },
	{ "a header without a revision", MESSAGES, S("1{1=7} 2=1 " PUT ";"), NONE, NULL, NULL },
	{ "a header without a cluster", MESSAGES, S("1{3=9} 2=1 " PUT ";"), NONE, NULL, NULL },
	{ "a negative revision", MESSAGES, S("1{1=7 3=-9} 2=1 " PUT ";"), NONE, NULL, NULL },
	{ "a revision that is a text", MESSAGES, S("1{1=7 3'9'} 2=1 " PUT ";"), NONE, NULL, NULL },
	{ "no responses", MESSAGES, S(HEADER "2=1 ;"), NONE, NULL, NULL },
	{ "a response too many", MESSAGES, S(GOOD PUT ";"), NONE, NULL, NULL },
	{ "responses are numbers", MESSAGES, S(HEADER "2=1 3=1 ;"), NONE, NULL, NULL },
	{ "a success that reads", MESSAGES, S(HEADER "2=1 3{1{" KV "}} ;"), NONE, NULL, NULL },
	{ "a failure that writes", MESSAGES, S(HEADER PUT PUT ";"), NONE, NULL, NULL },
	{ "a key that was not asked for", MESSAGES, S(RANGE("2{1'b' 3=3} ") ";"), NONE, NULL, NULL },
	{ "a key twice", MESSAGES, S(RANGE(KV KV) ";"), NONE, NULL, NULL },
	{ "an item without a key", MESSAGES, S(RANGE("2{3=3} ") ";"), NONE, NULL, NULL },
	{ "an item without a revision", MESSAGES, S(RANGE("2{1'a'} ") ";"), NONE, NULL, NULL },
	{ "an item with a negative revision", MESSAGES, S(RANGE("2{1'a' 3=-3} ") ";"), NONE, NULL, NULL },
	{ "a key that is a number", MESSAGES, S(RANGE("2{1=97 3=3} ") ";"), NONE, NULL, NULL },
	{ "a message without an end", REPEAT, S(""), S("\0\x01\xff\xff\xff\x0a\x7f"), NULL, NULL },
	{ "items without an end", REPEAT, S(""), S("\0\0\0\0\x0a\x12\x08\x0a\x01""a\x18\x03\x2a\x01""1"), NULL, NULL },
	{ "small items without an end", REPEAT, S(""), S("\0\x01\xf0\xf0\xf0\x12\0\x12\0\x12\0\x12\0\x12\0\x12\0"), NULL, NULL },
	{ "nothing but prefixes", REPEAT, S(""), S("\0\0\0\0\0"), NULL, NULL },
	{ "204", HEAD, NONE, S("204"), NULL, NULL },
	{ "206", HEAD, NONE, S("206"), NULL, NULL },
	{ "307", HEAD, NONE, S("307"), NULL, NULL },
	{ "400", HEAD, NONE, S("400"), NULL, NULL },
	{ "404", HEAD, NONE, S("404"), NULL, NULL },
	{ "429", HEAD, NONE, S("429"), NULL, NULL },
	{ "503", HEAD, NONE, S("503"), NULL, NULL },
	{ "no HTTP status", HEAD, NONE, S("abc"), NULL, NULL },
	{ "a status that is no number", MESSAGES, S(GOOD ";"), NONE, "x", NULL },
	{ "an empty status", MESSAGES, S(GOOD ";"), NONE, "", NULL },
	{ "a negative status", MESSAGES, S(GOOD ";"), NONE, "-1", NULL },
	{ "an error and a success", MESSAGES, S(GOOD ";"), NONE, "14", "etcdserver: no leader" },
	{ "no leader", BYTES, NONE, NONE, "14", "etcdserver: no leader" },
	{ "out of time", BYTES, NONE, NONE, "4", "context deadline exceeded" },
	{ "an unknown error", BYTES, NONE, NONE, "2", "%zz%0%41%" },
	{ "cancelled", BYTES, NONE, NONE, "1", NULL },
	{ "too many requests", BYTES, NONE, NONE, "8", "etcdserver: too many requests" },
	{ "an unknown method", BYTES, NONE, NONE, "12", "unknown service etcdserverpb.KV" },
	{ "an invalid token", BYTES, NONE, NONE, "16", "etcdserver: invalid auth token" },
	{ "an invalid argument of somebody else", BYTES, NONE, NONE, "3", "bad proxy" },
	{ "HTTP/1.1", RAW, S("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), NONE, NULL, NULL },
	{ "HTTP/1.1 400", RAW, S("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), NONE, NULL, NULL },
	{ "no HTTP", RAW, S("SSH-2.0-OpenSSH_9.2\r\n"), NONE, NULL, NULL },
	{ "half a frame", RAW, S("\0\0\x20\x01"), NONE, NULL, NULL },
	{ "a frame that is too large", RAW, S("\xff\xff\xff\0\0\0\0\0\x01"), NONE, NULL, NULL },
	{ "data before the head", RAW, S("\0\0\x01\0\x01\0\0\0\x01\0"), NONE, NULL, NULL },
	{ "data of no stream", RAW, S("\0\0\x01\0\0\0\0\0\0\0"), NONE, NULL, NULL },
	{ "data of a stream to come", RAW, S("\0\0\x01\0\0\0\0\x7f\xff\0"), NONE, NULL, NULL },
	{ "a head that cannot be read", RAW, S("\0\0\x02\x01\x04\0\0\0\x01\xff\xff"), NONE, NULL, NULL },
	{ "a head without a status", RAW, S("\0\0\0\x01\x05\0\0\0\x01"), NONE, NULL, NULL },
	{ "a promise", RAW, S("\0\0\x05\x05\x04\0\0\0\x01\0\0\0\x02\x88"), NONE, NULL, NULL },
	{ "a farewell", RAW, S("\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x02"), NONE, NULL, NULL },
	{ "settings that cannot be", RAW, S("\0\0\x06\x04\0\0\0\0\0\0\x04\xff\xff\xff\xff"), NONE, NULL, NULL },
	{ "pings without an end", FLOOD, NONE, S("\0\0\x08\x06\0\0\0\0\0\1\2\3\4\5\6\7\x08"), NULL, NULL },
	{ "settings without an end", FLOOD, NONE, S("\0\0\0\x04\0\0\0\0\0"), NULL, NULL },
	{ "priorities without an end", FLOOD, NONE, S("\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x0f"), NULL, NULL },
	{ "unknown frames without an end", FLOOD, NONE, S("\0\0\x04\x77\0\0\0\0\0abcd"), NULL, NULL },
	{ "a head without an end", FLOOD, S("\0\0\x01\x01\0\0\0\0\x01\x88"),
	  S("\0\0\x10\x09\0\0\0\0\x01\0\x03x-a\x0a""bbbbbbbbbb"), NULL, NULL },
	{ "empty parts of a head without an end", FLOOD, S("\0\0\x01\x01\0\0\0\0\x01\x88"),
	  S("\0\0\0\x09\0\0\0\0\x01"), NULL, NULL },
	{ "empty data without an end", REPEAT, NONE, NONE, NULL, NULL },
	{ "HTTP/1.1 heads without an end", FLOOD, S("HTTP/1.1 200 OK\r\n"), S("X-A: bbbbbbbbbbbbbbbb\r\n"), NULL, NULL },
	{ "the connection ends when it was used before", RAW, NONE, NONE, NULL, NULL },
};

static const struct hostile good = { "a good answer", MESSAGES, S(GOOD ";"), NONE, NULL, NULL };
static const struct hostile failed = { "a good failure", MESSAGES, S(RANGE(KV) ";"), NONE, NULL, NULL };
static const struct hostile unknown_fields = { "fields that nobody knows", MESSAGES,
	S("77{1=1 2'x'} 78=-1 " HEADER "2=1 3{9'new' 2{}} 79'' ;"), NONE, NULL, NULL };
static const struct hostile refused = { "a wrong request, says etcd", BYTES, NONE, NONE, "3",
	"etcdserver: key is not provided" };
static const struct hostile older = { "an older revision", MESSAGES, S("1{1=7 3=8} 2=1 " PUT ";"), NONE, NULL, NULL };
static const struct hostile other = { "another cluster", MESSAGES, S("1{1=8 3=9} 2=1 " PUT ";"), NONE, NULL, NULL };

#define CREATED HEADER "3=1 ;"
#define EVENT(rev, key) "11{2{1'" key "' 3=" rev " 5'1'}} "
#define EVENTS(list) HEADER list ";"
#define FRAGMENT(list) HEADER "7=1 " list ";"

/*
 * Streams of a watch of "a" to "b" from revision 10 on; the last is what is told.  Without an end
 * where it is good: libcurl does not bring what comes together with the connection's.
 */
static const struct stream {
	struct hostile hostile;
	const char *told; /* NULL: the first once, or nothing */
} streams[] = {
	{ { "a whole transaction", HOLD, S(CREATED EVENTS(EVENT("10", "a"))), NONE, NULL, NULL }, "+a=1|" },
	{ { "two in one answer", HOLD, S(CREATED EVENTS(EVENT("10", "a") EVENT("11", "ab"))), NONE, NULL, NULL }, "+a=1+ab=1|" },
	{ { "two in fragments", HOLD, S(CREATED FRAGMENT(EVENT("10", "a")) EVENTS(EVENT("10", "ab"))), NONE, NULL, NULL }, "+a=1+ab=1|" },
	{ { "a fragment without the rest", HOLD, S(CREATED FRAGMENT(EVENT("10", "a") EVENT("11", "ab"))), NONE, NULL, NULL }, "+a=1|" },
	{ { "never begun", HOLD, NONE, NONE, NULL, NULL }, "!" },
	{ { "never begun, and nothing said", SILENCE, NONE, NONE, NULL, NULL }, "!" },
	{ { "an older event", HOLD, S(CREATED EVENTS(EVENT("9", "a"))), NONE, NULL, NULL }, "!" },
	{ { "events that go back", HOLD, S(CREATED EVENTS(EVENT("11", "a") EVENT("10", "a"))), NONE, NULL, NULL }, "!" },
	{ { "an event twice", HOLD, S(CREATED EVENTS(EVENT("10", "a")) EVENTS(EVENT("10", "a"))), NONE, NULL, NULL }, NULL },
	{ { "another key", HOLD, S(CREATED EVENTS(EVENT("10", "b"))), NONE, NULL, NULL }, "!" },
	{ { "no revision", HOLD, S(CREATED EVENTS("11{2{1'a'}} ")), NONE, NULL, NULL }, "!" },
	{ { "no key", HOLD, S(CREATED EVENTS("11{2{3=10}} ")), NONE, NULL, NULL }, "!" },
	{ { "nothing in it", HOLD, S(CREATED EVENTS("11{} ")), NONE, NULL, NULL }, "!" },
	{ { "an unknown kind", HOLD, S(CREATED EVENTS("11{1=5 2{1'a' 3=10}} ")), NONE, NULL, NULL }, "!" },
	{ { "canceled", HOLD, S(CREATED HEADER "4=1 6'why' ;"), NONE, NULL, NULL }, "!" },
	{ { "compacted", HOLD, S(CREATED HEADER "4=1 5=44 ;"), NONE, NULL, NULL }, "!" },
	{ { "a negative compaction", HOLD, S(CREATED HEADER "4=1 5=-44 ;"), NONE, NULL, NULL }, "!" },
	{ { "no leader any more", MESSAGES, S(CREATED), NONE, "14", "etcdserver: no leader" }, "!" },
	{ { "503", HEAD, NONE, S("503"), NULL, NULL }, "!" },
	{ { "no message", HOLD, S("1'hello' ;"), NONE, NULL, NULL }, "!" },
	{ { "two clusters", HOLD, S(CREATED "1{1=8 3=9} ;"), NONE, NULL, NULL }, "!" },
	{ { "a transaction without an end", REPEAT, S(CREATED), S("\0\0\0\0\x18\x0a\x04\x08\x07\x18\x09\x38\x01\x5a\x0c\x12\x0a"
	    "\x0a\x01""a\x18\x0a\x2a\x03""111"), NULL, NULL }, "!" },
	{ { "a message without an end", REPEAT, S(CREATED), S("\0\x01\xff\xff\xff\x0a\x7f"), NULL, NULL }, "!" },
};

/* --------------------------------------------------------------------- the cases */

static char url[64];

/* What health said when the answer came: a moment later all may be well again. */
static struct engine_health seen;

static void on_answer(void *ctx, const struct engine_answer *answer)
{
	suite_engine->ops->health(suite_engine, &seen);
	suite_done(ctx, answer);
}

static void open_engine(void)
{
	const char *const urls[] = { url };
	const struct engine_etcd_options options = { .endpoints = urls, .n_endpoints = 1, .timeout_ms = 1000 };
	struct err err = { "" };

	is_int(engine_etcd_open(&suite_loop, &options, &suite_engine, &err), 0, "opened %s", err.text);
}

static struct suite_answer commit(const struct hostile *now)
{
	static const struct engine_compare compare = { MP_LIT_INIT("a"), MP_LIT_INIT("0") };
	static const struct engine_op op = { ENGINE_PUT, MP_LIT_INIT("a"), MP_LIT_INIT("1"), false };
	static const struct mp_str read = MP_LIT_INIT("a");
	const struct engine_txn txn = { &compare, 1, &op, 1, &read, 1 };
	struct suite_answer *answer = suite_ask();

	atomic_store(&shared->now, now);
	atomic_store(&shared->asked, 0);
	return suite_await(answer, suite_engine->ops->commit(suite_engine, &txn, on_answer, answer));
}

/* A slow machine may spend all the time there is before the request: then it is made again. */
static struct suite_answer sent(const struct hostile *now)
{
	struct suite_answer answer = commit(now);

	for (int i = 0; i < TRIES && !seen.damaged && !atomic_load(&shared->asked); i++)
		answer = commit(now);
	return answer;
}

/* Or behind it; for cases that are answered. */
static struct suite_answer answered(const struct hostile *now)
{
	struct suite_answer answer = sent(now);

	for (int i = 0; i < TRIES && !seen.damaged && answer.outcome == ENGINE_UNKNOWN; i++)
		answer = sent(now);
	return answer;
}

static struct suite_answer range(const struct hostile *now)
{
	struct suite_answer *answer = suite_ask();

	atomic_store(&shared->now, now);
	return suite_await(answer, suite_engine->ops->range(suite_engine,
							    &(struct engine_range){ .from = MP_LIT("a"), .end = MP_LIT("b") },
							    on_answer, answer));
}

static void test_unary(void)
{
	for (size_t i = 0; i < sizeof(unary) / sizeof(unary[0]); i++) {
		struct suite_answer answer = sent(&unary[i]);

		ok(answer.outcome == ENGINE_UNKNOWN && answer.why[0] && !answer.n, "%s: %s", unary[i].name, answer.why);
		is_int(atomic_load(&shared->asked), 1, "it was sent once");
		if (!strcmp(unary[i].name, "a message of 4 GiB"))
			continue; /* too large is no trouble of etcd's */
		ok(!seen.serving && seen.text[0] && !seen.damaged, "the health: %s", seen.text);
	}
}

/* Many of the same are no answer to a range, either. */
static void test_range(void)
{
	for (size_t i = 0; i < sizeof(unary) / sizeof(unary[0]); i++) {
		struct suite_answer answer;

		if (unary[i].how == MESSAGES || unary[i].how == HOLD || unary[i].how == SILENCE || unary[i].how == FLOOD)
			continue; /* fields that a range does not have; what takes its time was seen above */
		answer = range(&unary[i]);
		ok(answer.outcome == ENGINE_UNKNOWN && answer.why[0] && !answer.n, "a range, %s: %s", unary[i].name,
		   answer.why);
	}
}

static void test_good(void)
{
	struct suite_answer answer = answered(&good);

	is_int((int)answer.outcome, ENGINE_COMMITTED, "%s: %s", good.name, answer.why);
	answer = answered(&failed);
	is_int((int)answer.outcome, ENGINE_FAILED, "%s: %s", failed.name, answer.why);
	is_int((long)answer.n, 1, "with what was read");
	answer = answered(&unknown_fields);
	is_int((int)answer.outcome, ENGINE_COMMITTED, "%s: %s", unknown_fields.name, answer.why);
	answer = answered(&refused);
	is_int((int)answer.outcome, ENGINE_REFUSED, "%s: %s", refused.name, answer.why);
}

static bool has_ended(const void *ctx)
{
	const char *text = ((const struct suite_watch *)ctx)->text;

	return text[0] && text[strlen(text) - 1] == '!';
}

static bool is_asked(const void *ctx)
{
	(void)ctx;
	return atomic_load(&shared->asked);
}

static void test_streams(void)
{
	static struct suite_watch watch;

	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		const struct hostile *now = &streams[i].hostile;
		uint64_t id;

		watch = (struct suite_watch){ .text = "" };
		atomic_store(&shared->now, now);
		id = suite_watch("a", "b", 9, &watch);
		ok(id != 0, "watched: %s", now->name);
		if (streams[i].told && !strchr(streams[i].told, '!')) {
			suite_watched(&watch, streams[i].told, "what is told");
			suite_engine->ops->unwatch(suite_engine, id);
			continue;
		}
		suite_until(has_ended, &watch);
		if (!streams[i].told) /* whether the second came with the first is chance */
			ok(!strcmp(watch.text, "!") || !strcmp(watch.text, "+a=1|!"), "told at most once: %s", watch.text);
		else
			is_str(watch.text, streams[i].told, "what is told");
		is_u64(watch.compacted, !strcmp(now->name, "compacted") ? 44 : 0, "compacted or not");
	}
}

/* Who sends as fast as he can does not get the loop for himself. */
static void test_flood(void)
{
	static const struct hostile flood = { "progress without an end", REPEAT, S(CREATED),
					      S("\0\0\0\0\x06\x0a\x04\x08\x07\x18\x09"), NULL, NULL };
	static struct suite_watch watch;
	struct suite_answer answer;
	uint64_t id;

	watch = (struct suite_watch){ .text = "" };
	atomic_store(&shared->now, &flood);
	atomic_store(&shared->asked, 0);
	id = suite_watch("a", "b", 9, &watch);
	suite_until(is_asked, NULL);
	answer = answered(&good);
	is_int((int)answer.outcome, ENGINE_COMMITTED, "%s: others are answered meanwhile: %s", flood.name, answer.why);
	ok(!watch.text[0], "it goes on");
	suite_engine->ops->unwatch(suite_engine, id);
}

/* A connection that is kept is used; libcurl may not send again what goes wrong there. */
static void test_once(void)
{
	const struct hostile *last = &unary[sizeof(unary) / sizeof(unary[0]) - 1];
	int more = 0;

	for (int i = 0; i < 20; i++) {
		(void)commit(&good);
		(void)sent(last);
		more += atomic_load(&shared->asked) != 1;
	}
	is_int(more, 0, "on a kept connection a request arrives once");
}

static void test_stop(const struct hostile *now, const char *text)
{
	struct suite_answer answer;

	open_engine();
	(void)answered(&good);
	answer = answered(now);
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "%s: %s", now->name, answer.why);
	ok(seen.damaged && strstr(seen.text, text), "it stops: %s", seen.text);
	answer = commit(&good);
	is_int((int)answer.outcome, ENGINE_REFUSED, "for good");
	is_int(atomic_load(&shared->asked), 0, "nothing is sent any more");
	suite_close();
}

static void test_memory(void)
{
#ifdef __SANITIZE_ADDRESS__
	note("memory is not looked at under a sanitizer");
#else
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	ok(usage.ru_maxrss < 256 << 10, "memory: %ld MiB at most", usage.ru_maxrss >> 10);
#endif
}

int main(void)
{
	pid_t server;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	atomic_store(&shared->now, &good);
	server = start_server(url, sizeof(url));
	ok(server > 0, "a server of our own");
	is_int(suite_uv_init(), 0, "a loop");
	open_engine();
	test_good();
	test_unary();
	test_range();
	test_good();
	test_streams();
	test_flood();
	test_once();
	suite_close();
	test_stop(&older, "backup");
	test_stop(&other, "cluster");
	test_memory();
	suite_uv_fini();
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return done();
}
