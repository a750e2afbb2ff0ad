/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file below the embedded engine: one table of keys and values, its
 * statements, and what its failures mean.  For engine_sqlite.c only.
 *
 * WAL with synchronous=FULL and exclusive locking.  A file in doubt is closed; who
 * wants to go on asks sqlite_ready(), which opens, checkpoints and reads it.
 */
#ifndef AGGREGATOR_ROWS_SQLITE_FILE_H
#define AGGREGATOR_ROWS_SQLITE_FILE_H

#include <sqlite3.h>

#include "aggregator/rows/engine.h"

enum statement {
	GET,          /* value of a key */
	PUT,          /* key, value */
	DELETE,       /* key */
	DELETE_RANGE, /* from, end */
	UP,           /* key and value; from, end, most rows (-1: all) */
	DOWN,         /* likewise, descending */
	BEGIN,
	COMMIT,
	ROLLBACK,
	STATEMENTS,
};

struct sqlite_file {
	char *path;
	char *vfs;   /* NULL: SQLite's default */
	sqlite3 *db; /* NULL: closed, see sqlite_ready() */
	sqlite3_stmt *statement[STATEMENTS];
	struct engine_health health;
};

/* Opens and checks it: see engine_sqlite_open() for the results.  sqlite_file_fini() is due on success. */
int sqlite_file_init(struct sqlite_file *file, const char *path, const char *vfs, struct err *err);
void sqlite_file_fini(struct sqlite_file *file);

/* Opens the file when it is closed.  False: it cannot be read or written now; health says why. */
bool sqlite_ready(struct sqlite_file *file);

/* Nothing is known of the last commit: everything else waits for a fresh look. */
void sqlite_close_file(struct sqlite_file *file);

/* What a result code, or a success, says of the health. */
void sqlite_failed(struct sqlite_file *file, int code);
void sqlite_succeeded(struct sqlite_file *file, bool wrote);

/* The bytes must stay until the statement was run. */
void sqlite_bind(sqlite3_stmt *statement, int at, struct mp_str bytes);

/* Borrowed until the next step. */
struct mp_str sqlite_column(sqlite3_stmt *statement, int at);

/* Runs one that gives no rows, with its two parameters or without.  A result code. */
int sqlite_run(struct sqlite_file *file, enum statement which, struct mp_str one, struct mp_str two);
int sqlite_command(struct sqlite_file *file, enum statement which);

/* SQLITE_ROW, and the value is borrowed until the next GET; SQLITE_DONE: there is none. */
int sqlite_get(struct sqlite_file *file, struct mp_str key, struct mp_str *ret);

#endif
