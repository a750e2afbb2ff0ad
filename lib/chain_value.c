/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values of a filter's options, read by the filter's own table: one
 * reader per type of option, for what the user wrote and for the defaults.
 *
 * Called by chain.c.  It looks at types, bounds and spelling; what options
 * mean together is the business of the filter's load().
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/chain_priv.h"
#include "lib/near.h"
#include "lib/wire.h"

#define LIST_MAX 1024      /* entries of a list when the table says nothing */
#define STRING_MAX 65536   /* bytes of a text likewise */
#define PREFIX_MAX 1024    /* bytes of a path prefix */
#define NUMBER_SIZE 24     /* a number in a message */

/* Reads one value; false when a mistake was told. */
typedef bool read_fn(struct chain_parser *parser, const struct json_at *at,
		     const struct mp_option *option, struct mp_value *value);

static struct mp_str text_of(const struct json_at *at)
{
	return slice_make(json_string_value(at->value), json_string_length(at->value));
}

static bool refuse(struct chain_parser *parser, const struct json_at *at, const char *wants)
{
	chain_wants(parser, at, wants);
	return false;
}

/* ------------------------------------------------------------------- numbers */

static bool read_bool(struct chain_parser *parser, const struct json_at *at,
		      const struct mp_option *option, struct mp_value *value)
{
	(void)option; /* nothing to bound */
	value->integer = json_is_true(at->value);
	return !json_want(at, JSON_TRUE, parser->errs);
}

static bool read_int(struct chain_parser *parser, const struct json_at *at,
		     const struct mp_option *option, struct mp_value *value)
{
	json_int_t number = json_integer_value(at->value);
	char wants[96];

	if (json_is_integer(at->value) && (double)number >= option->min &&
	    (double)number <= option->max) {
		value->integer = number;
		return true;
	}
	(void)snprintf(wants, sizeof(wants), "a whole number of %.15g to %.15g", option->min,
		       option->max);
	return refuse(parser, at, wants);
}

static bool read_number(struct chain_parser *parser, const struct json_at *at,
			const struct mp_option *option, struct mp_value *value)
{
	double number = json_number_value(at->value);
	char wants[96];

	if (json_is_number(at->value) && number >= option->min && number <= option->max) {
		value->number = number;
		return true;
	}
	(void)snprintf(wants, sizeof(wants), "a number of %.15g to %.15g", option->min,
		       option->max);
	return refuse(parser, at, wants);
}

/* "250ms", "5s", "2m", "1h": false when the text is no duration. */
static bool duration_of(struct mp_str text, int64_t *ret_ms)
{
	static const struct {
		struct mp_str suffix; /* after the digits */
		int64_t ms;           /* what one of it is */
	} units[] = {
		{{"ms", 2}, 1}, {{"s", 1}, 1000}, {{"m", 1}, 60000}, {{"h", 1}, 3600000},
	};
	size_t digits = 0;
	uint64_t number;

	while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
		digits++;
	if (slice_to_u64(slice_make(text.ptr, digits), &number) || number > INT64_MAX)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (slice_eq(units[i].suffix, slice_skip(text, digits)))
			return !__builtin_mul_overflow((int64_t)number, units[i].ms, ret_ms);
	}
	return false;
}

/* The largest unit that says it without a fraction. */
static const char *show_ms(char out[NUMBER_SIZE], double ms)
{
	static const struct {
		double ms;        /* of one */
		const char *name; /* as it is written */
	} units[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
	size_t i = 0;

	while (units[i].ms > 1 && (ms < units[i].ms || fmod(ms, units[i].ms) != 0))
		i++;
	(void)snprintf(out, NUMBER_SIZE, "%.12g%s", ms / units[i].ms, units[i].name);
	return out;
}

static bool read_duration(struct chain_parser *parser, const struct json_at *at,
			  const struct mp_option *option, struct mp_value *value)
{
	int64_t ms = json_integer_value(at->value);
	bool good = json_is_integer(at->value) ||
		    (json_is_string(at->value) && duration_of(text_of(at), &ms));
	char low[NUMBER_SIZE], high[NUMBER_SIZE], wants[160];

	if (good && (double)ms >= option->min && (double)ms <= option->max) {
		value->integer = ms;
		return true;
	}
	(void)snprintf(wants, sizeof(wants),
		       "a duration of %s to %s, such as \"250ms\", \"5s\", \"2m\" or a "
		       "whole number of ms",
		       show_ms(low, option->min), show_ms(high, option->max));
	return refuse(parser, at, wants);
}

/* --------------------------------------------------------------------- words */

static bool read_string(struct chain_parser *parser, const struct json_at *at,
			const struct mp_option *option, struct mp_value *value)
{
	size_t max = option->max > 0 ? (size_t)option->max : STRING_MAX;

	if (json_want(at, JSON_STRING, parser->errs))
		return false;
	if (text_of(at).len > max) {
		json_errs_add(parser->errs, at, "wants at most %zu bytes, not %zu", max,
			      text_of(at).len);
		return false;
	}
	value->string = arena_slice(parser->arena, text_of(at));
	return true;
}

/* The place of a word among "a|b|c", or -1. */
static int64_t choice_of(const char *choices, struct mp_str word)
{
	struct mp_str choice, rest = slice_of(choices);

	for (int64_t i = 0; rest.len; i++) {
		slice_cut(rest, '|', &choice, &rest);
		if (slice_eq(choice, word))
			return i;
	}
	return -1;
}

/* "wants a, b or c, not X; did you mean b?" */
static void refuse_choice(struct chain_parser *parser, const struct json_at *at,
			  const char *choices)
{
	struct mp_str choice, rest = slice_of(choices);
	char word[NEAR_MAX + 1], best[NEAR_MAX + 1] = "", shown[JSON_QUOTE_SIZE];
	struct buf list;
	struct near near;

	near_init(&near, text_of(at));
	buf_init(&list, CHAIN_WORDS_SIZE);
	while (rest.len) {
		bool more = slice_cut(rest, '|', &choice, &rest);

		(void)snprintf(word, sizeof(word), "%.*s", SLICE_ARG(choice));
		buf_printf(&list, "%s\"%s\"", !list.len ? "" : more ? ", " : " or ", word);
		near_offer(&near, word);
		if (near.best == word) {
			memcpy(best, word, sizeof(best));
			near.best = best;
		}
	}
	json_errs_add(parser->errs, at, "wants %s, not %s%s%s%s", buf_str(&list),
		      json_show(shown, at->value), near.best ? "; did you mean \"" : "", best,
		      near.best ? "\"?" : "");
	buf_fini(&list);
}

static bool read_enum(struct chain_parser *parser, const struct json_at *at,
		      const struct mp_option *option, struct mp_value *value)
{
	value->integer = json_is_string(at->value) ? choice_of(option->choices, text_of(at)) : -1;
	if (value->integer >= 0)
		return true;
	refuse_choice(parser, at, option->choices);
	return false;
}

/* --------------------------------------------------------------------- lists */

/* Is it a list (or an object) with no more entries than the table allows? */
static bool check_list(struct chain_parser *parser, const struct json_at *at,
		       const struct mp_option *option, json_type type)
{
	size_t max = option->max > 0 ? (size_t)option->max : LIST_MAX;

	if (json_want(at, type, parser->errs))
		return false;
	if (json_at_size(at) <= max)
		return true;
	json_errs_add(parser->errs, at, "wants at most %zu entries, not %zu", max,
		      json_at_size(at));
	return false;
}

static bool read_strings(struct chain_parser *parser, const struct json_at *at,
			 const struct mp_option *option, struct mp_value *value)
{
	struct mp_field *fields;
	bool good = check_list(parser, at, option, JSON_ARRAY);
	size_t n = good ? json_at_size(at) : 0;

	fields = arena_get(parser->arena, n, sizeof(*fields));
	for (size_t i = 0; fields && i < n; i++) {
		struct json_at entry = json_at_index(at, i);

		if (json_want(&entry, JSON_STRING, parser->errs)) {
			good = false;
		} else if (option->choices && choice_of(option->choices, text_of(&entry)) < 0) {
			refuse_choice(parser, &entry, option->choices);
			good = false;
		} else {
			fields[i].name = arena_slice(parser->arena, text_of(&entry));
		}
	}
	value->fields = fields;
	value->n_fields = fields ? n : 0;
	return good;
}

static bool has_name(const struct mp_field *fields, size_t n, struct mp_str name)
{
	for (size_t i = 0; i < n; i++) {
		if (slice_eq_nocase(fields[i].name, name))
			return true;
	}
	return false;
}

static bool read_field(struct chain_parser *parser, const struct json_at *at,
		       const struct mp_value *before, struct mp_field *field)
{
	struct mp_str name = slice_of(at->key);

	if (!wire_field_ok(name, MP_LIT("")))
		json_errs_add(parser->errs, at,
			      "the name of a header field has letters, digits and "
			      "!#$%%&'*+-.^_`|~ only");
	else if (has_name(before->fields, before->n_fields, name))
		json_errs_add(parser->errs, at, "this field is there already; case makes no "
						"difference");
	else if (json_want(at, JSON_STRING, parser->errs))
		return false;
	else if (!wire_field_ok(name, text_of(at)))
		return refuse(parser, at, "a value without CR, LF and NUL");
	else {
		field->name = arena_slice(parser->arena, name);
		field->value = arena_slice(parser->arena, text_of(at));
		return true;
	}
	return false;
}

/* In the order of the file. */
static bool read_fields(struct chain_parser *parser, const struct json_at *at,
			const struct mp_option *option, struct mp_value *value)
{
	/* jansson's iterators want a mutable value but change nothing. */
	json_t *object = (json_t *)(uintptr_t)at->value;
	struct mp_field *fields;
	bool good = check_list(parser, at, option, JSON_OBJECT);

	fields = arena_get(parser->arena, good ? json_at_size(at) : 0, sizeof(*fields));
	value->fields = fields;
	if (!fields || !good)
		return good;
	for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
		struct json_at entry = json_at_member(at, json_object_iter_key(i));

		if (read_field(parser, &entry, value, &fields[value->n_fields]))
			value->n_fields++;
		else
			good = false;
	}
	return good;
}

static bool range_of(const struct json_at *at, struct mp_range *range)
{
	struct mp_str first, last;
	uint64_t a, b;

	if (json_is_integer(at->value)) {
		json_int_t number = json_integer_value(at->value);

		range->first = range->last = (uint32_t)number;
		return number >= 0 && number <= UINT32_MAX;
	}
	if (!json_is_string(at->value) || !slice_cut(text_of(at), '-', &first, &last) ||
	    slice_to_u64(first, &a) || slice_to_u64(last, &b) || a > b || b > UINT32_MAX)
		return false;
	*range = (struct mp_range){(uint32_t)a, (uint32_t)b};
	return true;
}

static bool read_ranges(struct chain_parser *parser, const struct json_at *at,
			const struct mp_option *option, struct mp_value *value)
{
	struct mp_range *ranges;
	bool good = check_list(parser, at, option, JSON_ARRAY);
	size_t n = good ? json_at_size(at) : 0;

	ranges = arena_get(parser->arena, n, sizeof(*ranges));
	for (size_t i = 0; ranges && i < n; i++) {
		struct json_at entry = json_at_index(at, i);

		if (!range_of(&entry, &ranges[i]))
			good = refuse(parser, &entry,
				      "a whole number such as 503 or a range such as "
				      "\"500-599\", first one not above the last");
	}
	value->ranges = ranges;
	value->n_ranges = ranges ? n : 0;
	return good;
}

/* ------------------------------------------------------------------ prefixes */

/* Why it is no path prefix, or NULL; cuts the slash at its end. */
static const char *check_prefix(struct mp_str *prefix)
{
	if (!prefix->len || prefix->ptr[0] != '/')
		return "a path that begins with \"/\"";
	for (size_t i = 0; i < prefix->len; i++) {
		if (prefix->ptr[i] == '?' || prefix->ptr[i] == '#')
			return "a path without '?' and '#'";
		if (prefix->ptr[i] <= ' ' || prefix->ptr[i] > '~')
			return "a path as it is sent: no blanks, other bytes as %XX";
	}
	if (prefix->ptr[prefix->len - 1] == '/')
		prefix->len--;
	if (!prefix->len)
		return "a path below \"/\": all that is not listed has a unit anyway";
	return prefix->len > PREFIX_MAX ? "at most 1024 bytes" : NULL;
}

static bool read_prefix(struct chain_parser *parser, const struct json_at *at,
			const struct mp_value *before, struct mp_field *field)
{
	struct mp_str prefix = text_of(at);
	const char *wrong;

	if (json_want(at, JSON_STRING, parser->errs))
		return false;
	wrong = check_prefix(&prefix);
	if (wrong)
		return refuse(parser, at, wrong);
	for (size_t i = 0; i < before->n_fields; i++) {
		if (slice_eq(before->fields[i].name, prefix))
			return refuse(parser, at, "each prefix once");
	}
	field->name = arena_slice(parser->arena, prefix);
	return true;
}

static bool read_prefixes(struct chain_parser *parser, const struct json_at *at,
			  const struct mp_option *option, struct mp_value *value)
{
	struct mp_option bounded = *option;
	struct mp_field *fields;
	size_t n;
	bool good;

	if (bounded.max <= 0 || bounded.max > CHAIN_PREFIXES_MAX - 1)
		bounded.max = CHAIN_PREFIXES_MAX - 1;
	good = check_list(parser, at, &bounded, JSON_ARRAY);
	n = good ? json_at_size(at) : 0;
	fields = arena_get(parser->arena, n, sizeof(*fields));
	value->fields = fields;
	for (size_t i = 0; fields && i < n; i++) {
		struct json_at entry = json_at_index(at, i);

		if (read_prefix(parser, &entry, value, &fields[value->n_fields]))
			value->n_fields++;
		else
			good = false;
	}
	return good;
}

/* -------------------------------------------------------------------- tables */

static read_fn *const readers[] = {
	[MP_OPTION_BOOL] = read_bool,         [MP_OPTION_INT] = read_int,
	[MP_OPTION_NUMBER] = read_number,     [MP_OPTION_DURATION] = read_duration,
	[MP_OPTION_STRING] = read_string,     [MP_OPTION_ENUM] = read_enum,
	[MP_OPTION_STRINGS] = read_strings,   [MP_OPTION_FIELDS] = read_fields,
	[MP_OPTION_RANGES] = read_ranges,     [MP_OPTION_PREFIXES] = read_prefixes,
};

static bool known_type(const struct mp_option *option)
{
	return option->type > 0 &&
	       (size_t)option->type < sizeof(readers) / sizeof(readers[0]) &&
	       (option->type != MP_OPTION_ENUM || option->choices);
}

/* A default goes through the same reader; its mistakes are the filter's. */
static bool read_default(struct chain_parser *parser, const struct mp_option *option,
			 struct mp_value *value)
{
	struct json_errs own;
	struct json_errs *all = parser->errs;
	json_error_t wrong;
	CLEANUP_JSON json_t *initial = NULL;
	struct json_at at;
	bool good;

	if (!known_type(option))
		return false;
	if (!option->initial)
		return true;
	initial = json_loads(option->initial, JSON_DECODE_ANY, &wrong);
	if (!initial)
		return false;
	at = json_at_root(initial);
	json_errs_init(&own, 1);
	parser->errs = &own;
	good = readers[option->type](parser, &at, option, value);
	parser->errs = all;
	json_errs_fini(&own);
	return good;
}

static void read_defaults(struct chain_parser *parser, struct chain_type *type,
			  const struct json_at *at)
{
	const struct mp_option *options = type->filter->options;
	struct mp_value *values = arena_get(parser->arena, type->n_options, sizeof(*values));

	type->values = values;
	type->names = arena_get(parser->arena, type->n_options + 1, sizeof(*type->names));
	for (size_t i = 0; values && type->names && i < type->n_options; i++) {
		type->names[i] = options[i].name;
		if (read_default(parser, &options[i], &values[i]))
			continue;
		type->broken = true;
		json_errs_add(parser->errs, at,
			      "the filter's own default of its option \"%s\" is wrong",
			      options[i].name);
	}
}

const struct chain_type *chain_type_get(struct chain_parser *parser,
					const struct mp_filter *filter,
					const struct json_at *at)
{
	struct chain_type *type = parser->types;

	while (type && type->filter != filter)
		type = type->next;
	if (type)
		return type;
	type = arena_get(parser->arena, 1, sizeof(*type));
	if (!type)
		return NULL;
	*type = (struct chain_type){.filter = filter, .next = parser->types};
	while (filter->options && filter->options[type->n_options].name)
		type->n_options++;
	parser->types = type;
	read_defaults(parser, type, at);
	return type;
}

static bool has_prefix(const struct mp_field *fields, size_t n, struct mp_str prefix)
{
	for (size_t i = 0; i < n; i++) {
		if (slice_eq(fields[i].name, prefix))
			return true;
	}
	return false;
}

/* The prefixes of all options of that type, each once. */
static void gather_prefixes(struct chain_parser *parser, const struct chain_type *type,
			    struct chain_binding *binding)
{
	const struct mp_option *options = type->filter->options;
	struct mp_field *all;
	size_t n = 0;

	for (size_t i = 0; i < type->n_options; i++)
		n += options[i].type == MP_OPTION_PREFIXES ? binding->values[i].n_fields : 0;
	all = n ? arena_get(parser->arena, n, sizeof(*all)) : NULL;
	binding->prefixes = all;
	for (size_t i = 0; all && i < type->n_options; i++) {
		const struct mp_value *value = &binding->values[i];

		if (options[i].type != MP_OPTION_PREFIXES)
			continue;
		for (size_t j = 0; j < value->n_fields; j++) {
			if (!has_prefix(all, binding->n_prefixes, value->fields[j].name))
				all[binding->n_prefixes++] = value->fields[j];
		}
	}
}

void chain_values(struct chain_parser *parser, const struct json_at *config,
		  const struct chain_type *type, struct chain_binding *binding)
{
	const struct mp_option *options = type->filter->options;
	struct mp_value *values = arena_get(parser->arena, type->n_options, sizeof(*values));

	if (!values || !type->values || type->broken)
		return;
	if (type->n_options)
		memcpy(values, type->values, type->n_options * sizeof(*values));
	binding->values = values;
	binding->n_values = type->n_options;
	if (config->value)
		json_only_names(config, type->names, parser->errs);
	for (size_t i = 0; i < type->n_options; i++) {
		struct json_at at = json_at_member(config, options[i].name);

		if (!at.value)
			continue;
		values[i] = (struct mp_value){.given = 1};
		(void)readers[options[i].type](parser, &at, &options[i], &values[i]);
	}
	gather_prefixes(parser, type, binding);
}

const struct mp_value *chain_option_values(const struct mp_option *options,
					   const struct json_at *config, struct arena *arena,
					   struct json_errs *errs)
{
	const struct mp_filter table = {.options = options};
	struct chain_parser parser = {.arena = arena, .errs = errs};
	struct chain_binding binding = {.values = NULL};
	size_t before = errs->count;
	const struct chain_type *type = chain_type_get(&parser, &table, config);

	if (type)
		chain_values(&parser, config, type, &binding);
	return errs->count == before && !arena->failed ? binding.values : NULL;
}
