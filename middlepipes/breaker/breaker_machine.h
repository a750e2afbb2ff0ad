/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The circuit breaker as a state machine: a transition table, what is done on
 * entering a state, and an invariant.
 *
 * For filter.c and the tests.  Pure: time and chance are arguments (struct
 * breaker_moment), nothing is posted, reported or allocated here; the caller
 * compares `moves` before and after to see that the state changed.
 *
 *	            trip   open-over   probes-good  probes-bad  ramp-over  reset
 *	closed      open   -           -            -           -          closed
 *	open        -      half-open   -            -           -          closed
 *	half-open   -      -           recovering   open        -          closed
 *	recovering  open   -           -            -           closed     closed
 *
 * A recovering circuit without a ramp is closed at once.  Only calls that hold
 * a token (a lease of a probe) move a half-open circuit.
 */
#ifndef MIDDLEPIPES_BREAKER_MACHINE_H
#define MIDDLEPIPES_BREAKER_MACHINE_H

#include <assert.h>

#include "middlepipes/breaker/breaker_window.h"

#define BREAKER_PROBES_MAX 64u
#define BREAKER_ATTEMPTS_MAX 64u /* the back-off grows no further */
#define BREAKER_MS UINT64_C(1000000) /* nanoseconds */

enum breaker_state {
	BREAKER_CLOSED,
	BREAKER_OPEN,
	BREAKER_HALF_OPEN,
	BREAKER_RECOVERING, /* a growing share is admitted */
	BREAKER_STATES,
	BREAKER_STAYS = BREAKER_STATES /* in the table: this event does nothing here */
};

enum breaker_event {
	BREAKER_TRIP,        /* a threshold was crossed */
	BREAKER_OPEN_OVER,   /* a call came after the open time */
	BREAKER_PROBES_GOOD, /* enough probes succeeded */
	BREAKER_PROBES_BAD,  /* too few can still succeed */
	BREAKER_RAMP_OVER,   /* everything is admitted again */
	BREAKER_RESET,       /* an operator's word */
	BREAKER_EVENTS
};

/* Why the state is what it is; a and b are the numbers of the sentence. */
enum breaker_why {
	BREAKER_WHY_START,     /* nothing happened yet */
	BREAKER_WHY_ERRORS,    /* a of b calls failed */
	BREAKER_WHY_SLOW,      /* a of b calls were slow */
	BREAKER_WHY_RUN,       /* a errors in a row */
	BREAKER_WHY_OPEN_OVER, /* the open time has passed */
	BREAKER_WHY_PROBES_GOOD, /* a of b probes succeeded */
	BREAKER_WHY_PROBES_BAD,  /* a of b probes failed */
	BREAKER_WHY_RAMP_OVER,   /* the ramp has ended */
	BREAKER_WHY_RESET,
	BREAKER_WHYS
};

struct breaker_reason {
	enum breaker_why why;
	uint64_t a;
	uint64_t b;
};

/* The configuration; the options of filter.c, checked. */
struct breaker_rules {
	uint32_t volume;        /* fewer calls in the window do not trip by percentage */
	uint32_t error_percent; /* trips at this or more; 0: off */
	uint32_t slow_percent;  /* likewise */
	uint32_t consecutive;   /* errors in a row; 0: off */
	uint64_t open_ns;       /* first open time */
	uint64_t open_max_ns;   /* no open time is longer */
	double open_factor;     /* 1..: each next open time without recovery */
	double open_jitter;     /* 0..1: times 1 - jitter to 1 + jitter */
	uint32_t probes;         /* results that decide, 1..BREAKER_PROBES_MAX */
	uint32_t probes_at_once; /* 1..probes */
	uint32_t probes_needed;  /* successes among them that close, 1..probes */
	uint64_t probe_ns;       /* a probe without an end by then has failed */
	uint64_t ramp_ns;        /* 0: none */
	uint32_t ramp_percent;   /* admitted at the beginning of the ramp */
};

/* Now, and 32 random bits. */
struct breaker_moment {
	uint64_t ns;
	uint32_t random;
};

enum breaker_result {
	BREAKER_OK,
	BREAKER_FAILED,
	BREAKER_SOFT,   /* an error, but not one of a run of errors */
	BREAKER_IGNORED /* neither success nor failure */
};

/* A call that ended. */
struct breaker_call {
	enum breaker_result result;
	bool slow;
	uint64_t begun_ns;
	uint64_t ended_ns; /* not after the moment it is told */
};

/* The permission of one probe. */
struct breaker_lease {
	uint64_t token;       /* its number << 8 | its place + 1; 0: free */
	uint64_t deadline_ns;
};

struct breaker {
	const struct breaker_rules *rules; /* borrowed for the whole life */
	enum breaker_state state;
	struct breaker_reason reason; /* of the state */
	uint64_t since_ns;            /* when the state was entered */
	uint64_t until_ns;   /* OPEN, HALF_OPEN: the end of the open time; else 0 */
	uint64_t retry_ns;   /* the service asked to be left alone until then; 0: it did not */
	uint64_t fresh_ns;   /* calls begun before tell nothing: the circuit was open then */
	uint32_t attempts;   /* times opened since it was last closed, bounded */
	uint32_t run;        /* errors in a row */
	bool unjudged;       /* something was counted since the last judgement */
	uint64_t moves;      /* transitions made, ever */
	uint64_t n_given;    /* leases given, ever: makes each token another */
	uint32_t n_leased;   /* probes on their way */
	uint32_t n_good;     /* probes of this round that succeeded */
	uint32_t n_bad;      /* and failed */
	struct breaker_lease leases[BREAKER_PROBES_MAX];
	struct window window;
};

/* Do calls count that hold no token? */
static inline bool breaker_counts(const struct breaker *b)
{
	return b->state == BREAKER_CLOSED || b->state == BREAKER_RECOVERING;
}

static inline bool breaker_holds(const struct breaker *b)
{
	const struct breaker_rules *rules = b->rules;
	bool half_open = b->state == BREAKER_HALF_OPEN;
	bool opened = b->state == BREAKER_OPEN || half_open;
	uint32_t n_leased = 0;

	for (uint32_t i = 0; i < BREAKER_PROBES_MAX; i++)
		n_leased += b->leases[i].token != 0;
	return b->state < BREAKER_STATES && window_holds(&b->window) &&
	       n_leased == b->n_leased && n_leased <= rules->probes_at_once &&
	       n_leased + b->n_good + b->n_bad <= rules->probes &&
	       (half_open || n_leased + b->n_good + b->n_bad == 0) &&
	       opened == (b->until_ns != 0) &&
	       (b->state == BREAKER_CLOSED) == (b->attempts == 0) &&
	       (b->state != BREAKER_RECOVERING || rules->ramp_ns > 0);
}

/* ------------------------------------------------------- entering a state */

static inline void breaker_forget_probes(struct breaker *b)
{
	memset(b->leases, 0, sizeof(b->leases));
	b->n_leased = b->n_good = b->n_bad = 0;
}

static inline void breaker_enter_closed(struct breaker *b, const struct breaker_moment *m)
{
	breaker_forget_probes(b);
	b->attempts = 0;
	b->until_ns = b->retry_ns = 0;
	if (b->reason.why == BREAKER_WHY_RAMP_OVER)
		return; /* what the ramp has learned stays */
	window_clear(&b->window);
	window_advance(&b->window, m->ns);
	b->run = 0;
	b->unjudged = false;
}

/* The length of the open time: grows with each attempt, then is spread. */
static inline uint64_t breaker_open_time(const struct breaker_rules *rules, uint32_t attempts,
					 uint32_t random)
{
	double most = (double)rules->open_max_ns;
	double ns = (double)rules->open_ns;

	for (uint32_t i = 1; i < attempts && ns < most; i++)
		ns *= rules->open_factor;
	if (ns > most)
		ns = most;
	ns *= 1.0 + rules->open_jitter * ((double)random / 2147483648.0 - 1.0);
	if (ns > most)
		ns = most;
	return ns < (double)BREAKER_MS ? BREAKER_MS : (uint64_t)ns;
}

/* The service's own wish may lengthen the open time, up to its greatest. */
static inline void breaker_heed_retry_after(struct breaker *b, uint64_t now_ns)
{
	uint64_t most = now_ns + b->rules->open_max_ns;
	uint64_t wish = b->retry_ns < most ? b->retry_ns : most;

	if (wish > b->until_ns)
		b->until_ns = wish;
}

static inline void breaker_enter_open(struct breaker *b, const struct breaker_moment *m)
{
	breaker_forget_probes(b);
	if (b->attempts < BREAKER_ATTEMPTS_MAX)
		b->attempts++;
	b->until_ns = m->ns + breaker_open_time(b->rules, b->attempts, m->random);
	breaker_heed_retry_after(b, m->ns);
	b->run = 0;
	b->unjudged = false;
}

static inline void breaker_enter_half_open(struct breaker *b, const struct breaker_moment *m)
{
	(void)m; /* since_ns is set */
	breaker_forget_probes(b);
}

static inline void breaker_enter_recovering(struct breaker *b, const struct breaker_moment *m)
{
	breaker_forget_probes(b);
	window_clear(&b->window);
	window_advance(&b->window, m->ns);
	b->run = 0;
	b->unjudged = false;
	b->until_ns = b->retry_ns = 0;
}

static const enum breaker_state breaker_table[BREAKER_STATES][BREAKER_EVENTS] = {
	[BREAKER_CLOSED] = {BREAKER_OPEN, BREAKER_STAYS, BREAKER_STAYS, BREAKER_STAYS,
			    BREAKER_STAYS, BREAKER_CLOSED},
	[BREAKER_OPEN] = {BREAKER_STAYS, BREAKER_HALF_OPEN, BREAKER_STAYS, BREAKER_STAYS,
			  BREAKER_STAYS, BREAKER_CLOSED},
	[BREAKER_HALF_OPEN] = {BREAKER_STAYS, BREAKER_STAYS, BREAKER_RECOVERING, BREAKER_OPEN,
			       BREAKER_STAYS, BREAKER_CLOSED},
	[BREAKER_RECOVERING] = {BREAKER_OPEN, BREAKER_STAYS, BREAKER_STAYS, BREAKER_STAYS,
				BREAKER_CLOSED, BREAKER_CLOSED},
};

static void (*const breaker_enter[BREAKER_STATES])(struct breaker *,
						   const struct breaker_moment *) = {
	[BREAKER_CLOSED] = breaker_enter_closed,
	[BREAKER_OPEN] = breaker_enter_open,
	[BREAKER_HALF_OPEN] = breaker_enter_half_open,
	[BREAKER_RECOVERING] = breaker_enter_recovering,
};

/* Applies an event; false when it means nothing in this state. */
static inline bool breaker_apply(struct breaker *b, enum breaker_event event,
				 struct breaker_reason reason, const struct breaker_moment *m)
{
	enum breaker_state next = breaker_table[b->state][event];
	bool opened = !breaker_counts(b);

	if (next == BREAKER_STAYS)
		return false;
	b->state = next;
	b->reason = reason;
	b->since_ns = m->ns;
	if (opened && breaker_counts(b))
		b->fresh_ns = m->ns;
	breaker_enter[next](b, m);
	if (next == BREAKER_RECOVERING && !b->rules->ramp_ns) {
		b->state = BREAKER_CLOSED; /* the reason stays that of the probes */
		breaker_enter_closed(b, m);
	}
	b->moves++;
	assert(breaker_holds(b));
	return true;
}

/* ------------------------------------------------------------- life cycle */

/* The window's width, n and buckets are set; everything else is zero. */
static inline void breaker_init(struct breaker *b, const struct breaker_rules *rules, uint64_t now_ns)
{
	b->rules = rules;
	b->since_ns = now_ns;
	window_advance(&b->window, now_ns);
}

static inline void breaker_reset(struct breaker *b, const struct breaker_moment *m)
{
	(void)breaker_apply(b, BREAKER_RESET, (struct breaker_reason){.why = BREAKER_WHY_RESET}, m);
}

/* ------------------------------------------------- counting and judging */

/*
 * Counts a call that holds no token.  False: it tells nothing (it began while
 * the circuit was open, or is too old).  The caller has sorted out IGNORED.
 */
static inline bool breaker_record(struct breaker *b, const struct breaker_call *call,
				  const struct breaker_moment *m)
{
	bool error = call->result != BREAKER_OK;

	if (!breaker_counts(b) || call->begun_ns < b->fresh_ns)
		return false;
	window_advance(&b->window, m->ns);
	if (!window_add(&b->window, call->ended_ns,
			&(struct window_counts){1, error, call->slow}))
		return false;
	if (call->result == BREAKER_FAILED && b->run < UINT32_MAX)
		b->run++;
	else if (call->result == BREAKER_OK)
		b->run = 0;
	b->unjudged = true;
	return true;
}

/* Exact: part / calls >= percent / 100. */
static inline bool breaker_crosses(const struct breaker *b, uint64_t part, uint32_t percent)
{
	uint64_t calls = b->window.sum.calls;

	return percent && calls >= b->rules->volume && part * 100 >= (uint64_t)percent * calls;
}

/* The threshold that is crossed, the run of errors first; WHY_START: none. */
static inline struct breaker_reason breaker_crossed(const struct breaker *b)
{
	const struct window_counts *sum = &b->window.sum;

	if (b->rules->consecutive && b->run >= b->rules->consecutive)
		return (struct breaker_reason){BREAKER_WHY_RUN, b->run, 0};
	if (breaker_crosses(b, sum->failed, b->rules->error_percent))
		return (struct breaker_reason){BREAKER_WHY_ERRORS, sum->failed, sum->calls};
	if (breaker_crosses(b, sum->slow, b->rules->slow_percent))
		return (struct breaker_reason){BREAKER_WHY_SLOW, sum->slow, sum->calls};
	return (struct breaker_reason){BREAKER_WHY_START, 0, 0};
}

/* Trips when a threshold is crossed.  Call it once all that is known was counted. */
static inline void breaker_judge(struct breaker *b, const struct breaker_moment *m)
{
	struct breaker_reason reason;

	if (!b->unjudged || !breaker_counts(b))
		return;
	b->unjudged = false;
	window_advance(&b->window, m->ns);
	reason = breaker_crossed(b);
	if (reason.why != BREAKER_WHY_START)
		(void)breaker_apply(b, BREAKER_TRIP, reason, m); /* counts, so it can trip */
}

/* -------------------------------------------------------- admitting calls */

/* Takes a lease; 0 when there is none left. */
static inline uint64_t breaker_lease(struct breaker *b, uint64_t now_ns)
{
	const struct breaker_rules *rules = b->rules;
	uint32_t i = 0;

	if (b->n_leased >= rules->probes_at_once ||
	    b->n_leased + b->n_good + b->n_bad >= rules->probes)
		return 0;
	while (b->leases[i].token)
		i++;
	b->leases[i] = (struct breaker_lease){++b->n_given << 8 | (i + 1),
					      now_ns + rules->probe_ns};
	b->n_leased++;
	return b->leases[i].token;
}

/* The share admitted by the ramp at a time, of 2^32. */
static inline uint64_t breaker_ramp_share(const struct breaker *b, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns > b->since_ns ? now_ns - b->since_ns : 0;
	double first = b->rules->ramp_percent / 100.0;
	double done = (double)passed_ns / (double)b->rules->ramp_ns;

	return (uint64_t)((first + (1.0 - first) * (done < 1.0 ? done : 1.0)) * 4294967296.0);
}

static inline bool breaker_ramp_is_over(const struct breaker *b, uint64_t now_ns)
{
	return b->state == BREAKER_RECOVERING && now_ns >= b->since_ns + b->rules->ramp_ns;
}

static inline void breaker_end_ramp(struct breaker *b, const struct breaker_moment *m)
{
	if (breaker_ramp_is_over(b, m->ns))
		(void)breaker_apply(b, BREAKER_RAMP_OVER,
				    (struct breaker_reason){.why = BREAKER_WHY_RAMP_OVER}, m);
}

/* May a call go on?  *ret_token is not 0 when it is a probe. */
static inline bool breaker_admit(struct breaker *b, const struct breaker_moment *m,
				 uint64_t *ret_token)
{
	*ret_token = 0;
	breaker_end_ramp(b, m);
	if (b->state == BREAKER_CLOSED)
		return true;
	if (b->state == BREAKER_RECOVERING)
		return m->random < breaker_ramp_share(b, m->ns);
	if (m->ns < b->until_ns)
		return false;
	(void)breaker_apply(b, BREAKER_OPEN_OVER, /* nothing when it is half-open already */
			    (struct breaker_reason){.why = BREAKER_WHY_OPEN_OVER}, m);
	*ret_token = breaker_lease(b, m->ns);
	return *ret_token != 0;
}

/* ------------------------------------------------------------------ probes */

/* Gives a lease back without a result; false: the token is not, or no longer, valid. */
static inline bool breaker_return(struct breaker *b, uint64_t token)
{
	uint64_t i = (token & 0xff) - 1;

	if (i >= BREAKER_PROBES_MAX || b->leases[i].token != token)
		return false;
	b->leases[i].token = 0;
	b->n_leased--;
	return true;
}

/* As soon as the results that are still missing cannot change it. */
static inline void breaker_decide(struct breaker *b, const struct breaker_moment *m)
{
	const struct breaker_rules *rules = b->rules;

	if (b->n_good >= rules->probes_needed)
		(void)breaker_apply(b, BREAKER_PROBES_GOOD,
				    (struct breaker_reason){BREAKER_WHY_PROBES_GOOD, b->n_good,
							    b->n_good + b->n_bad}, m);
	else if (rules->probes - b->n_bad < rules->probes_needed)
		(void)breaker_apply(b, BREAKER_PROBES_BAD,
				    (struct breaker_reason){BREAKER_WHY_PROBES_BAD, b->n_bad,
							    b->n_good + b->n_bad}, m);
}

/* A probe ended.  A slow one is no success; an ignored one is given back. */
static inline bool breaker_settle(struct breaker *b, uint64_t token,
				  const struct breaker_call *call, const struct breaker_moment *m)
{
	if (!breaker_return(b, token))
		return false;
	if (call->result == BREAKER_IGNORED)
		return true;
	if (call->result == BREAKER_OK && !call->slow)
		b->n_good++;
	else
		b->n_bad++;
	breaker_decide(b, m);
	return true;
}

/* What time alone brings: overdue probes have failed, ramps end.  Returns how many were overdue. */
static inline uint32_t breaker_tick(struct breaker *b, const struct breaker_moment *m)
{
	uint32_t n_overdue = 0;

	for (uint32_t i = 0; i < BREAKER_PROBES_MAX && b->state == BREAKER_HALF_OPEN; i++) {
		if (!b->leases[i].token || b->leases[i].deadline_ns > m->ns)
			continue;
		(void)breaker_return(b, b->leases[i].token); /* it is valid */
		b->n_bad++;
		n_overdue++;
		breaker_decide(b, m);
	}
	breaker_end_ramp(b, m);
	return n_overdue;
}

/* When breaker_tick() is due; 0: never. */
static inline uint64_t breaker_next_tick(const struct breaker *b)
{
	uint64_t next = 0;

	if (b->state == BREAKER_RECOVERING)
		return b->since_ns + b->rules->ramp_ns;
	for (uint32_t i = 0; i < BREAKER_PROBES_MAX && b->n_leased; i++)
		if (b->leases[i].token && (!next || b->leases[i].deadline_ns < next))
			next = b->leases[i].deadline_ns;
	return next;
}

/* The service wants no calls until then.  True: the open time changed. */
static inline bool breaker_retry_after(struct breaker *b, uint64_t at_ns, uint64_t now_ns)
{
	uint64_t before = b->until_ns;

	if (at_ns > b->retry_ns)
		b->retry_ns = at_ns;
	if (b->state == BREAKER_OPEN)
		breaker_heed_retry_after(b, now_ns);
	return b->until_ns != before;
}

#endif
