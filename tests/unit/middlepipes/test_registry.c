/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of built-in filters, and what must be true of each table.
 */
#include <stdio.h>

#include "middlepipes/registry.h"
#include "tests/lib/fake_host.h"
#include "tests/lib/tap.h"

static void checks_options(const struct mp_filter *filter)
{
	int n_bad = 0;

	for (const struct mp_option *o = filter->options; o->name; o++) {
		bool has_choices = o->type != MP_OPTION_ENUM || o->choices;

		if (!o->help || !has_choices || o->reserved ||
		    strspn(o->name, "abcdefghijklmnopqrstuvwxyz_") != strlen(o->name)) {
			note("option %s", o->name);
			n_bad++;
		}
		for (const struct mp_option *other = filter->options; other < o; other++)
			n_bad += !strcmp(other->name, o->name);
	}
	is_int(n_bad, 0, "%s: every option has a name of its own, and help", filter->name);
}

/* The folder's README names every option and counter.  From elsewhere it is not found. */
static void checks_readme(const struct mp_filter *filter)
{
	static char text[32768];
	char path[128], word[64];
	FILE *file;
	size_t size;
	int n_missing = 0;

	(void)snprintf(path, sizeof(path), "middlepipes/%s/README.md", filter->name);
	file = fopen(path, "r");
	if (!file) {
		note("no %s here", path);
		return;
	}
	size = fread(text, 1, sizeof(text) - 1, file);
	(void)fclose(file);
	text[size] = '\0';
	for (const struct mp_option *o = filter->options; o->name; o++) {
		(void)snprintf(word, sizeof(word), "\n| `%s` |", o->name);
		n_missing += !strstr(text, word);
	}
	for (const char *const *counter = filter->counters; *counter; counter++) {
		(void)snprintf(word, sizeof(word), "`%s`", *counter);
		n_missing += !strstr(text, word);
	}
	is_int(n_missing, 0, "%s names all options and counters", path);
}

static void checks(const struct mp_filter *filter)
{
	static struct fake_host host;

	ok(registry_find(filter->name) == filter, "%s is found", filter->name);
	ok(filter->abi_major == MP_ABI_MAJOR && filter->abi_minor == MP_ABI_MINOR &&
		   filter->size == sizeof(*filter) && filter->level == MP_LEVEL_REQUEST,
	   "%s: its ABI", filter->name);
	ok(filter->summary && filter->load && filter->unload && filter->start,
	   "%s: what no filter lacks", filter->name);
	ok(!(filter->needs & MP_NEED_REQUEST) || filter->on_request, "%s: on_request",
	   filter->name);
	ok(!(filter->needs & (MP_NEED_COPY | MP_NEED_RESPONSE)) || filter->on_response,
	   "%s: on_response", filter->name);
	checks_options(filter);
	checks_readme(filter);
	is_int(fake_load(&host, filter, "{}"), 0, "%s: its defaults load", filter->name);
	ok(host.n_posts == 1, "%s: start posts", filter->name);
	fake_unload(&host);
	filter->unload(NULL);
}

int main(void)
{
	size_t n = 0;

	for (; registry[n]; n++) {
		checks(registry[n]);
		if (n)
			ok(strcmp(registry[n - 1]->name, registry[n]->name) < 0, "alphabetical");
	}
	is_int((int64_t)n, 3, "three filters");
	ok(!registry_find("break") && !registry_find("breakers") && !registry_find(""),
	   "others are not found");
	return done();
}
