/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One exchange walking its chain: in order on the request, in reverse on the
 * response, the first REPLY or ERROR ending the walk (request-path.md 4.1).
 *
 * A run is the working memory of a walk: the copied message, its fields, the
 * edits made so far and the bytes that they need.  The data thread has one
 * and uses it again and again; only an exchange that is held keeps its own.
 * No I/O, no clock: a test drives it with a chain of its own.
 */
#ifndef SCHEDULER_RUN_H
#define SCHEDULER_RUN_H

#include <stdbool.h>

#include <middlepipe/filter.h>

#include "lib/list.h"
#include "scheduler/chainset.h"
#include "scheduler/lane.h"

#define RUN_DATA_MAX (1024 * 1024) /* bound of --slot-size */
#define RUN_ARENA (64 * 1024)      /* bytes of edited and replied text */
#define RUN_EDITS_MAX 128

/* An exchange between its request and its end; lives in a pool. */
struct exchange {
	uint64_t id;         /* its handle in the pool */
	uint64_t lane_id;    /* lane it belongs to */
	struct lane *lane;
	struct chain *chain;
	uint64_t begun_ns;
	struct list link;    /* in its lane's list, oldest first */
	struct run *held;    /* HOLD: its own run; NULL otherwise */
	uint32_t slot;       /* HOLD: where the answer goes */
	uint32_t ticket;
	uint64_t hold_until_ns;
	int32_t resume;      /* HOLD: 0, or 1 + the verdict that ends it */
	uint32_t let_through; /* units 0..let_through-1 saw the request pass */
	uint64_t memo[MP_CHAIN_MAX]; /* each unit's own word */
};

/* A response made by a unit, or by the host for it. */
struct run_reply {
	int32_t status;
	struct mp_marker marker; /* strings in the arena; type empty: no marker */
	uint64_t retry_at_ns;
	struct mp_str body;
	const struct unit *by;
};

struct run {
	/* What the filters see.  First, so that the host finds the run by it. */
	struct mp_exchange x;
	uint32_t magic; /* RUN_MAGIC */
	bool on_response;        /* which half is walked and may be edited */
	bool has_reply;          /* reply is set; its fields are in response_fields */
	bool response_is_reply;  /* the response is synthesized */
	bool body_changed, authority_changed, path_changed, status_changed;
	bool overrun;            /* an edit did not fit: the filter was told */
	struct chain *chain;
	struct exchange *exchange; /* NULL for a copy of a call that was not asked */
	struct unit *unit;       /* whose hook runs now, or ran last */
	uint64_t now_ns;         /* the same within one walk */
	uint64_t delay_ns;       /* sum of DELAYs */
	uint64_t hold_until_ns;  /* of a HOLD */
	uint32_t at;             /* unit that the walk stands at */
	struct run_reply reply;
	struct mp_field request_fields[LANE_FIELDS_MAX];
	struct mp_field response_fields[LANE_FIELDS_MAX];
	struct mp_edit edits[RUN_EDITS_MAX];
	uint32_t n_edits;
	uint32_t arena_used;
	char arena[RUN_ARENA];
	char data[]; /* the question: data_size bytes */
};
#define RUN_MAGIC 0x72756e21u

/* Empties a run for a question whose bytes are in run->data already. */
void run_reset(struct run *run, struct chain *chain, struct exchange *exchange, uint64_t now_ns);

/* Reads the head of a question into x.  -EINVAL: it is not one. */
int run_read(struct run *run, const struct question *question);

/*
 * Walks the request from run->at on.  Returns PASS, REPLY, DELAY, HOLD or
 * ANSWER_REFUSED; filters that fail are ejected on the way.
 */
uint32_t run_request(struct run *run);

/* A hold ended by a REPLY that run_reply() took: the rest of that walk.  Returns REPLY. */
uint32_t run_resume_reply(struct run *run);

/* Walks the response in reverse from the last unit that let the request through. */
uint32_t run_response(struct run *run);

/* Encodes the verdict into `memory`; fills answer.  False when it does not fit. */
bool run_answer(struct run *run, uint32_t verdict, void *memory, size_t size,
		struct answer *answer);

/*
 * Renders a standing REPLY as a blob (struct board_blob, head, body) into
 * memory.  Returns its size, or -E2BIG or -EINVAL.
 */
int reply_render(const struct unit *unit, const struct mp_reply *reply, void *memory, size_t size);

/* The refusal that stands for an ejected unit whose binding is closed; as reply_render(). */
int refusal_render(const struct unit *unit, void *memory, size_t size);

/* Host functions of scheduler_host that work on the exchange at hand. */
int32_t run_edit(struct mp_exchange *x, const struct mp_edit *edit);
int32_t run_set_path(struct mp_exchange *x, struct mp_str path);
int32_t run_set_authority(struct mp_exchange *x, struct mp_str authority);
int32_t run_set_body(struct mp_exchange *x, struct mp_str body);
int32_t run_set_status(struct mp_exchange *x, int32_t status);
int32_t run_reply(struct mp_exchange *x, const struct mp_reply *reply);
int32_t run_delay(struct mp_exchange *x, uint64_t ns);
int32_t run_hold(struct mp_exchange *x, uint64_t until_ns);

#endif
