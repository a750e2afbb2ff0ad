/* SPDX-License-Identifier: Apache-2.0 */
/* See base64.h. */
#include "lib/base64.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#define BAD 0x80 /* no digit: the highest bit is in no value */

/* Value of each digit, plus one so that what is not named here is 0. */
static const uint8_t value_plus_one[256] = {
	['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
	['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
	['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
	['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
	['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
	['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
	['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
	['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

static uint32_t value_of(char c)
{
	return (uint8_t)(value_plus_one[(unsigned char)c] - 1);
}

/* The last one or two bytes, with their padding. */
static void encode_tail(char *to, const unsigned char *from, size_t left)
{
	uint32_t bits = (uint32_t)from[0] << 16 | (left > 1 ? (uint32_t)from[1] << 8 : 0);

	to[0] = digits[bits >> 18];
	to[1] = digits[bits >> 12 & 63];
	to[2] = left > 1 ? digits[bits >> 6 & 63] : '=';
	to[3] = '=';
}

int base64_encode(struct buf *out, struct mp_str bytes)
{
	const unsigned char *from = (const unsigned char *)bytes.ptr;
	size_t size = (bytes.len + 2) / 3 * 4, i = 0;
	char *to = buf_reserve(out, size);

	if (!to)
		return out->error;
	for (; i + 3 <= bytes.len; i += 3, to += 4) {
		uint32_t bits = (uint32_t)from[i] << 16 | (uint32_t)from[i + 1] << 8 | from[i + 2];

		to[0] = digits[bits >> 18];
		to[1] = digits[bits >> 12 & 63];
		to[2] = digits[bits >> 6 & 63];
		to[3] = digits[bits & 63];
	}
	if (i < bytes.len)
		encode_tail(to, from + i, bytes.len - i);
	buf_commit(out, size);
	return out->error;
}

/* The last four digits when they are padded; bits that mean nothing are zero. */
static bool decode_tail(char *to, const char *from, size_t padding)
{
	uint32_t a = value_of(from[0]), b = value_of(from[1]);
	uint32_t c = padding == 1 ? value_of(from[2]) : 0;
	uint32_t bits = a << 18 | b << 12 | c << 6;

	if ((a | b | c) & BAD || bits & (padding == 1 ? 0xff : 0xffff))
		return false;
	to[0] = (char)(bits >> 16);
	if (padding == 1)
		to[1] = (char)(bits >> 8);
	return true;
}

static bool decode(char *to, struct mp_str text, size_t padding)
{
	size_t whole = text.len - (padding ? 4 : 0);

	for (size_t i = 0; i < whole; i += 4, to += 3) {
		uint32_t a = value_of(text.ptr[i]), b = value_of(text.ptr[i + 1]);
		uint32_t c = value_of(text.ptr[i + 2]), d = value_of(text.ptr[i + 3]);
		uint32_t bits = a << 18 | b << 12 | c << 6 | d;

		if ((a | b | c | d) & BAD)
			return false;
		to[0] = (char)(bits >> 16);
		to[1] = (char)(bits >> 8);
		to[2] = (char)bits;
	}
	return !padding || decode_tail(to, text.ptr + whole, padding);
}

int base64_decode(struct buf *out, struct mp_str text)
{
	size_t padding = 0;
	char *to;

	if (text.len % 4)
		return -EINVAL;
	while (text.len && padding < 2 && text.ptr[text.len - 1 - padding] == '=')
		padding++;
	to = buf_reserve(out, text.len / 4 * 3);
	if (!to)
		return out->error;
	if (!decode(to, text, padding))
		return -EINVAL;
	buf_commit(out, text.len / 4 * 3 - padding);
	return out->error;
}
