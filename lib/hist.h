/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mergeable histogram of durations, log-linear as in HdrHistogram: every
 * power of two is cut into 64 equal buckets and a bucket answers with its
 * middle, so that an answer is at most 1/128 (0.8 %) off the true value.
 *
 * Schedulers and filters record, the aggregator merges.  A struct hist is
 * HIST_BYTES large, allocates nothing and has one owner thread; copying and
 * zeroing it are fine.  Only integers are kept, so merging gives the same
 * bytes on every replica in whatever order.
 *
 * Wire form: base64 (standard alphabet, no padding) of
 *
 *	byte     HIST_WIRE_VERSION
 *	varint   values over HIST_MAX_NS (the overflow)
 *	varint   min, varint max     left out, as is the rest, when empty
 *	varint   tokens up to the last bucket in use: count << 1 for a bucket,
 *	         run << 1 | 1 for `run` empty buckets
 *
 * Varints are little-endian base 128, shortest form.  One histogram has
 * exactly one wire form, and the decoder accepts nothing else.
 */
#ifndef LIB_HIST_H
#define LIB_HIST_H

#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

/* Longest duration told apart, about 73 minutes; longer ones count as this. */
#define HIST_MAX_NS ((UINT64_C(1) << 42) - 1)

/* Buckets per power of two, and in all: 0..127 singly, then 35 octaves. */
#define HIST_SUB_BITS 6
#define HIST_BUCKETS ((42 - HIST_SUB_BITS + 1) << HIST_SUB_BITS)

/* Most values in one histogram; what comes later is not recorded. */
#define HIST_COUNT_MAX (UINT64_MAX >> 1)

#define HIST_WIRE_VERSION 1

/* No wire form is longer (bytes): 10 per varint, 4 characters for 3. */
#define HIST_WIRE_MAX ((1 + 10 * (3 + HIST_BUCKETS) + 2) / 3 * 4)

/* Zeroed means empty. */
struct hist {
	uint64_t count;                /* values recorded, the overflow included */
	uint64_t overflow;             /* of these, values over HIST_MAX_NS */
	uint64_t min_ns;               /* smallest value; 0 when empty */
	uint64_t max_ns;               /* largest value; 0 when empty */
	uint64_t buckets[HIST_BUCKETS]; /* values per bucket */
};

/* What one histogram costs. */
#define HIST_BYTES sizeof(struct hist)

void hist_reset(struct hist *h);

/* O(1); the caller's thread must own `h`. */
void hist_record(struct hist *h, uint64_t ns);

/* 0, or -EOVERFLOW with dst untouched when the sum is over HIST_COUNT_MAX. */
int hist_add(struct hist *dst, const struct hist *src);

/*
 * The value that `percent` (0..100) of the values do not exceed; 0 is the
 * minimum, 100 the maximum, both exact.  0 when empty.  Nanoseconds.
 */
uint64_t hist_percentile(const struct hist *h, double percent);

uint64_t hist_count(const struct hist *h);
uint64_t hist_min(const struct hist *h);
uint64_t hist_max(const struct hist *h);

/*
 * How many values were at most `ns`, those of its bucket included: values up to
 * 1/64 above it may count.  All of them from HIST_MAX_NS on.
 */
uint64_t hist_upto(const struct hist *h, uint64_t ns);

/* Mean of the bucket middles (so as exact as a percentile); 0 when empty. */
double hist_mean(const struct hist *h);

/* Appends the wire form; returns out->error. */
int hist_encode(const struct hist *h, struct buf *out);

/* 0, or -EINVAL with the reason in err; on failure `h` is empty. */
int hist_decode(struct hist *h, struct mp_str wire, struct err *err);

#endif
