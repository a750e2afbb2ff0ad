/* SPDX-License-Identifier: Apache-2.0 */
/* See gateway.h. */
#include "aggregator/etcd/gateway.h"

#include <stdio.h>

struct http_task *gateway_post(struct http_multi *http, const struct gateway_request *request,
			    const struct http_multi_calls *calls)
{
	const char *fields[4] = { "Content-Type: application/json" };
	size_t n = 1;
	char token[256];

	/* Without a leader the answer is then "no leader", at once. */
	if (!request->leaderless)
		fields[n++] = "Grpc-Metadata-hasleader: true";
	if (request->token) {
		if ((size_t)snprintf(token, sizeof(token), "Authorization: %s", request->token) >= sizeof(token))
			return NULL;
		fields[n++] = token;
	}
	return http_multi_start(http, &(struct http_multi_request){ .url = request->url, .body = request->body,
								   .fields = fields,
								   .timeout_ms = request->timeout_ms }, calls);
}
