/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fixed count of objects of one size, found by handles that go stale.
 *
 * For everything a peer can make us hold (exchanges, flows, lanes).  One
 * owner thread.  The memory is mapped once and touched object by object:
 * what was never used costs no resident memory, and a used object is reused
 * before a fresh one is touched.  It must never grow.
 *
 * A handle is generation << 32 | index.  Taking and returning an object each
 * add one to its generation, odd while in use, so that a handle kept too
 * long finds nothing (until 2^31 reuses of the same slot) and 0 is no handle.
 */
#ifndef LIB_POOL_H
#define LIB_POOL_H

#include <stddef.h>
#include <stdint.h>

/* Fields are for reading; only the functions below write them. */
struct pool {
	unsigned char *base; /* count slots of `stride` bytes, mapped, owned */
	size_t size;         /* bytes of an object */
	size_t stride;       /* bytes of a slot: its head and the object */
	uint32_t count;      /* objects there are */
	uint32_t used;       /* objects taken now */
	uint32_t high;       /* most ever taken: slots below it were touched */
	uint32_t free_head;  /* index + 1 of the last one returned, 0: none */
};

/*
 * size: bytes of an object, 1 or more; count: 1 or more.  0, -EINVAL,
 * -EOVERFLOW or -ENOMEM.  On failure the pool is as after pool_fini().
 */
int pool_init(struct pool *pool, size_t size, size_t count);

/* Unmaps everything; objects are gone.  NULL and zeroed pools are allowed. */
void pool_fini(struct pool *pool);

/* A zeroed object, 16-byte aligned, or NULL when all are taken. */
void *pool_get(struct pool *pool, uint64_t *ret_handle);

/* The object, or NULL when the handle is stale or was never given. */
void *pool_find(const struct pool *pool, uint64_t handle);

/* Returns an object: 0, or -ENOENT for a stale or unknown handle. */
int pool_put(struct pool *pool, uint64_t handle);

/* Walks objects in use by index: *index starts at 0; NULL at the end. */
void *pool_next(const struct pool *pool, uint32_t *index, uint64_t *ret_handle);

#endif
