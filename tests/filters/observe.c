/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: sees outcomes and nothing else, and counts them: what was fine,
 * failed, answered by the chain, cancelled or lost.  A chain of it costs no wait.
 */
#include <errno.h>
#include <stdlib.h>

#include <middlepipe/filter.h>

enum counter { OK, FAILED, SYNTHESIZED, CANCELLED, LOST_OK, LOST_FAILED, ABANDONED };
static const char *const counters[] = { "ok", "failed", "synthesized", "cancelled",
					"lost_ok", "lost_failed", "abandoned", NULL };
static const struct mp_option options[] = { { 0 } };

struct observe {
	const struct mp_host *host; /* services, for the unit's life */
	struct mp_unit *unit;       /* whose they are */
};

/* A failure is a status of 500 and above, or any error but a cancelled call. */
static void fill_failure(struct mp_failure *failure)
{
	for (int status = 500; status < 600; status++)
		failure->statuses[(status - 100) / 64] |= UINT64_C(1) << (status - 100) % 64;
	failure->errors = ((1u << MP_ERROR_COUNT) - 1) &
			  ~(1u << MP_ERROR_NONE | 1u << MP_ERROR_CANCELLED);
}

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	struct observe *observe = malloc(sizeof(*observe));

	(void)values, (void)error, (void)error_size;
	if (!observe)
		return -ENOMEM;
	*observe = (struct observe){ .host = host, .unit = unit };
	plan->needs = MP_NEED_OUTCOME;
	fill_failure(&plan->failure);
	*ret_self = observe;
	return 0;
}

static void count(struct observe *observe, enum counter counter, uint64_t n)
{
	if (n)
		observe->host->count(observe->unit, counter, n);
}

static void on_outcome(void *self, const struct mp_outcome *outcome)
{
	if (outcome->synthesized)
		count(self, SYNTHESIZED, 1);
	else if (outcome->error == MP_ERROR_CANCELLED)
		count(self, CANCELLED, 1);
	else if (outcome->error || outcome->status >= 500)
		count(self, FAILED, 1);
	else
		count(self, OK, 1);
}

static void on_lost(void *self, uint64_t n_ok, uint64_t n_failed)
{
	count(self, LOST_OK, n_ok);
	count(self, LOST_FAILED, n_failed);
}

static void on_abandon(void *self, uint64_t exchange, uint64_t memo)
{
	(void)exchange, (void)memo;
	count(self, ABANDONED, 1);
}

MP_FILTER(observe) = {
	MP_FILTER_HEAD,
	.name = "observe",
	.summary = "test: counts outcomes",
	.level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_OUTCOME,
	.options = options,
	.counters = counters,
	.load = load,
	.unload = free,
	.on_outcome = on_outcome,
	.on_lost = on_lost,
	.on_abandon = on_abandon,
};
