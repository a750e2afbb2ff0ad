/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces, their alignment, large ones, the bound and the copies. */
#include "lib/arena.h"

#include <stdint.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static void test_pieces(void)
{
	struct arena arena;
	bool aligned = true, zeroed = true, apart = true;
	unsigned char *last = NULL;

	arena_init(&arena, 1 << 20);
	for (size_t size = 1; size < 600; size++) {
		unsigned char *piece = arena_get(&arena, 1, size);

		aligned &= (uintptr_t)piece % _Alignof(max_align_t) == 0;
		apart &= piece != last;
		for (size_t i = 0; i < size; i++)
			zeroed &= !piece[i];
		memset(piece, 0xff, size);
		last = piece;
	}
	ok(aligned, "pieces are aligned");
	ok(zeroed, "pieces are zeroed and do not overlap");
	ok(apart, "each is another");
	ok(arena_get(&arena, 0, 8) != NULL, "no object is a piece, too");
	ok(!arena.failed, "nothing failed");
	arena_fini(&arena);
	is_int((int64_t)arena.total, 0, "all is freed");
}

static void test_bounds(void)
{
	struct arena arena;

	arena_init(&arena, 20000);
	ok(arena_get(&arena, 1, 10000) != NULL, "a large piece");
	ok(arena_get(&arena, 1, 10001) == NULL, "not past the maximum");
	ok(arena.failed, "which is remembered");
	ok(arena_get(&arena, 1, 100) != NULL, "a small one is still there");
	ok(arena_get(&arena, SIZE_MAX, 2) == NULL, "a product that overflows");
	ok(arena_get(&arena, SIZE_MAX, 1) == NULL, "a sum that overflows");
	arena_fini(&arena);
	arena_fini(NULL);
}

static const char long_text[9000];

static void test_copies(void)
{
	struct arena arena;
	struct mp_str slice;

	arena_init(&arena, 5000);
	is_str(arena_copy(&arena, MP_LIT("abc")), "abc", "a copy ends with a NUL");
	is_str(arena_copy(&arena, (struct mp_str){NULL, 0}), "", "an empty copy");
	slice = arena_slice(&arena, MP_LIT("de"));
	ok(slice_eq(slice, MP_LIT("de")), "a slice");
	slice = arena_slice(&arena, slice_make(long_text, sizeof(long_text)));
	ok(!slice.ptr && !slice.len, "no memory, an empty slice");
	arena_fini(&arena);
}

int main(void)
{
	test_pieces();
	test_bounds();
	test_copies();
	return done();
}
