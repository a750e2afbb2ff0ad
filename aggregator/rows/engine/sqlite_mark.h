/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the embedded engine notes beside its file, in FILE-mark, so that a start can tell
 * whether everything that was acknowledged is still there.  For sqlite_file.c only.
 *
 *	offset  bytes  big-endian
 *	0       8      "MPRMARK1"
 *	8       8      salts of the log
 *	16      4      frames of it up to the last commit that was answered; 0: all of it is in the file
 *	20      4      count: the greatest that was committed
 *	24      4      base: the count of the file itself, without its log
 *	28      4      0
 *	32      8      xxh3 of the bytes before
 *
 * The count stands in the file, too (PRAGMA user_version): it is raised within the first commit of
 * each life of the log, once a second while there are commits, and at the end.  So two states of
 * the file never have the same one, and an older file is known by its smaller one.
 *
 * It is written after each commit, before the answer, and not synced: a process that is killed leaves it
 * exact, a power failure may leave an older one.  It is synced when the log was brought into the
 * file (`frames` is 0 then), before the log begins another life.  Therefore what it says was
 * always true: what is less than that was lost; more proves nothing.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_SQLITE_MARK_H
#define AGGREGATOR_ROWS_ENGINE_SQLITE_MARK_H

#include "aggregator/rows/engine/sqlite_log.h"

#define SQLITE_MARK_SUFFIX "-mark"

struct sqlite_mark {
	char *path;                /* of the mark; owned */
	sqlite3_vfs *vfs;          /* below it; borrowed */
	sqlite3_file *file;        /* open; owned, NULL: it is not */
	bool known;                /* what follows was read, or written */
	struct sqlite_salts salts; /* of the log */
	uint32_t frames;           /* answered; 0: none is only in the log */
	uint32_t count;            /* that was committed last */
	uint32_t base;             /* of the file without its log */
};

/*
 * Reads the mark of that file below that VFS (NULL: the default).  SQLITE_OK with `known` false: there
 * is none, or none that can be read.  sqlite_mark_close() is due in any case.
 */
int sqlite_mark_open(struct sqlite_mark *mark, const char *path, const char *vfs);
void sqlite_mark_close(struct sqlite_mark *mark);

/* Writes it as it is now, and makes it when it is not there; with `sync` it is durable then.  A result code. */
int sqlite_mark_write(struct sqlite_mark *mark, bool sync);

#endif
