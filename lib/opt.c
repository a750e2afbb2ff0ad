/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading options: defaults, then the environment, then the command line,
 * each through the same function per type.  What is printed from the table
 * is in opt_help.c.
 *
 * Called once by main().  It must not print or exit.
 */
#include "lib/opt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/near.h"
#include "lib/slice.h"

#define QUOTE_SIZE 64
#define QUOTE(str) slice_quote((char[QUOTE_SIZE]){0}, QUOTE_SIZE, slice_of(str))

/* A unit behind a number. */
struct unit {
	const char *suffix; /* NULL ends a table */
	int64_t factor;     /* 0: only 0 may go without a unit */
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct unit size_units[] = {
	{"", 1},         {"K", 1 << 10}, {"KiB", 1 << 10}, {"M", 1 << 20},
	{"MiB", 1 << 20}, {"G", 1 << 30}, {"GiB", 1 << 30}, {NULL, 0},
};

static const struct unit time_units[] = {
	{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 0}, {NULL, 0},
};

/* How the numeric types are read and how messages speak of them. */
static const struct number {
	const struct unit *units; /* allowed suffixes */
	const char *what;         /* what the option wants */
	const char *base;         /* unit of the bounds */
} numbers[] = {
	[OPT_INT] = {no_units, "a number", ""},
	[OPT_SIZE] = {size_units, "a size such as 4096, 64K or 1M", " bytes"},
	[OPT_DURATION_MS] = {time_units, "a time such as 5ms, 2s, 1m or 1h", " ms"},
};

/* What is being set and by what, for the messages. */
struct source {
	const struct opt *opt; /* the row */
	const char *kind;      /* "", "variable " or "default of " */
	const char *prefix;    /* "--", "-" or "" */
	struct mp_str name;    /* as it was written */
};

static int fail(const struct source *from, const char *value, const char *wants,
		struct err *err)
{
	return err_set(err, -EINVAL, "%s%s%.*s wants %s, not %s", from->kind,
		       from->prefix, SLICE_ARG(from->name), wants, QUOTE(value));
}

/* 0, -EINVAL or -ERANGE. */
static int read_number(const char *text, const struct unit *units, int64_t *ret)
{
	bool negative = text[0] == '-';
	size_t digits = strspn(text + negative, "0123456789");
	const char *suffix = text + negative + digits;
	uint64_t number;
	int64_t value;
	int rc = slice_to_u64(slice_make(text + negative, digits), &number);

	if (rc)
		return rc;
	while (units->suffix && strcmp(suffix, units->suffix))
		units++;
	if (!units->suffix || (number && !units->factor))
		return -EINVAL;
	if (number > INT64_MAX ||
	    __builtin_mul_overflow((int64_t)number, units->factor, &value))
		return -ERANGE;
	*ret = negative ? -value : value;
	return 0;
}

static int set_number(const struct source *from, const char *text, struct err *err)
{
	const struct opt *opt = from->opt;
	const struct number *number = &numbers[opt->type];
	int64_t max = opt->min || opt->max ? opt->max : INT64_MAX;
	char wants[160];
	int64_t value;
	int rc = read_number(text, number->units, &value);

	if (rc == -EINVAL)
		return fail(from, text, number->what, err);
	if (rc || value < opt->min || value > max) {
		(void)snprintf(wants, sizeof(wants), "%s of %" PRId64 " to %" PRId64 "%s",
			       number->what, opt->min, max, number->base);
		return fail(from, text, wants, err);
	}
	*(int64_t *)opt->target = value;
	return 0;
}

static int set_flag(const struct source *from, const char *text, struct err *err)
{
	static const char *const words[] = {"0", "1",  "false", "true",
					    "no", "yes", "off",   "on"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(text, words[i])) {
			*(bool *)from->opt->target = i & 1;
			return 0;
		}
	}
	return fail(from, text, "1 or 0, true or false, yes or no, on or off", err);
}

static int set_enum(const struct source *from, const char *text, struct err *err)
{
	struct mp_str word, rest = slice_of(from->opt->arg);
	char wants[160];

	for (int i = 0; rest.len; i++) {
		slice_cut(rest, '|', &word, &rest);
		if (slice_eq(word, slice_of(text))) {
			*(int *)from->opt->target = i;
			return 0;
		}
	}
	(void)snprintf(wants, sizeof(wants), "one of %s", from->opt->arg);
	return fail(from, text, wants, err);
}

static int set_string(const struct source *from, const char *text, struct err *err)
{
	(void)err; /* any text will do */
	*(const char **)from->opt->target = text;
	return 0;
}

static int set(const struct source *from, const char *text, struct err *err)
{
	static int (*const setters[])(const struct source *, const char *,
				      struct err *) = {
		[OPT_FLAG] = set_flag,     [OPT_STRING] = set_string,
		[OPT_INT] = set_number,    [OPT_SIZE] = set_number,
		[OPT_ENUM] = set_enum,     [OPT_DURATION_MS] = set_number,
	};

	return setters[from->opt->type](from, text, err);
}

static int set_before_argv(const struct opt *opt, struct err *err)
{
	struct source table = {opt, "default of ", "--", slice_of(opt->name)};
	struct source environment = {opt, "variable ", "", slice_of(opt->env)};
	const char *text = opt->env ? getenv(opt->env) : NULL;
	int rc = opt->def ? set(&table, opt->def, err) : 0;

	return rc || !text || !text[0] ? rc : set(&environment, text, err);
}

static const struct opt *find(const struct opt_command *cmd, struct mp_str name)
{
	for (const struct opt *opt = cmd->opts; opt && opt->name; opt++) {
		if (slice_eq(slice_of(opt->name), name))
			return opt;
	}
	return NULL;
}

static int unknown(const struct opt_command *cmd, struct mp_str name, struct err *err)
{
	struct mp_str dashed = { name.ptr - 2, name.len + 2 }; /* as it was given */
	char quoted[QUOTE_SIZE];
	struct near near;

	near_init(&near, name);
	for (const struct opt *opt = cmd->opts; opt && opt->name; opt++)
		near_offer(&near, opt->name);
	near_offer(&near, "help");
	near_offer(&near, "version");
	slice_quote(quoted, sizeof(quoted), dashed);
	if (near.best)
		return err_set(err, -EINVAL, "unknown option %s; did you mean --%s?",
			       quoted, near.best);
	return err_set(err, -EINVAL, "unknown option %s; see --help", quoted);
}

/* args[0] is the option; a value is `given` or args[1].  Words used, or < 0. */
static int take(const struct source *from, const char *given, char **args, int left,
		struct err *err)
{
	const char *prefix = from->prefix;

	if (from->opt->type == OPT_FLAG) {
		if (given)
			return err_set(err, -EINVAL, "%s%.*s takes no value, not %s",
				       prefix, SLICE_ARG(from->name), QUOTE(given));
		*(bool *)from->opt->target = true;
		return 1;
	}
	if (!given && left < 2)
		return err_set(err, -EINVAL, "%s%.*s needs a value: %s", prefix,
			       SLICE_ARG(from->name),
			       from->opt->arg ? from->opt->arg : "VALUE");
	if (set(from, given ? given : args[1], err))
		return -EINVAL;
	return given ? 1 : 2;
}

static int take_long(const struct opt_command *cmd, char **args, int left,
		     int *ret_words, struct err *err)
{
	struct source from = {.kind = "", .prefix = "--"};
	struct mp_str value;
	bool given = slice_cut(slice_of(args[0] + 2), '=', &from.name, &value);

	from.opt = find(cmd, from.name);
	if (!from.opt && slice_eq(from.name, MP_LIT("help")))
		return OPT_HELP;
	if (!from.opt && slice_eq(from.name, MP_LIT("version")))
		return OPT_VERSION;
	if (!from.opt)
		return unknown(cmd, from.name, err);
	/* The value ends where the argument does, hence it is a C string. */
	*ret_words = take(&from, given ? value.ptr : NULL, args, left, err);
	return *ret_words < 0 ? *ret_words : 0;
}

static int take_short(const struct opt_command *cmd, char **args, int left,
		      int *ret_words, struct err *err)
{
	struct source from = {.opt = cmd->opts, .kind = "", .prefix = "-",
			      .name = {args[0] + 1, 1}};
	const char *rest = args[0][2] ? args[0] + 2 : NULL;

	while (from.opt && from.opt->name && from.opt->letter != args[0][1])
		from.opt++;
	if (!from.opt || !from.opt->name) {
		if (args[0][1] == 'h')
			return OPT_HELP;
		return err_set(err, -EINVAL, "unknown option %s; see --help",
			       QUOTE(args[0]));
	}
	*ret_words = take(&from, rest, args, left, err);
	return *ret_words < 0 ? *ret_words : 0;
}

/* Moves `words` arguments from argv[from] down to argv[to]. */
static void move_down(char **argv, int to, int from, int words)
{
	for (; words && from > to; words--, from++, to++) {
		char *arg = argv[from];

		memmove(&argv[to + 1], &argv[to], (size_t)(from - to) * sizeof(*argv));
		argv[to] = arg;
	}
}

/* Operands seen so far are argv[first] .. argv[i - 1]. */
static int parse_argv(const struct opt_command *cmd, int argc, char **argv,
		      int *ret_first_operand, struct err *err)
{
	int first = 1, words, rc;

	for (int i = 1; i < argc; i += words) {
		bool is_long = !strncmp(argv[i], "--", 2);

		words = 1;
		if (argv[i][0] != '-' || !argv[i][1]) {
			if (cmd->stop_at_operand)
				break;
			continue;
		}
		if (!strcmp(argv[i], "--")) {
			move_down(argv, first++, i, 1);
			break;
		}
		rc = (is_long ? take_long : take_short)(cmd, argv + i, argc - i, &words,
							err);
		if (rc)
			return rc;
		move_down(argv, first, i, words);
		first += words;
	}
	*ret_first_operand = first < argc ? first : argc;
	return 0;
}

int opt_parse(const struct opt_command *cmd, int argc, char **argv,
	      int *ret_first_operand, struct err *err)
{
	for (const struct opt *opt = cmd->opts; opt && opt->name; opt++) {
		int rc = set_before_argv(opt, err);

		if (rc)
			return rc;
	}
	return parse_argv(cmd, argc, argv, ret_first_operand, err);
}
