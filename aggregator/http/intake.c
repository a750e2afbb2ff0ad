/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libmicrohttpd calls, in its threads: heads are guarded and routed,
 * bodies collected within bounds, whole requests handed to the loop, and
 * answers sent when they come back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/http/server_priv.h"
#include "lib/clock.h"
#include "lib/slice.h"

#define DISCARD_MAX ((uint64_t)16 << 20) /* bytes of a refused body that are read all the same */

static struct http_conn *conn_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* --------------------------------------------------------------- connections */

enum MHD_Result intake_accept(void *cls, const struct sockaddr *from, socklen_t size)
{
	struct worker *w = cls;

	(void)size; /* the family says it */
	return conns_admit(&w->server->conns, from) ? MHD_YES : MHD_NO;
}

static struct http_conn *connected(struct http_server *s, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *fd =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *from =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	static const struct sockaddr nobody = { .sa_family = AF_UNIX };

	struct http_conn *conn = NULL;

	if (fd)
		conn = conn_new(&s->conns, fd->connect_fd, from ? from->client_addr : &nobody);
	if (conn)
		conn->tls = s->tls;
	return conn;
}

void intake_connection(void *cls, struct MHD_Connection *connection, void **ctx,
		       enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		*ctx = connected(((struct worker *)cls)->server, connection);
	else
		conn_free(*ctx);
}

/* GnuTLS asks in a handshake; its session has the connection, says libmicrohttpd. */
int intake_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
		       gnutls_pcert_st **certs, unsigned *n, gnutls_ocsp_data_st **ocsp,
		       unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags)
{
	struct http_conn *conn = conn_of(gnutls_session_get_ptr(session));

	(void)info;
	*ocsp = NULL;
	*n_ocsp = 0;
	return conn ? tls_give(conn->tls, session, certs, n, key, flags) : -1;
}

static void check_client(struct http_req *req)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	if (!req->conn->tls || !info || !info->tls_session)
		return;
	tls_check(req->conn->tls, info->tls_session, &req->conn->tls_peer);
	req->tls_peer = tls_peer_ref(req->conn->tls_peer);
}

/* --------------------------------------------------------------------- heads */

void *intake_target(void *cls, const char *target, struct MHD_Connection *connection)
{
	struct worker *w = cls;
	struct http_conn *conn = conn_of(connection);
	struct http_req *req = conn ? req_new(w, target) : NULL;

	atomic_fetch_add_explicit(&w->server->requests, 1, memory_order_relaxed);
	if (!req)
		return NULL;
	req->conn = conn;
	req->mhd = connection;
	memcpy(req->peer, conn->peer, sizeof(req->peer));
	conn_begin(conn);
	return req;
}

static enum MHD_Result take_field(void *cls, enum MHD_ValueKind kind, const char *name,
				  size_t name_size, const char *value, size_t value_size)
{
	struct guard_head *head = cls;

	(void)kind; /* only fields were asked for */
	if (head->n == GUARD_FIELDS)
		return MHD_NO;
	head->fields[head->n].name = slice_make(name, name_size);
	head->fields[head->n++].value = slice_make(value ? value : "", value_size);
	return MHD_YES;
}

/* The answer that stands before the body was read.  text: a literal, or copied. */
static void refuse(struct http_req *req, int status, const char *code, const char *text)
{
	req->refuse = true;
	answer_error(req, status, code, text);
}

/*
 * What libmicrohttpd refuses itself it answers with a page of HTML, and nobody can
 * change that.  So it is given room for more than a head may have, and heads that are not far above
 * that are refused here.
 */
static bool fits(struct http_req *req, const char *method)
{
	const struct guard_head *head = &req->fields;
	size_t max = req->server->options.head_max, size = strlen(method) + req->raw_size + sizeof(" HTTP/1.1\r\n");
	struct err text = { 0 };

	for (size_t i = 0; i < head->n; i++)
		size += head->fields[i].name.len + head->fields[i].value.len + sizeof(":\r\n");
	if (size <= max)
		return true;
	(void)err_set(&text, -E2BIG, "target and fields may have %zu bytes together", max);
	refuse(req, req->raw_size > max / 2 ? 414 : 431, "too_large", text.text);
	return false;
}

static bool read_head(struct http_req *req, const char *method, const char *version)
{
	struct guard_head *head = &req->fields;
	const char *wrong = NULL;
	struct err err = { 0 };
	int n;

	head->version = slice_of(version);
	n = MHD_get_connection_values_n(req->mhd, MHD_HEADER_KIND, take_field, head);
	if (n < 0 || (size_t)n > head->n) {
		refuse(req, 431, "too_large", "there are too many fields");
		return false;
	}
	if (!fits(req, method))
		return false;
	if (req->server->plain_heads &&
	    !guard_plain(slice_of(method), slice_make(req->raw_at, req->raw_size), head))
		wrong = "the head has a line or a byte that it may not have";
	if (!wrong)
		wrong = guard_check(head, &req->expects);
	if (!wrong && target_parse(req->raw, req->raw_size, &req->target, &err))
		wrong = err.text;
	if (wrong) {
		atomic_fetch_add_explicit(&req->server->refused, 1, memory_order_relaxed);
		refuse(req, 400, "bad_request", wrong);
	}
	return !wrong;
}

static const struct method {
	const char *name;        /* as it is sent */
	enum http_method method; /* of routes */
} methods[] = {
	{ "GET", HTTP_GET },   { "HEAD", HTTP_GET },      { "PUT", HTTP_PUT },
	{ "POST", HTTP_POST }, { "DELETE", HTTP_DELETE },
};
#define N_METHODS (sizeof(methods) / sizeof(methods[0]))

static const struct method *method_find(const char *name)
{
	for (size_t i = 0; i < N_METHODS; i++)
		if (!strcmp(methods[i].name, name))
			return &methods[i];
	return NULL;
}

/* No route: 405 and what there is, or 404. */
static void refuse_route(struct http_req *req)
{
	const struct http_server *s = req->server;
	struct buf allow;

	buf_init(&allow, 256);
	for (size_t m = 0; m < N_METHODS; m++) {
		bool there = false;

		for (size_t i = 0; i < s->n_routes && !there; i++)
			there = s->routes[i].row->method == methods[m].method &&
				pattern_match(&s->routes[i].pattern, &req->target);
		if (there)
			buf_printf(&allow, "%s%s", allow.len ? ", " : "", methods[m].name);
	}
	if (allow.len) {
		answer_field(req, "Allow", buf_str(&allow));
		refuse(req, 405, "method", "the method is not one of those that this path has");
	} else {
		refuse(req, 404, "not_found", "there is nothing at this path");
	}
	buf_fini(&allow);
}

static bool find_route(struct http_req *req, const char *method)
{
	struct http_server *s = req->server;
	const struct method *m = method_find(method);

	for (size_t i = 0; m && i < s->n_routes && !req->route; i++)
		if (s->routes[i].row->method == m->method &&
		    pattern_match(&s->routes[i].pattern, &req->target))
			req->route = &s->routes[i];
	if (!req->route) {
		refuse_route(req);
		return false;
	}
	req->head = !strcmp(method, "HEAD");
	return true;
}

static void check_size(struct http_req *req)
{
	struct err text = { 0 };

	if (req->expects.length <= req->route->row->body_max)
		return;
	(void)err_set(&text, -E2BIG, "the body may have %zu bytes here", req->route->row->body_max);
	refuse(req, 413, "too_large", text.text);
}

/*
 * What is refused is answered when its body has been read, so that the client
 * sees the answer; not if it is not known where the request ends, or too far.
 */
static bool answer_now(const struct http_req *req, bool proper)
{
	struct mp_str expect;

	return !proper || req->expects.chunked || req->expects.length > DISCARD_MAX ||
	       http_header(req, "Expect", &expect) > 0;
}

/* Is it for this process, as far as it says? */
static bool check_meant(struct http_req *req)
{
	struct err text = { 0 };
	struct mp_str value;

	for (const struct http_field *own = req->server->options.own; own && own->name; own++) {
		int n = http_header(req, own->name, &value);

		if (!n || (n == 1 && slice_eq(value, slice_of(own->value))))
			continue;
		atomic_fetch_add_explicit(&req->server->misdirected, 1, memory_order_relaxed);
		(void)err_set(&text, -EINVAL, "this is not whom the request is for (%s): nothing was done", own->name);
		refuse(req, 421, "misdirected", text.text);
		return false;
	}
	return true;
}

/* Who is it, before anything of the body is kept?  False: nobody, where that is not enough. */
static bool check_who(struct http_req *req)
{
	check_client(req);
	rights_find(req);
	if (req->who.known || req->route->row->anyone)
		return true;
	req->refuse = true;
	rights_challenge(req);
	/* One that has run out stays the connection's; the client may have a new one by now. */
	req->answer.close |= req->tls_peer && req->tls_peer->ends && clock_wall_now() / NS_PER_S >= (uint64_t)req->tls_peer->ends;
	return false;
}

static enum MHD_Result first_call(struct http_req *req, const char *method, const char *version)
{
	bool proper = read_head(req, method, version);

	if (proper && check_meant(req) && find_route(req, method) && check_who(req))
		check_size(req);
	if (req->expects.chunked)
		req->answer.close = true; /* no second request behind an end that we may have misread */
	if (!req->refuse || !answer_now(req, proper)) {
		conn_enter(req->conn, CONN_BODY);
		return MHD_YES;
	}
	req->answer.close = true;
	return answer_send(req, req->mhd);
}

/* -------------------------------------------------------------------- bodies */

/* False when it is too much to be read at all. */
static bool take_body(struct http_req *req, const char *data, size_t size)
{
	conn_bytes(req->conn, size);
	if (!req->refuse && req->body.len + size > req->route->row->body_max)
		refuse(req, 413, "too_large", "the body has too many bytes");
	if (!req->refuse && !req_hold(req, size)) {
		answer_field(req, "Retry-After", "1");
		refuse(req, 503, "busy", "too many bodies are being received");
	}
	if (!req->refuse && buf_add(&req->body, data, size))
		refuse(req, 503, "busy", "no memory for the body");
	if (!req->refuse)
		return true;
	req->discarded += size;
	return req->discarded <= DISCARD_MAX;
}

/* Copies a field's text behind the others. */
static struct mp_str keep_text(struct buf *fields, struct mp_str text)
{
	size_t at = fields->len;

	(void)buf_add_slice(fields, text);
	return slice_make(fields->ptr + at, text.len);
}

/*
 * From now on the head is the request's own: libmicrohttpd's memory goes when
 * the client does, and a handler may have the request for long after that.
 */
static bool keep_head(struct http_req *req)
{
	struct guard_head *head = &req->fields;
	size_t size = 1;

	for (size_t i = 0; i < head->n; i++)
		size += head->fields[i].name.len + head->fields[i].value.len;
	buf_init(&req->head_text, size);
	if (!buf_reserve(&req->head_text, size)) /* it will not move */
		return false;
	for (size_t i = 0; i < head->n; i++) {
		head->fields[i].name = keep_text(&req->head_text, head->fields[i].name);
		head->fields[i].value = keep_text(&req->head_text, head->fields[i].value);
	}
	return true;
}

static enum MHD_Result hand_over(struct http_req *req)
{
	if (!keep_head(req)) {
		refuse(req, 503, "busy", "no memory for the request");
		return answer_send(req, req->mhd);
	}
	req->given = true;
	conn_enter(req->conn, CONN_BUSY);
	atomic_fetch_add(&req->refs, 1);
	MHD_suspend_connection(req->mhd); /* first: the loop may resume it at once */
	queue_push(req);
	return MHD_YES;
}

enum MHD_Result intake_request(void *cls, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *data,
			       size_t *size, void **ctx)
{
	struct http_req *req = *ctx;

	(void)cls;
	(void)url; /* without its query; intake_target() had it all */
	if (!req)
		return MHD_NO;
	if (!req->seen) {
		req->seen = true;
		return first_call(req, method, version);
	}
	if (*size) {
		bool good = take_body(req, data, *size);

		*size = 0;
		return good ? MHD_YES : MHD_NO;
	}
	if (req->refuse || req->given)
		return answer_send(req, connection);
	return hand_over(req);
}

void intake_completed(void *cls, struct MHD_Connection *connection, void **ctx,
		      enum MHD_RequestTerminationCode code)
{
	struct http_req *req = *ctx;

	(void)cls;
	(void)connection;
	(void)code; /* whether the client saw it all nobody knows, whatever it says */
	if (!req)
		return;
	*ctx = NULL;
	conn_enter(req->conn, CONN_IDLE);
	if (req->stream.open)
		stream_over(req);
	req_unref(req);
}
