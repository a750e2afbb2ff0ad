/* SPDX-License-Identifier: Apache-2.0 */
/* What the public functions share: going by what stands, and the failure rule. */
#ifndef CLIENT_CALL_H
#define CLIENT_CALL_H

#include "buildpack-hooks/client/verdict.h"

/*
 * Something failed: counts it, and lets the call through or, when `closed` and
 * there is a verdict to fill, refuses it in the name of the call's pipe.
 * Returns MP_VERDICT_PASS or MP_VERDICT_REPLY.  conn may be NULL: no lane to
 * count in, the next one gets it.
 */
int client_fail(struct live *live, struct conn *conn, const struct call_state *state, bool closed,
		const char *why, struct mp_verdict *verdict);

/*
 * Goes by what stands at the call's entry, whose set it has begun: MP_GO,
 * MP_ASK, or MP_REPLY with *verdict, which is empty or NULL.
 */
int client_go(struct live *live, struct conn *conn, struct mp_call *call,
	      struct mp_verdict *verdict, uint64_t now);

#endif
