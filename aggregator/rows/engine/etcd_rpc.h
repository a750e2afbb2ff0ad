/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of etcd, for the etcd engine: gRPC over HTTP/2 by lib/http_multi.h, what is common
 * to all of them.  It knows nothing of what they say; the caller hands fields and data of
 * the answer to etcd_answer.h.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_ETCD_RPC_H
#define AGGREGATOR_ROWS_ENGINE_ETCD_RPC_H

#include <stdbool.h>

#include "aggregator/rows/engine/etcd_answer.h"
#include "lib/http_multi.h"

struct etcd_request {
	enum etcd_method method;
	const char *url;    /* of the endpoint; used before etcd_rpc() returns */
	struct mp_str body; /* a message by etcd_body.h; stays where it is until the end */
	const char *token;  /* of the user; NULL: none */
	bool leaderless;    /* a member without a leader may answer; else it is an error at once */
	bool fresh;         /* on a connection of its own */
	long timeout_ms;    /* for all of it; 0: it never ends */
};

/* Sends it.  NULL without memory, or with a token or an url that is too long. */
struct http_task *etcd_rpc(struct http_multi *http, const struct etcd_request *request,
			   const struct http_multi_calls *calls);

#endif
