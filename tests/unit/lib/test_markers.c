/* SPDX-License-Identifier: Apache-2.0 */
/* lib/markers.c: RFC 9651 Items with parameters, read strictly and written. */
#include <middlepipe/markers.h>

#include <errno.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static int parse(const char *text, struct mp_marker *ret)
{
	static char scratch[MP_MARKER_MAX];

	return mp_marker_parse(slice_of(text), scratch, ret);
}

static void test_all_parts(void)
{
	struct mp_marker m;

	is_int(parse("breaker;state=open;pipe=\"guard\";retry-after=4;callback=raise", &m), 0,
	       "the example parses");
	ok(slice_eq(m.type, MP_LIT("breaker")), "type");
	ok(slice_eq(m.state, MP_LIT("open")), "state");
	ok(slice_eq(m.pipe, MP_LIT("guard")), "pipe");
	ok(slice_eq(m.callback, MP_LIT("raise")), "callback");
	is_int(m.retry_after, 4, "retry-after");
	is_int(parse("  throttle ", &m), 0, "a type alone, with blanks around");
	ok(slice_eq(m.type, MP_LIT("throttle")) && !m.state.len && !m.pipe.len, "nothing else");
	is_int(m.retry_after, -1, "no retry-after");
	is_int(parse("x; pipe=\"a \\\"b\\\\\";  state=*half:open/1", &m), 0, "escapes, odd tokens");
	ok(slice_eq(m.pipe, MP_LIT("a \"b\\")), "unescaped");
	ok(slice_eq(m.state, MP_LIT("*half:open/1")), "a token of every kind of byte");
	is_int(parse("x;state=a;state=b", &m), 0, "twice the same key");
	ok(slice_eq(m.state, MP_LIT("b")), "the last one holds");
}

static void test_unknown(void)
{
	static const char *const good[] = {
		"x;a", "x;a=1", "x;a=-999999999999999", "x;a=1.5", "x;a=-123456789012.125",
		"x;a=\"s\"", "x;a=:aGk=:", "x;a=?0", "x;a=?1;b", "x;a=@1659578233", "x;*k_-.*=t",
		"x;a=%\"f%c3%bc\"", "x;a=%\"\"", "x;a=::",
	};
	struct mp_marker m;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		is_int(parse(good[i], &m), 0, "%s", good[i]);
}

static void test_refused(void)
{
	static const char *const bad[] = {
		"", " ", "1", "\"breaker\"", "?1", "x y", "x;", "x; ", "x;=1", "x;A=1", "x;a=",
		"x;a= 1", "x ;a", "x;a=1.", "x;a=1.1234", "x;a=1234567890123.1",
		"x;a=1234567890123456", "x;a=-", "x;a=\"s", "x;a=\"\\n\"", "x;a=\"\x7f\"",
		"x;a=\"\xc3\xbc\"", "x;a=:a", "x;a=:a b:", "x;a=?2", "x;a=?", "x;a=@1.5",
		"x;a=%\"%C3\"", "x;a=%\"%\"", "x;a=%x", "x,y", "x;a=(1 2)", "\tx", "x;state=\"open\"",
		"x;pipe=guard", "x;retry-after=-1", "x;retry-after=1.0", "x;retry-after=\"1\"",
		"x;callback", "x;state",
	};
	struct mp_marker m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_int(parse(bad[i], &m), -EINVAL, "refused: %s", bad[i]);
}

static void test_length(void)
{
	char text[MP_MARKER_MAX + 2];
	struct mp_marker m;

	memset(text, 'x', sizeof(text));
	text[MP_MARKER_MAX] = '\0';
	is_int(parse(text, &m), 0, "512 bytes");
	text[MP_MARKER_MAX] = 'x';
	text[MP_MARKER_MAX + 1] = '\0';
	is_int(parse(text, &m), -EINVAL, "513 are too many");
}

static void test_format(void)
{
	struct mp_marker m = {
		.type = MP_LIT("breaker"), .state = MP_LIT("open"), .pipe = MP_LIT("gu\"ard\\"),
		.callback = MP_LIT("raise"), .retry_after = 4,
	};
	const char *want = "breaker;state=open;pipe=\"gu\\\"ard\\\\\";retry-after=4;callback=raise";
	char out[MP_MARKER_MAX + 64];
	struct mp_marker back;

	is_int(mp_marker_format(&m, out, sizeof(out)), (int64_t)strlen(want), "its length");
	is_str(out, want, "its text");
	is_int(parse(out, &back), 0, "it is read back");
	ok(slice_eq(back.pipe, m.pipe) && back.retry_after == 4, "unharmed");
	is_int(mp_marker_format(&m, out, strlen(want) + 1), (int64_t)strlen(want), "a tight fit");
	is_int(mp_marker_format(&m, out, strlen(want)), -E2BIG, "a byte too small");
	is_int(mp_marker_format(&m, out, 0), -E2BIG, "no room at all");
	m = (struct mp_marker){ .type = MP_LIT("x"), .retry_after = -1 };
	is_int(mp_marker_format(&m, out, sizeof(out)), 1, "the type alone");
	is_str(out, "x", "and nothing else");
}

static void test_format_refused(void)
{
	static char long_pipe[MP_MARKER_MAX];
	struct mp_marker m = { .type = MP_LIT("x"), .retry_after = -1 };
	char out[2 * MP_MARKER_MAX];

	memset(long_pipe, 'p', sizeof(long_pipe));
	m.pipe = (struct mp_str){ long_pipe, sizeof(long_pipe) };
	is_int(mp_marker_format(&m, out, sizeof(out)), -E2BIG, "longer than any marker");
	m.pipe = MP_LIT("a\r\nb");
	is_int(mp_marker_format(&m, out, sizeof(out)), -EINVAL, "CR LF in the pipe");
	m.pipe = (struct mp_str){ 0 };
	m.state = MP_LIT("half open");
	is_int(mp_marker_format(&m, out, sizeof(out)), -EINVAL, "a blank in a token");
	m.state = (struct mp_str){ 0 };
	m.retry_after = INT64_MAX;
	is_int(mp_marker_format(&m, out, sizeof(out)), -EINVAL, "more than 15 digits");
	m = (struct mp_marker){ .type = MP_LIT("1x"), .retry_after = -1 };
	is_int(mp_marker_format(&m, out, sizeof(out)), -EINVAL, "a type that starts with a digit");
	m.type = (struct mp_str){ 0 };
	is_int(mp_marker_format(&m, out, sizeof(out)), -EINVAL, "no type");
}

int main(void)
{
	test_all_parts();
	test_unknown();
	test_refused();
	test_length();
	test_format();
	test_format_refused();
	return done();
}
