/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/import: takes lines of lib/export.h, a piece of an export at a time;
 * see docs/rows-api.md.
 *
 * A row's line sets its policies; a cell goes where its `at` says, as an
 * ordinary put, so that checks and limits hold: the at-th cell of the row. One
 * that is there already, the same, is passed over, so a piece may be sent again,
 * here or to another member, whatever became of it; another one there is a
 * conflict (409), and nothing is ever overwritten.  Cells that were put
 * together (same key, time, origin and kind, one behind the other) go together.
 *
 * A row with a check whose first cells are gone begins behind the state that its check goes on
 * from: its line and those of the state are one thing, and come in one piece.
 *
 * All sums are checked before the first line is taken.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/import_priv.h"
#include "aggregator/rows/snapshot.h"
#include "lib/hex.h"
#include "lib/json_text.h"
#include "lib/slice.h"

/* ------------------------------------------------------------------------ answers */

static void import_free(struct import *im)
{
	if (im->has_line)
		export_line_fini(&im->line);
	buf_fini(&im->bytes);
	buf_fini(&im->state);
	free(im->end);
	free(im->content);
	free(im);
}

static void add_figures(struct buf *body, const struct import *im)
{
	(void)buf_printf(body, "\"lines\":%" PRIu64 ",\"sum\":\"%016" PRIx64 "\",\"rows\":%" PRIu64 ",\"cells\":%" PRIu64
			 ",\"passed\":%" PRIu64, im->lines, im->sum, im->rows, im->cells, im->passed);
}

/* How far it came, for the audit log.  code: NULL: none, or it follows. */
static void audit(struct import *im, const char *code)
{
	http_audit_add(im->req, " lines=%" PRIu64 " rows=%" PRIu64 " cells=%" PRIu64 " passed=%" PRIu64, im->lines,
		       im->rows, im->cells, im->passed);
	if (code)
		http_audit_add(im->req, " code=%s", code);
}

/* Ends it.  code NULL: all of it is done. */
void import_answer(struct import *im, int status, const char *code, const char *row, const char *why)
{
	struct buf body;

	buf_init(&body, 16384);
	(void)buf_add_str(&body, "{");
	if (code) {
		(void)buf_printf(&body, "\"code\":\"%s\",\"error\":", code);
		(void)json_text_add(&body, slice_of(why));
		(void)buf_add_str(&body, ",\"row\":");
		(void)json_text_add(&body, slice_of(row));
		(void)buf_add_str(&body, ",");
	}
	add_figures(&body, im);
	(void)buf_add_str(&body, "}");
	audit(im, code);
	rows_answer(im->req, status, &body);
	import_free(im);
}

/* That shard is another member's: says whose. */
static void answer_elsewhere(struct import *im, const char *row)
{
	struct members *members = group_members(im->http->group);
	uint32_t shard = row_shard(slice_of(row), group_shards(im->http->group));
	const struct member_info *owner = members ? members_owner(members, shard) : NULL;
	struct buf body;

	buf_init(&body, 16384);
	(void)buf_add_str(&body, "{\"code\":\"elsewhere\",\"error\":\"another member owns the row\",\"row\":");
	(void)json_text_add(&body, slice_of(row));
	(void)buf_add_str(&body, ",\"owner\":");
	(void)json_text_add(&body, slice_of(owner ? owner->url : ""));
	(void)buf_add_str(&body, ",");
	add_figures(&body, im);
	(void)buf_add_str(&body, "}");
	audit(im, "elsewhere");
	rows_answer(im->req, 503, &body);
	import_free(im);
}

void import_answer_put(struct import *im, const char *row, const struct put_answer *a)
{
	static const struct { enum put_code code; const char *name; } names[] = {
		{ PUT_REFUSED, "refused" }, { PUT_GONE, "gone" }, { PUT_PRECONDITION, "precondition" },
		{ PUT_TOO_LARGE, "too_large" }, { PUT_KEY_REUSED, "key_reused" }, { PUT_UNAVAILABLE, "unavailable" },
		{ PUT_UNKNOWN, "unknown" }, { PUT_FULL, "full" }, { PUT_TOO_MANY, "too_many" },
	};
	const char *name = "failed";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		name = names[i].code == a->code ? names[i].name : name;
	if (a->code == PUT_ELSEWHERE)
		answer_elsewhere(im, row);
	else
		import_answer(im, (int)a->code, name, row, a->why);
}

/* ------------------------------------------------------------------------- lines */

/* 1: the next line is at hand; 0: there is none; else a negative errno and err. */
int import_peek(struct import *im, struct err *err)
{
	struct mp_str line, rest;
	int rc;

	if (im->has_line || !im->rest.len)
		return im->has_line;
	(void)slice_cut(im->rest, '\n', &line, &rest);
	rc = export_read(line, &im->line, err);
	im->has_line = rc == 0;
	return rc ? rc : 1;
}

/* It is done with: the next one is to be read. */
void import_pass(struct import *im, uint64_t *sum)
{
	struct mp_str line;

	(void)slice_cut(im->rest, '\n', &line, &im->rest);
	(void)export_check(line, sum, NULL); /* it was right before */
	export_line_fini(&im->line);
	im->has_line = false;
}

/* Are all of them whole?  False: it was answered. */
static bool check_sums(struct import *im)
{
	struct mp_str rest = im->rest, line;
	uint64_t sum = im->sum, n = 0;
	struct err err = { 0 };
	char text[320];

	if (rest.len && rest.ptr[rest.len - 1] != '\n') {
		import_answer(im, 400, "damaged", "", "the last line is not whole");
		return false;
	}
	for (; rest.len; n++) {
		(void)slice_cut(rest, '\n', &line, &rest);
		if (!export_check(line, &sum, &err))
			continue;
		(void)snprintf(text, sizeof(text), "line %" PRIu64 " of this piece %s", n + 1, err.text);
		import_answer(im, 400, "damaged", "", text);
		return false;
	}
	return true;
}

static bool may(struct import *im, struct mp_str name)
{
	struct err err = { 0 };

	if (row_name_check(name, &err) < 0) {
		import_answer(im, 400, "bad_request", "", err.text);
		return false;
	}
	if (http_may(im->req, RIGHT_PUT, name) && http_may(im->req, RIGHT_ADMIN, name))
		return true;
	audit(im, NULL);
	http_deny(im->req);
	import_free(im);
	return false;
}

/* --------------------------------------------------------------------- policies */

static void on_policies(struct put *put, const struct put_answer *a)
{
	struct import *im = (struct import *)(void *)((char *)put - offsetof(struct import, put));

	if (a->code != PUT_COMMITTED && a->code != PUT_REPEATED) {
		import_answer_put(im, im->name, a);
		return;
	}
	if (im->wants_state) {
		import_begin_state(im);
		return;
	}
	im->rows++;
	im->lines++;
	import_pass(im, &im->sum);
	import_step(im);
}

static void put_policies(struct import *im)
{
	const struct export_row *row = &im->line.is.row;
	struct policies policies = { .has_check = true, .has_partition = true, .has_keep_cells = true,
				     .has_keep_bytes = true, .has_keep_ms = true, .keep_cells = row->keep_cells,
				     .keep_bytes = row->keep_bytes, .keep_ms = row->keep_ms };

	if (!may(im, row->name))
		return;
	if (row->check[0] && !check_name_ok(slice_of(row->check))) {
		import_answer(im, 400, "bad_request", "", "that is no name of a check");
		return;
	}
	(void)snprintf(policies.check, sizeof(policies.check), "%s", row->check);
	policies.partition = strcmp(row->partition, "live") ? ROW_SAFE : ROW_LIVE;
	(void)snprintf(im->name, sizeof(im->name), "%.*s", SLICE_ARG(row->name));
	(void)snprintf(im->check, sizeof(im->check), "%s", row->check);
	im->wants_state = row->check[0] && row->floor > 1;
	im->known[0] = '\0';
	im->put = (struct put){ .kind = PUT_POLICIES, .row = slice_of(im->name), .policies = policies,
				.origin = slice_of(http_peer(im->req)), .done = on_policies,
				.deadline = group_now(im->http->group) + im->http->put_ns };
	group_put(im->http->group, &im->put);
}

/* ------------------------------------------------------------------------- cells */

static bool same(struct mp_str a, const char *b, size_t b_len)
{
	return slice_eq(a, slice_make(b, b_len));
}

/* Does it go together with those that were gathered? */
static bool belongs(const struct import *im, const struct export_line *line)
{
	const struct export_cell *cell = &line->is.cell;

	return line->kind == EXPORT_CELL && im->n < IMPORT_CELLS && cell->content.len <= im->http->cell_max &&
	       im->bytes.len + cell->content.len <= im->http->request_max && slice_eq(cell->row, slice_of(im->name)) &&
	       cell->seq == im->last_seq + 1 && cell->at == im->at + im->n && cell->time_ms == im->time_ms &&
	       cell->kind == im->kind && same(cell->key, im->key, im->key_len) &&
	       same(cell->origin, im->origin, im->origin_len);
}

static void add_cell(struct import *im)
{
	const struct export_cell *cell = &im->line.is.cell;

	(void)buf_add_slice(&im->bytes, cell->content);
	im->end[im->n++] = im->bytes.len;
	im->last_seq = cell->seq;
	im->group_lines++;
	import_pass(im, &im->group_sum);
}

static void begin_group(struct import *im)
{
	const struct export_cell *cell = &im->line.is.cell;

	buf_reset(&im->bytes);
	im->n = 0;
	im->tries = 0;
	im->group_lines = 0;
	im->group_sum = im->sum;
	im->at = cell->at;
	im->time_ms = cell->time_ms;
	im->kind = cell->kind;
	im->key_len = cell->key.len;
	im->origin_len = cell->origin.len;
	if (cell->key.len)
		memcpy(im->key, cell->key.ptr, cell->key.len);
	if (cell->origin.len)
		memcpy(im->origin, cell->origin.ptr, cell->origin.len);
	(void)snprintf(im->name, sizeof(im->name), "%.*s", SLICE_ARG(cell->row));
	add_cell(im);
}

static void group_done(struct import *im, size_t put)
{
	im->cells += put;
	im->passed += im->n - put;
	im->lines += im->group_lines;
	im->sum = im->group_sum;
	import_step(im);
}

static void place(struct import *im);

static void on_put(struct put *put, const struct put_answer *a)
{
	struct import *im = (struct import *)(void *)((char *)put - offsetof(struct import, put));

	if (a->code == PUT_COMMITTED) {
		im->highest = a->seq + put->n - 1;
		group_done(im, put->n);
	} else if (a->code == PUT_PRECONDITION && ++im->tries < IMPORT_TRIES) {
		im->known[0] = '\0'; /* somebody else has put there */
		place(im);
	} else {
		import_answer_put(im, im->name, a);
	}
}

/* Puts those from the skip-th on: the first of them has its place right behind the highest seq. */
static void put_group(struct import *im, size_t skip)
{
	for (size_t i = 0; i < im->n; i++)
		im->content[i] = slice_make(im->bytes.ptr + (i ? im->end[i - 1] : 0),
					    im->end[i] - (i ? im->end[i - 1] : 0));
	im->put = (struct put){ .kind = PUT_CELLS, .row = slice_of(im->name),
				.key = slice_make(im->key, im->key_len),
				.origin = slice_make(im->origin, im->origin_len), .content = im->content + skip,
				.n = im->n - skip, .cell_kind = im->kind, .time_ms = im->time_ms,
				.unhurried = true,
				.has_if_match = true, .if_match = im->highest, .done = on_put,
				.deadline = group_now(im->http->group) + im->http->put_ns };
	group_put(im->http->group, &im->put);
}

/* The i-th of the group is at its place already?  Cells below the floor can no longer be told apart. */
static bool is_there(const struct import *im, const struct row *row, size_t i)
{
	size_t from = i ? im->end[i - 1] : 0;
	struct cell cell;

	if (im->at + i < row->head.floor)
		return true;
	return row_cell(row, im->at + i, &cell) && cell.kind == im->kind && same(cell.key, im->key, im->key_len) &&
	       same(cell.content, im->bytes.ptr + from, im->end[i] - from);
}

static void on_read(struct read *read, struct row *row, const char *why)
{
	struct import *im = (struct import *)(void *)((char *)read - offsetof(struct import, read));
	size_t skip = 0;
	char text[160];

	if (!row) {
		import_answer(im, 503, "unavailable", im->name, why);
		return;
	}
	im->highest = row_exists(row) ? row->head.last : 0;
	(void)snprintf(im->known, sizeof(im->known), "%s", im->name);
	for (; skip < im->n && im->at + skip <= im->highest; skip++) {
		if (is_there(im, row, skip))
			continue;
		(void)snprintf(text, sizeof(text), "the row has another cell at %" PRIu64 " already", im->at + skip);
		import_answer(im, 409, "conflict", im->name, text);
		return;
	}
	if (im->at + skip > im->highest + 1) {
		(void)snprintf(text, sizeof(text), "the row has no cell %" PRIu64 ": what comes before has to be "
			       "imported first", im->highest + 1);
		import_answer(im, 409, "gap", im->name, text);
	} else if (skip == im->n) {
		group_done(im, 0);
	} else {
		put_group(im, skip);
	}
}

/* Where does the group stand in the row as it is? */
static void place(struct import *im)
{
	if (im->known[0] && !strcmp(im->known, im->name) && im->at == im->highest + 1) {
		put_group(im, 0);
		return;
	}
	im->read = (struct read){ .name = slice_of(im->name), .done = on_read,
				  .deadline = group_now(im->http->group) + im->http->read_ns };
	group_read(im->http->group, &im->read);
}

static void take_cells(struct import *im)
{
	struct err err = { 0 };
	char text[64];

	if (strcmp(im->known, im->name) != 0 || !same(im->line.is.cell.row, im->name, strlen(im->name))) {
		if (!may(im, im->line.is.cell.row))
			return;
	}
	if (im->line.is.cell.content.len > im->http->cell_max) {
		(void)snprintf(text, sizeof(text), "a cell may have %zu bytes", im->http->cell_max);
		(void)snprintf(im->name, sizeof(im->name), "%.*s", SLICE_ARG(im->line.is.cell.row));
		import_answer(im, 413, "too_large", im->name, text);
		return;
	}
	begin_group(im);
	while (import_peek(im, &err) == 1 && belongs(im, &im->line))
		add_cell(im);
	if (im->bytes.error)
		import_answer(im, 503, "unavailable", im->name, "out of memory");
	else
		place(im); /* a line that cannot be read is told when its turn comes */
}

/* ------------------------------------------------------------------------ the way */

/* Takes lines until one has to wait for something. */
void import_step(struct import *im)
{
	struct err err = { 0 };
	char text[320];
	int rc;

	while ((rc = import_peek(im, &err)) == 1) {
		if (im->line.kind == EXPORT_STATE) {
			import_answer(im, 400, "bad_request", "", "a state stands behind its row's line, in the same piece");
			return;
		}
		if (im->line.kind == EXPORT_ROW) {
			put_policies(im);
			return;
		}
		if (im->line.kind == EXPORT_CELL) {
			take_cells(im);
			return;
		}
		im->lines++; /* begin, gone, error and end: for whoever reads the whole */
		import_pass(im, &im->sum);
	}
	if (!rc) {
		import_answer(im, 200, NULL, NULL, NULL);
		return;
	}
	(void)snprintf(text, sizeof(text), "line %" PRIu64 " of this piece %s", im->lines + 1, err.text);
	import_answer(im, rc == -ENOMEM ? 503 : 400, "bad_request", "", text);
}

void rows_import(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct import *im;
	struct mp_str after;

	http_audit(req, "import");
	if (!rows_may_somewhere(req, RIGHT_PUT) || !rows_may_somewhere(req, RIGHT_ADMIN) || !rows_query_only(req, "after"))
		return;
	im = group_owner(http->group) ? calloc(1, sizeof(*im)) : NULL;
	if (!im) {
		http_answer_error(req, 503, "unavailable", "it has not read its rows yet");
		return;
	}
	im->req = req;
	im->http = http;
	im->rest = http_body(req);
	im->end = calloc(IMPORT_CELLS, sizeof(*im->end));
	im->content = calloc(IMPORT_CELLS, sizeof(*im->content));
	buf_init(&im->bytes, ROWS_REQUEST_MAX + EXPORT_DATA_MAX);
	buf_init(&im->state, SNAPSHOT_SIZE_MAX);
	if (!im->end || !im->content) {
		import_answer(im, 503, "unavailable", "", "out of memory");
		return;
	}
	if (http_query(req, "after", &after) && !hex_number(after, EXPORT_SUM_SIZE, &im->sum)) {
		import_answer(im, 400, "bad_request", "", "after wants the sum of the line before: 16 hex digits");
		return;
	}
	if (check_sums(im))
		import_step(im);
}
