/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents of the control API that tell how things are: status,
 * standing, events, chains.  Made on the data thread, which owns all that
 * they show; operators ask rarely, so they may allocate.
 */
#include "lib/clock.h"
#include "lib/slice.h"
#include "scheduler/control.h"
#include "scheduler/status_priv.h"

json_t *time_json(const struct data *d, uint64_t at_ns)
{
	char text[CLOCK_WALL_SIZE];
	uint64_t wall = clock_wall_now();

	(void)d;
	if (!at_ns)
		return json_null();
	wall += at_ns - clock_now(&clock_monotonic); /* modulo 2^64: also into the past */
	return json_string(clock_wall_format(wall, text));
}

json_t *wall_json(uint64_t wall_ns)
{
	char text[CLOCK_WALL_SIZE];

	return json_string(clock_wall_format(wall_ns, text));
}

static json_t *u64_json(uint64_t n)
{
	return json_integer((json_int_t)n);
}

const char *standing_name(int standing)
{
	static const char *const names[] = {
		[MP_STANDING_ASK] = "ask", [MP_STANDING_PASS] = "pass", [MP_STANDING_REPLY] = "reply",
	};

	return names[standing];
}

/* ---------------------------------------------------------------- one filter */

/* A writer that puts into a JSON object. */
struct json_writer {
	struct mp_writer base;
	const struct data *data;
	json_t *object;
};

static void write_text(struct mp_writer *w, const char *name, struct mp_str value)
{
	json_object_set_new(((struct json_writer *)(void *)w)->object, name,
			    json_stringn(value.ptr, value.len));
}

static void write_number(struct mp_writer *w, const char *name, double value)
{
	json_t *number = value == (double)(int64_t)value ? json_integer((int64_t)value)
							 : json_real(value);

	json_object_set_new(((struct json_writer *)(void *)w)->object, name, number);
}

static void write_time(struct mp_writer *w, const char *name, uint64_t at_ns)
{
	struct json_writer *j = (struct json_writer *)(void *)w;

	json_object_set_new(j->object, name, time_json(j->data, at_ns));
}

json_t *unit_status_json(const struct data *d, const struct unit *u)
{
	struct json_writer w = {
		.base = { .size = sizeof(w.base), .text = write_text, .number = write_number,
			  .time = write_time },
		.data = d, .object = json_object(),
	};

	if (unit_alive(u) && u->filter->status) {
		unit_enter(u);
		u->filter->status(u->self, &w.base);
		unit_leave(u);
	}
	return w.object;
}

json_t *ejected_json(const struct unit *u)
{
	if (!u->ejected)
		return json_null();
	return json_pack("{s:s,s:o}", "reason", u->reason, "time", wall_json(u->ejected_wall_ns));
}

static json_t *needs_json(uint32_t needs)
{
	static const struct {
		uint32_t need;
		const char *name;
	} table[] = {
		{ MP_NEED_REQUEST, "request" }, { MP_NEED_OUTCOME, "outcome" },
		{ MP_NEED_COPY, "copy" }, { MP_NEED_RESPONSE, "response" },
		{ MP_NEED_REQUEST_BODY, "request-body" },
		{ MP_NEED_RESPONSE_BODY, "response-body" },
	};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (needs & table[i].need)
			json_array_append_new(list, json_string(table[i].name));
	return list;
}

static json_t *unit_json(struct data *d, const struct unit *u)
{
	json_t *counters = json_object();

	for (uint32_t i = 0; i < u->n_counters; i++)
		json_object_set_new(counters, u->filter->counters[i], u64_json(u->counters[i]));
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "middlepipe", u->middlepipe,
			 "type", u->filter->name, "prefix", u->prefix,
			 "on_failure", u->closed ? "closed" : "open",
			 "standing", standing_name(unit_standing(u, d->now_ns)),
			 "ejected", ejected_json(u), "needs", needs_json(u->plan.needs),
			 "counters", counters, "status", unit_status_json(d, u));
}

/* ------------------------------------------------------------------- chains */

static json_t *entry_json(struct data *d, const struct chain *c)
{
	const struct unit *by;
	int standing = chain_standing(c, d->now_ns, &by);
	json_t *chain = json_array();

	for (uint32_t i = 0; i < c->n_units; i++)
		json_array_append_new(chain, json_pack("{s:s,s:s}", "middlepipe",
						       c->units[i]->middlepipe, "prefix",
						       c->units[i]->prefix));
	return json_pack("{s:s%,s:s,s:o,s:{s:o,s:o,s:o,s:o},s:o}", "prefix",
			 c->prefix.ptr ? c->prefix.ptr : "", c->prefix.len,
			 "standing", standing_name(standing), "until",
			 time_json(d, standing == MP_STANDING_REPLY ? by->until_ns : 0), "calls",
			 "asked", u64_json(c->counts.asked), "passed", u64_json(c->counts.passed),
			 "replied", u64_json(c->counts.replied), "failed", u64_json(c->counts.failed),
			 "chain", chain);
}

static json_t *matches_json(const struct chain_destination *dest)
{
	json_t *list = json_array();

	for (size_t i = 0; i < dest->n_matches; i++)
		json_array_append_new(list, json_stringn(dest->matches[i].text, dest->matches[i].size));
	return list;
}

static json_t *destination_json(struct data *d, const struct chain_destination *dest,
				const struct chain *chain)
{
	json_t *entries = json_array(), *units = json_array();

	for (size_t i = 0; i < dest->n_prefixes; i++)
		json_array_append_new(entries, entry_json(d, &chain[i]));
	for (uint32_t i = 0; i < d->current->n_units; i++)
		if (slice_eq(slice_of(d->current->units[i]->destination), slice_of(dest->name)))
			json_array_append_new(units, unit_json(d, d->current->units[i]));
	return json_pack("{s:s,s:o,s:o,s:o}", "name", dest->name, "match", matches_json(dest),
			 "entries", entries, "units", units);
}

static json_t *destinations_json(struct data *d)
{
	json_t *list = json_array();
	const struct chain_destination *dest;
	uint32_t at = 0;
	size_t n = 0;

	if (!d->current)
		return list;
	dest = chains_destinations(d->current->chains, &n);
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(list, destination_json(d, &dest[i], &d->current->chain[at]));
		at += (uint32_t)dest[i].n_prefixes;
	}
	return list;
}

/* --------------------------------------------------------------- the document */

static json_t *counters_json(const struct data *d)
{
	uint64_t lane[LANE_COUNTERS];
	const struct data_counts *n = &d->counts;

	for (unsigned i = 0; i < LANE_COUNTERS; i++) {
		lane[i] = n->lane[i];
		LIST_FOR_EACH(link, &d->lanes)
			lane[i] += lane_counter(LIST_ENTRY_OF(link, struct lane, link), i);
	}
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
		"asked", u64_json(n->asked), "passed", u64_json(n->passed),
		"replied", u64_json(n->replied), "failed", u64_json(n->failed),
		"responses", u64_json(n->responses), "copies", u64_json(n->copies),
		"abandoned", u64_json(n->abandoned), "bad_messages", u64_json(n->bad_messages),
		"stale", u64_json(n->stale), "lost_ok", u64_json(n->lost_ok),
		"lost_failed", u64_json(n->lost_failed),
		"unfiltered", u64_json(lane[LANE_UNFILTERED]), "refused", u64_json(lane[LANE_REFUSED]),
		"over_budget", u64_json(lane[LANE_OVER_BUDGET]),
		"no_slot", u64_json(lane[LANE_NO_SLOT]));
}

static json_t *ejections_json(const struct data *d)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < BLAME_EJECTED; i++) {
		const struct blame_ejected *row = &d->blame->ejected[i];

		if (row->middlepipe[0])
			json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "middlepipe",
				row->middlepipe, "reason", row->reason, "time",
				wall_json(row->wall_ns)));
	}
	return list;
}

static unsigned epochs_alive(const struct data *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LANE_SETS; i++)
		n += d->sets[i] != NULL;
	return n;
}

void status_there(struct data *d, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;
	uint64_t uptime = (clock_wall_now() - call->started_wall_ns) / NS_PER_MS;

	call->status = 200;
	call->reply = json_pack(
		"{s:s,s:s,s:i,s:i,s:o,s:o,s:o,s:o,s:o,s:i,s:{s:i,s:i,s:o,s:o,s:o,s:i},s:o,s:o,s:o}",
		"version", MIDDLEPIPE_VERSION, "app",
		d->current ? chains_app(d->current->chains) : "", "pid", (int)getpid(),
		"supervisor", (int)getppid(), "started", wall_json(call->started_wall_ns),
		"uptime_ms", u64_json(uptime), "restarts", u64_json(d->blame->restarts),
		"epoch", u64_json(d->current ? d->current->epoch : 0),
		"swaps", u64_json(d->counts.swaps), "epochs_alive", (int)epochs_alive(d),
		"lanes", "open", (int)call->lanes_open, "limit", (int)d->limits.n_lanes,
		"opened", u64_json(call->lanes_opened), "refused", u64_json(call->lanes_refused),
		"reclaimed", u64_json(call->lanes_reclaimed), "slots", (int)d->limits.lane.n_slots,
		"counters", counters_json(d), "destinations", destinations_json(d),
		"ejected", ejections_json(d));
	data_return(d, mail);
}

void standing_there(struct data *d, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;
	json_t *list = json_array();

	for (uint32_t i = 0; d->current && i < d->current->n_chains; i++) {
		const struct chain *c = &d->current->chain[i];
		const struct unit *by;
		int standing = chain_standing(c, d->now_ns, &by);

		json_array_append_new(list, json_pack("{s:s,s:s%,s:s,s:o,s:s?}", "destination",
			c->destination->name, "prefix", c->prefix.ptr ? c->prefix.ptr : "",
			c->prefix.len, "verdict", standing_name(standing), "until",
			time_json(d, standing == MP_STANDING_REPLY ? by->until_ns : 0), "pipe",
			by ? by->middlepipe : NULL));
	}
	call->status = 200;
	call->reply = json_pack("{s:o,s:o}", "epoch", u64_json(d->current ? d->current->epoch : 0),
				"standing", list);
	data_return(d, mail);
}

void chains_there(struct data *d, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;

	call->status = 200;
	if (d->current)
		call->reply = json_loads(chains_text(d->current->chains), 0, NULL);
	else
		api_fail(call, 404, "no chains are loaded");
	data_return(d, mail);
}

void events_there(struct data *d, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;
	uint64_t first = d->n_events > DATA_EVENTS ? d->n_events - DATA_EVENTS : 0;
	json_t *list = json_array();

	if (call->after > first)
		first = call->after;
	for (uint64_t i = first; i < d->n_events; i++) {
		const struct data_event *e = &d->events[i % DATA_EVENTS];

		json_array_append_new(list, json_pack("{s:o,s:o,s:s,s:s,s:s,s:o}", "seq",
			u64_json(e->seq), "time", wall_json(e->wall_ns), "event", e->event,
			"middlepipe", e->middlepipe, "destination", e->destination, "fields",
			json_loads(e->fields, 0, NULL)));
	}
	call->status = 200;
	call->reply = json_pack("{s:o,s:o}", "next", u64_json(d->n_events), "events", list);
	data_return(d, mail);
}
