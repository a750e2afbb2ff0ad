/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See run_env.h.  RUBYOPT is split at blanks and PYTHONPATH at colons, without
 * any quoting; NODE_OPTIONS knows double quotes, and backslashes within them.
 */
#include "cf-plugin/run_env.h"

#include <string.h>

#include "lib/slice.h"

static bool ends_in(struct mp_str text, const char *end)
{
	size_t len = strlen(end);

	return text.len >= len && !memcmp(text.ptr + text.len - len, end, len);
}

bool run_env_needs_link(const char *hooks)
{
	return strpbrk(hooks, " \t\n\v\f\r:\"'\\") != NULL;
}

/* ---------------------------------------------------------------------- Ruby */

void run_env_ruby(const char *old, const char *hooks, struct buf *out)
{
	struct mp_str rest = slice_trim(slice_of(old));

	buf_printf(out, "-r%s" RUN_HOOK_RUBY, hooks);
	while (rest.len) {
		struct mp_str word = rest;

		for (word.len = 0; word.len < rest.len && !slice_is_space(rest.ptr[word.len]);)
			word.len++;
		rest = slice_trim(slice_skip(rest, word.len));
		if (slice_starts(word, MP_LIT("-r")) && ends_in(word, RUN_HOOK_RUBY))
			continue;
		buf_add_str(out, " ");
		buf_add_slice(out, word);
	}
}

/* -------------------------------------------------------------------- Python */

void run_env_python(const char *old, const char *hooks, struct buf *out)
{
	struct mp_str entry, rest = slice_of(old);
	bool more = rest.len > 0;

	buf_printf(out, "%s" RUN_HOOK_PYTHON, hooks);
	while (more) {
		more = slice_cut(rest, ':', &entry, &rest);
		if (ends_in(entry, "/hooks" RUN_HOOK_PYTHON) ||
		    slice_eq(entry, slice_make(buf_str(out), strlen(hooks) + strlen(RUN_HOOK_PYTHON))))
			continue;
		/* An empty entry means the current folder: kept. */
		buf_add_str(out, ":");
		buf_add_slice(out, entry);
	}
}

/* ---------------------------------------------------------------------- Node */

/* The next word as it is written, quotes included; rest begins after it. */
static struct mp_str node_word(struct mp_str *rest)
{
	struct mp_str word = slice_trim(*rest);
	size_t at = 0;
	bool quoted = false;

	*rest = word;
	while (at < word.len && (quoted || !slice_is_space(word.ptr[at]))) {
		if (word.ptr[at] == '"')
			quoted = !quoted;
		else if (word.ptr[at] == '\\' && quoted && at + 1 < word.len)
			at++;
		at++;
	}
	word.len = at;
	*rest = slice_skip(*rest, at);
	return word;
}

/* "--require=FILE" or FILE itself, with or without quotes. */
static bool is_node_hook(struct mp_str word)
{
	return ends_in(word, RUN_HOOK_NODE) || ends_in(word, RUN_HOOK_NODE "\"");
}

static void add_node_file(const char *hooks, struct buf *out)
{
	bool quote = strpbrk(hooks, " \t\n\v\f\r\"\\") != NULL;

	buf_add_str(out, quote ? "--require \"" : "--require ");
	for (const char *c = hooks; *c; c++) {
		if (*c == '"' || *c == '\\')
			buf_add_str(out, "\\");
		buf_add(out, c, 1);
	}
	buf_add_str(out, quote ? RUN_HOOK_NODE "\"" : RUN_HOOK_NODE);
}

void run_env_node(const char *old, const char *hooks, struct buf *out)
{
	struct mp_str rest = slice_trim(slice_of(old));

	add_node_file(hooks, out);
	while (rest.len) {
		struct mp_str word = node_word(&rest), after = rest, next;

		if (slice_eq(word, MP_LIT("--require")) || slice_eq(word, MP_LIT("-r"))) {
			next = node_word(&after);
			if (is_node_hook(next)) {
				rest = slice_trim(after);
				continue;
			}
		}
		rest = slice_trim(rest);
		if (slice_starts(word, MP_LIT("--require=")) && is_node_hook(word))
			continue;
		buf_add_str(out, " ");
		buf_add_slice(out, word);
	}
}
