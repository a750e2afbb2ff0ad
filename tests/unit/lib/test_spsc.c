/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/spsc: bounds, wrapping, and two threads. */
#include "lib/spsc.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "tests/lib/tap.h"

#define ITEMS 200000

static void test_bounds(void)
{
	struct spsc q;
	int items[4];
	void *item = NULL;

	is_int(spsc_init(&q, 0), -EINVAL, "no capacity");
	is_int(spsc_init(&q, 3), -EINVAL, "not a power of two");
	is_int(spsc_init(&q, 4), 0, "init");
	ok(!spsc_pop(&q, &item), "empty");
	for (int round = 0; round < 100; round++) {
		int wrong = 0;

		for (int i = 0; i < 4; i++)
			wrong += !spsc_push(&q, &items[i]);
		wrong += spsc_push(&q, &items[0]);
		wrong += spsc_len(&q) != 4;
		for (int i = 0; i < 4; i++)
			wrong += !spsc_pop(&q, &item) || item != &items[i];
		wrong += spsc_pop(&q, &item);
		if (wrong)
			ok(false, "round %d", round);
	}
	is_u64(spsc_len(&q), 0, "full and empty, around and around");
	spsc_fini(&q);
}

/* Items are their own number and point to data written before the push. */
static int data[ITEMS];

static void *produce(void *arg)
{
	for (int i = 0; i < ITEMS; i++) {
		data[i] = i;
		while (!spsc_push(arg, &data[i]))
			sched_yield();
	}
	return NULL;
}

static void test_threads(void)
{
	struct spsc q;
	pthread_t producer;
	void *item;
	int wrong = 0;

	spsc_init(&q, 64);
	if (!ok(!pthread_create(&producer, NULL, produce, &q), "a thread"))
		return;
	for (int i = 0; i < ITEMS; i++) {
		while (!spsc_pop(&q, &item))
			sched_yield();
		wrong += *(int *)item != i;
	}
	pthread_join(producer, NULL);
	is_int(wrong, 0, "%d items arrive once, in order, with their data", ITEMS);
	ok(!spsc_pop(&q, &item), "and nothing else");
	spsc_fini(&q);
}

int main(void)
{
	test_bounds();
	test_threads();
	return done();
}
