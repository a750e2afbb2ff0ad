/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a request about rows is sent again: which answer is the end of it, when the
 * next attempt begins, at which member, and what is known in the end.  For
 * rows_op.c.  Pure: time and chance are arguments, and it sends nothing.
 *
 * An attempt of which nobody knows whether it was, or will be, applied is *open*
 * until the greatest time that one may take has passed.  What an attempt says
 * against the request is final only when it was sent after that: until then an
 * open one may be applied behind it (rows.md 3.6).
 *
 * Times are milliseconds of one clock that never goes back.
 */
#ifndef LIB_ROWS_RETRY_H
#define LIB_ROWS_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROWS_MEMBERS_MAX 64
#define ROWS_NOBODY SIZE_MAX /* no member */

/* What has become of a request. */
enum rows_outcome {
	ROWS_OK,          /* committed; read */
	ROWS_REFUSED,     /* by the row's check or the request's condition: not applied, and never will be */
	ROWS_REJECTED,    /* wrong, forbidden, too large, no room: not applied, and never will be */
	ROWS_NOT_THERE,   /* no such row, or no such cell */
	ROWS_GONE,        /* that life of the row has ended, or its floor has passed what was asked for */
	ROWS_UNAVAILABLE, /* nobody took it until its deadline: not applied, and never will be */
	ROWS_UNKNOWN,     /* it may have been applied, or may still be */
};

/* What may be done with it. */
enum rows_retry_kind {
	ROWS_RETRY_PUT,  /* applied once, however often it is sent */
	ROWS_RETRY_READ, /* changes nothing */
	ROWS_RETRY_ONCE, /* sent again only when it certainly was not applied */
};

/* What is known of the members, by all requests. */
struct rows_members {
	struct rows_member {
		uint64_t not_before; /* it wants to be left alone until then */
		unsigned failures;   /* attempts without any answer since the last one with */
	} all[ROWS_MEMBERS_MAX];
	size_t n;
};

/* How long things take. */
struct rows_times {
	uint64_t attempt; /* then an attempt is given up, and another one made */
	uint64_t open;    /* greatest time after which one that was sent is not applied any more */
};

/* One request. */
struct rows_retry {
	enum rows_retry_kind kind; /* may be changed between attempts */
	struct rows_times times;
	uint64_t deadline;   /* its end, whatever is known by then */
	uint64_t not_before; /* of the next attempt */
	uint64_t sent_at;    /* the latest attempt */
	uint64_t open_until; /* 0: no attempt is open, or was */
	uint32_t tries;      /* attempts so far */
	size_t member;       /* of the latest one, or ROWS_NOBODY */
};

/* How an attempt ended. */
struct rows_said {
	int status;              /* HTTP's; 0: no answer, or none that can be read */
	bool sent;               /* without an answer: it may have left */
	bool elsewhere;          /* 503 because another member has the row */
	uint64_t retry_after_ms; /* 0: not said */
};

/* What is to be done next. */
struct rows_step {
	enum rows_step_act { ROWS_SEND, ROWS_WAIT, ROWS_END } act;
	size_t member;             /* SEND: where */
	uint64_t limit;            /* SEND: ms that the attempt has */
	uint64_t until;            /* WAIT: then rows_retry_next() */
	enum rows_outcome outcome; /* END */
};

void rows_retry_begin(struct rows_retry *retry, enum rows_retry_kind kind, const struct rows_times *times,
		      uint64_t deadline);

/*
 * What to do now.  SEND counts as an attempt, whose end is told by
 * rows_retry_answer().  prefer: the member to go to first, or ROWS_NOBODY.
 */
struct rows_step rows_retry_next(struct rows_retry *retry, const struct rows_members *members, size_t prefer,
				 uint64_t now, uint32_t random);

/*
 * The attempt has ended.  END with an outcome, or WAIT, perhaps until now.  The
 * member may have to be left alone for a while.
 */
struct rows_step rows_retry_answer(struct rows_retry *retry, struct rows_members *members,
				   const struct rows_said *said, uint64_t now, uint32_t random);

/* It is given up now; an attempt may be under way. */
enum rows_outcome rows_retry_give_up(const struct rows_retry *retry, bool under_way);

/*
 * A member that may be asked now, another one than `last` if there is one;
 * ROWS_NOBODY: none until *ret_until.
 */
size_t rows_members_pick(const struct rows_members *members, size_t prefer, size_t last, uint64_t now,
			 uint32_t random, uint64_t *ret_until);

/* It has answered, or not. */
void rows_members_told(struct rows_members *members, size_t member, bool answered, uint64_t now, uint32_t random);

/* Milliseconds before attempt `tries` (from 1): none while there are members that were not asked yet. */
uint64_t rows_pause(uint32_t tries, size_t n_members, uint32_t random);

#endif
