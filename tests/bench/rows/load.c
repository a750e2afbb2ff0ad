/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on HTTP servers: so many clients, each of which makes one request after the
 * other, one thread with epoll.  A client has a keep-alive connection to one of the
 * servers, in turn, or with --wander to each of them.  For `make bench BENCH=rows`.
 *
 *	load --connections=256 --seconds=3 --method=POST --path=/v1/rows/r{r}/cells
 *	     --rows=64 --body=FILE --key ADDRESS:PORT...
 *
 * It prints one JSON object: requests, their rate, percentiles of their times in
 * milliseconds, and how many were answered otherwise than with 2xx.  Exit code 1
 * when nothing was answered, or a server hung up.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hist.h"
#include "lib/opt.h"
#include "lib/slice.h"

#define REPLY_MAX ((size_t)64 << 10)
#define BODY_MAX ((size_t)4 << 20)
#define EVENTS 256

static int64_t connections, seconds, rows, warm_ms, requests;
static const char *method, *path, *body_file, *field;
static bool with_key, wander;

static const struct opt opts[] = {
	{ .name = "connections", .letter = 'c', .type = OPT_INT, .target = &connections, .def = "1",
	  .min = 1, .max = 60000, .arg = "N", .help = "clients, with one request each on its way" },
	{ .name = "wander", .letter = 'w', .type = OPT_FLAG, .target = &wander,
	  .help = "each request goes to one of the servers, at random" },
	{ .name = "seconds", .letter = 's', .type = OPT_INT, .target = &seconds, .def = "3", .min = 1,
	  .max = 3600, .arg = "N", .help = "measure for so long" },
	{ .name = "requests", .letter = 'n', .type = OPT_INT, .target = &requests, .def = "0", .min = 0,
	  .max = INT64_MAX, .arg = "N", .help = "end after so many answers, however long it takes (0: by time)" },
	{ .name = "warm", .type = OPT_DURATION_MS, .target = &warm_ms, .def = "300ms", .arg = "TIME",
	  .help = "leave out what comes before" },
	{ .name = "method", .letter = 'm', .type = OPT_STRING, .target = &method, .def = "GET",
	  .arg = "METHOD", .help = "method of the requests" },
	{ .name = "path", .letter = 'p', .type = OPT_STRING, .target = &path, .def = "/",
	  .arg = "PATH", .help = "path; {r} is a number below --rows, at random" },
	{ .name = "rows", .type = OPT_INT, .target = &rows, .def = "1", .min = 1, .max = 1000000,
	  .arg = "N", .help = "how many numbers {r} can be" },
	{ .name = "body", .letter = 'b', .type = OPT_STRING, .target = &body_file, .arg = "FILE",
	  .help = "send the bytes of this file" },
	{ .name = "field", .type = OPT_STRING, .target = &field, .arg = "FIELD",
	  .help = "one header field more, \"Name: value\"" },
	{ .name = "key", .letter = 'k', .type = OPT_FLAG, .target = &with_key,
	  .help = "an Idempotency-Key of its own for each request" },
	{ .name = NULL },
};

/* A connection, with at most one request on its way. */
struct connection {
	int fd;           /* -1: it was closed */
	uint64_t sent_at; /* nanoseconds */
	size_t body_left; /* bytes of the answer that have not come */
	bool in_body;     /* its head has been read */
	struct buf reply; /* bytes that were not looked at yet */
	struct buf out;   /* what could not be sent at once */
};

/* What was seen. */
static struct {
	struct hist times;   /* nanoseconds, behind the warm-up */
	uint64_t answers;    /* all of them */
	uint64_t others;     /* answers that are not 2xx */
	uint64_t hung_up;    /* connections that the server closed */
	uint64_t number;     /* of the next request */
	uint64_t measure_at; /* the warm-up is over */
} seen;

static struct connection *all; /* `ways` of the first client, then of the next */
static size_t ways = 1;        /* connections of a client */
static struct buf body, request;
static uint64_t seed = 88172645463325252u;

static uint64_t random_number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ------------------------------------------------------------------- requests */

static void write_request(void)
{
	const char *at = strstr(path, "{r}");

	buf_reset(&request);
	if (at)
		buf_printf(&request, "%s %.*s%" PRIu64 "%s HTTP/1.1\r\nHost: bench\r\n", method,
			   (int)(at - path), path, random_number() % (uint64_t)rows, at + 3);
	else
		buf_printf(&request, "%s %s HTTP/1.1\r\nHost: bench\r\n", method, path);
	if (with_key)
		buf_printf(&request, "Idempotency-Key: %d-%" PRIu64 "\r\n", (int)getpid(), seen.number);
	if (field)
		buf_printf(&request, "%s\r\n", field);
	if (body_file)
		buf_printf(&request, "Content-Length: %zu\r\n", body.len);
	buf_add_str(&request, "\r\n");
	buf_add_slice(&request, buf_slice(&body));
	seen.number++;
}

static void push_out(struct connection *c)
{
	ssize_t n = c->out.len ? send(c->fd, c->out.ptr, c->out.len, MSG_NOSIGNAL) : 0;

	if (n > 0)
		buf_consume(&c->out, (size_t)n);
}

static void send_next(struct connection *c)
{
	ssize_t n;

	write_request();
	c->sent_at = clock_now(&clock_monotonic);
	n = send(c->fd, request.ptr, request.len, MSG_NOSIGNAL);
	if (n < 0)
		n = 0;
	if ((size_t)n < request.len)
		buf_add(&c->out, request.ptr + n, request.len - (size_t)n);
}

/* The next request of the client that has this connection. */
static void next(const struct connection *c)
{
	size_t client = (size_t)(c - all) / ways;

	send_next(&all[client * ways + (ways > 1 ? random_number() % ways : 0)]);
}

static void answered(struct connection *c)
{
	uint64_t now = clock_now(&clock_monotonic);

	seen.answers++;
	if (now >= seen.measure_at)
		hist_record(&seen.times, now - c->sent_at);
	c->in_body = false;
	next(c);
}

/* ------------------------------------------------------------------- answers */

static size_t length_of(const char *head)
{
	const char *at = strcasestr(head, "\r\nContent-Length:");

	return at ? strtoul(at + strlen("\r\nContent-Length:"), NULL, 10) : 0;
}

/* True when there was a head. */
static bool read_head(struct connection *c)
{
	const char *end = strstr(buf_str(&c->reply), "\r\n\r\n");

	if (!end)
		return false;
	if (strncmp(c->reply.ptr, "HTTP/1.1 2", 10) != 0)
		seen.others++;
	c->body_left = length_of(c->reply.ptr);
	c->in_body = true;
	buf_consume(&c->reply, (size_t)(end + 4 - c->reply.ptr));
	return true;
}

static void read_answers(struct connection *c)
{
	while (c->in_body || read_head(c)) {
		size_t n = c->reply.len < c->body_left ? c->reply.len : c->body_left;

		buf_consume(&c->reply, n);
		c->body_left -= n;
		if (c->body_left)
			return;
		answered(c);
	}
}

static void on_readable(struct connection *c)
{
	char bytes[16384];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || buf_add(&c->reply, bytes, (size_t)n)) {
		seen.hung_up++;
		close(c->fd);
		c->fd = -1;
		return;
	}
	read_answers(c);
}

/* ------------------------------------------------------------------ the load */

static int connect_to(const char *text)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct mp_str host, port;
	uint64_t number = 0;
	char name[64] = "";
	int fd, on = 1;

	if (!slice_cut(slice_of(text), ':', &host, &port) || slice_to_u64(port, &number) ||
	    host.len >= sizeof(name)) {
		errno = EINVAL;
		die(text);
	}
	memcpy(name, host.ptr, host.len);
	address.sin_port = htons((uint16_t)number);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (inet_pton(AF_INET, name, &address.sin_addr) != 1 || fd < 0 ||
	    connect(fd, (const void *)&address, sizeof(address)))
		die(text);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* else it is slower */
	return fd;
}

static void start(struct connection *c, const char *target, int poller)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };

	c->fd = connect_to(target);
	buf_init(&c->reply, REPLY_MAX);
	buf_init(&c->out, BODY_MAX + REPLY_MAX);
	if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event))
		die("epoll");
}

/* Has it run long enough? */
static bool is_over(uint64_t end)
{
	return requests ? seen.answers >= (uint64_t)requests : clock_now(&clock_monotonic) >= end;
}

static void run(int poller, uint64_t end)
{
	struct epoll_event events[EVENTS];

	while (!is_over(end) && seen.hung_up < (uint64_t)connections) {
		int n = epoll_wait(poller, events, EVENTS, 100);

		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;

			on_readable(c);
			if (c->fd >= 0)
				push_out(c);
		}
		for (size_t i = 0; n == 0 && i < (size_t)connections * ways; i++)
			push_out(&all[i]); /* a body that the socket's buffer had no room for */
	}
}

static double ms(double percent)
{
	return (double)hist_percentile(&seen.times, percent) / 1e6;
}

static int report(void)
{
	double took_s = (double)(clock_now(&clock_monotonic) - seen.measure_at) / 1e9;

	printf("{\"requests\":%" PRIu64 ",\"rate\":%.0f,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,"
	       "\"max\":%.4f,\"others\":%" PRIu64 ",\"hung_up\":%" PRIu64 "}\n",
	       hist_count(&seen.times), (double)hist_count(&seen.times) / took_s, ms(50),
	       ms(90), ms(99), ms(100), seen.others, seen.hung_up);
	return hist_count(&seen.times) && !seen.hung_up ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct opt_command cmd = { .name = "load", .usage = "[OPTION]... ADDRESS:PORT...",
						.summary = "load on HTTP servers", .opts = opts };
	struct err err = { 0 };
	uint64_t begin;
	int first, poller = epoll_create1(EPOLL_CLOEXEC), rc = opt_parse(&cmd, argc, argv, &first, &err);

	if (rc == OPT_HELP)
		opt_print_help(stdout, &cmd);
	if (!rc && body_file)
		rc = file_read(body_file, BODY_MAX, &body, &err);
	if (rc || first >= argc || poller < 0) {
		fprintf(stderr, "load: %s\n", err.text[0] ? err.text : "no address");
		return 2;
	}
	buf_init(&request, BODY_MAX + REPLY_MAX);
	ways = wander ? (size_t)(argc - first) : 1;
	all = calloc((size_t)connections * ways, sizeof(*all));
	if (!all)
		die("memory");
	seed ^= (uint64_t)getpid() << 20;
	for (size_t i = 0; i < (size_t)connections * ways; i++)
		start(&all[i], argv[first + (int)(i % (size_t)(argc - first))], poller);
	for (size_t i = 0; i < (size_t)connections; i++)
		next(&all[i * ways]);
	begin = clock_now(&clock_monotonic);
	seen.measure_at = begin + (uint64_t)warm_ms * NS_PER_MS;
	run(poller, seen.measure_at + (uint64_t)seconds * NS_PER_S);
	return report();
}
