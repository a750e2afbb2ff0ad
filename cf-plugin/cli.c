/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the subcommand, prints the usage from the table of subcommands, and
 * reads their options.
 *
 * Called by main() and by every subcommand.
 */
#include "cf-plugin/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/near.h"
#include "lib/slice.h"

bool cli_man;

/* In the order in which people need them. */
static const struct cli_command *const commands[] = {
	&cmd_run,    &cmd_check,    &cmd_filters, &cmd_explain, &cmd_status,
	&cmd_events, &cmd_override, &cmd_reset,   &cmd_reload,
	&cmd_rows,   &cmd_aggregator,
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct opt main_options[] = {
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command main_command = {
	.name = "middlepipe",
	.usage = "COMMAND [OPTION]... [ARGUMENT]...",
	.summary = "network functions between an app and its services",
	.text = "Puts middlepipes (circuit breakers, throttles and the like) between a program and the\n"
		"services that it calls, without changing the program. 'middlepipe run' starts a program\n"
		"so; the other commands look at what it started, or change it.\n\n"
		"The commands are run, check, filters, explain, status, events, override, reset, reload,\n"
		"rows, aggregator, version and help. 'middlepipe COMMAND --help' tells about one of them.",
	.opts = main_options,
	.stop_at_operand = true,
	.exit_codes = "0  success\n1  failure\n2  wrong usage",
};

/* "middlepipe run" without the first word. */
static const char *short_name(const struct cli_command *command)
{
	return strchr(command->command->name, ' ') + 1;
}

static void print_usage(FILE *out)
{
	fprintf(out, "Usage: middlepipe COMMAND [OPTION]... [ARGUMENT]...\n\nCommands:\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", short_name(commands[i]), commands[i]->command->summary);
	fprintf(out, "  %-10s %s\n", "version", "print the version");
	fprintf(out, "  %-10s %s\n", "help", "print this, or the help of a command");
	fprintf(out, "\n'middlepipe COMMAND --help' tells about one of them.\n");
}

static const struct cli_command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (!strcmp(short_name(commands[i]), name))
			return commands[i];
	}
	return NULL;
}

static int unknown(const char *name)
{
	struct near near;
	char quoted[64];

	near_init(&near, slice_of(name));
	for (size_t i = 0; i < N_COMMANDS; i++)
		near_offer(&near, short_name(commands[i]));
	near_offer(&near, "version");
	near_offer(&near, "help");
	slice_quote(quoted, sizeof(quoted), slice_of(name));
	if (near.best)
		return cli_usage(&main_command, "no command is called %s; did you mean %s?",
				 quoted, near.best);
	return cli_usage(&main_command, "no command is called %s", quoted);
}

static int version(void)
{
	printf("middlepipe %s\n", MIDDLEPIPE_VERSION);
	return CLI_OK;
}

static int help(const char *name)
{
	const struct cli_command *command = name ? find(name) : NULL;

	if (name && !command)
		return unknown(name);
	if (command)
		opt_print_help(stdout, command->command);
	else
		print_usage(stdout);
	return CLI_OK;
}

static int dispatch(int n, char **words)
{
	const struct cli_command *command;

	if (!n) {
		print_usage(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(words[0], "help"))
		return help(words[1]);
	if (!strcmp(words[0], "version"))
		return version();
	command = find(words[0]);
	return command ? command->run(n, words) : unknown(words[0]);
}

/* Started without one of the first three, we would take its number for our own. */
static void fill_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int cli_main(int argc, char **argv)
{
	struct err err = { 0 };
	int first = 0, rc, code;

	fill_descriptors();
	rc = opt_parse(&main_command, argc, argv, &first, &err);
	if (rc < 0)
		code = cli_usage(&main_command, "%s", err.text);
	else if (rc == OPT_HELP)
		code = help(NULL);
	else if (rc == OPT_VERSION)
		code = version();
	else if (cli_man) {
		opt_print_man(stdout, &main_command);
		code = CLI_OK;
	} else {
		code = dispatch(argc - first, argv + first);
	}
	/* A full disk or a closed pipe must not look like success. */
	if ((fflush(stdout) || ferror(stdout)) && code == CLI_OK)
		code = cli_fail(&main_command, CLI_FAILED, "standard output: %s", strerror(errno));
	return code;
}

/* -------------------------------------------------------- for the subcommands */

static void say(const struct opt_command *command, const char *fmt, va_list args)
{
	fflush(stdout);
	fprintf(stderr, "%s: ", command->name);
	vfprintf(stderr, fmt, args);
	putc('\n', stderr);
}

int cli_fail(const struct opt_command *command, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(command, fmt, args);
	va_end(args);
	return code;
}

int cli_usage(const struct opt_command *command, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(command, fmt, args);
	va_end(args);
	fprintf(stderr, "Try '%s --help'.\n", command->name);
	return CLI_USAGE;
}

/* Help, version or man page instead of the command's work. */
static bool print_instead(const struct opt_command *command, int rc)
{
	if (rc == OPT_HELP)
		opt_print_help(stdout, command);
	else if (rc == OPT_VERSION)
		(void)version(); /* cannot fail but in writing, see cli_main() */
	else if (cli_man)
		opt_print_man(stdout, command);
	else
		return false;
	return true;
}

bool cli_options(const struct opt_command *command, int min, int max, int argc, char **argv,
		 struct cli_words *ret, int *ret_code)
{
	struct err err = { 0 };
	int first = 0, rc = opt_parse(command, argc, argv, &first, &err);

	*ret_code = CLI_OK;
	if (rc < 0) {
		*ret_code = cli_usage(command, "%s", err.text);
		return false;
	}
	if (print_instead(command, rc))
		return false;
	*ret = (struct cli_words){ argc - first, argv + first };
	if (ret->n >= min && ret->n <= max)
		return true;
	if (ret->n > max)
		*ret_code = cli_usage(command, "one word too many: \"%s\"", ret->words[max]);
	else
		*ret_code = cli_usage(command, "too few words; usage: %s %s", command->name,
				      command->usage);
	return false;
}
