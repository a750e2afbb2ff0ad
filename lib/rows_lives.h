/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far the lives of a row were seen by who follows a prefix, over connections to one
 * member after the other, each of which begins at the floors and may be behind the last.
 *
 * Pure; for the client of rows and `rows tail`, on their threads.
 */
#ifndef LIB_ROWS_LIVES_H
#define LIB_ROWS_LIVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROWS_LIVES_MAX 4 /* that are remembered besides the present one */

struct rows_life {
	uint64_t incarnation; /* 0: not known yet */
	uint64_t next;        /* seq that is wanted next; 0: any */
	bool over;            /* another one has followed it */
};

/* All zeros at first. */
struct rows_lives {
	struct rows_life now;                   /* whose cells come */
	struct rows_life other[ROWS_LIVES_MAX]; /* the latest first */
	uint64_t connection;                    /* number of the one that has told of the row last; 0: none */
};

/*
 * A cell of that life (not 0) comes by that connection (from 1).  True: lives->now is
 * that life, at the seq that is wanted next.  False: the life is over, its cells are to be left
 * out.  One member tells of lives in their order; of two members' nobody knows which is
 * the later, so that both are remembered.
 */
bool rows_lives_enter(struct rows_lives *lives, uint64_t incarnation, uint64_t connection);

#endif
