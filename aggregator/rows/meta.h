/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `meta`: what is fixed when a group begins (rows.md 2).
 *
 *	{"format":1,"group":"000102030405060708090a0b0c0d0e0f","generation":1,"shards":64,"sealed":false,
 *	 "cluster":"8e9e05c52164694d"}
 *
 * Every commit compares it by value, so that a group that was sealed, or
 * restored from a backup, takes nothing more from who does not know that.
 * Pure; any thread.
 */
#ifndef AGGREGATOR_ROWS_META_H
#define AGGREGATOR_ROWS_META_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

#ifndef META_FORMAT /* tests build programs of another one */
#define META_FORMAT 1
#endif
#define META_SIZE_MAX 256    /* bytes of the text, at most */
#define META_UUID_SIZE 33    /* 32 hex digits and a NUL */
#define META_SHARDS 64       /* unless somebody says otherwise */

struct meta {
	char group[META_UUID_SIZE]; /* random; names the group */
	uint64_t generation;        /* counts restores, from 1 */
	uint32_t shards;            /* 1 to SHARDS_MAX */
	bool sealed;                /* nothing is committed any more */
	uint64_t cluster;           /* the engine's identity when it was last known to be whole; 0: it has none */
};

/* Appends the text.  0, or -errno as buf_add(). */
int meta_write(struct buf *out, const struct meta *meta);

/*
 * 0 and *ret; -EINVAL: none of ours; -EPROTONOSUPPORT: a newer format; err says
 * what is wrong.  -ENOMEM.
 */
int meta_read(struct mp_str text, struct meta *ret, struct err *err);

#endif
