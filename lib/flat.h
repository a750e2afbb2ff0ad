/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads JSON objects without nesting, {"name": "text", "other": 7}, by a table of what may
 * be in them, and allocates nothing.
 *
 * For aggregator halves (middlepipe/aggregator.h), which must take or skip a
 * cell as every other member does: lib/json.h may fail without memory and cannot
 * always tell, and what jansson takes is jansson's to change.  Everything else
 * reads JSON by lib/json.h.  What is taken here is RFC 8259 and UTF-8, strictly: no NUL, no
 * lone surrogate, no name twice, whole numbers only and without fraction or exponent.
 */
#ifndef LIB_FLAT_H
#define LIB_FLAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

enum flat_kind { FLAT_TEXT, FLAT_NUMBER };

/* A member that there may be. */
struct flat_want {
	const char *name;
	enum flat_kind kind;
	int64_t min, max; /* NUMBER: of the value; TEXT: of its bytes, unescaped */
};

/* What was there. */
struct flat_value {
	bool given;
	struct mp_str text; /* TEXT: unescaped, in the caller's room */
	int64_t number;     /* NUMBER */
};

/*
 * Reads all of `json`.  values[i] belongs to wants[i]; room: for the texts, as many
 * bytes as json has, at most size.  0; -EBADMSG: it is no such object, err says where;
 * then values are of no use.
 */
int flat_read(struct mp_str json, const struct flat_want *wants, size_t n,
	      struct flat_value *values, char *room, size_t size, struct err *err);

/* Is it a text as flat_read() gives them: UTF-8 without NUL? */
bool flat_text_ok(struct mp_str text);

/* Appends a text in quotes, escaped.  As buf_add(). */
int flat_quote(struct buf *out, struct mp_str text);

#endif
