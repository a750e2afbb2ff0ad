/* SPDX-License-Identifier: Apache-2.0 */
/* See json_text.h. */
#include "lib/json_text.h"

#include "lib/slice.h"
#include "lib/utf8.h"

static void add_escaped(struct buf *out, unsigned char c)
{
	if (c == '"' || c == '\\')
		(void)buf_printf(out, "\\%c", c);
	else if (c < 0x80)
		(void)buf_printf(out, "\\u%04x", c);
	else
		(void)buf_add_str(out, "\\ufffd");
}

/* How many bytes at the front stand in a string as they are. */
static size_t plain(struct mp_str text)
{
	size_t n = 0;

	while (n < text.len) {
		unsigned char c = (unsigned char)text.ptr[n];
		size_t size = c < 0x80 ? c >= ' ' && c != '"' && c != '\\' && c != 0x7f : utf8_size(slice_skip(text, n));

		if (!size)
			break;
		n += size;
	}
	return n;
}

int json_text_add(struct buf *out, struct mp_str text)
{
	(void)buf_add(out, "\"", 1);
	while (text.len) {
		size_t n = plain(text);

		(void)buf_add(out, text.ptr, n);
		text = slice_skip(text, n);
		if (text.len)
			add_escaped(out, (unsigned char)text.ptr[0]);
		text = slice_skip(text, 1);
	}
	return buf_add(out, "\"", 1);
}
