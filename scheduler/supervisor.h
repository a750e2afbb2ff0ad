/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small parent of the worker: binds the sockets, starts the worker again
 * within milliseconds when it dies, and leaves out the filter that killed it.
 * It holds no threads and reads nothing that anybody else can write but the
 * blame page.
 */
#ifndef SCHEDULER_SUPERVISOR_H
#define SCHEDULER_SUPERVISOR_H

#include "scheduler/control.h"

/* Binds both sockets and runs workers until told to end; the exit code. */
int supervisor_run(struct scheduler_options *options);

#endif
