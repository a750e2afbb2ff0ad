/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory, as a VFS under SQLite, that fails: writes and syncs give
 * errors, writes happen in part, and a crash takes what was not synced, or some
 * of it, or parts of some.
 *
 * A file is what the process sees, what would be there after a crash, and the
 * writes between the two (faulty_file.h).  Names and deletions are durable at once.
 *
 * One thread, one disk.
 */
#ifndef TESTS_UNIT_AGGREGATOR_FAULTY_DISK_H
#define TESTS_UNIT_AGGREGATOR_FAULTY_DISK_H

#include "tests/unit/aggregator/faulty_file.h"

#define DISK_VFS "faulty"

/* Registers the VFS; an empty disk. */
void disk_start(void);

/* Everything is gone. */
void disk_erase(void);

/* All files must be closed.  What goes is drawn from `chance`; nothing fails from then on. */
void disk_crash(enum disk_crash how, struct sim *chance);

void disk_count(struct disk_counts *ret);

#endif
