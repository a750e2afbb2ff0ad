/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that have commands of their own: `middlepipe rows list`.
 *
 * The group's table is its usage, as that of cli.c is of `middlepipe`.
 */
#ifndef CF_PLUGIN_CLI_GROUP_H
#define CF_PLUGIN_CLI_GROUP_H

#include "cf-plugin/cli.h"

struct cli_group {
	const struct opt_command *command;      /* "middlepipe rows"; stop_at_operand is set */
	const struct cli_command *const *subs;  /* "middlepipe rows list", ...; NULL at the end */
};

/* Finds the command that argv[1] names and runs it; or help, or what is wrong.  The exit code. */
int cli_group_run(const struct cli_group *group, int argc, char **argv);

#endif
