/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_map.h. */
#include "tests/unit/aggregator/sim_map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"

#define CHUNK_SIZE ((size_t)64 << 10)

struct sim_chunk {
	struct sim_chunk *next; /* older */
	size_t used, size;      /* bytes of `bytes` */
	_Alignas(16) char bytes[];
};

/* ----------------------------------------------------------------------- memory */

static void *take(struct sim_map *map, size_t size)
{
	struct sim_chunk *chunk = map->chunks;

	size = (size + 15) & ~(size_t)15;
	if (!chunk || chunk->size - chunk->used < size) {
		size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;

		chunk = malloc(sizeof(*chunk) + room);
		assert(chunk);
		chunk->used = 0;
		chunk->size = room;
		chunk->next = map->chunks;
		map->chunks = chunk;
	}
	chunk->used += size;
	return chunk->bytes + chunk->used - size;
}

static struct mp_str keep(struct sim_map *map, struct mp_str bytes)
{
	char *copy = take(map, bytes.len + 1); /* an empty one has an address, too */

	if (bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	return slice_make(copy, bytes.len);
}

/* An array with room for one more. */
static void *grow(void *array, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return array;
	*cap = *cap ? 2 * *cap : 64;
	array = reallocarray(array, *cap, size);
	assert(array);
	return array;
}

void sim_map_init(struct sim_map *map)
{
	*map = (struct sim_map){ .revision = 1 };
}

void sim_map_fini(struct sim_map *map)
{
	while (map->chunks) {
		struct sim_chunk *chunk = map->chunks;

		map->chunks = chunk->next;
		free(chunk);
	}
	free(map->keys);
	free(map->log);
	*map = (struct sim_map){ 0 };
}

/* ---------------------------------------------------------------------- reading */

size_t sim_map_seek(const struct sim_map *map, struct mp_str key)
{
	size_t low = 0, high = map->n_keys;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (slice_compare(map->keys[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct mp_str sim_map_at(const struct sim_map *map, size_t place, uint64_t revision)
{
	const struct sim_version *version = map->keys[place].newest;

	while (version && version->revision > revision)
		version = version->older;
	return version ? version->value : (struct mp_str){ 0 };
}

struct mp_str sim_map_get(const struct sim_map *map, struct mp_str key, uint64_t revision)
{
	size_t place = sim_map_seek(map, key);

	if (place == map->n_keys || !slice_eq(map->keys[place].key, key))
		return (struct mp_str){ 0 };
	return sim_map_at(map, place, revision);
}

size_t sim_map_since(const struct sim_map *map, uint64_t revision)
{
	size_t low = 0, high = map->n_log;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->log[middle].revision <= revision)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* --------------------------------------------------------------------- changing */

static struct sim_key *find_or_add(struct sim_map *map, struct mp_str key)
{
	size_t place = sim_map_seek(map, key);

	if (place < map->n_keys && slice_eq(map->keys[place].key, key))
		return &map->keys[place];
	map->keys = grow(map->keys, map->n_keys, &map->cap_keys, sizeof(*map->keys));
	memmove(&map->keys[place + 1], &map->keys[place], (map->n_keys - place) * sizeof(*map->keys));
	map->n_keys++;
	map->keys[place] = (struct sim_key){ .key = keep(map, key) };
	return &map->keys[place];
}

static void change(struct sim_map *map, struct sim_key *key, struct mp_str value, uint64_t lease)
{
	struct sim_version *version = take(map, sizeof(*version));

	*version = (struct sim_version){ key->newest, map->revision + 1, lease, value };
	key->newest = version;
	map->log = grow(map->log, map->n_log, &map->cap_log, sizeof(*map->log));
	map->log[map->n_log++] = (struct sim_change){ version->revision, map->now_ns, key->key, value };
}

void sim_map_put(struct sim_map *map, struct mp_str key, struct mp_str value, uint64_t lease)
{
	change(map, find_or_add(map, key), keep(map, value), lease);
}

static void remove_at(struct sim_map *map, size_t place)
{
	if (map->keys[place].newest && map->keys[place].newest->value.ptr)
		change(map, &map->keys[place], (struct mp_str){ 0 }, 0);
}

void sim_map_delete(struct sim_map *map, struct mp_str key)
{
	size_t place = sim_map_seek(map, key);

	if (place < map->n_keys && slice_eq(map->keys[place].key, key))
		remove_at(map, place);
}

void sim_map_delete_range(struct sim_map *map, struct mp_str from, struct mp_str end)
{
	for (size_t i = sim_map_seek(map, from); i < map->n_keys && slice_compare(map->keys[i].key, end) < 0; i++)
		remove_at(map, i);
}

void sim_map_delete_lease(struct sim_map *map, uint64_t lease)
{
	for (size_t i = 0; i < map->n_keys; i++)
		if (map->keys[i].newest && map->keys[i].newest->lease == lease)
			remove_at(map, i);
}

bool sim_map_end(struct sim_map *map)
{
	if (!map->n_log || map->log[map->n_log - 1].revision <= map->revision)
		return false;
	map->revision++;
	return true;
}

void sim_map_restore(struct sim_map *map, uint64_t revision)
{
	assert(revision <= map->revision);
	for (size_t i = 0; i < map->n_keys; i++) {
		struct sim_key *key = &map->keys[i];

		while (key->newest && key->newest->revision > revision)
			key->newest = key->newest->older;
	}
	map->n_log = sim_map_since(map, revision);
	map->revision = revision;
	if (map->compacted > revision)
		map->compacted = revision;
}
