/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target of a request cut into segments and parameters, and the patterns
 * of routes that it is held against.  Pure: bytes in, slices out.
 */
#ifndef AGGREGATOR_HTTP_TARGET_H
#define AGGREGATOR_HTTP_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"
#include "middlepipe/types.h"

#define TARGET_SEGMENTS 12 /* of a path, and of a pattern */
#define TARGET_QUERY 24    /* parameters */

/* Slices of the text that it was parsed from. */
struct target {
	struct mp_str segments[TARGET_SEGMENTS]; /* decoded; no NUL, may be empty */
	size_t n;                                /* of them; "/" is one empty segment */
	struct {
		struct mp_str name;  /* decoded, not empty, each once */
		struct mp_str value; /* decoded; empty without `=` */
	} query[TARGET_QUERY];
	size_t n_query; /* of them */
};

/* A pattern cut into its segments; slices of its text. */
struct pattern {
	struct mp_str segments[TARGET_SEGMENTS]; /* `{name}` without its braces */
	bool is_param[TARGET_SEGMENTS];          /* it stands for any segment but the empty one */
	size_t n;                                /* of them */
};

/*
 * Parses and decodes in place (what is decoded is never longer).  text: the
 * target as it came, "/path?query".  0; -EINVAL or -E2BIG and err says why.
 */
int target_parse(char *text, size_t size, struct target *ret, struct err *err);

/* The value of a parameter of the query, or false. */
bool target_query(const struct target *target, struct mp_str name, struct mp_str *ret_value);

/* text: "/a/{b}/c", borrowed.  0, or -EINVAL and err names the mistake. */
int pattern_parse(const char *text, struct pattern *ret, struct err *err);

bool pattern_match(const struct pattern *pattern, const struct target *target);

/* The segment that `{name}` stands for; empty when the pattern has no such. */
struct mp_str pattern_param(const struct pattern *pattern, const struct target *target,
			    struct mp_str name);

#endif
