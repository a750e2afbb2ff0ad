/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See filter_text.h.  All of it is read from the filter's own table, so that
 * it cannot differ from what chains_parse() allows.
 */
#include "cf-plugin/filter_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cf-plugin/table.h"
#include "lib/slice.h"

#define WIDTH 80  /* lines end before it */
#define INDENT 6  /* blanks before what is said of an option */

/* How a type is called, and what its bounds are bounds of. */
static const struct type_text {
	const char *name;      /* in lists and JSON */
	const char *what;      /* in sentences */
	enum { NONE, VALUE, MS, BYTES, ENTRIES } bounds;
} types[] = {
	[MP_OPTION_BOOL] = { "bool", "true or false", NONE },
	[MP_OPTION_INT] = { "int", "a whole number", VALUE },
	[MP_OPTION_NUMBER] = { "number", "a number", VALUE },
	[MP_OPTION_DURATION] = { "duration", "a duration: \"250ms\", \"5s\", \"2m\" or a number of ms",
				 MS },
	[MP_OPTION_STRING] = { "string", "a text", BYTES },
	[MP_OPTION_ENUM] = { "enum", "one of", NONE },
	[MP_OPTION_STRINGS] = { "strings", "a list of texts", ENTRIES },
	[MP_OPTION_FIELDS] = { "fields", "an object of header fields", ENTRIES },
	[MP_OPTION_RANGES] = { "ranges", "a list of numbers and ranges: 503, \"500-599\"", ENTRIES },
	[MP_OPTION_PREFIXES] = { "prefixes", "a list of path prefixes", ENTRIES },
};

static const struct type_text *type_of(const struct mp_option *option)
{
	static const struct type_text unknown = { "unknown", "something unknown", NONE };
	bool known = option->type > 0 && (size_t)option->type < sizeof(types) / sizeof(types[0]);

	return known ? &types[option->type] : &unknown;
}

static const char *const need_names[] = {
	"request", "outcome", "copy", "response", "request-body", "response-body",
};

static void wrap(struct buf *out, int indent, const char *text)
{
	int column = 0;

	while (*text) {
		int len = (int)strcspn(text, " ");

		if (column && column + 1 + len > WIDTH) {
			buf_add_str(out, "\n");
			column = 0;
		}
		if (column)
			buf_add_str(out, " ");
		else
			buf_printf(out, "%*s", indent, "");
		column = column ? column + 1 + len : indent + len;
		buf_printf(out, "%.*s", len, text);
		text += len;
		text += strspn(text, " ");
	}
	buf_add_str(out, "\n");
}

void filter_text_list(const struct mp_filter *const *filters, struct buf *out)
{
	static const char *const head[] = { "TYPE", "WHAT IT DOES", NULL };
	struct table table;

	table_init(&table, head);
	for (; *filters; filters++) {
		table_add(&table, "%s", (*filters)->name);
		table_add(&table, "%s", (*filters)->summary ? (*filters)->summary : "");
	}
	table_print(&table, out);
	table_fini(&table);
}

/* 60000 ms reads better as 1m. */
static void add_ms(struct buf *out, double ms)
{
	static const struct {
		double ms;        /* of one */
		const char *name; /* behind the number */
	} units[] = { { 3600000, "h" }, { 60000, "m" }, { 1000, "s" }, { 1, "ms" } };
	size_t i = 0;

	while (units[i].ms > 1 && (ms < units[i].ms || fmod(ms, units[i].ms) != 0))
		i++;
	buf_printf(out, "%.12g%s", ms / units[i].ms, units[i].name);
}

/* Choices and bounds, as the end of a phrase. */
static void add_range(struct buf *out, const struct mp_option *option)
{
	const struct type_text *type = type_of(option);

	if (option->choices)
		buf_printf(out, "%s%s", option->type == MP_OPTION_ENUM ? " " : ", out of ",
			   option->choices);
	if (type->bounds == VALUE) {
		buf_printf(out, " of %.12g to %.12g", option->min, option->max);
	} else if (type->bounds == MS) {
		buf_add_str(out, ", ");
		add_ms(out, option->min);
		buf_add_str(out, " to ");
		add_ms(out, option->max);
	} else if (type->bounds != NONE && option->max > 0) {
		buf_printf(out, ", at most %.12g%s", option->max,
			   type->bounds == BYTES ? " bytes" : "");
	}
}

static void add_default(struct buf *out, const struct mp_option *option)
{
	double ms;
	char *end;

	if (!option->initial)
		return;
	buf_add_str(out, "; default ");
	ms = option->type == MP_OPTION_DURATION ? strtod(option->initial, &end) : 0;
	if (ms > 0 && !*end)
		add_ms(out, ms);
	else
		buf_add_str(out, option->initial);
}

static void add_option(struct buf *out, const struct mp_option *option)
{
	struct buf line;

	buf_printf(out, "\n  %s\n", option->name);
	buf_init(&line, 4096);
	buf_add_str(&line, type_of(option)->what);
	add_range(&line, option);
	add_default(&line, option);
	wrap(out, INDENT, buf_str(&line));
	if (option->help)
		wrap(out, INDENT, option->help);
	if (option->peers)
		wrap(out, INDENT, option->peers);
	buf_fini(&line);
}

static void add_needs(struct buf *out, uint32_t needs)
{
	buf_add_str(out, "\nNeeds at most:");
	for (size_t i = 0; i < sizeof(need_names) / sizeof(need_names[0]); i++) {
		if (needs & 1u << i)
			buf_printf(out, " %s", need_names[i]);
	}
	buf_add_str(out, "\n");
}

static void add_counters(struct buf *out, const char *const *names)
{
	struct buf line;

	if (!names || !*names)
		return;
	buf_init(&line, 4096);
	buf_add_str(&line, "Counts:");
	for (; *names; names++)
		buf_printf(&line, " %s%s", *names, names[1] ? "," : "");
	wrap(out, 0, buf_str(&line));
	buf_fini(&line);
}

void filter_text_one(const struct mp_filter *filter, struct buf *out)
{
	buf_printf(out, "%s: %s\n\nOptions of its \"config\":\n", filter->name,
		   filter->summary ? filter->summary : "");
	for (const struct mp_option *option = filter->options; option && option->name; option++)
		add_option(out, option);
	add_needs(out, filter->needs);
	add_counters(out, filter->counters);
}

/* ---------------------------------------------------------------------- JSON */

static json_t *text_json(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *choices_json(const char *choices)
{
	struct mp_str word, rest = slice_of(choices);
	json_t *list = json_array();

	while (rest.len) {
		slice_cut(rest, '|', &word, &rest);
		json_array_append_new(list, json_stringn(word.ptr, word.len));
	}
	return list;
}

static json_t *option_json(const struct mp_option *option)
{
	json_t *initial = option->initial ? json_loads(option->initial, JSON_DECODE_ANY, NULL) :
					    NULL;
	json_t *object = json_pack("{s:s,s:s,s:o,s:o,s:o}", "name", option->name, "type",
				   type_of(option)->name, "default",
				   initial ? initial : json_null(), "help",
				   text_json(option->help), "peers", text_json(option->peers));
	bool has_min = type_of(option)->bounds == VALUE || type_of(option)->bounds == MS;

	if (has_min)
		json_object_set_new(object, "min", json_real(option->min));
	if (has_min || (type_of(option)->bounds != NONE && option->max > 0))
		json_object_set_new(object, "max", json_real(option->max));
	if (option->choices)
		json_object_set_new(object, "choices", choices_json(option->choices));
	return object;
}

json_t *filter_json(const struct mp_filter *filter)
{
	json_t *options = json_array(), *needs = json_array(), *counters = json_array();

	for (const struct mp_option *option = filter->options; option && option->name; option++)
		json_array_append_new(options, option_json(option));
	for (size_t i = 0; i < sizeof(need_names) / sizeof(need_names[0]); i++) {
		if (filter->needs & 1u << i)
			json_array_append_new(needs, json_string(need_names[i]));
	}
	for (const char *const *name = filter->counters; name && *name; name++)
		json_array_append_new(counters, json_string(*name));
	return json_pack("{s:s,s:o,s:o,s:o,s:o}", "type", filter->name, "summary",
			 text_json(filter->summary), "needs", needs, "options", options,
			 "counters", counters);
}
