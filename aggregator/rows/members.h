/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who takes part in a group, and who owns which shard (rows.md 3.3, 6).
 *
 * Each member keeps a leased key with its address; all see all of them through
 * their copies. A shard's owner is preferred by rendezvous hashing (Thaler and
 * Ravishankar, 1998) among the members that live and do not drain, those first
 * that have most of the checks of the shard's rows, so that
 * all agree without talking and few shards move when one comes or goes. Who is
 * preferred takes the shard; taking is safe at any time, because the owner's
 * commits compare its key, so nothing here has to be right for rows to be.
 *
 * A member is missed when its key goes, and suspected before that by those who
 * would inherit from it: when its address refuses connections or is another process's,
 * or when two pings get no answer and who asked was well itself meanwhile: one that was stopped, or
 * is cut off from the engine, suspects nobody.
 *
 * Pure but for the engine; the clock is the host's; pings go through
 * members_net. One thread, that of the engine.
 */
#ifndef AGGREGATOR_ROWS_MEMBERS_H
#define AGGREGATOR_ROWS_MEMBERS_H

#include "aggregator/rows/owner.h"

#define MEMBERS_MAX 256      /* of a group */
#define MEMBER_URL_MAX 255   /* bytes */
#define MEMBER_PING_MS 250   /* from ping to ping, and for an answer */
#define MEMBERS_SMALL 5      /* a group of so many: all own shards */
#define MEMBERS_FEW 3        /* that own shards in a larger one */
#define MEMBER_CHECKS_MAX 64 /* that a member tells of, and that are told apart in a group */

struct members;

/* A check (aggregator half) that a member has. */
struct member_check {
	char name[CHECK_NAME_MAX + 1];
	uint32_t rules; /* see middlepipe/aggregator.h */
};

/* A member as its key tells of it. */
struct member_info {
	char id[ROW_TENANT_MAX + 1];
	char url[MEMBER_URL_MAX + 1]; /* where others reach it */
	char version[32];             /* of its program */
	uint64_t nonce;               /* of its process */
	uint64_t since_ms;            /* when that began, since 1970 */
	bool draining;                /* it wants no shards */
	bool engine;                  /* it runs a member of the engine itself */
	bool suspected;               /* does not answer, as far as this member sees */
	bool chosen;                  /* one of those that shards go to, likewise; the others forward */
	struct member_check check[MEMBER_CHECKS_MAX]; /* that it has, as far as it says */
	size_t n_checks;              /* of them */
};

/* What the outside does for it. */
struct members_net {
	/* Asks that URL for a sign of that process's life; members_pong() must follow, once. */
	void (*ping)(void *ctx, const char *id, uint64_t nonce, const char *url);
	/* Another process uses this member's id: this one has to end. */
	void (*usurped)(void *ctx, const char *why);
	void *ctx;
};

enum pong {
	PONG_ALIVE,   /* the process itself has answered */
	PONG_REFUSED, /* for certain it is not at that address (any more) */
	PONG_SILENT,  /* no answer in time, or none of its kind */
	PONG_BUSY,    /* an answer that says neither: it is asked again */
};

struct members_options {
	struct engine *engine;        /* borrowed, like what follows */
	struct copy *copy;
	struct owner *owner;
	const struct rows_host *host;
	struct members_net net;
	struct member_info self;      /* copied */
	uint32_t n_shards;
};

/* NULL without memory. */
struct members *members_new(const struct members_options *options);

/* Gone when the engine has answered. The key goes with the lease, or by members_leave(). */
void members_free(struct members *members);

/* To be called by whoever gets the copy's calls: a key of kind KEY_MEMBER, and a shard's owner. */
void members_key(struct members *members, const struct key *key, struct mp_str value);
void members_shard_changed(struct members *members, uint32_t shard);

/* Likewise a row: its shard may want another check. */
void members_row_changed(struct members *members, const struct row *row);

/* The lease had run out: writes the key again. */
void members_lease_lost(struct members *members);

/* nonce: of the process that was asked for. */
void members_pong(struct members *members, const char *id, uint64_t nonce, enum pong pong);

/* From now on it wants no shards, and says so. */
void members_drain(struct members *members);

/* Likewise, and takes its key away. */
void members_leave(struct members *members);

/* That is done. */
bool members_has_left(const struct members *members);

/* Does what is due; when it wants to be called next (ns), unless members_is_woken() before. */
uint64_t members_wake(struct members *members);
bool members_is_woken(const struct members *members);

/* The members in the order of their ids; NULL behind the last. */
const struct member_info *members_at(const struct members *members, size_t i);

/* Is this member one of those that shards go to?  Not before others can see it. */
bool members_is_chosen(const struct members *members);

/* The owner of a shard, when it is a member that is known; or NULL. */
const struct member_info *members_owner(const struct members *members, uint32_t shard);

/*
 * Has a member that may own shards, this one included, that check?  The number of its
 * rules: `rules` itself, or with 0 the greatest that any has; 0: nobody has it.
 */
uint32_t members_check_rules(const struct members *members, const char *name, uint32_t rules);

/*
 * Reads the text of a member's key. False: it is none.
 * Exposed for tests and the fuzzer.
 */
bool member_text_read(struct mp_str text, struct member_info *ret);

#endif
