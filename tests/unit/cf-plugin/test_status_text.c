/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of the control API in words; also half-empty and wrong ones. */
#include "cf-plugin/status_text.h"

#include <errno.h>

#include "tests/lib/tap.h"

static const char *const status_document =
	"{\"version\":\"0.1.0\",\"app\":\"shop\",\"pid\":4711,\"uptime_ms\":81234,\"restarts\":0,"
	"\"epoch\":3,\"lanes\":{\"open\":2,\"limit\":64},"
	"\"counters\":{\"unfiltered\":5,\"refused\":0},"
	"\"destinations\":[{\"name\":\"payments\",\"entries\":["
	"{\"prefix\":\"/slow\",\"standing\":\"ask\",\"calls\":{\"asked\":1},"
	"\"chain\":[{\"middlepipe\":\"guard\"},{\"middlepipe\":\"tag\"}]},"
	"{\"prefix\":\"\",\"standing\":\"pass\",\"calls\":{\"asked\":10,\"passed\":900,"
	"\"replied\":12,\"failed\":3},\"chain\":[]}],"
	"\"units\":[{\"middlepipe\":\"guard\",\"type\":\"breaker\",\"prefix\":\"\","
	"\"on_failure\":\"open\",\"standing\":\"pass\",\"ejected\":null,"
	"\"status\":{\"state\":\"closed\"}},"
	"{\"middlepipe\":\"loop\",\"type\":\"loop\",\"prefix\":\"/a\",\"on_failure\":\"closed\","
	"\"standing\":\"ask\",\"ejected\":{\"reason\":\"did not return within 100 ms\"},"
	"\"status\":{}}]}]}";

static const char *const status_words =
	"app shop, epoch 3, up 1m21s, 2 of 64 lanes open, pid 4711, 0 restarts, version 0.1.0\n"
	"5 calls went unfiltered\n"
	"\n"
	"DESTINATION  PATH   STANDING  ASKED  PASSED  REPLIED  FAILED  CHAIN\n"
	"payments     /slow  ask           1       0        0       0  guard > tag\n"
	"payments     /      pass         10     900       12       3  -\n"
	"\n"
	"MIDDLEPIPE  TYPE     DESTINATION  PATH  STANDING  ON FAILURE  STATE\n"
	"guard       breaker  payments     /     pass      open        closed\n"
	"loop        loop     payments     /a    ask       closed      ejected: did not return "
	"within 100 ms\n";

/* A document and what is said of it. */
struct row {
	const char *document; /* JSON */
	const char *words;    /* in text */
};

static const struct row explains[] = {
	{ "{\"url\":\"http://x/\",\"destination\":null}",
	  "http://x/ meets no chain: the call passes untouched.\n" },
	{ "{\"url\":\"http://x/\",\"destination\":\"d\",\"match\":\"x\",\"prefix\":\"\","
	  "\"standing\":\"pass\",\"chain\":[]}",
	  "http://x/ is a call to d (matched by x), path prefix /.\n"
	  "The call passes; nobody is asked.\n"
	  "Its chain is empty.\n" },
	{ "{\"url\":\"http://x/a\",\"destination\":\"d\",\"match\":\"x\",\"prefix\":\"/a\","
	  "\"standing\":\"reply\",\"until\":\"2026-11-21T10:00:05.000Z\",\"why\":\"guard\","
	  "\"chain\":[{\"middlepipe\":\"guard\",\"type\":\"breaker\",\"standing\":\"reply\","
	  "\"status\":{\"state\":\"open\",\"since\":\"2026-11-21T10:00:00.000Z\","
	  "\"reason\":\"6 of 10 calls failed (60%)\",\"last_error\":\"status 503\","
	  "\"probes_at\":\"2026-11-21T10:00:05.000Z\",\"calls\":10,\"share\":0.6}}]}",
	  "http://x/a is a call to d (matched by x), path prefix /a.\n"
	  "The call is answered at once, without the service, because of guard, until "
	  "2026-11-21T10:00:05.000Z (in 2.0s).\n"
	  "Its chain, in the order of the request:\n"
	  "  1. guard (breaker) stands at reply\n"
	  "     open since 2026-11-21T10:00:00.000Z (3.0s ago), because 6 of 10 calls failed "
	  "(60%); the last error was status 503; it lets probes through at "
	  "2026-11-21T10:00:05.000Z (in 2.0s).\n"
	  "     calls: 10, share: 0.6\n" },
	{ "{\"url\":\"http://x/\",\"destination\":\"d\",\"match\":\"x\",\"prefix\":\"\","
	  "\"standing\":\"ask\",\"why\":\"tag\",\"chain\":["
	  "{\"middlepipe\":\"tag\",\"type\":\"headers\",\"standing\":\"ask\",\"status\":{}},"
	  "{\"middlepipe\":\"l\",\"type\":\"loop\",\"standing\":\"pass\","
	  "\"ejected\":{\"reason\":\"crashed\",\"time\":\"2026-11-21T09:59:00.000Z\"}},"
	  "{\"middlepipe\":\"r\",\"type\":\"t\",\"standing\":\"pass\","
	  "\"status\":{\"reason\":\"of this\"}}]}",
	  "http://x/ is a call to d (matched by x), path prefix /.\n"
	  "Each call is asked about because of tag.\n"
	  "Its chain, in the order of the request:\n"
	  "  1. tag (headers) stands at ask\n"
	  "  2. l (loop) stands at pass\n"
	  "     It was ejected: it crashed, at 2026-11-21T09:59:00.000Z (1m03s ago).\n"
	  "  3. r (t) stands at pass\n"
	  "     because of this.\n" },
	{ "{\"url\":\"http://x/\",\"destination\":\"d\",\"match\":\"x\",\"prefix\":\"\","
	  "\"standing\":\"ask\",\"why\":\"tag\",\"chain\":["
	  "{\"middlepipe\":\"tag\",\"type\":\"headers\",\"standing\":\"ask\",\"status\":{}},"
	  "{\"middlepipe\":\"guard\",\"type\":\"breaker\",\"standing\":\"reply\",\"status\":{}},"
	  "{\"middlepipe\":\"g\",\"type\":\"breaker\",\"standing\":\"reply\",\"status\":{}}]}",
	  "http://x/ is a call to d (matched by x), path prefix /.\n"
	  "Each call is asked about because of tag.\n"
	  "One that comes as far as guard is answered by it, without the service.\n"
	  "Its chain, in the order of the request:\n"
	  "  1. tag (headers) stands at ask\n"
	  "  2. guard (breaker) stands at reply\n"
	  "  3. g (breaker) stands at reply\n" },
};

static const struct row events[] = {
	{ "{\"seq\":1,\"time\":\"t\",\"event\":\"opened\",\"middlepipe\":\"guard\","
	  "\"destination\":\"d\",\"fields\":{\"state\":\"open\",\"reason\":\"6 of 10\",\"n\":3}}",
	  "t opened middlepipe=guard destination=d state=open reason=\"6 of 10\" n=3\n" },
	{ "{\"time\":\"t\",\"event\":\"swapped\",\"middlepipe\":\"\"}", "t swapped\n" },
	{ "{\"time\":\"t\",\"event\":\"e\",\"fields\":{\"a\":\"x\\ny\",\"b\":\"\",\"c\":[]}}",
	  "t e a=\"x\\ny\" b=\"\" c=-\n" },
};

static json_t *load(const char *text)
{
	return json_loads(text, 0, NULL);
}

static void test_status(void)
{
	static const char *const odd[] = {
		"{}", "{\"destinations\":3}", "{\"destinations\":[3]}",
		"{\"destinations\":[{\"entries\":[[]],\"units\":[null,{\"status\":4}]}]}",
		"{\"lanes\":[],\"counters\":\"x\",\"app\":1}",
	};
	json_t *document = load(status_document);
	struct buf out;

	buf_init(&out, 100000);
	status_text(document, &out);
	is_str(buf_str(&out), status_words, "a status");
	json_decref(document);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		buf_reset(&out);
		document = load(odd[i]);
		status_text(document, &out);
		ok(out.len > 0 && !out.error, "an odd one: %s", odd[i]);
		json_decref(document);
	}
	buf_fini(&out);
}

static void test_explain(void)
{
	uint64_t now = 0;
	struct buf out;

	is_int(time_read("2026-11-21T10:00:03.000Z", &now), 0, "now");
	buf_init(&out, 100000);
	for (size_t i = 0; i < sizeof(explains) / sizeof(explains[0]); i++) {
		json_t *document = load(explains[i].document);

		buf_reset(&out);
		explain_text(document, now, &out);
		is_str(buf_str(&out), explains[i].words, "explain %zu", i);
		json_decref(document);
	}
	buf_fini(&out);
}

static void test_events(void)
{
	struct buf out;

	buf_init(&out, 10000);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		json_t *document = load(events[i].document);

		buf_reset(&out);
		event_text(document, &out);
		is_str(buf_str(&out), events[i].words, "event %zu", i);
		json_decref(document);
	}
	buf_fini(&out);
}

static void test_durations(void)
{
	static const struct {
		uint64_t ms;      /* a duration */
		const char *text; /* of it */
	} rows[] = {
		{ 0, "0ms" }, { 999, "999ms" }, { 1000, "1.0s" }, { 59999, "59.9s" },
		{ 60000, "1m00s" }, { 3599999, "59m59s" }, { 3600000, "1h00m" },
		{ 86399000, "23h59m" }, { 86400000, "1d00h" }, { 864000000, "10d00h" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf out;

		buf_init(&out, 100);
		duration_text(rows[i].ms, &out);
		is_str(buf_str(&out), rows[i].text, "%" PRIu64 " ms", rows[i].ms);
		buf_fini(&out);
	}
}

static void test_times(void)
{
	static const char *const odd[] = { "", "x", "2026-11-21", "2026-11-21T10:00:03Z",
					   "2026-11-21T10:00:03.000", "2026-11-21T10:00:03.000Zx" };
	uint64_t ns = 0;

	is_int(time_read("1970-01-01T00:00:01.500Z", &ns), 0, "a time");
	is_u64(ns, 1500000000u, "in ns");
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		is_int(time_read(odd[i], &ns), -EINVAL, "no time: \"%s\"", odd[i]);
}

int main(void)
{
	test_status();
	test_explain();
	test_events();
	test_durations();
	test_times();
	return done();
}
