/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual time: order, actors that are stopped and killed, chance, and the runner of seeds. */
#include <stdlib.h>

#include "tests/lib/sim.h"
#include "tests/lib/tap.h"

static char happened[256]; /* letters, in the order of what happened */

static void letter(struct sim *sim, void *ctx)
{
	size_t at = strlen(happened);

	(void)sim;
	happened[at] = *(const char *)ctx;
	happened[at + 1] = '\0';
}

static void *name_of(const char *name)
{
	return (void *)(uintptr_t)name;
}

static struct sim begin(uint64_t seed)
{
	struct sim sim;

	happened[0] = '\0';
	sim_init(&sim, seed);
	return sim;
}

static void test_order(void)
{
	struct sim sim = begin(1);
	uint64_t id;

	sim_after(&sim, NULL, 30, letter, name_of("c"));
	sim_after(&sim, NULL, 10, letter, name_of("a"));
	id = sim_after(&sim, NULL, 20, letter, name_of("x"));
	sim_after(&sim, NULL, 20, letter, name_of("b"));
	for (const char *c = "defghijklm"; *c; c++)
		sim_after(&sim, NULL, 40, letter, name_of(c));
	sim_cancel(&sim, id);
	sim_run_until(&sim, SIM_START_NS + 20);
	is_str(happened, "ab", "what is due");
	is_u64(clock_now(&sim.clock), SIM_START_NS + 20, "the clock says when");
	ok(sim_now_of(&sim) == sim.now_ns && sim_wall_of(&sim) == sim.now_ns / 1000000, "to callbacks, too");
	sim_cancel(&sim, id);
	while (sim_step(&sim))
		;
	is_str(happened, "abcdefghijklm", "by time, then as it was asked for");
	is_u64(sim.now_ns, SIM_START_NS + 40, "the time of the last");
	sim_fini(&sim);
}

/* Against a plain search for the least, with events that go in between. */
static void test_heap(void)
{
	struct sim sim = begin(2);
	uint64_t ids[400], last = 0;
	bool sorted = true;

	for (int i = 0; i < 400; i++)
		ids[i] = sim_after(&sim, NULL, sim_below(&sim, 1000), letter, name_of(""));
	for (int i = 0; i < 400; i += 3)
		sim_cancel(&sim, ids[i]);
	is_int((long)sim.n_heap, 266, "a third is cancelled");
	while (sim_step(&sim)) {
		sorted &= sim.now_ns >= last;
		last = sim.now_ns;
	}
	ok(sorted && sim.steps == 266, "the others happen in order");
	sim_fini(&sim);
}

static void test_actors(void)
{
	struct sim sim = begin(3);
	struct sim_actor actor;

	sim_actor_init(&actor, "actor");
	sim_stop(&sim, &actor);
	sim_timer(&sim, &actor, 30, letter, name_of("t"));
	sim_after(&sim, &actor, 10, letter, name_of("a"));
	sim_after(&sim, &actor, 20, letter, name_of("b"));
	sim_after(&sim, NULL, 40, letter, name_of("n"));
	sim_run_for(&sim, 50);
	is_str(happened, "n", "what happens to one who is stopped waits");
	sim_after(&sim, &actor, 0, letter, name_of("c"));
	sim_resume(&sim, &actor);
	sim_run_for(&sim, 0);
	ok(!strcmp(happened, "ncabt") || !strcmp(happened, "nctab"), "then it happens at once: %s", happened);
	is_u64(sim.now_ns, SIM_START_NS + 50, "and it is as late as it is");
	happened[0] = '\0';
	sim_after(&sim, &actor, 10, letter, name_of("x"));
	sim_stop(&sim, &actor);
	sim_run_for(&sim, 10);
	sim_after(&sim, &actor, 10, letter, name_of("y"));
	sim_kill(&sim, &actor);
	sim_after(&sim, &actor, 20, letter, name_of("l"));
	sim_run_for(&sim, 100);
	is_str(happened, "l", "nothing happens to the dead, and a new life begins");
	is_int((long)sim.events.used, 0, "nothing is left");
	sim_fini(&sim);
}

/* Both orders are drawn for one who was stopped. */
static void test_timers_first(void)
{
	int timer_first = 0;

	for (uint64_t seed = 0; seed < 100; seed++) {
		struct sim sim = begin(seed);
		struct sim_actor actor;

		sim_actor_init(&actor, "actor");
		sim_after(&sim, &actor, 1, letter, name_of("a"));
		sim_timer(&sim, &actor, 2, letter, name_of("t"));
		sim_stop(&sim, &actor);
		sim_run_for(&sim, 10);
		sim_resume(&sim, &actor);
		sim_run_for(&sim, 0);
		timer_first += happened[0] == 't';
		sim_fini(&sim);
	}
	ok(timer_first > 25 && timer_first < 75, "timers are first in %d of 100", timer_first);
}

static void test_chance(void)
{
	struct sim a = begin(7), b = begin(7), c = begin(8);
	int hits = 0, buckets[10] = { 0 };
	bool same = true, other = false, even = true;

	for (int i = 0; i < 1000; i++) {
		uint64_t x = sim_random(&a);

		same &= x == sim_random(&b);
		other |= x != sim_random(&c);
	}
	ok(same && other, "a seed gives its numbers, another gives others");
	for (int i = 0; i < 10000; i++) {
		hits += sim_chance(&a, 100000);
		buckets[sim_between(&a, 5, 14) - 5]++;
	}
	ok(hits > 850 && hits < 1150, "one in ten: %d of 10000", hits);
	for (int i = 0; i < 10; i++)
		even &= buckets[i] > 850 && buckets[i] < 1150;
	ok(even, "evenly");
	ok(!sim_chance(&a, 0) && sim_chance(&a, 1000000), "never and always");
	sim_fini(&a);
	sim_fini(&b);
	sim_fini(&c);
}

/* ------------------------------------------------------------------------ runner */

static void step(struct sim *sim, void *ctx)
{
	sim_note(sim, "step %u", (unsigned)sim_below(sim, 1000000));
	sim_check(sim, sim->seed != 17 || sim->steps < 50, "the fiftieth step of seventeen");
	if (sim->steps < 100)
		sim_after(sim, NULL, sim_between(sim, 1, 1000000), step, ctx);
}

static void walk(struct sim *sim, void *ctx)
{
	(*(int *)ctx)++;
	sim_after(sim, NULL, 1, step, ctx);
	while (sim_step(sim))
		;
}

/* Something that is not in the seed. */
static void wander(struct sim *sim, void *ctx)
{
	sim_mix(sim, (uint64_t)++*(int *)ctx);
}

/* What it says; freed by the caller. */
static char *run(const struct sim_plan *plan, bool *ret_good)
{
	struct sim_plan own = *plan;
	char *text = NULL;
	size_t size;

	own.out = open_memstream(&text, &size);
	if (!own.out)
		return NULL;
	*ret_good = sim_run(&own);
	fclose(own.out);
	return text;
}

static void test_runner(void)
{
	int runs = 0;
	bool good = false;
	struct sim_plan plan = { .name = "walk", .scenario = walk, .ctx = &runs, .seeds = 10, .twice = 5 };
	char *nothing = run(&plan, &good), *text, *again;

	ok(good && !nothing[0], "ten seeds, nothing to say");
	is_int(runs, 12, "two of them twice");
	plan.seeds = 100;
	text = run(&plan, &good);
	ok(!good, "a seed that fails");
	ok(strstr(text, "# walk: seed 17 failed: the fiftieth step of seventeen\n"), "is told");
	ok(strstr(text, "test_sim 17"), "with the way to see it again");
	is_int(runs, 12 + 18 + 4 + 1, "it is the last one, and run again for its trace");
	ok(!strncmp(text, "#    0.000000 step ", 19) && strstr(text, " FAILED: "), "which is there");
	sim_plan_args(&plan, 2, (char *[]){ name_of("test_sim"), name_of("17"), NULL });
	again = run(&plan, &good);
	ok(!good, "asked for alone");
	is_str(again, text, "it gives the same trace");
	free(nothing);
	free(text);
	free(again);
}

static void test_args(void)
{
	struct sim_plan plan = { .seeds = 7 };

	sim_plan_args(&plan, 3, (char *[]){ name_of("test_sim"), name_of("20"), name_of("30"), NULL });
	ok(plan.first == 20 && plan.seeds == 30 && !plan.verbose, "a range of seeds");
	sim_plan_args(&plan, 2, (char *[]){ name_of("test_sim"), name_of("no"), NULL });
	ok(plan.first == 20 && plan.seeds == 30, "what is no seed is ignored");
}

static void test_wandering(void)
{
	int runs = 0;
	bool good = true;
	struct sim_plan plan = { .name = "wander", .scenario = wander, .ctx = &runs, .seeds = 3, .twice = 1 };
	char *text = run(&plan, &good);

	ok(!good && strstr(text, "went another way"), "a scenario that does not replay is found");
	free(text);
}

/* More lines than are kept. */
static void test_trace(void)
{
	struct sim sim = begin(1);
	char *text, wide[2 * SIM_TRACE_WIDTH];
	size_t size;
	FILE *out = open_memstream(&text, &size);

	sim_note(&sim, "nobody keeps this");
	sim_trace_on(&sim);
	for (int i = 0; i < SIM_TRACE_LINES + 10; i++)
		sim_note(&sim, "line %d", i);
	memset(wide, 'w', sizeof(wide));
	wide[sizeof(wide) - 1] = '\0';
	sim_note(&sim, "%s", wide);
	sim_trace_print(&sim, out, "");
	fclose(out);
	ok(!strncmp(text, "(11 lines before)\n", 18), "the first are gone");
	ok(!strstr(text, " line 10\n") && strstr(text, " line 11\n") && strstr(text, " line 4105\n"),
	   "the last are there");
	free(text);
	sim_fini(&sim);
}

int main(void)
{
	test_order();
	test_heap();
	test_actors();
	test_timers_first();
	test_chance();
	test_runner();
	test_args();
	test_wandering();
	test_trace();
	return done();
}
