/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers about rows as the client of rows reads them: the first byte says which
 * call was answered, then come the head's fields, an empty line and the body.
 * What is taken lies inside of what was kept.  With FUZZ_PLANT the target keeps
 * the name of a check where it has no room.
 */
#include "lib/rows_client_priv.h"

#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#define ROOM ((size_t)1 << 22)

#ifdef FUZZ_PLANT
/* The planted bug: such a name may be longer than that. */
static void plant(const struct rows_answer *answer)
{
	char *copy = malloc(8);

	for (size_t i = 0; copy && answer->check && answer->check[i]; i++)
		((char *volatile)copy)[i] = answer->check[i];
	free(copy);
}
#else
static void plant(const struct rows_answer *answer)
{
	(void)answer; /* no bug in an honest build */
}
#endif

static int (*const readers[])(struct rowc_request *r, struct rows_answer *ret) = { rowc_read_row, rowc_read_put,
										   rowc_read_range, rowc_read_cell };

/* The fields, up to the empty line; the rest is the body. */
static struct mp_str read_head(struct rowc_request *r, struct mp_str rest)
{
	struct mp_str line, name, value;

	while (slice_cut(rest, '\n', &line, &rest) && line.len)
		if (slice_cut(line, ':', &name, &value))
			rowc_read_field(&r->head, name, slice_trim(value));
	return rest;
}

static void check_inside(const struct rowc_request *r, struct mp_str s)
{
	FUZZ_CHECK(!s.len || (s.ptr >= r->bytes.ptr && s.ptr + s.len <= r->bytes.ptr + r->bytes.len));
}

static void check_answer(const struct rowc_request *r, const struct rows_answer *answer)
{
	FUZZ_CHECK(answer->incarnation || answer->cells);
	for (size_t i = 0; i < answer->n; i++) {
		check_inside(r, answer->cells[i].key);
		check_inside(r, answer->cells[i].origin);
		check_inside(r, answer->cells[i].content);
	}
	plant(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rowc_request r = { .n = 0 };
	struct rows_answer answer = { .status = 409 };
	struct mp_str body;

	if (!size)
		return 0;
	buf_init(&r.row, 256);
	buf_init(&r.reply, ROOM);
	buf_init(&r.bytes, ROOM);
	buf_init(&r.code, 4096);
	buf_init(&r.why, 4096);
	body = read_head(&r, slice_make(data + 1, size - 1));
	(void)buf_add_slice(&r.reply, body);
	if (data[0] % 5 == 4)
		rowc_read_error(&r, &answer);
	else if (!readers[data[0] % 5](&r, &answer))
		check_answer(&r, &answer);
	(void)rowc_base_ok(slice_of(r.head.base));
	buf_fini(&r.row);
	buf_fini(&r.reply);
	buf_fini(&r.bytes);
	buf_fini(&r.code);
	buf_fini(&r.why);
	free(r.cells);
	return 0;
}
