/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/check: reads all that the engine has of the rows, and says what of it
 * is not whole: heads and batches that cannot be read or whose checksum is
 * wrong, cells that are missing (rows.md 7), and the state snapshots of checks; see
 * docs/rows-api.md.
 *
 * Row by row: its head, then its batches in pages, small enough that the loop is
 * not held up, then the snapshot that its floor rests on.  Rows change meanwhile: what
 * seems to be missing is missing only when the head still says so.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/lines.h"
#include "aggregator/rows/snapshot_load.h"
#include "aggregator/rows/snapshot_try.h"
#include "lib/clock.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define HEADS 128                       /* of a page */
#define PAGE_BYTES ((size_t)1 << 20)    /* of a page of batches, about */
#define TOLD_EVERY_NS (NS_PER_S / 2)    /* progress */
#define FINDINGS_MAX 1000               /* that are told, all are counted */
#define TRIES 5                         /* at a row that changes */

/* What was seen so far. */
struct seen {
	uint64_t rows, deleted, batches, cells, bytes, snapshots, bad, changing;
};

struct check {
	struct lines lines;      /* first */
	struct engine *engine;
	struct buf prefix;       /* of the tenant's keys */
	struct buf from, end;    /* range of the heads that are left */
	struct buf cells_from, cells_end; /* of the row's batches that are left */
	struct buf heads;        /* the page: texts of heads, behind one another */
	struct { size_t at, len; struct key key; } *row; /* its rows, owned */
	size_t n_rows, at_row;   /* how many, and which */
	bool more_heads;         /* behind the page */
	struct head head;        /* of the row */
	uint64_t first, next;    /* seqs: of the row's first batch, and behind the last one */
	uint64_t gap;            /* first one that is missing between two batches; 0: none is */
	unsigned tries;          /* at this row */
	struct {
		const char *what;    /* as in the finding */
		uint64_t seq;
		char why[192];
	} suspect;               /* what seems to be wrong, while the head is read again */
	bool in_row;             /* its batches are being read */
	uint64_t cells_until;    /* the page's cells are below that one */
	uint64_t told_ns;        /* when it last said how far it is */
	struct seen seen, before; /* before: the row, in case it is begun again */
};

static void read_heads(struct check *c);
static void next_row(struct check *c);

/* ------------------------------------------------------------------------- lines */

static void add_counts(struct check *c)
{
	const struct seen *s = &c->seen;

	(void)buf_printf(&c->lines.out, "\"rows\":%" PRIu64 ",\"deleted\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"cells\":%"
			 PRIu64 ",\"bytes\":%" PRIu64 ",\"snapshots\":%" PRIu64 ",\"bad\":%" PRIu64 ",\"changing\":%" PRIu64
			 "}\n", s->rows, s->deleted, s->batches, s->cells, s->bytes, s->snapshots, s->bad, s->changing);
}

static void tell_progress(struct check *c)
{
	uint64_t now = group_now(c->lines.http->group);

	if (now - c->told_ns < TOLD_EVERY_NS)
		return;
	c->told_ns = now;
	c->lines.hurry = true; /* whoever waits wants to see it now */
	(void)buf_add_str(&c->lines.out, "{");
	add_counts(c);
}

/* what: "head", "batch", "cells" or "snapshot"; seq: 0 for a head. */
static void tell_bad(struct check *c, const char *what, uint64_t seq, const char *why)
{
	const struct key *key = c->at_row < c->n_rows ? &c->row[c->at_row].key : NULL;

	if (c->seen.bad++ >= FINDINGS_MAX)
		return;
	(void)buf_printf(&c->lines.out, "{\"wrong\":\"%s\",\"row\":", what);
	(void)json_text_add(&c->lines.out, key ? slice_make(key->name, key->name_size) : MP_LIT(""));
	(void)buf_printf(&c->lines.out, ",\"seq\":%" PRIu64 ",\"error\":", seq);
	(void)json_text_add(&c->lines.out, slice_of(why));
	(void)buf_add_str(&c->lines.out, "}\n");
}

static void last_word(struct lines *lines, const char *why)
{
	(void)buf_add_str(&lines->out, "{\"error\":");
	(void)json_text_add(&lines->out, slice_of(why));
	(void)buf_add_str(&lines->out, "}\n");
}

/* ------------------------------------------------------------------------ ranges */

/* The answer's first part, the same for all: false when it is over. */
static bool take_answer(struct check *c, const struct engine_answer *answer)
{
	c->lines.busy = false;
	if (lines_ended(&c->lines))
		lines_free(&c->lines);
	else if (answer->outcome != ENGINE_COMMITTED)
		lines_break(&c->lines, answer->why);
	else
		return true;
	return false;
}

static void ask(struct check *c, const struct engine_range *range, engine_done_fn *done)
{
	if (!range->from.len) { /* key_behind() had no room */
		lines_break(&c->lines, "a key among ours that is none of ours, and too long");
		return;
	}
	c->lines.busy = true;
	if (c->engine->ops->range(c->engine, range, done, c) == 0)
		return;
	c->lines.busy = false;
	lines_break(&c->lines, "out of memory");
}

/* ----------------------------------------------------------------------- batches */

static void take_batch(struct check *c, const struct engine_item *item)
{
	struct batch batch;
	struct key key;
	struct err err = { 0 };

	if (key_parse(item->key, buf_slice(&c->prefix), &key) < 0) {
		tell_bad(c, "batch", c->next, "its key is none of ours");
		return;
	}
	c->seen.batches++;
	c->seen.bytes += item->value.len;
	if (batch_open(item->value, &batch, &err) < 0 || batch.first != key.seq) {
		tell_bad(c, "batch", key.seq, err.text[0] ? err.text : "it holds other cells than its key says");
		c->next = 0; /* how far it goes is not known */
		return;
	}
	c->seen.cells += batch.n;
	if (!c->first || (c->next && batch.first > c->next && batch.first <= c->head.floor))
		c->first = batch.first; /* retention may take what is below the floor between two pages */
	else if (c->next && c->next != batch.first && !c->gap)
		c->gap = c->next;
	c->next = batch.first + batch.n;
}

/* Has it all that its head speaks of? */
static bool is_whole(const struct check *c)
{
	return c->head.last < c->head.floor || (c->first && c->first <= c->head.floor && c->next > c->head.last);
}

static void row_done(struct check *c)
{
	c->seen.rows++;
	c->tries = 0;
	c->in_row = false;
	c->at_row++;
	tell_progress(c);
	next_row(c);
}

static void begin_row(struct check *c);
static void check_snapshot(struct check *c);

/* Does the head say what it said when something seemed to be wrong? */
static bool is_as_before(const struct check *c, const struct head *now)
{
	return now->incarnation == c->head.incarnation && now->deleted == c->head.deleted &&
	       (strcmp(c->suspect.what, "snapshot") ? now->floor == c->head.floor : now->snapshot == c->head.snapshot);
}

/* The head once more: does it still say what is not there? */
static void on_head_again(void *ctx, const struct engine_answer *answer)
{
	struct check *c = ctx;
	struct head now;

	if (!take_answer(c, answer))
		return;
	if (answer->n_items && head_read(answer->items[0].value, &now, NULL) == 0 && is_as_before(c, &now)) {
		tell_bad(c, c->suspect.what, c->suspect.seq, c->suspect.why);
		if (strcmp(c->suspect.what, "snapshot"))
			check_snapshot(c);
		else
			row_done(c);
		return;
	}
	/* It has changed: from the start, with the new one. */
	c->seen = c->before;
	if (!answer->n_items || head_read(answer->items[0].value, &now, NULL) < 0 || now.deleted) {
		row_done(c);
	} else if (++c->tries >= TRIES) {
		c->seen.changing++;
		row_done(c);
	} else {
		c->head = now;
		begin_row(c);
	}
}

/* That seems to be wrong: on_head_again() tells whether it is. */
static void look_again(struct check *c, const char *what, uint64_t seq, const char *why)
{
	const struct key *key = &c->row[c->at_row].key;
	struct engine_range range = { .limit = 1 };
	struct buf text;

	c->suspect.what = what;
	c->suspect.seq = seq;
	(void)snprintf(c->suspect.why, sizeof(c->suspect.why), "%s", why);
	buf_init(&text, KEY_MAX);
	(void)key_head(&text, buf_slice(&c->prefix), slice_make(key->name, key->name_size));
	range.from = buf_slice(&text);
	ask(c, &range, on_head_again);
	buf_fini(&text);
}

static void read_batches(struct check *c);

/* How far the next page reaches that begins at the cell `next`, or if that is 0, nobody knows where. */
static void set_until(struct check *c, uint64_t next)
{
	const struct key *key = &c->row[c->at_row].key;

	c->cells_until = next ? cells_until(next, c->head.last) : CELLS_END;
	buf_reset(&c->cells_end);
	(void)key_cells(&c->cells_end, buf_slice(&c->prefix), slice_make(key->name, key->name_size),
			c->head.incarnation, c->cells_until);
}

static void on_batches(void *ctx, const struct engine_answer *answer)
{
	struct check *c = ctx;

	if (!take_answer(c, answer))
		return;
	for (size_t i = 0; i < answer->n_items; i++)
		take_batch(c, &answer->items[i]);
	tell_progress(c);
	if (answer->n_items)
		(void)key_behind(&c->cells_from, engine_last_key(answer));
	if ((answer->more && answer->n_items) || c->cells_until != CELLS_END) {
		/* Where no cell was found the next one may be far away. */
		set_until(c, answer->n_items ? c->next : 0);
		if (lines_flush(&c->lines))
			read_batches(c);
	} else if (c->gap) {
		look_again(c, "cells", c->gap, "they do not follow one another");
	} else if (c->seen.bad != c->before.bad || is_whole(c)) {
		check_snapshot(c);
	} else {
		look_again(c, "cells", c->next ? c->next : c->head.floor, "cells are missing that the head speaks of");
	}
}

static void read_batches(struct check *c)
{
	const struct engine_range range = { .from = buf_slice(&c->cells_from), .end = buf_slice(&c->cells_end),
					    .bytes = PAGE_BYTES };

	ask(c, &range, on_batches);
}

static void begin_row(struct check *c)
{
	const struct key *key = &c->row[c->at_row].key;
	struct mp_str name = slice_make(key->name, key->name_size), prefix = buf_slice(&c->prefix);

	c->before = c->seen;
	c->in_row = true;
	c->first = c->next = c->gap = 0;
	buf_reset(&c->cells_from);
	(void)key_cells(&c->cells_from, prefix, name, c->head.incarnation, 1);
	set_until(c, 0);
	read_batches(c);
}

/* ---------------------------------------------------------------------- snapshots */

static void on_snapshot(void *ctx, int r, struct mp_str bytes, uint32_t rules, const char *why)
{
	struct check *c = ctx;
	struct err err = { 0 };

	(void)rules; /* the head's count: it is judged by them */
	c->lines.busy = false;
	if (lines_ended(&c->lines)) {
		lines_free(&c->lines);
		return;
	}
	if (r == -EAGAIN || r == -ENOMEM) {
		lines_break(&c->lines, why && why[0] ? why : "out of memory");
		return;
	}
	if (r == 0) {
		c->seen.snapshots++;
		r = snapshot_try(c->lines.http->halves, c->head.check, c->head.rules, bytes, &err);
		why = err.text;
	}
	if (r == -ENOMEM)
		lines_break(&c->lines, "out of memory");
	else if (r == 0 || r == -ENOENT) /* without the half its sums have to do */
		row_done(c);
	else
		look_again(c, "snapshot", c->head.snapshot, why);
}

/* The snapshot that the row's floor rests on, when it has a check. */
static void check_snapshot(struct check *c)
{
	const struct key *key = &c->row[c->at_row].key;
	const struct head *head = &c->head;
	const struct snapshot_id id = { buf_slice(&c->prefix), slice_make(key->name, key->name_size), head->incarnation,
					head->snapshot };

	if (head->check[0] && head->floor > head->snapshot + 1)
		tell_bad(c, "snapshot", head->snapshot, "the floor is above the cells that a state snapshot holds");
	if (!head->check[0] || !head->snapshot) {
		row_done(c);
		return;
	}
	c->lines.busy = true;
	if (snapshot_load(c->engine, &id, on_snapshot, c))
		return;
	c->lines.busy = false;
	lines_break(&c->lines, "out of memory");
}

/* ------------------------------------------------------------------------- heads */

/* The next row of the page that has cells; loops, since many may have none. */
static void next_row(struct check *c)
{
	struct err err = { 0 };

	for (; c->at_row < c->n_rows; c->at_row++) {
		if (head_read(slice_make(c->heads.ptr + c->row[c->at_row].at, c->row[c->at_row].len), &c->head, &err) < 0)
			tell_bad(c, "head", 0, err.text);
		else if (c->head.deleted)
			c->seen.deleted++;
		else
			break;
	}
	if (!lines_flush(&c->lines))
		return;
	if (c->at_row < c->n_rows) {
		begin_row(c);
	} else if (c->more_heads) {
		read_heads(c);
	} else {
		(void)buf_add_str(&c->lines.out, "{\"end\":true,");
		add_counts(c);
		lines_end(&c->lines);
	}
}

static void on_heads(void *ctx, const struct engine_answer *answer)
{
	struct check *c = ctx;

	if (!take_answer(c, answer))
		return;
	buf_reset(&c->heads);
	c->n_rows = c->at_row = 0;
	for (size_t i = 0; i < answer->n_items && c->n_rows < HEADS; i++) {
		const struct engine_item *item = &answer->items[i];

		if (key_parse(item->key, buf_slice(&c->prefix), &c->row[c->n_rows].key) < 0) {
			c->at_row = c->n_rows;
			tell_bad(c, "head", 0, "its key is none of ours");
			continue;
		}
		c->row[c->n_rows].at = c->heads.len;
		c->row[c->n_rows].len = item->value.len;
		(void)buf_add_slice(&c->heads, item->value);
		c->n_rows++;
	}
	c->at_row = 0;
	c->more_heads = answer->more && answer->n_items;
	if (answer->n_items)
		(void)key_behind(&c->from, engine_last_key(answer));
	if (c->heads.error)
		lines_break(&c->lines, "heads are too large, or there is no memory");
	else
		next_row(c);
}

static void read_heads(struct check *c)
{
	const struct engine_range range = { .from = buf_slice(&c->from), .end = buf_slice(&c->end), .limit = HEADS };

	ask(c, &range, on_heads);
}

/* -------------------------------------------------------------------------- start */

static void go_on(struct lines *lines)
{
	struct check *c = (struct check *)lines;

	if (!lines_flush(lines))
		return;
	if (c->in_row)
		read_batches(c);
	else
		next_row(c);
}

static void check_free(struct lines *lines)
{
	struct check *c = (struct check *)lines;
	struct buf *const bufs[] = { &c->prefix, &c->from, &c->end, &c->cells_from, &c->cells_end, &c->heads };

	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		buf_fini(bufs[i]);
	free(c->row);
	free(c);
}

static struct check *check_new(struct rows_http *http, struct http_req *req)
{
	struct check *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->lines = (struct lines){ .http = http, .req = req, .go_on = go_on, .last_word = last_word,
				   .free = check_free };
	c->engine = group_engine(http->group);
	c->told_ns = group_now(http->group);
	c->row = calloc(HEADS, sizeof(*c->row));
	buf_init(&c->prefix, KEY_MAX);
	buf_init(&c->from, ENGINE_KEY_MAX + 1);
	buf_init(&c->end, KEY_MAX + 1);
	buf_init(&c->cells_from, ENGINE_KEY_MAX + 1);
	buf_init(&c->cells_end, KEY_MAX + 1);
	buf_init(&c->heads, (size_t)HEADS * 65536);
	(void)buf_add_slice(&c->prefix, copy_prefix(group_copy(http->group)));
	(void)key_heads(&c->from, buf_slice(&c->prefix), MP_LIT(""));
	(void)key_range_end(&c->end, buf_slice(&c->from));
	return c;
}

void rows_check(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct check *c;

	if (!rows_may_look(req))
		return;
	c = group_copy(http->group) ? check_new(http, req) : NULL;
	if (c && c->row && !c->prefix.error && !c->end.error) {
		if (lines_open(&c->lines))
			read_heads(c);
		return;
	}
	http_answer_error(req, 503, "unavailable", c ? "out of memory" : "it has not read its rows yet");
	if (c)
		check_free(&c->lines);
}
