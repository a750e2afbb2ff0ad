/* SPDX-License-Identifier: Apache-2.0 */
/* mp-scheduler: runs the request filters of one container's apps. */
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lib/opt.h"
#include "scheduler/supervisor.h"

static struct scheduler_options options = { .ready_fd = -1 };
static const char *log_level;
static bool print_man;

static const struct opt opts[] = {
	{ .name = "socket", .letter = 's', .type = OPT_STRING, .target = &options.socket,
	  .arg = "PATH", .env = "MIDDLEPIPE_SOCK", .help = "socket on which apps say hello" },
	{ .name = "control", .letter = 'c', .type = OPT_STRING, .target = &options.control,
	  .arg = "PATH", .env = "MIDDLEPIPE_CONTROL", .help = "socket of the control API" },
	{ .name = "chain", .letter = 'f', .type = OPT_STRING, .target = &options.chain, .arg = "FILE",
	  .help = "chain file to load at start, on SIGHUP and on reload" },
	{ .name = "state", .type = OPT_STRING, .target = &options.state, .arg = "FILE",
	  .help = "file that keeps open breakers over a restart" },
	{ .name = "filters-dir", .type = OPT_STRING, .target = &options.filters_dir, .arg = "DIR",
	  .help = "folder of filters to load as TYPE.so; no other place is looked at" },
	{ .name = "prefer-shared", .type = OPT_FLAG, .target = &options.prefer_shared,
	  .help = "take a filter from the folder even when it is built in" },
	{ .name = "lanes", .type = OPT_INT, .target = &options.lanes, .def = "64", .min = 1,
	  .max = 1024, .arg = "N", .env = "MIDDLEPIPE_LANES",
	  .help = "app processes served at once" },
	{ .name = "slots", .type = OPT_INT, .target = &options.slots, .def = "64", .min = 1,
	  .max = LANE_SLOTS_MAX, .arg = "N", .env = "MIDDLEPIPE_SLOTS",
	  .help = "questions under way in one app process" },
	{ .name = "ring", .type = OPT_INT, .target = &options.ring, .def = "4096", .min = 64,
	  .max = 65536, .arg = "N", .env = "MIDDLEPIPE_RING",
	  .help = "outcomes kept for one app process, a power of two" },
	{ .name = "slot-size", .type = OPT_SIZE, .target = &options.slot_size, .def = "64K",
	  .min = 4096, .max = RUN_DATA_MAX, .arg = "SIZE",
	  .env = "MIDDLEPIPE_SLOT_SIZE",
	  .help = "bytes of a question: header fields and bodies" },
	{ .name = "filter-budget", .type = OPT_DURATION_MS, .target = &options.filter_budget_ms,
	  .def = "100ms", .min = 10, .max = 60000, .arg = "TIME",
	  .env = "MIDDLEPIPE_FILTER_BUDGET",
	  .help = "a filter that does not return for so long is ejected" },
	{ .name = "call-age", .type = OPT_DURATION_MS, .target = &options.call_age_ms,
	  .def = "5m", .min = 1000, .max = 86400000, .arg = "TIME",
	  .env = "MIDDLEPIPE_CALL_AGE",
	  .help = "no call is older: what it held is given back then" },
	{ .name = "ready-fd", .type = OPT_INT, .target = &options.ready_fd, .def = "-1", .min = -1,
	  .max = 65535, .arg = "FD", .help = "write a newline there when apps are served" },
	{ .name = "no-supervisor", .type = OPT_FLAG, .target = &options.no_supervisor,
	  .help = "run in this process; a crash then ends it (for debuggers)" },
	{ .name = "log", .letter = 'l', .type = OPT_STRING, .target = &log_level,
	  .arg = "error|warn|info|debug|off", .env = "MIDDLEPIPE_LOG", .def = "warn",
	  .help = "how much to log on standard error" },
	{ .name = "man", .type = OPT_FLAG, .target = &print_man, .help = "print this as a man page" },
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "mp-scheduler",
	.usage = "--socket PATH --control PATH [OPTION]...",
	.summary = "run the request filters of a container's apps",
	.text = "Apps whose language hook finds the socket get a lane of shared memory each. The chains\n"
		"of the chain file decide what becomes of their calls. A small parent process starts the\n"
		"scheduler again when it dies, without the filter that killed it.\n\n"
		"SIGHUP loads the chain file again, whole or not at all; SIGTERM and SIGINT end it. Apps\n"
		"notice neither: their calls go on unfiltered, or are refused where a binding says\n"
		"on_failure: closed.",
	.opts = opts,
	.examples = "mp-scheduler --socket /run/mp/apps.sock --control /run/mp/control.sock \\\n"
		    "    --chain chains.json --state /run/mp/state.json",
	.exit_codes = "0  ended by a signal\n"
		      "1  the chain file is wrong\n"
		      "2  wrong usage\n"
		      "111  a system call failed",
	.man_section = 1,
};

static int usage_error(const char *text)
{
	fprintf(stderr, "mp-scheduler: %s\nTry 'mp-scheduler --help'.\n", text);
	return 2;
}

/* What the table cannot say. */
static const char *options_wrong(void)
{
	static char text[96];

	if (!options.socket)
		return "--socket PATH is needed";
	if (!options.control)
		return "--control PATH is needed";
	if (!strcmp(options.socket, options.control))
		return "--socket and --control are the same path";
	if (options.ring & (options.ring - 1)) {
		snprintf(text, sizeof(text), "--ring %lld is not a power of two",
			 (long long)options.ring);
		return text;
	}
	if (options.slot_size % LANE_PAGE) {
		snprintf(text, sizeof(text), "--slot-size %lld is not a multiple of %u",
			 (long long)options.slot_size, LANE_PAGE);
		return text;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct err err = { 0 };
	int first = 0, r = opt_parse(&command, argc, argv, &first, &err);
	const char *wrong;

	if (r == OPT_HELP || print_man) {
		if (print_man)
			opt_print_man(stdout, &command);
		else
			opt_print_help(stdout, &command);
		return 0;
	}
	if (r == OPT_VERSION) {
		printf("mp-scheduler %s\n", MIDDLEPIPE_VERSION);
		return 0;
	}
	if (r < 0)
		return usage_error(err.text);
	if (first < argc)
		return usage_error("no operand is expected");
	wrong = options_wrong();
	if (wrong)
		return usage_error(wrong);
	r = log_level_parse(log_level);
	if (r == -EINVAL)
		return usage_error("--log: error, warn, info, debug or off is expected");
	log_open("mp-scheduler", r);
	return supervisor_run(&options);
}
