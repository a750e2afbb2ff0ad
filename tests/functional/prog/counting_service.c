/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service that knows whether each request was filtered by exactly one
 * epoch.  One thread, epoll, loopback only, connections kept alive.
 *
 *   counting_service [NUMBERS-FILE]    prints "port N"; ends when its standard input does
 *
 * A chain that edits names its epoch in X-Epoch: EPOCH/ORDER/FIELDS, for
 * example 17/AB/ac, and then the request must carry
 *   X-Order: A17, then X-Order: B17     in the order of ORDER, and no other
 *   X-A: 17 and X-C: 17                 the FIELDS, and none of the others of a..h
 * Anything else is MIXED.  A request with none of these fields is BARE.  X-Id:
 * APP-SEQ names the request: a SEQ that was seen before is DOUBLE.
 *
 * A path that begins with /NNN is answered with that status.  Bodies are "ok".
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "tests/functional/prog/prog.h"

/* The page of numbers; survive.py has the same list. */
enum number {
	REQUESTS, /* of all kinds */
	EDITED,   /* by exactly one epoch */
	BARE,     /* by none */
	MIXED,    /* anything else */
	DOUBLE,   /* seen before */
	NAMELESS, /* without X-Id */
	CONNECTIONS,
	EPOCHS,   /* different ones seen */
	LAST_EPOCH, /* of the newest request that was edited */
};

#define HEAD_MAX 8192
#define CONNECTIONS_MAX 1024 /* by descriptor */
#define APPS 64
#define SEQS (1u << 22) /* requests told apart, an app */
#define EPOCHS_MAX 65536
#define ORDER_MAX 8

struct connection {
	size_t len; /* bytes in head */
	char head[HEAD_MAX];
};

/* The X- fields of a request. */
struct marks {
	const char *epoch;             /* value of X-Epoch; NULL: none */
	unsigned n_epoch;              /* how many of them */
	const char *order[ORDER_MAX];  /* values of X-Order */
	unsigned n_order;
	const char *letter[8];         /* X-A to X-H; NULL: none */
	unsigned n_letter;             /* how many of them */
	const char *id;                /* X-Id */
};

static struct connection *connections[CONNECTIONS_MAX];
static prog_number *numbers;
static uint8_t seen[APPS][SEQS / 8];
static uint8_t epochs[EPOCHS_MAX];

static void add(enum number number)
{
	atomic_fetch_add_explicit(&numbers[number], 1, memory_order_relaxed);
}

static void drop(int fd)
{
	free(connections[fd]);
	connections[fd] = NULL;
	(void)close(fd); /* nothing was promised to the peer */
}

/* Takes note of one field; both parts end with NUL. */
static void mark(struct marks *m, const char *name, const char *value)
{
	if (strncasecmp(name, "x-", 2))
		return;
	if (!strcasecmp(name, "x-epoch")) {
		m->epoch = value;
		m->n_epoch++;
	} else if (!strcasecmp(name, "x-order")) {
		m->order[m->n_order < ORDER_MAX ? m->n_order : ORDER_MAX - 1] = value;
		m->n_order++;
	} else if (!strcasecmp(name, "x-id")) {
		m->id = value;
	} else if (!name[3] && tolower((unsigned char)name[2]) >= 'a' &&
		   tolower((unsigned char)name[2]) <= 'h') {
		m->letter[tolower((unsigned char)name[2]) - 'a'] = value;
		m->n_letter++;
	}
}

/* Cuts the next line off; NULL at the end. */
static char *line_next(char **rest)
{
	char *line = *rest, *end = line ? strstr(line, "\r\n") : NULL;

	if (end)
		*end = '\0';
	*rest = end ? end + 2 : NULL;
	return line && *line ? line : NULL;
}

/* Splits the head, which it changes; returns the status to answer with. */
static int head_read(char *head, struct marks *m)
{
	char *rest = head, *line = line_next(&rest), *path = line ? strchr(line, '/') : NULL;
	long status = path ? strtol(path + 1, NULL, 10) : 0;

	while ((line = line_next(&rest))) {
		char *colon = strchr(line, ':');

		if (!colon)
			continue;
		*colon = '\0';
		mark(m, line, colon + 1 + strspn(colon + 1, " "));
	}
	return status >= 200 && status < 600 ? (int)status : 200;
}

/* Exactly what X-Epoch says, and nothing else. */
static bool is_whole(const struct marks *m, uint64_t *ret_epoch)
{
	char epoch[24] = "", order[16] = "", fields[16] = "", want[48];
	unsigned n_fields = 0;

	if (m->n_epoch != 1 ||
	    sscanf(m->epoch, "%20[0-9]/%8[A-Z]/%8[a-h]", epoch, order, fields) != 3 ||
	    m->n_order != strlen(order))
		return false;
	for (unsigned i = 0; order[i]; i++) {
		(void)snprintf(want, sizeof(want), "%c%s", order[i], epoch);
		if (strcmp(m->order[i], want))
			return false;
	}
	for (; fields[n_fields]; n_fields++) {
		const char *have = m->letter[fields[n_fields] - 'a'];

		if (!have || strcmp(have, epoch))
			return false;
	}
	*ret_epoch = strtoull(epoch, NULL, 10);
	return m->n_letter == n_fields;
}

static void identify(const char *id)
{
	char *dash;
	unsigned long app = id ? strtoul(id, &dash, 10) : APPS;
	unsigned long seq = app < APPS && *dash == '-' ? strtoul(dash + 1, NULL, 10) : SEQS;

	if (seq >= SEQS) {
		add(NAMELESS);
		return;
	}
	if (seen[app][seq / 8] >> seq % 8 & 1)
		add(DOUBLE);
	seen[app][seq / 8] |= (uint8_t)(1u << seq % 8);
}

static void judge(const struct marks *m)
{
	uint64_t epoch = 0;

	add(REQUESTS);
	identify(m->id);
	if (!m->n_epoch && !m->n_order && !m->n_letter) {
		add(BARE);
	} else if (is_whole(m, &epoch)) {
		add(EDITED);
		if (epoch < EPOCHS_MAX && !epochs[epoch]) {
			epochs[epoch] = 1;
			add(EPOCHS);
		}
		atomic_store(&numbers[LAST_EPOCH], epoch);
	} else {
		add(MIXED);
		fprintf(stderr, "mixed: epoch \"%s\" (%u), %u orders, %u fields\n", m->epoch ? m->epoch : "",
			m->n_epoch, m->n_order, m->n_letter);
	}
}

static bool serve(int fd, char *head)
{
	struct marks m = { 0 };
	int status = head_read(head, &m);
	char answer[96];
	int n = snprintf(answer, sizeof(answer), "HTTP/1.1 %d Said\r\nContent-Length: 2\r\n\r\nok", status);

	judge(&m);
	return send(fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n;
}

/* Answers every whole head that is there; false: the connection is over. */
static bool on_bytes(int fd, struct connection *c)
{
	ssize_t got = recv(fd, c->head + c->len, HEAD_MAX - 1 - c->len, MSG_DONTWAIT);
	char *end;

	if (got <= 0)
		return got < 0 && errno == EAGAIN;
	c->len += (size_t)got;
	c->head[c->len] = '\0';
	while ((end = strstr(c->head, "\r\n\r\n"))) {
		size_t used = (size_t)(end + 4 - c->head);

		end[2] = '\0';
		if (!serve(fd, c->head))
			return false;
		c->len -= used;
		memmove(c->head, c->head + used, c->len + 1);
	}
	return c->len < HEAD_MAX - 1;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		prog_die("epoll_ctl: %s", strerror(errno));
}

static void on_connect(int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (fd >= CONNECTIONS_MAX || !(connections[fd] = calloc(1, sizeof(struct connection)))) {
		(void)close(fd); /* refused */
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)); /* only faster */
	add(CONNECTIONS);
	watch(epoll, fd);
}

static int listen_anywhere(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 512) ||
	    getsockname(fd, (struct sockaddr *)&at, &size))
		prog_die("listen: %s", strerror(errno));
	printf("port %d\n", ntohs(at.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	int listener, epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[64];

	numbers = prog_numbers(argc > 1 ? argv[1] : NULL);
	listener = listen_anywhere();
	watch(epoll, listener);
	watch(epoll, STDIN_FILENO);
	for (;;) {
		int n = epoll_wait(epoll, events, 64, -1);

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
