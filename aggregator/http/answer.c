/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers: kept in the request by the loop (server.h), built and sent in
 * libmicrohttpd's thread.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/http/server_priv.h"
#include "lib/slice.h"

#define TEXT_MAX 1024 /* of an error */
#define SMALL 4096    /* bytes of an answer that is held whatever is held already */

/* ------------------------------------------------------------ the loop's half */

void answer_field(struct http_req *req, const char *name, const char *value)
{
	struct mp_str v = slice_of(value);

	for (size_t i = 0; i < v.len; i++)
		if ((unsigned char)v.ptr[i] < ' ' || v.ptr[i] == 0x7f)
			return; /* would end the field, or the head */
	buf_add(&req->answer.fields, name, strlen(name) + 1);
	buf_add(&req->answer.fields, v.ptr ? v.ptr : "", v.len + 1);
}

static void answer_fields(struct http_req *req, const struct http_field *fields)
{
	for (; fields && fields->name; fields++)
		answer_field(req, fields->name, fields->value);
}

/* Text may quote anything and be cut anywhere; JSON is UTF-8, else ASCII must do. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char *copy = json ? NULL : strdup(text);

	for (char *at = copy; at && *at; at++)
		if ((unsigned char)*at >= 0x7f)
			*at = '?';
	if (copy)
		json = json_string(copy);
	free(copy);
	return json;
}

static int append_json(const char *bytes, size_t size, void *body)
{
	return buf_add(body, bytes, size) ? -1 : 0;
}

void answer_error(struct http_req *req, int status, const char *code, const char *text)
{
	json_t *json = json_pack("{s:o,s:s}", "error", text_json(text), "code", code);

	req->answer.status = status;
	buf_reset(&req->answer.body);
	answer_field(req, "Content-Type", "application/json");
	if (!json || json_dump_callback(json, append_json, &req->answer.body, JSON_COMPACT))
		buf_reset(&req->answer.body); /* the status says enough */
	json_decref(json);
}

/* What is held is bounded: clients that read slowly cannot make us keep much. */
static void hold_answer(struct http_req *req)
{
	size_t size = req->answer.body.len;

	if (size <= SMALL || req_hold(req, size))
		return;
	buf_fini(&req->answer.body);
	buf_reset(&req->answer.fields);
	answer_field(req, "Retry-After", "1");
	answer_error(req, 503, "busy", "too many answers wait to be read");
}

void http_answer_buf(struct http_req *req, int status, const struct http_field *fields,
		     struct buf *body)
{
	audit_end(req, status); /* what was done was done, whether the answer finds room or not */
	req->answer.status = status;
	answer_fields(req, fields);
	buf_fini(&req->answer.body);
	req->answer.body = *body;
	buf_init(body, body->max);
	if (req->answer.body.error || req->answer.fields.error) {
		buf_fini(&req->answer.body);
		buf_reset(&req->answer.fields);
		answer_error(req, 500, "memory", "no room for the answer");
	}
	hold_answer(req);
	req_finish(req);
}

void http_answer(struct http_req *req, int status, const struct http_field *fields,
		 struct mp_str body)
{
	struct buf copy;

	buf_init(&copy, SIZE_MAX / 4);
	buf_add_slice(&copy, body);
	http_answer_buf(req, status, fields, &copy);
}

static void answer_verror(struct http_req *req, int status, const char *code, const char *fmt,
			  va_list args)
{
	char text[TEXT_MAX];

	(void)vsnprintf(text, sizeof(text), fmt, args);
	http_audit_add(req, " code=%s", code);
	audit_end(req, status);
	answer_error(req, status, code, text);
	req_finish(req);
}

void http_answer_error(struct http_req *req, int status, const char *code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	answer_verror(req, status, code, fmt, args);
	va_end(args);
}

void http_answer_error_fields(struct http_req *req, int status, const struct http_field *fields,
			      const char *code, const char *fmt, ...)
{
	va_list args;

	answer_fields(req, fields);
	va_start(args, fmt);
	answer_verror(req, status, code, fmt, args);
	va_end(args);
}

/* ----------------------------------------------------- libmicrohttpd's threads */

static void response_free(void *cls)
{
	req_unref(cls);
}

/* The body stays in the request, which stays as long as the response. */
static struct MHD_Response *plain_response(struct http_req *req)
{
	static char nothing[1]; /* never written */
	struct buf *body = &req->answer.body;
	struct MHD_Response *response;

	atomic_fetch_add(&req->refs, 1);
	response = MHD_create_response_from_buffer_with_free_callback_cls(
		body->len, body->len ? body->ptr : nothing, response_free, req);
	if (!response)
		req_unref(req);
	return response;
}

static void add_fields(struct http_req *req, struct MHD_Response *response)
{
	const char *at = req->answer.fields.ptr, *end = at + req->answer.fields.len;

	while (at && at < end) {
		const char *value = at + strlen(at) + 1;

		(void)MHD_add_response_header(response, at, value); /* a name that is not one is left out */
		at = value + strlen(value) + 1;
	}
	if (req->answer.close)
		(void)MHD_add_response_header(response, "Connection", "close");
}

static void count_answer(struct http_req *req)
{
	int first = req->answer.status / 100;

	atomic_fetch_add_explicit(&req->server->answers[first >= 1 && first <= 5 ? first : 0], 1,
				  memory_order_relaxed);
}

enum MHD_Result answer_send(struct http_req *req, struct MHD_Connection *connection)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	if (req->answer.drop) {
		atomic_fetch_add(&req->server->answers[0], 1);
		return MHD_NO;
	}
	/* To HEAD it would send the last chunk of a stream. */
	response = req->stream.open && !req->head ? stream_response(req) : plain_response(req);
	if (!response)
		return MHD_NO;
	conn_enter(req->conn, req->stream.open ? CONN_STREAM : CONN_ANSWER);
	conn_bytes(req->conn, req->answer.body.len);
	add_fields(req, response);
	count_answer(req);
	result = MHD_queue_response(connection, (unsigned)req->answer.status, response);
	MHD_destroy_response(response);
	return result;
}
