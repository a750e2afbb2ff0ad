/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the import: import.c takes rows and cells, import_state.c the states
 * of checks.  In the loop's thread.
 */
#ifndef AGGREGATOR_ROWS_API_IMPORT_PRIV_H
#define AGGREGATOR_ROWS_API_IMPORT_PRIV_H

#include "aggregator/rows/api/api.h"
#include "lib/export.h"

#define IMPORT_CELLS 4096 /* that go together at most, as in a put */
#define IMPORT_TRIES 3 /* when somebody else puts into the row meanwhile */

struct import {
	struct http_req *req;
	struct rows_http *http;
	struct mp_str rest;        /* of the body: lines that were not read yet */
	uint64_t sum;              /* of the last line that is done */
	uint64_t lines, rows, cells, passed; /* done: lines; of them rows, cells put, cells that were there */
	struct export_line line;   /* the one at hand */
	bool has_line;

	/* Cells that go together. */
	struct buf bytes;          /* their contents, behind one another */
	size_t *end;               /* where each ends in them, owned; IMPORT_CELLS */
	struct mp_str *content;    /* the same as slices, owned; IMPORT_CELLS */
	size_t n;                  /* of them */
	uint64_t at;               /* place of the first in the row */
	uint64_t group_lines;      /* theirs */
	uint64_t group_sum;        /* of the last of them */
	char name[EXPORT_NAME_MAX + 1]; /* of the row */
	char key[CELL_KEY_MAX], origin[CELL_ORIGIN_MAX];
	size_t key_len, origin_len;
	uint64_t time_ms, last_seq;
	uint8_t kind;

	/* A state of a row's check. */
	bool wants_state;          /* the row whose line was read cannot go on without */
	char check[CHECK_NAME_MAX + 1]; /* of that row */
	struct buf state;          /* the parts that were read */
	uint64_t state_seq, part, parts; /* of the last cell in it; the part that comes next; of how many */

	struct read read;          /* of the row */
	struct put put;            /* of the cells, or the policies */
	uint64_t highest;          /* of the row named `known`, as we know it */
	char known[EXPORT_NAME_MAX + 1]; /* "": of none */
	unsigned tries;            /* to put this group */
};

/* Ends it, and it is gone.  code NULL: all of it is done. */
void import_answer(struct import *im, int status, const char *code, const char *row, const char *why);

/* Likewise, by what the owner said. */
void import_answer_put(struct import *im, const char *row, const struct put_answer *a);

/* 1: the next line is at hand; 0: there is none; else a negative errno and err. */
int import_peek(struct import *im, struct err *err);

/* That line is done with; *sum becomes its. */
void import_pass(struct import *im, uint64_t *sum);

/* Takes lines until one has to wait for something. */
void import_step(struct import *im);

/* import_state.c: the line of a row that wants its state was taken, and is still at hand. */
void import_begin_state(struct import *im);

#endif
