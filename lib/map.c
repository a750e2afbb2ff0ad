/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The string map: uthash keeps table and insertion order, this file adds the
 * bound, the copied keys and a seeded hash (SipHash-1-3, by its definition).
 *
 * Called by the map's owner thread.  No other file may include uthash.h, so
 * that these settings hold for every table.
 */
#include "lib/map.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static unsigned map_hash(const void *key, size_t len);

#define HASH_FUNCTION(keyptr, keylen, hashv) \
	((hashv) = map_hash((keyptr), (size_t)(keylen)))
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->lost = true)
#include <uthash.h>

struct map_entry {
	UT_hash_handle hh; /* uthash's links */
	void *value;       /* borrowed, never NULL */
	size_t len;        /* bytes of the key */
	bool lost;         /* uthash had no memory for it */
	char key[];        /* the key and a NUL */
};

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_make(void)
{
	/* Fails on no kernel we run on; zeroes would still be a correct hash. */
	if (getrandom(seed, sizeof(seed), 0) < 0)
		memset(seed, 0, sizeof(seed));
}

static uint64_t rotl(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
}

static unsigned map_hash(const void *key, size_t len)
{
	uint64_t v[4] = {
		seed[0] ^ UINT64_C(0x736f6d6570736575),
		seed[1] ^ UINT64_C(0x646f72616e646f6d),
		seed[0] ^ UINT64_C(0x6c7967656e657261),
		seed[1] ^ UINT64_C(0x7465646279746573),
	};
	const unsigned char *at = key;
	uint64_t word, last = (uint64_t)len << 56;

	for (; len >= 8; at += 8, len -= 8) {
		memcpy(&word, at, 8);
		sip_word(v, word);
	}
	while (len--)
		last |= (uint64_t)at[len] << (8 * len);
	sip_word(v, last);
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	word = v[0] ^ v[1] ^ v[2] ^ v[3];
	return (unsigned)(word ^ word >> 32);
}

void map_init(struct map *map, size_t max)
{
	(void)pthread_once(&seed_once, seed_make); /* cannot fail */
	*map = (struct map){.max = max};
}

void map_fini(struct map *map)
{
	struct map_entry *entry = map ? map->head : NULL;

	if (!entry)
		return;
	/* The table first: the links from entry to entry stay as they are. */
	HASH_CLEAR(hh, map->head);
	while (entry) {
		struct map_entry *next = entry->hh.next;

		free(entry);
		entry = next;
	}
}

size_t map_count(const struct map *map)
{
	return HASH_COUNT(map->head);
}

static struct map_entry *find(const struct map *map, struct mp_str key)
{
	struct map_entry *entry = NULL;

	HASH_FIND(hh, map->head, key.ptr ? key.ptr : "", key.len, entry);
	return entry;
}

void *map_get(const struct map *map, struct mp_str key)
{
	const struct map_entry *entry = find(map, key);

	return entry ? entry->value : NULL;
}

/* False without memory for the table. */
static bool enter(struct map *map, struct map_entry *entry)
{
	unsigned hash = map_hash(entry->key, entry->len);

	HASH_ADD_KEYPTR_BYHASHVALUE(hh, map->head, entry->key, entry->len, hash, entry);
	return !entry->lost;
}

static int add(struct map *map, struct mp_str key, void *value)
{
	struct map_entry *entry;

	if (map_count(map) >= map->max)
		return -ENOSPC;
	entry = malloc(sizeof(*entry) + key.len + 1);
	if (!entry)
		return -ENOMEM;
	*entry = (struct map_entry){.value = value, .len = key.len};
	if (key.len)
		memcpy(entry->key, key.ptr, key.len);
	entry->key[key.len] = '\0';
	if (enter(map, entry))
		return 0;
	free(entry);
	return -ENOMEM;
}

int map_put(struct map *map, struct mp_str key, void *value, void **ret_old)
{
	struct map_entry *entry = find(map, key);

	if (ret_old)
		*ret_old = NULL;
	if (!value)
		return -EINVAL;
	if (!entry)
		return add(map, key, value);
	if (ret_old)
		*ret_old = entry->value;
	entry->value = value;
	return 0;
}

void *map_remove(struct map *map, struct mp_str key)
{
	struct map_entry *entry = find(map, key);
	void *value;

	if (!entry)
		return NULL;
	value = entry->value;
	HASH_DELETE(hh, map->head, entry);
	free(entry);
	return value;
}

struct map_entry *map_next(const struct map *map, const struct map_entry *entry)
{
	return entry ? entry->hh.next : map->head;
}

struct mp_str map_entry_key(const struct map_entry *entry)
{
	return (struct mp_str){entry->key, entry->len};
}

void *map_entry_value(const struct map_entry *entry)
{
	return entry->value;
}
