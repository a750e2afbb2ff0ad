/* SPDX-License-Identifier: Apache-2.0 */
/* See etcd_rpc.h. */
#include "aggregator/rows/engine/etcd_rpc.h"

#include <stdio.h>

static const char *const paths[ETCD_METHODS] = {
	[ETCD_TXN] = "/etcdserverpb.KV/Txn",
	[ETCD_RANGE] = "/etcdserverpb.KV/Range",
	[ETCD_WATCH] = "/etcdserverpb.Watch/Watch",
	[ETCD_GRANT] = "/etcdserverpb.Lease/LeaseGrant",
	[ETCD_KEEP_ALIVE] = "/etcdserverpb.Lease/LeaseKeepAlive",
	[ETCD_REVOKE] = "/etcdserverpb.Lease/LeaseRevoke",
	[ETCD_LOGIN] = "/etcdserverpb.Auth/Authenticate",
};

struct http_task *etcd_rpc(struct http_multi *http, const struct etcd_request *request,
			   const struct http_multi_calls *calls)
{
	const char *fields[5] = { "Content-Type: application/grpc", "TE: trailers" };
	size_t n = 2;
	char token[sizeof("token: ") + ETCD_USER_TOKEN_MAX], url[512];

	/* Without a leader the answer is then "no leader", at once. */
	if (!request->leaderless)
		fields[n++] = "hasleader: true";
	if (request->token) {
		if ((size_t)snprintf(token, sizeof(token), "token: %s", request->token) >= sizeof(token))
			return NULL;
		fields[n++] = token;
	}
	if ((size_t)snprintf(url, sizeof(url), "%s%s", request->url, paths[request->method]) >= sizeof(url))
		return NULL;
	return http_multi_start(http, &(struct http_multi_request){ .url = url, .body = request->body, .fields = fields,
								   .timeout_ms = request->timeout_ms,
								   .fresh = request->fresh }, calls);
}
