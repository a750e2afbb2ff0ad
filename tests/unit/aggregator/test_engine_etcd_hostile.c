/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd engine before an etcd that answers wrongly in every way: nothing is ever
 * COMMITTED that was not, the text says what was wrong, memory is bounded, and a
 * request arrives at most once.
 *
 * The server is a process of its own with a thread for each connection.  It answers
 * the engine's own questions well, and everything else as the present case says.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "aggregator/rows/engine_etcd.h"
#include "tests/unit/aggregator/engine_suite.h"
#include "tests/unit/aggregator/etcd_group.h"

#define HEADER "\"header\":{\"cluster_id\":\"7\",\"member_id\":\"1\",\"revision\":\"9\",\"raft_term\":\"2\"}"
#define PUT "{\"response_put\":{\"header\":{\"revision\":\"9\"}}}"
#define RANGE(kvs) "{" HEADER ",\"responses\":[{\"response_range\":{\"kvs\":[" kvs "]}}]}"
#define KV "{\"key\":\"YQ==\",\"mod_revision\":\"3\",\"value\":\"MQ==\"}"
#define ENDLESS (256 << 20) /* bytes; nobody takes so many */

/* What a case sends. */
enum sending {
	BODY,     /* text as the body of a 200 */
	RAW,      /* text as it is, then the end of the connection */
	HOLD,     /* text as it is, then nothing */
	REPEAT,   /* text, then `more` again and again */
	TWICE,    /* nothing: the connection is closed when all was read */
};

struct hostile {
	const char *name;
	enum sending how;
	const char *text, *more;
};

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define OK_CLOSE OK_HEAD "Connection: close\r\n\r\n"
#define GOOD "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "]}"

/* None of these says that the transaction (a comparison, a put, a read of "a") was committed. */
static const struct hostile unary[] = {
	{ "no answer", RAW, "", NULL },
	{ "silence", HOLD, "", NULL },
	{ "an empty body", BODY, "", NULL },
	{ "null", BODY, "null", NULL },
	{ "an array", BODY, "[" GOOD "]", NULL },
	{ "true", BODY, "true", NULL },
	{ "an empty object", BODY, "{}", NULL },
	{ "noise", BODY, "\x01\x02\xff\xfe", NULL },
	{ "half an object", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "]", NULL },
	{ "a number that goes on", BODY, "{" HEADER ",\"succeeded\":true,\"code\":1", NULL },
	{ "two answers", BODY, GOOD GOOD, NULL },
	{ "something behind it", BODY, GOOD "x", NULL },
	{ "no header", BODY, "{\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "a header that is a text", BODY, "{\"header\":\"x\",\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "a header that is an array", BODY, "{\"header\":[],\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "a header without a revision", BODY, "{\"header\":{\"cluster_id\":\"7\"},\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "a negative revision", BODY, "{\"header\":{\"cluster_id\":\"7\",\"revision\":\"-9\"},\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "a revision of 21 digits", BODY, "{\"header\":{\"cluster_id\":\"7\",\"revision\":\"999999999999999999999\"},\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "a revision that is true", BODY, "{\"header\":{\"cluster_id\":\"7\",\"revision\":true},\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "a revision with an exponent", BODY, "{\"header\":{\"cluster_id\":\"7\",\"revision\":1e9},\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "succeeded is a text", BODY, "{" HEADER ",\"succeeded\":\"true\",\"responses\":[" PUT "]}", NULL },
	{ "succeeded is a number", BODY, "{" HEADER ",\"succeeded\":1,\"responses\":[" PUT "]}", NULL },
	{ "succeeded twice", BODY, "{" HEADER ",\"succeeded\":false,\"succeeded\":true,\"responses\":[" PUT "]}", NULL },
	{ "no responses", BODY, "{" HEADER ",\"succeeded\":true}", NULL },
	{ "a response too many", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "," PUT "]}", NULL },
	{ "responses are an object", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":" PUT "}", NULL },
	{ "responses are numbers", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[1]}", NULL },
	{ "responses are arrays", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[[" PUT "]]}", NULL },
	{ "an error with status 200", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "],\"code\":14,\"message\":\"no leader\"}", NULL },
	{ "an error inside of it", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "],\"error\":{\"message\":\"x\"}}", NULL },
	{ "a success that reads", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_range\":{\"kvs\":[" KV "]}}]}", NULL },
	{ "a key that was not asked for", BODY, RANGE("{\"key\":\"Yg==\",\"mod_revision\":\"3\"}"), NULL },
	{ "a key twice", BODY, RANGE(KV "," KV), NULL },
	{ "an item without a key", BODY, RANGE("{\"mod_revision\":\"3\"}"), NULL },
	{ "an item without a revision", BODY, RANGE("{\"key\":\"YQ==\"}"), NULL },
	{ "a key that is no base64", BODY, RANGE("{\"key\":\"Y\",\"mod_revision\":\"3\"}"), NULL },
	{ "a key in the other base64", BODY, RANGE("{\"key\":\"_-==\",\"mod_revision\":\"3\"}"), NULL },
	{ "a key that is a number", BODY, RANGE("{\"key\":1,\"mod_revision\":\"3\"}"), NULL },
	{ "a value that is an object", BODY, RANGE("{\"key\":\"YQ==\",\"value\":{},\"mod_revision\":\"3\"}"), NULL },
	{ "a member without a name", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "],:1}", NULL },
	{ "a bracket that is none", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "}]", NULL },
	{ "a wrong word", BODY, "{" HEADER ",\"succeeded\":troe,\"responses\":[" PUT "]}", NULL },
	{ "a newline in a string", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "],\"x\":\"\n\"}", NULL },
	{ "an unknown escape", BODY, "{" HEADER ",\"succeeded\":true,\"responses\":[" PUT "],\"x\":\"\\q\"}", NULL },
	{ "objects without an end", REPEAT, OK_CLOSE, "{\"a\":" },
	{ "arrays without an end", REPEAT, OK_CLOSE "{\"a\":", "[" },
	{ "a string without an end", REPEAT, OK_CLOSE "{\"a\":\"", "aaaaaaaaaaaaaaaa" },
	{ "a value without an end", REPEAT, OK_CLOSE "{\"kvs\":[{\"value\":\"", "aaaaaaaaaaaaaaaa" },
	{ "a name without an end", REPEAT, OK_CLOSE "{\"", "aaaaaaaaaaaaaaaa" },
	{ "a number without an end", REPEAT, OK_CLOSE "{\"a\":", "1111111111111111" },
	{ "blanks without an end", REPEAT, OK_CLOSE "{", "                " },
	{ "items without an end", REPEAT, OK_CLOSE "{" HEADER ",\"kvs\":[" KV, "," KV },
	{ "responses without an end", REPEAT, OK_CLOSE "{" HEADER ",\"responses\":[" PUT, "," PUT },
	{ "headers without an end", REPEAT, OK_HEAD, "X-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n" },
	{ "a header without an end", REPEAT, OK_HEAD "X-A: ", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" },
	{ "a status line without an end", REPEAT, "HTTP/1.1 200 ", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" },
	{ "interim answers without an end", REPEAT, "", "HTTP/1.1 100 Continue\r\n\r\n" },
	{ "a chunk's extension without an end", REPEAT, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5;", "aaaaaaaaaaaaaaaa" },
	{ "trailers without an end", REPEAT, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: bbbbbbbbbbbbbbbb\r\n" },
	{ "less than its length", RAW, OK_HEAD "Content-Length: 4000\r\n\r\n" GOOD, NULL },
	{ "a length and no more", HOLD, OK_HEAD "Content-Length: 4000\r\n\r\n" GOOD, NULL },
	{ "a broken chunk", RAW, OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n" GOOD, NULL },
	{ "chunks without the last", RAW, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", NULL },
	{ "a negative length", RAW, OK_HEAD "Content-Length: -1\r\n\r\n" GOOD "x", NULL },
	{ "packed", RAW, OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08", NULL },
	{ "no HTTP", RAW, "SSH-2.0-OpenSSH_9.2\r\n", NULL },
	{ "HTTP/0.9", RAW, GOOD, NULL },
	{ "an unknown version", RAW, "HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}", NULL },
	{ "the wrong protocol", RAW, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", NULL },
	{ "no content", RAW, "HTTP/1.1 204 No Content\r\n\r\n", NULL },
	{ "elsewhere", RAW, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", NULL },
	{ "201 with a good body", RAW, "HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n" GOOD, NULL },
	{ "206 with a good body", RAW, "HTTP/1.1 206 Partial Content\r\nConnection: close\r\n\r\n" GOOD, NULL },
	{ "400 without JSON", RAW, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nBad Request", NULL },
	{ "400 of somebody else", RAW, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", NULL },
	{ "401", RAW, "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n{\"code\":16,\"message\":\"etcdserver: invalid auth token\"}", NULL },
	{ "404", RAW, "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n404 page not found\n", NULL },
	{ "417", RAW, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", NULL },
	{ "429", RAW, "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\n\r\n{\"code\":8,\"message\":\"etcdserver: too many requests\"}", NULL },
	{ "500", RAW, "HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n{\"code\":2,\"message\":\"context deadline exceeded\"}", NULL },
	{ "503", RAW, "HTTP/1.1 503 Oops\r\nConnection: close\r\n\r\n{\"code\":14,\"message\":\"etcdserver: no leader\"}", NULL },
	{ "503 and a success", RAW, "HTTP/1.1 503 Oops\r\nConnection: close\r\n\r\n" GOOD, NULL },
	{ "the connection ends when it was used before", TWICE, "", NULL },
};

static const struct hostile good = { "a good answer", BODY, GOOD, NULL };
static const struct hostile failed = { "a good failure", BODY, RANGE(KV), NULL };
static const struct hostile unknown_fields = { "fields that nobody knows", BODY,
	"{\"new\":{\"a\":[1,{\"b\":null}],\"c\":\"\\u00e9\\n\"},\"one\":-1.5e9," HEADER ",\"succeeded\":true,\"responses\":[{\"new\":[],\"response_put\":{}}]}", NULL };
static const struct hostile refused = { "HTTP 400 of etcd", RAW,
	"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{\"code\":3,\"message\":\"etcdserver: key is not provided\"}", NULL };
static const struct hostile older = { "an older revision", BODY,
	"{\"header\":{\"cluster_id\":\"7\",\"revision\":\"8\"},\"succeeded\":true,\"responses\":[" PUT "]}", NULL };
static const struct hostile other = { "another cluster", BODY,
	"{\"header\":{\"cluster_id\":\"8\",\"revision\":\"9\"},\"succeeded\":true,\"responses\":[" PUT "]}", NULL };

#define CREATED "{\"result\":{" HEADER ",\"created\":true}}\n"
#define EVENT(rev, key) "{\"kv\":{\"key\":\"" key "\",\"mod_revision\":\"" rev "\",\"value\":\"MQ==\"}}"
#define EVENTS(list) "{\"result\":{" HEADER ",\"events\":[" list "]}}\n"
#define FRAGMENT(list) "{\"result\":{" HEADER ",\"fragment\":true,\"events\":[" list "]}}\n"

/* Streams of a watch of "a" to "b" from revision 10 on; `more` is what is told. */
static const struct hostile streams[] = {
	{ "a whole transaction, then the end", RAW, OK_CLOSE CREATED EVENTS(EVENT("10", "YQ==")), "+a=1|!" },
	{ "two in one answer", RAW, OK_CLOSE CREATED EVENTS(EVENT("10", "YQ==") "," EVENT("11", "YWI=")), "+a=1+ab=1|!" },
	{ "two in fragments", RAW, OK_CLOSE CREATED FRAGMENT(EVENT("10", "YQ==")) EVENTS(EVENT("10", "YWI=")), "+a=1+ab=1|!" },
	{ "a fragment without the rest", RAW, OK_CLOSE CREATED FRAGMENT(EVENT("10", "YQ==") "," EVENT("11", "YWI=")), "+a=1|!" },
	{ "one that is cut off", RAW, OK_CLOSE CREATED "{\"result\":{" HEADER ",\"events\":[" EVENT("10", "YQ=="), "!" },
	{ "never begun", HOLD, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n", "!" },
	{ "never begun, and nothing said", HOLD, "", "!" },
	{ "an older event", RAW, OK_CLOSE CREATED EVENTS(EVENT("9", "YQ==")), "!" },
	{ "events that go back", RAW, OK_CLOSE CREATED EVENTS(EVENT("11", "YQ==") "," EVENT("10", "YQ==")), "!" },
	{ "an event twice", RAW, OK_CLOSE CREATED EVENTS(EVENT("10", "YQ==")) EVENTS(EVENT("10", "YQ==")), NULL },
	{ "another key", RAW, OK_CLOSE CREATED EVENTS(EVENT("10", "Yg==")), "!" },
	{ "no revision", RAW, OK_CLOSE CREATED EVENTS("{\"kv\":{\"key\":\"YQ==\"}}"), "!" },
	{ "no key", RAW, OK_CLOSE CREATED EVENTS("{\"kv\":{\"mod_revision\":\"10\"}}"), "!" },
	{ "an unknown kind", RAW, OK_CLOSE CREATED EVENTS("{\"type\":\"MOVE\",\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"10\"}}"), "!" },
	{ "canceled", HOLD, OK_CLOSE CREATED "{\"result\":{" HEADER ",\"canceled\":true,\"cancel_reason\":\"why\"}}", "!" },
	{ "compacted", HOLD, OK_CLOSE CREATED "{\"result\":{" HEADER ",\"canceled\":true,\"compact_revision\":\"44\"}}", "!" },
	{ "an error in the stream", HOLD, OK_CLOSE CREATED "{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"no leader\"}}", "!" },
	{ "503", RAW, "HTTP/1.1 503 Oops\r\nConnection: close\r\n\r\n{\"code\":14,\"message\":\"no leader\"}", "!" },
	{ "no JSON", RAW, OK_CLOSE "hello", "!" },
	{ "two clusters", RAW, OK_CLOSE CREATED "{\"result\":{\"header\":{\"cluster_id\":\"8\",\"revision\":\"9\"}}}", "!" },
	{ "a transaction without an end", REPEAT, OK_CLOSE CREATED "{\"result\":{" HEADER ",\"events\":[" EVENT("10", "YQ=="), "," EVENT("10", "YQ==") },
	{ "a line without an end", REPEAT, OK_CLOSE CREATED "{\"result\":{\"x\":\"", "aaaaaaaaaaaaaaaa" },
	{ "headers without an end", REPEAT, OK_HEAD, "X-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n" },
};

/* -------------------------------------------------------------------- the server */

/* Shared with the server's process. */
static struct shared {
	_Atomic(const struct hostile *) now; /* the same address in both */
	atomic_int asked;                    /* requests that were not the engine's own */
} *shared;

static bool send_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		size -= (size_t)n;
	}
	return true;
}

static void send_body(int fd, const char *body)
{
	char head[200];

	(void)snprintf(head, sizeof(head), OK_HEAD "Content-Length: %zu\r\n\r\n", strlen(body));
	if (send_all(fd, head, strlen(head)))
		(void)send_all(fd, body, strlen(body));
}

static void send_repeated(int fd, const char *more)
{
	static const size_t part = 64 << 10;
	char *bytes = malloc(part);
	size_t each = strlen(more), whole = part / each * each;

	for (size_t i = 0; bytes && i < whole; i++)
		bytes[i] = more[i % each];
	for (size_t sent = 0; bytes && sent < ENDLESS && send_all(fd, bytes, whole); sent += whole)
		;
	free(bytes);
}

/* Until the other side has had enough. */
static void hold(int fd)
{
	char byte;

	while (recv(fd, &byte, 1, 0) > 0)
		;
}

/* One request: its body in `body`.  False: there is none any more. */
static bool read_request(int fd, char *body, size_t room)
{
	char head[4096];
	size_t have = 0, left;
	const char *length;

	for (head[0] = '\0'; !strstr(head, "\r\n\r\n"); head[++have] = '\0')
		if (have + 1 >= sizeof(head) || recv(fd, head + have, 1, 0) != 1)
			return false;
	length = strstr(head, "Content-Length: ");
	left = length ? (size_t)atoi(length + 16) : 0;
	if (left >= room)
		return false;
	for (have = 0; have < left; have++)
		if (recv(fd, body + have, 1, 0) != 1)
			return false;
	body[have] = '\0';
	return true;
}

/* False: the connection is over. */
static bool answer_one(int fd, const char *body)
{
	const struct hostile *now = atomic_load(&shared->now);

	if (strstr(body, "count_only")) {
		send_body(fd, "{" HEADER "}");
		return true;
	}
	atomic_fetch_add(&shared->asked, 1);
	if (now->how == BODY) {
		send_body(fd, now->text);
		return true;
	}
	(void)send_all(fd, now->text, strlen(now->text));
	if (now->how == HOLD)
		hold(fd);
	if (now->how == REPEAT)
		send_repeated(fd, now->more);
	return false;
}

static void *serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char body[4096];

	while (read_request(fd, body, sizeof(body)) && answer_one(fd, body))
		;
	close(fd);
	return NULL;
}

static void serve(int listener)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd >= 0 && !pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd))
			pthread_detach(thread);
	}
}

/* The process, and its address in url; -1: none. */
static pid_t start_server(char *url, size_t size)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)&address, &length))
		return -1;
	(void)snprintf(url, size, "http://127.0.0.1:%d", ntohs(address.sin_port));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fd);
	}
	close(fd);
	return pid;
}

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

static void close_engine(void)
{
	int closed = 0;

	suite_engine->ops->close(suite_engine, suite_closed, &closed);
	suite_until(suite_is_closed, &closed);
	is_int(closed, 1, "closed");
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
		struct suite_answer answer = commit(&unary[i]);

		ok(answer.outcome == ENGINE_UNKNOWN && answer.why[0] && !answer.n, "%s: %s", unary[i].name, answer.why);
		is_int(atomic_load(&shared->asked), 1, "it was sent once");
		if (!strcmp(unary[i].name, "items without an end"))
			continue; /* too large is no trouble of etcd's */
		ok(!seen.serving && seen.text[0] && !seen.damaged, "the health: %s", seen.text);
	}
}

/* Many of the same are no answer to a range, either. */
static void test_range(void)
{
	for (size_t i = 0; i < sizeof(unary) / sizeof(unary[0]); i++) {
		struct suite_answer answer;

		if (strstr(unary[i].text, "succeeded") || strstr(unary[i].text, "responses") || unary[i].how == HOLD)
			continue; /* fields that a range does not have; what takes its time was seen above */
		answer = range(&unary[i]);
		ok(answer.outcome == ENGINE_UNKNOWN && answer.why[0] && !answer.n, "a range, %s: %s", unary[i].name,
		   answer.why);
	}
}

static void test_good(void)
{
	struct suite_answer answer = commit(&good);

	is_int((int)answer.outcome, ENGINE_COMMITTED, "%s: %s", good.name, answer.why);
	answer = commit(&failed);
	is_int((int)answer.outcome, ENGINE_FAILED, "%s: %s", failed.name, answer.why);
	is_int((long)answer.n, 1, "with what was read");
	answer = commit(&unknown_fields);
	is_int((int)answer.outcome, ENGINE_COMMITTED, "%s: %s", unknown_fields.name, answer.why);
	answer = commit(&refused);
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
		const struct hostile *now = &streams[i];

		watch = (struct suite_watch){ .text = "" };
		atomic_store(&shared->now, now);
		ok(suite_watch("a", "b", 9, &watch) != 0, "watched: %s", now->name);
		suite_until(has_ended, &watch);
		if (now->how == REPEAT)
			is_str(watch.text, "!", "it ends");
		else if (!now->more) /* whether the second came with the first is chance */
			ok(!strcmp(watch.text, "!") || !strcmp(watch.text, "+a=1|!"), "told at most once: %s", watch.text);
		else
			is_str(watch.text, now->more, "what is told");
		is_u64(watch.compacted, !strcmp(now->name, "compacted") ? 44 : 0, "compacted or not");
	}
}

/* Who sends as fast as he can does not get the loop for himself. */
static void test_flood(void)
{
	static const struct hostile flood = { "progress without an end", REPEAT, OK_CLOSE CREATED, "{\"result\":{" HEADER "}}\n" };
	static struct suite_watch watch;
	struct suite_answer answer;
	uint64_t id;

	watch = (struct suite_watch){ .text = "" };
	atomic_store(&shared->now, &flood);
	atomic_store(&shared->asked, 0);
	id = suite_watch("a", "b", 9, &watch);
	suite_until(is_asked, NULL);
	answer = commit(&good);
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
		(void)commit(last);
		more += atomic_load(&shared->asked) != 1;
	}
	is_int(more, 0, "on a kept connection a request arrives once");
}

static void test_stop(const struct hostile *now, const char *text)
{
	struct suite_answer answer;

	open_engine();
	(void)commit(&good);
	answer = commit(now);
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "%s: %s", now->name, answer.why);
	ok(seen.damaged && strstr(seen.text, text), "it stops: %s", seen.text);
	answer = commit(&good);
	is_int((int)answer.outcome, ENGINE_REFUSED, "for good");
	is_int(atomic_load(&shared->asked), 0, "nothing is sent any more");
	close_engine();
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
	close_engine();
	test_stop(&older, "backup");
	test_stop(&other, "cluster");
	test_memory();
	suite_uv_fini();
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return done();
}
