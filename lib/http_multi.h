/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP requests on a libuv loop: libcurl's multi interface, many at a time, each
 * with a connection for itself while it lasts (HTTP/1.1), or many on one (HTTP/2).  For
 * programs that have a loop, and ask others: the etcd engine, the client of rows.  It
 * knows nothing of what is said.
 *
 * A request with a body is sent once or not at all: libcurl would send it again
 * when a kept connection turns out to be dead, and the server could get it twice.
 * Here the body can be read only once, so that libcurl gives up instead; a request
 * of which no byte of the body went out may be sent again, since it was none.  One
 * without a body may be sent again by libcurl unless it is `fresh`.
 *
 * With HTTP/2 a request that fails takes its connection along, and all others on it,
 * one that took too long above all: nobody can tell a server that is slow from one that
 * is gone, and the next request would wait on the same connection.
 *
 * One thread.  Callbacks come from the loop, never from within a call.
 */
#ifndef LIB_HTTP_MULTI_H
#define LIB_HTTP_MULTI_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "lib/err.h"
#include "middlepipe/types.h"

struct http_multi; /* connections */
struct http_task;  /* a request under way */

/* Who is spoken to how; texts are borrowed for as long as the connections live. */
struct http_multi_options {
	const char *ca;   /* file; NULL: the system's */
	const char *cert; /* file, NULL: none; read anew for each connection */
	const char *key;  /* file */
	long connect_ms;  /* until a connection stands, TLS included */
	long kept;        /* most connections that are kept for later */
	bool h2;          /* HTTP/2, without asking (over TLS: when the server speaks it, too) */
	/*
	 * After each round of work, when requests may be started and ended: for
	 * those who look at what data() brought.  NULL: nobody.
	 */
	void (*turned)(void *ctx);
	void *ctx;        /* of turned() */
};

struct http_multi_request {
	const char *method;        /* NULL: GET, or POST with a body */
	const char *url;           /* used before http_multi_start() returns; so are fields */
	const char *const *fields; /* "Name: value", NULL at the end; may be NULL */
	struct mp_str body;        /* ptr NULL: none; stays where it is until the end */
	long timeout_ms;           /* for all of it; 0: it never ends */
	bool fresh;                /* on a new connection: sent once even without a body */
};

/* How a request ended. */
struct http_multi_end {
	int status;      /* of a whole answer; 0: there was none */
	bool sent;       /* something of its body (of its head, without one) may have gone out */
	bool refused;    /* nobody listens there */
	const char *why; /* when status is 0 */
};

/* What a request calls; each gets ctx. */
struct http_multi_calls {
	/*
	 * A part of the body.  False ends it.  From within libcurl: it starts and
	 * ends no request.
	 */
	bool (*data)(void *ctx, struct mp_str bytes);
	/* It is over, once; not after http_task_cancel(). */
	void (*done)(void *ctx, const struct http_multi_end *end);
	/* A field of the answer's head, before data(), or trailer, behind it; as data() is called.  NULL: nobody asks. */
	void (*field)(void *ctx, struct mp_str name, struct mp_str value);
	void *ctx;
};

/* 0; -ENOMEM, -EINVAL. */
int http_multi_open(uv_loop_t *loop, const struct http_multi_options *options, struct http_multi **ret,
		    struct err *err);

/* Cancels what is under way; closed(ctx) comes from the loop, then it is gone. */
void http_multi_close(struct http_multi *http, void (*closed)(void *ctx), void *ctx);

/* Sends it.  NULL without memory. */
struct http_task *http_multi_start(struct http_multi *http, const struct http_multi_request *request,
				   const struct http_multi_calls *calls);

/* The answer's status as far as it is known, for data(); 0: not yet. */
int http_task_status(const struct http_task *task);

/* It is called no more.  NULL is allowed; not from data() and field(). */
void http_task_cancel(struct http_task *task);

#endif
