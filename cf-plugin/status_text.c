/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status document as tables, and an event as a line; see status_text.h.
 * The words of `explain` are in explain_text.c.
 */
#include "cf-plugin/status_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cf-plugin/status_priv.h"
#include "cf-plugin/table.h"

const char *member_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

json_int_t member_int(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

/* A unit for everything is the prefix "", which reads better as "/". */
const char *member_prefix(const json_t *object)
{
	const char *prefix = member_text(object, "prefix");

	return prefix[0] ? prefix : "/";
}

void scalar_text(const json_t *value, struct buf *out)
{
	if (json_is_string(value))
		buf_add_str(out, json_string_value(value));
	else if (json_is_integer(value))
		buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		buf_printf(out, "%.6g", json_real_value(value));
	else if (json_is_boolean(value))
		buf_add_str(out, json_is_true(value) ? "yes" : "no");
	else
		buf_add_str(out, "-");
}

void duration_text(uint64_t ms, struct buf *out)
{
	uint64_t s = ms / 1000;

	if (ms < 1000)
		buf_printf(out, "%" PRIu64 "ms", ms);
	else if (s < 60)
		buf_printf(out, "%" PRIu64 ".%" PRIu64 "s", s, ms % 1000 / 100);
	else if (s < 3600)
		buf_printf(out, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		buf_printf(out, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		buf_printf(out, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
}

int time_read(const char *text, uint64_t *ret_wall_ns)
{
	struct tm tm = { 0 };
	unsigned ms = 0;
	int end = 0;
	time_t s;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3uZ%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms, &end) < 7 || !end || text[end])
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	s = timegm(&tm);
	if (s < 0)
		return -EINVAL;
	*ret_wall_ns = (uint64_t)s * 1000000000u + (uint64_t)ms * 1000000u;
	return 0;
}

/* -------------------------------------------------------------------- tables */

static void add_head(const json_t *status, struct buf *out)
{
	const json_t *lanes = json_object_get(status, "lanes");

	buf_printf(out, "app %s, epoch %" JSON_INTEGER_FORMAT ", up ", member_text(status, "app"),
		   member_int(status, "epoch"));
	duration_text((uint64_t)member_int(status, "uptime_ms"), out);
	buf_printf(out, ", %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
		   " lanes open, pid %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
		   " restarts, version %s\n",
		   member_int(lanes, "open"), member_int(lanes, "limit"), member_int(status, "pid"),
		   member_int(status, "restarts"), member_text(status, "version"));
}

static void add_entries(const json_t *destinations, struct buf *out)
{
	static const char *const head[] = { "DESTINATION", "PATH", "STANDING", ">ASKED",
					    ">PASSED", ">REPLIED", ">FAILED", "CHAIN", NULL };
	static const char *const calls[] = { "asked", "passed", "replied", "failed" };
	struct table table;

	table_init(&table, head);
	for (size_t i = 0; i < json_array_size(destinations); i++) {
		const json_t *destination = json_array_get(destinations, i);
		const json_t *entries = json_object_get(destination, "entries");

		for (size_t j = 0; j < json_array_size(entries); j++) {
			const json_t *entry = json_array_get(entries, j);
			const json_t *count = json_object_get(entry, "calls");
			const json_t *chain = json_object_get(entry, "chain");
			struct buf names;

			table_add(&table, "%s", member_text(destination, "name"));
			table_add(&table, "%s", member_prefix(entry));
			table_add(&table, "%s", member_text(entry, "standing"));
			for (size_t k = 0; k < sizeof(calls) / sizeof(calls[0]); k++)
				table_add(&table, "%" JSON_INTEGER_FORMAT,
					  member_int(count, calls[k]));
			buf_init(&names, 8192);
			for (size_t k = 0; k < json_array_size(chain); k++)
				buf_printf(&names, "%s%s", k ? " > " : "",
					   member_text(json_array_get(chain, k), "middlepipe"));
			table_add(&table, "%s", buf_str(&names));
			buf_fini(&names);
		}
	}
	table_print(&table, out);
	table_fini(&table);
}

/* "ejected: reason", or the state that the filter tells. */
static void add_state(struct table *table, const json_t *unit)
{
	const json_t *ejected = json_object_get(unit, "ejected");
	const json_t *status = json_object_get(unit, "status");

	if (json_is_object(ejected))
		table_add(table, "ejected: %s", member_text(ejected, "reason"));
	else
		table_add(table, "%s", member_text(status, "state"));
}

static void add_units(const json_t *destinations, struct buf *out)
{
	static const char *const head[] = { "MIDDLEPIPE", "TYPE", "DESTINATION", "PATH",
					    "STANDING", "ON FAILURE", "STATE", NULL };
	struct table table;

	table_init(&table, head);
	for (size_t i = 0; i < json_array_size(destinations); i++) {
		const json_t *destination = json_array_get(destinations, i);
		const json_t *units = json_object_get(destination, "units");

		for (size_t j = 0; j < json_array_size(units); j++) {
			const json_t *unit = json_array_get(units, j);

			table_add(&table, "%s", member_text(unit, "middlepipe"));
			table_add(&table, "%s", member_text(unit, "type"));
			table_add(&table, "%s", member_text(destination, "name"));
			table_add(&table, "%s", member_prefix(unit));
			table_add(&table, "%s", member_text(unit, "standing"));
			table_add(&table, "%s", member_text(unit, "on_failure"));
			add_state(&table, unit);
		}
	}
	table_print(&table, out);
	table_fini(&table);
}

/* Counters that nobody wants to see above 0, with what they mean. */
static void add_worries(const json_t *counters, struct buf *out)
{
	static const struct {
		const char *name; /* in the document */
		const char *what; /* in words */
	} worries[] = {
		{ "unfiltered", "calls went unfiltered" },
		{ "refused", "calls were refused because filtering failed" },
		{ "over_budget", "waits ended by the budget" },
		{ "no_slot", "calls found no free slot" },
		{ "lost_ok", "outcomes of good calls were lost" },
		{ "lost_failed", "outcomes of failed calls were lost" },
		{ "bad_messages", "messages made no sense" },
	};

	for (size_t i = 0; i < sizeof(worries) / sizeof(worries[0]); i++) {
		if (member_int(counters, worries[i].name))
			buf_printf(out, "%" JSON_INTEGER_FORMAT " %s\n",
				   member_int(counters, worries[i].name), worries[i].what);
	}
}

void status_text(const json_t *status, struct buf *out)
{
	const json_t *destinations = json_object_get(status, "destinations");

	add_head(status, out);
	add_worries(json_object_get(status, "counters"), out);
	if (!json_array_size(destinations)) {
		buf_add_str(out, "no destinations\n");
		return;
	}
	buf_add_str(out, "\n");
	add_entries(destinations, out);
	buf_add_str(out, "\n");
	add_units(destinations, out);
}

/* -------------------------------------------------------------------- events */

/* A value that is no plain word stands in quotes. */
static void add_value(const json_t *value, struct buf *out)
{
	const char *text = json_string_value(value);
	bool plain = text && text[0] && !strpbrk(text, " \"=\\\t\r\n");
	char *quoted = text && !plain ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

	if (quoted)
		buf_add_str(out, quoted);
	else
		scalar_text(value, out);
	free(quoted);
}

void event_text(const json_t *event, struct buf *out)
{
	/* jansson's iterators want a mutable value but change nothing. */
	json_t *fields = (json_t *)(uintptr_t)json_object_get(event, "fields");

	buf_printf(out, "%s %s", member_text(event, "time"), member_text(event, "event"));
	if (member_text(event, "middlepipe")[0])
		buf_printf(out, " middlepipe=%s", member_text(event, "middlepipe"));
	if (member_text(event, "destination")[0])
		buf_printf(out, " destination=%s", member_text(event, "destination"));
	for (void *i = json_object_iter(fields); i; i = json_object_iter_next(fields, i)) {
		buf_printf(out, " %s=", json_object_iter_key(i));
		add_value(json_object_iter_value(i), out);
	}
	buf_add_str(out, "\n");
}
