/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VFS under the SQLite of a whole mp-aggregator (tests/bin/mp-aggregator-faulty) that
 * fails as it is told while the process runs: tests/functional/lib/faultydisk.py.
 *
 * It stands over SQLite's own one, is the default, and writes to real files.  What a crash
 * would leave of them is kept beside (faulty_file.h); the crash is SIGKILL by its own
 * hand, in the middle of an operation, after the files were written as that crash leaves them.
 *
 * MP_FAULTY_DISK names a folder.  Before each operation that changes something a file
 * `order` is looked for there, taken and removed: six numbers, enum disk_fault, the
 * operation that it hits first, how many, enum disk_crash, a seed, and enum operation:
 * which ones are counted and hit.  What has happened
 * stands in `counts.PID`: a line of "name number" each.
 * Without MP_FAULTY_DISK nothing is registered.
 *
 * Names and deletions are durable at once, and so is what an earlier process has written.
 * What is not SQLite's (the reserve, the member's id) goes past it.
 *
 * One thread, as the embedded engine has.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/aggregator/faulty_file.h"

#define FILES 8 /* rows.db, its log and its mark, and room */
#define PATH_SIZE 512
#define PIECE 65536

enum operation {
	ANY,
	WRITES,
	SYNCS,
	OTHER, /* cuts and deletions */
};

/* A file of the engine, open or not: what is not synced stays so when it is closed. */
struct real_file {
	char path[PATH_SIZE]; /* empty: the place is free */
	struct faulty_file disk;
};

/* What SQLite has of an open file; that of the VFS below follows. */
struct handle {
	sqlite3_file base;
	struct real_file *file;
	sqlite3_file *below;
};

static struct real_file files[FILES];
static sqlite3_vfs *vfs_below;
static char order_path[PATH_SIZE], counts_path[PATH_SIZE], counts_new[PATH_SIZE];
static uint64_t hits[DISK_FAULTS]; /* operations that each fault has changed */
static enum disk_crash crash_how;  /* of the last order */
static uint64_t crash_seed;
static enum operation only;

static void fail(const char *what, const char *path)
{
	perror(what);
	fprintf(stderr, "faulty_vfs: %s\n", path);
	abort();
}

/* ---------------------------------------------------------------------- orders */

static void take_order(void)
{
	struct disk_script script = { .fault = DISK_WELL };
	unsigned fault = 0, how = 0, what = 0;
	FILE *in = fopen(order_path, "re");

	if (!in)
		return; /* there is none */
	if (fscanf(in, "%u %" SCNu64 " %" SCNu64 " %u %" SCNu64 " %u", &fault, &script.at, &script.count, &how,
		   &crash_seed, &what) != 6 || fault >= DISK_FAULTS || how >= CRASHES || what > OTHER)
		fail("an order that cannot be read", order_path);
	(void)fclose(in); /* it was read */
	script.fault = (enum disk_fault)fault;
	crash_how = (enum disk_crash)how;
	only = (enum operation)what;
	disk_script(&script);
	(void)unlink(order_path);
}

static void tell_counts(void)
{
	const struct disk_counts *c = faulty_counts();
	FILE *out = fopen(counts_new, "we");

	if (!out)
		fail("fopen", counts_new);
	fprintf(out, "error %" PRIu64 "\nfull %" PRIu64 "\ntear %" PRIu64 "\nforget %" PRIu64 "\ndead %" PRIu64
		"\nwrites %" PRIu64 "\nsyncs %" PRIu64 "\ntorn %" PRIu64 "\ndropped %" PRIu64 "\nforgotten %" PRIu64
		"\ncrashes %" PRIu64 "\n", hits[DISK_ERROR], hits[DISK_FULL], hits[DISK_TEAR], hits[DISK_FORGET],
		hits[DISK_DEAD], c->writes, c->syncs, c->torn, c->dropped, c->forgotten, c->crashes);
	if (fclose(out) != 0 || rename(counts_new, counts_path) < 0) /* a test may read it at any time */
		fail("rename", counts_path);
}

/* ----------------------------------------------------------------------- crash */

static void write_all(int fd, const struct faulty_content *c, const char *path)
{
	for (size_t at = 0; at < c->size;) {
		size_t size = c->size - at < PIECE ? c->size - at : PIECE;
		ssize_t n = pwrite(fd, c->bytes + at, size, (off_t)at);

		if (n <= 0)
			fail("pwrite", path);
		at += (size_t)n;
	}
}

/* A cut that finds no room to be undone has happened: a file system may well have written that first. */
static void leave_file(struct real_file *f, struct sim *chance)
{
	struct faulty_content *kept = &f->disk.kept;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	off_t there = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (there < 0)
		fail("open", f->path);
	faulty_file_crash(&f->disk, crash_how, chance);
	if (kept->size > (size_t)there && posix_fallocate(fd, there, (off_t)kept->size - there) != 0)
		faulty_content_resize(kept, (size_t)there);
	write_all(fd, kept, f->path);
	if (ftruncate(fd, (off_t)kept->size) < 0)
		fail("ftruncate", f->path);
	(void)close(fd); /* what was written is there for the next process */
}

/* The power goes. */
static void crash(void)
{
	struct sim chance;

	sim_init(&chance, crash_seed);
	for (size_t i = 0; i < FILES; i++)
		if (files[i].path[0])
			leave_file(&files[i], &chance);
	faulty_counts()->crashes++;
	tell_counts();
	(void)kill(getpid(), SIGKILL);
	abort();
}

/* What is to happen to the operation that is due; a crash that is in no write happens here. */
static enum disk_fault next_fault(enum operation what)
{
	enum disk_fault fault;

	take_order();
	if (only != ANY && what != only)
		return DISK_WELL;
	fault = faulty_next();
	if (fault == DISK_DEAD) {
		hits[DISK_DEAD]++;
		if (what != WRITES)
			crash();
	}
	return fault;
}

static void hit(enum disk_fault fault)
{
	hits[fault]++;
	tell_counts();
}

/* ---------------------------------------------------------------------- a file */

static struct handle *handle_of(sqlite3_file *file)
{
	return (struct handle *)(void *)file;
}

static const sqlite3_io_methods *below(sqlite3_file *file)
{
	return handle_of(file)->below->pMethods;
}

static int io_close(sqlite3_file *file)
{
	return below(file)->xClose(handle_of(file)->below);
}

static int io_read(sqlite3_file *file, void *to, int size, sqlite3_int64 at)
{
	return below(file)->xRead(handle_of(file)->below, to, size, at);
}

static int write_through(sqlite3_file *file, const void *from, int size, sqlite3_int64 at)
{
	int rc = below(file)->xWrite(handle_of(file)->below, from, size, at);

	if (rc == SQLITE_OK)
		faulty_file_wrote(&handle_of(file)->file->disk, (size_t)at, from, (size_t)size);
	return rc;
}

static int io_write(sqlite3_file *file, const void *from, int size, sqlite3_int64 at)
{
	enum disk_fault fault = next_fault(WRITES);
	sqlite3_int64 there = 0;

	if (fault == DISK_FULL && below(file)->xFileSize(handle_of(file)->below, &there) == SQLITE_OK &&
	    at + size <= there)
		fault = DISK_WELL;
	if (fault == DISK_WELL)
		return write_through(file, from, size, at);
	if (fault == DISK_TEAR || fault == DISK_FORGET || fault == DISK_DEAD) {
		faulty_counts()->torn++;
		(void)write_through(file, from, size / 2, at); /* it fails in any case */
	}
	if (fault == DISK_DEAD)
		crash();
	faulty_counts()->writes++;
	hit(fault);
	return fault == DISK_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int io_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	enum disk_fault fault = next_fault(OTHER);
	int rc;

	if (fault != DISK_WELL && fault != DISK_FULL) {
		hit(fault);
		return SQLITE_IOERR_TRUNCATE;
	}
	rc = below(file)->xTruncate(handle_of(file)->below, size);
	if (rc == SQLITE_OK)
		faulty_file_wrote(&handle_of(file)->file->disk, (size_t)size, NULL, 0);
	return rc;
}

static int io_sync(sqlite3_file *file, int flags)
{
	enum disk_fault fault = next_fault(SYNCS);
	int rc;

	if (fault != DISK_WELL && fault != DISK_FULL) {
		faulty_file_unsynced(&handle_of(file)->file->disk, fault);
		hit(fault);
		return SQLITE_IOERR_FSYNC;
	}
	rc = below(file)->xSync(handle_of(file)->below, flags);
	if (rc == SQLITE_OK)
		faulty_file_synced(&handle_of(file)->file->disk);
	return rc;
}

static int io_size(sqlite3_file *file, sqlite3_int64 *ret)
{
	return below(file)->xFileSize(handle_of(file)->below, ret);
}

static int io_lock(sqlite3_file *file, int level)
{
	return below(file)->xLock(handle_of(file)->below, level);
}

static int io_unlock(sqlite3_file *file, int level)
{
	return below(file)->xUnlock(handle_of(file)->below, level);
}

static int io_reserved(sqlite3_file *file, int *ret)
{
	return below(file)->xCheckReservedLock(handle_of(file)->below, ret);
}

static int io_control(sqlite3_file *file, int op, void *arg)
{
	return below(file)->xFileControl(handle_of(file)->below, op, arg);
}

static int io_sector(sqlite3_file *file)
{
	return below(file)->xSectorSize(handle_of(file)->below);
}

static int io_device(sqlite3_file *file)
{
	return below(file)->xDeviceCharacteristics(handle_of(file)->below);
}

/* Version 1: no shared memory, which an exclusive lock does not need, and no mapping. */
static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = io_close,
	.xRead = io_read,
	.xWrite = io_write,
	.xTruncate = io_truncate,
	.xSync = io_sync,
	.xFileSize = io_size,
	.xLock = io_lock,
	.xUnlock = io_unlock,
	.xCheckReservedLock = io_reserved,
	.xFileControl = io_control,
	.xSectorSize = io_sector,
	.xDeviceCharacteristics = io_device,
};

/* ----------------------------------------------------------------------- names */

static struct real_file *find(const char *path)
{
	for (size_t i = 0; i < FILES; i++)
		if (strcmp(files[i].path, path) == 0)
			return &files[i];
	return NULL;
}

/* What is there by now is durable. */
static void read_kept(struct real_file *f, sqlite3_file *real)
{
	static char piece[PIECE];
	sqlite3_int64 size = 0;

	if (real->pMethods->xFileSize(real, &size) != SQLITE_OK)
		fail("xFileSize", f->path);
	for (sqlite3_int64 at = 0; at < size; at += PIECE) {
		int n = size - at < PIECE ? (int)(size - at) : PIECE;

		if (real->pMethods->xRead(real, piece, n, at) != SQLITE_OK)
			fail("xRead", f->path);
		faulty_content_write(&f->disk.kept, (size_t)at, piece, (size_t)n);
	}
}

static struct real_file *make(const char *path, sqlite3_file *real)
{
	struct real_file *f = find("");

	if (!f || strlen(path) >= PATH_SIZE)
		fail("no place for one more file", path);
	(void)snprintf(f->path, PATH_SIZE, "%s", path);
	faulty_file_init(&f->disk);
	read_kept(f, real);
	return f;
}

/* A file without a name is the other VFS's altogether. */
static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
	struct handle *h = handle_of(file);
	int rc;

	(void)vfs;
	if (!name || (flags & SQLITE_OPEN_DELETEONCLOSE))
		return vfs_below->xOpen(vfs_below, name, file, flags, ret_flags);
	*h = (struct handle){ .below = (sqlite3_file *)(void *)(h + 1) };
	rc = vfs_below->xOpen(vfs_below, name, h->below, flags, ret_flags);
	if (rc != SQLITE_OK)
		return rc;
	h->file = find(name);
	if (!h->file)
		h->file = make(name, h->below);
	h->base.pMethods = &methods;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	enum disk_fault fault = next_fault(OTHER);
	struct real_file *f = find(name);
	int rc;

	(void)vfs;
	if (fault != DISK_WELL && fault != DISK_FULL) {
		hit(fault);
		return SQLITE_IOERR_DELETE;
	}
	rc = vfs_below->xDelete(vfs_below, name, sync);
	if (rc == SQLITE_OK && f) {
		faulty_file_fini(&f->disk);
		f->path[0] = '\0';
	}
	return rc;
}

/* Before main(): the program under test knows nothing of it. */
__attribute__((constructor)) static void begin(void)
{
	static sqlite3_vfs vfs;
	const char *folder = getenv("MP_FAULTY_DISK");

	if (!folder)
		return;
	(void)snprintf(order_path, sizeof(order_path), "%s/order", folder);
	(void)snprintf(counts_path, sizeof(counts_path), "%s/counts.%d", folder, (int)getpid());
	(void)snprintf(counts_new, sizeof(counts_new), "%s/new-counts.%d", folder, (int)getpid());
	vfs_below = sqlite3_vfs_find(NULL);
	vfs = *vfs_below;
	vfs.iVersion = 2;
	vfs.szOsFile = (int)sizeof(struct handle) + vfs_below->szOsFile;
	vfs.zName = "faulty";
	vfs.xOpen = vfs_open;
	vfs.xDelete = vfs_delete;
	if (sqlite3_vfs_register(&vfs, 1) != SQLITE_OK)
		fail("sqlite3_vfs_register", folder);
}
