/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the JSON gateway of a managed etcd, for what is rare: its members and
 * its state.  What is common to all of them, over lib/http_multi.h; it knows nothing of what
 * they say.  Cells go by gRPC (rows/etcd_rpc.h).
 */
#ifndef AGGREGATOR_ETCD_GATEWAY_H
#define AGGREGATOR_ETCD_GATEWAY_H

#include <stdbool.h>

#include "lib/http_multi.h"

/* A POST of JSON. */
struct gateway_request {
	const char *url;    /* used before gateway_post() returns */
	struct mp_str body; /* not empty; stays where it is until the end */
	const char *token;  /* for the Authorization header; NULL: none */
	bool leaderless;    /* a member without a leader may answer; else it is an error at once */
	long timeout_ms;    /* for all of it; 0: it never ends */
};

/* Sends it.  NULL without memory, or with a token that is too long. */
struct http_task *gateway_post(struct http_multi *http, const struct gateway_request *request,
			    const struct http_multi_calls *calls);

#endif
