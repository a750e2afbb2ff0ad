/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what is stored: everything, at one revision, page by page; single
 * rows of which the watch has told too little; and a page of heads now and
 * then, to see whether it has.
 */
#include "aggregator/rows/copy_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/slice.h"

#define PAGE 1000      /* heads and the like at a time */
#define PAGE_CELLS 128 /* batches, of up to 1 MiB each */
#define PAGE_COMPARE 256
#define REREAD_NS (100 * NS_PER_MS)

/* ------------------------------------------------------------------ everything */

static void on_others(void *ctx, const struct engine_answer *answer);
static void on_cells(void *ctx, const struct engine_answer *answer);

/* The range's next page begins behind that key. */
static bool go_behind(struct buf *from, struct mp_str key)
{
	buf_reset(from);
	return !buf_add_slice(from, key) && !buf_add(from, "", 1);
}

static void ask_page(struct copy *copy, enum copy_text end, size_t limit, engine_done_fn *done)
{
	const struct engine_range range = {
		.from = copy_text(copy, COPY_FROM),
		.end = copy_text(copy, end),
		.limit = limit,
		.revision = copy->revision,
	};

	if (!copy_ask(copy, &range, done, copy))
		copy_later(copy);
}

/* Takes a page in.  0: that was the last; 1: another is wanted; else it has to begin anew. */
static int take_page(struct copy *copy, const struct engine_answer *answer)
{
	if (answer->outcome != ENGINE_COMMITTED)
		return -1;
	if (!copy->revision)
		copy->revision = answer->revision;
	for (size_t i = 0; i < answer->n_items; i++)
		copy_take(copy, answer->items[i].key, answer->items[i].value, copy->revision);
	if (!answer->more || !answer->n_items)
		return 0;
	return go_behind(&copy->text[COPY_FROM], answer->items[answer->n_items - 1].key) ? 1 : -1;
}

void copy_read_all(struct copy *copy)
{
	copy->state = COPY_OTHERS;
	copy->revision = 0;
	copy->reads++;
	/* All but the cells: their keys come first. */
	buf_reset(&copy->text[COPY_FROM]);
	(void)buf_add_slice(&copy->text[COPY_FROM], copy_text(copy, COPY_CELLS_END));
	ask_page(copy, COPY_END, PAGE, on_others);
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
	int more;

	if (!copy_answered(copy))
		return;
	more = take_page(copy, answer);
	if (more < 0) {
		copy_later(copy);
	} else if (more) {
		ask_page(copy, COPY_END, PAGE, on_others);
	} else if (copy->loaded) {
		forget_what_went(copy);
		copy_begin_watch(copy);
		copy_settle(copy);
	} else {
		copy->state = COPY_CELLS;
		for (struct map_entry *e = map_next(&copy->rows, NULL); e; e = map_next(&copy->rows, e))
			row_read_anew(map_entry_value(e));
		buf_reset(&copy->text[COPY_FROM]);
		(void)buf_add_slice(&copy->text[COPY_FROM], copy_text(copy, COPY_CELLS_BEGIN));
		ask_page(copy, COPY_CELLS_END, PAGE_CELLS, on_cells);
	}
}

static void on_cells(void *ctx, const struct engine_answer *answer)
{
	struct copy *copy = ctx;
	int more;

	if (!copy_answered(copy))
		return;
	more = take_page(copy, answer);
	if (more < 0) {
		copy_later(copy);
	} else if (more) {
		ask_page(copy, COPY_CELLS_END, PAGE_CELLS, on_cells);
	} else {
		for (struct map_entry *e = map_next(&copy->rows, NULL); e; e = map_next(&copy->rows, e))
			(void)row_settle(map_entry_value(e));
		copy_begin_watch(copy);
		copy_settle(copy);
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
		copy->calls.row(copy->calls.ctx, row);
	} else {
		/* Again, but after the others, and not at once. */
		row->doubtful = true;
		copy->reread_at = host_now(copy->host) + REREAD_NS;
		list_remove(&row->doubt);
		list_push_back(&copy->doubtful, &row->doubt);
	}
}

static void ask_row(struct reading *r, struct buf *from, struct buf *end, size_t limit, engine_done_fn *done)
{
	const struct engine_range range = {
		.from = buf_slice(from),
		.end = end ? buf_slice(end) : (struct mp_str){ 0 },
		.limit = limit,
	};

	if (from->error || (end && end->error) || !copy_ask(r->copy, &range, done, r))
		reading_end(r, false);
}

static void on_head(void *ctx, const struct engine_answer *answer)
{
	struct reading *r = ctx;
	struct copy *copy = r->copy;
	struct row *row = r->row;

	if (!copy_answered(copy))
		return; /* it goes with the copy */
	if (answer->outcome != ENGINE_COMMITTED) {
		reading_end(r, false);
		return;
	}
	if (answer->revision >= row->revision) {
		row->revision = answer->revision;
		if (row_set_head(row, answer->n_items ? answer->items[0].value : (struct mp_str){ 0 }, NULL) < 0) {
			copy->counts.damaged++;
			reading_end(r, false);
			return;
		}
	}
	if (!row_exists(row) || row_complete(row)) {
		reading_end(r, true);
		return;
	}
	if (row->applied == row->head.last) { /* the first are missing */
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
	ask_row(r, &key, NULL, 0, on_head);
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
		r->copy->counts.damaged += rc == -EINVAL || rc == -EPROTONOSUPPORT;
		if (rc < 0 && rc != -EALREADY)
			return false;
	}
	return true;
}

static void on_row_cells(void *ctx, const struct engine_answer *answer)
{
	struct reading *r = ctx;
	struct row *row = r->row;
	bool more = false, good = false;

	if (!copy_answered(r->copy))
		return;
	if (answer->outcome == ENGINE_COMMITTED && r->incarnation == row->head.incarnation) {
		good = take_batches(r, answer);
		if (good) {
			more = answer->more && row->applied < row->head.last;
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
	struct buf from, end;

	r->incarnation = row->head.incarnation;
	buf_init(&from, KEY_MAX);
	buf_init(&end, KEY_MAX);
	(void)key_cells(&from, copy_prefix(r->copy), row_name(row), r->incarnation, row->applied + 1);
	(void)key_cells(&end, copy_prefix(r->copy), row_name(row), r->incarnation, UINT64_MAX);
	ask_row(r, &from, &end, PAGE_CELLS, on_row_cells);
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

static void compare(struct copy *copy, const struct engine_item *item, uint64_t revision)
{
	struct key key;
	struct row *row;

	if (key_parse(item->key, copy_prefix(copy), &key) < 0)
		return;
	if (key.kind != KEY_HEAD) {
		copy_take(copy, item->key, item->value, revision);
		return;
	}
	row = copy_row(copy, (struct mp_str){ key.name, key.name_size });
	if (row && (row->revision >= revision || row_head_is(row, item->value)))
		return;
	if (row && row->suspect != row->revision) {
		row->suspect = row->revision; /* the watch may be on its way: next time */
		return;
	}
	copy->counts.lost++;
	copy_take(copy, item->key, item->value, revision);
}

static void on_compare(void *ctx, const struct engine_answer *answer)
{
	struct copy *copy = ctx;
	struct buf *from = &copy->text[COPY_COMPARE];

	if (!copy_answered(copy) || answer->outcome != ENGINE_COMMITTED || copy->state != COPY_FOLLOWS)
		return;
	for (size_t i = 0; i < answer->n_items; i++)
		compare(copy, &answer->items[i], answer->revision);
	buf_reset(from);
	if (answer->more && answer->n_items)
		(void)go_behind(from, answer->items[answer->n_items - 1].key);
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
