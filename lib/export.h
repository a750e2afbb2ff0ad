/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines of exported rows (docs/rows-api.md, "Export"), written and read.
 *
 *	<sum, 16 hex digits> <JSON object>\n
 *
 *	{"export":2,"group":"...","time":1795000000000,"prefix":"chains/"}
 *	{"row":"chains/shop","incarnation":"...","highest":17,"floor":1,"check":"","partition":"safe",
 *	 "keep_cells":0,"keep_bytes":0,"keep_ms":0}
 *	{"state":"chains/shop","seq":9,"rules":1,"part":0,"parts":1,"data":"..."}
 *	{"cell":"chains/shop","at":1,"seq":1,"kind":1,"time":...,"key":"k","origin":"10.0.0.7","data":"aGVsbG8="}
 *	{"gone":"chains/shop"}
 *	{"error":"why it ends here"}
 *	{"end":true,"rows":1,"cells":17}
 *
 * A sum is xxh64 of the line's JSON, seeded with the sum of the line before (0
 * for the first): a line that was changed, left out or moved is found at
 * once, and the last sum stands for all that came before.  It finds damage, it
 * is no signature.  Key and origin are percent-encoded, since they are bytes.
 * Lines of `state` stand behind that of a row with a check whose first cells are gone: the
 * snapshot that its check goes on from, in parts; `at` is the seq then.  Format 1 had none.
 *
 * For the aggregator, which writes and takes them, and the command line, which
 * looks whether they are whole.  What is read may be anything.  Pure.
 */
#ifndef LIB_EXPORT_H
#define LIB_EXPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

#define EXPORT_FORMAT 2                    /* is written; those before it are read */
#define EXPORT_LINE_MAX ((size_t)2 << 20)  /* bytes of a line; a cell has 1 MiB at most */
#define EXPORT_NAME_MAX 256                /* bytes of a row's name */
#define EXPORT_DATA_MAX ((size_t)1 << 20)  /* bytes of a cell, or of a part of a state */
#define EXPORT_PARTS_MAX 64                /* of a state */
#define EXPORT_SUM_SIZE 16                 /* digits */

enum export_kind { EXPORT_BEGIN, EXPORT_ROW, EXPORT_CELL, EXPORT_GONE, EXPORT_ERROR, EXPORT_END, EXPORT_STATE };

struct export_begin {
	const char *group;  /* 32 hex digits, whose rows these are */
	uint64_t time_ms;   /* since 1970, when it was begun */
	const char *prefix; /* of the names; "" for all */
};

struct export_row {
	struct mp_str name;
	uint64_t incarnation, highest, floor; /* as it was when its turn came */
	const char *check;      /* "" for none */
	const char *partition;  /* "safe", "live" */
	uint64_t keep_cells, keep_bytes, keep_ms;
};

struct export_cell {
	struct mp_str row;      /* its name */
	uint64_t at;            /* the how-manieth of the row in this export, from 1; its seq behind a state */
	uint64_t seq, time_ms;
	uint8_t kind;           /* as batches have it */
	struct mp_str key, origin, content; /* bytes */
};

/* A part of a state snapshot. */
struct export_state {
	struct mp_str row;      /* its name */
	uint64_t seq;           /* of the last cell in it */
	uint64_t rules;         /* of the check that wrote it */
	uint64_t part, parts;   /* which one, from 0; of how many */
	struct mp_str content;  /* bytes */
};

struct export_end {
	uint64_t rows, cells;   /* lines of each */
};

/* Each appends a line and moves *sum on; the first begins with 0.  0, or as buf_add(). */
int export_write_begin(struct buf *out, uint64_t *sum, const struct export_begin *begin);
int export_write_row(struct buf *out, uint64_t *sum, const struct export_row *row);
int export_write_cell(struct buf *out, uint64_t *sum, const struct export_cell *cell);
int export_write_state(struct buf *out, uint64_t *sum, const struct export_state *state);
int export_write_gone(struct buf *out, uint64_t *sum, struct mp_str row);
int export_write_error(struct buf *out, uint64_t *sum, const char *why);
int export_write_end(struct buf *out, uint64_t *sum, const struct export_end *end);

/* A line that was read; what it points to is the line's own. */
struct export_line {
	enum export_kind kind;
	union {
		struct export_begin begin;
		struct export_row row;
		struct export_cell cell;
		struct export_state state;
		struct mp_str gone;  /* name of the row */
		const char *error;
		struct export_end end;
	} is;
	json_t *document;  /* that texts stand in, owned */
	struct buf bytes;  /* key, origin and content of a cell, content of a state; owned */
};

/*
 * Looks at the line's sum alone: 0, and *sum is moved on; -EBADMSG: it is not
 * what follows that sum; err says so.
 */
int export_check(struct mp_str line, uint64_t *sum, struct err *err);

/*
 * Reads a line (without its newline) whose sum was checked, or is of no
 * account.  0, then export_line_fini() is due; -EINVAL: none of ours;
 * -EPROTONOSUPPORT: of a newer format; -ENOMEM; err says what is wrong.
 */
int export_read(struct mp_str line, struct export_line *ret, struct err *err);

void export_line_fini(struct export_line *line);

#endif
