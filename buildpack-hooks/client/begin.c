/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mp_begin and mp_standing: what a call meets.  The path of every call of the
 * application, so what is common comes first and makes no system call.
 */
#include <errno.h>
#include <string.h>

#include "buildpack-hooks/client/call.h"
#include "lib/lane_key.h"
#include "lib/slice.h"

#define STANDING_TRIES 8 /* a REPLY that changes that often while it is read: ASK */

/* A call that is being begun. */
struct beginning {
	struct live *live;
	struct mp_call *call;
	struct mp_verdict *verdict; /* emptied; NULL: the caller takes no REPLY */
	struct lane_key key;
	struct probe probe;
	uint64_t now; /* 0: not looked at the clock yet */
};

static uint32_t scheme_port(struct mp_str scheme)
{
	return slice_eq_nocase(scheme, MP_LIT("https")) ? 443 : 80;
}

static bool probe_make(struct lane_key *key, struct probe *probe, const struct mp_target *target)
{
	uint32_t port = target->port ? target->port : scheme_port(target->scheme);

	if (!lane_key_make(key, target->host, port))
		return false;
	*probe = (struct probe){
		.hash = key->hash, .host_hash = key->host_hash, .text = key->text,
		.size = key->size, .host_size = key->host_size, .path = target->path,
	};
	if (!probe->path.len)
		probe->path = MP_LIT("/");
	return true;
}

static int finish(struct beginning *b, int verdict)
{
	b->call->verdict = (uint32_t)verdict;
	return verdict;
}

/* ----------------------------------------------------- without a scheduler */

/* `conn` has the board that was there last, or is NULL: there never was one. */
static int begin_away(struct beginning *b, struct conn *conn)
{
	struct call_state *state = call_state(b->call);
	bool closed = !conn && b->live->required;

	state->pipe_size = 0;
	if (conn) {
		int r = client_board_find(conn, &b->probe, state);

		if (!r)
			return finish(b, MP_NONE);
		closed = r > 0 && (state->flags & ENTRY_CLOSED);
	}
	client_count(b->live, COUNT_AWAY);
	if (client_fail(b->live, NULL, state, closed, "unavailable", b->verdict) != MP_VERDICT_REPLY)
		return finish(b, MP_NONE);
	state->phase = CALL_REFUSED;
	return finish(b, MP_REPLY);
}

/* -------------------------------------------------------- with a scheduler */

static uint32_t wants_of(unsigned flags)
{
	static const struct {
		uint32_t flag, want;
	} rows[] = {
		{ ENTRY_RESPONSE, MP_WANT_RESPONSE },
		{ ENTRY_COPY, MP_WANT_COPY },
		{ ENTRY_REQUEST_BODY, MP_WANT_REQUEST_BODY },
		{ ENTRY_RESPONSE_BODY, MP_WANT_RESPONSE_BODY },
	};
	uint32_t wants = 0;

	for (size_t i = 0; flags && i < sizeof(rows) / sizeof(rows[0]); i++)
		if (flags & rows[i].flag)
			wants |= rows[i].want;
	/* Waited for, the same slot serves those who only look. */
	return wants & MP_WANT_RESPONSE ? wants & ~MP_WANT_COPY : wants;
}

static int go_pass(struct live *live, struct call_state *state)
{
	state->standing = MP_STANDING_PASS;
	client_count(live, COUNT_PASSED);
	return MP_GO;
}

/* Nobody can be asked without a lane: the failure rule. */
static int go_ask(struct live *live, struct conn *conn, struct mp_call *call,
		  struct mp_verdict *verdict)
{
	struct call_state *state = call_state(call);

	state->standing = MP_STANDING_ASK;
	if (conn->lane)
		return MP_ASK;
	client_count(live, COUNT_NO_SLOT);
	client_count_lane(live, conn, state->conn, LANE_NO_SLOT);
	if (client_fail(live, conn, state, state->flags & ENTRY_CLOSED, "unavailable", verdict) !=
	    MP_VERDICT_REPLY)
		return MP_GO;
	state->phase = CALL_REFUSED;
	return MP_REPLY;
}

static int go_reply(struct live *live, struct call_state *state, const struct mp_verdict *verdict)
{
	state->standing = MP_STANDING_REPLY;
	state->phase = CALL_REPLIED;
	state->status = (uint16_t)verdict->status;
	state->exchange.id = 0;
	client_count(live, COUNT_REPLIED);
	return MP_REPLY;
}

int client_go(struct live *live, struct conn *conn, struct mp_call *call,
	      struct mp_verdict *verdict, uint64_t now)
{
	struct call_state *state = call_state(call);

	state->phase = CALL_OPEN;
	call->wants = conn->lane ? wants_of(state->flags) : 0;
	for (int i = 0; i < STANDING_TRIES; i++) {
		struct standing standing = client_board_standing(conn, state, now);
		int r;

		if (standing.verdict == MP_STANDING_ASK)
			break;
		if (standing.verdict == MP_STANDING_PASS || !verdict)
			return go_pass(live, state);
		r = client_verdict_standing(verdict, conn, state, &standing, now);
		if (!r)
			return go_reply(live, state, verdict);
		if (r != -EAGAIN)
			break;
	}
	return go_ask(live, conn, call, verdict);
}

/* Once a second, a call without a chain looks whether that is still the truth. */
static void look(struct live *live, struct conn *conn, uint64_t word)
{
	struct timespec coarse;
	uint64_t now;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &coarse); /* cannot fail for this clock */
	now = (uint64_t)coarse.tv_sec * NS_PER_S + (uint64_t)coarse.tv_nsec;
	if (now < LOAD(live->look_ns))
		return;
	STORE(live->look_ns, now + NS_PER_S);
	if ((int64_t)(now - LOAD(conn->board->beat)) <= (int64_t)live->grace_ns)
		return;
	if (conn->lane ? client_at_eof(conn) : !client_is_alive(live, conn, now))
		client_away(live, word);
}

/* Takes over the caller's hold of `conn`, for the call or to drop it. */
static int begin_with(struct beginning *b, struct conn *conn, uint64_t word)
{
	struct call_state *state = call_state(b->call);
	int r = client_board_begin(conn, &b->probe, state);

	if (r == 0) {
		look(b->live, conn, word);
		client_drop(b->live, conn);
		return finish(b, MP_NONE);
	}
	if (!b->now)
		b->now = client_now();
	if (r < 0 || !client_is_alive(b->live, conn, b->now)) {
		if (r > 0)
			client_board_end(conn, state);
		client_away(b->live, word);
		client_drop(b->live, conn);
		return -EAGAIN;
	}
	if (!conn->lane)
		client_connect(b->live, word, b->now); /* one may be free by now: for the next call */
	b->call->started_ns = b->now;
	state->conn = word;
	state->key.hash = b->probe.hash;
	state->key.host_hash = b->probe.host_hash;
	return finish(b, client_go(b->live, conn, b->call, b->verdict, b->now));
}

/* The slow way: tries to find a scheduler instead of `word`, else applies the failure rule. */
static int begin_again(struct beginning *b, uint64_t word)
{
	struct conn *conn;
	int verdict;

	b->now = client_now();
	client_connect(b->live, word, b->now);
	conn = client_hold(b->live, &word);
	if (conn && !(word & CONN_AWAY)) {
		b->now = 0;
		verdict = begin_with(b, conn, word);
		if (verdict != -EAGAIN)
			return verdict;
		conn = client_hold(b->live, &word);
	}
	verdict = begin_away(b, conn);
	if (conn)
		client_drop(b->live, conn);
	return verdict;
}

int mp_begin(const struct mp_target *target, struct mp_call *call, struct mp_verdict *verdict)
{
	struct live *live = client_live();
	struct beginning b;
	struct conn *conn;
	uint64_t word = 0;
	int r;

	call->wants = 0;
	call->verdict = MP_NONE;
	call_state(call)->conn = 0;
	call_state(call)->phase = CALL_NONE;
	verdict = client_verdict_ready(verdict);
	if (!live || target->size < MP_TARGET_1_0 || !probe_make(&b.key, &b.probe, target))
		return MP_NONE;
	b.live = live;
	b.call = call;
	b.verdict = verdict;
	b.now = 0;
	conn = client_hold(live, &word);
	if (conn && !(word & CONN_AWAY)) {
		r = begin_with(&b, conn, word);
		return r == -EAGAIN ? begin_again(&b, word | CONN_AWAY) : r;
	}
	if (conn)
		client_drop(live, conn);
	return begin_again(&b, word);
}

/* ----------------------------------------------------------- mp_standing */

/* What mp_begin returns for a standing verdict. */
static int answer_of(int standing)
{
	static const int answers[] = {
		[MP_STANDING_ASK] = MP_ASK, [MP_STANDING_PASS] = MP_GO, [MP_STANDING_REPLY] = MP_REPLY,
	};

	return standing < 0 ? MP_NONE : answers[standing];
}

static struct board_summary summary_of(const struct conn *conn, const struct probe *probe,
				       bool every_path, uint64_t now)
{
	struct board_summary summary = { .standing = -ENOENT };
	struct call_state state;

	if (every_path)
		return client_board_summary(conn, probe, now);
	if (client_board_find(conn, probe, &state) > 0) {
		summary.standing = (int)client_board_standing(conn, &state, now).verdict;
		summary.closed_all = summary.closed_any = state.flags & ENTRY_CLOSED;
	}
	return summary;
}

static int standing_away(const struct board_summary *summary)
{
	if (!summary->closed_any)
		return MP_NONE;
	return summary->closed_all ? MP_REPLY : MP_ASK;
}

int mp_standing(const struct mp_target *target)
{
	struct live *live = client_live();
	struct board_summary summary;
	struct lane_key key;
	struct probe probe;
	struct conn *conn;
	uint64_t now, word = 0;

	if (!live || target->size < MP_TARGET_1_0 || !probe_make(&key, &probe, target))
		return MP_NONE;
	now = client_now();
	conn = client_hold(live, &word);
	if (!conn || (word & CONN_AWAY)) {
		if (conn)
			client_drop(live, conn);
		client_connect(live, word, now);
		conn = client_hold(live, &word);
	}
	if (!conn)
		return live->required ? MP_REPLY : MP_NONE;
	summary = summary_of(conn, &probe, !target->path.len, now);
	if (!(word & CONN_AWAY) && summary.standing >= 0 && !client_is_alive(live, conn, now)) {
		client_away(live, word);
		word |= CONN_AWAY;
	}
	client_drop(live, conn);
	return word & CONN_AWAY ? standing_away(&summary) : answer_of(summary.standing);
}
