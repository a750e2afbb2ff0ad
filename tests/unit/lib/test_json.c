/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/json: bounds of parsing, paths, getters, every mistake. */
#include "lib/json.h"

#include <errno.h>

#include "tests/lib/tap.h"

static json_t *load(const char *text)
{
	struct err err = {0};
	json_t *value = NULL;

	if (json_load_text(slice_of(text), 10000, 16, &value, &err))
		note("%s", err.text);
	return value;
}

static const struct {
	const char *text;
	int rc;
	const char *error;
} texts[] = {
	{"{\"a\":1}", 0, ""},
	{"[[[]]]", 0, ""},
	{"[\"[[[[{{{{\\\"[[\"]", 0, ""},
	{"[[[[]]]]", -E2BIG, "line 1, column 4: nested deeper than 3"},
	{"[\n {\"a\":\n[[", -E2BIG, "line 3, column 2: nested deeper than 3"},
	{"[1,1,1,1,1,1,1,1,1,1,1]", -E2BIG, "JSON of 23 bytes is over 20"},
	{"{\"a\":1,\n\"a\":2}", -EINVAL, "line 2, column 3: duplicate object key near '\"a\"'"},
	{"", -EINVAL, "line 1, column 1: '[' or '{' expected near end of file"},
	{"[1]x", -EINVAL, "line 1, column 4: end of file expected near 'x'"},
	{"[\"\\u0000\"]", -EINVAL, "line 1, column 9: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"\\u0000\"'"},
	{"]]]]", -EINVAL, "line 1, column 1: '[' or '{' expected near ']'"},
};

static void test_load(void)
{
	CLEANUP_JSON json_t *value = NULL;
	struct err err = {0};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CLEANUP_JSON json_t *each = NULL;

		err.text[0] = '\0';
		is_int(json_load_text(slice_of(texts[i].text), 20, 3, &each, &err), texts[i].rc,
		       "load %zu", i);
		is_str(err.text, texts[i].error, "its error");
	}
	is_int(json_load_text(slice_make("[1\0]", 4), 20, 3, &value, &err), -EINVAL, "a NUL byte");
	is_int(json_load_text(slice_make("[\"\xff\"]", 5), 20, 3, &value, &err), -EINVAL, "not UTF-8");
	ok(!strpbrk(err.text, "\xff\n"), "the message is printable: %s", err.text);
	is_int(json_load_text(slice_of(NULL), 20, 3, &value, &err), -EINVAL, "nothing");
	ok(!value, "failures give no value");
}

static void test_path(void)
{
	CLEANUP_JSON json_t *value = load("{\"list\":[{\"odd name\":{\"\":1}}]}");
	struct json_at root = json_at_root(value);
	struct json_at list = json_at_member(&root, "list");
	struct json_at first = json_at_index(&list, 0);
	struct json_at odd = json_at_member(&first, "odd name");
	struct json_at empty = json_at_member(&odd, "");
	char out[JSON_PATH_SIZE];

	is_int(json_path(&root, out, sizeof(out)), 0, "path");
	is_str(out, "$", "of the root");
	json_path(&empty, out, sizeof(out));
	is_str(out, "$.list[0][\"odd name\"][\"\"]", "of everything");
	is_int(json_integer_value(empty.value), 1, "leads to the value");
	is_int(json_path(&empty, out, 16), -E2BIG, "no room");
	is_str(out, "$.list[0]...", "is visible");
	is_u64(json_at_size(&list), 1, "elements");
	is_u64(json_at_size(&empty), 0, "a number has none");
	ok(!json_at_index(&list, 1).value, "no such element");
	ok(!json_at_member(&list, "x").value, "no such member");
}

static void test_good(void)
{
	CLEANUP_JSON json_t *value = load(
		"{\"s\":\"text\",\"b\":true,\"i\":-5,\"r\":0.5,\"c\":\"two\",\"o\":{},\"a\":[1,2]}");
	static const char *const names[] = {"one", "two", NULL};
	struct json_at root = json_at_root(value), o, a, absent;
	struct json_errs errs;
	const char *s = "default";
	bool b = false;
	int64_t i = 7;
	double r = 0;
	int c = -1;

	json_errs_init(&errs, 10);
	is_int(json_get_str(&root, "none", JSON_OPTIONAL, &s, &errs), 0, "absent");
	is_str(s, "default", "keeps the default");
	is_int(json_get_str(&root, "s", JSON_REQUIRED, &s, &errs), 0, "string");
	is_str(s, "text", "its value");
	json_get_bool(&root, "b", JSON_REQUIRED, &b, &errs);
	ok(b, "boolean");
	json_get_int(&root, "i", JSON_REQUIRED, -5, 5, &i, &errs);
	is_int(i, -5, "integer at its bound");
	json_get_real(&root, "r", JSON_REQUIRED, 0, 1, &r, &errs);
	ok(r == 0.5, "number");
	json_get_real(&root, "i", JSON_REQUIRED, -5, 1, &r, &errs);
	ok(r == -5, "an integer is a number");
	json_get_choice(&root, "c", JSON_REQUIRED, names, &c, &errs);
	is_int(c, 1, "choice");
	json_get_object(&root, "o", JSON_REQUIRED, &o, &errs);
	json_get_array(&root, "a", JSON_REQUIRED, 2, &a, &errs);
	is_u64(json_at_size(&a), 2, "array at its bound");
	json_get_object(&root, "none", JSON_OPTIONAL, &absent, &errs);
	is_int(json_get_int(&absent, "x", JSON_REQUIRED, 0, 1, &i, &errs), 0,
	       "an absent object lacks nothing");
	is_int(json_only(&root, &errs, "s", "b", "i", "r", "c", "o", "a", "none", NULL), 0, "only");
	is_str(json_errs_text(&errs), "", "no mistakes");
	is_int(json_errs_result(&errs, NULL), 0, "so the result is good");
	json_errs_fini(&errs);
}

static void test_bad(void)
{
	CLEANUP_JSON json_t *value = load(
		"{\"port\":70000,\"name\":{},\"on\":null,\"r\":1.5,\"mode\":\"opne\",\"prot\":1,"
		"\"list\":[1,\"x\\ny\"],\"i\":1.0,\"zzzzzz\":0}");
	static const char *const modes[] = {"open", "closed", NULL};
	struct json_at root = json_at_root(value), list, item;
	struct json_errs errs;
	struct err err = {0};
	const char *s = NULL;
	int64_t i = 7;
	double r = 0;
	bool b = false;
	int c = -1;

	json_errs_init(&errs, 20);
	is_int(json_get_int(&root, "port", JSON_REQUIRED, 1, 65535, &i, &errs), -EINVAL, "range");
	json_get_str(&root, "name", JSON_REQUIRED, &s, &errs);
	json_get_bool(&root, "on", JSON_OPTIONAL, &b, &errs);
	json_get_real(&root, "r", JSON_REQUIRED, 0, 1, &r, &errs);
	json_get_int(&root, "i", JSON_REQUIRED, 0, 1, &i, &errs);
	json_get_choice(&root, "mode", JSON_REQUIRED, modes, &c, &errs);
	json_get_str(&root, "gone", JSON_REQUIRED, &s, &errs);
	json_get_array(&root, "list", JSON_REQUIRED, 1, &list, &errs);
	ok(!list.value, "a list over its bound is not given");
	json_get_array(&root, "list", JSON_REQUIRED, 2, &list, &errs);
	item = json_at_index(&list, 1);
	json_get_str(&item, "x", JSON_OPTIONAL, &s, &errs);
	json_get_str(&item, "y", JSON_OPTIONAL, &s, &errs);
	is_int(json_only(&root, &errs, "port", "name", "on", "r", "mode", "list", "i", NULL), -EINVAL,
	       "unknown members");
	is_str(json_errs_text(&errs),
	       "$.port: wants 1 to 65535, not 70000\n"
	       "$.name: wants a string, not an object\n"
	       "$.on: wants true or false, not null\n"
	       "$.r: wants 0 to 1, not 1.5\n"
	       "$.i: wants an integer, not 1\n"
	       "$.mode: \"opne\" is not a known choice; did you mean \"open\"?\n"
	       "$.gone: is missing\n"
	       "$.list: wants at most 1 elements, not 2\n"
	       "$.list[1]: wants an object, not \"x\\x0ay\"\n"
	       "$.prot: is not known here; did you mean \"port\"?\n"
	       "$.zzzzzz: is not known here\n",
	       "every mistake is named");
	is_int(json_errs_result(&errs, &err), -EINVAL, "the result");
	is_str(err.text, "$.port: wants 1 to 65535, not 70000 (and 10 more)", "has the first");
	ok(!s && i == 7 && r == 0 && c == -1 && !b, "nothing was written");
	json_errs_fini(&errs);
}

static void test_bounds(void)
{
	struct json_at root = json_at_root(NULL);
	struct json_errs errs;
	struct err err = {0};
	char longer[2000];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	json_errs_init(&errs, 2);
	for (int i = 0; i < 100; i++)
		json_errs_add(&errs, &root, "mistake %d", i);
	is_str(json_errs_text(&errs), "$: mistake 0\n$: mistake 1\n(there are more mistakes)\n",
	       "only so many lines");
	is_u64(errs.count, 100, "all are counted");
	json_errs_fini(&errs);
	json_errs_init(&errs, 2);
	json_errs_add(&errs, &root, "%s", longer);
	is_str(json_errs_text(&errs) + 507, "...\n", "a long line is cut");
	is_u64(strlen(json_errs_text(&errs)), 511, "to its bound");
	ok(strlen(JSON_QUOTE(longer)) < JSON_QUOTE_SIZE, "a long value is cut");
	json_errs_result(&errs, &err);
	ok(!strncmp(err.text, "$: xxx", 6), "the result is cut too");
	json_errs_fini(&errs);
}

int main(void)
{
	test_load();
	test_path();
	test_good();
	test_bad();
	test_bounds();
	return done();
}
