/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole small files: read with a bound, replaced in one step.
 *
 * For configuration and state.  Both calls block on the disk, so an event
 * loop makes them at start or in a helper thread only.
 */
#ifndef LIB_FILE_H
#define LIB_FILE_H

#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/*
 * Reads all of a file.  ret_buf: initialized here with `max` bytes; the
 * caller owes buf_fini() on success, nothing on failure.  0, -E2BIG when the
 * file is longer than `max`, or another negative errno; err names the path.
 */
int file_read(const char *path, size_t max, struct buf *ret_buf, struct err *err);

/*
 * Replaces (or creates) a file so that readers, and a crash, see the old
 * content or the new one: a temporary file beside it, fsync, rename, fsync of
 * the folder.  The mode is that of the file replaced, else 0600.  0 or a
 * negative errno; on failure the old file is untouched and nothing is left
 * behind, except that -EIO after the rename means "new, perhaps not durable".
 */
int file_write_atomic(const char *path, struct mp_str data, struct err *err);

#endif
