/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients ask of a row's owner: put cells, make a row or change its
 * policies, move its floor, delete it; and what is answered (rows.md 3.6, 3.7,
 * docs/rows-api.md).
 *
 * Whoever asks keeps the struct and all that it points to until done() was called,
 * once.
 */
#ifndef AGGREGATOR_ROWS_PUT_H
#define AGGREGATOR_ROWS_PUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregator/rows/batch.h"
#include "aggregator/rows/head.h"
#include "lib/list.h"

/* Numbers of enum put_code are HTTP's. */
enum put_code {
	PUT_REPEATED = 200,     /* was done before; `seq` is the first answer's */
	PUT_COMMITTED = 201,
	PUT_NOT_THERE = 404,    /* no such row to delete or to compact */
	PUT_REFUSED = 409,      /* the row's check says no; `why` is its reason */
	PUT_GONE = 410,         /* another incarnation, or too old to know */
	PUT_PRECONDITION = 412, /* the highest seq is not if_match */
	PUT_TOO_LARGE = 413,    /* more than the engine takes in one transaction */
	PUT_KEY_REUSED = 422,   /* that key was used for other bytes */
	PUT_TOO_MANY = 429,     /* more puts a second than the row takes */
	PUT_UNAVAILABLE = 503,  /* not attempted */
	PUT_UNKNOWN = 504,      /* it may have happened, or may happen later */
	PUT_FULL = 507,         /* the engine has no room, or the row or the tenant may have no more */
	PUT_LATER = 0,          /* within the owner only: not on this flight */
	PUT_ELSEWHERE = 1,      /* not attempted: another member owns the shard; see copy_owner() */
};

enum put_kind {
	PUT_CELLS,
	PUT_POLICIES, /* makes the row when there is none */
	PUT_FLOOR,    /* moves the floor up */
	PUT_DELETE,
	PUT_STATE,    /* a row with a check and without cells begins behind a state snapshot from elsewhere */
};

/* The row as it was when the put was first made. */
enum base_kind {
	BASE_UNKNOWN, /* nobody said: the owner takes it as of now */
	BASE_ABSENT,  /* there was none */
	BASE_DELETED, /* it was deleted, after that incarnation */
	BASE_SEEN,    /* that incarnation, with that highest seq */
};

struct base {
	enum base_kind kind;
	uint64_t incarnation; /* DELETED, SEEN */
	uint64_t seq;         /* SEEN */
};

/* What PUT_POLICIES sets; what is not given stays. */
struct policies {
	bool has_check, has_partition, has_keep_cells, has_keep_bytes, has_keep_ms;
	char check[CHECK_NAME_MAX + 1]; /* "" takes the check away */
	enum row_partition partition;
	uint64_t keep_cells, keep_bytes, keep_ms; /* as in struct head */
};

struct put_answer {
	enum put_code code;
	uint64_t incarnation; /* of the row, 0: there is none */
	uint64_t seq;         /* 200, 201: of the first cell */
	uint64_t highest;     /* of the row, as its owner knows it; 0, and floor 0: not told */
	uint64_t floor;       /* likewise */
	const char *why;      /* for people, unless 200 or 201; borrowed */
};

struct put {
	enum put_kind kind;
	struct mp_str row;            /* its name, checked by row_name_check() */
	struct mp_str key;            /* idempotency key, at most CELL_KEY_MAX; empty: none */
	struct mp_str origin;         /* at most CELL_ORIGIN_MAX */
	const struct mp_str *content; /* PUT_CELLS: one for each cell, each at most CELL_BYTES_MAX */
	size_t n;                     /* cells, at least 1 */
	uint8_t cell_kind;            /* enum cell_kind, of all */
	uint64_t time_ms;             /* of all its cells, since 1970; 0: when its owner takes it */
	struct base base;             /* unknown: its owner stamps it, when it is of cells */
	bool unhurried;               /* does not count among the puts a second */
	bool dry;                     /* PUT_CELLS: only judged, nothing is stored; 200 when it would be committed now */
	bool has_if_match;
	uint64_t if_match;            /* highest seq that it goes with */
	struct policies policies;     /* PUT_POLICIES */
	uint64_t floor;               /* PUT_FLOOR: the new one */
	struct mp_str state;          /* PUT_STATE: the snapshot, which the row's check takes ... */
	uint64_t state_seq;           /* ... and the seq of the last cell in it, at least 1: the next one follows it */
	uint64_t deadline;            /* ns of host_now(): answered by then */
	void (*done)(struct put *put, const struct put_answer *answer);

	/* The owner's while it has the put. */
	struct list link; /* in a queue, or in the flight */
	struct list due;  /* among all that wait, by deadline */
	uint64_t id;      /* of its first cell until it is committed; they follow, and none comes twice */
	uint64_t seq;     /* of its first cell, once it is on a flight */
	bool makes;       /* PUT_POLICIES: there was no row, and this makes it */
	bool flying;      /* its cells are on a flight: its outcome may be unknown */
	struct put_answer refusal; /* once it waits for a flight to prove it: see plan.c */
	char *reason;     /* refusal.why when its check has said that; owned, freed behind done() */
};

/* Bytes that its cells take in a batch. */
size_t put_size(const struct put *put);

struct row;

/*
 * What the put meets at the row as it is committed.  PUT_COMMITTED: it may go
 * on a flight; else the answer, with ret->why borrowed for good.  `ret` has the
 * row's figures in any case.
 */
enum put_code put_judge(const struct put *put, const struct row *row, struct put_answer *ret);

/* The base of a row as it is. */
struct base base_of(const struct row *row);

#endif
