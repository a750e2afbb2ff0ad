/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded engine: one SQLite file, one process (rows.md 1, 3.8, 7).
 *
 * WAL with synchronous=FULL: an answer is given after the fsync.  The work is
 * done within the call, on the loop's thread, since a commit takes as long as
 * handing it to another thread and back would; the answer comes from the
 * loop.  The file is locked: a second process is refused.
 *
 * After a failed COMMIT nothing is answered but UNKNOWN until the file was closed,
 * opened, checkpointed and read without an error; each later call tries that.
 *
 * The revision counts commits since the start: a watch begins now, or not at all.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_SQLITE_H
#define AGGREGATOR_ROWS_ENGINE_SQLITE_H

#include <uv.h>

#include "aggregator/rows/engine/engine.h"

struct engine_sqlite_options {
	const char *path; /* the file; made when it is not there */
	const char *vfs;  /* NULL: SQLite's default; a test's own otherwise */
	uint64_t reserve;        /* bytes kept for what makes room, see sqlite_room.h; 0: none */
	const char *accept_loss; /* number of a loss that is accepted, see sqlite_kept.h; NULL: none */
};

/*
 * Opens and checks the file (PRAGMA quick_check, and sqlite_kept.h).  0 and *ret; -EBUSY: another
 * process has it; -EINVAL: it is damaged, or none of ours, or something that was acknowledged is
 * missing; -EIO, -ENOMEM.
 */
int engine_sqlite_open(uv_loop_t *loop, const struct engine_sqlite_options *options,
		       struct engine **ret, struct err *err);

/* Something was missing, and that was accepted. */
bool engine_sqlite_lost(const struct engine *engine);

#endif
