/* SPDX-License-Identifier: Apache-2.0 */
/* See http_multi.h. */
#include "lib/http_multi.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/http_curl.h"
#include "lib/list.h"
#include "lib/slice.h"

#define HEADERS_MAX ((size_t)64 << 10) /* bytes of all header lines of an answer */
#define DEAD_MS 5000                   /* until one on which nothing is confirmed is closed */
#define KEPT_S 30L                     /* for how long */
#define SPARE_MAX 64                   /* requests that are kept for later */
/*
 * libcurl 7.88 reads HTTP/2 in pieces of 32 KiB.  What of one does not fit into a request's
 * buffer (16 KiB when nothing is said) it forgets until something else happens.
 */
#define H2_BUFFER (96L << 10)
/*
 * libcurl works on a request as long as there is something to read: whoever sends fast
 * enough would have the loop for himself.  After a burst of a body it goes on in the
 * next round; when that many looks brought nothing of a body, it is none.
 */
#define BURST_MAX ((size_t)1 << 20)
#define LOOKS_MAX 64

struct http_multi {
	uv_loop_t *loop;           /* borrowed */
	CURLM *multi;              /* owned */
	uv_timer_t timer;          /* libcurl's */
	uv_idle_t again;           /* for those that had their burst: a timer would leave others no turn */
	uint64_t round;            /* of work; counts them */
	struct list tasks;         /* under way */
	struct list spare;         /* for reuse */
	size_t n_spare;            /* of them */
	struct http_multi_options options; /* texts borrowed */
	size_t handles;            /* of the loop, that are not closed */
	bool closing;              /* no more callbacks but closed() */
	void (*closed)(void *ctx); /* of http_multi_close() */
	void *closed_ctx;
};

struct http_task {
	struct list link;             /* in tasks or spare */
	struct http_multi *http;       /* whose it is */
	CURL *curl;                   /* owned */
	struct curl_slist *headers;   /* owned */
	struct mp_str body;           /* borrowed */
	size_t read;                  /* of the body, by libcurl */
	size_t header_size;           /* of the answer so far */
	uint64_t round;               /* that the next two are of */
	size_t burst;                 /* bytes of the body in it */
	unsigned looks;               /* without any */
	bool paused;                  /* until the next round */
	bool failed;                  /* when it went on from there */
	bool kept_only;               /* it may open no connection, see set_version() */
	bool wants_new;               /* but wanted to */
	struct http_multi_calls calls; /* whom it tells */
	char reason[CURL_ERROR_SIZE]; /* libcurl's */
};

/* A connection that libcurl wants to be watched. */
struct watched {
	uv_poll_t poll;
	struct http_multi *http;
	curl_socket_t fd;
};

/* ------------------------------------------------------------------- the loop */

static void task_free(struct http_task *task)
{
	list_remove(&task->link);
	curl_easy_cleanup(task->curl);
	curl_slist_free_all(task->headers);
	free(task);
}

static void task_spare(struct http_task *task)
{
	struct http_multi *http = task->http;

	(void)curl_multi_remove_handle(http->multi, task->curl); /* it is in there */
	curl_slist_free_all(task->headers);
	task->headers = NULL;
	list_remove(&task->link);
	if (http->n_spare >= SPARE_MAX || http->closing) {
		task_free(task);
		return;
	}
	list_push_front(&http->spare, &task->link);
	http->n_spare++;
}

/* Without a body there is only the head to tell by. */
static bool left_us(const struct http_task *task)
{
	long size = 0;

	(void)curl_easy_getinfo(task->curl, CURLINFO_REQUEST_SIZE, &size);
	return size > 0;
}

/*
 * HTTP/2 without TLS.  libcurl 7.88 cannot be told to speak it on whatever connection it
 * takes: it would begin HTTP/2 once more on one that was kept, which ends it.  So it is
 * first told to speak what the connection speaks, and may open none (on_sockopt()); when it
 * wanted to, nothing was sent, and it begins again, on a new connection and knowing better.
 */
static bool set_version(struct http_task *task, const char *url, bool fresh)
{
	bool h2 = task->http->options.h2, tls = strncmp(url, "https:", 6) == 0;
	long version = !h2 ? CURL_HTTP_VERSION_1_1 : tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_0;

	task->kept_only = h2 && !tls && !fresh;
	task->wants_new = false;
	if (h2 && !tls && fresh)
		version = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
	return curl_easy_setopt(task->curl, CURLOPT_HTTP_VERSION, version) == CURLE_OK &&
	       curl_easy_setopt(task->curl, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L) == CURLE_OK;
}

/* False: it is over. */
static bool begin_anew(struct http_task *task)
{
	char *url = NULL;

	if (!task->wants_new || task->read)
		return false;
	(void)curl_easy_getinfo(task->curl, CURLINFO_EFFECTIVE_URL, &url);
	(void)curl_multi_remove_handle(task->http->multi, task->curl); /* it is in there */
	task->reason[0] = '\0';
	return url && set_version(task, url, true) &&
	       curl_multi_add_handle(task->http->multi, task->curl) == CURLM_OK;
}

/* See the header.  libcurl sees that the connection is dead, and so do all on it. */
static void end_connection(const struct http_task *task)
{
	curl_socket_t fd = CURL_SOCKET_BAD;

	if (curl_easy_getinfo(task->curl, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK && fd != CURL_SOCKET_BAD)
		(void)shutdown(fd, SHUT_RDWR);
}

static void task_done(struct http_task *task, CURLcode code)
{
	struct http_multi_calls calls = task->calls;
	struct http_multi_end end = { .status = 0 };
	char reason[CURL_ERROR_SIZE];
	long status = 0;

	if (begin_anew(task))
		return;
	(void)curl_easy_getinfo(task->curl, CURLINFO_RESPONSE_CODE, &status);
	(void)snprintf(reason, sizeof(reason), "%s", task->wants_new ? "the connection has ended" :
		       task->reason[0] ? task->reason : curl_easy_strerror(code));
	end.status = code == CURLE_OK ? (int)status : 0;
	end.sent = task->read > 0 || (!task->body.len && left_us(task));
	end.refused = code == CURLE_COULDNT_CONNECT && !task->wants_new;
	end.why = reason;
	if (code != CURLE_OK && task->http->options.h2)
		end_connection(task);
	task_spare(task);
	calls.done(calls.ctx, &end);
}

/* Those that are over.  Their callbacks may do anything, closing included. */
static void reap(struct http_multi *http)
{
	struct CURLMsg *msg;
	int left;

	while (!http->closing && (msg = curl_multi_info_read(http->multi, &left))) {
		CURLcode code = msg->data.result;
		struct http_task *task;

		if (msg->msg == CURLMSG_DONE &&
		    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&task) == CURLE_OK)
			task_done(task, code);
	}
	if (!http->closing && http->options.turned)
		http->options.turned(http->options.ctx);
}

static void on_timer(uv_timer_t *timer)
{
	struct http_multi *http = timer->data;
	int running;

	http->round++;
	(void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(http);
}

static int set_timer(CURLM *multi, long ms, void *ctx)
{
	struct http_multi *http = ctx;

	(void)multi;
	if (ms < 0)
		uv_timer_stop(&http->timer);
	else if (!http->closing)
		uv_timer_start(&http->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
	struct watched *watched = poll->data;
	struct http_multi *http = watched->http;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

	flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
	flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
	http->round++;
	(void)curl_multi_socket_action(http->multi, watched->fd, flags, &running);
	reap(http);
}

static void handle_closed(struct http_multi *http)
{
	void (*closed)(void *) = http->closed;
	void *ctx = http->closed_ctx;

	if (--http->handles)
		return;
	free(http);
	closed(ctx);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct watched *watched = handle->data;
	struct http_multi *http = watched->http;

	free(watched);
	handle_closed(http);
}

static void on_handle_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

static struct watched *watched_new(struct http_multi *http, curl_socket_t fd)
{
	struct watched *watched = calloc(1, sizeof(*watched));

	if (!watched)
		return NULL;
	if (uv_poll_init_socket(http->loop, &watched->poll, fd)) {
		free(watched);
		return NULL;
	}
	watched->http = http;
	watched->fd = fd;
	watched->poll.data = watched;
	http->handles++;
	(void)curl_multi_assign(http->multi, fd, watched); /* fd is one of its own */
	return watched;
}

/* Of libcurl: from now on that is to be watched on fd. */
static int set_socket(CURL *curl, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	struct http_multi *http = ctx;
	struct watched *watched = socket_ctx;
	int events = 0;

	(void)curl;
	if (what == CURL_POLL_REMOVE) {
		if (watched) {
			uv_poll_stop(&watched->poll);
			uv_close((uv_handle_t *)&watched->poll, on_poll_closed);
		}
		return 0;
	}
	if (!watched)
		watched = watched_new(http, fd);
	if (!watched)
		return -1;
	events |= what != CURL_POLL_OUT ? UV_READABLE : 0;
	events |= what != CURL_POLL_IN ? UV_WRITABLE : 0;
	return uv_poll_start(&watched->poll, events, on_socket) ? -1 : 0;
}

/* ------------------------------------------------------------------ a request */

/* One that is to end, as libcurl does not know. */
static struct http_task *find_failed(const struct http_multi *http)
{
	for (struct list *link = http->tasks.next; link != &http->tasks; link = link->next)
		if (LIST_ENTRY_OF(link, struct http_task, link)->failed)
			return LIST_ENTRY_OF(link, struct http_task, link);
	return NULL;
}

/*
 * What data() refuses while libcurl 7.88 goes on from a pause, curl_easy_pause() alone says: the
 * request would go on, with a part of its answer lost.  So it ends here.
 */
static void on_again(uv_idle_t *again)
{
	struct http_multi *http = again->data;

	uv_idle_stop(again);
	http->round++;
	LIST_FOR_EACH(link, &http->tasks) {
		struct http_task *task = LIST_ENTRY_OF(link, struct http_task, link);

		if (!task->paused)
			continue;
		task->paused = false;
		task->failed = curl_easy_pause(task->curl, CURLPAUSE_CONT) != CURLE_OK;
	}
	for (struct http_task *task; !http->closing && (task = find_failed(http));) {
		task->failed = false;
		task_done(task, CURLE_WRITE_ERROR);
	}
	reap(http);
}

/* What was counted in an earlier round is forgotten. */
static void count_round(struct http_task *task)
{
	if (task->round == task->http->round)
		return;
	task->round = task->http->round;
	task->burst = 0;
	task->looks = 0;
}

static size_t on_body(char *ptr, size_t size, size_t count, void *ctx)
{
	struct http_task *task = ctx;
	struct mp_str bytes = { ptr, size * count };

	count_round(task);
	if (task->burst >= BURST_MAX) {
		task->paused = true;
		uv_idle_start(&task->http->again, on_again); /* cannot fail */
		return CURL_WRITEFUNC_PAUSE; /* it is brought again */
	}
	task->burst += bytes.len;
	task->looks = 0;
	return task->calls.data(task->calls.ctx, bytes) ? bytes.len : CURL_WRITEFUNC_ERROR;
}

/* What an answer may make us keep is bounded: libcurl stores headers. */
static size_t on_header(char *ptr, size_t size, size_t count, void *ctx)
{
	struct http_task *task = ctx;
	struct mp_str name, value, line = { ptr, size * count };

	task->header_size += line.len;
	if (task->header_size > HEADERS_MAX)
		return CURL_WRITEFUNC_ERROR;
	if (task->calls.field && slice_cut(line, ':', &name, &value) && !slice_starts(line, MP_LIT("HTTP/")))
		task->calls.field(task->calls.ctx, name, slice_trim(value));
	return line.len;
}

static int on_progress(void *ctx, curl_off_t all, curl_off_t now, curl_off_t up_all, curl_off_t up)
{
	struct http_task *task = ctx;

	(void)all;
	(void)now;
	(void)up_all;
	(void)up;
	count_round(task);
	return ++task->looks > LOOKS_MAX;
}

static size_t on_read(char *to, size_t size, size_t count, void *ctx)
{
	struct http_task *task = ctx;
	size_t left = task->body.len - task->read, len = size * count < left ? size * count : left;

	if (len)
		memcpy(to, task->body.ptr + task->read, len);
	task->read += len;
	return len;
}

/* See the header: there is no way back once something was read. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
	const struct http_task *task = ctx;

	return origin == SEEK_SET && offset == 0 && !task->read ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

/* A peer that has gone without a word is noticed, on a watch as well. */
static int on_sockopt(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	struct http_task *task = ctx;
	int dead = DEAD_MS;

	(void)purpose;
	task->wants_new = task->kept_only;
	if (task->wants_new)
		return CURL_SOCKOPT_ERROR;
	/* Without it the connection lives longer, no more. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
	return CURL_SOCKOPT_OK;
}

/* What is the same for all; true when nothing failed. */
static bool set_common(struct http_task *task)
{
	CURL *c = task->curl;
	bool bad = false;

	bad |= curl_easy_setopt(c, CURLOPT_PRIVATE, (void *)task) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_ERRORBUFFER, task->reason) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK;
	bad |= task->http->options.h2 && curl_easy_setopt(c, CURLOPT_BUFFERSIZE, H2_BUFFER) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_PROXY, "") != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
	/* Else a request that ends while its name is looked up waits for that, and the loop with it. */
	bad |= curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, task->http->options.connect_ms) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, KEPT_S) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, 2L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, on_sockopt) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_SOCKOPTDATA, task) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_WRITEDATA, task) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_HEADERDATA, task) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_XFERINFODATA, task) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_READDATA, task) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_SEEKDATA, task) != CURLE_OK;
	return !bad;
}

static bool set_tls(struct http_task *task)
{
	const struct http_multi_options *tls = &task->http->options;

	/* So that a file that changes is read again. */
	return curl_easy_setopt(task->curl, CURLOPT_CA_CACHE_TIMEOUT, 0L) == CURLE_OK &&
	       http_curl_tls(task->curl, tls->ca, tls->cert, tls->key);
}

static bool add_header(struct http_task *task, const char *line)
{
	struct curl_slist *list = curl_slist_append(task->headers, line);

	if (list)
		task->headers = list;
	return list != NULL;
}

static bool set_headers(struct http_task *task, const struct http_multi_request *request)
{
	bool good = add_header(task, "Expect:"); /* it would cost a round trip */

	for (const char *const *field = request->fields; good && field && *field; field++)
		good = add_header(task, *field);
	return good && curl_easy_setopt(task->curl, CURLOPT_HTTPHEADER, task->headers) == CURLE_OK;
}

/* The request line and what goes with it; the handle may have served another method. */
static bool set_method(struct http_task *task, const struct http_multi_request *request)
{
	bool post = request->body.ptr, bad = false;
	CURL *c = task->curl;

	bad |= curl_easy_setopt(c, CURLOPT_URL, request->url) != CURLE_OK;
	bad |= curl_easy_setopt(c, post ? CURLOPT_POST : CURLOPT_HTTPGET, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, request->method) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, post ? (curl_off_t)request->body.len : -1) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, request->timeout_ms) != CURLE_OK;
	return !bad;
}

static struct http_task *task_new(struct http_multi *http)
{
	struct list *link = list_pop_front(&http->spare);
	struct http_task *task;

	if (link) {
		http->n_spare--;
		return LIST_ENTRY_OF(link, struct http_task, link);
	}
	task = calloc(1, sizeof(*task));
	if (!task)
		return NULL;
	list_init(&task->link);
	task->http = http;
	task->curl = curl_easy_init();
	if (task->curl && set_common(task) && set_tls(task))
		return task;
	task_free(task);
	return NULL;
}

struct http_task *http_multi_start(struct http_multi *http, const struct http_multi_request *request,
				   const struct http_multi_calls *calls)
{
	struct http_task *task = task_new(http);

	if (!task)
		return NULL;
	task->body = request->body;
	task->calls = *calls;
	task->read = task->header_size = 0;
	task->reason[0] = '\0';
	task->paused = task->failed = false;
	if (!set_method(task, request) || !set_version(task, request->url, request->fresh) || !set_headers(task, request) ||
	    curl_multi_add_handle(http->multi, task->curl) != CURLM_OK) {
		task_free(task);
		return NULL;
	}
	list_push_back(&http->tasks, &task->link);
	return task;
}

int http_task_status(const struct http_task *task)
{
	long status = 0;

	(void)curl_easy_getinfo(task->curl, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

void http_task_cancel(struct http_task *task)
{
	if (task)
		task_spare(task);
}

/* ----------------------------------------------------------------- life cycle */

static bool set_multi(struct http_multi *http)
{
	bool bad = false;

	bad |= curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, set_socket) != CURLM_OK;
	bad |= curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http) != CURLM_OK;
	bad |= curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK;
	bad |= curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http) != CURLM_OK;
	bad |= curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, http->options.kept) != CURLM_OK;
	return !bad;
}

int http_multi_open(uv_loop_t *loop, const struct http_multi_options *options, struct http_multi **ret,
		    struct err *err)
{
	struct http_multi *http = calloc(1, sizeof(*http));

	http_curl_begin();
	if (!http)
		return err_set(err, -ENOMEM, "out of memory");
	*http = (struct http_multi){ .loop = loop, .options = *options };
	list_init(&http->tasks);
	list_init(&http->spare);
	http->multi = curl_multi_init();
	if (!http->multi || !set_multi(http)) {
		(void)curl_multi_cleanup(http->multi);
		free(http);
		return err_set(err, -ENOMEM, "libcurl cannot be started");
	}
	uv_timer_init(loop, &http->timer); /* cannot fail */
	uv_idle_init(loop, &http->again);
	http->timer.data = http->again.data = http;
	http->handles = 2;
	*ret = http;
	return 0;
}

void http_multi_close(struct http_multi *http, void (*closed)(void *ctx), void *ctx)
{
	http->closing = true;
	http->closed = closed;
	http->closed_ctx = ctx;
	LIST_FOR_EACH_SAFE(link, &http->tasks)
		task_spare(LIST_ENTRY_OF(link, struct http_task, link));
	LIST_FOR_EACH_SAFE(link, &http->spare)
		task_free(LIST_ENTRY_OF(link, struct http_task, link));
	(void)curl_multi_cleanup(http->multi); /* lets go of all sockets */
	uv_close((uv_handle_t *)&http->timer, on_handle_closed);
	uv_close((uv_handle_t *)&http->again, on_handle_closed);
}
