/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents of the control API that tell how things are: status,
 * standing, events, chains.  Made on the control thread of what a look, or
 * several, have seen; after a swap in between they begin again.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/slice.h"
#include "scheduler/control.h"
#include "scheduler/status_priv.h"

json_t *time_json(uint64_t at_ns)
{
	char text[CLOCK_WALL_SIZE];
	uint64_t wall = clock_wall_now();

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

/* The JSON of one thing that a filter said. */
static json_t *value_json(int32_t kind, struct mp_str value)
{
	uint64_t at_ns;
	double number;

	if (kind == LOOK_TEXT)
		return json_stringn(value.ptr, value.len);
	if (kind == LOOK_NUMBER) {
		memcpy(&number, value.ptr, sizeof(number));
		return number == (double)(int64_t)number ? json_integer((int64_t)number)
							 : json_real(number);
	}
	memcpy(&at_ns, value.ptr, sizeof(at_ns));
	return time_json(at_ns);
}

json_t *said_json(const struct look_unit *seen, struct mp_str *said)
{
	struct mp_str mine = { said->ptr, seen->said_size };
	json_t *object = json_object();
	struct look_said head;

	*said = slice_skip(*said, seen->said_size);
	while (mine.len) {
		char *name;

		memcpy(&head, mine.ptr, sizeof(head));
		mine = slice_skip(mine, sizeof(head));
		name = slice_dup((struct mp_str){ mine.ptr, head.name_size });
		mine = slice_skip(mine, head.name_size);
		if (name)
			json_object_set_new(object, name, value_json(head.kind,
				(struct mp_str){ mine.ptr, head.value_size }));
		free(name);
		mine = slice_skip(mine, head.value_size);
	}
	return object;
}

json_t *ejected_json(const struct look_unit *seen)
{
	if (!seen->ejected)
		return json_null();
	return json_pack("{s:s,s:o}", "reason", seen->reason, "time",
			 wall_json(seen->ejected_wall_ns));
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

static json_t *unit_json(const struct unit *u, const struct look_unit *seen, struct mp_str *said)
{
	json_t *counters = json_object();

	for (uint32_t i = 0; i < u->n_counters; i++)
		json_object_set_new(counters, u->filter->counters[i], u64_json(seen->counters[i]));
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "middlepipe", u->middlepipe,
			 "type", u->filter->name, "prefix", u->prefix,
			 "on_failure", u->closed ? "closed" : "open",
			 "standing", standing_name(seen->standing), "ejected", ejected_json(seen),
			 "needs", needs_json(u->plan.needs), "counters", counters, "status",
			 said_json(seen, said));
}

/* ------------------------------------------------------------- part by part */

/*
 * Asks for the next part, at most LOOK_MAX chains and units.  False when there
 * is none: the document is whole.
 */
static bool part_ask(struct api_call *call, bool units, void (*back)(void *, struct mail *))
{
	struct look *l = &call->look;

	l->chain = call->at_chain;
	l->n_chains = l->set ? l->set->n_chains - call->at_chain : 0;
	l->units = l->set ? l->set->units + call->at_unit : NULL;
	l->n_units = units && l->set ? l->set->n_units - call->at_unit : 0;
	if (!l->heads && !l->n_chains && !l->n_units)
		return false;
	api_send(call, look_there, back);
	return true;
}

/* From the start; the first part has the totals. */
static void parts_begin(struct api_call *call, bool units, void (*back)(void *, struct mail *))
{
	json_decref(call->list);
	call->list = json_array();
	call->at_chain = call->at_unit = call->at_destination = 0;
	call->look.set = config_in_force(call->control);
	call->look.heads = true;
	(void)part_ask(call, units, back);
}

/* ------------------------------------------------------------------- status */

static json_t *entry_json(const struct chain *c, const struct look_chain *seen)
{
	json_t *chain = json_array();

	for (uint32_t i = 0; i < c->n_units; i++)
		json_array_append_new(chain, json_pack("{s:s,s:s}", "middlepipe",
						       c->units[i]->middlepipe, "prefix",
						       c->units[i]->prefix));
	return json_pack("{s:s%,s:s,s:o,s:{s:o,s:o,s:o,s:o},s:o}", "prefix",
			 c->prefix.ptr ? c->prefix.ptr : "", c->prefix.len,
			 "standing", standing_name(seen->standing), "until",
			 time_json(seen->until_ns), "calls",
			 "asked", u64_json(seen->counts.asked), "passed", u64_json(seen->counts.passed),
			 "replied", u64_json(seen->counts.replied), "failed", u64_json(seen->counts.failed),
			 "chain", chain);
}

static json_t *matches_json(const struct chain_destination *dest)
{
	json_t *list = json_array();

	for (size_t i = 0; i < dest->n_matches; i++)
		json_array_append_new(list, json_stringn(dest->matches[i].text, dest->matches[i].size));
	return list;
}

static void destinations_begin(struct api_call *call)
{
	const struct chain_destination *dest = NULL;
	size_t n = 0;

	if (call->look.set)
		dest = chains_destinations(call->look.set->chains, &n);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(call->list, json_pack("{s:s,s:o,s:[],s:[]}", "name", dest[i].name,
							    "match", matches_json(&dest[i]), "entries",
							    "units"));
}

/* The part's chains and units, each to its destination; a set has both in the file's order. */
static void status_take(struct api_call *call)
{
	const struct look *l = &call->look;
	struct mp_str said = buf_slice(&l->said);
	const struct chain_destination *dest;
	size_t n;

	if (!l->set)
		return; /* no chains, hence no units */
	dest = chains_destinations(l->set->chains, &n);
	for (uint32_t i = 0; i < l->n_chains; i++) {
		const struct chain *c = &l->set->chain[l->chain + i];

		json_array_append_new(json_object_get(json_array_get(call->list,
			(size_t)(c->destination - dest)), "entries"), entry_json(c, &l->seen_chains[i]));
	}
	for (uint32_t i = 0; i < l->n_units; i++) {
		while (strcmp(dest[call->at_destination].name, l->units[i]->destination))
			call->at_destination++;
		json_array_append_new(json_object_get(json_array_get(call->list,
			call->at_destination), "units"), unit_json(l->units[i], &l->seen_units[i], &said));
	}
	call->at_chain += l->n_chains;
	call->at_unit += l->n_units;
}

static json_t *counters_json(const struct data_counts *n)
{
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
		"asked", u64_json(n->asked), "passed", u64_json(n->passed),
		"replied", u64_json(n->replied), "failed", u64_json(n->failed),
		"responses", u64_json(n->responses), "copies", u64_json(n->copies),
		"abandoned", u64_json(n->abandoned), "bad_messages", u64_json(n->bad_messages),
		"stale", u64_json(n->stale), "lost_ok", u64_json(n->lost_ok),
		"lost_failed", u64_json(n->lost_failed),
		"unfiltered", u64_json(n->lane[LANE_UNFILTERED]),
		"refused", u64_json(n->lane[LANE_REFUSED]),
		"over_budget", u64_json(n->lane[LANE_OVER_BUDGET]),
		"no_slot", u64_json(n->lane[LANE_NO_SLOT]));
}

static json_t *ejections_json(const struct look_head *h)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < BLAME_EJECTED; i++) {
		const struct blame_ejected *row = &h->ejected[i];

		if (row->middlepipe[0])
			json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "middlepipe",
				row->middlepipe, "reason", row->reason, "time",
				wall_json(row->wall_ns)));
	}
	return list;
}

static void status_finish(struct api_call *call)
{
	const struct control *c = call->control;
	const struct chainset *set = call->look.set;
	const struct look_head *h = &call->look.head;
	uint64_t uptime = (clock_wall_now() - c->started_wall_ns) / NS_PER_MS;

	call->status = 200;
	call->reply = json_pack(
		"{s:s,s:s,s:i,s:i,s:o,s:o,s:o,s:o,s:o,s:i,s:{s:i,s:i,s:o,s:o,s:o,s:i},s:o,s:O,s:o}",
		"version", MIDDLEPIPE_VERSION, "app", set ? chains_app(set->chains) : "",
		"pid", (int)getpid(), "supervisor", (int)getppid(),
		"started", wall_json(c->started_wall_ns), "uptime_ms", u64_json(uptime),
		"restarts", u64_json(h->restarts), "epoch", u64_json(set ? set->epoch : 0),
		"swaps", u64_json(h->counts.swaps), "epochs_alive", (int)h->epochs_alive,
		"lanes", "open", (int)doorway_open_lanes(c), "limit", (int)c->options->lanes,
		"opened", u64_json(c->lanes_opened), "refused", u64_json(c->lanes_refused),
		"reclaimed", u64_json(c->lanes_reclaimed), "slots", (int)c->options->slots,
		"counters", counters_json(&h->counts), "destinations", call->list,
		"ejected", ejections_json(h));
	api_done(call);
}

static void status_back(void *ctx, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;

	(void)ctx;
	if (call->look.missed) {
		status_get(call);
		return;
	}
	if (call->look.heads)
		destinations_begin(call);
	call->look.heads = false;
	status_take(call);
	if (!part_ask(call, true, status_back))
		status_finish(call);
}

void status_get(struct api_call *call)
{
	parts_begin(call, true, status_back);
}

/* ----------------------------------------------------------------- standing */

static void standing_take(struct api_call *call)
{
	const struct look *l = &call->look;

	for (uint32_t i = 0; i < l->n_chains; i++) {
		const struct chain *c = &l->set->chain[l->chain + i];
		const struct look_chain *seen = &l->seen_chains[i];

		json_array_append_new(call->list, json_pack("{s:s,s:s%,s:s,s:o,s:s?}", "destination",
			c->destination->name, "prefix", c->prefix.ptr ? c->prefix.ptr : "",
			c->prefix.len, "verdict", standing_name(seen->standing), "until",
			time_json(seen->until_ns), "pipe", seen->by ? seen->by->middlepipe : NULL));
	}
	call->at_chain += l->n_chains;
}

static void standing_back(void *ctx, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;

	(void)ctx;
	if (call->look.missed) {
		standing_get(call);
		return;
	}
	call->look.heads = false;
	standing_take(call);
	if (part_ask(call, false, standing_back))
		return;
	call->status = 200;
	call->reply = json_pack("{s:o,s:O}", "epoch",
				u64_json(call->look.set ? call->look.set->epoch : 0), "standing",
				call->list);
	api_done(call);
}

void standing_get(struct api_call *call)
{
	parts_begin(call, false, standing_back);
}

/* ------------------------------------------------------------ chains, events */

void chains_get(struct api_call *call)
{
	const struct chainset *set = config_in_force(call->control);

	call->status = 200;
	if (set)
		call->reply = json_loads(chains_text(set->chains), 0, NULL);
	else
		api_fail(call, 404, "no chains are loaded");
}

static void events_there(struct data *d, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;
	uint64_t first = d->n_events > DATA_EVENTS ? d->n_events - DATA_EVENTS : 0;

	if (call->after > first)
		first = call->after;
	for (uint64_t i = first; i < d->n_events; i++)
		call->events[call->n_events++] = d->events[i % DATA_EVENTS];
	call->next = d->n_events;
	data_return(d, mail);
}

static void events_back(void *ctx, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;
	json_t *list = json_array();

	(void)ctx;
	for (uint32_t i = 0; i < call->n_events; i++) {
		const struct data_event *e = &call->events[i];

		json_array_append_new(list, json_pack("{s:o,s:o,s:s,s:s,s:s,s:o}", "seq",
			u64_json(e->seq), "time", wall_json(e->wall_ns), "event", e->event,
			"middlepipe", e->middlepipe, "destination", e->destination, "fields",
			json_loads(e->fields, 0, NULL)));
	}
	call->status = 200;
	call->reply = json_pack("{s:o,s:o}", "next", u64_json(call->next), "events", list);
	api_done(call);
}

void events_get(struct api_call *call)
{
	call->events = calloc(DATA_EVENTS, sizeof(*call->events));
	if (!call->events)
		api_fail(call, 503, "out of memory");
	else
		api_send(call, events_there, events_back);
}
