/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the scheduler: a Unix SEQPACKET socket, a hello, a welcome with
 * descriptors.  One thread at a time tries, for at most the budget, with
 * pauses that double; nobody else waits for it.
 *
 * Called by mp_begin when there is no connection or its scheduler is away.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buildpack-hooks/client/conn.h"

#define BACKOFF_MIN_NS (10 * NS_PER_MS)
#define BACKOFF_MAX_NS (250 * NS_PER_MS) /* an attempt costs microseconds */
#define FOREIGN_NS (30 * NS_PER_S) /* how long another major version is left alone */
#define WELCOME_MAX 256            /* bytes of a welcome; a newer one may be longer than ours */

/* What came with a welcome. */
struct welcome {
	struct lane_welcome message;
	int fds[WELCOME_FDS]; /* owned until they are adopted */
	size_t n_fds;
};

static int socket_open(struct live *live, struct conn *conn)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	r = client_fd_own(&conn->socket, fd);
	if (r < 0)
		return r;
	memcpy(address.sun_path, live->path, sizeof(live->path));
	/* A Unix socket connects at once or not at all: EAGAIN is a full backlog. */
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

static int hello_send(const struct conn *conn)
{
	struct lane_hello hello = {
		.magic = HELLO_MAGIC, .major = LANE_MAJOR, .minor = LANE_MINOR, .size = sizeof(hello),
	};

	return send(conn->socket.fd, &hello, sizeof(hello), MSG_NOSIGNAL) == (ssize_t)sizeof(hello) ?
		       0 : -EPIPE;
}

static int readable_wait(int fd, uint64_t deadline_ns)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	for (;;) {
		uint64_t now = client_now();
		struct timespec left;
		int n;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		left.tv_sec = (time_t)((deadline_ns - now) / NS_PER_S);
		left.tv_nsec = (long)((deadline_ns - now) % NS_PER_S);
		n = ppoll(&poll_fd, 1, &left, NULL);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static void fds_close(struct welcome *welcome)
{
	for (size_t i = 0; i < welcome->n_fds; i++)
		(void)close(welcome->fds[i]); /* never used */
	welcome->n_fds = 0;
}

/* Takes the descriptors out of the control data; what is no such thing is an error. */
static bool fds_take(struct msghdr *message, struct welcome *ret)
{
	bool good = !(message->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t size = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    size > sizeof(ret->fds) || ret->n_fds) {
			good = false;
			continue;
		}
		memcpy(ret->fds, CMSG_DATA(c), size);
		ret->n_fds = size / sizeof(int);
	}
	return good;
}

/* A welcome is whole and brings exactly the descriptors that go with its error. */
static bool welcome_ok(const struct welcome *welcome)
{
	static const size_t fds_of[] = {
		[WELCOME_OK] = WELCOME_FDS, [WELCOME_FULL] = 1, [WELCOME_VERSION] = 0,
	};
	const struct lane_welcome *m = &welcome->message;

	if (m->magic != HELLO_MAGIC || m->error >= sizeof(fds_of) / sizeof(fds_of[0]) ||
	    welcome->n_fds != fds_of[m->error])
		return false;
	return m->error == WELCOME_VERSION || (m->major == LANE_MAJOR && m->minor <= LANE_MINOR);
}

static int welcome_receive(const struct conn *conn, struct welcome *ret)
{
	/* Room for what was asked for and no more. */
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * WELCOME_FDS)];
	char bytes[WELCOME_MAX];
	struct iovec part = { bytes, sizeof(bytes) };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(conn->socket.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	bool good;

	ret->n_fds = 0;
	if (n < 0)
		return -errno;
	good = fds_take(&message, ret) && n >= (ssize_t)sizeof(ret->message);
	if (good) {
		memcpy(&ret->message, bytes, sizeof(ret->message));
		good = welcome_ok(ret);
	}
	if (good)
		return 0;
	fds_close(ret);
	return -EPROTO;
}

/* Remembers that this socket's owner speaks another version. */
static void foreign_note(struct live *live)
{
	struct stat st;

	if (stat(live->path, &st) < 0)
		return;
	live->foreign = (struct foreign){
		.until_ns = client_now() + FOREIGN_NS,
		.device = st.st_dev, .inode = st.st_ino, .changed = st.st_ctim,
	};
}

static bool is_foreign(const struct live *live)
{
	const struct foreign *f = &live->foreign;
	struct stat st;

	return f->until_ns > client_now() && !stat(live->path, &st) && st.st_dev == f->device &&
	       st.st_ino == f->inode && st.st_ctim.tv_sec == f->changed.tv_sec &&
	       st.st_ctim.tv_nsec == f->changed.tv_nsec;
}

static int welcome_adopt(struct live *live, struct conn *conn, struct welcome *welcome)
{
	int r;

	if (welcome->message.error == WELCOME_VERSION) {
		foreign_note(live);
		return -EPROTONOSUPPORT;
	}
	if (welcome->message.error == WELCOME_FULL)
		return client_map(conn, welcome->fds[0], -1, -1);
	r = client_fd_own(&conn->doorbell, welcome->fds[3]);
	if (client_map(conn, welcome->fds[0], welcome->fds[1], welcome->fds[2]) < 0)
		return -EPROTO;
	return r;
}

static int handshake(struct live *live, struct conn *conn)
{
	uint64_t deadline = client_now() + live->budget_ns;
	struct welcome welcome = { 0 };
	int r;

	if ((r = socket_open(live, conn)) < 0 || (r = hello_send(conn)) < 0 ||
	    (r = readable_wait(conn->socket.fd, deadline)) < 0 ||
	    (r = welcome_receive(conn, &welcome)) < 0)
		return r;
	return welcome_adopt(live, conn, &welcome);
}

/* True when it has given a lane. */
static bool attempt(struct live *live)
{
	struct conn *conn;
	bool lane;

	if (is_foreign(live))
		return false;
	conn = client_reserve(live);
	if (!conn)
		return false;
	if (handshake(live, conn) < 0) {
		client_discard(live, conn);
		return false;
	}
	lane = conn->lane;
	client_publish(live, conn);
	if (lane) {
		client_count(live, COUNT_CONNECTS);
		client_tell(live);
	}
	return lane;
}

static void schedule_next(struct live *live, bool success)
{
	uint64_t pause = success ? 0 : 2 * live->backoff_ns;

	pause = pause < BACKOFF_MIN_NS ? BACKOFF_MIN_NS : pause;
	pause = pause > BACKOFF_MAX_NS ? BACKOFF_MAX_NS : pause;
	live->backoff_ns = success ? 0 : pause;
	atomic_store(&live->retry_ns, client_now() + pause);
}

void client_connect(struct live *live, uint64_t seen, uint64_t now)
{
	struct quiet quiet;

	if (now < LOAD(live->retry_ns) || atomic_exchange(&live->connecting, 1))
		return;
	/* Another thread may have found one since the caller looked. */
	if (now >= LOAD(live->retry_ns) && atomic_load(&live->current) == seen) {
		quiet = client_quiet();
		schedule_next(live, attempt(live));
		client_quiet_end(quiet);
	}
	atomic_store(&live->connecting, 0);
}
