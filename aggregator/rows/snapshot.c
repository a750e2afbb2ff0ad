/* SPDX-License-Identifier: Apache-2.0 */
/* See snapshot.h.  CRC-32C (RFC 3720, appendix B.4) is ISA-L's. */
#include "aggregator/rows/snapshot.h"

#include <errno.h>
#include <isa-l/crc.h>

#include "lib/le.h"
#include "lib/slice.h"

/* Offsets in the head. */
enum { AT_CRC = 0, AT_FORMAT = 4, AT_RULES = 8, AT_CRC_ALL = 12, AT_SIZE = 16, AT_PART = 24, AT_PARTS = 28 };

/* Sizes are far below that of an int; the bytes are only read. */
static uint32_t checksum(struct mp_str bytes)
{
	return bytes.len ? ~crc32_iscsi((unsigned char *)(uintptr_t)bytes.ptr, (int)bytes.len, ~UINT32_C(0)) : 0;
}

uint32_t snapshot_parts(size_t size, size_t part_size)
{
	size_t room = part_size - SNAPSHOT_HEAD_SIZE;

	return size ? (uint32_t)((size + room - 1) / room) : 1;
}

/* -------------------------------------------------------------------- writing */

static bool sizes_ok(size_t size, size_t part_size)
{
	return size <= SNAPSHOT_SIZE_MAX && part_size > SNAPSHOT_HEAD_SIZE && part_size <= SNAPSHOT_PART_MAX &&
	       snapshot_parts(size, part_size) <= SNAPSHOT_PARTS_MAX;
}

int snapshot_write(struct buf *out, struct mp_str bytes, uint32_t rules, size_t part_size, uint32_t i)
{
	char head[SNAPSHOT_HEAD_SIZE] = { 0 };
	size_t room = part_size - SNAPSHOT_HEAD_SIZE, start = out->len;
	struct mp_str rest;

	if (!sizes_ok(bytes.len, part_size) || i >= snapshot_parts(bytes.len, part_size))
		return -EINVAL;
	rest = slice_skip(bytes, i * room);
	rest.len = rest.len < room ? rest.len : room;
	head[AT_FORMAT] = SNAPSHOT_FORMAT;
	le_put(head + AT_RULES, rules, 4);
	le_put(head + AT_CRC_ALL, checksum(bytes), 4);
	le_put(head + AT_SIZE, bytes.len, 8);
	le_put(head + AT_PART, i, 4);
	le_put(head + AT_PARTS, snapshot_parts(bytes.len, part_size), 4);
	(void)buf_add(out, head, sizeof(head));
	if (buf_add_slice(out, rest))
		return out->error;
	le_put(out->ptr + start, checksum(slice_skip(buf_slice(out), start + AT_FORMAT)), 4);
	return 0;
}

void snapshot_sum(struct buf *part)
{
	le_put(part->ptr, checksum(slice_skip(buf_slice(part), AT_FORMAT)), 4);
}

/* -------------------------------------------------------------------- reading */

void snapshot_reader_init(struct snapshot_reader *reader)
{
	*reader = (struct snapshot_reader){ .n_parts = 0 };
	buf_init(&reader->bytes, SNAPSHOT_SIZE_MAX);
}

void snapshot_reader_fini(struct snapshot_reader *reader)
{
	buf_fini(&reader->bytes);
}

/* Of one part: its checksum, its format. */
static int check_part(struct mp_str value, struct err *err)
{
	if (value.len < SNAPSHOT_HEAD_SIZE || value.len > SNAPSHOT_PART_MAX)
		return err_set(err, -EINVAL, "part of a snapshot: %zu bytes", value.len);
	if (le_get(value.ptr, 4) != checksum(slice_skip(value, AT_FORMAT)))
		return err_set(err, -EINVAL, "part of a snapshot: its checksum is another");
	if (value.ptr[AT_FORMAT] != SNAPSHOT_FORMAT)
		return err_set(err, -EPROTONOSUPPORT, "a snapshot of format %d, and this program knows %d",
			       (unsigned char)value.ptr[AT_FORMAT], SNAPSHOT_FORMAT);
	return 0;
}

/* What the first part says of all is believed; what it cannot be, is not. */
static int begin(struct snapshot_reader *reader, const char *head, struct err *err)
{
	reader->rules = (uint32_t)le_get(head + AT_RULES, 4);
	reader->crc = (uint32_t)le_get(head + AT_CRC_ALL, 4);
	reader->size = le_get(head + AT_SIZE, 8);
	reader->n_parts = (uint32_t)le_get(head + AT_PARTS, 4);
	if (!reader->n_parts || reader->n_parts > SNAPSHOT_PARTS_MAX || reader->size > SNAPSHOT_SIZE_MAX)
		return err_set(err, -EINVAL, "a snapshot of %u parts", reader->n_parts);
	return 0;
}

/* Is it of the same snapshot as the first part? */
static bool goes_with(const struct snapshot_reader *reader, const char *head)
{
	return le_get(head + AT_RULES, 4) == reader->rules && le_get(head + AT_CRC_ALL, 4) == reader->crc &&
	       le_get(head + AT_SIZE, 8) == reader->size && le_get(head + AT_PARTS, 4) == reader->n_parts &&
	       le_get(head + AT_PART, 4) == reader->next && reader->next < reader->n_parts;
}

int snapshot_take(struct snapshot_reader *reader, struct mp_str value, struct err *err)
{
	struct mp_str bytes = slice_skip(value, SNAPSHOT_HEAD_SIZE);
	int r = check_part(value, err);

	if (r == 0 && !reader->n_parts)
		r = begin(reader, value.ptr, err);
	if (r < 0)
		return r;
	if (!goes_with(reader, value.ptr) || bytes.len > reader->size - reader->bytes.len)
		return err_set(err, -EINVAL, "part %u of a snapshot is another's", reader->next);
	if (buf_add_slice(&reader->bytes, bytes))
		return err_set(err, -ENOMEM, "out of memory");
	reader->next++;
	return 0;
}

int snapshot_end(const struct snapshot_reader *reader, struct err *err)
{
	if (!reader->n_parts || reader->next != reader->n_parts || reader->bytes.len != reader->size)
		return err_set(err, -EINVAL, "a snapshot of which parts are missing");
	if (checksum(buf_slice(&reader->bytes)) != reader->crc)
		return err_set(err, -EINVAL, "a snapshot whose checksum is another");
	return 0;
}
