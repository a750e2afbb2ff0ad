/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The growable byte buffer: one function decides about growth and failure
 * (buf_reserve), the rest goes through it.
 *
 * Called everywhere, by the thread that owns the buffer.
 */
#include "lib/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAP_FIRST ((size_t)64)

void buf_init(struct buf *b, size_t max)
{
	/* One byte is set aside for the NUL. */
	*b = (struct buf){.max = max < SIZE_MAX ? max : SIZE_MAX - 1};
}

void buf_fini(struct buf *b)
{
	if (!b)
		return;
	free(b->ptr);
	buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->ptr)
		b->ptr[0] = '\0';
}

/* Doubling keeps additions cheap; the bound caps the last step. */
static int grow(struct buf *b, size_t need)
{
	size_t cap = b->cap > SIZE_MAX / 2 ? SIZE_MAX : b->cap * 2;
	char *ptr;

	if (cap < CAP_FIRST)
		cap = CAP_FIRST;
	if (cap < need)
		cap = need;
	if (cap > b->max + 1)
		cap = b->max + 1;
	ptr = realloc(b->ptr, cap);
	if (!ptr)
		return -ENOMEM;
	b->ptr = ptr;
	b->cap = cap;
	return 0;
}

char *buf_reserve(struct buf *b, size_t len)
{
	if (b->error)
		return NULL;
	if (len > b->max - b->len)
		b->error = -E2BIG;
	else if (b->len + len >= b->cap)
		b->error = grow(b, b->len + len + 1);
	return b->error ? NULL : b->ptr + b->len;
}

void buf_commit(struct buf *b, size_t len)
{
	assert(len < b->cap - b->len);
	b->len += len;
	b->ptr[b->len] = '\0';
}

int buf_add(struct buf *b, const void *ptr, size_t len)
{
	char *at = buf_reserve(b, len);

	if (!at)
		return b->error;
	if (len)
		memcpy(at, ptr, len);
	buf_commit(b, len);
	return 0;
}

int buf_add_str(struct buf *b, const char *str)
{
	return buf_add(b, str, strlen(str));
}

int buf_add_slice(struct buf *b, struct mp_str s)
{
	return buf_add(b, s.ptr, s.len);
}

int buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
	va_list again;
	char *at;
	int len;

	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0 && !b->error)
		b->error = -EINVAL;
	at = buf_reserve(b, len < 0 ? 0 : (size_t)len);
	if (!at)
		return b->error;
	(void)vsnprintf(at, (size_t)len + 1, fmt, args); /* measured above */
	buf_commit(b, (size_t)len);
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	buf_vprintf(b, fmt, args);
	va_end(args);
	return b->error;
}

void buf_consume(struct buf *b, size_t len)
{
	if (!b->len)
		return;
	if (len > b->len)
		len = b->len;
	/* The NUL moves along. */
	memmove(b->ptr, b->ptr + len, b->len - len + 1);
	b->len -= len;
}

const char *buf_str(const struct buf *b)
{
	return b->len ? b->ptr : "";
}

struct mp_str buf_slice(const struct buf *b)
{
	return (struct mp_str){buf_str(b), b->len};
}
