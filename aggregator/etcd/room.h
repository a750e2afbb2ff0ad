/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much room etcd has (rows.md 3.7): asks each endpoint in turn how large its database is,
 * and says how many bytes of cells may still be put.
 *
 * Puts of cells stop at 80 % of the quota, so that floors, deletions and takeovers can still be
 * committed: at the quota etcd raises an alarm, and takes pure deletes only.  What counts is the size
 * of the file, as for etcd: what is free inside may or may not be used again (with large values it
 * mostly is not, and a compaction may even make the file larger), so that only defragmenting
 * makes room.  The fullest member counts: the alarm of one is everybody's.
 *
 * An endpoint that does not answer is as it was, for ten rounds; then it is forgotten, as long as another one
 * answers.  While none has ever answered nothing is known, and there is no bound.  For serve_room.c; on the loop.
 */
#ifndef AGGREGATOR_ETCD_ROOM_H
#define AGGREGATOR_ETCD_ROOM_H

#include <uv.h>

#include "aggregator/etcd/cluster.h"

#define ETCD_ROOM_ENDPOINTS 16
#define ETCD_QUOTA_USUAL (INT64_C(2) << 30) /* bytes, of an etcd that was told nothing else */
#define ETCD_QUOTA_OURS (INT64_C(4) << 30)  /* of one of ours, likewise */
#define ETCD_QUOTA_MIN (INT64_C(16) << 20)

struct etcd_room;

struct etcd_room_options {
	uv_loop_t *loop;
	struct http_multi *http; /* borrowed; outlives it */
	uint64_t quota;          /* bytes; that of etcd's --quota-backend-bytes */
	/* Something was learnt; see etcd_room_state(). */
	void (*learnt)(void *ctx);
	void *ctx;
};

struct etcd_room_state {
	bool known;                 /* somebody has answered */
	uint64_t quota;
	struct cluster_sizes sizes; /* of the fullest one; 0: not known */
	uint64_t left;              /* bytes that may still be put */
	char text[256];             /* for people who find none: how full it is and what to do */
};

/* Bytes that may still be put.  Pure. */
uint64_t etcd_room_left(const struct cluster_sizes *sizes, uint64_t quota);

/* NULL without memory. */
struct etcd_room *etcd_room_new(const struct etcd_room_options *options);

/* Whom to ask from now on; copied.  More than ETCD_ROOM_ENDPOINTS, or longer than URLs are: passed over. */
void etcd_room_set(struct etcd_room *room, const char *const *urls, size_t n);

/* Borrowed until the loop goes on. */
const struct etcd_room_state *etcd_room_state(const struct etcd_room *room);

/* Asks nobody any more; closed() comes from the loop, then it is gone. */
void etcd_room_close(struct etcd_room *room, void (*closed)(void *ctx), void *ctx);

#endif
