/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The price of asking a chain.
 *
 *   bench_ask gap HOST                one ask every 500 us, alternating with a bare futex
 *                                     ping-pong between two processes at the same gap
 *   bench_ask filters PID HOST N ...  scheduler PID: CPU time and round trip of chains
 *                                     of N no-op filters; the shortest first
 *   bench_ask rate HOST               asks a second of 16 processes together
 */
#include <dirent.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/request/bench.h"

#define GAP_NS 500000
#define BLOCK 200    /* calls of one kind before the other kind has its turn */
#define BLOCKS 40
#define ROUNDS 40    /* of all chains */
#define ROUND_ASKS 2000
#define CHAINS_MAX 8
#define RATE_NS NS_PER_S
#define RATE_RUNS 5
#define PROCESSES 16
#define SETTLE_NS (5 * NS_PER_MS) /* until a scheduler without work sleeps */

static double samples_ask[BLOCK * BLOCKS], samples_futex[BLOCK * BLOCKS];

static void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	return memory;
}

/* A child that does not outlive us. */
static pid_t child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		bench_die("fork: %s", strerror(errno));
	if (!pid)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* best effort */
	return pid;
}

static void end_child(pid_t pid)
{
	(void)kill(pid, SIGKILL); /* it may have ended */
	(void)waitpid(pid, NULL, 0);
}

/* ----------------------------------------------------------- beside a futex */

/* Two words on lines of their own; each is written by one side. */
struct pair {
	_Alignas(64) _Atomic uint32_t question;
	_Alignas(64) _Atomic uint32_t answer;
};

static void futex_wake(_Atomic uint32_t *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Returns once *word is not `old` any more. */
static void futex_wait(_Atomic uint32_t *word, uint32_t old)
{
	while (atomic_load(word) == old)
		(void)syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
}

__attribute__((noreturn)) static void pong(struct pair *pair)
{
	for (uint32_t seen = 0;; seen++) {
		futex_wait(&pair->question, seen);
		atomic_store(&pair->answer, seen + 1);
		futex_wake(&pair->answer);
	}
}

static uint64_t ping(struct pair *pair)
{
	uint32_t old = atomic_load(&pair->answer);
	uint64_t start = bench_now();

	atomic_store(&pair->question, old + 1);
	futex_wake(&pair->question);
	futex_wait(&pair->answer, old);
	return bench_now() - start;
}

static void report_beside(double percent, const char *metric, const char *futex_metric)
{
	struct bench_value ask = bench_percentile(samples_ask, BLOCK * BLOCKS, percent);
	struct bench_value futex = bench_percentile(samples_futex, BLOCK * BLOCKS, percent);

	bench_line(metric, "us", ask, "futex", futex.value);
	bench_line(futex_metric, "us", futex, NULL, 0);
}

/* Microseconds of an ask; a call that could not be asked is counted and made again. */
static double ask_once(const struct mp_target *target, const struct mp_request *request,
		       uint64_t *missed)
{
	uint64_t took;

	while (!(took = bench_ask(target, request))) {
		if (++*missed > BLOCK)
			bench_die("the chain is not asked");
		bench_sleep(GAP_NS);
	}
	return (double)took / 1000;
}

static int run_gap(const char *host)
{
	struct mp_field fields[BENCH_FIELDS];
	struct mp_request request = bench_request(host, fields);
	struct mp_target target = bench_target(host);
	struct pair *pair = shared_memory(sizeof(*pair));
	struct mp_counters counters;
	uint64_t missed = 0;
	pid_t pid = child();

	if (!pid)
		pong(pair);
	bench_await(&target, MP_ASK);
	for (int i = 0; i < BLOCK * BLOCKS; i++) {
		samples_ask[i] = ask_once(&target, &request, &missed);
		bench_sleep(GAP_NS);
		if (i % BLOCK != BLOCK - 1)
			continue;
		for (int j = i + 1 - BLOCK; j <= i; j++) {
			samples_futex[j] = (double)ping(pair) / 1000;
			bench_sleep(GAP_NS);
		}
	}
	end_child(pid);
	counters = bench_counters();
	fprintf(stderr, "ask: %" PRIu64 " asked in time, %" PRIu64 " over budget, %" PRIu64
		" unfiltered, %" PRIu64 " not asked\n",
		counters.asked, counters.over_budget, counters.unfiltered, missed);
	report_beside(50, "ask_p50", "futex_p50");
	report_beside(99, "ask_p99", "futex_p99");
	bench_count("ask_over_budget", "calls", (double)counters.over_budget, BLOCK * BLOCKS);
	return 0;
}

/* ------------------------------------------------------ the price of filters */

/* CPU time in ns of all threads of a process; each must be asleep to be exact. */
static double cpu_of(const char *pid)
{
	char path[64], name[300];
	struct dirent *entry;
	uint64_t total = 0, ran;
	DIR *tasks;

	(void)snprintf(path, sizeof(path), "/proc/%.16s/task", pid);
	tasks = opendir(path);
	if (!tasks)
		bench_die("%s: %s", path, strerror(errno));
	while ((entry = readdir(tasks))) {
		FILE *file;

		(void)snprintf(name, sizeof(name), "%s/%.32s/schedstat", path, entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(name, "r");
		if (!file)
			continue;
		if (fscanf(file, "%" SCNu64, &ran) == 1)
			total += ran;
		(void)fclose(file); /* it was only read */
	}
	(void)closedir(tasks); /* likewise */
	return (double)total;
}

/* A chain of no-op filters and what each round found. */
struct row {
	const char *host;
	double filters;          /* in its chain */
	double cpu_ns[ROUNDS];   /* of the scheduler, an ask */
	double trip_ns[ROUNDS];  /* median round trip */
};

static void measure_row(struct row *row, const char *pid, int round)
{
	static double trips[ROUND_ASKS];
	struct mp_field fields[BENCH_FIELDS];
	struct mp_request request = bench_request(row->host, fields);
	struct mp_target target = bench_target(row->host);
	double before;

	bench_sleep(SETTLE_NS);
	before = cpu_of(pid);
	for (int i = 0; i < ROUND_ASKS; i++)
		trips[i] = (double)bench_ask(&target, &request);
	bench_sleep(SETTLE_NS);
	row->cpu_ns[round] = (cpu_of(pid) - before) / ROUND_ASKS;
	row->trip_ns[round] = bench_percentile(trips, ROUND_ASKS, 50).value;
}

/* The median over the rounds of what each filter of row b costs more than those of a. */
static struct bench_value slope(const struct row *a, const struct row *b, const double *of_a,
				const double *of_b)
{
	double each[ROUNDS];

	for (int i = 0; i < ROUNDS; i++)
		each[i] = (of_b[i] - of_a[i]) / (b->filters - a->filters);
	return bench_percentile(each, ROUNDS, 50);
}

static int run_filters(const char *pid, int n, char **args)
{
	static struct row rows[CHAINS_MAX];
	const struct row *all = &rows[n - 1];

	for (int i = 0; i < n; i++) {
		struct mp_target target = bench_target(args[2 * i]);

		rows[i].host = args[2 * i];
		rows[i].filters = strtod(args[2 * i + 1], NULL);
		bench_await(&target, MP_ASK);
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < n; i++)
			measure_row(&rows[(i + round) % n], pid, round);
	}
	bench_line("noop_filter", "ns", slope(rows, all, rows->cpu_ns, all->cpu_ns), NULL, 0);
	bench_line("noop_filter_round_trip", "ns", slope(rows, all, rows->trip_ns, all->trip_ns), NULL, 0);
	for (int i = 0; i < n; i++) {
		struct bench_value cpu = bench_percentile(rows[i].cpu_ns, ROUNDS, 50);

		fprintf(stderr, "%g filters: %.0f ns of the scheduler's CPU an ask, round trip %.1f us\n",
			rows[i].filters, cpu.value,
			bench_percentile(rows[i].trip_ns, ROUNDS, 50).value / 1000);
	}
	return 0;
}

/* -------------------------------------------------------- many at the same time */

struct crowd {
	_Atomic uint32_t ready;  /* processes that have a lane */
	_Atomic uint32_t run;    /* 1: ask; 2: end */
	struct {
		_Alignas(64) _Atomic uint64_t asked; /* answered in time */
		_Atomic uint64_t unfiltered;         /* not */
		_Atomic uint64_t late;               /* of these, past the budget */
	} of[PROCESSES];
};

__attribute__((noreturn)) static void ask_on(struct crowd *crowd, const char *host, int self)
{
	struct mp_field fields[BENCH_FIELDS];
	struct mp_request request = bench_request(host, fields);
	struct mp_target target = bench_target(host);

	bench_await(&target, MP_ASK);
	(void)bench_ask(&target, &request);
	atomic_fetch_add(&crowd->ready, 1);
	while (!atomic_load(&crowd->run))
		bench_sleep(NS_PER_MS);
	while (atomic_load(&crowd->run) == 1) {
		struct mp_counters counters;

		for (int i = 0; i < 64; i++)
			(void)bench_ask(&target, &request);
		counters = bench_counters();
		atomic_store(&crowd->of[self].asked, counters.asked);
		atomic_store(&crowd->of[self].unfiltered, counters.unfiltered);
		atomic_store(&crowd->of[self].late, counters.over_budget);
	}
	_exit(0);
}

static uint64_t crowd_asked(struct crowd *crowd)
{
	uint64_t asked = 0;

	for (int i = 0; i < PROCESSES; i++)
		asked += atomic_load(&crowd->of[i].asked);
	return asked;
}

/* What did not go as it should, for people and on lines of its own. */
static void crowd_tell(struct crowd *crowd)
{
	uint64_t unfiltered = 0, late = 0, asked = crowd_asked(crowd);

	for (int i = 0; i < PROCESSES; i++) {
		unfiltered += atomic_load(&crowd->of[i].unfiltered);
		late += atomic_load(&crowd->of[i].late);
	}
	fprintf(stderr, "ask_rate_16: %" PRIu64 " asked in time, %" PRIu64 " unfiltered, %" PRIu64
		" of these past the budget\n", asked, unfiltered, late);
	bench_count("ask_rate_16_unfiltered", "percent",
		    100 * (double)unfiltered / (double)(asked + unfiltered), asked + unfiltered);
}

static int run_rate(const char *host)
{
	struct crowd *crowd = shared_memory(sizeof(*crowd));
	double rates[RATE_RUNS];
	pid_t pids[PROCESSES];

	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = child();
		if (!pids[i])
			ask_on(crowd, host, i);
	}
	for (uint64_t end = bench_now() + BENCH_WAIT_NS; (int)atomic_load(&crowd->ready) < PROCESSES;) {
		if (bench_now() > end)
			bench_die("%u of %d processes have a lane", atomic_load(&crowd->ready), PROCESSES);
		bench_sleep(NS_PER_MS);
	}
	atomic_store(&crowd->run, 1);
	bench_sleep(RATE_NS / 4);
	for (int i = 0; i < RATE_RUNS; i++) {
		uint64_t start = bench_now(), before = crowd_asked(crowd);

		bench_sleep(RATE_NS);
		rates[i] = (double)(crowd_asked(crowd) - before) /
			   ((double)(bench_now() - start) / (double)NS_PER_S);
	}
	atomic_store(&crowd->run, 2);
	bench_sleep(100 * NS_PER_MS);
	for (int i = 0; i < PROCESSES; i++)
		end_child(pids[i]);
	crowd_tell(crowd);
	bench_line("ask_rate_16", "calls/s", bench_percentile(rates, RATE_RUNS, 50), NULL, 0);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "gap"))
		return run_gap(argv[2]);
	if (argc >= 7 && argc <= 3 + 2 * CHAINS_MAX && argc % 2 && !strcmp(argv[1], "filters"))
		return run_filters(argv[2], (argc - 3) / 2, argv + 3);
	if (argc == 3 && !strcmp(argv[1], "rate"))
		return run_rate(argv[2]);
	bench_die("usage: bench_ask gap HOST | filters PID HOST N ... | rate HOST");
}
