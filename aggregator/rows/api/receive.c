/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parcels of puts from other members (parcel.h): each put is judged as if its
 * client had come here, with the rights that the request has.
 *
 * What is answered in one turn of the loop goes out together.  Most parcels are answered
 * at once; when a put has to wait, the answers become a stream, so that
 * the others do not wait with it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "aggregator/rows/api/put.h"
#include "aggregator/rows/parcel.h"
#include "lib/clock.h"
#include "lib/slice.h"
#include "lib/utf8.h"

#define ANSWERS_MAX ((size_t)1 << 20) /* bytes: PARCEL_MAX of the longest */

struct received;

/* A put of a parcel. */
struct received_put {
	struct put put;           /* its texts lie in the parcel, or its origin in parcel->peer */
	struct mp_str content;    /* its cell */
	struct received *parcel;
};

/* A parcel that is not answered yet. */
struct received {
	struct rows_http *http;
	struct http_req *req;     /* NULL: nobody waits for answers any more */
	struct list link;         /* in http->received while there are answers to be sent */
	struct buf bytes;         /* the parcel */
	struct buf answers;       /* that were not sent */
	size_t left;              /* puts that have no answer yet */
	bool streaming;           /* the first answers have been sent */
	char peer[CELL_ORIGIN_MAX + 1]; /* whose puts they are, when no member says so */
	struct received_put puts[]; /* in its order */
};

/* --------------------------------------------------------------------- answers */

static const struct http_field fields[] = { { "Content-Type", "application/octet-stream" }, { NULL, NULL } };

static void hang_up(struct received *in)
{
	http_stream_end(in->req, MP_LIT(""));
	in->req = NULL;
}

/* Some have to wait. */
static void send_some(struct received *in)
{
	int rc = in->streaming ? 0 : http_stream_open(in->req, 200, fields);

	in->streaming = true;
	if (rc || in->answers.error || http_stream_write(in->req, buf_slice(&in->answers)))
		hang_up(in);
	buf_reset(&in->answers);
}

static void finish(struct received *in)
{
	if (in->req && in->streaming && !in->answers.error)
		http_stream_end(in->req, buf_slice(&in->answers));
	else if (in->req && in->streaming)
		hang_up(in);
	else if (in->req)
		http_answer_buf(in->req, 200, fields, &in->answers);
	list_remove(&in->link);
	buf_fini(&in->answers);
	buf_fini(&in->bytes);
	free(in);
}

void rows_send_answers(struct rows_http *http)
{
	LIST_FOR_EACH_SAFE(link, &http->received) {
		struct received *in = LIST_ENTRY_OF(link, struct received, link);

		list_remove(&in->link);
		if (!in->left)
			finish(in);
		else if (in->req)
			send_some(in);
	}
}

static void answer(struct received_put *p, const struct put_answer *text, int code)
{
	struct received *in = p->parcel;

	in->left--;
	if (in->req)
		(void)parcel_add_answer(&in->answers, (uint32_t)(p - in->puts), text, code); /* seen when it is sent */
	if (list_empty(&in->link))
		list_push_back(&in->http->received, &in->link);
	rows_turn(in->http);
}

static void on_done(struct put *put, const struct put_answer *got)
{
	answer((struct received_put *)(void *)((char *)put - offsetof(struct received_put, put)), got, (int)got->code);
}

/* --------------------------------------------------------------------- requests */

/* How many puts there are; 0: it is no parcel. */
static size_t count(struct mp_str rest)
{
	struct mp_str content;
	struct put put;
	uint32_t left;
	size_t n = 0;
	int rc;

	while ((rc = parcel_next(&rest, &put, &content, &left)) == 1 && n < PARCEL_MAX)
		n++;
	return rc == 0 ? n : 0;
}

static struct received *received_new(struct rows_http *http, struct http_req *req)
{
	size_t n = count(http_body(req));
	struct received *in;

	if (!n || !group_owner(http->group)) {
		if (n) /* 421 and not 503: nothing was attempted, for certain */
			http_answer_error(req, 421, "unavailable", "it has not read its rows yet");
		else
			http_answer_error(req, 400, "bad_request", "not a parcel of puts");
		return NULL;
	}
	in = calloc(1, sizeof(*in) + n * sizeof(in->puts[0]));
	if (!in) {
		http_answer_error(req, 421, "unavailable", "out of memory");
		return NULL;
	}
	in->http = http;
	in->req = req;
	in->left = n;
	(void)snprintf(in->peer, sizeof(in->peer), "%s", http_peer(req));
	list_init(&in->link);
	buf_init(&in->answers, ANSWERS_MAX);
	http_take_body(req, &in->bytes);
	return in;
}

static void take(struct received *in, struct received_put *p, uint32_t left_ms, bool from_member)
{
	struct rows_http *http = in->http;
	uint64_t most = left_ms * NS_PER_MS;
	struct err err = { 0 };

	p->put.content = &p->content;
	p->put.done = on_done;
	p->put.deadline = group_now(http->group) + (most < http->put_ns ? most : http->put_ns);
	if (!from_member)
		p->put.origin = slice_of(in->peer); /* puts outlive their request */
	if (row_name_check(p->put.row, &err) < 0 || !utf8_is_plain(p->put.key) ||
	    !http_may(in->req, RIGHT_PUT, p->put.row))
		answer(p, &(struct put_answer){ .why = "" }, PARCEL_DENIED);
	else if (p->content.len > http->cell_max)
		answer(p, &(struct put_answer){ .why = "larger than the row's owner takes" }, PUT_TOO_LARGE);
	else
		group_put(http->group, &p->put);
}

void rows_put_parcel(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	bool from_member = rows_is_member(http, http_peer(req));
	struct received *in = NULL;
	struct mp_str rest;
	uint32_t left_ms;

	if (rows_is_meant(http, req) && rows_may_somewhere(req, RIGHT_PUT) && rows_query_only(req, ""))
		in = received_new(http, req);
	if (!in)
		return;
	rest = buf_slice(&in->bytes);
	for (struct received_put *p = in->puts; parcel_next(&rest, &p->put, &p->content, &left_ms) == 1; p++) {
		p->parcel = in;
		take(in, p, left_ms, from_member);
	}
}
