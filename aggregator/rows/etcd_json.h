/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON read as it comes, byte by byte, without ever holding more than one string:
 * etcd's answers are large, and a watch is one that never ends.
 *
 * Pure: bytes in, tokens out.  It checks the grammar of what it is given (texts
 * without an end, nesting without an end); what a number or a text means is
 * for etcd_answer.h.  Several objects may follow one another, nothing else may.
 */
#ifndef AGGREGATOR_ROWS_ETCD_JSON_H
#define AGGREGATOR_ROWS_ETCD_JSON_H

#include <stdbool.h>

#include "lib/buf.h"

#define ETCD_JSON_DEPTH 24 /* most objects and arrays within one another */
#define ETCD_JSON_NAME 40  /* a longer name is none that etcd has */

enum etcd_token {
	ETCD_OBJECT,
	ETCD_OBJECT_END,
	ETCD_ARRAY,
	ETCD_ARRAY_END,
	ETCD_STRING,
	ETCD_NUMBER,
	ETCD_TRUE,
	ETCD_FALSE,
	ETCD_NULL,
};

struct etcd_json;

/*
 * A token: `text` is that of a string or number, borrowed for the call;
 * json->name the member's name, "" in arrays, at the top and for names too long.
 * At the ends of objects and arrays json->depth is what it was before they began.
 * False stops the reading for good; etcd_json_fail() says why.
 */
typedef bool etcd_token_fn(struct etcd_json *json, enum etcd_token token, struct mp_str text);

/* Fields are for reading. */
struct etcd_json {
	etcd_token_fn *token;             /* who is told */
	unsigned state;                   /* what may come next */
	unsigned depth;                   /* objects and arrays that are open */
	bool in_array[ETCD_JSON_DEPTH + 1]; /* by depth: what is open there is an array */
	bool naming;                      /* the string that is read is a name */
	char name[ETCD_JSON_NAME];        /* of the member whose value comes */
	unsigned digits;                  /* of \u so far */
	unsigned code;                    /* their value */
	struct buf text;                  /* string, number or word so far */
	char wrong[120];                  /* why the reading stopped; "" while it goes on */
};

/* string_max: bytes of one string.  etcd_json_fini() is due. */
void etcd_json_init(struct etcd_json *json, size_t string_max, etcd_token_fn *token);
void etcd_json_fini(struct etcd_json *json);

/* Reads on.  False once anything was wrong. */
bool etcd_json_feed(struct etcd_json *json, struct mp_str bytes);

/* Nothing is open. */
static inline bool etcd_json_idle(const struct etcd_json *json)
{
	return !json->depth && !json->wrong[0];
}

/* Stops it; returns false. */
bool etcd_json_fail(struct etcd_json *json, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
