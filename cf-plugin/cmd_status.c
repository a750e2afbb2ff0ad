/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe status: what a scheduler does, once or each second. */
#include <stdio.h>
#include <unistd.h>

#include "cf-plugin/control.h"
#include "cf-plugin/runtime_dir.h"
#include "cf-plugin/status_text.h"

#define TEXT_MAX ((size_t)16 << 20) /* bytes printed */
#define CLEAR "\033[H\033[2J"       /* the terminal: home, erase */

static struct control_options where;
static bool as_json, watch;

static const struct opt options[] = {
	CONTROL_OPTIONS(where),
	{ .name = "json", .letter = 'j', .type = OPT_FLAG, .target = &as_json,
	  .help = "print the document instead of tables" },
	{ .name = "watch", .letter = 'w', .type = OPT_FLAG, .target = &watch,
	  .help = "print it each second, until interrupted" },
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe status",
	.usage = "[OPTION]...",
	.summary = "show destinations, middlepipes, their states and calls",
	.text = "Asks the scheduler of a run. STANDING is what holds for a call without asking: pass,\n"
		"reply (answered at once) or ask. ASKED, PASSED and REPLIED count calls by it; FAILED\n"
		"are those of them that the chain counts as failures.",
	.opts = options,
	.examples = "middlepipe status --watch",
	.exit_codes = CONTROL_EXIT_CODES,
};

static void print(const json_t *status)
{
	struct buf out;

	if (as_json) {
		control_print_json(status, watch);
		return;
	}
	buf_init(&out, TEXT_MAX);
	status_text(status, &out);
	if (watch)
		fputs(isatty(STDOUT_FILENO) ? CLEAR : "\n", stdout);
	fputs(buf_str(&out), stdout);
	buf_fini(&out);
}

static int run(int argc, char **argv)
{
	char path[RUNTIME_PATH_MAX];
	struct cli_words words;
	int code;

	if (!cli_options(&command, 0, 0, argc, argv, &words, &code))
		return code;
	code = control_find(&command, &where, path, sizeof(path));
	while (!code) {
		json_t *status = NULL;

		code = control_call(&command, path, NULL, "/v1/status", (struct mp_str){ 0 },
				    &status);
		if (code)
			break;
		print(status);
		json_decref(status);
		if (!watch || fflush(stdout))
			break;
		sleep(1);
	}
	return code;
}

const struct cli_command cmd_status = { &command, run };
