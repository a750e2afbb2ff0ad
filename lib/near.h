/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Did you mean ...?": the known name nearest to a misspelt one, by the
 * Damerau-Levenshtein distance (insert, delete, replace, swap neighbours).
 *
 * For messages about unknown options and JSON members.  It must not decide
 * anything: a suggestion is for people.  No allocation, bounded work: names
 * over NEAR_MAX bytes are never near.
 */
#ifndef LIB_NEAR_H
#define LIB_NEAR_H

#include <stddef.h>

#include "middlepipe/types.h"

/* Longest name that is compared. */
#define NEAR_MAX 63

/* A search; offer it every known name, then read `best`. */
struct near {
	struct mp_str word; /* what was written, borrowed */
	const char *best;   /* nearest so far, borrowed; NULL: none is near */
	size_t distance;    /* its distance */
};

void near_init(struct near *near, struct mp_str word);

/* Remembers the name if it is nearer than those before and near enough. */
void near_offer(struct near *near, const char *name);

/* Edits between two texts, or SIZE_MAX when one is over NEAR_MAX bytes. */
size_t near_distance(struct mp_str a, struct mp_str b);

#endif
