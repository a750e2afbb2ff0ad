/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded queue of pointers between two threads: exactly one pushes, exactly
 * one pops, neither ever waits for the other.
 *
 * For handing work between a loop and its helper thread.  It must not own
 * what it carries, and it wakes nobody: pair it with an eventfd.  What the
 * producer wrote before spsc_push() is visible after spsc_pop().
 */
#ifndef LIB_SPSC_H
#define LIB_SPSC_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define SPSC_CACHE_LINE 64

/*
 * head and tail count for ever and wrap; their difference is the length.
 * Each side keeps the last it saw of the other's counter, and so touches the
 * other's cache line only when the queue looks full (or empty).
 */
struct spsc {
	void **slots; /* capacity pointers, owned, read-only after init */
	size_t mask;  /* capacity - 1 */

	alignas(SPSC_CACHE_LINE) atomic_size_t tail; /* producer writes */
	size_t seen_head;                            /* producer's own */

	alignas(SPSC_CACHE_LINE) atomic_size_t head; /* consumer writes */
	size_t seen_tail;                            /* consumer's own */
};

/* capacity: a power of two.  0, -EINVAL or -ENOMEM.  Before the threads. */
int spsc_init(struct spsc *q, size_t capacity);

/* After the threads.  Frees the slots, not what they point to. */
void spsc_fini(struct spsc *q);

/* Producer only.  False when full. */
bool spsc_push(struct spsc *q, void *item);

/* Consumer only.  False when empty; *ret_item is written on success only. */
bool spsc_pop(struct spsc *q, void **ret_item);

/* Items in flight: exact for neither side, never more than the capacity. */
size_t spsc_len(const struct spsc *q);

#endif
