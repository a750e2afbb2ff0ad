/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulated engine stores: an ordered map of keys with all that they
 * ever were, and the log of changes that watches read.  For engine_sim.c, and
 * for tests that want to see the truth.
 *
 * A sorted array of keys, each with its versions, newest first; nothing is
 * freed before the end, so what a read gives stays.  No time, no chance.
 * Without memory the test ends: assert().
 */
#ifndef TESTS_UNIT_AGGREGATOR_SIM_MAP_H
#define TESTS_UNIT_AGGREGATOR_SIM_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "middlepipe/types.h"

/* What a key was from that revision on. */
struct sim_version {
	struct sim_version *older; /* NULL: it was not there before */
	uint64_t revision;         /* of the transaction that wrote it */
	uint64_t lease;            /* goes with that one; 0: stays */
	struct mp_str value;       /* ptr NULL: it went */
};

struct sim_key {
	struct mp_str key;
	struct sim_version *newest; /* NULL: only after a restore */
};

/* One change, in the order in which they were made; those of a transaction share their revision. */
struct sim_change {
	uint64_t revision;
	uint64_t at_ns;      /* when it happened */
	struct mp_str key;
	struct mp_str value; /* ptr NULL: it went */
};

/* Fields are for reading. */
struct sim_map {
	struct sim_key *keys;       /* sorted; those that went stay */
	size_t n_keys, cap_keys;    /* used, allocated */
	struct sim_change *log;     /* from the beginning */
	size_t n_log, cap_log;      /* used, allocated */
	uint64_t revision;          /* of the last transaction, from 1: nothing yet */
	uint64_t now_ns;            /* what changes are stamped with; for its user to set */
	uint64_t compacted;         /* watches and ranges of before that are refused */
	struct sim_chunk *chunks;   /* bytes and versions, newest first */
};

void sim_map_init(struct sim_map *map);
void sim_map_fini(struct sim_map *map);

/* Changes of one transaction; they are seen at once, and sim_map_end() counts it. */
void sim_map_put(struct sim_map *map, struct mp_str key, struct mp_str value, uint64_t lease);
void sim_map_delete(struct sim_map *map, struct mp_str key);
void sim_map_delete_range(struct sim_map *map, struct mp_str from, struct mp_str end);
void sim_map_delete_lease(struct sim_map *map, uint64_t lease);

/* True when it has changed anything. */
bool sim_map_end(struct sim_map *map);

/* The value as it was then; ptr NULL: there was none. */
struct mp_str sim_map_get(const struct sim_map *map, struct mp_str key, uint64_t revision);

/* Place of the first key that is not before that one; n_keys: none. */
size_t sim_map_seek(const struct sim_map *map, struct mp_str key);

/* Likewise of the key at a place. */
struct mp_str sim_map_at(const struct sim_map *map, size_t place, uint64_t revision);

/* Place in the log of the first change behind that revision. */
size_t sim_map_since(const struct sim_map *map, uint64_t revision);

/* A backup: everything behind that revision never was. */
void sim_map_restore(struct sim_map *map, uint64_t revision);

#endif
