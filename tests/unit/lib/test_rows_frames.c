/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of subscriptions: what is read, cut anywhere, and what is none. */
#include "lib/rows_frames.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/buf.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

/* The contract's own bytes, written down by hand. */
static const char cell[] = "\x35\0\0\0" "\1" "\1" "\6\0" "\xff\0\0\0\0\0\0\0" "\x11\0\0\0\0\0\0\0"
			   "\0\xe8\x76\x48\x17\0\0\0" "\2" "\0" "\4\0" "\5\0\0\0" "chains" "k7" "10.0" "hello";
static const char heartbeat[] = "\x24\0\0\0" "\2" "\0" "\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0"
				"\0\0\0\0\0\0\0\0" "\0" "\0" "\0\0" "\0\0\0\0";
static const char end[] = "\x2b\0\0\0" "\3" "\0" "\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0"
			  "\x0c\0\0\0\0\0\0\0" "\4" "\0" "\0\0" "\3\0\0\0" "gone" "why";

static void is_slice(struct mp_str got, const char *want, const char *name)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(got));
	is_str(text, want, "%s", name);
}

static void reads(void)
{
	struct rows_frame f;

	is_int(rows_frame_read(slice_make(cell, sizeof(cell) - 1), &f, NULL), sizeof(cell) - 1, "a cell is read whole");
	is_int(f.kind, ROWS_FRAME_CELL, "it is one");
	is_int(f.cell_kind, 1, "its kind");
	is_u64(f.incarnation, 0xff, "its incarnation");
	is_u64(f.seq, 17, "its seq");
	is_u64(f.time, 100000000000, "its time");
	is_slice(f.row, "chains", "its row");
	is_slice(f.key, "k7", "its key");
	is_slice(f.origin, "10.0", "its origin");
	is_slice(f.content, "hello", "its content");
	is_int(rows_frame_read(slice_make(heartbeat, sizeof(heartbeat) - 1), &f, NULL), 40, "a heartbeat of no row");
	ok(f.kind == ROWS_FRAME_HEARTBEAT && !f.row.len && !f.content.len, "has nothing in it");
	is_int(rows_frame_read(slice_make(end, sizeof(end) - 1), &f, NULL), sizeof(end) - 1, "an end");
	is_slice(f.key, "gone", "its code");
	is_slice(f.content, "why", "its text");
	is_u64(f.time, 12, "its floor");
}

/* All of it but some bytes is not there yet, wherever it is cut. */
static void cuts(void)
{
	struct rows_frame f;
	size_t wrong = 0;

	for (size_t n = 0; n < sizeof(cell) - 1; n++) {
		char *part = malloc(n ? n : 1); /* so that what lies behind is not there */

		memcpy(part, cell, n);
		wrong += rows_frame_read(slice_make(part, n), &f, NULL) != 0;
		free(part);
	}
	is_u64(wrong, 0, "cut anywhere it wants more");
}

/* A byte of the cell changed. */
static int with(size_t at, unsigned char byte, struct rows_frame *ret, struct err *err)
{
	static char bytes[1 << 17]; /* what is longer has the bytes it says */

	memcpy(bytes, cell, sizeof(cell));
	bytes[at] = (char)byte;
	return rows_frame_read(slice_make(bytes, sizeof(bytes)), ret, err);
}

static void refuses(void)
{
	static const struct {
		size_t at;
		unsigned char byte;
		const char *what;
	} cases[] = {
		{ 0, 0, "shorter than a head" }, { 0, 0x23, "one byte shorter than a head" },
		{ 3, 0x7f, "of two gigabytes" }, { 2, 0x42, "longer than any" }, { 0, 0x36, "longer than its parts" },
		{ 0, 0x34, "shorter than its parts" }, { 6, 7, "a name too long" }, { 7, 1, "a name of 262 bytes" },
		{ 32, 3, "a key too long" }, { 34, 5, "an origin too long" }, { 36, 6, "a content too long" },
		{ 39, 0xff, "a content of four gigabytes" }, { 16, 0, "seq 0" }, { 23, 0x80, "a seq beyond all" },
	};
	struct rows_frame f;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = { { 0 } };

		is_int(with(cases[i].at, cases[i].byte, &f, &err), -EPROTO, "refused: %s", cases[i].what);
		ok(err.text[0], "and said: %s", err.text);
	}
	is_int(with(4, 9, &f, NULL), sizeof(cell) - 1, "a later kind is read, to be passed over");
	is_int(f.kind, 9, "and told");
	is_int(with(33, 1, &f, NULL), sizeof(cell) - 1, "the reserved byte is ignored");
}

int main(void)
{
	reads();
	cuts();
	refuses();
	return done();
}
