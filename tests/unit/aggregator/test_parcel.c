/* SPDX-License-Identifier: Apache-2.0 */
/* aggregator/rows/parcel.c: what was written is read again; what is cut, too long or odd is refused. */
#include "aggregator/rows/parcel.h"

#include <errno.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static const struct mp_str contents[] = { MP_LIT_INIT("hello"), MP_LIT_INIT("") };

static const struct put puts_[] = {
	{ .row = MP_LIT_INIT("chains/shop"), .key = MP_LIT_INIT("k1"), .origin = MP_LIT_INIT("10.0.0.7"),
	  .content = &contents[0], .n = 1, .base = { BASE_SEEN, 0xff, 17 }, .has_if_match = true,
	  .if_match = UINT64_MAX },
	{ .row = MP_LIT_INIT("r"), .content = &contents[1], .n = 1, .base = { BASE_ABSENT, 0, 0 } },
};

#define N (sizeof(puts_) / sizeof(puts_[0]))

static void make(struct buf *out)
{
	buf_init(out, 1u << 20);
	for (size_t i = 0; i < N; i++)
		is_int(parcel_add(out, &puts_[i], 700 + (uint32_t)i), 0, "put %zu is added", i);
}

static void test_puts(void)
{
	struct mp_str rest, content;
	uint32_t left;
	struct put put;
	struct buf out;

	make(&out);
	rest = buf_slice(&out);
	for (size_t i = 0; i < N; i++) {
		ok(parcel_next(&rest, &put, &content, &left) == 1 && slice_eq(put.row, puts_[i].row) &&
		   slice_eq(put.key, puts_[i].key) && slice_eq(put.origin, puts_[i].origin) &&
		   slice_eq(content, contents[i]) && left == 700 + i, "put %zu: texts", i);
		ok(put.kind == PUT_CELLS && put.n == 1 && put.cell_kind == CELL_DATA &&
		   put.base.kind == puts_[i].base.kind && put.base.incarnation == puts_[i].base.incarnation &&
		   put.base.seq == puts_[i].base.seq && put.has_if_match == puts_[i].has_if_match &&
		   put.if_match == puts_[i].if_match, "put %zu: numbers", i);
	}
	is_int(parcel_next(&rest, &put, &content, &left), 0, "no more");
	buf_fini(&out);
}

/* Every shorter one is refused where it is cut. */
static void test_cut(void)
{
	size_t first, wrong = 0;
	struct mp_str rest, content;
	uint32_t left;
	struct put put;
	struct buf out;

	make(&out);
	rest = buf_slice(&out);
	(void)parcel_next(&rest, &put, &content, &left);
	first = out.len - rest.len;
	for (size_t len = 1; len < out.len; len++) {
		rest = slice_make(out.ptr, len);
		if (len >= first && parcel_next(&rest, &put, &content, &left) != 1)
			wrong++;
		if (len != first && parcel_next(&rest, &put, &content, &left) != -EINVAL)
			wrong++;
	}
	is_int((long)wrong, 0, "what is cut is refused");
	buf_fini(&out);
}

/* A byte at an offset that must not be taken. */
static void test_odd(void)
{
	static const struct { size_t at; char byte; const char *what; } cases[] = {
		{ 3, 1, "more bytes than there are" },      { 4, 4, "no kind of base" },
		{ 5, 65, "a key that is too long" },        { 7, 2, "a name that is too long" },
		{ 9, 2, "an origin that is too long" },     { 10, 2, "a flag that is none" },
		{ 0, 36, "fewer bytes than its texts have" },
	};
	struct mp_str rest, content;
	uint32_t left;
	struct put put;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out;

		make(&out);
		out.ptr[cases[i].at] = cases[i].byte;
		rest = buf_slice(&out);
		is_int(parcel_next(&rest, &put, &content, &left), -EINVAL, "%s", cases[i].what);
		buf_fini(&out);
	}
}

static void test_answers(void)
{
	static const struct put_answer answers[] = {
		{ PUT_COMMITTED, 0xff, 18, 18, 1, "" },
		{ PUT_REFUSED, 1, 0, UINT64_MAX, 3, "the port is taken" },
		{ .code = PUT_UNAVAILABLE, .why = NULL },
	};
	static const int codes[] = { PUT_COMMITTED, PUT_REFUSED, PARCEL_DENIED };
	struct parcel_answer got;
	struct mp_str rest;
	struct buf out;
	size_t wrong = 0;

	buf_init(&out, 1u << 20);
	for (uint32_t i = 0; i < 3; i++)
		is_int(parcel_add_answer(&out, 7 + i, &answers[i], codes[i]), 0, "answer %u is added", i);
	rest = buf_slice(&out);
	for (uint32_t i = 0; i < 3; i++) {
		ok(parcel_next_answer(&rest, &got) == 1 && got.which == 7 + i && got.denied == (i == 2) &&
		   got.answer.code == answers[i].code && got.answer.incarnation == answers[i].incarnation &&
		   got.answer.seq == answers[i].seq && got.answer.highest == answers[i].highest &&
		   got.answer.floor == answers[i].floor, "answer %u", i);
		is_str(got.answer.why, answers[i].why ? answers[i].why : "", "its text");
	}
	is_int(parcel_next_answer(&rest, &got), 0, "no more");
	for (size_t len = 0; len < PARCEL_ANSWER_HEAD; len++) {
		rest = slice_make(out.ptr, len);
		wrong += parcel_next_answer(&rest, &got) != 0 || rest.len != len;
	}
	is_int((long)wrong, 0, "what is not whole is waited for");
	out.ptr[8] = 99;
	rest = buf_slice(&out);
	is_int(parcel_next_answer(&rest, &got), -EINVAL, "no code of ours");
	out.ptr[2] = 1;
	rest = buf_slice(&out);
	is_int(parcel_next_answer(&rest, &got), -EINVAL, "longer than any is");
	buf_fini(&out);
}

/* A text that is too long is cut, not refused. */
static void test_long_why(void)
{
	char why[2 * PARCEL_WHY_MAX];
	struct parcel_answer got;
	struct mp_str rest;
	struct buf out;

	memset(why, 'y', sizeof(why));
	why[sizeof(why) - 1] = '\0';
	buf_init(&out, 1u << 20);
	is_int(parcel_add_answer(&out, 0, &(struct put_answer){ .why = why }, PUT_FULL), 0, "a long text");
	rest = buf_slice(&out);
	is_int(parcel_next_answer(&rest, &got), 1, "is read");
	is_int((long)strlen(got.answer.why), PARCEL_WHY_MAX, "as far as it goes");
	buf_fini(&out);
}

int main(void)
{
	test_puts();
	test_cut();
	test_odd();
	test_answers();
	test_long_why();
	return done();
}
