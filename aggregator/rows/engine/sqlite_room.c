/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlite_room.h. */
#include "aggregator/rows/engine/sqlite_room.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "aggregator/rows/engine/sqlite_kept.h"
#include "lib/log.h"

#define BLOCK 512 /* of st_blocks */
#define PART_MIN 65536

void sqlite_room_init(struct sqlite_file *f, uint64_t size)
{
	size_t n = strlen(f->path) + sizeof(SQLITE_RESERVE_SUFFIX);
	char *path = malloc(n);
	struct stat st = { .st_blocks = 0 };

	f->room = (struct sqlite_room){ .fd = -1, .size = path ? size : 0, .path = path };
	if (!path)
		return;
	(void)snprintf(path, n, "%s" SQLITE_RESERVE_SUFFIX, f->path);
	if (!size) {
		(void)unlink(path); /* there may be one of before, when some was wanted */
		return;
	}
	f->room.fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (f->room.fd < 0 || fstat(f->room.fd, &st) < 0)
		return;
	f->room.part = st.st_blocks > 0;
	f->room.held = (uint64_t)st.st_blocks * BLOCK >= size;
}

void sqlite_room_fini(struct sqlite_file *f)
{
	if (f->room.fd >= 0)
		(void)close(f->room.fd); /* it holds blocks, no bytes */
	free(f->room.path);
	f->room = (struct sqlite_room){ .fd = -1 };
}

/* Bytes that anybody may take of the disk, and the reserve has already. */
static uint64_t to_be_had(const struct sqlite_room *room)
{
	struct statvfs fs;
	struct stat st;

	if (fstatvfs(room->fd, &fs) < 0 || fstat(room->fd, &st) < 0)
		return 0;
	return (uint64_t)fs.f_bavail * fs.f_frsize + (uint64_t)st.st_blocks * BLOCK;
}

void sqlite_room_take(struct sqlite_file *f, bool part)
{
	struct sqlite_room *room = &f->room;
	uint64_t most, size = room->size;

	if (!room->size || room->held)
		return;
	if (room->fd < 0)
		room->fd = open(room->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (room->fd < 0)
		return;
	most = to_be_had(room);
	while (part && size > most && size > PART_MIN)
		size /= 2;
	if (size > most || posix_fallocate(room->fd, 0, (off_t)size) != 0)
		return; /* what it has got, it keeps */
	room->part = true;
	room->held = size == room->size;
	room->told = room->told && !room->held;
}

/* By halves: who dies before the room is used leaves some to the next start, whoever takes what was given up. */
bool sqlite_room_release(struct sqlite_file *f)
{
	struct sqlite_room *room = &f->room;
	struct stat st;
	uint64_t keep;

	if (!room->part || fstat(room->fd, &st) < 0)
		return false;
	keep = (uint64_t)st.st_blocks * BLOCK / 2;
	keep = keep < PART_MIN ? 0 : keep;
	if (ftruncate(room->fd, (off_t)keep) < 0)
		return false;
	(void)fsync(room->fd); /* some file systems give blocks back only then */
	if (!room->told)
		log_warn("no space is left: the reserve is used", "path=%s bytes=%llu", LOG_STR(room->path),
			 (unsigned long long)room->size);
	room->told = true;
	room->held = false;
	room->part = keep > 0;
	return true;
}

void sqlite_room_keep(struct sqlite_file *f)
{
	if (!f->room.size || f->room.held)
		return;
	while (f->room.unfolded && sqlite_room_release(f))
		(void)sqlite_kept_shrink(f); /* else the next one */
	sqlite_room_take(f, true);
}

/* As much as the reserve is free within the file, where no disk is asked for it. */
static bool is_free_inside(struct sqlite_file *f)
{
	return sqlite_free_inside(f) >= f->room.size;
}

bool sqlite_room_for_cells(struct sqlite_file *f)
{
	if (f->room.unfolded && sqlite_kept_shrink(f) != SQLITE_OK) {
		sqlite_failed(f, SQLITE_FULL);
		return false;
	}
	f->room.inside = false;
	if (!f->room.size || f->room.held)
		return true;
	sqlite_room_take(f, false);
	f->room.inside = !f->room.held && is_free_inside(f);
	if (f->room.held || f->room.inside)
		return true;
	sqlite_failed(f, SQLITE_FULL);
	return false;
}

bool sqlite_room_make(struct sqlite_file *f, bool grows)
{
	bool had = f->mark.frames > 0;

	f->room.tight |= grows;
	if (!f->db)
		return false;
	if (sqlite_kept_shrink(f) == SQLITE_OK && had)
		return true; /* the log begins anew, where it has its blocks */
	if (grows || !sqlite_room_release(f))
		return false;
	(void)sqlite_kept_shrink(f); /* else the next one */
	return true;
}

bool sqlite_room_is_short(const struct sqlite_file *f)
{
	const struct sqlite_room *room = &f->room;

	return room->tight || room->unfolded || (room->size && !room->held && !room->inside);
}
