/* SPDX-License-Identifier: Apache-2.0 */
/* lib/http_multi.h: an answer that its caller does not want to the end is over, wherever that is. */
#include "lib/http_multi.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "lib/err.h"
#include "tests/lib/tap.h"

#define ALL ((size_t)8 << 20) /* bytes of an answer */

static uv_loop_t loop;
static uv_tcp_t server;
static char request[4096];
static char *answer;
static size_t answer_size;

/* What came of a request. */
static struct {
	size_t wanted, got;  /* bytes; then it wants no more */
	unsigned late, ends; /* parts behind that, and how often it ended */
	int status;
	char why[200];
} seen;

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *ret)
{
	(void)handle;
	(void)wanted;
	*ret = uv_buf_init(request, sizeof(request));
}

static void on_written(uv_write_t *write, int status)
{
	(void)status; /* who wants no more hangs up */
	uv_close((uv_handle_t *)write->handle, on_closed);
	free(write);
}

static void on_request(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	uv_buf_t out = uv_buf_init(answer, (unsigned)answer_size);
	uv_write_t *write = calloc(1, sizeof(*write));

	(void)bytes;
	uv_read_stop(stream);
	if (n < 0) {
		free(write);
		uv_close((uv_handle_t *)stream, on_closed);
		return;
	}
	uv_write(write, stream, &out, 1, on_written);
}

static void on_connection(uv_stream_t *stream, int status)
{
	uv_tcp_t *tcp = calloc(1, sizeof(*tcp));

	(void)status;
	uv_tcp_init(&loop, tcp);
	uv_accept(stream, (uv_stream_t *)tcp);
	uv_read_start((uv_stream_t *)tcp, give_room, on_request);
}

static int listen_here(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int size = sizeof(at);

	uv_tcp_init(&loop, &server);
	if (uv_tcp_bind(&server, (struct sockaddr *)&at, 0) || uv_listen((uv_stream_t *)&server, 16, on_connection) ||
	    uv_tcp_getsockname(&server, (struct sockaddr *)&at, &size))
		return 0;
	return ntohs(at.sin_port);
}

static bool on_data(void *ctx, struct mp_str bytes)
{
	(void)ctx;
	seen.late += seen.got >= seen.wanted;
	seen.got += bytes.len;
	return seen.got < seen.wanted;
}

static void on_done(void *ctx, const struct http_multi_end *end)
{
	(void)ctx;
	seen.ends++;
	seen.status = end->status;
	(void)snprintf(seen.why, sizeof(seen.why), "%s", end->status ? "" : end->why);
}

static void ask(struct http_multi *http, int port, size_t wanted)
{
	const struct http_multi_calls calls = { .data = on_data, .done = on_done };
	char url[64];
	uint64_t end = uv_hrtime() + UINT64_C(20000000000);

	memset(&seen, 0, sizeof(seen));
	seen.wanted = wanted;
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/", port);
	ok(http_multi_start(http, &(struct http_multi_request){ .url = url }, &calls), "asked for %zu bytes", wanted);
	while (!seen.ends && uv_hrtime() < end)
		uv_run(&loop, UV_RUN_ONCE);
}

static void on_multi_closed(void *ctx)
{
	(void)ctx; /* the loop has nothing more to do then */
}

int main(void)
{
	struct http_multi *http;
	struct err err = { 0 };
	size_t head;
	int port;

	answer = calloc(1, ALL + 100);
	head = (size_t)snprintf(answer, 100, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", ALL);
	answer_size = head + ALL;
	uv_loop_init(&loop);
	port = listen_here();
	is_int(http_multi_open(&loop, &(struct http_multi_options){ .connect_ms = 2000, .kept = 2 }, &http, &err), 0, "open");
	ask(http, port, SIZE_MAX);
	ok(seen.ends == 1 && seen.status == 200 && seen.got == ALL, "all of it comes, in rounds");
	/* A round takes 1 MiB: some of these ends are in what is brought again behind one. */
	for (size_t wanted = ((size_t)1 << 20) - 40000; wanted < ((size_t)1 << 20) + 60000; wanted += 5000) {
		ask(http, port, wanted);
		is_int((int)seen.ends, 1, "it ends");
		is_int(seen.status, 0, "as one that failed: %s", seen.why);
		is_int((int)seen.late, 0, "and nothing comes behind that");
	}
	http_multi_close(http, on_multi_closed, NULL);
	uv_close((uv_handle_t *)&server, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	is_int(uv_loop_close(&loop), 0, "nothing is left on the loop");
	free(answer);
	return done();
}
