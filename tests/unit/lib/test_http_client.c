/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/http_client against a server of canned answers. */
#include "lib/http_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static char socket_path[64];
static int listener;

/* One connection: what came, and what is answered (NULL: nothing, ever). */
static struct {
	char got[4096];
	const char *reply;
	const char *until;
} server;

static void *serve_once(void *arg)
{
	int fd = accept(listener, NULL, NULL);
	size_t len = 0;
	ssize_t n;

	(void)arg;
	server.got[0] = '\0';
	while (!strstr(server.got, server.until) &&
	       (n = read(fd, server.got + len, sizeof(server.got) - 1 - len)) > 0) {
		len += (size_t)n;
		server.got[len] = '\0';
	}
	if (server.reply && write(fd, server.reply, strlen(server.reply)) < 0)
		perror("write");
	while (!server.reply && read(fd, (char[1]){0}, 1) > 0)
		; /* until the client gives up */
	close(fd);
	return NULL;
}

static int call(struct http_request request, const char *reply, const char *until,
		struct http_reply *ret, struct err *err)
{
	pthread_t thread;
	int rc;

	server.reply = reply;
	server.until = until;
	if (pthread_create(&thread, NULL, serve_once, NULL))
		return -EAGAIN;
	request.unix_socket = socket_path;
	rc = http_call(&request, ret, err);
	pthread_join(thread, NULL);
	return rc;
}

static void test_calls(void)
{
	const char *headers[] = {"Authorization: bearer x", NULL};
	struct http_request get = {.url = "http://localhost/v1/chains?x=1"};
	struct http_request post = {.url = "http://localhost/v1/chains", .method = "PUT",
				    .body = MP_LIT("{\"a\":1}"), .headers = headers};
	struct http_reply reply;
	struct err err = {0};

	is_int(call(get, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "\r\n\r\n", &reply, &err), 0,
	       "GET %s", err.text);
	is_int(reply.status, 200, "status");
	is_str(buf_str(&reply.body), "hi", "body");
	ok(!strncmp(server.got, "GET /v1/chains?x=1 HTTP/1.1\r\n", 29), "as sent");
	http_reply_fini(&reply);
	is_int(call(post, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "{\"a\":1}", &reply, &err),
	       0, "PUT; any status is a reply");
	is_int(reply.status, 404, "status");
	is_str(buf_str(&reply.body), "", "no body");
	ok(strstr(server.got, "PUT /v1/chains ") && strstr(server.got, "\r\nContent-Length: 7\r\n"),
	   "method and length");
	ok(strstr(server.got, "\r\nContent-Type: application/json\r\n") != NULL, "JSON by default");
	ok(strstr(server.got, "\r\nAuthorization: bearer x\r\n") != NULL, "header");
	ok(!strstr(server.got, "Expect"), "no waiting for a 100");
	http_reply_fini(&reply);
}

static void test_variants(void)
{
	const char *headers[] = {"content-type: text/plain", NULL};
	struct http_request empty = {.url = "http://localhost/", .method = "POST"};
	struct http_request text = {.url = "http://localhost/", .body = MP_LIT("x"), .headers = headers};
	const char *none = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
	struct http_reply reply;
	struct err err = {0};

	is_int(call(empty, none, "\r\n\r\n", &reply, &err), 0, "POST without a body");
	ok(strstr(server.got, "\r\nContent-Length: 0\r\n") != NULL, "says so");
	is_int(reply.status, 302, "redirects are not followed");
	http_reply_fini(&reply);
	is_int(call(text, none, "\r\n\r\nx", &reply, &err), 0, "a body makes a POST");
	ok(!strncmp(server.got, "POST ", 5), "of any type");
	ok(!strstr(server.got, "application/json"), "that the caller names");
	http_reply_fini(&reply);
}

/* What on_part() was given. */
struct parts {
	struct buf got; /* behind one another */
	int stop;       /* what it returns */
};

static int on_part(void *ctx, struct mp_str part)
{
	struct parts *parts = ctx;

	buf_add_slice(&parts->got, part);
	return parts->stop;
}

static void test_parts(void)
{
	struct parts parts = {.stop = 0};
	struct http_request get = {.url = "http://localhost/", .on_part = on_part, .ctx = &parts, .idle_s = 5};
	const char *no = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
	struct http_reply reply;
	struct mp_str value;
	struct err err = {0};

	buf_init(&parts.got, 100);
	is_int(call(get, "HTTP/1.1 100 Continue\r\nX: old\r\n\r\n"
			 "HTTP/1.1 200 OK\r\nX-Two:  b c \r\nx-two: d\r\nEmpty:\r\n\r\nhello", "\r\n\r\n",
		    &reply, &err), 0, "a body in parts %s", err.text);
	is_str(buf_str(&parts.got), "hello", "comes to the caller");
	is_str(buf_str(&reply.body), "", "and not into the reply");
	ok(http_reply_field(&reply, "X-TWO", &value) && slice_eq(value, MP_LIT("b c")), "a field of the head");
	ok(http_reply_field(&reply, "empty", &value) && !value.len, "an empty one");
	ok(!http_reply_field(&reply, "X", &value), "none of the head before it");
	http_reply_fini(&reply);
	buf_reset(&parts.got);
	is_int(call(get, no, "\r\n\r\n", &reply, &err), 0, "an error's body %s", err.text);
	is_str(buf_str(&parts.got), "", "is no part");
	is_str(buf_str(&reply.body), "no", "but the reply's");
	http_reply_fini(&reply);
	parts.stop = -ECANCELED;
	is_int(call(get, "HTTP/1.1 200 OK\r\n\r\nhello", "\r\n\r\n", &reply, &err), -ECANCELED,
	       "the caller may end it");
	get.idle_s = 1;
	parts.stop = 0;
	is_int(call(get, NULL, "\r\n\r\n", &reply, &err), -ETIMEDOUT, "silence ends it: %s", err.text);
	buf_fini(&parts.got);
}

/* Somebody listens, and takes nobody in: as with a machine that is gone, no answer comes to what connects. */
static void test_no_answer(void)
{
	struct http_request post = { .timeout_ms = 100, .body = MP_LIT("{}") };
	int full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), waiting[8];
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(in);
	struct http_reply reply;
	struct err err = { 0 };
	char url[64];

	if (!ok(!bind(full, (struct sockaddr *)&in, size) && !listen(full, 0) &&
		!getsockname(full, (struct sockaddr *)&in, &size), "a port"))
		return;
	for (size_t i = 0; i < 8; i++) {
		waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(waiting[i], (struct sockaddr *)&in, size); /* the first take all places */
	}
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(in.sin_port));
	post.url = url;
	is_int(http_call(&post, &reply, &err), -ECONNREFUSED, "no connection in time: nothing was sent: %s", err.text);
	for (size_t i = 0; i < 8; i++)
		close(waiting[i]);
	close(full);
}

static void test_failures(void)
{
	struct http_request get = {.url = "http://localhost/", .max_reply = 4, .timeout_ms = 20000};
	struct http_request nowhere = {.url = "http://localhost/", .unix_socket = "/nonexistent/socket"};
	struct http_request file = {.url = "file:///etc/passwd"};
	struct http_reply reply;
	struct err err = {0};

	is_int(call(get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "\r\n\r\n", &reply, &err),
	       -E2BIG, "a large reply: %s", err.text);
	get.timeout_ms = 100;
	is_int(call(get, NULL, "\r\n\r\n", &reply, &err), -ETIMEDOUT, "no reply: %s", err.text);
	get.timeout_ms = 20000;
	is_int(call(get, "garbage\r\n\r\n", "\r\n\r\n", &reply, &err), -EPROTO, "garbage: %s", err.text);
	is_int(call(get, "", "\r\n\r\n", &reply, &err), -EIO, "hung up: %s", err.text);
	is_int(http_call(&nowhere, &reply, &err), -ECONNREFUSED, "nobody there: %s", err.text);
	ok(!strncmp(err.text, "/nonexistent/socket: ", 21), "says where");
	is_int(http_call(&file, &reply, &err), -EPROTO, "no other protocols: %s", err.text);
	is_int(http_call(&(struct http_request){0}, &reply, &err), -EINVAL, "no URL");
}

int main(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char folder[] = "/tmp/test_http.XXXXXX";

	if (!mkdtemp(folder))
		return 1;
	snprintf(socket_path, sizeof(socket_path), "%s/s", folder);
	memcpy(addr.sun_path, socket_path, strlen(socket_path) + 1);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 1))
		return 1;
	test_calls();
	test_variants();
	test_parts();
	test_failures();
	test_no_answer();
	close(listener);
	unlink(socket_path);
	rmdir(folder);
	return done();
}
