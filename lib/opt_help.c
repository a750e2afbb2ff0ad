/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is printed from an option table: the help and the man page.
 *
 * Called by main() for --help, and by the build for the manual.  It only
 * reads the table, so that the text cannot differ from what is parsed.
 */
#include <ctype.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/opt.h"
#include "lib/slice.h"

/* Help texts start in this column and end before WIDTH. */
#define COLUMN 30
#define WIDTH 80

/* Longest help of one option. */
#define TEXT_MAX 4096

/* The rows that every program has, last in its list. */
static const struct opt common[] = {
	{.name = "help", .letter = 'h', .help = "print this text"},
	{.name = "version", .help = "print the version"},
	{.name = NULL},
};

static bool is_taken(const struct opt_command *cmd, char letter)
{
	const struct opt *opt = cmd->opts;

	while (opt && opt->name && opt->letter != letter)
		opt++;
	return opt && opt->name;
}

/* "name=ARG", which both texts decorate. */
static const char *arg_of(const struct opt *opt)
{
	if (opt->type == OPT_FLAG)
		return NULL;
	return opt->arg ? opt->arg : "VALUE";
}

static bool shows_default(const struct opt *opt)
{
	return opt->def && opt->def[0] && opt->type != OPT_FLAG;
}

/* Breaks lines at blanks; `column` is where the cursor stands. */
static void print_wrapped(FILE *out, const char *text, int column)
{
	while (*text) {
		int len = (int)strcspn(text, " ");

		if (column > COLUMN && column + 1 + len > WIDTH) {
			fprintf(out, "\n%*s", COLUMN, "");
			column = COLUMN;
		} else if (column > COLUMN) {
			putc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", len, text);
		column += len;
		text += len;
		text += strspn(text, " ");
	}
	putc('\n', out);
}

static void help_row(FILE *out, const struct opt *opt, bool letter)
{
	const char *arg = arg_of(opt);
	struct buf text;
	int len = letter ? fprintf(out, "  -%c, --%s", opt->letter, opt->name) :
			   fprintf(out, "      --%s", opt->name);

	if (arg)
		len += fprintf(out, "=%s", arg);
	buf_init(&text, TEXT_MAX);
	buf_add_str(&text, opt->help ? opt->help : "");
	if (shows_default(opt))
		buf_printf(&text, " (default %s)", opt->def);
	if (opt->env)
		buf_printf(&text, " ($%s)", opt->env);
	if (len + 1 < COLUMN)
		fprintf(out, "%*s", COLUMN - len, "");
	else
		fprintf(out, "\n%*s", COLUMN, "");
	print_wrapped(out, buf_str(&text), COLUMN);
	buf_fini(&text);
}

/* Lines as they are, indented by two. */
static void help_block(FILE *out, const char *title, const char *text)
{
	struct mp_str line, rest = slice_of(text);

	if (!text)
		return;
	fprintf(out, "\n%s:\n", title);
	while (rest.len) {
		slice_cut(rest, '\n', &line, &rest);
		fprintf(out, line.len ? "  %.*s\n" : "%.*s\n", SLICE_ARG(line));
	}
}

void opt_print_help(FILE *out, const struct opt_command *cmd)
{
	fprintf(out, "Usage: %s %s\n\n", cmd->name, cmd->usage ? cmd->usage : "");
	fprintf(out, "%c%s.\n", toupper((unsigned char)cmd->summary[0]),
		cmd->summary + 1);
	if (cmd->text)
		fprintf(out, "\n%s\n", cmd->text);
	fprintf(out, "\nOptions:\n");
	for (const struct opt *opt = cmd->opts; opt && opt->name; opt++)
		help_row(out, opt, opt->letter);
	for (const struct opt *opt = common; opt->name; opt++)
		help_row(out, opt, opt->letter && !is_taken(cmd, opt->letter));
	help_block(out, "Exit status", cmd->exit_codes);
	help_block(out, "Examples", cmd->examples);
}

/* Nothing in a text may look like a roff request or escape. */
static void roff_part(FILE *out, struct mp_str text)
{
	bool line_start = true;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (line_start && (c == '.' || c == '\''))
			fputs("\\&", out);
		line_start = c == '\n';
		if (c == '\\')
			fputs("\\e", out);
		else if (c == '-')
			fputs("\\-", out);
		else
			putc(c, out);
	}
}

static void roff(FILE *out, const char *text)
{
	roff_part(out, slice_of(text));
}

static void man_name(FILE *out, const char *name, int (*change)(int))
{
	for (; *name; name++) {
		if (*name == ' ' || *name == '-')
			fputs("\\-", out);
		else
			putc(change((unsigned char)*name), out);
	}
}

static int unchanged(int c)
{
	return c;
}

/* An empty line starts a paragraph. */
static void man_text(FILE *out, const char *text)
{
	struct mp_str line, rest = slice_of(text);

	while (rest.len) {
		slice_cut(rest, '\n', &line, &rest);
		if (line.len)
			roff_part(out, line);
		else
			fputs(".PP", out);
		putc('\n', out);
	}
}

static void man_block(FILE *out, const char *title, const char *text)
{
	if (!text)
		return;
	fprintf(out, ".SH %s\n.nf\n", title);
	roff(out, text);
	fputs(text[0] && text[strlen(text) - 1] == '\n' ? ".fi\n" : "\n.fi\n", out);
}

static void man_row(FILE *out, const struct opt *opt, bool letter)
{
	const char *arg = arg_of(opt);

	fputs(".TP\n", out);
	if (letter)
		fprintf(out, "\\fB\\-%c\\fR, ", opt->letter);
	fputs("\\fB\\-\\-", out);
	roff(out, opt->name);
	fputs("\\fR", out);
	if (arg) {
		fputs("=\\fI", out);
		roff(out, arg);
		fputs("\\fR", out);
	}
	putc('\n', out);
	roff(out, opt->help ? opt->help : "");
	if (shows_default(opt)) {
		fputs(" (default ", out);
		roff(out, opt->def);
		putc(')', out);
	}
	fputs(".\n", out);
}

static void man_environment(FILE *out, const struct opt_command *cmd)
{
	bool any = false;

	for (const struct opt *opt = cmd->opts; opt && opt->name; opt++) {
		if (!opt->env)
			continue;
		fputs(any ? ".TP\n\\fB" : ".SH ENVIRONMENT\n.TP\n\\fB", out);
		roff(out, opt->env);
		fputs("\\fR\nSets \\fB\\-\\-", out);
		roff(out, opt->name);
		fputs("\\fR when that is not given.\n", out);
		any = true;
	}
}

void opt_print_man(FILE *out, const struct opt_command *cmd)
{
	fputs(".TH \"", out);
	man_name(out, cmd->name, toupper);
	fprintf(out, "\" \"%d\" \"\" \"Middlepipe\" \"Middlepipe Manual\"\n.SH NAME\n",
		cmd->man_section ? cmd->man_section : 1);
	man_name(out, cmd->name, unchanged);
	fputs(" \\- ", out);
	roff(out, cmd->summary);
	fputs("\n.SH SYNOPSIS\n\\fB", out);
	roff(out, cmd->name);
	fputs("\\fR ", out);
	roff(out, cmd->usage ? cmd->usage : "");
	fputs("\n.SH DESCRIPTION\n", out);
	man_text(out, cmd->text ? cmd->text : cmd->summary);
	fputs(".SH OPTIONS\n", out);
	for (const struct opt *opt = cmd->opts; opt && opt->name; opt++)
		man_row(out, opt, opt->letter);
	for (const struct opt *opt = common; opt->name; opt++)
		man_row(out, opt, opt->letter && !is_taken(cmd, opt->letter));
	man_environment(out, cmd);
	man_block(out, "EXIT STATUS", cmd->exit_codes);
	man_block(out, "EXAMPLES", cmd->examples);
}
