/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of state snapshots of any bytes: what is taken as a whole can be
 * written, and is taken again as the same.  The input is parts, each behind two
 * bytes of its size; checksums are set right first, else nothing else would ever
 * be looked at.  With FUZZ_PLANT the target believes the size in a part's head.
 */
#include "aggregator/rows/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#ifdef FUZZ_PLANT
/* The planted bug: room for as much as the part has, and as much is copied as the head says. */
static void plant(struct mp_str part)
{
	size_t says = (unsigned char)part.ptr[16], room = part.len - SNAPSHOT_HEAD_SIZE;
	char *copy = malloc(room ? room : 1);

	for (size_t i = 0; copy && i < says; i++)
		((char *volatile)copy)[i] = (char)i;
	free(copy);
}
#else
static void plant(struct mp_str part)
{
	(void)part; /* no bug in an honest build */
}
#endif

/* What was taken is a snapshot: the same bytes in parts of one size. */
static void write_again(const struct snapshot_reader *reader)
{
	struct snapshot_reader again;
	struct err err;
	struct buf part;

	snapshot_reader_init(&again);
	buf_init(&part, SNAPSHOT_PART_MAX);
	for (uint32_t i = 0; i < snapshot_parts(reader->bytes.len, 256); i++) {
		buf_reset(&part);
		FUZZ_CHECK(!snapshot_write(&part, buf_slice(&reader->bytes), reader->rules, 256, i));
		FUZZ_CHECK(!snapshot_take(&again, buf_slice(&part), &err));
	}
	FUZZ_CHECK(!snapshot_end(&again, &err) && again.rules == reader->rules &&
		   slice_eq(buf_slice(&again.bytes), buf_slice(&reader->bytes)));
	snapshot_reader_fini(&again);
	buf_fini(&part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snapshot_reader reader;
	struct buf part;
	struct err err;
	int r = 0;

	snapshot_reader_init(&reader);
	buf_init(&part, SNAPSHOT_PART_MAX + 1);
	while (r == 0 && size >= 2) {
		size_t n = data[0] | (size_t)data[1] << 8;

		n = n < size - 2 ? n : size - 2;
		buf_reset(&part);
		buf_add(&part, data + 2, n);
		if (part.len >= SNAPSHOT_HEAD_SIZE)
			snapshot_sum(&part);
		r = snapshot_take(&reader, part.len ? buf_slice(&part) : slice_make("", 0), &err);
		if (r == 0)
			plant(buf_slice(&part));
		data += 2 + n;
		size -= 2 + n;
	}
	FUZZ_CHECK(reader.bytes.len <= SNAPSHOT_SIZE_MAX);
	if (r == 0 && snapshot_is_whole(&reader) && reader.bytes.len == reader.size)
		write_again(&reader); /* whatever their common checksum says */
	else if (r == 0)
		FUZZ_CHECK(snapshot_end(&reader, &err) < 0);
	snapshot_reader_fini(&reader);
	buf_fini(&part);
	return 0;
}
