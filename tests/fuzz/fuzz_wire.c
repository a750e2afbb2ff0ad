/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoded heads of any bytes: what is decoded encodes to the same bytes, and
 * nothing lies outside of them.  With FUZZ_PLANT the target itself has a bug
 * in what it does with a field's name.
 */
#include "lib/wire.h"

#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#ifdef FUZZ_PLANT
/* The planted bug: names of fields are longer than that now and then. */
static void plant(const struct wire_item *item)
{
	char *copy = item->tag == WIRE_FIELD ? malloc(48) : NULL;

	for (size_t i = 0; copy && i < item->name.len; i++)
		((char *volatile)copy)[i] = item->name.ptr[i];
	free(copy);
}
#else
static void plant(const struct wire_item *item)
{
	(void)item; /* no bug in an honest build */
}
#endif

static int has_line_end(struct mp_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] == '\r' || s.ptr[i] == '\n' || !s.ptr[i])
			return 1;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mp_str all = slice_make(data, size), rest = all;
	char *memory = malloc(size + 1);
	struct wire_writer w;
	struct wire_item item;
	int r;

	if (!memory)
		return 0;
	wire_start(&w, memory, size);
	while ((r = wire_next(&rest, &item)) > 0) {
		FUZZ_CHECK(item.name.ptr >= all.ptr && item.name.ptr + item.name.len <= all.ptr + size);
		FUZZ_CHECK(item.value.ptr >= all.ptr && item.value.ptr + item.value.len <= all.ptr + size);
		if (wire_field_ok(item.name, item.value))
			FUZZ_CHECK(item.name.len && !has_line_end(item.name) && !has_line_end(item.value));
		wire_put(&w, (enum wire_tag)item.tag, item.name, item.value);
		plant(&item);
	}
	FUZZ_CHECK(!w.full && w.size + rest.len == size);
	FUZZ_CHECK(r == 0 ? !rest.len : rest.len > 0);
	FUZZ_CHECK(!w.size || !memcmp(memory, data, w.size));
	free(memory);
	return 0;
}
