/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call to a scheduler's control API (docs/control-api.md), for the
 * subcommands that look at a running scheduler or change it.
 */
#ifndef CF_PLUGIN_CONTROL_H
#define CF_PLUGIN_CONTROL_H

#include <jansson.h>

#include "cf-plugin/cli.h"
#include "lib/buf.h"
#include "lib/slice.h"

/* Rows of an option table by which a scheduler is chosen. */
struct control_options {
	const char *path; /* --control; NULL: not given */
	const char *app;  /* --app; NULL: not given */
};
#define CONTROL_OPTIONS(options)                                                          \
	{ .name = "control", .letter = 'c', .type = OPT_STRING, .target = &(options).path, \
	  .arg = "PATH", .help = "control socket (default: $MIDDLEPIPE_CONTROL, else the "  \
				 "only run of this user)" },                                \
	{ .name = "app", .letter = 'a', .type = OPT_STRING, .target = &(options).app,       \
	  .arg = "NAME", .help = "the run of this app" }

#define CONTROL_EXIT_CODES "0  success\n1  failure\n2  wrong usage"

/*
 * Finds the control socket: 0 and a path of RUNTIME_PATH_MAX bytes, or the
 * exit code after the reason was printed.
 */
int control_find(const struct opt_command *command, const struct control_options *options,
		 char *ret_path, size_t size);

/*
 * One call.  body: ptr NULL: none.  CLI_OK and *ret, a new reference; or
 * CLI_FAILED after the scheduler's reason was printed.
 */
int control_call(const struct opt_command *command, const char *path, const char *method,
		 const char *url, struct mp_str body, json_t **ret);

/* Both in one. */
int control_ask(const struct opt_command *command, const struct control_options *options,
		const char *method, const char *url, struct mp_str body, json_t **ret);

/* Appends the text with everything but letters, digits and -._~ as %XX. */
void control_escape(struct buf *out, const char *text);

/* The text as a JSON string, a new reference, as json_text_add() writes it; NULL without memory. */
json_t *control_json_text(const char *text);

/* Prints a document on standard output, indented, or on one line. */
void control_print_json(const json_t *document, bool one_line);

#endif
