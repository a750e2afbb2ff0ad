/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe override, reset, reload: an operator's word to a running scheduler. */
#include <stdio.h>
#include <string.h>

#include "cf-plugin/control.h"
#include "lib/chain.h"

#define URL_SIZE (CHAIN_NAME_MAX * 3 + 64) /* every byte may be escaped */

static struct control_options where;

static const struct opt options[] = {
	CONTROL_OPTIONS(where),
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command override_command = {
	.name = "middlepipe override",
	.usage = "[OPTION]... NAME open|closed|auto",
	.summary = "hold a middlepipe open or closed, or let it decide again",
	.text = "open: every call is refused. closed: every call passes. auto: the middlepipe decides\n"
		"again. Holds until the next override; the scheduler's restart included.",
	.opts = options,
	.examples = "middlepipe override guard open",
	.exit_codes = CONTROL_EXIT_CODES,
};

static const struct opt_command reset_command = {
	.name = "middlepipe reset",
	.usage = "[OPTION]... NAME",
	.summary = "make a middlepipe forget what it learned",
	.text = "Begins anew: a breaker closes and its window is empty. An ejected middlepipe is taken\n"
		"back into its chains.",
	.opts = options,
	.examples = "middlepipe reset guard",
	.exit_codes = CONTROL_EXIT_CODES,
};

static const struct opt_command reload_command = {
	.name = "middlepipe reload",
	.usage = "[OPTION]...",
	.summary = "load the chain file again",
	.text = "The scheduler reads its chain file and swaps the chains, whole or not at all. The file\n"
		"needs a greater epoch than the one in force.",
	.opts = options,
	.exit_codes = CONTROL_EXIT_CODES,
};

/* POSTs to /v1/middlepipes/NAME/VERB and says how many units took it. */
static int post(const struct opt_command *command, const char *name, const char *verb,
		struct mp_str body, const char *done)
{
	json_t *reply = NULL;
	struct buf url;
	json_int_t units;
	int code;

	buf_init(&url, URL_SIZE);
	buf_add_str(&url, "/v1/middlepipes/");
	control_escape(&url, name);
	buf_printf(&url, "/%s", verb);
	if (url.error)
		code = cli_fail(command, CLI_FAILED, "a name has at most %d bytes", CHAIN_NAME_MAX);
	else
		code = control_ask(command, &where, "POST", buf_str(&url), body, &reply);
	if (!code) {
		units = json_integer_value(json_object_get(reply, "units"));
		printf("%s: %s (%" JSON_INTEGER_FORMAT " unit%s)\n", name, done, units,
		       units == 1 ? "" : "s");
	}
	json_decref(reply);
	buf_fini(&url);
	return code;
}

static int run_override(int argc, char **argv)
{
	static const struct {
		const char *state; /* the operator's word */
		const char *body;  /* what is sent */
	} states[] = {
		{ "open", "{\"state\":\"open\"}" },
		{ "closed", "{\"state\":\"closed\"}" },
		{ "auto", "{\"state\":\"auto\"}" },
	};
	struct cli_words words;
	int code;

	if (!cli_options(&override_command, 2, 2, argc, argv, &words, &code))
		return code;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (!strcmp(words.words[1], states[i].state))
			return post(&override_command, words.words[0], "override",
				    slice_of(states[i].body), states[i].state);
	}
	return cli_usage(&override_command, "wants open, closed or auto, not \"%s\"",
			 words.words[1]);
}

static int run_reset(int argc, char **argv)
{
	struct cli_words words;
	int code;

	if (!cli_options(&reset_command, 1, 1, argc, argv, &words, &code))
		return code;
	return post(&reset_command, words.words[0], "reset", MP_LIT(""), "reset");
}

static int run_reload(int argc, char **argv)
{
	json_t *reply = NULL;
	struct cli_words words;
	int code;

	if (!cli_options(&reload_command, 0, 0, argc, argv, &words, &code))
		return code;
	code = control_ask(&reload_command, &where, "POST", "/v1/reload", MP_LIT(""), &reply);
	if (!code)
		printf("epoch %" JSON_INTEGER_FORMAT "%s\n",
		       json_integer_value(json_object_get(reply, "epoch")),
		       json_is_false(json_object_get(reply, "changed")) ? ": nothing has changed" :
									  "");
	json_decref(reply);
	return code;
}

const struct cli_command cmd_override = { &override_command, run_override };
const struct cli_command cmd_reset = { &reset_command, run_reset };
const struct cli_command cmd_reload = { &reload_command, run_reload };
