/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group as this member takes part in it: engine, copy, owner and reader put
 * together on a libuv loop, with the real clock and real chance.
 *
 * One thread, that of the loop.
 */
#ifndef AGGREGATOR_ROWS_GROUP_H
#define AGGREGATOR_ROWS_GROUP_H

#include <uv.h>

#include "aggregator/rows/checks.h"
#include "aggregator/rows/members.h"
#include "aggregator/rows/owner.h"
#include "aggregator/rows/reader.h"
#include "middlepipes/catalog.h"

struct group;

struct group_options {
	uv_loop_t *loop;        /* borrowed */
	struct engine *engine;  /* owned from here on, also when group_open() fails */
	struct mp_str tenant;   /* copied, like what follows */
	struct mp_str member;   /* id of this member */
	uint32_t shards;        /* when the group is made here; what `meta` says counts */
	size_t rows_max;
	struct owner_limits limits;
	struct catalog *halves; /* that rows may have as checks; borrowed; NULL: none */
	bool alone;             /* nobody else takes part: all shards are taken at once */
	const char *url;        /* where others reach this member; not alone; borrowed */
	struct members_net net; /* not alone */
	bool lost;              /* something that was acknowledged is missing, and that was accepted: a new
				   generation, in whichever engine this is */
	const char *accept;     /* the number that accepts an engine that was restored, see restored.h; NULL: none; borrowed */
	bool runs_engine;       /* a member of the engine runs beside this one */
	const char *uuid;       /* which group it is, 32 hex digits; NULL: whichever is there, or is made */
};

/* What the group tells; each gets ctx. */
struct group_calls {
	void (*known)(void *ctx);                /* group_uuid() and group_shards() are, before anything else */
	void (*ready)(void *ctx);                /* it was read, for the first time */
	void (*failed)(void *ctx, const char *why); /* it cannot be used: another format, another group, another tenant's (of an engine of its own) */
	void (*row)(void *ctx, struct row *row); /* as the copy says */
	void *ctx;
};

/* 0 and *ret; -ENOMEM, -EINVAL and err. */
int group_open(const struct group_options *options, const struct group_calls *calls, struct group **ret,
	       struct err *err);

/* The engine's lease had run out. */
void group_lease_lost(struct group *group);

/*
 * Gives its shards to others, for up to that long, and goes on serving meanwhile; then calls released().
 * Behind it only group_close().  Where nobody could take them released() comes at once.
 */
void group_release(struct group *group, uint64_t release_ms, void (*released)(void *ctx), void *ctx);

/*
 * Releases its shards (for up to that long, that of group_release() included), answers what waits, closes
 * the engine, then calls closed().
 */
void group_close(struct group *group, uint64_t release_ms, void (*closed)(void *ctx), void *ctx);

/* All of these from the loop's thread; what is to be done is done before the loop sleeps. */
void group_put(struct group *group, struct put *put);
void group_read(struct group *group, struct read *read);

/* As owner_set_room(); at any time. */
void group_set_room(struct group *group, uint64_t bytes, const char *why);

/* NULL until the group has read what it is. */
struct copy *group_copy(struct group *group);
struct owner *group_owner(struct group *group);
struct reader *group_reader(struct group *group);
struct members *group_members(struct group *group); /* NULL: alone */
struct engine *group_engine(struct group *group);
uv_loop_t *group_loop(struct group *group);
uint64_t group_now(struct group *group); /* ns, as put->deadline and read->deadline want it */

/* What `meta` says: number of shards, and the group's uuid as 32 hex digits. */
uint32_t group_shards(const struct group *group);
const char *group_uuid(const struct group *group);

struct mp_str group_tenant(const struct group *group);

/* Of this process, as `member/<id>` and `owner/<shard>` tell it. */
uint64_t group_nonce(const struct group *group);

/*
 * Its engine answers, it follows, and every shard has an owner.  False: why,
 * for people, is static or the group's.
 */
bool group_is_ready(struct group *group, const char **ret_why);

#endif
