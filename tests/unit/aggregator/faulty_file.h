/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk that fails does to files: which operation fails, and how, and what a
 * crash leaves of writes that were not synced.  For faulty_disk.c, whose files are in
 * memory, and faulty_vfs.c, whose files are real ones.
 *
 * A file is what would be there after a crash, and the writes since.  What the process
 * sees of it is the caller's.
 *
 * One thread, one disk.
 */
#ifndef TESTS_UNIT_AGGREGATOR_FAULTY_FILE_H
#define TESTS_UNIT_AGGREGATOR_FAULTY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/sim.h"

/* What happens to some of the operations that change something. */
enum disk_fault {
	DISK_WELL,   /* nothing */
	DISK_ERROR,  /* each gives an error and does nothing */
	DISK_FULL,   /* likewise, but syncs work, and so does writing where there is something */
	DISK_TEAR,   /* a write is done in part, and gives an error */
	DISK_FORGET, /* likewise; a sync that fails forgets what it was to write, as Linux does */
	DISK_DEAD,   /* from here on everything fails, reading, too: a crash is due */
	DISK_FAULTS,
};

/* What a crash does to writes that were not synced. */
enum disk_crash {
	CRASH_DROPS,  /* all of them go */
	CRASH_KEEPS,  /* none goes */
	CRASH_SOME,   /* some go, in any order */
	CRASH_TEARS,  /* likewise, and some are there in part: sectors of 512 bytes */
	CRASHES,
};

struct disk_script {
	enum disk_fault fault;
	uint64_t at;     /* first operation that it hits, counted from disk_script() on */
	uint64_t count;  /* how many; DISK_DEAD: all that follow */
};

/* How often each thing happened since the start. */
struct disk_counts {
	uint64_t operations; /* that change something, since disk_script() */
	uint64_t writes, syncs; /* that failed */
	uint64_t torn;       /* written in part, at a fault or by a crash */
	uint64_t dropped;    /* not there after a crash */
	uint64_t forgotten;  /* by failed syncs */
	uint64_t crashes;
};

struct faulty_content {
	char *bytes; /* owned */
	size_t size, cap;
};

struct faulty_file {
	struct faulty_content kept;        /* after a crash */
	struct faulty_late *first, **last; /* what was not synced, in order */
};

/* ---------------------------------------------------------------------- contents */

void faulty_content_resize(struct faulty_content *content, size_t size);
void faulty_content_write(struct faulty_content *content, size_t at, const char *data, size_t size);

/* ------------------------------------------------------------------------- files */

void faulty_file_init(struct faulty_file *file);
void faulty_file_fini(struct faulty_file *file);

/* A write was done that is not synced; data NULL: the file was cut to `at`. */
void faulty_file_wrote(struct faulty_file *file, size_t at, const char *data, size_t size);

/* It was synced. */
void faulty_file_synced(struct faulty_file *file);

/* A sync has failed; with `fault` DISK_FORGET it was the last that tried to write those. */
void faulty_file_unsynced(struct faulty_file *file, enum disk_fault fault);

/* Nothing is left but what a crash leaves, as it is drawn. */
void faulty_file_crash(struct faulty_file *file, enum disk_crash how, struct sim *chance);

/* ------------------------------------------------------------------------ faults */

/* Changes what will fail; operations are counted anew. */
void disk_script(const struct disk_script *script);

/* What is to happen to the next operation that changes something. */
enum disk_fault faulty_next(void);

/* Everything fails by now. */
bool faulty_is_dead(void);

/* How often it happened; for the disk, which counts what it did. */
struct disk_counts *faulty_counts(void);

#endif
