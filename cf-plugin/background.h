/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that is started, left running in the background and found again
 * by a file with its pid and start time, so that a pid that was given to
 * another process is never taken for it.  For cmd_aggregator.c.
 *
 *	<pid> <start time in clock ticks since boot> <URL or ->\n
 */
#ifndef CF_PLUGIN_BACKGROUND_H
#define CF_PLUGIN_BACKGROUND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"
#include "lib/slice.h"

#define BACKGROUND_URL_MAX 511 /* bytes */

struct background {
	pid_t pid;
	uint64_t started;                 /* as /proc/PID/stat says */
	char url[BACKGROUND_URL_MAX + 1]; /* where it serves; "" until that is known */
};

/* What to start; borrowed. */
struct background_start {
	const char *program; /* where it is, or a name to look for on the PATH */
	char **argv;         /* its words, NULL at the end; "READY" stands for the descriptor's number */
	const char *log;     /* file that its output is appended to */
	const char *pid_file; /* is written as soon as it runs */
	uint64_t wait_ms;    /* that it may take until it says that it serves */
};

/*
 * Starts it in a session of its own and waits for the line that it writes to
 * the descriptor: 0, *ret without URL, and the line.  Else a negative errno: it
 * does not run any more, and err says why, with what it said last.
 */
int background_start(const struct background_start *start, struct background *ret, char *ret_line, size_t size,
		     struct err *err);

/* Pure: the file's text, both ways.  0, or -EINVAL. */
int background_parse(struct mp_str text, struct background *ret);
int background_write(const char *pid_file, const struct background *background, struct err *err);

/* 0; -ENOENT: there is no such file, or the process that it names has ended; -EINVAL, and err: it cannot be read. */
int background_find(const char *pid_file, struct background *ret, struct err *err);

/*
 * SIGTERM, and SIGKILL after that time when `force` is set; waits for the end.
 * 0; -ETIMEDOUT: it still runs; -ESRCH: it had ended; -EPERM and so on, and err.
 */
int background_stop(const struct background *background, uint64_t wait_ms, bool force, struct err *err);

#endif
