/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chain file, read from a path or standard input and checked against the
 * built-in filters.  For `check` and `run`.
 */
#ifndef CF_PLUGIN_CHAIN_FILE_H
#define CF_PLUGIN_CHAIN_FILE_H

#include "lib/chain.h"

/*
 * path: "-" for standard input.  0 and *ret, which the caller frees; or a
 * negative errno after every mistake was printed on standard error.
 */
int chain_file_load(const char *path, struct chains **ret);

#endif
