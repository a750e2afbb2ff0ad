/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of rows, and the keys that an engine holds for a tenant (rows.md 2):
 *
 *	middlepipe/<tenant>/meta
 *	                   /member/<id>
 *	                   /owner/<shard, 2 hex digits>
 *	                   /row/<name>
 *	                   /cells/<name>/<incarnation, 16 hex digits>/<first seq, 16 hex digits>
 *	                   /fork/<uuid>
 *	                   /snap/<name>/<incarnation>/<seq, 16 hex digits>/<part, 4 hex digits>
 *	                   /token/<SHA-256 of a token to join with, hex digits>
 *
 * Snapshots are large and read by few: everything that members follow sorts
 * before `snap/` (copy.c).
 *
 * Tenant, name and ids are escaped: '/', '%' and control bytes become %xx, so
 * that the range of one row never reaches into another's.
 *
 * Pure; for everything in aggregator/rows.  Numbers are lower-case hex of fixed
 * width, so that keys of one row sort by seq.
 */
#ifndef AGGREGATOR_ROWS_KEYS_H
#define AGGREGATOR_ROWS_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

#define ROW_NAME_MAX 256                                /* bytes, not escaped */
#define ROW_TENANT_MAX 128                              /* likewise; ids too */
#define KEY_MAX (16 + 3 * (ROW_NAME_MAX + ROW_TENANT_MAX) + 64) /* bytes of a key */
#define SHARDS_MAX 256                                  /* an owner's key has two digits */
#define CELLS_END UINT64_MAX                            /* no cell has that seq */

/*
 * Seqs that a range of cells should have where it is known to begin with a cell.  etcd counts all keys
 * of a range, however few of them it answers (0.2 us each): to read a long range page by page takes
 * time with its square.
 */
#define CELLS_WINDOW 8192

/* Where such a range ends: it begins with the cell `from` of a row that goes up to `last`. */
static inline uint64_t cells_until(uint64_t from, uint64_t last)
{
	return last >= from && last - from >= CELLS_WINDOW ? from + CELLS_WINDOW : CELLS_END;
}

enum key_kind { KEY_META, KEY_MEMBER, KEY_OWNER, KEY_HEAD, KEY_CELLS, KEY_FORK, KEY_SNAPSHOT, KEY_TOKEN };

/* What a key says. */
struct key {
	enum key_kind kind;
	uint32_t shard;             /* KEY_OWNER */
	uint32_t part;              /* KEY_SNAPSHOT: from 0 */
	uint64_t incarnation;       /* KEY_CELLS, KEY_SNAPSHOT */
	uint64_t seq;               /* KEY_CELLS: of the first cell, SNAPSHOT: of the last; from 1 */
	char name[ROW_NAME_MAX + 1]; /* HEAD, CELLS, SNAPSHOT: the row; MEMBER, FORK, TOKEN: the id */
	size_t name_size;           /* without the NUL; a name has no NUL of its own */
};

/*
 * May a client use that name?  1 to ROW_NAME_MAX bytes of UTF-8 without control
 * characters; '~' belongs to forks.  0, or -EINVAL and err says what is wrong.
 */
int row_name_check(struct mp_str name, struct err *err);

/* All keys of all tenants begin so.  0 or -errno, as buf_add() says. */
int key_root(struct buf *out);

/* All keys of the tenant begin so.  0 or -errno, as buf_add() says. */
int key_prefix(struct buf *out, struct mp_str tenant);

/* Each appends a whole key, prefix first; `prefix` is what key_prefix() gave. */
int key_meta(struct buf *out, struct mp_str prefix);
int key_member(struct buf *out, struct mp_str prefix, struct mp_str id); /* "": where all begin */
int key_owner(struct buf *out, struct mp_str prefix, uint32_t shard);
int key_head(struct buf *out, struct mp_str prefix, struct mp_str name);
int key_cells(struct buf *out, struct mp_str prefix, struct mp_str name, uint64_t incarnation,
	      uint64_t first_seq);
int key_fork(struct buf *out, struct mp_str prefix, struct mp_str uuid); /* for live rows (rows.md 5); read, not written yet */
int key_snapshot(struct buf *out, struct mp_str prefix, struct mp_str name, uint64_t incarnation,
		 uint64_t seq, uint32_t part);

/* Appends where the owners of all shards begin. */
int key_owners(struct buf *out, struct mp_str prefix);

/* Appends where the snapshots of all rows begin. */
int key_snapshots(struct buf *out, struct mp_str prefix);
int key_token(struct buf *out, struct mp_str prefix, struct mp_str hash); /* "": where all begin */

/*
 * Appends where the heads of all rows begin whose names begin so ("" for all):
 * the range of that prefix, see key_range_end().
 */
int key_heads(struct buf *out, struct mp_str prefix, struct mp_str names);

/* Appends the end of a prefix's range: the first key behind all that begin so. */
int key_range_end(struct buf *out, struct mp_str prefix);

/* In which order the cells of two rows stand: below 0, 0, above 0. */
int key_cells_order(struct mp_str name, struct mp_str other);

/* *out is now the first key behind that one. */
int key_behind(struct buf *out, struct mp_str key);

/* 0 and *ret; -EINVAL for what is no key of ours below that prefix (a newer program's, say). */
int key_parse(struct mp_str key, struct mp_str prefix, struct key *ret);

/* The shard of a row: xxh64 of the escaped name. */
uint32_t row_shard(struct mp_str name, uint32_t n_shards);

#endif
