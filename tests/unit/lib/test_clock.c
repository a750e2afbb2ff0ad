/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/clock: both clocks, and dates against known instants. */
#include "lib/clock.h"

#include "tests/lib/tap.h"

static const struct {
	uint64_t ns;
	const char *text;
} dates[] = {
	{0, "1970-01-01T00:00:00.000Z"},
	{999999, "1970-01-01T00:00:00.000Z"},
	{1000000, "1970-01-01T00:00:00.001Z"},
	{UINT64_C(951782400999999999), "2000-02-29T00:00:00.999Z"},
	{UINT64_C(1795255200123000000), "2026-11-21T10:00:00.123Z"},
	{UINT64_MAX, "2554-07-21T23:34:33.709Z"},
};

int main(void)
{
	const struct clock *clock = &clock_monotonic;
	char out[CLOCK_WALL_SIZE];
	struct fake_clock fake;
	uint64_t before = clock_now(clock);

	ok(before > 0, "the monotonic clock runs");
	ok(clock_now(clock) >= before, "and does not go back");
	fake_clock_init(&fake, 5);
	is_u64(clock_now(&fake.base), 5, "a fake clock stands still");
	fake_clock_advance(&fake, NS_PER_MS);
	is_u64(clock_now(&fake.base), 1000005, "until it is moved");
	ok(clock_wall_now() > UINT64_C(1700000000) * NS_PER_S, "the wall clock is later than 2023");
	for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++)
		is_str(clock_wall_format(dates[i].ns, out), dates[i].text, "date %zu", i);
	return done();
}
