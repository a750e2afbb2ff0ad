/* SPDX-License-Identifier: Apache-2.0 */
/* See etcd_http.h. */
#include "aggregator/rows/etcd_http.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/list.h"

#define HEADERS_MAX ((size_t)64 << 10) /* bytes of all header lines of an answer */
#define CONNECT_MS 300L                /* until a connection stands */
#define DEAD_MS 5000                   /* until one on which nothing is confirmed is closed */
#define KEPT_MAX 64L                   /* connections that are kept for later */
#define KEPT_S 30L                     /* for how long */
#define SPARE_MAX 64                   /* requests that are kept for later */
/*
 * libcurl works on a request as long as there is something to read: whoever sends fast
 * enough would have the loop for himself.  After a burst of a body it goes on in the
 * next round; when that many looks brought nothing of a body, it is none.
 */
#define BURST_MAX ((size_t)1 << 20)
#define LOOKS_MAX 64

struct etcd_http {
	uv_loop_t *loop;           /* borrowed */
	CURLM *multi;              /* owned */
	uv_timer_t timer;          /* libcurl's */
	uv_idle_t again;           /* for those that had their burst: a timer would leave others no turn */
	uint64_t round;            /* of work; counts them */
	struct list posts;         /* under way */
	struct list spare;         /* for reuse */
	size_t n_spare;            /* of them */
	struct etcd_tls tls;       /* texts borrowed */
	size_t handles;            /* of the loop, that are not closed */
	bool closing;              /* no more callbacks but closed() */
	void (*turned)(void *ctx); /* see the header */
	void *ctx;                 /* of turned() */
	void (*closed)(void *ctx); /* of etcd_http_close() */
	void *closed_ctx;
};

struct etcd_post {
	struct list link;             /* in posts or spare */
	struct etcd_http *http;       /* whose it is */
	CURL *curl;                   /* owned */
	struct curl_slist *headers;   /* owned */
	struct mp_str body;           /* borrowed */
	size_t read;                  /* of the body, by libcurl */
	size_t header_size;           /* of the answer so far */
	uint64_t round;               /* that the next two are of */
	size_t burst;                 /* bytes of the body in it */
	unsigned looks;               /* without any */
	bool paused;                  /* until the next round */
	struct etcd_post_calls calls; /* whom it tells */
	char reason[CURL_ERROR_SIZE]; /* libcurl's */
};

/* A connection that libcurl wants to be watched. */
struct watched {
	uv_poll_t poll;
	struct etcd_http *http;
	curl_socket_t fd;
};

/* ------------------------------------------------------------------- the loop */

static void post_free(struct etcd_post *post)
{
	list_remove(&post->link);
	curl_easy_cleanup(post->curl);
	curl_slist_free_all(post->headers);
	free(post);
}

static void post_spare(struct etcd_post *post)
{
	struct etcd_http *http = post->http;

	(void)curl_multi_remove_handle(http->multi, post->curl); /* it is in there */
	curl_slist_free_all(post->headers);
	post->headers = NULL;
	list_remove(&post->link);
	if (http->n_spare >= SPARE_MAX || http->closing) {
		post_free(post);
		return;
	}
	list_push_front(&http->spare, &post->link);
	http->n_spare++;
}

static void post_done(struct etcd_post *post, CURLcode code)
{
	struct etcd_post_calls calls = post->calls;
	struct etcd_end end = { .status = 0 };
	char reason[CURL_ERROR_SIZE];
	long status = 0;

	(void)curl_easy_getinfo(post->curl, CURLINFO_RESPONSE_CODE, &status);
	(void)snprintf(reason, sizeof(reason), "%s", post->reason[0] ? post->reason : curl_easy_strerror(code));
	end.status = code == CURLE_OK ? (int)status : 0;
	end.sent = post->read > 0;
	end.why = reason;
	post_spare(post);
	calls.done(calls.ctx, &end);
}

/* Those that are over.  Their callbacks may do anything, closing included. */
static void reap(struct etcd_http *http)
{
	struct CURLMsg *msg;
	int left;

	while (!http->closing && (msg = curl_multi_info_read(http->multi, &left))) {
		CURLcode code = msg->data.result;
		struct etcd_post *post;

		if (msg->msg == CURLMSG_DONE &&
		    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&post) == CURLE_OK)
			post_done(post, code);
	}
	if (!http->closing)
		http->turned(http->ctx);
}

static void on_timer(uv_timer_t *timer)
{
	struct etcd_http *http = timer->data;
	int running;

	http->round++;
	(void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(http);
}

static int set_timer(CURLM *multi, long ms, void *ctx)
{
	struct etcd_http *http = ctx;

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
	struct etcd_http *http = watched->http;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

	flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
	flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
	http->round++;
	(void)curl_multi_socket_action(http->multi, watched->fd, flags, &running);
	reap(http);
}

static void handle_closed(struct etcd_http *http)
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
	struct etcd_http *http = watched->http;

	free(watched);
	handle_closed(http);
}

static void on_handle_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

static struct watched *watched_new(struct etcd_http *http, curl_socket_t fd)
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
	struct etcd_http *http = ctx;
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

static void on_again(uv_idle_t *again)
{
	struct etcd_http *http = again->data;

	uv_idle_stop(again);
	http->round++;
	LIST_FOR_EACH(link, &http->posts) {
		struct etcd_post *post = LIST_ENTRY_OF(link, struct etcd_post, link);

		if (!post->paused)
			continue;
		post->paused = false;
		(void)curl_easy_pause(post->curl, CURLPAUSE_CONT); /* a failure ends the request */
	}
	reap(http);
}

/* What was counted in an earlier round is forgotten. */
static void count_round(struct etcd_post *post)
{
	if (post->round == post->http->round)
		return;
	post->round = post->http->round;
	post->burst = 0;
	post->looks = 0;
}

static size_t on_body(char *ptr, size_t size, size_t count, void *ctx)
{
	struct etcd_post *post = ctx;
	struct mp_str bytes = { ptr, size * count };

	count_round(post);
	if (post->burst >= BURST_MAX) {
		post->paused = true;
		uv_idle_start(&post->http->again, on_again); /* cannot fail */
		return CURL_WRITEFUNC_PAUSE; /* it is brought again */
	}
	post->burst += bytes.len;
	post->looks = 0;
	return post->calls.data(post->calls.ctx, bytes) ? bytes.len : CURL_WRITEFUNC_ERROR;
}

/* What an answer may make us keep is bounded: libcurl stores headers. */
static size_t on_header(char *ptr, size_t size, size_t count, void *ctx)
{
	struct etcd_post *post = ctx;

	(void)ptr;
	post->header_size += size * count;
	return post->header_size <= HEADERS_MAX ? size * count : CURL_WRITEFUNC_ERROR;
}

static int on_progress(void *ctx, curl_off_t all, curl_off_t now, curl_off_t up_all, curl_off_t up)
{
	struct etcd_post *post = ctx;

	(void)all;
	(void)now;
	(void)up_all;
	(void)up;
	count_round(post);
	return ++post->looks > LOOKS_MAX;
}

static size_t on_read(char *to, size_t size, size_t count, void *ctx)
{
	struct etcd_post *post = ctx;
	size_t left = post->body.len - post->read, len = size * count < left ? size * count : left;

	if (len)
		memcpy(to, post->body.ptr + post->read, len);
	post->read += len;
	return len;
}

/* See the header: there is no way back once something was read. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
	const struct etcd_post *post = ctx;

	return origin == SEEK_SET && offset == 0 && !post->read ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

/* A peer that has gone without a word is noticed, on a watch as well. */
static int on_sockopt(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	int dead = DEAD_MS;

	(void)ctx;
	(void)purpose;
	/* Without it the connection lives longer, no more. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
	return CURL_SOCKOPT_OK;
}

/* What is the same for all; true when nothing failed. */
static bool set_common(struct etcd_post *post)
{
	CURL *c = post->curl;
	bool bad = false;

	bad |= curl_easy_setopt(c, CURLOPT_PRIVATE, (void *)post) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_ERRORBUFFER, post->reason) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_PROXY, "") != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_POST, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, KEPT_S) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, 2L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, 1L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, on_sockopt) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_WRITEDATA, post) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_HEADERDATA, post) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_XFERINFODATA, post) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_READDATA, post) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek) != CURLE_OK;
	bad |= curl_easy_setopt(c, CURLOPT_SEEKDATA, post) != CURLE_OK;
	return !bad;
}

static bool set_tls(struct etcd_post *post)
{
	const struct etcd_tls *tls = &post->http->tls;
	CURL *c = post->curl;
	bool bad = false;

	/* So that a file that changes is read again. */
	bad |= curl_easy_setopt(c, CURLOPT_CA_CACHE_TIMEOUT, 0L) != CURLE_OK;
	if (tls->ca)
		bad |= curl_easy_setopt(c, CURLOPT_CAINFO, tls->ca) != CURLE_OK;
	if (tls->cert)
		bad |= curl_easy_setopt(c, CURLOPT_SSLCERT, tls->cert) != CURLE_OK;
	if (tls->key)
		bad |= curl_easy_setopt(c, CURLOPT_SSLKEY, tls->key) != CURLE_OK;
	return !bad;
}

static bool add_header(struct etcd_post *post, const char *line)
{
	struct curl_slist *list = curl_slist_append(post->headers, line);

	if (list)
		post->headers = list;
	return list != NULL;
}

static bool set_headers(struct etcd_post *post, const struct etcd_request *request)
{
	char line[256];
	bool good = add_header(post, "Content-Type: application/json");

	/* Without a leader the answer is then "no leader", at once. */
	good &= request->leaderless || add_header(post, "Grpc-Metadata-hasleader: true");
	good &= add_header(post, "Expect:");
	if (request->token) {
		good &= (size_t)snprintf(line, sizeof(line), "Authorization: %s", request->token) < sizeof(line);
		good &= add_header(post, line);
	}
	return good && curl_easy_setopt(post->curl, CURLOPT_HTTPHEADER, post->headers) == CURLE_OK;
}

static struct etcd_post *post_new(struct etcd_http *http)
{
	struct list *link = list_pop_front(&http->spare);
	struct etcd_post *post;

	if (link) {
		http->n_spare--;
		return LIST_ENTRY_OF(link, struct etcd_post, link);
	}
	post = calloc(1, sizeof(*post));
	if (!post)
		return NULL;
	list_init(&post->link);
	post->http = http;
	post->curl = curl_easy_init();
	if (post->curl && set_common(post) && set_tls(post))
		return post;
	post_free(post);
	return NULL;
}

struct etcd_post *etcd_post(struct etcd_http *http, const struct etcd_request *request,
			    const struct etcd_post_calls *calls)
{
	struct etcd_post *post = post_new(http);
	bool bad = false;

	if (!post)
		return NULL;
	post->body = request->body;
	post->calls = *calls;
	post->read = post->header_size = 0;
	post->reason[0] = '\0';
	post->paused = false;
	bad |= curl_easy_setopt(post->curl, CURLOPT_URL, request->url) != CURLE_OK;
	bad |= curl_easy_setopt(post->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len) != CURLE_OK;
	bad |= curl_easy_setopt(post->curl, CURLOPT_TIMEOUT_MS, request->timeout_ms) != CURLE_OK;
	if (bad || !set_headers(post, request) || curl_multi_add_handle(http->multi, post->curl) != CURLM_OK) {
		post_free(post);
		return NULL;
	}
	list_push_back(&http->posts, &post->link);
	return post;
}

void etcd_post_cancel(struct etcd_post *post)
{
	if (post)
		post_spare(post);
}

/* ----------------------------------------------------------------- life cycle */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT); /* curl_multi_init() tells */
}

static bool set_multi(struct etcd_http *http)
{
	bool bad = false;

	bad |= curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, set_socket) != CURLM_OK;
	bad |= curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http) != CURLM_OK;
	bad |= curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK;
	bad |= curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http) != CURLM_OK;
	bad |= curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, KEPT_MAX) != CURLM_OK;
	return !bad;
}

int etcd_http_open(uv_loop_t *loop, const struct etcd_tls *tls, void (*turned)(void *ctx), void *ctx,
		   struct etcd_http **ret, struct err *err)
{
	struct etcd_http *http = calloc(1, sizeof(*http));

	(void)pthread_once(&curl_once, curl_start); /* cannot fail */
	if (!http)
		return err_set(err, -ENOMEM, "out of memory");
	*http = (struct etcd_http){ .loop = loop, .tls = *tls, .turned = turned, .ctx = ctx };
	list_init(&http->posts);
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

void etcd_http_close(struct etcd_http *http, void (*closed)(void *ctx), void *ctx)
{
	http->closing = true;
	http->closed = closed;
	http->closed_ctx = ctx;
	LIST_FOR_EACH_SAFE(link, &http->posts)
		post_spare(LIST_ENTRY_OF(link, struct etcd_post, link));
	LIST_FOR_EACH_SAFE(link, &http->spare)
		post_free(LIST_ENTRY_OF(link, struct etcd_post, link));
	(void)curl_multi_cleanup(http->multi); /* lets go of all sockets */
	uv_close((uv_handle_t *)&http->timer, on_handle_closed);
	uv_close((uv_handle_t *)&http->again, on_handle_closed);
}
