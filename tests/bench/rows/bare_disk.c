/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disk and SQLite cost by themselves, one after the other:
 *
 *	bare_disk fdatasync|sqlite FOLDER SECONDS
 *
 * fdatasync writes 4 KiB behind one another into a file of the folder and syncs
 * each.  sqlite commits one row a transaction: the table, the pragmas and the
 * statement of aggregator/rows/sqlite_file.c, a key as long as a batch's, a value
 * as large as a batch of one cell of 128 bytes.
 *
 * Prints one JSON object: p50 and p99 in milliseconds, a second, and how many.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/hist.h"

#define VALUE_SIZE 216 /* batch head, cell head, key, origin, content */
#define PAGE 4096

static struct hist times;
static char path[4096];

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "bare_disk: %s\n", what);
	exit(1);
}

/* ------------------------------------------------------------------ fdatasync */

static int fd = -1;

static void sync_begin(void)
{
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		die(strerror(errno));
}

static void sync_once(uint64_t n)
{
	static const char page[PAGE];

	(void)n;
	if (write(fd, page, PAGE) != PAGE || fdatasync(fd))
		die(strerror(errno));
}

/* --------------------------------------------------------------------- SQLite */

static sqlite3 *db;
static sqlite3_stmt *begin, *insert, *commit;

static sqlite3_stmt *prepare(const char *sql)
{
	sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
		die(sqlite3_errmsg(db));
	return statement;
}

static void sqlite_begin(void)
{
	if (sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			 "CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID", NULL, NULL,
			 NULL) != SQLITE_OK)
		die(sqlite3_errmsg(db));
	begin = prepare("BEGIN IMMEDIATE");
	insert = prepare("INSERT INTO kv (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2");
	commit = prepare("COMMIT");
}

static void step(sqlite3_stmt *statement)
{
	if (sqlite3_step(statement) != SQLITE_DONE)
		die(sqlite3_errmsg(db));
	sqlite3_reset(statement);
}

static void sqlite_once(uint64_t n)
{
	static const char value[VALUE_SIZE];
	char key[64];
	int size = snprintf(key, sizeof(key), "middlepipe/default/cells/r0/00000000000000ff/%016" PRIx64, n);

	step(begin);
	sqlite3_bind_blob(insert, 1, key, size, SQLITE_STATIC);
	sqlite3_bind_blob(insert, 2, value, VALUE_SIZE, SQLITE_STATIC);
	step(insert);
	step(commit);
}

/* ------------------------------------------------------------------------- all */

static const struct {
	const char *name;
	void (*begin)(void);
	void (*once)(uint64_t n);
} kinds[] = {
	{ "fdatasync", sync_begin, sync_once },
	{ "sqlite", sqlite_begin, sqlite_once },
};

int main(int argc, char **argv)
{
	uint64_t end, last, now, n = 0;
	size_t kind = 0;
	double seconds = argc == 4 ? strtod(argv[3], NULL) : 0;

	while (argc == 4 && kind < 2 && strcmp(argv[1], kinds[kind].name) != 0)
		kind++;
	if (argc != 4 || kind == 2 || seconds <= 0)
		die("wants fdatasync|sqlite FOLDER SECONDS");
	(void)snprintf(path, sizeof(path), "%s/bare-%s-%d", argv[2], argv[1], (int)getpid());
	kinds[kind].begin();
	last = clock_now(&clock_monotonic);
	for (end = last + (uint64_t)(seconds * 1e9); last < end; last = now) {
		kinds[kind].once(++n);
		now = clock_now(&clock_monotonic);
		hist_record(&times, now - last);
	}
	printf("{\"requests\":%" PRIu64 ",\"rate\":%.0f,\"p50\":%.4f,\"p99\":%.4f}\n", n, (double)n / seconds,
	       (double)hist_percentile(&times, 50) / 1e6, (double)hist_percentile(&times, 99) / 1e6);
	return 0;
}
