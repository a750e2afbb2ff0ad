/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See copy.h.
 *
 * Answers that the engine owes keep the copy's memory: copy_free() marks it,
 * and the last answer frees it.
 */
#include "aggregator/rows/copy_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/slice.h"

#define BACKOFF_MIN (50 * NS_PER_MS)
#define BACKOFF_MAX (2 * NS_PER_S)
#define COMPARE_NS NS_PER_S

/* ---------------------------------------------------------------- life cycle */

static bool make_texts(struct copy *copy, struct mp_str tenant)
{
	struct buf *cells = &copy->text[COPY_FROM];

	return !key_prefix(&copy->text[COPY_PREFIX], tenant) &&
	       !key_snapshots(&copy->text[COPY_END], copy_text(copy, COPY_PREFIX)) &&
	       !buf_add_slice(cells, copy_text(copy, COPY_PREFIX)) && !buf_add_str(cells, "cells/") &&
	       !key_range_end(&copy->text[COPY_CELLS_END], buf_slice(cells));
}

struct copy *copy_new(const struct copy_options *options, const struct copy_calls *calls)
{
	struct copy *copy = calloc(1, sizeof(*copy));

	if (!copy)
		return NULL;
	copy->engine = options->engine;
	copy->host = options->host;
	copy->calls = *calls;
	copy->n_shards = options->n_shards;
	copy->backoff = BACKOFF_MIN;
	for (size_t i = 0; i < COPY_TEXTS; i++)
		buf_init(&copy->text[i], ENGINE_KEY_MAX + 1);
	map_init(&copy->rows, options->rows_max);
	map_init(&copy->others, COPY_OTHERS_MAX);
	list_init(&copy->touched);
	list_init(&copy->doubtful);
	if (!make_texts(copy, options->tenant)) {
		copy_free(copy);
		return NULL;
	}
	return copy;
}

static void stored_free(struct stored *stored)
{
	free(stored->text);
	free(stored);
}

static void destroy(struct copy *copy)
{
	copy_forget_readings(copy);
	for (struct map_entry *e = map_next(&copy->rows, NULL); e; e = map_next(&copy->rows, e))
		row_free(map_entry_value(e));
	for (struct map_entry *e = map_next(&copy->others, NULL); e; e = map_next(&copy->others, e))
		stored_free(map_entry_value(e));
	for (uint32_t i = 0; i < SHARDS_MAX; i++)
		free(copy->owner[i].text);
	map_fini(&copy->rows);
	map_fini(&copy->others);
	for (size_t i = 0; i < COPY_TEXTS; i++)
		buf_fini(&copy->text[i]);
	free(copy->stretch.rows);
	free(copy);
}

void copy_free(struct copy *copy)
{
	if (!copy)
		return;
	copy->dead = true;
	if (copy->watch)
		copy->engine->ops->unwatch(copy->engine, copy->watch);
	copy->watch = 0;
	if (!copy->asked)
		destroy(copy);
}

bool copy_ask(struct copy *copy, const struct engine_range *range, engine_done_fn *done, void *ctx)
{
	if (copy->engine->ops->range(copy->engine, range, done, ctx) < 0)
		return false;
	copy->asked++;
	return true;
}

bool copy_answered(struct copy *copy)
{
	copy->asked--;
	if (copy->dead && !copy->asked)
		destroy(copy);
	else if (!copy->dead)
		return true;
	return false;
}

/* --------------------------------------------------------------------- reading */

bool copy_follows(const struct copy *copy)
{
	return copy->state == COPY_FOLLOWS;
}

struct mp_str copy_prefix(const struct copy *copy)
{
	return copy_text(copy, COPY_PREFIX);
}

struct row *copy_row(const struct copy *copy, struct mp_str name)
{
	return map_get(&copy->rows, name);
}

int copy_row_make(struct copy *copy, struct mp_str name, struct row **ret)
{
	struct row *row = map_get(&copy->rows, name);
	int r = 0;

	if (!row) {
		row = row_new(name, copy->n_shards);
		if (!row)
			return -ENOMEM;
		row->total = &copy->bytes;
		r = map_put(&copy->rows, name, row, NULL);
		if (r < 0)
			row_free(row);
	}
	if (r == 0)
		*ret = row;
	return r;
}

uint64_t copy_bytes(const struct copy *copy)
{
	return copy->bytes;
}

const struct map *copy_rows(const struct copy *copy)
{
	return &copy->rows;
}

struct mp_str copy_owner(const struct copy *copy, uint32_t shard)
{
	return (struct mp_str){ copy->owner[shard].text, copy->owner[shard].size };
}

void copy_count(const struct copy *copy, struct copy_counts *ret)
{
	*ret = copy->counts;
}

/* --------------------------------------------------------------------- changes */

static void touch(struct copy *copy, struct row *row)
{
	list_remove(&row->touched);
	list_push_back(&copy->touched, &row->touched);
}

void copy_doubt(struct copy *copy, struct row *row)
{
	row->doubtful = true;
	row->doubted = row->reread;
	if (!row->reread && list_empty(&row->doubt))
		list_push_back(&copy->doubtful, &row->doubt);
	copy_read_doubtful(copy);
}

void copy_say_damaged(struct copy *copy, struct row *row, uint64_t seq, int rc, const struct err *err)
{
	if (rc != -EINVAL && rc != -EPROTONOSUPPORT)
		return; /* no memory, or another state than was thought */
	copy->counts.damaged++;
	if (!row->damaged)
		log_warn("what is stored of a row cannot be read", "row=%s seq=%" PRIu64 " why=%s", LOG_STR(row->name), seq,
			 LOG_STR(err->text));
	row->damaged = true;
}

/* False: it cannot be taken in, and what the row has is not believed, not by who reads it again just now either. */
static bool set_head(struct copy *copy, struct row *row, struct mp_str text)
{
	struct err err = { 0 };
	int rc = row_set_head(row, text, &err);

	if (rc == 0)
		return true;
	copy_say_damaged(copy, row, 0, rc, &err);
	row->doubtful = true;
	row->doubted = row->reread;
	return false;
}

static void take_head(struct copy *copy, const struct key *key, struct mp_str value, uint64_t revision)
{
	struct row *row = NULL;

	if (copy_row_make(copy, (struct mp_str){ key->name, key->name_size }, &row) < 0 || !row) {
		copy->counts.unplaced++; /* more rows than there may be, or no memory: not to be had here */
		return;
	}
	/* Several transactions may come as of the last one's revision: the same again is not older. */
	if (row->revision > revision)
		return;
	row->revision = revision;
	if (row_head_is(row, value) && row_whole(row))
		return; /* its owner's own, which were taken in when they landed */
	touch(copy, row);
	(void)set_head(copy, row, value);
}

static void take_cells(struct copy *copy, const struct key *key, struct mp_str value)
{
	struct row *row = copy_row(copy, (struct mp_str){ key->name, key->name_size });
	const struct row_batch *b;
	struct err err = { 0 };
	int r;

	if (!row || key->incarnation != row->head.incarnation || row->head.deleted)
		return; /* what is left of another life */
	if (!value.ptr) {
		b = row_batch_of(row, key->seq);
		if (b)
			row_drop(row, b->first + b->n);
		return;
	}
	/* What is read from the start begins with what is stored, not with what has just come. */
	r = row->reading && copy->loaded ? -ERANGE : row_take(row, value, &err);
	if (r == -EALREADY)
		return;
	touch(copy, row);
	if (r < 0)
		row->doubtful = true;
	copy_say_damaged(copy, row, key->seq, r, &err);
}

/* Replaces the text.  False: that was known, or is older. */
static bool store(struct copy *copy, struct stored *stored, struct mp_str value, uint64_t revision)
{
	char *text;

	stored->seen = copy->reads;
	if (revision < stored->revision)
		return false;
	stored->revision = revision;
	if (!value.ptr == !stored->text &&
	    (!value.ptr || slice_eq(value, (struct mp_str){ stored->text, stored->size })))
		return false;
	text = value.ptr ? slice_dup(value) : NULL;
	if (value.ptr && !text)
		return false;
	free(stored->text);
	stored->text = text;
	stored->size = value.len;
	return true;
}

static void take_owner(struct copy *copy, const struct key *key, struct mp_str value, uint64_t revision)
{
	if (key->shard >= copy->n_shards || !store(copy, &copy->owner[key->shard], value, revision))
		return;
	copy->owner[key->shard].touched = copy->owners_touched = true;
}

static void take_other(struct copy *copy, struct mp_str text, const struct key *key, struct mp_str value,
		       uint64_t revision)
{
	struct stored *stored = map_get(&copy->others, text);

	if (!stored) {
		stored = calloc(1, sizeof(*stored));
		if (!stored || map_put(&copy->others, text, stored, NULL) < 0) {
			free(stored);
			return;
		}
	}
	if (store(copy, stored, value, revision))
		copy->calls.other(copy->calls.ctx, key, value);
	if (!stored->text)
		stored_free(map_remove(&copy->others, text));
}

void copy_take(struct copy *copy, struct mp_str text, struct mp_str value, uint64_t revision)
{
	struct key key;

	if (key_parse(text, copy_text(copy, COPY_PREFIX), &key) < 0)
		copy->counts.strange++;
	else if (key.kind == KEY_HEAD)
		take_head(copy, &key, value, revision);
	else if (key.kind == KEY_CELLS)
		take_cells(copy, &key, value);
	else if (key.kind == KEY_OWNER)
		take_owner(copy, &key, value, revision);
	else if (key.kind != KEY_SNAPSHOT)
		take_other(copy, text, &key, value, revision);
}

static void settle_owners(struct copy *copy)
{
	copy->owners_touched = false;
	for (uint32_t i = 0; i < copy->n_shards; i++) {
		bool touched = copy->owner[i].touched;

		copy->owner[i].touched = false;
		if (touched)
			copy->calls.owner(copy->calls.ctx, i);
	}
}

void copy_settle(struct copy *copy)
{
	struct list *link;

	if (copy->owners_touched)
		settle_owners(copy);
	while ((link = list_pop_front(&copy->touched))) {
		struct row *row = LIST_ENTRY_OF(link, struct row, touched);

		if (row_whole(row))
			copy->calls.row(copy->calls.ctx, row);
		else if (!row->reread)
			copy_doubt(copy, row);
	}
}

void copy_wrote(struct copy *copy, struct row *row, struct mp_str head, struct mp_str batch, uint64_t revision)
{
	bool good = true;
	int r = 0;

	if (revision > row->revision) {
		row->revision = revision;
		good = set_head(copy, row, head);
	}
	if (good && batch.ptr)
		r = row->reading ? -ERANGE : row_take(row, batch, NULL);
	if (r < 0 && r != -EALREADY) /* the watch was faster */
		row->doubtful = true;
	touch(copy, row);
	copy_settle(copy);
}

void copy_wrote_owner(struct copy *copy, uint32_t shard, struct mp_str text, uint64_t revision)
{
	if (store(copy, &copy->owner[shard], text, revision))
		copy->calls.owner(copy->calls.ctx, shard);
}

/* ----------------------------------------------------------------------- watch */

void copy_later(struct copy *copy)
{
	copy->state = COPY_WAITS;
	copy->retry_at = host_now(copy->host) + copy->backoff;
	copy->backoff = copy->backoff * 2 > BACKOFF_MAX ? BACKOFF_MAX : copy->backoff * 2;
}

static void on_events(void *ctx, uint64_t revision, const struct engine_event *events, size_t n)
{
	struct copy *copy = ctx;

	for (size_t i = 0; i < n; i++)
		copy_take(copy, events[i].key, events[i].value, revision);
	copy->revision = revision;
	copy->backoff = BACKOFF_MIN;
	copy_settle(copy);
}

static void on_ended(void *ctx, uint64_t compacted, const char *why)
{
	struct copy *copy = ctx;

	(void)compacted;
	(void)why; /* the engine's health tells it */
	copy->watch = 0;
	copy_later(copy);
}

void copy_begin_watch(struct copy *copy)
{
	const struct engine_watch calls = { on_events, on_ended, copy };

	copy->watch = copy->engine->ops->watch(copy->engine, copy_text(copy, COPY_PREFIX), copy_text(copy, COPY_END),
					       copy->revision, &calls);
	if (!copy->watch) {
		copy_later(copy);
		return;
	}
	copy->counts.watches++;
	copy->state = COPY_FOLLOWS;
	copy->compare_at = host_now(copy->host) + COMPARE_NS;
	if (!copy->loaded) {
		copy->loaded = true;
		copy->calls.loaded(copy->calls.ctx);
	}
}

void copy_start(struct copy *copy)
{
	copy_read_all(copy);
}

uint64_t copy_wake(struct copy *copy)
{
	uint64_t now = host_now(copy->host);

	if (copy->state == COPY_WAITS && copy->retry_at && copy->retry_at <= now) {
		copy->retry_at = 0;
		copy_read_all(copy);
	}
	copy_read_doubtful(copy);
	if (copy->state == COPY_FOLLOWS && copy->compare_at <= now) {
		copy->compare_at = now + COMPARE_NS;
		copy_compare(copy);
	}
	/* Rows that wait for others to be read, which goes on with an answer, are no reason to wake. */
	if (copy->state == COPY_FOLLOWS)
		return copy->reread_at > now && copy->reread_at < copy->compare_at ? copy->reread_at : copy->compare_at;
	return copy->retry_at ? copy->retry_at : UINT64_MAX;
}
