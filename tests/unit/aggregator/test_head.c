/* SPDX-License-Identifier: Apache-2.0 */
/* aggregator/rows/head.c: one text for a head, and what is none is told by its path. */
#include "aggregator/rows/head.h"

#include <errno.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

#define TEXT \
	"{\"format\":1,\"incarnation\":\"00000000000000ff\",\"before\":\"00000000000000aa\",\"batch\":\"000102030405060708090a0b0c0d0e0f\"," \
	"\"deleted\":false,\"check\":\"unique\",\"partition\":\"live\",\"last\":17,\"floor\":3," \
	"\"keep_cells\":1000,\"keep_bytes\":0,\"keep_ms\":60000,\"snapshot\":2,\"rules\":7}"

static const struct head known = {
	.incarnation = 255, .before = 0xaa, .last = 17, .floor = 3, .check = "unique", .partition = ROW_LIVE,
	.keep_cells = 1000, .keep_ms = 60000, .snapshot = 2, .rules = 7,
	.batch = { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 } },
};

static void test_same(void)
{
	struct err err = { 0 };
	struct head head;
	struct buf out;

	buf_init(&out, HEAD_SIZE_MAX);
	is_int(head_write(&out, &known), 0, "a head is written");
	is_str(buf_str(&out), TEXT, "as it is stored for ever");
	is_int(head_read(buf_slice(&out), &head, &err), 0, "and read: %s", err.text);
	ok(head.incarnation == 255 && head.before == 0xaa && head.last == 17 && head.floor == 3 && !head.deleted &&
	   head.partition == ROW_LIVE && head.keep_cells == 1000 && head.keep_bytes == 0 &&
	   head.keep_ms == 60000 && head.snapshot == 2 && head.rules == 7, "the same numbers");
	is_str(head.check, "unique", "the same check");
	ok(!memcmp(&head.batch, &known.batch, sizeof(head.batch)), "the same batch");
	buf_fini(&out);
}

static void test_largest(void)
{
	struct head head = { .incarnation = UINT64_MAX, .last = INT64_MAX - 1, .floor = INT64_MAX - 1,
			     .deleted = true, .keep_cells = INT64_MAX - 1, .keep_bytes = INT64_MAX - 1,
			     .keep_ms = INT64_MAX - 1, .snapshot = INT64_MAX - 1, .rules = UINT32_MAX };
	struct err err = { 0 };
	struct head again;
	struct buf out;

	memset(head.check, 'c', CHECK_NAME_MAX);
	memset(&head.batch, 0xff, sizeof(head.batch));
	buf_init(&out, HEAD_SIZE_MAX);
	is_int(head_write(&out, &head), 0, "the longest head has room: %zu bytes", out.len);
	is_int(head_read(buf_slice(&out), &again, &err), 0, "and is read: %s", err.text);
	ok(again.last == head.last && again.deleted && again.incarnation == UINT64_MAX, "whole");
	buf_fini(&out);
}

static void test_not_written(void)
{
	static const struct {
		const char *what;
		struct head head;
	} rows[] = {
		{ "a floor of 0", { .floor = 0 } },
		{ "a floor past the end", { .floor = 2 } },
		{ "a snapshot past the end", { .floor = 1, .snapshot = 1 } },
		{ "a seq past all", { .floor = 1, .last = INT64_MAX } },
		{ "a check with a quote", { .floor = 1, .check = "a\"b", .rules = 1 } },
		{ "a check without rules", { .floor = 1, .check = "a" } },
		{ "rules without a check", { .floor = 1, .rules = 1 } },
		{ "rules past all", { .floor = 1, .check = "a", .rules = UINT64_C(1) << 32 } },
		{ "cells that nobody could read again", { .floor = 1, .keep_cells = INT64_MAX } },
		{ "bytes likewise", { .floor = 1, .keep_bytes = INT64_MAX } },
		{ "and a time", { .floor = 1, .keep_ms = INT64_MAX } },
		{ "and a floor", { .floor = INT64_MAX, .last = INT64_MAX - 1 } },
		{ "an unknown partition", { .floor = 1, .partition = 2 } },
	};
	struct buf out;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_init(&out, HEAD_SIZE_MAX);
		is_int(head_write(&out, &rows[i].head), -EINVAL, "%s", rows[i].what);
		is_int((long)out.len, 0, "leaves nothing");
		buf_fini(&out);
	}
}

/* Each replaces `from` in TEXT by `to`. */
static void test_wrong(void)
{
	static const struct {
		const char *from, *to, *error;
		int rc;
	} rows[] = {
		{ "\"format\":1", "\"format\":2", "a head of format 2, and this program knows 1", -EPROTONOSUPPORT },
		{ "\"format\":1,", "", "$.format: is missing", -EINVAL },
		{ "00000000000000ff", "00000000000000fF", "$.incarnation: wants 16", -EINVAL },
		{ "00000000000000aa", "aa", "$.before: wants 16", -EINVAL },
		{ "00000000000000ff", "ff", "$.incarnation: wants 16", -EINVAL },
		{ "0d0e0f", "0d0e0", "$.batch: wants 32", -EINVAL },
		{ "unique", "Unique", "$.check: is no name of a check: \"Unique\"", -EINVAL },
		{ "live", "dead", "$.partition", -EINVAL },
		{ "\"last\":17", "\"last\":-1", "$.last", -EINVAL },
		{ "\"last\":17", "\"last\":1", "floor or snapshot do not fit", -EINVAL },
		{ "\"floor\":3", "\"floor\":19", "floor or snapshot do not fit", -EINVAL },
		{ "\"rules\":7", "\"rules\":0", "$.rules", -EINVAL },
		{ ",\"rules\":7", "", "$.rules: is missing", -EINVAL },
		{ "unique", "", "rules not the check", -EINVAL },
		{ "\"deleted\":false", "\"deleted\":0", "$.deleted", -EINVAL },
		{ "}", "", "line 1", -EINVAL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[1024];
		const char *at = strstr(TEXT, rows[i].from);
		struct err err = { 0 };
		struct head head;

		(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - TEXT), TEXT, rows[i].to,
			       at + strlen(rows[i].from));
		is_int(head_read(slice_of(text), &head, &err), rows[i].rc, "%s", rows[i].to);
		ok(strstr(err.text, rows[i].error), "says so: %s", err.text);
	}
}

int main(void)
{
	test_same();
	test_largest();
	test_not_written();
	test_wrong();
	return done();
}
