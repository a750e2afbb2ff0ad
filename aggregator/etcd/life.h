/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often a member's etcd was started on its directory: a number inside that
 * directory, and the same in the identity beside it.
 *
 * The number in the directory is raised first.  So one that is below the identity's
 * says that the directory is that of an earlier time: somebody put a backup back, and a
 * member of etcd must not come back without what it has acknowledged.  A file
 * "life" with 16 hex digits and their checksum.  For managed_do.c; it blocks on the disk.
 */
#ifndef AGGREGATOR_ETCD_LIFE_H
#define AGGREGATOR_ETCD_LIFE_H

#include <stdint.h>

#include "lib/err.h"

/* The number below etcd's directory; 0: there is none, or it cannot be read. */
uint64_t life_read(const char *etcd_dir);

/* Durable when it returns 0; else -errno, and err names the file. */
int life_write(const char *etcd_dir, uint64_t life, struct err *err);

#endif
