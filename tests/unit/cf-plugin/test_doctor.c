/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor finds in what aggregators say: each fault alone, by its words. */
#include "cf-plugin/doctor.h"

#include <stdlib.h>

#include "tests/lib/tap.h"

#define WELL \
	"{\"member\":\"m1\",\"group\":\"g1\",\"ready\":true,\"version\":\"1.0\",\"now\":1795000000000," \
	"\"data\":{\"path\":\"/d\",\"size\":100000000000,\"free\":50000000000}," \
	"\"engine\":{\"name\":\"embedded\",\"serving\":true,\"full\":false,\"read_only\":false,\"damaged\":false,\"text\":\"\"}," \
	"\"rows\":{\"count\":1,\"damaged\":0,\"doubtful\":0},\"flights\":{\"sent\":5000,\"unknown\":0},\"puts_waiting\":0}"

/* What was found, one behind the other. */
static char found[4096];
static int problems, findings;

static void on_finding(void *ctx, enum severity severity, const char *url, const char *what, const char *advice)
{
	size_t len = strlen(found);

	(void)ctx;
	findings++;
	problems += severity == DOCTOR_PROBLEM;
	(void)snprintf(found + len, sizeof(found) - len, "%s|%s|%s;", url, what, advice);
}

static void judge(const struct patient *patients, size_t n)
{
	found[0] = '\0';
	problems = findings = 0;
	doctor_judge(patients, n, "1.0", on_finding, NULL);
}

/* A healthy one in whose status a text is another. */
static void finds(const char *from, const char *to, const char *want, bool problem)
{
	struct patient p = { .url = "u", .http_status = 200, .ready_status = 200, .why = "" };
	const char *at = strstr(WELL, from);
	char text[2048];
	json_t *status;

	if (!ok(at != NULL, "the text %s is there", from))
		return;
	(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - WELL), WELL, to, at + strlen(from));
	status = json_loads(text, 0, NULL);
	p.status = status;
	judge(&p, 1);
	ok(status && strstr(found, want) && (problems == 1) == problem && findings == 1,
	   "%s: %s", to, found);
	json_decref(status);
}

static void test_status(void)
{
	finds("\"serving\":true", "\"serving\":false", "does not answer", true);
	finds("\"full\":false", "\"full\":true", "no room", true);
	finds("\"read_only\":false", "\"read_only\":true", "takes no writes", true);
	finds("\"damaged\":false", "\"damaged\":true", "not what was written", true);
	finds("\"damaged\":0", "\"damaged\":3", "3 heads or batches", true);
	finds("\"doubtful\":0", "\"doubtful\":2", "2 rows are being read again", false);
	finds("\"free\":50000000000", "\"free\":1000000", "all but full: 0 MiB", true);
	finds("\"free\":50000000000", "\"free\":4000000000", "filling up: 3814 MiB", false);
	finds("\"version\":\"1.0\"", "\"version\":\"0.9\"", "has version 0.9", false);
	finds("\"unknown\":0", "\"unknown\":51", "51 of 5000", false);
	finds("\"puts_waiting\":0", "\"puts_waiting\":20000", "20000 puts", false);
}

static void test_well(void)
{
	json_t *status = json_loads(WELL, 0, NULL);
	struct patient p = { .url = "u", .http_status = 200, .ready_status = 200, .why = "", .status = status,
			     .clock_ms = -1020, .round_ms = 60 };

	judge(&p, 1);
	is_str(found, "", "nothing is found where all is well");
	p.clock_ms = -1031;
	judge(&p, 1);
	ok(strstr(found, "1031 ms behind") && !problems, "a clock: %s", found);
	p.clock_ms = 0;
	p.ready_status = 503;
	p.why = "shard 3 has no owner";
	judge(&p, 1);
	ok(strstr(found, "not ready: shard 3 has no owner") && problems == 1, "not ready");
	json_decref(status);
}

static void test_answers(void)
{
	struct patient p = { .url = "u", .why = "refused" };

	judge(&p, 1);
	ok(strstr(found, "does not answer: refused") && problems == 1, "nobody there");
	p.http_status = 403;
	p.ready_status = 200;
	judge(&p, 1);
	ok(strstr(found, "may not be seen (403)") && !problems, "no rights");
	p.http_status = 404;
	judge(&p, 1);
	ok(strstr(found, "no status (404)") && problems == 1, "something else");
}

static void test_group(void)
{
	json_t *a = json_loads(WELL, 0, NULL), *b = json_loads(WELL, 0, NULL);
	json_t *owners = json_loads("{\"owners\":[{\"shard\":0,\"member\":\"m1\"},{\"shard\":1,\"member\":null}]}", 0, NULL);
	json_t *members = json_loads("{\"members\":[{\"member\":\"m2\",\"url\":\"w\",\"suspected\":true}],"
				     "\"etcd\":[{\"member\":\"m3\",\"silent_ms\":9000}],\"warning\":\"2 members\"}", 0, NULL);
	struct patient p[2] = {
		{ .url = "u", .http_status = 200, .ready_status = 200, .why = "", .status = a },
		{ .url = "v", .http_status = 200, .ready_status = 200, .why = "", .status = b },
	};

	judge(p, 2);
	is_str(found, "", "two of one group");
	json_object_set_new(b, "group", json_string("g2"));
	judge(p, 2);
	ok(strstr(found, "u and v are not of one group") && problems == 1, "two groups: %s", found);
	p[0].owners = owners;
	judge(p, 1);
	ok(strstr(found, "1 of 2 shards") && problems == 1, "a shard without an owner: %s", found);
	p[0].owners = NULL;
	p[0].members = members;
	judge(p, 1);
	ok(strstr(found, "the member m2 (w) does not answer") && !problems, "a silent member: %s", found);
	ok(strstr(found, "the etcd member of m3 does not answer") && strstr(found, "2 members"), "of etcd as well");
	json_decref(a);
	json_decref(b);
	json_decref(owners);
	json_decref(members);
}

int main(void)
{
	test_well();
	test_status();
	test_answers();
	test_group();
	return done();
}
