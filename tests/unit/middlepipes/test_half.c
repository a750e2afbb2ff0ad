/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aggregator halves as such: which tables are taken, what the built-in ones must have,
 * how `.so` files are found, and middlepipes/half.h.
 */
#include "aggregator/rows/batch.h"
#include "tests/unit/middlepipes/half_fixture.h"

/* Frozen: halves of 1.0 have these sizes, whatever is appended. */
_Static_assert(sizeof(void *) != 8 || MP_AGGREGATOR_1_0 == 13 * 8, "frozen");
_Static_assert(sizeof(void *) != 8 || MP_CELL_1_0 == 10 * 8, "frozen");
_Static_assert(sizeof(void *) != 8 || MP_AGGREGATOR_HOST_1_0 == 2 * 8, "frozen");

/* What is stored is what halves are told. */
_Static_assert((int)CELL_DATA == MP_CELL_DATA && (int)CELL_CONFLICT == MP_CELL_CONFLICT &&
		       (int)CELL_BASE == MP_CELL_BASE && (int)CELL_ADMIN == MP_CELL_ADMIN,
	       "the same kinds");

/* ---------------------------------------------------------------------- tables */

static struct mp_aggregator table;

static void refused(const char *what, const char *reason)
{
	struct err err = { 0 };

	is_int(catalog_check_half(&table, "sum", &err), -EINVAL, "%s is refused", what);
	is_str(err.text, reason, "%s: why", what);
	table = *registry_find_half("sum");
}

static void lacks(const char *what)
{
	struct err err = { 0 };

	is_int(catalog_check_half(&table, "sum", &err), -EINVAL, "without %s", what);
	table = *registry_find_half("sum");
}

static void test_tables(void)
{
	char text[128];

	table = *registry_find_half("sum");
	is_int(catalog_check_half(&table, "sum", NULL), 0, "a right table");
	table.abi_major = 2;
	refused("another major", "half sum needs ABI 2.0, we have 1.0");
	table.abi_minor = 1;
	refused("a newer minor", "half sum needs ABI 1.1, we have 1.0");
	table.size = MP_AGGREGATOR_1_0 - 1;
	(void)snprintf(text, sizeof(text), "half sum has an incomplete table (%zu of %zu bytes)",
		       MP_AGGREGATOR_1_0 - 1, MP_AGGREGATOR_1_0);
	refused("a table shorter than that of 1.0", text);
	table.name = "summe";
	refused("another name", "half sum calls itself summe");
	table.size += 64;
	is_int(catalog_check_half(&table, "sum", NULL), 0, "a longer table is taken");
	table.merge = NULL;
	table.status = NULL;
	is_int(catalog_check_half(&table, "sum", NULL), 0, "one without merge and status, too");
	table.rules = 0, lacks("rules");
	table.options = NULL, lacks("options");
	table.init = NULL, lacks("init");
	table.fini = NULL, lacks("fini");
	table.apply = NULL, lacks("apply");
	table.check = NULL, lacks("check");
	table.snapshot = NULL, lacks("snapshot");
	table.restore = NULL, lacks("restore");
}

/* The folder's README names every option.  From elsewhere it is not found. */
static void test_readme(const struct mp_aggregator *one)
{
	static char text[32768];
	char path[128], word[64];
	FILE *file;
	size_t size;

	(void)snprintf(path, sizeof(path), "middlepipes/%s/README.md", one->name);
	file = fopen(path, "r");
	if (!file) {
		note("no %s here", path);
		return;
	}
	size = fread(text, 1, sizeof(text) - 1, file);
	(void)fclose(file);
	text[size] = '\0';
	for (const struct mp_option *o = one->options; o->name; o++) {
		(void)snprintf(word, sizeof(word), "\n| `%s` | %s |", o->name, o->initial);
		ok(strstr(text, word) && o->help, "%s tells of %s and its default", path, o->name);
	}
}

static void test_registry(void)
{
	size_t n = 0;

	for (; registry_halves[n]; n++) {
		const struct mp_aggregator *one = registry_halves[n];

		is_int(catalog_check_half(one, one->name, NULL), 0, "%s is taken", one->name);
		ok(registry_find_half(one->name) == one && one->size == sizeof(*one) && one->summary,
		   "%s is found", one->name);
		ok(!n || strcmp(registry_halves[n - 1]->name, one->name) < 0, "alphabetical");
		test_readme(one);
		one->fini(NULL);
	}
	is_int((int64_t)n, 2, "two halves");
	ok(!registry_find_half("uniq") && !registry_find_half(""), "others are not found");
}

/* -------------------------------------------------------------------- instances */

static void test_config(void)
{
	static const struct {
		const char *config, *error; /* NULL: taken */
	} cases[] = {
		{ "", NULL },
		{ "{}", NULL },
		{ "{\"max_keys\": 5}", NULL },
		{ "{\"max_keys\": 0}",
		  "$.max_keys: wants a whole number of 1 to 1000000, not 0" },
		{ "{\"max_key\": 5}", "$.max_key: is not known here; did you mean \"max_keys\"?" },
		{ "[]", "$: wants an object, not an array" },
		{ "{", "line 1, column 1: string or '}' expected near end of file" },
	};

	half = registry_find_half("unique");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = { 0 };
		void *self = NULL;
		int r = half_new(half, &half_host, NULL, slice_of(cases[i].config), &self, &err);

		is_int(r, cases[i].error ? -EINVAL : 0, "configuration %s", cases[i].config);
		is_str(err.text, cases[i].error ? cases[i].error : "", "what is said of it");
		half->fini(self);
	}
}

/* ------------------------------------------------------------------- .so files */

static char told[1024]; /* names of what was refused and why */

static void on_refused(const char *path, const char *reason)
{
	size_t len = strlen(told);

	(void)snprintf(told + len, sizeof(told) - len, "%s: %s\n", strrchr(path, '/') + 1,
		       strrchr(reason, '/') ? strrchr(reason, '/') + 1 : reason);
}

static struct catalog *open_folder(const char *build, const char *sub, bool prefer_shared)
{
	static char folder[512];
	struct catalog *catalog = NULL;

	(void)snprintf(folder, sizeof(folder), "%s/%s", build, sub);
	told[0] = '\0';
	if (catalog_new(&(struct catalog_options){ folder, prefer_shared, on_refused }, &catalog, NULL)) {
		printf("Bail out! no folder %s\n", folder);
		exit(1);
	}
	return catalog;
}

/* Names of all halves, each with a '*' when it is not the built-in one. */
static const char *list(struct catalog *catalog)
{
	static char names[256];
	const struct mp_aggregator **all = catalog_all_halves(catalog);

	names[0] = '\0';
	for (size_t i = 0; all && all[i]; i++) {
		size_t len = strlen(names);

		(void)snprintf(names + len, sizeof(names) - len, "%s%s ", all[i]->name,
			       all[i] == registry_find_half(all[i]->name) ? "" : "*");
	}
	free(all);
	return names;
}

static void test_folder(const char *build)
{
	struct catalog *c = open_folder(build, "tests/halves", false);
	const struct mp_filter **filters;
	size_t n = 0;

	is_str(list(c), "sum unique both* ", "what a folder holds");
	is_str(told,
	       "neither.so: neither.so has neither symbol mp_filter_table nor mp_aggregator_table\n"
	       "newer.so: half newer needs ABI 1.1, we have 1.0\n", "and what not, and why");
	filters = catalog_all(c);
	while (filters && filters[n])
		n++;
	ok(n && !strcmp(filters[n - 1]->name, "both"), "a file may hold a filter, too");
	free(filters);
	ok(catalog_find(c, "both") && catalog_find_half(c, "both"), "both are found");
	ok(catalog_find_half(c, "sum") && !catalog_find(c, "sum"), "a half is no filter");
	ok(!catalog_find_half(c, "breaker"), "a filter is no half");
	ok(!catalog_find_half(c, "../halves/both") && !catalog_find_half(c, ""), "a name is no path");
	catalog_free(c);
	c = open_folder(build, "lib/middlepipe/filters", true);
	is_str(list(c), "sum* unique* ", "a shared one wins when that is wanted");
	ok(!catalog_find(c, "sum") && catalog_find(c, "breaker"), "and is no filter");
	catalog_free(c);
	c = open_folder(build, "lib/middlepipe/filters", false);
	is_str(list(c), "sum unique ", "and else not");
	is_str(told, "", "nothing is refused");
	catalog_free(c);
}

static void test_both(const char *build)
{
	struct catalog *c = open_folder(build, "tests/halves", false);
	struct err err = { 0 };
	void *self = NULL;
	struct buf bytes;

	half = catalog_find_half(c, "both");
	is_int(half_new(half, &half_host, NULL, MP_LIT("{\"most\": 0}"), &self, &err), -EINVAL,
	       "a failed init");
	is_str(err.text, "both: most: wants 1 or more", "says why");
	half_config = "{\"most\": 1}";
	self = half_make();
	is_str(half_check(self, MP_CELL_DATA, "x"), "", "a cell fits");
	is_int(half_apply(self, MP_CELL_DATA, "x"), 0, "and is applied");
	is_str(half_check(self, MP_CELL_DATA, "x"), "full", "a second does not");
	bytes = half_bytes(self);
	is_int((int64_t)bytes.len, 8, "a snapshot");
	bytes.max = 16;
	half->fini(self);
	half_config = "{\"pieces\": 8}";
	self = half_make();
	is_int(half_snapshot(half, self, &bytes), -E2BIG, "no room behind other bytes");
	half->fini(self);
	half_config = "{\"pieces\": 9}";
	self = half_make();
	buf_fini(&bytes);
	buf_init(&bytes, 2 * MP_SNAPSHOT_MAX);
	is_int(half_snapshot(half, self, &bytes), -E2BIG, "one above the bound");
	half->fini(self);
	buf_fini(&bytes);
	catalog_free(c);
}

int main(void)
{
	test_tables();
	test_registry();
	test_config();
	if (getenv("B")) {
		test_folder(getenv("B"));
		test_both(getenv("B"));
	}
	return done();
}
