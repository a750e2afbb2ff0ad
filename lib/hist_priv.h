/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hist.c and hist_wire.c share; nobody else includes it.
 */
#ifndef LIB_HIST_PRIV_H
#define LIB_HIST_PRIV_H

#include <stddef.h>
#include <stdint.h>

/* Index of the bucket of a value of at most HIST_MAX_NS. */
size_t hist_bucket_of(uint64_t ns);

#endif
