/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory, as a VFS under SQLite, that fails: writes and syncs give
 * errors, writes happen in part, and a crash takes what was not synced, or some
 * of it, or parts of some.
 *
 * A file is what the process sees, what would be there after a crash, and the
 * writes between the two.  Names and deletions are durable at once.
 *
 * One thread, one disk.
 */
#ifndef TESTS_UNIT_AGGREGATOR_FAULTY_DISK_H
#define TESTS_UNIT_AGGREGATOR_FAULTY_DISK_H

#include <stdint.h>

#include "tests/lib/sim.h"

#define DISK_VFS "faulty"

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

/* Registers the VFS; an empty disk. */
void disk_start(void);

/* Everything is gone. */
void disk_erase(void);

/* Changes what will fail; operations are counted anew. */
void disk_script(const struct disk_script *script);

/* All files must be closed.  What goes is drawn from `chance`; nothing fails from then on. */
void disk_crash(enum disk_crash how, struct sim *chance);

void disk_count(struct disk_counts *ret);

#endif
