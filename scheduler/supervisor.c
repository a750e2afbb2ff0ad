/* SPDX-License-Identifier: Apache-2.0 */
/* See supervisor.h. */
#include "scheduler/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"

#define EXIT_SYSTEM 111
#define BACKLOG 4096 /* a crowd that says nothing must not fill it: connect() would fail at once */
#define SHORT_LIFE_NS (250 * NS_PER_MS) /* a worker that dies younger counts as failing */
#define BACKOFF_MAX_MS 1000
#define LOAD_MS 1000 /* load() may open files: it gets the filters' budget, but no less than this */

/* 0, or what connecting comes to; never waits. */
static int probe(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

/*
 * A path that anybody listens on is not taken over, be it with a socket of
 * another type (EPROTOTYPE) or by somebody who is busy (EAGAIN); a dead one's is.
 */
static int stale_remove(const char *path, const struct sockaddr_un *address, int type,
			struct err *err)
{
	int r = probe(address, type);
	struct stat st;

	if (r == -ENOENT)
		return 0;
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST, "%s: exists and is no socket", path);
	if (r == 0 || r == -EPROTOTYPE || r == -EAGAIN)
		return err_set(err, -EADDRINUSE, "%s: somebody is listening there already", path);
	if (r != -ECONNREFUSED || unlink(path) < 0)
		return err_sys(err, r == -ECONNREFUSED ? errno : r, path);
	return 0;
}

static int socket_bind(const char *path, int type, mode_t mode, int *ret_fd, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t old;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: a socket's path has at most %zu bytes", path,
			       sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	r = stale_remove(path, &address, type, err);
	if (r < 0)
		return r;
	*ret_fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*ret_fd < 0)
		return err_sys(err, errno, path);
	old = umask(0777 & ~mode);
	r = bind(*ret_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(old);
	if (r == 0 && listen(*ret_fd, BACKLOG) < 0)
		r = -errno;
	if (r < 0) {
		close(*ret_fd);
		return err_sys(err, r, path);
	}
	return 0;
}

/* Both or none. */
static int sockets_bind(struct scheduler_options *options, struct err *err)
{
	int r = socket_bind(options->socket, SOCK_SEQPACKET, 0660, &options->listen_fd, err);

	if (r < 0)
		return r;
	r = socket_bind(options->control, SOCK_STREAM, 0600, &options->control_fd, err);
	if (r < 0)
		(void)unlink(options->socket);
	return r;
}

static sigset_t handled_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	return set;
}

/* In the child: never returns. */
static void worker_main(const struct scheduler_options *options, struct blame *blame, pid_t parent,
			const sigset_t *old)
{
	/* No core of an app's traffic, no ptrace by the app's user; and an end with the parent. */
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "mp-worker");
	if (getppid() != parent)
		_exit(EXIT_SYSTEM);
	sigprocmask(SIG_SETMASK, old, NULL);
	signal(SIGPIPE, SIG_IGN);
	_exit(control_run(options, blame));
}

static pid_t worker_start(const struct scheduler_options *options, struct blame *blame,
			  const sigset_t *old)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0)
		worker_main(options, blame, parent, old);
	return pid;
}

/* Waits for the worker's end, passing signals on; sets *stop when told to end. */
static int worker_wait(pid_t pid, const sigset_t *handled, bool *stop)
{
	int status;

	for (;;) {
		siginfo_t info;

		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		if (sigwaitinfo(handled, &info) < 0 || info.si_signo == SIGCHLD)
			continue;
		*stop |= info.si_signo != SIGHUP;
		kill(pid, info.si_signo);
	}
}

/* Sleeps before the next worker, unless told to end. */
static bool backoff(unsigned failures)
{
	unsigned ms = failures < 8 ? 5u << failures : BACKOFF_MAX_MS;
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
	sigset_t ends = handled_signals();

	sigdelset(&ends, SIGCHLD);
	sigdelset(&ends, SIGHUP);
	return sigtimedwait(&ends, NULL, &t) < 0;
}

/* Of a worker that was told to end: a signal before it listens to them, or a filter, may be quicker. */
static int end_code(int status, const struct blame_ejected *row)
{
	if (row || (WIFSIGNALED(status) && (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGINT)))
		return 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SYSTEM;
}

/* Restarts workers; returns the exit code of the last one. */
static int watch(struct scheduler_options *options, struct blame *blame, const sigset_t *old)
{
	sigset_t handled = handled_signals();
	unsigned failures = 0;
	bool stop = false;

	for (;;) {
		uint64_t started = clock_now(&clock_monotonic);
		pid_t pid = worker_start(options, blame, old);
		const struct blame_ejected *row;
		int status;

		if (pid < 0)
			return EXIT_SYSTEM;
		status = worker_wait(pid, &handled, &stop);
		row = blame_verdict(blame, status);
		/* What could not start, for a reason of its own, will not do so the next time. */
		if (stop || (WIFEXITED(status) && !row && !atomic_load(&blame->ready)))
			return end_code(status, row);
		blame->restarts++;
		log_warn("worker died, starting another", "status=0x%x restarts=%u ejected=%s reason=%s",
			 status, blame->restarts, LOG_STR(row ? row->middlepipe : ""),
			 LOG_STR(row ? row->reason : ""));
		/* One that a filter killed, or that lived a while, is replaced at once. */
		failures = row || clock_now(&clock_monotonic) - started > SHORT_LIFE_NS ? 0 : failures + 1;
		if (failures > 1 && !backoff(failures - 2))
			return 0;
	}
}

int supervisor_run(struct scheduler_options *options)
{
	struct blame *blame = blame_new();
	sigset_t handled = handled_signals(), old;
	struct err err = { 0 };
	int r;

	options->keep = keep_new();
	if (!blame || !options->keep) {
		fprintf(stderr, "mp-scheduler: out of memory\n");
		return EXIT_SYSTEM;
	}
	blame->budget_ms = (uint64_t)options->filter_budget_ms;
	blame->load_ms = blame->budget_ms > LOAD_MS ? blame->budget_ms : LOAD_MS;
	/* From here on a signal ends the worker, not the one who has the sockets to remove. */
	if (!options->no_supervisor)
		sigprocmask(SIG_BLOCK, &handled, &old);
	if (sockets_bind(options, &err) < 0) {
		fprintf(stderr, "mp-scheduler: %s\n", err.text);
		return EXIT_SYSTEM;
	}
	if (options->no_supervisor)
		r = control_run(options, blame);
	else
		r = watch(options, blame, &old);
	(void)unlink(options->socket);
	(void)unlink(options->control);
	return r;
}
