/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verdicts as the application gets them: decoded out of shared memory into one
 * block of its own, or made here when a call is refused.
 */
#ifndef CLIENT_VERDICT_H
#define CLIENT_VERDICT_H

#include "buildpack-hooks/client/board.h"

/* A verdict as it stands in shared memory; the bounds of the pointers are checked. */
struct raw_verdict {
	int32_t status;
	uint64_t retry_at_ns; /* 0: none */
	const char *head;     /* items of wire.h */
	size_t head_size;
	const char *body;
	size_t body_size;
	bool has_body; /* the body is part of it, even if empty */
};

/* Empties it; NULL when the caller's struct is none that we know. */
struct mp_verdict *client_verdict_ready(struct mp_verdict *verdict);

/* A reply, with Retry-After and the marker.  0, -ENOMEM or -EPROTO: then it stays empty. */
int client_verdict_reply(struct mp_verdict *verdict, const struct raw_verdict *raw, uint64_t now);

/* Edits; allocates nothing when there are none.  Returns likewise. */
int client_verdict_edits(struct mp_verdict *verdict, const struct raw_verdict *raw);

/*
 * The REPLY that stands on the board.  Also -EAGAIN: it is not there any more,
 * or cannot be right.
 */
int client_verdict_standing(struct mp_verdict *verdict, const struct conn *conn,
			    const struct call_state *state, const struct standing *standing,
			    uint64_t now);

/* Our own refusal: 503 and a marker of type middlepipe in `state`.  Cannot fail. */
void client_verdict_refuse(struct mp_verdict *verdict, struct mp_str pipe, const char *state);

#endif
