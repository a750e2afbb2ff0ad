/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chain file, read from a path or standard input and checked against the
 * filters that there are.  For `check` and `run`.
 */
#ifndef CF_PLUGIN_CHAIN_FILE_H
#define CF_PLUGIN_CHAIN_FILE_H

#include "lib/chain.h"
#include "middlepipes/catalog.h"

/* Makes the filters known; says on standard error which `.so` of the folder is none. */
int filters_open(const char *folder, bool prefer_shared, struct catalog **ret);

/*
 * path: "-" for standard input.  0 and *ret, which the caller frees; or a
 * negative errno after every mistake was printed on standard error.
 */
int chain_file_load(const char *path, const struct catalog *filters, struct chains **ret);

#endif
