/* SPDX-License-Identifier: Apache-2.0 */
/* lib/flat.c: what is taken, what is said of the rest, and that jansson sees it likewise. */
#include "lib/flat.h"

#include <errno.h>

#include "tests/lib/flat_oracle.h"
#include "tests/lib/tap.h"

#define ROOM 256

static const struct flat_want wants[] = {
	{ "t", FLAT_TEXT, 0, 20 },
	{ "n", FLAT_NUMBER, INT64_MIN, INT64_MAX },
	{ "few", FLAT_NUMBER, -3, 4 },
	{ "longer \"name", FLAT_TEXT, 2, 3 },
};
#define N (sizeof(wants) / sizeof(wants[0]))

static char room[ROOM];
static struct flat_value values[N];
static struct err why;

static int read(struct mp_str text)
{
	why.text[0] = '\0';
	return flat_read(text, wants, N, values, room, sizeof(room), &why);
}

static void test_taken(void)
{
	is_int(read(MP_LIT(" {\t\"t\" :\n\"x\", \"n\":-7 ,\r\"few\":4} ")), 0, "an object with blanks");
	ok(values[0].given && slice_eq(values[0].text, MP_LIT("x")), "its text");
	ok(values[1].given && values[1].number == -7 && values[2].number == 4, "its numbers");
	ok(!values[3].given, "and what is not there");
	is_int(read(MP_LIT("{}")), 0, "an empty one");
	ok(!values[0].given && !values[1].given, "has nothing");
	is_int(read(MP_LIT("{\"longer \\u0022name\":\"\\ud83d\\ude00\"}")), -EBADMSG, "an escaped name");
	is_str(why.text, "longer \"name: wants 2 to 3 bytes, not 4", "is known");
	is_int(read(MP_LIT("{\"t\":\"\\u00e4\\u20AC\\uD83D\\uDE00\\\"\\\\\\/\\b\\f\\n\\r\\t\"}")), 0,
	       "every escape");
	ok(slice_eq(values[0].text, MP_LIT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"\\/\b\f\n\r\t")), "is read");
	is_int(read(MP_LIT("{\"n\":9223372036854775807}")), 0, "the greatest number");
	ok(values[1].number == INT64_MAX, "is read");
	is_int(read(MP_LIT("{\"n\":-0,\"t\":\"\"}")), 0, "nothing");
	ok(values[1].number == 0 && values[0].given && !values[0].text.len, "is something, too");
}

static void test_refused(void)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "", "byte 1: wants an object in braces" },
		{ "[]", "byte 1: wants an object in braces" },
		{ "{", "byte 2: wants a text in quotes" },
		{ "{}x", "byte 3: wants nothing behind the object" },
		{ "{\"t\"}", "byte 5: wants a colon" },
		{ "{\"t\":}", "byte 6: wants a text in quotes" },
		{ "{\"t\":7}", "byte 6: wants a text in quotes" },
		{ "{\"n\":\"7\"}", "byte 6: wants a whole number" },
		{ "{\"n\":null}", "byte 6: wants a whole number" },
		{ "{\"n\":-}", "byte 7: wants a whole number" },
		{ "{\"n\":01}", "byte 8: wants a whole number" },
		{ "{\"n\":1.0}", "byte 7: wants a whole number" },
		{ "{\"n\":1E2}", "byte 7: wants a whole number" },
		{ "{\"n\":+1}", "byte 6: wants a whole number" },
		{ "{\"n\":9223372036854775808}", "byte 25: wants a number below 2^63" },
		{ "{\"n\":99999999999999999999}", "byte 26: wants a number below 2^63" },
		{ "{\"few\":5}", "few: wants -3 to 4, not 5" },
		{ "{\"few\":-4}", "few: wants -3 to 4, not -4" },
		{ "{\"n\":1,}", "byte 8: wants a text in quotes" },
		{ "{\"n\":1 \"t\":\"\"}", "byte 8: wants a comma or a brace" },
		{ "{\"n\":1,\"n\":1}", "\"n\" is there twice" },
		{ "{\"n\":1,\"\\u006e\":1}", "\"n\" is there twice" },
		{ "{\"o\":1}", "\"o\" is not known here" },
		{ "{\"t\":\"", "byte 7: wants a quote" },
		{ "{\"t\":\"\n\"}", "byte 7: wants UTF-8 without control characters" },
		{ "{\"t\":\"\\x\"}", "byte 8: wants a character that may be escaped" },
		{ "{\"t\":\"\\", "byte 8: wants a character that may be escaped" },
		{ "{\"t\":\"\\u12g4\"}", "byte 11: wants four hex digits" },
		{ "{\"t\":\"\\u0000\"}", "byte 13: wants a character, no NUL and no lone surrogate" },
		{ "{\"t\":\"\\udc00\"}", "byte 13: wants a character, no NUL and no lone surrogate" },
		{ "{\"t\":\"\\ud800\"}", "byte 13: wants the other half of a surrogate pair" },
		{ "{\"t\":\"\\ud800\\u0041\"}", "byte 19: wants the other half of a surrogate pair" },
		{ "{\"t\":\"123456789012345678901\"}", "t: wants 0 to 20 bytes, not 21" },
		{ "{\"t\":{}}", "byte 6: wants a text in quotes" },
	};
	static char much[ROOM + 2];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		is_int(read(slice_of(cases[i].text)), -EBADMSG, "%s", JSON_QUOTE(cases[i].text));
		is_str(why.text, cases[i].why, "why");
	}
	is_int(read(MP_LIT("{\"t\":\"\0\"}")), -EBADMSG, "a NUL in a text");
	is_int(read(MP_LIT("{}\0")), -EBADMSG, "a NUL behind");
	memset(much, ' ', sizeof(much));
	memcpy(much, "{}", 2);
	is_int(read(slice_make(much, ROOM)), 0, "as much as there is room for");
	is_int(read(slice_make(much, ROOM + 1)), -EBADMSG, "more than that");
	is_str(why.text, "257 bytes, 256 are allowed", "says so");
	is_int(flat_read(MP_LIT("{]"), wants, N, values, room, sizeof(room), NULL), -EBADMSG,
	       "nobody has to be told");
}

/* Every sequence of up to four bytes out of those that matter, against jansson. */
static void test_utf8(void)
{
	static const unsigned char bytes[] = { 0, 0x1f, 'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
					       0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef,
					       0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff };
	const size_t n = sizeof(bytes);
	char text[] = "{\"t\":\"....\"}";
	long n_wrong = 0, n_taken = 0;

	for (size_t i = 0; i < n * n * n * n; i++) {
		struct mp_str all = slice_make(text, sizeof(text) - 1);
		bool is_text;
		int r;

		text[6] = (char)bytes[i % n];
		text[7] = (char)bytes[i / n % n];
		text[8] = (char)bytes[i / n / n % n];
		text[9] = (char)bytes[i / n / n / n];
		r = read(all);
		is_text = flat_text_ok(slice_make(text + 6, 4));
		n_taken += !r;
		n_wrong += (!r && !is_text) || (r && is_text && !memchr(text + 6, 0x1f, 4));
		if (i % 7 == 0)
			n_wrong += !oracle_agrees(all, wants, N, r, values);
	}
	ok(!n_wrong && n_taken > 100, "UTF-8: %ld of %zu are taken", n_taken, n * n * n * n);
}

static uint32_t draw(uint32_t below)
{
	static uint64_t seed = 1;

	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

#define PIECES_TYPE 4   /* names begin here */
#define PIECES_VALUE 12 /* and values */
static const char *const pieces[] = {
	"{", "}", "{", "}", "\"t\":", "\"n\":", "\"few\":", "\"longer \\\"name\":", ",", ",", " ", "\n",
	"\"x\"", "\"\\u0041\"", "\"\\ud83d\\ude00\"", "\"\\n\"", "7", "-3", "0", "4.5", "1e1", "true",
	"null", "[", "]", "\"", "\\", "9223372036854775807", "-9223372036854775808", "00", "\xc3\xa4",
};

/* Rather members than noise. */
static void make_object(struct buf *out)
{
	buf_add_str(out, "{");
	for (uint32_t k = 0, end = draw(4); k < end; k++)
		buf_printf(out, "%s%s%s", k ? "," : "", pieces[PIECES_TYPE + draw(4)],
			   pieces[PIECES_VALUE + draw(7)]);
	buf_add_str(out, "}");
}

/* Puts a piece somewhere, perhaps for a byte. */
static void damage(struct buf *text)
{
	size_t at = draw((uint32_t)text->len + 1);
	struct buf out;

	buf_init(&out, ROOM);
	buf_add(&out, text->ptr, at);
	buf_add_str(&out, pieces[draw(sizeof(pieces) / sizeof(pieces[0]))]);
	buf_add_slice(&out, slice_skip(buf_slice(text), at + draw(2)));
	buf_fini(text);
	*text = out;
}

/* Objects put together at random and damaged at random: jansson takes the same. */
static void test_random(void)
{
	long n_wrong = 0, n_taken = 0;

	for (long i = 0; i < 200000; i++) {
		struct buf text;
		int r;

		buf_init(&text, ROOM);
		make_object(&text);
		for (uint32_t k = draw(3); k; k--)
			damage(&text);
		r = read(buf_slice(&text));
		n_taken += !r;
		if (!oracle_agrees(buf_slice(&text), wants, N, r, values) && n_wrong++ < 5)
			note("%d: %s (%s)", r, buf_str(&text), why.text);
		buf_fini(&text);
	}
	ok(!n_wrong && n_taken > 20000, "%ld objects are taken, %ld otherwise than by jansson", n_taken,
	   n_wrong);
}

static void test_quote(void)
{
	struct mp_str text = MP_LIT("a\"\\\n\x01\x7f\xc3\xa4");
	struct buf out;

	buf_init(&out, 64);
	buf_add_str(&out, "{\"t\":");
	is_int(flat_quote(&out, text), 0, "a text is quoted");
	buf_add_str(&out, "}");
	is_str(buf_str(&out), "{\"t\":\"a\\\"\\\\\\u000a\\u0001\x7f\xc3\xa4\"}", "and escaped");
	ok(!read(buf_slice(&out)) && slice_eq(values[0].text, text), "and read again");
	buf_fini(&out);
	buf_init(&out, 5);
	is_int(flat_quote(&out, text), -E2BIG, "no room");
	buf_fini(&out);
}

int main(void)
{
	test_taken();
	test_refused();
	test_utf8();
	test_random();
	test_quote();
	return done();
}
