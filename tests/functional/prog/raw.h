/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The app's side of lib/lane.h without libmiddlepipe: for programs that say
 * hello in ways that the library would not, and do to a lane what it never does.
 */
#ifndef TESTS_FUNCTIONAL_PROG_RAW_H
#define TESTS_FUNCTIONAL_PROG_RAW_H

#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/lane.h"
#include "lib/lane_key.h"
#include "lib/slice.h"
#include "lib/wire.h"
#include "tests/functional/prog/prog.h"

#define RAW_WAIT_MS 10000

/* A connection, its welcome and, with WELCOME_OK, a lane. */
struct raw {
	int socket;
	struct lane_welcome welcome;
	size_t n_fds;
	int fds[WELCOME_FDS]; /* board, lane, answers, doorbell */
	char *lane;           /* mapped; NULL: none */
	size_t lane_size;
	const char *board;
	size_t board_size;
};

static inline int raw_connect(void)
{
	const char *path = getenv("MIDDLEPIPE_SOCK");
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (!path || strlen(path) >= sizeof(at.sun_path))
		prog_die("MIDDLEPIPE_SOCK is not set");
	memcpy(at.sun_path, path, strlen(path));
	if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at))) {
		(void)close(fd); /* never used */
		return -1;
	}
	return fd;
}

static inline struct lane_hello raw_hello(void)
{
	return (struct lane_hello){ .magic = HELLO_MAGIC, .major = LANE_MAJOR, .minor = LANE_MINOR,
				    .size = sizeof(struct lane_hello) };
}

/* Waits for the welcome and takes its descriptors; false: the connection ended without one. */
static inline bool raw_welcome(struct raw *raw)
{
	_Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof(raw->fds))];
	struct iovec part = { &raw->welcome, sizeof(raw->welcome) };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
			    .msg_controllen = sizeof(space) };
	struct pollfd p = { .fd = raw->socket, .events = POLLIN };
	struct cmsghdr *c;

	raw->n_fds = 0;
	if (poll(&p, 1, RAW_WAIT_MS) != 1 || recvmsg(raw->socket, &m, MSG_CMSG_CLOEXEC) <
	    (ssize_t)sizeof(raw->welcome))
		return false;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		raw->n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(raw->fds, CMSG_DATA(c), raw->n_fds * sizeof(int));
	}
	return true;
}

static inline void *raw_map(int fd, int protection, size_t *ret_size)
{
	struct stat st;
	void *map = fstat(fd, &st) ? MAP_FAILED :
		    mmap(NULL, (size_t)st.st_size, protection, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		prog_die("mmap: %s", strerror(errno));
	*ret_size = (size_t)st.st_size;
	return map;
}

/* Says a proper hello; true: there is a lane. */
static inline bool raw_open(struct raw *raw)
{
	struct lane_hello hello = raw_hello();

	*raw = (struct raw){ .socket = raw_connect() };
	if (raw->socket < 0)
		return false;
	if (send(raw->socket, &hello, sizeof(hello), MSG_NOSIGNAL) != (ssize_t)sizeof(hello) ||
	    !raw_welcome(raw) || raw->n_fds != WELCOME_FDS)
		return false;
	raw->board = raw_map(raw->fds[0], PROT_READ, &raw->board_size);
	raw->lane = raw_map(raw->fds[1], PROT_READ | PROT_WRITE, &raw->lane_size);
	return true;
}

static inline void raw_close(struct raw *raw)
{
	if (raw->lane)
		(void)munmap(raw->lane, raw->lane_size); /* ours and mapped */
	if (raw->board)
		(void)munmap((void *)(uintptr_t)raw->board, raw->board_size); /* likewise */
	for (size_t i = 0; i < raw->n_fds; i++)
		(void)close(raw->fds[i]); /* nothing is buffered in any of them */
	if (raw->socket >= 0)
		(void)close(raw->socket); /* likewise */
}

static inline struct lane_header *raw_header(const struct raw *raw)
{
	return (struct lane_header *)(void *)raw->lane;
}

static inline struct lane_slot *raw_slot(const struct raw *raw, uint64_t slots_offset, uint32_t i)
{
	return (struct lane_slot *)(void *)(raw->lane + slots_offset) + i;
}

static inline void raw_ring_bell(const struct raw *raw)
{
	uint64_t one = 1;

	if (write(raw->fds[3], &one, sizeof(one)) < 0)
		return; /* full: it rings already */
}

/* The head of a GET with a few fields, as the library would encode it. */
static inline uint32_t raw_head(char *memory, size_t size, const char *authority)
{
	struct wire_writer w;

	wire_start(&w, memory, size);
	wire_put_value(&w, WIRE_METHOD, MP_LIT("GET"));
	wire_put_value(&w, WIRE_SCHEME, MP_LIT("http"));
	wire_put_value(&w, WIRE_AUTHORITY, prog_str(authority));
	wire_put_value(&w, WIRE_PATH, MP_LIT("/"));
	wire_put(&w, WIRE_FIELD, MP_LIT("Accept"), MP_LIT("*/*"));
	wire_put(&w, WIRE_FIELD, MP_LIT("X-Long"), MP_LIT("0123456789012345678901234567890123456789"));
	return (uint32_t)w.size;
}

#endif
