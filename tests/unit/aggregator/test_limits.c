/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of rows and tenants, and puts a second: aggregator/rows/limits.h. */
#include "aggregator/rows/limits.h"

#include "lib/clock.h"
#include "tests/lib/tap.h"

static struct limits make(uint64_t row, uint64_t tenant, uint64_t rate)
{
	const struct limits_set set = { row, tenant, rate, .rows = 40, .waiting = 8, .transaction = 4096 };
	struct limits limits;

	limits_init(&limits, &set);
	return limits;
}

/* How many of the puts that come every `step` ns, from `from` to `to`, may go on. */
static long count(struct limits *limits, uint64_t *due, uint64_t from, uint64_t to, uint64_t step)
{
	long n = 0;

	for (uint64_t now = from; now < to; now += step)
		n += limits_rate(limits, due, now);
	return n;
}

static void test_rate(void)
{
	struct limits limits = make(0, 0, 100), none = make(0, 0, 0);
	uint64_t due = 0, start = 1000 * NS_PER_S;

	is_int(count(&limits, &due, start, start + 1000, 1), 100, "a second's share may come at once");
	ok(limits_rate(&limits, &due, start + NS_PER_S / 100 + 1000), "a hundredth of a second later one more");
	ok(!limits_rate(&limits, &due, start + NS_PER_S / 100 + 1000), "and no other");
	due = 0;
	is_int(count(&limits, &due, start, start + 10 * NS_PER_S, NS_PER_MS), 1099, "ten seconds' share and the first");
	due = 0;
	is_int(count(&limits, &due, start, start + NS_PER_S, 20 * NS_PER_MS), 50, "half of it is never refused");
	is_int(count(&none, &due, start, start + 100000, 1), 100000, "0: there is no bound");
	due = 0;
	limits = make(0, 0, LIMIT_RATE_MAX);
	is_int(count(&limits, &due, start, start + NS_PER_MS, 500), 2000, "the greatest rate");
	due = 0;
	limits = make(0, 0, 1);
	is_int(count(&limits, &due, start, start + 10 * NS_PER_S, NS_PER_S / 2), 10, "the least rate");
}

static void test_bytes(void)
{
	struct limits limits = make(1000, 5000, 0), none = make(0, 0, 0);

	is_int(limits_bytes(&limits, 900, 900, 100), LIMITS, "up to the bound");
	is_int(limits_bytes(&limits, 900, 900, 101), LIMIT_ROW_BYTES, "one byte above a row's");
	is_int(limits_bytes(&limits, 0, 4950, 51), LIMIT_TENANT_BYTES, "one above the tenant's");
	is_int(limits_bytes(&limits, 0, 6000, 1), LIMIT_TENANT_BYTES, "there may be more than the bound already");
	is_int(limits_bytes(&limits, 0, 0, UINT64_MAX), LIMIT_ROW_BYTES, "the greatest number");
	is_int(limits_bytes(&limits, UINT64_MAX, UINT64_MAX, 1), LIMIT_ROW_BYTES, "held, too");
	is_int(limits_bytes(&none, UINT64_MAX, UINT64_MAX, UINT64_MAX), LIMITS, "0: no bound");
}

static void test_texts(void)
{
	struct limits limits = make(1000, 5000, 7);

	is_str(limits_reach(&limits, LIMIT_ROW_BYTES), "the row is full: it may hold 1000 bytes", "a row's figure");
	is_str(limits_reach(&limits, LIMIT_TENANT_BYTES), "the tenant is full: its rows may hold 5000 bytes",
	       "the tenant's");
	is_str(limits_reach(&limits, LIMIT_RATE), "a row takes 7 puts a second", "the rate");
	is_str(limits_reach(&limits, LIMIT_ROWS), "there are as many rows as there may be: 40 rows", "rows");
	is_str(limits_reach(&limits, LIMIT_WAITING), "as many puts wait as may: 8 puts", "puts that wait");
	is_str(limits_reach(&limits, LIMIT_TRANSACTION), "more than one transaction of the engine may carry: 4096 bytes",
	       "a transaction's bytes");
	(void)limits_reach(&limits, LIMIT_RATE);
	is_int((long)limits.reached[LIMIT_RATE], 2, "each is counted");
	is_int((long)limits.reached[LIMIT_ENGINE], 0, "and no other");
	for (int i = 0; i < LIMITS; i++)
		ok(limit_name((enum limit)i)[0] && limits.text[i][0], "limit %d has a name and a text", i);
}

int main(void)
{
	test_rate();
	test_bytes();
	test_texts();
	return done();
}
