/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing JSON text, walking it, and the getters that name every mistake.
 * Paths and the list of mistakes are in json_errs.c.
 *
 * Called at the edges, with text that peers and people wrote.
 */
#include "lib/json.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "lib/near.h"

/* Most names that json_only() compares with. */
#define NAMES_MAX 64

/* Where the scan for depth stands. */
struct scan {
	size_t line, column; /* of the current byte, from 1 */
	size_t depth;        /* open brackets */
	bool in_string;      /* between quotes */
	bool escaped;        /* after a backslash */
};

static void scan_byte(struct scan *scan, char c)
{
	if (scan->in_string) {
		scan->in_string = scan->escaped || c != '"';
		scan->escaped = !scan->escaped && c == '\\';
	} else if (c == '"') {
		scan->in_string = true;
	} else if (c == '{' || c == '[') {
		scan->depth++;
	} else if ((c == '}' || c == ']') && scan->depth) {
		scan->depth--;
	}
}

/*
 * jansson's own limit is fixed and deep, and it takes a NUL for the end, so
 * both are looked for beforehand.  Brackets that do not match are its
 * business.
 */
static int check_text(struct mp_str text, size_t max_depth, struct err *err)
{
	struct scan scan = {.line = 1};

	for (size_t i = 0; i < text.len; i++) {
		scan.column++;
		scan_byte(&scan, text.ptr[i]);
		if (scan.depth > max_depth)
			return err_set(err, -E2BIG,
				       "line %zu, column %zu: nested deeper than %zu",
				       scan.line, scan.column, max_depth);
		if (!text.ptr[i])
			return err_set(err, -EINVAL, "line %zu, column %zu: a NUL byte",
				       scan.line, scan.column);
		if (text.ptr[i] == '\n') {
			scan.line++;
			scan.column = 0;
		}
	}
	return 0;
}

/* jansson quotes the input near the mistake: keep only what is printable. */
static void plain(char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

int json_load_text(struct mp_str text, size_t max_size, size_t max_depth,
		   json_t **ret, struct err *err)
{
	json_error_t wrong;
	json_t *value;
	int rc;

	if (text.len > max_size)
		return err_set(err, -E2BIG, "JSON of %zu bytes is over %zu", text.len,
			       max_size);
	rc = check_text(text, max_depth, err);
	if (rc)
		return rc;
	value = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES,
			   &wrong);
	if (!value) {
		plain(wrong.text);
		rc = json_error_code(&wrong) == json_error_out_of_memory ? -ENOMEM :
									   -EINVAL;
		return err_set(err, rc, "line %d, column %d: %s", wrong.line,
			       wrong.column > 0 ? wrong.column : 1, wrong.text);
	}
	*ret = value;
	return 0;
}

struct json_at json_at_root(const json_t *value)
{
	return (struct json_at){.value = value};
}

struct json_at json_at_member(const struct json_at *parent, const char *key)
{
	return (struct json_at){
		.value = json_object_get(parent->value, key),
		.parent = parent,
		.key = key,
	};
}

struct json_at json_at_index(const struct json_at *parent, size_t index)
{
	return (struct json_at){
		.value = json_array_get(parent->value, index),
		.parent = parent,
		.index = index,
	};
}

size_t json_at_size(const struct json_at *at)
{
	return json_is_array(at->value) ? json_array_size(at->value) :
					  json_object_size(at->value);
}

static const char *type_name(json_type type)
{
	switch (type) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	default:
		return "null";
	}
}

const char *json_show(char out[JSON_QUOTE_SIZE], const json_t *value)
{
	if (json_is_string(value))
		return json_quote(out, slice_make(json_string_value(value),
						  json_string_length(value)));
	if (json_is_integer(value))
		(void)snprintf(out, JSON_QUOTE_SIZE, "%" JSON_INTEGER_FORMAT,
			       json_integer_value(value));
	else if (json_is_real(value))
		(void)snprintf(out, JSON_QUOTE_SIZE, "%.12g", json_real_value(value));
	else if (json_is_boolean(value))
		return json_is_true(value) ? "true" : "false";
	else
		return value ? type_name(json_typeof(value)) : "nothing";
	return out;
}

/* "wants X, not Y": every mistake about a value reads like this. */
static int wants(const struct json_at *at, const char *what, struct json_errs *errs)
{
	char shown[JSON_QUOTE_SIZE];

	return json_errs_add(errs, at, "wants %s, not %s", what,
			     json_show(shown, at->value));
}

/* An integer is a number and both truth values are booleans. */
static bool has_type(const json_t *value, json_type type)
{
	if (type == JSON_REAL)
		return json_is_number(value);
	if (type == JSON_TRUE || type == JSON_FALSE)
		return json_is_boolean(value);
	return value && json_typeof(value) == type;
}

int json_want(const struct json_at *at, json_type type, struct json_errs *errs)
{
	return has_type(at->value, type) ? 0 : wants(at, type_name(type), errs);
}

/* Finds a member: ret->value is NULL when there is none of the right type. */
static int get(const struct json_at *at, const char *key, bool required,
	       json_type type, struct json_at *ret, struct json_errs *errs)
{
	int rc = at->value ? json_want(at, JSON_OBJECT, errs) : 0;

	*ret = json_at_member(at, key);
	if (rc || !at->value)
		return rc;
	if (!ret->value)
		return required ? json_errs_add(errs, ret, "is missing") : 0;
	rc = json_want(ret, type, errs);
	if (rc)
		ret->value = NULL;
	return rc;
}

int json_get_str(const struct json_at *at, const char *key, bool required,
		 const char **ret, struct json_errs *errs)
{
	struct json_at member;
	int rc = get(at, key, required, JSON_STRING, &member, errs);

	if (member.value)
		*ret = json_string_value(member.value);
	return rc;
}

int json_get_bool(const struct json_at *at, const char *key, bool required,
		  bool *ret, struct json_errs *errs)
{
	struct json_at member;
	int rc = get(at, key, required, JSON_TRUE, &member, errs);

	if (member.value)
		*ret = json_is_true(member.value);
	return rc;
}

int json_get_int(const struct json_at *at, const char *key, bool required,
		 int64_t min, int64_t max, int64_t *ret, struct json_errs *errs)
{
	struct json_at member;
	int rc = get(at, key, required, JSON_INTEGER, &member, errs);
	char what[80];
	int64_t value;

	if (!member.value)
		return rc;
	value = json_integer_value(member.value);
	if (value < min || value > max) {
		(void)snprintf(what, sizeof(what), "%" PRId64 " to %" PRId64, min, max);
		return wants(&member, what, errs);
	}
	*ret = value;
	return 0;
}

int json_get_real(const struct json_at *at, const char *key, bool required,
		  double min, double max, double *ret, struct json_errs *errs)
{
	struct json_at member;
	int rc = get(at, key, required, JSON_REAL, &member, errs);
	char what[80];
	double value;

	if (!member.value)
		return rc;
	value = json_number_value(member.value);
	if (value < min || value > max) {
		(void)snprintf(what, sizeof(what), "%.12g to %.12g", min, max);
		return wants(&member, what, errs);
	}
	*ret = value;
	return 0;
}

/* "did you mean ..." or, without a near name, nothing. */
static int unknown(const struct json_at *at, const char *what, struct mp_str word,
		   const char *const *names, struct json_errs *errs)
{
	struct near near;

	near_init(&near, word);
	for (size_t i = 0; names[i]; i++)
		near_offer(&near, names[i]);
	if (near.best)
		return json_errs_add(errs, at, "%s; did you mean %s?", what,
				     JSON_QUOTE(near.best));
	return json_errs_add(errs, at, "%s", what);
}

int json_get_choice(const struct json_at *at, const char *key, bool required,
		    const char *const *names, int *ret, struct json_errs *errs)
{
	struct json_at member;
	int rc = get(at, key, required, JSON_STRING, &member, errs);
	char what[JSON_QUOTE_SIZE + 32], shown[JSON_QUOTE_SIZE];
	const char *word;

	if (!member.value)
		return rc;
	word = json_string_value(member.value);
	for (int i = 0; names[i]; i++) {
		if (!strcmp(word, names[i])) {
			*ret = i;
			return 0;
		}
	}
	(void)snprintf(what, sizeof(what), "%s is not a known choice",
		       json_show(shown, member.value));
	return unknown(&member, what, slice_of(word), names, errs);
}

int json_get_object(const struct json_at *at, const char *key, bool required,
		    struct json_at *ret, struct json_errs *errs)
{
	return get(at, key, required, JSON_OBJECT, ret, errs);
}

int json_get_array(const struct json_at *at, const char *key, bool required,
		   size_t max, struct json_at *ret, struct json_errs *errs)
{
	int rc = get(at, key, required, JSON_ARRAY, ret, errs);

	if (json_at_size(ret) <= max)
		return rc;
	rc = json_errs_add(errs, ret, "wants at most %zu elements, not %zu", max,
			   json_at_size(ret));
	ret->value = NULL;
	return rc;
}

static bool among(const char *name, const char *const *names)
{
	for (; *names; names++) {
		if (!strcmp(name, *names))
			return true;
	}
	return false;
}

int json_only_names(const struct json_at *at, const char *const *names,
		    struct json_errs *errs)
{
	/* jansson's iterators want a mutable value but change nothing. */
	json_t *object = (json_t *)(uintptr_t)at->value;
	int rc = at->value ? json_want(at, JSON_OBJECT, errs) : 0;

	for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
		struct json_at member = json_at_member(at, json_object_iter_key(i));

		if (!among(member.key, names))
			rc = unknown(&member, "is not known here",
				     slice_of(member.key), names, errs);
	}
	return rc;
}

int json_only(const struct json_at *at, struct json_errs *errs, ...)
{
	const char *names[NAMES_MAX + 1];
	size_t count = 0;
	va_list args;

	va_start(args, errs);
	do {
		assert(count <= NAMES_MAX);
		names[count] = va_arg(args, const char *);
	} while (names[count++]);
	va_end(args);
	return json_only_names(at, names, errs);
}

int json_read_kind(struct mp_str text, const struct json_kind *kind, void *ret, struct err *err)
{
	CLEANUP_JSON json_t *value = NULL;
	struct json_errs errs;
	struct json_at root;
	int64_t format = 0;
	int rc = json_load_text(text, kind->size_max, 2, &value, err);

	if (rc)
		return rc == -ENOMEM ? rc : -EINVAL;
	root = json_at_root(value);
	json_errs_init(&errs, kind->mistakes);
	json_get_int(&root, "format", JSON_REQUIRED, 1, INT32_MAX, &format, &errs);
	if (!errs.count && (format < kind->oldest || format > kind->newest))
		rc = err_set(err, -EPROTONOSUPPORT, "%s of format %d, and this program knows %d", kind->what, (int)format,
			     kind->newest);
	else
		kind->read(&root, (int)format, ret, &errs);
	if (!rc)
		rc = json_errs_result(&errs, err);
	json_errs_fini(&errs);
	return rc;
}
