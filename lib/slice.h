/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helpers on borrowed bytes (struct mp_str): compare, cut, convert.
 *
 * For every parser.  Nothing here writes to the bytes or keeps them; case
 * and white space are those of ASCII, whatever the locale says.  Only
 * slice_dup() allocates.
 */
#ifndef LIB_SLICE_H
#define LIB_SLICE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "middlepipe/types.h"

/* Slice of a string literal. */
#define MP_LIT(literal) ((struct mp_str){"" literal, sizeof(literal) - 1})

/* The same as an initializer, for tables. */
#define MP_LIT_INIT(literal) {"" literal, sizeof(literal) - 1}

/* Arguments of a "%.*s" conversion. */
#define SLICE_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

/* Slice of a C string; NULL gives the empty slice. */
static inline struct mp_str slice_of(const char *str)
{
	return (struct mp_str){str, str ? strlen(str) : 0};
}

static inline struct mp_str slice_make(const void *ptr, size_t len)
{
	return (struct mp_str){ptr, len};
}

static inline char slice_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline bool slice_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool slice_eq(struct mp_str a, struct mp_str b)
{
	return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

/* Like memcmp(): by bytes, a prefix before what is longer. */
static inline int slice_compare(struct mp_str a, struct mp_str b)
{
	size_t least = a.len < b.len ? a.len : b.len;
	int order = least ? memcmp(a.ptr, b.ptr, least) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_eq_nocase(struct mp_str a, struct mp_str b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		if (slice_lower(a.ptr[i]) != slice_lower(b.ptr[i]))
			return false;
	}
	return true;
}

static inline bool slice_starts(struct mp_str s, struct mp_str prefix)
{
	return s.len >= prefix.len &&
	       slice_eq((struct mp_str){s.ptr, prefix.len}, prefix);
}

/* The slice without its first `n` bytes; empty when it has fewer. */
static inline struct mp_str slice_skip(struct mp_str s, size_t n)
{
	if (n > s.len)
		n = s.len;
	return (struct mp_str){n ? s.ptr + n : s.ptr, s.len - n};
}

/* The slice without white space at either end. */
static inline struct mp_str slice_trim(struct mp_str s)
{
	while (s.len && slice_is_space(s.ptr[0]))
		s = slice_skip(s, 1);
	while (s.len && slice_is_space(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

/*
 * Cuts at the first `c`: false when there is none, then before is all of `s`
 * and after is empty.  The outputs may be &s itself.
 */
static inline bool slice_cut(struct mp_str s, char c, struct mp_str *ret_before,
			     struct mp_str *ret_after)
{
	const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;
	size_t len = at ? (size_t)(at - s.ptr) : s.len;

	*ret_before = (struct mp_str){s.ptr, len};
	*ret_after = slice_skip(s, len + 1);
	return at != NULL;
}

/*
 * Decimal digits and nothing else: no sign, no blank.  0, -EINVAL, or
 * -ERANGE when it does not fit; *ret_value is written on success only.
 */
static inline int slice_to_u64(struct mp_str s, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (!s.len)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(s.ptr[i] - '0'), &value))
			return -ERANGE;
	}
	*ret_value = value;
	return 0;
}

/* A C string that the caller frees, or NULL without memory. */
static inline char *slice_dup(struct mp_str s)
{
	char *copy = malloc(s.len + 1);

	if (!copy)
		return NULL;
	if (s.len)
		memcpy(copy, s.ptr, s.len);
	copy[s.len] = '\0';
	return copy;
}

/*
 * The slice in double quotes for people: `"`, `\`, control and non-ASCII
 * bytes as \xNN, cut with "..." when it does not fit.  Returns out, always
 * NUL-terminated; size >= 8.
 */
const char *slice_quote(char *out, size_t size, struct mp_str s);

#endif
