/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a command as if it had been started instead of us: terminal, process
 * groups, job control, signals and exit code.  For cmd_run.c.
 *
 * When standard input is the terminal and we are in its foreground, the
 * command gets a process group of its own and the terminal, as a shell would
 * do, and we stop when it stops and let it go on when we go on.  Otherwise it
 * shares our group.  SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2
 * that are sent to us go to the command.
 */
#ifndef CF_PLUGIN_FOREGROUND_H
#define CF_PLUGIN_FOREGROUND_H

#include <signal.h>
#include <sys/types.h>

#define FOREGROUND_NOT_EXECUTABLE 126
#define FOREGROUND_NOT_FOUND 127
#define FOREGROUND_SIGNAL 128 /* and the signal's number */

/* What is run, and what else the caller wants done; all borrowed. */
struct foreground {
	char **argv;             /* the command, NULL at the end */
	void (*prepare)(void *); /* in the child: sets its environment */
	void (*child)(void *);   /* some child of this process changed state: reap others */
	void *ctx;               /* for both */
};

/* Blocks the signals that foreground_run() waits for; *ret_old: the mask before. */
void foreground_block(sigset_t *ret_old);

/* After foreground_block(): runs the command to its end and returns the exit code. */
int foreground_run(const struct foreground *foreground, const sigset_t *old);

#endif
