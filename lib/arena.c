/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of at least BLOCK_SIZE bytes, cut from the front.
 *
 * Called by chain.c.  A piece that is larger gets a block of its own, which
 * then is the newest: what was left of the one before it is given up.
 */
#include "lib/arena.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)4096)
#define ALIGN _Alignof(max_align_t)

struct arena_block {
	struct arena_block *older; /* the one before it, NULL at the end */
	size_t size;               /* bytes of data */
	_Alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *arena, size_t max)
{
	*arena = (struct arena){.max = max};
}

void arena_fini(struct arena *arena)
{
	struct arena_block *block = arena ? arena->blocks : NULL;

	while (block) {
		struct arena_block *older = block->older;

		free(block);
		block = older;
	}
	if (arena)
		arena_init(arena, arena->max);
}

static bool grow(struct arena *arena, size_t size)
{
	size_t data = size > BLOCK_SIZE ? size : BLOCK_SIZE;
	struct arena_block *block;

	if (data > arena->max - arena->total)
		return false;
	block = malloc(sizeof(*block) + data);
	if (!block)
		return false;
	block->older = arena->blocks;
	block->size = data;
	arena->blocks = block;
	arena->used = 0;
	arena->total += data;
	return true;
}

/* The size with its padding, or 0 when it is too large for any arena. */
static size_t padded(size_t count, size_t size)
{
	size_t all;

	if (__builtin_mul_overflow(count, size, &all) ||
	    __builtin_add_overflow(all, ALIGN - 1, &all))
		return 0;
	all &= ~(ALIGN - 1);
	return all ? all : ALIGN;
}

void *arena_get(struct arena *arena, size_t count, size_t size)
{
	size_t all = padded(count, size);
	struct arena_block *block = arena->blocks;
	unsigned char *piece;

	if (!all || ((!block || block->size - arena->used < all) && !grow(arena, all))) {
		arena->failed = true;
		return NULL;
	}
	piece = arena->blocks->data + arena->used;
	arena->used += all;
	return memset(piece, 0, all);
}

char *arena_copy(struct arena *arena, struct mp_str bytes)
{
	char *copy = arena_get(arena, bytes.len + 1, 1);

	if (copy && bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	return copy;
}

struct mp_str arena_slice(struct arena *arena, struct mp_str bytes)
{
	char *copy = arena_copy(arena, bytes);

	return (struct mp_str){copy, copy ? bytes.len : 0};
}
