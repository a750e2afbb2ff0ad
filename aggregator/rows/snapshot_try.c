/* SPDX-License-Identifier: Apache-2.0 */
/* See snapshot_try.h. */
#include "aggregator/rows/snapshot_try.h"

#include <errno.h>

#include "middlepipes/half.h"

/* What it says of a state that nobody will use is of no account. */
static void host_log(struct mp_instance *instance, int32_t level, const char *text)
{
	(void)instance, (void)level, (void)text;
}

static const struct mp_aggregator_host host = {
	MP_AGGREGATOR_ABI_MAJOR, MP_AGGREGATOR_ABI_MINOR, sizeof(struct mp_aggregator_host), host_log,
};

int snapshot_try(struct catalog *halves, const char *check, uint64_t rules, struct mp_str bytes, struct err *err)
{
	const struct mp_aggregator *half = catalog_find_half(halves, check);
	char why[MP_REASON_MAX] = "";
	void *self = NULL;
	int r;

	if (!half || half->rules != rules)
		return err_set(err, -ENOENT, "this member has not the check %s by rules %llu", check,
			       (unsigned long long)rules);
	r = half_new(half, &host, NULL, (struct mp_str){ 0 }, &self, err);
	if (r == 0)
		r = half->restore(self, bytes, why, sizeof(why));
	why[sizeof(why) - 1] = '\0';
	half->fini(self);
	if (r == 0 || r == -ENOMEM)
		return r;
	return err_set(err, -EINVAL, "its check %s does not take it: %.60s", check, why);
}
