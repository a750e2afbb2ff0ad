/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control API: the input is what a client writes on a connection.  It goes
 * through libmicrohttpd and the scheduler's own handlers, both sides of which
 * run here.  Every answer of ours must be JSON with a status that the API has.
 *
 * With FUZZ_PLANT the target itself has a bug in what it does with the answer
 * to an explain.
 */
#include <errno.h>
#include <microhttpd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/fuzz/scheduler_fixture.h"

#define ROUNDS 64          /* of a connection: plenty, all of it is there at once */
#define ANSWER_MAX (256 * 1024)

static char answer[ANSWER_MAX + 1];

/* A listening socket without a name in the file system. */
static int listen_here(struct sockaddr_un *at, socklen_t *ret_size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*ret_size = sizeof(sa_family_t);
	FUZZ_CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)at, *ret_size) && !listen(fd, 16));
	*ret_size = sizeof(*at);
	FUZZ_CHECK(!getsockname(fd, (struct sockaddr *)at, ret_size));
	return fd;
}

/* Both threads and the HTTP server, one step. */
static void step(void)
{
	(void)uv_run(&fixture.loop, UV_RUN_NOWAIT);
	(void)MHD_run(fixture.daemon);
	fixture_pump();
	(void)MHD_run(fixture.daemon);
}

static size_t talk(int fd, const uint8_t *data, size_t size)
{
	size_t sent = 0, got = 0;
	int quiet = 0;

	for (int i = 0; i < ROUNDS * 8 && quiet < 4; i++) {
		ssize_t n = sent < size ? send(fd, data + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

		sent += n > 0 ? (size_t)n : 0;
		step();
		quiet = n > 0 ? 0 : quiet + 1;
		n = recv(fd, answer + got, ANSWER_MAX - got, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		got += n > 0 ? (size_t)n : 0;
		quiet = n > 0 ? 0 : quiet;
	}
	answer[got] = '\0';
	return got;
}

#ifdef FUZZ_PLANT
/* The planted bug: a URL that meets a chain may be longer than that. */
static void plant(const json_t *document)
{
	const char *url = json_string_value(json_object_get(document, "url"));
	char *copy = url && json_object_get(document, "prefix") ? malloc(48) : NULL;

	for (size_t i = 0; copy && url[i]; i++)
		((char *volatile)copy)[i] = url[i];
	free(copy);
}
#else
static void plant(const json_t *document)
{
	(void)document; /* no bug in an honest build */
}
#endif

/* One answer of ours: JSON.  Those of libmicrohttpd itself are HTML. */
static void check_body(const char *head, const char *body, size_t size)
{
	json_t *document;

	if (!strstr(head, "application/json"))
		return;
	document = json_loadb(body, size, 0, NULL);
	FUZZ_CHECK(json_is_object(document));
	plant(document);
	json_decref(document);
}

static void check_answers(size_t size)
{
	static const int known[] = { 200, 400, 404, 405, 409, 413, 422, 503 };
	char *at = answer, *end;

	while ((end = strstr(at, "\r\n\r\n"))) {
		long status, length;
		bool found = false;
		char *line;

		*end = '\0';
		FUZZ_CHECK(!strncmp(at, "HTTP/1.", 7));
		status = strtol(at + sizeof("HTTP/1.1"), NULL, 10);
		line = strstr(at, "Content-Length: ");
		length = line ? strtol(line + sizeof("Content-Length: ") - 1, NULL, 10) : 0;
		if ((size_t)(end + 4 - answer) + (size_t)length > size)
			return; /* an answer to HEAD, or more than we read */
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found |= known[i] == status;
		if (strstr(at, "application/json"))
			FUZZ_CHECK(found);
		check_body(at, end + 4, (size_t)length);
		at = end + 4 + length;
	}
}

/* An answer to HEAD has a length and no body: what follows cannot be told apart here. */
static bool asks_head(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 4 <= size; i++)
		if (!strncasecmp((const char *)data + i, "HEAD", 4))
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sockaddr_un at;
	static socklen_t at_size;
	struct err err = { 0 };
	int fd;

	if (!fixture.data) {
		fixture_open();
		fixture_options.control_fd = listen_here(&at, &at_size);
		fixture_options.control = "fuzz";
		FUZZ_CHECK(!api_open(&fixture, &err));
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	FUZZ_CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&at, at_size));
	(void)data_clock(fixture.data);
	if (size && !asks_head(data, size))
		check_answers(talk(fd, data, size));
	else if (size)
		(void)talk(fd, data, size);
	(void)close(fd); /* whatever it was about to say */
	for (int i = 0; i < 3; i++)
		step();
	if (fixture.current->epoch != 1)
		fixture_chains();
	return 0;
}
