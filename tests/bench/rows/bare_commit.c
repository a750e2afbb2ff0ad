/* SPDX-License-Identifier: Apache-2.0 */
/* See bare_commit.h. */
#include "tests/bench/rows/bare_commit.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>

#define VALUE_SIZE 216 /* batch head, cell head, key, origin, content */

static sqlite3 *db;
static sqlite3_stmt *begin, *insert, *commit;

static bool prepare(const char *sql, sqlite3_stmt **ret)
{
	return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) == SQLITE_OK;
}

const char *bare_commit_open(const char *path)
{
	bool good = sqlite3_open(path, &db) == SQLITE_OK &&
		    sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
				 "CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID", NULL, NULL,
				 NULL) == SQLITE_OK &&
		    prepare("BEGIN IMMEDIATE", &begin) &&
		    prepare("INSERT INTO kv (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
			    &insert) &&
		    prepare("COMMIT", &commit);

	return good ? NULL : sqlite3_errmsg(db);
}

static bool step(sqlite3_stmt *statement)
{
	int rc = sqlite3_step(statement);

	sqlite3_reset(statement); /* repeats the error of the step */
	return rc == SQLITE_DONE;
}

const char *bare_commit(uint64_t n)
{
	static const char value[VALUE_SIZE];
	char key[64];
	int size = snprintf(key, sizeof(key), "middlepipe/default/cells/r0/00000000000000ff/%016" PRIx64, n);
	bool good = step(begin);

	sqlite3_bind_blob(insert, 1, key, size, SQLITE_STATIC);
	sqlite3_bind_blob(insert, 2, value, VALUE_SIZE, SQLITE_STATIC);
	good = good && step(insert) && step(commit);
	return good ? NULL : sqlite3_errmsg(db);
}
