/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the C programs of this bench share: time, percentiles, the lines that
 * ./run completes and prints, and the two calls that everything is made of.
 *
 * A line is one JSON object with metric, unit, ours, n and, where there is one,
 * the interval lo..hi and a peer.  Everything else goes to standard error.
 */
#ifndef TESTS_BENCH_REQUEST_BENCH_H
#define TESTS_BENCH_REQUEST_BENCH_H

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <middlepipe/client.h>

#include "lib/clock.h"

#define BENCH_WAIT_NS (10 * NS_PER_S) /* for what should be there at once */

__attribute__((noreturn, format(printf, 1, 2))) static inline void bench_die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("bench: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static inline uint64_t bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline void bench_sleep(uint64_t ns)
{
	struct timespec left = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		continue;
}

static inline int bench_compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static inline void bench_sort(double *samples, size_t n)
{
	qsort(samples, n, sizeof(*samples), bench_compare);
}

/* Of sorted samples; rank from 0 to n - 1. */
static inline double bench_rank(const double *sorted, size_t n, double rank)
{
	double last = (double)(n - 1);

	return sorted[(size_t)lround(rank < 0 ? 0 : rank > last ? last : rank)];
}

/* A percentile of samples with its interval (95 %, by order statistics). */
struct bench_value {
	double value;
	double lo;
	double hi;
	size_t n; /* samples */
};

/* Sorts the samples. */
static inline struct bench_value bench_percentile(double *samples, size_t n, double percent)
{
	double p = percent / 100, at = p * (double)(n - 1), half = 1.96 * sqrt((double)n * p * (1 - p));

	bench_sort(samples, n);
	return (struct bench_value){ bench_rank(samples, n, at), bench_rank(samples, n, floor(at - half)),
				     bench_rank(samples, n, ceil(at + half)), n };
}

/* One line.  peer NULL: there is none. */
static inline void bench_line(const char *metric, const char *unit, struct bench_value v,
			      const char *peer, double peer_value)
{
	printf("{\"metric\":\"%s\",\"unit\":\"%s\",\"ours\":%.6g,\"lo\":%.6g,\"hi\":%.6g,\"n\":%zu", metric,
	       unit, v.value, v.lo, v.hi, v.n);
	if (peer)
		printf(",\"peer\":\"%s\",\"peer_value\":%.6g", peer, peer_value);
	puts("}");
	fflush(stdout);
}

/* A line for a plain count or a single reading. */
static inline void bench_count(const char *metric, const char *unit, double value, size_t n)
{
	bench_line(metric, unit, (struct bench_value){ value, value, value, n }, NULL, 0);
}

static inline struct mp_str bench_str(const char *text)
{
	return (struct mp_str){ text, strlen(text) };
}

/* A call to http://HOST/. */
static inline struct mp_target bench_target(const char *host)
{
	return (struct mp_target){ .size = sizeof(struct mp_target), .scheme = bench_str("http"),
				   .host = bench_str(host), .path = bench_str("/charge?id=1") };
}

/* Waits until mp_standing() says `want` of the target; ends the bench when it never does. */
static inline void bench_await(const struct mp_target *target, int want)
{
	uint64_t end = bench_now() + BENCH_WAIT_NS;
	int have;

	while ((have = mp_standing(target)) != want) {
		struct mp_call call;
		struct mp_verdict verdict = { .size = sizeof(verdict) };

		/* A call makes the library connect. */
		if (mp_begin(target, &call, &verdict) != MP_NONE)
			mp_end(&call, 0, MP_ERROR_CANCELLED, 0);
		mp_verdict_free(&verdict);
		if (bench_now() > end)
			bench_die("%.*s stands as %d, wanted %d", (int)target->host.len,
				  target->host.ptr, have, want);
		bench_sleep(NS_PER_MS);
	}
}

/*
 * One call that the service answers with `status`.  False when the board did not
 * let it through (a starved scheduler counts as away for a moment): it was given up.
 */
static inline bool bench_pass(const struct mp_target *target, int status)
{
	struct mp_call call;
	struct mp_verdict verdict;
	int how;

	verdict.size = sizeof(verdict);
	how = mp_begin(target, &call, &verdict);
	if (how == MP_GO) {
		mp_end(&call, status, 0, 0);
		return true;
	}
	mp_verdict_free(&verdict);
	if (how != MP_NONE)
		mp_end(&call, 0, MP_ERROR_CANCELLED, 0);
	return false;
}

#define BENCH_FIELDS 8

/* What is asked: a GET with eight header fields, as a client library sends them. */
static inline struct mp_request bench_request(const char *host, struct mp_field fields[BENCH_FIELDS])
{
	static const char *const text[BENCH_FIELDS][2] = {
		{ "Host", "payments.internal" },
		{ "User-Agent", "bench/1.0 (linux; x86_64)" },
		{ "Accept", "application/json" },
		{ "Accept-Encoding", "gzip, deflate" },
		{ "Connection", "keep-alive" },
		{ "Authorization", "Bearer 0123456789abcdef0123456789abcdef" },
		{ "X-Request-Id", "6f1c1c5e-3d0b-4ad1-9a3c-0f8f7d1e2b3a" },
		{ "Cookie", "session=0123456789abcdef; theme=dark" },
	};

	for (int i = 0; i < BENCH_FIELDS; i++)
		fields[i] = (struct mp_field){ bench_str(text[i][0]), bench_str(text[i][1]) };
	return (struct mp_request){ .size = sizeof(struct mp_request), .flags = MP_BODY_COMPLETE,
				    .method = bench_str("GET"), .scheme = bench_str("http"),
				    .authority = bench_str(host), .path = bench_str("/charge?id=1"),
				    .fields = fields, .n_fields = BENCH_FIELDS };
}

/* One asked call; returns the nanoseconds that mp_ask took, 0 when nothing was asked. */
static inline uint64_t bench_ask(const struct mp_target *target, const struct mp_request *request)
{
	struct mp_call call;
	struct mp_verdict verdict = { .size = sizeof(verdict) };
	uint64_t took = 0, start;
	int how = mp_begin(target, &call, &verdict);

	if (how == MP_NONE)
		return 0;
	if (how == MP_ASK) {
		start = bench_now();
		if (mp_ask(&call, request, &verdict) != MP_VERDICT_PASS)
			bench_die("a request was not let through");
		took = bench_now() - start;
	}
	mp_verdict_free(&verdict);
	mp_end(&call, 200, 0, 0);
	return took;
}

static inline struct mp_counters bench_counters(void)
{
	struct mp_counters counters = { .size = sizeof(counters) };

	mp_counters_get(&counters);
	return counters;
}

#endif
