/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/buf: growth, the bound, the sticky error. */
#include "lib/buf.h"

#include <errno.h>

#include "tests/lib/tap.h"

static void test_grow(void)
{
	struct buf b;

	buf_init(&b, 100000);
	is_str(buf_str(&b), "", "empty");
	ok(!b.ptr, "nothing is allocated yet");
	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%d,", i % 10);
	is_u64(b.len, 20000, "length");
	is_int(b.error, 0, "no error");
	ok(!strncmp(buf_str(&b) + 9990, "5,6,7,8,9,0,", 12), "content");
	buf_consume(&b, 19998);
	is_str(buf_str(&b), "9,", "consume keeps the end");
	buf_consume(&b, 99);
	is_u64(b.len, 0, "consume stops at the end");
	buf_add_slice(&b, (struct mp_str){"xyz", 2});
	is_str(buf_str(&b), "xy", "slices are terminated");
	buf_fini(&b);
	buf_fini(&b);
	buf_fini(NULL);
	is_int(buf_add_str(&b, "again"), 0, "usable after fini");
	buf_fini(&b);
}

static void test_bound(void)
{
	struct buf b;

	buf_init(&b, 10);
	is_int(buf_add_str(&b, "0123456789"), 0, "exactly the bound");
	is_int(buf_add(&b, "", 0), 0, "nothing more is still fine");
	is_int(buf_add(&b, "x", 1), -E2BIG, "one more is not");
	is_int(buf_add(&b, "", 0), -E2BIG, "the error sticks");
	ok(!buf_reserve(&b, 0), "and stops reserving");
	is_str(buf_str(&b), "0123456789", "what was there stays");
	buf_reset(&b);
	is_int(buf_printf(&b, "%d", 12345678), 0, "reset forgets the error");
	is_int(buf_printf(&b, "%s", "abc"), -E2BIG, "printf is all or nothing");
	is_str(buf_str(&b), "12345678", "no half of it");
	buf_fini(&b);
	buf_init(&b, 0);
	is_int(buf_add(&b, "", 0), 0, "a bound of nothing");
	is_int(buf_add(&b, "x", 1), -E2BIG, "holds nothing");
	buf_fini(&b);
	buf_init(&b, SIZE_MAX);
	is_int(buf_add(&b, "x", 1), 0, "no bound at all");
	ok(!buf_reserve(&b, SIZE_MAX), "still has one");
	ok(b.error, "and says so");
	buf_fini(&b);
}

static void test_reserve(void)
{
	struct buf b;
	char *at;

	buf_init(&b, 1000);
	at = buf_reserve(&b, 500);
	memset(at, 'z', 300);
	buf_commit(&b, 300);
	is_u64(b.len, 300, "commit less than reserved");
	is_u64(strlen(buf_str(&b)), 300, "terminated there");
	is_u64(buf_slice(&b).len, 300, "as a slice");
	buf_fini(&b);
}

int main(void)
{
	test_grow();
	test_bound();
	test_reserve();
	return done();
}
