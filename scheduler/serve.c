/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions: from a slot through the chain to an answer, and the exchanges
 * that live on between a request and its outcome.  Data thread.
 */
#include <string.h>

#include "lib/clock.h"
#include "lib/slice.h"
#include "scheduler/data.h"

/* ---------------------------------------------------------------- exchanges */

static struct exchange *exchange_oldest(struct lane *lane)
{
	return list_empty(&lane->exchanges) ? NULL :
	       LIST_ENTRY_OF(lane->exchanges.next, struct exchange, link);
}

/* A new exchange.  A lane that has too many gives up its oldest: others lose nothing. */
static struct exchange *exchange_new(struct data *d, struct lane *lane, struct chain *chain)
{
	uint64_t id;
	struct exchange *e;

	if (lane->n_exchanges >= lane->limits.n_slots * DATA_EXCHANGES_A_SLOT)
		exchange_abandon(d, exchange_oldest(lane));
	e = pool_get(&d->exchanges, &id);
	if (!e)
		return NULL;
	e->id = id;
	e->lane = lane;
	e->lane_id = lane->id;
	e->chain = chain;
	e->begun_ns = d->now_ns;
	list_push_back(&lane->exchanges, &e->link);
	lane->n_exchanges++;
	chain->set->exchanges++;
	return e;
}

static struct exchange *exchange_find(struct data *d, const struct lane *lane, uint64_t id)
{
	struct exchange *e = id ? pool_find(&d->exchanges, id) : NULL;

	return e && e->lane_id == lane->id ? e : NULL;
}

static void held_remove(struct data *d, struct exchange *e)
{
	for (uint32_t i = 0; i < d->n_held; i++)
		if (d->held[i] == e)
			d->held[i] = d->held[--d->n_held];
	d->spare[d->n_spare++] = e->held;
	e->held = NULL;
}

void exchange_end(struct data *d, struct exchange *e)
{
	if (e->held)
		held_remove(d, e);
	list_remove(&e->link);
	e->lane->n_exchanges--;
	e->chain->set->exchanges--;
	(void)pool_put(&d->exchanges, e->id);
}

void exchange_abandon(struct data *d, struct exchange *e)
{
	struct chain *c = e->chain;

	d->counts.abandoned++;
	for (uint32_t i = 0; i < e->let_through; i++) {
		struct unit *u = unit_now(c->units[i]);

		if (!unit_alive(u) || !u->filter->on_abandon)
			continue;
		unit_enter(u);
		u->filter->on_abandon(u->self, e->id, e->memo[i]);
		unit_leave(u);
	}
	exchange_end(d, e);
}

void exchanges_abandon_old(struct data *d)
{
	LIST_FOR_EACH(link, &d->lanes) {
		struct lane *lane = LIST_ENTRY_OF(link, struct lane, link);
		struct exchange *e;

		while ((e = exchange_oldest(lane)) && d->now_ns - e->begun_ns > d->limits.call_age_ns)
			exchange_abandon(d, e);
	}
}

/* ------------------------------------------------------------------ answers */

static void answer_plain(struct lane *lane, uint32_t slot, uint32_t ticket, uint32_t verdict)
{
	struct answer a = { .verdict = verdict };

	if (ticket)
		(void)lane_answer(lane, slot, ticket, &a);
}

/* Sends the verdict of a request and ends the exchange when nothing more can come of it. */
static void request_answer(struct data *d, struct exchange *e, struct run *run, struct lane *lane,
			   uint32_t slot, uint32_t ticket, uint32_t verdict)
{
	struct answer a;
	bool fits = run_answer(run, verdict, lane_answer_data(lane, slot),
			       lane->limits.data_size, &a);
	bool over = verdict == MP_VERDICT_REPLY || !e->chain->tracked;

	if (over)
		a.exchange = 0;
	if (verdict == ANSWER_REFUSED || !fits || !lane_answer(lane, slot, ticket, &a)) {
		answer_plain(lane, slot, ticket, verdict == ANSWER_REFUSED ? verdict : ANSWER_FAILED);
		e->let_through = run->at;
		exchange_abandon(d, e);
	} else if (over) {
		exchange_end(d, e);
	}
}

/* --------------------------------------------------------------------- hold */

static void hold_timer_arm(struct data *d)
{
	uint64_t next = UINT64_MAX;

	for (uint32_t i = 0; i < d->n_held; i++)
		if (d->held[i]->hold_until_ns < next)
			next = d->held[i]->hold_until_ns;
	if (!d->n_held) {
		uv_timer_stop(&d->hold_timer);
		return;
	}
	uv_update_time(&d->loop);
	uv_timer_start(&d->hold_timer, serve_held_timer,
		       next > d->now_ns ? (next - d->now_ns + NS_PER_MS - 1) / NS_PER_MS : 0, 0);
}

/* Parks the exchange with the run it stands in; another run takes its place. */
static bool hold(struct data *d, struct exchange *e, uint32_t slot, uint32_t ticket)
{
	if (!d->n_spare || d->n_held == DATA_HELD_MAX || d->run->hold_until_ns <= d->now_ns)
		return false;
	e->held = d->run;
	e->slot = slot;
	e->ticket = ticket;
	e->hold_until_ns = d->run->hold_until_ns;
	e->resume = 0;
	e->let_through = d->run->at;
	d->run = d->spare[--d->n_spare];
	d->held[d->n_held++] = e;
	lane_hold(e->lane, slot, ticket, e->hold_until_ns - d->now_ns);
	hold_timer_arm(d);
	return true;
}

/* Goes on with a walk that stands at run->at. */
static void request_walk(struct data *d, struct exchange *e, struct run *run, uint32_t slot,
			 uint32_t ticket)
{
	uint32_t verdict = run_request(run);

	/* Without room to hold one more, a HOLD passes. */
	while (verdict == MP_VERDICT_HOLD && !hold(d, e, slot, ticket))
		verdict = run_request(run);
	if (verdict != MP_VERDICT_HOLD)
		request_answer(d, e, run, e->lane, slot, ticket, verdict);
}

static void resume(struct data *d, struct exchange *e, uint32_t verdict)
{
	struct run *run = e->held;
	uint32_t slot = e->slot, ticket = e->ticket;

	held_remove(d, e);
	hold_timer_arm(d);
	/* The spare that was just given back is `run`: it is not used before we return,
	 * unless the walk is held again, which takes d->run: make that one `run`. */
	d->n_spare--;
	d->spare[d->n_spare++] = d->run;
	d->run = run;
	run->now_ns = d->now_ns;
	run->hold_until_ns = 0;
	if (verdict == MP_VERDICT_REPLY)
		request_answer(d, e, run, e->lane, slot, ticket, run_resume_reply(run));
	else
		request_walk(d, e, run, slot, ticket);
}

bool serve_resumes(struct data *d)
{
	bool any = false;

	if (!d->resumes)
		return false;
	d->resumes = false;
	for (uint32_t i = 0; i < d->n_held;) {
		struct exchange *e = d->held[i];

		if (!e->resume) {
			i++;
			continue;
		}
		any = true;
		resume(d, e, (uint32_t)(e->resume - 1));
	}
	return any;
}

void serve_held_timer(uv_timer_t *timer)
{
	struct data *d = timer->data;

	data_clock(d);
	data_busy(d);
	for (uint32_t i = 0; i < d->n_held;) {
		if (d->held[i]->hold_until_ns <= d->now_ns)
			resume(d, d->held[i], MP_VERDICT_PASS); /* moves another to i */
		else
			i++;
	}
	hold_timer_arm(d);
}

/* ---------------------------------------------------------------- questions */

/* The chain that a question names; by its authority when it was not on the board. */
static struct chain *chain_of(struct data *d, const struct question *q, const struct run *run)
{
	struct chainset *set = d->sets[q->set];
	const struct chain_destination *dest, *all;
	struct mp_str host, port;
	uint64_t number = 0;
	uint32_t index = 0;
	size_t n;

	if (!set)
		return NULL;
	if (q->entry != LANE_ENTRY_NONE)
		return q->entry < set->n_chains ? &set->chain[q->entry] : NULL;
	host = run->x.authority;
	if (host.len && host.ptr[0] == '[') {
		slice_cut(host, ']', &host, &port);
		host.len += host.ptr + host.len < run->x.authority.ptr + run->x.authority.len;
		port = slice_skip(port, 1);
	} else {
		slice_cut(host, ':', &host, &port);
	}
	if (slice_to_u64(port, &number) < 0)
		number = slice_eq(run->x.scheme, MP_LIT("https")) ? 443 : 80;
	all = chains_destinations(set->chains, &n);
	dest = chains_find(set->chains, host, (uint32_t)number, &n);
	if (!dest)
		return NULL;
	for (const struct chain_destination *at = all; at != dest; at++)
		index += (uint32_t)at->n_prefixes;
	return &set->chain[index + chain_prefix_find(dest, run->x.path)];
}

static void serve_request(struct data *d, struct lane *lane, uint32_t slot, const struct question *q)
{
	struct run *run = d->run;
	struct chain *chain;
	struct exchange *e;

	run_reset(run, NULL, NULL, d->now_ns);
	if (run_read(run, q) < 0) {
		d->counts.bad_messages++;
		answer_plain(lane, slot, q->ticket, ANSWER_FAILED);
		return;
	}
	chain = chain_of(d, q, run);
	if (!chain) {
		/* Not on the board and not in the file: nothing to filter. */
		bool none = d->sets[q->set] && q->entry == LANE_ENTRY_NONE;

		d->counts.stale += !none;
		answer_plain(lane, slot, q->ticket, none ? MP_VERDICT_PASS : ANSWER_STALE);
		return;
	}
	e = exchange_new(d, lane, chain);
	if (!e) {
		answer_plain(lane, slot, q->ticket, ANSWER_FAILED);
		return;
	}
	run->chain = chain;
	run->exchange = e;
	run->x.id = e->id;
	chain->counts.asked++;
	d->counts.asked++;
	request_walk(d, e, run, slot, q->ticket);
}

static void serve_response(struct data *d, struct lane *lane, uint32_t slot, const struct question *q)
{
	struct exchange *e = exchange_find(d, lane, q->exchange);
	struct run *run = d->run;
	struct answer a;
	uint32_t verdict;

	if (!e || e->held) {
		answer_plain(lane, slot, q->ticket, ANSWER_FAILED);
		return;
	}
	run_reset(run, e->chain, e, d->now_ns);
	if (run_read(run, q) < 0) {
		d->counts.bad_messages++;
		answer_plain(lane, slot, q->ticket, ANSWER_FAILED);
		return;
	}
	d->counts.responses++;
	verdict = run_response(run);
	if (!run_answer(run, verdict, lane_answer_data(lane, slot), lane->limits.data_size, &a) ||
	    !lane_answer(lane, slot, q->ticket, &a))
		answer_plain(lane, slot, q->ticket, ANSWER_FAILED);
}

static void serve_copy(struct data *d, struct lane *lane, uint32_t slot, const struct question *q)
{
	struct exchange *e = exchange_find(d, lane, q->exchange);
	struct run *run = d->run;

	run_reset(run, NULL, e, d->now_ns);
	if (run_read(run, q) < 0) {
		d->counts.bad_messages++;
	} else {
		run->chain = e ? e->chain : chain_of(d, q, run);
		if (run->chain && !(e && e->held)) {
			d->counts.copies++;
			(void)run_response(run);
		}
	}
	answer_plain(lane, slot, q->ticket, MP_VERDICT_PASS);
}

static void serve_slot(struct data *d, struct lane *lane, uint32_t slot)
{
	static void (*const serve[])(struct data *, struct lane *, uint32_t,
				     const struct question *) = {
		[LANE_REQUEST] = serve_request,
		[LANE_RESPONSE] = serve_response,
		[LANE_COPY] = serve_copy,
	};
	struct question q;

	if (lane_question(lane, slot, d->run->data, &q) < 0) {
		d->counts.bad_messages++;
		answer_plain(lane, slot, q.ticket, ANSWER_FAILED);
		return;
	}
	serve[q.kind](d, lane, slot, &q);
}

bool serve_lane(struct data *d, struct lane *lane)
{
	bool any = false;

	for (unsigned word = 0; word * 64 < lane->limits.n_slots; word++) {
		uint64_t bits = lane_take(lane, word);

		for (; bits; bits &= bits - 1) {
			serve_slot(d, lane, word * 64 + (uint32_t)__builtin_ctzll(bits));
			any = true;
		}
	}
	return any;
}
