/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/export: all rows, or those whose names begin so, as the lines of
 * lib/export.h; see docs/rows-api.md.
 *
 * Each row is as it is when its turn comes: it is read so that everything
 * answered before is in it, and its cells up to then follow from the copy, a
 * slice at a time.  Of a row with a check whose first cells are gone the state snapshot
 * is read before, and stands between its line and its cells.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/lines.h"
#include "aggregator/rows/snapshot_load.h"
#include "lib/clock.h"
#include "lib/export.h"
#include "lib/slice.h"

#define NAMES_MAX ((size_t)1 << 30) /* bytes of all names */
#define TRIES 5                     /* to read a state, while newer ones take its place */

struct export {
	struct lines lines;       /* first */
	struct read read;         /* of the row whose turn it is */
	struct buf names;         /* of the rows, each with a NUL */
	size_t next_name;         /* where in them the next one begins */
	uint64_t sum;             /* of the last line */
	struct row *row;          /* whose cells are being written; NULL: none */
	uint64_t incarnation;     /* its life */
	uint64_t seq, last;       /* next cell, and the last one */
	uint64_t at;              /* cells of the row so far; behind a state: seq of the last one */
	struct buf state;         /* of the row's check, what is left of it to be written */
	uint64_t state_seq;       /* of the last cell in it; 0: the row has none in the export */
	uint64_t state_life;      /* incarnation of the row that it is read for */
	uint32_t state_rules;     /* of the check that wrote it */
	uint64_t part, parts;     /* the next one, and how many there are */
	unsigned tries;           /* to read it */
	struct export_end so_far; /* rows and cells */
};

static void next_row(struct export *e);

/* Ends it at that row. */
static void break_at(struct export *e, const char *why, const char *more)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "row %.*s: %s%s", SLICE_ARG(e->read.name), why, more);
	lines_break(&e->lines, text);
}

/* ------------------------------------------------------------------------- cells */

static struct export_cell cell_of(const struct export *e, const struct cell *cell)
{
	return (struct export_cell){ .row = row_name(e->row), .at = e->at, .seq = cell->seq,
				     .time_ms = cell->time_ms, .kind = cell->kind, .key = cell->key,
				     .origin = cell->origin, .content = cell->content };
}

/* Writes until the client has to read.  True: the row's cells are all there. */
static bool write_slice(struct export *e)
{
	struct row_walk walk;
	struct cell cell;

	row_walk(&walk, e->row, e->seq);
	while (e->seq <= e->last && row_walk_next(&walk, &cell)) {
		struct export_cell out;

		e->at++;
		e->so_far.cells++;
		out = cell_of(e, &cell);
		(void)export_write_cell(&e->lines.out, &e->sum, &out);
		e->seq = cell.seq + 1;
		if (!lines_flush(&e->lines))
			return false;
	}
	return true;
}

static void read_row(struct export *e);

static void write_cells(struct export *e)
{
	const struct head *head = &e->row->head;

	if (!row_exists(e->row) || head->incarnation != e->incarnation) {
		(void)export_write_gone(&e->lines.out, &e->sum, row_name(e->row));
		next_row(e);
		return;
	}
	if (e->seq < head->floor && !e->state_seq)
		e->seq = head->floor; /* they went meanwhile */
	if (e->state_seq && e->seq <= e->last && e->seq < row_first(e->row)) {
		/* Without them what follows is nothing that its check could go on to. */
		break_at(e, "its cells went while they were written", "");
		return;
	}
	if (!write_slice(e))
		return;
	if (e->seq <= e->last)
		read_row(e); /* the copy lacks some just now: it is whole after a read */
	else
		next_row(e);
}

/* The state first, as far as the client reads. */
static void write_rest(struct export *e)
{
	while (e->part < e->parts) {
		struct mp_str content = buf_slice(&e->state);
		struct export_state out;

		content.len = content.len < EXPORT_DATA_MAX ? content.len : EXPORT_DATA_MAX;
		out = (struct export_state){ row_name(e->row), e->state_seq, e->state_rules, e->part, e->parts, content };
		(void)export_write_state(&e->lines.out, &e->sum, &out);
		buf_consume(&e->state, content.len);
		e->part++;
		if (!lines_flush(&e->lines))
			return;
	}
	buf_reset(&e->state);
	write_cells(e);
}

static void go_on(struct lines *lines)
{
	struct export *e = (struct export *)lines;

	if (!lines_flush(lines))
		return;
	if (e->row)
		write_rest(e);
	else
		next_row(e);
}

/* -------------------------------------------------------------------------- rows */

static void write_head(struct export *e, struct row *row)
{
	const struct head *head = &row->head;
	const struct export_row out = {
		.name = row_name(row), .incarnation = head->incarnation, .highest = head->last,
		.floor = head->floor, .check = head->check,
		.partition = head->partition == ROW_LIVE ? "live" : "safe",
		.keep_cells = head->keep_cells, .keep_bytes = head->keep_bytes, .keep_ms = head->keep_ms,
	};

	e->row = row;
	e->incarnation = head->incarnation;
	e->seq = head->floor;
	e->last = head->last;
	e->at = 0;
	e->so_far.rows++;
	(void)export_write_row(&e->lines.out, &e->sum, &out);
}

/* Its line, and what follows. */
static void begin_row(struct export *e, struct row *row)
{
	write_head(e, row);
	if (e->state_seq)
		e->at = e->seq - 1;
	if (lines_flush(&e->lines))
		write_rest(e);
}

/* It was read; or a newer one has taken its place meanwhile, then the row is read again. */
static void on_state(void *ctx, int r, struct mp_str bytes, uint32_t rules, const char *why)
{
	struct export *e = ctx;
	struct row *row = copy_row(group_copy(e->lines.http->group), e->read.name);
	bool same = row && row_exists(row) && row->head.incarnation == e->state_life;

	e->lines.busy = false;
	if (lines_ended(&e->lines)) {
		lines_free(&e->lines);
	} else if (!same || ((r == -EINVAL || r == 0) && row->head.snapshot != e->state_seq && e->tries < TRIES)) {
		e->tries++;
		read_row(e);
	} else if (r < 0) {
		break_at(e, "the state of its check cannot be read: ", why ? why : "");
	} else if (buf_add_slice(&e->state, bytes)) {
		lines_break(&e->lines, "out of memory");
	} else {
		e->state_rules = rules;
		e->parts = (bytes.len + EXPORT_DATA_MAX - 1) / EXPORT_DATA_MAX;
		e->parts += !e->parts; /* an empty one is one, too */
		begin_row(e, row);
	}
}

static void read_state(struct export *e, const struct row *row)
{
	const struct snapshot_id id = { copy_prefix(group_copy(e->lines.http->group)), row_name(row),
					row->head.incarnation, row->head.snapshot };

	e->state_seq = row->head.snapshot;
	e->state_life = row->head.incarnation;
	e->lines.busy = true;
	if (snapshot_load(group_engine(e->lines.http->group), &id, on_state, e))
		return;
	e->lines.busy = false;
	lines_break(&e->lines, "out of memory");
}

static void on_read(struct read *read, struct row *row, const char *why)
{
	struct export *e = (struct export *)(void *)((char *)read - offsetof(struct export, read));

	e->lines.busy = false;
	if (lines_ended(&e->lines)) {
		lines_free(&e->lines);
	} else if (!row) {
		lines_break(&e->lines, why);
	} else if (e->row) {
		write_cells(e);
	} else if (!row_exists(row)) {
		next_row(e);
	} else if (row->head.check[0] && row->head.floor > 1) {
		read_state(e, row);
	} else {
		e->state_seq = 0;
		begin_row(e, row);
	}
}

/* As it is now; on_read() goes on. */
static void read_row(struct export *e)
{
	e->read = (struct read){ .name = e->read.name, .done = on_read,
				 .deadline = group_now(e->lines.http->group) + e->lines.http->read_ns };
	e->lines.busy = true;
	group_read(e->lines.http->group, &e->read);
}

static void next_row(struct export *e)
{
	e->row = NULL;
	e->tries = 0;
	e->part = e->parts = e->state_seq = 0;
	if (!lines_flush(&e->lines))
		return;
	if (e->next_name >= e->names.len) {
		(void)export_write_end(&e->lines.out, &e->sum, &e->so_far);
		http_audit_add(e->lines.req, " rows=%" PRIu64 " cells=%" PRIu64, e->so_far.rows, e->so_far.cells);
		lines_end(&e->lines);
		return;
	}
	e->read.name = slice_of(e->names.ptr + e->next_name);
	e->next_name += e->read.name.len + 1;
	read_row(e);
}

/* ------------------------------------------------------------------------- start */

/* The names of the rows that the client may read, sorted: rows may go meanwhile.  False: out of memory. */
static bool collect_names(struct export *e, struct mp_str prefix)
{
	size_t n;
	struct row **found = rows_collect(e->lines.http, e->lines.req, prefix, (struct mp_str){ 0 }, &n);

	for (size_t i = 0; i < n; i++)
		(void)buf_add(&e->names, found[i]->name, found[i]->name_size + 1);
	free(found);
	return found && !e->names.error;
}

static void export_free(struct lines *lines)
{
	struct export *e = (struct export *)lines;

	buf_fini(&e->names);
	buf_fini(&e->state);
	free(e);
}

static void last_word(struct lines *lines, const char *why)
{
	(void)export_write_error(&lines->out, &((struct export *)lines)->sum, why);
}

void rows_export(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct export_begin begin = { group_uuid(http->group), clock_wall_now() / NS_PER_MS, "" };
	struct mp_str prefix = { 0 };
	struct export *e;
	char text[ROW_NAME_MAX + 1];

	http_audit(req, "export");
	if (http_query(req, "prefix", &prefix))
		http_audit_text(req, "prefix", prefix);
	if (!rows_may_somewhere(req, RIGHT_READ) || !rows_query_only(req, "prefix"))
		return;
	if (prefix.len > ROW_NAME_MAX) {
		http_answer_error(req, 400, "bad_request", "prefix wants %d bytes at most", ROW_NAME_MAX);
		return;
	}
	e = group_copy(http->group) ? calloc(1, sizeof(*e)) : NULL;
	if (!e) {
		http_answer_error(req, 503, "unavailable", "it has not read its rows yet");
		return;
	}
	e->lines = (struct lines){ .http = http, .req = req, .go_on = go_on, .last_word = last_word,
				   .free = export_free };
	buf_init(&e->names, NAMES_MAX);
	buf_init(&e->state, SNAPSHOT_SIZE_MAX);
	(void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(prefix));
	begin.prefix = text;
	if (!collect_names(e, prefix)) {
		http_answer_error(req, 503, "unavailable", "out of memory");
		export_free(&e->lines);
		return;
	}
	if (!lines_open(&e->lines))
		return;
	(void)export_write_begin(&e->lines.out, &e->sum, &begin);
	next_row(e);
}
