/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a head one that everybody between the client and us reads in the same
 * way?  libmicrohttpd 0.9 takes much that is not, and where two programs
 * disagree about the end of a request, one can be smuggled past the other.
 * Pure: what libmicrohttpd parsed in, a verdict out.
 */
#ifndef AGGREGATOR_HTTP_GUARD_H
#define AGGREGATOR_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "middlepipe/types.h"

#define GUARD_FIELDS 64 /* most fields of a head */

/* A header field, borrowed. */
struct guard_field {
	struct mp_str name;  /* as it came */
	struct mp_str value; /* without blanks before it */
};

/* A head as it was parsed. */
struct guard_head {
	struct mp_str version;                   /* "HTTP/1.1" */
	struct guard_field fields[GUARD_FIELDS]; /* in their order */
	size_t n;                                /* of them */
};

/* What the body will be. */
struct guard_body {
	bool chunked;    /* its size is not known */
	uint64_t length; /* bytes, unless it is chunked */
};

/* NULL when it is proper, and *ret_body is written; else what is wrong. */
const char *guard_check(const struct guard_head *head, struct guard_body *ret_body);

/*
 * Did the head's bytes lie as a plain head's do: one blank between the words of
 * the first line, CR LF behind each line, no NUL, no folded line?  For heads
 * that were parsed in place with each line's end overwritten by NULs, so that
 * the places of the words tell what stood between them.  target: as it came.
 */
bool guard_plain(struct mp_str method, struct mp_str target, const struct guard_head *head);

#endif
