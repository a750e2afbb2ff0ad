/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The breaker's state as text, for swaps and restarts, and its list of the
 * last errors, which is part of it.
 *
 * For filter.c only.  The text is lines of a name and whole numbers:
 *
 *	breaker 1                       the version, always first
 *	now 81000000000                 host->now() when it was written
 *	state 1                         enum breaker_state
 *	since|until|retry|fresh NS      times; 0: none
 *	attempts|run|leases|override N
 *	why 1 6 10                      enum breaker_why and its numbers
 *	bucket START CALLS FAILED SLOW  one a bucket that is not empty
 *	error TIME STATUS KIND          the last errors, oldest first
 *	end
 *
 * What is read is foreign: it is bounded, parsed whole before anything changes,
 * and refused when a line, a name or a number is not as written above.  Times
 * are monotonic; a `now` that is later than ours is of another boot, and all
 * times are moved back with it.  Probes on their way are not carried: a circuit
 * that was half-open is read as open with its open time over.
 */
#ifndef MIDDLEPIPES_BREAKER_STATE_H
#define MIDDLEPIPES_BREAKER_STATE_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "middlepipes/breaker/breaker_machine.h"

#define STATE_VERSION 1u
#define STATE_SIZE_MAX 16384u
#define STATE_ERRORS 8u          /* last errors kept */
#define STATE_COUNT_MAX (1ull << 40) /* calls in one bucket */
#define STATE_OVERRIDES 3u       /* 0 auto, 1 open, 2 closed */

/* One error that counted. */
struct state_error {
	uint64_t at_ns;
	int32_t status; /* or 0 */
	int32_t error;  /* MP_ERROR_* */
};

/* What is carried beside the machine. */
struct state_extra {
	uint32_t override;                        /* < STATE_OVERRIDES */
	uint32_t n_errors;                        /* valid ones */
	struct state_error errors[STATE_ERRORS]; /* oldest first */
};

static inline void state_note_error(struct state_extra *extra, const struct state_error *error)
{
	if (extra->n_errors == STATE_ERRORS)
		memmove(extra->errors, extra->errors + 1,
			--extra->n_errors * sizeof(extra->errors[0]));
	extra->errors[extra->n_errors++] = *error;
}

/* ----------------------------------------------------------------- writing */

struct state_text {
	char *buf; /* STATE_SIZE_MAX bytes */
	size_t len;
};

__attribute__((format(printf, 2, 3))) static inline void state_line(struct state_text *text,
								    const char *fmt, ...)
{
	size_t room = STATE_SIZE_MAX - text->len;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text->buf + text->len, room, fmt, args);
	va_end(args);
	assert(n >= 0 && (size_t)n < room); /* the bounds above leave room for all lines */
	text->len += (size_t)n;
}

/* What state_is_sane() takes, which no window ever reaches. */
static inline uint64_t state_count(uint64_t n)
{
	return n < STATE_COUNT_MAX ? n : STATE_COUNT_MAX;
}

static inline void state_write_buckets(struct state_text *text, const struct window *w)
{
	for (uint32_t back = w->n; back-- > 0;) {
		const struct window_counts *c;

		if (back > w->head)
			continue;
		c = &w->buckets[(w->head - back) % w->n];
		if (c->calls)
			state_line(text, "bucket %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
				   (w->head - back) * w->width_ns, state_count(c->calls),
				   state_count(c->failed), state_count(c->slow));
	}
}

/* Returns the length; buf has STATE_SIZE_MAX bytes. */
static inline size_t state_write(char *buf, const struct breaker *b,
				 const struct state_extra *extra, uint64_t now_ns)
{
	struct state_text text = {.buf = buf};

	state_line(&text, "breaker %u\nnow %" PRIu64 "\nstate %u\n", STATE_VERSION, now_ns,
		   (unsigned)b->state);
	state_line(&text, "since %" PRIu64 "\nuntil %" PRIu64 "\nretry %" PRIu64 "\nfresh %" PRIu64 "\n",
		   b->since_ns, b->until_ns, b->retry_ns, b->fresh_ns);
	state_line(&text, "attempts %" PRIu32 "\nrun %" PRIu32 "\nleases %" PRIu64 "\noverride %" PRIu32 "\n",
		   b->attempts, b->run, b->n_given, extra->override);
	state_line(&text, "why %u %" PRIu64 " %" PRIu64 "\n", (unsigned)b->reason.why, b->reason.a,
		   b->reason.b);
	state_write_buckets(&text, &b->window);
	for (uint32_t i = 0; i < extra->n_errors; i++)
		state_line(&text, "error %" PRIu64 " %d %d\n", extra->errors[i].at_ns,
			   (int)extra->errors[i].status, (int)extra->errors[i].error);
	state_line(&text, "end\n");
	return text.len;
}

/* ----------------------------------------------------------------- reading */

/* What was read so far, in its own clock. */
struct state_read {
	uint64_t version, now, state, since, until, retry, fresh;
	uint64_t attempts, run, leases, override;
	uint64_t why[3];
	uint32_t n_buckets;
	uint64_t buckets[WINDOW_BUCKETS_MAX][4]; /* start, calls, failed, slow */
	uint32_t n_errors;
	uint64_t errors[STATE_ERRORS][3];
};

/* A line's name, how many numbers follow, and where they go. */
struct state_key {
	const char *name;
	size_t n;
	size_t offset; /* of a uint64_t[n], or of an array of them */
	size_t count;  /* offset of the uint32_t that counts a repeated line; 0: once */
	uint32_t max;  /* repetitions */
};

static const struct state_key state_keys[] = {
	{"breaker", 1, offsetof(struct state_read, version), 0, 1},
	{"now", 1, offsetof(struct state_read, now), 0, 1},
	{"state", 1, offsetof(struct state_read, state), 0, 1},
	{"since", 1, offsetof(struct state_read, since), 0, 1},
	{"until", 1, offsetof(struct state_read, until), 0, 1},
	{"retry", 1, offsetof(struct state_read, retry), 0, 1},
	{"fresh", 1, offsetof(struct state_read, fresh), 0, 1},
	{"attempts", 1, offsetof(struct state_read, attempts), 0, 1},
	{"run", 1, offsetof(struct state_read, run), 0, 1},
	{"leases", 1, offsetof(struct state_read, leases), 0, 1},
	{"override", 1, offsetof(struct state_read, override), 0, 1},
	{"why", 3, offsetof(struct state_read, why), 0, 1},
	{"bucket", 4, offsetof(struct state_read, buckets), offsetof(struct state_read, n_buckets),
	 WINDOW_BUCKETS_MAX},
	{"error", 3, offsetof(struct state_read, errors), offsetof(struct state_read, n_errors),
	 STATE_ERRORS},
	{"end", 0, 0, 0, 1},
};
#define STATE_KEYS (sizeof(state_keys) / sizeof(state_keys[0]))

/* The rest of the text. */
struct state_cursor {
	const char *at;
	const char *end;
};

static inline bool state_take(struct state_cursor *cursor, char c)
{
	if (cursor->at == cursor->end || *cursor->at != c)
		return false;
	cursor->at++;
	return true;
}

static inline bool state_take_word(struct state_cursor *cursor, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(cursor->end - cursor->at) < len || memcmp(cursor->at, word, len))
		return false;
	cursor->at += len;
	return true;
}

/* Digits only, below 2^63, so that sums of a few never wrap. */
static inline bool state_take_number(struct state_cursor *cursor, uint64_t *ret)
{
	const char *first = cursor->at;
	uint64_t value = 0;

	for (; cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9'; cursor->at++) {
		if (value > (uint64_t)INT64_MAX / 10 - 1)
			return false;
		value = value * 10 + (uint64_t)(*cursor->at - '0');
	}
	*ret = value;
	return cursor->at != first;
}

/* Where the numbers of the next such line go; NULL: there are too many. */
static inline uint64_t *state_place(struct state_read *read, const struct state_key *key)
{
	char *base = (char *)read;
	uint32_t *count = (uint32_t *)(void *)(base + key->count);
	uint64_t *place = (uint64_t *)(void *)(base + key->offset);

	if (!key->count)
		return place;
	return *count < key->max ? place + (size_t)(*count)++ * key->n : NULL;
}

/* Reads the lines of one key: exactly one, or up to its max. */
static inline bool state_read_key(struct state_cursor *cursor, const struct state_key *key,
				  struct state_read *read)
{
	do {
		struct state_cursor start = *cursor;
		uint64_t *place;

		if (!state_take_word(cursor, key->name)) {
			*cursor = start;
			return key->count != 0; /* no (more) of a repeated line */
		}
		place = state_place(read, key);
		if (!place)
			return false;
		for (size_t i = 0; i < key->n; i++)
			if (!state_take(cursor, ' ') || !state_take_number(cursor, &place[i]))
				return false;
		if (!state_take(cursor, '\n'))
			return false;
	} while (key->count);
	return true;
}

static inline bool state_is_sane(const struct state_read *read)
{
	bool opened = read->state == BREAKER_OPEN || read->state == BREAKER_HALF_OPEN;

	if (read->version != STATE_VERSION || read->state >= BREAKER_STATES ||
	    read->override >= STATE_OVERRIDES || read->why[0] >= BREAKER_WHYS ||
	    read->attempts > BREAKER_ATTEMPTS_MAX || read->run > UINT32_MAX ||
	    read->leases >> 48 || opened != (read->until != 0) ||
	    (read->state == BREAKER_CLOSED) != (read->attempts == 0))
		return false;
	for (uint32_t i = 0; i < read->n_buckets; i++) {
		const uint64_t *b = read->buckets[i];

		if (b[0] > read->now || b[1] > STATE_COUNT_MAX || b[2] > b[1] || b[3] > b[1])
			return false;
	}
	for (uint32_t i = 0; i < read->n_errors; i++)
		if (read->errors[i][0] > read->now || read->errors[i][1] > 599 ||
		    read->errors[i][2] > 255)
			return false;
	return read->since <= read->now && read->fresh <= read->now;
}

static inline bool state_parse(const char *data, size_t size, struct state_read *read)
{
	struct state_cursor cursor = {data, data + size};

	if (size > STATE_SIZE_MAX)
		return false;
	memset(read, 0, sizeof(*read));
	for (size_t i = 0; i < STATE_KEYS; i++)
		if (!state_read_key(&cursor, &state_keys[i], read))
			return false;
	return cursor.at == cursor.end && state_is_sane(read);
}

/* A time of theirs in our clock; 0 stays 0. */
static inline uint64_t state_time(uint64_t their_ns, uint64_t ahead_ns)
{
	if (!their_ns)
		return 0;
	return their_ns > ahead_ns ? their_ns - ahead_ns : 1;
}

static inline void state_restore_window(struct window *w, const struct state_read *read,
					uint64_t ahead_ns, uint64_t now_ns)
{
	window_clear(w);
	window_advance(w, now_ns);
	for (uint32_t i = 0; i < read->n_buckets; i++) {
		const uint64_t *b = read->buckets[i];

		/* One that is too old, or before our clock began, is left out. */
		if (b[0] >= ahead_ns)
			(void)window_add(w, b[0] - ahead_ns,
					 &(struct window_counts){b[1], b[2], b[3]});
	}
}

/* The state itself: with a rule or without it, the invariant holds afterwards. */
static inline void state_restore_machine(struct breaker *b, const struct state_read *read,
					 uint64_t ahead_ns, uint64_t now_ns)
{
	uint64_t until_max = now_ns + b->rules->open_max_ns;

	b->state = (enum breaker_state)read->state;
	b->attempts = (uint32_t)read->attempts;
	b->until_ns = state_time(read->until, ahead_ns);
	if (b->state == BREAKER_HALF_OPEN) {
		b->state = BREAKER_OPEN;
		b->until_ns = now_ns;
	} else if (b->state == BREAKER_RECOVERING && !b->rules->ramp_ns) {
		b->state = BREAKER_CLOSED;
		b->attempts = 0;
	}
	if (b->until_ns > until_max)
		b->until_ns = until_max;
	if (b->state == BREAKER_OPEN && !b->until_ns)
		b->until_ns = 1; /* a clock at 0: long over */
	breaker_forget_probes(b);
}

/* Takes a text over; -EINVAL: it is none, and nothing has changed. */
static inline int state_load(struct breaker *b, struct state_extra *extra, const void *data,
			     size_t size, uint64_t now_ns)
{
	struct state_read read;
	uint64_t ahead_ns;

	if (!state_parse(data, size, &read))
		return -EINVAL;
	ahead_ns = read.now > now_ns ? read.now - now_ns : 0;
	state_restore_machine(b, &read, ahead_ns, now_ns);
	state_restore_window(&b->window, &read, ahead_ns, now_ns);
	b->reason = (struct breaker_reason){(enum breaker_why)read.why[0], read.why[1], read.why[2]};
	b->since_ns = state_time(read.since, ahead_ns);
	b->retry_ns = state_time(read.retry, ahead_ns);
	b->fresh_ns = state_time(read.fresh, ahead_ns);
	b->run = (uint32_t)read.run;
	b->n_given = read.leases > b->n_given ? read.leases : b->n_given;
	b->unjudged = b->window.sum.calls > 0;
	extra->override = (uint32_t)read.override;
	extra->n_errors = read.n_errors;
	for (uint32_t i = 0; i < read.n_errors; i++)
		extra->errors[i] = (struct state_error){state_time(read.errors[i][0], ahead_ns),
							(int32_t)read.errors[i][1],
							(int32_t)read.errors[i][2]};
	assert(breaker_holds(b));
	return 0;
}

#endif
