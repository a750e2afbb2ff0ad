/* SPDX-License-Identifier: Apache-2.0 */
/* See rows_frames.h. */
#include "lib/rows_frames.h"

#include <errno.h>
#include <stddef.h>

#include "lib/le.h"
#include "lib/slice.h"

#define HEAD 40     /* bytes before the name */
#define LENGTH 4    /* bytes that tell how many follow */
#define KEY_MAX 64    /* of a cell */
#define ROW_MAX 256   /* of a row */

/* The next so many bytes of the rest. */
static struct mp_str take(struct mp_str *rest, size_t len)
{
	struct mp_str out = { rest->ptr, len };

	*rest = slice_skip(*rest, len);
	return out;
}

static int check(const struct rows_frame *frame, struct err *err)
{
	if (frame->row.len > ROW_MAX)
		return err_set(err, -EPROTO, "a frame with a name of %zu bytes", frame->row.len);
	if (frame->kind != ROWS_FRAME_CELL)
		return 0;
	if (!frame->seq || frame->seq > INT64_MAX || !frame->row.len || frame->key.len > KEY_MAX)
		return err_set(err, -EPROTO, "a frame with a cell that cannot be");
	return 0;
}

int rows_frame_read(struct mp_str bytes, struct rows_frame *ret, struct err *err)
{
	uint64_t size = bytes.len >= LENGTH ? le_get(bytes.ptr, LENGTH) + LENGTH : 0;
	size_t name, key, origin, content;
	struct mp_str rest;

	if (bytes.len < LENGTH)
		return 0;
	if (size < HEAD || size > ROWS_FRAME_MAX)
		return err_set(err, -EPROTO, "a frame of %llu bytes", (unsigned long long)size);
	if (bytes.len < size)
		return 0;
	name = (size_t)le_get(bytes.ptr + 6, 2);
	key = (unsigned char)bytes.ptr[32];
	origin = (size_t)le_get(bytes.ptr + 34, 2);
	content = (size_t)le_get(bytes.ptr + 36, 4);
	if (HEAD + (uint64_t)name + key + origin + content != size)
		return err_set(err, -EPROTO, "a frame whose parts are not its whole");
	*ret = (struct rows_frame){ .kind = (uint8_t)bytes.ptr[4], .cell_kind = (uint8_t)bytes.ptr[5],
				    .incarnation = le_get(bytes.ptr + 8, 8), .seq = le_get(bytes.ptr + 16, 8),
				    .time = le_get(bytes.ptr + 24, 8) };
	rest = slice_skip(bytes, HEAD);
	ret->row = take(&rest, name);
	ret->key = take(&rest, key);
	ret->origin = take(&rest, origin);
	ret->content = take(&rest, content);
	return check(ret, err) < 0 ? -EPROTO : (int)size;
}
