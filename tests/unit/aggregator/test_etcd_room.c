/* SPDX-License-Identifier: Apache-2.0 */
/* How full etcd is: what its members say of that, and what it leaves for cells (aggregator/etcd/room.h). */
#include "aggregator/etcd/room.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "lib/http_multi.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

#define MIB UINT64_C(1048576)

static void test_left(void)
{
	static const struct { uint64_t size, in_use, left; const char *what; } cases[] = {
		{ 20480, 20480, 80 * MIB - 20480, "nearly all of four fifths" },
		{ 80 * MIB - 1, 80 * MIB - 1, 1, "up to the last byte" },
		{ 80 * MIB, 80 * MIB, 0, "four fifths: nothing" },
		{ 200 * MIB, 200 * MIB, 0, "nothing above the quota either" },
		{ 85 * MIB, 20 * MIB, 0, "nor for what is free inside" },
		{ 60 * MIB, 20 * MIB, 20 * MIB, "but below" },
		{ UINT64_MAX, UINT64_MAX, 0, "the greatest numbers" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cluster_sizes sizes = { cases[i].size, cases[i].in_use };

		is_u64(etcd_room_left(&sizes, 100 * MIB), cases[i].left, "%s", cases[i].what);
	}
	is_u64(etcd_room_left(&(struct cluster_sizes){ 1, 1 }, 0), 0, "no quota, no room");
}

static void test_read(void)
{
	static const char whole[] = "{\"header\":{\"cluster_id\":\"1\",\"member_id\":\"2\"},\"version\":\"3.4.23\","
		"\"dbSize\":\"16805888\",\"leader\":\"2\",\"raftIndex\":\"9\",\"raftTerm\":\"2\",\"dbSizeInUse\":\"16388096\"}";
	static const struct { const char *text, *what; } wrong[] = {
		{ "", "nothing" },
		{ "[]", "an array" },
		{ "{}", "no size" },
		{ "{\"dbSize\":\"0\"}", "a size of 0" },
		{ "{\"dbSize\":16805888}", "a number" },
		{ "{\"dbSize\":\"18446744073709551616\"}", "too large a number" },
		{ "{\"dbSize\":\"-1\"}", "a negative one" },
		{ "{\"dbSize\":\"1\",\"dbSizeInUse\":{}}", "an object in use" },
	};
	struct cluster_sizes sizes;
	struct err err = { 0 };

	is_int(cluster_sizes_read(slice_of(whole), &sizes, &err), 0, "a status is read (%s)", err.text);
	ok(sizes.size == 16805888 && sizes.in_use == 16388096, "its sizes");
	is_int(cluster_sizes_read(MP_LIT("{\"dbSize\":\"4096\"}"), &sizes, &err), 0, "one that does not say what is in use");
	is_u64(sizes.in_use, 4096, "all of it is");
	is_int(cluster_sizes_read(MP_LIT("{\"dbSize\":\"4096\",\"dbSizeInUse\":\"8192\"}"), &sizes, &err), 0,
	       "one with more in use than there is");
	is_u64(sizes.in_use, 4096, "not more than that");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		is_int(cluster_sizes_read(slice_of(wrong[i].text), &sizes, &err), -EINVAL, "%s: %s", wrong[i].what, err.text);
}

/* ------------------------------------------------------------- members that die */

/* A member of etcd, so far as it tells its size. */
struct fake {
	uv_tcp_t tcp;
	char url[64];
	uint64_t size;      /* of its database; 0: it answers 503 */
	unsigned n_asked;
};

/* A connection to one; a request is one read. */
struct caller {
	uv_tcp_t tcp;
	uv_write_t write;
	struct fake *fake;
	char text[4096];
};

static uv_loop_t loop;
static struct etcd_room *room;
static unsigned n_closed;

static void on_caller_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *ret)
{
	struct caller *caller = handle->data;

	(void)wanted;
	*ret = uv_buf_init(caller->text, sizeof(caller->text));
}

static void on_written(uv_write_t *write, int status)
{
	(void)status; /* an answer that is lost is none */
	uv_close((uv_handle_t *)write->handle, on_caller_closed);
}

static void on_request(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	struct caller *caller = stream->data;
	uv_buf_t out = uv_buf_init(caller->text, 0);
	char body[64];

	(void)bytes;
	uv_read_stop(stream);
	if (n < 0) {
		uv_close((uv_handle_t *)stream, on_caller_closed);
		return;
	}
	caller->fake->n_asked++;
	(void)snprintf(body, sizeof(body), "{\"dbSize\":\"%" PRIu64 "\"}", caller->fake->size);
	out.len = (size_t)snprintf(caller->text, sizeof(caller->text), "HTTP/1.1 %s\r\nConnection: close\r\n"
				   "Content-Length: %zu\r\n\r\n%s", caller->fake->size ? "200 OK" : "503 No",
				   strlen(body), body);
	uv_write(&caller->write, stream, &out, 1, on_written);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct caller *caller = calloc(1, sizeof(*caller));

	(void)status;
	caller->fake = stream->data;
	uv_tcp_init(&loop, &caller->tcp);
	caller->tcp.data = caller;
	uv_accept(stream, (uv_stream_t *)&caller->tcp);
	uv_read_start((uv_stream_t *)&caller->tcp, give_room, on_request);
}

static void fake_open(struct fake *fake, uint64_t size)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int at_size = sizeof(at);

	*fake = (struct fake){ .size = size };
	uv_tcp_init(&loop, &fake->tcp);
	fake->tcp.data = fake;
	ok(!uv_tcp_bind(&fake->tcp, (struct sockaddr *)&at, 0) &&
	   !uv_listen((uv_stream_t *)&fake->tcp, 16, on_connection) &&
	   !uv_tcp_getsockname(&fake->tcp, (struct sockaddr *)&at, &at_size), "a member");
	(void)snprintf(fake->url, sizeof(fake->url), "http://127.0.0.1:%d", ntohs(at.sin_port));
}

static void on_learnt(void *ctx)
{
	(void)ctx; /* its state is looked at */
}

static void on_closed(void *ctx)
{
	(void)ctx;
	n_closed++;
}

/* Runs until the room that is left is that; false after 20 s. */
static bool comes_to(uint64_t left)
{
	uint64_t end = uv_hrtime() + UINT64_C(20000000000);

	while (etcd_room_state(room)->left != left && uv_hrtime() < end)
		uv_run(&loop, UV_RUN_ONCE);
	return etcd_room_state(room)->left == left;
}

/* Goes on until it was asked so many times more. */
static void ask_more(struct fake *fake, unsigned n)
{
	uint64_t end = uv_hrtime() + UINT64_C(20000000000);

	for (n += fake->n_asked; fake->n_asked < n && uv_hrtime() < end;)
		uv_run(&loop, UV_RUN_ONCE);
}

static void test_dead(void)
{
	struct fake full, empty;
	const struct http_multi_options how = { .connect_ms = 1000, .kept = 4 };
	struct etcd_room_options options = { .loop = &loop, .quota = 100 * MIB, .learnt = on_learnt };
	struct err err = { 0 };

	uv_loop_init(&loop);
	fake_open(&full, 90 * MIB);
	fake_open(&empty, MIB);
	is_int(http_multi_open(&loop, &how, &options.http, &err), 0, "a way to them");
	room = etcd_room_new(&options);
	etcd_room_set(room, (const char *const[]){ full.url, empty.url }, 2);
	ok(comes_to(0), "the fullest one counts");
	full.size = 0;
	ask_more(&empty, 4);
	is_u64(etcd_room_state(room)->left, 0, "and goes on to when it is silent for a while");
	ok(comes_to(79 * MIB), "but not for ever");
	full.size = 70 * MIB;
	ok(comes_to(10 * MIB), "one that is back counts again");
	full.size = 90 * MIB;
	ok(comes_to(0), "the fullest one, as before");
	uv_close((uv_handle_t *)&full.tcp, NULL);
	ok(comes_to(79 * MIB), "nobody listens there any more: it is forgotten");
	uv_close((uv_handle_t *)&empty.tcp, NULL);
	for (uint64_t end = uv_hrtime() + UINT64_C(1500000000); uv_hrtime() < end;)
		uv_run(&loop, UV_RUN_ONCE);
	is_u64(etcd_room_state(room)->left, 79 * MIB, "when none answers, the last one that did counts");
	etcd_room_close(room, on_closed, NULL);
	http_multi_close(options.http, on_closed, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	is_int((int)n_closed, 2, "all is closed");
	is_int(uv_loop_close(&loop), 0, "the loop, too");
}

int main(void)
{
	test_left();
	test_read();
	test_dead();
	return done();
}
