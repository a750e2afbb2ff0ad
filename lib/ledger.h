/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of an aggregator half (middlepipe/aggregator.h) as a table of keys
 * and values and a few numbers, all of which can be undone.
 *
 * For halves whose state fits: they say what one cell does to the table, in
 * one function (`step`), and apply(), check(), snapshot() and restore() follow.
 * check() runs step ahead of the state, cell by cell, and takes it all back, so
 * that it can never judge otherwise than apply() will do.  Pending cells that
 * the host numbers stay applied ahead between two checks: a check costs what
 * its own cells cost, not what waits before them.
 *
 * A snapshot, numbers little-endian:
 *
 *	offset  bytes
 *	0       4   tag of the half
 *	4       1   format, 1
 *	5       1   numbers that follow
 *	6       2   zero
 *	8       8   entries
 *	16      8   each number
 *	            entries by ascending key, each once:
 *	        2   bytes of the key, 1 and up
 *	        2   bytes of the value
 *	            key, value
 *
 * One state has one snapshot, and everything else is refused.  One thread.
 */
#ifndef LIB_LEDGER_H
#define LIB_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <middlepipe/aggregator.h>

#include "lib/err.h"
#include "lib/map.h"

#define LEDGER_FORMAT 1
#define LEDGER_NUMBERS 8   /* numbers of a half, at most */
#define LEDGER_KEY_MAX 512 /* bytes of a key, and of a value */

struct ledger;

/* What makes a table a half's own. */
struct ledger_rules {
	char tag[4];       /* begins its snapshots */
	unsigned n_stored; /* the first of the numbers are in the snapshot */
	/*
	 * What a cell does.  0: done; -EPERM: the rules refuse it; -EBADMSG: it cannot
	 * be read; err says why, for the client, and nothing has changed.  -ENOMEM.
	 * Decides by the table and the cell alone, so that members agree.
	 */
	int (*step)(struct ledger *ledger, const struct mp_cell *cell, struct err *err);
	/* May that entry of a snapshot be?  Works out the numbers that are not stored.  0 or -EINVAL. */
	int (*entry_ok)(struct ledger *ledger, struct mp_str key, struct mp_str value,
			struct err *err);
	/* Do all of them go together, when the last entry was read?  0 or -EINVAL. */
	int (*all_ok)(const struct ledger *ledger, struct err *err);
};

struct ledger_undo; /* what an entry was */
struct ledger_mark; /* what all was before a cell */

/* Fields are for reading, but `number`. */
struct ledger {
	const struct ledger_rules *rules; /* borrowed */
	uint64_t number[LEDGER_NUMBERS];  /* the half's; step sets them once nothing can fail */
	uint64_t n_refused;               /* cells that step refused when they were applied */
	uint64_t n_unreadable;            /* likewise, could not be read */
	struct map entries;               /* keys to values, see ledger.c */
	size_t n_entries;                 /* that are there */
	size_t size;                      /* bytes of the snapshot */
	struct ledger_undo *undo;         /* what was changed ahead, in order; owned */
	size_t n_undo, cap_undo;          /* used and allocated */
	struct ledger_mark *marks;        /* one a cell applied ahead; owned */
	size_t n_marks, cap_marks;        /* likewise */
};

/* An empty table, numbers 0; NULL without memory.  It is the half's self. */
struct ledger *ledger_new(const struct ledger_rules *rules);

/* For step: the value of a key, borrowed until the next change; ptr NULL: there is none. */
struct mp_str ledger_get(const struct ledger *ledger, struct mp_str key);

/* For step: 0; -ENOSPC: the snapshot would be too large; -ENOMEM.  Then nothing has changed. */
int ledger_set(struct ledger *ledger, struct mp_str key, struct mp_str value);
int ledger_remove(struct ledger *ledger, struct mp_str key); /* 0, also when there is none; -ENOMEM */

/* Back to the state after the last applied cell: for hooks of the half's own. */
void ledger_settle(struct ledger *ledger);

/* The hooks of the half's table; self is its ledger. */
void ledger_free(void *self);
int32_t ledger_apply(void *self, const struct mp_cell *cell);
int32_t ledger_check(void *self, const struct mp_cell *const *pending, size_t n_pending,
		     const struct mp_cell *const *proposal, size_t n_proposal, char *reason,
		     size_t reason_size);
int32_t ledger_snapshot(void *self, struct mp_sink *sink);
int32_t ledger_restore(void *self, struct mp_str bytes, char *error, size_t error_size);

#endif
