/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One synchronous HTTP call over libcurl, to a URL or to a Unix socket.
 *
 * For command line programs.  Daemons must not call it: it blocks up to the
 * timeout.  Redirects are not followed, and only http and https are spoken.
 * Any thread; every call is its own connection.
 */
#ifndef LIB_HTTP_CLIENT_H
#define LIB_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/* What applies where a request says 0. */
#define HTTP_TIMEOUT_MS 10000
#define HTTP_REPLY_MAX ((size_t)8 << 20)

/* Everything is borrowed for the call. */
struct http_request {
	const char *unix_socket;    /* path of the socket; NULL: connect by the URL */
	bool direct;                /* by no proxy, as always to a socket, localhost and loopback addresses; else as the
				       environment says */
	const char *method;         /* NULL: GET, or POST with a body */
	const char *url;            /* with a socket "http://localhost/path" will do */
	const char *const *headers; /* "Name: value", NULL at the end; may be NULL */
	struct mp_str body;         /* sent when ptr is not NULL, as JSON by default */
	long timeout_ms;            /* for the whole call; 0: HTTP_TIMEOUT_MS */
	size_t max_reply;           /* bytes of body accepted; 0: HTTP_REPLY_MAX */
	const char *ca_file;        /* PEM, authorities of the server; NULL: the system's */
	const char *cert_file;      /* PEM, the certificate that we show; may be NULL */
	const char *key_file;       /* PEM, its key; NULL: it stands in cert_file */
	/*
	 * Is given the body of a 2xx in parts, as they come, instead of the reply.
	 * Anything but 0 ends the call: that, a negative errno, is what it returns.
	 */
	int (*on_part)(void *ctx, struct mp_str part);
	void *ctx;                  /* for on_part */
	long idle_s;                /* with on_part: seconds without a byte end the call; then
				       timeout_ms is for connecting alone.  0: as without */
};

struct http_reply {
	int status;        /* 100..599 */
	struct buf body;   /* owned by whoever holds the reply */
	struct buf fields; /* lines "Name: value" of its head; owned likewise */
};

/*
 * ret_reply: written on success only, then http_reply_fini() is due.  Any
 * status is a success.  Otherwise -EINVAL (bad request or URL), -EPROTO (the
 * URL or the answer is not HTTP), -ECONNREFUSED (nobody there, or not in time:
 * nothing was sent), -ECONNABORTED (TLS was not agreed on, nothing was sent),
 * -ETIMEDOUT, -E2BIG, -ENOMEM or -EIO; err says where and why.
 */
int http_call(const struct http_request *request, struct http_reply *ret_reply,
	      struct err *err);

/* The first field of that name, trimmed; false: there is none. */
bool http_reply_field(const struct http_reply *reply, const char *name, struct mp_str *ret);

void http_reply_fini(struct http_reply *reply);

#endif
