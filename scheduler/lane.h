/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane as the scheduler holds it: the memory shared with one app process,
 * and the only functions that read what the app wrote there.
 *
 * Everything in the lane is hostile.  Each word is loaded once, clamped
 * against the geometry in this struct (never against the lane's own header),
 * and what must be parsed is copied first.  No function here waits on, locks,
 * or loops over an app-writable word.
 *
 * The control thread makes and frees lanes; in between the data thread owns
 * them.
 */
#ifndef SCHEDULER_LANE_H
#define SCHEDULER_LANE_H

#include <stdbool.h>
#include <sys/types.h>

#include <middlepipe/filter.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/lane.h"
#include "lib/list.h"

/* Geometry of every lane, fixed at start. */
struct lane_limits {
	uint32_t n_slots;   /* 1..LANE_SLOTS_MAX */
	uint32_t n_ring;    /* power of two */
	uint32_t data_size; /* bytes a slot, a multiple of LANE_PAGE */
};

/* One question, copied out of a slot and checked. */
struct question {
	uint32_t ticket;
	uint32_t kind; /* LANE_REQUEST, LANE_RESPONSE or LANE_COPY */
	uint32_t set;
	uint32_t entry;
	uint32_t flags;
	uint64_t exchange;
	int32_t status; /* 100..599 or 0 */
	int32_t error;  /* MP_ERROR_* */
	uint64_t duration_ns;
	struct mp_str head; /* in the caller's buffer, like the bodies */
	struct mp_str request_body;
	struct mp_str response_body;
};

/* One outcome, unpacked and checked. */
struct outcome {
	uint32_t entry;
	uint32_t set;
	int32_t standing; /* MP_STANDING_* */
	int32_t error;
	int32_t status;
	uint64_t exchange;
	uint64_t duration_ns;
};

/* What an answer says; the bytes are copied. */
struct answer {
	uint32_t verdict; /* MP_VERDICT_* or ANSWER_* */
	uint32_t status;
	uint64_t exchange;
	uint64_t delay_ns;
	uint64_t retry_at_ns;
	uint32_t head_size; /* bytes already written by answer_head() */
	struct mp_str body;
	bool has_body;
};

struct control;
struct lane_mail;

struct lane {
	uint32_t magic; /* LANE_STRUCT_MAGIC */
	uint32_t number; /* for people, and index of the lane table */
	pid_t pid;       /* of the app, as the kernel said at connect */
	uint64_t id;     /* never reused: exchanges name their lane by it */
	struct lane_limits limits;
	size_t lane_size;    /* bytes mapped */
	size_t answers_size;
	char *lane_base;     /* the app writes it too */
	char *answers_base;  /* the app only reads it */
	int lane_fd, answers_fd, doorbell; /* doorbell: eventfd */
	int socket, pidfd;   /* -1: none; control thread */
	uint64_t ring_tail;  /* next outcome to read */
	uint64_t stuck;      /* index that was found unpublished, + 1 */
	uint64_t stuck_ns;   /* since when */
	uint64_t lost_ok, lost_failed; /* what the filters were told already */
	struct list exchanges; /* exchanges in progress of this lane, oldest first */
	uint32_t n_exchanges;
	struct list link;      /* data thread: open lanes */
	uv_poll_t bell;        /* data thread: doorbell */
	uv_poll_t end_of_socket, end_of_process; /* control thread */
	struct control *control; /* control thread: whose it is */
	int closing;           /* control thread: handles still to be closed */
	bool ending;           /* control thread: on its way out */
	bool attached;         /* data thread has it */
	unsigned idle_bells;   /* rings without a question or outcome since the last tick */
	struct lane_mail *detach; /* answered when the doorbell's handle is closed */
};
#define LANE_STRUCT_MAGIC 0x6c616e65u

int lane_new(const struct lane_limits *limits, uint32_t number, uint64_t id, struct lane **ret,
	     struct err *err);
void lane_free(struct lane *lane);

static inline struct lane_header *lane_head(const struct lane *lane)
{
	return (struct lane_header *)(void *)lane->lane_base;
}

/* True when a question is pending. */
bool lane_pending(const struct lane *lane);

/* Takes the pending bits of word `word`, cleared of slots that do not exist. */
uint64_t lane_take(struct lane *lane, unsigned word);

/*
 * Copies the question of a slot into `buffer` (limits.data_size bytes) and
 * checks it.  0, or -EINVAL: it is none; ticket is set in either case.
 */
int lane_question(const struct lane *lane, uint32_t slot, char *buffer, struct question *ret);

/* Where the encoded head of an answer goes, and how much fits with the body. */
char *lane_answer_data(const struct lane *lane, uint32_t slot);

/* Publishes an answer and wakes who waits for it.  False when the body does not fit. */
bool lane_answer(struct lane *lane, uint32_t slot, uint32_t ticket, const struct answer *answer);

/* Says that the exchange is held, for delay_ns at most. */
void lane_hold(struct lane *lane, uint32_t slot, uint32_t ticket, uint64_t delay_ns);

/*
 * The next outcome of the ring: 1, or 0 when there is none for now.  An entry
 * that is claimed but not published ends a drain: its thread has lost the CPU
 * at a bad moment.  It is skipped, and counted in *skipped, when that has been
 * so for LANE_STUCK_NS, or when half of the ring waits behind it.  now_ns 0:
 * the app is gone, skip at once.
 */
#define LANE_STUCK_NS UINT64_C(1000000000)
int lane_outcome_next(struct lane *lane, struct outcome *ret, uint64_t *skipped, uint64_t now_ns);

/* Starts a drain: where the app says its ring ends, clamped. */
uint64_t lane_ring_end(const struct lane *lane);

/* Lets the app reuse what was read. */
void lane_ring_release(struct lane *lane);

/* Reads the doorbell empty without ever blocking. */
void lane_bell_clear(struct lane *lane);

/* The app's count of calls of a chain set that have begun and not ended; never negative. */
uint64_t lane_in_progress(const struct lane *lane, unsigned set);

/* What the library counted, LANE_UNFILTERED and so on; never more than an app can have made. */
uint64_t lane_counter(const struct lane *lane, unsigned index);

/* Outcomes lost since the last call; bounded likewise. */
void lane_lost(struct lane *lane, uint64_t *ret_ok, uint64_t *ret_failed);

#endif
