/* SPDX-License-Identifier: Apache-2.0 */
/* See reader.h. */
#include "aggregator/rows/reader_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/slice.h"

#define HOLD_READS 4       /* a transaction that served fewer holds up nothing */
#define HOLD_MIN NS_PER_MS /* what the loop's timers can tell */
#define HOLD_MAX (5 * NS_PER_MS)

struct reader *reader_new(const struct reader_options *options)
{
	struct reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return NULL;
	reader->engine = options->engine;
	reader->copy = options->copy;
	reader->host = options->host;
	list_init(&reader->waiting);
	list_init(&reader->flying);
	list_init(&reader->behind);
	list_init(&reader->nobody.followers);
	for (size_t i = 0; i < READER_ROWS; i++)
		buf_init(&reader->key[i], KEY_MAX);
	return reader;
}

static void answer(struct reader *reader, struct read *read, struct row *row, const char *why)
{
	list_remove(&read->link);
	reader->counts.reads++;
	reader->counts.failed += !row;
	read->done(read, row, why);
}

static void answer_all(struct reader *reader, struct list *list, const char *why)
{
	while (!list_empty(list))
		answer(reader, LIST_ENTRY_OF(list->next, struct read, link), NULL, why);
}

static void destroy(struct reader *reader)
{
	for (size_t i = 0; i < READER_ROWS; i++)
		buf_fini(&reader->key[i]);
	free(reader);
}

void reader_free(struct reader *reader)
{
	if (!reader)
		return;
	reader->dead = true;
	answer_all(reader, &reader->waiting, "this member stops");
	answer_all(reader, &reader->flying, "this member stops");
	answer_all(reader, &reader->behind, "this member stops");
	if (!reader->asked)
		destroy(reader);
}

void reader_read(struct reader *reader, struct read *read)
{
	read->row = NULL;
	list_push_back(&reader->waiting, &read->link);
	reader->woken = true;
}

/* The copy has the row, as of that revision or later. */
static bool is_there(const struct read *read)
{
	return row_whole(read->row) && read->row->revision >= read->revision;
}

void reader_row_changed(struct reader *reader, struct row *row)
{
	LIST_FOR_EACH_SAFE(link, &reader->behind) {
		struct read *read = LIST_ENTRY_OF(link, struct read, link);

		if (read->row == row && is_there(read))
			answer(reader, read, row, "");
	}
}

/* Takes in what the engine says of a row.  The row, which may be `nobody`; NULL: there is one, and no place for it. */
static struct row *take_head(struct reader *reader, size_t place, struct mp_str text, uint64_t revision)
{
	struct row *row = reader->row[place];
	struct key key;

	if (!row && key_parse(reader->reads[place], copy_prefix(reader->copy), &key) < 0)
		return NULL;
	if (!row) /* the copy may have heard of it meanwhile */
		row = copy_row(reader->copy, (struct mp_str){ key.name, key.name_size });
	if (!row && !text.ptr)
		return &reader->nobody;
	if (!row && copy_row_make(reader->copy, (struct mp_str){ key.name, key.name_size }, &row) < 0)
		return NULL;
	if (row->revision < revision && row_head_is(row, text))
		row->revision = revision;
	else if (row->revision < revision)
		copy_wrote(reader->copy, row, text, (struct mp_str){ 0 }, revision);
	return row;
}

static void serve(struct reader *reader, struct read *read, uint64_t revision)
{
	read->row = reader->row[read->place];
	read->revision = revision;
	if (!read->row) {
		answer(reader, read, NULL, "this member has no memory for the row, or has as many as it may have");
	} else if (read->row == &reader->nobody || is_there(read)) {
		answer(reader, read, read->row, "");
	} else if (read->row->damaged) {
		answer(reader, read, NULL, ROW_DAMAGED);
	} else {
		list_remove(&read->link);
		list_push_back(&reader->behind, &read->link);
	}
}

static size_t count(const struct list *list)
{
	size_t n = 0;

	LIST_FOR_EACH(link, list)
		n++;
	return n;
}

/* As flights do (flight.c): those who were answered are likely to ask again at once. */
static void hold(struct reader *reader, size_t served)
{
	uint64_t now = host_now(reader->host), time = (now - reader->asked_at) / 3;

	if (served < HOLD_READS || time < HOLD_MIN)
		return;
	reader->hold_until = now + (time < HOLD_MAX ? time : HOLD_MAX);
	reader->hold_for = served + count(&reader->waiting);
}

static bool is_held(const struct reader *reader, uint64_t now)
{
	return now < reader->hold_until && count(&reader->waiting) < reader->hold_for;
}

static void on_heads(void *ctx, const struct engine_answer *got)
{
	struct reader *reader = ctx;
	size_t at = 0;

	reader->asked = false;
	if (reader->dead) {
		destroy(reader);
		return;
	}
	reader->woken = true;
	if (got->outcome != ENGINE_COMMITTED) {
		answer_all(reader, &reader->flying, "the engine does not answer");
		return;
	}
	for (size_t i = 0; i < reader->n_rows; i++) {
		struct mp_str text = { 0 };

		if (at < got->n_items && slice_eq(got->items[at].key, reader->reads[i]))
			text = got->items[at++].value;
		reader->row[i] = take_head(reader, i, text, got->revision);
	}
	hold(reader, count(&reader->flying));
	LIST_FOR_EACH_SAFE(link, &reader->flying)
		serve(reader, LIST_ENTRY_OF(link, struct read, link), got->revision);
}

/* Its place among the heads that are read; READER_ROWS: no more fit. */
static size_t place_of(struct reader *reader, const struct read *read)
{
	size_t n = reader->n_rows, i = 0;
	struct buf *key;

	while (read->row && i < n && reader->row[i] != read->row)
		i++;
	if (read->row && i < n)
		return i;
	if (n == READER_ROWS)
		return READER_ROWS;
	key = &reader->key[n];
	buf_reset(key);
	if (key_head(key, copy_prefix(reader->copy), read->name) < 0)
		return READER_ROWS;
	for (i = 0; !read->row && i < n; i++)
		if (slice_eq(reader->reads[i], buf_slice(key)))
			return i;
	reader->row[n] = read->row;
	reader->reads[n] = buf_slice(key);
	return reader->n_rows++;
}

static void gather(struct reader *reader)
{
	reader->n_rows = 0;
	LIST_FOR_EACH_SAFE(link, &reader->waiting) {
		struct read *read = LIST_ENTRY_OF(link, struct read, link);

		read->row = copy_row(reader->copy, read->name);
		read->place = place_of(reader, read);
		if (read->place == READER_ROWS)
			return; /* next time */
		list_remove(link);
		list_push_back(&reader->flying, link);
	}
}

static void ask(struct reader *reader)
{
	struct engine_txn txn = { .reads = reader->reads };

	gather(reader);
	if (!reader->n_rows)
		return;
	txn.n_reads = reader->n_rows;
	reader->counts.asked++;
	reader->asked = true;
	reader->asked_at = host_now(reader->host);
	if (reader->engine->ops->commit(reader->engine, &txn, on_heads, reader) == 0)
		return;
	reader->asked = false;
	answer_all(reader, &reader->flying, "out of memory");
}

/* Nothing comes any more from an engine that has stopped for good, which says what to do. */
static void say_stopped(struct reader *reader)
{
	struct engine_health health = { 0 };
	const char *why = engine_why(reader->engine, NULL, &health);

	if (!why)
		return;
	answer_all(reader, &reader->waiting, why);
	answer_all(reader, &reader->behind, why);
}

static uint64_t say_overdue(struct reader *reader, struct list *list, uint64_t now)
{
	const char *why = list == &reader->behind ? "this member has not got all of the row in time" :
						    "the engine has not answered in time";
	uint64_t next = UINT64_MAX;

	LIST_FOR_EACH_SAFE(link, list) {
		struct read *read = LIST_ENTRY_OF(link, struct read, link);

		if (read->deadline <= now)
			answer(reader, read, NULL, why);
		else if (read->deadline < next)
			next = read->deadline;
	}
	return next;
}

uint64_t reader_wake(struct reader *reader)
{
	struct list *lists[] = { &reader->waiting, &reader->flying, &reader->behind };
	uint64_t now = host_now(reader->host), next = UINT64_MAX;

	reader->woken = false;
	if (!reader->asked && is_held(reader, now))
		next = reader->hold_until;
	else if (!reader->asked && copy_follows(reader->copy))
		ask(reader);
	else if (!reader->asked)
		say_stopped(reader);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		uint64_t due = say_overdue(reader, lists[i], now);

		next = due < next ? due : next;
	}
	return next;
}

bool reader_is_woken(const struct reader *reader)
{
	return reader->woken;
}

void reader_count(const struct reader *reader, struct reader_counts *ret)
{
	*ret = reader->counts;
}
