/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transaction that an owner sends for a put of one cell, on bare etcd through its
 * gateway: the same bytes, made by the same functions, one after the other, with
 * a watch of the whole tenant at every member.
 *
 *	bare_txn SECONDS ADDRESS:PORT...
 *
 * Requests go to the members in turn.  Prints one JSON object: p50 and p99 in
 * milliseconds, a second, how many, and the bytes of a request.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aggregator/rows/etcd_body.h"
#include "aggregator/rows/head.h"
#include "aggregator/rows/keys.h"
#include "aggregator/rows/meta.h"
#include "lib/clock.h"
#include "lib/hist.h"
#include "lib/slice.h"

#define MEMBERS_MAX 16
#define INCARNATION UINT64_C(0x1122334455667788)
#define OWNER "{\"format\":1,\"member\":\"a0\",\"nonce\":\"0011223344556677\",\"counter\":1}"

static struct hist times;
static struct buf prefix, meta_key, meta, owner_key, head_key, before, head, batch_key, batch, body, request;
static size_t request_size;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "bare_txn: %s\n", what);
	exit(1);
}

/* ----------------------------------------------------------------- connections */

static int connect_to(const char *text)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	const char *colon = strrchr(text, ':');
	char host[64];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		die("wants ADDRESS:PORT");
	(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	if (fd < 0 || inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
	    connect(fd, (const void *)&address, sizeof(address)))
		die(strerror(errno));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* else it is slower */
	return fd;
}

static void post(int fd, const char *path)
{
	buf_reset(&request);
	buf_printf(&request, "POST %s HTTP/1.1\r\nHost: etcd\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
		   path, body.len);
	if (buf_add_slice(&request, buf_slice(&body)) ||
	    send(fd, request.ptr, request.len, MSG_NOSIGNAL) != (ssize_t)request.len)
		die("cannot send");
	request_size = request.len;
}

/* Reads one whole answer into `reply`; false when it is none with 200. */
static bool read_answer(int fd, char *reply, size_t room)
{
	size_t have = 0, want = 0;
	const char *end, *length;

	while (!want || have < want) {
		ssize_t n = have + 1 < room ? recv(fd, reply + have, room - 1 - have, 0) : -1;

		if (n <= 0)
			return false;
		have += (size_t)n;
		reply[have] = '\0';
		end = want ? NULL : strstr(reply, "\r\n\r\n");
		length = end ? strcasestr(reply, "\r\nContent-Length:") : NULL;
		if (end && !length)
			return false;
		if (length)
			want = (size_t)(end - reply) + 4 + strtoul(length + 17, NULL, 10);
	}
	return !strncmp(reply, "HTTP/1.1 200", 12);
}

/* What a watch brings is read and forgotten. */
static void *drain(void *at)
{
	char bytes[65536];

	while (recv(*(int *)at, bytes, sizeof(bytes), 0) > 0)
		;
	return NULL;
}

static void watch(int fd)
{
	static int fds[MEMBERS_MAX];
	static size_t n;
	pthread_t thread;
	struct buf end;

	buf_init(&end, KEY_MAX);
	buf_reset(&body);
	if (key_range_end(&end, buf_slice(&prefix)) || etcd_body_watch(&body, buf_slice(&prefix), buf_slice(&end), 0))
		die("out of memory");
	post(fd, "/v3/watch");
	buf_fini(&end);
	fds[n] = fd;
	if (pthread_create(&thread, NULL, drain, &fds[n++]))
		die("no thread");
}

/* ----------------------------------------------------------------- transactions */

static struct mp_str value_of(const struct buf *text)
{
	return text->len ? buf_slice(text) : (struct mp_str){ 0 };
}

/* The batch of cell n, and the head that names it. */
static void make_cell(uint64_t n)
{
	static const char content[128];
	struct head next = { .incarnation = INCARNATION, .last = n, .floor = 1 };
	char key[64];
	struct cell cell = { .kind = CELL_DATA, .time_ms = clock_wall_now() / NS_PER_MS, .origin = MP_LIT("127.0.0.1"),
			     .content = slice_make(content, sizeof(content)) };

	cell.key = slice_make(key, (size_t)snprintf(key, sizeof(key), "%d-%" PRIu64, (int)getpid(), n));
	memcpy(next.batch.bytes, &n, sizeof(n));
	buf_reset(&head);
	buf_reset(&batch);
	buf_reset(&batch_key);
	if (head_write(&head, &next) || batch_begin(&batch, &next.batch, n) || batch_add(&batch, &cell) ||
	    batch_end(&batch) || key_cells(&batch_key, buf_slice(&prefix), MP_LIT("bare"), INCARNATION, n))
		die("out of memory");
}

static void make_txn(void)
{
	const struct engine_compare compares[] = {
		{ buf_slice(&meta_key), buf_slice(&meta) },
		{ buf_slice(&owner_key), MP_LIT(OWNER) },
		{ buf_slice(&head_key), value_of(&before) },
	};
	const struct engine_op ops[] = {
		{ ENGINE_PUT, buf_slice(&head_key), buf_slice(&head), false },
		{ ENGINE_PUT, buf_slice(&batch_key), buf_slice(&batch), false },
	};
	const struct mp_str reads[] = { buf_slice(&owner_key), buf_slice(&head_key), buf_slice(&batch_key) };
	const struct engine_txn txn = { compares, 3, ops, 2, reads, 3 };

	buf_reset(&body);
	if (etcd_body_txn(&body, &txn))
		die("out of memory");
}

static void put_first(int fd)
{
	const struct engine_op ops[] = {
		{ ENGINE_PUT, buf_slice(&meta_key), buf_slice(&meta), false },
		{ ENGINE_PUT, buf_slice(&owner_key), MP_LIT(OWNER), false },
		{ ENGINE_DELETE, buf_slice(&head_key), { 0 }, false },
	};
	const struct engine_txn txn = { .ops = ops, .n_ops = 3 };
	static char reply[65536];

	buf_reset(&body);
	if (etcd_body_txn(&body, &txn))
		die("out of memory");
	post(fd, "/v3/kv/txn");
	if (!read_answer(fd, reply, sizeof(reply)))
		die(reply);
}

static void put_cell(int fd, uint64_t n)
{
	static char reply[65536];
	uint64_t begin = clock_now(&clock_monotonic);

	make_cell(n);
	make_txn();
	post(fd, "/v3/kv/txn");
	if (!read_answer(fd, reply, sizeof(reply)) || !strstr(reply, "\"succeeded\":true"))
		die(reply);
	hist_record(&times, clock_now(&clock_monotonic) - begin);
	buf_reset(&before);
	buf_add_slice(&before, buf_slice(&head));
}

static void make_keys(void)
{
	struct buf *all[] = { &prefix, &meta_key, &meta, &owner_key, &head_key, &before, &head, &batch_key, &batch, &body,
			      &request };
	const struct meta begun = { .group = "00112233445566778899aabbccddeeff", .generation = 1, .shards = META_SHARDS };
	struct mp_str name = MP_LIT("bare");

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buf_init(all[i], 1u << 20);
	if (key_prefix(&prefix, MP_LIT("bare")) || key_meta(&meta_key, buf_slice(&prefix)) || meta_write(&meta, &begun) ||
	    key_owner(&owner_key, buf_slice(&prefix), row_shard(name, META_SHARDS)) ||
	    key_head(&head_key, buf_slice(&prefix), name))
		die("out of memory");
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? strtod(argv[1], NULL) : 0;
	size_t members = argc > 2 ? (size_t)argc - 2 : 0;
	uint64_t end, n = 0;
	int fd[MEMBERS_MAX];

	if (seconds <= 0 || !members || members > MEMBERS_MAX)
		die("wants SECONDS ADDRESS:PORT...");
	make_keys();
	for (size_t i = 0; i < members; i++) {
		fd[i] = connect_to(argv[2 + i]);
		watch(connect_to(argv[2 + i]));
	}
	put_first(fd[0]);
	end = clock_now(&clock_monotonic) + (uint64_t)(seconds * 1e9);
	while (clock_now(&clock_monotonic) < end) {
		n++;
		put_cell(fd[n % members], n);
	}
	printf("{\"requests\":%" PRIu64 ",\"rate\":%.0f,\"p50\":%.4f,\"p99\":%.4f,\"bytes\":%zu}\n", n, (double)n / seconds,
	       (double)hist_percentile(&times, 50) / 1e6, (double)hist_percentile(&times, 99) / 1e6, request_size);
	return 0;
}
