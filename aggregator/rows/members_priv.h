/* SPDX-License-Identifier: Apache-2.0 */
/* Inside members.c, members_checks.c and members_few.c; their tests look here, too. */
#ifndef AGGREGATOR_ROWS_MEMBERS_PRIV_H
#define AGGREGATOR_ROWS_MEMBERS_PRIV_H

#include "aggregator/rows/members.h"
#include "lib/buf.h"

struct peer {
	struct member_info info;
	unsigned lost;     /* pings without an answer, one behind the other, while this member was well */
	bool late;         /* the answer is, or was before that and has not come since */
	bool asked;        /* a ping is on its way */
	uint64_t ping_at;  /* ns; the next */
	uint64_t has;      /* checks; bits by their place in members->wanted */
};

#define MEMBERS_PROOFS 12 /* under way at once: an engine that is down keeps each for up to 700 ms */

/* A linearizable read by which this member learns that it is well itself. */
struct proof {
	struct members *members;
	uint64_t begun; /* ns */
	bool busy;      /* it is under way */
};

/* What is remembered of a shard. */
struct moves {
	struct owner_name owner; /* as its key says; nonce 0: nobody */
	uint64_t moved_at;  /* ns; it got its present owner */
	uint64_t hold_ns;   /* how long it stays with an owner that lives */
	uint64_t orphan_at; /* ns; since when it has no owner that lives; 0: it has one */
};

struct members {
	struct engine *engine;         /* borrowed, like what follows */
	struct copy *copy;
	struct owner *owner;
	const struct rows_host *host;
	struct members_net net;
	struct member_info self;
	uint32_t n_shards;
	struct peer *peer[MEMBERS_MAX]; /* by id, this one included once its key is there */
	size_t n_peers;
	struct moves moves[SHARDS_MAX];
	struct member_check wanted[MEMBER_CHECKS_MAX]; /* checks that rows have, as they were met */
	size_t n_wanted;               /* of them */
	uint64_t wants[SHARDS_MAX];    /* by shard: those of its rows, as bits likewise */
	bool choose;                   /* members have changed: members_choose() is due */
	uint64_t look_at;              /* ns; when to look at all rows for them; 0: never done */
	struct buf key;                /* this member's */
	struct buf text;               /* what it writes there */
	bool write;                    /* it has to be written */
	bool writing;                  /* that is on its way */
	bool leaving;                  /* the key is to go */
	bool woken;                    /* see members_is_woken() */
	struct proof proof[MEMBERS_PROOFS];
	uint64_t proof_at;             /* ns; when the last one began */
	uint64_t well_at;              /* ns; when the youngest that ended well began; 0: none has */
	unsigned proving;              /* of them under way */
	uint64_t write_at;             /* ns; not before */
	bool dead;                     /* members_free() was called */
};

/* May shards be its? */
static inline bool members_may_own(const struct member_info *info)
{
	return !info->draining && !info->suspected;
}

/* members_checks.c */
void members_count_checks(const struct members *m, struct peer *peer); /* its key has changed */
void members_look_at_rows(struct members *m, uint64_t now);            /* when that is due */
/* How many of the checks of the shard's rows it has. */
unsigned members_fitness(const struct members *m, const struct peer *peer, uint32_t shard);

/* members_few.c: who of them is chosen. */
void members_choose(struct members *m);

#endif
