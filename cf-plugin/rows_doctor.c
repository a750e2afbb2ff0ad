/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe rows doctor: asks all aggregators how they are, and says what is wrong and what to do. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cf-plugin/control.h"
#include "cf-plugin/doctor.h"
#include "cf-plugin/rows_commands.h"
#include "lib/clock.h"
#include "lib/json.h"

#define ASK_MS 5000                 /* for each call */
#define REPLY_MAX ((size_t)4 << 20) /* bytes of an answer */

static const struct opt options[] = {
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe rows doctor",
	.usage = "[OPTION]...",
	.summary = "say what is wrong with aggregators, and what to do",
	.text = "Asks every aggregator of --url for its status, readiness and owners, compares versions, clocks\n"
		"and groups, and looks at its engine and the room on its disk.",
	.opts = options,
	.exit_codes = "0  no problem, though there may be warnings\n1  there are problems\n2  wrong usage",
};

/* What was asked, and is owned. */
struct examined {
	json_t *status, *owners, *members;
	struct err why;
};

/* One call: its status, 0 without an answer and why; *ret: the document of a 200. */
static int ask(const struct rows_api *api, size_t at, const char *path, json_t **ret, struct err *why)
{
	struct rows_call call = { .path = path, .timeout_ms = ASK_MS };
	struct http_reply reply;
	json_t *document = NULL;
	int status;

	if (rows_send(api, at, &call, &reply, why))
		return 0;
	status = reply.status;
	(void)json_load_text(buf_slice(&reply.body), REPLY_MAX, 8, &document, NULL); /* plain text has none */
	if (status == 200 && ret)
		*ret = json_incref(document);
	else if (status != 200)
		(void)err_set(why, 0, "%s", rows_text(document, "error"));
	json_decref(document);
	http_reply_fini(&reply);
	return status;
}

static void examine(const struct rows_api *api, size_t at, struct patient *p, struct examined *e)
{
	uint64_t before = clock_wall_now(), after;
	struct err other = { 0 };

	*p = (struct patient){ .url = api->url[at], .why = e->why.text };
	p->http_status = ask(api, at, "/v1/status", &e->status, &other);
	after = clock_wall_now();
	p->round_ms = (int64_t)((after - before) / NS_PER_MS);
	p->clock_ms = rows_number(e->status, "now") - (int64_t)((before + (after - before) / 2) / NS_PER_MS);
	if (p->http_status)
		p->ready_status = ask(api, at, "/readyz", NULL, &e->why);
	else
		e->why = other;
	if (p->http_status == 200) {
		(void)ask(api, at, "/v1/owners", &e->owners, &other);
		(void)ask(api, at, "/v1/members", &e->members, &other);
	}
	p->status = e->status;
	p->owners = e->owners;
	p->members = e->members;
}

/* ----------------------------------------------------------------------- printing */

/* What is found on the way. */
struct report {
	json_t *findings;    /* owned */
	size_t problems, warnings;
};

static void on_finding(void *ctx, enum severity severity, const char *url, const char *what, const char *advice)
{
	struct report *r = ctx;
	const char *name = severity == DOCTOR_PROBLEM ? "problem" : "warning";

	r->problems += severity == DOCTOR_PROBLEM;
	r->warnings += severity == DOCTOR_WARNING;
	json_array_append_new(r->findings, json_pack("{ss so so so}", "severity", name, "url",
						     control_json_text(url), "what", control_json_text(what), "do",
						     control_json_text(advice)));
	if (rows_options.json)
		return;
	printf("%s: %s%s%s\n  to do: %s\n", name, url, url[0] ? ": " : "", what, advice);
}

static void print_patient(const struct patient *p)
{
	const json_t *data = json_object_get(p->status, "data"), *rows = json_object_get(p->status, "rows");
	const json_t *shards = json_object_get(p->status, "shards");

	if (!p->status)
		return;
	printf("%s\n  member %s, version %s, engine %s, %s\n", p->url, rows_text(p->status, "member"),
	       rows_text(p->status, "version"), rows_text(json_object_get(p->status, "engine"), "name"),
	       p->ready_status == 200 ? "ready" : "not ready");
	printf("  up %" JSON_INTEGER_FORMAT " s, clock %+" PRId64 " ms (known to %" PRId64 " ms)\n",
	       rows_number(p->status, "uptime_ms") / 1000, p->clock_ms, p->round_ms / 2 + 1);
	printf("  %" JSON_INTEGER_FORMAT " rows with %" JSON_INTEGER_FORMAT " KiB, owns %" JSON_INTEGER_FORMAT " of %"
	       JSON_INTEGER_FORMAT " shards\n", rows_number(rows, "count"), rows_number(rows, "bytes") >> 10,
	       rows_number(shards, "owned"), rows_number(shards, "all"));
	if (json_is_object(data))
		printf("  %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " MiB free at %s\n",
		       rows_number(data, "free") >> 20, rows_number(data, "size") >> 20, rows_text(data, "path"));
}

static json_t *patient_json(const struct patient *p)
{
	json_t *out = json_pack("{so sb sb so sI sI}", "url", control_json_text(p->url), "answers", p->http_status != 0,
				"ready", p->ready_status == 200, "why", control_json_text(p->why), "clock_ms",
				(json_int_t)p->clock_ms, "round_ms", (json_int_t)p->round_ms);

	if (p->status)
		json_object_set_new(out, "status", json_deep_copy(p->status));
	return out;
}

static void print_json(const struct patient *patients, size_t n, const struct report *r)
{
	CLEANUP_JSON json_t *out = json_object();
	json_t *members = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(members, patient_json(&patients[i]));
	json_object_set_new(out, "ok", json_boolean(!r->problems));
	json_object_set_new(out, "members", members);
	json_object_set(out, "findings", r->findings);
	control_print_json(out, false);
}

static void print_sum(const struct report *r)
{
	if (!r->problems && !r->warnings)
		printf("all is well\n");
	else
		printf("%zu problem%s, %zu warning%s\n", r->problems, r->problems == 1 ? "" : "s", r->warnings,
		       r->warnings == 1 ? "" : "s");
}

static int run(int argc, char **argv)
{
	struct patient patients[ROWS_URLS_MAX];
	struct examined examined[ROWS_URLS_MAX] = { 0 };
	struct report report = { .findings = NULL };
	struct rows_api api;
	struct cli_words words;
	int code;

	if (!rows_begin(&api, &command, 0, 0, argc, argv, &words, &code))
		return code;
	report.findings = json_array();
	for (size_t i = 0; i < api.n; i++) {
		examine(&api, i, &patients[i], &examined[i]);
		if (!rows_options.json)
			print_patient(&patients[i]);
	}
	doctor_judge(patients, api.n, MIDDLEPIPE_VERSION, on_finding, &report);
	if (rows_options.json)
		print_json(patients, api.n, &report);
	else
		print_sum(&report);
	for (size_t i = 0; i < api.n; i++) {
		json_decref(examined[i].status);
		json_decref(examined[i].owners);
		json_decref(examined[i].members);
	}
	json_decref(report.findings);
	rows_api_fini(&api);
	return report.problems ? CLI_FAILED : CLI_OK;
}

const struct cli_command rows_doctor = { &command, run };
