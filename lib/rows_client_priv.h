/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the client of rows share (see rows_client.h); its names begin with rowc_, as
 * those of rows_... in the aggregator are others:
 *
 *   rows_client.c     the client itself: members, what it knows of rows, time
 *   rows_request.c    any request: its attempts, over rows_retry.h and http_multi.h
 *   rows_put.c        puts
 *   rows_get.c        reads, policies, deletion
 *   rows_read.c       what answers say
 *   rows_subscribe.c  subscriptions, over rows_frames.h
 *
 * All in the loop's thread.
 */
#ifndef LIB_ROWS_CLIENT_PRIV_H
#define LIB_ROWS_CLIENT_PRIV_H

#include "lib/buf.h"
#include "lib/http_multi.h"
#include "lib/list.h"
#include "lib/map.h"
#include "lib/rows_client.h"

#define ROWS_URL_MAX 256     /* bytes of a member's URL */
#define ROWS_TARGET_MAX 2048 /* bytes of a request's URL: a name is 768 when it is escaped */
#define ROWS_LINE_MAX 128    /* bytes of a field that a request has for itself */
#define ROWS_FIELDS_MAX 4    /* of them */

/* Something that is to happen at a time. */
struct rowc_waiter {
	struct list link;                        /* in client->waiting; to itself: it waits for nothing */
	uint64_t due;                            /* ms of the loop */
	void (*fire)(struct rowc_waiter *waiter);
};

struct rows_client {
	uv_loop_t *loop;            /* borrowed */
	uv_timer_t timer;           /* for waiting */
	uint64_t armed;             /* when it rings; UINT64_MAX: never */
	struct list waiting;        /* struct rowc_waiter */
	struct http_multi *http;    /* owned */
	struct rows_client_options options; /* its texts are the next ones */
	char *ca, *cert, *key;      /* owned */
	struct buf authorization;   /* the field's line; empty: none */
	char *urls[ROWS_MEMBERS_MAX]; /* owned; of the members */
	struct rows_members members; /* how they are, in the same order */
	struct map known;           /* struct rowc_known by the row's name; owned */
	struct list requests;       /* under way */
	size_t n_requests;          /* of them */
	struct list subscriptions;
	struct list ready;          /* of them those with bytes to look at */
	uint64_t seed;              /* of chance that nobody has to be kept from guessing */
	size_t handles;             /* that are not closed */
	void (*closed)(void *ctx);  /* not NULL: it is being closed */
	void *closed_ctx;
};

/* What answers told of a row. */
struct rowc_known {
	uint64_t incarnation, highest; /* 0, 0: nothing */
	uint64_t at;                   /* when, ms of the loop */
	size_t owner;                  /* the member that orders it, or ROWS_NOBODY */
};

/* The fields of an answer's head that anybody asks for; "" without them, or when they are too long. */
struct rowc_head {
	char base[ROWS_BASE_SIZE];
	char retry_after[12];
	char owner[ROWS_URL_MAX];
	char etag[24], incarnation[24], time[24], highest[24], kind[16];
	char key[200], origin[800]; /* percent-encoded */
};

/* A request that is written. */
struct rowc_wire {
	const char *method;  /* NULL: GET, or POST with a body */
	struct buf target;   /* path and query; empty and escaped into by write() */
	char lines[ROWS_FIELDS_MAX][ROWS_LINE_MAX]; /* fields */
	size_t n_lines;
	struct mp_str body;  /* ptr NULL: none */
	bool fresh;          /* must not be sent twice by libcurl */
};

struct rowc_request;

/* What distinguishes requests. */
struct rowc_request_kind {
	enum rows_retry_kind retry;
	bool traced; /* for options.attempt() */
	void (*write)(const struct rowc_request *r, struct rowc_wire *out);
	int (*read)(struct rowc_request *r, struct rows_answer *ret); /* of 200 and 201; 0 or -EPROTO */
	void (*told)(struct rowc_request *r, int status); /* before it is judged; NULL: no need */
	/* It has ended.  NULL: rowc_request_finish(). */
	void (*over)(struct rowc_request *r, struct rows_answer *answer);
};

struct rowc_request {
	struct list link;               /* in client->requests */
	struct rowc_waiter waiter;      /* for its next attempt */
	struct rows_client *client;
	const struct rowc_request_kind *kind;
	struct rows_retry retry;
	struct http_task *task;         /* an attempt under way */
	struct rowc_head head;          /* of its answer */
	struct buf reply;               /* its body */
	struct buf row;                 /* name */
	struct buf body;                /* that is sent */
	rows_done_fn *done;
	void *ctx;                      /* of done() */
	struct rows_get get;            /* reads; its row is the one above */
	size_t n;                       /* cells that are put */
	char base[ROWS_BASE_SIZE];      /* puts: "": not known */
	char idempotency[ROWS_KEY_MAX + 1]; /* key of a put */
	bool base_given;                /* by the caller */
	unsigned renewed;               /* times that another base was learned because the row is another one */
	bool has_if_match;              /* as in struct rows_put */
	uint64_t if_match;
	char check[64];                 /* what an answer says */
	struct buf code, why;           /* likewise, of a refusal */
	struct rows_cell *cells;        /* that were read; owned */
	struct buf bytes;               /* of them */
};

/* The struct that contains the waiter. */
#define ROWC_OF(waiter, type, member) LIST_ENTRY_OF(waiter, type, member)

/* ------------------------------------------------------------------ rows_client.c */

uint64_t rowc_now(const struct rows_client *client);
uint32_t rowc_chance(struct rows_client *client);

/* Fires at `due`, from the loop; in place of what it waited for. */
void rowc_wait(struct rows_client *client, struct rowc_waiter *waiter, uint64_t due);

/* What is known of the row, or NULL. */
struct rowc_known *rowc_known(const struct rows_client *client, struct mp_str row);
void rowc_learn(struct rows_client *client, struct mp_str row, uint64_t incarnation, uint64_t highest);
void rowc_learn_owner(struct rows_client *client, struct mp_str row, const char *url);
void rowc_forget(struct rows_client *client, struct mp_str row);

/* 1 to 256 bytes without control characters; the member knows the rest. */
int rowc_name_check(struct mp_str row, struct err *err);

/* ----------------------------------------------------------------- rows_request.c */

/* NULL without memory, or when there are too many: *ret_rc says which. */
struct rowc_request *rowc_request_new(struct rows_client *client, const struct rowc_request_kind *kind,
				      struct mp_str row, rows_done_fn *done, void *ctx, int *ret_rc);

/* Its first attempt follows, from the loop.  timeout_ms 0: the client's; more_ms: what it takes at least. */
void rowc_request_start(struct rowc_request *r, uint64_t timeout_ms, uint64_t more_ms);

/* Goes on as another kind, with the deadline it has. */
void rowc_request_become(struct rowc_request *r, const struct rowc_request_kind *kind);

/* Tells the outcome; it is gone. */
void rowc_request_finish(struct rowc_request *r, struct rows_answer *answer);

/* Nobody is told; NULL is allowed.  Not from its own callbacks. */
void rowc_request_cancel(struct rowc_request *r);

/* The client ends: tells what is known by now. */
void rowc_request_abandon(struct rowc_request *r);

void rowc_request_free(struct rowc_request *r);

/* "/v1/rows/NAME", and what follows. */
void rowc_add_path(struct buf *out, struct mp_str row, const char *rest);
void rowc_add_escaped(struct buf *out, struct mp_str text);
void rowc_add_field(struct rowc_wire *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* -------------------------------------------------------------------- rows_read.c */

/* The answer's body or head as the kinds have them: 0 or -EPROTO. */
int rowc_read_row(struct rowc_request *r, struct rows_answer *ret);
int rowc_read_put(struct rowc_request *r, struct rows_answer *ret);
int rowc_read_check(struct rowc_request *r, struct rows_answer *ret);
int rowc_read_range(struct rowc_request *r, struct rows_answer *ret);
int rowc_read_cell(struct rowc_request *r, struct rows_answer *ret);

/* What an answer that is no success says of itself, as far as it does. */
void rowc_read_error(struct rowc_request *r, struct rows_answer *ret);

/* Keeps a field of the answer's head. */
void rowc_read_field(struct rowc_head *head, struct mp_str name, struct mp_str value);

/* "INCARNATION:SEQ", "INCARNATION:-", "-:0" */
bool rowc_base_ok(struct mp_str text);

/* --------------------------------------------------------------- rows_subscribe.c */

/* Looks at what has come, of all. */
void rowc_subscriptions_turn(struct rows_client *client);

/* All end, nobody is told. */
void rowc_subscriptions_drop(struct rows_client *client);

/* -------------------------------------------------------------------- rows_get.c */

extern const struct rowc_request_kind rowc_kind_row; /* GET of a row */

#endif
