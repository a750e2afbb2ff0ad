/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The price of a call that passes on a standing verdict: look-up, PASS, and its
 * outcome observed.
 *
 *   bench_standing time HOST      nanoseconds a call, in batches with pauses
 *   bench_standing syscalls HOST  system calls in 100,000 calls at 20,000 a second,
 *                                 counted from outside with ptrace
 *   bench_standing flat HOST      without pauses: calls served by one doorbell
 */
#include <inttypes.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h>

#include "tests/bench/request/bench.h"

#define BATCH 100            /* calls timed together: the clock costs 20 ns */
#define BATCHES 5000
#define BATCH_GAP_NS 300000  /* so that the ring stays below half */
#define PACED_CALLS 100000
#define PACED_GAP_NS 50000   /* 20,000 a second */
#define WARM_CALLS 1000      /* the first one rings */
#define FLAT_CALLS 5000000
#define SYSCALLS_MAX 512

static uint64_t missed; /* calls that the board did not let through */

static void pass(const struct mp_target *target)
{
	missed += !bench_pass(target, 200);
}

static void paced(const struct mp_target *target, int calls)
{
	uint64_t next = bench_now();

	for (int i = 0; i < calls; i++) {
		pass(target);
		next += PACED_GAP_NS;
		while (bench_now() < next)
			continue; /* sleeping would be a system call */
	}
}

static void say_counters(const char *what, uint64_t calls, const struct mp_counters *before)
{
	struct mp_counters now = bench_counters();

	fprintf(stderr, "%s: %" PRIu64 " calls, %" PRIu64 " doorbells, %" PRIu64 " outcomes lost, %" PRIu64
		" not let through by the board\n",
		what, calls, now.doorbells - before->doorbells, now.lost - before->lost, missed);
	if (missed > calls / 1000)
		bench_die("too many calls were not let through by the board");
}

static int run_time(const struct mp_target *target)
{
	static double samples[BATCHES];
	struct mp_counters before;

	paced(target, WARM_CALLS);
	before = bench_counters();
	for (int i = 0; i < BATCHES; i++) {
		uint64_t start = bench_now();

		for (int j = 0; j < BATCH; j++)
			pass(target);
		samples[i] = (double)(bench_now() - start) / BATCH / 1000;
		bench_sleep(BATCH_GAP_NS);
	}
	say_counters("standing_pass_p50", (uint64_t)BATCH * BATCHES, &before);
	bench_line("standing_pass_p50", "us", bench_percentile(samples, BATCHES, 50), NULL, 0);
	return 0;
}

static int run_flat(const struct mp_target *target)
{
	struct mp_counters before, after;
	uint64_t start, took, rung;

	paced(target, WARM_CALLS);
	before = bench_counters();
	start = bench_now();
	for (int i = 0; i < FLAT_CALLS; i++)
		pass(target);
	took = bench_now() - start;
	after = bench_counters();
	rung = after.doorbells - before.doorbells;
	say_counters("standing_flat_out", FLAT_CALLS, &before);
	bench_count("standing_flat_out", "us", (double)took / FLAT_CALLS / 1000, FLAT_CALLS);
	bench_count("standing_flat_out_lost", "percent",
		    100.0 * (double)(after.lost - before.lost) / FLAT_CALLS, FLAT_CALLS);
	bench_count("standing_calls_per_doorbell", "calls",
		    (double)FLAT_CALLS / (double)(rung ? rung : 1), FLAT_CALLS);
	return 0;
}

/* The process that is looked at.  getppid() marks where counting begins and ends. */
static void traced(const struct mp_target *target)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		bench_die("ptrace: %s", strerror(errno));
	(void)raise(SIGSTOP);
	bench_await(target, MP_GO);
	paced(target, WARM_CALLS);
	(void)syscall(SYS_getppid);
	paced(target, PACED_CALLS);
	(void)syscall(SYS_getppid);
	_exit(missed > PACED_CALLS / 1000);
}

/* Number of the system call that the stopped child is about to make, or -1. */
static long entered(pid_t pid)
{
	struct ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0)
		bench_die("PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
	return info.op == PTRACE_SYSCALL_INFO_ENTRY ? (long)info.entry.nr : -1;
}

/* Follows the child to its end; returns how many calls lay between the marks. */
static uint64_t count_syscalls(pid_t pid, uint32_t counts[SYSCALLS_MAX])
{
	uint64_t total = 0;
	int status, marks = 0, deliver = 0;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		bench_die("the child did not stop");
	while (!ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)deliver)) {
		long nr;

		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			break;
		deliver = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
		nr = deliver ? -1 : entered(pid);
		if (nr == SYS_getppid) {
			marks++;
		} else if (nr >= 0 && marks == 1) {
			total++;
			counts[nr < SYSCALLS_MAX ? nr : SYSCALLS_MAX - 1]++;
		}
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) || marks != 2)
		bench_die("the child that was counted failed");
	return total;
}

static int run_syscalls(const struct mp_target *target)
{
	uint32_t counts[SYSCALLS_MAX] = { 0 };
	pid_t pid = fork();
	uint64_t total;

	if (pid < 0)
		bench_die("fork: %s", strerror(errno));
	if (!pid)
		traced(target);
	total = count_syscalls(pid, counts);
	for (int nr = 0; nr < SYSCALLS_MAX; nr++) {
		if (counts[nr])
			fprintf(stderr, "standing_pass_syscalls: system call %d made %u times\n", nr, counts[nr]);
	}
	bench_count("standing_pass_syscalls", "calls", (double)total, PACED_CALLS);
	return 0;
}

int main(int argc, char **argv)
{
	struct mp_target target;

	if (argc != 3)
		bench_die("usage: bench_standing time|syscalls|flat HOST");
	target = bench_target(argv[2]);
	if (!strcmp(argv[1], "syscalls"))
		return run_syscalls(&target); /* its child connects for itself */
	bench_await(&target, MP_GO);
	return strcmp(argv[1], "flat") ? run_time(&target) : run_flat(&target);
}
