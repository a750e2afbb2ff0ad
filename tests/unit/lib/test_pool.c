/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/pool: handles go stale, unused memory is untouched. */
#include "lib/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/tap.h"

static void test_handles(void)
{
	struct pool pool;
	uint64_t a, b, c, extra;
	char *object, *again;
	uint32_t index = 0;

	is_int(pool_init(&pool, 5, 2), 0, "init");
	object = pool_get(&pool, &a);
	ok(object && (uintptr_t)object % 16 == 0, "an aligned object");
	memset(object, 'x', 5);
	ok(pool_find(&pool, a) == object, "is found by its handle");
	ok(a != 0, "0 is no handle");
	pool_get(&pool, &b);
	ok(!pool_get(&pool, &extra), "all are taken");
	is_int(pool_put(&pool, a), 0, "put");
	ok(!pool_find(&pool, a), "the handle is stale");
	is_int(pool_put(&pool, a), -ENOENT, "not twice");
	again = pool_get(&pool, &c);
	ok(again == object && c != a, "same object, other handle");
	ok(!again[0] && !again[4], "zeroed");
	ok(!pool_find(&pool, a), "the old handle is still stale");
	is_u64(pool.used, 2, "used");
	is_u64(pool.high, 2, "high-water mark");
	ok(!pool_find(&pool, 0), "0");
	ok(!pool_find(&pool, UINT64_MAX), "garbage");
	ok(!pool_find(&pool, a + (UINT64_C(1) << 32)), "the generation of a free object");
	ok(!pool_find(&pool, b + 7), "an index out of range");
	pool_put(&pool, c);
	ok(pool_next(&pool, &index, &extra) && extra == b, "walking finds those in use");
	ok(!pool_next(&pool, &index, &extra), "and ends");
	pool_fini(&pool);
	pool_fini(&pool);
	pool_fini(NULL);
	ok(!pool_find(&pool, b), "nothing is found after fini");
}

static void test_limits(void)
{
	struct pool pool;
	uint64_t handle;

	is_int(pool_init(&pool, 0, 1), -EINVAL, "objects of no size");
	is_int(pool_init(&pool, 1, 0), -EINVAL, "no objects");
	is_int(pool_init(&pool, SIZE_MAX, 1), -EOVERFLOW, "too large");
	is_int(pool_init(&pool, 1, SIZE_MAX), -EOVERFLOW, "too many");
	is_int(pool_init(&pool, SIZE_MAX / 4, 1000), -EOVERFLOW, "too much");
	ok(!pool_get(&pool, &handle), "a failed pool is empty");
}

/* How many of the pool's pages are in memory. */
static size_t resident(const struct pool *pool)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = pool->stride * pool->count;
	size_t pages = (bytes + page - 1) / page, count = 0;
	unsigned char *map = calloc(pages, 1);

	if (!map || mincore(pool->base, bytes, map))
		pages = 0;
	for (size_t i = 0; i < pages; i++)
		count += map[i] & 1;
	free(map);
	return count;
}

static void test_lazy(void)
{
	struct pool pool;
	uint64_t handle;

	is_int(pool_init(&pool, 8176, 4096), 0, "a large pool");
	for (int i = 0; i < 1000; i++) {
		pool_get(&pool, &handle);
		pool_put(&pool, handle);
	}
	is_u64(pool.high, 1, "one object was enough");
	ok(resident(&pool) <= 2 * 512, "the others cost nothing (%zu pages)", resident(&pool));
	pool_fini(&pool);
}

/* Random gets and puts against a plain array as the model. */
static void test_random(void)
{
	static uint64_t taken[64];
	struct pool pool;
	size_t count = 0, wrong = 0;

	pool_init(&pool, sizeof(uint64_t), 64);
	srand(1);
	for (int i = 0; i < 100000; i++) {
		if (rand() % 2) {
			uint64_t handle, *object = pool_get(&pool, &handle);

			wrong += (object == NULL) != (count == 64);
			if (object) {
				*object = handle;
				taken[count++] = handle;
			}
		} else if (count) {
			size_t at = (size_t)rand() % count;
			uint64_t *object = pool_find(&pool, taken[at]);

			wrong += !object || *object != taken[at];
			wrong += pool_put(&pool, taken[at]) != 0;
			wrong += pool_find(&pool, taken[at]) != NULL;
			taken[at] = taken[--count];
		}
		wrong += pool.used != count;
	}
	is_u64(wrong, 0, "agrees with the model");
	pool_fini(&pool);
}

int main(void)
{
	test_handles();
	test_limits();
	test_lazy();
	test_random();
	return done();
}
