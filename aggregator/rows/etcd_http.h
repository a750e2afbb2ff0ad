/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to etcd's gateway, for the etcd engine: what is common to all of them,
 * over lib/http_multi.h.  It knows nothing of what they say.
 */
#ifndef AGGREGATOR_ROWS_ETCD_HTTP_H
#define AGGREGATOR_ROWS_ETCD_HTTP_H

#include <stdbool.h>

#include "lib/http_multi.h"

/* A POST of JSON. */
struct etcd_request {
	const char *url;    /* used before etcd_post() returns */
	struct mp_str body; /* not empty; stays where it is until the end */
	const char *token;  /* for the Authorization header; NULL: none */
	bool leaderless;    /* a member without a leader may answer; else it is an error at once */
	long timeout_ms;    /* for all of it; 0: it never ends */
};

/* Sends it.  NULL without memory, or with a token that is too long. */
struct http_task *etcd_post(struct http_multi *http, const struct etcd_request *request,
			    const struct http_multi_calls *calls);

#endif
