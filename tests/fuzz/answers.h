/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For targets that are servers: a connection to one, and what its answers have
 * to be, whatever was asked.
 */
#ifndef TESTS_FUZZ_ANSWERS_H
#define TESTS_FUZZ_ANSWERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/fuzz/replay.h"

/* A listening socket without a name in the file system. */
static inline int answers_listen(struct sockaddr_un *at, socklen_t *ret_size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*ret_size = sizeof(sa_family_t);
	FUZZ_CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)at, *ret_size) && !listen(fd, 16));
	*ret_size = sizeof(*at);
	FUZZ_CHECK(!getsockname(fd, (struct sockaddr *)at, ret_size));
	return fd;
}

/* Waits while a server with threads has no time to accept. */
static inline int answers_connect(const struct sockaddr_un *at, socklen_t size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	FUZZ_CHECK(fd >= 0 && !connect(fd, (const struct sockaddr *)at, size));
	return fd;
}

/* An answer to HEAD has a length and no body: what follows cannot be told apart here. */
static inline bool answers_want_head(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 4 <= size; i++)
		if (!strncasecmp((const char *)data + i, "HEAD", 4))
			return true;
	return false;
}

/* What was answered may depend on earlier inputs: it is said, and not only that it was wrong. */
static inline void answers_must(bool good, const char *what, const char *head, const char *body, size_t size)
{
	if (!good)
		fprintf(stderr, "%s: %s\n%.*s\n", what, head, (int)size, body);
	FUZZ_CHECK(good);
}

#define ANSWERS_JSON "\r\nContent-Type: application/json" /* a key of a client's may have the words as well */

/* One answer of ours: JSON.  Those of libmicrohttpd itself are HTML. */
static inline void answers_check_body(const char *head, const char *body, size_t size, void (*plant)(const json_t *))
{
	json_t *document;

	if (!strstr(head, ANSWERS_JSON))
		return;
	document = json_loadb(body, size, 0, NULL);
	answers_must(json_is_object(document), "not JSON", head, body, size);
	plant(document);
	json_decref(document);
}

/*
 * `answer`, of size bytes and a NUL, as far as its answers have lengths: each has one of the
 * known statuses (0 ends them) when it is JSON, and then it is JSON.
 */
static inline void answers_check(char *answer, size_t size, const int *known, void (*plant)(const json_t *))
{
	char *at = answer, *end;

	while ((end = strstr(at, "\r\n\r\n"))) {
		long status, length;
		bool found = false;
		char *line;

		*end = '\0';
		answers_must(!strncmp(at, "HTTP/1.", 7), "not HTTP", at, "", 0);
		status = strtol(at + sizeof("HTTP/1.1"), NULL, 10);
		line = strstr(at, "Content-Length: ");
		if (strstr(at, "Transfer-Encoding:") || strstr(at, "text/html"))
			return; /* a stream, or libmicrohttpd's own, which may have two heads and is the last */
		length = line ? strtol(line + sizeof("Content-Length: ") - 1, NULL, 10) : 0;
		if ((size_t)(end + 4 - answer) + (size_t)length > size)
			return; /* an answer to HEAD, or more than we read */
		for (size_t i = 0; known[i]; i++)
			found |= known[i] == status;
		answers_must(found || !strstr(at, ANSWERS_JSON), "no such status", at, end + 4, (size_t)length);
		answers_check_body(at, end + 4, (size_t)length, plant);
		at = end + 4 + length;
	}
}

#endif
