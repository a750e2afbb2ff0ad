/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe events: what happened, and with --follow what happens. */
#include <stdio.h>
#include <unistd.h>

#include "cf-plugin/control.h"
#include "cf-plugin/runtime_dir.h"
#include "cf-plugin/status_text.h"

#define TEXT_MAX ((size_t)4 << 20) /* bytes printed at once */
#define PAUSE_US 200000            /* between two looks */

static struct control_options where;
static bool as_json, follow;

static const struct opt options[] = {
	CONTROL_OPTIONS(where),
	{ .name = "json", .letter = 'j', .type = OPT_FLAG, .target = &as_json,
	  .help = "print an object on each line" },
	{ .name = "follow", .letter = 'f', .type = OPT_FLAG, .target = &follow,
	  .help = "go on with what happens, until interrupted" },
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe events",
	.usage = "[OPTION]...",
	.summary = "print what middlepipes reported",
	.text = "The scheduler keeps the newest 256 events: circuits that opened and closed, filters\n"
		"that were ejected, chains that were swapped (`before` is the epoch that was in force).",
	.opts = options,
	.examples = "middlepipe events --follow",
	.exit_codes = CONTROL_EXIT_CODES,
};

static void print(const json_t *events)
{
	struct buf out;

	buf_init(&out, TEXT_MAX);
	for (size_t i = 0; i < json_array_size(events); i++) {
		if (as_json)
			control_print_json(json_array_get(events, i), true);
		else
			event_text(json_array_get(events, i), &out);
	}
	fputs(buf_str(&out), stdout);
	buf_fini(&out);
}

/* Prints the events after number *after, and moves it on. */
static int print_after(const char *path, json_int_t *after)
{
	json_t *reply = NULL;
	const json_t *events;
	char url[64];
	int code;

	(void)snprintf(url, sizeof(url), "/v1/events?after=%" JSON_INTEGER_FORMAT, *after);
	code = control_call(&command, path, NULL, url, (struct mp_str){ 0 }, &reply);
	if (code)
		return code;
	events = json_object_get(reply, "events");
	print(events);
	/* A scheduler that was started again counts from 1. */
	if (json_integer_value(json_object_get(reply, "next")) < *after)
		*after = 0;
	for (size_t i = 0; i < json_array_size(events); i++) {
		json_int_t seq = json_integer_value(
			json_object_get(json_array_get(events, i), "seq"));

		if (seq > *after)
			*after = seq;
	}
	json_decref(reply);
	return CLI_OK;
}

static int run(int argc, char **argv)
{
	char path[RUNTIME_PATH_MAX];
	struct cli_words words;
	json_int_t after = 0;
	int code;

	if (!cli_options(&command, 0, 0, argc, argv, &words, &code))
		return code;
	code = control_find(&command, &where, path, sizeof(path));
	while (!code) {
		code = print_after(path, &after);
		if (code || !follow || fflush(stdout))
			break;
		usleep(PAUSE_US);
	}
	return code;
}

const struct cli_command cmd_events = { &command, run };
