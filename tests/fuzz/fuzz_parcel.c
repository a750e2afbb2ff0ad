/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parcels of puts and their answers, as any other program could send them: what is taken
 * gives the same bytes again, but for those that are ignored.
 */
#include "aggregator/rows/parcel.h"

#include <string.h>

#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#define ROOM ((size_t)4 << 20)

static void check_puts(struct mp_str rest)
{
	struct mp_str content, whole = rest;
	uint32_t left;
	struct put put;
	struct buf out;

	buf_init(&out, ROOM);
	for (; parcel_next(&rest, &put, &content, &left) == 1; whole = rest) {
		buf_reset(&out);
		put.content = &content;
		FUZZ_CHECK(!parcel_add(&out, &put, left));
		FUZZ_CHECK(out.len == whole.len - rest.len);
		out.ptr[11] = whole.ptr[11]; /* reserved */
		FUZZ_CHECK(!memcmp(out.ptr, whole.ptr, out.len));
	}
	buf_fini(&out);
}

static void check_answer(struct mp_str rest)
{
	struct parcel_answer got;

	while (parcel_next_answer(&rest, &got) == 1)
		FUZZ_CHECK(strlen(got.answer.why) <= PARCEL_WHY_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_puts(slice_make(data, size));
	check_answer(slice_make(data, size));
	return 0;
}
