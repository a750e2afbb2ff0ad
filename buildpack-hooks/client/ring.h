/* SPDX-License-Identifier: Apache-2.0 */
/* The lane's ring of outcomes: many threads publish, the scheduler drains. */
#ifndef CLIENT_RING_H
#define CLIENT_RING_H

#include "buildpack-hooks/client/board.h"

/* How a call ended. */
struct ring_outcome {
	uint64_t exchange; /* 0: it was not asked */
	uint64_t duration_ns;
	uint32_t status; /* 100..599 or 0 */
	uint32_t error;  /* MP_ERROR_* */
	bool own;        /* the chain's own answer: no failure of the service */
};

/* Publishes, or counts it as lost; rings when the scheduler should look now. */
void client_ring_publish(struct live *live, struct conn *conn, const struct call_state *state,
			 const struct ring_outcome *outcome);

#endif
