/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lower-case hexadecimal digits, of fixed width: bytes and numbers, both ways.
 * For keys, ids and state files; upper case is not taken, so that there is one
 * text for each value.
 */
#ifndef LIB_HEX_H
#define LIB_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "middlepipe/types.h"

/* Its value, or -1 for what is no digit. */
static inline int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Writes 2 * size digits and no NUL. */
static inline void hex_encode(char *out, const void *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *from = bytes;

	for (size_t i = 0; i < size; i++) {
		out[2 * i] = digits[from[i] >> 4];
		out[2 * i + 1] = digits[from[i] & 15];
	}
}

/* False unless the text is exactly 2 * size digits; ret may be written all the same. */
static inline bool hex_decode(struct mp_str text, void *ret, size_t size)
{
	unsigned char *to = ret;

	if (text.len != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		int high = hex_digit(text.ptr[2 * i]), low = hex_digit(text.ptr[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		to[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

/* Exactly so many digits (at most 16), the highest first. */
static inline bool hex_number(struct mp_str text, size_t digits, uint64_t *ret)
{
	*ret = 0;
	if (text.len != digits)
		return false;
	for (size_t i = 0; i < digits; i++) {
		int digit = hex_digit(text.ptr[i]);

		if (digit < 0)
			return false;
		*ret = *ret << 4 | (uint64_t)digit;
	}
	return true;
}

#endif
