/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is everything that was acknowledged still in the embedded file and its log?  What
 * sqlite_file.c does for that when it opens the file, with each commit and at the end; see sqlite_log.h
 * and sqlite_mark.h for why that finds what it finds.
 *
 * What is missing is named and nothing is served, until a backup was restored or somebody has
 * accepted the loss by the number that the text gives, which is good for that loss alone.
 *
 * Not found: the whole directory put back as it was, the mark with it; damage of the very last commit
 * after a power failure that has also taken the mark of it.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_SQLITE_KEPT_H
#define AGGREGATOR_ROWS_ENGINE_SQLITE_KEPT_H

#include "aggregator/rows/engine/sqlite_file.h"

/* Before it is opened: the file must not be gone.  SQLITE_OK; SQLITE_CORRUPT with health.text; or another code. */
int sqlite_kept_there(struct sqlite_file *file);

/* Once it is open and locked, and before the log is brought into it; results likewise. */
int sqlite_kept_all(struct sqlite_file *file);

/* The log's frames are counted from here on. */
void sqlite_kept_begin(struct sqlite_file *file);

/* Brings the log into the file and empties it, durably. */
int sqlite_kept_fold(struct sqlite_file *file);

/* Within a transaction that changes something. */
int sqlite_kept_count(struct sqlite_file *file);

/* After its commit, before the answer; it holds whatever this says.  Not SQLITE_OK: the file is to be closed. */
int sqlite_kept_commit(struct sqlite_file *file);

/* Brings the log into the file, so that it begins anew with the next commit.  Not SQLITE_OK: it could not. */
int sqlite_kept_shrink(struct sqlite_file *file);

/* Nothing more will be committed: all of it into the file. */
void sqlite_kept_end(struct sqlite_file *file);

#endif
