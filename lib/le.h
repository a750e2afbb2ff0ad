/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian numbers of 1 to 8 bytes, at any address: for what is stored and sent
 * in fixed places.  With a constant size that is one instruction.
 */
#ifndef LIB_LE_H
#define LIB_LE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The lowest `bytes` bytes of it. */
static inline void le_put(char *at, uint64_t value, size_t bytes)
{
	value = htole64(value);
	memcpy(at, &value, bytes);
}

static inline uint64_t le_get(const char *at, size_t bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return le64toh(value);
}

#endif
