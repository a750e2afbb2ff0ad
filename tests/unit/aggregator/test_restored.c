/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aggregator/rows/restored.c over the simulated engine: which engine is refused, and that the
 * transaction which takes it over happens once and fences off whatever knew the engine before.
 */
#include "aggregator/rows/restored.h"

#include <stdio.h>
#include <string.h>

#include "aggregator/rows/keys.h"
#include "tests/unit/aggregator/engine_sim.h"
#include "tests/unit/aggregator/engine_suite.h"

#define PREFIX "middlepipe/shop/"
#define GROUP "000102030405060708090a0b0c0d0e0f"
#define OLD UINT64_C(0x1111111111111111)
#define NEW UINT64_C(0x2222222222222222)
#define SHARDS 64
#define TRIES 32
#define SEEDS 200

static struct sim sim;
static struct sim_store *store;
static struct sim_actor actors[2];

static const struct meta before = { .group = GROUP, .generation = 3, .shards = SHARDS, .cluster = OLD };

static void sim_until(suite_enough_fn *enough, const void *ctx)
{
	while (!enough(ctx) && sim_step(&sim))
		;
}

static void text_of(const struct meta *meta, char out[META_SIZE_MAX])
{
	struct buf text;

	buf_init(&text, META_SIZE_MAX);
	(void)meta_write(&text, meta);
	(void)snprintf(out, META_SIZE_MAX, "%s", buf_str(&text));
	buf_fini(&text);
}

/* A group of another time, restored: `meta`, all owners, two members, one of another tenant. */
static void begin(uint64_t seed)
{
	char text[META_SIZE_MAX], key[64];

	sim_init(&sim, seed);
	store = sim_store_new(&sim);
	sim_actor_init(&actors[0], "accepts");
	sim_actor_init(&actors[1], "old");
	suite_engine = engine_sim_open(store, &actors[0]);
	text_of(&before, text);
	(void)suite_put(PREFIX "meta", text);
	for (unsigned i = 0; i < SHARDS; i += 9) {
		(void)snprintf(key, sizeof(key), PREFIX "owner/%02x", i);
		(void)suite_put(key, "old");
	}
	(void)suite_put(PREFIX "member/m1", "old");
	(void)suite_put(PREFIX "member/m2", "old");
	(void)suite_put(PREFIX "row/a", "head");
	(void)suite_put("middlepipe/shop2/owner/00", "theirs");
}

static void end(void)
{
	sim_store_free(store);
	sim_fini(&sim);
}

/* What whoever starts does, until it may serve (true) or is refused; `tries` lives are killed behind their request. */
static bool start(const char *accept, unsigned kills)
{
	for (unsigned i = 0; i < TRIES; i++) {
		struct suite_answer read = suite_get(PREFIX "meta"), *committed;
		struct mp_str stored = slice_of(read.value[0]);
		char text[META_SIZE_MAX];
		struct meta meta;
		struct buf buf;

		if (read.outcome != ENGINE_COMMITTED || read.n != 1)
			continue;
		/* suite answers cut values: the store says the same, whole */
		stored = sim_map_get(sim_store_map(store), MP_LIT(PREFIX "meta"), sim_store_map(store)->revision);
		(void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(stored));
		if (meta_read(stored, &meta, NULL) < 0)
			return false;
		switch (restored_judge(&meta, NEW, accept)) {
		case RESTORED_NOT:
			return true;
		case RESTORED_UNKNOWN:
		case RESTORED_REFUSED:
			return false;
		case RESTORED_ACCEPTED:
			break;
		}
		meta.generation++;
		meta.cluster = NEW;
		buf_init(&buf, META_SIZE_MAX);
		committed = suite_ask();
		if (restored_commit(suite_engine, MP_LIT(PREFIX), slice_of(text), &meta, &buf, suite_done, committed))
			ok(false, "out of memory");
		if (i < kills) {
			engine_sim_kill(suite_engine);
			committed->calls = 1; /* nobody waits for it any more */
			suite_engine = engine_sim_open(store, &actors[0]);
		} else {
			suite_until(suite_answered, committed);
		}
		buf_fini(&buf);
	}
	return false;
}

static size_t count(const char *prefix)
{
	struct buf end;
	struct suite_answer answer;
	size_t n = 0;

	buf_init(&end, KEY_MAX);
	(void)key_range_end(&end, slice_of(prefix));
	answer = suite_range(&(struct engine_range){ .from = slice_of(prefix), .end = buf_slice(&end) });
	n = answer.outcome == ENGINE_COMMITTED ? answer.n : 999;
	buf_fini(&end);
	return n;
}

static struct meta stored_meta(void)
{
	struct mp_str text = sim_map_get(sim_store_map(store), MP_LIT(PREFIX "meta"), sim_store_map(store)->revision);
	struct meta meta = { .generation = 0 };

	(void)meta_read(text, &meta, NULL);
	return meta;
}

static void test_judge(void)
{
	char number[RESTORED_NUMBER_SIZE], other[RESTORED_NUMBER_SIZE], why[RESTORED_WHY_SIZE];
	struct meta meta = before;

	is_int(restored_judge(&meta, OLD, NULL), RESTORED_NOT, "its own engine");
	is_int(restored_judge(&meta, 0, NULL), RESTORED_NOT, "an engine that has no identity");
	is_int(restored_judge(&meta, NEW, NULL), RESTORED_REFUSED, "another one");
	restored_number(&meta, NEW, number);
	is_int(restored_judge(&meta, NEW, number), RESTORED_ACCEPTED, "that was accepted");
	restored_why(&meta, NEW, why);
	ok(strstr(why, number) && strstr(why, "--accept-loss") && strstr(why, GROUP) && strstr(why, "1111111111111111") &&
		   strstr(why, "2222222222222222"), "it says which, and how: %s", why);
	ok(strlen(why) < RESTORED_WHY_SIZE - 1, "whole");
	is_int(restored_judge(&meta, NEW + 1, number), RESTORED_REFUSED, "the number is good for that engine alone");
	meta.generation++;
	is_int(restored_judge(&meta, NEW, number), RESTORED_REFUSED, "and that generation");
	meta = before;
	meta.group[0] = 'f';
	is_int(restored_judge(&meta, NEW, number), RESTORED_REFUSED, "and that group");
	restored_number(&meta, NEW, other);
	ok(strcmp(number, other), "whose number is another");
	meta.cluster = 0;
	is_int(restored_judge(&meta, NEW, NULL), RESTORED_UNKNOWN, "a group that does not say where it was");
}

static void test_meta(void)
{
	char text[META_SIZE_MAX];
	struct meta meta = before, again;
	struct err err = { 0 };

	text_of(&meta, text);
	ok(meta_read(slice_of(text), &again, &err) == 0 && again.cluster == OLD, "the engine's identity is kept: %s", text);
	meta.cluster = 0;
	text_of(&meta, text);
	ok(!strstr(text, "cluster") && meta_read(slice_of(text), &again, &err) == 0 && !again.cluster,
	   "and need not be there");
	is_int(meta_read(MP_LIT("{\"format\":1,\"group\":\"" GROUP "\",\"generation\":1,\"shards\":1,\"sealed\":false,"
				"\"cluster\":\"1234\"}"), &again, &err), -EINVAL, "a wrong one is found: %s", err.text);
}

/* An old member's flight compares `meta` and its shard's owner. */
static struct suite_answer old_flight(struct engine *engine, const char *owner)
{
	char text[META_SIZE_MAX];
	const struct engine_compare same[] = { { MP_LIT(PREFIX "meta"), { text, 0 } },
					       { MP_LIT(PREFIX "owner/00"), slice_of(owner) } };
	struct engine_compare both[2] = { same[0], same[1] };
	const struct engine_op op = { ENGINE_PUT, MP_LIT(PREFIX "row/a"), MP_LIT("late"), false };
	struct engine *was = suite_engine;
	struct suite_answer answer;

	text_of(&before, text);
	both[0].value = slice_of(text);
	suite_engine = engine;
	answer = suite_commit(&(struct engine_txn){ .compares = both, .n_compares = 2, .ops = &op, .n_ops = 1 });
	suite_engine = was;
	return answer;
}

static void test_takes_over(void)
{
	char number[RESTORED_NUMBER_SIZE];
	struct engine *old;

	begin(1);
	old = engine_sim_open(store, &actors[1]);
	restored_number(&before, NEW, number);
	ok(!start(NULL, 0), "without the number it is refused");
	ok(!start("00000000", 0), "so it is with another one");
	is_u64(stored_meta().generation, 3, "and nothing was changed");
	is_int((long)count(PREFIX "owner/"), 8, "owners");
	ok(start(number, 0), "with it the engine is taken over");
	is_u64(stored_meta().generation, 4, "generation");
	ok(stored_meta().cluster == NEW && stored_meta().shards == SHARDS && !strcmp(stored_meta().group, GROUP),
	   "the group is the same, in that engine");
	is_int((long)count(PREFIX "owner/"), 0, "no shard has an owner");
	is_int((long)count(PREFIX "member/"), 0, "nobody of before is thought to be there");
	is_int((long)count(PREFIX "row/"), 1, "rows stay");
	is_int((long)count("middlepipe/shop2/"), 1, "and so does what is another tenant's");
	is_int((int)old_flight(old, "old").outcome, ENGINE_FAILED, "what was in flight is not committed");
	(void)suite_put(PREFIX "owner/00", "old");
	is_int((int)old_flight(old, "old").outcome, ENGINE_FAILED, "even of who takes its shard again");
	suite_is(PREFIX "row/a", "head", "the row is as it was");
	ok(start(NULL, 0), "the next one needs no number");
	ok(start(number, 0), "and harms nothing with it");
	is_u64(stored_meta().generation, 4, "the generation stays");
	suite_once();
	end();
}

/* Late: sent before the engine was taken over, delivered behind that. */
static void test_in_flight(void)
{
	char number[RESTORED_NUMBER_SIZE];
	struct engine *old;

	begin(2);
	restored_number(&before, NEW, number);
	old = engine_sim_open(store, &actors[1]);
	engine_sim_script(old, SIM_COMMIT_LATE, 1);
	is_int((int)old_flight(old, "old").outcome, ENGINE_UNKNOWN, "an old flight is on its way");
	ok(start(number, 0), "the engine is taken over meanwhile");
	suite_turn();
	suite_is(PREFIX "row/a", "head", "and that flight, when it arrives, changes nothing");
	suite_once();
	end();
}

/* Lost requests and answers, late and doubled ones, and who takes it over killed in between: once, in the end. */
static void test_faults(void)
{
	char number[RESTORED_NUMBER_SIZE];
	uint64_t faults = 0, wrong = 0;

	restored_number(&before, NEW, number);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		unsigned kills = seed % 4;

		begin(seed);
		engine_sim_odds(suite_engine, SIM_ANSWER_LOST, 300000);
		engine_sim_odds(suite_engine, SIM_REQUEST_LOST, 300000);
		sim_store_odds(store, SIM_COMMIT_LATE, 300000);
		sim_store_odds(store, SIM_AGAIN, 300000);
		if (!start(number, kills))
			wrong++;
		suite_turn();
		wrong += stored_meta().generation != 4 || stored_meta().cluster != NEW || count(PREFIX "owner/") ||
			 count(PREFIX "member/") || count(PREFIX "row/") != 1;
		faults += sim_store_count(store, SIM_ANSWER_LOST) + sim_store_count(store, SIM_REQUEST_LOST) +
			  sim_store_count(store, SIM_COMMIT_LATE) + sim_store_count(store, SIM_AGAIN) +
			  sim_store_count(store, SIM_KILLED);
		suite_once();
		end();
	}
	is_u64(wrong, 0, "taken over once, whatever happens in between");
	ok(faults > SEEDS, "%llu faults", (unsigned long long)faults);
}

int main(void)
{
	suite_until = sim_until;
	test_judge();
	test_meta();
	test_takes_over();
	test_in_flight();
	test_faults();
	return done();
}
