/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which filters and aggregator halves there are: the built-in ones, and `.so`
 * files of one folder.
 *
 * A `.so` holds a filter, a half, or both, of one name.  It is loaded at its
 * first use, from <folder>/<name>.so only, and stays loaded.  A table whose ABI
 * does not fit is refused with a reason.  For the scheduler, the aggregator,
 * and the commands that check and list; one thread.
 */
#ifndef MIDDLEPIPES_CATALOG_H
#define MIDDLEPIPES_CATALOG_H

#include <middlepipe/aggregator.h>

#include "lib/chain.h"
#include "lib/err.h"

struct catalog;

/* Where a catalogue is made from. */
struct catalog_options {
	const char *folder; /* of `.so` files; NULL: built-in ones only */
	bool prefer_shared; /* a `.so` wins over a built-in one */
	void (*refused)(const char *path, const char *reason); /* told of each table that is not taken */
};

/* 0, or a negative errno: -ENOENT when the folder is not there, for instance. */
int catalog_new(const struct catalog_options *options, struct catalog **ret, struct err *err);

/* Filters and halves stay: they may be in use. */
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

/* The same three for aggregator halves. */
const struct mp_aggregator **catalog_all_halves(struct catalog *catalog);
const struct mp_aggregator *catalog_find_half(struct catalog *catalog, const char *name);
int catalog_check_half(const struct mp_aggregator *half, const char *name, struct err *err);

#endif
