/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of groups: etcd, 3.4 or later, by gRPC (rows.md 1, 3.4, 6).
 *
 * What is certain: a transaction that etcd says succeeded; one of which a
 * comparison failed; one that it calls an invalid argument; one of which nothing was ever
 * sent.  Everything else is UNKNOWN, whatever the answer says.  A transaction is
 * sent once: it is never resent, neither here nor by libcurl.
 *
 * Endpoints are tried in their order.  One is used after it has answered a
 * linearizable read, so it has a quorum and is the right cluster; one that gave trouble has to do so again, ever less often.  Calls wait for one as
 * long as a request may take, then a transaction is REFUSED: it was not sent.
 *
 * An answer of another cluster, or of a revision below one that was seen when
 * it was asked for, stops the engine for good: somebody restored a backup, or started anew.
 * health.damaged says so; everything is REFUSED or UNKNOWN from then on, and watches end.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_ETCD_H
#define AGGREGATOR_ROWS_ENGINE_ETCD_H

#include <uv.h>

#include "aggregator/rows/engine/engine.h"

#define ENGINE_ETCD_ENDPOINTS 16 /* at most */

/* What a transaction may have: comparisons, operations and reads each; and bytes. */
struct engine_etcd_limits {
	size_t max_ops;   /* 0: 128, as etcd has it unless told otherwise (--max-txn-ops) */
	size_t max_bytes; /* of keys and values and 64 for each; 0: 1.5 MiB (--max-request-bytes) */
};

struct engine_etcd_options {
	const char *const *endpoints;     /* "http://host:port" or https; the nearest first */
	size_t n_endpoints;
	const char *ca, *cert, *key;      /* files for TLS; NULL: the system's, none, none */
	const char *user, *password;      /* NULL: nobody logs in */
	/*
	 * A key that endpoints are asked for; NULL: "middlepipe/".  One that the user
	 * may not read shows less: the cluster is then known from the log-in.
	 */
	const char *probe;
	uint64_t cluster_id;              /* which cluster it must be; 0: that which answers first */
	struct engine_etcd_limits limits; /* what that etcd takes */
	unsigned timeout_ms;              /* of a request; 0: 700 */
	unsigned lease_s;                 /* how long leased keys stay behind; 0: 5 */
	/*
	 * The lease had run out and there is a new one: leased keys are gone, put them
	 * again.  From the loop; NULL: nobody wants to know.
	 */
	void (*lease_lost)(void *ctx);
	void *ctx;                        /* of lease_lost() */
};

/*
 * Options are copied.  Connecting goes on behind: 0 says only that they make
 * sense.  -EINVAL, -ENOMEM.
 */
int engine_etcd_open(uv_loop_t *loop, const struct engine_etcd_options *options, struct engine **ret,
		     struct err *err);

/* What is in force: the defaults filled in. */
struct engine_etcd_limits engine_etcd_limits(const struct engine *engine);

/* Which cluster it is; 0: none has answered yet. */
uint64_t engine_etcd_cluster(const struct engine *engine);

/*
 * Other endpoints from now on, the nearest first; what is under way goes on where it is.
 * -EINVAL, -ENOMEM: nothing has changed, or only some have.
 */
int engine_etcd_set_endpoints(struct engine *engine, const char *const *endpoints, size_t n, struct err *err);

/* What has happened since the start. */
struct engine_etcd_counts {
	uint64_t requests;  /* sent */
	uint64_t troubles;  /* of them that had no answer of use */
	uint64_t failovers; /* another endpoint than before was used */
	uint64_t leases;    /* granted */
	uint64_t watches;   /* begun */
	size_t good;        /* endpoints that may be used now */
};

void engine_etcd_counts(const struct engine *engine, struct engine_etcd_counts *ret);

#endif
