/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a client is and what it may do (server.h): found by libmicrohttpd's threads when the
 * head is there, before any byte of a body, and kept in the request, which outlives the token
 * file that it was read from.
 */
#include <stdarg.h>
#include <stdio.h>

#include "aggregator/http/server_priv.h"
#include "lib/log.h"
#include "lib/slice.h"

#define ALL_RIGHTS (RIGHT_READ | RIGHT_PUT | RIGHT_ADMIN)

static void set_who(struct http_req *req, bool known, unsigned all, const char *kind,
		    const char *name)
{
	req->who.known = known;
	req->who.rights = all;
	(void)snprintf(req->who.text, sizeof(req->who.text), "%s%s%.*s", kind, name ? " " : "",
		       ACCESS_NAME_MAX, name ? name : "");
}

static struct access *access_now(struct http_server *s)
{
	struct access *access;

	pthread_mutex_lock(&s->access_lock);
	access = access_ref(s->access);
	pthread_mutex_unlock(&s->access_lock);
	return access;
}

void rights_use(struct http_server *s, struct access *access)
{
	struct access *old;

	pthread_mutex_lock(&s->access_lock);
	old = s->access;
	s->access = access;
	pthread_mutex_unlock(&s->access_lock);
	access_unref(old);
}

static void by_entry(struct http_req *req, const struct access_entry *entry, const char *kind)
{
	req->who.entry = entry;
	set_who(req, true, 0, kind, access_name(entry));
}

static void by_token(struct http_req *req, struct mp_str value, int n)
{
	const struct access_entry *entry = NULL;
	struct mp_str token;

	if (n == 1 && access_bearer(value, &token))
		entry = access_by_token(req->who.access, token);
	if (entry)
		by_entry(req, entry, "token");
	else
		set_who(req, false, 0, "nobody", NULL);
}

/* All whom the CA has signed may do everything, unless the token file names certificates. */
static void by_cert(struct http_req *req)
{
	const struct tls_peer *peer = req->tls_peer;
	const struct access *access = req->who.access;
	const char *name = peer->cn[0] ? peer->cn : peer->subject;
	const struct access_entry *entry;

	if (!access || !access_names_certs(access)) {
		set_who(req, true, ALL_RIGHTS, "certificate", name);
		return;
	}
	entry = access_by_cert(access, peer->cn, peer->ou, peer->n_ous);
	if (entry)
		by_entry(req, entry, "certificate");
	else
		set_who(req, true, 0, "certificate", name);
}

void rights_find(struct http_req *req)
{
	struct mp_str value;
	int n;

	req->who.access = access_now(req->server);
	n = req->who.access ? http_header(req, "Authorization", &value) : 0;
	if (n)
		by_token(req, value, n);
	else if (tls_peer_holds(req->tls_peer))
		by_cert(req);
	else if (!req->who.access && !req->server->asks_certs)
		set_who(req, true, ALL_RIGHTS, "local", NULL);
	else
		set_who(req, false, 0, "nobody", NULL);
}

void http_find_again(struct http_req *req)
{
	access_unref(req->who.access);
	req->who = (struct who){ 0 };
	rights_find(req);
}

void rights_forget(struct http_req *req)
{
	access_unref(req->who.access);
	tls_peer_unref(req->tls_peer);
}

bool http_may(const struct http_req *req, enum http_right right, struct mp_str name)
{
	unsigned rights = req->who.rights;

	if (req->who.entry)
		rights |= access_rights(req->who.entry, name);
	return (rights & (unsigned)right) != 0;
}

bool http_may_somewhere(const struct http_req *req, enum http_right right)
{
	unsigned rights = req->who.rights;

	if (req->who.entry)
		rights |= access_rights_somewhere(req->who.entry);
	return (rights & (unsigned)right) != 0;
}

void rights_challenge(struct http_req *req)
{
	answer_field(req, "WWW-Authenticate", "Bearer");
	answer_error(req, 401, "unauthorized", "a token or a client certificate is needed");
}

void http_deny(struct http_req *req)
{
	if (req->who.known) {
		http_answer_error(req, 403, "forbidden", "%s has no right to do that", req->who.text);
		return;
	}
	rights_challenge(req);
	req_finish(req);
}

const char *http_who(const struct http_req *req)
{
	return req->who.text;
}
