/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler/blame.c: the right filter is left out, for the right reason, and
 * nobody is when the worker was killed from outside.
 */
#include "scheduler/blame.h"

#include <signal.h>
#include <stdio.h>

#include "tests/lib/tap.h"

/* As wait() would say it. */
static int exited(int code)
{
	return code << 8;
}

static void test_numbers(void)
{
	struct blame *b = blame_new();
	uint32_t first = blame_number(b, "first"), n = 1, last = 0, number;

	ok(first, "a unit gets a number");
	is_str(blame_name(b, first), "first", "by which its name is found");
	while ((number = blame_number(b, "x"))) {
		last = number;
		n++;
	}
	is_u64(n, BLAME_UNITS - 1, "so many units have one");
	blame_number_free(b, first);
	is_str(blame_name(b, first), "", "one that was given back is nobody's");
	is_u64(blame_number(b, "again"), first, "and is given out again");
	ok(!blame_number(b, "y"), "there are no more");
	blame_number_free(b, 0);
	is_str(blame_name(b, 0), "", "0 belongs to nobody");
	is_str(blame_name(b, BLAME_UNITS), "", "nor do numbers out of range");
	blame_enter(b, last);
	ok(blame_verdict(b, SIGSEGV) && blame_find(b, "x"), "the last of them can be blamed");
	is_u64(blame_number(b, "new"), 1, "the next worker begins anew");
}

static void test_verdicts(void)
{
	static const struct {
		const char *what;
		int status;
		const char *reason; /* NULL: nobody is to blame */
	} rows[] = {
		{ "a crash", SIGSEGV, "crashed with signal 11 (Segmentation fault)" },
		{ "an abort", SIGABRT, "crashed with signal 6 (Aborted)" },
		{ "an exit", 0x0300, "ended the scheduler with exit code 3" },
		{ "SIGKILL", SIGKILL, NULL },
		{ "SIGTERM", SIGTERM, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct blame *b = blame_new();
		const struct blame_ejected *row;

		blame_enter(b, blame_number(b, "guard"));
		row = blame_verdict(b, rows[i].status);
		is_str(row ? row->reason : NULL, rows[i].reason, "%s within a filter", rows[i].what);
		ok(!b->running && !b->hung && !b->loading && !blame_name(b, 1)[0], "the page is clean again");
	}
}

static void test_whose(void)
{
	struct blame *b = blame_new();
	uint32_t one = blame_number(b, "one"), two = blame_number(b, "two");
	const struct blame_ejected *row;

	blame_enter(b, one);
	blame_leave(b);
	ok(!blame_verdict(b, SIGSEGV), "a crash between two calls is nobody's");
	one = blame_number(b, "one");
	two = blame_number(b, "two");
	b->budget_ms = 100;
	blame_enter(b, one);
	b->hung = two;
	row = blame_verdict(b, exited(BLAME_EXIT_HUNG));
	is_str(row ? row->middlepipe : NULL, "two", "of one that hangs the watchdog knows the name");
	is_str(row ? row->reason : NULL, "did not return within 100 ms", "and the reason");
	b->loading = blame_number(b, "three");
	blame_enter(b, blame_number(b, "four"));
	row = blame_verdict(b, SIGBUS);
	is_str(row ? row->middlepipe : NULL, "three", "loading counts, too, and most");
	is_str(row ? row->reason : NULL, "crashed with signal 7 (Bus error) in load()", "and the reason");
	b->load_ms = 1000;
	b->unloading = blame_number(b, "three");
	row = blame_verdict(b, SIGALRM);
	is_str(row ? row->reason : NULL, "did not return from unload() within 1000 ms",
	       "the timer is that of load() and unload()");
	blame_enter(b, blame_number(b, "four"));
	row = blame_verdict(b, SIGALRM);
	is_str(row ? row->reason : NULL, "crashed with signal 14 (Alarm clock)", "and of nothing else");
	b->running = UINT32_MAX;
	(void)blame_verdict(b, SIGSEGV);
	ok(true, "a number out of range harms nothing");
}

static void test_places(void)
{
	struct blame *b = blame_new();
	char name[BLAME_NAME + 8];

	for (unsigned i = 0; i < BLAME_EJECTED; i++) {
		(void)snprintf(name, sizeof(name), "m%u", i);
		(void)blame_eject(b, name, "why");
		b->ejected[i].wall_ns = i + 1;
	}
	ok(blame_find(b, "m0") && blame_find(b, "m63"), "as many as there are places");
	(void)blame_eject(b, "m5", "again");
	is_str(blame_find(b, "m5")->reason, "again", "one that is there already keeps its place");
	(void)blame_eject(b, "new", "why");
	ok(blame_find(b, "new") && !blame_find(b, "m0"), "then the oldest gives way");
	blame_forgive(b, "new");
	ok(!blame_find(b, "new"), "and one can be taken back in");
	blame_forgive(b, "nobody");
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)blame_eject(b, name, "why");
	ok(blame_find(b, name), "a long name is found by what fits");
	name[CHAIN_NAME_MAX - 1] = 'm';
	ok(!blame_find(b, name), "all of the longest name counts");
}

int main(void)
{
	test_numbers();
	test_verdicts();
	test_whose();
	test_places();
	return done();
}
