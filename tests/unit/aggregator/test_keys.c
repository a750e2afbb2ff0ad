/* SPDX-License-Identifier: Apache-2.0 */
/* aggregator/rows/keys.c: names, the keys made of them, and back. */
#include "aggregator/rows/keys.h"

#include <errno.h>
#include <inttypes.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static struct mp_str prefix = { "middlepipe/acme/", 16 };

static void test_names(void)
{
	static const struct {
		struct mp_str name;
		const char *wrong; /* part of the reason, NULL: right */
	} rows[] = {
		{ MP_LIT_INIT("chains/app"), NULL }, { MP_LIT_INIT("a b%"), NULL }, { MP_LIT_INIT("\xc3\xa9\xe2\x82\xac"), NULL },
		{ MP_LIT_INIT("\xf0\x9f\x98\x80"), NULL }, { MP_LIT_INIT(""), "1 to 256 bytes, not 0" },
		{ MP_LIT_INIT("row~1"), "forks" }, { MP_LIT_INIT("a\nb"), "control" }, { MP_LIT_INIT("a\x7f"), "control" },
		{ MP_LIT_INIT("a\0b"), "control" }, { MP_LIT_INIT("\xff"), "UTF-8" }, { MP_LIT_INIT("\xc0\xaf"), "UTF-8" },
		{ MP_LIT_INIT("\xed\xa0\x80"), "UTF-8" }, { MP_LIT_INIT("\xf4\x90\x80\x80"), "UTF-8" },
		{ MP_LIT_INIT("\xe2\x82"), "UTF-8" }, { MP_LIT_INIT("\xe0\x80\x80"), "UTF-8" },
	};
	char longest[ROW_NAME_MAX + 1];
	struct err err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r;

		err = (struct err){ 0 };
		r = row_name_check(rows[i].name, &err);
		ok(rows[i].wrong ? r == -EINVAL && strstr(err.text, rows[i].wrong) : r == 0,
		   "name %zu: %s", i, rows[i].wrong ? err.text : "right");
	}
	memset(longest, 'x', sizeof(longest));
	is_int(row_name_check(slice_make(longest, ROW_NAME_MAX), &err), 0, "the longest name");
	is_int(row_name_check(slice_make(longest, sizeof(longest)), &err), -EINVAL, "one byte more");
}

/* Makes the key, checks its text, and reads it again. */
static void same(struct buf *out, const char *text, enum key_kind kind, const char *name)
{
	struct key key;

	is_str(buf_str(out), text, "key %s", text);
	is_int(key_parse(buf_slice(out), prefix, &key), 0, "%s is read again", text);
	is_int((int)key.kind, (int)kind, "as what it is");
	if (name)
		is_str(key.name, name, "with its name");
	buf_reset(out);
}

static void test_keys(void)
{
	struct buf out;
	struct key key;

	buf_init(&out, KEY_MAX);
	key_prefix(&out, MP_LIT("acme"));
	is_str(buf_str(&out), prefix.ptr, "prefix of a tenant");
	buf_reset(&out);
	key_prefix(&out, MP_LIT("a/b"));
	is_str(buf_str(&out), "middlepipe/a%2fb/", "a tenant is escaped");
	buf_reset(&out);
	key_meta(&out, prefix);
	same(&out, "middlepipe/acme/meta", KEY_META, NULL);
	key_member(&out, prefix, MP_LIT("m1"));
	same(&out, "middlepipe/acme/member/m1", KEY_MEMBER, "m1");
	key_owner(&out, prefix, 63);
	same(&out, "middlepipe/acme/owner/3f", KEY_OWNER, NULL);
	key_head(&out, prefix, MP_LIT("chains/a%b\x01~u"));
	same(&out, "middlepipe/acme/row/chains%2fa%25b%01~u", KEY_HEAD, "chains/a%b\x01~u");
	key_fork(&out, prefix, MP_LIT("0-1"));
	same(&out, "middlepipe/acme/fork/0-1", KEY_FORK, "0-1");
	key_cells(&out, prefix, MP_LIT("a/b"), UINT64_C(0xfedcba9876543210), 17);
	is_int(key_parse(buf_slice(&out), prefix, &key), 0, "cells");
	ok(key.incarnation == UINT64_C(0xfedcba9876543210) && key.seq == 17, "their numbers");
	same(&out, "middlepipe/acme/cells/a%2fb/fedcba9876543210/0000000000000011", KEY_CELLS, "a/b");
	buf_fini(&out);
}

static void test_longest(void)
{
	char name[ROW_NAME_MAX + 1];
	struct buf out;
	struct key key;

	memset(name, '/', sizeof(name));
	buf_init(&out, KEY_MAX);
	is_int(key_cells(&out, prefix, slice_make(name, ROW_NAME_MAX), 1, 1), 0, "the longest key has room");
	is_int(key_parse(buf_slice(&out), prefix, &key), 0, "and is read");
	is_int((int)key.name_size, ROW_NAME_MAX, "whole");
	buf_reset(&out);
	is_int(key_head(&out, prefix, slice_make(name, sizeof(name))), -E2BIG, "a longer name is no key");
	buf_fini(&out);
}

static void test_wrong(void)
{
	static const char *const rows[] = {
		"", "middlepipe/acme", "middlepipe/acme/", "middlepipe/other/meta", "middlepipe/acme/metal",
		"middlepipe/acme/row/", "middlepipe/acme/row/a/b", "middlepipe/acme/row/%", "middlepipe/acme/row/%2",
		"middlepipe/acme/row/%2F", "middlepipe/acme/row/%61", "middlepipe/acme/row/%00",
		"middlepipe/acme/owner/1", "middlepipe/acme/owner/001", "middlepipe/acme/owner/zz",
		"middlepipe/acme/cells/a", "middlepipe/acme/cells/a/1/1",
		"middlepipe/acme/cells/a/0000000000000001/0000000000000000",
		"middlepipe/acme/cells//0000000000000001/0000000000000001",
		"middlepipe/acme/cells/a/000000000000000A/0000000000000001",
		"middlepipe/acme/cells/a/0000000000000001/0000000000000001/x", "middlepipe/acme/new/x",
	};
	struct key key;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_int(key_parse(slice_of(rows[i]), prefix, &key), -EINVAL, "no key: %s", rows[i]);
}

static void test_ranges(void)
{
	struct buf from, to;

	buf_init(&from, KEY_MAX);
	buf_init(&to, KEY_MAX);
	key_heads(&from, prefix, MP_LIT("chains/"));
	is_int(key_range_end(&to, buf_slice(&from)), 0, "the end of a range");
	is_str(buf_str(&from), "middlepipe/acme/row/chains%2f", "from");
	is_str(buf_str(&to), "middlepipe/acme/row/chains%2g", "to");
	is_int(key_range_end(&to, MP_LIT("\xff")), -EINVAL, "nothing is behind all");
	is_int(key_range_end(&to, MP_LIT("")), -EINVAL, "and all is no range");
	buf_fini(&from);
	buf_fini(&to);
}

static void test_shards(void)
{
	unsigned n[64] = { 0 };
	char name[32];
	bool even = true;

	for (unsigned i = 0; i < 64000; i++) {
		(void)snprintf(name, sizeof(name), "row/%u", i);
		n[row_shard(slice_of(name), 64)]++;
	}
	for (unsigned i = 0; i < 64; i++)
		even &= n[i] > 800 && n[i] < 1200;
	ok(even, "rows spread over the shards");
	/* Stored by groups for ever: it must not change. */
	is_int((int)row_shard(MP_LIT("chains/app"), 64), 3, "the shard of a row");
}

int main(void)
{
	test_names();
	test_keys();
	test_longest();
	test_wrong();
	test_ranges();
	test_shards();
	return done();
}
