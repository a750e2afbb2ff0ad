/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishes outcomes: see ring.h.  No system call but the doorbell, which rings
 * for the first outcome after a pause, for a failure, and once when the ring
 * has become half full.
 */
#include "buildpack-hooks/client/ring.h"

/* What the chain calls a failure; a chain that has gone meanwhile: any error, any 5xx. */
static bool is_failure(const struct conn *conn, const struct call_state *state,
		       const struct ring_outcome *o)
{
	struct failure_rule rule;

	if (o->own)
		return false;
	if (!client_board_failure(conn, state, o->status, &rule))
		return o->error != MP_ERROR_CANCELLED && (o->error || o->status >= 500);
	if (o->error)
		return rule.errors >> o->error & 1;
	return (rule.statuses >> (o->status - 100) % 64 & 1) ||
	       (rule.slow_ns && o->duration_ns > rule.slow_ns);
}

/* Claims an index; false when the ring is full. */
static bool claim(const struct conn *conn, uint64_t *ret_index, uint64_t *ret_used)
{
	uint64_t head = LOAD(conn->lane->ring_head);

	do {
		*ret_used = head - LOAD(conn->answers->ring_tail);
		if (*ret_used >= conn->layout.n_ring)
			return false;
	} while (!atomic_compare_exchange_weak(&conn->lane->ring_head, &head, head + 1));
	*ret_index = head;
	return true;
}

/* True once on the way up: a ring that is a quarter full or less arms it again. */
static bool crossed_half(struct conn_live *at, uint64_t used, uint64_t n_ring)
{
	if (used >= n_ring / 2)
		return !LOAD(at->half) && !atomic_exchange(&at->half, 1);
	if (used <= n_ring / 4 && LOAD(at->half))
		STORE(at->half, 0);
	return false;
}

void client_ring_publish(struct live *live, struct conn *conn, const struct call_state *state,
			 const struct ring_outcome *o)
{
	bool failure = is_failure(conn, state, o), wanted = o->exchange || state->flags & ENTRY_OUTCOME;
	struct lane_outcome *at;
	uint64_t index, used;

	if (!claim(conn, &index, &used)) {
		atomic_fetch_add_explicit(failure ? &conn->lane->lost_failed : &conn->lane->lost_ok, 1,
					  memory_order_relaxed);
		client_count(live, COUNT_LOST);
		return;
	}
	at = &conn->ring[index & (conn->layout.n_ring - 1)];
	STORE(at->where, lane_where(state->entry, state->set, state->standing, o->error, o->status));
	STORE(at->exchange, o->exchange);
	STORE(at->duration_ns, o->duration_ns);
	/* Publish first, then read ticking: an exchange orders the two without a fence. */
	(void)atomic_exchange(&at->seq, index + 1);
	if (crossed_half(conn_live(live, conn), used + 1, conn->layout.n_ring) ||
	    (wanted && (failure || !atomic_load(&conn->board->ticking))))
		client_ring(live, conn);
}
