/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in filters.  registry.c lists them; nothing registers itself, so
 * that the order is known and static linking drops nothing.
 */
#ifndef MIDDLEPIPES_REGISTRY_H
#define MIDDLEPIPES_REGISTRY_H

#include <middlepipe/filter.h>

/* All of them in alphabetical order, ended by NULL. */
extern const struct mp_filter *const registry[];

/* The filter of that type, or NULL. */
const struct mp_filter *registry_find(const char *type);

#endif
