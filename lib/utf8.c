/* SPDX-License-Identifier: Apache-2.0 */
/* See utf8.h. */
#include "lib/utf8.h"

#include "lib/slice.h"

size_t utf8_size(struct mp_str text)
{
	/* By the first byte: how many follow, and the bounds of the first that does. */
	static const struct {
		unsigned char from, to, follow, low, high;
	} forms[] = {
		{ 0x00, 0x7f, 0, 0, 0 },       { 0xc2, 0xdf, 1, 0x80, 0xbf },
		{ 0xe0, 0xe0, 2, 0xa0, 0xbf }, { 0xe1, 0xec, 2, 0x80, 0xbf },
		{ 0xed, 0xed, 2, 0x80, 0x9f }, { 0xee, 0xef, 2, 0x80, 0xbf },
		{ 0xf0, 0xf0, 3, 0x90, 0xbf }, { 0xf1, 0xf3, 3, 0x80, 0xbf },
		{ 0xf4, 0xf4, 3, 0x80, 0x8f },
	};
	const unsigned char *p = (const unsigned char *)text.ptr;
	size_t i = 0;

	while (i < sizeof(forms) / sizeof(forms[0]) && (p[0] < forms[i].from || p[0] > forms[i].to))
		i++;
	if (i == sizeof(forms) / sizeof(forms[0]) || text.len < 1u + forms[i].follow)
		return 0;
	if (forms[i].follow && (p[1] < forms[i].low || p[1] > forms[i].high))
		return 0;
	for (size_t j = 2; j <= forms[i].follow; j++)
		if ((p[j] & 0xc0) != 0x80)
			return 0;
	return 1u + forms[i].follow;
}

bool utf8_is_plain(struct mp_str text)
{
	while (text.len) {
		size_t size = utf8_size(text);

		if (!size || (unsigned char)text.ptr[0] < ' ' || text.ptr[0] == 0x7f)
			return false;
		text = slice_skip(text, size);
	}
	return true;
}
