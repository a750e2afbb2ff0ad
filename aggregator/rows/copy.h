/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy: everything that a tenant has in the engine, held in memory and kept
 * up to date by one watch (rows.md 4.2).  It is read once from the start; from
 * then on each change is taken in, in order, and a row whose cells do not
 * follow one another is read again.
 *
 * Because the watches of etcd 3.4 can lose the last event, a page of heads is
 * compared with the engine's every second.
 *
 * Pure but for the engine that it is given; the clock is an argument.  One
 * thread, that of the engine.
 */
#ifndef AGGREGATOR_ROWS_COPY_H
#define AGGREGATOR_ROWS_COPY_H

#include "aggregator/rows/engine/engine.h"
#include "aggregator/rows/host.h"
#include "aggregator/rows/keys.h"
#include "aggregator/rows/row.h"
#include "lib/map.h"

struct copy;

/* Whom the copy tells of changes, at the end of each transaction.  Each gets ctx; none may be NULL. */
struct copy_calls {
	void (*loaded)(void *ctx);                  /* all was read, for the first time */
	void (*row)(void *ctx, struct row *row);    /* its cells or its head have changed */
	void (*owner)(void *ctx, uint32_t shard);   /* copy_owner() has changed */
	/* member/, fork/ and meta: the key's text, value ptr NULL: it has gone. */
	void (*other)(void *ctx, const struct key *key, struct mp_str value);
	void *ctx;
};

struct copy_options {
	struct engine *engine;      /* borrowed; outlives the copy */
	const struct rows_host *host; /* borrowed likewise */
	struct mp_str tenant;       /* copied */
	uint32_t n_shards;          /* 1 to SHARDS_MAX */
	size_t rows_max;            /* rows, those included that are not there yet */
};

/* NULL without memory. */
struct copy *copy_new(const struct copy_options *options, const struct copy_calls *calls);

/* Begins to read.  Once. */
void copy_start(struct copy *copy);

/* Nothing is called any more.  Answers that the engine still owes are not waited for: see copy.c. */
void copy_free(struct copy *copy);

/* Does what is due by now; returns when it wants to be called next (ns; UINT64_MAX: never). */
uint64_t copy_wake(struct copy *copy);

/* It was read, and the watch runs. */
bool copy_follows(const struct copy *copy);

/* "middlepipe/<tenant>/" */
struct mp_str copy_prefix(const struct copy *copy);

/* The row, or NULL: never heard of. */
struct row *copy_row(const struct copy *copy, struct mp_str name);

/* The row, made when there is none.  0; -ENOSPC: too many; -ENOMEM. */
int copy_row_make(struct copy *copy, struct mp_str name, struct row **ret);

/* Bytes of the batches that all rows hold. */
uint64_t copy_bytes(const struct copy *copy);

/* All rows by name: struct row, in the order in which they were first heard of. */
const struct map *copy_rows(const struct copy *copy);

/* The text of a shard's owner as it was last seen; ptr NULL: nobody. */
struct mp_str copy_owner(const struct copy *copy, uint32_t shard);

/*
 * What this process knows to be stored, before the watch tells it: a row's head
 * and, unless its ptr is NULL, a batch, as of that revision.  A row that cannot take
 * it in is in doubt.
 */
void copy_wrote(struct copy *copy, struct row *row, struct mp_str head, struct mp_str batch, uint64_t revision);

/* Likewise a shard's owner. */
void copy_wrote_owner(struct copy *copy, uint32_t shard, struct mp_str text, uint64_t revision);

/* The row is in doubt: it is read again.  calls.row() follows when it is whole. */
void copy_doubt(struct copy *copy, struct row *row);

/* How the copy fares. */
struct copy_counts {
	uint64_t rereads;  /* rows that were read again */
	uint64_t watches;  /* watches begun */
	uint64_t lost;     /* rows that a watch had lost */
	uint64_t damaged;  /* heads and batches that could not be read, each time that they were */
	uint64_t unplaced; /* heads of rows for which there was no place, or no memory */
	uint64_t strange;  /* keys that are none of ours */
};

void copy_count(const struct copy *copy, struct copy_counts *ret);

#endif
