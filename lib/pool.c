/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object pool: one mapping cut into slots, a free list through the slots
 * that were returned, and a high-water mark before the ones never used.
 *
 * Called by the pool's owner thread.  It must not touch a slot above the
 * mark: that is what keeps an idle pool out of resident memory.
 */
#include "lib/pool.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

/* In front of every object; 16 bytes, so that objects are aligned to that. */
struct slot {
	uint32_t generation; /* odd while the object is taken */
	uint32_t next_free;  /* index + 1 of the next returned slot, 0: none */
	uint64_t reserved;   /* padding */
};

#define ALIGN 16
_Static_assert(sizeof(struct slot) == ALIGN, "objects must stay aligned");

static struct slot *slot_at(const struct pool *pool, uint32_t index)
{
	return (struct slot *)(void *)(pool->base + (size_t)index * pool->stride);
}

static uint64_t handle_of(const struct slot *slot, uint32_t index)
{
	return (uint64_t)slot->generation << 32 | index;
}

static bool slot_taken(const struct slot *slot)
{
	return slot->generation & 1;
}

int pool_init(struct pool *pool, size_t size, size_t count)
{
	size_t stride, bytes;
	void *base;

	*pool = (struct pool){.base = NULL};
	if (!size || !count)
		return -EINVAL;
	if (count >= UINT32_MAX || size > SIZE_MAX - sizeof(struct slot) - ALIGN)
		return -EOVERFLOW;
	stride = (sizeof(struct slot) + size + ALIGN - 1) / ALIGN * ALIGN;
	if (__builtin_mul_overflow(stride, count, &bytes))
		return -EOVERFLOW;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -ENOMEM;
	pool->base = base;
	pool->size = size;
	pool->stride = stride;
	pool->count = (uint32_t)count;
	return 0;
}

void pool_fini(struct pool *pool)
{
	if (!pool)
		return;
	if (pool->base)
		(void)munmap(pool->base, pool->stride * pool->count); /* ours */
	*pool = (struct pool){.base = NULL};
}

void *pool_get(struct pool *pool, uint64_t *ret_handle)
{
	struct slot *slot;
	uint32_t index;

	if (pool->free_head) {
		index = pool->free_head - 1;
		slot = slot_at(pool, index);
		pool->free_head = slot->next_free;
		memset(slot + 1, 0, pool->size);
	} else if (pool->high < pool->count) {
		index = pool->high++;
		slot = slot_at(pool, index); /* fresh from the kernel: zero */
	} else {
		return NULL;
	}
	slot->generation++;
	pool->used++;
	*ret_handle = handle_of(slot, index);
	return slot + 1;
}

/* The slot in use of that very generation, or NULL. */
static struct slot *find(const struct pool *pool, uint64_t handle)
{
	uint32_t index = (uint32_t)handle;
	struct slot *slot;

	if (index >= pool->high)
		return NULL;
	slot = slot_at(pool, index);
	return slot_taken(slot) && handle_of(slot, index) == handle ? slot : NULL;
}

void *pool_find(const struct pool *pool, uint64_t handle)
{
	struct slot *slot = find(pool, handle);

	return slot ? slot + 1 : NULL;
}

int pool_put(struct pool *pool, uint64_t handle)
{
	struct slot *slot = find(pool, handle);

	if (!slot)
		return -ENOENT;
	slot->generation++;
	slot->next_free = pool->free_head;
	pool->free_head = (uint32_t)handle + 1;
	pool->used--;
	return 0;
}

void *pool_next(const struct pool *pool, uint32_t *index, uint64_t *ret_handle)
{
	for (; *index < pool->high; ++*index) {
		struct slot *slot = slot_at(pool, *index);

		if (!slot_taken(slot))
			continue;
		*ret_handle = handle_of(slot, (*index)++);
		return slot + 1;
	}
	return NULL;
}
