/* SPDX-License-Identifier: Apache-2.0 */
/*
 * middlepipes/catalog.c: which filters are found, and which tables are refused.
 * Loading a `.so` is 62-filters.t's.
 */
#include "middlepipes/catalog.h"

#include "middlepipes/registry.h"
#include "tests/unit/scheduler/chains_fixture.h"

/* Frozen: `.so` filters of 1.0 have this size, whatever is appended. */
#define WORDS_1_0 21
_Static_assert(sizeof(void *) != 8 || MP_FILTER_1_0 == WORDS_1_0 * sizeof(void *), "frozen");

static struct mp_filter table;

static int check(struct err *err)
{
	err->text[0] = '\0';
	return catalog_check(&table, "plain", err);
}

static void refused(const char *what, const char *reason)
{
	struct err err = { 0 };

	is_int(check(&err), -EINVAL, "%s is refused", what);
	is_str(err.text, reason, "%s: why", what);
	table = fixture_filters[0];
}

static void test_tables(void)
{
	struct err err = { 0 };
	char text[128];

	table = fixture_filters[0];
	is_int(check(&err), 0, "a right table");
	table.abi_major = 2;
	refused("another major", "filter plain has ABI 2.0, not 1.0");
	table.abi_minor = MP_ABI_MINOR + 1;
	refused("a newer minor", "filter plain needs ABI 1.1, we have 1.0");
	table.size = MP_FILTER_1_0 - 1;
	(void)snprintf(text, sizeof(text), "filter plain has an incomplete table (%zu of %zu bytes)",
		       MP_FILTER_1_0 - 1, MP_FILTER_1_0);
	refused("a table shorter than that of 1.0", text);
	table.size = MP_FILTER_1_0;
	is_int(check(&err), 0, "a table as long as that of 1.0 is taken");
	table.size = sizeof(table) + 64;
	is_int(check(&err), 0, "a longer table of the same major is taken");
	table = fixture_filters[0];
	table.load = NULL;
	(void)snprintf(text, sizeof(text), "filter plain has an incomplete table (%zu of %zu bytes)",
		       sizeof(table), MP_FILTER_1_0);
	refused("a table without load", text);
	table.options = NULL;
	refused("a table without options", text);
	table.name = "other";
	refused("another name", "filter plain calls itself other");
	table.level = 2;
	refused("another level", "filter plain is of level 2, not a request filter");
}

static void told(const char *path, const char *reason)
{
	ok(false, "nothing to refuse: %s: %s", path, reason);
}

static void test_all(struct catalog *c)
{
	const struct mp_filter **all = catalog_all(c);
	size_t n = 0;

	for (; all && registry[n] && all[n] == registry[n]; n++)
		continue;
	ok(n && !registry[n] && !all[n], "all of them are the built-in ones");
	free(all);
}

static void test_find(void)
{
	const struct catalog_options none = { .prefer_shared = true, .refused = told };
	const struct catalog_options absent = { .folder = "/nonexistent", .refused = told };
	const struct catalog_options empty = { .folder = "/proc/self/fdinfo", .refused = told };
	const struct chain_catalog *chain;
	struct catalog *c = NULL;
	struct err err = { 0 };
	size_t n = 0;

	is_int(catalog_new(&none, &c, &err), 0, "a catalog without a folder");
	chain = catalog_chain(c);
	for (; registry[n]; n++)
		ok(chain->find(chain, registry[n]->name) == registry[n] &&
		   !strcmp(chain->names[n], registry[n]->name), "has built-in %s", registry[n]->name);
	ok(!chain->names[n], "names end");
	ok(!chain->find(chain, "nothing"), "and nothing else");
	test_all(c);
	catalog_free(c);
	is_int(catalog_new(&absent, &c, &err), -ENOENT, "a folder that is not there");
	is_str(err.text, "filter folder /nonexistent: No such file or directory", "and why");
	is_int(catalog_new(&empty, &c, &err), 0, "a folder without filters");
	chain = catalog_chain(c);
	ok(chain->find(chain, "breaker") && !chain->find(chain, "nothing"), "has the built-in ones");
	ok(!chain->find(chain, "../x") && !chain->find(chain, "") && !chain->find(chain, "A") &&
	   !chain->find(chain, "a/b"), "a type is no path");
	test_all(c);
	catalog_free(c);
	catalog_free(NULL);
}

int main(void)
{
	test_tables();
	test_find();
	return done();
}
