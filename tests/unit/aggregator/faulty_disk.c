/* SPDX-License-Identifier: Apache-2.0 */
/* See faulty_disk.h. */
#include "tests/unit/aggregator/faulty_disk.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define FILES 8
#define SECTOR 512
#define NAME_MAX_SIZE 128

/* A write that was not synced; data NULL: the file was cut to `at`. */
struct late {
	struct late *next;
	size_t at, size;
	bool forgotten; /* a failed sync has given it up: the process sees it, no crash survives it */
	char *data;     /* owned */
};

struct content {
	char *bytes; /* owned */
	size_t size, cap;
};

struct disk_file {
	char name[NAME_MAX_SIZE];
	bool there;
	struct content seen;   /* by the process */
	struct content kept;   /* after a crash */
	struct late *first, **last; /* between the two, in order */
};

/* What SQLite has of an open file. */
struct handle {
	sqlite3_file base;
	struct disk_file *file;
	bool gone; /* it goes when it is closed */
};

static struct disk_file files[FILES];
static struct disk_script script;
static struct disk_counts counts;

/* ------------------------------------------------------------------- contents */

static void resize(struct content *c, size_t size)
{
	if (size > c->cap) {
		c->cap = size * 2;
		c->bytes = realloc(c->bytes, c->cap);
		if (!c->bytes)
			abort();
	}
	if (size > c->size)
		memset(c->bytes + c->size, 0, size - c->size);
	c->size = size;
}

static void write_to(struct content *c, size_t at, const char *data, size_t size)
{
	if (!size)
		return;
	if (at + size > c->size)
		resize(c, at + size);
	memcpy(c->bytes + at, data, size);
}

static void apply(struct content *c, const struct late *late)
{
	if (late->data)
		write_to(c, late->at, late->data, late->size);
	else
		resize(c, late->at);
}

static void add_late(struct disk_file *f, size_t at, const char *data, size_t size)
{
	struct late *late = calloc(1, sizeof(*late));

	if (!late)
		abort();
	late->at = at;
	late->size = size;
	if (data) {
		late->data = malloc(size + 1);
		if (!late->data)
			abort();
		memcpy(late->data, data, size);
	}
	*f->last = late;
	f->last = &late->next;
	apply(&f->seen, late);
}

static void clear_late(struct disk_file *f)
{
	while (f->first) {
		struct late *late = f->first;

		f->first = late->next;
		free(late->data);
		free(late);
	}
	f->last = &f->first;
}

static void erase(struct disk_file *f)
{
	clear_late(f);
	free(f->seen.bytes);
	free(f->kept.bytes);
	*f = (struct disk_file){ .last = &f->first };
}

/* --------------------------------------------------------------------- faults */

/* What is to happen to the next operation that changes something. */
static enum disk_fault next_fault(void)
{
	uint64_t now = counts.operations++;

	if (script.fault == DISK_WELL || now < script.at)
		return DISK_WELL;
	return script.fault == DISK_DEAD || now - script.at < script.count ? script.fault : DISK_WELL;
}

static bool is_dead(void)
{
	return script.fault == DISK_DEAD && counts.operations > script.at;
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
	const struct content *c = &file_of(file)->seen;
	size_t there = (size_t)at < c->size ? c->size - (size_t)at : 0;

	if (is_dead())
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
	enum disk_fault fault = next_fault();

	if (fault == DISK_WELL || (fault == DISK_FULL && (size_t)(at + size) <= f->seen.size)) {
		add_late(f, (size_t)at, from, (size_t)size);
		return SQLITE_OK;
	}
	counts.writes++;
	if (fault == DISK_TEAR || fault == DISK_FORGET || fault == DISK_DEAD) {
		counts.torn++;
		add_late(f, (size_t)at, from, (size_t)size / 2);
	}
	return fault == DISK_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int io_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	enum disk_fault fault = next_fault();

	if (fault != DISK_WELL && fault != DISK_FULL)
		return SQLITE_IOERR_TRUNCATE;
	add_late(file_of(file), (size_t)size, NULL, 0);
	return SQLITE_OK;
}

static int io_sync(sqlite3_file *file, int flags)
{
	struct disk_file *f = file_of(file);
	enum disk_fault fault = next_fault();

	(void)flags;
	if (fault != DISK_WELL && fault != DISK_FULL) {
		counts.syncs++;
		for (struct late *late = f->first; late && fault == DISK_FORGET; late = late->next) {
			counts.forgotten += !late->forgotten;
			late->forgotten = true;
		}
		return SQLITE_IOERR_FSYNC;
	}
	for (struct late *late = f->first; late; late = late->next)
		if (!late->forgotten)
			apply(&f->kept, late);
	clear_late(f);
	return SQLITE_OK;
}

static int io_size(sqlite3_file *file, sqlite3_int64 *ret)
{
	*ret = (sqlite3_int64)file_of(file)->seen.size;
	return is_dead() ? SQLITE_IOERR_FSTAT : SQLITE_OK;
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
		files[i] = (struct disk_file){ .there = true, .last = &files[i].first };
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
	if (is_dead() || (!f && !(flags & SQLITE_OPEN_CREATE)) || (!f && !(f = make(name ? name : "(temporary)"))))
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
	enum disk_fault fault = next_fault();

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

void disk_script(const struct disk_script *to)
{
	script = *to;
	counts.operations = 0;
}

/* ------------------------------------------------------------------------ crash */

/* What of a write survives. */
static size_t survives(const struct late *late, enum disk_crash how, struct sim *chance)
{
	if (how == CRASH_DROPS || late->forgotten)
		return 0;
	if (how == CRASH_KEEPS || sim_below(chance, 2))
		return late->size;
	return how == CRASH_TEARS ? sim_below(chance, late->size / SECTOR + 1) * SECTOR : 0;
}

static void crash_file(struct disk_file *f, enum disk_crash how, struct sim *chance)
{
	for (struct late *late = f->first; late; late = late->next) {
		size_t size = survives(late, how, chance);

		if (!late->data) {
			if (how == CRASH_KEEPS)
				apply(&f->kept, late);
			continue;
		}
		counts.dropped += !size;
		counts.torn += size && size < late->size;
		write_to(&f->kept, late->at, late->data, size);
	}
	clear_late(f);
	resize(&f->seen, 0);
	write_to(&f->seen, 0, f->kept.bytes, f->kept.size);
}

void disk_crash(enum disk_crash how, struct sim *chance)
{
	for (size_t i = 0; i < FILES; i++)
		if (files[i].there)
			crash_file(&files[i], how, chance);
	counts.crashes++;
	script = (struct disk_script){ .fault = DISK_WELL };
}

void disk_count(struct disk_counts *ret)
{
	*ret = counts;
}
