/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which member has the checks that the rows of a shard want (rows.md 3.3): a part
 * of members.c, for its preference.
 *
 * Checks that rows have are numbered as they are met; what a shard wants and what a
 * member has are sets of bits by that number, so that members are compared in no
 * time.  Rows that are deleted leave bits behind, until all rows are looked at again.
 */
#include <string.h>

#include "aggregator/rows/members_priv.h"
#include "lib/clock.h"

#define LOOK_AGAIN_NS (10 * NS_PER_S) /* at all rows */

static bool has(const struct member_info *info, const struct member_check *check)
{
	for (size_t i = 0; i < info->n_checks; i++)
		if (info->check[i].rules == check->rules && !strcmp(info->check[i].name, check->name))
			return true;
	return false;
}

void members_count_checks(const struct members *m, struct peer *peer)
{
	peer->has = 0;
	for (size_t i = 0; i < m->n_wanted; i++)
		if (has(&peer->info, &m->wanted[i]))
			peer->has |= UINT64_C(1) << i;
}

/* The bit of a check; 0 when there are too many: then nobody is preferred for it. */
static uint64_t bit_of(struct members *m, const struct head *head)
{
	size_t i = 0;

	while (i < m->n_wanted && (m->wanted[i].rules != head->rules || strcmp(m->wanted[i].name, head->check) != 0))
		i++;
	if (i == MEMBER_CHECKS_MAX)
		return 0;
	if (i == m->n_wanted) {
		m->wanted[i].rules = (uint32_t)head->rules;
		memcpy(m->wanted[i].name, head->check, sizeof(m->wanted[i].name));
		m->n_wanted++;
		for (size_t p = 0; p < m->n_peers; p++)
			members_count_checks(m, m->peer[p]);
	}
	return UINT64_C(1) << i;
}

void members_row_changed(struct members *members, const struct row *row)
{
	uint64_t *wants = &members->wants[row->shard], before = *wants;

	if (!row_exists(row) || !row->head.check[0])
		return;
	*wants |= bit_of(members, &row->head);
	members->woken |= *wants != before;
}

void members_look_at_rows(struct members *m, uint64_t now)
{
	const struct map *rows = copy_rows(m->copy);

	if (m->look_at > now || (m->look_at && !m->n_wanted))
		return;
	m->look_at = now + LOOK_AGAIN_NS;
	m->n_wanted = 0;
	memset(m->wants, 0, sizeof(m->wants));
	for (struct map_entry *e = map_next(rows, NULL); e; e = map_next(rows, e))
		members_row_changed(m, map_entry_value(e));
	for (size_t i = 0; i < m->n_peers; i++)
		members_count_checks(m, m->peer[i]);
}

unsigned members_fitness(const struct members *m, const struct peer *peer, uint32_t shard)
{
	unsigned n = 0;

	for (uint64_t left = peer->has & m->wants[shard]; left; left &= left - 1)
		n++;
	return n;
}

uint32_t members_check_rules(const struct members *members, const char *name, uint32_t rules)
{
	uint32_t found = 0;

	for (size_t p = 0; p < members->n_peers; p++) {
		const struct member_info *info = &members->peer[p]->info;

		if (!members_may_own(info))
			continue;
		for (size_t i = 0; i < info->n_checks; i++)
			if (!strcmp(info->check[i].name, name) && info->check[i].rules > found &&
			    (!rules || info->check[i].rules == rules))
				found = info->check[i].rules;
	}
	return found;
}
