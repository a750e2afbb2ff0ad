/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of rows (lib/rows_client.h), driven by lines: tests/functional/73-rows-client.t
 * writes what is to be done, one call a line, and reads what has become of it, one
 * JSON object a line, in the order in which calls end.
 *
 *	rows_client [--history FILE] [--timeout TIME] ... URL...
 *
 *	put ROW TEXT [KEY [BASE]]     many ROW TEXT...          put-if ROW HIGHEST TEXT
 *	latest ROW   seq ROW N        range ROW FROM            stale ROW    wait ROW SEQ MS
 *	highest ROW  check ROW TEXT...  policy ROW CHECK        delete ROW
 *	subscribe ROW FROM            follow ROW FROM           prefix NAME  join ROW   leave ID
 *	load ROW[,ROW...] PUTS OUTSTANDING
 *
 * TEXT "" is an empty one.  ID is the number of the line that subscribed, from 1.  `follow` and `load` say
 * little; the history (tests/rows/README.md) has all they did.  Standard input's
 * end closes the client.
 */
#include "lib/opt.h"
#include "tests/functional/prog/rows_client_priv.h"

static const char *history_file, *token, *ca, *cert, *key;
static int64_t timeout_ms, attempt_ms, open_ms;

static const struct opt opts[] = {
	{ .name = "history", .type = OPT_STRING, .target = &history_file, .arg = "FILE", .help = "write it there" },
	{ .name = "token", .type = OPT_STRING, .target = &token, .arg = "TOKEN", .help = "bearer token" },
	{ .name = "ca", .type = OPT_STRING, .target = &ca, .arg = "FILE", .help = "authorities" },
	{ .name = "cert", .type = OPT_STRING, .target = &cert, .arg = "FILE", .help = "certificate" },
	{ .name = "key", .type = OPT_STRING, .target = &key, .arg = "FILE", .help = "its key" },
	{ .name = "timeout", .type = OPT_DURATION_MS, .target = &timeout_ms, .def = "30s", .arg = "TIME",
	  .help = "deadline of a request" },
	{ .name = "attempt", .type = OPT_DURATION_MS, .target = &attempt_ms, .def = "2s", .arg = "TIME",
	  .help = "of an attempt" },
	{ .name = "open", .type = OPT_DURATION_MS, .target = &open_ms, .def = "10s", .arg = "TIME",
	  .help = "in which an attempt may be applied" },
	{ .name = "heartbeat", .type = OPT_DURATION_MS, .target = &driven.heartbeat_ms, .def = "500ms", .arg = "TIME",
	  .help = "of subscriptions" },
	{ .name = NULL },
};

struct driven driven;

static const struct {
	const char *name;
	size_t words; /* at least, its name included */
	void (*work)(char **word, size_t n);
} commands[] = {
	{ "put", 3, do_put }, { "many", 3, do_many }, { "put-if", 4, do_put_if }, { "latest", 2, do_latest },
	{ "stale", 2, do_stale }, { "seq", 3, do_seq }, { "range", 3, do_range }, { "wait", 4, do_wait },
	{ "highest", 2, do_highest }, { "check", 3, do_check }, { "policy", 3, do_policy },
	{ "delete", 2, do_delete }, { "subscribe", 3, do_subscribe }, { "follow", 3, do_follow },
	{ "prefix", 2, do_prefix }, { "join", 2, do_join }, { "leave", 2, do_leave }, { "load", 4, do_load },
};

static void on_line(char *line)
{
	char *words[WORDS_MAX], *save = NULL;
	size_t n = 0;

	driven.lines++;
	for (char *word = strtok_r(line, " ", &save); word && n < WORDS_MAX; word = strtok_r(NULL, " ", &save))
		words[n++] = strcmp(word, "\"\"") ? word : word + 2;
	for (size_t i = 0; n && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, words[0]) != 0 || n < commands[i].words)
			continue;
		commands[i].work(words, n);
		return;
	}
	fprintf(stderr, "rows_client: line %" PRIu64 " is none\n", driven.lines);
	exit(2);
}

static struct buf input;

static void on_closed(void *ctx)
{
	(void)ctx;
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
	static char bytes[65536];

	(void)handle;
	(void)size;
	*ret = uv_buf_init(bytes, sizeof(bytes));
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	char *end;

	if (n < 0) {
		uv_close((uv_handle_t *)stream, NULL);
		rows_client_close(driven.client, on_closed, NULL);
		return;
	}
	(void)buf_add(&input, bytes->base, (size_t)n);
	while (input.len && (end = memchr(input.ptr, '\n', input.len))) {
		size_t size = (size_t)(end - input.ptr) + 1;
		char *line = slice_dup(slice_make(input.ptr, size - 1));

		on_line(line);
		free(line);
		buf_consume(&input, size);
	}
}

static int open_client(int n, char **urls)
{
	const struct rows_client_options options = {
		.urls = (const char *const *)urls, .n_urls = (size_t)n, .token = token, .ca = ca, .cert = cert, .key = key,
		.timeout_ms = (uint64_t)timeout_ms, .attempt_ms = (uint64_t)attempt_ms, .open_ms = (uint64_t)open_ms,
		.attempt = on_attempt };
	struct err err = { 0 };

	if (rows_client_open(&driven.loop, &options, &driven.client, &err) == 0)
		return 0;
	fprintf(stderr, "rows_client: %s\n", err.text);
	return -1;
}

int main(int argc, char **argv)
{
	static const struct opt_command cmd = { .name = "rows_client", .usage = "[OPTION]... URL...",
						.summary = "drive the client of rows", .opts = opts };
	struct err err = { 0 };
	uv_pipe_t in;
	int first, rc = opt_parse(&cmd, argc, argv, &first, &err);

	if (rc) {
		fprintf(stderr, "rows_client: %s\n", err.text);
		return 2;
	}
	if (history_file) {
		driven.history = fopen(history_file, "w");
		if (!driven.history)
			return 1;
		fprintf(driven.history, "{\"t\":0,\"e\":\"history\",\"v\":1}\n");
	}
	buf_init(&input, 1u << 20);
	uv_loop_init(&driven.loop);
	if (open_client(argc - first, argv + first))
		return 2;
	uv_pipe_init(&driven.loop, &in, 0);
	uv_pipe_open(&in, 0);
	uv_read_start((uv_stream_t *)&in, on_alloc, on_input);
	uv_run(&driven.loop, UV_RUN_DEFAULT);
	buf_fini(&input);
	if (driven.history)
		fclose(driven.history);
	return uv_loop_close(&driven.loop) ? 3 : 0;
}
