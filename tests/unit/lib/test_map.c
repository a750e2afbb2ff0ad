/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/map: order, bound, any bytes as key, many keys. */
#include "lib/map.h"

#include <errno.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static int values[1000];

static void test_basics(void)
{
	struct map map;
	void *old;

	map_init(&map, 3);
	is_u64(map_count(&map), 0, "empty");
	ok(!map_get(&map, MP_LIT("a")), "nothing found");
	ok(!map_next(&map, NULL), "nothing to walk");
	is_int(map_put(&map, MP_LIT("b"), &values[0], NULL), 0, "put");
	is_int(map_put(&map, MP_LIT("a"), &values[1], &old), 0, "put another");
	ok(!old, "nothing was replaced");
	is_int(map_put(&map, MP_LIT(""), &values[2], NULL), 0, "the empty key");
	is_int(map_put(&map, MP_LIT("c"), &values[3], NULL), -ENOSPC, "the bound");
	is_int(map_put(&map, MP_LIT("b"), &values[4], &old), 0, "replace at the bound");
	ok(old == &values[0], "gives the old value");
	is_int(map_put(&map, MP_LIT("b"), NULL, NULL), -EINVAL, "no NULL values");
	ok(map_get(&map, slice_of(NULL)) == &values[2], "NULL is the empty key");
	ok(map_entry_value(map_next(&map, NULL)) == &values[4], "replacing keeps the place");
	ok(map_remove(&map, MP_LIT("b")) == &values[4], "remove");
	ok(!map_remove(&map, MP_LIT("b")), "only once");
	ok(slice_eq(map_entry_key(map_next(&map, NULL)), MP_LIT("a")), "the next comes first");
	map_fini(&map);
	map_fini(&map);
	map_fini(NULL);
	is_u64(map_count(&map), 0, "empty after fini");
}

static void test_bytes(void)
{
	struct map map;

	map_init(&map, 10);
	map_put(&map, slice_make("a\0b", 3), &values[0], NULL);
	map_put(&map, slice_make("a\0c", 3), &values[1], NULL);
	map_put(&map, slice_make("a", 1), &values[2], NULL);
	is_u64(map_count(&map), 3, "keys may hold NUL");
	ok(map_get(&map, slice_make("a\0c", 3)) == &values[1], "and are told apart");
	map_fini(&map);
}

static void test_many(void)
{
	struct map map;
	char key[40];
	int i = 0, wrong = 0;

	map_init(&map, 1000);
	for (i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "a key of some length %d", i);
		wrong += map_put(&map, slice_of(key), &values[i], NULL) != 0;
	}
	for (i = 0; i < 1000; i += 3) {
		snprintf(key, sizeof(key), "a key of some length %d", i);
		wrong += map_remove(&map, slice_of(key)) != &values[i];
	}
	i = 0;
	for (struct map_entry *e = map_next(&map, NULL); e; e = map_next(&map, e)) {
		i += i % 3 ? 0 : 1;
		wrong += map_entry_value(e) != &values[i];
		snprintf(key, sizeof(key), "a key of some length %d", i);
		wrong += map_get(&map, slice_of(key)) != &values[i];
		i++;
	}
	is_int(wrong, 0, "1000 keys come and go and stay in order");
	is_u64(map_count(&map), 666, "those that are left");
	map_fini(&map);
}

int main(void)
{
	test_basics();
	test_bytes();
	test_many();
	return done();
}
