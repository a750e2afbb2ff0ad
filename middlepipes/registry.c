/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lists of built-in filters and halves; see registry.h.  A new one is a line
 * in each of the two lists of its kind, in alphabetical order.
 */
#include "middlepipes/registry.h"

#include <string.h>

extern const struct mp_filter mp_filter_breaker;
extern const struct mp_filter mp_filter_delay;
extern const struct mp_filter mp_filter_headers;

const struct mp_filter *const registry[] = {
	&mp_filter_breaker,
	&mp_filter_delay,
	&mp_filter_headers,
	NULL,
};

extern const struct mp_aggregator mp_aggregator_sum;
extern const struct mp_aggregator mp_aggregator_unique;

const struct mp_aggregator *const registry_halves[] = {
	&mp_aggregator_sum,
	&mp_aggregator_unique,
	NULL,
};

const struct mp_filter *registry_find(const char *type)
{
	for (const struct mp_filter *const *filter = registry; *filter; filter++)
		if (!strcmp((*filter)->name, type))
			return *filter;
	return NULL;
}

const struct mp_aggregator *registry_find_half(const char *name)
{
	for (const struct mp_aggregator *const *half = registry_halves; *half; half++)
		if (!strcmp((*half)->name, name))
			return *half;
	return NULL;
}
