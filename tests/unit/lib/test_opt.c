/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/opt: every type and source, mistakes, the printed texts. */
#include "lib/opt.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/lib/tap.h"

static bool verbose;
static const char *name;
static int64_t port, size, wait_ms, delta;
static int mode;

static const struct opt opts[] = {
	{.name = "verbose", .letter = 'v', .type = OPT_FLAG, .target = &verbose, .def = "0",
	 .env = "TEST_VERBOSE", .help = "say more"},
	{.name = "name", .letter = 'n', .type = OPT_STRING, .target = &name, .def = "none",
	 .arg = "NAME", .env = "TEST_NAME", .help = "name of the thing"},
	{.name = "port", .letter = 'p', .type = OPT_INT, .target = &port, .def = "80", .min = 1,
	 .max = 65535, .arg = "PORT", .env = "TEST_PORT",
	 .help = "listen on this port of the address that was given, which is free by then"},
	{.name = "delta", .type = OPT_INT, .target = &delta, .def = "0", .min = -5, .max = 5},
	{.name = "size", .type = OPT_SIZE, .target = &size, .def = "64K", .min = 4096,
	 .max = 1 << 30, .arg = "SIZE", .help = "room for it"},
	{.name = "wait", .type = OPT_DURATION_MS, .target = &wait_ms, .def = "5ms", .max = 3600000,
	 .arg = "TIME", .help = "wait so long"},
	{.name = "mode", .type = OPT_ENUM, .target = &mode, .def = "open", .arg = "open|closed|half-open",
	 .help = "how it starts"},
	{.name = NULL},
};

static struct opt_command cmd = {
	.name = "middlepipe test",
	.usage = "[OPTION]... [FILE]...",
	.summary = "try the options",
	.text = "First line.\n.not a request\n\nSecond paragraph with a \\ in it.",
	.opts = opts,
	.examples = "middlepipe test -v\n.hidden",
	.exit_codes = "0  fine\n1  not fine\n",
};

static char *args[16];
static int first;
static struct err err;

/* Splits a line at blanks and parses it; '_' stands for an empty word. */
static int parse(const char *line)
{
	static char copy[512];
	char *rest = copy, *word;
	int count = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	args[0] = (char[]){"prog"};
	while ((word = strsep(&rest, " ")) && count < 15) {
		if (*word)
			args[count++] = strcmp(word, "_") ? word : word + 1;
	}
	args[count] = NULL;
	err.text[0] = '\0';
	return opt_parse(&cmd, count, args, &first, &err);
}

static void test_values(void)
{
	is_int(parse(""), 0, "nothing");
	ok(!verbose && port == 80 && size == 65536 && wait_ms == 5 && mode == 0, "the defaults");
	is_str(name, "none", "of strings too");
	is_int(first, 1, "no operands");
	is_int(parse("--port=1 --name x -v --size 1MiB --wait=2m --mode=half-open --delta=-5"), 0, "all");
	ok(verbose && port == 1 && size == 1 << 20 && wait_ms == 120000 && mode == 2 && delta == -5,
	   "have their values");
	is_str(name, "x", "and the string");
	is_int(parse("-p8080 -n y --name="), 0, "short forms");
	ok(port == 8080 && !name[0], "the last one wins, and may be empty");
	is_int(parse("--name --port"), 0, "a value may look like an option");
	is_str(name, "--port", "when it is due");
	is_int(parse("--wait 0"), 0, "0 needs no unit");
	is_int(parse("--wait 1h"), 0, "at the bound");
	is_int(wait_ms, 3600000, "in milliseconds");
}

static const struct {
	const char *line, *error;
} mistakes[] = {
	{"--prot=1", "unknown option \"--prot\"; did you mean --port?"},
	{"--banana", "unknown option \"--banana\"; see --help"},
	{"-x", "unknown option \"-x\"; see --help"},
	{"--port", "--port needs a value: PORT"},
	{"-p", "-p needs a value: PORT"},
	{"--delta", "--delta needs a value: VALUE"},
	{"--verbose=1", "--verbose takes no value, not \"1\""},
	{"-vx", "-v takes no value, not \"x\""},
	{"--port=0", "--port wants a number of 1 to 65535, not \"0\""},
	{"--port=99999999999999999999", "--port wants a number of 1 to 65535, not \"99999999999999999999\""},
	{"--port=1x", "--port wants a number, not \"1x\""},
	{"--port _", "--port wants a number, not \"\""},
	{"--port=-", "--port wants a number, not \"-\""},
	{"--delta=-6", "--delta wants a number of -5 to 5, not \"-6\""},
	{"--size=1T", "--size wants a size such as 4096, 64K or 1M, not \"1T\""},
	{"--size=2G", "--size wants a size such as 4096, 64K or 1M of 4096 to 1073741824 bytes, not \"2G\""},
	{"--size=9999999999G",
	 "--size wants a size such as 4096, 64K or 1M of 4096 to 1073741824 bytes, not \"9999999999G\""},
	{"--wait=5", "--wait wants a time such as 5ms, 2s, 1m or 1h, not \"5\""},
	{"--wait=2h", "--wait wants a time such as 5ms, 2s, 1m or 1h of 0 to 3600000 ms, not \"2h\""},
	{"--mode=ajar", "--mode wants one of open|closed|half-open, not \"ajar\""},
	{"--mode _", "--mode wants one of open|closed|half-open, not \"\""},
};

static void test_mistakes(void)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		is_int(parse(mistakes[i].line), -EINVAL, "refuse %s", mistakes[i].line);
		is_str(err.text, mistakes[i].error, "and say why");
	}
}

static void test_environment(void)
{
	setenv("TEST_PORT", "81", 1);
	setenv("TEST_NAME", "", 1);
	setenv("TEST_VERBOSE", "yes", 1);
	is_int(parse(""), 0, "from the environment");
	ok(port == 81 && verbose, "over the defaults");
	is_str(name, "none", "an empty variable is unset");
	is_int(parse("--port 82"), 0, "and argv");
	is_int(port, 82, "over the environment");
	setenv("TEST_PORT", "many", 1);
	is_int(parse(""), -EINVAL, "a bad variable");
	is_str(err.text, "variable TEST_PORT wants a number, not \"many\"", "is named");
	unsetenv("TEST_PORT");
	setenv("TEST_VERBOSE", "perhaps", 1);
	is_int(parse(""), -EINVAL, "a bad flag");
	unsetenv("TEST_VERBOSE");
	unsetenv("TEST_NAME");
}

static void test_operands(void)
{
	is_int(parse("a -v b --port 5 c"), 0, "operands between options");
	ok(verbose && port == 5, "the options are found");
	is_int(first, 4, "the operands are last");
	ok(!strcmp(args[4], "a") && !strcmp(args[5], "b") && !strcmp(args[6], "c"), "in order");
	is_int(parse("a -v -- -p b"), 0, "two dashes end the options");
	is_int(first, 3, "operands");
	ok(!strcmp(args[3], "a") && !strcmp(args[4], "-p") && !strcmp(args[5], "b"), "in order");
	is_int(parse("-"), 0, "one dash");
	is_int(first, 1, "is an operand");
	cmd.stop_at_operand = true;
	is_int(parse("-v run --port x"), 0, "the first operand ends the options");
	is_int(first, 2, "and is the first operand");
	is_int(parse("-v -- -p"), 0, "or the dashes do");
	ok(first == 3 && !strcmp(args[3], "-p"), "what follows is not looked at");
	cmd.stop_at_operand = false;
	is_int(parse("-v --help --banana"), OPT_HELP, "help");
	is_int(parse("-h"), OPT_HELP, "short help");
	is_int(parse("--version"), OPT_VERSION, "version");
}

static const char *printed(void (*print)(FILE *, const struct opt_command *))
{
	static char text[8192];
	FILE *out = fmemopen(text, sizeof(text), "w");

	print(out, &cmd);
	fclose(out);
	return text;
}

static void test_help(void)
{
	const char *text = printed(opt_print_help);

	ok(strstr(text, "Usage: middlepipe test [OPTION]... [FILE]...\n\nTry the options.\n"), "usage");
	ok(strstr(text, "\n  -v, --verbose               say more ($TEST_VERBOSE)\n"), "a flag");
	ok(strstr(text, "\n      --size=SIZE             room for it (default 64K)\n"), "a default");
	ok(strstr(text, "\n      --mode=open|closed|half-open\n                              how it"),
	   "a long name");
	ok(strstr(text, "  -h, --help "), "help itself");
	ok(strstr(text, "\nExit status:\n  0  fine\n  1  not fine\n"), "exit status");
	ok(strstr(text, "\nExamples:\n  middlepipe test -v\n  .hidden\n"), "examples");
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		if (strcspn(line, "\n") > 80)
			ok(false, "a line is too long: %.80s", line);
	}
}

static void test_man(void)
{
	const char *text = printed(opt_print_man);

	ok(!strncmp(text, ".TH \"MIDDLEPIPE\\-TEST\" \"1\"", 26), "title");
	ok(strstr(text, "middlepipe\\-test \\- try the options\n"), "name");
	ok(strstr(text, "\n\\&.not a request\n.PP\nSecond paragraph with a \\e in it.\n"), "text");
	ok(strstr(text, "\n.TP\n\\fB\\-p\\fR, \\fB\\-\\-port\\fR=\\fIPORT\\fR\nlisten on"), "an option");
	ok(strstr(text, ".SH ENVIRONMENT\n.TP\n\\fBTEST_VERBOSE\\fR\n"), "environment");
	ok(strstr(text, ".SH EXAMPLES\n.nf\nmiddlepipe test \\-v\n\\&.hidden\n.fi\n"), "examples");
}

int main(void)
{
	test_values();
	test_mistakes();
	test_environment();
	test_operands();
	test_help();
	test_man();
	return done();
}
