/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nearest name by the Damerau-Levenshtein distance, in its restricted form:
 * a swapped pair of neighbours is one edit and is not edited again.
 *
 * Called when a name is unknown.  Three rows of the matrix are enough.
 */
#include "lib/near.h"

#include <stdint.h>
#include <string.h>

static unsigned char min3(unsigned a, unsigned b, unsigned c)
{
	unsigned low = a < b ? a : b;

	return (unsigned char)(low < c ? low : c);
}

static int swapped(struct mp_str a, struct mp_str b, size_t i, size_t j)
{
	return i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] &&
	       a.ptr[i - 2] == b.ptr[j - 1];
}

size_t near_distance(struct mp_str a, struct mp_str b)
{
	unsigned char rows[3][NEAR_MAX + 1]; /* row i of the matrix is rows[i % 3] */

	if (a.len > NEAR_MAX || b.len > NEAR_MAX)
		return SIZE_MAX;
	for (size_t i = 0; i <= a.len; i++) {
		unsigned char *now = rows[i % 3];
		const unsigned char *up = rows[(i + 2) % 3];
		const unsigned char *upper = rows[(i + 1) % 3];

		now[0] = (unsigned char)i;
		for (size_t j = 1; j <= b.len; j++) {
			if (i == 0) {
				now[j] = (unsigned char)j;
				continue;
			}
			now[j] = min3(up[j] + 1u, now[j - 1] + 1u,
				      up[j - 1] + (a.ptr[i - 1] != b.ptr[j - 1]));
			if (swapped(a, b, i, j) && upper[j - 2] + 1 < now[j])
				now[j] = (unsigned char)(upper[j - 2] + 1);
		}
	}
	return rows[a.len % 3][b.len];
}

void near_init(struct near *near, struct mp_str word)
{
	*near = (struct near){.word = word, .distance = SIZE_MAX};
}

void near_offer(struct near *near, const char *name)
{
	size_t len = strlen(name);
	size_t longer = len > near->word.len ? len : near->word.len;
	size_t distance = near_distance(near->word, (struct mp_str){name, len});

	/* One edit in three letters is a slip; more is another word. */
	if (distance > (longer + 2) / 3 || distance >= longer)
		return;
	if (distance < near->distance) {
		near->best = name;
		near->distance = distance;
	}
}
