/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner: orders the cells of the rows whose shards this process owns
 * (rows.md 3).
 *
 * One transaction is in flight at a time; it carries batches of all rows that
 * have something, and what arrives meanwhile is gathered for the next: group
 * commit, without a timer.  It compares `owner/<shard>` with what this process
 * wrote there, and each head with the one up to which the row was taken in
 * without a gap; so a deposed owner can never commit, and a takeover may happen
 * at any time.  When the outcome is unknown the flight is killed by rewriting
 * the owners' keys, and then looked for (flight.c).
 *
 * Pure but for the engine; the clock is the host's.  One thread, that of the
 * engine.
 */
#ifndef AGGREGATOR_ROWS_OWNER_H
#define AGGREGATOR_ROWS_OWNER_H

#include "aggregator/rows/copy.h"
#include "aggregator/rows/limits.h"
#include "aggregator/rows/put.h"
#include "lib/hist.h"

#define OWNER_SNAPSHOT_CELLS 10000
#define OWNER_SNAPSHOT_BYTES (1u << 20)

struct owner;

/* What a flight may carry. */
struct owner_limits {
	size_t rows;   /* at most: three ops each and one for all, and up to two comparisons */
	size_t bytes;  /* of batches and heads; one put may be as large as that */
	size_t waiting; /* puts that wait at once; more are answered 503 */
	struct limits_set set; /* of rows and the tenant */
	/* On a row with a check the floor may wait for so many cells or bytes behind the last snapshot; 0: the default. */
	uint64_t snapshot_cells, snapshot_bytes;
	size_t snapshot_part; /* bytes of a part of one, at most; 0: as many as may be */
};

/* Semantic checks (rows.md 3.5); checks.h has them.  All on the owner's thread. */
struct owner_checks {
	/* The number of its rules (middlepipe/aggregator.h), at another member if not here; 0: nobody has it. */
	uint32_t (*rules)(void *ctx, const char *check);
	/*
	 * May `put` be committed behind the row's cells and behind the `n` puts
	 * pending, which go on the same flight?  0; -EPERM: no; -EAGAIN: it cannot be
	 * told yet, ask again when work() was called; another -errno: it cannot be told
	 * here.  ret_why says why, until the next call.
	 */
	int (*allows)(void *ctx, struct row *row, const struct put *const *pending, size_t n,
		      const struct put *put, const char **ret_why);
	/*
	 * Appends the state after the row's last cell, in one go: SNAPSHOT_SIZE_MAX bytes at most,
	 * else -E2BIG, for a minute without trying again.  0; -EAGAIN as above; another -errno.
	 */
	int (*snapshot)(void *ctx, struct row *row, struct buf *out);
	/* Forgets what it made of that row: it is not owned any more. */
	void (*drop)(void *ctx, struct row *row);
	/* Goes on with what cannot be told yet.  True: it wants to go on at once. */
	bool (*work)(void *ctx);
	void *ctx;
};

struct owner_options {
	struct engine *engine;        /* borrowed; outlives the owner */
	struct copy *copy;            /* borrowed likewise */
	const struct rows_host *host; /* borrowed likewise */
	const struct owner_checks *checks; /* borrowed likewise; NULL: there are none */
	struct mp_str member;         /* id of this member, copied; at most ROW_TENANT_MAX bytes */
	uint64_t nonce;               /* random: of this process */
	uint32_t n_shards;
	struct owner_limits limits;
};

/* How the owner fares.  Times are in ns. */
struct owner_counts {
	uint64_t flights, committed, failed, refused, unknown; /* transactions, and how they ended */
	uint64_t cells;     /* committed */
	uint64_t takeovers; /* shards taken */
	uint64_t free;      /* of them those that nobody owned: released, or new */
	uint64_t released;  /* shards that it gave up by itself */
	uint64_t lost;      /* shards found with another owner */
	uint64_t kills;     /* flights killed */
	uint64_t found;     /* of them those that had been committed */
	uint64_t snapshots; /* stored, and named in a head */
	uint64_t put[600];  /* answers, by enum put_code; but not to ... */
	uint64_t dry;       /* ... those that were only judged */
	uint64_t waiting;   /* puts that wait or fly now */
	uint32_t shards;    /* owned now */
	uint32_t taking;    /* shards that are being taken: that may have happened */
	uint32_t releasing; /* shards whose release is on its way */
	uint64_t limit[LIMITS]; /* reached, by enum limit */
};

/* NULL without memory. */
struct owner *owner_new(const struct owner_options *options);

/*
 * Answers all puts that wait (503, and 504 those that fly), and is gone when
 * the engine has answered.  It releases nothing: see owner_want().
 */
void owner_free(struct owner *owner);

/*
 * `meta` as it is stored, under its key: every flight compares it.  sealed: none
 * flies any more, and puts are answered 503.  Before the first call, and with
 * an empty key, nothing is compared.
 */
void owner_set_meta(struct owner *owner, struct mp_str key, struct mp_str text, bool sealed);

#define OWNER_ROOM_ANY UINT64_MAX

/*
 * So many bytes of cells the engine may still be given, as far as it says; what is committed from
 * now on is counted against it, and what was committed in the second before, which it may not have
 * counted yet.  OWNER_ROOM_ANY, as at first: no bound.  Whoever is turned away gets `why`, a text of
 * at most 255 bytes, copied: what to do.  What makes room is never turned away.
 */
void owner_set_room(struct owner *owner, uint64_t bytes, const char *why);

/* Shall this process own the shard?  It is taken, or released, as soon as may be. */
void owner_want(struct owner *owner, uint32_t shard, bool want);

/* It is owned by this process, as far as it knows. */
bool owner_has(const struct owner *owner, uint32_t shard);

/* What an owner's text says. */
struct owner_name {
	char member[ROW_TENANT_MAX + 1]; /* its id */
	uint64_t nonce;                  /* of its process */
	uint64_t counter;                /* of the texts that it wrote */
};

/* False: it is none. */
bool owner_text_read(struct mp_str text, struct owner_name *ret);

/*
 * Takes a put; see put.h.  It is answered from owner_put() only when it may not
 * even wait.  owner_wake() must follow, once for all that came together.
 */
void owner_put(struct owner *owner, struct put *put);

/* To be called by whoever gets the copy's calls. */
void owner_row_changed(struct owner *owner, struct row *row);
void owner_shard_changed(struct owner *owner, uint32_t shard);

/* Does what is to be done by now; when it wants to be called next, in ns. */
uint64_t owner_wake(struct owner *owner);

/* Something has happened since: owner_wake() is due at once, before the loop sleeps. */
bool owner_is_woken(const struct owner *owner);

void owner_count(const struct owner *owner, struct owner_counts *ret);

/* Of its transactions that committed: from sending to the answer in ns, and cells in each. Borrowed. */
const struct hist *owner_commit_time(const struct owner *owner);
const struct hist *owner_batch_cells(const struct owner *owner);

/* Puts that the check refused, by its name; ends with an empty name. Borrowed. */
struct owner_refusals {
	char check[CHECK_NAME_MAX + 1];
	uint64_t n;
};
const struct owner_refusals *owner_refusals(const struct owner *owner);

#endif
