/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sliding window of exact time buckets: how many calls ended lately, and
 * how many of them failed or were slow.
 *
 * For breaker_machine.h only.  Time is an argument.  A window of n buckets of
 * a width covers between (n - 1) and n widths: the newest bucket is being
 * filled, the oldest is dropped whole.  A running sum makes reading O(1);
 * moving on costs one subtraction a bucket passed, never more than n.
 */
#ifndef MIDDLEPIPES_BREAKER_WINDOW_H
#define MIDDLEPIPES_BREAKER_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WINDOW_BUCKETS_MAX 100u

/* What was counted. */
struct window_counts {
	uint64_t calls;  /* all of them */
	uint64_t failed; /* those that count as errors */
	uint64_t slow;   /* those that took longer than the threshold, failed or not */
};

struct window {
	uint64_t width_ns;             /* of one bucket */
	uint32_t n;                    /* buckets, 1..WINDOW_BUCKETS_MAX */
	uint64_t head;                 /* number of the newest bucket: time / width_ns */
	struct window_counts sum;      /* of all buckets */
	struct window_counts *buckets; /* n of them, bucket i at i % n; the owner's memory */
};

static inline void window_clear(struct window *w)
{
	memset(w->buckets, 0, w->n * sizeof(*w->buckets));
	w->sum = (struct window_counts){0};
}

static inline void window_drop_oldest(struct window *w)
{
	struct window_counts *oldest = &w->buckets[(w->head + 1) % w->n];

	w->sum.calls -= oldest->calls;
	w->sum.failed -= oldest->failed;
	w->sum.slow -= oldest->slow;
	*oldest = (struct window_counts){0};
	w->head++;
}

/* Forgets what is too old at that time.  Time that goes back changes nothing. */
static inline void window_advance(struct window *w, uint64_t now_ns)
{
	uint64_t head = now_ns / w->width_ns;

	if (head <= w->head)
		return;
	if (head - w->head >= w->n) {
		window_clear(w);
		w->head = head;
		return;
	}
	while (w->head < head)
		window_drop_oldest(w);
}

/* Adds what happened at a time up to the last window_advance(); false: too old. */
static inline bool window_add(struct window *w, uint64_t at_ns, const struct window_counts *counts)
{
	uint64_t number = at_ns / w->width_ns;
	struct window_counts *bucket = &w->buckets[number % w->n];

	if (number > w->head || w->head - number >= w->n)
		return false;
	bucket->calls += counts->calls;
	bucket->failed += counts->failed;
	bucket->slow += counts->slow;
	w->sum.calls += counts->calls;
	w->sum.failed += counts->failed;
	w->sum.slow += counts->slow;
	return true;
}

/* part of all, in whole percent, truncated as Hystrix does it; 0 of nothing. */
static inline unsigned window_percent(uint64_t part, uint64_t all)
{
	return all ? (unsigned)(part * 100 / all) : 0;
}

/* Does the sum equal its parts, and no part exceed its whole? */
static inline bool window_holds(const struct window *w)
{
	struct window_counts sum = {0};

	for (uint32_t i = 0; i < w->n; i++) {
		const struct window_counts *b = &w->buckets[i];

		if (b->failed > b->calls || b->slow > b->calls)
			return false;
		sum.calls += b->calls;
		sum.failed += b->failed;
		sum.slow += b->slow;
	}
	return sum.calls == w->sum.calls && sum.failed == w->sum.failed && sum.slow == w->sum.slow;
}

#endif
