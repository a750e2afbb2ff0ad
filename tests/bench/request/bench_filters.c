/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a no-op filter costs in a chain, without the wake-ups around it: the
 * scheduler's own walk over chains of 0, 1 and 32 filters from a `.so`.
 *
 *   bench_filters NOOP.so
 *
 * bench_ask measures the same from outside; there a filter is lost in the noise.
 */
#include <dlfcn.h>
#include <stdatomic.h>

#include "scheduler/data.h"
#include "scheduler/run.h"
#include "tests/bench/request/bench.h"

#define WALKS 2000 /* timed together */
#define TRIES 5
#define ROUNDS 300

/* A chain of `n` units of one filter, as the scheduler would build it. */
static void chain_make(struct chain *chain, struct unit units[MP_CHAIN_MAX],
		       struct unit *order[MP_CHAIN_MAX], uint32_t n)
{
	static struct mp_plan plan = { .size = sizeof(plan), .needs = MP_NEED_REQUEST };

	for (uint32_t i = 0; i < n; i++) {
		units[i].plan = plan;
		order[i] = &units[i];
	}
	*chain = (struct chain){ .units = order, .n_units = n };
}

/* Nanoseconds of one walk. */
static double walk_once(struct run *run, struct chain *chain, struct exchange *exchange)
{
	uint64_t start = bench_now();

	for (int i = 0; i < WALKS; i++) {
		run_reset(run, chain, exchange, start);
		if (run_request(run) != MP_VERDICT_PASS)
			bench_die("a no-op filter did not let a request through");
		/* As in the scheduler, which publishes an answer here: walks do not overlap. */
		atomic_thread_fence(memory_order_seq_cst);
	}
	return (double)(bench_now() - start) / WALKS;
}

/* The least of a few: what came between is not the walk's. */
static double walk(struct run *run, struct chain *chain, struct exchange *exchange)
{
	double least = walk_once(run, chain, exchange);

	for (int i = 1; i < TRIES; i++)
		least = fmin(least, walk_once(run, chain, exchange));
	return least;
}

int main(int argc, char **argv)
{
	static struct unit units[MP_CHAIN_MAX];
	static struct unit *order[MP_CHAIN_MAX];
	static double one[ROUNDS], ratios[ROUNDS];
	static struct data data;
	static struct exchange exchange;
	struct chain chains[3];
	struct run *run = malloc(sizeof(*run));
	void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	const struct mp_filter *filter = library ? dlsym(library, MP_FILTER_SYMBOL) : NULL;

	data.blame = blame_new();
	if (!filter || !run || !data.blame)
		bench_die("usage: bench_filters NOOP.so (%s)", library ? "no filter" : dlerror());
	for (uint32_t i = 0; i < MP_CHAIN_MAX; i++)
		units[i] = (struct unit){ .magic = UNIT_MAGIC, .number = i + 1, .filter = filter,
					  .self = &data, .data = &data, .started = true };
	chain_make(&chains[0], units, order, 0);
	chain_make(&chains[1], units, order, 1);
	chain_make(&chains[2], units, order, MP_CHAIN_MAX);
	for (int i = 0; i < ROUNDS; i++) {
		double none = walk(run, &chains[0], &exchange), all;

		one[i] = walk(run, &chains[1], &exchange) - none;
		all = walk(run, &chains[2], &exchange) - none;
		ratios[i] = all / (MP_CHAIN_MAX * one[i]);
	}
	bench_line("noop_filter_walk", "ns", bench_percentile(one, ROUNDS, 50), NULL, 0);
	bench_line("noop_filter_32", "ratio", bench_percentile(ratios, ROUNDS, 50), NULL, 0);
	return 0;
}
