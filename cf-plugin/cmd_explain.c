/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe explain: what happens to a call to a URL now, and why. */
#include <stdio.h>

#include "cf-plugin/control.h"
#include "cf-plugin/status_text.h"
#include "lib/clock.h"

#define TEXT_MAX ((size_t)1 << 20) /* bytes printed */
#define URL_MAX 8192               /* bytes of what is asked */

static struct control_options where;
static bool as_json;

static const struct opt options[] = {
	CONTROL_OPTIONS(where),
	{ .name = "json", .letter = 'j', .type = OPT_FLAG, .target = &as_json,
	  .help = "print the document instead of sentences" },
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe explain",
	.usage = "[OPTION]... URL",
	.summary = "say what a call to a URL would meet, and why",
	.text = "Names the destination, the match, the path prefix, the chain, and what stands for it:\n"
		"for an open circuit since when, the last error, and when it lets probes through.\n"
		"URL is http://host[:port]/path, https://..., or for a socket unix:/socket[:/path] or\n"
		"http+unix://%2Fsocket/path.",
	.opts = options,
	.examples = "middlepipe explain http://payments.internal/charge",
	.exit_codes = CONTROL_EXIT_CODES,
};

static void print(const json_t *explain)
{
	struct buf out;

	if (as_json) {
		control_print_json(explain, false);
		return;
	}
	buf_init(&out, TEXT_MAX);
	explain_text(explain, clock_wall_now(), &out);
	fputs(buf_str(&out), stdout);
	buf_fini(&out);
}

static int run(int argc, char **argv)
{
	json_t *explain = NULL;
	struct cli_words words;
	struct buf url;
	int code;

	if (!cli_options(&command, 1, 1, argc, argv, &words, &code))
		return code;
	buf_init(&url, URL_MAX);
	buf_add_str(&url, "/v1/explain?url=");
	control_escape(&url, words.words[0]);
	if (url.error)
		code = cli_fail(&command, CLI_FAILED, "the URL is too long");
	else
		code = control_ask(&command, &where, NULL, buf_str(&url), (struct mp_str){ 0 },
				   &explain);
	if (!code)
		print(explain);
	json_decref(explain);
	buf_fini(&url);
	return code;
}

const struct cli_command cmd_explain = { &command, run };
