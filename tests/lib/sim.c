/* SPDX-License-Identifier: Apache-2.0 */
/* See sim.h.  The queue is a binary heap of events that know their place. */
#include "tests/lib/sim.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"

#define NOWHERE SIZE_MAX /* place of an event that is not in the heap */

struct sim_event {
	uint64_t at_ns;          /* when it is due */
	uint64_t order;          /* of those that are due at once */
	uint64_t id;             /* in the pool */
	struct sim_actor *actor; /* to whom it happens, or NULL */
	uint64_t life;           /* of the actor, when it was asked for */
	sim_fn *fn;              /* what happens */
	void *ctx;               /* of fn */
	size_t place;            /* in the heap */
	bool timer;              /* of the actor's own clock */
	struct list link;        /* in the actor's `waiting` */
};

/* ----------------------------------------------------------------------- chance */

static uint64_t splitmix(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

uint64_t sim_random(struct sim *sim)
{
	uint64_t *s = sim->random, result = rotate(s[1] * 5, 7) * 9, shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rotate(s[3], 45);
	return result;
}

uint64_t sim_below(struct sim *sim, uint64_t n)
{
	assert(n);
	/* A bias below 2^-32 for what tests draw. */
	return n >> 32 ? sim_random(sim) % n : (sim_random(sim) >> 32) * n >> 32;
}

uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high)
{
	assert(low <= high);
	return low + sim_below(sim, high - low + 1);
}

bool sim_chance(struct sim *sim, uint32_t per_million)
{
	return per_million && sim_below(sim, 1000000) < per_million;
}

uint64_t sim_random_of(void *sim)
{
	return sim_random(sim);
}

uint64_t sim_now_of(void *sim)
{
	return ((const struct sim *)sim)->now_ns;
}

uint64_t sim_wall_of(void *sim)
{
	return sim_now_of(sim) / NS_PER_MS;
}

/* ------------------------------------------------------------------------- heap */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void put_at(struct sim *sim, size_t place, struct sim_event *event)
{
	sim->heap[place] = event;
	event->place = place;
}

static void sift_up(struct sim *sim, struct sim_event *event, size_t place)
{
	while (place && before(event, sim->heap[(place - 1) / 2])) {
		put_at(sim, place, sim->heap[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	put_at(sim, place, event);
}

static void sift_down(struct sim *sim, struct sim_event *event, size_t place)
{
	size_t child;

	while ((child = 2 * place + 1) < sim->n_heap) {
		if (child + 1 < sim->n_heap && before(sim->heap[child + 1], sim->heap[child]))
			child++;
		if (!before(sim->heap[child], event))
			break;
		put_at(sim, place, sim->heap[child]);
		place = child;
	}
	put_at(sim, place, event);
}

static void heap_add(struct sim *sim, struct sim_event *event)
{
	event->order = ++sim->orders;
	sift_up(sim, event, sim->n_heap++);
}

static void heap_remove(struct sim *sim, struct sim_event *event)
{
	size_t place = event->place;
	struct sim_event *last = sim->heap[--sim->n_heap];

	event->place = NOWHERE;
	if (last == event)
		return;
	if (before(last, event))
		sift_up(sim, last, place);
	else
		sift_down(sim, last, place);
}

/* ------------------------------------------------------------------------- time */

static uint64_t clock_of(const struct clock *clock)
{
	return ((const struct sim *)(const void *)clock)->now_ns;
}

void sim_init(struct sim *sim, uint64_t seed)
{
	uint64_t state = seed;
	int r;

	*sim = (struct sim){ .clock.now = clock_of, .now_ns = SIM_START_NS, .seed = seed };
	for (int i = 0; i < 4; i++)
		sim->random[i] = splitmix(&state);
	r = pool_init(&sim->events, sizeof(struct sim_event), SIM_EVENTS_MAX);
	sim->heap = malloc(SIM_EVENTS_MAX * sizeof(struct sim_event *));
	assert(!r && sim->heap);
}

void sim_fini(struct sim *sim)
{
	pool_fini(&sim->events);
	free(sim->heap);
	free(sim->trace);
	*sim = (struct sim){ 0 };
}

static uint64_t ask(struct sim *sim, struct sim_actor *actor, uint64_t delay_ns, sim_fn *fn, void *ctx,
		    bool timer)
{
	uint64_t id;
	struct sim_event *event = pool_get(&sim->events, &id);

	assert(event); /* SIM_EVENTS_MAX are under way: somebody asks for more and more */
	*event = (struct sim_event){ .at_ns = sim->now_ns + delay_ns, .id = id, .actor = actor,
				     .life = actor ? actor->life : 0, .fn = fn, .ctx = ctx, .timer = timer };
	list_init(&event->link);
	heap_add(sim, event);
	return id;
}

uint64_t sim_after(struct sim *sim, struct sim_actor *actor, uint64_t delay_ns, sim_fn *fn, void *ctx)
{
	return ask(sim, actor, delay_ns, fn, ctx, false);
}

uint64_t sim_timer(struct sim *sim, struct sim_actor *actor, uint64_t delay_ns, sim_fn *fn, void *ctx)
{
	return ask(sim, actor, delay_ns, fn, ctx, true);
}

void sim_cancel(struct sim *sim, uint64_t id)
{
	struct sim_event *event = pool_find(&sim->events, id);

	if (!event)
		return;
	if (event->place != NOWHERE)
		heap_remove(sim, event);
	list_remove(&event->link);
	pool_put(&sim->events, id);
}

static void happen(struct sim *sim, struct sim_event *event)
{
	sim_fn *fn = event->fn;
	void *ctx = event->ctx;

	sim_mix(sim, event->order);
	pool_put(&sim->events, event->id);
	fn(sim, ctx);
}

bool sim_step(struct sim *sim)
{
	struct sim_event *event;

	if (!sim->n_heap || sim->failed)
		return false;
	if (++sim->steps > SIM_STEPS_MAX) {
		sim_fail(sim, "a run without end: %u events", SIM_STEPS_MAX);
		return false;
	}
	event = sim->heap[0];
	heap_remove(sim, event);
	sim->now_ns = event->at_ns;
	sim_mix(sim, sim->now_ns);
	if (event->actor && event->life != event->actor->life)
		pool_put(&sim->events, event->id);
	else if (event->actor && event->actor->stopped)
		list_push_back(&event->actor->waiting, &event->link);
	else
		happen(sim, event);
	return true;
}

void sim_run_until(struct sim *sim, uint64_t at_ns)
{
	while (sim->n_heap && sim->heap[0]->at_ns <= at_ns && sim_step(sim))
		;
	if (sim->now_ns < at_ns && !sim->failed)
		sim->now_ns = at_ns;
}

/* ----------------------------------------------------------------------- actors */

void sim_actor_init(struct sim_actor *actor, const char *name)
{
	*actor = (struct sim_actor){ .name = name };
	list_init(&actor->waiting);
}

void sim_stop(struct sim *sim, struct sim_actor *actor)
{
	sim_note(sim, "%s is stopped", actor->name);
	actor->stopped = true;
}

/* Those that have waited, of one kind, happen now. */
static void wake(struct sim *sim, struct sim_actor *actor, bool all, bool timers)
{
	LIST_FOR_EACH_SAFE(link, &actor->waiting) {
		struct sim_event *event = LIST_ENTRY_OF(link, struct sim_event, link);

		if (!all && event->timer != timers)
			continue;
		list_remove(link);
		event->at_ns = sim->now_ns;
		heap_add(sim, event);
	}
}

void sim_resume(struct sim *sim, struct sim_actor *actor)
{
	if (!actor->stopped)
		return;
	sim_note(sim, "%s goes on", actor->name);
	actor->stopped = false;
	if (sim_below(sim, 2))
		wake(sim, actor, false, true);
	wake(sim, actor, true, false);
}

void sim_kill(struct sim *sim, struct sim_actor *actor)
{
	sim_note(sim, "%s is killed", actor->name);
	actor->life++;
	actor->stopped = false;
	LIST_FOR_EACH_SAFE(link, &actor->waiting) {
		struct sim_event *event = LIST_ENTRY_OF(link, struct sim_event, link);

		list_remove(link);
		pool_put(&sim->events, event->id);
	}
}

/* ---------------------------------------------------------------------- findings */

void sim_trace_on(struct sim *sim)
{
	if (!sim->trace)
		sim->trace = calloc(SIM_TRACE_LINES, sizeof(*sim->trace));
	assert(sim->trace);
}

static void trace(struct sim *sim, const char *fmt, va_list args)
{
	uint64_t us = (sim->now_ns - SIM_START_NS) / NS_PER_US;
	char *line = sim->trace[sim->traced++ % SIM_TRACE_LINES];
	int at = snprintf(line, SIM_TRACE_WIDTH, "%4u.%06u ", (unsigned)(us / 1000000), (unsigned)(us % 1000000));

	(void)vsnprintf(line + at, SIM_TRACE_WIDTH - (size_t)at, fmt, args); /* a long one is cut */
}

void sim_note(struct sim *sim, const char *fmt, ...)
{
	va_list args;

	if (!sim->trace)
		return;
	va_start(args, fmt);
	trace(sim, fmt, args);
	va_end(args);
}

void sim_trace_print(const struct sim *sim, FILE *out, const char *prefix)
{
	uint64_t at = sim->traced > SIM_TRACE_LINES ? sim->traced - SIM_TRACE_LINES : 0;

	if (!sim->trace)
		return;
	if (at)
		fprintf(out, "%s(%llu lines before)\n", prefix, (unsigned long long)at);
	for (; at < sim->traced; at++)
		fprintf(out, "%s%s\n", prefix, sim->trace[at % SIM_TRACE_LINES]);
}

void sim_mix(struct sim *sim, uint64_t value)
{
	sim->digest = (rotate(sim->digest, 5) ^ value) * UINT64_C(0x9fb21c651e98df25);
}

void sim_fail(struct sim *sim, const char *fmt, ...)
{
	va_list args;

	if (!sim->failed) {
		va_start(args, fmt);
		(void)vsnprintf(sim->why, sizeof(sim->why), fmt, args); /* a long one is cut */
		va_end(args);
	}
	sim->failed = true;
	sim_note(sim, "FAILED: %s", sim->why);
}

/* ------------------------------------------------------------------------ runner */

void sim_plan_args(struct sim_plan *plan, int argc, char **argv)
{
	uint64_t count = 1;

	if (argc < 2 || slice_to_u64(slice_of(argv[1]), &plan->first))
		return;
	plan->verbose = argc < 3;
	if (argc > 2)
		(void)slice_to_u64(slice_of(argv[2]), &count); /* no number: one */
	plan->seeds = count;
}

static void run_one(const struct sim_plan *plan, uint64_t seed, struct sim *sim, bool traced)
{
	sim_init(sim, seed);
	if (traced)
		sim_trace_on(sim);
	plan->scenario(sim, plan->ctx);
}

static FILE *out_of(const struct sim_plan *plan)
{
	return plan->out ? plan->out : stdout;
}

/* Was that the same run?  Says so when not. */
static bool same(const struct sim_plan *plan, const struct sim *a, const struct sim *b)
{
	if (a->digest == b->digest && a->steps == b->steps && a->failed == b->failed)
		return true;
	fprintf(out_of(plan), "# %s: seed %llu went another way when it was run again: something decides that "
		"is not in the seed\n", plan->name, (unsigned long long)a->seed);
	return false;
}

/* The seed once more, with its trace. */
static void replay(const struct sim_plan *plan, const struct sim *first)
{
	unsigned long long seed = first->seed;
	struct sim sim;

	run_one(plan, first->seed, &sim, true);
	sim_trace_print(&sim, out_of(plan), "# ");
	if (first->failed)
		fprintf(out_of(plan), "# %s: seed %llu failed: %s\n", plan->name, seed, first->why);
	if (same(plan, first, &sim) && first->failed)
		fprintf(out_of(plan), "# it does so every time: %s %llu\n", program_invocation_short_name, seed);
	sim_fini(&sim);
}

static bool repeats(const struct sim_plan *plan, const struct sim *first)
{
	struct sim sim;
	bool good;

	run_one(plan, first->seed, &sim, false);
	good = same(plan, first, &sim);
	sim_fini(&sim);
	return good;
}

bool sim_run(const struct sim_plan *plan)
{
	bool good = true;

	for (uint64_t i = 0; good && i < plan->seeds; i++) {
		struct sim sim;

		run_one(plan, plan->first + i, &sim, false);
		good = !sim.failed && (!plan->twice || i % plan->twice || repeats(plan, &sim));
		if (!good || plan->verbose)
			replay(plan, &sim);
		sim_fini(&sim);
	}
	return good;
}
