/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's life, and what handlers ask of it (server.h).
 */
#include <stdlib.h>
#include <string.h>

#include "aggregator/http/server_priv.h"
#include "lib/slice.h"

#define NOBODY_PART 16 /* of the room for bodies: what who has not said who it is may take */

struct http_req *req_new(struct worker *worker, const char *target)
{
	struct http_req *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	req->worker = worker;
	req->server = worker->server;
	req->raw_at = target;
	req->raw_size = target ? strlen(target) : 0;
	req->raw = strdup(target ? target : "");
	if (!req->raw) {
		free(req);
		return NULL;
	}
	atomic_init(&req->refs, 1);
	list_init(&req->open);
	buf_init(&req->body, SIZE_MAX / 4);
	buf_init(&req->answer.fields, 8192);
	buf_init(&req->answer.body, SIZE_MAX / 4);
	return req;
}

void req_unref(struct http_req *req)
{
	if (atomic_fetch_sub_explicit(&req->refs, 1, memory_order_acq_rel) != 1)
		return;
	atomic_fetch_sub(&req->server->held, req->held);
	if (req->held_nobody)
		atomic_fetch_sub(&req->server->held_nobody, req->held_nobody);
	stream_fini(req);
	rights_forget(req);
	buf_fini(&req->head_text);
	buf_fini(&req->body);
	buf_fini(&req->answer.fields);
	buf_fini(&req->answer.body);
	buf_fini(&req->audit);
	free(req->raw);
	free(req);
}

static bool hold(_Atomic uint64_t *held, uint64_t bytes, uint64_t most)
{
	if (atomic_fetch_add(held, bytes) + bytes <= most)
		return true;
	atomic_fetch_sub(held, bytes);
	return false;
}

/* Nobody's have a part of the room, so that they cannot take the others' away. */
bool req_hold(struct http_req *req, uint64_t bytes)
{
	struct http_server *s = req->server;
	uint64_t nobody = req->who.known ? 0 : bytes;

	if (nobody && !hold(&s->held_nobody, nobody, s->options.body_total / NOBODY_PART))
		return false;
	if (!hold(&s->held, bytes, s->options.body_total)) {
		if (nobody)
			atomic_fetch_sub(&s->held_nobody, nobody);
		return false;
	}
	req->held += bytes;
	req->held_nobody += nobody;
	return true;
}

struct mp_str http_param(const struct http_req *req, const char *name)
{
	return pattern_param(&req->route->pattern, &req->target, slice_of(name));
}

bool http_query(const struct http_req *req, const char *name, struct mp_str *ret_value)
{
	return target_query(&req->target, slice_of(name), ret_value);
}

struct mp_str http_query_name(const struct http_req *req, size_t i)
{
	return i < req->target.n_query ? req->target.query[i].name : (struct mp_str){ 0 };
}

int http_header(const struct http_req *req, const char *name, struct mp_str *ret_value)
{
	struct mp_str want = slice_of(name);
	int n = 0;

	*ret_value = (struct mp_str){ "", 0 };
	for (size_t i = 0; i < req->fields.n; i++)
		if (slice_eq_nocase(req->fields.fields[i].name, want) && !n++)
			*ret_value = slice_trim(req->fields.fields[i].value);
	return n;
}

struct mp_str http_body(const struct http_req *req)
{
	return buf_slice(&req->body);
}

void http_take_body(struct http_req *req, struct buf *ret_body)
{
	*ret_body = req->body;
	buf_init(&req->body, 0);
}

const char *http_peer(const struct http_req *req)
{
	return req->peer;
}

bool http_gone(const struct http_req *req)
{
	return req->gone;
}

void http_on_gone(struct http_req *req, void (*gone)(void *ctx), void *ctx)
{
	req->on_gone = gone;
	req->on_gone_ctx = ctx;
}
