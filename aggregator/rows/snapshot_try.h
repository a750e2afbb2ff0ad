/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Would a check take that state snapshot?  For whoever looks at what is stored
 * (api/check.c), or wants to store what came from elsewhere (api/import.c).
 *
 * It makes an instance of the half and restores it, in one go: for a large state that
 * takes some 100 ms (docs/aggregator-guide.md).  The loop's thread.
 */
#ifndef AGGREGATOR_ROWS_SNAPSHOT_TRY_H
#define AGGREGATOR_ROWS_SNAPSHOT_TRY_H

#include "lib/err.h"
#include "middlepipes/catalog.h"

/*
 * 0; -ENOENT: this process has not that check by those rules, and cannot tell; -EINVAL: it
 * does not take it, err says why; -ENOMEM.
 */
int snapshot_try(struct catalog *halves, const char *check, uint64_t rules, struct mp_str bytes, struct err *err);

#endif
