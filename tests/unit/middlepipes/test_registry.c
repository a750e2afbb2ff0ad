/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of built-in filters, and what must be true of each table.
 */
#include <stdlib.h>

#include "middlepipes/registry.h"
#include "tests/lib/fake_host.h"
#include "tests/lib/tap.h"

static void checks_options(const struct mp_filter *filter)
{
	int n_bad = 0;

	for (const struct mp_option *o = filter->options; o->name; o++) {
		bool has_choices = o->type != MP_OPTION_ENUM || o->choices;

		if (!o->help || !has_choices || o->reserved || strspn(o->name, "abcdefghijklmnopqrstuvwxyz_") != strlen(o->name)) {
			note("option %s", o->name);
			n_bad++;
		}
		for (const struct mp_option *other = filter->options; other < o; other++)
			n_bad += !strcmp(other->name, o->name);
	}
	is_int(n_bad, 0, "%s: every option has a name of its own, and help", filter->name);
}

static void checks(const struct mp_filter *filter)
{
	static struct fake_host host;

	ok(registry_find(filter->name) == filter, "%s is found", filter->name);
	ok(filter->abi_major == MP_ABI_MAJOR && filter->abi_minor == MP_ABI_MINOR &&
		   filter->size == sizeof(*filter) && filter->level == MP_LEVEL_REQUEST,
	   "%s: its ABI", filter->name);
	ok(filter->summary && filter->load && filter->unload && filter->start, "%s: what no filter lacks", filter->name);
	ok(!(filter->needs & MP_NEED_REQUEST) || filter->on_request, "%s: on_request", filter->name);
	ok(!(filter->needs & (MP_NEED_COPY | MP_NEED_RESPONSE)) || filter->on_response, "%s: on_response", filter->name);
	checks_options(filter);
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
	ok(!registry_find("break") && !registry_find("breakers") && !registry_find(""), "others are not found");
	return done();
}
