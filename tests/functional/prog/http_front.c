/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP front (aggregator/http) with handlers that a test can drive:
 *
 *	http_front [OPTION]...     prints its port; SIGTERM stops it with a second's
 *	                           grace, and it prints "stopped" and its numbers
 *
 *	GET  /fast              an answer of a few bytes at once
 *	POST /fast              201 at once; /open: the same for anyone
 *	POST /echo/{name}       the body, with the name and a query's `q` in fields
 *	GET  /late?ms=N         an answer after N milliseconds; never without N
 *	GET  /big?bytes=N       so many bytes
 *	GET  /ticks?n=N&ms=M    a stream of N lines (0: for ever), one each M ms
 *	GET  /flood             a stream as fast as it is read, of 64 MiB
 *	GET  /blast             one that does not wait for its reader, ended when too slow
 *	GET  /row/{name}        read right; PUT: put right; DELETE: admin right
 *	GET  /who               who it is, for anyone
 *	GET  /stats             the front's numbers, for anyone
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "aggregator/http/server.h"
#include "lib/log.h"
#include "lib/opt.h"
#include "lib/slice.h"

#define BODY_MAX ((size_t)4 << 20)
#define FLOOD ((uint64_t)64 << 20)

static uv_loop_t *loop;
static struct http_server *server;
static uv_signal_t on_term;
static int64_t port, threads, total, per_address, head_ms, idle_ms, body_ms, rate, body_total;
static int64_t stream_total, grace_ms;
static const char *address, *cert, *key, *ca, *tokens;
static uint64_t n_gone, n_kept, n_changed;

/* A request that is answered later, or a stream that ticks. */
struct later {
	struct http_req *req; /* NULL when it was answered */
	uv_timer_t timer;     /* its own */
	struct mp_str mark;   /* field X-Mark, borrowed from the request */
	char copy[64];        /* what it was */
	uint64_t left;        /* lines; UINT64_MAX: no end */
	uint64_t written;     /* bytes */
};

/* --------------------------------------------------------------- at once */

static const struct http_field plain[] = { { "Content-Type", "text/plain" }, { NULL, NULL } };

static uint64_t number(const struct http_req *req, const char *name, uint64_t otherwise)
{
	struct mp_str text;
	uint64_t n;

	return http_query(req, name, &text) && !slice_to_u64(text, &n) ? n : otherwise;
}

static void get_fast(void *ctx, struct http_req *req)
{
	(void)ctx;
	http_answer(req, 200, plain, MP_LIT("hello\n"));
}

static void post_fast(void *ctx, struct http_req *req)
{
	(void)ctx;
	http_answer(req, 201, plain, MP_LIT("{\"row\":\"bench\",\"seq\":1}"));
}

static void post_echo(void *ctx, struct http_req *req)
{
	struct mp_str name = http_param(req, "name"), q = { "", 0 };
	char name_text[300], q_text[300];
	struct buf copy;
	const struct http_field fields[] = { { "X-Name", name_text }, { "X-Query", q_text },
					     { NULL, NULL } };

	(void)ctx;
	(void)http_query(req, "q", &q);
	(void)snprintf(name_text, sizeof(name_text), "%.*s", SLICE_ARG(name));
	(void)snprintf(q_text, sizeof(q_text), "%.*s", SLICE_ARG(q));
	http_take_body(req, &copy);
	http_answer_buf(req, 200, fields, &copy);
	buf_fini(&copy);
}

static void get_big(void *ctx, struct http_req *req)
{
	uint64_t n = number(req, "bytes", 1 << 20);
	struct buf body;
	char *at;

	(void)ctx;
	buf_init(&body, (size_t)64 << 20);
	at = buf_reserve(&body, n);
	if (at) {
		memset(at, 'x', n);
		buf_commit(&body, n);
	}
	http_answer_buf(req, 200, plain, &body);
}

static void guarded(struct http_req *req, enum http_right right)
{
	struct mp_str name = http_param(req, "name");

	if (right == RIGHT_ADMIN) {
		http_audit(req, "delete row");
		http_audit_text(req, "row", name);
	}
	if (!http_may(req, right, name)) {
		http_deny(req);
		return;
	}
	http_answer(req, 200, plain, name);
}

static void row_get(void *ctx, struct http_req *req)
{
	(void)ctx;
	guarded(req, RIGHT_READ);
}

static void row_put(void *ctx, struct http_req *req)
{
	(void)ctx;
	guarded(req, RIGHT_PUT);
}

static void row_delete(void *ctx, struct http_req *req)
{
	(void)ctx;
	guarded(req, RIGHT_ADMIN);
}

static void get_who(void *ctx, struct http_req *req)
{
	struct buf text;

	(void)ctx;
	buf_init(&text, 4096);
	buf_printf(&text, "%s\n", http_who(req));
	http_answer_buf(req, 200, plain, &text);
	buf_fini(&text);
}

static void print_stats(struct buf *out)
{
	struct http_stats s;

	http_server_stats(server, &s);
	buf_printf(out,
		   "{\"requests\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"streams\":%" PRIu64
		   ",\"over_total\":%" PRIu64 ",\"over_address\":%" PRIu64 ",\"cut_head\":%" PRIu64
		   ",\"cut_idle\":%" PRIu64 ",\"cut_body\":%" PRIu64 ",\"cut_answer\":%" PRIu64
		   ",\"refused\":%" PRIu64 ",\"held\":%" PRIu64 ",\"unread\":%" PRIu64
		   ",\"gone\":%" PRIu64 ",\"kept\":%" PRIu64 ",\"changed\":%" PRIu64 "}\n",
		   s.requests, s.connections, s.streams, s.over_total, s.over_address, s.cut_head,
		   s.cut_idle, s.cut_body, s.cut_answer, s.refused, s.held, s.unread, n_gone,
		   n_kept, n_changed);
}

static void get_stats(void *ctx, struct http_req *req)
{
	struct buf text;

	(void)ctx;
	buf_init(&text, 4096);
	print_stats(&text);
	http_answer_buf(req, 200, plain, &text);
	buf_fini(&text);
}

/* ---------------------------------------------------------------------- later */

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static struct later *later_new(struct http_req *req)
{
	struct later *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	l->req = req;
	uv_timer_init(loop, &l->timer);
	l->timer.data = l;
	return l;
}

static void later_end(struct later *l)
{
	l->req = NULL;
	uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}

static void late_answer(uv_timer_t *timer)
{
	struct later *l = timer->data;

	http_answer(l->req, 200, plain, MP_LIT("late\n"));
	later_end(l);
}

/* What was borrowed is there until the answer. */
static void nobody(uv_timer_t *timer)
{
	struct later *l = timer->data;

	*(slice_eq(l->mark, slice_of(l->copy)) ? &n_kept : &n_changed) += 1;
	http_answer(l->req, 200, plain, MP_LIT("nobody\n"));
	later_end(l);
}

/* The answer is owed all the same, and takes its time. */
static void late_gone(void *ctx)
{
	struct later *l = ctx;

	n_gone++;
	uv_timer_start(&l->timer, nobody, 300, 0);
}

static void get_late(void *ctx, struct http_req *req)
{
	struct later *l = later_new(req);
	uint64_t ms = number(req, "ms", UINT64_MAX);

	(void)ctx;
	(void)http_header(req, "X-Mark", &l->mark);
	(void)snprintf(l->copy, sizeof(l->copy), "%.*s", SLICE_ARG(l->mark));
	http_on_gone(req, late_gone, l);
	if (ms != UINT64_MAX)
		uv_timer_start(&l->timer, late_answer, ms, 0);
}

/* -------------------------------------------------------------------- streams */

static void stream_end(struct later *l, struct mp_str farewell)
{
	http_stream_end(l->req, farewell);
	later_end(l);
}

static void stream_gone(void *ctx)
{
	n_gone++;
	stream_end(ctx, MP_LIT(""));
}

static struct later *stream_begin(struct http_req *req)
{
	struct later *l = later_new(req);

	http_on_gone(req, stream_gone, l);
	if (!http_stream_open(req, 200, plain))
		return l;
	stream_gone(l);
	return NULL;
}

static void on_tick(uv_timer_t *timer)
{
	struct later *l = timer->data;
	char line[64];
	int n = snprintf(line, sizeof(line), "tick %" PRIu64 "\n", l->left);
	int rc = http_stream_write(l->req, slice_make(line, (size_t)n));

	if (rc == -ENOBUFS)
		stream_end(l, MP_LIT("too slow\n"));
	else if (l->left != UINT64_MAX && !--l->left)
		stream_end(l, MP_LIT("bye\n"));
}

static void get_ticks(void *ctx, struct http_req *req)
{
	uint64_t n = number(req, "n", 0), ms = number(req, "ms", 10);
	struct later *l = stream_begin(req);

	(void)ctx;
	if (!l)
		return;
	l->left = n ? n : UINT64_MAX;
	uv_timer_start(&l->timer, on_tick, 0, ms ? ms : 1);
}

static void more_flood(void *ctx)
{
	static char block[65536];
	struct later *l = ctx;

	memset(block, 'f', sizeof(block));
	while (l->written < FLOOD) {
		if (http_stream_write(l->req, slice_make(block, sizeof(block)))) {
			http_stream_on_drain(l->req, 1 << 18, more_flood, l);
			return;
		}
		l->written += sizeof(block);
	}
	stream_end(l, MP_LIT("end"));
}

static void get_flood(void *ctx, struct http_req *req)
{
	struct later *l = stream_begin(req);

	(void)ctx;
	if (l)
		more_flood(l);
}

static void on_blast(uv_timer_t *timer)
{
	static char block[65536];
	struct later *l = timer->data;

	memset(block, 'b', sizeof(block));
	for (int i = 0; i < 8; i++) {
		if (http_stream_write(l->req, slice_make(block, sizeof(block)))) {
			stream_end(l, MP_LIT("too slow\n"));
			return;
		}
	}
}

static void get_blast(void *ctx, struct http_req *req)
{
	struct later *l = stream_begin(req);

	(void)ctx;
	if (l)
		uv_timer_start(&l->timer, on_blast, 0, 1);
}

/* ----------------------------------------------------------------------- main */

static const struct http_route routes[] = {
	{ HTTP_GET, "/fast", 0, get_fast, false },
	{ HTTP_POST, "/fast", BODY_MAX, post_fast, false },
	{ HTTP_POST, "/echo/{name}", BODY_MAX, post_echo, false },
	{ HTTP_GET, "/late", 0, get_late, false },
	{ HTTP_GET, "/big", 0, get_big, false },
	{ HTTP_GET, "/ticks", 0, get_ticks, false },
	{ HTTP_GET, "/flood", 0, get_flood, false },
	{ HTTP_GET, "/blast", 0, get_blast, false },
	{ HTTP_GET, "/row/{name}", 0, row_get, false },
	{ HTTP_PUT, "/row/{name}", BODY_MAX, row_put, false },
	{ HTTP_DELETE, "/row/{name}", 0, row_delete, false },
	{ HTTP_GET, "/who", 0, get_who, true },
	{ HTTP_GET, "/stats", 0, get_stats, true },
	{ HTTP_POST, "/open", BODY_MAX, post_fast, true },
	{ .path = NULL },
};

static const struct opt opts[] = {
	{ .name = "address", .type = OPT_STRING, .target = &address, .def = "127.0.0.1",
	  .help = "listen here" },
	{ .name = "port", .type = OPT_INT, .target = &port, .def = "0", .help = "listen there" },
	{ .name = "threads", .type = OPT_INT, .target = &threads, .def = "2", .help = "of libmicrohttpd" },
	{ .name = "connections", .type = OPT_INT, .target = &total, .def = "12000", .help = "most" },
	{ .name = "per-address", .type = OPT_INT, .target = &per_address, .def = "0", .help = "most" },
	{ .name = "head", .type = OPT_DURATION_MS, .target = &head_ms, .def = "10s", .help = "deadline" },
	{ .name = "idle", .type = OPT_DURATION_MS, .target = &idle_ms, .def = "60s", .help = "deadline" },
	{ .name = "body", .type = OPT_DURATION_MS, .target = &body_ms, .def = "20s", .help = "deadline" },
	{ .name = "rate", .type = OPT_SIZE, .target = &rate, .def = "16K", .help = "least rate" },
	{ .name = "body-total", .type = OPT_SIZE, .target = &body_total, .def = "256M",
	  .help = "bytes of all bodies" },
	{ .name = "stream-total", .type = OPT_SIZE, .target = &stream_total, .def = "256M",
	  .help = "bytes of all streams" },
	{ .name = "grace", .type = OPT_DURATION_MS, .target = &grace_ms, .def = "1s",
	  .help = "time of a stop" },
	{ .name = "cert", .type = OPT_STRING, .target = &cert, .help = "certificate file" },
	{ .name = "key", .type = OPT_STRING, .target = &key, .help = "key file" },
	{ .name = "ca", .type = OPT_STRING, .target = &ca, .help = "CA file" },
	{ .name = "tokens", .type = OPT_STRING, .target = &tokens, .help = "token file" },
	{ .name = NULL },
};

static void on_stopped(void *ctx)
{
	(void)ctx;
	printf("stopped gone=%" PRIu64 "\n", n_gone);
}

static void on_signal(uv_signal_t *handle, int number_of)
{
	(void)number_of;
	uv_close((uv_handle_t *)handle, NULL);
	http_server_stop(server, (int)grace_ms, on_stopped, NULL);
}

static struct http_options options(void)
{
	struct http_options o = http_options_default();

	o.address = address;
	o.port = (int)port;
	o.threads = (int)threads;
	o.connections = (int)total;
	o.per_address = (int)per_address;
	o.head_ms = (int)head_ms;
	o.idle_ms = (int)idle_ms;
	o.body_ms = (int)body_ms;
	o.least_rate = (int)rate;
	o.body_total = (size_t)body_total;
	o.stream_total = (size_t)stream_total;
	o.cert_file = cert;
	o.key_file = key;
	o.ca_file = ca;
	o.token_file = tokens;
	return o;
}

int main(int argc, char **argv)
{
	static const struct opt_command cmd = { .name = "http_front", .usage = "[OPTION]...",
						.summary = "the HTTP front for tests", .opts = opts };
	struct http_options o;
	struct err err = { 0 };
	int first, rc = opt_parse(&cmd, argc, argv, &first, &err);

	log_open("http_front", LOG_LEVEL_DEFAULT);
	loop = uv_default_loop();
	o = options();
	if (!rc)
		rc = http_server_start(&server, loop, &o, routes, NULL, &err);
	if (rc) {
		fprintf(stderr, "http_front: %s\n", err.text);
		uv_run(loop, UV_RUN_DEFAULT);
		return 1;
	}
	uv_signal_init(loop, &on_term);
	uv_signal_start(&on_term, on_signal, SIGTERM);
	printf("%d\n", http_server_port(server));
	fflush(stdout);
	uv_run(loop, UV_RUN_DEFAULT);
	return uv_loop_close(loop) ? 1 : 0;
}
