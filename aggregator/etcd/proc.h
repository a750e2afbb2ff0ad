/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other processes, as /proc shows them: which one is the etcd that works in a
 * directory.  For child.c; it reads files of the kernel, so it does not block for long.
 */
#ifndef AGGREGATOR_ETCD_PROC_H
#define AGGREGATOR_ETCD_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * When it began, in ticks since the boot: with the pid that names a process for as long as
 * the machine runs.  0: there is no such process, or it is dead and not buried.
 */
uint64_t proc_started(pid_t pid);

/* Is that one of its arguments, as a whole? */
bool proc_has_arg(pid_t pid, const char *arg);

/* A living process of this user with that argument; 0: there is none. */
pid_t proc_find(const char *arg);

/*
 * The number in field `field` (from 1; not the name, 2) of the text of /proc/PID/stat, and
 * its state's letter.  False: that is no such text.  Exposed for tests.
 */
bool proc_stat_field(const char *text, unsigned field, uint64_t *ret, char *ret_state);

#endif
