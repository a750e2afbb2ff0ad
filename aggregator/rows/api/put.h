/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change of a row on its way from a client to the owner: put.c reads and
 * answers it, forward.c takes it to the member that owns the row, most of them
 * through send.c, and receive.c takes them in there.
 */
#ifndef AGGREGATOR_ROWS_API_PUT_H
#define AGGREGATOR_ROWS_API_PUT_H

#include "aggregator/rows/api/api.h"
#include "aggregator/rows/members.h"
#include "lib/http_multi.h"

#define FORWARD_FIELDS (7 + ROWS_MEANT_FIELDS)

struct rows_request {
	struct put put;           /* what it asks for; its texts are the request's */
	struct http_req *req;
	struct rows_http *http;
	struct mp_str *content;   /* owned: where each cell's bytes are */
	struct mp_str single;     /* that of one cell */
	struct buf bytes;         /* decoded, when they came in base64 */
	bool forwarded;           /* another member sent it here */

	/* For forward.c. */
	struct list parked;       /* in http->parked while it waits for an owner, or for a way to it */
	struct http_task *task;   /* under way at the owner; or NULL */
	struct buf answer;        /* what comes from there */
	char base[64];            /* fields of that answer; "" for none */
	char retry_after[16];
	char type[64];
	char owner[MEMBER_URL_MAX + 1]; /* who has answered; "": this member */
};

/* Answers, and the request has gone. */
void rows_request_fail(struct rows_request *r, const struct put_answer *answer);
void rows_request_relay(struct rows_request *r, int status, const struct http_field *fields,
			struct buf *body);

/* "incarnation:seq", "incarnation:-" or "-:0" */
const char *rows_base_text(const struct base *base, char out[48]);

/*
 * The shard is another member's, or nobody's: takes the put there, or waits for
 * an owner until its deadline; it is answered when the engine has stopped for
 * good. False: it is not to be, because it was forwarded before, or is too late.
 */
bool rows_forward(struct rows_request *r);

/* It was not attempted: it waits for an owner as above, or fails for that reason when it is too late. */
void rows_request_retry(struct rows_request *r, const char *why);

/* There is no right to it.  Answers, and the request has gone. */
void rows_request_deny(struct rows_request *r);

/* Is that the address of a member? */
bool rows_is_member(struct rows_http *http, const char *address);

/* send.c: takes it to that member with others; false: it has to go by itself. */
bool rows_send(struct rows_request *r, const struct member_info *owner);

/* Sends what has gathered; true: some has to wait. */
bool rows_send_parcels(struct rows_http *http);

/* receive.c: sends the answers that have gathered. */
void rows_send_answers(struct rows_http *http);

/* Both happen when the loop has done what there is to do just now. */
void rows_turn(struct rows_http *http);

/* Whose put it is: the client's address, or what the forwarding member says. */
void rows_origin(struct rows_request *r);

#endif
