/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in filters and aggregator halves.  registry.c lists them; nothing
 * registers itself, so that the order is known and static linking drops nothing.
 */
#ifndef MIDDLEPIPES_REGISTRY_H
#define MIDDLEPIPES_REGISTRY_H

#include <middlepipe/aggregator.h>
#include <middlepipe/filter.h>

/* All of them in alphabetical order, ended by NULL. */
extern const struct mp_filter *const registry[];

/* The filter of that type, or NULL. */
const struct mp_filter *registry_find(const char *type);

/* The same of the aggregator halves. */
extern const struct mp_aggregator *const registry_halves[];
const struct mp_aggregator *registry_find_half(const char *name);

#endif
