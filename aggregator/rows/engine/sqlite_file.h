/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file below the embedded engine: one table of keys and values, its
 * statements, and what its failures mean.  For sqlite.c only.
 *
 * WAL with synchronous=FULL and exclusive locking.  A file in doubt is closed; who
 * wants to go on asks sqlite_ready(), which opens, checkpoints and reads it.  Each opening
 * looks whether something that was acknowledged is missing: see sqlite_kept.h.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_SQLITE_FILE_H
#define AGGREGATOR_ROWS_ENGINE_SQLITE_FILE_H

#include <sqlite3.h>

#include "aggregator/rows/engine/sqlite.h"
#include "aggregator/rows/engine/sqlite_mark.h"

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

/* See sqlite_room.h. */
struct sqlite_room {
	char *path;    /* of the reserve; owned */
	uint64_t size; /* bytes that it shall hold; 0: there is none */
	int fd;        /* -1: it was not made yet */
	bool held;     /* it is whole */
	bool part;     /* something of it is there */
	bool told;     /* that it is used is in the log, and it has not been whole since */
	bool tight;    /* what grows found no room, and nothing has grown since */
	bool unfolded; /* nor did the log find any in the file */
	bool inside;   /* the file has as much free inside */
};

struct sqlite_file {
	char *path;
	char *vfs;   /* NULL: SQLite's default */
	sqlite3 *db; /* NULL: closed, see sqlite_ready() */
	sqlite3_stmt *statement[STATEMENTS];
	struct engine_health health;
	struct sqlite_mark mark; /* what of it is known to have been acknowledged */
	struct sqlite_room room;
	char *accept;        /* the number of a loss that is accepted; NULL: none */
	bool accepted;       /* it was that one */
	bool gone;           /* at this opening there was no file, and that was accepted */
	uint32_t frames;     /* of the log, as the commit left it that was last; 0: it has written none */
	bool counting;       /* the transaction under way raises the count */
	bool uncounted;      /* the last commit has not raised it */
	uint64_t counted_at; /* ns; when one last did */
};

/* Opens and checks it: see engine_sqlite_open() for the results.  sqlite_file_fini() is due on success. */
int sqlite_file_init(struct sqlite_file *file, const struct engine_sqlite_options *options, struct err *err);
void sqlite_file_fini(struct sqlite_file *file);

/* Opens the file when it is closed.  False: it cannot be read or written now; health says why. */
bool sqlite_ready(struct sqlite_file *file);

/* Nothing is known of the last commit: everything else waits for a fresh look. */
void sqlite_close_file(struct sqlite_file *file);

/* What a result code, or a success, says of the health. */
void sqlite_failed(struct sqlite_file *file, int code);
void sqlite_succeeded(struct sqlite_file *file, bool wrote, bool grew);

/* Bytes of pages that are free within the file. */
uint64_t sqlite_free_inside(struct sqlite_file *file);

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
