/* SPDX-License-Identifier: Apache-2.0 */
/* See limits.h. */
#include "aggregator/rows/limits.h"

#include <inttypes.h>
#include <stdio.h>

#include "aggregator/rows/snapshot.h"
#include "lib/clock.h"

static const struct {
	const char *name; /* as metrics have it */
	const char *text; /* before the figure */
	const char *unit; /* behind it; NULL: there is no figure */
} words[LIMITS] = {
	[LIMIT_ROWS] = { "rows", "there are as many rows as there may be:", "rows" },
	[LIMIT_WAITING] = { "waiting", "as many puts wait as may:", "puts" },
	[LIMIT_RATE] = { "puts_per_second", "a row takes", "puts a second" },
	[LIMIT_ROW_BYTES] = { "row_bytes", "the row is full: it may hold", "bytes" },
	[LIMIT_TENANT_BYTES] = { "tenant_bytes", "the tenant is full: its rows may hold", "bytes" },
	[LIMIT_TRANSACTION] = { "transaction", "more than one transaction of the engine may carry:", "bytes" },
	[LIMIT_ENGINE] = { "engine", "the engine has no more room for cells", NULL },
	[LIMIT_SNAPSHOT] = { "snapshot", "the floor rests on a state of the row's check, which may have", "bytes" },
};

void limits_init(struct limits *limits, const struct limits_set *set)
{
	const uint64_t figures[LIMITS] = { [LIMIT_RATE] = set->puts_per_s, [LIMIT_ROW_BYTES] = set->row_bytes,
					   [LIMIT_TENANT_BYTES] = set->tenant_bytes, [LIMIT_SNAPSHOT] = SNAPSHOT_SIZE_MAX,
					   [LIMIT_ROWS] = set->rows, [LIMIT_WAITING] = set->waiting,
					   [LIMIT_TRANSACTION] = set->transaction };

	*limits = (struct limits){ .set = *set };
	for (size_t i = 0; i < LIMITS; i++) {
		size_t size = sizeof(limits->text[i]);

		if (words[i].unit)
			(void)snprintf(limits->text[i], size, "%s %" PRIu64 " %s", words[i].text, figures[i],
				       words[i].unit);
		else
			(void)snprintf(limits->text[i], size, "%s", words[i].text);
	}
}

bool limits_rate(const struct limits *limits, uint64_t *due, uint64_t now)
{
	uint64_t rate = limits->set.puts_per_s, each;

	if (!rate)
		return true;
	each = NS_PER_S / rate;
	if (*due < now)
		*due = now;
	if (*due + each > now + NS_PER_S)
		return false;
	*due += each;
	return true;
}

static bool above(uint64_t max, uint64_t held, uint64_t more)
{
	return max && (more > max || held > max - more);
}

enum limit limits_bytes(const struct limits *limits, uint64_t row, uint64_t tenant, uint64_t more)
{
	if (above(limits->set.row_bytes, row, more))
		return LIMIT_ROW_BYTES;
	return above(limits->set.tenant_bytes, tenant, more) ? LIMIT_TENANT_BYTES : LIMITS;
}

const char *limits_reach(struct limits *limits, enum limit limit)
{
	limits->reached[limit]++;
	return limits->text[limit];
}

const char *limit_name(enum limit limit)
{
	return words[limit].name;
}
