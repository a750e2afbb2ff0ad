/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash map from byte strings to pointers, with a bound and in the order of
 * insertion when walked.
 *
 * For tables that people name things in (pipes, apps, destinations); one
 * owner thread.  It copies keys and borrows values: it must not free them.
 * The hash is seeded for the process, so that a peer who chooses keys cannot
 * choose collisions beforehand.
 */
#ifndef LIB_MAP_H
#define LIB_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "middlepipe/types.h"

struct map_entry;

struct map {
	struct map_entry *head; /* table and order, owned; NULL when empty */
	size_t max;             /* most entries */
};

/* Allocates nothing yet; max >= 1. */
void map_init(struct map *map, size_t max);

/* Frees entries and keys, never values.  NULL is allowed. */
void map_fini(struct map *map);

size_t map_count(const struct map *map);

/* The value, or NULL. */
void *map_get(const struct map *map, struct mp_str key);

/*
 * Adds a key or replaces its value (its place in the order stays).
 * value: not NULL, borrowed.  ret_old: the value replaced, or NULL; may be
 * NULL.  0, -ENOSPC at the bound, -EINVAL for a NULL value, -ENOMEM.
 */
int map_put(struct map *map, struct mp_str key, void *value, void **ret_old);

/* Takes the entry out and returns its value, or NULL. */
void *map_remove(struct map *map, struct mp_str key);

/*
 * Walks in insertion order: start with entry NULL, ends with NULL.
 *
 *	for (struct map_entry *e = map_next(m, NULL); e; e = map_next(m, e))
 *
 * To remove while walking, ask for the next entry first.
 */
struct map_entry *map_next(const struct map *map, const struct map_entry *entry);

/* Key (NUL-terminated as well) and value; borrowed from the map. */
struct mp_str map_entry_key(const struct map_entry *entry);
void *map_entry_value(const struct map_entry *entry);

#endif
