/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP front of the aggregator: libmicrohttpd's threads take requests in,
 * guard them, collect their bodies and send answers; everything else happens
 * in one libuv loop.  It knows routes, limits and rights, but no rows.
 *
 * Called from the loop's thread only, handlers too.  A handler answers at once
 * or later; until then the request is its own, even when the client has gone
 * away meanwhile.  Bytes that functions give are borrowed from the request.
 *
 * Errors are answered as {"error":"text for people","code":"word"}.
 */
#ifndef AGGREGATOR_HTTP_SERVER_H
#define AGGREGATOR_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/buf.h"
#include "lib/err.h"

struct http_server;
struct http_req;

enum http_method {
	HTTP_GET, /* its routes serve HEAD, too: what is answered has its body cut off */
	HTTP_PUT,
	HTTP_POST,
	HTTP_DELETE,
};

/* Owns the request from here on, and owes exactly one answer or stream. */
typedef void http_handler_fn(void *ctx, struct http_req *req);

/*
 * A row of the table; the first that matches wins.  `{name}` stands for one
 * segment that is not empty.  Paths are cut at `/` before percent signs are
 * decoded, so that %2F is an ordinary byte of a segment.
 */
struct http_route {
	enum http_method method;  /* what it serves */
	const char *path;         /* "/v1/rows/{row}/cells/latest"; NULL ends the table */
	size_t body_max;          /* bytes; 0: a body is refused */
	http_handler_fn *handler; /* called in the loop */
	bool anyone;              /* also who has not said who it is; else 401 at the head */
};

/* A header field of an answer; an array ends with name NULL. */
struct http_field {
	const char *name;  /* a literal, or as long-lived as the call */
	const char *value; /* without control characters; else the field is left out */
};

/* All that can be set.  Start from http_options_default(); texts are copied. */
struct http_options {
	const char *address;    /* IPv4 or IPv6 in digits, or the path of a Unix socket */
	int port;               /* 0: any that is free; of no use to a Unix socket */
	int listen_fd;          /* a listening socket, then owned by the server; -1: none */
	int threads;            /* that take in and send, 1..64 */
	const char *cert_file;  /* PEM, chain included; NULL: no TLS */
	const char *key_file;   /* PEM; with cert_file only */
	const char *ca_file;    /* PEM: clients are asked for certificates of these; or NULL */
	const char *token_file; /* who may do what, see access.h; or NULL */
	int connections;        /* most at once; what comes above is closed */
	int per_address;        /* the same of one IPv4 address or IPv6 /64; 0: no bound */
	size_t head_max;        /* bytes of target and fields; 431 and 414 above. A connection has 20 KiB more room */
	size_t body_total;      /* bytes of bodies and answers held at once, a 16th of them nobody's; 503 above */
	size_t stream_max;      /* bytes of a stream that lie unread; refused above */
	size_t stream_total;    /* the same of all streams */
	int head_ms;            /* from the first byte to the last of a head */
	int idle_ms;            /* between two requests of a connection */
	int body_ms;            /* for a body, or an answer to be read, besides ... */
	int least_rate;         /* ... its bytes at so many a second */
	/*
	 * Who this is: a request that has such a field, with another value, is for somebody else, and answered
	 * 421 whatever else is wrong with it.  Borrowed until the server has stopped; NULL: nobody.
	 */
	const struct http_field *own;
};

struct http_options http_options_default(void);

/* Counted since the start, for metrics. */
struct http_stats {
	uint64_t requests;    /* whose head was read */
	uint64_t answers[6];  /* by the first digit of their status; [0]: unanswered */
	uint64_t connections; /* open at the moment */
	uint64_t streams;     /* open at the moment */
	uint64_t over_total;  /* connections closed: too many */
	uint64_t over_address; /* connections closed: too many of one address */
	uint64_t cut_head;    /* connections closed: their head took too long */
	uint64_t cut_idle;    /* ... idle for too long */
	uint64_t cut_body;    /* ... their body took too long */
	uint64_t cut_answer;  /* ... their answer was read too slowly */
	uint64_t refused;     /* requests that are not proper HTTP */
	uint64_t misdirected; /* requests that were for somebody else */
	uint64_t held;        /* bytes of bodies and answers held at the moment */
	uint64_t unread;      /* bytes of streams that lie unread at the moment */
};

/*
 * Listens and serves.  loop, routes and ctx (of handlers) are borrowed until
 * the server has stopped.  0 and *ret_server; or a negative errno and err names
 * what is wrong: -EINVAL (routes, options, files), -EACCES (an address that is
 * not loopback, with neither tokens nor a CA), -EADDRINUSE and so on.
 */
int http_server_start(struct http_server **ret_server, uv_loop_t *loop,
		      const struct http_options *options, const struct http_route *routes,
		      void *ctx, struct err *err);

/* The port that it listens on, 0 for a Unix socket. */
int http_server_port(const struct http_server *server);

void http_server_stats(struct http_server *server, struct http_stats *ret_stats);

/*
 * Accepts no more; idle connections are closed at once, the others when their
 * answer is sent, all after grace_ms.  Streams are to be ended by whoever
 * writes them; handlers that owe an answer by then are told that the client
 * has gone, and still owe it.  When nothing is open and owed any more it calls
 * stopped(), from the loop, and the server is freed.
 */
void http_server_stop(struct http_server *server, int grace_ms, void (*stopped)(void *ctx),
		      void *ctx);

/* ------------------------------------------------------------- the request */

/* The decoded segment `{name}` of the route; it has no NUL.  "" when there is no such. */
struct mp_str http_param(const struct http_req *req, const char *name);

/* A decoded parameter of the query (no NUL, each name once).  False without it. */
bool http_query(const struct http_req *req, const char *name, struct mp_str *ret_value);

/* The decoded name of the i-th parameter of the query; ptr NULL behind the last. */
struct mp_str http_query_name(const struct http_req *req, size_t i);

/* How many fields of that name there are; *ret_value is the first, trimmed ("" for none). */
int http_header(const struct http_req *req, const char *name, struct mp_str *ret_value);

struct mp_str http_body(const struct http_req *req);

/* Takes the body out of the request: buf_fini() is due. */
void http_take_body(struct http_req *req, struct buf *ret_body);

/* The client's address in digits, "unix" for a Unix socket. */
const char *http_peer(const struct http_req *req);

/* ------------------------------------------------------------------ rights */

enum http_right {
	RIGHT_READ = 1,
	RIGHT_PUT = 2,
	RIGHT_ADMIN = 4, /* has nothing of the others in it */
};

/*
 * May it do that with the row?  name "": with every row, or with what is no row.  Who it is was
 * found when its head came, by the files as they were then.
 */
bool http_may(const struct http_req *req, enum http_right right, struct mp_str name);

/*
 * Finds out again who it is, by the files as they are now, and whether its certificate has run
 * out meanwhile: for streams, which have no end.
 */
void http_find_again(struct http_req *req);

/* With any row at all?  For who lists many: without it there is nothing to look for. */
bool http_may_somewhere(const struct http_req *req, enum http_right right);

/* Answers 401 to those who did not say who they are, else 403.  Ends the request. */
void http_deny(struct http_req *req);

/* "token ops", "certificate CN", or "local"; for logs. */
const char *http_who(const struct http_req *req);

/*
 * This request is an administrative act: the audit log gets one line, with its answer, that says
 * who asked, from where, for what, and what came of it: done, begun (202), refused (4xx), failed, or
 * unknown (504).  act: a literal.  Called again it is another act.
 */
void http_audit(struct http_req *req, const char *act);

/* Adds pairs to that line, as " key=value"; nothing when it is no such request. */
void http_audit_add(struct http_req *req, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds one whose value is the client's, quoted: up to 256 bytes are never cut. */
void http_audit_text(struct http_req *req, const char *name, struct mp_str text);

/* What came of it, when the status does not say; a literal. */
void http_audit_outcome(struct http_req *req, const char *outcome);

/* --------------------------------------------------------------- the answer */

/* Each ends the request: the pointer, and what was borrowed, are dead afterwards. */

/* fields: copied; may be NULL.  body: copied. */
void http_answer(struct http_req *req, int status, const struct http_field *fields,
		 struct mp_str body);

/* The same, but takes the bytes over: body is empty afterwards.  500 if it has an error. */
void http_answer_buf(struct http_req *req, int status, const struct http_field *fields,
		     struct buf *body);

/* {"error": the text, "code": code} */
void http_answer_error(struct http_req *req, int status, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The same with fields (Retry-After); fields may be NULL. */
void http_answer_error_fields(struct http_req *req, int status, const struct http_field *fields,
			      const char *code, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/*
 * Has the client gone away, or was the server stopped?  Nobody will see the
 * answer then.  A client that closes its sending half counts as gone once it
 * has waited for half a second.
 */
bool http_gone(const struct http_req *req);

/* Calls once when that happens, not if it has already, and never from within this module's calls. */
void http_on_gone(struct http_req *req, void (*gone)(void *ctx), void *ctx);

/* ------------------------------------------------------------------ streams */

/*
 * Begins an answer without an end.  The request stays and is the stream, until
 * http_stream_end(); what was borrowed from it is dead (http_peer() and
 * http_who() are not).  0, or -EPIPE when the client has gone: end it then.
 */
int http_stream_open(struct http_req *req, int status, const struct http_field *fields);

/*
 * Adds bytes, all or none: 0, -EPIPE after the client went, -ENOBUFS when too
 * much lies unread (close the stream with a reason then), -ENOMEM.
 */
int http_stream_write(struct http_req *req, struct mp_str bytes);

/* Bytes that the client was not sent yet. */
size_t http_stream_unread(struct http_req *req);

/*
 * Calls once when at most `low` bytes are unread, from the loop and never from
 * within this call: for who sends much and waits for the reader.
 */
void http_stream_on_drain(struct http_req *req, size_t low, void (*drained)(void *ctx),
			  void *ctx);

/* The last bytes, whatever lies unread, and the end of the request. */
void http_stream_end(struct http_req *req, struct mp_str farewell);

#endif
