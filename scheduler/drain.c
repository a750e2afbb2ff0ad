/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outcomes: draining the lanes' rings, telling the filters, and the end of
 * chain sets whose last call has ended.  Data thread.
 */
#include <stdlib.h>

#include "lib/clock.h"
#include "scheduler/data.h"

void (*data_on_retired)(void *control, struct mail *mail);

static void judge_later(struct data *d, struct unit *u)
{
	if (u->judging || !u->filter->on_drained)
		return;
	u->judging = true;
	u->next_judged = d->judged;
	d->judged = u;
}

static void judge_all(struct data *d)
{
	while (d->judged) {
		struct unit *u = d->judged;

		d->judged = u->next_judged;
		u->judging = false;
		if (!unit_alive(u))
			continue;
		unit_enter(u);
		u->filter->on_drained(u->self);
		unit_leave(u);
	}
}

static void count(struct data *d, struct chain *c, const struct outcome *o)
{
	if (o->standing == MP_STANDING_REPLY) {
		c->counts.replied++;
		d->counts.replied++;
		return;
	}
	if (o->standing == MP_STANDING_PASS) {
		c->counts.passed++;
		d->counts.passed++;
	}
	if (failure_matches(&c->failure, o->status, o->error, o->duration_ns)) {
		c->counts.failed++;
		d->counts.failed++;
	}
}

static void tell(struct data *d, struct chain *c, const struct outcome *o, const struct exchange *e)
{
	struct mp_outcome out = {
		.size = sizeof(out), .status = o->status, .error = o->error,
		.standing = o->standing, .exchange = e ? e->id : 0,
		.duration_ns = o->duration_ns, .ended_ns = d->now_ns,
		.synthesized = o->standing == MP_STANDING_REPLY,
	};
	uint32_t n = e ? e->let_through : c->n_units;

	for (uint32_t i = 0; i < n; i++) {
		struct unit *u = unit_now(c->units[i]);

		if (!unit_alive(u) || !u->filter->on_outcome || !(u->plan.needs & MP_NEED_OUTCOME))
			continue;
		out.memo = e ? e->memo[i] : 0;
		unit_enter(u);
		u->filter->on_outcome(u->self, &out);
		unit_leave(u);
		judge_later(d, u);
	}
}

static void outcome_take(struct data *d, struct lane *lane, const struct outcome *o)
{
	struct exchange *e = o->exchange ? pool_find(&d->exchanges, o->exchange) : NULL;
	struct chainset *set = d->sets[o->set];
	struct chain *c;

	if (e && (e->lane_id != lane->id || e->held))
		e = NULL;
	c = e ? e->chain : set && o->entry < set->n_chains ? &set->chain[o->entry] : NULL;
	if (!c) {
		/* On a board that overflows calls that meet no chain are asked about, too. */
		d->counts.stale += o->exchange || o->entry != LANE_ENTRY_NONE;
		return;
	}
	count(d, c, o);
	tell(d, c, o, e);
	if (e)
		exchange_end(d, e);
}

/* Tells every unit that watches outcomes what did not fit: nobody knows whose they were. */
static void tell_lost(struct data *d, uint64_t ok, uint64_t failed)
{
	d->counts.lost_ok += ok;
	d->counts.lost_failed += failed;
	for (uint32_t i = 0; d->current && i < d->current->n_units; i++) {
		struct unit *u = d->current->units[i];

		if (!unit_alive(u) || !u->filter->on_lost || !(u->plan.needs & MP_NEED_OUTCOME))
			continue;
		unit_enter(u);
		u->filter->on_lost(u->self, ok, failed);
		unit_leave(u);
		judge_later(d, u);
	}
}

/* now_ns 0: the app is gone. */
static bool drain_lane(struct data *d, struct lane *lane, uint64_t now_ns)
{
	struct outcome o;
	uint64_t skipped = 0, ok, failed, tail = lane->ring_tail;
	/* No more than the ring holds, so that a busy lane cannot keep us here. */
	uint32_t left = lane->limits.n_ring;

	while (left-- && lane_outcome_next(lane, &o, &skipped, now_ns))
		outcome_take(d, lane, &o);
	if (lane->ring_tail != tail) {
		lane->idle_bells = 0; /* it rang for something */
		lane_ring_release(lane);
	}
	lane_lost(lane, &ok, &failed);
	ok += skipped;
	if (ok || failed)
		tell_lost(d, ok, failed);
	return lane->ring_tail != tail;
}

bool drain_all(struct data *d)
{
	bool any = false;

	LIST_FOR_EACH(link, &d->lanes)
		any |= drain_lane(d, LIST_ENTRY_OF(link, struct lane, link), d->now_ns);
	judge_all(d);
	return any;
}

void drain_lane_end(struct data *d, struct lane *lane)
{
	(void)drain_lane(d, lane, 0);
	while (!list_empty(&lane->exchanges))
		exchange_abandon(d, LIST_ENTRY_OF(lane->exchanges.next, struct exchange, link));
	for (unsigned i = 0; i < LANE_COUNTERS; i++)
		d->counts.lane[i] += lane_counter(lane, i);
	judge_all(d);
}

/* ------------------------------------------------------ the end of an epoch */

/* True when no call can come back to the set. */
static bool set_ended(const struct data *d, const struct chainset *set)
{
	uint64_t in_progress = 0;

	if (set->exchanges)
		return false;
	LIST_FOR_EACH(link, &d->lanes)
		in_progress += lane_in_progress(LIST_ENTRY_OF(link, struct lane, link), set->slot);
	return !in_progress || d->now_ns - set->retired_ns > d->limits.call_age_ns;
}

static bool unit_used(const struct data *d, const struct unit *u)
{
	for (unsigned s = 0; s < LANE_SETS; s++)
		for (uint32_t k = 0; d->sets[s] && k < d->sets[s]->n_units; k++)
			if (d->sets[s]->units[k] == u)
				return true;
	return false;
}

/* Nobody may keep pointing to a unit that is about to go. */
static void heirs_forget(struct data *d, const struct chainset *going)
{
	for (uint32_t i = 0; i < going->n_units; i++) {
		struct unit *gone = going->units[i];

		if (unit_used(d, gone))
			continue; /* another epoch has it as well */
		for (unsigned s = 0; s < LANE_SETS; s++)
			for (uint32_t k = 0; d->sets[s] && k < d->sets[s]->n_units; k++)
				if (d->sets[s]->units[k]->heir == gone)
					d->sets[s]->units[k]->heir = gone->heir;
	}
}

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

/* The handles of the set's own units must be closed here, in their loop. */
static void timers_close(struct data *d, struct chainset *set)
{
	for (uint32_t i = 0; i < set->n_units; i++) {
		struct unit *u = set->units[i];

		if (!unit_used(d, u) && u->timer) {
			uv_close((uv_handle_t *)u->timer, on_timer_closed);
			u->timer = NULL;
		}
	}
}

static void set_retire(struct data *d, struct chainset *set)
{
	struct retire_mail *mail = calloc(1, sizeof(*mail));

	if (!mail)
		return; /* it stays; the next tick tries again */
	d->sets[set->slot] = NULL;
	heirs_forget(d, set);
	timers_close(d, set);
	mail->mail.back = data_on_retired;
	mail->set = set;
	data_return(d, &mail->mail);
}

void data_retire(struct data *d)
{
	for (unsigned i = 0; i < LANE_SETS; i++) {
		struct chainset *set = d->sets[i];

		if (!set || set == d->current || !set_ended(d, set))
			continue;
		/* What ended just now may still lie in a ring. */
		(void)drain_all(d);
		set_retire(d, set);
	}
}
