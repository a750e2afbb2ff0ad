/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts to the members that own their rows, as parcels (parcel.h): those of one turn of
 * the loop that go the same way, in one request.  While PARCELS_MAX are on
 * their way to a member, the next ones gather.
 *
 * A way is a member and who asks: the client's own token goes along, so that nobody
 * gets by a member what he would not get at the owner.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/put.h"
#include "aggregator/rows/parcel.h"
#include "lib/clock.h"
#include "lib/slice.h"

#define PARCELS_MAX 6         /* that have no answer yet; those of one cohort of clients come in a few turns of the loop */
#define WAIT_NS (20 * NS_PER_MS) /* who waits longer for a way looks for another */
#define TOKEN_MAX 512         /* bytes of an Authorization field; longer ones go by themselves */
#define LEAST_NS (5 * NS_PER_MS) /* left of its time, else it is not worth the way */
#define ANSWER_MAX ((size_t)1 << 20)

/* A way to a member. */
struct way {
	struct list link;        /* in http->ways */
	struct rows_http *http;
	char url[MEMBER_URL_MAX + 1]; /* of the member */
	uint64_t nonce;          /* of its process */
	char token[TOKEN_MAX];   /* Authorization of those who go it; "" for none */
	struct list waiting;     /* struct rows_request, by `parked` */
	uint64_t since;          /* ns; when the first of them came */
	unsigned busy;           /* parcels without any answer */
	unsigned under_way;      /* parcels in all */
};

/* A parcel under way. */
struct sent {
	struct way *way;
	struct http_task *task;
	struct buf body;         /* what is sent */
	struct buf answers;      /* what has come and is not whole yet */
	bool heard;              /* the first answer has come */
	size_t n, room;          /* puts, and places for them */
	struct rows_request *puts[]; /* by their number; NULL: answered */
};

/* --------------------------------------------------------------------- answers */

static void way_try_free(struct way *way)
{
	if (way->under_way || !list_empty(&way->waiting))
		return;
	list_remove(&way->link);
	free(way);
}

static void not_busy(struct sent *s)
{
	if (!s->heard)
		s->way->busy--;
	s->heard = true;
	rows_turn(s->way->http); /* the next may go */
}

static bool take_answer(struct sent *s, const struct parcel_answer *a)
{
	struct rows_request *r = a->which < s->n ? s->puts[a->which] : NULL;

	if (!r)
		return false;
	s->puts[a->which] = NULL;
	if (a->denied) {
		rows_request_deny(r);
	} else if (a->answer.code == PUT_ELSEWHERE) {
		rows_request_retry(r, "the row has no owner that can be reached");
	} else {
		(void)snprintf(r->owner, sizeof(r->owner), "%s", s->way->url);
		r->put.done(&r->put, &a->answer);
	}
	return true;
}

static bool on_data(void *ctx, struct mp_str bytes)
{
	struct sent *s = ctx;
	struct parcel_answer a;
	struct mp_str rest;
	int rc = 0;

	if (http_task_status(s->task) != 200)
		return true; /* a text for people: nothing was attempted */
	not_busy(s);
	if (buf_add_slice(&s->answers, bytes))
		return false;
	rest = buf_slice(&s->answers);
	while ((rc = parcel_next_answer(&rest, &a)) == 1)
		if (!take_answer(s, &a))
			return false;
	buf_consume(&s->answers, s->answers.len - rest.len);
	return rc == 0;
}

/* 401 without a token is of this member's certificate: the client may have every right. */
static bool is_denied(const struct way *way, int status)
{
	return status == 403 || (status == 401 && way->token[0]);
}

static void on_over(void *ctx, const struct http_multi_end *end)
{
	struct sent *s = ctx;
	struct way *way = s->way;
	/* What was sent may have been done, unless it was refused as a whole; 503 can come behind that. */
	bool refused = end->status >= 400 && end->status < 500;
	bool unknown = end->status ? !refused : end->sent;

	not_busy(s);
	for (size_t i = 0; i < s->n; i++) {
		const struct put_answer lost = { .code = PUT_UNKNOWN, .why = "the row's owner has not answered" };

		if (s->puts[i] && is_denied(way, end->status))
			rows_request_deny(s->puts[i]); /* it may put nothing there at all */
		else if (s->puts[i] && unknown)
			rows_request_fail(s->puts[i], &lost);
		else if (s->puts[i])
			rows_request_retry(s->puts[i], "the row has no owner that can be reached");
	}
	buf_fini(&s->body);
	buf_fini(&s->answers);
	free(s);
	way->under_way--;
	way_try_free(way);
}

/* --------------------------------------------------------------------- sending */

static bool start(struct sent *s, long timeout_ms)
{
	const struct http_multi_calls calls = { on_data, on_over, NULL, s };
	struct way *way = s->way;
	char url[MEMBER_URL_MAX + 32], token[TOKEN_MAX + 32];
	const char *fields[ROWS_MEANT_FIELDS + 3] = { NULL };
	struct rows_meant meant;
	struct http_multi_request request = { .method = "POST", .url = url, .fields = fields,
					      .body = buf_slice(&s->body), .timeout_ms = timeout_ms };

	(void)snprintf(url, sizeof(url), "%s/v1/parcels", way->url);
	(void)snprintf(token, sizeof(token), "Authorization: %s", way->token);
	rows_meant(way->http, way->nonce, &meant, fields);
	fields[ROWS_MEANT_FIELDS] = "Content-Type: application/octet-stream";
	fields[ROWS_MEANT_FIELDS + 1] = way->token[0] ? token : NULL;
	s->task = http_multi_start(way->http->others, &request, &calls);
	return s->task;
}

/* How many wait, as far as one parcel takes them: most of the time they are few. */
static size_t count_waiting(const struct way *way)
{
	size_t n = 0;

	for (const struct list *link = way->waiting.next; link != &way->waiting && n < PARCEL_MAX; link = link->next)
		n++;
	return n;
}

/* What waits, as far as one parcel takes it; returns the longest time that any has left, in ms. */
static long fill(struct sent *s)
{
	struct way *way = s->way;
	uint64_t now = group_now(way->http->group);
	long most = 1;

	while (s->n < s->room && s->body.len < PARCEL_BYTES && !list_empty(&way->waiting)) {
		struct rows_request *r = LIST_ENTRY_OF(list_pop_front(&way->waiting), struct rows_request, parked);
		uint64_t left = r->put.deadline > now ? r->put.deadline - now : 0;

		if (left < LEAST_NS || parcel_add(&s->body, &r->put, (uint32_t)(left / NS_PER_MS))) {
			rows_request_retry(r, "not done in time, and not attempted");
			continue;
		}
		if ((long)(left / NS_PER_MS) + 1 > most)
			most = (long)(left / NS_PER_MS) + 1;
		s->puts[s->n++] = r;
	}
	return most;
}

/* False without memory: they wait on, and look for another way in time. */
static bool send_parcel(struct way *way)
{
	size_t room = count_waiting(way);
	struct sent *s = calloc(1, sizeof(*s) + room * sizeof(s->puts[0]));
	long timeout_ms;

	if (!s)
		return false;
	s->way = way;
	s->room = room;
	buf_init(&s->body, ROWS_REQUEST_MAX);
	buf_init(&s->answers, ANSWER_MAX);
	timeout_ms = fill(s);
	if (s->n && start(s, timeout_ms)) {
		way->busy++;
		way->under_way++;
		return true;
	}
	for (size_t i = 0; i < s->n; i++)
		rows_request_retry(s->puts[i], "out of memory");
	buf_fini(&s->body);
	free(s);
	return true;
}

/* It takes too long here: the row may have another owner by now. */
static void look_elsewhere(struct way *way)
{
	while (!list_empty(&way->waiting))
		rows_request_retry(LIST_ENTRY_OF(list_pop_front(&way->waiting), struct rows_request, parked),
				   "the row's owner is slow");
}

bool rows_send_parcels(struct rows_http *http)
{
	uint64_t now = group_now(http->group);
	bool left = false;

	LIST_FOR_EACH_SAFE(link, &http->ways) {
		struct way *way = LIST_ENTRY_OF(link, struct way, link);

		while (way->busy < PARCELS_MAX && !list_empty(&way->waiting) && send_parcel(way))
			way->since = now;
		if (!list_empty(&way->waiting) && now - way->since > WAIT_NS)
			look_elsewhere(way);
		left |= !list_empty(&way->waiting);
		way_try_free(way);
	}
	return left;
}

static struct way *way_to(struct rows_http *http, const struct member_info *owner, struct mp_str token)
{
	char text[TOKEN_MAX];
	struct way *way;

	(void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(token));
	LIST_FOR_EACH(link, &http->ways) {
		way = LIST_ENTRY_OF(link, struct way, link);
		if (way->nonce == owner->nonce && !strcmp(way->token, text) && !strcmp(way->url, owner->url))
			return way;
	}
	way = calloc(1, sizeof(*way));
	if (!way)
		return NULL;
	way->http = http;
	list_init(&way->waiting);
	way->nonce = owner->nonce;
	(void)snprintf(way->url, sizeof(way->url), "%s", owner->url);
	(void)snprintf(way->token, sizeof(way->token), "%s", text);
	list_push_back(&http->ways, &way->link);
	return way;
}

bool rows_send(struct rows_request *r, const struct member_info *owner)
{
	struct mp_str token = { 0 }, other;
	struct way *way;

	(void)http_header(r->req, "Authorization", &token);
	if (r->put.kind != PUT_CELLS || r->put.dry || r->put.n != 1 || r->put.content != &r->single ||
	    r->single.len > PARCEL_CONTENT_MAX || token.len >= TOKEN_MAX || memchr(token.ptr ? token.ptr : "", '\0', token.len) ||
	    http_header(r->req, "Middlepipe-Cell-Kind", &other))
		return false;
	way = way_to(r->http, owner, token);
	if (!way)
		return false;
	if (list_empty(&way->waiting))
		way->since = group_now(r->http->group);
	list_push_back(&way->waiting, &r->parked);
	rows_turn(r->http);
	return true;
}
