/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members over HTTP: who takes part, tokens, joining, draining, leaving; see api.h
 * and docs/rows-api.md.  What is meant for another member is redirected there (307).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/etcd/admit.h"
#include "aggregator/rows/api/api.h"
#include "lib/clock.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define ANSWER_MAX ((size_t)1 << 20)
#define PROBE_MS 1500
#define MISTAKES_MAX 4
#define JOINS_MAX 64   /* tokens that are looked up at once */

static const struct http_field json[] = { { "Content-Type", "application/json" }, { NULL, NULL } };
static const struct http_field soon[] = { { "Retry-After", "1" }, { NULL, NULL } };

/* False: answered. */
static bool may(struct http_req *req, enum http_right right)
{
	if (http_may(req, right, (struct mp_str){ 0 }))
		return true;
	http_deny(req);
	return false;
}

/* Of a group with etcd of its own, that has been read.  False: answered. */
static bool is_managed(const struct rows_http *http, struct http_req *req)
{
	if (!http->managed)
		http_answer_error(req, 409, "not_managed", "this group's etcd is not run by its aggregators "
				  "(--group managed)");
	else if (!group_copy(http->group))
		http_answer_error_fields(req, 503, soon, "unavailable", "it has not read its rows yet");
	else
		return true;
	return false;
}

static uint64_t wall_ms(void)
{
	return clock_wall_now() / NS_PER_MS;
}

/* ------------------------------------------------------------------ who is there */

/* Shards that it owns. */
static uint32_t n_shards(const struct rows_http *http, const char *id)
{
	struct owner_name owner;
	uint32_t n = 0;

	for (uint32_t i = 0; group_copy(http->group) && i < group_shards(http->group); i++)
		n += owner_text_read(copy_owner(group_copy(http->group), i), &owner) && strcmp(owner.member, id) == 0;
	return n;
}

static void add_member(struct buf *out, const struct rows_http *http, const struct member_info *m, bool first)
{
	(void)buf_printf(out, "%s{\"member\":\"%s\",\"here\":%s,\"draining\":%s,\"suspected\":%s,\"chosen\":%s,\"engine\":%s"
			 ",\"shards\":%" PRIu32 ",\"nonce\":\"%016" PRIx64 "\",\"since\":%" PRIu64 ",\"version\":", first ? "" : ",", m->id,
			 strcmp(m->id, http->member) == 0 ? "true" : "false", m->draining ? "true" : "false",
			 m->suspected ? "true" : "false", m->chosen ? "true" : "false", m->engine ? "true" : "false",
			 n_shards(http, m->id), m->nonce, m->since_ms);
	(void)json_text_add(out, slice_of(m->version));
	(void)buf_add_str(out, ",\"url\":");
	(void)json_text_add(out, slice_of(m->url));
	(void)buf_add_str(out, ",\"checks\":{");
	for (size_t i = 0; i < m->n_checks; i++)
		(void)buf_printf(out, "%s\"%s\":%" PRIu32, i ? "," : "", m->check[i].name, m->check[i].rules);
	(void)buf_add_str(out, "}}");
}

static void add_etcd(struct buf *out, const struct rows_http *http, const struct cluster_member *m, bool first)
{
	uint64_t since = managed_silent_since(http->managed, m->id);

	(void)buf_printf(out, "%s{\"id\":\"%016" PRIx64 "\",\"member\":\"%s\",\"votes\":%s,\"here\":%s,\"silent_ms\":%" PRIu64
			 ",\"peer\":", first ? "" : ",", m->id, m->name, m->learner ? "false" : "true",
			 m->id == managed_identity(http->managed)->etcd_id ? "true" : "false",
			 since ? uv_now(group_loop(http->group)) - since : 0);
	(void)json_text_add(out, slice_of(m->peer));
	(void)buf_add_str(out, ",\"client\":");
	(void)json_text_add(out, slice_of(m->client));
	(void)buf_add_str(out, "}");
}

static void add_all_etcd(struct buf *out, const struct rows_http *http)
{
	const struct cluster_list *list = managed_members(http->managed);
	size_t voters = cluster_voters(list);

	(void)buf_add_str(out, ",\"etcd\":[");
	for (size_t i = 0; i < list->n; i++)
		add_etcd(out, http, &list->member[i], i == 0);
	(void)buf_add_str(out, "]");
	if (list->n && voters % 2 == 0)
		(void)buf_printf(out, ",\"warning\":\"%zu members of etcd bear no more failures than %zu\"", voters,
				 voters - 1);
}

void rows_members(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct members *members = group_members(http->group);
	const struct member_info *m;
	struct buf body;

	if (!rows_query_only(req, "") || !may(req, RIGHT_READ))
		return;
	buf_init(&body, ANSWER_MAX);
	(void)buf_printf(&body, "{\"group\":\"%s\",\"members\":[", group_uuid(http->group));
	for (size_t i = 0; members && (m = members_at(members, i)); i++)
		add_member(&body, http, m, i == 0);
	(void)buf_add_str(&body, "]");
	if (http->managed)
		add_all_etcd(&body, http);
	(void)buf_add_str(&body, "}");
	rows_answer(req, 200, &body);
}

/* ------------------------------------------------------------------------ tokens */

/* A token that is made: first those that have expired go. */
struct making {
	struct rows_http *http;       /* borrowed */
	struct http_req *req;         /* owed an answer */
	char token[ETCD_TOKEN_SIZE];
	struct token_record record;
	struct buf key, value;        /* of the record */
};

static void making_end(struct making *m, int status, const char *why)
{
	struct buf body;

	if (status == 201) {
		buf_init(&body, 512);
		(void)buf_printf(&body, "{\"token\":\"%s\",\"expires\":%" PRIu64 "}", m->token, m->record.expires_ms);
		http_audit_add(m->req, " expires=%" PRIu64, m->record.expires_ms);
		rows_answer(m->req, 201, &body);
	} else {
		http_answer_error_fields(m->req, status, soon, status == 429 ? "too_many" : "unavailable", "%s", why);
	}
	buf_fini(&m->key);
	buf_fini(&m->value);
	explicit_bzero(m->token, sizeof(m->token));
	free(m);
}

static void on_made(void *ctx, const struct engine_answer *answer)
{
	/* An unknown outcome is one that is not told: nobody will ever know the token. */
	if (answer->outcome == ENGINE_COMMITTED)
		making_end(ctx, 201, NULL);
	else
		making_end(ctx, 503, answer->why);
}

static void on_tokens(void *ctx, const struct engine_answer *answer)
{
	struct making *m = ctx;
	struct engine *engine = group_engine(m->http->group);
	struct engine_op ops[TOKENS_MAX + 1];
	struct engine_txn txn = { .ops = ops };
	uint64_t now = wall_ms();
	size_t kept = 0;

	if (answer->outcome != ENGINE_COMMITTED) {
		making_end(m, 503, answer->why);
		return;
	}
	for (size_t i = 0; i < answer->n_items && i < TOKENS_MAX; i++) {
		struct token_record record;

		if (token_record_read(answer->items[i].value, &record) == 0 && now < record.expires_ms)
			kept++;
		else
			ops[txn.n_ops++] = (struct engine_op){ .kind = ENGINE_DELETE, .key = answer->items[i].key };
	}
	if (kept == TOKENS_MAX) {
		making_end(m, 429, "there are too many tokens that nobody has used yet");
		return;
	}
	ops[txn.n_ops++] = (struct engine_op){ .kind = ENGINE_PUT, .key = buf_slice(&m->key),
					       .value = buf_slice(&m->value) };
	if (engine->ops->commit(engine, &txn, on_made, m) < 0)
		making_end(m, 503, "out of memory");
}

/* {"seconds":N}, or nothing. */
static bool read_seconds(struct http_req *req, int64_t *ret)
{
	CLEANUP_JSON json_t *value = NULL;
	struct json_errs errs;
	struct err err = { 0 };
	struct json_at root;
	int rc = 0;

	*ret = TOKEN_SECONDS;
	if (!http_body(req).len)
		return true;
	rc = json_load_text(http_body(req), 4096, 2, &value, &err);
	if (rc == 0) {
		root = json_at_root(value);
		json_errs_init(&errs, MISTAKES_MAX);
		json_only(&root, &errs, "seconds", NULL);
		json_get_int(&root, "seconds", JSON_OPTIONAL, 1, TOKEN_SECONDS_MAX, ret, &errs);
		rc = json_errs_result(&errs, &err);
		json_errs_fini(&errs);
	}
	if (rc)
		http_answer_error(req, 400, "bad_request", "%s", err.text);
	return rc == 0;
}

/* Everything that can go wrong before the engine is asked. */
static bool making_fill(struct making *m, int64_t seconds, struct buf *from, struct buf *end)
{
	struct mp_str prefix = copy_prefix(group_copy(m->http->group));
	char hash[TOKEN_HASH_SIZE];

	m->record.expires_ms = wall_ms() + (uint64_t)seconds * 1000;
	return token_make(managed_identity(m->http->managed)->group, m->token) == 0 &&
	       token_hash(slice_of(m->token), hash) == 0 && key_token(&m->key, prefix, slice_of(hash)) == 0 &&
	       token_record_write(&m->value, &m->record) == 0 &&
	       key_token(from, prefix, (struct mp_str){ "", 0 }) == 0 && key_range_end(end, buf_slice(from)) == 0;
}

void rows_token(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct engine *engine = group_engine(http->group);
	struct making *m;
	struct buf from, end;
	int64_t seconds;

	http_audit(req, "token to join");
	if (!rows_query_only(req, "") || !may(req, RIGHT_ADMIN) || !is_managed(http, req) || !read_seconds(req, &seconds))
		return;
	m = calloc(1, sizeof(*m));
	if (!m) {
		http_answer_error(req, 503, "unavailable", "out of memory");
		return;
	}
	m->http = http;
	m->req = req;
	buf_init(&m->key, KEY_MAX);
	buf_init(&m->value, TOKEN_RECORD_MAX);
	buf_init(&from, KEY_MAX);
	buf_init(&end, KEY_MAX);
	if (!making_fill(m, seconds, &from, &end) ||
	    engine->ops->range(engine, &(struct engine_range){ .from = buf_slice(&from), .end = buf_slice(&end),
							       .limit = TOKENS_MAX }, on_tokens, m) < 0)
		making_end(m, 503, "out of memory");
	buf_fini(&from);
	buf_fini(&end);
}

/* ----------------------------------------------------------------------- joining */

/* One that wants in. */
struct joining {
	struct rows_http *http; /* borrowed */
	struct http_req *req;   /* owed an answer */
	struct admit *admit;    /* does it */
};

static void on_admitted(void *ctx, const struct admit_answer *answer)
{
	struct joining *j = ctx;

	if (j->http->joining == j)
		j->http->joining = NULL;
	j->http->n_joining--;
	http_on_gone(j->req, NULL, NULL);
	if (answer->status == 200)
		rows_answer(j->req, 200, answer->body);
	else
		http_answer_error_fields(j->req, answer->status, answer->status == 503 ? soon : NULL, answer->code,
					 "%s", answer->text);
	free(j);
}

static void on_joiner_gone(void *ctx)
{
	struct joining *j = ctx;

	admit_stop(j->admit);
}

/* It has a token: who has none cannot keep others out. */
static bool on_begins(void *ctx)
{
	struct joining *j = ctx;

	if (j->http->joining && j->http->joining != j)
		return false;
	j->http->joining = j;
	return true;
}

static void begin_join(struct rows_http *http, struct http_req *req, const struct admit_request *request)
{
	struct joining *j = http->n_joining < JOINS_MAX ? calloc(1, sizeof(*j)) : NULL;
	const struct admit_calls calls = { on_begins, on_admitted, j };

	if (!j) {
		http_answer_error_fields(req, 503, soon, "busy", "too many ask to join");
		return;
	}
	j->http = http;
	j->req = req;
	j->admit = admit_start(group_loop(http->group), http->managed, group_engine(http->group), group_tenant(http->group),
			       request, wall_ms(), &calls);
	if (!j->admit) {
		http_answer_error_fields(req, 503, soon, "unavailable", "out of memory");
		free(j);
		return;
	}
	http->n_joining++;
	http_on_gone(req, on_joiner_gone, j);
}

/* No right is asked for but the token; until that is known to be good, nothing is told but what it says itself. */
void rows_join(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct admit_request request;
	char group[META_UUID_SIZE];
	struct err err = { 0 };

	if (!rows_query_only(req, "") || !is_managed(http, req))
		return;
	if (admit_request_read(http_body(req), &request, &err) < 0) {
		http_answer_error(req, 400, "bad_request", "%s", err.text);
		return;
	}
	http_audit(req, "member joins");
	http_audit_text(req, "member", slice_of(request.member));
	http_audit_text(req, "peer", slice_of(request.peer));
	if (!token_group(slice_of(request.token), group)) {
		http_answer_error(req, 403, "token", "that is no token to join with");
	} else if (strcmp(group, managed_identity(http->managed)->group) != 0) {
		http_answer_error(req, 403, "token", "the token is of group %s, and this is another", group);
	} else {
		begin_join(http, req, &request);
	}
}

/* -------------------------------------------------------------- draining, leaving */

static const struct member_info *find_member(const struct rows_http *http, struct mp_str id)
{
	struct members *members = group_members(http->group);
	const struct member_info *m;

	for (size_t i = 0; members && (m = members_at(members, i)); i++)
		if (slice_eq(slice_of(m->id), id))
			return m;
	return NULL;
}

/* To the member that is meant. */
static void redirect(struct http_req *req, const struct member_info *m, const char *rest)
{
	char url[MEMBER_URL_MAX + ROW_TENANT_MAX + 64];
	const struct http_field fields[] = { { "Location", url }, { NULL, NULL } };

	(void)snprintf(url, sizeof(url), "%s/v1/members/%s%s", m->url, m->id, rest);
	http_answer_error_fields(req, 307, fields, "elsewhere", "ask member %s itself, at %s", m->id, m->url);
}

static void audit_member(struct http_req *req, const char *act, struct mp_str id)
{
	http_audit(req, act);
	http_audit_text(req, "member", id);
}

void rows_drain(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct mp_str id = http_param(req, "id");
	const struct member_info *m = find_member(http, id);

	audit_member(req, "member drains", id);
	if (!rows_query_only(req, "") || !may(req, RIGHT_ADMIN))
		return;
	if (!group_members(http->group)) {
		http_answer_error(req, 409, "alone", "it is alone: nobody could take its shards");
	} else if (slice_eq(id, slice_of(http->member))) {
		members_drain(group_members(http->group));
		http_answer(req, 202, json, MP_LIT("{\"draining\":true}"));
	} else if (m) {
		redirect(req, m, "/drain");
	} else {
		http_answer_error(req, 404, "not_found", "there is no such member");
	}
}

/* A member of etcd that is taken out. */
struct removal {
	struct rows_http *http;  /* borrowed */
	struct http_req *req;    /* owed an answer */
	uint64_t id;             /* of whom */
	bool probing;            /* whether it lives */
	struct cluster_ask ask;
};

static void removal_end(struct removal *r, int status, const char *code, const char *why)
{
	struct buf body;

	cluster_ask_fini(&r->ask);
	if (status == 200) {
		buf_init(&body, 256);
		(void)buf_printf(&body, "{\"removed\":\"%016" PRIx64 "\"}", r->id);
		rows_answer(r->req, 200, &body);
	} else {
		http_answer_error_fields(r->req, status, status == 503 ? soon : NULL, code, "%s", why);
	}
	free(r);
}

static void remove_it(struct removal *r)
{
	r->probing = false;
	http_audit_add(r->req, " etcd=%016" PRIx64, r->id);
	if (!cluster_remove(&r->ask, managed_url(r->http->managed), r->id))
		removal_end(r, 503, "unavailable", "out of memory, or no etcd is known");
}

/* Unless etcd has refused it, it may have been done. */
static void removal_failed(struct removal *r, bool unhealthy, const char *why)
{
	if (!unhealthy)
		http_audit_outcome(r->req, "unknown");
	removal_end(r, 503, unhealthy ? "unhealthy" : "unavailable", why);
}

static void on_removal(void *ctx, struct cluster_ask *ask)
{
	struct removal *r = ctx;
	char why[sizeof(ask->why)];

	(void)snprintf(why, sizeof(why), "%s", ask->why);
	if (r->probing && ask->status && cluster_answered(ask) == r->id)
		removal_end(r, 409, "alive", "its etcd lives: DELETE it at itself, or say force=true");
	else if (r->probing)
		remove_it(r);
	else if (ask->word == CLUSTER_DONE || ask->word == CLUSTER_NO_MEMBER)
		removal_end(r, 200, NULL, NULL);
	else
		removal_failed(r, ask->word == CLUSTER_UNHEALTHY, why);
}

/* By the member's id, or by that of its etcd. */
static const struct cluster_member *find_etcd(const struct rows_http *http, struct mp_str id)
{
	const struct cluster_list *list = managed_members(http->managed);
	uint64_t number = 0;

	for (size_t i = 0; i < list->n; i++)
		if (slice_eq(slice_of(list->member[i].name), id))
			return &list->member[i];
	return hex_number(id, 16, &number) ? cluster_by_id(list, number) : NULL;
}

static void begin_removal(struct rows_http *http, struct http_req *req, const struct cluster_member *m, bool force)
{
	struct removal *r = calloc(1, sizeof(*r));

	if (!r) {
		http_answer_error(req, 503, "unavailable", "out of memory");
		return;
	}
	*r = (struct removal){ .http = http, .req = req, .id = m->id, .probing = !force && m->client[0] };
	cluster_ask_init(&r->ask, managed_http(http->managed), on_removal, r);
	if (!r->probing)
		remove_it(r);
	else if (!cluster_status(&r->ask, m->client, PROBE_MS))
		removal_end(r, 503, "unavailable", "out of memory");
}

static void leave_self(struct rows_http *http, struct http_req *req)
{
	const char *why;

	audit_member(req, "member leaves", slice_of(http->member));
	if (!managed_may_leave(http->managed, &why)) {
		http_answer_error(req, 409, "last", "%s", why);
		return;
	}
	http_answer(req, 202, json, MP_LIT("{\"leaving\":true}"));
	http->leave(http->leave_ctx);
}

void rows_leave(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct mp_str id = http_param(req, "id"), value;
	bool force = http_query(req, "force", &value);
	const struct member_info *m = find_member(http, id);
	const struct cluster_member *etcd;

	audit_member(req, "member is taken out", id);
	if (force && !slice_eq(value, MP_LIT("true"))) {
		http_answer_error(req, 400, "bad_request", "force wants true");
		return;
	}
	if (!rows_query_only(req, "force") || !may(req, RIGHT_ADMIN) || !is_managed(http, req))
		return;
	etcd = find_etcd(http, id);
	if (slice_eq(id, slice_of(http->member)) || (etcd && etcd->id == managed_identity(http->managed)->etcd_id))
		leave_self(http, req);
	else if (m && !m->suspected && !force)
		redirect(req, m, "");
	else if (etcd)
		begin_removal(http, req, etcd, force);
	else
		http_answer_error(req, 404, "not_found", "there is no such member");
}
