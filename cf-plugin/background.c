/* SPDX-License-Identifier: Apache-2.0 */
/* See background.h. */
#include "cf-plugin/background.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/file.h"

#define READY_FD 3
#define EXIT_EXEC 127
#define FILE_MAX 1024       /* bytes of a pid file, and of a process's stat */
#define SAID_MAX 160        /* bytes of its last words */
#define KILL_MS 5000        /* that a SIGKILL may take */
#define START_FIELD 22      /* of /proc/PID/stat */

/* ---------------------------------------------------------------------- the file */

/* When the process began; false: there is none, or it is a zombie. */
static bool start_time(pid_t pid, uint64_t *ret)
{
	char path[64], state = 'Z';
	struct mp_str rest, word;
	struct buf text;
	size_t field = 2;
	bool good = false;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (file_read(path, FILE_MAX, &text, NULL) < 0)
		return false;
	/* The name, in parentheses, may hold anything. */
	rest = slice_of(strrchr(buf_str(&text), ')'));
	if (rest.ptr) {
		rest = slice_skip(rest, 2);
		state = rest.len ? rest.ptr[0] : 'Z';
	}
	while (rest.len && !good) {
		(void)slice_cut(rest, ' ', &word, &rest);
		good = ++field == START_FIELD && !slice_to_u64(word, ret);
	}
	buf_fini(&text);
	return good && state != 'Z' && state != 'X';
}

int background_parse(struct mp_str text, struct background *ret)
{
	struct mp_str word, rest = slice_trim(text);
	uint64_t pid = 0;

	*ret = (struct background){ 0 };
	(void)slice_cut(rest, ' ', &word, &rest);
	if (slice_to_u64(word, &pid) || !pid || pid > INT32_MAX)
		return -EINVAL;
	(void)slice_cut(rest, ' ', &word, &rest);
	if (slice_to_u64(word, &ret->started) || !rest.len || rest.len > BACKGROUND_URL_MAX)
		return -EINVAL;
	ret->pid = (pid_t)pid;
	if (!slice_eq(rest, MP_LIT("-")))
		(void)snprintf(ret->url, sizeof(ret->url), "%.*s", SLICE_ARG(rest));
	return 0;
}

int background_write(const char *pid_file, const struct background *background, struct err *err)
{
	char text[BACKGROUND_URL_MAX + 64];
	int n = snprintf(text, sizeof(text), "%d %" PRIu64 " %s\n", (int)background->pid, background->started,
			 background->url[0] ? background->url : "-");

	return file_write_atomic(pid_file, slice_make(text, (size_t)n), err);
}

int background_find(const char *pid_file, struct background *ret, struct err *err)
{
	struct buf text;
	uint64_t started;
	int rc = file_read(pid_file, FILE_MAX, &text, err);

	if (rc)
		return rc;
	rc = background_parse(buf_slice(&text), ret);
	buf_fini(&text);
	if (rc)
		return err_set(err, rc, "%s is none of ours", pid_file);
	return start_time(ret->pid, &started) && started == ret->started ? 0 : -ENOENT;
}

/* ----------------------------------------------------------------------- the start */

/* In the child, which never returns. */
static void become(const struct background_start *start, int ready, int log)
{
	static char number[] = { '0' + READY_FD, '\0' };
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	(void)setsid();
	if (null >= 0)
		(void)dup2(null, STDIN_FILENO);
	/* The pipe first: READY_FD may be the log. */
	log = fcntl(log, F_DUPFD, READY_FD + 1);
	ready = fcntl(ready, F_DUPFD, READY_FD + 1);
	(void)dup2(log, STDOUT_FILENO);
	(void)dup2(log, STDERR_FILENO);
	(void)dup2(ready, READY_FD);
	(void)close_range(READY_FD + 1, ~0u, 0); /* an old kernel: then they stay open */
	for (char **word = start->argv; *word; word++) {
		if (!strcmp(*word, "READY"))
			*word = number;
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(start->program, start->argv);
	fprintf(stderr, "%s: %s\n", start->program, strerror(errno));
	fflush(stderr);
	_exit(EXIT_EXEC);
}

/* The line that it writes when it serves. */
static int await_line(int ready, uint64_t wait_ms, char *ret, size_t size, struct err *err)
{
	uint64_t end = clock_now(&clock_monotonic) + wait_ms * NS_PER_MS;
	struct pollfd fd = { ready, POLLIN, 0 };
	size_t len = 0;

	while (len + 1 < size) {
		uint64_t now = clock_now(&clock_monotonic);

		if (now >= end)
			return err_set(err, -ETIMEDOUT, "it did not serve within %" PRIu64 " s", wait_ms / 1000);
		if (poll(&fd, 1, (int)((end - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return err_sys(err, errno, "poll");
		if (!fd.revents)
			continue;
		if (read(ready, ret + len, 1) != 1)
			return err_set(err, -ECHILD, "it ended");
		if (ret[len] == '\n') {
			ret[len] = '\0';
			return 0;
		}
		len++;
	}
	return err_set(err, -EPROTO, "it said nonsense");
}

/* The last line of the log, behind that offset. */
static void add_last_words(int log, off_t from, struct err *err)
{
	off_t size = lseek(log, 0, SEEK_END);
	char text[SAID_MAX + 1];
	const char *line;
	ssize_t n;

	if (size - from > SAID_MAX)
		from = size - SAID_MAX;
	n = pread(log, text, SAID_MAX, from);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (n <= 0)
		return;
	text[n] = '\0';
	line = strrchr(text, '\n');
	/* err's own text cannot be an argument. */
	(void)strncat(err->text, ": ", sizeof(err->text) - strlen(err->text) - 1);
	(void)strncat(err->text, line ? line + 1 : text, sizeof(err->text) - strlen(err->text) - 1);
}

/* The file may be another's by now, who was started at the same time and took the directory. */
static void give_up(const struct background *b, const char *pid_file)
{
	struct background found;
	bool ours = background_find(pid_file, &found, NULL) || (found.pid == b->pid && found.started == b->started);

	(void)kill(b->pid, SIGKILL);
	while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (ours)
		(void)unlink(pid_file);
}

int background_start(const struct background_start *start, struct background *ret, char *ret_line, size_t size,
		     struct err *err)
{
	CLEANUP_CLOSE int ready = -1, theirs = -1;
	CLEANUP_CLOSE int log = open(start->log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	off_t before = log < 0 ? -1 : lseek(log, 0, SEEK_END);
	int fds[2], rc;

	*ret = (struct background){ 0 };
	if (log < 0)
		return err_sys(err, errno, start->log);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe");
	ready = fds[0];
	theirs = fds[1];
	fflush(NULL);
	ret->pid = fork();
	if (ret->pid < 0)
		return err_sys(err, errno, "fork");
	if (!ret->pid)
		become(start, theirs, log);
	close(steal_fd(&theirs));
	rc = start_time(ret->pid, &ret->started) ? background_write(start->pid_file, ret, err) : 0;
	if (!rc)
		rc = await_line(ready, start->wait_ms, ret_line, size, err);
	if (rc) {
		give_up(ret, start->pid_file);
		add_last_words(log, before, err);
	}
	return rc;
}

/* ------------------------------------------------------------------------ the end */

/* True once the process has ended. */
static bool await_end(int fd, uint64_t wait_ms)
{
	uint64_t end = clock_now(&clock_monotonic) + wait_ms * NS_PER_MS;
	struct pollfd poll_fd = { fd, POLLIN, 0 };
	uint64_t now;

	while ((now = clock_now(&clock_monotonic)) < end) {
		if (poll(&poll_fd, 1, (int)((end - now) / NS_PER_MS) + 1) == 1)
			return true;
	}
	return false;
}

int background_stop(const struct background *background, uint64_t wait_ms, bool force, struct err *err)
{
	CLEANUP_CLOSE int fd = (int)syscall(SYS_pidfd_open, background->pid, 0);
	uint64_t started;

	if (fd < 0)
		return err_sys(err, errno, "pidfd_open");
	/* The descriptor is of a process; now it is known to be that one. */
	if (!start_time(background->pid, &started) || started != background->started)
		return -ESRCH;
	if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) < 0)
		return errno == ESRCH ? -ESRCH : err_sys(err, errno, "SIGTERM");
	if (await_end(fd, wait_ms))
		return 0;
	if (!force)
		return err_set(err, -ETIMEDOUT, "it has not ended within %" PRIu64 " s", wait_ms / 1000);
	(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0); /* await_end() tells */
	return await_end(fd, KILL_MS) ? 0 : err_set(err, -ETIMEDOUT, "it does not end even by SIGKILL");
}
