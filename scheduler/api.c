/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP on the control socket (docs/control-api.md): libmicrohttpd inside the
 * control thread's loop, a table of routes, and the way through the data
 * thread and back.
 */
#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/slice.h"
#include "scheduler/control.h"

#define API_BODY_MAX CHAIN_TEXT_MAX
#define API_CONNECTIONS 32
#define API_TIMEOUT_S 10

static void chains_put(struct api_call *call);
static void reload_post(struct api_call *call);
static void on_http_timer(uv_timer_t *timer);

/* A path may have one `*`: the name of a middlepipe. */
struct api_route {
	const char *method;
	const char *path;
	void (*start)(struct api_call *); /* replies, or sends it on its way */
	const char *argument;             /* query argument that it takes */
};

static const struct api_route routes[] = {
	{ "GET", "/v1/status", status_get, NULL },
	{ "GET", "/v1/standing", standing_get, NULL },
	{ "GET", "/v1/explain", explain_get, "url" },
	{ "GET", "/v1/events", events_get, "after" },
	{ "GET", "/v1/chains", chains_get, NULL },
	{ "PUT", "/v1/chains", chains_put, NULL },
	{ "POST", "/v1/reload", reload_post, NULL },
	{ "POST", "/v1/middlepipes/*/override", override_post, NULL },
	{ "POST", "/v1/middlepipes/*/reset", reset_post, NULL },
};
#define N_ROUTES (sizeof(routes) / sizeof(routes[0]))

void api_fail(struct api_call *call, int status, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	/* A path or a URL may be any bytes, and cut in the middle of a character; JSON may not. */
	for (char *at = text; *at; at++)
		if ((unsigned char)*at >= 0x7f || (unsigned char)*at < ' ')
			*at = '?';
	json_decref(call->reply);
	call->status = status;
	call->reply = json_pack("{s:s}", "error", text);
}

/* ------------------------------------------------------------------ answers */

static enum MHD_Result answer_queue(struct api_call *call)
{
	char *text = call->reply ? json_dumps(call->reply, JSON_COMPACT) : NULL;
	struct MHD_Response *response;
	enum MHD_Result r;

	if (!text)
		text = strdup("{\"error\":\"out of memory\"}");
	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", "application/json");
	r = MHD_queue_response(call->connection, (unsigned)call->status, response);
	MHD_destroy_response(response);
	call->queued = true;
	return r;
}

/* Lets the connection go on, which calls the handler once more. */
void api_done(struct api_call *call)
{
	struct control *c = call->control;

	if (call->suspended) {
		call->suspended = false;
		MHD_resume_connection(call->connection);
		uv_timer_start(&c->http_timer, on_http_timer, 0, 0);
	}
}

static json_t *errors_of(const struct load *load)
{
	json_t *errors = json_array();
	struct mp_str rest = slice_of(json_errs_text(&load->errs)), line;

	while (rest.len) {
		slice_cut(rest, '\n', &line, &rest);
		if (line.len)
			json_array_append_new(errors, json_stringn(line.ptr, line.len));
	}
	return errors;
}

static void loaded(struct load *load, int result)
{
	static const struct {
		int result, status;
	} table[] = {
		{ -EEXIST, 409 }, { -EBUSY, 503 }, { -ENOENT, 404 }, { -ENOMEM, 503 },
	};
	struct api_call *call = load->ctx;
	int status = 400;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].result == result)
			status = table[i].status;
	if (result == 0) {
		call->status = 200;
		json_decref(call->reply);
		call->reply = json_pack("{s:I,s:b}", "epoch", (json_int_t)load->epoch, "changed",
					load->changed);
	} else {
		bool listed = load->errs.count > 0, by_filter = load->err.text[0] == '$';

		api_fail(call, status, "%s", listed || by_filter ?
			 "the chain file is wrong, nothing has changed" : load->err.text);
		if (listed)
			json_object_set_new(call->reply, "errors", errors_of(load));
		else if (by_filter)
			json_object_set_new(call->reply, "errors", json_pack("[s]", load->err.text));
	}
	config_load_fini(load);
	api_done(call);
}

static void chains_put(struct api_call *call)
{
	call->load.done = loaded;
	call->load.ctx = call;
	config_load(&call->load, call->control, buf_slice(&call->body));
}

static void reload_post(struct api_call *call)
{
	call->load.done = loaded;
	call->load.ctx = call;
	config_reload(&call->load, call->control);
}

void api_send(struct api_call *call, void (*there)(struct data *, struct mail *),
	      void (*back)(void *, struct mail *))
{
	call->look.mail.there = there;
	call->look.mail.back = back;
	data_post(call->control->data, &call->look.mail);
}

/* ------------------------------------------------------------------ requests */

/* Matches a path; the `*` goes to name.  False when it does not. */
static bool path_match(const char *pattern, const char *path, char *name, size_t size)
{
	const char *star = strchr(pattern, '*'), *end;
	size_t before, len;

	if (!star)
		return !strcmp(pattern, path);
	before = (size_t)(star - pattern);
	if (strncmp(pattern, path, before))
		return false;
	end = strchr(path + before, '/');
	len = end ? (size_t)(end - path) - before : 0;
	if (!len || len >= size || strcmp(end, star + 1))
		return false;
	memcpy(name, path + before, len);
	name[len] = '\0';
	return true;
}

static void route_find(struct api_call *call, const char *method, const char *path)
{
	bool known = false;

	for (size_t i = 0; i < N_ROUTES; i++) {
		if (!path_match(routes[i].path, path, call->name, sizeof(call->name)))
			continue;
		known = true;
		if (!strcmp(routes[i].method, method))
			call->route = &routes[i];
	}
	if (!known)
		api_fail(call, 404, "there is no %s; see docs/control-api.md", path);
	else if (!call->route)
		api_fail(call, 405, "%s does not take %s", path, method);
}

static void argument_read(struct api_call *call)
{
	const char *text = call->route->argument ?
		MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND,
					    call->route->argument) : NULL;

	free(call->argument);
	call->argument = text ? strdup(text) : NULL;
	if (text && !strcmp(call->route->argument, "after") &&
	    slice_to_u64(slice_of(text), &call->after) < 0)
		api_fail(call, 400, "after=%.20s: a whole number is expected", text);
}

/* Sends the call on its way; the connection sleeps until it is back. */
static void dispatch(struct api_call *call)
{
	argument_read(call);
	if (!call->reply)
		call->route->start(call);
	/* What is replied to at once needs no sleep: a resume must not come before it. */
	if (call->reply)
		return;
	call->suspended = true;
	MHD_suspend_connection(call->connection);
}

static struct api_call *call_new(struct control *c, struct MHD_Connection *connection)
{
	struct api_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	look_init(&call->look);
	call->control = c;
	call->connection = connection;
	buf_init(&call->body, API_BODY_MAX);
	return call;
}

/* libmicrohttpd calls this for the head, for each part of the body, at its end, and after a resume. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *size, void **request)
{
	struct api_call *call = *request;

	(void)version;
	if (!call) {
		call = *request = call_new(ctx, connection);
		if (!call)
			return MHD_NO;
		route_find(call, method, url);
		return MHD_YES;
	}
	if (*size) {
		if (buf_add(&call->body, data, *size) < 0 && !call->reply)
			api_fail(call, 413, "the body is larger than %d bytes", API_BODY_MAX);
		*size = 0;
		return MHD_YES;
	}
	if (call->queued)
		return MHD_YES;
	if (!call->reply)
		dispatch(call);
	return call->suspended ? MHD_YES : answer_queue(call);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode code)
{
	struct api_call *call = *request;

	(void)ctx;
	(void)connection;
	(void)code;
	if (!call)
		return;
	buf_fini(&call->body);
	look_fini(&call->look);
	json_decref(call->reply);
	json_decref(call->list);
	free(call->events);
	free(call->argument);
	free(call);
	*request = NULL;
}

/* --------------------------------------------------------------------- loop */

static void http_run(struct control *c)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(c->daemon);
	if (MHD_get_timeout(c->daemon, &ms) == MHD_YES)
		uv_timer_start(&c->http_timer, on_http_timer, ms, 0);
	else
		uv_timer_stop(&c->http_timer);
}

static void on_http(uv_poll_t *handle, int status, int events)
{
	(void)status;
	(void)events;
	http_run(handle->data);
}

static void on_http_timer(uv_timer_t *timer)
{
	http_run(timer->data);
}

int api_open(struct control *c, struct err *err)
{
	const union MHD_DaemonInfo *info;
	int r;

	c->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
		on_request, c, MHD_OPTION_LISTEN_SOCKET, c->options->control_fd,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, c,
		MHD_OPTION_CONNECTION_LIMIT, API_CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, API_TIMEOUT_S,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	info = c->daemon ? MHD_get_daemon_info(c->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return err_set(err, -EIO, "%s: libmicrohttpd did not start", c->options->control);
	r = uv_poll_init(&c->loop, &c->http, info->epoll_fd);
	if (r < 0)
		return err_set(err, r, "control socket: %s", uv_strerror(r));
	uv_timer_init(&c->loop, &c->http_timer);
	c->http.data = c->http_timer.data = c;
	uv_poll_start(&c->http, UV_READABLE, on_http);
	return 0;
}
