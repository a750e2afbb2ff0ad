/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP call: options into curl, the answer into a bounded buffer, curl's
 * codes into ours.
 *
 * Called by command line programs.  It must not print or follow redirects.
 */
#include "lib/http_client.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lib/address.h"
#include "lib/http_curl.h"
#include "lib/slice.h"

#define CONTENT_TYPE "Content-Type:"
#define FIELDS_MAX ((size_t)64 << 10) /* bytes of an answer's head */

/* One call under way. */
struct call {
	CURL *curl;                   /* owned */
	struct curl_slist *headers;   /* owned */
	const struct http_request *request; /* what is asked */
	struct buf body;              /* what came so far, owned */
	struct buf fields;            /* likewise of the head */
	int stopped;                  /* what on_part() said to end it, or 0 */
	char reason[CURL_ERROR_SIZE]; /* curl's text of a failure */
};

static size_t on_body(char *ptr, size_t size, size_t count, void *arg)
{
	struct call *call = arg;
	long status = 0;

	(void)curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
	/* Anything but the full count ends the transfer. */
	if (call->request->on_part && status / 100 == 2) {
		call->stopped = call->request->on_part(call->request->ctx,
						       slice_make(ptr, size * count));
		return call->stopped ? 0 : size * count;
	}
	return buf_add(&call->body, ptr, size * count) ? 0 : size * count;
}

/* A line of the head; a new status line begins another answer (after 100). */
static size_t on_field(char *ptr, size_t size, size_t count, void *arg)
{
	struct call *call = arg;
	struct mp_str line = slice_trim(slice_make(ptr, size * count));

	if (slice_starts(line, MP_LIT("HTTP/")))
		buf_reset(&call->fields);
	else if (line.len && !buf_add_slice(&call->fields, line))
		(void)buf_add(&call->fields, "\n", 1);
	return call->fields.error ? 0 : size * count;
}

static bool add_header(struct call *call, const char *line)
{
	struct curl_slist *list = curl_slist_append(call->headers, line);

	if (list)
		call->headers = list;
	return list != NULL;
}

static bool set_headers(struct call *call, const struct http_request *request)
{
	bool typed = !request->body.ptr, good = true;

	for (const char *const *line = request->headers; line && *line; line++) {
		struct mp_str name = slice_of(*line);

		if (name.len > sizeof(CONTENT_TYPE) - 1)
			name.len = sizeof(CONTENT_TYPE) - 1;
		typed |= slice_eq_nocase(name, MP_LIT(CONTENT_TYPE));
		good &= add_header(call, *line);
	}
	if (!typed)
		good &= add_header(call, CONTENT_TYPE " application/json");
	/* Servers that ignore "100-continue" would cost a second each call. */
	good &= add_header(call, "Expect:");
	return good && !curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->headers);
}

/* POST, PUT and PATCH say "Content-Length: 0" when they have no body. */
static bool has_body(const struct http_request *request)
{
	struct mp_str method = slice_of(request->method);

	return request->body.ptr || slice_eq(method, MP_LIT("POST")) ||
	       slice_eq(method, MP_LIT("PUT")) || slice_eq(method, MP_LIT("PATCH"));
}

static bool set_method(struct call *call, const struct http_request *request)
{
	CURL *curl = call->curl;
	bool bad = false;

	if (has_body(request)) {
		bad |= curl_easy_setopt(curl, CURLOPT_POST, 1L) != CURLE_OK;
		bad |= curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
					(curl_off_t)request->body.len) != CURLE_OK;
		bad |= curl_easy_setopt(curl, CURLOPT_POSTFIELDS,
					request->body.ptr ? request->body.ptr : "") !=
		       CURLE_OK;
	} else if (slice_eq(slice_of(request->method), MP_LIT("HEAD"))) {
		bad |= curl_easy_setopt(curl, CURLOPT_NOBODY, 1L) != CURLE_OK;
	}
	if (request->method)
		bad |= curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST,
					request->method) != CURLE_OK;
	return !bad;
}

/* Until when it may take; a stream has no end, but is never silent for long. */
static bool set_times(CURL *curl, const struct http_request *request)
{
	long timeout = request->timeout_ms ? request->timeout_ms : HTTP_TIMEOUT_MS;
	bool bad = false;

	if (!request->on_part || !request->idle_s)
		return curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout) == CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, timeout) != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, request->idle_s) != CURLE_OK;
	return !bad;
}

/* As Go's net/http has it: a proxy would ask its own machine, whatever the environment says. */
static bool is_here(const char *url)
{
	CURLU *parts = curl_url();
	char *host = NULL;
	bool here = false;

	if (parts && !curl_url_set(parts, CURLUPART_URL, url, 0) && !curl_url_get(parts, CURLUPART_HOST, &host, 0)) {
		size_t len = strlen(host);
		bool brackets = len > 2 && host[0] == '[';

		if (brackets)
			host[len - 1] = '\0';
		here = address_is_loopback(host + brackets) || slice_eq_nocase(slice_of(host), MP_LIT("localhost"));
	}
	curl_free(host);
	curl_url_cleanup(parts);
	return here;
}

static bool set_options(struct call *call, const struct http_request *request)
{
	CURL *curl = call->curl;
	bool bad = false;

	bad |= curl_easy_setopt(curl, CURLOPT_URL, request->url) != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_field) != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_HEADERDATA, call) != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, call->reason) != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
	bad |= curl_easy_setopt(curl, CURLOPT_WRITEDATA, call) != CURLE_OK;
	if (request->unix_socket)
		bad |= curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH,
					request->unix_socket) != CURLE_OK;
	/* The environment's proxies do not know our sockets. */
	if (request->unix_socket || request->direct || is_here(request->url))
		bad |= curl_easy_setopt(curl, CURLOPT_PROXY, "") != CURLE_OK;
	return !bad && set_times(curl, request) && http_curl_tls(curl, request->ca_file, request->cert_file, request->key_file) &&
	       set_method(call, request) && set_headers(call, request);
}

/* No byte of the request has left. */
static bool is_unsent(const struct call *call)
{
	long size = 0;

	return curl_easy_getinfo(call->curl, CURLINFO_REQUEST_SIZE, &size) == CURLE_OK && !size;
}

static int code_of(const struct call *call, CURLcode code)
{
	switch (code) {
	case CURLE_URL_MALFORMAT:
		return -EINVAL;
	case CURLE_UNSUPPORTED_PROTOCOL:
		return -EPROTO;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		return -ECONNREFUSED;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_PEER_FAILED_VERIFICATION:
		return -ECONNABORTED;
	case CURLE_OPERATION_TIMEDOUT:
		return is_unsent(call) ? -ECONNREFUSED : -ETIMEDOUT;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

/* libcurl speaks of the port 80 of localhost when it is a socket that nobody serves. */
static const char *reason_of(const struct call *call, bool by_path, CURLcode code)
{
	long os = 0;

	if (by_path && code == CURLE_COULDNT_CONNECT &&
	    curl_easy_getinfo(call->curl, CURLINFO_OS_ERRNO, &os) == CURLE_OK && os)
		return strerror((int)os);
	return call->reason[0] ? call->reason : curl_easy_strerror(code);
}

static int perform(struct call *call, const struct http_request *request, long *ret_status,
		   struct err *err)
{
	const char *where = request->unix_socket ? request->unix_socket : request->url;
	CURLcode code = curl_easy_perform(call->curl);

	if (call->stopped)
		return call->stopped;
	if (call->fields.error)
		return err_set(err, call->fields.error, "%s: the answer's head cannot be kept", where);
	if (call->body.error == -E2BIG)
		return err_set(err, -E2BIG, "%s: the answer is over %zu bytes", where,
			       call->body.max);
	if (call->body.error)
		return err_sys(err, call->body.error, where);
	if (code)
		return err_set(err, code_of(call, code), "%s: %s", where,
			       reason_of(call, request->unix_socket, code));
	(void)curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, ret_status);
	return 0;
}

int http_call(const struct http_request *request, struct http_reply *ret_reply,
	      struct err *err)
{
	struct call call = {.request = request};
	long status = 0;
	int rc;

	if (!request->url || request->timeout_ms < 0)
		return err_set(err, -EINVAL, "HTTP call without a URL or with a bad timeout");
	http_curl_begin();
	buf_init(&call.body, request->max_reply ? request->max_reply : HTTP_REPLY_MAX);
	buf_init(&call.fields, FIELDS_MAX);
	call.curl = curl_easy_init();
	if (call.curl && set_options(&call, request))
		rc = perform(&call, request, &status, err);
	else
		rc = err_set(err, -ENOMEM, "HTTP call: out of memory");
	curl_easy_cleanup(call.curl);
	curl_slist_free_all(call.headers);
	if (!rc) {
		*ret_reply = (struct http_reply){ (int)status, call.body, call.fields };
		return 0;
	}
	buf_fini(&call.body);
	buf_fini(&call.fields);
	return rc;
}

bool http_reply_field(const struct http_reply *reply, const char *name, struct mp_str *ret)
{
	struct mp_str rest = buf_slice(&reply->fields), line, before, value;

	while (rest.len) {
		(void)slice_cut(rest, '\n', &line, &rest);
		if (!slice_cut(line, ':', &before, &value) || !slice_eq_nocase(before, slice_of(name)))
			continue;
		*ret = slice_trim(value);
		return true;
	}
	return false;
}

void http_reply_fini(struct http_reply *reply)
{
	buf_fini(&reply->body);
	buf_fini(&reply->fields);
}
