/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting programs so that they have nothing of ours: no descriptor but those given,
 * no signal mask, a session of their own (Ctrl-C is not for them), no ETCD_ variable,
 * which etcd would take for an option.  For child.c.
 */
#ifndef AGGREGATOR_ETCD_SPAWN_H
#define AGGREGATOR_ETCD_SPAWN_H

#include <sys/types.h>

#include "lib/err.h"

/*
 * argv[0] is searched along PATH.  out: its standard output and error; keep: a
 * descriptor that it has besides, as 3; -1: none.  Both stay ours.  0 or -errno.
 */
int spawn_alone(char *const *argv, int out, int keep, pid_t *ret_pid, struct err *err);

#endif
