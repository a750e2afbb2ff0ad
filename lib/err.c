/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error texts: set, wrap, and show that a text was cut.
 *
 * Called on failure paths of every layer.  It must not fail itself.
 */
#include "lib/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* snprintf()'s length says whether the text ended early: make that visible. */
static void mark_cut(struct err *err, int len)
{
	if (len >= (int)sizeof(err->text))
		memcpy(err->text + sizeof(err->text) - 4, "...", 4);
}

int err_vset(struct err *err, int code, const char *fmt, va_list args)
{
	if (err)
		mark_cut(err, vsnprintf(err->text, sizeof(err->text), fmt, args));
	return code;
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	err_vset(err, code, fmt, args);
	va_end(args);
	return code;
}

int err_wrap(struct err *err, int code, const char *fmt, ...)
{
	struct err inner;
	va_list args;

	if (!err)
		return code;
	inner = *err;
	va_start(args, fmt);
	err_vset(err, code, fmt, args);
	va_end(args);
	if (inner.text[0]) {
		size_t len = strlen(err->text), room = sizeof(err->text) - len;
		int more = snprintf(err->text + len, room, ": %s", inner.text);

		mark_cut(err, (int)len + more);
	}
	return code;
}

int err_sys(struct err *err, int errnum, const char *what)
{
	char text[128];

	errnum = abs(errnum);
	/* The GNU strerror_r(), which may or may not use the buffer. */
	return err_set(err, -errnum, "%s: %s", what,
		       strerror_r(errnum, text, sizeof(text)));
}
