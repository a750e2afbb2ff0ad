/* SPDX-License-Identifier: Apache-2.0 */
/* See rows_lives.h. */
#include "lib/rows_lives.h"

#include <string.h>

bool rows_lives_enter(struct rows_lives *lives, uint64_t incarnation, uint64_t connection)
{
	bool same = lives->connection == connection;
	struct rows_life life = { .incarnation = incarnation };
	size_t at = 0;

	lives->connection = connection;
	if (lives->now.incarnation == incarnation)
		return true;
	while (at < ROWS_LIVES_MAX - 1 && lives->other[at].incarnation != incarnation)
		at++; /* the last one is forgotten when there is none */
	if (lives->other[at].incarnation == incarnation)
		life = lives->other[at];
	if (life.over)
		return false;
	lives->now.over = same;
	if (lives->now.incarnation) {
		memmove(&lives->other[1], &lives->other[0], at * sizeof(lives->other[0]));
		lives->other[0] = lives->now;
	}
	lives->now = life;
	return true;
}
