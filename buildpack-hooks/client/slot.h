/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots of the lane: a question goes in, its answer comes out of the answers'
 * slot of the same number.
 *
 * A slot whose question nobody waits for any more (past the budget, a copy, a
 * call that was given up) is `left`: it is not used again before the scheduler
 * has answered that question.
 */
#ifndef CLIENT_SLOT_H
#define CLIENT_SLOT_H

#include "buildpack-hooks/client/verdict.h"

/* What is asked. */
struct slot_question {
	uint32_t kind;     /* LANE_REQUEST, LANE_RESPONSE or LANE_COPY */
	uint64_t exchange; /* 0: none yet */
	const struct mp_request *request;   /* NULL: the chain has it */
	const struct mp_response *response; /* RESPONSE and COPY */
	uint64_t duration_ns;               /* likewise */
};

/* An answer, loaded once and checked. */
struct slot_answer {
	uint32_t verdict; /* MP_VERDICT_* or ANSWER_* */
	uint64_t exchange;
	uint64_t delay_ns;
	struct raw_verdict raw;
};

/*
 * Puts the question into a free slot and rings if need be: state->slot and
 * ->ticket name it.  Returns 0, -EBUSY without a free slot, or -E2BIG when it
 * does not fit.
 */
int client_slot_post(struct live *live, struct conn *conn, struct call_state *state,
		     const struct slot_question *question);

/*
 * Waits for the answer.  Returns 0, 1 when the exchange is held (if hold_ends),
 * -ETIMEDOUT, or -EPIPE when the scheduler has gone.
 */
int client_slot_wait(const struct conn *conn, const struct call_state *state, uint64_t deadline_ns,
		     bool hold_ends);

/* The answer of a slot; -EPROTO when it makes no sense.  Valid until the slot is freed. */
int client_slot_answer(const struct conn *conn, uint32_t slot, struct slot_answer *ret);

/* How long an exchange may be held, once client_slot_wait() has returned 1. */
uint64_t client_slot_hold_ns(const struct conn *conn, uint32_t slot);

void client_slot_free(struct live *live, const struct conn *conn, uint32_t slot);
void client_slot_leave(struct live *live, const struct conn *conn, uint32_t slot);

#endif
