/* SPDX-License-Identifier: Apache-2.0 */
/* See cluster.h. */
#include "aggregator/etcd/cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define BODY_MAX ((size_t)16 << 10)
#define DEPTH_MAX 8

static bool on_data(void *ctx, struct mp_str bytes)
{
	struct cluster_ask *ask = ctx;

	return buf_add_slice(&ask->answer, bytes) == 0;
}

static void on_done(void *ctx, const struct http_multi_end *end)
{
	struct cluster_ask *ask = ctx;

	ask->post = NULL;
	ask->status = end->status;
	ask->word = cluster_judge(end->status, buf_slice(&ask->answer), ask->why, sizeof(ask->why));
	if (!end->status)
		(void)snprintf(ask->why, sizeof(ask->why), "%s", end->why);
	ask->done(ask->ctx, ask);
}

void cluster_ask_init(struct cluster_ask *ask, struct http_multi *http,
		      void (*done)(void *ctx, struct cluster_ask *ask), void *ctx)
{
	*ask = (struct cluster_ask){ .http = http, .done = done, .ctx = ctx };
	buf_init(&ask->body, BODY_MAX);
	buf_init(&ask->answer, CLUSTER_ANSWER_MAX);
}

void cluster_ask_fini(struct cluster_ask *ask)
{
	http_task_cancel(ask->post);
	ask->post = NULL;
	buf_fini(&ask->body);
	buf_fini(&ask->answer);
}

static bool send_to(struct cluster_ask *ask, const char *url, const char *path, long timeout_ms, bool leaderless)
{
	const struct http_multi_calls calls = { .data = on_data, .done = on_done, .ctx = ask };
	/* Without a leader the answer is then "no leader", at once. */
	const char *const fields[] = { "Content-Type: application/json", leaderless ? NULL : "Grpc-Metadata-hasleader: true",
				       NULL };
	char whole[ETCD_URL_SIZE + 64];
	size_t len = strcspn(url, ",");
	const struct http_multi_request request = { .url = whole, .fields = fields, .body = buf_slice(&ask->body),
						    .timeout_ms = timeout_ms };

	while (len && url[len - 1] == '/')
		len--;
	if (!len || ask->body.error ||
	    snprintf(whole, sizeof(whole), "%.*s%s", (int)len, url, path) >= (int)sizeof(whole))
		return false;
	buf_reset(&ask->answer);
	ask->status = 0;
	ask->post = http_multi_start(ask->http, &request, &calls);
	return ask->post != NULL;
}

bool cluster_send(struct cluster_ask *ask, const char *url, const char *path, long timeout_ms)
{
	return send_to(ask, url, path, timeout_ms, true);
}

/* ------------------------------------------------------------------- the requests */

bool cluster_list(struct cluster_ask *ask, const char *url)
{
	buf_reset(&ask->body);
	(void)buf_add_str(&ask->body, "{}");
	return send_to(ask, url, "/v3/cluster/member/list", CLUSTER_LIST_MS, true);
}

static bool change(struct cluster_ask *ask, const char *url, const char *path, uint64_t id)
{
	buf_reset(&ask->body);
	(void)buf_printf(&ask->body, "{\"ID\":\"%" PRIu64 "\"}", id);
	return send_to(ask, url, path, CLUSTER_CHANGE_MS, false);
}

bool cluster_promote(struct cluster_ask *ask, const char *url, uint64_t id)
{
	return change(ask, url, "/v3/cluster/member/promote", id);
}

bool cluster_remove(struct cluster_ask *ask, const char *url, uint64_t id)
{
	return change(ask, url, "/v3/cluster/member/remove", id);
}

bool cluster_add(struct cluster_ask *ask, const char *url, const char *peer)
{
	buf_reset(&ask->body);
	(void)buf_add_str(&ask->body, "{\"isLearner\":true,\"peerURLs\":[");
	(void)json_text_add(&ask->body, slice_of(peer));
	(void)buf_add_str(&ask->body, "]}");
	return send_to(ask, url, "/v3/cluster/member/add", CLUSTER_CHANGE_MS, false);
}

bool cluster_update(struct cluster_ask *ask, const char *url, uint64_t id, const char *peer)
{
	buf_reset(&ask->body);
	(void)buf_printf(&ask->body, "{\"ID\":\"%" PRIu64 "\",\"peerURLs\":[", id);
	(void)json_text_add(&ask->body, slice_of(peer));
	(void)buf_add_str(&ask->body, "]}");
	return send_to(ask, url, "/v3/cluster/member/update", CLUSTER_CHANGE_MS, false);
}

bool cluster_status(struct cluster_ask *ask, const char *url, long timeout_ms)
{
	buf_reset(&ask->body);
	(void)buf_add_str(&ask->body, "{}");
	return send_to(ask, url, "/v3/maintenance/status", timeout_ms, true);
}

bool cluster_probe(struct cluster_ask *ask, const char *url, long timeout_ms)
{
	buf_reset(&ask->body);
	(void)buf_add_str(&ask->body, "{}");
	return send_to(ask, url, "/v3/kv/txn", timeout_ms, false);
}

uint64_t cluster_answered(const struct cluster_ask *ask)
{
	CLEANUP_JSON json_t *value = NULL;
	const char *text = NULL;
	uint64_t id = 0;

	if (json_load_text(buf_slice(&ask->answer), CLUSTER_ANSWER_MAX, DEPTH_MAX, &value, NULL))
		return 0;
	text = json_string_value(json_object_get(json_object_get(value, "header"), "member_id"));
	return text && slice_to_u64(slice_of(text), &id) == 0 ? id : 0;
}
