/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The latency histogram: buckets, percentiles, merging.  Its wire form is in
 * hist_wire.c.
 *
 * Recording is on the path of every exchange: it must not allocate, lock or
 * loop.
 */
#include "lib/hist.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "lib/hist_priv.h"

#define SUB_COUNT (1u << HIST_SUB_BITS)

/*
 * Below two rows of buckets a value is its own bucket.  Above, the leading
 * HIST_SUB_BITS + 1 bits choose the place in the row, the rest is dropped.
 */
size_t hist_bucket_of(uint64_t ns)
{
	int shift;

	if (ns < 2 * SUB_COUNT)
		return (size_t)ns;
	shift = 63 - __builtin_clzll(ns) - HIST_SUB_BITS;
	return ((size_t)shift << HIST_SUB_BITS) + (size_t)(ns >> shift);
}

/* The value that stands for all of a bucket: its middle. */
static uint64_t bucket_middle(size_t bucket)
{
	unsigned shift;
	uint64_t low;

	if (bucket < 2 * SUB_COUNT)
		return bucket;
	shift = (unsigned)(bucket >> HIST_SUB_BITS) - 1;
	low = (uint64_t)(SUB_COUNT + (bucket & (SUB_COUNT - 1))) << shift;
	return low + ((UINT64_C(1) << shift) - 1) / 2;
}

void hist_reset(struct hist *h)
{
	memset(h, 0, sizeof(*h));
}

void hist_record(struct hist *h, uint64_t ns)
{
	if (h->count >= HIST_COUNT_MAX)
		return;
	if (ns > HIST_MAX_NS) {
		ns = HIST_MAX_NS;
		h->overflow++;
	}
	if (!h->count || ns < h->min_ns)
		h->min_ns = ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->buckets[hist_bucket_of(ns)]++;
	h->count++;
}

int hist_add(struct hist *dst, const struct hist *src)
{
	if (src->count > HIST_COUNT_MAX - dst->count)
		return -EOVERFLOW;
	if (!src->count)
		return 0;
	if (!dst->count || src->min_ns < dst->min_ns)
		dst->min_ns = src->min_ns;
	if (src->max_ns > dst->max_ns)
		dst->max_ns = src->max_ns;
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		dst->buckets[i] += src->buckets[i];
	dst->count += src->count;
	dst->overflow += src->overflow;
	return 0;
}

/*
 * How many values the answer must cover, 1..count.  The slack undoes what
 * the multiplication may have added: 99.9 % of 1000 is 999 values.
 */
static uint64_t rank_of(const struct hist *h, double percent)
{
	double exact = percent * (double)h->count / 100 * (1 - 1e-12);
	uint64_t rank = (uint64_t)exact;

	return rank < h->count ? rank + ((double)rank < exact) : h->count;
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
	uint64_t rank, seen = 0, ns = 0;

	if (!(percent > 0))
		return h->min_ns;
	if (percent >= 100)
		return h->max_ns;
	rank = rank_of(h, percent);
	for (size_t i = 0; i < HIST_BUCKETS && seen < rank; i++) {
		seen += h->buckets[i];
		ns = bucket_middle(i);
	}
	/* The ends are known better than their buckets. */
	if (ns < h->min_ns)
		return h->min_ns;
	return ns > h->max_ns ? h->max_ns : ns;
}

uint64_t hist_upto(const struct hist *h, uint64_t ns)
{
	size_t last = hist_bucket_of(ns < HIST_MAX_NS ? ns : HIST_MAX_NS);
	uint64_t n = 0;

	for (size_t i = 0; i <= last; i++)
		n += h->buckets[i];
	return n;
}

uint64_t hist_count(const struct hist *h)
{
	return h->count;
}

uint64_t hist_min(const struct hist *h)
{
	return h->min_ns;
}

uint64_t hist_max(const struct hist *h)
{
	return h->max_ns;
}

double hist_mean(const struct hist *h)
{
	double sum = 0;

	for (size_t i = 0; i < HIST_BUCKETS; i++) {
		if (h->buckets[i])
			sum += (double)h->buckets[i] * (double)bucket_middle(i);
	}
	return h->count ? sum / (double)h->count : 0;
}
