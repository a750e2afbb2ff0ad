/* SPDX-License-Identifier: Apache-2.0 */
/* Events in parts of every size, what is skipped, and what is too long. */
#include "cf-plugin/sse.h"

#include <errno.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

/* What was given, as "name=data;". */
static struct buf given;
static int answer;

static int give(void *ctx, const char *event, struct mp_str data)
{
	(void)ctx;
	buf_printf(&given, "%s=%.*s;", event, SLICE_ARG(data));
	return answer;
}

static const char text[] = ": a comment\n"
			   "id: 17\nevent: cell\ndata: {\"a\": 1}\n\n"
			   "data:no name\r\n\r\n"
			   "event: empty\n\n\n"
			   "event: end\nretry: 5\ndata: last\n\n"
			   "event: cut\ndata: never whole\n";

static void test_parts(void)
{
	struct sse sse;

	for (size_t step = 1; step <= sizeof(text); step++) {
		int rc = 0;

		buf_reset(&given);
		sse_init(&sse, 100, give, NULL);
		for (size_t at = 0; at < sizeof(text) - 1; at += step)
			rc |= sse_take(&sse, slice_make(text + at, at + step < sizeof(text) ? step : sizeof(text) - 1 - at));
		if (rc || strcmp(buf_str(&given), "cell={\"a\": 1};=no name;end=last;"))
			ok(false, "parts of %zu: %d %s", step, rc, buf_str(&given));
		sse_fini(&sse);
	}
	is_str(buf_str(&given), "cell={\"a\": 1};=no name;end=last;", "events in parts of any size");
}

static void test_limits(void)
{
	struct sse sse;

	sse_init(&sse, 8, give, NULL);
	buf_reset(&given);
	is_int(sse_take(&sse, MP_LIT("data: 12\n\ndata: 123")), -E2BIG, "a line that is too long");
	is_str(buf_str(&given), "=12;", "does not harm the one before");
	sse_reset(&sse);
	is_int(sse_take(&sse, MP_LIT("data: 3\n\n")), 0, "another stream");
	is_str(buf_str(&given), "=12;=3;", "begins anew");
	answer = -ECANCELED;
	is_int(sse_take(&sse, MP_LIT("data: 4\n\ndata: 5\n\n")), -ECANCELED, "whoever takes them may end it");
	is_str(buf_str(&given), "=12;=3;=4;", "at once");
	sse_fini(&sse);
}

int main(void)
{
	buf_init(&given, 10000);
	test_parts();
	test_limits();
	buf_fini(&given);
	return done();
}
