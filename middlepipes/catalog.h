/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which filters there are: the built-in ones, and `.so` files of one folder.
 *
 * A `.so` is loaded at its first use, from <folder>/<type>.so only, and stays
 * loaded.  It is refused with a reason when its ABI does not fit.  For the
 * scheduler, and for the commands that check and list; one thread.
 */
#ifndef MIDDLEPIPES_CATALOG_H
#define MIDDLEPIPES_CATALOG_H

#include "lib/chain.h"
#include "lib/err.h"

struct catalog;

/* Where a catalogue is made from. */
struct catalog_options {
	const char *folder; /* of `.so` files; NULL: built-in filters only */
	bool prefer_shared; /* a `.so` wins over a built-in one */
	void (*refused)(const char *path, const char *reason); /* told of each `.so` that is not taken */
};

/* 0, or a negative errno: -ENOENT when the folder is not there, for instance. */
int catalog_new(const struct catalog_options *options, struct catalog **ret, struct err *err);

/* The filters stay: they may be in use. */
void catalog_free(struct catalog *catalog);

/* For chains_parse(). */
const struct chain_catalog *catalog_chain(const struct catalog *catalog);

/*
 * All of them, the built-in ones first: loads every `.so` of the folder.  The
 * list ends with NULL and is the caller's to free; NULL without memory.
 */
const struct mp_filter **catalog_all(struct catalog *catalog);

/* The one of that type, or NULL. */
const struct mp_filter *catalog_find(const struct catalog *catalog, const char *type);

/* Why a table cannot be used: 0, or -EINVAL and err says what is expected. */
int catalog_check(const struct mp_filter *filter, const char *type, struct err *err);

#endif
