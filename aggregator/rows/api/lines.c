/* SPDX-License-Identifier: Apache-2.0 */
/* See lines.h. */
#include "aggregator/rows/api/lines.h"

#include <errno.h>

#include "lib/log.h"

#define SLICE ((size_t)64 << 10)        /* bytes that are written at a time, about */
#define UNREAD_HIGH ((size_t)256 << 10) /* bytes; then it waits for the client */
#define UNREAD_LOW ((size_t)64 << 10)
#define OUT_MAX ((size_t)8 << 20)       /* more than a slice and a line */
#define AT_ONCE 8                       /* exports and checks */

/* For the audit log: what was begun is not done. */
static void fail(struct lines *lines, const char *why)
{
	http_audit_add(lines->req, " why=%s", LOG_STR(why));
	http_audit_outcome(lines->req, "failed");
}

static void on_gone(void *ctx)
{
	struct lines *lines = ctx;

	buf_reset(&lines->out);
	fail(lines, "the client has gone");
	lines_end(lines);
}

bool lines_open(struct lines *lines)
{
	static const struct http_field fields[] = { { "Content-Type", "application/x-ndjson" },
						    { "Cache-Control", "no-store" }, { NULL, NULL } };
	static const struct http_field later[] = { { "Retry-After", "10" }, { NULL, NULL } };
	struct rows_http *http = lines->http;

	buf_init(&lines->out, OUT_MAX);
	list_init(&lines->link);
	if (http->n_lines >= AT_ONCE) {
		http_answer_error_fields(lines->req, 429, later, "too_many",
					 "%d exports and checks are under way already", AT_ONCE);
		lines->req = NULL;
		lines->free(lines);
		return false;
	}
	http->n_lines++;
	list_push_back(&http->lines, &lines->link);
	if (http_stream_open(lines->req, 200, fields) < 0) {
		fail(lines, "the client has gone");
		lines_end(lines);
		return false;
	}
	http_on_gone(lines->req, on_gone, lines);
	return true;
}

static void on_drained(void *ctx)
{
	struct lines *lines = ctx;

	lines->go_on(lines);
}

bool lines_flush(struct lines *lines)
{
	int rc;

	if (lines_ended(lines))
		return false;
	if (lines->out.error) {
		lines_break(lines, "out of memory");
		return false;
	}
	if (lines->out.len < (lines->hurry ? 1 : SLICE))
		return true;
	lines->hurry = false;
	rc = http_stream_write(lines->req, buf_slice(&lines->out));
	if (!rc)
		buf_reset(&lines->out);
	if (!rc && http_stream_unread(lines->req) < UNREAD_HIGH)
		return true;
	/* Not taken (ENOBUFS): it stays, and goes when there is room, which may be all that there is. */
	http_stream_on_drain(lines->req, rc ? 0 : UNREAD_LOW, on_drained, lines);
	return false;
}

void lines_free(struct lines *lines)
{
	buf_fini(&lines->out);
	lines->free(lines);
}

void lines_end(struct lines *lines)
{
	struct http_req *req = lines->req;

	if (!req)
		return;
	lines->req = NULL;
	lines->http->n_lines--;
	list_remove(&lines->link);
	http_stream_end(req, buf_slice(&lines->out));
	if (!lines->busy)
		lines_free(lines);
}

void lines_break(struct lines *lines, const char *why)
{
	if (lines_ended(lines))
		return;
	lines->out.error = 0;
	fail(lines, why);
	lines->last_word(lines, why);
	lines_end(lines);
}

void rows_end_lines(struct rows_http *http, const char *why)
{
	while (!list_empty(&http->lines))
		lines_break(LIST_ENTRY_OF(http->lines.next, struct lines, link), why);
}
