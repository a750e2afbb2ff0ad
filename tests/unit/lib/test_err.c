/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/err: set, wrap, visible truncation, NULL. */
#include "lib/err.h"

#include <errno.h>

#include "tests/lib/tap.h"

static void test_set(void)
{
	struct err err = {0};

	is_int(err_set(&err, -EINVAL, "port %d", 7), -EINVAL, "set returns the code");
	is_str(err.text, "port 7", "set stores the text");
	is_int(err_set(NULL, -EIO, "%s", "x"), -EIO, "set without a struct");
	is_int(err_sys(&err, ENOENT, "a/b"), -ENOENT, "sys makes the code negative");
	is_str(err.text, "a/b: No such file or directory", "sys names both");
	is_int(err_sys(&err, -ENOENT, "a"), -ENOENT, "sys takes a negative errno too");
}

static void test_wrap(void)
{
	struct err err = {0};

	is_int(err_wrap(&err, -EIO, "outer"), -EIO, "wrap returns the code");
	is_str(err.text, "outer", "wrap of nothing is set");
	err_wrap(&err, -EIO, "%s", "chain");
	is_str(err.text, "chain: outer", "wrap adds a prefix");
	is_int(err_wrap(NULL, -EIO, "x"), -EIO, "wrap without a struct");
}

static void test_cut(void)
{
	char longer[400];
	struct err err = {0};

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&err, -EINVAL, "%.255s", longer);
	is_u64(strlen(err.text), 255, "the longest text fits");
	ok(!strstr(err.text, "..."), "and is not marked");
	err_set(&err, -EINVAL, "%s", longer);
	is_u64(strlen(err.text), 255, "a longer one is cut");
	is_str(err.text + 252, "...", "and marked");
	err_set(&err, -EINVAL, "%.250s", longer);
	err_wrap(&err, -EINVAL, "prefix");
	ok(!strncmp(err.text, "prefix: xxx", 11), "the prefix survives");
	is_str(err.text + 252, "...", "the end is cut and marked");
	err_set(&err, -EINVAL, "inner");
	err_wrap(&err, -EINVAL, "%s", longer);
	is_str(err.text + 252, "...", "a prefix that fills everything is marked");
}

int main(void)
{
	test_set();
	test_wrap();
	test_cut();
	return done();
}
