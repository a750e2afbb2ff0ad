/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log: one line for each administrative act, written when it is known what came of
 * it, which is with the request's answer (server.h).  The loop's thread.
 */
#include <stdarg.h>

#include "aggregator/http/server_priv.h"
#include "lib/log.h"

#define AUDIT_MAX 1600 /* bytes of what is remembered: a line has room for it and the outcome */

void http_audit(struct http_req *req, const char *act)
{
	buf_fini(&req->audit);
	buf_init(&req->audit, AUDIT_MAX);
	(void)buf_printf(&req->audit, "act=%s who=%s from=%s", LOG_STR(act), LOG_STR(http_who(req)),
			 LOG_STR(http_peer(req)));
}

void http_audit_add(struct http_req *req, const char *fmt, ...)
{
	va_list args;

	if (!req->audit.len)
		return;
	va_start(args, fmt);
	(void)buf_vprintf(&req->audit, fmt, args); /* what does not fit is left out */
	va_end(args);
}

void http_audit_text(struct http_req *req, const char *name, struct mp_str text)
{
	char quoted[4 * 256 + 8]; /* the longest name of a row, whatever it is made of */

	http_audit_add(req, " %s=%s", name, slice_quote(quoted, sizeof(quoted), text));
}

void http_audit_outcome(struct http_req *req, const char *outcome)
{
	req->audit_outcome = outcome;
}

static const char *outcome_of(int status)
{
	if (status == 202)
		return "begun";
	if (status == 504)
		return "unknown";
	if (status < 300)
		return "done";
	return status < 500 ? "refused" : "failed";
}

void audit_end(struct http_req *req, int status)
{
	const char *outcome = req->audit_outcome ? req->audit_outcome : outcome_of(status);

	if (!req->audit.len)
		return;
	/* Who was sent to another member is written down there. */
	if (status / 100 != 3)
		log_info("administered", "%s status=%d outcome=%s", req->audit.ptr, status, outcome);
	buf_fini(&req->audit);
}
