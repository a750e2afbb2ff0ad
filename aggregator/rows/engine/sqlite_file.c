/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlite_file.h. */
#include "aggregator/rows/engine/sqlite_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/engine/sqlite_kept.h"
#include "aggregator/rows/engine/sqlite_room.h"
#include "lib/slice.h"

#define APPLICATION_ID 0x4d505231 /* "MPR1", in the file's head */

static const char *const sql[STATEMENTS] = {
	[GET] = "SELECT value FROM kv WHERE key = ?1",
	[PUT] = "INSERT INTO kv (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
	[DELETE] = "DELETE FROM kv WHERE key = ?1",
	[DELETE_RANGE] = "DELETE FROM kv WHERE key >= ?1 AND key < ?2",
	[UP] = "SELECT key, value FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
	[DOWN] = "SELECT key, value FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
};

/* ------------------------------------------------------------------- failures */

/* What each kind of failure says of the engine's health. */
static const struct {
	int code; /* primary result code */
	bool full, read_only, damaged;
	const char *text;
} failures[] = {
	{ SQLITE_FULL, true, false, false,
	  "no space is left for the rows: make room on the disk, or delete rows or make their retention shorter, "
	  "then compact" },
	{ SQLITE_READONLY, false, true, false, "the disk of the rows takes no writes: see the kernel's log for why, then "
	  "mount it for writing again" },
	{ SQLITE_PERM, false, true, false, "the file of the rows may not be written" },
	{ SQLITE_CANTOPEN, false, true, false, "the file of the rows cannot be opened" },
	{ SQLITE_CORRUPT, false, false, true,
	  "the file of the rows is damaged: restore a backup, or export what can be read" },
	{ SQLITE_NOTADB, false, false, true, "the file of the rows is no SQLite file" },
	{ SQLITE_IOERR, false, false, false, "the disk of the rows fails" },
};

void sqlite_failed(struct sqlite_file *f, int code)
{
	f->health.serving = false;
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		if (failures[i].code != (code & 0xff))
			continue;
		f->health.full |= failures[i].full;
		f->health.read_only |= failures[i].read_only;
		f->health.damaged |= failures[i].damaged;
		(void)snprintf(f->health.text, sizeof(f->health.text), "%s (%s)", failures[i].text,
			       f->path);
		return;
	}
	(void)snprintf(f->health.text, sizeof(f->health.text), "%s: %s", f->path, sqlite3_errstr(code));
}

void sqlite_succeeded(struct sqlite_file *f, bool wrote, bool grew)
{
	f->health.serving = true;
	f->room.tight &= !grew;
	if (wrote) {
		f->health.full = sqlite_room_is_short(f);
		f->health.read_only = false;
	}
	if (!f->health.full && !f->health.read_only && !f->health.damaged)
		f->health.text[0] = '\0';
}

/* Nothing is known of the last commit: everything else waits for a fresh look. */
void sqlite_close_file(struct sqlite_file *f)
{
	for (size_t i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(f->statement[i]); /* NULL is allowed; its error was told before */
		f->statement[i] = NULL;
	}
	sqlite3_close(f->db); /* no statement is left, so that it cannot fail */
	f->db = NULL;
}

/* ---------------------------------------------------------------------- file */

static int execute(struct sqlite_file *f, const char *text)
{
	return sqlite3_exec(f->db, text, NULL, NULL, NULL);
}

/* The one number that a query gives, or -1. */
static int64_t one_number(struct sqlite_file *f, const char *text)
{
	sqlite3_stmt *statement = NULL;
	int64_t value = -1;

	if (sqlite3_prepare_v2(f->db, text, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return value;
}

uint64_t sqlite_free_inside(struct sqlite_file *f)
{
	int64_t pages = one_number(f, "PRAGMA freelist_count"), size = one_number(f, "PRAGMA page_size");

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

static bool quick_check(struct sqlite_file *f)
{
	sqlite3_stmt *statement = NULL;
	bool good = false;

	if (sqlite3_prepare_v2(f->db, "PRAGMA quick_check(1)", -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(statement, 0);

		good = text && !strcmp(text, "ok");
	}
	sqlite3_finalize(statement);
	return good;
}

/* Ours, or new.  A file of another program is not touched. */
static int identify(struct sqlite_file *f)
{
	int64_t id = one_number(f, "PRAGMA application_id");

	if (id < 0)
		return sqlite3_errcode(f->db);
	if (id == APPLICATION_ID)
		return SQLITE_OK;
	if (id || one_number(f, "SELECT count(*) FROM sqlite_schema"))
		return SQLITE_NOTADB;
	/* At once: half of it would be a file of somebody else.  A failure closes the file, and that rolls back. */
	return execute(f, "BEGIN IMMEDIATE;"
		      "CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
		      "PRAGMA application_id = 0x4d505231; COMMIT");
}

/*
 * Exclusive locking keeps other processes out and needs no shared memory.  Closing
 * leaves the log as it is: what may be done with it is known when it is opened.
 */
static int open_database(struct sqlite_file *f)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
		    SQLITE_OPEN_EXRESCODE;
	int rc = sqlite3_open_v2(f->path, &f->db, flags, f->vfs);

	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(f->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = execute(f, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
			    "PRAGMA synchronous = FULL; BEGIN IMMEDIATE; COMMIT");
	return rc;
}

/* Nothing of it may be missing; then what a crash or a failed commit left in the log is written down. */
static int open_file(struct sqlite_file *f)
{
	int rc = sqlite_kept_there(f);

	if (rc == SQLITE_OK)
		rc = open_database(f);
	if (rc == SQLITE_OK)
		rc = sqlite_kept_all(f);
	if (rc == SQLITE_OK)
		rc = identify(f);
	if (rc == SQLITE_OK)
		rc = sqlite_kept_fold(f);
	if (rc == SQLITE_OK)
		rc = execute(f, "SELECT count(*) FROM sqlite_schema");
	for (size_t i = 0; rc == SQLITE_OK && i < STATEMENTS; i++)
		rc = sqlite3_prepare_v3(f->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					&f->statement[i], NULL);
	if (rc == SQLITE_OK) {
		sqlite_kept_begin(f);
		return rc;
	}
	if (!f->health.damaged)
		sqlite_failed(f, rc);
	sqlite_close_file(f);
	return rc;
}

/* What the log holds may need room in the file. */
static int open_with_reserve(struct sqlite_file *f)
{
	int rc = open_file(f);

	while ((rc & 0xff) == SQLITE_FULL && sqlite_room_release(f))
		rc = open_file(f);
	return rc;
}

/* False: it cannot be read or written now; health says why. */
bool sqlite_ready(struct sqlite_file *f)
{
	return f->db || open_with_reserve(f) == SQLITE_OK;
}

/* ----------------------------------------------------------------- statements */

void sqlite_bind(sqlite3_stmt *statement, int at, struct mp_str bytes)
{
	/* A NULL pointer would be NULL, which no key and no value is. */
	sqlite3_bind_blob(statement, at, bytes.ptr ? bytes.ptr : "", (int)bytes.len, SQLITE_STATIC);
}

struct mp_str sqlite_column(sqlite3_stmt *statement, int at)
{
	const void *bytes = sqlite3_column_blob(statement, at);

	return slice_make(bytes ? bytes : "", (size_t)sqlite3_column_bytes(statement, at));
}

/* Runs one that gives no rows. */
int sqlite_run(struct sqlite_file *f, enum statement which, struct mp_str one, struct mp_str two)
{
	sqlite3_stmt *statement = f->statement[which];
	int rc;

	if (sqlite3_bind_parameter_count(statement) > 0)
		sqlite_bind(statement, 1, one);
	if (sqlite3_bind_parameter_count(statement) > 1)
		sqlite_bind(statement, 2, two);
	rc = sqlite3_step(statement);
	sqlite3_reset(statement); /* repeats the error of the step */
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int sqlite_command(struct sqlite_file *f, enum statement which)
{
	return sqlite_run(f, which, MP_LIT(""), MP_LIT(""));
}

/* SQLITE_ROW, and the value is borrowed until the next GET; SQLITE_DONE: there is none. */
int sqlite_get(struct sqlite_file *f, struct mp_str key, struct mp_str *ret)
{
	sqlite3_stmt *statement = f->statement[GET];
	int rc;

	sqlite3_reset(statement); /* of the GET before */
	sqlite_bind(statement, 1, key);
	rc = sqlite3_step(statement);
	*ret = rc == SQLITE_ROW ? sqlite_column(statement, 0) : (struct mp_str){ 0 };
	return rc;
}

static int open_failed(const struct sqlite_file *f, int primary, struct err *err)
{
	if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED)
		return err_set(err, -EBUSY, "%s: another process has it open", f->path);
	if (primary == SQLITE_NOMEM)
		return err_set(err, -ENOMEM, "out of memory");
	return err_set(err, f->health.damaged ? -EINVAL : -EIO, "%s", f->health.text);
}

static char *copy_of(const char *text)
{
	return text ? strdup(text) : NULL;
}

int sqlite_file_init(struct sqlite_file *f, const struct engine_sqlite_options *options, struct err *err)
{
	int rc;

	*f = (struct sqlite_file){ .path = copy_of(options->path), .vfs = copy_of(options->vfs),
				   .accept = copy_of(options->accept_loss) };
	rc = f->path && !f->vfs == !options->vfs && !f->accept == !options->accept_loss ? SQLITE_OK : SQLITE_NOMEM;
	f->room.fd = -1;
	if (f->path)
		sqlite_room_init(f, options->reserve);
	if (rc == SQLITE_OK)
		rc = sqlite_mark_open(&f->mark, f->path, f->vfs);
	if (rc == SQLITE_OK)
		rc = open_with_reserve(f);
	else
		sqlite_failed(f, rc);
	if (rc == SQLITE_OK && !quick_check(f)) {
		sqlite_failed(f, SQLITE_CORRUPT);
		rc = SQLITE_CORRUPT;
	}
	if (rc == SQLITE_OK) {
		sqlite_room_take(f, true); /* for_cells() tries again */
		f->health.full = sqlite_room_is_short(f);
		f->health.serving = true;
		return 0;
	}
	rc = open_failed(f, rc & 0xff, err);
	sqlite_file_fini(f);
	return rc;
}

void sqlite_file_fini(struct sqlite_file *f)
{
	bool ours = f->db && f->health.serving;

	sqlite_kept_end(f);
	sqlite_close_file(f);
	if (ours)
		sqlite_room_take(f, true); /* of the blocks that the log had */
	sqlite_mark_close(&f->mark);
	sqlite_room_fini(f);
	free(f->path);
	free(f->vfs);
	free(f->accept);
	f->path = f->vfs = f->accept = NULL;
}
