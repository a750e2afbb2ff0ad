/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unit of the breaker: what it holds, which rule is in force, and its state
 * in words.
 *
 * For filter.c and breaker_host.h only.
 */
#ifndef MIDDLEPIPES_BREAKER_UNIT_H
#define MIDDLEPIPES_BREAKER_UNIT_H

#include <inttypes.h>

#include "middlepipes/breaker/breaker_options.h"
#include "middlepipes/breaker/breaker_state.h"

enum counter {
	C_OPENED,
	C_HALF_OPENED,
	C_CLOSED,
	C_RECOVERING,
	C_ERRORS,
	C_SLOW,
	C_REJECTED,
	C_WOULD_REJECT,
	C_PROBES,
	C_PROBES_OVERDUE,
	C_PROBES_RETURNED,
	C_IGNORED,
	C_LATE,
	C_LOST_OK,
	C_LOST_FAILED,
	C_LAST_GOOD,
	C_COUNT
};

static const char *const breaker_counters[] = {
	[C_OPENED] = "opened",           /* transitions */
	[C_HALF_OPENED] = "half_opened",
	[C_CLOSED] = "closed",
	[C_RECOVERING] = "recovering",
	[C_ERRORS] = "errors",           /* calls that count as errors */
	[C_SLOW] = "slow",               /* calls that were slow */
	[C_REJECTED] = "rejected",       /* calls refused */
	[C_WOULD_REJECT] = "would_reject", /* dry-run: calls that would have been */
	[C_PROBES] = "probes",           /* leases given */
	[C_PROBES_OVERDUE] = "probes_overdue",   /* of them: past their deadline */
	[C_PROBES_RETURNED] = "probes_returned", /* of them: without a result */
	[C_IGNORED] = "ignored",         /* calls that were neither good nor bad */
	[C_LATE] = "late",               /* calls begun before the circuit was closed */
	[C_LOST_OK] = "lost_ok",         /* outcomes of which only the number is known, of any */
	[C_LOST_FAILED] = "lost_failed", /* of the application's calls: never judged */
	[C_LAST_GOOD] = "last_good",     /* refusals answered by the last good answer */
	[C_COUNT] = NULL,
};

/* Values of state_extra.override. */
enum override { OVERRIDE_AUTO, OVERRIDE_OPEN, OVERRIDE_CLOSED };

/* What rules in the end: mode and override taken together. */
enum rule { RULE_MACHINE, RULE_DRY_RUN, RULE_OPEN, RULE_CLOSED };

struct self {
	const struct mp_host *host; /* the host's, for the whole life */
	struct mp_unit *unit;       /* likewise */
	struct config config;
	struct breaker breaker;
	struct state_extra extra;   /* override and last errors */
	struct cache cache;         /* last-good only; else without entries */
	uint64_t moves;             /* of the machine, as last told to the host */
	uint64_t timer_ns;          /* as last set; 0: none */
	bool started;
};

static inline enum rule rule_of(const struct self *self)
{
	static const enum rule by_mode[] = {
		[MODE_ENFORCE] = RULE_MACHINE,
		[MODE_DRY_RUN] = RULE_DRY_RUN,
		[MODE_FORCED_OPEN] = RULE_OPEN,
		[MODE_FORCED_CLOSED] = RULE_CLOSED,
	};

	if (self->extra.override == OVERRIDE_OPEN)
		return RULE_OPEN;
	if (self->extra.override == OVERRIDE_CLOSED)
		return RULE_CLOSED;
	return by_mode[self->config.mode];
}

/* Do judgements and probes move the machine? */
static inline bool is_forced(const struct self *self)
{
	enum rule rule = rule_of(self);

	return rule == RULE_OPEN || rule == RULE_CLOSED;
}

static inline void count(struct self *self, enum counter counter, uint64_t n)
{
	if (n)
		self->host->count(self->unit, counter, n);
}

static inline struct breaker_moment moment(struct self *self)
{
	const struct breaker_rules *rules = &self->config.rules;
	bool chance = rules->open_jitter > 0 || rules->ramp_ns;

	/* Without chance the middle: a jitter of nothing. */
	return (struct breaker_moment){self->host->now(self->unit),
				       chance ? self->host->random(self->unit) : 0x80000000u};
}

/* -------------------------------------------------------------------- words */

static const char *const state_names[BREAKER_STATES] = {
	[BREAKER_CLOSED] = "closed",
	[BREAKER_OPEN] = "open",
	[BREAKER_HALF_OPEN] = "half-open",
	[BREAKER_RECOVERING] = "recovering",
};
static const char *const override_names[STATE_OVERRIDES] = {"auto", "open", "closed"};
static const char *const mode_names[] = {"enforce", "dry-run", "forced-open", "forced-closed"};

#define TEXT_SIZE 160 /* bytes of a sentence */

static inline const char *state_word(const struct self *self)
{
	enum rule rule = rule_of(self);

	if (rule == RULE_OPEN)
		return "open";
	return state_names[rule == RULE_CLOSED ? BREAKER_CLOSED : self->breaker.state];
}

static inline void write_reason(const struct breaker_reason *reason, char out[TEXT_SIZE])
{
	static const char *const fixed[BREAKER_WHYS] = {
		[BREAKER_WHY_START] = "no call was judged yet",
		[BREAKER_WHY_OPEN_OVER] = "the open time has passed",
		[BREAKER_WHY_RAMP_OVER] = "the ramp has ended",
		[BREAKER_WHY_RESET] = "reset",
	};
	static const char *const of[BREAKER_WHYS] = {
		[BREAKER_WHY_ERRORS] = "calls failed",
		[BREAKER_WHY_SLOW] = "calls were slow",
		[BREAKER_WHY_PROBES_GOOD] = "probes succeeded",
		[BREAKER_WHY_PROBES_BAD] = "probes failed",
	};

	if (reason->why == BREAKER_WHY_RUN)
		(void)snprintf(out, TEXT_SIZE, "%" PRIu64 " errors in a row", reason->a);
	else if (fixed[reason->why])
		(void)snprintf(out, TEXT_SIZE, "%s", fixed[reason->why]);
	else
		(void)snprintf(out, TEXT_SIZE, "%" PRIu64 " of %" PRIu64 " %s (%u%%)", reason->a,
			       reason->b, of[reason->why], window_percent(reason->a, reason->b));
}

/* The state's reason, or who forces it. */
static inline void write_why(const struct self *self, char out[TEXT_SIZE])
{
	if (self->extra.override != OVERRIDE_AUTO)
		(void)snprintf(out, TEXT_SIZE, "override %s", override_names[self->extra.override]);
	else if (is_forced(self))
		(void)snprintf(out, TEXT_SIZE, "mode %s", mode_names[self->config.mode]);
	else
		write_reason(&self->breaker.reason, out);
}

static inline void write_error(const struct state_error *error, char *out, size_t size)
{
	if (error->error)
		(void)snprintf(out, size, "%s", config_error_name(error->error));
	else
		(void)snprintf(out, size, "status %d", (int)error->status);
}

#endif
