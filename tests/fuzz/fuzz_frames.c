/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of frames of any bytes: what is read lies inside of them, is the same
 * wherever the stream is cut, and writes the same bytes again.  With FUZZ_PLANT the
 * target keeps a row's name where it has no room.
 */
#include "lib/rows_frames.h"

#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#ifdef FUZZ_PLANT
/* The planted bug: a name may be longer than that. */
static void plant(const struct rows_frame *f)
{
	char *copy = malloc(8);

	for (size_t i = 0; copy && i < f->row.len; i++)
		((char *volatile)copy)[i] = f->row.ptr[i];
	free(copy);
}
#else
static void plant(const struct rows_frame *f)
{
	(void)f; /* no bug in an honest build */
}
#endif

static char *put_number(char *at, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (char)(value >> 8 * i);
	return at + bytes;
}

static char *put_bytes(char *at, struct mp_str s)
{
	if (s.len)
		memcpy(at, s.ptr, s.len);
	return at + s.len;
}

/* As the contract has it; reserved: the byte that is ignored. */
static void check_written(const struct rows_frame *f, const char *bytes, size_t size)
{
	char *again = malloc(size), *at = again;

	if (!again)
		return;
	at = put_number(at, size - 4, 4);
	at = put_number(at, f->kind, 1);
	at = put_number(at, f->cell_kind, 1);
	at = put_number(at, f->row.len, 2);
	at = put_number(at, f->incarnation, 8);
	at = put_number(at, f->seq, 8);
	at = put_number(at, f->time, 8);
	at = put_number(at, f->key.len, 1);
	at = put_number(at, (unsigned char)bytes[33], 1);
	at = put_number(at, f->origin.len, 2);
	at = put_number(at, f->content.len, 4);
	at = put_bytes(at, f->row);
	at = put_bytes(at, f->key);
	at = put_bytes(at, f->origin);
	at = put_bytes(at, f->content);
	FUZZ_CHECK((size_t)(at - again) == size && !memcmp(again, bytes, size));
	free(again);
}

/* What has not all come is no frame yet, and no mistake that the whole is not. */
static void check_cut(struct mp_str rest, int size)
{
	struct rows_frame f;
	size_t whole = size > 0 ? (size_t)size : rest.len;

	for (size_t n = 0; n < whole && n < 64; n++) {
		int r = rows_frame_read(slice_make(rest.ptr, n), &f, NULL);

		FUZZ_CHECK(size > 0 ? r == 0 : r <= 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mp_str rest = slice_make(data, size);
	struct rows_frame f;
	int r;

	while ((r = rows_frame_read(rest, &f, NULL)) > 0) {
		FUZZ_CHECK((size_t)r <= rest.len && r >= 40);
		FUZZ_CHECK(f.row.ptr >= rest.ptr && f.content.ptr + f.content.len == rest.ptr + r);
		FUZZ_CHECK(f.kind != ROWS_FRAME_CELL || (f.seq && f.row.len && f.row.len <= 256));
		plant(&f);
		check_written(&f, rest.ptr, (size_t)r);
		check_cut(rest, r);
		rest = slice_skip(rest, (size_t)r);
	}
	check_cut(rest, r);
	return 0;
}
