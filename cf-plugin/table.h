/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns of text for people: each as wide as its widest cell.
 *
 * For the subcommands that print lists.  Cells are copied.  A cell from
 * elsewhere may hold anything: control bytes are printed as '?'.
 */
#ifndef CF_PLUGIN_TABLE_H
#define CF_PLUGIN_TABLE_H

#include <stdbool.h>

#include "lib/buf.h"

#define TABLE_COLUMNS 12 /* most columns */

struct table {
	struct buf cells;             /* texts, each with a NUL */
	size_t columns;               /* of every row */
	size_t n;                     /* cells so far */
	size_t width[TABLE_COLUMNS];  /* widest cell, in characters */
	bool right[TABLE_COLUMNS];    /* numbers: flush right */
};

/* head: names of the columns, NULL at the end; one that begins with '>' is flush right. */
void table_init(struct table *table, const char *const *head);
void table_fini(struct table *table);

/* The next cell, row by row; "-" stands for NULL and "". */
void table_add(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends the rows with two blanks between columns and none at the end of lines. */
void table_print(const struct table *table, struct buf *out);

#endif
