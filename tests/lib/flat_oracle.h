/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/flat.h done by jansson, for tests that compare the two.  Both must take the same
 * texts and find the same in them.
 */
#ifndef TESTS_LIB_FLAT_ORACLE_H
#define TESTS_LIB_FLAT_ORACLE_H

#include "lib/flat.h"
#include "lib/json.h"

/* A member as flat_read() would have to take it. */
static inline bool oracle_takes(const struct flat_want *want, const json_t *value)
{
	int64_t n = want->kind == FLAT_TEXT ? (int64_t)json_string_length(value) :
					      (int64_t)json_integer_value(value);

	if (want->kind == FLAT_TEXT ? !json_is_string(value) : !json_is_integer(value))
		return false;
	/* -2^63 is an integer of jansson's alone. */
	return n >= want->min && n <= want->max && n != INT64_MIN;
}

static inline bool oracle_same(const struct flat_want *want, const json_t *value,
			       const struct flat_value *got)
{
	if (want->kind == FLAT_NUMBER)
		return got->number == (int64_t)json_integer_value(value);
	return slice_eq(got->text, slice_make(json_string_value(value), json_string_length(value)));
}

/* True when flat_read() and jansson agree about the text; it fits. */
static inline bool oracle_agrees(struct mp_str text, const struct flat_want *wants, size_t n,
				 int flat_answer, const struct flat_value *values)
{
	CLEANUP_JSON json_t *document = NULL;
	struct err err = { 0 };
	bool takes = !json_load_text(text, text.len, 1, &document, &err) && json_is_object(document);
	size_t n_known = 0;

	for (size_t i = 0; i < n && takes; i++) {
		const json_t *value = json_object_get(document, wants[i].name);

		n_known += value != NULL;
		takes = !value || oracle_takes(&wants[i], value);
		if (takes && !flat_answer &&
		    (values[i].given != (value != NULL) || (value && !oracle_same(&wants[i], value, &values[i]))))
			return false;
	}
	return (takes && n_known == json_object_size(document)) == !flat_answer;
}

#endif
