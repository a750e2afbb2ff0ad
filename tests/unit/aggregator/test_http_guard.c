/* SPDX-License-Identifier: Apache-2.0 */
/* What heads are taken (aggregator/http/guard.h). */
#include "aggregator/http/guard.h"

#include <string.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

/* Fields are "Name: value" lines divided by "|"; the value begins behind ": ". */
static void make_head(struct guard_head *head, const char *version, const char *fields)
{
	struct mp_str rest = slice_of(fields), line;

	head->version = slice_of(version);
	head->n = 0;
	while (rest.len) {
		struct guard_field *f = &head->fields[head->n++];

		slice_cut(rest, '|', &line, &rest);
		slice_cut(line, ':', &f->name, &f->value);
		f->value = slice_skip(f->value, 1);
	}
}

static struct guard_body body;

static const char *check(const char *version, const char *fields)
{
	struct guard_head head;

	make_head(&head, version, fields);
	return guard_check(&head, &body);
}

static void test_good(void)
{
	ok(!check("HTTP/1.1", "Host: a") && !body.chunked && !body.length, "a host is enough");
	ok(!check("HTTP/1.0", "Host: a"), "HTTP/1.0");
	ok(!check("HTTP/1.1", "host: [::1]:80|Content-Length: 17") && body.length == 17, "a length");
	ok(!check("HTTP/1.1", "Host: a|content-length: 017 ") && body.length == 17,
	   "blanks and zeros around it");
	ok(!check("HTTP/1.1", "Host: a|Transfer-Encoding: Chunked") && body.chunked, "chunked");
	ok(!check("HTTP/1.1", "Host: a|X-Empty: |X: \t\xc3\xa9"), "odd values");
}

static void test_smuggling(void)
{
	static const struct {
		const char *version, *fields, *what;
	} wrong[] = {
		{ "HTTP/1.1", "", "no host" },
		{ "HTTP/1.0", "", "no host in HTTP/1.0" },
		{ "HTTP/1.1", "Host: ", "an empty host" },
		{ "HTTP/1.1", "Host: a|Host: a", "two hosts" },
		{ "HTTP/1.1", "Host: a|hOST: b", "two hosts, written otherwise" },
		{ "HTTP/1.1", "Host: a/b", "a host with a path" },
		{ "HTTP/1.1", "Host: a b", "a host with a blank" },
		{ "HTTP/1.1", "Host: a@b", "a host with a user" },
		{ "HTTP/1.1", "Host: a|Content-Length: 0|Content-Length: 31", "two lengths" },
		{ "HTTP/1.1", "Host: a|Content-Length: 5|Content-Length: 5", "the same twice" },
		{ "HTTP/1.1", "Host: a|Content-Length: 5|Transfer-Encoding: chunked", "both" },
		{ "HTTP/1.1", "Host: a|Transfer-Encoding: chunked|Transfer-Encoding: chunked",
		  "two codings" },
		{ "HTTP/1.1", "Host: a|Transfer-Encoding: gzip, chunked", "another coding" },
		{ "HTTP/1.1", "Host: a|Transfer-Encoding: xchunked", "an unknown coding" },
		{ "HTTP/1.1", "Host: a|Transfer-Encoding: ", "an empty coding" },
		{ "HTTP/1.0", "Host: a|Transfer-Encoding: chunked", "chunked in HTTP/1.0" },
		{ "HTTP/1.1", "Host: a|Content-Length: ", "an empty length" },
		{ "HTTP/1.1", "Host: a|Content-Length: +5", "a sign" },
		{ "HTTP/1.1", "Host: a|Content-Length: -5", "another sign" },
		{ "HTTP/1.1", "Host: a|Content-Length: 5, 5", "a list" },
		{ "HTTP/1.1", "Host: a|Content-Length: 0x5", "hex" },
		{ "HTTP/1.1", "Host: a|Content-Length: 5 5", "a blank within" },
		{ "HTTP/1.1", "Host: a|Content-Length: 9007199254740993", "too long" },
		{ "HTTP/1.1", "Host: a|Content-Length: 18446744073709551621", "one that overflows" },
		{ "HTTP/1.1", "Host: a|Content-Length : 5", "a blank before the colon" },
		{ "HTTP/1.1", "Host: a| X: 5", "a blank before the name" },
		{ "HTTP/1.1", "Host: a|: 5", "no name" },
		{ "HTTP/1.1", "Host: a|X\tY: 5", "a tab in a name" },
		{ "HTTP/1.1", "Host: a|X(: 5", "a bracket in a name" },
		{ "HTTP/1.1", "Host: a|X: a\rb", "a carriage return in a value" },
		{ "HTTP/1.1", "Host: a|X: a\x01", "a control byte in a value" },
		{ "HTTP/1.1", "Host: a|X: a\x7f", "a delete in a value" },
		{ "HTTP/1.2", "Host: a", "HTTP/1.2" },
		{ "HTTP/2.0", "Host: a", "HTTP/2.0" },
		{ "http/1.1", "Host: a", "a small version" },
		{ "", "Host: a", "no version" },
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ok(check(wrong[i].version, wrong[i].fields), "%s", wrong[i].what);
}

/* Overwrites as libmicrohttpd does, and says what guard_plain() thinks of it. */
static bool is_plain(const char *bytes, size_t size)
{
	static char raw[512];
	struct guard_head head = { .n = 0 };
	struct mp_str method = { 0 }, target = { 0 };
	char *at = raw, *end = raw + size;

	memset(raw, 'z', sizeof(raw)); /* what came behind the head */
	memcpy(raw, bytes, size);
	for (int first = 1; at < end; first = 0) {
		char *stop = memchr(at, '\n', (size_t)(end - at)), *colon = stop;

		if (!stop)
			return false;
		if (stop > at && stop[-1] == '\r')
			stop[-1] = '\0';
		*stop = '\0';
		if (first) {
			char *last = memrchr(at, ' ', (size_t)(stop - at));

			method = slice_make(at, strcspn(at, " "));
			at[method.len] = '\0';
			*last = '\0';
			target = slice_of(at + method.len + 1 + strspn(at + method.len + 1, " "));
			head.version = slice_of(last + 1);
		} else if (at[0]) {
			colon = strchr(at, ':');
			if (!colon)
				return false;
			*colon++ = '\0';
			colon += strspn(colon, " \t");
			head.fields[head.n].name = slice_of(at);
			head.fields[head.n++].value = slice_of(colon);
		}
		at = stop + 1;
	}
	return guard_plain(method, target, &head);
}

#define PLAIN(literal) is_plain(literal, sizeof(literal) - 1)

static void test_plain(void)
{
	ok(PLAIN("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "a plain head");
	ok(PLAIN("GET / HTTP/1.1\r\n\r\n"), "one without fields");
	ok(PLAIN("GET / HTTP/1.1\r\nHost:a\r\nX:  \t b \r\nY:\r\n\r\n"), "blanks around values");
	ok(!PLAIN("GET / HTTP/1.1\nHost: a\r\n\r\n"), "a bare LF behind the first line");
	ok(!PLAIN("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"), "a bare LF between fields");
	ok(!PLAIN("GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n"), "a bare LF behind the last field");
	ok(!PLAIN("GET / HTTP/1.1\r\nHost: a\r\n\n"), "a bare LF as the empty line");
	ok(!PLAIN("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), "two blanks in the first line");
	ok(!PLAIN("GET / HTTP/1.1\r\nHost: a\0b\r\nX: c\r\n\r\n"), "a NUL in a value");
	ok(!PLAIN("GET / HTTP/1.1\r\nX: c\r\nHost: a\0b\r\n\r\n"), "a NUL in the last value");
	ok(!PLAIN("GET /\0x HTTP/1.1\r\nHost: a\r\n\r\n"), "a NUL in the target");
	ok(!PLAIN("GET / HTTP/1.1\0\r\nHost: a\r\n\r\n"), "a NUL behind the version");
}

int main(void)
{
	test_good();
	test_smuggling();
	test_plain();
	return done();
}
