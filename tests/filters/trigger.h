/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the test filters share that do something wrong when a request carries a
 * certain field, and let all others pass.  Each of them is its own `.so`.
 */
#ifndef TESTS_FILTERS_TRIGGER_H
#define TESTS_FILTERS_TRIGGER_H

#include <middlepipe/filter.h>

static const struct mp_option trigger_options[] = { { 0 } };
static char trigger_self; /* there is no state; a unit must not be NULL */

static int32_t trigger_load(const struct mp_host *host, struct mp_unit *unit,
			    const struct mp_value *values, struct mp_plan *plan, void **ret_self,
			    char *error, size_t error_size)
{
	(void)host, (void)unit, (void)values, (void)error, (void)error_size;
	plan->needs = MP_NEED_REQUEST;
	*ret_self = &trigger_self;
	return 0;
}

static void trigger_unload(void *self)
{
	(void)self;
}

/* Whether the request carries the field, spelled in any case. */
static int trigger_has(const struct mp_exchange *x, const char *name)
{
	for (size_t i = 0; i < x->n_request_fields; i++) {
		struct mp_str have = x->request_fields[i].name;
		size_t at = 0;

		while (at < have.len && name[at] && (have.ptr[at] | 0x20) == (name[at] | 0x20))
			at++;
		if (at == have.len && !name[at])
			return 1;
	}
	return 0;
}

/* The table of such a filter, which defines on_request() itself. */
#define TRIGGER_FILTER(id, name_, summary_)   \
	MP_FILTER(id) = {                     \
		MP_FILTER_HEAD,               \
		.name = name_,                \
		.summary = summary_,          \
		.level = MP_LEVEL_REQUEST,    \
		.needs = MP_NEED_REQUEST,     \
		.options = trigger_options,   \
		.load = trigger_load,         \
		.unload = trigger_unload,     \
		.on_request = on_request,     \
	}

#endif
