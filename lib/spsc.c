/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The single-producer single-consumer queue.
 *
 * Each counter has one writer.  A release store publishes a slot's content
 * (tail) or its emptiness (head); the acquire load on the other side makes
 * it visible before the slot is touched.
 */
#include "lib/spsc.h"

#include <errno.h>
#include <stdlib.h>

int spsc_init(struct spsc *q, size_t capacity)
{
	void **slots;

	if (!capacity || capacity & (capacity - 1))
		return -EINVAL;
	slots = calloc(capacity, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	*q = (struct spsc){.slots = slots, .mask = capacity - 1};
	return 0;
}

void spsc_fini(struct spsc *q)
{
	free(q->slots);
	q->slots = NULL;
}

bool spsc_push(struct spsc *q, void *item)
{
	size_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);

	if (tail - q->seen_head > q->mask) {
		q->seen_head = atomic_load_explicit(&q->head, memory_order_acquire);
		if (tail - q->seen_head > q->mask)
			return false;
	}
	q->slots[tail & q->mask] = item;
	atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
	return true;
}

bool spsc_pop(struct spsc *q, void **ret_item)
{
	size_t head = atomic_load_explicit(&q->head, memory_order_relaxed);

	if (head == q->seen_tail) {
		q->seen_tail = atomic_load_explicit(&q->tail, memory_order_acquire);
		if (head == q->seen_tail)
			return false;
	}
	*ret_item = q->slots[head & q->mask];
	atomic_store_explicit(&q->head, head + 1, memory_order_release);
	return true;
}

size_t spsc_len(const struct spsc *q)
{
	/* The head first: read late it could pass the tail that we hold. */
	size_t head = atomic_load_explicit(&q->head, memory_order_acquire);
	size_t len = atomic_load_explicit(&q->tail, memory_order_acquire) - head;

	return len <= q->mask + 1 ? len : q->mask + 1;
}
