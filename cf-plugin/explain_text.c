/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to "what happens to a call to this URL, and why?" in sentences;
 * see status_text.h.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "cf-plugin/status_priv.h"
#include "cf-plugin/status_text.h"

/* "10:00:01.5Z (3.0s ago)" or "(in 2.0s)"; the text as it is when it is no time. */
static void add_time(const char *text, uint64_t wall_ns, struct buf *out)
{
	uint64_t then;

	buf_add_str(out, text);
	if (time_read(text, &then))
		return;
	buf_add_str(out, then > wall_ns ? " (in " : " (");
	duration_text((then > wall_ns ? then - wall_ns : wall_ns - then) / 1000000, out);
	buf_add_str(out, then > wall_ns ? ")" : " ago)");
}

/* Members that have words of their own; the rest follows as "name: value". */
static const struct phrase {
	const char *member; /* of a unit's status */
	const char *words;  /* before its value */
	bool time;          /* the value is a time */
} phrases[] = {
	{ "state", "", false },
	{ "since", " since ", true },
	{ "reason", ", because ", false },
	{ "last_error", "; the last error was ", false },
	{ "probes_at", "; it lets probes through at ", true },
};
#define N_PHRASES (sizeof(phrases) / sizeof(phrases[0]))

static bool has_phrase(const char *member)
{
	for (size_t i = 0; i < N_PHRASES; i++) {
		if (!strcmp(phrases[i].member, member))
			return true;
	}
	return false;
}

static void add_phrases(const json_t *status, uint64_t wall_ns, struct buf *out)
{
	bool any = false;

	for (size_t i = 0; i < N_PHRASES; i++) {
		const char *text = member_text(status, phrases[i].member);

		if (!text[0])
			continue;
		if (!any)
			buf_add_str(out, "     ");
		/* Without a state the sentence begins with its first phrase. */
		buf_add_str(out, any || !i ? phrases[i].words :
				 phrases[i].words + strspn(phrases[i].words, " ,;"));
		any = true;
		if (phrases[i].time)
			add_time(text, wall_ns, out);
		else
			buf_add_str(out, text);
	}
	if (any)
		buf_add_str(out, ".\n");
}

static void add_rest(const json_t *status, uint64_t wall_ns, struct buf *out)
{
	/* jansson's iterators want a mutable value but change nothing. */
	json_t *object = (json_t *)(uintptr_t)status;
	const char *between = "     ";
	bool any = false;

	for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
		const json_t *value = json_object_iter_value(i);
		const char *text = json_string_value(value);

		if (has_phrase(json_object_iter_key(i)) || json_is_null(value))
			continue;
		buf_printf(out, "%s%s: ", between, json_object_iter_key(i));
		if (text)
			add_time(text, wall_ns, out);
		else
			scalar_text(value, out);
		between = ", ";
		any = true;
	}
	if (any)
		buf_add_str(out, "\n");
}

static void add_link(const json_t *link, size_t place, uint64_t wall_ns, struct buf *out)
{
	const json_t *ejected = json_object_get(link, "ejected");
	const json_t *status = json_object_get(link, "status");

	buf_printf(out, "  %zu. %s (%s) stands at %s\n", place, member_text(link, "middlepipe"),
		   member_text(link, "type"), member_text(link, "standing"));
	if (json_is_object(ejected)) {
		buf_printf(out, "     It was ejected: it %s, at ", member_text(ejected, "reason"));
		add_time(member_text(ejected, "time"), wall_ns, out);
		buf_add_str(out, ".\n");
		return;
	}
	add_phrases(status, wall_ns, out);
	add_rest(status, wall_ns, out);
}

/* What the standing verdict means for the call. */
static void add_verdict(const json_t *explain, uint64_t wall_ns, struct buf *out)
{
	static const struct {
		const char *standing; /* in the document */
		const char *words;    /* what it means */
	} verdicts[] = {
		{ "pass", "The call passes; nobody is asked." },
		{ "ask", "Each call is asked about" },
		{ "reply", "The call is answered at once, without the service," },
	};
	const char *standing = member_text(explain, "standing");
	const char *why = member_text(explain, "why"), *until = member_text(explain, "until");
	size_t i = 0;

	while (i < 2 && strcmp(standing, verdicts[i].standing))
		i++;
	if (strcmp(standing, verdicts[i].standing))
		return;
	buf_add_str(out, verdicts[i].words);
	if (i && why[0])
		buf_printf(out, " because of %s", why);
	if (i && until[0]) {
		buf_add_str(out, ", until ");
		add_time(until, wall_ns, out);
	}
	buf_add_str(out, i ? ".\n" : "\n");
}

/* Where calls are asked about, a filter that answers may stand further on; the first counts. */
static void add_answerer(const json_t *explain, struct buf *out)
{
	const json_t *chain = json_object_get(explain, "chain");

	if (strcmp(member_text(explain, "standing"), "ask"))
		return;
	for (size_t i = 0; i < json_array_size(chain); i++) {
		const json_t *link = json_array_get(chain, i);

		if (strcmp(member_text(link, "standing"), "reply"))
			continue;
		buf_printf(out, "One that comes as far as %s is answered by it, without the service.\n",
			   member_text(link, "middlepipe"));
		return;
	}
}

void explain_text(const json_t *explain, uint64_t wall_ns, struct buf *out)
{
	const char *destination = member_text(explain, "destination");
	const json_t *chain = json_object_get(explain, "chain");

	if (!destination[0]) {
		buf_printf(out, "%s meets no chain: the call passes untouched.\n",
			   member_text(explain, "url"));
		return;
	}
	buf_printf(out, "%s is a call to %s (matched by %s), path prefix %s.\n",
		   member_text(explain, "url"), destination, member_text(explain, "match"),
		   member_prefix(explain));
	add_verdict(explain, wall_ns, out);
	add_answerer(explain, out);
	if (!json_array_size(chain)) {
		buf_add_str(out, "Its chain is empty.\n");
		return;
	}
	buf_add_str(out, "Its chain, in the order of the request:\n");
	for (size_t i = 0; i < json_array_size(chain); i++)
		add_link(json_array_get(chain, i), i + 1, wall_ns, out);
}
