/* SPDX-License-Identifier: Apache-2.0 */
/* Targets and the patterns of routes (aggregator/http/target.h). */
#include "aggregator/http/target.h"

#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static char text[4096];
static struct err err;

static int parse(const char *raw, struct target *t)
{
	size_t size = strlen(raw);

	memcpy(text, raw, size);
	err.text[0] = '\0';
	return target_parse(text, size, t, &err);
}

static bool is_slice(struct mp_str got, const char *want, const char *name)
{
	return ok(slice_eq(got, slice_of(want)), "%s is \"%s\"", name, want);
}

static void test_paths(void)
{
	static const struct {
		const char *raw;
		size_t n;
		const char *last;
	} good[] = {
		{ "/", 1, "" },
		{ "/a", 1, "a" },
		{ "/a/", 2, "" },
		{ "//", 2, "" },
		{ "/a/b%2Fc", 2, "b/c" },
		{ "/a/b%2fc%20", 2, "b/c " },
		{ "/v1/%72ows", 2, "rows" },
		{ "/a/..", 2, ".." },
		{ "/a+b", 1, "a+b" },
		{ "/%ff%01", 1, "\xff\x01" },
		{ "/a?x", 1, "a" },
	};
	struct target t;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		is_int(parse(good[i].raw, &t), 0, "%s is taken", good[i].raw);
		is_u64(t.n, good[i].n, "its segments");
		is_slice(t.segments[t.n - 1], good[i].last, "the last of them");
	}
}

static void test_wrong(void)
{
	static const char *const wrong[] = {
		"", "a", "*", "http://x/", "/%", "/%4", "/%zz", "/%00", "/a%0", "/a b", "/a\x7f",
		"/a\tb", "/\xc3\xa9", "/a#b", "/a?x=%00", "/a?x=%", "/a?%=1", "/a?=1", "/a?x=1&x=2",
		"/a?x=1&%78=2", "/1/2/3/4/5/6/7/8/9/10/11/12/13",
		"/?1&2&3&4&5&6&7&8&9&10&11&12&13&14&15&16&17&18&19&20&21&22&23&24&25",
	};
	struct target t;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ok(parse(wrong[i], &t) < 0 && err.text[0], "\"%s\" is refused: %s", wrong[i], err.text);
}

static void test_query(void)
{
	struct mp_str value;
	struct target t;

	is_int(parse("/a?row=chains%2Fshop&from=1+2&empty=&flag&&u=%E2%82%AC&e=a=b?c/d", &t), 0,
	       "a query is taken");
	is_u64(t.n_query, 6, "with its parameters");
	ok(target_query(&t, MP_LIT("row"), &value), "one of them is found");
	is_slice(value, "chains/shop", "decoded it");
	ok(target_query(&t, MP_LIT("from"), &value), "one with a plus is found");
	is_slice(value, "1 2", "it");
	ok(target_query(&t, MP_LIT("empty"), &value) && !value.len, "one may be empty");
	ok(target_query(&t, MP_LIT("flag"), &value) && !value.len, "or without a value");
	ok(target_query(&t, MP_LIT("e"), &value), "one with other signs is found");
	is_slice(value, "a=b?c/d", "it");
	ok(!target_query(&t, MP_LIT("ro"), &value), "half a name is none");
}

static bool matches(const char *pattern, const char *raw)
{
	struct pattern p;
	struct target t;

	return !pattern_parse(pattern, &p, &err) && !parse(raw, &t) && pattern_match(&p, &t);
}

static void test_patterns(void)
{
	struct pattern p;
	struct target t;

	ok(matches("/v1/rows/{row}", "/v1/rows/a%2Fb?x=1"), "a parameter takes a segment");
	ok(!matches("/v1/rows/{row}", "/v1/rows/a/b"), "and not two");
	ok(!matches("/v1/rows/{row}", "/v1/rows/"), "nor none");
	ok(!matches("/v1/rows", "/v1/rows/"), "a slash more is another path");
	ok(matches("/v1/rows", "/v1/%72ows"), "what is encoded without need is the same");
	ok(!matches("/v1/rows", "/v1%2Frows"), "an encoded slash is none");
	ok(matches("/", "/"), "the root");
	ok(!pattern_parse("/r/{row}/c/{seq}", &p, &err) && !parse("/r/x%2Fy/c/17", &t), "two parameters");
	is_slice(pattern_param(&p, &t, MP_LIT("row")), "x/y", "the first");
	is_slice(pattern_param(&p, &t, MP_LIT("seq")), "17", "the second");
	is_slice(pattern_param(&p, &t, MP_LIT("c")), "", "a literal");
	is_slice(pattern_param(&p, &t, MP_LIT("no")), "", "an unknown one");
	is_int(pattern_parse("a", &p, &err), -EINVAL, "a pattern without slash");
	is_int(pattern_parse("/{}", &p, &err), -EINVAL, "a parameter without name");
	is_int(pattern_parse("/{a", &p, &err), -EINVAL, "one without its brace");
	is_int(pattern_parse("/1/2/3/4/5/6/7/8/9/10/11/12/13", &p, &err), -EINVAL, "too long a pattern");
}

/* Nothing is read behind the end, whatever follows there. */
static void test_end(void)
{
	struct target t;
	char *exact = malloc(4);

	if (!exact)
		return;
	memcpy(exact, "/a%4", 4);
	is_int(target_parse(exact, 4, &t, &err), -EINVAL, "a percent sign near the end");
	memcpy(exact, "/ab%", 4);
	is_int(target_parse(exact, 4, &t, &err), -EINVAL, "one at the end");
	memcpy(exact, "/%41", 4);
	is_int(target_parse(exact, 4, &t, &err), 0, "one that just fits");
	free(exact);
}

int main(void)
{
	test_paths();
	test_wrong();
	test_query();
	test_patterns();
	test_end();
	return done();
}
