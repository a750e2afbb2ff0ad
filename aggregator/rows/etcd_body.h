/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What etcd's gateway is sent: JSON, keys and values in base64, 64-bit numbers as
 * strings.  Pure; each function adds to `out` and returns its error.
 */
#ifndef AGGREGATOR_ROWS_ETCD_BODY_H
#define AGGREGATOR_ROWS_ETCD_BODY_H

#include "aggregator/rows/engine.h"
#include "lib/buf.h"

/* Its leased puts have no lease yet: etcd_body_lease() gives it to them. */
int etcd_body_txn(struct buf *out, const struct engine_txn *txn);
bool etcd_body_leased(const struct engine_txn *txn);
void etcd_body_lease(struct buf *body, uint64_t lease);

/* A page: keys from `from` on, before `end`, at most `limit` (0: all). */
int etcd_body_range(struct buf *out, const struct engine_range *page);

/* Whether a key is there, as a linearizable read. */
int etcd_body_probe(struct buf *out, struct mp_str key);

/* Changes from that revision on; 0: from when it is heard of. */
int etcd_body_watch(struct buf *out, struct mp_str from, struct mp_str end, uint64_t first);

int etcd_body_login(struct buf *out, const char *user, const char *password);

/* How etcd counts it: bytes as they are, and what it puts around them at most. */
size_t etcd_body_cost(const struct engine_txn *txn);

#endif
