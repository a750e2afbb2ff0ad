/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See ledger.h.  The map gives a value for each key; what goes while cells are
 * applied ahead leaves the mark `gone` in its place, so that undoing never
 * needs memory.
 */
#include "lib/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/le.h"
#include "lib/slice.h"

#define HEAD_SIZE 16  /* before the numbers */
#define ENTRY_SIZE 4  /* before the key */
#define COUNT_MAX (UINT64_C(1) << 52) /* cells that were skipped: exact in everybody's status */
#define STORED_OWN 2  /* numbers of the ledger's own behind the half's: what was skipped */

/* A value; one block. */
struct value {
	size_t len;   /* bytes */
	char bytes[]; /* no NUL */
};

struct ledger_undo {
	char *key;         /* owned */
	size_t key_len;    /* bytes */
	struct value *old; /* owned; &gone: there was none, but its place; NULL: not even that */
};

struct ledger_mark {
	uint64_t id;                     /* of the cell; 0: none */
	uint64_t number[LEDGER_NUMBERS]; /* as they were before it */
	size_t n_undo;                   /* likewise */
	size_t n_entries;                /* likewise */
	size_t size;                     /* likewise */
};

/* In the place of a value that went while cells are applied ahead. */
static struct value gone;

static void value_free(struct value *value)
{
	if (value != &gone)
		free(value);
}

/* ------------------------------------------------------------------- the table */

static size_t stored(const struct ledger *ledger)
{
	return ledger->rules->n_stored + STORED_OWN;
}

static void init(struct ledger *ledger, const struct ledger_rules *rules)
{
	*ledger = (struct ledger){ .rules = rules };
	map_init(&ledger->entries, SIZE_MAX);
	ledger->size = HEAD_SIZE + 8 * stored(ledger);
}

static void fini(struct ledger *ledger)
{
	ledger_settle(ledger);
	for (struct map_entry *e = map_next(&ledger->entries, NULL); e;
	     e = map_next(&ledger->entries, e))
		value_free(map_entry_value(e));
	map_fini(&ledger->entries);
	free(ledger->undo);
	free(ledger->marks);
}

struct ledger *ledger_new(const struct ledger_rules *rules)
{
	struct ledger *ledger = malloc(sizeof(*ledger));

	if (ledger)
		init(ledger, rules);
	return ledger;
}

void ledger_free(void *self)
{
	if (!self)
		return;
	fini(self);
	free(self);
}

static struct value *find(const struct ledger *ledger, struct mp_str key)
{
	struct value *value = map_get(&ledger->entries, key);

	return value == &gone ? NULL : value;
}

struct mp_str ledger_get(const struct ledger *ledger, struct mp_str key)
{
	const struct value *value = find(ledger, key);

	return value ? slice_make(value->bytes, value->len) : slice_make(NULL, 0);
}

/* The list with room for one more element; NULL without memory, then it stays where it is. */
static void *with_room(void *list, size_t n, size_t *cap, size_t size)
{
	size_t more = *cap ? 2 * *cap : 16;
	void *bigger;

	if (n < *cap)
		return list;
	bigger = reallocarray(list, more, size);
	if (bigger)
		*cap = more;
	return bigger;
}

/* Makes ready to undo a change of that key; `old` is filled in by replaced(). */
static int remember(struct ledger *ledger, struct mp_str key)
{
	struct ledger_undo *undo;
	char *copy;

	if (!ledger->n_marks)
		return 0;
	undo = with_room(ledger->undo, ledger->n_undo, &ledger->cap_undo, sizeof(*undo));
	if (!undo)
		return -ENOMEM;
	ledger->undo = undo;
	copy = slice_dup(key);
	if (!copy)
		return -ENOMEM;
	ledger->undo[ledger->n_undo] = (struct ledger_undo){ copy, key.len, NULL };
	return 0;
}

/* The change was made; ahead of the state the old value is kept. */
static void replaced(struct ledger *ledger, struct value *old)
{
	if (ledger->n_marks)
		ledger->undo[ledger->n_undo++].old = old;
	else if (old)
		value_free(old);
}

/* The change cannot be made after all. */
static void forget(struct ledger *ledger)
{
	if (ledger->n_marks)
		free(ledger->undo[ledger->n_undo].key);
}

static struct value *value_new(struct mp_str bytes)
{
	struct value *value = malloc(sizeof(*value) + bytes.len);

	if (!value)
		return NULL;
	value->len = bytes.len;
	if (bytes.len)
		memcpy(value->bytes, bytes.ptr, bytes.len);
	return value;
}

int ledger_set(struct ledger *ledger, struct mp_str key, struct mp_str bytes)
{
	const struct value *was = find(ledger, key);
	size_t size = was ? ledger->size - was->len : ledger->size + ENTRY_SIZE + key.len;
	struct value *value;
	void *old;

	if (size + bytes.len > MP_SNAPSHOT_MAX)
		return -ENOSPC;
	if (remember(ledger, key))
		return -ENOMEM;
	value = value_new(bytes);
	if (!value || map_put(&ledger->entries, key, value, &old)) {
		free(value);
		forget(ledger);
		return -ENOMEM;
	}
	ledger->n_entries += was ? 0 : 1;
	ledger->size = size + bytes.len;
	replaced(ledger, old);
	return 0;
}

int ledger_remove(struct ledger *ledger, struct mp_str key)
{
	struct value *was = find(ledger, key);

	if (!was)
		return 0;
	if (remember(ledger, key))
		return -ENOMEM;
	ledger->n_entries--;
	ledger->size -= ENTRY_SIZE + key.len + was->len;
	if (ledger->n_marks)
		(void)map_put(&ledger->entries, key, &gone, NULL); /* replaces: cannot fail */
	else
		(void)map_remove(&ledger->entries, key); /* it is `was` */
	replaced(ledger, was);
	return 0;
}

/* ------------------------------------------------------------------ cells ahead */

static void undo_last(struct ledger *ledger)
{
	struct ledger_undo *undo = &ledger->undo[--ledger->n_undo];
	struct mp_str key = slice_make(undo->key, undo->key_len);
	void *now;

	if (undo->old)
		(void)map_put(&ledger->entries, key, undo->old, &now); /* replaces: cannot fail */
	else
		now = map_remove(&ledger->entries, key);
	value_free(now);
	free(undo->key);
}

/* Takes back all but the first n cells that were applied ahead. */
static void rewind_to(struct ledger *ledger, size_t n)
{
	const struct ledger_mark *mark;

	if (n >= ledger->n_marks)
		return;
	mark = &ledger->marks[n];
	while (ledger->n_undo > mark->n_undo)
		undo_last(ledger);
	memcpy(ledger->number, mark->number, sizeof(ledger->number));
	ledger->n_entries = mark->n_entries;
	ledger->size = mark->size;
	ledger->n_marks = n;
}

void ledger_settle(struct ledger *ledger)
{
	rewind_to(ledger, 0);
}

/* Applies a cell ahead of the state: what step says. */
static int step_ahead(struct ledger *ledger, const struct mp_cell *cell, struct err *err)
{
	struct ledger_mark *marks = with_room(ledger->marks, ledger->n_marks, &ledger->cap_marks,
					      sizeof(*marks));
	struct ledger_mark *mark;

	if (!marks)
		return -ENOMEM;
	ledger->marks = marks;
	mark = &marks[ledger->n_marks++];
	*mark = (struct ledger_mark){ .id = cell->id, .n_undo = ledger->n_undo,
				      .n_entries = ledger->n_entries, .size = ledger->size };
	memcpy(mark->number, ledger->number, sizeof(mark->number));
	return ledger->rules->step(ledger, cell, err);
}

/* Makes the cells that are applied ahead the pending ones; those that are there already stay. */
static int follow(struct ledger *ledger, const struct mp_cell *const *pending, size_t n)
{
	struct err why;
	size_t i = 0;
	int r = 0;

	while (i < n && i < ledger->n_marks && pending[i]->id &&
	       ledger->marks[i].id == pending[i]->id)
		i++;
	rewind_to(ledger, i);
	/* One that step does not take now is skipped, as apply will do. */
	for (; i < n && r != -ENOMEM; i++)
		r = step_ahead(ledger, pending[i], &why);
	return r == -ENOMEM ? r : 0;
}

/* 0, or what step says of the first cell that it does not take. */
static int judge(struct ledger *ledger, const struct mp_cell *const *cells, size_t n,
		 struct err *reason)
{
	size_t i = 0;
	int r = 0;

	while (i < n && !r)
		r = step_ahead(ledger, cells[i++], reason);
	if (r && r != -ENOMEM && n > 1)
		(void)err_wrap(reason, r, "cell %zu of %zu", i, n);
	return r;
}

int32_t ledger_check(void *self, const struct mp_cell *const *pending, size_t n_pending,
		     const struct mp_cell *const *proposal, size_t n_proposal, char *reason,
		     size_t reason_size)
{
	struct ledger *ledger = self;
	struct err err = { 0 };
	int r = follow(ledger, pending, n_pending);

	if (!r)
		r = judge(ledger, proposal, n_proposal, &err);
	if (!r)
		return MP_CHECK_ALLOW; /* the proposal stays ahead: it will be pending next */
	rewind_to(ledger, r == -ENOMEM ? 0 : n_pending);
	if (r == -ENOMEM)
		return r;
	(void)snprintf(reason, reason_size, "%s", err.text);
	return MP_CHECK_REFUSE;
}

int32_t ledger_apply(void *self, const struct mp_cell *cell)
{
	struct ledger *ledger = self;
	int r;

	ledger_settle(ledger);
	r = ledger->rules->step(ledger, cell, NULL);
	if (r == -ENOMEM)
		return r;
	ledger->n_unreadable += r == -EBADMSG;
	ledger->n_refused += r && r != -EBADMSG;
	return 0;
}

/* -------------------------------------------------------------------- snapshots */

static void add_number(struct buf *out, uint64_t number, unsigned size)
{
	char bytes[8];

	le_put(bytes, number, size);
	buf_add(out, bytes, size);
}

/* An entry on its way into a snapshot; all borrowed. */
struct item {
	struct mp_str key;         /* compared without a look at the map */
	const struct value *value; /* never gone */
};

static int compare_items(const void *one, const void *two)
{
	const struct item *a = one, *b = two;

	return slice_compare(a->key, b->key);
}

/* All entries by ascending key, to be freed; NULL without memory. */
static struct item *sorted_items(const struct ledger *ledger)
{
	struct item *items = calloc(ledger->n_entries + 1, sizeof(*items));
	size_t n = 0;

	for (struct map_entry *e = items ? map_next(&ledger->entries, NULL) : NULL; e;
	     e = map_next(&ledger->entries, e))
		items[n++] = (struct item){ map_entry_key(e), map_entry_value(e) };
	if (items)
		qsort(items, n, sizeof(*items), compare_items);
	return items;
}

static void add_item(struct buf *out, const struct item *item)
{
	add_number(out, item->key.len, 2);
	add_number(out, item->value->len, 2);
	buf_add_slice(out, item->key);
	buf_add(out, item->value->bytes, item->value->len);
}

static void add_head(struct buf *out, const struct ledger *ledger)
{
	buf_add(out, ledger->rules->tag, sizeof(ledger->rules->tag));
	add_number(out, LEDGER_FORMAT, 1);
	add_number(out, stored(ledger), 1);
	add_number(out, 0, 2);
	add_number(out, ledger->n_entries, 8);
	for (unsigned i = 0; i < ledger->rules->n_stored; i++)
		add_number(out, ledger->number[i], 8);
	add_number(out, ledger->n_refused, 8);
	add_number(out, ledger->n_unreadable, 8);
}

int32_t ledger_snapshot(void *self, struct mp_sink *sink)
{
	struct ledger *ledger = self;
	struct item *items;
	struct buf out;
	int r;

	ledger_settle(ledger);
	items = sorted_items(ledger);
	if (!items)
		return -ENOMEM;
	buf_init(&out, MP_SNAPSHOT_MAX);
	(void)buf_reserve(&out, ledger->size); /* a failure stays in out.error */
	add_head(&out, ledger);
	for (size_t i = 0; i < ledger->n_entries; i++)
		add_item(&out, &items[i]);
	r = out.error ? out.error : sink->write(sink, out.ptr, out.len);
	buf_fini(&out);
	free(items);
	return r;
}

/* Takes a number off the front; 0 when there is not so much. */
static uint64_t take_number(struct mp_str *bytes, unsigned size)
{
	uint64_t number = size <= bytes->len ? le_get(bytes->ptr, size) : 0;

	*bytes = slice_skip(*bytes, size);
	return number;
}

static struct mp_str take_bytes(struct mp_str *bytes, size_t n)
{
	struct mp_str taken = slice_make(bytes->ptr, n < bytes->len ? n : bytes->len);

	*bytes = slice_skip(*bytes, n);
	return taken;
}

/* Reads what stands before the entries; *ret_n: how many there are to be. */
static int read_head(struct ledger *ledger, struct mp_str *bytes, uint64_t *ret_n, struct err *err)
{
	struct mp_str tag = slice_make(ledger->rules->tag, sizeof(ledger->rules->tag));
	uint64_t format, n_numbers, zero;

	if (bytes->len < ledger->size || bytes->len > MP_SNAPSHOT_MAX)
		return err_set(err, -EINVAL, "a snapshot of %zu bytes, wants %zu to %u", bytes->len,
			       ledger->size, MP_SNAPSHOT_MAX);
	if (!slice_eq(take_bytes(bytes, tag.len), tag))
		return err_set(err, -EINVAL, "no snapshot of this half");
	format = take_number(bytes, 1);
	n_numbers = take_number(bytes, 1);
	zero = take_number(bytes, 2);
	if (format != LEDGER_FORMAT || n_numbers != stored(ledger) || zero)
		return err_set(err, -EINVAL, "a snapshot of format %u, wants %d", (unsigned)format,
			       LEDGER_FORMAT);
	*ret_n = take_number(bytes, 8);
	for (unsigned i = 0; i < ledger->rules->n_stored; i++)
		ledger->number[i] = take_number(bytes, 8);
	ledger->n_refused = take_number(bytes, 8);
	ledger->n_unreadable = take_number(bytes, 8);
	if (ledger->n_refused > COUNT_MAX || ledger->n_unreadable > COUNT_MAX)
		return err_set(err, -EINVAL, "a snapshot that has skipped too many cells");
	return 0;
}

static int read_entry(struct ledger *ledger, struct mp_str *bytes, struct mp_str *last,
		      struct err *err)
{
	size_t key_len = take_number(bytes, 2);
	size_t value_len = take_number(bytes, 2);
	struct mp_str key = take_bytes(bytes, key_len);
	struct mp_str value = take_bytes(bytes, value_len);
	int r;

	if (!key.len || key.len != key_len || value.len != value_len ||
	    key_len > LEDGER_KEY_MAX || value_len > LEDGER_KEY_MAX)
		return err_set(err, -EINVAL, "a cut snapshot, or one with a wrong size");
	if (slice_compare(*last, key) >= 0)
		return err_set(err, -EINVAL, "a snapshot whose keys are not in order");
	*last = key;
	r = ledger->rules->entry_ok(ledger, key, value, err);
	return r ? r : ledger_set(ledger, key, value);
}

static int read_snapshot(struct ledger *ledger, struct mp_str bytes, struct err *err)
{
	struct mp_str last = { NULL, 0 };
	uint64_t n = 0;
	int r = read_head(ledger, &bytes, &n, err);

	while (!r && bytes.len)
		r = read_entry(ledger, &bytes, &last, err);
	if (!r && n != ledger->n_entries)
		r = err_set(err, -EINVAL, "a snapshot with %zu entries, says %llu",
			    ledger->n_entries, (unsigned long long)n);
	return r ? r : ledger->rules->all_ok(ledger, err);
}

int32_t ledger_restore(void *self, struct mp_str bytes, char *error, size_t error_size)
{
	struct ledger *ledger = self;
	struct ledger fresh;
	struct err err = { 0 };
	int r;

	init(&fresh, ledger->rules);
	r = read_snapshot(&fresh, bytes, &err);
	if (r) {
		fini(&fresh);
		(void)snprintf(error, error_size, "%s", err.text);
		return r;
	}
	fini(ledger);
	*ledger = fresh;
	return 0;
}
