/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlite_log.h. */
#include "aggregator/rows/engine/sqlite_log.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "lib/le.h"

#define HEADER 32
#define FRAME 24       /* bytes before its page */
#define MAGIC 0x377f0682u
#define VERSION 3007000u
#define PAGE_MIN 512u
#define PAGE_MAX 65536u

struct sums {
	uint32_t word[2];
};

/* The frame that is looked at, and what is known of the one before. */
struct walk {
	sqlite3_file *file;
	uint8_t *frame;           /* FRAME + page bytes; owned */
	uint32_t page;            /* bytes of a page */
	bool big;                 /* checksums are of big-endian words */
	struct sums stored;       /* of the frame before, or the header: as it stands there */
	struct sums right;        /* as it ought to be */
	struct sqlite_salts salts; /* of the frame before */
	bool commits;             /* the frame before has a commit mark */
};

static uint32_t number(const uint8_t *at)
{
	uint32_t big;

	memcpy(&big, at, sizeof(big));
	return be32toh(big);
}

static struct sums sums_at(const uint8_t *at)
{
	return (struct sums){ { number(at), number(at + 4) } };
}

static bool same(const struct sums *a, const struct sums *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

static uint32_t little(const uint8_t *at)
{
	return (uint32_t)le_get((const char *)at, 4);
}

/* Goes on over some bytes, a multiple of 8. */
static struct sums add(struct sums s, const uint8_t *at, size_t size, bool big)
{
	for (const uint8_t *end = at + size; at < end; at += 8) {
		s.word[0] += (big ? number(at) : little(at)) + s.word[1];
		s.word[1] += (big ? number(at + 4) : little(at + 4)) + s.word[0];
	}
	return s;
}

static bool page_ok(uint32_t page)
{
	return page >= PAGE_MIN && page <= PAGE_MAX && !(page & (page - 1));
}

/* ---------------------------------------------------------------------- header */

static bool read_header(const uint8_t *at, uint32_t page, struct walk *w, struct sqlite_log *ret)
{
	uint32_t own = number(at + 8);

	w->big = number(at) & 1;
	w->stored = w->right = sums_at(at + 24);
	w->page = page_ok(own) ? own : page;
	ret->salts = (struct sqlite_salts){ { number(at + 16), number(at + 20) } };
	w->salts = ret->salts;
	w->right = add((struct sums){ { 0, 0 } }, at, 24, w->big);
	return (number(at) & ~1u) == MAGIC && number(at + 4) == VERSION && page_ok(own) && same(&w->right, &w->stored);
}

int sqlite_log_salts(sqlite3_file *file, struct sqlite_salts *ret)
{
	uint8_t words[8];
	int rc = file->pMethods->xRead(file, words, sizeof(words), 16);

	if (rc == SQLITE_OK)
		*ret = (struct sqlite_salts){ { number(words), number(words + 4) } };
	return rc;
}

/* ---------------------------------------------------------------------- frames */

/* Takes in the next frame.  Is it linked to the one before, by what stands there or ought to? */
static bool is_linked(struct walk *w)
{
	const uint8_t *at = w->frame;
	struct sums have = sums_at(at + 16);
	struct sums by_stored = add(add(w->stored, at, 8, w->big), at + FRAME, w->page, w->big);
	struct sums by_right = by_stored;
	bool linked;

	if (!same(&w->stored, &w->right))
		by_right = add(add(w->right, at, 8, w->big), at + FRAME, w->page, w->big);
	linked = number(at) && (same(&by_stored, &have) || same(&by_right, &have));
	w->stored = have;
	w->right = by_stored;
	w->commits = number(at + 4) != 0;
	w->salts = (struct sqlite_salts){ { number(at + 8), number(at + 12) } };
	return linked;
}

/* Frames of a log whose header is right. */
static int walk_frames(struct walk *w, uint64_t n, struct sqlite_log *ret)
{
	uint64_t wrong = 0;

	for (uint64_t i = 1; i <= n; i++) {
		sqlite3_int64 at = HEADER + (sqlite3_int64)((i - 1) * (FRAME + w->page));
		bool after_commit = w->commits, linked, ours;
		int rc = w->file->pMethods->xRead(w->file, w->frame, (int)(FRAME + w->page), at);

		if (rc != SQLITE_OK)
			return rc;
		linked = is_linked(w);
		ours = sqlite_salts_eq(&w->salts, &ret->salts);
		if (!wrong && !(linked && ours))
			wrong = i;
		else if (!wrong && w->commits)
			ret->frames = (uint32_t)i;
		else if (wrong && i > wrong && linked && ours && after_commit) {
			ret->damaged_at = HEADER + (wrong - 1) * (FRAME + w->page);
			return SQLITE_OK;
		}
	}
	return SQLITE_OK;
}

/* Are there frames that belong together behind a header that is wrong? */
static int walk_one_order(struct walk *w, uint64_t n, struct sqlite_log *ret)
{
	for (uint64_t i = 1; i <= n; i++) {
		sqlite3_int64 at = HEADER + (sqlite3_int64)((i - 1) * (FRAME + w->page));
		struct sqlite_salts before = w->salts;
		int rc = w->file->pMethods->xRead(w->file, w->frame, (int)(FRAME + w->page), at);

		if (rc != SQLITE_OK)
			return rc;
		/* The first may be linked to the header's checksum, when that is what is right of it. */
		if (is_linked(w) && (i == 1 || sqlite_salts_eq(&w->salts, &before))) {
			ret->stray = true;
			ret->salts = w->salts;
			return SQLITE_OK;
		}
	}
	return SQLITE_OK;
}

/* The header's word on the order of bytes may be what is wrong. */
static int walk_strays(struct walk *w, uint64_t n, struct sqlite_log *ret)
{
	const struct walk begin = *w;
	int rc = walk_one_order(w, n, ret);

	if (rc != SQLITE_OK || ret->stray)
		return rc;
	*w = begin;
	w->big = !w->big;
	return walk_one_order(w, n, ret);
}

int sqlite_log_read(sqlite3_file *file, uint32_t page, struct sqlite_log *ret)
{
	struct walk w = { .file = file };
	uint8_t header[HEADER];
	sqlite3_int64 size = 0;
	int rc = file->pMethods->xFileSize(file, &size);
	uint64_t n;

	*ret = (struct sqlite_log){ .headed = false };
	if (rc != SQLITE_OK || size < HEADER)
		return rc;
	rc = file->pMethods->xRead(file, header, sizeof(header), 0);
	if (rc != SQLITE_OK)
		return rc;
	ret->headed = read_header(header, page, &w, ret);
	w.frame = malloc(FRAME + w.page);
	if (!w.frame)
		return SQLITE_NOMEM;
	n = (uint64_t)(size - HEADER) / (FRAME + w.page);
	rc = (ret->headed ? walk_frames : walk_strays)(&w, n, ret);
	free(w.frame);
	return rc;
}
