/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON so that every mistake is named by its path:
 *
 *	$.destinations[0].chain[1].config.error_percent: 140 is over 100
 *
 * For whoever turns JSON into structs, at the edge; JSON handles must not
 * travel further.  jansson parses.  A checker walks down with struct json_at
 * values on its stack and goes on after a mistake, so that a struct json_errs
 * holds all of them at the end:
 *
 *	struct json_at root = json_at_root(value), chain;
 *
 *	json_only(&root, errs, "port", "chain", NULL);
 *	json_get_int(&root, "port", JSON_REQUIRED, 1, 65535, &port, errs);
 *	json_get_array(&root, "chain", JSON_OPTIONAL, 16, &chain, errs);
 *	for (size_t i = 0; i < json_at_size(&chain); i++)
 *		check_link(json_at_index(&chain, i), errs);
 *	return json_errs_result(errs, err);
 */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/slice.h"

/* A local json_t reference that is dropped when it goes out of scope. */
#define CLEANUP_JSON __attribute__((cleanup(json_cleanup)))

static inline void json_cleanup(json_t **value)
{
	json_decref(*value);
}

/* A value and the way to it.  Lives on the stack; its parent outlives it. */
struct json_at {
	const json_t *value;          /* borrowed; NULL: absent or wrong type */
	const struct json_at *parent; /* what contains it; NULL: the root, $ */
	const char *key;              /* member name, borrowed; NULL: see index */
	size_t index;                 /* place in the array when key is NULL */
};

/* The mistakes found so far. */
struct json_errs {
	struct buf text; /* lines "$.path: message\n", the first `max` of them */
	size_t count;    /* mistakes found, written or not */
	size_t max;      /* most lines kept */
	size_t last;     /* where the last line starts in text */
};

#define JSON_OPTIONAL false
#define JSON_REQUIRED true

/* Room for a path that is not cut in practice. */
#define JSON_PATH_SIZE 256

/*
 * Parses one JSON object or array.  max_size: bytes; max_depth: 1 allows no
 * nesting.  Duplicate names, NUL and text after the end are mistakes.
 * ret: a new reference for the caller.  0, -E2BIG (size or depth), -EINVAL or
 * -ENOMEM; err says line and column, both from 1.
 */
int json_load_text(struct mp_str text, size_t max_size, size_t max_depth,
		   json_t **ret, struct err *err);

/* A text of our own that has the number of its format: {"format":1,...}, with nothing nested in it. */
struct json_kind {
	const char *what;  /* for messages: "an identity" */
	int oldest, newest; /* formats that are known */
	size_t size_max;   /* bytes */
	size_t mistakes;   /* lines of them that are kept */
	/* Reads the other members. */
	void (*read)(const struct json_at *root, int format, void *ret, struct json_errs *errs);
};

/*
 * Reads it into *ret, of which nothing counts without 0.  -EINVAL: none of ours;
 * -EPROTONOSUPPORT: a format that is not known; -ENOMEM; err says what is wrong.
 */
int json_read_kind(struct mp_str text, const struct json_kind *kind, void *ret, struct err *err);

struct json_at json_at_root(const json_t *value);

/* The member or element; its value is NULL when there is none. */
struct json_at json_at_member(const struct json_at *parent, const char *key);
struct json_at json_at_index(const struct json_at *parent, size_t index);

/* Elements of an array or members of an object; 0 for anything else. */
size_t json_at_size(const struct json_at *at);

/*
 * Writes `$.a[0]["odd name"]` into out, NUL-terminated.  0, or -E2BIG when it
 * was cut; it ends in "..." then.  size >= 8.
 */
int json_path(const struct json_at *at, char *out, size_t size);

/* max: lines kept.  json_errs_fini() is due afterwards. */
void json_errs_init(struct json_errs *errs, size_t max);
void json_errs_fini(struct json_errs *errs);

/*
 * Adds a line, unless it repeats the one before, and returns -EINVAL.  Quote foreign
 * text by JSON_QUOTE().
 */
int json_errs_add(struct json_errs *errs, const struct json_at *at,
		  const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The lines, "" when there are none; valid until the next addition. */
const char *json_errs_text(const struct json_errs *errs);

/* 0 without mistakes; else -EINVAL, and err has the first and the count. */
int json_errs_result(const struct json_errs *errs, struct err *err);

/* A text in double quotes, escaped and cut, in a buffer of this block. */
#define JSON_QUOTE_SIZE 80
#define JSON_QUOTE(str) json_quote((char[JSON_QUOTE_SIZE]){0}, slice_of(str))
const char *json_quote(char out[JSON_QUOTE_SIZE], struct mp_str s);

/* A value in a message: the quoted text, the number, or "an object". */
const char *json_show(char out[JSON_QUOTE_SIZE], const json_t *value);

/*
 * Getters.  0: present and written, or absent, optional and *ret untouched
 * (so put the default there first).  -EINVAL: a line was added to errs.
 * null counts as a wrong type.  What they give is borrowed from the value.
 * An `at` without a value was told before: it reads as an empty object of
 * which nothing is required.
 */
int json_get_str(const struct json_at *at, const char *key, bool required,
		 const char **ret, struct json_errs *errs);
int json_get_bool(const struct json_at *at, const char *key, bool required,
		  bool *ret, struct json_errs *errs);

/* An integer (1.0 is none) in min..max. */
int json_get_int(const struct json_at *at, const char *key, bool required,
		 int64_t min, int64_t max, int64_t *ret, struct json_errs *errs);

/* A number in min..max. */
int json_get_real(const struct json_at *at, const char *key, bool required,
		  double min, double max, double *ret, struct json_errs *errs);

/* One of names[] (NULL at the end); gives its place. */
int json_get_choice(const struct json_at *at, const char *key, bool required,
		    const char *const *names, int *ret, struct json_errs *errs);

/* ret->value is NULL unless the member is there with the right type. */
int json_get_object(const struct json_at *at, const char *key, bool required,
		    struct json_at *ret, struct json_errs *errs);

/* max: most elements. */
int json_get_array(const struct json_at *at, const char *key, bool required,
		   size_t max, struct json_at *ret, struct json_errs *errs);

/*
 * Is the value itself of this type?  For the root and for elements.
 * 0, or -EINVAL with a line in errs.
 */
int json_want(const struct json_at *at, json_type type, struct json_errs *errs);

/*
 * Adds a line for every member whose name is not among the arguments (NULL
 * at the end), with the nearest of them.  0 or -EINVAL.
 */
int json_only(const struct json_at *at, struct json_errs *errs, ...)
	__attribute__((sentinel));

/* The same with an array, NULL at the end. */
int json_only_names(const struct json_at *at, const char *const *names,
		    struct json_errs *errs);

#endif
