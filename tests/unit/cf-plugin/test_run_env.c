/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of RUBYOPT, PYTHONPATH and NODE_OPTIONS. */
#include "cf-plugin/run_env.h"

#include "lib/slice.h"
#include "tests/lib/tap.h"

typedef void compose_fn(const char *old, const char *hooks, struct buf *out);

/* A variable before and after. */
struct row {
	const char *old;   /* NULL: not set */
	const char *hooks; /* folder */
	const char *want;  /* new value */
};

#define RB "-r/h/ruby/middlepipe.rb"
static const struct row ruby[] = {
	{ NULL, "/h", RB },
	{ "", "/h", RB },
	{ "  ", "/h", RB },
	{ "-w", "/h", RB " -w" },
	{ "-rbundler/setup\t-W0 ", "/h", RB " -rbundler/setup -W0" },
	{ RB, "/h", RB },
	{ RB " -w", "/h", RB " -w" },
	{ "-w -r/other/hooks/ruby/middlepipe.rb -rset", "/h", RB " -w -rset" },
	{ "-rmine/middlepipe.rb", "/h", RB " -rmine/middlepipe.rb" },
};

static const struct row python[] = {
	{ NULL, "/h", "/h/python" },
	{ "", "/h", "/h/python" },
	{ "/a:/b", "/h", "/h/python:/a:/b" },
	{ "/h/python", "/h", "/h/python" },
	{ "/a:/h/python:/b", "/h", "/h/python:/a:/b" },
	{ "/x/lib/middlepipe/hooks/python:/b", "/h", "/h/python:/b" },
	{ "/a:", "/h", "/h/python:/a:" },
	{ ":", "/h", "/h/python::" },
	{ "/usr/lib/python", "/h", "/h/python:/usr/lib/python" },
};

#define JS "--require /h/node/middlepipe.cjs"
static const struct row node[] = {
	{ NULL, "/h", JS },
	{ "", "/h", JS },
	{ "--max-old-space-size=4096", "/h", JS " --max-old-space-size=4096" },
	{ JS, "/h", JS },
	{ JS " --trace-warnings", "/h", JS " --trace-warnings" },
	{ "-r  /o/node/middlepipe.cjs  --x", "/h", JS " --x" },
	{ "--require=/o/node/middlepipe.cjs --x", "/h", JS " --x" },
	{ "--require \"/o o/node/middlepipe.cjs\" --x", "/h", JS " --x" },
	{ "--require \"/o \\\" o/node/middlepipe.cjs\"", "/h", JS },
	{ "--require ./mine.js --y", "/h", JS " --require ./mine.js --y" },
	{ "--require \"a b.js\"", "/h", JS " --require \"a b.js\"" },
	{ "--require", "/h", JS " --require" },
	{ "\"open --x", "/h", JS " \"open --x" },
	{ "--x", "/a b", "--require \"/a b/node/middlepipe.cjs\" --x" },
	{ "--require \"/a b/node/middlepipe.cjs\"", "/a b",
	  "--require \"/a b/node/middlepipe.cjs\"" },
	{ NULL, "/a\"b\\c", "--require \"/a\\\"b\\\\c/node/middlepipe.cjs\"" },
};

static void check(const char *name, compose_fn *compose, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct buf out, again;

		buf_init(&out, 1000);
		buf_init(&again, 1000);
		compose(rows[i].old, rows[i].hooks, &out);
		is_str(buf_str(&out), rows[i].want, "%s: %s", name,
		       rows[i].old ? rows[i].old : "not set");
		compose(buf_str(&out), rows[i].hooks, &again);
		is_str(buf_str(&again), rows[i].want, "and nested");
		buf_fini(&out);
		buf_fini(&again);
	}
}

#define CHECK(name, compose) check(#name, compose, name, sizeof(name) / sizeof(name[0]))

int main(void)
{
	CHECK(ruby, run_env_ruby);
	CHECK(python, run_env_python);
	CHECK(node, run_env_node);
	ok(!run_env_needs_link("/usr/lib/middlepipe-1.0_x/hooks"), "a plain folder");
	ok(run_env_needs_link("/a b"), "a blank");
	ok(run_env_needs_link("/a:b"), "a colon");
	ok(run_env_needs_link("/a\"b"), "a quote");
	return done();
}
