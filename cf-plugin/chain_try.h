/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an option table cannot say: each built-in filter of a chain file is loaded once
 * with its configuration, under a host that does nothing, and freed again.
 */
#ifndef CF_PLUGIN_CHAIN_TRY_H
#define CF_PLUGIN_CHAIN_TRY_H

#include "lib/buf.h"
#include "lib/chain.h"

/* Appends "$.path: text\n" for each configuration that a filter refuses; returns how many. */
size_t chain_try(const struct chains *chains, struct buf *out);

#endif
