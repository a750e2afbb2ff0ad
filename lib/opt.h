/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command line options from a table, which is also the --help text and the
 * man page, so that the three cannot disagree.
 *
 * For main() of every program.  It must not exit and must not print unless
 * asked to.  Values are taken in this order, the last one wins: the table's
 * default, the environment variable, the command line.
 *
 *	static int64_t port;
 *	static const struct opt opts[] = {
 *		{.name = "port", .letter = 'p', .type = OPT_INT, .target = &port,
 *		 .def = "8080", .min = 1, .max = 65535, .arg = "PORT",
 *		 .env = "MIDDLEPIPE_PORT", .help = "listen on this port"},
 *		{.name = NULL},
 *	};
 */
#ifndef LIB_OPT_H
#define LIB_OPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/err.h"

/* What an option takes, and what its target is. */
enum opt_type {
	OPT_FLAG,        /* nothing (1/0, true/false, ... by environment); bool */
	OPT_STRING,      /* any text, borrowed from argv; const char * */
	OPT_INT,         /* decimal; int64_t */
	OPT_SIZE,        /* bytes, or with K, M, G (KiB, ...); int64_t */
	OPT_DURATION_MS, /* 5ms, 2s, 1m, 1h, or 0; int64_t, milliseconds */
	OPT_ENUM,        /* one of the words of `arg`; int, its place from 0 */
};

/* A row; name NULL ends the table. */
struct opt {
	const char *name;   /* without the dashes */
	char letter;        /* short form, 0: none */
	enum opt_type type; /* how the value is read */
	void *target;       /* where it goes, see enum opt_type; borrowed */
	const char *def;    /* default, read as a value; NULL: target stays */
	int64_t min;        /* bounds of INT, SIZE and DURATION_MS; when both */
	int64_t max;        /* are 0, 0 and up */
	const char *arg;    /* name in the help; the words "a|b|c" of an ENUM */
	const char *help;   /* one sentence without a final stop */
	const char *env;    /* variable that sets it; NULL: none.  "" is unset */
};

/* A program or a subcommand; texts are borrowed for ever. */
struct opt_command {
	const char *name;       /* "mp-scheduler" or "middlepipe run" */
	const char *usage;      /* after the name: "[OPTION]... -- COMMAND" */
	const char *summary;    /* one line, lower case, no final stop */
	const char *text;       /* paragraph(s) of description; may be NULL */
	const struct opt *opts; /* the table; may be NULL */
	const char *examples;   /* lines, shown as they are; may be NULL */
	const char *exit_codes; /* lines "0  meaning"; may be NULL */
	int man_section;        /* 1 or 8; 0 means 1 */
	bool stop_at_operand;   /* the first operand ends the options */
};

/* What opt_parse() returns besides 0 and negative errnos. */
enum opt_result {
	OPT_HELP = 1,    /* --help or -h: call opt_print_help() and exit 0 */
	OPT_VERSION = 2, /* --version: print yours and exit 0 */
};

/*
 * Understands --name=value, --name value, -x, -x value, -xvalue and "--".
 * Operands end up at argv[*ret_first_operand] .. argv[argc - 1], in their
 * order; options and operands may mix unless stop_at_operand is set, hence
 * argv is reordered.  0, enum opt_result, or -EINVAL and err names the
 * option, the value and what is allowed.
 */
int opt_parse(const struct opt_command *cmd, int argc, char **argv,
	      int *ret_first_operand, struct err *err);

void opt_print_help(FILE *out, const struct opt_command *cmd);

/* The man page, in the man(7) macros. */
void opt_print_man(FILE *out, const struct opt_command *cmd);

#endif
