/* SPDX-License-Identifier: Apache-2.0 */
/* aggregator/rows/snapshot.c: parts of a snapshot, whole again or refused. */
#include "aggregator/rows/snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

#define PARTS 64

/* The parts of a snapshot. */
struct parts {
	struct buf part[PARTS];
	uint32_t n;
};

static void cut(struct parts *parts, struct mp_str bytes, uint32_t rules, size_t part_size)
{
	parts->n = snapshot_parts(bytes.len, part_size);
	for (uint32_t i = 0; i < parts->n && i < PARTS; i++) {
		buf_init(&parts->part[i], SNAPSHOT_PART_MAX);
		if (snapshot_write(&parts->part[i], bytes, rules, part_size, i))
			parts->n = 0;
	}
}

static void parts_free(struct parts *parts)
{
	for (uint32_t i = 0; i < parts->n; i++)
		buf_fini(&parts->part[i]);
}

/* 0 and they are those bytes again; else why not. */
static int join(const struct parts *parts, struct mp_str want, struct err *err)
{
	struct snapshot_reader reader;
	int r = 0;

	snapshot_reader_init(&reader);
	for (uint32_t i = 0; r == 0 && i < parts->n; i++)
		r = snapshot_take(&reader, buf_slice(&parts->part[i]), err);
	if (r == 0)
		r = snapshot_end(&reader, err);
	if (r == 0 && !slice_eq(buf_slice(&reader.bytes), want))
		r = -EBADMSG;
	snapshot_reader_fini(&reader);
	return r;
}

static void test_sizes(void)
{
	static const size_t sizes[] = { 0, 1, 67, 68, 69, 135, 136, 137, 1000 };
	char bytes[1000];
	struct parts parts;
	struct err err = { 0 };

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct mp_str all = slice_make(bytes, sizes[i]);

		cut(&parts, all, 3, 100);
		is_int(parts.n, sizes[i] ? (long)(sizes[i] + 67) / 68 : 1, "%zu bytes have so many parts", sizes[i]);
		is_int(join(&parts, all, &err), 0, "and are whole again: %s", err.text);
		parts_free(&parts);
	}
}

static void test_bounds(void)
{
	char *large = calloc(1, SNAPSHOT_SIZE_MAX + 1);
	struct parts parts;
	struct err err = { 0 };
	struct buf out;

	buf_init(&out, SNAPSHOT_PART_MAX);
	is_int(snapshot_write(&out, slice_make(large, SNAPSHOT_SIZE_MAX + 1), 1, SNAPSHOT_PART_MAX, 0), -EINVAL,
	       "too large a snapshot");
	is_int(snapshot_write(&out, slice_make(large, 10), 1, SNAPSHOT_PART_MAX + 1, 0), -EINVAL, "too large a part");
	is_int(snapshot_write(&out, slice_make(large, 10), 1, SNAPSHOT_HEAD_SIZE, 0), -EINVAL, "too small a part");
	is_int(snapshot_write(&out, slice_make(large, 10), 1, 100, 1), -EINVAL, "a part that there is not");
	is_int((long)out.len, 0, "nothing was written");
	cut(&parts, slice_make(large, SNAPSHOT_SIZE_MAX), 1, SNAPSHOT_PART_MAX);
	is_int(parts.n, 17, "the largest has 17 parts");
	is_int(join(&parts, slice_make(large, SNAPSHOT_SIZE_MAX), &err), 0, "and is read: %s", err.text);
	parts_free(&parts);
	buf_fini(&out);
	free(large);
}

static void test_damage(void)
{
	struct mp_str all = MP_LIT("what the cells of a row came to, in more than one part of it");
	struct parts parts;
	struct err err = { 0 };
	size_t taken = 0, n = 0;

	cut(&parts, all, 1, 60);
	for (uint32_t i = 0; i < parts.n; i++)
		for (size_t at = 0; at < parts.part[i].len; at++, n++) {
			parts.part[i].ptr[at] ^= 0x10;
			taken += join(&parts, all, &err) == 0;
			parts.part[i].ptr[at] ^= 0x10;
		}
	ok(n > 100 && !taken, "none of %zu flipped bits is taken", n);
	parts.n--;
	is_int(join(&parts, all, &err), -EINVAL, "one part is missing");
	is_str(err.text, "a snapshot of which parts are missing", "and that is said");
	parts.n++;
	parts_free(&parts);
}

static void test_mixed(void)
{
	struct mp_str one = MP_LIT("0123456789012345678901234567890123456789"),
		      two = MP_LIT("0123456789012345678901234567890123456780");
	struct parts a, b, other;
	struct buf swap;
	struct err err = { 0 };

	cut(&a, one, 1, 60);
	cut(&b, two, 1, 60);
	cut(&other, one, 2, 60);
	swap = a.part[1];
	a.part[1] = b.part[1];
	is_int(join(&a, one, &err), -EINVAL, "a part of another state");
	a.part[1] = other.part[1];
	is_int(join(&a, one, &err), -EINVAL, "a part by other rules");
	a.part[1] = a.part[0];
	is_int(join(&a, one, &err), -EINVAL, "one part twice");
	a.part[1] = swap;
	is_int(join(&a, one, &err), 0, "the right one");
	parts_free(&a);
	parts_free(&b);
	parts_free(&other);
}

static void test_newer(void)
{
	struct snapshot_reader reader;
	struct err err = { 0 };
	struct buf part;

	buf_init(&part, SNAPSHOT_PART_MAX);
	snapshot_reader_init(&reader);
	(void)snapshot_write(&part, MP_LIT("x"), 1, 100, 0);
	part.ptr[4] = 2;
	is_int(snapshot_take(&reader, buf_slice(&part), &err), -EINVAL, "a checksum that does not fit");
	snapshot_sum(&part);
	is_int(snapshot_take(&reader, buf_slice(&part), &err), -EPROTONOSUPPORT, "of a newer format");
	is_str(err.text, "a snapshot of format 2, and this program knows 1", "which is said");
	is_int(snapshot_end(&reader, &err), -EINVAL, "nothing was taken");
	snapshot_reader_fini(&reader);
	buf_fini(&part);
}

int main(void)
{
	test_sizes();
	test_bounds();
	test_damage();
	test_mixed();
	test_newer();
	return done();
}
