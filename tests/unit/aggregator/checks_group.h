/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members that prefer owners by the checks that they have, for test_checks_sim.c: who
 * has which, and what they tell one another.
 */
#ifndef TESTS_UNIT_AGGREGATOR_CHECKS_GROUP_H
#define TESTS_UNIT_AGGREGATOR_CHECKS_GROUP_H

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "lib/slice.h"
#include "middlepipes/registry.h"
#include "tests/unit/aggregator/checks_world.h"
#include "tests/unit/aggregator/sim_group.h"

/*
 * One member has each check for certain, and not the same one when there are several.
 * So the rows must not be of one shard: it has one owner.
 */
static inline void draw_checks(struct world *w)
{
	assert(row_shard(slice_of(row_names[UNIQUE]), WORLD_SHARDS) != row_shard(slice_of(row_names[SUM]), WORLD_SHARDS));
	for (unsigned i = 0; i < w->n_members; i++) {
		struct member *m = &w->member[i];

		for (unsigned r = 0; r < ROWS; r++)
			m->has[r] = !w->agree || (i + r) % w->n_members == 0 || sim_below(w->sim, 4) == 0;
	}
}

static inline struct members *build_members(struct member *m)
{
	struct members_options options = {
		.engine = m->engine, .copy = m->copy, .owner = m->owner, .host = &m->host,
		.net = { net_ping, net_usurped, m }, .n_shards = WORLD_SHARDS,
		.self = { .version = "x", .nonce = m->owner->nonce, .since_ms = host_wall(m) },
	};

	for (unsigned r = 0; r < ROWS; r++) {
		struct member_check *check = &options.self.check[options.self.n_checks];

		if (!m->has[r])
			continue;
		(void)snprintf(check->name, sizeof(check->name), "%s", row_checks[r]);
		check->rules = registry_find_half(row_checks[r])->rules;
		options.self.n_checks++;
	}
	(void)snprintf(options.self.id, sizeof(options.self.id), "%s", m->name);
	(void)snprintf(options.self.url, sizeof(options.self.url), "%s", m->name);
	return members_new(&options);
}

/* For struct checks_options: another member has it. */
static inline uint32_t find_elsewhere(void *ctx, const char *name, uint32_t rules)
{
	const struct member *m = ctx;

	return m->members ? members_check_rules(m->members, name, rules) : 0;
}

#endif
