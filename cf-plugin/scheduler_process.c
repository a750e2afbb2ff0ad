/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See scheduler_process.h.  Called by cmd_run.c, with signals blocked as
 * foreground_block() does.
 */
#include "cf-plugin/scheduler_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"

#define READY_FD 3
#define EXIT_EXEC 127

/* Standard input from nowhere, output to standard error, nothing else open. */
static void set_descriptors(int ready)
{
	int null = open("/dev/null", O_RDWR);

	if (null >= 0)
		(void)dup2(null, STDIN_FILENO);
	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
	/* `null` may be READY_FD itself; it has done its work. */
	if (ready != READY_FD)
		(void)dup2(ready, READY_FD);
	else
		(void)fcntl(ready, F_SETFD, 0);
	(void)close_range(READY_FD + 1, ~0u, 0); /* an old kernel: then they stay open */
}

/* In the child, which never returns. */
static void become(const char *program, char **argv, int ready, pid_t parent)
{
	static char number[] = { '0' + READY_FD, '\0' };
	sigset_t none;

	(void)setsid();
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_EXEC);
	set_descriptors(ready);
	for (char **word = argv; *word; word++) {
		if (!strcmp(*word, "READY"))
			*word = number;
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(program, argv);
	fprintf(stderr, "%s: %s\n", program, strerror(errno));
	fflush(stderr);
	_exit(EXIT_EXEC);
}

/* Readable when one of the signals that end a program is pending. */
static int open_ends(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* 0 once the newline has come. */
static int await_ready(int ready, struct err *err)
{
	CLEANUP_CLOSE int ends = open_ends();
	uint64_t end = clock_now(&clock_monotonic) + SCHEDULER_START_MS * NS_PER_MS;
	struct pollfd fds[] = { { ready, POLLIN, 0 }, { ends, POLLIN, 0 } };
	char byte = 0;

	while (byte != '\n') {
		uint64_t now = clock_now(&clock_monotonic);

		if (now >= end)
			return err_set(err, -ETIMEDOUT, "the scheduler was not ready within %d s",
				       SCHEDULER_START_MS / 1000);
		if (poll(fds, 2, (int)((end - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return err_sys(err, errno, "poll");
		if (fds[1].revents)
			return err_set(err, -EINTR, "interrupted");
		if (fds[0].revents && read(ready, &byte, 1) != 1)
			return err_set(err, -ECHILD, "the scheduler did not start");
	}
	return 0;
}

int scheduler_start(const char *program, char **argv, pid_t *ret_pid, struct err *err)
{
	CLEANUP_CLOSE int ready = -1, theirs = -1;
	pid_t parent = getpid(), pid;
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe");
	ready = fds[0];
	theirs = fds[1];
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_sys(err, errno, "fork");
	if (!pid)
		become(program, argv, theirs, parent);
	close(steal_fd(&theirs));
	rc = await_ready(ready, err);
	if (rc)
		scheduler_stop(pid);
	else
		*ret_pid = pid;
	return rc;
}

void scheduler_stop(pid_t pid)
{
	CLEANUP_CLOSE int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd poll_fd = { fd, POLLIN, 0 };

	(void)kill(pid, SIGTERM);
	if (fd < 0 || poll(&poll_fd, 1, SCHEDULER_STOP_MS) != 1)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}
