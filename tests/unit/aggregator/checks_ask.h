/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts for tests that stand on checks_stand.h: asked and waited for, and the snapshots that are
 * stored then.
 */
#ifndef TESTS_UNIT_AGGREGATOR_CHECKS_ASK_H
#define TESTS_UNIT_AGGREGATOR_CHECKS_ASK_H

#include "tests/unit/aggregator/checks_stand.h"

/* A put and what came of it. */
struct asked {
	struct put put; /* first */
	struct mp_str content;
	struct put_answer answer;
	char why[128];
	bool done;
};

static inline void on_done(struct put *put, const struct put_answer *answer)
{
	struct asked *a = (struct asked *)(void *)put;

	a->answer = *answer;
	snprintf(a->why, sizeof(a->why), "%s", answer->why);
	a->done = true;
}

static inline void ask(struct asked *a, const char *row, enum put_kind kind, const char *content)
{
	*a = (struct asked){ .put = { .kind = kind, .row = slice_of(row), .n = kind == PUT_CELLS, .cell_kind = CELL_DATA,
				      .done = on_done, .deadline = stand.sim.now_ns + 5 * NS_PER_S },
			     .content = slice_of(content) };
	a->put.content = &a->content;
	if (kind == PUT_POLICIES) {
		a->put.policies.has_check = true;
		snprintf(a->put.policies.check, sizeof(a->put.policies.check), "%s", content);
	}
	owner_put(stand.owner, &a->put);
}

static inline enum put_code answer_of(struct asked *a)
{
	(void)until(is_true, &a->done);
	return a->done ? a->answer.code : PUT_LATER;
}

static inline enum put_code put(struct asked *a, const char *row, enum put_kind kind, const char *content)
{
	ask(a, row, kind, content);
	return answer_of(a);
}

static inline void put_many(const char *row, int n)
{
	struct asked a;
	int good = 0;

	for (int i = 0; i < n; i++)
		good += put(&a, row, PUT_CELLS, "x") == PUT_COMMITTED;
	is_int(good, n, "%d cells are put", n);
}

static inline enum put_code compact(struct asked *a, const char *row, uint64_t floor)
{
	ask(a, row, PUT_FLOOR, "");
	a->put.floor = floor;
	return answer_of(a);
}

/* Keys of snapshots that are stored. */
static inline int n_stored(void)
{
	const struct sim_map *map = sim_store_map(stand.store);
	int n = 0;

	for (size_t i = 0; i < map->n_keys; i++) {
		struct key key;

		n += sim_map_at(map, i, map->revision).ptr && !key_parse(map->keys[i].key, PREFIX, &key) &&
		     key.kind == KEY_SNAPSHOT;
	}
	return n;
}

static inline bool no_more_stored(void *ctx)
{
	(void)ctx;
	return !n_stored();
}

static inline bool is_later(void *ctx)
{
	return stand.sim.now_ns >= *(uint64_t *)ctx;
}

static inline bool lost_it(void *ctx)
{
	(void)ctx;
	return !owner_has(stand.owner, 0);
}

/* The shard goes and comes back: what the check came to is made again. */
static inline void own_anew(void)
{
	owner_want(stand.owner, 0, false);
	(void)until(lost_it, NULL);
	owner_want(stand.owner, 0, true);
	ok(until(follows_and_owns, NULL) && list_empty(&stand.checks->all), "the shard is taken anew, and no instance is left");
}

#endif
