/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a destination is spelled on the board: the library writes the key of a
 * call with these functions, the chain checker and the scheduler those of a
 * chain file, so that both sides agree byte for byte.
 *
 *   host    lower case (ASCII), without one final dot; IPv6 in brackets;
 *           "unix:/path" is kept as it is and has no port
 *   key     "host" matches any port, "host:port" that one
 */
#ifndef LIB_LANE_KEY_H
#define LIB_LANE_KEY_H

#include <stdbool.h>

#include <middlepipe/types.h>

#define LANE_KEY_MAX 320 /* bytes of the longest key, with its port */

/* A normalised key under construction. */
struct lane_key {
	char text[LANE_KEY_MAX]; /* "host" or "host:port", no NUL */
	uint32_t host_size;      /* bytes of the host part */
	uint32_t size;           /* bytes of all; equal to host_size without a port */
	uint64_t host_hash;      /* lane_hash() of the host part */
	uint64_t hash;           /* lane_hash() of all */
};

/* FNV-1a, 64 bits, continued from `hash`; start with LANE_HASH_START. */
#define LANE_HASH_START 0xcbf29ce484222325ull
static inline uint64_t lane_hash(uint64_t hash, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3ull;
	return hash;
}

/* Builds a key.  port 0: any port.  False when the host is empty or too long. */
bool lane_key_make(struct lane_key *key, struct mp_str host, uint32_t port);

/* True when `path` is `prefix` or continues it at a segment boundary; cut at '?'. */
bool lane_path_covers(struct mp_str prefix, struct mp_str path);

#endif
