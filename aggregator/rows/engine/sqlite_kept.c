/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlite_kept.h. */
#include "aggregator/rows/engine/sqlite_kept.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "lib/clock.h"

#define FOLD_FRAMES 1000    /* as SQLite itself would do it */
#define COUNT_NS NS_PER_S   /* how often the count is raised while there are commits */
#define HEAD 100            /* bytes of the file's head */
#define AT_PAGE 16          /* size of a page, 2 bytes big-endian; 1: 65536 */
#define AT_COUNT 60         /* PRAGMA user_version, 4 bytes big-endian */
#define PAGE_USUAL 4096

/* What can be missing; the text follows the file's name. */
enum loss {
	KEPT,
	GONE,
	OLDER,
	LOG_GONE,
	LOG_OTHER,
	LOG_DAMAGED,
};

static const char *const losses[] = {
	[GONE] = "the file is gone",
	[OLDER] = "an older file was put back",
	[LOG_GONE] = "the log is gone, or damaged at its head",
	[LOG_OTHER] = "the log is of another time",
	[LOG_DAMAGED] = "the log is damaged at byte",
};

/* What was found. */
struct found {
	enum loss loss;
	uint64_t at;           /* LOG_DAMAGED: byte of the log */
	uint32_t base;         /* count of the file without its log */
	uint32_t count;        /* with it */
	struct sqlite_log log;
};

/* Counts may turn over after some years. */
static bool is_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* ------------------------------------------------------------------------ loss */

/* A number for this loss and no other one. */
static uint32_t number_of(const struct sqlite_file *f, const struct found *found)
{
	const uint64_t words[] = {
		found->loss, found->at, found->base, found->count, found->log.frames, found->log.salts.word[0],
		found->log.salts.word[1], f->mark.frames, f->mark.count, f->mark.base, f->mark.salts.word[0],
		f->mark.salts.word[1],
	};

	return (uint32_t)XXH3_64bits(words, sizeof(words));
}

/* Says it, unless it is what somebody has accepted. */
static int judge(struct sqlite_file *f, const struct found *found)
{
	char number[16], at[24] = "";

	if (found->loss == KEPT)
		return SQLITE_OK;
	(void)snprintf(number, sizeof(number), "%08" PRIx32, number_of(f, found));
	if (f->accept && strcmp(f->accept, number) == 0) {
		f->accepted = true;
		return SQLITE_OK;
	}
	if (found->loss == LOG_DAMAGED)
		(void)snprintf(at, sizeof(at), " %" PRIu64, found->at);
	f->health.serving = false;
	f->health.damaged = true;
	(void)snprintf(f->health.text, sizeof(f->health.text),
		       "acknowledged cells are missing, %s%s: restore a newer backup, or accept the loss by --accept-loss %s "
		       "(%s)", losses[found->loss], at, number, f->path);
	return SQLITE_CORRUPT;
}

int sqlite_kept_there(struct sqlite_file *f)
{
	struct found found = { .loss = KEPT };
	int rc, there = 0;

	f->gone = false;
	if (!f->mark.known)
		return SQLITE_OK;
	rc = f->mark.vfs->xAccess(f->mark.vfs, f->path, SQLITE_ACCESS_EXISTS, &there);
	found.loss = there ? KEPT : GONE;
	if (rc == SQLITE_OK)
		rc = judge(f, &found);
	f->gone = rc == SQLITE_OK && !there;
	return rc;
}

static enum loss loss_of(const struct sqlite_mark *mark, const struct found *found)
{
	const struct sqlite_log *log = &found->log;

	if (log->damaged_at)
		return LOG_DAMAGED;
	if (!mark->known)
		return log->stray ? LOG_GONE : KEPT;
	if (!mark->frames) {
		/* A head that was half written begins the log anew: what stands behind it is in the file. */
		if (log->stray && !sqlite_salts_eq(&log->salts, &mark->salts))
			return LOG_GONE;
	} else if (!log->headed) {
		return LOG_GONE;
	} else if (!sqlite_salts_eq(&log->salts, &mark->salts)) {
		return LOG_OTHER;
	} else if (log->frames < mark->frames) {
		return LOG_DAMAGED;
	}
	return is_before(found->base, mark->base) || is_before(found->count, mark->count) ? OLDER : KEPT;
}

static sqlite3_file *file_of(struct sqlite_file *f, int which)
{
	sqlite3_file *file = NULL;

	if (sqlite3_file_control(f->db, "main", which, &file) != SQLITE_OK || !file || !file->pMethods)
		return NULL;
	return file;
}

/* The file's head as it lies there, without the log. */
static int read_head(struct sqlite_file *f, uint32_t *ret_count, uint32_t *ret_page)
{
	sqlite3_file *file = file_of(f, SQLITE_FCNTL_FILE_POINTER);
	uint8_t head[HEAD] = { 0 };
	int rc = file ? file->pMethods->xRead(file, head, HEAD, 0) : SQLITE_CANTOPEN;

	*ret_count = (uint32_t)head[AT_COUNT] << 24 | (uint32_t)head[AT_COUNT + 1] << 16 |
		     (uint32_t)head[AT_COUNT + 2] << 8 | head[AT_COUNT + 3];
	*ret_page = (uint32_t)head[AT_PAGE] << 8 | head[AT_PAGE + 1];
	if (*ret_page == 1)
		*ret_page = 65536;
	if (*ret_page < 512)
		*ret_page = PAGE_USUAL;
	return rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : rc;
}

static int read_count(struct sqlite_file *f, uint32_t *ret)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(f->db, "PRAGMA user_version", -1, &statement, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*ret = (uint32_t)sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int write_count(struct sqlite_file *f, uint32_t count)
{
	char text[48];

	(void)snprintf(text, sizeof(text), "PRAGMA user_version = %" PRId32, (int32_t)count);
	return sqlite3_exec(f->db, text, NULL, NULL, NULL);
}

int sqlite_kept_all(struct sqlite_file *f)
{
	sqlite3_file *log = file_of(f, SQLITE_FCNTL_JOURNAL_POINTER);
	struct found found = { .loss = KEPT };
	uint32_t page = 0;
	int rc = read_head(f, &found.base, &page);

	if (rc == SQLITE_OK && log)
		rc = sqlite_log_read(log, page, &found.log);
	if (rc == SQLITE_OK)
		rc = read_count(f, &found.count);
	if (rc != SQLITE_OK)
		return rc;
	if (!f->gone) /* that all of it is missing was accepted a moment ago */
		found.loss = loss_of(&f->mark, &found);
	found.at = found.log.damaged_at;
	if (!found.at) /* the mark knows that there was more */
		found.at = 32 + (uint64_t)found.log.frames * (24 + page);
	rc = judge(f, &found);
	if (rc == SQLITE_OK && (!f->mark.known || is_before(f->mark.count, found.count)))
		f->mark.count = found.count;
	return rc;
}

/* ------------------------------------------------------------------------ mark */

/* All of the log is in the file, durably. */
static int mark_folded(struct sqlite_file *f)
{
	f->mark.frames = 0;
	f->mark.base = f->mark.count;
	return sqlite_mark_write(&f->mark, true);
}

/* Copies the log into the file.  *ret_all: nothing is left that only the log has. */
static int copy_log(struct sqlite_file *f, int how, bool *ret_all)
{
	int frames = -1, copied = -1;
	int rc = sqlite3_wal_checkpoint_v2(f->db, NULL, how, &frames, &copied);

	*ret_all = rc == SQLITE_OK && frames == copied && frames >= 0;
	return rc;
}

/*
 * The emptied log is synced, too; SQLite leaves that to the next commit.  But after a failed
 * fsync the log may hold less on the disk than what was read from it: a crash would bring that
 * back, and it would be written over the newer pages of the file.
 */
int sqlite_kept_fold(struct sqlite_file *f)
{
	sqlite3_file *log = file_of(f, SQLITE_FCNTL_JOURNAL_POINTER);
	uint32_t count = 0;
	bool all = false;
	int rc = read_count(f, &count);

	if (rc == SQLITE_OK && is_before(count, f->mark.count)) {
		/* A loss was accepted: no count of what was lost comes again. */
		count = f->mark.count + 1;
		rc = write_count(f, count);
	}
	if (rc == SQLITE_OK)
		rc = copy_log(f, SQLITE_CHECKPOINT_FULL, &all);
	if (rc == SQLITE_OK && !all)
		rc = SQLITE_BUSY;
	f->mark.count = count;
	if (rc == SQLITE_OK)
		rc = mark_folded(f);
	if (rc == SQLITE_OK)
		rc = copy_log(f, SQLITE_CHECKPOINT_TRUNCATE, &all);
	if (rc == SQLITE_OK && log)
		rc = log->pMethods->xSync(log, SQLITE_SYNC_FULL);
	return rc;
}

int sqlite_kept_count(struct sqlite_file *f)
{
	int rc;

	f->counting = false;
	if (f->mark.frames && clock_now(&clock_monotonic) - f->counted_at < COUNT_NS)
		return SQLITE_OK;
	rc = write_count(f, f->mark.count + 1);
	f->counting = rc == SQLITE_OK;
	return rc;
}

/* By SQLite, at the end of each commit that has written to the log. */
static int on_logged(void *ctx, sqlite3 *db, const char *name, int frames)
{
	struct sqlite_file *f = ctx;

	(void)db;
	(void)name;
	f->frames = (uint32_t)frames;
	return SQLITE_OK;
}

void sqlite_kept_begin(struct sqlite_file *f)
{
	f->frames = 0;
	(void)sqlite3_wal_hook(f->db, on_logged, f); /* the one before: none */
}

/* The log is long, or nothing may be left for it at the next start. */
static bool is_to_be_folded(const struct sqlite_file *f)
{
	return f->mark.frames >= FOLD_FRAMES || f->room.unfolded || (f->room.size && !f->room.held);
}

int sqlite_kept_commit(struct sqlite_file *f)
{
	sqlite3_file *log;
	int rc = SQLITE_OK;

	if (!f->frames)
		return SQLITE_OK; /* it has written nothing */
	if (f->counting) {
		f->mark.count++;
		f->counted_at = clock_now(&clock_monotonic);
	}
	f->uncounted = !f->counting;
	f->counting = false;
	log = f->mark.frames ? NULL : file_of(f, SQLITE_FCNTL_JOURNAL_POINTER);
	if (log)
		rc = sqlite_log_salts(log, &f->mark.salts);
	if (rc != SQLITE_OK)
		return rc; /* the mark is what it was: of this log nothing is known */
	f->mark.frames = f->frames;
	f->frames = 0;
	if (is_to_be_folded(f) && sqlite_kept_shrink(f) == SQLITE_OK)
		return SQLITE_OK; /* else with one of the next */
	return sqlite_mark_write(&f->mark, false);
}

int sqlite_kept_shrink(struct sqlite_file *f)
{
	bool all = false;
	int rc = copy_log(f, SQLITE_CHECKPOINT_PASSIVE, &all);

	f->room.unfolded = (rc & 0xff) == SQLITE_FULL;
	if (rc == SQLITE_OK)
		rc = all ? mark_folded(f) : SQLITE_BUSY;
	return rc;
}

/* What fails here is done at the next start. */
void sqlite_kept_end(struct sqlite_file *f)
{
	if (!f->db || !f->health.serving)
		return;
	if (f->uncounted) {
		f->counted_at = 0;
		if (sqlite_command(f, BEGIN) != SQLITE_OK || sqlite_kept_count(f) != SQLITE_OK ||
		    sqlite_command(f, COMMIT) != SQLITE_OK || sqlite_kept_commit(f) != SQLITE_OK)
			return;
	}
	(void)sqlite_kept_fold(f);
}
