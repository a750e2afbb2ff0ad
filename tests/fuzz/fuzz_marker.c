/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marker fields of any bytes: what is parsed can be written, and reads the
 * same again.  With FUZZ_PLANT the target itself has a bug in what it does
 * with a marker that names its pipe.
 */
#include <middlepipe/markers.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#ifdef FUZZ_PLANT
/* The planted bug: a name may be longer than that. */
static void plant(const struct mp_marker *marker)
{
	char *copy = malloc(64);

	for (size_t i = 0; copy && i < marker->pipe.len; i++)
		((char *volatile)copy)[i] = marker->pipe.ptr[i];
	free(copy);
}
#else
static void plant(const struct mp_marker *marker)
{
	(void)marker; /* no bug in an honest build */
}
#endif

static void check_same(const struct mp_marker *a, const struct mp_marker *b)
{
	FUZZ_CHECK(slice_eq(a->type, b->type) && slice_eq(a->state, b->state));
	FUZZ_CHECK(slice_eq(a->pipe, b->pipe) && slice_eq(a->callback, b->callback));
	FUZZ_CHECK(a->retry_after == b->retry_after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char scratch[MP_MARKER_MAX], scratch2[MP_MARKER_MAX], text[MP_MARKER_MAX + 1];
	struct mp_marker marker, again;
	int n;

	if (mp_marker_parse(slice_make(data, size), scratch, &marker))
		return 0;
	FUZZ_CHECK(size <= MP_MARKER_MAX && marker.type.len);
	plant(&marker);
	n = mp_marker_format(&marker, text, sizeof(text));
	FUZZ_CHECK(n > 0 && (size_t)n == strlen(text) && n <= MP_MARKER_MAX);
	FUZZ_CHECK(!mp_marker_parse(slice_make(text, (size_t)n), scratch2, &again));
	check_same(&marker, &again);
	FUZZ_CHECK(mp_marker_format(&marker, text, (size_t)n) == -E2BIG);
	return 0;
}
