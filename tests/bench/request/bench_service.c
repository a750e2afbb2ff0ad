/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service that clients and proxies call: answers each request with a small
 * 200, keeps connections alive, counts both.  One thread, epoll, loopback only.
 *
 *   bench_service        prints "port N"; ends when its standard input does
 *
 * GET /counts answers {"connections":N,"requests":N} and is itself not counted;
 * GET /fail answers 500, to see whether a proxy's breaker opens.
 * Requests have no body; a head past HEAD_MAX, or a peer that does not read,
 * loses its connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define CONNECTIONS_MAX 1024 /* by descriptor */
#define EVENTS 64

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
			     "Content-Length: 11\r\n\r\n{\"ok\":true}";

static const char failure[] = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";

/* A connection: what came and was not answered yet. */
struct connection {
	size_t len;          /* bytes in head */
	bool counted;        /* it made a request other than /counts */
	char head[HEAD_MAX];
};

static struct connection *connections[CONNECTIONS_MAX];
static uint64_t n_connections, n_requests;

static void drop(int fd)
{
	free(connections[fd]);
	connections[fd] = NULL;
	(void)close(fd); /* nothing was promised to the peer */
}

static bool send_all(int fd, const char *text, size_t size)
{
	return send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

static bool send_counts(int fd)
{
	char body[96], text[256];
	int size = snprintf(body, sizeof(body), "{\"connections\":%" PRIu64 ",\"requests\":%" PRIu64 "}",
			    n_connections, n_requests);

	size = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body);
	return send_all(fd, text, (size_t)size);
}

static bool serve(int fd, struct connection *connection)
{
	static const char counts[] = "GET /counts ", fail[] = "GET /fail ";

	if (!strncmp(connection->head, counts, sizeof(counts) - 1))
		return send_counts(fd);
	n_connections += !connection->counted;
	connection->counted = true;
	n_requests++;
	if (!strncmp(connection->head, fail, sizeof(fail) - 1))
		return send_all(fd, failure, sizeof(failure) - 1);
	return send_all(fd, answer, sizeof(answer) - 1);
}

/* Answers every whole head that is there; false: the connection is over. */
static bool on_bytes(int fd, struct connection *connection)
{
	ssize_t got = recv(fd, connection->head + connection->len, HEAD_MAX - 1 - connection->len,
			   MSG_DONTWAIT);
	char *end;

	if (got <= 0)
		return got < 0 && errno == EAGAIN;
	connection->len += (size_t)got;
	connection->head[connection->len] = '\0';
	while ((end = strstr(connection->head, "\r\n\r\n"))) {
		size_t used = (size_t)(end + 4 - connection->head);

		if (!serve(fd, connection))
			return false;
		connection->len -= used;
		memmove(connection->head, connection->head + used, connection->len + 1);
	}
	return connection->len < HEAD_MAX - 1;
}

static void on_connect(int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (fd < 0)
		return;
	if (fd >= CONNECTIONS_MAX || !(connections[fd] = calloc(1, sizeof(struct connection)))) {
		(void)close(fd); /* refused */
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)); /* only faster */
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		drop(fd);
}

static int listen_anywhere(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 128) ||
	    getsockname(fd, (struct sockaddr *)&at, &size)) {
		perror("bench_service");
		exit(1);
	}
	printf("port %d\n", ntohs(at.sin_port));
	fflush(stdout);
	return fd;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) {
		perror("bench_service: epoll_ctl");
		exit(1);
	}
}

int main(void)
{
	int listener = listen_anywhere(), epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[EVENTS];

	watch(epoll, listener);
	watch(epoll, STDIN_FILENO);
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == STDIN_FILENO)
				return 0; /* nothing is ever written to it: this is its end */
			if (fd == listener)
				on_connect(epoll, listener);
			else if (!on_bytes(fd, connections[fd]))
				drop(fd);
		}
	}
}
