/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of built-in filters; see registry.h.  A new one is a line in each of
 * the two lists, in alphabetical order.
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

const struct mp_filter *registry_find(const char *type)
{
	for (const struct mp_filter *const *filter = registry; *filter; filter++)
		if (!strcmp((*filter)->name, type))
			return *filter;
	return NULL;
}
