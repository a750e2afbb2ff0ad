/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is given out piece by piece and freed all at once.
 *
 * For a tree of small objects that live and die together (a parsed chain
 * file).  One thread.  It must not grow past its maximum, whatever its user
 * was fed, and remembers its first failure, so that a builder checks once.
 */
#ifndef LIB_ARENA_H
#define LIB_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include <middlepipe/types.h>

struct arena_block; /* one piece of memory from malloc() */

/* Fields are for reading; only the functions below write them. */
struct arena {
	struct arena_block *blocks; /* the newest first, owned */
	size_t used;                /* bytes given out of the newest */
	size_t total;               /* bytes of all blocks */
	size_t max;                 /* total never exceeds it */
	bool failed;                /* some piece was not to be had */
};

/* Allocates nothing yet.  arena_fini() is due afterwards. */
void arena_init(struct arena *arena, size_t max);

/* Frees every piece.  NULL and zeroed arenas are allowed. */
void arena_fini(struct arena *arena);

/* `count` objects of `size` bytes, zeroed, aligned for anything; or NULL. */
void *arena_get(struct arena *arena, size_t count, size_t size);

/* A copy with a NUL behind it, or NULL. */
char *arena_copy(struct arena *arena, struct mp_str bytes);

/* The same as a slice; empty when there was no memory. */
struct mp_str arena_slice(struct arena *arena, struct mp_str bytes);

#endif
