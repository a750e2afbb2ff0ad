/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmiddlepipe: what a language hook asks of the scheduler of its container.
 *
 * One call of the application goes
 *
 *   mp_begin -> [mp_ask -> [mp_resume]*] -> (the library calls the service)
 *            -> [mp_respond] -> mp_end
 *
 * mp_begin says which of the steps are wanted; most calls need mp_begin and
 * mp_end only, which make no system call.  Each call of mp_begin that returned
 * other than MP_NONE must reach mp_end exactly once, whatever happens.
 *
 * Threads: every function may be called from any thread; one mp_call belongs
 * to one thread at a time.  Fork: a child connects for itself at its first
 * call; a mp_call that crossed a fork is ignored by every function.  Signals:
 * none is used, and EINTR is handled.
 *
 * Nothing here fails as far as the application is concerned: without a
 * scheduler, past the budget, or on any fault the verdict is PASS (or a REPLY
 * that refuses, when the binding says `on_failure: closed`), and it is counted.
 *
 * Environment, read at the first call:
 *   MIDDLEPIPE_SOCK       the scheduler's socket; unset: the library is inert
 *   MIDDLEPIPE_BUDGET_MS  the longest wait of one step (default 5, 1..60000)
 *   MIDDLEPIPE_REQUIRED   1: before a first board was seen, refuse every call
 *   MIDDLEPIPE_DISABLED   1: inert
 *
 * ISO C only; symbols are versioned (MIDDLEPIPE_1); structs begin with their
 * size and grow at the end only.
 */
#ifndef MIDDLEPIPE_CLIENT_H
#define MIDDLEPIPE_CLIENT_H

#include <middlepipe/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What mp_begin returns. */
#define MP_NONE 0  /* no chain for this destination: do nothing more, not even mp_end */
#define MP_GO 1    /* go on; then mp_end */
#define MP_ASK 2   /* call mp_ask first */
#define MP_REPLY 3 /* the verdict is set: answer or raise; then mp_end */

/* mp_call.wants: what the chain wants of this call besides its outcome. */
#define MP_WANT_REQUEST_BODY 0x01u  /* in mp_ask (and mp_respond when MP_GO) */
#define MP_WANT_RESPONSE 0x02u      /* call mp_respond and heed its verdict */
#define MP_WANT_COPY 0x04u          /* call mp_respond, which does not wait */
#define MP_WANT_RESPONSE_BODY 0x08u /* with the body, in either case */

/* Where a call goes. */
struct mp_target {
	uint32_t size;        /* sizeof(struct mp_target) */
	uint32_t port;        /* 0: the scheme's default */
	struct mp_str scheme; /* "http" or "https" */
	struct mp_str host;   /* name or address, IPv6 with or without brackets, or unix:/path */
	struct mp_str path;   /* raw, with or without query; empty: "/" */
};
#define MP_TARGET_1_0 MP_SIZE_TO(struct mp_target, path)

/* One call in progress.  Allocate anywhere, 128 bytes, need not be zeroed. */
struct mp_call {
	uint32_t wants;         /* MP_WANT_*, set by mp_begin */
	uint32_t verdict;       /* what mp_begin returned */
	uint64_t started_ns;    /* CLOCK_MONOTONIC at mp_begin */
	uint64_t private_[14];  /* the library's */
};

/* A request; all is borrowed for the call. */
struct mp_request {
	uint32_t size;  /* sizeof(struct mp_request) */
	uint32_t flags; /* MP_BODY_COMPLETE */
	struct mp_str method;
	struct mp_str scheme;
	struct mp_str authority; /* host or host:port, as the Host field says */
	struct mp_str path;      /* with query */
	const struct mp_field *fields;
	size_t n_fields;
	struct mp_str body; /* as much as there is; it is cut to what fits */
};
#define MP_REQUEST_1_0 MP_SIZE_TO(struct mp_request, body)
#define MP_BODY_COMPLETE 0x1u /* body is all of it (an absent body is complete) */

/* A response, or how the call failed; all is borrowed for the call. */
struct mp_response {
	uint32_t size;  /* sizeof(struct mp_response) */
	uint32_t flags; /* MP_BODY_COMPLETE */
	int32_t status; /* 100..599, 0 with error */
	int32_t error;  /* MP_ERROR_* */
	const struct mp_field *fields;
	size_t n_fields;
	struct mp_str body;
};
#define MP_RESPONSE_1_0 MP_SIZE_TO(struct mp_response, body)

/*
 * A verdict.  Set by mp_begin (MP_REPLY), mp_ask, mp_resume and mp_respond;
 * free each with mp_verdict_free.  All strings live until then.
 */
struct mp_verdict {
	uint32_t size;     /* in: sizeof(struct mp_verdict) */
	int32_t verdict;   /* MP_VERDICT_PASS, REPLY, DELAY or HOLD */
	uint64_t delay_ns; /* DELAY: sleep that long, then go on; HOLD: see mp_resume */

	/* PASS and DELAY: edits of the request (mp_ask) or response (mp_respond), in order. */
	const struct mp_edit *edits;
	size_t n_edits;
	struct mp_str authority; /* ptr NULL: unchanged.  Connect there, and set Host */
	struct mp_str path;      /* ptr NULL: unchanged */
	struct mp_str body;      /* ptr NULL: unchanged; of REPLY: the body */

	/* REPLY: the response; fields include Retry-After and the marker.
	 * After mp_respond with PASS: status is non-zero when it is edited. */
	int32_t status;
	int32_t raise; /* 1: the marker says callback=raise */
	const struct mp_field *fields;
	size_t n_fields;
	struct mp_str type;  /* of the middlepipe that replied */
	struct mp_str pipe;  /* its name */
	struct mp_str state; /* its state, "open" for example */
	int64_t retry_after; /* seconds; -1: not said */

	void *memory; /* the library's */
};
#define MP_VERDICT_1_0 MP_SIZE_TO(struct mp_verdict, memory)

/*
 * Looks the destination up.  On MP_REPLY, *verdict is set; it may be
 * NULL only if REPLY is to be treated as MP_GO (then a closed binding is not
 * honoured).  Costs no system call but when a scheduler has to be found.
 */
int mp_begin(const struct mp_target *target, struct mp_call *call, struct mp_verdict *verdict);

/*
 * What stands for a destination now, for a library that connects before it
 * has a request.  Begins nothing, counts nothing, and no mp_end follows.
 * Returns what mp_begin would; with an empty path what it would return for
 * every path of the destination, and MP_ASK where they differ.
 */
int mp_standing(const struct mp_target *target);

/*
 * Asks the chain about a request (after MP_ASK).  Waits for at most the budget.
 * Returns verdict->verdict.  With REPLY the service must not be called.  A
 * process with an interpreter lock releases it around this.
 */
int mp_ask(struct mp_call *call, const struct mp_request *request, struct mp_verdict *verdict);

/*
 * After HOLD: waits up to wait_ns (0: only looks) and returns the verdict,
 * which is HOLD again if it is still held.  verdict->delay_ns says how long it
 * may still be held at most; the library ends it then by PASS.
 */
int mp_resume(struct mp_call *call, uint64_t wait_ns, struct mp_verdict *verdict);

/*
 * Shows the chain the response, when call->wants has MP_WANT_RESPONSE (waits,
 * heeds) or MP_WANT_COPY (does not wait; the verdict is PASS).  request is
 * needed when the call was not asked, else NULL.  Call it at most once.
 */
int mp_respond(struct mp_call *call, const struct mp_request *request,
	       const struct mp_response *response, struct mp_verdict *verdict);

/*
 * Ends the call.  status 100..599, or 0 and an MP_ERROR_*; head_ns is when the
 * response's head was there (CLOCK_MONOTONIC), 0: now.  For a call that was
 * answered by a REPLY, status and error are ignored.
 */
void mp_end(struct mp_call *call, int status, int error, uint64_t head_ns);

/* Frees what a verdict holds; a zeroed or already freed one is fine. */
void mp_verdict_free(struct mp_verdict *verdict);

/* 1 when a hook has anything to do at all: a socket is named and it is not disabled. */
int mp_enabled(void);

/* The most body bytes that a chain is shown; 0 when no scheduler is there. */
size_t mp_body_limit(void);

/* What the library did in this process, for tests and diagnosis. */
struct mp_counters {
	uint32_t size;       /* in: sizeof(struct mp_counters) */
	uint32_t connected;  /* 1: a lane is open now */
	uint64_t passed;     /* calls by a standing PASS */
	uint64_t replied;    /* calls by a standing REPLY */
	uint64_t asked;      /* requests asked and answered in time */
	uint64_t unfiltered; /* calls let through because something failed */
	uint64_t refused;    /* calls refused because of on_failure: closed */
	uint64_t over_budget; /* waits that ended by the budget; part of the two above */
	uint64_t no_slot;    /* asks that found no free slot; part of them too */
	uint64_t away;       /* calls that found no scheduler; part of them too */
	uint64_t lost;       /* outcomes that found the ring full */
	uint64_t connects;   /* times that a lane was opened */
	uint64_t doorbells;  /* times that the scheduler was woken */
};
#define MP_COUNTERS_1_0 MP_SIZE_TO(struct mp_counters, doorbells)
void mp_counters_get(struct mp_counters *counters);

/* "1.0", the library's version. */
const char *mp_version(void);

#ifdef __cplusplus
}
#endif

#endif
