/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line `middlepipe`: one file for each subcommand, found through
 * the table in cli.c, which also prints the usage.
 *
 * A subcommand prints its result on standard output, what is wrong on standard
 * error, and returns an exit code.
 */
#ifndef CF_PLUGIN_CLI_H
#define CF_PLUGIN_CLI_H

#include <stdbool.h>

#include "lib/opt.h"

/* Exit codes, apart from those that `run` passes through. */
#define CLI_OK 0
#define CLI_FAILED 1
#define CLI_USAGE 2

/* A subcommand.  argv[0] is its name. */
struct cli_command {
	const struct opt_command *command;   /* "middlepipe NAME", for the texts */
	int (*run)(int argc, char **argv);   /* returns the exit code */
};

extern const struct cli_command cmd_aggregator, cmd_check, cmd_events, cmd_explain, cmd_filters, cmd_override,
	cmd_reload, cmd_reset, cmd_rows, cmd_run, cmd_status;

/* Everything but main(). */
int cli_main(int argc, char **argv);

/* The operands of a subcommand after its options were read. */
struct cli_words {
	int n;        /* how many */
	char **words; /* they, NULL at the end; borrowed from argv */
};

/*
 * Reads the options of a subcommand that takes min to max operands.  True: go
 * on.  False: return *ret_code, because help was asked for or the usage is wrong.
 */
bool cli_options(const struct opt_command *command, int min, int max, int argc, char **argv,
		 struct cli_words *ret, int *ret_code);

/* Says "middlepipe NAME: text" on standard error and returns the code. */
int cli_fail(const struct opt_command *command, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* cli_fail() for a mistake in the usage: points at --help, returns CLI_USAGE. */
int cli_usage(const struct opt_command *command, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Row of an option table that every subcommand ends with. */
extern bool cli_man;
#define CLI_MAN_OPTION \
	{ .name = "man", .type = OPT_FLAG, .target = &cli_man, .help = "print this as a man page" }

/* For commands that know filters besides the built-in ones. */
#define CLI_FILTERS_OPTIONS(folder, shared_first) \
	{ .name = "filters-dir", .type = OPT_STRING, .target = (folder), .arg = "DIR", \
	  .help = "folder of filters to load as TYPE.so" }, \
	{ .name = "prefer-shared", .type = OPT_FLAG, .target = (shared_first), \
	  .help = "take a filter from that folder even when it is built in" }

#endif
