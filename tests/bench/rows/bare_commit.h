/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What SQLite alone does for a put: one row a transaction, with the table, the
 * pragmas and the statement of aggregator/rows/engine/sqlite_file.c, a key as long as a
 * batch's, a value as large as a batch of one cell of 128 bytes.
 *
 * For bare_disk.c and bare_handler.c.  One file a process; one thread.
 */
#ifndef TESTS_BENCH_ROWS_BARE_COMMIT_H
#define TESTS_BENCH_ROWS_BARE_COMMIT_H

#include <stdint.h>

/* Makes the file.  NULL, or what is wrong. */
const char *bare_commit_open(const char *path);

/* The n-th commit.  Likewise. */
const char *bare_commit(uint64_t n);

#endif
