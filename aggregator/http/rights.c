/* SPDX-License-Identifier: Apache-2.0 */
/* Who a client is and what it may do (server.h). */
#include <stdarg.h>
#include <stdio.h>

#include "aggregator/http/server_priv.h"
#include "lib/log.h"

#define AUDIT_MAX 1024 /* bytes of the pairs of an audit line */

bool http_may(const struct http_req *req, enum http_right right, struct mp_str name)
{
	(void)req;
	(void)right;
	(void)name;
	return true; /* it listens where only this machine reaches it */
}

void http_deny(struct http_req *req)
{
	http_answer_error(req, 403, "forbidden", "you may not do that");
}

const char *http_who(const struct http_req *req)
{
	(void)req;
	return "local";
}

const char *http_cert_subject(const struct http_req *req)
{
	(void)req;
	return NULL;
}

const char *http_cert_ou(const struct http_req *req, size_t i)
{
	(void)req;
	(void)i;
	return NULL;
}

void http_audit(const struct http_req *req, const char *act, const char *fmt, ...)
{
	char pairs[AUDIT_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(pairs, sizeof(pairs), fmt, args);
	va_end(args);
	log_info("administered", "act=%s who=%s from=%s%s%s", LOG_STR(act), LOG_STR(http_who(req)),
		 LOG_STR(http_peer(req)), pairs[0] ? " " : "", pairs);
}
