/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error text that travels beside a return code: the code is for the program
 * (0 or a negative errno), the text is for people.
 *
 * Every layer calls it.  It must not allocate, print or exit: the caller
 * owns the struct, usually on its stack, and decides who reads the text.
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

#include <stdarg.h>

/* Text of one failure.  Initialize with {0}; a success leaves it alone. */
struct err {
	char text[256]; /* NUL-terminated; ends in "..." when it was cut */
};

/*
 * Stores a text and returns `code`, so that a function fails in one line:
 *
 *	return err_set(err, -EINVAL, "port %d is out of range", port);
 *
 * code: a negative errno.  err: may be NULL, then only the code counts.
 * Arguments must not point into err->text.
 */
int err_set(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* err_set() for a caller that is itself variadic. */
int err_vset(struct err *err, int code, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

/*
 * Puts "prefix: " before the text that is there and returns `code`.  With no
 * text yet it is err_set().  What does not fit is cut from the end.
 */
int err_wrap(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "what: No such file or directory" for a positive or negative errno. */
int err_sys(struct err *err, int errnum, const char *what);

#endif
