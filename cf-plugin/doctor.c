/* SPDX-License-Identifier: Apache-2.0 */
/* See doctor.h.  Called by rows_doctor.c. */
#include "cf-plugin/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cf-plugin/rows_api.h"

#define CLOCK_MS 1000              /* that clocks may differ, besides what is not known */
#define FREE_LOW ((json_int_t)1 << 30)   /* bytes: a warning below it, or ... */
#define FREE_LOW_PERCENT 5         /* ... below that part of the disk */
#define FREE_LEAST ((json_int_t)100 << 20) /* bytes: a problem below it */
#define WAITING_MANY 10000         /* puts */
#define SILENT_MS 5000             /* of a member of etcd */
#define UNKNOWN_PERCENT 1          /* of flights */

/* Whom it is about, and who is told. */
struct judge {
	const struct patient *p; /* NULL: the group */
	const char *version;
	doctor_find_fn *find;
	void *ctx;
};

__attribute__((format(printf, 4, 5))) static void
say(const struct judge *j, enum severity severity, const char *advice, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	j->find(j->ctx, severity, j->p ? j->p->url : "", text, advice);
}

static const json_t *part(const struct judge *j, const char *name)
{
	return json_object_get(j->p->status, name);
}

static bool is(const json_t *object, const char *member)
{
	return json_is_true(json_object_get(object, member));
}

/* -------------------------------------------------------------------------- alone */

/* True: there is more to be judged. */
static bool judge_answer(const struct judge *j)
{
	const struct patient *p = j->p;

	if (!p->http_status && !p->ready_status)
		say(j, DOCTOR_PROBLEM, "start it, or look at its address, the network between and --ca and --cert",
		    "it does not answer: %s", p->why);
	else if (p->http_status == 401 || p->http_status == 403)
		say(j, DOCTOR_WARNING, "use a token or a certificate with the right to read all rows",
		    "its status may not be seen (%d)", p->http_status);
	else if (!p->status)
		say(j, DOCTOR_PROBLEM, "is that an mp-aggregator? look at the URL",
		    "what answers there tells no status (%d)", p->http_status);
	return p->status;
}

static void judge_ready(const struct judge *j)
{
	if (j->p->ready_status && j->p->ready_status != 200)
		say(j, DOCTOR_PROBLEM, "puts may be refused until it is: look at the other findings and at its log",
		    "it is not ready: %s", j->p->why);
}

static void judge_engine(const struct judge *j)
{
	static const struct { const char *member; bool bad; const char *what, *advice; } states[] = {
		{ "serving", false, "its engine does not answer",
		  "alone: look at the disk and at its log; in a group: look at etcd, a majority of whose members has to run" },
		{ "full", true, "its engine has no room: puts are refused, reads go on",
		  "make room: compact or delete rows, or give the disk or etcd's quota more" },
		{ "read_only", true, "the disk takes no writes",
		  "look at the kernel's log and mount it writable again" },
		{ "damaged", true, "what was read from the disk is not what was written",
		  "run 'middlepipe rows check'; replace the member, or import an export into a new directory" },
	};
	const json_t *engine = part(j, "engine");
	const char *text = rows_text(engine, "text");

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (is(engine, states[i].member) == states[i].bad)
			say(j, DOCTOR_PROBLEM, states[i].advice, "%s%s%s", states[i].what, text[0] ? ": " : "", text);
	}
}

static void judge_rows(const struct judge *j)
{
	const json_t *rows = part(j, "rows"), *flights = part(j, "flights");
	json_int_t damaged = rows_number(rows, "damaged"), doubtful = rows_number(rows, "doubtful");
	json_int_t sent = rows_number(flights, "sent"), unknown = rows_number(flights, "unknown");
	json_int_t waiting = rows_number(j->p->status, "puts_waiting");

	if (damaged)
		say(j, DOCTOR_PROBLEM, "run 'middlepipe rows check' to learn which; they are not served",
		    "%" JSON_INTEGER_FORMAT " heads or batches of rows could not be read", damaged);
	if (doubtful)
		say(j, DOCTOR_WARNING, "it passes by itself; when it does not, look at the engine",
		    "%" JSON_INTEGER_FORMAT " rows are being read again", doubtful);
	if (waiting > WAITING_MANY)
		say(j, DOCTOR_WARNING, "clients put faster than the engine commits: look at the disk, or put less",
		    "%" JSON_INTEGER_FORMAT " puts are waiting", waiting);
	if (sent > 1000 && unknown * 100 > sent * UNKNOWN_PERCENT)
		say(j, DOCTOR_WARNING, "the engine is slow or its network is bad: look at etcd's disk and its log",
		    "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " transactions were not answered in time", unknown,
		    sent);
}

static void judge_disk(const struct judge *j)
{
	const json_t *data = part(j, "data");
	json_int_t size = rows_number(data, "size"), left = rows_number(data, "free");
	const char *advice = "make room on that disk, compact rows or let them keep less ('rows policies --keep-...')";

	if (!json_is_object(data) || !size)
		return;
	if (left < FREE_LEAST)
		say(j, DOCTOR_PROBLEM, advice, "its disk is all but full: %" JSON_INTEGER_FORMAT " MiB are left at %s",
		    left >> 20, rows_text(data, "path"));
	else if (left < FREE_LOW || left < size / 100 * FREE_LOW_PERCENT)
		say(j, DOCTOR_WARNING, advice, "its disk is filling up: %" JSON_INTEGER_FORMAT " MiB are left at %s",
		    left >> 20, rows_text(data, "path"));
}

static void judge_clock(const struct judge *j)
{
	int64_t off = j->p->clock_ms < 0 ? -j->p->clock_ms : j->p->clock_ms;

	if (rows_number(j->p->status, "now") && off > CLOCK_MS + j->p->round_ms / 2)
		say(j, DOCTOR_WARNING, "let both keep time by NTP: cells' times and what is kept by age depend on it",
		    "its clock is %" PRId64 " ms %s ours", off, j->p->clock_ms < 0 ? "behind" : "ahead of");
}

static void judge_version(const struct judge *j)
{
	const char *version = rows_text(j->p->status, "version");

	if (version[0] && strcmp(version, j->version))
		say(j, DOCTOR_WARNING, "bring both to one version when you can",
		    "it has version %s, and this program %s", version, j->version);
}

static void judge_owners(const struct judge *j)
{
	const json_t *owners = json_object_get(j->p->owners, "owners");
	size_t n = json_array_size(owners), without = 0;

	for (size_t i = 0; i < n; i++)
		without += !rows_text(json_array_get(owners, i), "member")[0];
	if (without)
		say(j, DOCTOR_PROBLEM, "puts into their rows wait: a member takes them as soon as it reaches the engine",
		    "%zu of %zu shards have no owner, as it sees them", without, n);
}

static void judge_members(const struct judge *j)
{
	const json_t *members = json_object_get(j->p->members, "members"), *etcd = json_object_get(j->p->members, "etcd");
	const char *warning = rows_text(j->p->members, "warning");

	for (size_t i = 0; i < json_array_size(members); i++) {
		const json_t *member = json_array_get(members, i);

		if (is(member, "suspected"))
			say(j, DOCTOR_WARNING, "start it again, or take it out of the group",
			    "the member %s (%s) does not answer it", rows_text(member, "member"), rows_text(member, "url"));
	}
	for (size_t i = 0; i < json_array_size(etcd); i++) {
		const json_t *member = json_array_get(etcd, i);

		if (rows_number(member, "silent_ms") > SILENT_MS)
			say(j, DOCTOR_WARNING, "start its aggregator again, or replace it, before others go, too",
			    "the etcd member of %s does not answer it", rows_text(member, "member"));
	}
	if (warning[0])
		say(j, DOCTOR_WARNING, "add or remove one: 1, 3 or 5 are of use", "%s", warning);
}

/* ----------------------------------------------------------------------- together */

static void judge_group(const struct judge *all, const struct patient *patients, size_t n)
{
	const char *group = "", *owner = "";

	for (size_t i = 0; i < n; i++) {
		const char *its = rows_text(patients[i].status, "group");

		if (its[0] && group[0] && strcmp(its, group))
			say(all, DOCTOR_PROBLEM, "name aggregators of one group only, or have them join it",
			    "%s and %s are not of one group", owner, patients[i].url);
		if (its[0] && !group[0]) {
			group = its;
			owner = patients[i].url;
		}
	}
}

void doctor_judge(const struct patient *patients, size_t n, const char *version, doctor_find_fn *find, void *ctx)
{
	static void (*const judges[])(const struct judge *j) = {
		judge_ready, judge_engine, judge_rows, judge_disk, judge_clock, judge_version, judge_owners, judge_members,
	};
	struct judge j = { .version = version, .find = find, .ctx = ctx };

	for (size_t i = 0; i < n; i++) {
		j.p = &patients[i];
		if (!judge_answer(&j)) {
			if (j.p->ready_status)
				judge_ready(&j);
			continue;
		}
		for (size_t k = 0; k < sizeof(judges) / sizeof(judges[0]); k++)
			judges[k](&j);
	}
	j.p = NULL;
	judge_group(&j, patients, n);
}
