/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of rows: ETTM's table for any program with a libuv loop, over the
 * HTTP API of mp-aggregator (docs/rows-api.md).
 *
 * It knows several members, goes to the one that is said to order a row, sends a
 * put again with the same idempotency key and base until what has become of it is
 * known, and resumes a subscription at another member behind the last cell.
 *
 * ETTM's calls and ours:
 *
 *   put                        rows_client_put()
 *   get                        rows_client_get()
 *   subscribe, unsubscribe     rows_client_subscribe(), rows_client_unsubscribe()
 *   notify                     an upcall there, and here: calls->cell of a subscription
 *   join, leave                a node joins the readers of a row and leaves them:
 *                              rows_client_join() is a subscription from now on (members of
 *                              the group itself join by a token, not by this)
 *   highest_sequence_number    rows_client_highest_sequence_number()
 *   set_semantic_check_policy  rows_client_set_semantic_check_policy()
 *   check                      an upcall there.  Here an aggregator half judges at the owner
 *                              (include/middlepipe/aggregator.h), and a put that it does not allow
 *                              is ROWS_REFUSED; rows_client_check() asks whether it would be
 *   delete                     rows_client_delete()
 *
 * Puts under way at once may be committed in any order: who wants an order puts
 * the next one when the one before is done.
 *
 * One thread, the loop's.  Callbacks come from the loop, never from within a
 * call; they may call anything here, rows_client_close() included.  What they are
 * given is borrowed until they return.
 */
#ifndef LIB_ROWS_CLIENT_H
#define LIB_ROWS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/rows_retry.h"
#include "middlepipe/types.h"

#define ROWS_CELLS_MAX 4096                  /* of one put */
#define ROWS_CELL_BYTES_MAX ((size_t)1 << 20)
#define ROWS_BASE_SIZE 48                    /* text of a base and its NUL */
#define ROWS_KEY_MAX 64                      /* bytes of an idempotency key */

struct rows_client;       /* a client */
struct rows_subscription; /* what one subscriber gets */

/* An attempt of a put, about to be sent or over: for logs, and tests that keep a history. */
struct rows_attempt {
	void *ctx;          /* of the put's done() */
	uint32_t number;    /* from 1 */
	const char *url;    /* of the member */
	const char *key;    /* idempotency key */
	const char *base;   /* that is sent; "": none */
	bool over;          /* the rest is its end */
	int status;         /* of its answer; 0: none */
	bool sent;          /* without an answer: it may have left */
	const char *stamped; /* base that its answer tells; "": none */
	uint64_t incarnation, seq; /* with status 200 and 201 */
};

/* 0 in a number is its default.  All is copied. */
struct rows_client_options {
	const char *const *urls; /* of members, http or https; more may be learned */
	size_t n_urls;           /* 1..ROWS_MEMBERS_MAX */
	const char *token;       /* bearer token; NULL: none */
	const char *ca;          /* file with the authorities of https; NULL: the system's */
	const char *cert;        /* file with the client's certificate; NULL: none */
	const char *key;         /* file with its key */
	uint64_t timeout_ms;     /* a request's deadline; default 30 s */
	uint64_t attempt_ms;     /* then it is tried elsewhere; default 2 s */
	uint64_t open_ms;        /* greatest time in which an attempt may still be applied; default 10 s,
				    twice the put-time of mp-aggregator */
	size_t requests_max;     /* under way at once; default 1024 */
	void (*attempt)(void *ctx, const struct rows_attempt *attempt); /* NULL: nobody looks */
	void *ctx;               /* of attempt() */
};

/* A cell. */
struct rows_cell {
	struct mp_str row;    /* its name */
	uint64_t incarnation; /* of the row */
	uint64_t seq;         /* from 1 */
	uint8_t kind;         /* as in mp_cell_kind of the aggregator: 1 data */
	uint64_t time_ms;     /* since 1970 */
	struct mp_str key;    /* idempotency key of its put */
	struct mp_str origin; /* who put it */
	struct mp_str content;
};

/* What has become of a request; numbers that are not known are 0. */
struct rows_answer {
	enum rows_outcome outcome;
	int status;                /* of the answer that decided; 0: none did */
	uint64_t incarnation;      /* of the row */
	uint64_t seq;              /* put: of its first cell; check: the one that it would have */
	uint64_t highest, floor;   /* of the row */
	const struct rows_cell *cells; /* get: seq, latest, range */
	size_t n;                  /* of them */
	const char *check;         /* name of the row's check, where a row was asked for or a proposal; else "" */
	const char *code;          /* of a refusal, as docs/rows-api.md has it; "" */
	const char *why;           /* for people; "" */
	const char *key, *base;    /* put: with these it may be put again; "" otherwise */
	uint32_t attempts;         /* that were made */
};

typedef void rows_done_fn(void *ctx, const struct rows_answer *answer);

/* 0; -EINVAL (err says what), -ENOMEM. */
int rows_client_open(uv_loop_t *loop, const struct rows_client_options *options, struct rows_client **ret,
		     struct err *err);

/*
 * Ends everything.  done() of what is under way is called from within, with
 * ROWS_UNKNOWN or ROWS_UNAVAILABLE; subscriptions are called no more.  closed(ctx)
 * comes from the loop, then it is gone.
 */
void rows_client_close(struct rows_client *client, void (*closed)(void *ctx), void *ctx);

/* --------------------------------------------------------------------- requests */

/* Everything is copied. */
struct rows_put {
	struct mp_str row;          /* made when it is not there */
	const struct mp_str *cells; /* put at consecutive seqs, or none of them */
	size_t n;                   /* 1..ROWS_CELLS_MAX */
	const char *key;            /* 1..64 printable bytes; NULL: drawn */
	const char *base;           /* of an earlier put with that key; NULL: learned */
	bool has_if_match;          /* only while the highest seq is ... */
	uint64_t if_match;          /* ... this */
	uint64_t timeout_ms;        /* 0: the client's */
};

/*
 * Each: 0, and done(ctx) comes once; -EINVAL (err says what), -E2BIG, -EAGAIN (too
 * many are under way, or the client is being closed) or -ENOMEM, and it does not come.
 */
int rows_client_put(struct rows_client *client, const struct rows_put *put, rows_done_fn *done, void *ctx,
		    struct err *err);

enum rows_want { ROWS_LATEST, ROWS_SEQ, ROWS_RANGE, ROWS_HIGHEST };

struct rows_get {
	struct mp_str row;
	enum rows_want want;
	uint64_t from;       /* SEQ: the seq; RANGE: the first, 0: the floor */
	uint64_t to;         /* RANGE: the last; 0: all there are */
	uint64_t limit;      /* RANGE: most cells, at most 1,000; 0: as many.  highest tells of more */
	bool stale;          /* what a member has will do; else all that was answered before is seen */
	uint64_t at_least;   /* wait for that seq; 0: no */
	uint64_t wait_ms;    /* for so long; at most 60,000 */
	uint64_t timeout_ms; /* 0: the client's, and wait_ms */
};

int rows_client_get(struct rows_client *client, const struct rows_get *get, rows_done_fn *done, void *ctx,
		    struct err *err);

/* incarnation, highest, floor, check of the row; ROWS_NOT_THERE. */
int rows_client_highest_sequence_number(struct rows_client *client, struct mp_str row, rows_done_fn *done, void *ctx,
					struct err *err);

/*
 * Would the row's owner put that now, behind what is committed and what is on its way?  Nothing
 * is stored.  ROWS_OK: it would; ROWS_REFUSED and why; ROWS_REJECTED, ROWS_UNAVAILABLE, never
 * ROWS_UNKNOWN.  Key and base of the proposal do not count.
 */
int rows_client_check(struct rows_client *client, const struct rows_put *proposal, rows_done_fn *done, void *ctx,
		      struct err *err);

/* From now on puts into the row are judged by that check; "": by none.  Only while it has no cell. */
int rows_client_set_semantic_check_policy(struct rows_client *client, struct mp_str row, struct mp_str check,
					  rows_done_fn *done, void *ctx, struct err *err);

/* Deletes the row with its cells.  It is not sent again when it may have been done: then ROWS_UNKNOWN. */
int rows_client_delete(struct rows_client *client, struct mp_str row, rows_done_fn *done, void *ctx,
		       struct err *err);

/* ---------------------------------------------------------------- subscriptions */

/* How far a row is. */
struct rows_beat {
	struct mp_str row;
	uint64_t incarnation, highest, floor;
};

/* Why a subscription has ended. */
struct rows_ended {
	enum rows_outcome outcome; /* GONE, NOT_THERE, REJECTED */
	uint64_t incarnation;      /* of the row as it is now; 0: there is none */
	uint64_t floor;            /* likewise */
	const char *why;           /* for people */
};

/* Each gets ctx.  Any but cell may be NULL. */
struct rows_subscribe_calls {
	/* ETTM's notify: each cell once, in the order of its row. */
	void (*cell)(void *ctx, const struct rows_cell *cell);
	void (*heartbeat)(void *ctx, const struct rows_beat *beat); /* `highest` of a subscription to one row never goes back */
	/*
	 * By prefix only: cells of that row below `floor` had gone before they came;
	 * it goes on from there.
	 */
	void (*missed)(void *ctx, struct mp_str row, uint64_t floor);
	/* It is over, and the subscription is gone: do not unsubscribe. */
	void (*ended)(void *ctx, const struct rows_ended *ended);
	void *ctx;
};

struct rows_subscribe {
	struct mp_str name;    /* of the row, or what rows' names begin with */
	bool by_prefix;        /* all rows that begin so, each from its floor */
	uint64_t from;         /* first seq; 0: the floor */
	uint64_t incarnation;  /* of that life of the row only, in which all cells before `from` were there (if they are
				  not any more it ends with GONE); 0: of the one that is there */
	bool wait;             /* a row that is not there is waited for; else NOT_THERE */
	uint64_t heartbeat_ms; /* 100..60,000; 0: 5 s.  After two and a half it goes on at another member */
};

/* 0 and *ret; -EINVAL (err says what; also while the client is being closed), -ENOMEM. */
int rows_client_subscribe(struct rows_client *client, const struct rows_subscribe *subscribe,
			  const struct rows_subscribe_calls *calls, struct rows_subscription **ret, struct err *err);

/* Its calls are made no more.  NULL is allowed. */
void rows_client_unsubscribe(struct rows_subscription *subscription);

/* Cells that are put from now on; a row that is not there is waited for. */
int rows_client_join(struct rows_client *client, struct mp_str row, const struct rows_subscribe_calls *calls,
		     struct rows_subscription **ret, struct err *err);

/* Ends what join began. */
void rows_client_leave(struct rows_subscription *subscription);

#endif
