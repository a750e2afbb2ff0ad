/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row as this process has it: its head, and behind one another the batches
 * that are stored.  Everything here has been committed; what is still on its
 * way is the owner's (owner_priv.h).
 *
 * The batches are kept as they are stored, and the idempotency keys of their
 * cells can be looked up (rows.md 3.6).
 *
 * Pure: no clock, no I/O.  One thread.
 */
#ifndef AGGREGATOR_ROWS_ROW_H
#define AGGREGATOR_ROWS_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "aggregator/rows/batch.h"
#include "aggregator/rows/head.h"
#include "lib/err.h"
#include "lib/list.h"

/* A stored batch. */
struct row_batch {
	uint64_t first; /* seq of its first cell */
	uint32_t n;     /* cells */
	uint32_t size;  /* bytes of the value */
	char *value;    /* as it is stored; owned */
};

/* The keys of the cells: open addressing; see row_keys.c. */
struct row_keys {
	struct row_key *slot; /* 2^bits of them, owned; NULL while there is no key */
	uint32_t bits;        /* of the table's size */
	uint32_t used;        /* slots that are not empty */
	bool kept;            /* row_keep_keys() was called */
};

struct row {
	char *name;            /* NUL-terminated, owned */
	size_t name_size;      /* without the NUL */
	uint32_t shard;        /* that it belongs to */
	char *head_text;       /* the head as it is stored, owned; NULL: there is no such key */
	size_t head_size;      /* bytes of it */
	struct head head;      /* the same, read; zeros without it */
	struct row_batch *batches; /* owned; the ones held are [gone, gone + n_batches) */
	size_t gone;           /* places at the front whose batches were let go */
	size_t n_batches;      /* held, in order, without a gap */
	size_t cap;            /* places in all */
	uint64_t revision;     /* of the engine's map, as of which the head is known */
	uint64_t applied;      /* seq of the last cell taken in; head.last when it is whole */
	uint64_t bytes;        /* of all values held */
	uint64_t *total;       /* sum of `bytes` of all rows of a copy; borrowed, or NULL */
	struct row_keys keys;  /* of the cells held */
	struct owned *owned;   /* what its owner has to remember (owner.h), or NULL */
	struct row_check *check;   /* what judges its puts at its owner (checks.h), or NULL */
	struct list followers; /* subscriptions that want its cells (subscribe.h) */
	struct list touched;   /* in the copy's list while a transaction is taken in */
	struct list doubt;     /* in the copy's list of rows to be read again */
	uint64_t announced;    /* incarnation that was told to those who wait for rows (api/api.h); 0: none */
	uint64_t suspect;      /* `revision` when the head was first found to differ from the engine's */
	bool reading;          /* the first batch may begin anywhere: it is read from the start */
	bool doubtful;         /* not what is stored, or not all of it: to be read again */
	bool reread;           /* that goes on */
	bool doubted;          /* it was doubted meanwhile */
	bool damaged;          /* what is stored of it could not be read, which was said */
};

/* Why a damaged row is not to be had. */
#define ROW_DAMAGED "what is stored of the row cannot be read: see the log, and 'middlepipe rows check'"

/* A row that is not there yet; NULL without memory.  n_shards as in `meta`. */
struct row *row_new(struct mp_str name, uint32_t n_shards);
void row_free(struct row *row);

static inline struct mp_str row_name(const struct row *row)
{
	return (struct mp_str){ row->name, row->name_size };
}

/* The head's text; ptr NULL when there is none. */
static inline struct mp_str row_head_text(const struct row *row)
{
	return (struct mp_str){ row->head_text, row->head_size };
}

/* Is that the head's text?  ptr NULL: is there none? */
static inline bool row_head_is(const struct row *row, struct mp_str text)
{
	if (!text.ptr || !row->head_text)
		return !text.ptr && !row->head_text;
	return text.len == row->head_size && !memcmp(text.ptr, row->head_text, text.len);
}

/* There is such a row, and it was not deleted. */
static inline bool row_exists(const struct row *row)
{
	return row->head_text && !row->head.deleted;
}

/* All that its head speaks of is held, from the floor on. */
bool row_complete(const struct row *row);

/* It is complete, and nothing says that the engine has something else. */
static inline bool row_whole(const struct row *row)
{
	return !row->doubtful && row->applied == row->head.last;
}

/*
 * The head is now that text (copied); ptr NULL: its key has gone.  Another
 * incarnation, or a tombstone, lets go of all batches.  0; -EINVAL or
 * -EPROTONOSUPPORT for one that cannot be read: nothing has changed.  -ENOMEM.
 */
int row_set_head(struct row *row, struct mp_str text, struct err *err);

/*
 * Takes a batch in (copied) behind those that are held.  0; -EALREADY: its cells are there;
 * -ERANGE: cells are missing before it; -EINVAL, -EPROTONOSUPPORT: it cannot
 * be read; -ENOMEM.
 */
int row_take(struct row *row, struct mp_str value, struct err *err);

/* Lets go of what is held: it is read again from the start, which is where its first batch begins. */
void row_read_anew(struct row *row);

/* All has been read.  Is it whole? */
bool row_settle(struct row *row);

/* Lets go of the whole batches whose cells all are below `seq`. */
void row_drop(struct row *row, uint64_t seq);

/* Seq of the first cell held; applied + 1 when there is none. */
uint64_t row_first(const struct row *row);

/* The batch that holds the cell, or NULL when it is not held. */
const struct row_batch *row_batch_of(const struct row *row, uint64_t seq);

static inline struct mp_str row_batch_value(const struct row_batch *b)
{
	return (struct mp_str){ b->value, b->size };
}

/* The cell, borrowed until its batch goes.  False when it is not held. */
bool row_cell(const struct row *row, uint64_t seq, struct cell *ret);

/* Walks cells; see row_walk(). */
struct row_walk {
	const struct row *row; /* that is walked; must not change meanwhile */
	size_t at;             /* place of the batch in row->batches */
	struct batch batch;    /* what is left of it */
	uint64_t seq;          /* next cell */
};

/* Starts at the first cell held from `seq` on. */
void row_walk(struct row_walk *walk, const struct row *row, uint64_t seq);

/* The next cell; false behind the last. */
bool row_walk_next(struct row_walk *walk, struct cell *ret);

/*
 * From now on keys can be looked up; before that they cost nothing: who does not own the
 * row never asks.  0, or -ENOMEM: it has not happened.
 */
int row_keep_keys(struct row *row);

/* Not any more: their memory is given back. */
void row_forget_keys(struct row *row);

/*
 * The newest put under that key with a seq above `after`: the seq of its first
 * cell and how many it has; 0: none that is held.  Behind row_keep_keys() only.
 */
uint64_t row_find(const struct row *row, struct mp_str key, uint64_t after, uint32_t *ret_n);

/* Between row.c and row_keys.c. */
int row_keys_reserve(struct row *row, size_t n); /* room for so many more; 0 or -ENOMEM */
void row_keys_add(struct row *row, const struct row_batch *b); /* those of its cells */
void row_keys_fini(struct row *row);

#endif
