/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP requests on a libuv loop, for the etcd engine: libcurl's multi interface,
 * many at a time, each with a connection for itself while it lasts (HTTP/1.1).
 * It knows nothing of what they say.
 *
 * A request is sent once or not at all: libcurl would send it again when a kept
 * connection turns out to be dead, and the server could get it twice.  Here the
 * body can be read only once, so that libcurl gives up instead; a request of which
 * no byte of the body went out may be sent again, since it was none.
 *
 * One thread.  Callbacks come from the loop, never from within a call.
 */
#ifndef AGGREGATOR_ROWS_ETCD_HTTP_H
#define AGGREGATOR_ROWS_ETCD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "lib/err.h"
#include "middlepipe/types.h"

struct etcd_http; /* connections */
struct etcd_post; /* a request under way */

/* Who is spoken to how; texts are borrowed for as long as the connections live. */
struct etcd_tls {
	const char *ca;   /* file; NULL: the system's */
	const char *cert; /* file, NULL: none; read anew for each connection */
	const char *key;  /* file */
};

/* A POST of JSON. */
struct etcd_request {
	const char *url;    /* used before etcd_post() returns */
	struct mp_str body; /* not empty; stays where it is until the end */
	const char *token;  /* for the Authorization header; NULL: none */
	bool leaderless;    /* a member without a leader may answer; else it is an error at once */
	long timeout_ms;    /* for all of it; 0: it never ends */
};

/* How a request ended. */
struct etcd_end {
	int status;      /* of a whole answer; 0: there was none */
	bool sent;       /* something of its body may have gone out */
	const char *why; /* when status is 0 */
};

/* What a request calls; each gets ctx. */
struct etcd_post_calls {
	/*
	 * A part of the body.  False ends it.  From within libcurl: it starts and
	 * ends no request.
	 */
	bool (*data)(void *ctx, struct mp_str bytes);
	/* It is over, once; not after etcd_post_cancel(). */
	void (*done)(void *ctx, const struct etcd_end *end);
	void *ctx;
};

/*
 * turned(ctx) is called after each round of work, when requests may be started and
 * ended: for those who look at what data() brought.  0; -ENOMEM, -EINVAL.
 */
int etcd_http_open(uv_loop_t *loop, const struct etcd_tls *tls, void (*turned)(void *ctx), void *ctx,
		   struct etcd_http **ret, struct err *err);

/* Cancels what is under way; closed(ctx) comes from the loop, then it is gone. */
void etcd_http_close(struct etcd_http *http, void (*closed)(void *ctx), void *ctx);

/* Sends it.  NULL without memory. */
struct etcd_post *etcd_post(struct etcd_http *http, const struct etcd_request *request,
			    const struct etcd_post_calls *calls);

/* It is called no more.  NULL is allowed; not from data(). */
void etcd_post_cancel(struct etcd_post *post);

#endif
