/* SPDX-License-Identifier: Apache-2.0 */
/* See json_text.h. */
#include "lib/json_text.h"

static int add_escaped(struct buf *out, unsigned char c)
{
	if (c == '"' || c == '\\')
		return buf_printf(out, "\\%c", c);
	return buf_printf(out, "\\u%04x", c);
}

int json_text_add(struct buf *out, struct mp_str text)
{
	size_t from = 0;

	(void)buf_add(out, "\"", 1);
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c >= ' ' && c != '"' && c != '\\' && c != 0x7f)
			continue;
		(void)buf_add(out, text.ptr + from, i - from);
		(void)add_escaped(out, c);
		from = i + 1;
	}
	(void)buf_add(out, text.ptr + from, text.len - from);
	return buf_add(out, "\"", 1);
}
