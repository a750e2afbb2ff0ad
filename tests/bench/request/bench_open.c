/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a breaker takes to open: from the outcome that crosses the
 * threshold to the REPLY that stands on the board for everybody.
 *
 *   bench_open FAILURES ROUNDS HOST ...
 *
 * Each host has a breaker "guard" that opens after so many failures; between
 * rounds all are closed by the control API at $MIDDLEPIPE_CONTROL.
 */
#include <sys/prctl.h>

#include "lib/http_client.h"
#include "tests/bench/request/bench.h"

#define GAP_NS (3 * NS_PER_MS) /* between outcomes: the scheduler is through with the last */
#define SAMPLES_MAX 2000
#define LOOK_NS 50000 /* between two looks at the board: one that hardly sleeps keeps the scheduler from running */

/* A failed call; returns when it had failed. */
static uint64_t fail(const struct mp_target *target)
{
	uint64_t start;

	do
		start = bench_now();
	while (!bench_pass(target, 503));
	return start;
}

/* Microseconds from the last of `failures` outcomes to the REPLY. */
static double time_to_open(const char *host, int failures)
{
	struct mp_target target = bench_target(host);
	uint64_t start, end;

	bench_await(&target, MP_GO);
	for (int i = 1; i < failures; i++) {
		(void)fail(&target);
		bench_sleep(GAP_NS);
	}
	start = fail(&target);
	end = start + BENCH_WAIT_NS;
	while (mp_standing(&target) != MP_REPLY) {
		if (bench_now() > end)
			bench_die("%s did not open", host);
		bench_sleep(LOOK_NS);
	}
	return (double)(bench_now() - start) / 1000;
}

/* Closes every breaker again. */
static void reset_all(const char *control)
{
	struct http_request request = { .unix_socket = control, .method = "POST",
					.url = "http://localhost/v1/middlepipes/guard/reset" };
	struct http_reply reply;
	struct err err = { 0 };

	if (http_call(&request, &reply, &err))
		bench_die("reset: %s", err.text);
	if (reply.status != 200)
		bench_die("reset: status %d", reply.status);
	http_reply_fini(&reply);
}

static struct bench_value in_ms(struct bench_value us)
{
	return (struct bench_value){ us.value / 1000, us.lo / 1000, us.hi / 1000, us.n };
}

int main(int argc, char **argv)
{
	static double samples[SAMPLES_MAX], copy[SAMPLES_MAX];
	const char *control = getenv("MIDDLEPIPE_CONTROL");
	int rounds = argc > 3 ? (int)atol(argv[2]) : 0;
	size_t n = 0;

	if (!control || rounds < 1 || rounds * (argc - 3) > SAMPLES_MAX)
		bench_die("usage: MIDDLEPIPE_CONTROL=PATH bench_open FAILURES ROUNDS HOST ...");
	(void)prctl(PR_SET_TIMERSLACK, 1000); /* else each look comes 50 us late */
	for (int round = 0; round < rounds; round++) {
		for (int i = 3; i < argc; i++)
			samples[n++] = time_to_open(argv[i], (int)atol(argv[1]));
		reset_all(control);
	}
	memcpy(copy, samples, sizeof(copy));
	bench_line("open_after_failure_p50", "us", bench_percentile(copy, n, 50), NULL, 0);
	bench_line("open_after_failure_p99", "ms", in_ms(bench_percentile(samples, n, 99)), NULL, 0);
	return 0;
}
