/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an option table cannot say: a filter is loaded once with each of its
 * configurations in a chain file, under a host that does nothing, and freed again.
 */
#ifndef CF_PLUGIN_CHAIN_TRY_H
#define CF_PLUGIN_CHAIN_TRY_H

#include "lib/buf.h"
#include "lib/chain.h"

/*
 * Tries the filters of that list (NULL ends it) and no others.  Appends
 * "$.path: text\n" for each configuration that is refused; returns how many.
 */
size_t chain_try(const struct chains *chains, const struct mp_filter *const *filters, struct buf *out);

#endif
