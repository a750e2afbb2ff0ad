/* SPDX-License-Identifier: Apache-2.0 */
/* How full etcd is: what its members say of that, and what it leaves for cells (aggregator/etcd/room.h). */
#include "aggregator/etcd/room.h"

#include <errno.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

#define MIB UINT64_C(1048576)

static void test_left(void)
{
	static const struct { uint64_t size, in_use, left; const char *what; } cases[] = {
		{ 20480, 20480, 80 * MIB - 20480, "nearly all of four fifths" },
		{ 80 * MIB - 1, 80 * MIB - 1, 1, "up to the last byte" },
		{ 80 * MIB, 80 * MIB, 0, "four fifths: nothing" },
		{ 200 * MIB, 200 * MIB, 0, "nothing above the quota either" },
		{ 85 * MIB, 20 * MIB, 0, "nor for what is free inside" },
		{ 60 * MIB, 20 * MIB, 20 * MIB, "but below" },
		{ UINT64_MAX, UINT64_MAX, 0, "the greatest numbers" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cluster_sizes sizes = { cases[i].size, cases[i].in_use };

		is_u64(etcd_room_left(&sizes, 100 * MIB), cases[i].left, "%s", cases[i].what);
	}
	is_u64(etcd_room_left(&(struct cluster_sizes){ 1, 1 }, 0), 0, "no quota, no room");
}

static void test_read(void)
{
	static const char whole[] = "{\"header\":{\"cluster_id\":\"1\",\"member_id\":\"2\"},\"version\":\"3.4.23\","
		"\"dbSize\":\"16805888\",\"leader\":\"2\",\"raftIndex\":\"9\",\"raftTerm\":\"2\",\"dbSizeInUse\":\"16388096\"}";
	static const struct { const char *text, *what; } wrong[] = {
		{ "", "nothing" },
		{ "[]", "an array" },
		{ "{}", "no size" },
		{ "{\"dbSize\":\"0\"}", "a size of 0" },
		{ "{\"dbSize\":16805888}", "a number" },
		{ "{\"dbSize\":\"18446744073709551616\"}", "too large a number" },
		{ "{\"dbSize\":\"-1\"}", "a negative one" },
		{ "{\"dbSize\":\"1\",\"dbSizeInUse\":{}}", "an object in use" },
	};
	struct cluster_sizes sizes;
	struct err err = { 0 };

	is_int(cluster_sizes_read(slice_of(whole), &sizes, &err), 0, "a status is read (%s)", err.text);
	ok(sizes.size == 16805888 && sizes.in_use == 16388096, "its sizes");
	is_int(cluster_sizes_read(MP_LIT("{\"dbSize\":\"4096\"}"), &sizes, &err), 0, "one that does not say what is in use");
	is_u64(sizes.in_use, 4096, "all of it is");
	is_int(cluster_sizes_read(MP_LIT("{\"dbSize\":\"4096\",\"dbSizeInUse\":\"8192\"}"), &sizes, &err), 0,
	       "one with more in use than there is");
	is_u64(sizes.in_use, 4096, "not more than that");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		is_int(cluster_sizes_read(slice_of(wrong[i].text), &sizes, &err), -EINVAL, "%s: %s", wrong[i].what, err.text);
}

int main(void)
{
	test_left();
	test_read();
	return done();
}
