/* SPDX-License-Identifier: Apache-2.0 */
/* A filter and its options in words, and what `check` asks a filter's load(). */
#include "cf-plugin/filter_text.h"

#include "cf-plugin/chain_try.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

static const struct mp_option options[] = {
	{ .name = "flag", .type = MP_OPTION_BOOL, .initial = "true", .help = "Says whether." },
	{ .name = "count", .type = MP_OPTION_INT, .initial = "20", .min = 1, .max = 100,
	  .help = "How many.", .peers = "Hystrix: theCount (20)" },
	{ .name = "pause", .type = MP_OPTION_DURATION, .initial = "90000", .min = 10,
	  .max = 3600000, .help = "How long to wait between one thing and the next one, which is "
				  "a sentence that needs two lines." },
	{ .name = "word", .type = MP_OPTION_DURATION, .initial = "\"5s\"", .max = 3600000 },
	{ .name = "text", .type = MP_OPTION_STRING, .max = 8 },
	{ .name = "mode", .type = MP_OPTION_ENUM, .initial = "\"a\"", .choices = "a|b-c" },
	{ .name = "kinds", .type = MP_OPTION_STRINGS, .initial = "[]", .choices = "x|y", .max = 2 },
	{ .name = NULL },
};
static const char *const counters[] = { "opened", "closed", NULL };

static int loads, unloads; /* how often they were called */

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	loads++;
	plan->needs = MP_NEED_OUTCOME;
	*ret_self = &loads;
	(void)host->random(unit);
	if (host->now(unit) && values[1].integer != 13)
		return 0;
	(void)snprintf(error, error_size, "count: 13 brings bad luck; any other is allowed");
	return -22;
}

static void unload(void *self)
{
	unloads += self == &loads;
}

static const struct mp_filter sample = {
	MP_FILTER_HEAD, .name = "sample", .summary = "does things", .level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_REQUEST | MP_NEED_OUTCOME, .options = options, .counters = counters,
	.load = load, .unload = unload,
};

static const struct mp_filter *find(const struct chain_catalog *catalog, const char *type)
{
	(void)catalog;
	return strcmp(type, "sample") ? NULL : &sample;
}

static const char *const words =
	"sample: does things\n"
	"\n"
	"Options of its \"config\":\n"
	"\n"
	"  flag\n"
	"      true or false; default true\n"
	"      Says whether.\n"
	"\n"
	"  count\n"
	"      a whole number of 1 to 100; default 20\n"
	"      How many.\n"
	"      Hystrix: theCount (20)\n"
	"\n"
	"  pause\n"
	"      a duration: \"250ms\", \"5s\", \"2m\" or a number of ms, 10ms to 1h; default 90s\n"
	"      How long to wait between one thing and the next one, which is a sentence\n"
	"      that needs two lines.\n"
	"\n"
	"  word\n"
	"      a duration: \"250ms\", \"5s\", \"2m\" or a number of ms, 0ms to 1h; default \"5s\"\n"
	"\n"
	"  text\n"
	"      a text, at most 8 bytes\n"
	"\n"
	"  mode\n"
	"      one of a|b-c; default \"a\"\n"
	"\n"
	"  kinds\n"
	"      a list of texts, out of x|y, at most 2; default []\n"
	"\n"
	"Needs at most: request outcome\n"
	"Counts: opened, closed\n";

static void test_words(void)
{
	const struct mp_filter *const list[] = { &sample, NULL };
	struct buf out;

	buf_init(&out, 100000);
	filter_text_one(&sample, &out);
	is_str(buf_str(&out), words, "all of it");
	buf_reset(&out);
	filter_text_list(list, &out);
	is_str(buf_str(&out), "TYPE    WHAT IT DOES\nsample  does things\n", "a line of it");
	buf_fini(&out);
}

static void test_json(void)
{
	json_t *document = filter_json(&sample);
	const json_t *all = json_object_get(document, "options");
	const json_t *count = json_array_get(all, 1), *mode = json_array_get(all, 5);

	is_str(json_string_value(json_object_get(document, "type")), "sample", "type");
	is_int((int64_t)json_array_size(all), 7, "options");
	is_int(json_integer_value(json_object_get(count, "default")), 20, "a default");
	ok(json_number_value(json_object_get(count, "max")) == 100, "a bound");
	is_int((int64_t)json_array_size(json_object_get(mode, "choices")), 2, "choices");
	is_int((int64_t)json_array_size(json_object_get(document, "needs")), 2, "needs");
	is_int((int64_t)json_array_size(json_object_get(document, "counters")), 2, "counters");
	json_decref(document);
}

static void test_try(void)
{
	static const char text[] =
		"{\"app\":\"a\",\"destinations\":[{\"name\":\"d\",\"match\":[\"h\"],\"chain\":["
		"{\"middlepipe\":\"m\",\"type\":\"sample\"},"
		"{\"middlepipe\":\"n\",\"type\":\"sample\",\"config\":{\"count\":13}}]}]}";
	static const struct mp_filter *const ours[] = { &sample, NULL }, *const nobody[] = { NULL };
	const struct chain_catalog catalog = { find, NULL };
	struct chains *chains = NULL;
	struct json_errs errs;
	struct buf out;

	json_errs_init(&errs, 10);
	is_int(chains_parse(slice_of(text), &catalog, &chains, &errs), 0, "a file");
	buf_init(&out, 10000);
	is_int((int64_t)chain_try(chains, nobody, &out), 0, "what is not to be tried is not");
	is_int(loads, 0, "nor loaded");
	is_int((int64_t)chain_try(chains, ours, &out), 1, "one is refused by the filter");
	is_str(buf_str(&out), "$.destinations[0].chain[1].config: count: 13 brings bad luck; any "
			      "other is allowed\n", "and why");
	is_int(loads, 2, "both were loaded");
	is_int(unloads, 2, "and freed, also what a failed load left");
	buf_fini(&out);
	json_errs_fini(&errs);
	chains_free(chains);
}

int main(void)
{
	test_words();
	test_json();
	test_try();
	return done();
}
