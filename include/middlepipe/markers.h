/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Markers: the response field by which a filter calls back into the app.
 *
 * The field `Middlepipe` is a Structured Field (RFC 9651): an Item that is a
 * Token, the type of the middlepipe, with parameters:
 *
 *   Middlepipe: breaker;state=open;pipe="guard";retry-after=4;callback=raise
 *
 * Only a marker in a verdict counts.  What a network sends under that name is
 * stripped by the hooks.  Unknown parameters are skipped.
 */
#ifndef MIDDLEPIPE_MARKERS_H
#define MIDDLEPIPE_MARKERS_H

#include <middlepipe/types.h>

#define MP_MARKER_FIELD "Middlepipe"
#define MP_MARKER_MAX 512 /* bytes of the longest field value */

/* A marker, parsed.  Empty strings stand for parameters that are absent. */
struct mp_marker {
	struct mp_str type;     /* Token: the type of the middlepipe */
	struct mp_str state;    /* Token: open, half-open, ejected, unavailable ... */
	struct mp_str pipe;     /* String: the name of the middlepipe */
	struct mp_str callback; /* Token: "raise", or empty: only tell */
	int64_t retry_after;    /* Integer: seconds; -1 when absent */
};

/*
 * Parses a field value.  The strings of *ret borrow from `value`, but `pipe`,
 * which may need unescaping, from `scratch` (MP_MARKER_MAX bytes).
 * Returns 0, or -EINVAL when it is no such Item or is too long.
 */
int mp_marker_parse(struct mp_str value, char *scratch, struct mp_marker *ret);

/*
 * Writes the field value and a NUL into out.  Returns its length, -EINVAL when
 * a part cannot be written as its type, -E2BIG when it does not fit.
 */
int mp_marker_format(const struct mp_marker *marker, char *out, size_t size);

#endif
