/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe rows: the table of its commands. */
#include "cf-plugin/rows_commands.h"

static const struct opt options[] = {
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe rows",
	.usage = "COMMAND [OPTION]... [ARGUMENT]...",
	.summary = "look at an aggregator's rows, and change them",
	.text = "Rows are ordered lists of cells that all aggregators of a group agree on. Every command\n"
		"finds them by --url or MIDDLEPIPE_AGGREGATOR, else at 127.0.0.1:9780.",
	.opts = options,
	.stop_at_operand = true,
	.examples = "middlepipe rows list\nmiddlepipe rows put greetings hello\nmiddlepipe rows tail greetings",
	.exit_codes = ROWS_EXIT_CODES,
};

/* In the order in which people need them. */
static const struct cli_command *const subs[] = {
	&rows_list,    &rows_show,    &rows_put,      &rows_get,    &rows_tail,   &rows_policies,
	&rows_compact, &rows_delete,  &rows_members,  &rows_owners,
	&rows_export,  &rows_import,  &rows_check,    &rows_doctor, NULL,
};

static const struct cli_group group = { &command, subs };

static int run(int argc, char **argv)
{
	return cli_group_run(&group, argc, argv);
}

const struct cli_command cmd_rows = { &command, run };
