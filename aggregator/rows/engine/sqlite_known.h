/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values that the embedded file is known to hold, of keys that transactions
 * compare: owners, `meta`, heads.  A put compares three of them, with what it has
 * itself written before; the file is locked, so that nobody else writes there.
 *
 * For sqlite.c, which has to forget all of it when a transaction did not
 * end well, or the file was opened anew.  Bounded; a place is taken by whoever comes last.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_SQLITE_KNOWN_H
#define AGGREGATOR_ROWS_ENGINE_SQLITE_KNOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

#define KNOWN_PLACES 256     /* keys, a power of two */
#define KNOWN_VALUE_MAX 1024 /* bytes; larger ones are read each time */

struct known_value {
	struct buf key;   /* empty: the place is free */
	struct buf value;
	bool there;       /* the file has such a key */
};

struct known {
	struct known_value place[KNOWN_PLACES]; /* by the key's hash */
};

void known_init(struct known *known);
void known_fini(struct known *known);

/* True: *ret is what the file has, ptr NULL for nothing; borrowed until the next call. */
bool known_get(const struct known *known, struct mp_str key, struct mp_str *ret);

/* That was read; ptr NULL: there is no such key. */
void known_read(struct known *known, struct mp_str key, struct mp_str value);

/* That is written, ptr NULL: it goes.  It is remembered of keys that were read before. */
void known_write(struct known *known, struct mp_str key, struct mp_str value);

/* All, or those of from <= key < end. */
void known_forget(struct known *known);
void known_forget_range(struct known *known, struct mp_str from, struct mp_str end);

#endif
