/* SPDX-License-Identifier: Apache-2.0 */
/* See spawn.h; and etcd_child_ask() of child.h, which needs nothing else. */
#include "aggregator/etcd/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aggregator/etcd/child.h"
#include "lib/cleanup.h"
#include "lib/clock.h"

#define KEPT_FD 3
#define ASK_MS 5000

/* The environment without what etcd would read; the strings are environ's. */
static char **clean_environment(void)
{
	size_t n = 0, to = 0;
	char **clean;

	while (environ[n])
		n++;
	clean = calloc(n + 1, sizeof(*clean));
	for (size_t i = 0; clean && i < n; i++)
		if (strncmp(environ[i], "ETCD", 4) != 0)
			clean[to++] = environ[i];
	return clean;
}

static int set_files(posix_spawn_file_actions_t *files, int out, int keep)
{
	int rc = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	if (!rc)
		rc = posix_spawn_file_actions_adddup2(files, out, STDOUT_FILENO);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(files, out, STDERR_FILENO);
	if (!rc && keep >= 0)
		rc = posix_spawn_file_actions_adddup2(files, keep, KEPT_FD);
	if (!rc)
		rc = posix_spawn_file_actions_addclosefrom_np(files, keep < 0 ? KEPT_FD : KEPT_FD + 1);
	return rc;
}

static int set_signals(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int rc;

	(void)sigemptyset(&none); /* neither fails */
	(void)sigfillset(&all);
	rc = posix_spawnattr_setsigmask(attr, &none);
	if (!rc)
		rc = posix_spawnattr_setsigdefault(attr, &all);
	if (!rc)
		rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							    POSIX_SPAWN_SETSIGDEF);
	return rc;
}

/* 0, or an errno. */
static int spawn_with(char *const *argv, char **environment, int out, int keep, pid_t *ret_pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int rc = posix_spawn_file_actions_init(&files);

	if (rc)
		return rc;
	rc = posix_spawnattr_init(&attr);
	if (rc) {
		(void)posix_spawn_file_actions_destroy(&files);
		return rc;
	}
	rc = set_files(&files, out, keep);
	if (!rc)
		rc = set_signals(&attr);
	if (!rc)
		rc = posix_spawnp(ret_pid, argv[0], &files, &attr, argv, environment);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&files);
	return rc;
}

int spawn_alone(char *const *argv, int out, int keep, pid_t *ret_pid, struct err *err)
{
	char **environment = clean_environment();
	int rc = environment ? spawn_with(argv, environment, out, keep, ret_pid) : ENOMEM;

	free(environment);
	return rc ? err_sys(err, rc, argv[0]) : 0;
}

/* Reads up to the end, the bound or the time. */
static size_t read_output(int fd, char *out, size_t size)
{
	uint64_t until = clock_now(&clock_monotonic) + ASK_MS * NS_PER_MS;
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	size_t len = 0;

	while (len < size - 1) {
		uint64_t now = clock_now(&clock_monotonic);
		int left = now < until ? (int)((until - now) / NS_PER_MS) : 0;
		ssize_t n = poll(&readable, 1, left) > 0 ? read(fd, out + len, size - 1 - len) : 0;

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	return len;
}

int etcd_child_ask(const char *program, const char *arg, char *out, size_t size, struct err *err)
{
	char *const argv[] = { (char *)(uintptr_t)program, (char *)(uintptr_t)arg, NULL };
	CLEANUP_CLOSE int from = -1;
	CLEANUP_CLOSE int to = -1;
	pid_t pid = 0;
	int ends[2], rc;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe2");
	from = ends[0];
	to = ends[1];
	rc = spawn_alone(argv, to, -1, &pid, err);
	if (rc < 0)
		return rc;
	(void)close(steal_fd(&to)); /* else there is no end */
	out[read_output(from, out, size)] = '\0';
	/* It has said what it had to say, or takes too long. */
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return 0;
}
