/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mp_ask, mp_resume and mp_respond: an exchange goes through the chain.  Each
 * waits for at most the budget; whatever fails ends in the failure rule.
 */
#include <errno.h>

#include "buildpack-hooks/client/call.h"
#include "buildpack-hooks/client/slot.h"

/* A call that is being asked about. */
struct asking {
	struct live *live;
	struct conn *conn;
	struct mp_call *call;
	struct call_state *state;
	struct mp_verdict *verdict; /* emptied */
	bool respond;               /* about the response */
};

/* False: the call is none of ours, or there is no verdict to fill. */
static bool asking_start(struct asking *a, struct mp_call *call, struct mp_verdict *verdict)
{
	*a = (struct asking){ .live = client_live(), .call = call, .state = call_state(call) };
	a->verdict = client_verdict_ready(verdict);
	if (a->live)
		a->conn = client_conn_of(a->live, a->state->conn);
	return a->conn && a->conn->lane && a->verdict;
}

int client_fail(struct live *live, struct conn *conn, const struct call_state *state, bool closed,
		const char *why, struct mp_verdict *verdict)
{
	bool refused = closed && verdict;

	client_count(live, refused ? COUNT_REFUSED : COUNT_UNFILTERED);
	client_count_lane(live, conn, state->conn, refused ? LANE_REFUSED : LANE_UNFILTERED);
	if (!refused)
		return MP_VERDICT_PASS;
	client_verdict_refuse(verdict, (struct mp_str){ state->pipe, state->pipe_size }, why);
	return MP_VERDICT_REPLY;
}

/* ------------------------------------------------------------------ answers */

static int apply_fail(struct asking *a)
{
	struct call_state *state = a->state;
	int verdict = client_fail(a->live, a->conn, state, state->flags & ENTRY_CLOSED,
				  "unavailable", a->verdict);

	a->call->wants = 0;
	if (!a->respond) {
		state->exchange.id = 0;
		state->phase = verdict == MP_VERDICT_REPLY ? CALL_REFUSED : CALL_ASKED;
	} else if (verdict == MP_VERDICT_REPLY) {
		state->phase = CALL_DECIDED;
	}
	return verdict;
}

static int apply_refused(struct asking *a)
{
	(void)client_fail(a->live, a->conn, a->state, true, "ejected", a->verdict); /* has a verdict */
	a->state->phase = a->respond ? CALL_DECIDED : CALL_REFUSED;
	if (!a->respond)
		a->state->exchange.id = 0;
	return MP_VERDICT_REPLY;
}

static int apply_edits(struct asking *a, const struct slot_answer *answer)
{
	if (client_verdict_edits(a->verdict, &answer->raw) < 0)
		return apply_fail(a);
	a->verdict->verdict = (int32_t)answer->verdict;
	a->verdict->delay_ns = answer->verdict == MP_VERDICT_DELAY ? answer->delay_ns : 0;
	a->state->phase = CALL_ASKED;
	a->state->exchange.id = answer->exchange;
	/* An exchange without a number has come to its end. */
	if (a->respond || !answer->exchange)
		a->call->wants = 0;
	if (!a->respond)
		client_count(a->live, COUNT_ASKED);
	return a->verdict->verdict;
}

static int apply_reply(struct asking *a, const struct slot_answer *answer)
{
	if (client_verdict_reply(a->verdict, &answer->raw, client_now()) < 0)
		return apply_fail(a);
	a->call->wants = 0;
	a->state->exchange.id = answer->exchange;
	if (a->respond) {
		a->state->phase = CALL_DECIDED;
		return MP_VERDICT_REPLY;
	}
	/* Without a number there is nothing that an outcome could be about. */
	a->state->phase = answer->exchange ? CALL_REPLIED : CALL_REFUSED;
	a->state->status = (uint16_t)a->verdict->status;
	client_count(a->live, COUNT_ASKED);
	return MP_VERDICT_REPLY;
}

static int apply(struct asking *a, const struct slot_answer *answer)
{
	switch (answer->verdict) {
	case MP_VERDICT_PASS:
	case MP_VERDICT_DELAY:
		return apply_edits(a, answer);
	case MP_VERDICT_REPLY:
		return apply_reply(a, answer);
	case ANSWER_REFUSED:
		return apply_refused(a);
	default: /* ANSWER_FAILED, or one that we do not know */
		return apply_fail(a);
	}
}

/* Takes the answer and gives the slot back.  With ret_stale, a stale set is no failure. */
static int answer_take(struct asking *a, bool *ret_stale)
{
	struct slot_answer answer;
	uint32_t slot = a->state->slot;
	int r = client_slot_answer(a->conn, slot, &answer);

	if (!r && answer.verdict == ANSWER_STALE && ret_stale) {
		*ret_stale = true;
		r = MP_VERDICT_PASS;
	} else {
		r = r < 0 ? apply_fail(a) : apply(a, &answer);
	}
	client_slot_free(a->live, a->conn, slot);
	return r;
}

static void count_over_budget(struct asking *a)
{
	client_count(a->live, COUNT_OVER_BUDGET);
	client_count_lane(a->live, a->conn, a->state->conn, LANE_OVER_BUDGET);
}

/* Nobody waits any more: the slot goes back when the scheduler has answered. */
static int give_up(struct asking *a, int why)
{
	client_slot_leave(a->live, a->conn, a->state->slot);
	if (why == -EPIPE) {
		client_count(a->live, COUNT_AWAY);
		client_away(a->live, a->state->conn);
	} else {
		count_over_budget(a);
	}
	return apply_fail(a);
}

static int hold(struct asking *a)
{
	uint64_t ns = client_slot_hold_ns(a->conn, a->state->slot);

	a->state->phase = CALL_HELD;
	a->state->exchange.id = 0;
	a->state->exchange.until_ns = client_now() + ns;
	a->verdict->verdict = MP_VERDICT_HOLD;
	a->verdict->delay_ns = ns;
	return MP_VERDICT_HOLD;
}

/* Asks and waits. */
static int ask(struct asking *a, const struct slot_question *q, bool *ret_stale)
{
	uint64_t deadline = client_now() + a->live->budget_ns;
	int r;

	/* Found away since the call began: nobody would answer. */
	if (LOAD(a->live->current) != a->state->conn) {
		client_count(a->live, COUNT_AWAY);
		return apply_fail(a);
	}
	r = client_slot_post(a->live, a->conn, a->state, q);
	if (r == -EBUSY) {
		client_count(a->live, COUNT_NO_SLOT);
		client_count_lane(a->live, a->conn, a->state->conn, LANE_NO_SLOT);
	}
	if (r < 0)
		return apply_fail(a);
	r = client_slot_wait(a->conn, a->state, deadline, !a->respond);
	if (r < 0)
		return give_up(a, r);
	return r == 1 ? hold(a) : answer_take(a, ret_stale);
}

/* ------------------------------------------------------------------- mp_ask */

/*
 * The chain set was gone: begins once more, under the one that holds now.  What
 * is left of the target is its hashes, which is enough to find it.
 */
static int ask_anew(struct asking *a, const struct slot_question *q)
{
	struct call_state *state = a->state;
	struct probe probe = { .hash = state->key.hash, .host_hash = state->key.host_hash,
			       .path = q->request->path };
	int r;

	client_board_end(a->conn, state);
	r = client_board_begin(a->conn, &probe, state);
	if (r <= 0) {
		/* No chain any more: nothing is left to end. */
		if (r < 0)
			(void)client_fail(a->live, a->conn, state, false, "unavailable", NULL);
		a->call->wants = 0;
		state->conn = 0;
		state->phase = CALL_NONE;
		client_drop(a->live, a->conn);
		return MP_VERDICT_PASS;
	}
	r = client_go(a->live, a->conn, a->call, a->verdict, client_now());
	if (r == MP_ASK)
		return ask(a, q, NULL);
	return r == MP_REPLY ? MP_VERDICT_REPLY : MP_VERDICT_PASS;
}

int mp_ask(struct mp_call *call, const struct mp_request *request, struct mp_verdict *verdict)
{
	struct slot_question q = { .kind = LANE_REQUEST, .request = request };
	struct asking a;
	bool stale = false;
	int r;

	if (!asking_start(&a, call, verdict) || call->verdict != MP_ASK ||
	    a.state->phase != CALL_OPEN || !request || request->size < MP_REQUEST_1_0)
		return MP_VERDICT_PASS;
	r = ask(&a, &q, &stale);
	return stale ? ask_anew(&a, &q) : r;
}

/* ---------------------------------------------------------------- mp_resume */

/* Still held: until when, or the end of it. */
static int resume_later(struct asking *a, uint64_t now)
{
	uint64_t until = a->state->exchange.until_ns;

	if (now < until + a->live->budget_ns) {
		a->verdict->verdict = MP_VERDICT_HOLD;
		a->verdict->delay_ns = until > now ? until - now : 0;
		return MP_VERDICT_HOLD;
	}
	/* A HOLD ends by PASS: the scheduler should have said so by now. */
	client_slot_leave(a->live, a->conn, a->state->slot);
	count_over_budget(a);
	a->call->wants = 0;
	a->state->phase = CALL_ASKED;
	return client_fail(a->live, a->conn, a->state, false, "unavailable", NULL);
}

int mp_resume(struct mp_call *call, uint64_t wait_ns, struct mp_verdict *verdict)
{
	struct asking a;
	uint64_t now, deadline;
	int r;

	if (!asking_start(&a, call, verdict) || a.state->phase != CALL_HELD)
		return MP_VERDICT_PASS;
	now = client_now();
	deadline = a.state->exchange.until_ns + a.live->budget_ns;
	if (deadline > now && wait_ns < deadline - now)
		deadline = now + wait_ns;
	r = client_slot_wait(a.conn, a.state, deadline, false);
	if (r == -ETIMEDOUT)
		return resume_later(&a, client_now());
	return r < 0 ? give_up(&a, r) : answer_take(&a, NULL);
}

/* --------------------------------------------------------------- mp_respond */

/* A copy is not waited for: when no slot is free it is lost. */
static int copy(struct asking *a, const struct slot_question *q)
{
	if (client_slot_post(a->live, a->conn, a->state, q) < 0)
		client_count(a->live, COUNT_LOST);
	else
		client_slot_leave(a->live, a->conn, a->state->slot);
	a->call->wants = 0;
	return MP_VERDICT_PASS;
}

int mp_respond(struct mp_call *call, const struct mp_request *request,
	       const struct mp_response *response, struct mp_verdict *verdict)
{
	struct slot_question q = { .kind = LANE_COPY, .response = response };
	struct asking a;
	uint64_t now;

	if (!asking_start(&a, call, verdict) || !response || response->size < MP_RESPONSE_1_0 ||
	    !(call->wants & (MP_WANT_RESPONSE | MP_WANT_COPY)))
		return MP_VERDICT_PASS;
	if (a.state->phase == CALL_ASKED)
		q.exchange = a.state->exchange.id;
	else if (a.state->phase != CALL_OPEN)
		return MP_VERDICT_PASS;
	if (request && request->size >= MP_REQUEST_1_0 &&
	    (!q.exchange || !(call->wants & MP_WANT_RESPONSE)))
		q.request = request;
	if (!q.request && !q.exchange)
		return MP_VERDICT_PASS;
	now = client_now();
	q.duration_ns = now > call->started_ns ? now - call->started_ns : 0;
	if (!(call->wants & MP_WANT_RESPONSE))
		return copy(&a, &q);
	q.kind = LANE_RESPONSE;
	a.respond = true;
	a.state->status = response->error ? (uint16_t)(CALL_ERROR | (response->error & 0xf)) :
					    (uint16_t)response->status;
	return ask(&a, &q, NULL);
}
