/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a unit of the breaker tells its host: refusals, standing verdicts,
 * events and the timer.
 *
 * For filter.c only.  sync_host() ends every hook that may have moved the
 * machine; nothing else compares the machine with what the host knows.
 */
#ifndef MIDDLEPIPES_BREAKER_HOST_H
#define MIDDLEPIPES_BREAKER_HOST_H

#include "middlepipes/breaker/breaker_unit.h"

/* ----------------------------------------------------------------- refusals */

static const struct mp_field plain_text[] = {
	{{"content-type", 12}, {"text/plain; charset=utf-8", 25}}};
static const char open_text[] = "The circuit breaker of this service is open.\n";

/* When a refused caller may try again; 0: nobody knows, see retry_after(). */
static inline uint64_t retry_at(const struct self *self, uint64_t now_ns)
{
	const struct breaker *b = &self->breaker;

	if (rule_of(self) == RULE_OPEN)
		return 0;
	if (b->state == BREAKER_OPEN && b->until_ns > now_ns)
		return b->until_ns;
	if (b->state == BREAKER_RECOVERING)
		return b->since_ns + b->rules->ramp_ns;
	return now_ns + 1000 * BREAKER_MS; /* probes are on their way: soon */
}

/* Seconds from the call on, when the open time has no end; -1: retry_at() says it. */
static inline int64_t retry_after(const struct self *self)
{
	uint64_t second_ns = 1000 * BREAKER_MS, open_ns = self->breaker.rules->open_ns;

	if (rule_of(self) != RULE_OPEN)
		return -1;
	return open_ns > second_ns ? (int64_t)((open_ns - 1) / second_ns + 1) : 1;
}

/* The response of a refusal; its parts live as long as the unit, and *marker. */
static inline struct mp_reply make_reply(const struct self *self, struct mp_marker *marker,
					 uint64_t now_ns)
{
	const struct config *config = &self->config;
	bool raise = config->fallback == FALLBACK_RAISE || config->fallback == FALLBACK_LAST_GOOD;
	struct mp_reply reply = {
		.size = sizeof(reply),
		.status = raise ? 503 : 204,
		.marker = marker,
		.retry_at_ns = retry_at(self, now_ns),
	};

	*marker = (struct mp_marker){.type = cache_word("breaker"),
				     .state = cache_word(state_word(self)),
				     .callback = cache_word(raise ? "raise" : ""),
				     .retry_after = retry_after(self)};
	if (raise) {
		reply.fields = plain_text;
		reply.n_fields = 1;
		reply.body = (struct mp_str){open_text, sizeof(open_text) - 1};
	} else if (config->fallback == FALLBACK_STATIC) {
		reply.status = config->static_status;
		reply.fields = config->fields;
		reply.n_fields = config->n_fields;
		reply.body = config->body;
	}
	return reply;
}

/* Answers with the last good answer; false: there is none. */
static inline bool reply_last_good(struct self *self, struct mp_exchange *x, uint64_t now_ns)
{
	const struct cache_entry *entry = cache_find(&self->cache, x, now_ns);
	struct mp_field fields[CACHE_FIELDS_MAX + 1];
	struct mp_marker marker;
	struct mp_reply reply;
	char age[24];

	if (!entry)
		return false;
	(void)snprintf(age, sizeof(age), "%" PRIu64,
		       (now_ns - entry->stored_ns) / (1000 * BREAKER_MS));
	if (entry->n_fields)
		memcpy(fields, entry->fields, entry->n_fields * sizeof(fields[0]));
	fields[entry->n_fields] = (struct mp_field){{"age", 3}, cache_word(age)};
	reply = make_reply(self, &marker, now_ns);
	marker.callback = (struct mp_str){0};
	marker.retry_after = -1;
	reply.status = 200;
	reply.fields = fields;
	reply.n_fields = entry->n_fields + 1;
	reply.body = entry->body;
	reply.retry_at_ns = 0;
	if (self->host->reply(x, &reply))
		return false; /* too large for this host: raise instead */
	count(self, C_LAST_GOOD, 1);
	return true;
}

static inline int32_t refuse(struct self *self, struct mp_exchange *x, uint64_t now_ns)
{
	struct mp_marker marker;
	struct mp_reply reply;

	count(self, C_REJECTED, 1);
	if (self->config.fallback == FALLBACK_LAST_GOOD && reply_last_good(self, x, now_ns))
		return MP_VERDICT_REPLY;
	reply = make_reply(self, &marker, now_ns);
	return self->host->reply(x, &reply) ? MP_VERDICT_ERROR : MP_VERDICT_REPLY;
}

/* -------------------------------------------------- telling the host of moves */

static inline void post_reply(struct self *self, uint64_t until_ns, uint64_t now_ns)
{
	struct mp_marker marker;
	struct mp_reply reply = make_reply(self, &marker, now_ns);
	struct mp_standing standing = {.size = sizeof(standing),
				       .verdict = MP_STANDING_REPLY,
				       .until_ns = until_ns,
				       .reply = &reply};

	/* When it is too large ASK stands, and on_request refuses. */
	(void)self->host->post(self->unit, &standing);
}

static inline void post_plain(struct self *self, int32_t verdict)
{
	struct mp_standing standing = {.size = sizeof(standing), .verdict = verdict};

	(void)self->host->post(self->unit, &standing); /* without a reply nothing can fail */
}

static inline void post(struct self *self)
{
	const struct breaker *b = &self->breaker;
	uint64_t now_ns = self->host->now(self->unit);
	enum rule rule = rule_of(self);
	bool refuses = rule == RULE_OPEN ||
		       (rule == RULE_MACHINE && b->state == BREAKER_OPEN && b->until_ns > now_ns);

	if (refuses && self->config.fallback != FALLBACK_LAST_GOOD)
		post_reply(self, rule == RULE_OPEN ? 0 : b->until_ns, now_ns);
	else if (rule == RULE_OPEN || (rule == RULE_MACHINE && b->state != BREAKER_CLOSED))
		post_plain(self, MP_STANDING_ASK);
	else
		post_plain(self, MP_STANDING_PASS);
}

#define EVENT_FIELDS 10

/* The fields of an event, and room for their texts. */
struct event {
	struct mp_field fields[EVENT_FIELDS];
	char texts[EVENT_FIELDS][TEXT_SIZE];
	size_t n;
};

__attribute__((format(printf, 3, 4))) static void event_add(struct event *event, const char *name,
							    const char *fmt, ...)
{
	char *text = event->texts[event->n];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, TEXT_SIZE, fmt, args);
	va_end(args);
	event->fields[event->n++] = (struct mp_field){cache_word(name), cache_word(text)};
}

static inline void report_move(struct self *self)
{
	static const char *const names[BREAKER_STATES] = {
		[BREAKER_CLOSED] = "closed",
		[BREAKER_OPEN] = "opened",
		[BREAKER_HALF_OPEN] = "half-open",
		[BREAKER_RECOVERING] = "recovering",
	};
	static const enum counter counters[BREAKER_STATES] = {
		[BREAKER_CLOSED] = C_CLOSED,
		[BREAKER_OPEN] = C_OPENED,
		[BREAKER_HALF_OPEN] = C_HALF_OPENED,
		[BREAKER_RECOVERING] = C_RECOVERING,
	};
	const struct breaker *b = &self->breaker;
	const struct window_counts *sum = &b->window.sum;
	struct event event = {.n = 0};
	char reason[TEXT_SIZE];

	write_reason(&b->reason, reason);
	event_add(&event, "reason", "%s", reason);
	event_add(&event, "mode", "%s", mode_names[self->config.mode]);
	if (b->state == BREAKER_OPEN) {
		event_add(&event, "calls", "%" PRIu64, sum->calls);
		event_add(&event, "failed", "%" PRIu64, sum->failed);
		event_add(&event, "slow", "%" PRIu64, sum->slow);
		event_add(&event, "error_percent", "%u", window_percent(sum->failed, sum->calls));
		event_add(&event, "open_ms", "%" PRIu64, (b->until_ns - b->since_ns) / BREAKER_MS);
		event_add(&event, "attempt", "%" PRIu32, b->attempts);
		if (self->extra.n_errors) {
			write_error(&self->extra.errors[self->extra.n_errors - 1], reason, TEXT_SIZE);
			event_add(&event, "last_error", "%s", reason);
		}
	}
	count(self, counters[b->state], 1);
	self->host->report(self->unit, names[b->state], event.fields, event.n);
}

/* Ends every hook that may have moved the machine: tells the host what is new. */
static inline void sync_host(struct self *self)
{
	uint64_t due = is_forced(self) ? 0 : breaker_next_tick(&self->breaker);

	if (self->moves != self->breaker.moves) {
		self->moves = self->breaker.moves;
		report_move(self);
		post(self);
	}
	if (due != self->timer_ns) {
		self->timer_ns = due;
		(void)self->host->timer(self->unit, due); /* its one timer cannot be refused */
	}
}

#endif
