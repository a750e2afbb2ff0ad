/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which filters there are: the built-in ones, and `.so` files of one folder.
 *
 * A `.so` is loaded at its first use, from <folder>/<type>.so only, and stays
 * loaded.  It is refused with a reason when its ABI does not fit.
 */
#ifndef SCHEDULER_CATALOG_H
#define SCHEDULER_CATALOG_H

#include "lib/chain.h"
#include "lib/err.h"

struct catalog;

/* folder: NULL: built-in filters only.  prefer_shared: a `.so` wins over a built-in one. */
int catalog_new(const char *folder, bool prefer_shared, struct catalog **ret, struct err *err);
void catalog_free(struct catalog *catalog);

/* For chains_parse(). */
const struct chain_catalog *catalog_chain(const struct catalog *catalog);

/* Why a table cannot be used: 0, or -EINVAL and err says what is expected. */
int catalog_check(const struct mp_filter *filter, const char *type, struct err *err);

#endif
