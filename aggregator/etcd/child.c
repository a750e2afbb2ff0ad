/* SPDX-License-Identifier: Apache-2.0 */
/* See child.h. */
#include "aggregator/etcd/child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "aggregator/etcd/proc.h"
#include "aggregator/etcd/spawn.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/slice.h"

#define PATH_SIZE 4200
#define PID_FILE_MAX 256
#define BOOT_SIZE 40
#define TAIL_SIZE 8192      /* bytes of the log that last words are looked for in */
#define WORDS_DEPTH 8       /* of JSON in its log */
#define COPY_SIZE 65536
#define DYING_MS 20         /* between two looks at a lock that a dying process holds */
#define DYING_TRIES 150

struct etcd_child {
	uv_loop_t *loop;         /* borrowed */
	char dir[PATH_SIZE - 100]; /* the aggregator's directory */
	char data[PATH_SIZE];    /* etcd's */
	char arg[PATH_SIZE + 16]; /* its argument by which it is known */
	pid_t pid;               /* 0: it does not live */
	bool adopted;            /* it is not our child: nobody gets its status */
	int pidfd;               /* -1: none */
	uv_poll_t poll;          /* of pidfd */
	bool polls;              /* the handle was initialized and is not closed */
	void (*ended)(void *ctx, int status);
	void (*closed)(void *ctx); /* of etcd_child_free() */
	void *ctx;               /* of ended(), then of closed() */
};

static void path_of(const struct etcd_child *child, const char *name, char out[PATH_SIZE])
{
	(void)snprintf(out, PATH_SIZE, "%s/%s", child->dir, name); /* dir leaves room for it */
}

/* -------------------------------------------------------------------- its life */

static void on_poll_closed(uv_handle_t *handle)
{
	struct etcd_child *child = handle->data;
	void (*closed)(void *) = child->closed;
	void *ctx = child->ctx;

	child->polls = false;
	if (!closed)
		return;
	free(child);
	closed(ctx);
}

static void let_go(struct etcd_child *child)
{
	child->pid = 0;
	if (child->polls && !uv_is_closing((uv_handle_t *)&child->poll)) {
		uv_poll_stop(&child->poll);
		uv_close((uv_handle_t *)&child->poll, on_poll_closed);
	}
	if (child->pidfd >= 0)
		(void)close(child->pidfd); /* nothing was written to it */
	child->pidfd = -1;
}

/* The descriptor is readable once the process has ended. */
static void on_end(uv_poll_t *poll, int poll_status, int events)
{
	struct etcd_child *child = poll->data;
	int status = -1;

	(void)poll_status;
	(void)events;
	if (!child->adopted && waitpid(child->pid, &status, WNOHANG) != child->pid)
		status = -1;
	let_go(child);
	child->ended(child->ctx, status);
}

static int watch_pid(struct etcd_child *child, pid_t pid, struct err *err)
{
	int fd = pidfd_open(pid, 0), rc;

	if (fd < 0)
		return err_sys(err, errno, "pidfd_open");
	rc = child->polls ? -EBUSY : uv_poll_init(child->loop, &child->poll, fd);
	if (rc < 0) {
		(void)close(fd);
		return err_set(err, rc, "etcd cannot be watched: %s", uv_strerror(rc));
	}
	child->poll.data = child;
	child->polls = true;
	child->pidfd = fd;
	child->pid = pid;
	(void)uv_poll_start(&child->poll, UV_READABLE, on_end); /* fails for closed handles only */
	return 0;
}

/* ------------------------------------------------------------- which one it is */

static void read_boot(char out[BOOT_SIZE])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, out, BOOT_SIZE - 1);

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (fd >= 0)
		(void)close(fd);
}

/* Whoever adopts it reads this; without it /proc is searched, so a failure is no more than slow. */
static void write_pid(const struct etcd_child *child)
{
	char path[PATH_SIZE], text[PID_FILE_MAX], boot[BOOT_SIZE];
	struct err err = { 0 };

	path_of(child, "etcd.pid", path);
	read_boot(boot);
	(void)snprintf(text, sizeof(text), "%d %" PRIu64 " %s\n", (int)child->pid, proc_started(child->pid), boot);
	if (file_write_atomic(path, slice_of(text), &err) < 0)
		log_warn("pid of etcd was not written", "why=%s", LOG_STR(err.text));
}

/* The process of the file, if it still is that one. */
static pid_t read_pid(const struct etcd_child *child)
{
	char path[PATH_SIZE], boot[BOOT_SIZE], was[BOOT_SIZE];
	struct buf text;
	uint64_t started;
	int pid = 0;

	path_of(child, "etcd.pid", path);
	if (file_read(path, PID_FILE_MAX, &text, NULL) < 0)
		return 0;
	read_boot(boot);
	if (sscanf(buf_str(&text), "%d %" SCNu64 " %39s", &pid, &started, was) != 3 || strcmp(boot, was) != 0 ||
	    !started || proc_started(pid) != started || !proc_has_arg(pid, child->arg))
		pid = 0;
	buf_fini(&text);
	return pid;
}

/* The lock, or -EWOULDBLOCK: it lives. */
static int take_lock(const struct etcd_child *child, int *ret_fd, struct err *err)
{
	char path[PATH_SIZE];
	int fd, rc;

	path_of(child, "etcd.lock", path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		rc = errno == EWOULDBLOCK ? -EWOULDBLOCK : err_sys(err, errno, path);
		(void)close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

/* 1: there is one, and it is watched; 0: there is none; -EWOULDBLOCK: there is, but where? */
static int try_adopt(struct etcd_child *child, struct err *err)
{
	pid_t pid = read_pid(child);
	int fd = -1, rc;

	if (!pid)
		pid = proc_find(child->arg);
	if (pid) {
		child->adopted = true;
		rc = watch_pid(child, pid, err);
		write_pid(child);
		return rc ? rc : 1;
	}
	rc = take_lock(child, &fd, err);
	if (rc == 0)
		(void)close(fd);
	return rc;
}

int etcd_child_adopt(struct etcd_child *child, struct err *err)
{
	const struct timespec while_it_dies = { .tv_nsec = DYING_MS * 1000000L };
	int rc = try_adopt(child, err);

	/* One that was killed is no process any more a while before its descriptors are closed. */
	for (int i = 0; rc == -EWOULDBLOCK && i < DYING_TRIES; i++) {
		(void)nanosleep(&while_it_dies, NULL); /* a shorter one does no harm */
		rc = try_adopt(child, err);
	}
	if (rc == -EWOULDBLOCK)
		return err_set(err, -EBUSY, "%s/etcd.lock is held by a process that is not to be found", child->dir);
	return rc;
}

int etcd_child_start(struct etcd_child *child, char *const *argv, struct err *err)
{
	char path[PATH_SIZE];
	CLEANUP_CLOSE int lock = -1;
	CLEANUP_CLOSE int out = -1;
	pid_t pid = 0;
	int rc = take_lock(child, &lock, err);

	if (rc == -EWOULDBLOCK)
		return err_set(err, -EBUSY, "an etcd lives in %s", child->data);
	if (rc < 0)
		return rc;
	path_of(child, "etcd.log", path);
	out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(err, errno, path);
	rc = spawn_alone(argv, out, lock, &pid, err);
	if (rc < 0)
		return rc;
	child->adopted = false;
	rc = watch_pid(child, pid, err);
	if (rc < 0) {
		(void)kill(pid, SIGKILL); /* our own, not waited for yet: it is that process */
		(void)waitpid(pid, NULL, 0);
		return rc;
	}
	write_pid(child);
	return 0;
}

bool etcd_child_kill(struct etcd_child *child, int signal)
{
	return child->pidfd >= 0 && pidfd_send_signal(child->pidfd, signal, NULL, 0) == 0;
}

pid_t etcd_child_pid(const struct etcd_child *child)
{
	return child->pid;
}

/* ------------------------------------------------------------------ its files */

const char *etcd_child_data(const struct etcd_child *child)
{
	return child->data;
}

bool etcd_child_has_data(const struct etcd_child *child)
{
	char path[PATH_SIZE + 32];
	struct stat st;

	/* Its log of entries comes first, then the database; both are needed to come back. */
	(void)snprintf(path, sizeof(path), "%s/member/wal", child->data);
	if (stat(path, &st) < 0)
		return false;
	(void)snprintf(path, sizeof(path), "%s/member/snap", child->data);
	return stat(path, &st) == 0;
}

/* False: something of it could not be written. */
static bool copy_file(int from, int to)
{
	char bytes[COPY_SIZE];
	ssize_t n;

	while ((n = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, (size_t)n) != n)
			return false;
	return n == 0;
}

/* Its descriptor stays where it is, so the file is copied and then emptied: a line between is lost. */
void etcd_child_rotate(struct etcd_child *child)
{
	char path[PATH_SIZE], old[PATH_SIZE];
	CLEANUP_CLOSE int from = -1;
	CLEANUP_CLOSE int to = -1;
	struct stat st;

	path_of(child, "etcd.log", path);
	path_of(child, "etcd.log.1", old);
	from = open(path, O_RDWR | O_CLOEXEC);
	if (from < 0 || fstat(from, &st) < 0 || st.st_size < CHILD_LOG_MAX)
		return;
	/* What has grown while nobody looked is not kept whole. */
	if (st.st_size > 2 * CHILD_LOG_MAX)
		(void)lseek(from, st.st_size - CHILD_LOG_MAX, SEEK_SET);
	to = open(old, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (to < 0 || !copy_file(from, to))
		log_warn("log of etcd was not kept", "file=%s", LOG_STR(old));
	if (ftruncate(from, 0) < 0)
		log_warn("log of etcd cannot be made short", "file=%s", LOG_STR(path));
}

/* The last line that says so; else the last. */
static struct mp_str find_words(struct mp_str text)
{
	struct mp_str line, last = { 0 }, bad = { 0 };

	while (text.len) {
		(void)slice_cut(text, '\n', &line, &text); /* the last one has no end */
		if (line.len)
			last = line;
		if (line.len && (memmem(line.ptr, line.len, "\"fatal\"", 7) || memmem(line.ptr, line.len, "panic", 5) ||
				 memmem(line.ptr, line.len, "\"error\"", 7)))
			bad = line;
	}
	return bad.len ? bad : last;
}

/* zap's line as people read it: what went wrong stands at its end, and would be cut off. */
static bool read_words(struct mp_str line, char *out, size_t size)
{
	CLEANUP_JSON json_t *value = NULL;
	const char *msg, *error;

	if (json_load_text(line, TAIL_SIZE, WORDS_DEPTH, &value, NULL))
		return false;
	msg = json_string_value(json_object_get(value, "msg"));
	error = json_string_value(json_object_get(value, "error"));
	if (!msg)
		return false;
	(void)snprintf(out, size, "%s%s%s", msg, error ? ": " : "", error ? error : "");
	return true;
}

void etcd_child_last_words(const struct etcd_child *child, char *out, size_t size)
{
	char path[PATH_SIZE], tail[TAIL_SIZE];
	CLEANUP_CLOSE int fd = -1;
	struct mp_str words;
	ssize_t n;
	off_t end;

	out[0] = '\0';
	path_of(child, "etcd.log", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (end < 0)
		return;
	n = pread(fd, tail, sizeof(tail), end > (off_t)sizeof(tail) ? end - (off_t)sizeof(tail) : 0);
	words = find_words(slice_make(tail, n > 0 ? (size_t)n : 0));
	if (!read_words(words, out, size))
		(void)snprintf(out, size, "%.*s", SLICE_ARG(words));
}

/* ------------------------------------------------------------------- life cycle */

struct etcd_child *etcd_child_new(uv_loop_t *loop, const char *dir, void (*ended)(void *ctx, int status),
				  void *ctx)
{
	struct etcd_child *child = strlen(dir) < sizeof(child->dir) ? calloc(1, sizeof(*child)) : NULL;

	if (!child)
		return NULL;
	child->loop = loop;
	child->ended = ended;
	child->ctx = ctx;
	child->pidfd = -1;
	(void)snprintf(child->dir, sizeof(child->dir), "%s", dir);
	path_of(child, "etcd", child->data);
	(void)snprintf(child->arg, sizeof(child->arg), "--data-dir=%s", child->data);
	return child;
}

void etcd_child_free(struct etcd_child *child, void (*closed)(void *ctx), void *ctx)
{
	child->closed = closed;
	child->ctx = ctx;
	let_go(child);
	if (child->polls)
		return;
	free(child);
	closed(ctx);
}
