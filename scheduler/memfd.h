/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed shared memory that is handed to apps (request-path.md 1): never
 * executable, never resized, left out of core dumps.
 */
#ifndef SCHEDULER_MEMFD_H
#define SCHEDULER_MEMFD_H

#include <stddef.h>

#include "lib/err.h"

enum memfd_kind {
	MEMFD_READ_ONLY, /* whoever gets the descriptor can only read */
	MEMFD_WRITABLE,  /* both sides write */
};

/* Makes, maps and seals `size` zero bytes.  0 or a negative errno; memfd_free() undoes it. */
int memfd_make(const char *name, size_t size, enum memfd_kind kind, int *ret_fd, char **ret_base,
	       struct err *err);

/* Unmaps and closes; takes -1 and NULL. */
void memfd_free(int fd, char *base, size_t size);

#endif
