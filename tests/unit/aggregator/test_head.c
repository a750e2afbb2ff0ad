/* SPDX-License-Identifier: Apache-2.0 */
/* aggregator/rows/head.c: one text for a head, and what is none is told by its path. */
#include "aggregator/rows/head.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

/* All members, as format 1 had them. */
#define FULL \
	"{\"format\":1,\"incarnation\":\"00000000000000ff\",\"before\":\"00000000000000aa\",\"batch\":\"000102030405060708090a0b0c0d0e0f\"," \
	"\"deleted\":false,\"check\":\"unique\",\"partition\":\"live\",\"last\":17,\"floor\":3," \
	"\"keep_cells\":1000,\"keep_bytes\":0,\"keep_ms\":60000,\"snapshot\":2,\"rules\":7}"

/* The same as it is written. */
#define TEXT \
	"{\"format\":2,\"incarnation\":\"00000000000000ff\",\"before\":\"00000000000000aa\",\"batch\":\"000102030405060708090a0b0c0d0e0f\"," \
	"\"check\":\"unique\",\"partition\":\"live\",\"last\":17,\"floor\":3,\"keep_cells\":1000,\"keep_ms\":60000,\"snapshot\":2,\"rules\":7}"

#define SHORTEST \
	"{\"format\":2,\"incarnation\":\"00000000000000ff\",\"batch\":\"00000000000000000000000000000000\",\"last\":0}"

static const struct head known = {
	.incarnation = 255, .before = 0xaa, .last = 17, .floor = 3, .check = "unique", .partition = ROW_LIVE,
	.keep_cells = 1000, .keep_ms = 60000, .snapshot = 2, .rules = 7,
	.batch = { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 } },
};

static bool same(const struct head *a, const struct head *b)
{
	return a->incarnation == b->incarnation && a->before == b->before && a->last == b->last &&
	       a->floor == b->floor && a->deleted == b->deleted && !strcmp(a->check, b->check) &&
	       a->partition == b->partition && a->keep_cells == b->keep_cells && a->keep_bytes == b->keep_bytes &&
	       a->keep_ms == b->keep_ms && a->snapshot == b->snapshot && a->rules == b->rules &&
	       !memcmp(&a->batch, &b->batch, sizeof(a->batch));
}

static void test_same(void)
{
	struct err err = { 0 };
	struct head head;
	struct buf out;

	buf_init(&out, HEAD_SIZE_MAX);
	is_int(head_write(&out, &known), 0, "a head is written");
	is_str(buf_str(&out), TEXT, "as it is stored for ever");
	is_int(head_read(buf_slice(&out), &head, &err), 0, "and read: %s", err.text);
	ok(same(&head, &known), "the same head");
	is_int(head_read(MP_LIT(FULL), &head, &err), 0, "one that an older program wrote is read: %s", err.text);
	ok(same(&head, &known), "the same head");
	buf_reset(&out);
	is_int(head_write(&out, &(struct head){ .incarnation = 255, .floor = 1 }), 0, "one without anything");
	is_str(buf_str(&out), SHORTEST, "is short");
	is_int(head_read(buf_slice(&out), &head, &err), 0, "and read: %s", err.text);
	ok(same(&head, &(struct head){ .incarnation = 255, .floor = 1 }), "the same head");
	buf_fini(&out);
}

static uint64_t draw(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *seed >> 16;
}

/* Half of them as by default. */
static uint64_t draw_number(uint64_t *seed, uint64_t below)
{
	return draw(seed) % 2 ? draw(seed) % (draw(seed) % 3 ? below < 100 ? below : 100 : below) : 0;
}

static void draw_head(uint64_t *seed, struct head *ret)
{
	*ret = (struct head){ .incarnation = draw(seed) << 20 | 1, .before = draw_number(seed, UINT64_MAX),
			      .last = draw_number(seed, HEAD_NUMBER_MAX), .deleted = draw(seed) % 2,
			      .partition = draw(seed) % 2 ? ROW_LIVE : ROW_SAFE,
			      .keep_cells = draw_number(seed, HEAD_NUMBER_MAX),
			      .keep_bytes = draw_number(seed, HEAD_NUMBER_MAX),
			      .keep_ms = draw_number(seed, HEAD_NUMBER_MAX) };
	for (size_t i = 0; i < sizeof(ret->batch.bytes); i++)
		ret->batch.bytes[i] = (uint8_t)draw(seed);
	ret->floor = 1 + draw_number(seed, ret->last + 1);
	ret->snapshot = draw_number(seed, ret->last + 1);
	if (draw(seed) % 2)
		return;
	memset(ret->check, 'a' + (char)(draw(seed) % 26), 1 + draw(seed) % CHECK_NAME_MAX);
	ret->rules = 1 + draw_number(seed, UINT32_MAX);
}

/* What is read quickly is read as all JSON is: with a blank in it, it goes the other way. */
static void test_both_ways(void)
{
	uint64_t seed = 20261121;
	unsigned written = 0, quick = 0, slow = 0;

	for (unsigned i = 0; i < 2000; i++) {
		char spaced[HEAD_SIZE_MAX + 1];
		struct head head, again;
		struct err err = { 0 };
		struct buf out;

		buf_init(&out, HEAD_SIZE_MAX);
		draw_head(&seed, &head);
		written += head_write(&out, &head) == 0;
		quick += head_read(buf_slice(&out), &again, &err) == 0 && same(&head, &again);
		(void)snprintf(spaced, sizeof(spaced), "{ %s", buf_str(&out) + 1);
		slow += head_read(slice_of(spaced), &again, &err) == 0 && same(&head, &again);
		buf_fini(&out);
	}
	is_int(written, 2000, "heads are written");
	is_int(quick, 2000, "and read, the same");
	is_int(slow, 2000, "with a blank in them, too");
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

/* Each replaces `from` in a text by `to`. */
struct wrong {
	const char *from, *to, *error;
	int rc;
};

static void try_wrong(const char *whole, const struct wrong *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char text[1024];
		const char *at = strstr(whole, rows[i].from);
		struct err err = { 0 };
		struct head head;

		(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - whole), whole, rows[i].to,
			       at + strlen(rows[i].from));
		is_int(head_read(slice_of(text), &head, &err), rows[i].rc, "%s instead of %s", rows[i].to, rows[i].from);
		ok(strstr(err.text, rows[i].error), "says so: %s", err.text);
	}
}

static void test_wrong(void)
{
	static const struct wrong both[] = {
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
		{ "}", "", "line 1", -EINVAL },
	}, full[] = {
		{ "\"format\":1", "\"format\":3", "a head of format 3, and this program knows 2", -EPROTONOSUPPORT },
		{ "\"format\":1,", "", "$.format: is missing", -EINVAL },
		{ "\"before\":\"00000000000000aa\",", "", "$.before: is missing", -EINVAL },
		{ "\"deleted\":false,", "", "$.deleted: is missing", -EINVAL },
		{ "\"partition\":\"live\",", "", "$.partition: is missing", -EINVAL },
		{ "\"floor\":3,", "", "$.floor: is missing", -EINVAL },
		{ "\"keep_bytes\":0,", "", "$.keep_bytes: is missing", -EINVAL },
		{ "\"deleted\":false", "\"deleted\":0", "$.deleted", -EINVAL },
	}, plain[] = {
		{ "\"format\":2", "\"format\":3", "a head of format 3, and this program knows 2", -EPROTONOSUPPORT },
		{ "\"incarnation\":\"00000000000000ff\",", "", "$.incarnation: is missing", -EINVAL },
		{ ",\"batch\":\"000102030405060708090a0b0c0d0e0f\"", "", "$.batch: is missing", -EINVAL },
		{ "\"last\":17,", "", "$.last: is missing", -EINVAL },
		{ ",\"check\"", ",\"deleted\":1,\"check\"", "$.deleted", -EINVAL },
		{ "\"last\":17", "\"last\":017", "line 1", -EINVAL },
		{ "\"last\":17", "\"last\":", "line 1", -EINVAL },
		{ "\"last\":17", "\"last\":99999999999999999999", "line 1", -EINVAL },
		{ "\"last\":17", "\"last\":9223372036854775807", "$.last", -EINVAL },
		{ "\"keep_ms\":60000", "\"keep_ms\":9223372036854775807", "$.keep_ms", -EINVAL },
		{ "\"rules\":7", "\"rules\":4294967296", "rules not the check", -EINVAL },
		{ "\"floor\":3", "\"floor\":0", "$.floor", -EINVAL },
		{ "\"floor\":3", "\"floor\":3,\"floor\":3", "line 1", -EINVAL },
		{ "}", "}}", "line 1", -EINVAL },
		{ "}", "} ", "", 0 },
		{ "\"before\":\"00000000000000aa\"", "\"before\":\"0000000000000000\"", "", 0 },
		{ "\"keep_cells\":1000", "\"keep_cells\":0", "", 0 },
		{ "\"floor\":3", "\"floor\":1", "", 0 },
		{ ",\"keep_ms\":60000,\"snapshot\":2", ",\"snapshot\":2,\"keep_ms\":60000", "", 0 },
	};

	try_wrong(FULL, both, sizeof(both) / sizeof(both[0]));
	try_wrong(TEXT, both, sizeof(both) / sizeof(both[0]));
	try_wrong(FULL, full, sizeof(full) / sizeof(full[0]));
	try_wrong(TEXT, plain, sizeof(plain) / sizeof(plain[0]));
}

/* However a text is cut off, nothing behind it is looked at, and it is no head. */
static void test_cut(void)
{
	unsigned taken = 0;

	for (size_t n = 0; n < sizeof(TEXT) - 1; n++) {
		char *text = malloc(n + 1);
		struct err err = { 0 };
		struct head head;

		memcpy(text, TEXT, n);
		taken += head_read(slice_make(text, n), &head, &err) == 0;
		free(text);
	}
	is_int(taken, 0, "no text that was cut off is a head");
}

int main(void)
{
	test_same();
	test_both_ways();
	test_largest();
	test_not_written();
	test_wrong();
	test_cut();
	return done();
}
