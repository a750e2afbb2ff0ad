/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe rows get: one cell. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cf-plugin/rows_commands.h"

static bool stale;
static int64_t at_least = -1, wait_ms;

static const struct opt options[] = {
	{ .name = "stale", .type = OPT_FLAG, .target = &stale,
	  .help = "what that aggregator has will do, even if others know more" },
	{ .name = "at-least", .type = OPT_INT, .target = &at_least, .min = 1, .max = INT64_MAX, .arg = "SEQ",
	  .help = "only once there is a cell of that seq" },
	{ .name = "wait", .type = OPT_DURATION_MS, .target = &wait_ms, .def = "0", .max = 60000, .arg = "TIME",
	  .help = "wait so long for that cell" },
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe rows get",
	.usage = "[OPTION]... ROW [SEQ|latest]",
	.summary = "print a cell's bytes",
	.text = "The bytes are printed as they are, with nothing added; --json tells the cell's key, time and\n"
		"origin as well. Without SEQ it is the latest one.",
	.opts = options,
	.examples = "middlepipe rows get greetings\nmiddlepipe rows get --json greetings 17",
	.exit_codes = ROWS_EXIT_CODES,
};

static int get(struct rows_api *api, const char *path)
{
	static const char *const as_json[] = { "Accept: application/json", NULL };
	struct rows_call call = { .path = path, .fields = rows_options.json ? as_json : NULL,
				  .timeout_ms = HTTP_TIMEOUT_MS + wait_ms };
	struct http_reply reply;
	struct err err = { 0 };
	int code = CLI_OK, rc = rows_ask(api, &call, &reply, &err);

	if (rc)
		return rows_failed(api, rc, false, &err);
	if (reply.status != 200) {
		code = rows_refused(api, &reply);
	} else {
		(void)fwrite(buf_str(&reply.body), 1, reply.body.len, stdout); /* cli_main() looks at it */
		if (rows_options.json)
			putchar('\n');
	}
	http_reply_fini(&reply);
	return code;
}

static int run(int argc, char **argv)
{
	const char *seq = "latest";
	struct rows_api api;
	struct cli_words words;
	uint64_t number;
	struct buf path;
	int code;

	if (!rows_begin(&api, &command, 1, 2, argc, argv, &words, &code))
		return code;
	if (words.n == 2)
		seq = words.words[1];
	if (strcmp(seq, "latest") && (slice_to_u64(slice_of(seq), &number) || !number))
		code = cli_usage(&command, "SEQ is a number from 1, or latest, not \"%s\"", seq);
	else
		code = rows_path(&api, &path, words.words[0], "/cells/");
	if (!code) {
		(void)buf_printf(&path, "%s?wait=%" PRId64, seq, wait_ms);
		if (stale)
			(void)buf_add_str(&path, "&stale=ok");
		if (at_least > 0)
			(void)buf_printf(&path, "&at_least=%" PRId64, at_least);
		code = get(&api, buf_str(&path));
		buf_fini(&path);
	}
	rows_api_fini(&api);
	return code;
}

const struct cli_command rows_get = { &command, run };
