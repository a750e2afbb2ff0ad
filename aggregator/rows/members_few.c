/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which members own shards in a large group (rows.md 3.3): a part of members.c, for its
 * preference.
 *
 * Each owner has flights of its own.  With the shards of 20 members they carry few cells
 * each, cost the engine nearly as much as full ones, and all of them go to 20 watches.
 * So a few members order all rows, and the others forward to them.
 *
 * Everybody computes the same few from the members' keys, without talking: first those
 * that run a member of the engine, whose way to it is short and who are not the first to
 * go; among equals by a hash of their ids, so that one that comes or goes changes one
 * of them at most.  Who is suspected stays one of them until its key goes: its shards go to
 * the others of them, who look after it, and a member that only stumbles moves nobody else's.
 */
#include <string.h>
#include <xxhash.h>

#include "aggregator/rows/members_priv.h"

#define SALT UINT64_C(0x66657720) /* other places than for any shard; the same in all programs */

static bool is_sooner(const struct member_info *a, const struct member_info *b)
{
	uint64_t of_a = XXH64(a->id, strlen(a->id), SALT), of_b = XXH64(b->id, strlen(b->id), SALT);

	if (a->engine != b->engine)
		return a->engine;
	return of_a != of_b ? of_a > of_b : strcmp(a->id, b->id) < 0;
}

/* How many may own before that one. */
static size_t place_of(const struct members *m, const struct member_info *info)
{
	size_t before = 0;

	for (size_t i = 0; i < m->n_peers; i++)
		before += !m->peer[i]->info.draining && is_sooner(&m->peer[i]->info, info);
	return before;
}

void members_choose(struct members *m)
{
	size_t able = 0, most;

	for (size_t i = 0; i < m->n_peers; i++)
		able += !m->peer[i]->info.draining;
	most = able > MEMBERS_SMALL ? MEMBERS_FEW : able;
	for (size_t i = 0; i < m->n_peers; i++) {
		struct member_info *info = &m->peer[i]->info;

		info->chosen = !info->draining && place_of(m, info) < most;
	}
}
