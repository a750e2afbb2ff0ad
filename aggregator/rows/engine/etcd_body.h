/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What etcd is sent: a message of protobuf (etcd.proto) behind gRPC's prefix.  Pure; each
 * function adds a whole message to `out`, which is empty, and returns its error.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_ETCD_BODY_H
#define AGGREGATOR_ROWS_ENGINE_ETCD_BODY_H

#include "aggregator/rows/engine/engine.h"
#include "lib/buf.h"

/* Its leased puts have no lease yet: etcd_body_lease() gives it to them. */
int etcd_body_txn(struct buf *out, const struct engine_txn *txn);
bool etcd_body_leased(const struct engine_txn *txn);

/* All leased puts of that transaction have that lease from now on. */
int etcd_body_lease(struct buf *body, uint64_t lease);

/* A page: keys from `from` on, before `end`, at most `limit` (0: all). */
int etcd_body_range(struct buf *out, const struct engine_range *page);

/* Whether a key is there, as a linearizable read. */
int etcd_body_probe(struct buf *out, struct mp_str key);

/* Changes from that revision on; 0: from when it is heard of. */
int etcd_body_watch(struct buf *out, struct mp_str from, struct mp_str end, uint64_t first);

int etcd_body_grant(struct buf *out, unsigned ttl_s);

/* Keeps that lease alive, or gives it back. */
int etcd_body_of_lease(struct buf *out, uint64_t lease);

int etcd_body_login(struct buf *out, const char *user, const char *password);

/* How etcd counts it: bytes as they are, and what it puts around them at most. */
size_t etcd_body_cost(const struct engine_txn *txn);

#endif
