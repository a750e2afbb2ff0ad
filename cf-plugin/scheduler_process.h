/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts mp-scheduler as a child of this process, waits until it serves, and
 * ends it.  For cmd_run.c.
 *
 * It leads a session of its own, so that the terminal's signals do not reach
 * it, and dies with this process, however that ends.
 */
#ifndef CF_PLUGIN_SCHEDULER_PROCESS_H
#define CF_PLUGIN_SCHEDULER_PROCESS_H

#include <sys/types.h>

#include "lib/err.h"

#define SCHEDULER_START_MS 10000 /* readiness must come within */
#define SCHEDULER_STOP_MS 2000   /* SIGKILL after it */

/*
 * argv: its words, NULL at the end, in which the word "READY" is replaced by
 * the number of the descriptor on which it says that it is ready.  program:
 * where it is, or a name to look for on the PATH.  0 and *ret_pid, -EINTR when
 * a signal asked us to end first, or another negative errno.
 */
int scheduler_start(const char *program, char **argv, pid_t *ret_pid, struct err *err);

/* SIGTERM, then SIGKILL; reaps it. */
void scheduler_stop(pid_t pid);

#endif
