/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subscribers of one row at several aggregators, and one who puts: how long after
 * its answer does a cell reach everybody?  One thread with epoll, so that all times
 * are of one clock.
 *
 *	subscribers --subscribers=1000 --seconds=10 --rate=10 --row=NAME ADDRESS:PORT...
 *
 * Prints one JSON object: percentiles of the times in milliseconds from the
 * putter's answer to a subscriber's receipt (0 for who had it before), cells, receipts, and
 * how many are missing.  Exit code 1 when any is.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/hist.h"
#include "lib/opt.h"
#include "lib/slice.h"

#define FRAME_HEAD 40      /* docs/rows-api.md */
#define FRAME_CELL 1
#define STREAM_MAX ((size_t)1 << 20)
#define CONTENT_SIZE 128
#define CELLS_MAX 100000
#define LAST_NS (5 * NS_PER_S) /* so long the last cells are waited for */
#define EVENTS 256

static int64_t n_subscribers, seconds, rate;
static const char *row;

static const struct opt opts[] = {
	{ .name = "subscribers", .type = OPT_INT, .target = &n_subscribers, .def = "1000", .min = 1, .max = 60000,
	  .arg = "N", .help = "so many, over all addresses in turn" },
	{ .name = "seconds", .type = OPT_INT, .target = &seconds, .def = "10", .min = 1, .max = 3600, .arg = "N",
	  .help = "put for so long" },
	{ .name = "rate", .type = OPT_INT, .target = &rate, .def = "10", .min = 1, .max = 1000, .arg = "N",
	  .help = "cells a second" },
	{ .name = "row", .type = OPT_STRING, .target = &row, .def = "notify", .arg = "NAME", .help = "its row" },
	{ .name = NULL },
};

/* A subscriber's connection. */
struct subscriber {
	int fd;
	struct buf in;      /* bytes of the answer that were not looked at yet */
	struct buf frames;  /* the same without HTTP's chunks */
	size_t chunk_left;  /* bytes of the chunk that have not come */
	bool headed;        /* the answer's head has been read */
	uint64_t next;      /* seq that is due */
};

static struct subscriber *all;
static int poller = -1, putter = -1;
static struct buf request, answer;
static uint64_t n_put, n_answered;        /* cells */
static uint64_t answered_at[CELLS_MAX + 2]; /* ns, by seq; 0: not yet */
static struct hist times;
static uint64_t receipts, ready;

/* Receipts of a cell that was not answered yet: they took no time. */
static uint64_t early;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "subscribers: %s\n", what);
	exit(1);
}

/* --------------------------------------------------------------------- sockets */

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

static void follow(int fd, void *who)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = who };

	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
		die(strerror(errno));
}

static void send_request(int fd)
{
	if (request.error || send(fd, request.ptr, request.len, MSG_NOSIGNAL) != (ssize_t)request.len)
		die("cannot send");
}

static void put_next(void)
{
	static const char content[CONTENT_SIZE];

	buf_reset(&request);
	buf_printf(&request, "POST /v1/rows/%s/cells HTTP/1.1\r\nHost: bench\r\nIdempotency-Key: s%" PRIu64
		   "\r\nContent-Length: %d\r\n\r\n", row, ++n_put, CONTENT_SIZE);
	buf_add(&request, content, CONTENT_SIZE);
	send_request(putter);
}

static void subscribe(struct subscriber *s, const char *address)
{
	s->fd = connect_to(address);
	s->next = 1;
	buf_init(&s->in, STREAM_MAX);
	buf_init(&s->frames, STREAM_MAX);
	buf_reset(&request);
	buf_printf(&request, "GET /v1/subscribe?row=%s&from=1&create=wait HTTP/1.1\r\nHost: bench\r\n"
		   "Accept: application/vnd.middlepipe.frames\r\n\r\n", row);
	send_request(s->fd);
	follow(s->fd, s);
}

/* --------------------------------------------------------------------- reading */

static void received(struct subscriber *s, uint64_t seq)
{
	uint64_t now = clock_now(&clock_monotonic);

	if (seq != s->next++)
		die("a cell is missing, or came twice");
	receipts++;
	if (seq <= CELLS_MAX && answered_at[seq])
		hist_record(&times, now - answered_at[seq]);
	else
		early++;
}

static void read_frames(struct subscriber *s)
{
	size_t at = 0;

	while (s->frames.len - at >= FRAME_HEAD) {
		const char *frame = s->frames.ptr + at;
		uint32_t size;
		uint64_t seq;

		memcpy(&size, frame, sizeof(size));
		memcpy(&seq, frame + 16, sizeof(seq));
		size = le32toh(size);
		if (s->frames.len - at < 4 + (size_t)size)
			break;
		if (frame[4] == FRAME_CELL)
			received(s, le64toh(seq));
		at += 4 + (size_t)size;
	}
	buf_consume(&s->frames, at);
}

/* Takes the next chunk's line; false when it is not whole. */
static bool read_chunk_line(struct subscriber *s, size_t *at)
{
	const char *from = s->in.ptr + *at, *end;

	while (s->in.len - *at >= 2 && !memcmp(from, "\r\n", 2))
		from += 2, *at += 2;
	end = memchr(from, '\n', s->in.len - *at);
	if (!end)
		return false;
	s->chunk_left = strtoul(from, NULL, 16);
	if (!s->chunk_left)
		die("a stream has ended");
	*at += (size_t)(end + 1 - from);
	return true;
}

static void read_chunks(struct subscriber *s)
{
	size_t at = 0;

	while (at < s->in.len && (s->chunk_left || read_chunk_line(s, &at))) {
		size_t n = s->in.len - at < s->chunk_left ? s->in.len - at : s->chunk_left;

		if (buf_add(&s->frames, s->in.ptr + at, n))
			die("out of memory");
		at += n;
		s->chunk_left -= n;
	}
	buf_consume(&s->in, at);
	read_frames(s);
}

static bool read_head(struct subscriber *s)
{
	const char *end = strstr(buf_str(&s->in), "\r\n\r\n");

	if (!end)
		return false;
	if (strncmp(s->in.ptr, "HTTP/1.1 200", 12) != 0 || !strcasestr(s->in.ptr, "chunked"))
		die(s->in.ptr);
	buf_consume(&s->in, (size_t)(end + 4 - s->in.ptr));
	ready++;
	return s->headed = true;
}

static bool take(int fd, struct buf *in)
{
	char bytes[65536];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 || buf_add(in, bytes, (size_t)n))
		die("an aggregator hung up");
	return true;
}

/* One put is under way at a time; its answer is short. */
static void on_answer(void)
{
	const char *end;

	if (!take(putter, &answer) || !(end = strstr(buf_str(&answer), "\r\n\r\n")) || !strchr(end, '}'))
		return;
	if (strncmp(answer.ptr, "HTTP/1.1 201", 12) != 0)
		die(answer.ptr);
	answered_at[++n_answered] = clock_now(&clock_monotonic);
	buf_reset(&answer);
	/* Who was told before it had to wait for nothing. */
	for (; early; early--)
		hist_record(&times, 0);
}

static void work(int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(poller, events, EVENTS, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct subscriber *s = events[i].data.ptr;

		if (!s)
			on_answer();
		else if (take(s->fd, &s->in) && (s->headed || read_head(s)))
			read_chunks(s);
	}
}

/* ----------------------------------------------------------------------- the run */

static void wait_ready(void)
{
	uint64_t end = clock_now(&clock_monotonic) + 30 * NS_PER_S;

	while (ready < (uint64_t)n_subscribers) {
		if (clock_now(&clock_monotonic) > end)
			die("not all could subscribe");
		work(100);
	}
}

static void put_all(void)
{
	uint64_t begin = clock_now(&clock_monotonic), cells = (uint64_t)(seconds * rate), end;

	while (n_put < cells || n_answered < n_put) {
		uint64_t now = clock_now(&clock_monotonic), due = begin + n_put * NS_PER_S / (uint64_t)rate;

		if (n_put < cells && n_answered == n_put && now >= due)
			put_next();
		work(n_answered == n_put && due > now ? (int)((due - now) / NS_PER_MS) + 1 : 10);
	}
	end = clock_now(&clock_monotonic) + LAST_NS;
	while (receipts < cells * (uint64_t)n_subscribers && clock_now(&clock_monotonic) < end)
		work(10);
}

static double ms(double percent)
{
	return (double)hist_percentile(&times, percent) / 1e6;
}

int main(int argc, char **argv)
{
	static const struct opt_command cmd = { .name = "subscribers", .usage = "[OPTION]... ADDRESS:PORT...",
						.summary = "times of notifications", .opts = opts };
	struct err err = { 0 };
	int first, rc = opt_parse(&cmd, argc, argv, &first, &err);
	uint64_t missing;

	if (rc == OPT_HELP)
		opt_print_help(stdout, &cmd);
	if (rc || first >= argc || seconds * rate > CELLS_MAX)
		die(err.text[0] ? err.text : "wants addresses");
	poller = epoll_create1(EPOLL_CLOEXEC);
	all = calloc((size_t)n_subscribers, sizeof(*all));
	if (poller < 0 || !all)
		die("out of memory");
	buf_init(&request, STREAM_MAX);
	buf_init(&answer, STREAM_MAX);
	for (int i = 0; i < n_subscribers; i++)
		subscribe(&all[i], argv[first + i % (argc - first)]);
	wait_ready();
	putter = connect_to(argv[first]);
	follow(putter, NULL);
	put_all();
	missing = n_put * (uint64_t)n_subscribers - receipts;
	printf("{\"cells\":%" PRIu64 ",\"receipts\":%" PRIu64 ",\"missing\":%" PRIu64 ",\"p50\":%.4f,\"p90\":%.4f,"
	       "\"p99\":%.4f,\"max\":%.4f}\n", n_put, receipts, missing, ms(50), ms(90), ms(99), ms(100));
	return missing ? 1 : 0;
}
