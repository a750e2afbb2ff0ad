/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The aggregator ABI: the half of a middlepipe that lives in the aggregators
 * and keeps the meaning of a row.
 *
 * A *row* is a list of *cells* that every member of a group agrees on.  A half
 * folds the cells of a row into a state, and judges a put before it is
 * committed (ETTM's semantic check).  It is one constant table, `struct
 * mp_aggregator`, made by MP_AGGREGATOR().  The same source builds into the
 * aggregator or as a `.so`; a `.so` may hold a filter (filter.h) as well.
 *
 * Words.  An *instance* is the state of one row at one member: init() makes it.
 *
 * Order of calls, all on the host's loop, one at a time:
 *
 *   init -> [restore] -> { apply | check | snapshot | restore | merge | status }* -> fini
 *
 * The state follows from init()'s values and the cells alone, so that it is the
 * same at every member and after every restart: a half reads no clock (a cell
 * carries its time), draws no random numbers, opens nothing, keeps nothing
 * outside of its instances, does not depend on the order of a hash table, and
 * uses no floating point where processors differ.  check() leaves no trace.
 * Whoever changes what apply() makes of any cell raises `rules`.
 *
 * Memory.  What the host hands over is borrowed until the call returns; what a
 * half writes to a host's function is copied before that returns.
 *
 * Time.  Nothing blocks.  apply() and check() take microseconds, since they
 * stand between a put and its commit; snapshot() and restore() a microsecond or
 * two for each entry.
 *
 * History: 1.0 the first.  Append-only: new members go at the end and are used
 * only when `size` covers them.
 */
#ifndef MIDDLEPIPE_AGGREGATOR_H
#define MIDDLEPIPE_AGGREGATOR_H

#include <middlepipe/filter.h>
#include <middlepipe/types.h>

#define MP_AGGREGATOR_ABI_MAJOR 1 /* another major is refused */
#define MP_AGGREGATOR_ABI_MINOR 0 /* a smaller or equal minor is accepted */

#define MP_SNAPSHOT_MAX (8u << 20) /* bytes of a snapshot, at most */
#define MP_REASON_MAX 256          /* bytes of a reason, NUL included */

struct mp_instance; /* the host's name for an instance; opaque */

/* -------------------------------------------------------------------- cells */

/* mp_cell.kind.  What a half does not know it skips. */
#define MP_CELL_DATA 1     /* put by a client */
#define MP_CELL_CONFLICT 2 /* of a fork, refused when it came home; content: why */
#define MP_CELL_BASE 3     /* the first of a fork */
#define MP_CELL_ADMIN 4    /* put by somebody who has admin rights on the row */

/* A cell.  Lists of cells are lists of pointers, so that it can grow. */
struct mp_cell {
	uint32_t size; /* bytes of this struct that are filled */
	uint32_t kind; /* MP_CELL_* */
	uint64_t seq;  /* from 1; 0: not committed yet */
	/*
	 * Not committed yet: the host's number for it, kept while it is proposed and
	 * pending and never given to another: one number, one cell, byte for byte.  A
	 * half may keep what it worked out for a pending cell and know it again.  0: no
	 * number, nothing is to be kept.
	 */
	uint64_t id;
	uint64_t time_ms;      /* since 1970, by its owner's clock; fixed before check() */
	struct mp_str key;     /* idempotency key; the cells of an atomic put share it */
	struct mp_str origin;  /* who put it, as the aggregator that took it says */
	struct mp_str content; /* the bytes */
};
#define MP_CELL_1_0 MP_SIZE_TO(struct mp_cell, content)

/* ------------------------------------------------------------ host services */

/* What the host does for an instance. */
struct mp_aggregator_host {
	uint16_t abi_major; /* MP_AGGREGATOR_ABI_MAJOR */
	uint16_t abi_minor; /* MP_AGGREGATOR_ABI_MINOR */
	uint32_t size;      /* sizeof(struct mp_aggregator_host) of the host */

	/* For people; level is MP_LOG_*.  Callable from every hook. */
	void (*log)(struct mp_instance *instance, int32_t level, const char *text);
};
#define MP_AGGREGATOR_HOST_1_0 MP_SIZE_TO(struct mp_aggregator_host, log)

/* Takes the bytes of a snapshot, piece by piece. */
struct mp_sink {
	uint32_t size;     /* sizeof(struct mp_sink) of the host */
	uint32_t reserved; /* 0 */
	/* 0; or a negative errno value, -E2BIG above MP_SNAPSHOT_MAX: then stop and return it. */
	int32_t (*write)(struct mp_sink *sink, const void *bytes, size_t n);
};

/* Takes the cells that merge() makes of one. */
struct mp_cell_sink {
	uint32_t size;     /* sizeof(struct mp_cell_sink) of the host */
	uint32_t reserved; /* 0 */
	/*
	 * kind and content count; time, key and origin are the fork's cell's.  0, or a
	 * negative errno value: then stop and return it.
	 */
	int32_t (*put)(struct mp_cell_sink *sink, const struct mp_cell *cell);
};

/* --------------------------------------------------------------------- half */

/* What check() answers; a negative errno value: it could not judge. */
#define MP_CHECK_ALLOW 0
#define MP_CHECK_REFUSE 1

struct mp_aggregator {
	uint16_t abi_major; /* MP_AGGREGATOR_ABI_MAJOR it was built against */
	uint16_t abi_minor; /* MP_AGGREGATOR_ABI_MINOR likewise */
	uint32_t size;      /* sizeof(struct mp_aggregator) likewise */
	const char *name;    /* as a row's policy names it: [a-z][a-z0-9-]*, 63 bytes at most */
	const char *summary; /* one line for lists */
	/*
	 * Number of its rules, from 1: another one means that some cell is taken
	 * otherwise.  Members of one group that serve a row have the same.
	 */
	uint32_t rules;
	uint32_t reserved; /* 0 */
	const struct mp_option *options; /* ends with a NULL name */

	/*
	 * Makes an instance: the state before the first cell.  values[i] belongs to
	 * options[i]: the defaults, or what stands in the row itself; never what one
	 * member was told on its own, else members would differ.  On failure returns
	 * a negative errno value and says in error what is wrong and what is allowed.
	 */
	int32_t (*init)(const struct mp_aggregator_host *host, struct mp_instance *instance,
			const struct mp_value *values, void **ret_self, char *error,
			size_t error_size);
	void (*fini)(void *self); /* frees it; takes NULL and what a failed init left */

	/*
	 * The next committed cell.  It has been agreed on and is never refused: one
	 * that cannot be read, or breaks a rule, is counted and changes nothing
	 * else, the same at every member.  0; -ENOMEM: this instance is of no use any
	 * more, the host makes another from a snapshot and the cells.
	 */
	int32_t (*apply)(void *self, const struct mp_cell *cell);

	/*
	 * May `proposal` be put, all of its cells or none, when the pending cells come
	 * before it?  The state is that after the last applied cell; pending
	 * cells are in flight or earlier in the batch, in order, and each was allowed
	 * itself.  Answers MP_CHECK_*; REFUSE with a reason for the client: UTF-8 of one
	 * line.  Whatever was allowed so and then committed in that order must be
	 * taken by apply().
	 */
	int32_t (*check)(void *self, const struct mp_cell *const *pending, size_t n_pending,
			 const struct mp_cell *const *proposal, size_t n_proposal, char *reason,
			 size_t reason_size);

	/*
	 * Writes the state after the last applied cell, at most MP_SNAPSHOT_MAX bytes: the
	 * half refuses cells that would make it larger.  Equal states give equal bytes.
	 * It begins with a version of its own.
	 */
	int32_t (*snapshot)(void *self, struct mp_sink *sink);
	/*
	 * Replaces the state by that of a snapshot; takes what any earlier version wrote.
	 * -EINVAL for anything else, and error says why: then nothing has changed.
	 */
	int32_t (*restore)(void *self, struct mp_str bytes, char *error, size_t error_size);

	/*
	 * A fork comes home: what is its next cell in the main row?  0 to n cells go to
	 * the sink and then through the main row's check.  self: the main row now;
	 * fork: the fork before that cell; an instance of the same half, or NULL when it is not known.
	 * A half without merge: each cell as it is.
	 */
	int32_t (*merge)(void *self, void *fork, const struct mp_cell *cell,
			 struct mp_cell_sink *sink);

	void (*status)(void *self, struct mp_writer *writer); /* figures for people; may be NULL */
};
#define MP_AGGREGATOR_1_0 MP_SIZE_TO(struct mp_aggregator, status)

/* The name of the symbol that a `.so` exports. */
#define MP_AGGREGATOR_SYMBOL "mp_aggregator_table"

/*
 * Defines the table of half `id` in both kinds of build:
 *   MP_AGGREGATOR(unique) = { MP_AGGREGATOR_HEAD, .name = "unique", ... };
 */
#ifdef MP_SHARED
#define MP_AGGREGATOR(id)                                                        \
	__attribute__((visibility("default"))) extern const struct mp_aggregator \
		mp_aggregator_table;                                             \
	const struct mp_aggregator mp_aggregator_table
#else
#define MP_AGGREGATOR(id)                                                        \
	extern const struct mp_aggregator mp_aggregator_##id;                    \
	const struct mp_aggregator mp_aggregator_##id
#endif
#define MP_AGGREGATOR_HEAD                                                       \
	.abi_major = MP_AGGREGATOR_ABI_MAJOR, .abi_minor = MP_AGGREGATOR_ABI_MINOR, \
	.size = sizeof(struct mp_aggregator)

#endif
