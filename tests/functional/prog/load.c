/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An app: calls a service on loopback again and again through libmiddlepipe,
 * heeds every verdict, and counts what becomes of its calls.
 *
 *   load --port N [--id N] [--numbers FILE] [--threads N] [--gap-us N] [--calls N] [--path P]
 *        [--field NAME] [--await]
 *
 * Each thread has a connection that it keeps alive; one that was answered by a
 * chain takes a short breath, as who is refused should.  Every call carries the
 * field X-Id: ID-SEQ, SEQ counting from 0, so that the service can tell which
 * are lost or doubled.  Ends on SIGTERM, or after so many calls, by finishing
 * the calls that are under way.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "lib/hist.h"
#include "lib/opt.h"
#include "lib/slice.h"
#include "tests/functional/prog/prog.h"

/* The page of numbers; survive.py has the same list. */
enum number {
	MADE,     /* calls */
	SERVED,   /* answered by the service */
	ANSWERED, /* answered by a chain instead */
	FAILED,   /* neither: what the app would notice */
	RAISED,   /* of ANSWERED: the marker says raise */
	SYNTHESIZED, /* responses that a chain has replaced */
	ASKED, PASSED, REPLIED, UNFILTERED, REFUSED, OVER_BUDGET, NO_SLOT, AWAY, LOST, CONNECTS,
	DOORBELLS, CONNECTED, /* from mp_counters_get() */
	P50_NS, P99_NS, MAX_NS, /* of a call, at the end */
	STATUS_5XX, /* of SERVED */
	THREADS,  /* that have ended */
	ASKED_BARE, /* of ASKED: let through without an edit */
};

#define FIELDS_MAX 64
#define BYTES_MAX 8192
#define BREATH_NS (NS_PER_MS / 5)
#define THREADS_MAX 80

static int64_t port, id, n_threads, gap_us, max_calls;
static bool await;
static const char *numbers_path, *path, *field;
static prog_number *numbers;
static _Atomic uint64_t next_seq;
static atomic_int ending; /* lock-free: a signal handler may write it */
static struct hist times[THREADS_MAX];
static char authority[32];

/* A thread's connection to the service and the call that it makes. */
struct caller {
	int fd; /* -1: none */
	struct hist *hist;
	struct mp_field fields[FIELDS_MAX];
	size_t n_fields;
	char id_text[48];
	char bytes[BYTES_MAX];
	struct mp_str path;
};

static void add(enum number number, uint64_t n)
{
	atomic_fetch_add_explicit(&numbers[number], n, memory_order_relaxed);
}

/* ---------------------------------------------------------------- the service */

static bool service_open(struct caller *c)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	if (c->fd >= 0)
		return true;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd >= 0 && !connect(c->fd, (struct sockaddr *)&at, sizeof(at))) {
		(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)); /* faster */
		return true;
	}
	if (c->fd >= 0)
		(void)close(c->fd); /* never used */
	c->fd = -1;
	return false;
}

static size_t request_write(struct caller *c)
{
	size_t n = (size_t)snprintf(c->bytes, BYTES_MAX, "GET %.*s HTTP/1.1\r\n", SLICE_ARG(c->path));

	for (size_t i = 0; i < c->n_fields; i++)
		n += (size_t)snprintf(c->bytes + n, n < BYTES_MAX ? BYTES_MAX - n : 0, "%.*s: %.*s\r\n",
				      SLICE_ARG(c->fields[i].name), SLICE_ARG(c->fields[i].value));
	n += (size_t)snprintf(c->bytes + n, n < BYTES_MAX ? BYTES_MAX - n : 0, "\r\n");
	return n < BYTES_MAX ? n : 0;
}

/* The status of the answer, 0 when the connection broke.  Bodies are of the same two bytes. */
static int response_read(struct caller *c)
{
	size_t n = 0;
	char *end;

	for (;;) {
		ssize_t got = recv(c->fd, c->bytes + n, BYTES_MAX - 1 - n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return 0;
		n += (size_t)got;
		c->bytes[n] = '\0';
		end = strstr(c->bytes, "\r\n\r\n");
		if (end && end + 4 + 2 <= c->bytes + n)
			return (int)strtol(c->bytes + sizeof("HTTP/1.1 ") - 1, NULL, 10);
	}
}

/* One request to the service: its status, or 0 and an MP_ERROR_*. */
static int service_call(struct caller *c, int *ret_error)
{
	size_t size;
	int status;

	*ret_error = MP_ERROR_REFUSED;
	if (!service_open(c))
		return 0;
	size = request_write(c);
	*ret_error = MP_ERROR_BROKEN;
	status = size && send(c->fd, c->bytes, size, MSG_NOSIGNAL) == (ssize_t)size ? response_read(c) : 0;
	if (status) {
		*ret_error = 0;
		return status;
	}
	(void)close(c->fd); /* it is broken already */
	c->fd = -1;
	return 0;
}

/* ------------------------------------------------------------------ the call */

static void field_put(struct caller *c, struct mp_str name, struct mp_str value)
{
	if (c->n_fields == FIELDS_MAX)
		prog_die("too many fields");
	c->fields[c->n_fields++] = (struct mp_field){ name, value };
}

static void field_drop(struct caller *c, struct mp_str name)
{
	size_t to = 0;

	for (size_t i = 0; i < c->n_fields; i++)
		if (!slice_eq_nocase(c->fields[i].name, name))
			c->fields[to++] = c->fields[i];
	c->n_fields = to;
}

static void edits_apply(struct caller *c, const struct mp_verdict *v)
{
	for (size_t i = 0; i < v->n_edits; i++) {
		const struct mp_edit *e = &v->edits[i];

		if (e->op != MP_EDIT_ADD)
			field_drop(c, e->field.name);
		if (e->op != MP_EDIT_REMOVE)
			field_put(c, e->field.name, e->field.value);
	}
	if (v->path.ptr)
		c->path = v->path;
}

static struct mp_request request_of(const struct caller *c)
{
	return (struct mp_request){ .size = sizeof(struct mp_request), .flags = MP_BODY_COMPLETE,
				    .method = MP_LIT("GET"), .scheme = MP_LIT("http"),
				    .authority = prog_str(authority), .path = c->path,
				    .fields = c->fields, .n_fields = c->n_fields };
}

/* Asks; true: the verdict is a reply.  Its memory lives on until the request has been sent. */
static bool ask(struct caller *c, struct mp_call *call, struct mp_verdict *v)
{
	struct mp_request request = request_of(c);
	int r = mp_ask(call, &request, v);

	while (r == MP_VERDICT_HOLD)
		r = mp_resume(call, v->delay_ns + NS_PER_MS, v);
	if (r == MP_VERDICT_REPLY)
		return true;
	if (r == MP_VERDICT_DELAY)
		prog_sleep(v->delay_ns);
	add(ASKED_BARE, !v->n_edits);
	edits_apply(c, v);
	return false;
}

/* Shows the response to a chain that wants it; true: it is replaced. */
static bool respond(const struct caller *c, struct mp_call *call, int status, int error)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_of(c);
	struct mp_response response = { .size = sizeof(response), .flags = MP_BODY_COMPLETE,
					.status = status, .error = error };
	bool replaced;

	if (!(call->wants & (MP_WANT_RESPONSE | MP_WANT_COPY)))
		return false;
	replaced = mp_respond(call, call->verdict == MP_GO ? &request : NULL, &response, &v) ==
		   MP_VERDICT_REPLY;
	mp_verdict_free(&v);
	return replaced;
}

static void answered(const struct mp_verdict *v)
{
	add(ANSWERED, 1);
	add(RAISED, v->raise == 1);
}

static void call_service(struct caller *c, struct mp_call *call, bool begun)
{
	int error, status = service_call(c, &error);
	uint64_t head_ns = prog_now();

	add(status ? SERVED : FAILED, 1);
	add(STATUS_5XX, status >= 500);
	if (!begun)
		return;
	if (respond(c, call, status, error))
		add(SYNTHESIZED, 1);
	mp_end(call, status, error, head_ns);
}

static struct mp_target target_of(void)
{
	return (struct mp_target){ .size = sizeof(struct mp_target), .port = (uint32_t)port,
				   .scheme = MP_LIT("http"), .host = MP_LIT("127.0.0.1"),
				   .path = prog_str(path) };
}

/* Takes the next number, unless all have been taken: by one operation, so that threads never make one call too many. */
static bool seq_take(uint64_t *ret_seq)
{
	*ret_seq = atomic_fetch_add(&next_seq, 1);
	return !max_calls || *ret_seq < (uint64_t)max_calls;
}

static void call_make(struct caller *c, uint64_t seq)
{
	struct mp_target target = target_of();
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_call call;
	uint64_t start = prog_now();
	int how;

	(void)snprintf(c->id_text, sizeof(c->id_text), "%d-%llu", (int)id, (unsigned long long)seq);
	c->n_fields = 0;
	c->path = prog_str(path);
	field_put(c, MP_LIT("Host"), prog_str(authority));
	field_put(c, MP_LIT("X-Id"), prog_str(c->id_text));
	if (field)
		field_put(c, prog_str(field), MP_LIT("1"));
	how = mp_begin(&target, &call, &v);
	if (how == MP_REPLY || (how == MP_ASK && ask(c, &call, &v))) {
		answered(&v);
		mp_end(&call, 0, 0, 0);
		prog_sleep(BREATH_NS);
	} else {
		call_service(c, &call, how != MP_NONE);
	}
	mp_verdict_free(&v);
	hist_record(c->hist, prog_now() - start);
}

/* ---------------------------------------------------------------- the program */

static void counters_show(void)
{
	struct mp_counters k = { .size = sizeof(k) };
	const uint64_t *const from[] = { &k.asked, &k.passed, &k.replied, &k.unfiltered, &k.refused,
					 &k.over_budget, &k.no_slot, &k.away, &k.lost, &k.connects,
					 &k.doorbells };

	mp_counters_get(&k);
	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++)
		atomic_store_explicit(&numbers[ASKED + i], *from[i], memory_order_relaxed);
	atomic_store_explicit(&numbers[CONNECTED], k.connected, memory_order_relaxed);
}

static void *caller_main(void *arg)
{
	struct caller *c = calloc(1, sizeof(*c));
	uint64_t seq;

	if (!c)
		prog_die("out of memory");
	c->fd = -1;
	c->hist = arg;
	while (!ending && seq_take(&seq)) {
		call_make(c, seq);
		counters_show();
		/* Last: who sees so many made finds all of them counted. */
		atomic_fetch_add(&numbers[MADE], 1);
		if (gap_us)
			prog_sleep((uint64_t)gap_us * 1000);
	}
	if (c->fd >= 0)
		(void)close(c->fd); /* nothing is under way */
	free(c);
	add(THREADS, 1);
	return NULL;
}

static void on_term(int signum)
{
	(void)signum;
	ending = 1;
}

/* Of many threads that begin at once only one connects; the calls of the others go through. */
static void lane_await(void)
{
	struct mp_target target = target_of();
	uint64_t end = prog_now() + 10 * NS_PER_S;

	while (mp_standing(&target) == MP_NONE && !ending) {
		if (prog_now() > end)
			prog_die("no lane");
		prog_sleep(NS_PER_MS);
	}
}

static void run(void)
{
	pthread_t threads[THREADS_MAX];

	if (await)
		lane_await();
	for (int64_t i = 0; i < n_threads; i++)
		if (pthread_create(&threads[i], NULL, caller_main, &times[i]))
			prog_die("pthread_create");
	for (int64_t i = 0; i < n_threads; i++)
		(void)pthread_join(threads[i], NULL); /* ours and joinable */
	for (int64_t i = 1; i < n_threads; i++)
		(void)hist_add(&times[0], &times[i]); /* far from full */
	atomic_store(&numbers[P50_NS], hist_percentile(&times[0], 50));
	atomic_store(&numbers[P99_NS], hist_percentile(&times[0], 99));
	atomic_store(&numbers[MAX_NS], hist_max(&times[0]));
	counters_show();
}

static const struct opt opts[] = {
	{ .name = "port", .type = OPT_INT, .target = &port, .min = 1, .max = 65535, .arg = "N",
	  .help = "port of the service" },
	{ .name = "id", .type = OPT_INT, .target = &id, .def = "0", .max = 63, .min = 0, .arg = "N",
	  .help = "first part of X-Id" },
	{ .name = "numbers", .type = OPT_STRING, .target = &numbers_path, .arg = "FILE",
	  .help = "page of numbers" },
	{ .name = "threads", .type = OPT_INT, .target = &n_threads, .def = "1", .min = 1,
	  .max = THREADS_MAX, .arg = "N", .help = "calls at once" },
	{ .name = "gap-us", .type = OPT_INT, .target = &gap_us, .def = "0", .arg = "N",
	  .help = "pause after each call" },
	{ .name = "calls", .type = OPT_INT, .target = &max_calls, .def = "0", .arg = "N",
	  .help = "end after so many, 0: on SIGTERM" },
	{ .name = "field", .type = OPT_STRING, .target = &field, .arg = "NAME",
	  .help = "one more field that each request carries" },
	{ .name = "await", .type = OPT_FLAG, .target = &await,
	  .help = "make no call before there is a lane" },
	{ .name = "path", .type = OPT_STRING, .target = &path, .def = "/", .arg = "PATH",
	  .help = "path to call" },
	{ .name = NULL },
};

int main(int argc, char **argv)
{
	static const struct opt_command command = { .name = "load", .usage = "[OPTION]...",
						    .summary = "call a service again and again",
						    .opts = opts };
	struct sigaction on_end = { .sa_handler = on_term };
	struct err err = { 0 };
	int first;

	if (opt_parse(&command, argc, argv, &first, &err) || !port)
		prog_die("load: %s", err.text[0] ? err.text : "--port is needed");
	numbers = prog_numbers(numbers_path);
	(void)snprintf(authority, sizeof(authority), "127.0.0.1:%d", (int)port);
	(void)sigaction(SIGTERM, &on_end, NULL); /* valid arguments */
	run();
	return 0;
}
