/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members that prefer owners by the checks that they have, for test_checks_sim.c: who
 * has which, what they tell one another, and their pings.
 */
#ifndef TESTS_UNIT_AGGREGATOR_CHECKS_GROUP_H
#define TESTS_UNIT_AGGREGATOR_CHECKS_GROUP_H

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "lib/slice.h"
#include "middlepipes/registry.h"
#include "tests/unit/aggregator/checks_world.h"

/*
 * One member has each check for certain, and not the same one when there are several.
 * So the rows must not be of one shard: it has one owner.
 */
static inline void draw_checks(struct world *w)
{
	assert(row_shard(slice_of(row_names[UNIQUE]), SHARDS) != row_shard(slice_of(row_names[SUM]), SHARDS));
	for (unsigned i = 0; i < w->n_members; i++) {
		struct member *m = &w->member[i];

		for (unsigned r = 0; r < ROWS; r++)
			m->has[r] = !w->agree || (i + r) % w->n_members == 0 || sim_below(w->sim, 4) == 0;
	}
}

static inline void on_pong(struct sim *sim, void *ctx)
{
	struct sim_ping *ping = ctx;
	struct member *from = ping->from, *to = ping->to;
	bool asks = from->engine && from->life == ping->life;

	(void)sim;
	ping->from = NULL;
	if (asks)
		members_pong(from->members, to->name,
			     !to->engine ? PONG_REFUSED : to->actor.stopped ? PONG_SILENT : PONG_ALIVE);
}

static inline void net_ping(void *ctx, const char *id, const char *url)
{
	struct member *m = ctx;
	struct world *w = m->world;
	struct sim_ping *ping = NULL;

	for (size_t i = 0; i < PINGS && !ping; i++)
		if (!w->ping[i].from)
			ping = &w->ping[i];
	assert(ping && !strcmp(url, id));
	*ping = (struct sim_ping){ .from = m, .to = &w->member[id[1] - '0'], .life = m->life };
	(void)sim_after(w->sim, NULL,
			ping->to->engine && ping->to->actor.stopped ? MEMBER_PING_MS * NS_PER_MS : NS_PER_MS,
			on_pong, ping);
}

static inline void net_usurped(void *ctx, const char *why)
{
	struct member *m = ctx;

	sim_fail(m->world->sim, "%s: %s", m->name, why);
}

static inline struct members *build_members(struct member *m, uint64_t wall_ms)
{
	struct members_options options = {
		.engine = m->engine, .copy = m->copy, .owner = m->owner, .host = &m->host,
		.net = { net_ping, net_usurped, m }, .n_shards = SHARDS,
		.self = { .version = "x", .nonce = m->owner->nonce, .since_ms = wall_ms },
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
