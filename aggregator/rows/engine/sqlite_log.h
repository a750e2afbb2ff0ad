/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite's write-ahead log, read as its format says, to find damage that SQLite's
 * own recovery is silent about.  For sqlite_file.c only, on its thread.
 *
 * That recovery takes frames up to the first one whose salts or checksum are wrong,
 * and of those all up to the last that ends a commit.  What follows is dropped: after a
 * power failure it is what was being written.  But a bit that turned in the middle
 * looks the same, and then transactions go that were answered long ago.
 *
 *	log     32 bytes of header, then frames to the end of the file
 *	header  magic 4 (last bit: checksums of big-endian words), version 4, page size 4,
 *	        number 4, salts 8, checksum 8 of the 24 bytes before
 *	frame   page 4, pages of the file 4 (0: no commit ends here), salts 8, checksum 8,
 *	        then the page.  The checksum is of the first 8 bytes and the page, begun with that
 *	        of the frame before (of the header), so that each frame is linked to the one before
 *
 * What a disk that keeps its promises leaves behind.  With synchronous=FULL and one
 * connection a transaction writes its frames, the last of them with the commit mark, and is
 * synced; only when that succeeded is the next one begun.  So at any time everything up to
 * the last synced commit is there, and behind it there are, in whatever state:
 *   - frames of one transaction that was not synced.  Any may be missing, or in part, but
 *     only the last of them has a commit mark, and nothing is linked to that one;
 *   - frames of transactions that were rolled back, when the next one was shorter.  A mark among
 *     them (of a COMMIT that found no room) has nothing linked to it either: after a rollback
 *     the next frame is linked to the last commit;
 *   - frames of the log's earlier lives, with other salts.
 * Therefore a frame with right salts that is linked to a commit mark proves that this commit was
 * synced, with everything before it, and if one of those frames is wrong now, then
 * what was acknowledged has been damaged.  A frame is linked by the checksum that stands in the one
 * before, or by the one that the one before ought to have: so a turned bit in either is seen.
 *
 * What that cannot tell: whether the last transaction was cut by a power failure or damaged after
 * its sync, and what became of a log whose header is wrong.  The mark does (sqlite_mark.h).
 */
#ifndef AGGREGATOR_ROWS_ENGINE_SQLITE_LOG_H
#define AGGREGATOR_ROWS_ENGINE_SQLITE_LOG_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/* Which life of a log it is: written at the beginning of each, and in each of its frames. */
struct sqlite_salts {
	uint32_t word[2];
};

struct sqlite_log {
	bool headed;              /* its header is right */
	struct sqlite_salts salts; /* of the header; without one, of frames that are linked */
	uint32_t frames;          /* up to the last commit that SQLite will take; 0 without a header */
	bool stray;               /* without a header: there are frames that are linked */
	uint64_t damaged_at;      /* byte where the frame begins that was synced and is wrong; 0: none is known */
};

/* `page`: its size, when the header cannot tell.  A result code of SQLite's, and *ret when it is SQLITE_OK. */
int sqlite_log_read(sqlite3_file *file, uint32_t page, struct sqlite_log *ret);

/* The salts of the header as it stands; a result code. */
int sqlite_log_salts(sqlite3_file *file, struct sqlite_salts *ret);

static inline bool sqlite_salts_eq(const struct sqlite_salts *a, const struct sqlite_salts *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

#endif
