/* SPDX-License-Identifier: Apache-2.0 */
/* lib/json_text.c and lib/utf8.c: any bytes become JSON that jansson reads; texts that are text become themselves. */
#include "lib/json_text.h"

#include <jansson.h>
#include <string.h>

#include "lib/slice.h"
#include "lib/utf8.h"
#include "tests/lib/tap.h"

/* Is it what jansson reads again, `same` as it was? */
static bool reads_again(struct mp_str text, bool same)
{
	struct buf out;
	json_t *value;
	bool good;

	buf_init(&out, 1u << 20);
	(void)json_text_add(&out, text);
	value = json_loadb(buf_slice(&out).ptr, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	good = value && (!same || slice_eq(slice_make(json_string_value(value), json_string_length(value)), text));
	json_decref(value);
	buf_fini(&out);
	return good;
}

static void test_texts(void)
{
	static const struct {
		struct mp_str text;
		const char *json;
	} rows[] = {
		{ MP_LIT_INIT(""), "\"\"" },
		{ MP_LIT_INIT("plain"), "\"plain\"" },
		{ MP_LIT_INIT("a\"b\\c"), "\"a\\\"b\\\\c\"" },
		{ MP_LIT_INIT("\n\t\x7f\0"), "\"\\u000a\\u0009\\u007f\\u0000\"" },
		{ MP_LIT_INIT("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"" },
		{ MP_LIT_INIT("a\xff" "b"), "\"a\\ufffdb\"" },
		{ MP_LIT_INIT("caf\xe9"), "\"caf\\ufffd\"" },
		{ MP_LIT_INIT("\xe2\x82"), "\"\\ufffd\\ufffd\"" },
		{ MP_LIT_INIT("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf out;

		buf_init(&out, 256);
		is_int(json_text_add(&out, rows[i].text), 0, "text %zu is written", i);
		ok(slice_eq(buf_slice(&out), slice_of(rows[i].json)), "%s", rows[i].json);
		buf_fini(&out);
	}
}

/* Every sequence of up to four bytes out of those that matter, against jansson. */
static void test_bytes(void)
{
	static const unsigned char bytes[] = { 0,    0x1f, 'a',  '"',  0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1,
					       0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff };
	const size_t n = sizeof(bytes);
	long n_wrong = 0, n_text = 0;

	for (size_t i = 0; i < n * n * n * n; i++) {
		const char text[] = { (char)bytes[i % n], (char)bytes[i / n % n], (char)bytes[i / n / n % n],
				      (char)bytes[i / n / n / n] };
		struct mp_str all = slice_make(text, sizeof(text));
		json_t *value = json_stringn(text, sizeof(text)); /* UTF-8 only */
		bool plain = value != NULL;

		n_wrong += !reads_again(all, value != NULL);
		for (size_t k = 0; k < sizeof(text); k++)
			plain = plain && (unsigned char)text[k] >= ' ' && text[k] != 0x7f;
		n_wrong += utf8_is_plain(all) != plain;
		n_text += value != NULL;
		json_decref(value);
	}
	is_int(n_wrong, 0, "all is JSON, what is UTF-8 is unchanged, and plain is what jansson takes");
	ok(n_text > 1000, "%ld of them are UTF-8", n_text);
}

int main(void)
{
	test_texts();
	test_bytes();
	ok(utf8_is_plain(MP_LIT("")), "nothing is plain");
	return done();
}
