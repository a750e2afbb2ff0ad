/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper on borrowed bytes that is too long to be inline: quoting.
 *
 * Called by whoever shows foreign text.  It must not let a byte through that
 * a terminal or a log reader would take for more than text.
 */
#include "lib/slice.h"

#include <assert.h>
#include <stdio.h>

/* What follows the text when it was cut, and its NUL. */
#define CUT_MARK "...\""

static size_t escape(unsigned char c, char out[5])
{
	if (c == '"' || c == '\\')
		return (size_t)snprintf(out, 5, "\\%c", c);
	if (c < ' ' || c > '~')
		return (size_t)snprintf(out, 5, "\\x%02x", c);
	out[0] = (char)c;
	return 1;
}

const char *slice_quote(char *out, size_t size, struct mp_str s)
{
	size_t len = 0, safe = 1; /* safe: the mark still fits here */
	char code[5];

	assert(size >= 8);
	out[len++] = '"';
	for (size_t i = 0; i < s.len; i++) {
		size_t n = escape((unsigned char)s.ptr[i], code);

		if (len + n + sizeof("\"") > size) {
			memcpy(out + safe, CUT_MARK, sizeof(CUT_MARK));
			return out;
		}
		memcpy(out + len, code, n);
		len += n;
		if (len + sizeof(CUT_MARK) <= size)
			safe = len;
	}
	memcpy(out + len, "\"", sizeof("\""));
	return out;
}
