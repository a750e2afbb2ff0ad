/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that fork, run threads, do both, replace themselves, or end in the
 * middle of a call, with libmiddlepipe in them.
 *
 *   processes fork PORT N       calls, forks N children one after another and at the end one that
 *                               forks again; each calls and checks its own counters
 *   processes inherit PORT      a child ends and asks with the calls that its parent had begun
 *   processes forkthreads PORT N   the same as fork, while 8 threads of the parent call
 *   processes exec PORT         calls, executes itself and calls again
 *   processes exit PORT HOW     ends while 4 threads wait in a call: exit, _exit, return, kill
 *
 * A line on standard output for each process that checks itself; exit code 0 when all is well.
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "lib/slice.h"
#include "tests/functional/prog/prog.h"

#define CALLS 20
#define CALLERS 8

static uint32_t port;
static _Atomic int stopping, waiting;

static struct mp_target target_of(void)
{
	return (struct mp_target){ .size = sizeof(struct mp_target), .port = port, .scheme = MP_LIT("http"),
				   .host = MP_LIT("127.0.0.1"), .path = MP_LIT("/") };
}

/* Begins and asks; the caller ends it. */
static int call_begin(struct mp_call *call)
{
	static const struct mp_request request = {
		.size = sizeof(request), .flags = MP_BODY_COMPLETE, .method = { "GET", 3 },
		.scheme = { "http", 4 }, .authority = { "127.0.0.1", 9 }, .path = { "/", 1 },
	};
	struct mp_target target = target_of();
	struct mp_verdict v = { .size = sizeof(v) };
	int how = mp_begin(&target, call, &v);

	if (how == MP_ASK) {
		int r = mp_ask(call, &request, &v);

		atomic_fetch_add(&waiting, r == MP_VERDICT_HOLD);
		while (r == MP_VERDICT_HOLD)
			r = mp_resume(call, v.delay_ns, &v);
	}
	mp_verdict_free(&v);
	return how;
}

static void call_once(void)
{
	struct mp_call call;

	if (call_begin(&call) != MP_NONE)
		mp_end(&call, 200, 0, 0);
}

static struct mp_counters counters(void)
{
	struct mp_counters k = { .size = sizeof(k) };

	mp_counters_get(&k);
	return k;
}

/* Makes CALLS calls; they must all be asked, over one lane of this process's own. */
static bool calls_check(const char *who)
{
	struct mp_counters k;

	for (int i = 0; i < CALLS; i++)
		call_once();
	k = counters();
	printf("%s: asked %llu unfiltered %llu connects %llu\n", who, (unsigned long long)k.asked,
	       (unsigned long long)k.unfiltered, (unsigned long long)k.connects);
	fflush(stdout);
	return k.asked == CALLS && !k.unfiltered && !k.refused && k.connects == 1;
}

/* Waits for a child; true: it found all well. */
static bool child_ok(pid_t pid)
{
	int status;

	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static pid_t child_start(const char *who, bool again)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (!calls_check(who))
		_exit(1);
	_exit(again && !child_ok(child_start("grandchild", false)));
}

static int run_fork(int n)
{
	bool good = calls_check("parent");
	struct mp_counters k;

	for (int i = 0; i < n; i++)
		good &= child_ok(child_start("child", false));
	good &= child_ok(child_start("child", true));
	for (int i = 0; i < CALLS; i++)
		call_once();
	k = counters();
	printf("parent afterwards: asked %llu connects %llu\n", (unsigned long long)k.asked,
	       (unsigned long long)k.connects);
	return !(good && k.asked == 2 * CALLS && k.connects == 1);
}

/* What a call is to a process that it was not begun in: nothing. */
static int run_inherit(void)
{
	struct mp_call begun, asked;
	struct mp_target target = target_of();
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_counters k;
	pid_t pid;
	bool good;

	call_once();
	(void)mp_begin(&target, &begun, &v);
	(void)call_begin(&asked);
	pid = fork();
	if (!pid) {
		struct mp_request request = { .size = sizeof(request) };

		good = mp_ask(&begun, &request, &v) == MP_VERDICT_PASS;
		mp_end(&begun, 500, 0, 0);
		mp_end(&asked, 500, 0, 0);
		k = counters();
		_exit(!(good && !k.asked && !k.unfiltered && calls_check("child")));
	}
	good = child_ok(pid);
	mp_end(&begun, 200, 0, 0);
	mp_end(&asked, 200, 0, 0);
	k = counters();
	printf("parent: asked %llu unfiltered %llu\n", (unsigned long long)k.asked,
	       (unsigned long long)k.unfiltered);
	return !(good && k.asked == 2 && !k.unfiltered);
}

static void *caller(void *arg)
{
	(void)arg;
	while (!atomic_load(&stopping))
		call_once();
	return NULL;
}

static int run_forkthreads(int n)
{
	pthread_t threads[CALLERS];
	struct mp_counters k;
	bool good = true;

	call_once();
	for (int i = 0; i < CALLERS; i++)
		if (pthread_create(&threads[i], NULL, caller, NULL))
			prog_die("pthread_create");
	for (int i = 0; i < n; i++)
		good &= child_ok(child_start("child of threads", i % 5 == 0));
	atomic_store(&stopping, 1);
	for (int i = 0; i < CALLERS; i++)
		(void)pthread_join(threads[i], NULL); /* ours and joinable */
	k = counters();
	printf("parent of threads: asked %llu unfiltered %llu connects %llu\n", (unsigned long long)k.asked,
	       (unsigned long long)k.unfiltered, (unsigned long long)k.connects);
	return !(good && k.asked > 0 && !k.unfiltered && k.connects == 1);
}

static int run_exec(char **argv)
{
	char after[] = "executed";
	char *again[] = { argv[0], after, argv[2], NULL };

	if (!calls_check("before exec"))
		return 1;
	(void)execv("/proc/self/exe", again); /* returns only when it fails */
	return 1;
}

static void *wait_in_call(void *arg)
{
	(void)arg;
	call_once();
	return NULL;
}

/* Of threads that begin at once only one connects: first things first. */
static void lane_await(void)
{
	struct mp_target target = target_of();

	for (uint64_t end = prog_now() + 10 * NS_PER_S; mp_standing(&target) == MP_NONE;) {
		if (prog_now() > end)
			prog_die("no lane");
		prog_sleep(NS_PER_MS);
	}
}

static int run_exit(const char *how)
{
	pthread_t thread;

	lane_await();
	for (int i = 0; i < 4; i++)
		if (pthread_create(&thread, NULL, wait_in_call, NULL))
			prog_die("pthread_create");
	while (atomic_load(&waiting) < 4)
		prog_sleep(NS_PER_MS);
	printf("4 threads wait\n");
	fflush(stdout);
	if (!strcmp(how, "_exit"))
		_exit(7);
	if (!strcmp(how, "exit"))
		exit(7);
	if (!strcmp(how, "kill"))
		(void)raise(SIGKILL); /* does not return */
	return 7;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	int n = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 0;

	port = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	if (!strcmp(mode, "fork"))
		return run_fork(n);
	if (!strcmp(mode, "inherit"))
		return run_inherit();
	if (!strcmp(mode, "forkthreads"))
		return run_forkthreads(n);
	if (!strcmp(mode, "exec"))
		return run_exec(argv);
	if (!strcmp(mode, "executed"))
		return !calls_check("after exec");
	if (!strcmp(mode, "exit") && argc == 4)
		return run_exit(argv[3]);
	prog_die("usage: processes fork|inherit|forkthreads|exec|exit PORT [N|HOW]");
}
