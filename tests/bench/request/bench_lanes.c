/* SPDX-License-Identifier: Apache-2.0 */
/*
 * So many app processes that have used their lanes and are now quiet: what the
 * scheduler's memory and idle wake-ups are measured with.
 *
 *   bench_lanes PROCESSES ASKS OUTCOMES ASK-HOST PASS-HOST
 *
 * Each process asks, then fills its ring with outcomes, flat out.  Prints
 * "ready" and stays until its standard input ends.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/request/bench.h"

#define PROCESSES_MAX 256

/* Uses a lane as `args` say, tells so, and keeps it. */
__attribute__((noreturn)) static void use_lane(char **args, int tell)
{
	struct mp_field fields[BENCH_FIELDS];
	struct mp_request request = bench_request(args[2], fields);
	struct mp_target ask = bench_target(args[2]), pass = bench_target(args[3]);

	bench_await(&ask, MP_ASK);
	bench_await(&pass, MP_GO);
	for (long i = atol(args[0]); i > 0; i--)
		(void)bench_ask(&ask, &request);
	for (long i = atol(args[1]); i > 0;)
		i -= bench_pass(&pass, 200);
	if (write(tell, "r", 1) != 1)
		bench_die("write: %s", strerror(errno));
	for (;;)
		(void)pause();
}

int main(int argc, char **argv)
{
	int n = argc == 6 ? (int)atol(argv[1]) : 0, tell[2];
	pid_t pids[PROCESSES_MAX];
	char byte;

	if (n < 1 || n > PROCESSES_MAX)
		bench_die("usage: bench_lanes PROCESSES ASKS OUTCOMES ASK-HOST PASS-HOST");
	if (pipe(tell))
		bench_die("pipe: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			bench_die("fork: %s", strerror(errno));
		if (!pids[i]) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* best effort */
			use_lane(argv + 2, tell[1]);
		}
	}
	(void)close(tell[1]); /* so that the death of all is noticed */
	for (int i = 0; i < n; i++) {
		if (read(tell[0], &byte, 1) != 1)
			bench_die("a process failed");
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	for (int i = 0; i < n; i++) {
		(void)kill(pids[i], SIGKILL); /* it may have ended */
		(void)waitpid(pids[i], NULL, 0);
	}
	return 0;
}
