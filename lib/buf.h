/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte buffer that grows up to a hard maximum and remembers its first
 * failure, so that a writer checks once, at the end.
 *
 * For builders of messages and readers of streams.  It must not grow past
 * `max`, whatever its user was fed.  After a failure it keeps what it had
 * and ignores every further addition: no half of an addition is ever there.
 */
#ifndef LIB_BUF_H
#define LIB_BUF_H

#include <stdarg.h>
#include <stddef.h>

#include "middlepipe/types.h"

/* Fields are for reading; only the functions below write them. */
struct buf {
	char *ptr;  /* bytes, NUL after the last one; NULL until the first */
	size_t len; /* bytes in use, without the NUL */
	size_t cap; /* bytes allocated, the NUL included */
	size_t max; /* len never exceeds it */
	int error;  /* 0, -ENOMEM or -E2BIG (or -EINVAL: bad format); sticky */
};

/* Allocates nothing yet.  buf_fini() is due afterwards. */
void buf_init(struct buf *b, size_t max);

/* Frees the bytes; the buffer is empty and usable again.  NULL is allowed. */
void buf_fini(struct buf *b);

/* Forgets bytes and error but keeps the memory. */
void buf_reset(struct buf *b);

/* Each returns b->error: 0, or the first failure. */
int buf_add(struct buf *b, const void *ptr, size_t len);
int buf_add_str(struct buf *b, const char *str);
int buf_add_slice(struct buf *b, struct mp_str s);
int buf_printf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list args)
	__attribute__((format(printf, 2, 0)));

/*
 * Room for `len` more bytes, for a caller that fills it itself (read(2)) and
 * then says how much by buf_commit().  NULL on failure.
 */
char *buf_reserve(struct buf *b, size_t len);
void buf_commit(struct buf *b, size_t len);

/* Drops the first `len` bytes (all, when there are fewer). */
void buf_consume(struct buf *b, size_t len);

/* The bytes as a C string ("" when empty), valid until the next change. */
const char *buf_str(const struct buf *b);

/* The bytes as a slice, valid until the next change. */
struct mp_str buf_slice(const struct buf *b);

#endif
