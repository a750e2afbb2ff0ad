/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chain files, with a filter of the test's own that has every type of option:
 * what is read, and each mistake with its path, value and what is allowed.
 * Whole wrong files, with the built-in filters, are in tests/data/chains/bad.
 */
#include "lib/chain.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/lib/sample_filter.h"
#include "tests/lib/tap.h"

/* ------------------------------------------------------------ the test's own */

static const struct mp_option faulty_options[] = {
	{.name = "good", .type = MP_OPTION_INT, .initial = "1", .max = 2},
	{.name = "spelt", .type = MP_OPTION_INT, .initial = "one", .max = 2},
	{.name = "high", .type = MP_OPTION_INT, .initial = "3", .max = 2},
	{.name = "odd", .type = 99, .initial = "3"},
	{.name = NULL},
};
static const struct mp_filter faulty = {MP_FILTER_HEAD, .name = "faulty",
					.options = faulty_options};

static const struct mp_filter *find(const struct chain_catalog *catalog, const char *type)
{
	static const struct mp_filter *const all[] = {&sample, &plain, &faulty};

	(void)catalog;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!strcmp(all[i]->name, type))
			return all[i];
	}
	return NULL;
}

static const char *const names[] = {"plain", "sample", NULL};
static const struct chain_catalog catalog = {find, names};

static int parse(const char *text, struct chains **ret, struct json_errs *errs)
{
	json_errs_init(errs, 100);
	return chains_parse(slice_of(text), &catalog, ret, errs);
}

/* A file that must be right. */
static struct chains *good(const char *text)
{
	struct chains *chains = NULL;
	struct json_errs errs;

	is_int(parse(text, &chains, &errs), 0, "right: %s", text);
	is_str(json_errs_text(&errs), "", "no mistakes");
	json_errs_fini(&errs);
	if (!chains)
		exit(1);
	return chains;
}

#define ONE(config)                                                       \
	"{\"app\":\"a\",\"destinations\":[{\"name\":\"d\",\"match\":[\"h\"]," \
	"\"chain\":[{\"middlepipe\":\"m\",\"type\":\"sample\",\"config\":{" config "}}]}]}"
#define AT "$.destinations[0].chain[0].config."
#define MATCH(list) \
	"{\"app\":\"a\",\"destinations\":[{\"name\":\"d\",\"match\":[" list "],\"chain\":[]}]}"
#define MATCH_AT "$.destinations[0].match"
#define WANTS_MATCH "wants host, host:port, [IPv6], [IPv6]:port or unix:/path, not "
#define DURATION "wants a duration of 10ms to 1h, such as \"250ms\", \"5s\", \"2m\" or a " \
		 "whole number of ms, not "
#define RANGE "wants a whole number such as 503 or a range such as \"500-599\", first one " \
	      "not above the last, not "

/* ------------------------------------------------------------------ mistakes */

/* A text and all that is said of it. */
static const struct wrong {
	const char *text; /* a file */
	const char *errs; /* the mistakes */
} wrongs[] = {
	{"", "$: line 1, column 1: '[' or '{' expected near end of file\n"},
	{"[]", "$: wants an object, not an array\n"},
	{"{}", "$.app: is missing\n$.destinations: is missing\n"},
	{"{\"app\":\"a b\",\"destination\":[]}",
	 "$.destination: is not known here; did you mean \"destinations\"?\n"
	 "$.app: wants 1 to 64 letters, digits, '.', '_' and '-', the first one a letter or "
	 "digit, not \"a b\"\n$.destinations: is missing\n"},
	{"{\"app\":\"\",\"destinations\":[]}",
	 "$.app: wants 1 to 64 letters, digits, '.', '_' and '-', the first one a letter or "
	 "digit, not \"\"\n"},
	{"{\"app\":\"a\",\"epoch\":0,\"destinations\":[]}",
	 "$.epoch: wants 1 to 9007199254740991, not 0\n"},
	{"{\"app\":\"a\",\"epoch\":9007199254740992,\"destinations\":[]}",
	 "$.epoch: wants 1 to 9007199254740991, not 9007199254740992\n"},
	{"{\"app\":\"a\",\"epoch\":1.0,\"destinations\":[]}",
	 "$.epoch: wants an integer, not 1\n"},
	{"{\"app\":\"a\",\"epoch\":null,\"destinations\":{}}",
	 "$.epoch: wants an integer, not null\n$.destinations: wants an array, not an object\n"},
	{"{\"app\":\"a\",\"destinations\":[3,{}]}",
	 "$.destinations[0]: wants an object, not 3\n$.destinations[1].name: is missing\n"
	 "$.destinations[1].match: is missing\n$.destinations[1].chain: is missing\n"},
	/* values */
	{ONE("\"flag\":1"), AT "flag: wants true or false, not 1\n"},
	{ONE("\"count\":140"), AT "count: wants a whole number of 1 to 100, not 140\n"},
	{ONE("\"count\":0"), AT "count: wants a whole number of 1 to 100, not 0\n"},
	{ONE("\"count\":50.0"), AT "count: wants a whole number of 1 to 100, not 50\n"},
	{ONE("\"count\":\"50\""), AT "count: wants a whole number of 1 to 100, not \"50\"\n"},
	{ONE("\"count\":null"), AT "count: wants a whole number of 1 to 100, not null\n"},
	{ONE("\"share\":1.5"), AT "share: wants a number of 0 to 1, not 1.5\n"},
	{ONE("\"share\":[]"), AT "share: wants a number of 0 to 1, not an array\n"},
	{ONE("\"pause\":9"), AT "pause: " DURATION "9\n"},
	{ONE("\"pause\":\"61m\""), AT "pause: " DURATION "\"61m\"\n"},
	{ONE("\"pause\":\"5 s\""), AT "pause: " DURATION "\"5 s\"\n"},
	{ONE("\"pause\":\"s\""), AT "pause: " DURATION "\"s\"\n"},
	{ONE("\"pause\":\"-5s\""), AT "pause: " DURATION "\"-5s\"\n"},
	{ONE("\"pause\":\"5d\""), AT "pause: " DURATION "\"5d\"\n"},
	{ONE("\"pause\":\"9223372036854775807h\""),
	 AT "pause: " DURATION "\"9223372036854775807h\"\n"},
	{ONE("\"pause\":\"99999999999999999999ms\""),
	 AT "pause: " DURATION "\"99999999999999999999ms\"\n"},
	{ONE("\"text\":\"123456789\""), AT "text: wants at most 8 bytes, not 9\n"},
	{ONE("\"text\":7"), AT "text: wants a string, not 7\n"},
	{ONE("\"mode\":\"enforse\""), AT "mode: wants \"enforce\", \"dry-run\" or "
	 "\"forced-open\", not \"enforse\"; did you mean \"enforce\"?\n"},
	{ONE("\"mode\":\"zzz\""), AT "mode: wants \"enforce\", \"dry-run\" or "
	 "\"forced-open\", not \"zzz\"\n"},
	{ONE("\"mode\":0"), AT "mode: wants \"enforce\", \"dry-run\" or \"forced-open\", not 0\n"},
	{ONE("\"words\":\"x\""), AT "words: wants an array, not \"x\"\n"},
	{ONE("\"words\":[\"a\",2,\"b\",\"c\"]"), AT "words: wants at most 3 entries, not 4\n"},
	{ONE("\"words\":[\"a\",2]"), AT "words[1]: wants a string, not 2\n"},
	{ONE("\"kinds\":[\"timeout\",\"timeuot\"]"), AT "kinds[1]: wants \"refused\" or "
	 "\"timeout\", not \"timeuot\"; did you mean \"timeout\"?\n"},
	{ONE("\"fields\":[]"), AT "fields: wants an object, not an array\n"},
	{ONE("\"fields\":{\"a b\":\"x\"}"), "$.destinations[0].chain[0].config.fields[\"a b\"]: "
	 "the name of a header field has letters, digits and !#$%&'*+-.^_`|~ only\n"},
	{ONE("\"fields\":{\"X\":\"1\",\"x\":\"2\"}"),
	 AT "fields.x: this field is there already; case makes no difference\n"},
	{ONE("\"fields\":{\"X\":\"a\\r\\nb\"}"), AT "fields.X: wants a value without CR, LF and "
	 "NUL, not \"a\\x0d\\x0ab\"\n"},
	{ONE("\"fields\":{\"X\":1}"), AT "fields.X: wants a string, not 1\n"},
	{ONE("\"fields\":{\"a\":\"\",\"b\":\"\",\"c\":\"\",\"d\":\"\",\"e\":\"\"}"),
	 AT "fields: wants at most 4 entries, not 5\n"},
	{ONE("\"statuses\":[\"599-500\"]"), AT "statuses[0]: " RANGE "\"599-500\"\n"},
	{ONE("\"statuses\":[-1,\"5xx\",\"-\",\"1-\",true]"),
	 AT "statuses[0]: " RANGE "-1\n" AT "statuses[1]: " RANGE "\"5xx\"\n"
	 AT "statuses[2]: " RANGE "\"-\"\n" AT "statuses[3]: " RANGE "\"1-\"\n"
	 AT "statuses[4]: " RANGE "true\n"},
	{ONE("\"statuses\":[4294967296]"), AT "statuses[0]: " RANGE "4294967296\n"},
	{ONE("\"prefixes\":[\"a\"]"),
	 AT "prefixes[0]: wants a path that begins with \"/\", not \"a\"\n"},
	{ONE("\"prefixes\":[\"\"]"),
	 AT "prefixes[0]: wants a path that begins with \"/\", not \"\"\n"},
	{ONE("\"prefixes\":[\"/\"]"), AT "prefixes[0]: wants a path below \"/\": all that is not "
	 "listed has a unit anyway, not \"/\"\n"},
	{ONE("\"prefixes\":[\"/a?b\",\"/a#b\",\"/a b\"]"),
	 AT "prefixes[0]: wants a path without '?' and '#', not \"/a?b\"\n"
	 AT "prefixes[1]: wants a path without '?' and '#', not \"/a#b\"\n"
	 AT "prefixes[2]: wants a path as it is sent: no blanks, other bytes as %XX, not \"/a b\"\n"},
	{ONE("\"prefixes\":[\"/a\",\"/a/\"]"),
	 AT "prefixes[1]: wants each prefix once, not \"/a/\"\n"},
	{ONE("\"coutn\":1"), AT "coutn: is not known here; did you mean \"count\"?\n"},
	{ONE("\"coutn\":1,\"count\":0,\"flag\":\"yes\""),
	 AT "coutn: is not known here; did you mean \"count\"?\n"
	 AT "flag: wants true or false, not \"yes\"\n"
	 AT "count: wants a whole number of 1 to 100, not 0\n"},
	/* matches */
	{MATCH(""), MATCH_AT ": wants 1 to 64 matches, not none\n"},
	{MATCH("1"), MATCH_AT "[0]: wants a string, not 1\n"},
	{MATCH("\"\""), MATCH_AT "[0]: " WANTS_MATCH "\"\": the host is empty\n"},
	{MATCH("\".\""), MATCH_AT "[0]: " WANTS_MATCH "\".\": the host is empty\n"},
	{MATCH("\"a..b\""),
	 MATCH_AT "[0]: " WANTS_MATCH "\"a..b\": a part between two dots is empty\n"},
	{MATCH("\"a..\""),
	 MATCH_AT "[0]: " WANTS_MATCH "\"a..\": a part between two dots is empty\n"},
	{MATCH("\"http://a\""), MATCH_AT "[0]: " WANTS_MATCH "\"http://a\": no scheme and no path\n"},
	{MATCH("\"*.a\""), MATCH_AT "[0]: " WANTS_MATCH
	 "\"*.a\": a host has letters, digits, '-', '_' and '.' only\n"},
	{MATCH("\"a:\",\"b:0\",\"c:65536\",\"d:80x\",\"e:+80\",\":80\""),
	 MATCH_AT "[0]: " WANTS_MATCH "\"a:\": a port is 1 to 65535\n"
	 MATCH_AT "[1]: " WANTS_MATCH "\"b:0\": a port is 1 to 65535\n"
	 MATCH_AT "[2]: " WANTS_MATCH "\"c:65536\": a port is 1 to 65535\n"
	 MATCH_AT "[3]: " WANTS_MATCH "\"d:80x\": a port is 1 to 65535\n"
	 MATCH_AT "[4]: " WANTS_MATCH "\"e:+80\": a port is 1 to 65535\n"
	 MATCH_AT "[5]: " WANTS_MATCH "\":80\": the host is empty\n"},
	{MATCH("\"::1\""), MATCH_AT "[0]: " WANTS_MATCH "\"::1\": an IPv6 address stands in brackets\n"},
	{MATCH("\"[::1\",\"[::1]80\",\"[::1]:0\",\"[1.2.3.4]\",\"[]\""),
	 MATCH_AT "[0]: " WANTS_MATCH "\"[::1\": the closing bracket is missing\n"
	 MATCH_AT "[1]: " WANTS_MATCH
	 "\"[::1]80\": after the bracket may follow a colon and a port\n"
	 MATCH_AT "[2]: " WANTS_MATCH "\"[::1]:0\": a port is 1 to 65535\n"
	 MATCH_AT "[3]: " WANTS_MATCH "\"[1.2.3.4]\": that is no IPv6 address\n"
	 MATCH_AT "[4]: " WANTS_MATCH "\"[]\": that is no IPv6 address\n"},
	{MATCH("\"unix:\",\"unix:a\",\"unix:/\""),
	 MATCH_AT "[0]: " WANTS_MATCH "\"unix:\": after unix: comes a path that begins with '/'\n"
	 MATCH_AT "[1]: " WANTS_MATCH "\"unix:a\": after unix: comes a path that begins with '/'\n"
	 MATCH_AT "[2]: " WANTS_MATCH "\"unix:/\": after unix: comes a path that begins with '/'\n"},
	{MATCH("\"a\",\"A.\""),
	 MATCH_AT "[1]: \"a\" overlaps \"a\" of $.destinations[0].match[0]\n"},
	{MATCH("\"a:80\",\"b\",\"a\""), MATCH_AT "[2]: \"a\" overlaps \"a:80\" of "
	 "$.destinations[0].match[0]: without a port it means any port\n"},
	{MATCH("\"a\",\"a:1\",\"a:2\""),
	 MATCH_AT "[1]: \"a:1\" overlaps \"a\" of $.destinations[0].match[0]: without a port it "
	 "means any port\n"
	 MATCH_AT "[2]: \"a:2\" overlaps \"a\" of $.destinations[0].match[0]: without a port it "
	 "means any port\n"},
};

static void test_wrongs(void)
{
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		struct chains *chains = NULL;
		struct json_errs errs;

		is_int(parse(wrongs[i].text, &chains, &errs), -EINVAL, "refused: %s",
		       wrongs[i].text);
		is_str(json_errs_text(&errs), wrongs[i].errs, "and why");
		ok(!chains, "nothing is made");
		json_errs_fini(&errs);
	}
}

static const char *const bindings_wrong =
	"{\"app\":\"a\",\"destinations\":["
	"{\"name\":\"d\",\"match\":[\"h\"],\"chain\":["
	"{\"middlepipe\":\"m\",\"type\":\"sampel\"},"
	"{\"middlepipe\":\"n\",\"type\":\"plain\",\"config\":{\"x\":1}},"
	"{\"middlepipe\":\"n\",\"type\":\"plain\",\"on_failure\":\"close\"},"
	"{\"type\":7,\"config\":[]}, 5,"
	"{\"middlepipe\":\"ok\",\"type\":\"plain\",\"onfailure\":true}]},"
	"{\"name\":\"d\",\"match\":[\"i\"],\"chain\":["
	"{\"middlepipe\":\"ok\",\"type\":\"sample\"}]}]}";

static const char *const bindings_errs =
	"$.destinations[0].chain[0].type: wants the type of a filter (plain, sample), not "
	"\"sampel\"; did you mean \"sample\"?\n"
	"$.destinations[0].chain[1].config.x: is not known here\n"
	"$.destinations[0].chain[2].on_failure: wants \"open\" or \"closed\", not \"close\"\n"
	"$.destinations[0].chain[2].middlepipe: \"n\" is the name of chain[1] here already\n"
	"$.destinations[0].chain[3].middlepipe: is missing\n"
	"$.destinations[0].chain[3].type: wants a string, not 7\n"
	"$.destinations[0].chain[3].config: wants an object, not an array\n"
	"$.destinations[0].chain[4]: wants an object, not 5\n"
	"$.destinations[0].chain[5].onfailure: is not known here; did you mean \"on_failure\"?\n"
	"$.destinations[1].name: \"d\" is the name of $.destinations[0] already\n"
	"$.destinations[1].chain[0].type: wants \"plain\", not \"sample\": the middlepipe \"ok\" "
	"has one type, see $.destinations[0].chain[5]\n";

static void test_bindings_wrong(void)
{
	struct chains *chains = NULL;
	struct json_errs errs;

	is_int(parse(bindings_wrong, &chains, &errs), -EINVAL, "all is refused");
	is_str(json_errs_text(&errs), bindings_errs, "every mistake is named");
	json_errs_fini(&errs);
}

static void test_faulty_filter(void)
{
	struct chains *chains = NULL;
	struct json_errs errs;

	parse("{\"app\":\"a\",\"destinations\":[{\"name\":\"d\",\"match\":[\"h\"],\"chain\":["
	      "{\"middlepipe\":\"m\",\"type\":\"faulty\"},"
	      "{\"middlepipe\":\"n\",\"type\":\"faulty\"}]}]}", &chains, &errs);
	is_str(json_errs_text(&errs),
	       "$.destinations[0].chain[0].type: the filter's own default of its option "
	       "\"spelt\" is wrong\n"
	       "$.destinations[0].chain[0].type: the filter's own default of its option "
	       "\"high\" is wrong\n"
	       "$.destinations[0].chain[0].type: the filter's own default of its option "
	       "\"odd\" is wrong\n", "a filter's wrong defaults are told once");
	json_errs_fini(&errs);
}

/* ---------------------------------------------------------------- what it is */

static void test_example(void)
{
	struct chains *chains = good(
		"{\"app\":\"shop\",\"epoch\":7,\"destinations\":[{\"name\":\"payments\","
		"\"match\":[\"127.0.0.1:9292\",\"Payments.Internal.\"],\"chain\":["
		"{\"middlepipe\":\"guard\",\"type\":\"sample\",\"config\":{\"count\":50},"
		"\"on_failure\":\"closed\"},{\"middlepipe\":\"b\",\"type\":\"plain\"}]},"
		"{\"name\":\"idle\",\"match\":[\"idle\"],\"chain\":[]}]}");
	const struct chain_destination *destinations;
	const struct chain_binding *guard;
	size_t n;

	is_str(chains_app(chains), "shop", "app");
	is_u64(chains_epoch(chains), 7, "epoch");
	destinations = chains_destinations(chains, &n);
	is_int((int64_t)n, 2, "destinations");
	is_str(destinations[0].name, "payments", "name");
	is_int((int64_t)destinations[0].n_matches, 2, "matches");
	ok(slice_eq(slice_make(destinations[0].matches[1].text, destinations[0].matches[1].size),
		    MP_LIT("payments.internal")), "a host in lower case, no final dot");
	is_int((int64_t)destinations[0].n_prefixes, 1, "one prefix");
	is_int((int64_t)destinations[0].prefixes[0].len, 0, "which is empty");
	is_int((int64_t)destinations[1].n_bindings, 0, "an empty chain");
	guard = &destinations[0].bindings[0];
	is_str(guard->middlepipe, "guard", "middlepipe");
	is_str(guard->type, "sample", "type");
	ok(guard->filter == &sample, "filter");
	ok(guard->closed, "closed");
	is_str(guard->config, "{\"count\":50}", "configuration");
	is_int(guard->values[COUNT].integer, 50, "a value");
	is_int(guard->values[COUNT].given, 1, "given");
	is_int((int64_t)guard->n_values, 11, "values for all options");
	ok(!destinations[0].bindings[1].closed, "open by default");
	is_str(destinations[0].bindings[1].config, "{}", "no configuration");
	is_int((int64_t)destinations[0].bindings[1].n_values, 0, "no options");
	chains_free(chains);
}

/* The values of the first binding of the first destination. */
static const struct mp_value *first_values(const struct chains *chains)
{
	size_t n;

	return chains_destinations(chains, &n)[0].bindings[0].values;
}

static void test_defaults(void)
{
	struct chains *chains = good(ONE(""));
	const struct mp_value *values = first_values(chains);

	is_u64(chains_epoch(chains), 1, "an absent epoch is 1");
	is_int(values[FLAG].integer, 1, "bool");
	is_int(values[FLAG].given, 0, "not given");
	is_int(values[COUNT].integer, 20, "int");
	ok(values[SHARE].number == 0.5, "number");
	is_int(values[PAUSE].integer, 5000, "duration");
	is_int((int64_t)values[TEXT].string.len, 0, "string");
	is_int(values[MODE].integer, 0, "enum");
	is_int((int64_t)values[WORDS].n_fields, 0, "strings");
	ok(slice_eq(values[KINDS].fields[0].name, MP_LIT("refused")), "strings with choices");
	is_int((int64_t)values[FIELDS].n_fields, 0, "fields");
	is_int(values[STATUSES].ranges[0].first, 500, "ranges");
	is_int((int64_t)values[PREFIXES].n_fields, 0, "prefixes");
	chains_free(chains);
}

static void test_values(void)
{
	struct chains *chains = good(ONE(
		"\"flag\":false,\"count\":100,\"share\":1,\"pause\":\"2m\",\"text\":\"12345678\","
		"\"mode\":\"forced-open\",\"words\":[\"a\",\"\"],\"kinds\":[\"timeout\",\"refused\"],"
		"\"fields\":{\"X-B\":\"2\",\"X-A\":\"\"},\"statuses\":[503,\"500-599\",\"7-7\"],"
		"\"prefixes\":[\"/a/\",\"/a/b%20c\"]"));
	const struct mp_value *values = first_values(chains);

	is_int(values[FLAG].integer, 0, "bool");
	is_int(values[COUNT].integer, 100, "int");
	ok(values[SHARE].number == 1, "number");
	is_int(values[PAUSE].integer, 120000, "duration");
	ok(slice_eq(values[TEXT].string, MP_LIT("12345678")), "string");
	is_int(values[MODE].integer, 2, "enum");
	is_int((int64_t)values[WORDS].n_fields, 2, "strings");
	ok(slice_eq(values[KINDS].fields[0].name, MP_LIT("timeout")), "in their order");
	ok(slice_eq(values[FIELDS].fields[0].name, MP_LIT("X-B")), "fields in their order");
	ok(slice_eq(values[FIELDS].fields[0].value, MP_LIT("2")), "with values");
	is_int((int64_t)values[STATUSES].n_ranges, 3, "ranges");
	is_int(values[STATUSES].ranges[0].last, 503, "one number");
	is_int(values[STATUSES].ranges[1].last, 599, "two numbers");
	ok(slice_eq(values[PREFIXES].fields[0].name, MP_LIT("/a")), "no slash at the end");
	chains_free(chains);
}

static void test_durations(void)
{
	static const struct {
		const char *text; /* a file */
		int64_t ms;       /* what it says */
	} rows[] = {
		{ONE("\"pause\":10"), 10},           {ONE("\"pause\":\"10ms\""), 10},
		{ONE("\"pause\":\"007s\""), 7000},   {ONE("\"pause\":\"60m\""), 3600000},
		{ONE("\"pause\":\"1h\""), 3600000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct chains *chains = good(rows[i].text);

		is_int(first_values(chains)[PAUSE].integer, rows[i].ms, "duration %zu", i);
		chains_free(chains);
	}
}

static const char *const two_prefixed =
	"{\"app\":\"a\",\"destinations\":[{\"name\":\"d\",\"match\":[\"h\"],\"chain\":["
	"{\"middlepipe\":\"m\",\"type\":\"sample\",\"config\":{\"prefixes\":[\"/b\",\"/b/c\"]}},"
	"{\"middlepipe\":\"n\",\"type\":\"sample\",\"config\":{\"prefixes\":[\"/a\",\"/b\"]}}]}]}";

static void test_prefixes(void)
{
	struct chains *chains = good(two_prefixed);
	size_t n;
	const struct chain_destination *d = chains_destinations(chains, &n);
	static const char *const wants[] = {"/b/c", "/a", "/b", ""};
	static const struct {
		const char *path; /* of a call */
		size_t index;     /* of the prefix that it meets */
	} rows[] = {{"/", 3}, {"/b", 2}, {"/b/", 2}, {"/bc", 3}, {"/b/c", 0}, {"/b/c/d?x", 0},
		    {"/b?/c", 2}, {"/a/b/c", 1}, {"/B", 3}, {"", 3}};

	is_int((int64_t)d->n_prefixes, 4, "the union, each once");
	for (size_t i = 0; i < 4; i++)
		ok(slice_eq(d->prefixes[i], slice_of(wants[i])), "prefix %zu: %s", i, wants[i]);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_int((int64_t)chain_prefix_find(d, slice_of(rows[i].path)),
		       (int64_t)rows[i].index, "path %s", rows[i].path);
	ok(slice_eq(chain_binding_prefix(&d->bindings[0], MP_LIT("/b/c")), MP_LIT("/b/c")),
	   "its own");
	ok(slice_eq(chain_binding_prefix(&d->bindings[1], MP_LIT("/b/c")), MP_LIT("/b")),
	   "a shorter one of its own");
	ok(slice_eq(chain_binding_prefix(&d->bindings[0], MP_LIT("/a")), MP_LIT("")),
	   "none of its own");
	chains_free(chains);
}

static void test_find(void)
{
	struct chains *chains = good(
		"{\"app\":\"a\",\"destinations\":["
		"{\"name\":\"one\",\"match\":[\"h:80\",\"any\",\"[::1]:8080\"],\"chain\":[]},"
		"{\"name\":\"two\",\"match\":[\"h:81\",\"unix:/run/x\",\"[::1]:80\"],\"chain\":[]}]}");
	static const struct {
		const char *host; /* of a call */
		uint32_t port;
		const char *name; /* of the destination, or NULL */
		size_t match;     /* its index */
	} rows[] = {
		{"h", 80, "one", 0},     {"H.", 81, "two", 0},   {"h", 82, NULL, 0},
		{"any", 1, "one", 1},    {"any", 65535, "one", 1}, {"[::1]", 80, "two", 2},
		{"[::1]", 8080, "one", 2}, {"unix:/run/x", 80, "two", 1}, {"unix:/run/X", 0, NULL, 0},
		{"other", 80, NULL, 0},  {"", 80, NULL, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t match = 0;
		const struct chain_destination *found = chains_find(
			chains, slice_of(rows[i].host), rows[i].port, &match);

		is_str(found ? found->name : NULL, rows[i].name, "%s port %u", rows[i].host,
		       rows[i].port);
		is_int((int64_t)match, (int64_t)rows[i].match, "its match");
	}
	chains_free(chains);
}

static void test_identity(void)
{
	struct chains *a = good("{\"app\":\"a\",\"epoch\":1,\"destinations\":[]}");
	struct chains *b = good("{ \"destinations\" : [] , \"epoch\":2, \"app\":\"a\"}");
	struct chains *c = good("{\"app\":\"b\",\"epoch\":1,\"destinations\":[]}");

	is_str(chains_identity(a), "{\"app\":\"a\",\"destinations\":[]}", "canonical");
	is_str(chains_identity(a), chains_identity(b), "epoch, blanks and order mean nothing");
	ok(strcmp(chains_identity(a), chains_identity(c)), "another file");
	is_str(chains_text(b), "{ \"destinations\" : [] , \"epoch\":2, \"app\":\"a\"}",
	       "the text as given");
	chains_free(a);
	chains_free(b);
	chains_free(c);
	chains_free(NULL);
}

/* -------------------------------------------------------------------- bounds */

/* n times a text with one %zu, in a file. */
static struct buf many(const char *head, const char *item, size_t n, const char *tail)
{
	struct buf text;
	char entry[256];

	buf_init(&text, CHAIN_TEXT_MAX * 2);
	buf_add_str(&text, head);
	for (size_t i = 0; i < n; i++) {
		const char *number = strchr(item, '#');

		(void)snprintf(entry, sizeof(entry), "%s%.*s%zu%s", i ? "," : "",
			       (int)(number - item), item, i, number + 1);
		buf_add_str(&text, entry);
	}
	buf_add_str(&text, tail);
	return text;
}

static void bound(const char *what, struct buf text, int want_rc, const char *want_errs)
{
	struct chains *chains = NULL;
	struct json_errs errs;

	is_int(parse(buf_str(&text), &chains, &errs), want_rc, "%s", what);
	is_str(json_errs_text(&errs), want_errs, "mistakes of %s", what);
	json_errs_fini(&errs);
	chains_free(chains);
	buf_fini(&text);
}

#define FILE_HEAD "{\"app\":\"a\",\"destinations\":["
#define DESTINATION "{\"name\":\"d#\",\"match\":[\"h#\"],\"chain\":[]}"
#define CHAIN_HEAD FILE_HEAD "{\"name\":\"d\",\"match\":[\"h\"],\"chain\":["
#define BINDING "{\"middlepipe\":\"m#\",\"type\":\"plain\"}"
#define MATCH_HEAD FILE_HEAD "{\"name\":\"d\",\"chain\":[],\"match\":["
#define PREFIX_BINDING "{\"middlepipe\":\"m\",\"type\":\"sample\",\"config\":{\"prefixes\":["

static void test_bounds(void)
{
	/* The item's '#' stands for a number, once: the name tells destinations apart. */
	bound("1025 destinations",
	      many(FILE_HEAD, "{\"name\":\"d#\",\"match\":[],\"chain\":[]}", 1025, "]}"), -EINVAL,
	      "$.destinations: wants at most 1024 elements, not 1025\n");
	bound("32 filters", many(CHAIN_HEAD, BINDING, 32, "]}]}"), 0, "");
	bound("33 filters", many(CHAIN_HEAD, BINDING, 33, "]}]}"), -EINVAL,
	      "$.destinations[0].chain: wants at most 32 elements, not 33\n");
	bound("64 matches", many(MATCH_HEAD, "\"h:1#\"", 64, "]}]}"), 0, "");
	bound("65 matches", many(MATCH_HEAD, "\"h:1#\"", 65, "]}]}"), -EINVAL,
	      "$.destinations[0].match: wants at most 64 elements, not 65\n");
	bound("63 prefixes", many(CHAIN_HEAD PREFIX_BINDING, "\"/#\"", 63, "]}}]}]}"), 0, "");
	bound("64 prefixes", many(CHAIN_HEAD PREFIX_BINDING, "\"/#\"", 64, "]}}]}]}"), -EINVAL,
	      AT "prefixes: wants at most 63 entries, not 64\n");
	bound("64 prefixes in two filters",
	      many(CHAIN_HEAD "{\"middlepipe\":\"n\",\"type\":\"sample\",\"config\":{\"prefixes\":"
			      "[\"/x\"]}}," PREFIX_BINDING, "\"/#\"", 63, "]}}]}]}"), -EINVAL,
	      "$.destinations[0].chain: wants at most 63 path prefixes in one chain, not 64\n");
	bound("a text too long", many("[", "          #", CHAIN_TEXT_MAX / 10, "]"), -E2BIG,
	      "$: JSON of 1671460 bytes is over 1048576\n");
	bound("a text too deep", many("[[[[[[[[[[[[[[[[[", "#", 1, "]"), -E2BIG,
	      "$: line 1, column 17: nested deeper than 16\n");
}

int main(void)
{
	test_wrongs();
	test_bindings_wrong();
	test_faulty_filter();
	test_example();
	test_defaults();
	test_values();
	test_durations();
	test_prefixes();
	test_find();
	test_identity();
	test_bounds();
	return done();
}
