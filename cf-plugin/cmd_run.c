/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe run: starts a scheduler, then a command that uses it. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cf-plugin/chain_file.h"
#include "cf-plugin/cli.h"
#include "cf-plugin/foreground.h"
#include "cf-plugin/run_env.h"
#include "cf-plugin/runtime_dir.h"
#include "cf-plugin/scheduler_process.h"
#include "lib/log.h"

#define EXIT_OURS 125           /* we failed, not the command */
#define VALUE_MAX ((size_t)1 << 17) /* bytes of a variable: the kernel's bound */
#define WORDS_MAX 24            /* of the scheduler's command line */

/* What the user says; filled by the option table. */
static struct {
	const char *chain;       /* the file */
	const char *app;         /* NULL: as the file says */
	int64_t budget_ms;       /* 0: as the environment says, else DEFAULT_BUDGET */
	const char *hooks;       /* NULL: beside the program */
	const char *filters_dir; /* NULL: none */
	bool prefer_shared;      /* for the scheduler */
	const char *log;         /* the scheduler's level; NULL: its default */
} options;
#define DEFAULT_BUDGET "5"

static const struct opt opts[] = {
	{ .name = "chain", .letter = 'f', .type = OPT_STRING, .target = &options.chain,
	  .arg = "FILE", .help = "chain file" },
	{ .name = "app", .letter = 'a', .type = OPT_STRING, .target = &options.app, .arg = "NAME",
	  .help = "name of the app (default: as the chain file says)" },
	{ .name = "budget", .letter = 'b', .type = OPT_DURATION_MS, .target = &options.budget_ms,
	  .min = 1, .max = 60000, .arg = "TIME",
	  .help = "longest wait of one step of a call (default: $MIDDLEPIPE_BUDGET_MS, else 5ms)" },
	{ .name = "hooks", .type = OPT_STRING, .target = &options.hooks, .arg = "DIR",
	  .help = "folder of the language hooks (default: ../lib/middlepipe/hooks beside the "
		  "program)" },
	CLI_FILTERS_OPTIONS(&options.filters_dir, &options.prefer_shared),
	{ .name = "log", .letter = 'l', .type = OPT_STRING, .target = &options.log,
	  .arg = "error|warn|info|debug|off",
	  .help = "how much the scheduler logs on standard error" },
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe run",
	.usage = "--chain FILE [OPTION]... -- COMMAND [ARGUMENT]...",
	.summary = "run a command with its calls going through middlepipes",
	.text = "Checks the chain file, starts a scheduler, and runs the command with an environment in\n"
		"which Ruby, Python and Node.js load their hooks. The command keeps terminal, signals\n"
		"and exit code; an interactive shell is a command like any other, and so is another\n"
		"'middlepipe run'. At the end the scheduler is stopped.\n\n"
		"The chain file can be changed meanwhile: see 'middlepipe reload'. The scheduler's limits\n"
		"are set by the variables that 'mp-scheduler --help' names, MIDDLEPIPE_LANES for example.",
	.opts = opts,
	.stop_at_operand = true,
	.examples = "middlepipe run --chain chain.json --app shop -- ruby app.rb\n"
		    "middlepipe run --chain chain.json -- bash",
	.exit_codes = "2    wrong usage\n"
		      "125  the chain file is wrong, or the scheduler did not start\n"
		      "126  the command cannot be executed\n"
		      "127  the command was not found\n"
		      "128+N  the command died of signal N\n"
		      "else that of the command",
};

/* One run. */
struct run {
	struct runtime_dir dir;        /* its folder */
	pid_t scheduler;               /* 0: none, or reaped */
	char program[PATH_MAX];        /* mp-scheduler */
	char hooks[PATH_MAX];          /* folder of the hooks */
	bool ruby, python, node;       /* which of them there are */
};

/* --------------------------------------------------------------------- places */

/* The program's folder, or "" when /proc does not tell. */
static void find_own_folder(char *out, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", out, size - 1);
	char *slash;

	out[len > 0 ? len : 0] = '\0';
	slash = strrchr(out, '/');
	if (slash)
		*slash = '\0';
}

static bool has_hook(const struct run *run, const char *file)
{
	char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s%s", run->hooks, file);
	return access(path, R_OK) == 0;
}

/* A folder whose name some variable cannot hold is reached by a link. */
static void link_hooks(struct run *run)
{
	if (!run_env_needs_link(run->hooks) || symlink(run->hooks, run->dir.hooks) < 0)
		return;
	memcpy(run->hooks, run->dir.hooks, sizeof(run->dir.hooks));
}

static void find_programs(struct run *run)
{
	char folder[PATH_MAX - 64], hooks[PATH_MAX];

	find_own_folder(folder, sizeof(folder));
	(void)snprintf(run->program, sizeof(run->program), "%s/mp-scheduler", folder);
	if (access(run->program, X_OK) < 0)
		(void)snprintf(run->program, sizeof(run->program), "mp-scheduler");
	(void)snprintf(hooks, sizeof(hooks), "%s/../lib/middlepipe/hooks", folder);
	/* The command may change its folder: a relative name would not do. */
	if (!realpath(options.hooks ? options.hooks : hooks, run->hooks))
		run->hooks[0] = '\0';
}

static int find_hooks(struct run *run)
{
	run->ruby = run->hooks[0] && has_hook(run, RUN_HOOK_RUBY);
	run->python = run->hooks[0] && has_hook(run, RUN_HOOK_PYTHON "/sitecustomize.py");
	run->node = run->hooks[0] && has_hook(run, RUN_HOOK_NODE);
	if (run->ruby || run->python || run->node) {
		link_hooks(run);
		return 0;
	}
	if (options.hooks)
		return cli_fail(&command, EXIT_OURS, "no hooks in %s", options.hooks);
	cli_fail(&command, 0, "no language hooks are to be found: only programs that use "
			      "libmiddlepipe themselves are filtered");
	return 0;
}

/* ---------------------------------------------------------------- environment */

static void set_hook(const char *name, const char *hooks,
		     void (*compose)(const char *, const char *, struct buf *))
{
	struct buf value;

	buf_init(&value, VALUE_MAX);
	compose(getenv(name), hooks, &value);
	if (!value.error)
		(void)setenv(name, buf_str(&value), 1); /* no memory: that language is not filtered */
	buf_fini(&value);
}

/* In the child, before it becomes the command. */
static void prepare(void *ctx)
{
	const struct run *run = ctx;
	char budget[32];

	(void)snprintf(budget, sizeof(budget), "%lld", (long long)options.budget_ms);
	(void)setenv("MIDDLEPIPE_SOCK", run->dir.scheduler, 1);
	(void)setenv("MIDDLEPIPE_CONTROL", run->dir.control, 1);
	(void)setenv("MIDDLEPIPE_BUDGET_MS", options.budget_ms ? budget : DEFAULT_BUDGET,
		     options.budget_ms != 0);
	if (run->ruby)
		set_hook("RUBYOPT", run->hooks, run_env_ruby);
	if (run->python)
		set_hook("PYTHONPATH", run->hooks, run_env_python);
	if (run->node)
		set_hook("NODE_OPTIONS", run->hooks, run_env_node);
}

/* ------------------------------------------------------------------ scheduler */

static int start_scheduler(struct run *run)
{
	char *words[WORDS_MAX] = { NULL };
	const char *const base[] = { "mp-scheduler", "--socket", run->dir.scheduler, "--control",
				     run->dir.control, "--chain", options.chain, "--state",
				     run->dir.state, "--ready-fd", "READY" };
	struct err err = { 0 };
	size_t n = 0;
	int rc;

	/* execvp() wants mutable words but changes none. */
	while (n < sizeof(base) / sizeof(base[0])) {
		words[n] = (char *)(uintptr_t)base[n];
		n++;
	}
	if (options.filters_dir) {
		words[n++] = (char *)(uintptr_t)"--filters-dir";
		words[n++] = (char *)(uintptr_t)options.filters_dir;
	}
	if (options.prefer_shared)
		words[n++] = (char *)(uintptr_t)"--prefer-shared";
	if (options.log) {
		words[n++] = (char *)(uintptr_t)"--log";
		words[n++] = (char *)(uintptr_t)options.log;
	}
	rc = scheduler_start(run->program, words, &run->scheduler, &err);
	return rc ? cli_fail(&command, EXIT_OURS, "%s", err.text) : 0;
}

/* Some child changed: was it the scheduler? */
static void reap_scheduler(void *ctx)
{
	struct run *run = ctx;
	int status;

	if (!run->scheduler || waitpid(run->scheduler, &status, WNOHANG) != run->scheduler)
		return;
	run->scheduler = 0;
	cli_fail(&command, 0, "the scheduler ended (%s %d): calls go on unfiltered, those under "
			     "on_failure: closed are refused",
		 WIFSIGNALED(status) ? "signal" : "exit code",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* ------------------------------------------------------------------------ run */

/* The file is checked before anything is started. */
static int check_chain(char *app, size_t size)
{
	struct catalog *filters = NULL;
	struct chains *chains = NULL;
	int code = 0, rc;

	if (filters_open(options.filters_dir, options.prefer_shared, &filters))
		return EXIT_OURS;
	rc = chain_file_load(options.chain, filters, &chains);
	catalog_free(filters);
	if (rc)
		return EXIT_OURS;
	if (options.app && strcmp(options.app, chains_app(chains)))
		code = cli_fail(&command, EXIT_OURS, "%s is for the app \"%s\", not for \"%s\"",
				options.chain, chains_app(chains), options.app);
	(void)snprintf(app, size, "%s", chains_app(chains));
	chains_free(chains);
	return code;
}

/* With signals blocked: whatever comes, the folder and the scheduler go again. */
static int run_inside(struct run *run, const char *app, char **words)
{
	struct foreground foreground = { .argv = words, .prepare = prepare,
					 .child = reap_scheduler, .ctx = run };
	struct err err = { 0 };
	sigset_t old;
	int code;

	foreground_block(&old);
	if (runtime_dir_make(app, &run->dir, &err))
		return cli_fail(&command, EXIT_OURS, "%s", err.text);
	code = find_hooks(run);
	if (!code)
		code = start_scheduler(run);
	if (!code)
		code = foreground_run(&foreground, &old);
	if (run->scheduler)
		scheduler_stop(run->scheduler);
	runtime_dir_remove(&run->dir);
	return code;
}

/* A name that can be a folder's: as in a chain file. */
static bool app_ok(const char *app)
{
	size_t n = strspn(app, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n && !app[n] && n <= CHAIN_NAME_MAX && !strchr("._-", app[0]);
}

static int run(int argc, char **argv)
{
	char app[CHAIN_NAME_MAX + 1];
	struct run *this;
	struct cli_words words;
	int code;

	if (!cli_options(&command, 0, INT_MAX, argc, argv, &words, &code))
		return code;
	if (!options.chain)
		return cli_usage(&command, "--chain FILE is missing");
	if (!words.n)
		return cli_usage(&command, "the command is missing");
	if (options.app && !app_ok(options.app))
		return cli_usage(&command, "--app wants 1 to %d letters, digits, '.', '_' and '-'",
				 CHAIN_NAME_MAX);
	if (options.log && log_level_parse(options.log) == -EINVAL)
		return cli_usage(&command, "--log wants error, warn, info, debug or off, not \"%s\"",
				 options.log);
	code = check_chain(app, sizeof(app));
	if (code)
		return code;
	this = calloc(1, sizeof(*this));
	if (!this)
		return cli_fail(&command, EXIT_OURS, "out of memory");
	find_programs(this);
	code = run_inside(this, app, words.words);
	free(this);
	return code;
}

const struct cli_command cmd_run = { &command, run };
