/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for what makes room: on a full disk the embedded engine takes no cells, but deletions, floors
 * and takeovers still have to be committed, and a start has to bring the log into the file.  For that a
 * file of some size, FILE-reserve, holds blocks that nobody else can take, and gives them up when
 * they are needed.  As long as it is not whole again nothing grows, unless the file itself
 * has as much free inside.
 *
 * What is only in the log has to find room in the file: no more than a life of the log (4 MiB) and one
 * transaction of the owner (8 MiB), since cells wait when the log cannot be brought into the file.
 *
 * For sqlite.c and sqlite_file.c, on their thread; all of it blocks on the disk.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_SQLITE_ROOM_H
#define AGGREGATOR_ROWS_ENGINE_SQLITE_ROOM_H

#include "aggregator/rows/engine/sqlite_file.h"

#define SQLITE_RESERVE_SUFFIX "-reserve"

/* Is there a reserve from before?  It is not made. */
void sqlite_room_init(struct sqlite_file *file, uint64_t size);
void sqlite_room_fini(struct sqlite_file *file);

/* Makes the reserve whole, when that can be; with `part` at least as large as can be. */
void sqlite_room_take(struct sqlite_file *file, bool part);

/* Gives up half of what it has.  False: there is nothing. */
bool sqlite_room_release(struct sqlite_file *file);

/*
 * Behind a commit, while the reserve is not whole: the log, which found no room in the file, gets what is
 * left, so that a start needs none for it; then what is to be had is held again.
 */
void sqlite_room_keep(struct sqlite_file *file);

/* May something be committed that grows?  False: health says why. */
bool sqlite_room_for_cells(struct sqlite_file *file);

/* A transaction found no room and was rolled back: true when room was made, so that it may be tried again. */
bool sqlite_room_make(struct sqlite_file *file, bool grows);

/* Is there too little room, as far as is known? */
bool sqlite_room_is_short(const struct sqlite_file *file);

#endif
