/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/slice: compare, cut, convert, quote. */
#include "lib/slice.h"

#include "tests/lib/tap.h"

static const struct mp_str none = {NULL, 0};

static void test_compare(void)
{
	ok(slice_eq(none, MP_LIT("")), "NULL is the empty slice");
	ok(slice_eq(slice_of(NULL), none), "so is the slice of NULL");
	ok(!slice_eq(MP_LIT("a"), MP_LIT("b")), "different bytes");
	ok(!slice_eq(MP_LIT("a"), MP_LIT("ab")), "different lengths");
	ok(slice_eq_nocase(MP_LIT("Content-LENGTH"), MP_LIT("content-length")), "no case");
	ok(!slice_eq_nocase(MP_LIT("["), MP_LIT("{")), "only letters have case");
	ok(slice_starts(MP_LIT("chain"), MP_LIT("ch")), "starts");
	ok(slice_starts(none, none), "nothing starts with nothing");
	ok(!slice_starts(MP_LIT("c"), MP_LIT("ch")), "too short to start with it");
}

static void test_cut(void)
{
	struct mp_str a, b;

	ok(slice_cut(MP_LIT("key=a=b"), '=', &a, &b), "cut finds the first");
	ok(slice_eq(a, MP_LIT("key")) && slice_eq(b, MP_LIT("a=b")), "and splits there");
	ok(slice_cut(b, '=', &a, &b) && slice_eq(b, MP_LIT("b")), "the output may be the input");
	ok(!slice_cut(MP_LIT("key"), '=', &a, &b), "nothing to cut");
	ok(slice_eq(a, MP_LIT("key")) && !b.len, "all of it is before");
	ok(slice_cut(MP_LIT("="), '=', &a, &b) && !a.len && !b.len, "both may be empty");
	ok(!slice_cut(none, '=', &a, &b) && !a.len && !b.len, "cut of nothing");
	ok(slice_eq(slice_trim(MP_LIT(" \t a b\r\n")), MP_LIT("a b")), "trim");
	ok(!slice_trim(MP_LIT(" \n")).len, "trim of blanks");
	ok(!slice_skip(MP_LIT("ab"), 3).len, "skip stops at the end");
}

static void test_u64(void)
{
	uint64_t value = 7;

	is_int(slice_to_u64(MP_LIT("18446744073709551615"), &value), 0, "the largest");
	is_u64(value, UINT64_MAX, "has its value");
	is_int(slice_to_u64(MP_LIT("18446744073709551616"), &value), -ERANGE, "one more");
	is_int(slice_to_u64(MP_LIT("99999999999999999999999"), &value), -ERANGE, "far more");
	is_int(slice_to_u64(none, &value), -EINVAL, "nothing");
	is_int(slice_to_u64(MP_LIT("-1"), &value), -EINVAL, "a sign");
	is_int(slice_to_u64(MP_LIT(" 1"), &value), -EINVAL, "a blank");
	is_int(slice_to_u64(MP_LIT("1x"), &value), -EINVAL, "a letter");
	is_u64(value, UINT64_MAX, "failures write nothing");
	is_int(slice_to_u64(MP_LIT("007"), &value), 0, "leading zeros");
	is_u64(value, 7, "do not matter");
}

static void test_quote(void)
{
	char out[12], text[64];

	is_str(slice_quote(text, sizeof(text), MP_LIT("a\"b\\\n\xc3")), "\"a\\\"b\\\\\\x0a\\xc3\"",
	       "escapes");
	is_str(slice_quote(text, sizeof(text), none), "\"\"", "quotes nothing");
	is_str(slice_quote(out, sizeof(out), MP_LIT("123456789")), "\"123456789\"", "just fits");
	is_str(slice_quote(out, sizeof(out), MP_LIT("1234567890")), "\"123456...\"", "cut");
	is_str(slice_quote(out, sizeof(out), MP_LIT("12345\n\n")), "\"12345...\"",
	       "an escape is not cut in two");
	for (size_t size = 8; size < 30; size++) {
		struct mp_str s = MP_LIT("a\nb\"\nccccc\1\2ddddddd");

		slice_quote(text, size, s);
		if (strlen(text) >= size || text[strlen(text) - 1] != '"')
			ok(false, "quoting into %zu bytes", size);
	}
}

int main(void)
{
	char *copy = slice_dup(slice_make("abcd", 2)), *empty = slice_dup(none);

	is_str(copy, "ab", "dup ends where the slice does");
	is_str(empty, "", "dup of nothing");
	free(copy);
	free(empty);
	test_compare();
	test_cut();
	test_u64();
	test_quote();
	return done();
}
