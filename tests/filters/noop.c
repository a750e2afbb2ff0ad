/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: decides on every request and always lets it through.  It never
 * posts a standing verdict, so each call asks: the price of asking, alone.
 */
#include <middlepipe/filter.h>

static const struct mp_option options[] = { { 0 } };
static char self_; /* there is no state; a unit must not be NULL */

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	(void)host, (void)unit, (void)values, (void)error, (void)error_size;
	plan->needs = MP_NEED_REQUEST;
	*ret_self = &self_;
	return 0;
}

static void unload(void *self)
{
	(void)self;
}

static int32_t on_request(void *self, struct mp_exchange *x)
{
	(void)self, (void)x;
	return MP_VERDICT_PASS;
}

MP_FILTER(noop) = {
	MP_FILTER_HEAD,
	.name = "noop",
	.summary = "test: is asked and lets everything through",
	.level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_REQUEST,
	.options = options,
	.load = load,
	.unload = unload,
	.on_request = on_request,
};
