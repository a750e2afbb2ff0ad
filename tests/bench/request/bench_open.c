/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a breaker takes to open: from the outcome that crosses the
 * threshold to the REPLY that stands on the board for everybody.
 *
 *   bench_open FAILURES HOST ...   each host has a breaker that opens on that many
 */
#include "tests/bench/request/bench.h"

#define GAP_NS (3 * NS_PER_MS) /* between outcomes: the scheduler is through with the last */
#define SAMPLES_MAX 1024

/* Microseconds from the last of `failures` outcomes to the REPLY. */
static double time_to_open(const char *host, int failures)
{
	struct mp_target target = bench_target(host);
	uint64_t start, end;

	bench_await(&target, MP_GO);
	for (int i = 1; i < failures; i++) {
		bench_pass(&target, 503);
		bench_sleep(GAP_NS);
	}
	start = bench_now();
	bench_pass(&target, 503);
	end = start + BENCH_WAIT_NS;
	while (mp_standing(&target) != MP_REPLY) {
		if (bench_now() > end)
			bench_die("%s did not open", host);
	}
	return (double)(bench_now() - start) / 1000;
}

int main(int argc, char **argv)
{
	static double samples[SAMPLES_MAX], copy[SAMPLES_MAX];
	size_t n = 0;

	if (argc < 3 || argc - 2 > SAMPLES_MAX)
		bench_die("usage: bench_open FAILURES HOST ...");
	for (int i = 2; i < argc; i++)
		samples[n++] = time_to_open(argv[i], (int)atol(argv[1]));
	memcpy(copy, samples, sizeof(copy));
	bench_line("open_after_failure_p50", "us", bench_percentile(copy, n, 50), NULL, 0);
	bench_line("open_after_failure_p99", "us", bench_percentile(samples, n, 99), NULL, 0);
	return 0;
}
