/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/hist: error bound, merging, and the wire form under attack. */
#include "lib/hist.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

#define SAMPLES 5000

static uint64_t random_ns(void)
{
	uint64_t bits = (uint64_t)rand() << 31 ^ (uint64_t)rand();

	/* As many short values as long ones. */
	return (bits & HIST_MAX_NS) >> (rand() % 42);
}

static bool is_near(uint64_t got, uint64_t want)
{
	uint64_t off = got > want ? got - want : want - got;

	return off * 100 <= want;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* One value at a time: every answer is about it. */
static void test_single(void)
{
	static struct hist h;
	int wrong = 0;

	for (uint64_t ns = 1; ns <= HIST_MAX_NS; ns += 1 + ns / 500) {
		hist_reset(&h);
		hist_record(&h, ns);
		hist_record(&h, HIST_MAX_NS);
		hist_record(&h, 0);
		wrong += !is_near(hist_percentile(&h, 50), ns);
	}
	is_int(wrong, 0, "1 %% at most, from 1 ns to %" PRIu64 " ns", HIST_MAX_NS);
}

static void test_percentiles(void)
{
	static const double percents[] = {0.1, 1, 10, 25, 50, 75, 90, 99, 99.9, 99.99};
	static uint64_t values[SAMPLES];
	static struct hist h;
	int wrong = 0;
	double sum = 0;

	hist_reset(&h);
	for (int i = 0; i < SAMPLES; i++) {
		values[i] = random_ns();
		sum += (double)values[i];
		hist_record(&h, values[i]);
	}
	qsort(values, SAMPLES, sizeof(values[0]), compare);
	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
		double exact = percents[i] * SAMPLES / 100;
		size_t rank = (size_t)exact + ((double)(size_t)exact < exact - 1e-6);

		wrong += !is_near(hist_percentile(&h, percents[i]), values[rank - 1]);
	}
	is_int(wrong, 0, "percentiles are those of the sorted values");
	is_u64(hist_percentile(&h, 0), values[0], "0 is the minimum");
	is_u64(hist_percentile(&h, 100), values[SAMPLES - 1], "100 the maximum");
	is_u64(hist_min(&h), values[0], "min");
	is_u64(hist_max(&h), values[SAMPLES - 1], "max");
	is_u64(hist_count(&h), SAMPLES, "count");
	ok(is_near((uint64_t)hist_mean(&h), (uint64_t)(sum / SAMPLES)), "mean");
}

static void test_edges(void)
{
	static struct hist h, full;

	hist_reset(&h);
	is_u64(hist_percentile(&h, 50), 0, "percentile of nothing");
	ok(hist_mean(&h) == 0, "mean of nothing");
	hist_record(&h, UINT64_MAX);
	is_u64(hist_max(&h), HIST_MAX_NS, "a value over the end is clamped");
	is_u64(h.overflow, 1, "and counted");
	for (int i = 1; i <= 1000; i++)
		hist_record(&full, (uint64_t)i);
	is_u64(hist_percentile(&full, 0.1), 1, "99.9 and its like hit the rank exactly");
	is_u64(hist_percentile(&full, 5), 50, "5 %% of 1000");
	is_u64(hist_percentile(&full, -1), 1, "below 0");
	is_u64(hist_percentile(&full, 101), 1000, "over 100");
	full.count = HIST_COUNT_MAX;
	is_int(hist_add(&full, &h), -EOVERFLOW, "no more than the maximum");
	hist_record(&full, 1);
	is_u64(full.count, HIST_COUNT_MAX, "nor by recording");
}

/* Exact where a bucket ends, 1/64 above it else. */
static void test_upto(void)
{
	static struct hist h;
	int wrong = 0;

	hist_reset(&h);
	is_u64(hist_upto(&h, HIST_MAX_NS), 0, "nothing in an empty one");
	for (uint64_t ns = 0; ns < 100000; ns++)
		hist_record(&h, ns);
	for (uint64_t ns = 0; ns < 100000; ns++) {
		uint64_t n = hist_upto(&h, ns);

		wrong += n < ns + 1 || n - (ns + 1) > ns / 64;
	}
	is_int(wrong, 0, "as many as there are, or 1/64 more");
	is_u64(hist_upto(&h, 50), 51, "small values are told apart");
	hist_record(&h, HIST_MAX_NS + 1);
	is_u64(hist_upto(&h, HIST_MAX_NS), 100001, "all of them");
	is_u64(hist_upto(&h, UINT64_MAX), 100001, "beyond the greatest");
}

static void test_merge(void)
{
	static struct hist parts[3], all, sum, empty;

	for (int i = 0; i < SAMPLES; i++) {
		uint64_t ns = random_ns();

		hist_record(&parts[i % 3], ns);
		hist_record(&all, ns);
	}
	for (int i = 2; i >= 0; i--)
		hist_add(&sum, &parts[i]);
	hist_add(&sum, &empty);
	ok(!memcmp(&sum, &all, sizeof(all)), "parts add up to the whole, in any order");
}

static bool round_trip(const struct hist *h, struct buf *wire)
{
	static struct hist back;

	buf_reset(wire);
	return !hist_encode(h, wire) && !hist_decode(&back, buf_slice(wire), NULL) &&
	       !memcmp(&back, h, sizeof(back));
}

static void test_round_trip(struct buf *wire)
{
	static struct hist h;
	int wrong = 0;

	ok(round_trip(&h, wire), "nothing");
	is_str(buf_str(wire), "AQA", "has a fixed form");
	for (int n = 1; n < 200; n++) {
		hist_reset(&h);
		for (int i = 0; i < n * n / 8 + 1; i++)
			hist_record(&h, i % 50 ? random_ns() : UINT64_MAX);
		wrong += !round_trip(&h, wire);
	}
	is_int(wrong, 0, "decoding gives back what was encoded");
	note("%" PRIu64 " values take %zu bytes", h.count, wire->len);
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		h.buckets[i] = HIST_COUNT_MAX / HIST_BUCKETS;
	h.count = HIST_COUNT_MAX / HIST_BUCKETS * HIST_BUCKETS;
	h.min_ns = 0;
	h.max_ns = HIST_MAX_NS;
	h.overflow = 5;
	ok(round_trip(&h, wire), "the largest");
	ok(wire->len <= HIST_WIRE_MAX, "is within the bound");
}

/* Whatever is accepted must be exactly what the encoder writes. */
static bool is_safe(struct mp_str wire, int *accepted)
{
	static struct hist h, zero;
	struct buf again;
	bool same;

	if (hist_decode(&h, wire, NULL))
		return !memcmp(&h, &zero, sizeof(h));
	++*accepted;
	buf_init(&again, HIST_WIRE_MAX);
	same = !hist_encode(&h, &again) && slice_eq(buf_slice(&again), wire);
	buf_fini(&again);
	return same;
}

static void test_hostile(void)
{
	static struct hist h;
	struct buf wire;
	int wrong = 0, accepted = 0;

	buf_init(&wire, HIST_WIRE_MAX);
	for (int i = 0; i < 40; i++)
		hist_record(&h, i % 9 ? random_ns() : UINT64_MAX);
	hist_encode(&h, &wire);
	for (size_t len = 0; len < wire.len; len++)
		wrong += !hist_decode(&h, slice_make(wire.ptr, len), NULL);
	is_int(wrong, 0, "every truncation is refused");
	for (size_t bit = 0; bit < wire.len * 8; bit++) {
		wire.ptr[bit / 8] ^= (char)(1 << bit % 8);
		wrong += !is_safe(buf_slice(&wire), &accepted);
		wire.ptr[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (int i = 0; i < 20000; i++) {
		size_t at = (size_t)rand() % wire.len;
		char saved = wire.ptr[at];

		wire.ptr[at] = "AB/+z09 \n="[rand() % 10];
		wrong += !is_safe(buf_slice(&wire), &accepted);
		wire.ptr[at] = rand() % 4 ? saved : wire.ptr[at];
	}
	is_int(wrong, 0, "flipped bits are refused or mean something else, exactly");
	note("%d changed forms were valid", accepted);
	buf_fini(&wire);
}

static const struct {
	const char *wire, *error;
} malformed[] = {
	{"", "histogram is empty"},
	{"A", "histogram is empty"},
	{"AQA=", "histogram is not base64"},
	{"AQB", "histogram has something after its end"},
	{"AQAA", "histogram ends too early"},
	{"AgA", "histogram is of an unknown version"},
	{"AQE", "histogram ends too early"},
	{"A*A", "histogram is not base64"},
	{"AYAA", "histogram has a number that is too long"},
	/* 1, 0, min 1, max 1: then the tokens */
	{"AQABAQMC", NULL},
	{"AQABAQMA", "histogram has a count out of range"},
	{"AQABAQEC", "histogram has an idle run"},
	{"AQABAQM", "histogram ends too early"},
	{"AQABAQUC", "histogram has ends that are not in its buckets"},
	{"AQABAgME", "histogram has ends that are not in its buckets"},
	{"AQEBAQMC", "histogram has an overflow that is not in its buckets"},
	{"AQACAQMC", "histogram has its ends out of range"},
	{"AQABAf//A", "histogram ends too early"},
	{"AQABAf//AwI", "histogram has too many buckets"},
};

static void test_malformed(void)
{
	static struct hist h;
	static char longer[HIST_WIRE_MAX + 1];

	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		struct err err = {0};
		int rc = hist_decode(&h, slice_of(malformed[i].wire), &err);

		is_int(rc, malformed[i].error ? -EINVAL : 0, "code of \"%s\"", malformed[i].wire);
		is_str(err.text, malformed[i].error ? malformed[i].error : "", "its text");
	}
	memset(longer, 'A', sizeof(longer));
	is_int(hist_decode(&h, slice_make(longer, sizeof(longer)), NULL), -EINVAL, "too long");
}

int main(void)
{
	struct buf wire;

	srand(42);
	buf_init(&wire, HIST_WIRE_MAX);
	note("a histogram takes %zu bytes", HIST_BYTES);
	test_single();
	test_percentiles();
	test_edges();
	test_upto();
	test_merge();
	test_round_trip(&wire);
	test_hostile();
	test_malformed();
	buf_fini(&wire);
	return done();
}
