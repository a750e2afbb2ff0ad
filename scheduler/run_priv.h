/* SPDX-License-Identifier: Apache-2.0 */
/* What run.c and run_edit.c share. */
#ifndef SCHEDULER_RUN_PRIV_H
#define SCHEDULER_RUN_PRIV_H

#include "scheduler/run.h"

/* Gives a marker the type and name of its unit where the filter left them empty. */
void marker_complete(struct mp_marker *marker, const struct unit *unit);

#endif
