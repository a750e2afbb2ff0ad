/* SPDX-License-Identifier: Apache-2.0 */
/* See faulty_disk.h. */
#include "tests/unit/aggregator/faulty_disk.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define FILES 8
#define SECTOR 512
#define NAME_MAX_SIZE 128

struct disk_file {
	char name[NAME_MAX_SIZE];
	bool there;
	struct faulty_content seen; /* by the process */
	struct faulty_file disk;    /* what of that survives */
};

/* What SQLite has of an open file. */
struct handle {
	sqlite3_file base;
	struct disk_file *file;
	bool gone; /* it goes when it is closed */
};

static struct disk_file files[FILES];

/* A write that is seen, and not synced; data NULL: the file is cut. */
static void add_late(struct disk_file *f, size_t at, const char *data, size_t size)
{
	faulty_file_wrote(&f->disk, at, data, size);
	if (data)
		faulty_content_write(&f->seen, at, data, size);
	else
		faulty_content_resize(&f->seen, at);
}

static void erase(struct disk_file *f)
{
	free(f->seen.bytes);
	f->there = false;
	f->seen = (struct faulty_content){ 0 };
	faulty_file_fini(&f->disk);
}

/* ---------------------------------------------------------------------- a file */

static struct disk_file *file_of(sqlite3_file *file)
{
	return ((struct handle *)(void *)file)->file;
}

static int io_close(sqlite3_file *file)
{
	struct handle *h = (struct handle *)(void *)file;

	if (h->gone)
		erase(h->file);
	return SQLITE_OK;
}

static int io_read(sqlite3_file *file, void *to, int size, sqlite3_int64 at)
{
	const struct faulty_content *c = &file_of(file)->seen;
	size_t there = (size_t)at < c->size ? c->size - (size_t)at : 0;

	if (faulty_is_dead())
		return SQLITE_IOERR_READ;
	if (there > (size_t)size)
		there = (size_t)size;
	memset(to, 0, (size_t)size);
	if (there)
		memcpy(to, c->bytes + at, there);
	return there == (size_t)size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int io_write(sqlite3_file *file, const void *from, int size, sqlite3_int64 at)
{
	struct disk_file *f = file_of(file);
	enum disk_fault fault = faulty_next();

	if (fault == DISK_WELL || (fault == DISK_FULL && (size_t)(at + size) <= f->seen.size)) {
		add_late(f, (size_t)at, from, (size_t)size);
		return SQLITE_OK;
	}
	faulty_counts()->writes++;
	if (fault == DISK_TEAR || fault == DISK_FORGET || fault == DISK_DEAD) {
		faulty_counts()->torn++;
		add_late(f, (size_t)at, from, (size_t)size / 2);
	}
	return fault == DISK_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int io_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	enum disk_fault fault = faulty_next();

	if (fault != DISK_WELL && fault != DISK_FULL)
		return SQLITE_IOERR_TRUNCATE;
	add_late(file_of(file), (size_t)size, NULL, 0);
	return SQLITE_OK;
}

static int io_sync(sqlite3_file *file, int flags)
{
	struct disk_file *f = file_of(file);
	enum disk_fault fault = faulty_next();

	(void)flags;
	if (fault != DISK_WELL && fault != DISK_FULL) {
		faulty_file_unsynced(&f->disk, fault);
		return SQLITE_IOERR_FSYNC;
	}
	faulty_file_synced(&f->disk);
	return SQLITE_OK;
}

static int io_size(sqlite3_file *file, sqlite3_int64 *ret)
{
	*ret = (sqlite3_int64)file_of(file)->seen.size;
	return faulty_is_dead() ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

/* One process only: every lock is to be had. */
static int io_lock(sqlite3_file *file, int level)
{
	(void)file;
	(void)level;
	return SQLITE_OK;
}

static int io_reserved(sqlite3_file *file, int *ret)
{
	(void)file;
	*ret = 0;
	return SQLITE_OK;
}

static int io_control(sqlite3_file *file, int op, void *arg)
{
	(void)file;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int io_sector(sqlite3_file *file)
{
	(void)file;
	return SECTOR;
}

/* As SQLite's own VFS: a write leaves alone what stands beside it. */
static int io_device(sqlite3_file *file)
{
	(void)file;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = io_close,
	.xRead = io_read,
	.xWrite = io_write,
	.xTruncate = io_truncate,
	.xSync = io_sync,
	.xFileSize = io_size,
	.xLock = io_lock,
	.xUnlock = io_lock,
	.xCheckReservedLock = io_reserved,
	.xFileControl = io_control,
	.xSectorSize = io_sector,
	.xDeviceCharacteristics = io_device,
};

/* ------------------------------------------------------------------------ names */

static struct disk_file *find(const char *name)
{
	for (size_t i = 0; i < FILES; i++)
		if (files[i].there && !strcmp(files[i].name, name))
			return &files[i];
	return NULL;
}

static struct disk_file *make(const char *name)
{
	for (size_t i = 0; i < FILES; i++) {
		if (files[i].there)
			continue;
		files[i] = (struct disk_file){ .there = true };
		faulty_file_init(&files[i].disk);
		(void)strncpy(files[i].name, name, NAME_MAX_SIZE - 1);
		return &files[i];
	}
	return NULL;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
	struct handle *h = (struct handle *)(void *)file;
	struct disk_file *f = name ? find(name) : NULL;

	(void)vfs;
	*h = (struct handle){ .gone = !name || (flags & SQLITE_OPEN_DELETEONCLOSE) };
	if (faulty_is_dead() || (!f && !(flags & SQLITE_OPEN_CREATE)) || (!f && !(f = make(name ? name : "(temporary)"))))
		return SQLITE_CANTOPEN;
	h->file = f;
	h->base.pMethods = &methods;
	if (ret_flags)
		*ret_flags = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	struct disk_file *f = find(name);
	enum disk_fault fault = faulty_next();

	(void)vfs;
	(void)sync;
	if (fault != DISK_WELL && fault != DISK_FULL)
		return SQLITE_IOERR_DELETE;
	if (!f)
		return SQLITE_IOERR_DELETE_NOENT;
	erase(f);
	return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
	(void)vfs;
	(void)flags;
	*ret = find(name) != NULL;
	return SQLITE_OK;
}

static int vfs_path(sqlite3_vfs *vfs, const char *name, int size, char *ret)
{
	(void)vfs;
	(void)strncpy(ret, name, (size_t)size - 1);
	ret[size - 1] = '\0';
	return SQLITE_OK;
}

void disk_start(void)
{
	static sqlite3_vfs vfs;

	vfs = *sqlite3_vfs_find(NULL); /* time and chance are the default's */
	vfs.iVersion = 2;
	vfs.szOsFile = sizeof(struct handle);
	vfs.mxPathname = NAME_MAX_SIZE;
	vfs.zName = DISK_VFS;
	vfs.xOpen = vfs_open;
	vfs.xDelete = vfs_delete;
	vfs.xAccess = vfs_access;
	vfs.xFullPathname = vfs_path;
	sqlite3_vfs_register(&vfs, 0);
	disk_erase();
}

void disk_erase(void)
{
	for (size_t i = 0; i < FILES; i++)
		erase(&files[i]);
}

/* ------------------------------------------------------------------------ crash */

void disk_crash(enum disk_crash how, struct sim *chance)
{
	const struct disk_script well = { .fault = DISK_WELL };

	for (size_t i = 0; i < FILES; i++) {
		struct disk_file *f = &files[i];

		if (!f->there)
			continue;
		faulty_file_crash(&f->disk, how, chance);
		faulty_content_resize(&f->seen, 0);
		faulty_content_write(&f->seen, 0, f->disk.kept.bytes, f->disk.kept.size);
	}
	faulty_counts()->crashes++;
	disk_script(&well);
}

void disk_count(struct disk_counts *ret)
{
	*ret = *faulty_counts();
}
