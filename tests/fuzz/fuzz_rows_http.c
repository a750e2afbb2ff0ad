/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows over HTTP: the input is what a client writes on a connection, requests one behind
 * the other.  It goes through the aggregator's front, its routes, a group and an SQLite file, as
 * in mp-aggregator alone: targets, fields, bases, conditions, bodies of all calls, parcels,
 * imports and subscriptions.  Whatever comes, an answer has a status that docs/rows-api.md knows
 * (500 is none), and JSON is JSON.
 *
 * Rows stay from input to input; after INPUTS_MAX everything is closed, and begins
 * anew.  With FUZZ_PLANT the target keeps an error's text where it has no room.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "aggregator/rows/api/api.h"
#include "aggregator/rows/api/lines.h"
#include "aggregator/rows/engine/sqlite.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/slice.h"
#include "tests/fuzz/answers.h"

#define INPUTS_MAX 2000
#define ANSWER_MAX ((size_t)1 << 20)
#define QUIET 3         /* looks of a millisecond each without a byte: that was all */
#define LOOKS_MAX 200   /* a stream may go on for ever */
#define ROWS_MAX 50
#define TENANT_BYTES (UINT64_C(8) << 20)

static struct world {
	uv_loop_t loop;
	struct catalog *halves;
	struct group *group;
	struct http_server *server;
	struct rows_http http;
	struct sockaddr_un at;  /* where it listens */
	socklen_t at_size;
	char path[64];          /* of the file */
	unsigned inputs;        /* since it was opened */
	bool ready, closed;
} world;

static char answer[ANSWER_MAX + 1];

#ifdef FUZZ_PLANT
/* The planted bug: the text of an error may be longer than that. */
static void plant(const json_t *document)
{
	const char *text = json_string_value(json_object_get(document, "error"));
	char *copy = text && json_object_get(document, "floor") ? malloc(8) : NULL;

	for (size_t i = 0; copy && text[i]; i++)
		((char *volatile)copy)[i] = text[i];
	free(copy);
}
#else
static void plant(const json_t *document)
{
	(void)document; /* no bug in an honest build */
}
#endif

/* ------------------------------------------------------------------- the world */

static void on_known(void *ctx)
{
	(void)ctx;
}

static void on_ready(void *ctx)
{
	(void)ctx;
	world.ready = true;
}

static void on_failed(void *ctx, const char *why)
{
	(void)ctx;
	(void)why;
	FUZZ_CHECK(false);
}

static void on_row(void *ctx, struct row *row)
{
	(void)ctx;
	rows_http_row(&world.http, row);
}

static void remove_file(void)
{
	static const char *const ends[] = { "", "-wal", "-shm", "-mark" };
	char path[96];

	for (size_t i = 0; world.path[0] && i < sizeof(ends) / sizeof(ends[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", world.path, ends[i]);
		(void)unlink(path); /* it may not be there */
	}
}

static void open_group(void)
{
	const struct group_calls calls = { on_known, on_ready, on_failed, on_row, NULL };
	struct group_options options = { .loop = &world.loop, .tenant = MP_LIT("t"), .member = MP_LIT("m1"), .shards = 4,
					 .rows_max = ROWS_MAX, .halves = world.halves, .alone = true,
					 .limits = { .rows = 64, .bytes = 1 << 20, .waiting = 1024,
						     .set = { .tenant_bytes = TENANT_BYTES }, .snapshot_cells = 8,
						     .snapshot_bytes = 4096 } };
	struct err err = { 0 };

	FUZZ_CHECK(!engine_sqlite_open(&world.loop, &(struct engine_sqlite_options){ .path = world.path },
				       &options.engine, &err));
	FUZZ_CHECK(!group_open(&options, &calls, &world.group, &err));
}

static void open_world(void)
{
	struct http_options options = http_options_default();
	static bool cleans;
	struct err err = { 0 };

	if (!cleans)
		cleans = !atexit(remove_file);
	/* In memory: no disk is to be waited for. */
	(void)snprintf(world.path, sizeof(world.path), "%s/fuzz-rows-%d.db", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm",
		       (int)getpid());
	remove_file(); /* without its mark: cells that it speaks of would be missing */
	log_open("fuzz", LOG_LEVEL_OFF);
	FUZZ_CHECK(!uv_loop_init(&world.loop) && !catalog_new(&(struct catalog_options){ 0 }, &world.halves, &err));
	world.ready = world.closed = false;
	open_group();
	rows_http_init(&world.http, &world.loop);
	world.http.group = world.group;
	world.http.halves = world.halves;
	world.http.member = "m1";
	world.http.put_ns = world.http.read_ns = NS_PER_S;
	world.http.cell_max = 4096;
	world.http.request_max = 16384;
	world.http.started_ns = group_now(world.group);
	options.listen_fd = answers_listen(&world.at, &world.at_size);
	options.address = "fuzz";
	options.threads = 1;
	FUZZ_CHECK(!http_server_start(&world.server, &world.loop, &options, rows_routes, &world.http, &err));
	world.http.server = world.server;
	while (!world.ready || !group_owner(world.group))
		(void)uv_run(&world.loop, UV_RUN_ONCE);
}

static void on_group_closed(void *ctx)
{
	(void)ctx;
	rows_http_fini(&world.http);
	world.closed = true;
}

static void on_stopped(void *ctx)
{
	(void)ctx;
	group_close(world.group, 100, on_group_closed, NULL);
}

static void close_world(void)
{
	rows_end_streams(&world.http, "stopping", "this member stops");
	rows_end_lines(&world.http, "this member stops");
	http_server_stop(world.server, 100, on_stopped, NULL);
	while (!world.closed)
		(void)uv_run(&world.loop, UV_RUN_ONCE);
	(void)uv_run(&world.loop, UV_RUN_DEFAULT);
	FUZZ_CHECK(!uv_loop_close(&world.loop));
	catalog_free(world.halves);
	remove_file();
	world = (struct world){ .inputs = 0 };
}

/* -------------------------------------------------------------- a conversation */

/* False: nothing more comes. */
static bool take(int fd, size_t *got)
{
	ssize_t n = recv(fd, answer + *got, ANSWER_MAX - *got, MSG_DONTWAIT);

	*got += n > 0 ? (size_t)n : 0;
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static size_t talk(int fd, const uint8_t *data, size_t size)
{
	size_t sent = 0, got = 0;

	for (int quiet = 0, looks = 0; quiet < QUIET && looks < LOOKS_MAX && got < ANSWER_MAX; looks++) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		ssize_t n = sent < size ? send(fd, data + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
		size_t before = got;

		sent += n > 0 ? (size_t)n : 0;
		if (sent == size && n > 0)
			(void)shutdown(fd, SHUT_WR); /* what is not whole by now never will be */
		(void)uv_run(&world.loop, UV_RUN_NOWAIT);
		(void)poll(&ready, 1, 1);
		if (!take(fd, &got))
			break;
		quiet = n > 0 || got > before ? 0 : quiet + 1;
	}
	answer[got] = '\0';
	return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* All of docs/rows-api.md, and what the front says itself. */
	static const int known[] = { 200, 201, 202, 307, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 414, 417, 421, 422,
				     429, 431, 501, 503, 504, 505, 507, 0 };
	size_t got;
	int fd;

	if (!size)
		return 0;
	if (!world.server)
		open_world();
	fd = answers_connect(&world.at, world.at_size);
	got = talk(fd, data, size);
	(void)close(fd); /* whatever it was about to say */
	if (!answers_want_head(data, size))
		answers_check(answer, got, known, plant);
	if (++world.inputs >= INPUTS_MAX)
		close_world();
	return 0;
}
