/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in aggregator halves, fed with a snapshot from a damaged disk and with
 * cells that nobody checked.  An input is
 *
 *	1  which half: its number modulo how many there are
 *	2  bytes of the snapshot, little-endian; 0: none
 *	   the snapshot
 *	   cells, each ended by a newline: 'd' data or 'a' admin (else that kind), content
 *
 * A snapshot that is taken gives the same bytes again; what check() allows, alone, in one
 * request or behind pending cells, apply() takes; the state comes back from its
 * snapshot; and jansson finds in a cell what lib/flat.h does.  With FUZZ_PLANT the target keeps an allowed cell where it has no room.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "middlepipes/half.h"
#include "middlepipes/registry.h"
#include "tests/fuzz/replay.h"
#include "tests/lib/flat_oracle.h"

#define CELLS_MAX 64

#ifdef FUZZ_PLANT
/* The planted bug: content may be longer than that. */
static void plant(const struct mp_cell *cell)
{
	char *copy = malloc(100);

	for (size_t i = 0; copy && i < cell->content.len; i++)
		((char *volatile)copy)[i] = cell->content.ptr[i];
	free(copy);
}
#else
static void plant(const struct mp_cell *cell)
{
	(void)cell; /* no bug in an honest build */
}
#endif

static const struct mp_aggregator *half;

static void *make(void)
{
	static const struct mp_aggregator_host host = { MP_AGGREGATOR_ABI_MAJOR,
							MP_AGGREGATOR_ABI_MINOR, sizeof(host), NULL };
	void *self = NULL;

	FUZZ_CHECK(!half_new(half, &host, NULL, MP_LIT(""), &self, NULL));
	return self;
}

static struct buf bytes_of(void *self)
{
	struct buf out;

	buf_init(&out, MP_SNAPSHOT_MAX);
	FUZZ_CHECK(!half_snapshot(half, self, &out));
	return out;
}

static bool same(void *self, struct mp_str bytes)
{
	struct buf out = bytes_of(self);
	bool equal = slice_eq(buf_slice(&out), bytes);

	buf_fini(&out);
	return equal;
}

struct count {
	struct mp_writer writer; /* first */
	uint64_t skipped;        /* cells */
};

static void on_number(struct mp_writer *writer, const char *name, double value)
{
	struct count *count = (struct count *)writer;

	if (!strcmp(name, "refused") || !strcmp(name, "unreadable"))
		count->skipped += (uint64_t)value;
}

/* Cells skipped so far. */
static uint64_t skipped(void *self)
{
	struct count count = { .writer = { .size = sizeof(count.writer), .number = on_number } };

	half->status(self, &count.writer);
	return count.skipped;
}

static void check_restore(void *self, struct mp_str snapshot)
{
	struct buf before = bytes_of(self);
	char error[MP_REASON_MAX] = "";
	int32_t r = half->restore(self, snapshot, error, sizeof(error));

	FUZZ_CHECK(r == 0 || (r == -EINVAL && error[0]));
	FUZZ_CHECK(same(self, r ? buf_slice(&before) : snapshot));
	buf_fini(&before);
}

static size_t read_cells(struct mp_str text, struct mp_cell *cells)
{
	struct mp_str line;
	size_t n = 0;

	while (text.len && n < CELLS_MAX) {
		slice_cut(text, '\n', &line, &text);
		if (!line.len)
			continue;
		cells[n] = (struct mp_cell){ .size = sizeof(*cells), .id = n + 1,
					     .content = slice_skip(line, 1) };
		cells[n++].kind = line.ptr[0] == 'd' ? MP_CELL_DATA :
				  line.ptr[0] == 'a' ? MP_CELL_ADMIN : (unsigned char)line.ptr[0];
	}
	return n;
}

/* Members of all halves, without bounds. */
static void check_flat(struct mp_str content)
{
	static const struct flat_want wants[] = {
		{ "claim", FLAT_TEXT, 0, INT64_MAX }, { "release", FLAT_TEXT, 0, INT64_MAX },
		{ "holder", FLAT_TEXT, 0, INT64_MAX }, { "name", FLAT_TEXT, 0, INT64_MAX },
		{ "take", FLAT_NUMBER, INT64_MIN, INT64_MAX }, { "total", FLAT_NUMBER, INT64_MIN, INT64_MAX },
	};
	const size_t n = sizeof(wants) / sizeof(wants[0]);
	struct flat_value values[sizeof(wants) / sizeof(wants[0])];
	char *room = malloc(content.len + 1);
	int r = room ? flat_read(content, wants, n, values, room, content.len, NULL) : 0;

	FUZZ_CHECK(!room || oracle_agrees(content, wants, n, r, values));
	free(room);
}

static bool allowed(void *self, const struct mp_cell *const *cells, size_t n_pending, size_t n)
{
	char reason[MP_REASON_MAX] = "";
	int32_t r = half->check(self, cells, n_pending, cells + n_pending, n, reason, sizeof(reason));

	FUZZ_CHECK(r == MP_CHECK_ALLOW || (r == MP_CHECK_REFUSE && reason[0]));
	return r == MP_CHECK_ALLOW;
}

/* Puts the cells behind each other as an owner would; those that are allowed stay in `cells`. */
static size_t put_all(void *self, const struct mp_cell **cells, size_t n)
{
	size_t n_pending = 0;

	for (size_t i = 0; i < n; i++) {
		cells[n_pending] = cells[i];
		if (allowed(self, cells, n_pending, 1))
			plant(cells[n_pending++]);
	}
	return n_pending;
}

static void check_cells(void *self, struct mp_str text)
{
	struct mp_cell cells[CELLS_MAX];
	const struct mp_cell *list[CELLS_MAX];
	size_t n = read_cells(text, cells), n_taken;
	struct buf before = bytes_of(self);
	uint64_t n_skipped = skipped(self);

	for (size_t i = 0; i < n; i++) {
		check_flat(cells[i].content);
		list[i] = &cells[i];
	}
	n_taken = put_all(self, list, n);
	FUZZ_CHECK(same(self, buf_slice(&before)) && allowed(self, list, 0, n_taken));
	for (size_t i = 0; i < n_taken; i++)
		FUZZ_CHECK(!half->apply(self, list[i]) && skipped(self) == n_skipped);
	for (size_t i = 0; i < n; i++) {
		bool alone = allowed(self, &(const struct mp_cell *){ &cells[i] }, 0, 1);

		n_skipped = skipped(self);
		FUZZ_CHECK(!half->apply(self, &cells[i]) && (skipped(self) == n_skipped) == alone);
	}
	buf_fini(&before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mp_str rest = slice_make(data, size), snapshot;
	size_t n_halves = 0, snapshot_size;
	struct buf bytes;
	void *self;

	while (registry_halves[n_halves])
		n_halves++;
	if (size < 3)
		return 0;
	half = registry_halves[data[0] % n_halves];
	snapshot_size = data[1] | (size_t)data[2] << 8;
	rest = slice_skip(rest, 3);
	snapshot = slice_make(rest.ptr, snapshot_size < rest.len ? snapshot_size : rest.len);
	self = make();
	if (snapshot_size)
		check_restore(self, snapshot);
	check_cells(self, slice_skip(rest, snapshot.len));
	bytes = bytes_of(self);
	check_restore(self, buf_slice(&bytes));
	FUZZ_CHECK(same(self, buf_slice(&bytes)));
	buf_fini(&bytes);
	half->fini(self);
	return 0;
}
