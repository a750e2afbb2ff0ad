/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Node.js hook's reader of message heads (buildpack-hooks/node/heads.c).
 */
#include "buildpack-hooks/node/heads.h"

#include <stdio.h>
#include <string.h>

#include "tests/lib/tap.h"

static char text[64];

static const char *str(struct mp_str s)
{
	snprintf(text, sizeof(text), "%.*s", (int)s.len, s.ptr ? s.ptr : "");
	return text;
}

static void parse(struct head *head, const char *from)
{
	head_parse(head, from, strlen(from));
}

static void test_whole(void)
{
	static struct head head;

	parse(&head, "POST /a?b=c HTTP/1.1\r\nHost: pay:80\r\nX-Empty:\r\nA:  b c \t\r\n\r\nBody: no\r\n");
	is_str(str(head.words[0]), "POST", "method");
	is_str(str(head.words[1]), "/a?b=c", "target");
	is_str(str(head.host), "pay:80", "host");
	is_int((int)head.n_fields, 3, "fields up to the empty line");
	is_str(str(head.fields[1].value), "", "an empty value");
	is_str(str(head.fields[2].value), "b c", "white space around a value is cut");
}

static void test_odd(void)
{
	static struct head head;
	static char many[HEAD_FIELDS * 8 + 64];
	size_t size = 0;

	parse(&head, "");
	is_int((int)head.n_fields, 0, "nothing");
	is_int((int)head.words[0].len, 0, "no method");
	parse(&head, "GET");
	is_int((int)head.n_fields, 0, "a first line cut off");
	parse(&head, "GET / HTTP/1.1\r\nno colon\r\n: no name\r\nA: b\r\nC: cut");
	is_int((int)head.n_fields, 1, "lines that are no fields, and one cut off, are left out");
	parse(&head, "X\r\nhOsT: one\r\nHost: two\r\n");
	is_str(str(head.host), "one", "the first Host, in any case");
	is_int((int)head.words[1].len, 0, "no target");
	size = (size_t)snprintf(many, sizeof(many), "G / H\r\n");
	for (unsigned i = 0; i < HEAD_FIELDS + 4; i++)
		size += (size_t)snprintf(many + size, sizeof(many) - size, "a: b\r\n");
	head_parse(&head, many, size);
	is_int((int)head.n_fields, (int)HEAD_FIELDS, "no more fields than there is room for");
}

static void test_path(void)
{
	static const struct { const char *target, *path; } rows[] = {
		{ "/x?y", "/x?y" }, { "", "/" }, { "http://h", "/" }, { "http://h:1/x", "/x" },
		{ "HTTPS://h/x/y", "/x/y" }, { "*", "*" }, { "http", "http" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mp_str target = { rows[i].target, strlen(rows[i].target) };

		is_str(str(head_path(target)), rows[i].path, "path of \"%s\"", rows[i].target);
	}
}

int main(void)
{
	test_whole();
	test_odd();
	test_path();
	return done();
}
