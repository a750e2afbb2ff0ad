/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe aggregator start, stop, status: an mp-aggregator of this user, in the background. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cf-plugin/background.h"
#include "cf-plugin/cli_group.h"
#include "cf-plugin/control.h"
#include "cf-plugin/rows_api.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/data_dir.h"
#include "lib/json.h"

#define PAUSE_US 20000     /* between two looks whether it is ready */
#define ASK_MS 2000        /* for a status */
#define WORDS_MAX 8        /* of ours, besides the user's */

static const char *data, *listen_on;
static int64_t wait_ms;
static bool force;

#define DATA_OPTION \
	{ .name = "data", .letter = 'd', .type = OPT_STRING, .target = &data, .arg = "DIR", .env = "MP_AGGREGATOR_DATA", \
	  .help = "its data directory (default: /var/lib/middlepipe for root, else ~/.local/state/middlepipe)" }

static const struct opt start_options[] = {
	DATA_OPTION,
	{ .name = "listen", .letter = 'l', .type = OPT_STRING, .target = &listen_on, .def = "127.0.0.1:9780",
	  .arg = "ADDRESS:PORT", .env = "MP_AGGREGATOR_LISTEN", .help = "where it serves" },
	{ .name = "wait", .type = OPT_DURATION_MS, .target = &wait_ms, .def = "30s", .min = 1, .max = 3600000, .arg = "TIME",
	  .help = "that it may take until it is ready" },
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt stop_options[] = {
	DATA_OPTION,
	{ .name = "wait", .type = OPT_DURATION_MS, .target = &wait_ms, .def = "15s", .min = 1, .max = 3600000, .arg = "TIME",
	  .help = "that it may take" },
	{ .name = "force", .type = OPT_FLAG, .target = &force, .help = "kill it after that; nothing that was acknowledged is lost" },
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt status_options[] = {
	DATA_OPTION,
	ROWS_TLS_OPTIONS,
	ROWS_JSON_OPTION,
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command start_command = {
	.name = "middlepipe aggregator start",
	.usage = "[OPTION]... [-- OPTION...]",
	.summary = "start an aggregator in the background",
	.text = "Starts mp-aggregator, waits until it is ready and prints its address. What follows -- goes to\n"
		"mp-aggregator. Its log is aggregator.log in the data directory, its pid and start time are in\n"
		"aggregator.pid. One that runs already is left alone.",
	.opts = start_options,
	.stop_at_operand = true,
	.examples = "middlepipe aggregator start\nmiddlepipe aggregator start --data /srv/rows -- --tokens tokens.json",
	.exit_codes = "0  it runs and is ready\n1  it does not\n2  wrong usage",
};

static const struct opt_command stop_command = {
	.name = "middlepipe aggregator stop",
	.usage = "[OPTION]...",
	.summary = "stop the aggregator that was started so",
	.opts = stop_options,
	.exit_codes = "0  it has ended, or none ran\n1  it has not\n2  wrong usage",
};

static const struct opt_command status_command = {
	.name = "middlepipe aggregator status",
	.usage = "[OPTION]...",
	.summary = "tell whether it runs and is ready",
	.opts = status_options,
	.exit_codes = "0  it runs and is ready\n1  it does not run, or is not ready\n2  wrong usage",
};

/* Where its files are. */
struct place {
	struct buf data, pid_file, log;
};

static int find_place(const struct opt_command *command, struct place *ret)
{
	struct err err = { 0 };
	int rc = data_dir_find(data, &ret->data, &err);

	buf_init(&ret->pid_file, PATH_MAX);
	buf_init(&ret->log, PATH_MAX);
	(void)buf_printf(&ret->pid_file, "%s/aggregator.pid", buf_str(&ret->data));
	(void)buf_printf(&ret->log, "%s/aggregator.log", buf_str(&ret->data));
	if (rc || ret->pid_file.error || ret->log.error)
		return cli_fail(command, CLI_FAILED, "%s", rc ? err.text : "the data directory's name is too long");
	return CLI_OK;
}

static void free_place(struct place *place)
{
	buf_fini(&place->data);
	buf_fini(&place->pid_file);
	buf_fini(&place->log);
}

/* One look: 200, another status, or 0 and why when there is no answer. */
static int ask(const char *url, const char *path, struct buf *ret_body, struct err *why)
{
	struct http_reply reply;
	struct buf full;
	/* It is here: a proxy would ask its own machine. */
	struct http_request request = { .timeout_ms = ASK_MS, .unix_socket = url[0] == '/' ? url : NULL, .direct = true,
					.ca_file = rows_options.ca, .cert_file = rows_options.cert, .key_file = rows_options.key };
	int status = 0;

	buf_init(&full, BACKGROUND_URL_MAX + 64);
	(void)buf_printf(&full, "%s%s", url[0] == '/' ? "http://localhost" : url, path);
	request.url = buf_str(&full);
	if (!http_call(&request, &reply, why)) {
		status = reply.status;
		if (ret_body)
			(void)buf_add_slice(ret_body, buf_slice(&reply.body));
		http_reply_fini(&reply);
	}
	buf_fini(&full);
	return status;
}

/* ------------------------------------------------------------------------- start */

static void find_program(char *out, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", out, size - sizeof("mp-aggregator"));
	char *slash;

	out[len > 0 ? len : 0] = '\0';
	slash = strrchr(out, '/');
	if (slash)
		(void)snprintf(slash + 1, size - (size_t)(slash + 1 - out), "mp-aggregator");
	if (!slash || access(out, X_OK) < 0)
		(void)snprintf(out, size, "mp-aggregator");
}

/* Options that we have to know ourselves. */
static const char *ours(const char *word)
{
	static const char *const names[] = { "--data", "--listen", "--ready-fd", "-d", "-l" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len = strlen(names[i]);

		if (!strncmp(word, names[i], len) && (!word[len] || word[len] == '=' || names[i][1] != '-'))
			return names[i];
	}
	return NULL;
}

/* "127.0.0.1:9780" or a path, as a URL. */
static void set_url(struct background *b, const char *address, bool tls)
{
	if (address[0] == '/')
		(void)snprintf(b->url, sizeof(b->url), "%s", address);
	else
		(void)snprintf(b->url, sizeof(b->url), "%s://%s", tls ? "https" : "http", address);
}

/* Over TLS it is known to serve, and no more: we may have no certificate for it. */
static int await_ready(const struct background *b)
{
	uint64_t end = clock_now(&clock_monotonic) + (uint64_t)wait_ms * NS_PER_MS;
	struct err why = { 0 };
	int status = 0;

	while (!slice_starts(slice_of(b->url), MP_LIT("https:"))) {
		why = (struct err){ "" };
		status = ask(b->url, "/readyz", NULL, &why);
		if (status == 200)
			break;
		if (clock_now(&clock_monotonic) >= end)
			return cli_fail(&start_command, CLI_FAILED, "it runs (pid %d) but is not ready%s%s; "
					"'middlepipe rows doctor --url %s' says more", (int)b->pid, why.text[0] ? ": " : "",
					why.text, b->url);
		usleep(PAUSE_US);
	}
	return CLI_OK;
}

static int start_it(const struct place *place, int n, char **words)
{
	CLEANUP_FREE char **argv = calloc((size_t)n + WORDS_MAX, sizeof(char *));
	char program[PATH_MAX], line[BACKGROUND_URL_MAX - 16];
	struct background_start start = { .program = program, .argv = argv, .log = buf_str(&place->log),
					  .pid_file = buf_str(&place->pid_file), .wait_ms = (uint64_t)wait_ms };
	const char *const fixed[] = { "mp-aggregator", "--data", buf_str(&place->data), "--listen", listen_on,
				      "--ready-fd", "READY" };
	struct background b;
	struct err err = { 0 };
	bool tls = false;
	size_t at = 0;

	if (!argv)
		return cli_fail(&start_command, CLI_FAILED, "out of memory");
	for (; at < sizeof(fixed) / sizeof(fixed[0]); at++)
		memcpy(&argv[at], &fixed[at], sizeof(char *)); /* execvp() does not write to them */
	for (int i = 0; i < n; i++) {
		tls |= !strncmp(words[i], "--tls-cert", strlen("--tls-cert"));
		argv[at++] = words[i];
	}
	find_program(program, sizeof(program));
	if (background_start(&start, &b, line, sizeof(line), &err))
		return cli_fail(&start_command, CLI_FAILED, "%s", err.text);
	set_url(&b, line, tls);
	if (background_write(start.pid_file, &b, &err))
		return cli_fail(&start_command, CLI_FAILED, "it runs (pid %d), but %s", (int)b.pid, err.text);
	printf("%s\n", b.url);
	(void)fflush(stdout);
	return await_ready(&b);
}

static int run_start(int argc, char **argv)
{
	struct background b;
	struct cli_words words;
	struct place place;
	struct err err = { 0 };
	int code, rc;

	if (!cli_options(&start_command, 0, INT_MAX, argc, argv, &words, &code))
		return code;
	for (int i = 0; i < words.n; i++) {
		if (words.words[i][0] != '-' && !i)
			return cli_usage(&start_command, "options of mp-aggregator follow --, not \"%s\"", words.words[i]);
		if (ours(words.words[i]))
			return cli_usage(&start_command, "%s stands before --", ours(words.words[i]));
	}
	code = find_place(&start_command, &place);
	if (!code && data_dir_make(buf_str(&place.data), &err))
		code = cli_fail(&start_command, CLI_FAILED, "%s", err.text);
	if (!code) {
		rc = background_find(buf_str(&place.pid_file), &b, &err);
		if (!rc) {
			fprintf(stderr, "runs already (pid %d)\n", (int)b.pid);
			printf("%s\n", b.url);
			code = await_ready(&b);
		} else if (rc != -ENOENT) {
			code = cli_fail(&start_command, CLI_FAILED, "%s", err.text);
		} else {
			code = start_it(&place, words.n, words.words);
		}
	}
	free_place(&place);
	return code;
}

/* -------------------------------------------------------------------------- stop */

static int stop_it(const struct place *place)
{
	struct background b;
	struct err err = { 0 };
	int rc = background_find(buf_str(&place->pid_file), &b, &err);

	if (rc == -ENOENT) {
		fprintf(stderr, "none runs in %s\n", buf_str(&place->data));
		return CLI_OK;
	}
	if (!rc)
		rc = background_stop(&b, (uint64_t)wait_ms, force, &err);
	if (rc && rc != -ESRCH)
		return cli_fail(&stop_command, CLI_FAILED, "%s", err.text);
	(void)unlink(buf_str(&place->pid_file)); /* what is left of it harms nobody */
	printf("stopped (pid %d)\n", (int)b.pid);
	return CLI_OK;
}

static int run_stop(int argc, char **argv)
{
	struct cli_words words;
	struct place place;
	int code;

	if (!cli_options(&stop_command, 0, 0, argc, argv, &words, &code))
		return code;
	code = find_place(&stop_command, &place);
	if (!code)
		code = stop_it(&place);
	free_place(&place);
	return code;
}

/* ------------------------------------------------------------------------ status */

static void print_status(const struct place *place, const struct background *b, bool runs, bool ready,
			 const char *why)
{
	CLEANUP_JSON json_t *document = NULL;

	if (rows_options.json) {
		document = json_pack("{sb sb so so so}", "running", runs, "ready", ready, "url",
				     control_json_text(runs ? b->url : ""), "data",
				     control_json_text(buf_str(&place->data)), "why", control_json_text(why));
		if (runs)
			json_object_set_new(document, "pid", json_integer(b->pid));
		control_print_json(document, false);
		return;
	}
	if (!runs) {
		printf("not running\ndata     %s\n", buf_str(&place->data));
		return;
	}
	printf("running  pid %d\naddress  %s\nready    %s%s%s\ndata     %s\nlog      %s\n", (int)b->pid, b->url,
	       ready ? "yes" : "no", why[0] ? ": " : "", why, buf_str(&place->data), buf_str(&place->log));
}

static int show_status(const struct place *place)
{
	CLEANUP_JSON json_t *document = NULL;
	struct background b = { .pid = 0 };
	struct err err = { 0 }, why = { 0 };
	struct buf body;
	int rc = background_find(buf_str(&place->pid_file), &b, &err), status = 0;

	if (rc && rc != -ENOENT)
		return cli_fail(&status_command, CLI_FAILED, "%s", err.text);
	buf_init(&body, 65536);
	if (!rc && b.url[0])
		status = ask(b.url, "/readyz", &body, &why);
	if (status && status != 200 && !json_load_text(buf_slice(&body), 65536, 4, &document, NULL))
		(void)err_set(&why, 0, "%s", rows_text(document, "error"));
	buf_fini(&body);
	print_status(place, &b, !rc, status == 200, rc ? "" : why.text);
	return status == 200 ? CLI_OK : CLI_FAILED;
}

static int run_status(int argc, char **argv)
{
	struct cli_words words;
	struct place place;
	int code;

	if (!cli_options(&status_command, 0, 0, argc, argv, &words, &code))
		return code;
	code = find_place(&status_command, &place);
	if (!code)
		code = show_status(&place);
	free_place(&place);
	return code;
}

/* ------------------------------------------------------------------------- table */

static const struct cli_command start = { &start_command, run_start };
static const struct cli_command stop = { &stop_command, run_stop };
static const struct cli_command status = { &status_command, run_status };
static const struct cli_command *const subs[] = { &start, &stop, &status, NULL };

static const struct opt group_options[] = {
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command group_command = {
	.name = "middlepipe aggregator",
	.usage = "start|stop|status [OPTION]...",
	.summary = "start or stop an aggregator for local use",
	.text = "An aggregator keeps rows: see 'middlepipe rows'. In production mp-aggregator is started by\n"
		"whatever starts services there.",
	.opts = group_options,
	.stop_at_operand = true,
	.exit_codes = "0  success\n1  failure\n2  wrong usage",
};

static const struct cli_group group = { &group_command, subs };

static int run(int argc, char **argv)
{
	return cli_group_run(&group, argc, argv);
}

const struct cli_command cmd_aggregator = { &group_command, run };
