/* SPDX-License-Identifier: Apache-2.0 */
/* See cli_group.h. */
#include "cf-plugin/cli_group.h"

#include <stdio.h>
#include <string.h>

#include "lib/near.h"
#include "lib/slice.h"

/* The last word of "middlepipe rows list". */
static const char *short_name(const struct cli_command *sub)
{
	return strrchr(sub->command->name, ' ') + 1;
}

static void print_usage(FILE *out, const struct cli_group *group)
{
	fprintf(out, "Usage: %s %s\n\n%s\n\nCommands:\n", group->command->name, group->command->usage,
		group->command->text);
	for (size_t i = 0; group->subs[i]; i++)
		fprintf(out, "  %-10s %s\n", short_name(group->subs[i]), group->subs[i]->command->summary);
	fprintf(out, "\n'%s COMMAND --help' tells about one of them.\n", group->command->name);
}

static int unknown(const struct cli_group *group, const char *name)
{
	struct near near;
	char quoted[64];

	near_init(&near, slice_of(name));
	for (size_t i = 0; group->subs[i]; i++)
		near_offer(&near, short_name(group->subs[i]));
	slice_quote(quoted, sizeof(quoted), slice_of(name));
	if (near.best)
		return cli_usage(group->command, "no command is called %s; did you mean %s?", quoted, near.best);
	return cli_usage(group->command, "no command is called %s", quoted);
}

static int dispatch(const struct cli_group *group, int n, char **words)
{
	for (size_t i = 0; group->subs[i]; i++) {
		if (!strcmp(short_name(group->subs[i]), words[0]))
			return group->subs[i]->run(n, words);
	}
	return unknown(group, words[0]);
}

int cli_group_run(const struct cli_group *group, int argc, char **argv)
{
	struct err err = { 0 };
	int first = 0, rc = opt_parse(group->command, argc, argv, &first, &err);

	if (rc < 0)
		return cli_usage(group->command, "%s", err.text);
	if (rc == OPT_HELP)
		print_usage(stdout, group);
	else if (rc == OPT_VERSION)
		printf("middlepipe %s\n", MIDDLEPIPE_VERSION);
	else if (cli_man)
		opt_print_man(stdout, group->command);
	else if (first < argc)
		return dispatch(group, argc - first, argv + first);
	else
		print_usage(stderr, group);
	return rc || cli_man ? CLI_OK : CLI_USAGE;
}
