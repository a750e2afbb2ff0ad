/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlite_mark.h. */
#include "aggregator/rows/engine/sqlite_mark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MAGIC "MPRMARK1"
#define SIZE 40
#define AT_SUM 32

static void put_number(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t number(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void encode(const struct sqlite_mark *mark, uint8_t out[SIZE])
{
	const uint32_t words[] = { mark->salts.word[0], mark->salts.word[1], mark->frames, mark->count, mark->base, 0 };
	XXH64_canonical_t sum;

	memcpy(out, MAGIC, 8);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		put_number(out + 8 + 4 * i, words[i]);
	XXH64_canonicalFromHash(&sum, XXH3_64bits(out, AT_SUM));
	memcpy(out + AT_SUM, sum.digest, sizeof(sum.digest));
}

static void decode(const uint8_t in[SIZE], struct sqlite_mark *mark)
{
	XXH64_canonical_t sum;

	XXH64_canonicalFromHash(&sum, XXH3_64bits(in, AT_SUM));
	if (memcmp(in, MAGIC, 8) != 0 || memcmp(in + AT_SUM, sum.digest, sizeof(sum.digest)) != 0)
		return;
	mark->salts = (struct sqlite_salts){ { number(in + 8), number(in + 12) } };
	mark->frames = number(in + 16);
	mark->count = number(in + 20);
	mark->base = number(in + 24);
	mark->known = true;
}

/* As a super-journal: SQLite's own VFS syncs the directory, too, when it has made one. */
static int open_file(struct sqlite_mark *mark, int flags)
{
	int rc, ret_flags = 0;

	mark->file = calloc(1, (size_t)mark->vfs->szOsFile);
	if (!mark->file)
		return SQLITE_NOMEM;
	rc = mark->vfs->xOpen(mark->vfs, mark->path, mark->file, flags | SQLITE_OPEN_SUPER_JOURNAL, &ret_flags);
	if (rc != SQLITE_OK) {
		free(mark->file);
		mark->file = NULL;
	}
	return rc;
}

int sqlite_mark_open(struct sqlite_mark *mark, const char *path, const char *vfs)
{
	uint8_t bytes[SIZE] = { 0 };
	int rc, there = 0;
	size_t size = strlen(path) + sizeof(SQLITE_MARK_SUFFIX);

	*mark = (struct sqlite_mark){ .vfs = sqlite3_vfs_find(vfs), .path = malloc(size) };
	if (!mark->path || !mark->vfs)
		return SQLITE_NOMEM;
	(void)snprintf(mark->path, size, "%s" SQLITE_MARK_SUFFIX, path);
	rc = mark->vfs->xAccess(mark->vfs, mark->path, SQLITE_ACCESS_EXISTS, &there);
	if (rc == SQLITE_OK && there)
		rc = open_file(mark, SQLITE_OPEN_READWRITE);
	if (rc != SQLITE_OK || !there)
		return rc;
	rc = mark->file->pMethods->xRead(mark->file, bytes, SIZE, 0);
	if (rc == SQLITE_OK)
		decode(bytes, mark);
	return rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : rc;
}

void sqlite_mark_close(struct sqlite_mark *mark)
{
	if (mark->file)
		mark->file->pMethods->xClose(mark->file); /* what was to be durable was synced */
	free(mark->file);
	free(mark->path);
	mark->file = NULL;
	mark->path = NULL;
}

int sqlite_mark_write(struct sqlite_mark *mark, bool sync)
{
	uint8_t bytes[SIZE];
	int rc = mark->file ? SQLITE_OK : open_file(mark, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);

	encode(mark, bytes);
	if (rc == SQLITE_OK)
		rc = mark->file->pMethods->xWrite(mark->file, bytes, SIZE, 0);
	if (rc == SQLITE_OK && sync)
		rc = mark->file->pMethods->xSync(mark->file, SQLITE_SYNC_NORMAL);
	mark->known |= rc == SQLITE_OK;
	return rc;
}
