/* SPDX-License-Identifier: Apache-2.0 */
/*
 * App processes that come and go: the socket on which they say hello, the
 * lanes they get, and how their end is noticed.  Control thread.
 *
 * A forked child keeps its parent's socket open, so a pidfd is watched
 * besides (request-path.md 1.5).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "scheduler/control.h"

#define WAITING_MAX 64     /* connections without a hello */
#define HELLO_MS 1000      /* time to say it */
#define LANES_A_PROCESS 4  /* one is the rule; another copy of the library may want its own */

/* A connection that has not said hello. */
struct visitor {
	struct control *control;
	uv_poll_t poll;
	uv_timer_t deadline;
	int fd;
	int closing; /* handles to be closed */
	struct list link;
};

/* ------------------------------------------------------------ lanes that go */

static void lane_gone(struct lane *lane)
{
	struct control *c = lane->control;

	c->lanes[lane->number] = NULL;
	c->lanes_reclaimed++;
	log_debug("lane reclaimed", "lane=%u pid=%d", lane->number, (int)lane->pid);
	lane_free(lane);
}

static void on_lane_handle_closed(uv_handle_t *handle)
{
	struct lane *lane = handle->data;

	if (--lane->closing == 0)
		lane_gone(lane);
}

static void lane_detached(void *control, struct mail *mail)
{
	struct lane *lane = ((struct lane_mail *)(void *)mail)->lane;

	(void)control;
	free(mail);
	lane->closing = 1 + (lane->pidfd >= 0);
	uv_close((uv_handle_t *)&lane->end_of_socket, on_lane_handle_closed);
	if (lane->pidfd >= 0)
		uv_close((uv_handle_t *)&lane->end_of_process, on_lane_handle_closed);
}

static int lane_send(struct control *c, struct lane *lane,
		     void (*there)(struct data *, struct mail *),
		     void (*back)(void *, struct mail *))
{
	struct lane_mail *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->mail.there = there;
	m->mail.back = back;
	m->lane = lane;
	data_post(c->data, &m->mail);
	return 0;
}

static void lane_end(struct lane *lane)
{
	if (lane->ending)
		return;
	if (lane_send(lane->control, lane, lane_detach_there, lane_detached) < 0)
		return; /* out of memory: the next event of the socket tries again */
	lane->ending = true;
	uv_poll_stop(&lane->end_of_socket);
	if (lane->pidfd >= 0)
		uv_poll_stop(&lane->end_of_process);
}

/* Nothing is expected on the socket any more: whatever happens there is its end. */
static void on_socket_end(uv_poll_t *handle, int status, int events)
{
	(void)status;
	(void)events;
	lane_end(handle->data);
}

/* ------------------------------------------------------------ lanes that come */

static int lane_number(const struct control *c)
{
	for (int i = 0; i < (int)c->options->lanes; i++)
		if (!c->lanes[i])
			return i;
	return -1;
}

/* True when the process has as many lanes as one may have: the others are not for it alone. */
static bool has_enough(const struct control *c, pid_t pid)
{
	uint32_t n = 0;

	for (int i = 0; pid > 0 && i < (int)c->options->lanes; i++)
		n += c->lanes[i] && c->lanes[i]->pid == pid;
	return n >= LANES_A_PROCESS;
}

uint32_t doorway_open_lanes(const struct control *c)
{
	uint32_t n = 0;

	for (int i = 0; i < (int)c->options->lanes; i++)
		n += c->lanes[i] != NULL;
	return n;
}

static void attached(void *control, struct mail *mail)
{
	(void)control;
	free(mail);
}

static int watch(struct control *c, struct lane *lane, int fd)
{
	int r = uv_poll_init(&c->loop, &lane->end_of_socket, fd);

	if (r < 0)
		return r;
	lane->socket = fd;
	lane->end_of_socket.data = lane->end_of_process.data = lane;
	uv_poll_start(&lane->end_of_socket, UV_READABLE | UV_DISCONNECT, on_socket_end);
	if (lane->pid > 0)
		lane->pidfd = (int)syscall(SYS_pidfd_open, lane->pid, 0);
	if (lane->pidfd < 0)
		return 0; /* another pid namespace: the socket alone tells */
	r = uv_poll_init(&c->loop, &lane->end_of_process, lane->pidfd);
	if (r < 0) {
		close(lane->pidfd);
		lane->pidfd = -1;
		return 0;
	}
	uv_poll_start(&lane->end_of_process, UV_READABLE, on_socket_end);
	return 0;
}

/* The answer to a hello; descriptors go with it.  Never blocks. */
static int welcome(int fd, uint32_t error, uint16_t minor, uint32_t number, const int *fds,
		   unsigned n_fds)
{
	struct lane_welcome w = { .magic = HELLO_MAGIC, .major = LANE_MAJOR, .minor = minor,
				  .size = sizeof(w), .error = error, .lane = number };
	struct iovec v = { &w, sizeof(w) };
	_Alignas(struct cmsghdr) char space[CMSG_SPACE(WELCOME_FDS * sizeof(int))] = { 0 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *h;

		m.msg_control = space;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
	}
	return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static pid_t peer_pid(int fd)
{
	struct ucred cred = { 0 };
	socklen_t size = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 ? 0 : cred.pid;
}

/* Only our own user and root may come in. */
static bool peer_allowed(int fd)
{
	struct ucred cred = { .uid = (uid_t)-1 };
	socklen_t size = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) == 0 &&
	       (cred.uid == getuid() || cred.uid == 0);
}

/* Opens a lane over the connection.  On failure the caller still owns fd. */
static int lane_open(struct control *c, int fd, uint16_t minor)
{
	int number = lane_number(c), r;
	struct err err = { 0 };
	struct lane *lane;

	r = lane_new(&c->data->limits.lane, (uint32_t)number, ++c->last_lane_id, &lane, &err);
	if (r < 0) {
		log_error("lane not opened", "reason=%s", LOG_STR(err.text));
		return r;
	}
	lane->control = c;
	lane->pid = peer_pid(fd);
	r = watch(c, lane, fd);
	if (r < 0) {
		lane_free(lane);
		return r;
	}
	c->lanes[number] = lane;
	c->lanes_opened++;
	if (lane_send(c, lane, lane_attach_there, attached) < 0 ||
	    welcome(fd, WELCOME_OK, minor, (uint32_t)number,
		    (int[]){ board_fd(c->data->board), lane->lane_fd, lane->answers_fd,
			     lane->doorbell }, WELCOME_FDS) < 0) {
		lane_end(lane);
		return 0;
	}
	/* The app has them now; a mapping is all that we need. */
	close(lane->lane_fd);
	close(lane->answers_fd);
	lane->lane_fd = lane->answers_fd = -1;
	log_debug("lane opened", "lane=%d pid=%d", number, (int)lane->pid);
	return 0;
}

/* ------------------------------------------------------------------ visitors */

static void on_visitor_closed(uv_handle_t *handle)
{
	struct visitor *v = handle->data;

	if (--v->closing)
		return;
	close(v->fd);
	v->control->n_waiting--;
	free(v);
}

static void visitor_end(struct visitor *v)
{
	if (v->closing)
		return;
	v->closing = 2;
	list_remove(&v->link); /* now: it must not be chosen to make room once more */
	uv_close((uv_handle_t *)&v->poll, on_visitor_closed);
	uv_close((uv_handle_t *)&v->deadline, on_visitor_closed);
}

static void on_visitor_late(uv_timer_t *timer)
{
	visitor_end(timer->data);
}

/* Answers a hello.  Takes the descriptor: it lives on in a lane, or is closed. */
static void hello_answer(struct control *c, int fd, const struct lane_hello *hello)
{
	uint16_t minor = hello->minor > LANE_MINOR ? LANE_MINOR : hello->minor;
	int board = board_fd(c->data->board);

	if (hello->major != LANE_MAJOR) {
		(void)welcome(fd, WELCOME_VERSION, LANE_MINOR, 0, NULL, 0);
	} else if (lane_number(c) < 0 || has_enough(c, peer_pid(fd))) {
		c->lanes_refused++;
		(void)welcome(fd, WELCOME_FULL, minor, 0, &board, 1);
	} else if (lane_open(c, fd, minor) == 0) {
		return;
	}
	close(fd);
}

/* 1: a hello, 0: not yet, -1: the end, or something else. */
static int hello_read(int fd, struct lane_hello *ret)
{
	/* No room for descriptors: the kernel drops any that come along. */
	ssize_t n = recv(fd, ret, sizeof(*ret), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n == (ssize_t)sizeof(*ret) && ret->magic == HELLO_MAGIC ? 1 : -1;
}

static void on_hello(uv_poll_t *handle, int status, int events)
{
	struct visitor *v = handle->data;
	struct lane_hello hello;
	int r = status < 0 ? -1 : hello_read(v->fd, &hello), fd;

	(void)events;
	if (r == 0)
		return;
	uv_poll_stop(&v->poll);
	/* A descriptor of its own: the lane has another handle in the loop's epoll. */
	fd = r > 0 ? fcntl(v->fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (fd >= 0)
		hello_answer(v->control, fd, &hello);
	visitor_end(v);
}

static void visitor_new(struct control *c, int fd)
{
	struct visitor *v = calloc(1, sizeof(*v));

	if (!v) {
		close(fd);
		return;
	}
	v->control = c;
	v->fd = fd;
	v->poll.data = v->deadline.data = v;
	c->n_waiting++;
	list_push_back(&c->waiting, &v->link);
	uv_timer_init(&c->loop, &v->deadline);
	if (uv_poll_init(&c->loop, &v->poll, fd) < 0) {
		v->closing = 1;
		list_remove(&v->link);
		uv_close((uv_handle_t *)&v->deadline, on_visitor_closed);
		return;
	}
	uv_poll_start(&v->poll, UV_READABLE | UV_DISCONNECT, on_hello);
	uv_timer_start(&v->deadline, on_visitor_late, HELLO_MS, 0);
}

/* Most have said hello, or are gone, by the time they are let in. */
static void visit(struct control *c, int fd)
{
	struct lane_hello hello;
	int r = peer_allowed(fd) ? hello_read(fd, &hello) : -1;

	if (r > 0) {
		hello_answer(c, fd, &hello);
		return;
	}
	/* Of those who wait without a word the first make room. */
	if (r == 0 && c->n_waiting >= WAITING_MAX && !list_empty(&c->waiting))
		visitor_end(LIST_ENTRY_OF(c->waiting.next, struct visitor, link));
	if (r == 0 && c->n_waiting < 2 * WAITING_MAX)
		visitor_new(c, fd);
	else
		close(fd);
}

static void on_door(uv_poll_t *handle, int status, int events)
{
	struct control *c = handle->data;

	(void)status;
	(void)events;
	for (unsigned i = 0; i < WAITING_MAX; i++) {
		int fd = accept4(c->options->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		visit(c, fd);
	}
}

int doorway_open(struct control *c, struct err *err)
{
	int r;

	c->lanes = calloc((size_t)c->options->lanes, sizeof(*c->lanes));
	if (!c->lanes)
		return err_set(err, -ENOMEM, "out of memory");
	list_init(&c->waiting);
	r = uv_poll_init(&c->loop, &c->door, c->options->listen_fd);
	if (r < 0)
		return err_set(err, r, "%s: %s", c->options->socket, uv_strerror(r));
	c->door.data = c;
	return 0;
}

void doorway_serve(struct control *c)
{
	uv_poll_start(&c->door, UV_READABLE, on_door);
}
