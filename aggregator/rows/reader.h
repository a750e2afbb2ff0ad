/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linearizable reads (rows.md 4.1): a row as it is now, or later.
 *
 * One transaction that only reads is in flight at a time; it serves all reads
 * that arrived before it was sent.  It gives the heads; the cells are the
 * copy's, as soon as that has what the heads speak of.
 *
 * Pure but for the engine; one thread, that of the engine.
 */
#ifndef AGGREGATOR_ROWS_READER_H
#define AGGREGATOR_ROWS_READER_H

#include "aggregator/rows/copy.h"

struct reader;

/* A read; owned by whoever asks until done() was called, once, not from within reader_read(). */
struct read {
	struct mp_str name; /* of the row, checked by row_name_check() */
	uint64_t deadline;  /* ns of host_now(); then it is answered without a row */
	/*
	 * row: as it is, for the moment of the call, at least what was answered
	 * before the read arrived; it may be one that does not exist (row_exists()).
	 * NULL: it cannot be told now, `why` says why.
	 */
	void (*done)(struct read *read, struct row *row, const char *why);

	/* The reader's while it has the read. */
	struct list link;  /* among those that wait, fly, or wait for the copy */
	struct row *row;   /* the copy's; NULL: it knows none */
	size_t place;      /* among the heads that are read */
	uint64_t revision; /* as of which the row has to be known */
};

struct reader_options {
	struct engine *engine;        /* borrowed; outlives the reader */
	struct copy *copy;            /* borrowed likewise */
	const struct rows_host *host; /* borrowed likewise */
};

/* NULL without memory. */
struct reader *reader_new(const struct reader_options *options);

/* Answers what waits (NULL), and is gone when the engine has answered. */
void reader_free(struct reader *reader);

/* reader_wake() must follow, once for all that came together. */
void reader_read(struct reader *reader, struct read *read);

/* To be called by whoever gets the copy's calls. */
void reader_row_changed(struct reader *reader, struct row *row);

/* Does what is to be done by now; when it wants to be called next (ns; UINT64_MAX: never). */
uint64_t reader_wake(struct reader *reader);

bool reader_is_woken(const struct reader *reader);

/* How it fares. */
struct reader_counts {
	uint64_t reads;  /* answered */
	uint64_t asked;  /* transactions that served them */
	uint64_t failed; /* reads that could not be told */
};

void reader_count(const struct reader *reader, struct reader_counts *ret);

#endif
