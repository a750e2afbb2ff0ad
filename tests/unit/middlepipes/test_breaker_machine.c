/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine without its filter: the whole table, its invariant, the
 * window's arithmetic and the bounds of the open time.
 */
#include "middlepipes/breaker/breaker_machine.h"

#include "tests/lib/tap.h"

#define S (1000 * BREAKER_MS)

static struct breaker_rules rules = {
	.volume = 4, .error_percent = 50, .open_ns = 5 * S, .open_max_ns = 60 * S,
	.open_factor = 2, .probes = 2, .probes_at_once = 2, .probes_needed = 2,
	.probe_ns = S, .ramp_ns = 10 * S, .ramp_percent = 10,
};
static struct window_counts buckets[10];

static void make(struct breaker *b)
{
	memset(buckets, 0, sizeof(buckets));
	*b = (struct breaker){.window = {.width_ns = S, .n = 10, .buckets = buckets}};
	breaker_init(b, &rules, 100 * S);
}

/* Leads a new machine to a state by events that are allowed. */
static void lead_to(struct breaker *b, enum breaker_state state)
{
	static const enum breaker_event way[] = {BREAKER_TRIP, BREAKER_OPEN_OVER, BREAKER_PROBES_GOOD};
	struct breaker_moment m = {100 * S, 0x80000000u};

	make(b);
	for (unsigned i = 0; i < (unsigned)state; i++)
		(void)breaker_apply(b, way[i], (struct breaker_reason){.why = BREAKER_WHY_START}, &m);
}

static void whole_table(void)
{
	static const int want[BREAKER_STATES][BREAKER_EVENTS] = {
		{BREAKER_OPEN, -1, -1, -1, -1, BREAKER_CLOSED},
		{-1, BREAKER_HALF_OPEN, -1, -1, -1, BREAKER_CLOSED},
		{-1, -1, BREAKER_RECOVERING, BREAKER_OPEN, -1, BREAKER_CLOSED},
		{BREAKER_OPEN, -1, -1, -1, BREAKER_CLOSED, BREAKER_CLOSED},
	};
	struct breaker_moment later = {200 * S, 0x80000000u};

	for (int s = 0; s < BREAKER_STATES; s++) {
		for (int e = 0; e < BREAKER_EVENTS; e++) {
			struct breaker b, before;
			bool moved;

			lead_to(&b, (enum breaker_state)s);
			before = b;
			moved = breaker_apply(&b, (enum breaker_event)e,
					      (struct breaker_reason){.why = BREAKER_WHY_RESET}, &later);
			is_int(moved, want[s][e] >= 0, "state %d, event %d: moves or not", s, e);
			is_int((int)b.state, moved ? want[s][e] : s, "to the right state");
			is_u64(b.moves - before.moves, moved, "counted");
			is_u64(b.since_ns, moved ? later.ns : before.since_ns, "stamped");
			ok(breaker_holds(&b), "the invariant holds");
		}
	}
}

static void no_ramp(void)
{
	struct breaker b;
	struct breaker_moment m = {200 * S, 0};

	lead_to(&b, BREAKER_HALF_OPEN);
	rules.ramp_ns = 0;
	(void)breaker_apply(&b, BREAKER_PROBES_GOOD, (struct breaker_reason){BREAKER_WHY_PROBES_GOOD, 2, 2}, &m);
	is_int((int)b.state, BREAKER_CLOSED, "without a ramp it is closed at once");
	is_int((int)b.reason.why, BREAKER_WHY_PROBES_GOOD, "because of the probes");
	is_u64(b.moves, 3, "in one move");
	is_u64(b.fresh_ns, m.ns, "and calls from before tell nothing");
	rules.ramp_ns = 10 * S;
}

static void open_times(void)
{
	struct breaker_rules r = rules;
	int n_low = 0, n_high = 0, n_bad = 0;

	is_u64(breaker_open_time(&r, 1, 0x80000000u), 5 * S, "first");
	is_u64(breaker_open_time(&r, 2, 0x80000000u), 10 * S, "second");
	is_u64(breaker_open_time(&r, 5, 0x80000000u), 60 * S, "fifth, cut");
	is_u64(breaker_open_time(&r, BREAKER_ATTEMPTS_MAX, UINT32_MAX), 60 * S, "last");
	r.open_jitter = 0.5;
	for (uint64_t random = 0; random <= UINT32_MAX; random += 1000003) {
		uint64_t ns = breaker_open_time(&r, 2, (uint32_t)random);

		n_bad += ns < 5 * S || ns > 15 * S;
		n_low += ns < 6 * S;
		n_high += ns > 14 * S;
	}
	is_int(n_bad, 0, "jitter keeps its bounds");
	ok(n_low > 300 && n_high > 300, "and uses them: %d low, %d high", n_low, n_high);
	r.open_jitter = 1;
	is_u64(breaker_open_time(&r, 1, 0), BREAKER_MS, "never less than a millisecond");
}

static void ramp_share(void)
{
	struct breaker b;

	lead_to(&b, BREAKER_RECOVERING);
	is_u64(breaker_ramp_share(&b, 100 * S) >> 16, (uint64_t)(0.1 * 65536), "begins with 10%%");
	is_u64(breaker_ramp_share(&b, 105 * S) >> 16, (uint64_t)(0.55 * 65536), "half-way 55%%");
	is_u64(breaker_ramp_share(&b, 110 * S), 1ull << 32, "ends with all");
	is_u64(breaker_ramp_share(&b, 999 * S), 1ull << 32, "and stays there");
	is_u64(breaker_ramp_share(&b, 0) >> 16, (uint64_t)(0.1 * 65536), "time that goes back is none");
}

static void window_arithmetic(void)
{
	struct window_counts three[3] = {{0}};
	struct window w = {.width_ns = 10, .n = 3, .buckets = three};
	struct window_counts one = {1, 1, 0};

	ok(window_add(&w, 0, &one) && window_add(&w, 9, &one), "two in the first bucket");
	ok(!window_add(&w, 10, &one), "the future has no bucket");
	window_advance(&w, 25);
	ok(window_add(&w, 19, &one) && window_add(&w, 5, &one), "the past has, while it lasts");
	is_u64(w.sum.calls, 4, "four");
	window_advance(&w, 30);
	is_u64(w.sum.calls, 1, "the first bucket falls out whole");
	ok(!window_add(&w, 9, &one), "and is too old");
	window_advance(&w, 20);
	is_u64(w.head, 3, "time does not go back");
	window_advance(&w, UINT64_MAX);
	is_u64(w.sum.calls, 0, "a leap empties it");
	ok(window_holds(&w), "the sum is that of its parts");
	is_int((int)window_percent(0, 0), 0, "nothing of nothing");
	is_int((int)window_percent(199, 200), 99, "99.5%% is 99");
}

int main(void)
{
	whole_table();
	no_ramp();
	open_times();
	ramp_share();
	window_arithmetic();
	return done();
}
