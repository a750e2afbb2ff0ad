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
#include <unistd.h>

#include "tests/fuzz/answers.h"
#include "tests/fuzz/scheduler_fixture.h"

#define ROUNDS 64          /* of a connection: plenty, all of it is there at once */
#define ANSWER_MAX (256 * 1024)

static char answer[ANSWER_MAX + 1];

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int known[] = { 200, 400, 404, 405, 409, 413, 422, 503, 0 };
	static struct sockaddr_un at;
	static socklen_t at_size;
	struct err err = { 0 };
	int fd;

	if (!fixture.data) {
		fixture_open();
		fixture_options.control_fd = answers_listen(&at, &at_size);
		fixture_options.control = "fuzz";
		FUZZ_CHECK(!api_open(&fixture, &err));
	}
	fd = answers_connect(&at, at_size);
	(void)data_clock(fixture.data);
	if (size && !answers_want_head(data, size))
		answers_check(answer, talk(fd, data, size), known, plant);
	else if (size)
		(void)talk(fd, data, size);
	(void)close(fd); /* whatever it was about to say */
	for (int i = 0; i < 3; i++)
		step();
	if (fixture.current->epoch != 1)
		fixture_chains();
	return 0;
}
