/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mp_end and the small public functions.  mp_begin is in begin.c, mp_ask,
 * mp_resume and mp_respond are in ask.c.
 */
#include <stdlib.h>
#include <string.h>

#include "buildpack-hooks/client/ring.h"
#include "buildpack-hooks/client/slot.h"

/* Room for the head that a body shares its slot with. */
#define HEAD_ROOM 16384u

/* --------------------------------------------------------------------- end */

/* Status and error as one of the two must be. */
static void end_normalise(struct ring_outcome *o, int status, int error)
{
	if (error < 0 || error >= MP_ERROR_COUNT)
		error = MP_ERROR_OTHER;
	if (!error && !status)
		error = MP_ERROR_CANCELLED; /* it ended without either */
	if (!error && (status < 100 || status > 599))
		error = MP_ERROR_PROTOCOL;
	o->error = (uint32_t)error;
	o->status = error ? 0 : (uint32_t)status;
}

static void end_publish(struct live *live, struct conn *conn, struct mp_call *call, int status,
			int error, uint64_t head_ns)
{
	const struct call_state *state = call_state(call);
	struct ring_outcome o = { .own = state->phase == CALL_REPLIED };

	if (state->phase == CALL_REPLIED || state->phase == CALL_DECIDED) {
		bool failed = state->status & CALL_ERROR;

		status = failed ? 0 : state->status;
		error = failed ? (int)(state->status & ~CALL_ERROR) : 0;
	}
	end_normalise(&o, status, error);
	if (state->phase != CALL_OPEN)
		o.exchange = state->exchange.id;
	if (!o.own) {
		uint64_t end = head_ns ? head_ns : client_now();

		o.duration_ns = end > call->started_ns ? end - call->started_ns : 0;
	}
	client_ring_publish(live, conn, state, &o);
}

void mp_end(struct mp_call *call, int status, int error, uint64_t head_ns)
{
	struct live *live = client_live();
	struct call_state *state = call_state(call);
	struct conn *conn = live ? client_conn_of(live, state->conn) : NULL;

	state->conn = 0;
	if (!conn)
		return;
	if (state->phase == CALL_HELD) {
		client_slot_leave(live, conn, state->slot);
		status = 0;
		error = MP_ERROR_CANCELLED;
	}
	if (!conn->lane)
		client_count(live, COUNT_LOST);
	else if (state->phase != CALL_REFUSED)
		end_publish(live, conn, call, status, error, head_ns);
	state->phase = CALL_NONE;
	client_board_end(conn, state);
	client_drop(live, conn);
}

/* ------------------------------------------------------------------- others */

void mp_verdict_free(struct mp_verdict *verdict)
{
	if (!verdict)
		return;
	free(verdict->memory);
	verdict->memory = NULL;
	(void)client_verdict_ready(verdict); /* one of another size stays as it is */
}

int mp_enabled(void)
{
	return client_live() != NULL;
}

size_t mp_body_limit(void)
{
	struct live *live = client_live();
	uint64_t word, size = 0;
	struct conn *conn = live ? client_hold(live, &word) : NULL;

	if (!conn)
		return 0;
	if (conn->lane && !(word & CONN_AWAY))
		size = conn->layout.slot_size;
	client_drop(live, conn);
	return (size_t)(size > 2 * HEAD_ROOM ? size - HEAD_ROOM : size / 2);
}

static uint32_t is_connected(struct live *live)
{
	uint64_t word;
	struct conn *conn = client_hold(live, &word);
	uint32_t connected;

	if (!conn)
		return 0;
	connected = conn->lane && !(word & CONN_AWAY);
	client_drop(live, conn);
	return connected;
}

#define ROWS_AT offsetof(struct mp_counters, passed)
_Static_assert(sizeof(struct mp_counters) == ROWS_AT + CLIENT_COUNTERS * sizeof(uint64_t),
	       "one row of client_counter each");

void mp_counters_get(struct mp_counters *counters)
{
	struct live *live = client_live();
	uint64_t rows[CLIENT_COUNTERS] = { 0 };
	size_t size = counters->size < sizeof(*counters) ? counters->size : sizeof(*counters);

	if (size < MP_COUNTERS_1_0)
		return;
	for (size_t i = 0; live && i < CLIENT_COUNTERS; i++)
		rows[i] = LOAD(live->counters[i]);
	counters->connected = live ? is_connected(live) : 0;
	memcpy((char *)counters + ROWS_AT, rows, size - ROWS_AT);
}

const char *mp_version(void)
{
	return "1.0";
}
