/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what is stored: everything but the cells (copy_cells.c), at one
 * revision, page by page; single rows of which the watch has told too little;
 * and a page of heads now and then, to see whether it has.
 */
#include "aggregator/rows/copy_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/slice.h"

#define PAGE_COMPARE 256
#define REREAD_NS (100 * NS_PER_MS)

/* ------------------------------------------------------------------ everything */

static void on_others(void *ctx, const struct engine_answer *answer);

void copy_ask_page(struct copy *copy, enum copy_text end, engine_done_fn *done)
{
	const struct engine_range range = {
		.from = copy_text(copy, COPY_FROM),
		.end = copy_text(copy, end),
		.bytes = COPY_PAGE,
		.revision = copy->revision,
	};

	if (copy->text[COPY_FROM].error || copy->text[end].error || !copy_ask(copy, &range, done, copy))
		copy_later(copy);
}

bool copy_take_page(struct copy *copy, const struct engine_answer *answer)
{
	if (!copy_answered(copy))
		return false;
	if (answer->outcome != ENGINE_COMMITTED) {
		copy_later(copy);
		return false;
	}
	copy->revision = copy->revision ? copy->revision : answer->revision;
	for (size_t i = 0; i < answer->n_items; i++)
		copy_take(copy, answer->items[i].key, answer->items[i].value, copy->revision);
	return true;
}

void copy_read_all(struct copy *copy)
{
	copy->state = COPY_OTHERS;
	copy->revision = 0;
	copy->reads++;
	/* All but the cells: their keys come first. */
	buf_reset(&copy->text[COPY_FROM]);
	(void)buf_add_slice(&copy->text[COPY_FROM], copy_text(copy, COPY_CELLS_END));
	copy_ask_page(copy, COPY_END, on_others);
}

static void forget_what_went(struct copy *copy)
{
	struct map_entry *e = map_next(&copy->others, NULL), *next;

	for (uint32_t i = 0; i < copy->n_shards; i++)
		if (copy->owner[i].text && copy->owner[i].seen != copy->reads)
			copy_wrote_owner(copy, i, (struct mp_str){ 0 }, copy->revision);
	for (; e; e = next) {
		const struct stored *stored = map_entry_value(e);

		next = map_next(&copy->others, e);
		if (stored->seen != copy->reads)
			copy_take(copy, map_entry_key(e), (struct mp_str){ 0 }, copy->revision);
	}
}

static void on_others(void *ctx, const struct engine_answer *answer)
{
	struct copy *copy = ctx;

	if (!copy_take_page(copy, answer))
		return;
	if (answer->more && answer->n_items) {
		(void)key_behind(&copy->text[COPY_FROM], engine_last_key(answer)); /* seen when it is asked for */
		copy_ask_page(copy, COPY_END, on_others);
	} else if (copy->loaded) {
		forget_what_went(copy);
		copy_begin_watch(copy);
		copy_settle(copy);
	} else {
		copy_read_cells(copy);
	}
}

/* --------------------------------------------------------------------- one row */

/* A row that is being read again. */
struct reading {
	size_t place;         /* in copy->readings */
	struct copy *copy;    /* that it belongs to */
	struct row *row;      /* lives as long as the copy */
	uint64_t incarnation; /* whose cells are read */
	bool anew;            /* from the first cell on */
	bool part;            /* what is asked for may end before the row does */
	uint64_t before;      /* the last cell that it had when that was asked for */
};

static void read_cells(struct reading *r);

/* good: the engine's word was taken in. */
static void reading_end(struct reading *r, bool good)
{
	struct copy *copy = r->copy;
	struct row *row = r->row;

	copy->reading--;
	copy->readings[r->place] = NULL;
	free(r);
	row->reread = false;
	if (row_settle(row) && good && !row->doubted) {
		row->damaged = false;
		copy->calls.row(copy->calls.ctx, row);
	} else {
		/* Again, but after the others, and not at once. */
		row->doubtful = true;
		copy->reread_at = host_now(copy->host) + REREAD_NS;
		list_remove(&row->doubt);
		list_push_back(&copy->doubtful, &row->doubt);
	}
}

static void ask_row(struct reading *r, struct buf *from, struct buf *end, engine_done_fn *done)
{
	const struct engine_range range = {
		.from = buf_slice(from),
		.end = end ? buf_slice(end) : (struct mp_str){ 0 },
		.bytes = COPY_PAGE,
	};

	if (from->error || (end && end->error) || !copy_ask(r->copy, &range, done, r))
		reading_end(r, false);
}

static void on_head(void *ctx, const struct engine_answer *answer)
{
	struct reading *r = ctx;
	struct copy *copy = r->copy;
	struct row *row = r->row;
	struct err err = { 0 };
	int rc;

	if (!copy_answered(copy))
		return; /* it goes with the copy */
	if (answer->outcome != ENGINE_COMMITTED) {
		reading_end(r, false);
		return;
	}
	if (answer->revision >= row->revision) {
		row->revision = answer->revision;
		rc = row_set_head(row, answer->n_items ? answer->items[0].value : (struct mp_str){ 0 }, &err);
		if (rc < 0) {
			copy_say_damaged(copy, row, 0, rc, &err);
			reading_end(r, false);
			return;
		}
	}
	if (!row_exists(row) || row_complete(row)) {
		reading_end(r, true);
		return;
	}
	if (row->applied >= row->head.last) { /* the first are missing, or it has what is not stored */
		r->anew = true;
		row_read_anew(row);
	}
	read_cells(r);
}

static void read_head(struct reading *r)
{
	struct buf key;

	buf_init(&key, KEY_MAX);
	(void)key_head(&key, copy_prefix(r->copy), row_name(r->row));
	ask_row(r, &key, NULL, on_head);
	buf_fini(&key);
}

/* Takes in what the head speaks of.  False: a cell is missing before a batch. */
static bool take_batches(struct reading *r, const struct engine_answer *answer)
{
	for (size_t i = 0; i < answer->n_items; i++) {
		struct err err = { 0 };
		struct key key;
		int rc;

		if (key_parse(answer->items[i].key, copy_prefix(r->copy), &key) < 0 ||
		    key.seq > r->row->head.last)
			continue;
		rc = row_take(r->row, answer->items[i].value, &err);
		copy_say_damaged(r->copy, r->row, key.seq, rc, &err);
		if (rc < 0 && rc != -EALREADY)
			return false;
	}
	return true;
}

/* Takes them in; false: cells are missing that were asked for. */
static bool take_cells(struct reading *r, const struct engine_answer *answer)
{
	bool all = !r->part && !answer->more;

	return take_batches(r, answer) && (all || r->row->applied > r->before);
}

static void on_row_cells(void *ctx, const struct engine_answer *answer)
{
	struct reading *r = ctx;
	struct row *row = r->row;
	bool more = false, good = false;

	if (!copy_answered(r->copy))
		return;
	if (answer->outcome == ENGINE_COMMITTED && r->incarnation == row->head.incarnation) {
		good = take_cells(r, answer);
		if (good) {
			more = (r->part || answer->more) && row->applied < row->head.last;
		} else if (!r->anew) {
			/* What was missing may have left through retention: then all is new. */
			r->anew = more = true;
			row_read_anew(row);
		}
	}
	if (more)
		read_cells(r);
	else
		reading_end(r, good);
}

static void read_cells(struct reading *r)
{
	struct row *row = r->row;
	uint64_t first = row->applied + 1;
	/* Where a row begins that is read from the first cell on is not known. */
	uint64_t until = row->reading ? CELLS_END : cells_until(first, row->head.last);
	struct buf from, end;

	r->part = until != CELLS_END;
	r->before = row->applied;
	r->incarnation = row->head.incarnation;
	buf_init(&from, KEY_MAX);
	buf_init(&end, KEY_MAX);
	(void)key_cells(&from, copy_prefix(r->copy), row_name(row), r->incarnation, first);
	(void)key_cells(&end, copy_prefix(r->copy), row_name(row), r->incarnation, until);
	ask_row(r, &from, &end, on_row_cells);
	buf_fini(&from);
	buf_fini(&end);
}

void copy_forget_readings(struct copy *copy)
{
	for (size_t i = 0; i < COPY_READINGS; i++)
		free(copy->readings[i]);
}

void copy_read_doubtful(struct copy *copy)
{
	struct list *link;

	if (host_now(copy->host) < copy->reread_at)
		return;
	while (copy->state == COPY_FOLLOWS && copy->reading < COPY_READINGS &&
	       (link = list_pop_front(&copy->doubtful))) {
		struct reading *r = calloc(1, sizeof(*r));

		if (!r) {
			list_push_front(&copy->doubtful, link);
			copy->reread_at = host_now(copy->host) + REREAD_NS;
			return;
		}
		*r = (struct reading){ .copy = copy, .row = LIST_ENTRY_OF(link, struct row, doubt) };
		r->row->reread = true;
		r->row->doubted = false;
		while (copy->readings[r->place])
			r->place++;
		copy->readings[r->place] = r;
		copy->reading++;
		copy->counts.rereads++;
		read_head(r);
	}
}

/* --------------------------------------------------------------------- compare */

/* True: it differs, and the watch may be on its way with that. */
static bool compare(struct copy *copy, const struct engine_item *item, uint64_t revision)
{
	struct key key;
	struct row *row;

	if (key_parse(item->key, copy_prefix(copy), &key) < 0)
		return false;
	if (key.kind != KEY_HEAD) {
		copy_take(copy, item->key, item->value, revision);
		return false;
	}
	row = copy_row(copy, (struct mp_str){ key.name, key.name_size });
	if (row && (row->revision >= revision || row_head_is(row, item->value)))
		return false;
	if (row && row->suspect != row->revision) {
		row->suspect = row->revision;
		return true;
	}
	copy->counts.lost++;
	copy_take(copy, item->key, item->value, revision);
	return false;
}

static void on_compare(void *ctx, const struct engine_answer *answer)
{
	struct copy *copy = ctx;
	bool suspect = false;

	if (!copy_answered(copy) || answer->outcome != ENGINE_COMMITTED || copy->state != COPY_FOLLOWS)
		return;
	for (size_t i = 0; i < answer->n_items; i++)
		suspect |= compare(copy, &answer->items[i], answer->revision);
	copy->compare_again = suspect && !copy->compare_again; /* once: rows that are put into always differ */
	if (!copy->compare_again)
		buf_reset(&copy->text[COPY_COMPARE]);
	if (!copy->compare_again && answer->more && answer->n_items)
		(void)key_behind(&copy->text[COPY_COMPARE], engine_last_key(answer));
	copy_settle(copy);
}

void copy_compare(struct copy *copy)
{
	struct mp_str from = copy_text(copy, COPY_COMPARE);
	const struct engine_range range = {
		.from = from.len ? from : copy_text(copy, COPY_CELLS_END),
		.end = copy_text(copy, COPY_END),
		.limit = PAGE_COMPARE,
	};

	(void)copy_ask(copy, &range, on_compare, copy);
}
