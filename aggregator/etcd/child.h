/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd process of an aggregator: started, found again, watched, ended.
 *
 * It outlives a crash of its aggregator, whose next process adopts it; it is never
 * started twice, because a second one would wait silently for the first one's
 * files.  A lock says so: the child inherits a locked descriptor and so holds
 * the lock for exactly as long as it lives, whatever became of us.  Which process it is
 * stands in a file (pid, start, boot), checked against /proc and the directory
 * among its arguments; without the file it is searched there.
 *
 *	DIR/etcd/       its data
 *	DIR/etcd.lock   locked while it lives
 *	DIR/etcd.pid    which process it is
 *	DIR/etcd.log    what it writes, and etcd.log.1 what it wrote before
 *
 * One thread, that of the loop.
 */
#ifndef AGGREGATOR_ETCD_CHILD_H
#define AGGREGATOR_ETCD_CHILD_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "lib/err.h"

#define CHILD_LOG_MAX ((off_t)8 << 20) /* bytes of etcd.log; then it becomes etcd.log.1 */

struct etcd_child;

/*
 * dir: the aggregator's data directory, absolute, copied.  ended(ctx): it lives
 * no more, from the loop; status as waitpid() gives it, -1 when it was adopted and nobody knows.
 * NULL without memory.
 */
struct etcd_child *etcd_child_new(uv_loop_t *loop, const char *dir, void (*ended)(void *ctx, int status),
				  void *ctx);

/* Its data directory. */
const char *etcd_child_data(const struct etcd_child *child);

/* Is there what only a member that ran leaves there? */
bool etcd_child_has_data(const struct etcd_child *child);

/*
 * Looks for one that lives; blocks, for three seconds at most.  1: it is ours now; 0: there is
 * none; -EBUSY: its lock is held by a process that cannot be found; else -errno.
 */
int etcd_child_adopt(struct etcd_child *child, struct err *err);

/* Starts it, after etcd_child_adopt() said 0.  argv: the program first.  0 or -errno. */
int etcd_child_start(struct etcd_child *child, char *const *argv, struct err *err);

/* Its pid, 0 when it does not live. */
pid_t etcd_child_pid(const struct etcd_child *child);

/* SIGTERM or SIGKILL; ended() follows once it has.  False: it does not live. */
bool etcd_child_kill(struct etcd_child *child, int signal);

/* Keeps its log small; to be called every few seconds. */
void etcd_child_rotate(struct etcd_child *child);

/* The last line of its log that tells of an error, or just the last; "" when there is none. */
void etcd_child_last_words(const struct etcd_child *child, char *out, size_t size);

/* Lets go of it: it lives on.  closed(ctx) comes from the loop. */
void etcd_child_free(struct etcd_child *child, void (*closed)(void *ctx), void *ctx);

/*
 * Runs a program for a moment and gives what it prints on both outputs, at most `size` - 1
 * bytes, NUL-terminated.  Blocks, five seconds at most.  0 or -errno.
 */
int etcd_child_ask(const char *program, const char *arg, char *out, size_t size, struct err *err);

#endif
