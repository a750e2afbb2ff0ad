/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long calls stand still when the scheduler is killed.
 *
 *   bench_failover SUPERVISOR KILLS HOST
 *
 * A child asks a chain without pause.  Its parent kills the scheduler (the child
 * of process SUPERVISOR) with SIGKILL and notes the longest time in which no call
 * of the app came through, until calls are answered by the next scheduler.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/request/bench.h"

#define KILLS_MAX 256
#define CALM_NS (300 * NS_PER_MS) /* before the next kill: one that dies younger is restarted more slowly */
#define LATE_NS (20 * NS_PER_S)  /* a scheduler has to be back by then */

/* What the calling child tells. */
struct progress {
	_Atomic uint64_t longest_ns; /* between two calls' ends, since it was set to 0 */
	_Atomic uint64_t calls;      /* ended */
	_Atomic uint64_t asked;      /* of them, answered in time by a scheduler */
	_Atomic uint64_t connects;   /* lanes opened so far */
	_Atomic uint64_t refused;    /* calls that the app did not get through */
};

__attribute__((noreturn)) static void call_on(struct progress *progress, const char *host)
{
	struct mp_field fields[BENCH_FIELDS];
	struct mp_request request = bench_request(host, fields);
	struct mp_target target = bench_target(host);
	uint64_t last;

	bench_await(&target, MP_ASK);
	for (last = bench_now();;) {
		uint64_t now;
		struct mp_counters counters;

		(void)bench_ask(&target, &request);
		now = bench_now();
		if (now - last > atomic_load(&progress->longest_ns))
			atomic_store(&progress->longest_ns, now - last);
		last = now;
		counters = bench_counters();
		atomic_store(&progress->asked, counters.asked);
		atomic_store(&progress->connects, counters.connects);
		atomic_store(&progress->refused, counters.refused);
		atomic_fetch_add(&progress->calls, 1);
	}
}

/* The scheduler's pid, once there is one that is not `old`. */
static pid_t worker_of(const char *supervisor, pid_t old)
{
	char path[96];
	uint64_t end = bench_now() + LATE_NS;

	(void)snprintf(path, sizeof(path), "/proc/%.16s/task/%.16s/children", supervisor, supervisor);
	while (bench_now() < end) {
		FILE *file = fopen(path, "r");
		int pid = 0;

		if (!file)
			bench_die("%s: %s", path, strerror(errno));
		if (fscanf(file, "%d", &pid) != 1)
			pid = 0;
		(void)fclose(file); /* it was only read */
		if (pid > 0 && pid != old)
			return pid;
		bench_sleep(NS_PER_MS / 10);
	}
	bench_die("no scheduler below process %s", supervisor);
}

/* Waits for another lane and for answers through it. */
static void await_answers(struct progress *progress, uint64_t connects)
{
	uint64_t end = bench_now() + LATE_NS, asked;

	while (atomic_load(&progress->connects) <= connects && bench_now() < end)
		bench_sleep(NS_PER_MS / 10);
	asked = atomic_load(&progress->asked);
	while (atomic_load(&progress->asked) < asked + 10 && bench_now() < end)
		bench_sleep(NS_PER_MS / 10);
	if (bench_now() >= end)
		bench_die("the scheduler was not used again");
}

int main(int argc, char **argv)
{
	static double stalls[KILLS_MAX], backs[KILLS_MAX], copy[KILLS_MAX];
	struct progress *progress;
	int kills = argc == 4 ? (int)atol(argv[2]) : 0;
	pid_t app, worker = 0;

	if (kills < 1 || kills > KILLS_MAX)
		bench_die("usage: bench_failover SUPERVISOR KILLS HOST");
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	app = progress == MAP_FAILED ? -1 : fork();
	if (app < 0)
		bench_die("fork: %s", strerror(errno));
	if (!app) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* best effort */
		call_on(progress, argv[3]);
	}
	await_answers(progress, 0);
	for (int i = 0; i < kills; i++) {
		uint64_t connects = atomic_load(&progress->connects), start;

		worker = worker_of(argv[1], worker);
		bench_sleep(CALM_NS);
		atomic_store(&progress->longest_ns, 0);
		start = bench_now();
		if (kill(worker, SIGKILL))
			bench_die("kill: %s", strerror(errno));
		await_answers(progress, connects);
		backs[i] = (double)(bench_now() - start) / 1e6;
		stalls[i] = (double)atomic_load(&progress->longest_ns) / 1e6;
	}
	fprintf(stderr, "failover: %" PRIu64 " calls over %d kills, %" PRIu64 " refused\n",
		atomic_load(&progress->calls), kills, atomic_load(&progress->refused));
	(void)kill(app, SIGKILL); /* it may have ended */
	(void)waitpid(app, NULL, 0);
	memcpy(copy, stalls, sizeof(copy));
	bench_line("failover_p50", "ms", bench_percentile(copy, (size_t)kills, 50), NULL, 0);
	bench_line("failover_p99", "ms", bench_percentile(stalls, (size_t)kills, 99), NULL, 0);
	bench_line("failover_filtered_again_p99", "ms", bench_percentile(backs, (size_t)kills, 99), NULL, 0);
	return 0;
}
