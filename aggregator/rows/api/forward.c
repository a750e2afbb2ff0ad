/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts of rows that another member owns: they are taken there, with the same
 * key and, of cells, the base stamped here, or wait until the shard has an owner.
 * And pings, which go the same way.
 *
 * A put is taken to another member once: if that is not the owner either, the
 * put comes back and waits here.  What may have arrived and was not answered is
 * unknown (504).  A member whose engine has stopped for good takes nothing along.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/put.h"
#include "lib/clock.h"
#include "lib/hex.h"
#include "lib/log.h"
#include "lib/slice.h"

#define PARK_MS 20             /* how often a put that waits looks for an owner */
#define ANSWER_MAX ((size_t)1 << 20)
#define LEAST_NS (5 * NS_PER_MS) /* left of its time, else it is not worth the way */

/* --------------------------------------------------------------------- waiting */

static void fail(struct rows_request *r, enum put_code code, const char *why)
{
	const struct put_answer answer = { .code = code, .why = why };

	rows_request_fail(r, &answer);
}

/* Tries them again, in the order in which they came. */
static void on_park_timer(uv_timer_t *timer)
{
	struct rows_http *http = timer->data;
	struct list again;

	list_init(&again);
	while (!list_empty(&http->parked)) {
		struct list *link = list_pop_front(&http->parked);

		list_push_back(&again, link);
	}
	while (!list_empty(&again)) {
		struct rows_request *r = LIST_ENTRY_OF(list_pop_front(&again), struct rows_request, parked);

		group_put(r->http->group, &r->put);
	}
}

static void park(struct rows_request *r)
{
	list_push_back(&r->http->parked, &r->parked);
	if (!uv_is_active((uv_handle_t *)&r->http->park_timer))
		uv_timer_start(&r->http->park_timer, on_park_timer, PARK_MS, 0);
}

static bool too_late(const struct rows_request *r)
{
	return group_now(r->http->group) + LEAST_NS >= r->put.deadline;
}

void rows_request_retry(struct rows_request *r, const char *why)
{
	list_remove(&r->parked);
	if (too_late(r))
		fail(r, PUT_UNAVAILABLE, why);
	else
		park(r);
}

/* ------------------------------------------------------------------- the answer */

static bool on_data(void *ctx, struct mp_str bytes)
{
	struct rows_request *r = ctx;

	return !buf_add_slice(&r->answer, bytes);
}

static void on_field(void *ctx, struct mp_str name, struct mp_str value)
{
	struct rows_request *r = ctx;
	const struct { const char *name; char *to; size_t size; } wanted[] = {
		{ "Middlepipe-Base", r->base, sizeof(r->base) },
		{ "Retry-After", r->retry_after, sizeof(r->retry_after) },
		{ "Content-Type", r->type, sizeof(r->type) },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (slice_eq_nocase(name, slice_of(wanted[i].name)))
			(void)snprintf(wanted[i].to, wanted[i].size, "%.*s", SLICE_ARG(value));
}

static void relay(struct rows_request *r, int status)
{
	struct http_field fields[5];
	size_t n = 0;
	struct buf body = r->answer;
	char type[sizeof(r->type)], base[sizeof(r->base)], retry_after[sizeof(r->retry_after)], owner[sizeof(r->owner)];

	/* The request's memory goes with the answer. */
	memcpy(type, r->type, sizeof(type));
	memcpy(base, r->base, sizeof(base));
	memcpy(retry_after, r->retry_after, sizeof(retry_after));
	memcpy(owner, r->owner, sizeof(owner));
	if (type[0])
		fields[n++] = (struct http_field){ "Content-Type", type };
	if (base[0])
		fields[n++] = (struct http_field){ "Middlepipe-Base", base };
	if (retry_after[0])
		fields[n++] = (struct http_field){ "Retry-After", retry_after };
	fields[n++] = (struct http_field){ "Middlepipe-Owner", owner };
	fields[n] = (struct http_field){ NULL, NULL };
	rows_request_relay(r, status, fields, &body);
	buf_fini(&body);
}

/* The other member does not own it, or does not any more; or there is somebody else at its address by now. */
static bool is_elsewhere(const struct rows_request *r, int status)
{
	struct mp_str token;

	/* 401 without a token is of this member's certificate: nothing was done, and a newer one may be there soon. */
	if (status == 421 || (status == 401 && !http_header(r->req, "Authorization", &token)))
		return true;
	return status == 503 && strstr(buf_str(&r->answer), "\"code\":\"elsewhere\"");
}

/* What a member answers is JSON; the rest comes from a stranger at its address, and tells nothing. */
static bool is_told(const struct rows_request *r)
{
	return rows_media_is(slice_of(r->type), MP_LIT("application/json"));
}

static void on_forwarded(void *ctx, const struct http_multi_end *end)
{
	struct rows_request *r = ctx;
	bool elsewhere = is_elsewhere(r, end->status);

	r->task = NULL;
	if (end->status && !elsewhere && is_told(r)) {
		relay(r, end->status);
		return;
	}
	buf_fini(&r->answer);
	r->owner[0] = '\0';
	if (end->status ? !elsewhere : end->sent)
		fail(r, PUT_UNKNOWN, "the row's owner has not answered");
	else
		rows_request_retry(r, "the row has no owner that can be reached");
}

/* ------------------------------------------------------------------- the request */

static const char *const methods[] = { [PUT_CELLS] = "POST", [PUT_POLICIES] = "PUT", [PUT_FLOOR] = "POST",
				       [PUT_DELETE] = "DELETE" };
static const char *const actions[] = { [PUT_CELLS] = "/cells", [PUT_POLICIES] = "", [PUT_FLOOR] = "/compact",
				       [PUT_DELETE] = "" };

static int make_url(struct buf *out, const char *member, struct mp_str row, const char *action)
{
	(void)buf_printf(out, "%s/v1/rows/", member);
	for (size_t i = 0; i < row.len; i++)
		(void)buf_printf(out, "%%%02X", (unsigned)(unsigned char)row.ptr[i]);
	return buf_add_str(out, action);
}

/* Appends a field, NUL-terminated; its place in *ret. */
static void add_field(struct buf *text, const char *name, struct mp_str value, size_t *ret)
{
	*ret = text->len;
	(void)buf_printf(text, "%s: %.*s", name, SLICE_ARG(value)); /* seen in make_fields() */
	(void)buf_add(text, "", 1);
}

/*
 * Fields of the client's that go along, those that say who it was, and for which process it is: all or,
 * false, none for want of memory.
 */
static bool make_fields(struct rows_request *r, uint64_t nonce, struct buf *text, struct rows_meant *meant,
			const char **ret)
{
	static const char *const along[] = { "Idempotency-Key", "If-Match", "Content-Type", "Authorization",
					     "Middlepipe-Cell-Kind" };
	size_t place[FORWARD_FIELDS], n = 0;
	struct mp_str value;
	char base[48];

	for (size_t i = 0; i < sizeof(along) / sizeof(along[0]); i++)
		if (http_header(r->req, along[i], &value))
			add_field(text, along[i], value, &place[n++]);
	if (r->put.base.kind != BASE_UNKNOWN)
		add_field(text, "Middlepipe-Base", slice_of(rows_base_text(&r->put.base, base)), &place[n++]);
	add_field(text, "Middlepipe-Forwarded", r->put.origin, &place[n++]);
	for (size_t i = 0; i < n && !text->error; i++)
		ret[i] = text->ptr + place[i];
	rows_meant(r->http, nonce, meant, &ret[n]);
	ret[n + ROWS_MEANT_FIELDS] = NULL;
	return !text->error;
}

static bool take_there(struct rows_request *r, const struct member_info *owner)
{
	const struct http_multi_calls calls = { on_data, on_forwarded, on_field, r };
	const char *fields[FORWARD_FIELDS + 1];
	struct rows_meant meant;
	uint64_t left = r->put.deadline - group_now(r->http->group);
	struct http_multi_request request = { .method = methods[r->put.kind], .fields = fields,
					      .body = http_body(r->req),
					      .timeout_ms = (long)(left / NS_PER_MS) + 1, .fresh = false };
	struct buf url, text;

	buf_init(&text, SIZE_MAX); /* a head is bounded */
	buf_init(&url, MEMBER_URL_MAX + 64 + 3 * ROW_NAME_MAX);
	buf_init(&r->answer, ANSWER_MAX);
	r->base[0] = r->retry_after[0] = r->type[0] = '\0';
	(void)snprintf(r->owner, sizeof(r->owner), "%s", owner->url);
	/* An empty body is a body, too: it is sent once. */
	if (!request.body.ptr && r->put.kind != PUT_DELETE)
		request.body = MP_LIT("");
	request.fresh = !request.body.len;
	if (make_fields(r, owner->nonce, &text, &meant, fields) &&
	    !make_url(&url, owner->url, r->put.row, r->put.dry ? "/check" : actions[r->put.kind])) {
		request.url = buf_str(&url);
		r->task = http_multi_start(r->http->others, &request, &calls);
	}
	buf_fini(&text);
	buf_fini(&url);
	return r->task;
}

/* The engine has stopped for good: the copy will not learn any more who owns the row.  Answered with what to do, and true. */
static bool has_stopped(struct rows_request *r)
{
	struct engine_health health = { 0 };
	const char *why = engine_why(group_engine(r->http->group), NULL, &health);

	if (why)
		fail(r, PUT_UNAVAILABLE, why);
	return why;
}

bool rows_forward(struct rows_request *r)
{
	struct members *members = group_members(r->http->group);
	uint32_t shard = row_shard(r->put.row, group_shards(r->http->group));
	const struct member_info *owner = members ? members_owner(members, shard) : NULL;

	if (r->forwarded || too_late(r))
		return false;
	if (has_stopped(r))
		return true;
	if (owner && r->http->others && !owner->suspected && strcmp(owner->id, r->http->member) != 0 &&
	    (rows_send(r, owner) || take_there(r, owner)))
		return true;
	park(r);
	return true;
}

/* --------------------------------------------------------------------- origin */

bool rows_is_member(struct rows_http *http, const char *address)
{
	struct members *members = group_members(http->group);
	const struct member_info *info;

	for (size_t i = 0; members && (info = members_at(members, i)); i++) {
		const char *at = strstr(info->url, address);

		if (at && (at == info->url || strchr("/[", at[-1])) && strchr(":]/", at[strlen(address)]))
			return true;
	}
	return false;
}

void rows_origin(struct rows_request *r)
{
	struct mp_str origin;

	if (!http_header(r->req, "Middlepipe-Forwarded", &origin))
		return;
	r->forwarded = true;
	if (origin.len && origin.len <= CELL_ORIGIN_MAX && rows_is_member(r->http, http_peer(r->req)))
		r->put.origin = origin;
}

/* ----------------------------------------------------------------------- pings */

#define ALIVE "alive" /* how the answer of rows_alive() begins */

struct ping {
	struct rows_http *http;
	char id[ROW_TENANT_MAX + 1];
	uint64_t nonce;                  /* of the process that is meant */
	char said[sizeof(ALIVE) - 1];    /* the first bytes of the answer */
	size_t n_said;                   /* of them */
	bool other;                      /* it named another process */
};

static bool on_ping_data(void *ctx, struct mp_str bytes)
{
	struct ping *ping = ctx;

	for (size_t i = 0; i < bytes.len && ping->n_said < sizeof(ping->said); i++)
		ping->said[ping->n_said++] = bytes.ptr[i];
	return true;
}

static void on_ping_field(void *ctx, struct mp_str name, struct mp_str value)
{
	struct ping *ping = ctx;
	uint64_t nonce;

	if (slice_eq_nocase(name, MP_LIT(ROWS_PROCESS_FIELD)))
		ping->other |= !hex_number(slice_trim(value), 16, &nonce) || nonce != ping->nonce;
}

/* Only what the process itself can say is a sign of its life; an older program does not name itself. */
static enum pong judge(const struct ping *ping, const struct http_multi_end *end)
{
	if (!end->status)
		return end->refused ? PONG_REFUSED : PONG_SILENT;
	if (end->status == 421 || ping->other)
		return PONG_REFUSED; /* for certain it is not there */
	if (end->status == 200)
		return slice_eq(slice_make(ping->said, ping->n_said), MP_LIT(ALIVE)) ? PONG_ALIVE : PONG_SILENT;
	return end->status == 503 ? PONG_BUSY : PONG_SILENT;
}

/* Said once, since it is suspected from then on. */
static void warn_misdirected(const struct rows_http *http, const struct ping *ping)
{
	const struct member_info *info;

	for (size_t i = 0; (info = members_at(group_members(http->group), i)); i++)
		if (info->nonce == ping->nonce && !info->suspected && !strcmp(info->id, ping->id))
			log_warn("another process answers at a member's address", "member=%s url=%s", info->id,
				 LOG_STR(info->url));
}

static void on_ponged(void *ctx, const struct http_multi_end *end)
{
	struct ping *ping = ctx;
	struct members *members = ping->http->group ? group_members(ping->http->group) : NULL;

	if (members && (end->status == 421 || ping->other))
		warn_misdirected(ping->http, ping);
	if (members)
		members_pong(members, ping->id, ping->nonce, judge(ping, end));
	free(ping);
}

void rows_ping(struct rows_http *http, const char *id, uint64_t nonce, const char *url)
{
	struct ping *ping = calloc(1, sizeof(*ping));
	const struct http_multi_calls calls = { on_ping_data, on_ponged, on_ping_field, ping };
	const char *fields[ROWS_MEANT_FIELDS + 1] = { NULL };
	struct http_multi_request request = { .timeout_ms = MEMBER_PING_MS, .fields = fields };
	struct rows_meant meant;
	struct buf text;

	rows_meant(http, nonce, &meant, fields);
	buf_init(&text, MEMBER_URL_MAX + 16);
	if (ping && !buf_printf(&text, "%s/healthz", url)) {
		ping->http = http;
		ping->nonce = nonce;
		(void)snprintf(ping->id, sizeof(ping->id), "%s", id);
		request.url = buf_str(&text);
	}
	if (!request.url || !http_multi_start(http->others, &request, &calls)) {
		free(ping);
		members_pong(group_members(http->group), id, nonce, PONG_SILENT);
	}
	buf_fini(&text);
}
