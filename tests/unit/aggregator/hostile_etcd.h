/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An etcd that answers whatever a case says, for test_engine_etcd_hostile.c: a process of
 * its own with a thread for each connection, which speaks as much HTTP/2 as that needs
 * (RFC 9113, RFC 7541).  The engine's own questions it answers well.
 *
 * Messages are written as text: `1=7` a number, `1'x'` bytes, `1{...}` a message within, each
 * behind the number of its field; `;` ends a message and begins the next.
 */
#ifndef TESTS_UNIT_AGGREGATOR_HOSTILE_ETCD_H
#define TESTS_UNIT_AGGREGATOR_HOSTILE_ETCD_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/slice.h"

#define HEADER "1{1=7 2=1 3=90 4=2} " /* of every answer: cluster 7, revision 90, behind all events */
#define ENDLESS (256 << 20) /* bytes; nobody takes so many */

/* What a case sends behind the head of its answer. */
enum sending {
	MESSAGES, /* text, then the status */
	BYTES,    /* the bytes of text as they are, then the status */
	NO_END,   /* text and the end of the stream, without a status */
	CUT,      /* text, then the end of the connection */
	HOLD,     /* text, then nothing */
	REPEAT,   /* text, then `more` as bytes again and again */
	HEAD,     /* no answer but its head, which is HTTP's status `more` */
	/* Without a head: */
	RAW,      /* the bytes of text, then the end of the connection */
	FLOOD,    /* the bytes of text, then those of `more` again and again */
	SILENCE,  /* nothing */
};

struct hostile {
	const char *name;
	enum sending how;
	struct mp_str text, more;
	const char *status;  /* gRPC's; NULL: 0 */
	const char *message; /* of the status, or NULL */
};

#define S(text) MP_LIT_INIT(text)
#define NONE S("")

/* ------------------------------------------------------------------- messages */

static void add_varint(struct buf *out, uint64_t n)
{
	for (; n > 127; n >>= 7)
		buf_add(out, (const char[]){ (char)(n | 128) }, 1);
	buf_add(out, (const char[]){ (char)n }, 1);
}

static void add_bytes(struct buf *out, unsigned field, struct mp_str bytes)
{
	add_varint(out, field << 3 | 2);
	add_varint(out, bytes.len);
	buf_add_slice(out, bytes);
}

/* Fields up to `}`, `;` or the end; where that is. */
static const char *add_fields(struct buf *out, const char *at, const char *end)
{
	while (at < end && *at != '}' && *at != ';') {
		char *next;
		unsigned field = (unsigned)strtoul(at, &next, 10);
		struct buf inner;

		buf_init(&inner, 1 << 16);
		at = next + 1;
		if (*next == '=') {
			add_varint(out, field << 3);
			add_varint(out, (uint64_t)strtoll(at, &next, 10));
			at = next;
		} else if (*next == '{') {
			at = add_fields(&inner, at, end) + 1;
			add_bytes(out, field, buf_slice(&inner));
		} else {
			next = strchr(at, '\'');
			add_bytes(out, field, slice_make(at, (size_t)(next - at)));
			at = next + 1;
		}
		buf_fini(&inner);
		at += at < end && *at == ' ';
	}
	return at;
}

/* The messages of a text, each behind gRPC's prefix. */
static void add_messages(struct buf *out, struct mp_str text)
{
	const char *at = text.ptr, *end = text.ptr + text.len;

	while (at < end) {
		struct buf message;

		buf_init(&message, 1 << 16);
		at = add_fields(&message, at, end) + 1; /* none is longer than 255 bytes */
		buf_add(out, (const char[]){ 0, 0, 0, 0, (char)message.len }, 5);
		buf_add_slice(out, buf_slice(&message));
		buf_fini(&message);
	}
}

/* -------------------------------------------------------------------- the server */

enum frame { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6 };

#define END_STREAM 1
#define ACK 1
#define END_HEADERS 4
#define FRAME 9     /* bytes of its head */
#define PREFACE 24  /* bytes that a client begins with */

/* Shared with the server's process. */
static struct shared {
	_Atomic(const struct hostile *) now; /* the same address in both */
	atomic_int asked;                    /* requests that were not the engine's own */
} *shared;

static bool send_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		size -= (size_t)n;
	}
	return true;
}

static void add_frame(struct buf *out, enum frame type, int flags, uint32_t stream, struct mp_str payload)
{
	buf_add(out, (const char[]){ 0, (char)(payload.len >> 8), (char)payload.len, (char)type, (char)flags, 0, 0,
				     (char)(stream >> 8), (char)stream }, FRAME);
	buf_add_slice(out, payload);
}

static bool send_frame(int fd, enum frame type, int flags, uint32_t stream, struct mp_str payload)
{
	struct buf out;
	bool sent;

	buf_init(&out, 1 << 17);
	add_frame(&out, type, flags, stream, payload);
	sent = send_all(fd, out.ptr, out.len);
	buf_fini(&out);
	return sent;
}

/* HPACK (RFC 7541): a literal with a name of its own, or with that of the static table. */
static void add_literal(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "%c%c%s%c%s", 0x40, (int)strlen(name), name, (int)strlen(value), value);
}

static bool send_head(int fd, uint32_t stream, int flags, const char *status)
{
	struct buf out;
	bool sent;

	buf_init(&out, 1000);
	buf_printf(&out, "\x48%c%s", (int)strlen(status), status); /* :status */
	add_literal(&out, "content-type", "application/grpc");
	sent = send_frame(fd, HEADERS, END_HEADERS | flags, stream, buf_slice(&out));
	buf_fini(&out);
	return sent;
}

static bool send_status(int fd, uint32_t stream, const char *status, const char *message)
{
	struct buf out;
	bool sent;

	buf_init(&out, 1000);
	add_literal(&out, "grpc-status", status ? status : "0");
	if (message)
		add_literal(&out, "grpc-message", message);
	sent = send_frame(fd, HEADERS, END_HEADERS | END_STREAM, stream, buf_slice(&out));
	buf_fini(&out);
	return sent;
}

/* `more` as often as it fits into 16 KiB, again and again: in frames of data, or as it is. */
static void send_repeated(int fd, uint32_t stream, struct mp_str more, bool framed)
{
	struct buf part, out;

	buf_init(&part, 1 << 14);
	buf_init(&out, 1 << 16);
	while (more.len && part.len + more.len <= part.max)
		buf_add_slice(&part, more);
	if (framed)
		add_frame(&out, DATA, 0, stream, buf_slice(&part));
	else
		buf_add_slice(&out, buf_slice(&part));
	for (size_t sent = 0; sent < ENDLESS && send_all(fd, out.ptr, out.len); sent += out.len)
		;
	buf_fini(&part);
	buf_fini(&out);
}

/* False: the connection is over. */
static bool answer_framed(int fd, uint32_t stream, const struct hostile *now)
{
	struct buf text;
	bool sent = send_head(fd, stream, now->how == HEAD ? END_STREAM : 0, now->how == HEAD ? now->more.ptr : "200");

	buf_init(&text, 1 << 16);
	if (now->how == BYTES)
		buf_add_slice(&text, now->text);
	else
		add_messages(&text, now->text);
	if (sent && text.len)
		sent = send_frame(fd, DATA, now->how == NO_END ? END_STREAM : 0, stream, buf_slice(&text));
	buf_fini(&text);
	if (now->how == REPEAT)
		send_repeated(fd, stream, now->more, true);
	if (sent && (now->how == MESSAGES || now->how == BYTES))
		sent = send_status(fd, stream, now->status, now->message);
	return sent && now->how != CUT && now->how != REPEAT;
}

static bool answer_one(int fd, uint32_t stream, struct mp_str body)
{
	static const struct hostile own = { "", MESSAGES, S(HEADER ";"), NONE, NULL, NULL };
	const struct hostile *now = atomic_load(&shared->now);

	/* The engine's own questions only count. */
	if (body.len > 2 && !memcmp(body.ptr + body.len - 2, "\x48\x01", 2))
		return answer_framed(fd, stream, &own);
	atomic_fetch_add(&shared->asked, 1);
	if (now->how == SILENCE)
		return true;
	if (now->how != RAW && now->how != FLOOD)
		return answer_framed(fd, stream, now);
	(void)send_all(fd, now->text.ptr, now->text.len);
	if (now->how == FLOOD)
		send_repeated(fd, stream, now->more, false);
	return false;
}

static bool receive(int fd, void *to, size_t size)
{
	return !size || recv(fd, to, size, MSG_WAITALL) == (ssize_t)size;
}

/* Requests are small and come one after another: one body is gathered at a time. */
static bool serve_frame(int fd, char *body, size_t room, size_t *have)
{
	unsigned char head[FRAME];
	size_t size;
	uint32_t stream;

	if (!receive(fd, head, FRAME))
		return false;
	size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
	stream = (uint32_t)(head[7] << 8 | head[8]);
	if (size > room - *have || !receive(fd, body + *have, size))
		return false;
	if (head[3] == SETTINGS && !(head[4] & ACK))
		return send_frame(fd, SETTINGS, ACK, 0, slice_make("", 0));
	if (head[3] == PING && !(head[4] & ACK))
		return send_frame(fd, PING, ACK, 0, slice_make(body + *have, size));
	if (head[3] != DATA)
		return true;
	*have += size;
	if (!(head[4] & END_STREAM))
		return true;
	size = *have;
	*have = 0;
	return answer_one(fd, stream, slice_make(body, size));
}

static void *serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char body[1 << 15];
	size_t have = 0;

	if (receive(fd, body, PREFACE) && send_frame(fd, SETTINGS, 0, 0, slice_make("", 0)))
		while (serve_frame(fd, body, sizeof(body), &have))
			;
	close(fd);
	return NULL;
}

static void serve(int listener)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd >= 0 && !pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd))
			pthread_detach(thread);
	}
}

/* The process, and its address in url; -1: none. */
static pid_t start_server(char *url, size_t size)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)&address, &length))
		return -1;
	(void)snprintf(url, size, "http://127.0.0.1:%d", ntohs(address.sin_port));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fd);
	}
	close(fd);
	return pid;
}

#endif
