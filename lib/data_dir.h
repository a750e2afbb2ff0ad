/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an aggregator keeps its rows: /var/lib/middlepipe for root, else
 * $XDG_STATE_HOME/middlepipe or ~/.local/state/middlepipe, unless it is said.
 *
 * For mp-aggregator, and for the command line that starts it.
 */
#ifndef LIB_DATA_DIR_H
#define LIB_DATA_DIR_H

#include "lib/buf.h"
#include "lib/err.h"

/*
 * given: what the user said, or NULL.  0 and *ret, initialized here; -EINVAL:
 * there is no HOME; -E2BIG; -ENOMEM.  buf_fini() is due in any case.
 */
int data_dir_find(const char *given, struct buf *ret, struct err *err);

/* Makes it and the folders above it that are missing, for this user alone.  0 or -errno. */
int data_dir_make(const char *path, struct err *err);

#endif
