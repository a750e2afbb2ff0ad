/* SPDX-License-Identifier: Apache-2.0 */
/* See group_priv.h.  Here: `meta`, which says what the group is. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/group_priv.h"
#include "aggregator/rows/restored.h"
#include "lib/hex.h"
#include "lib/log.h"
#include "lib/slice.h"

#define META_AGAIN_MS 200 /* until `meta` is asked for again */
#define ROWS_SAID 100     /* rows that are named in the log when something was lost */

static uint64_t identity_of(const struct group *g)
{
	return g->engine->ops->identity ? g->engine->ops->identity(g->engine) : 0;
}

void group_take_meta(struct group *g, struct mp_str text)
{
	struct err err = { 0 };
	struct meta meta;

	if (meta_read(text, &meta, &err) < 0) {
		group_fail(g, err.text);
		return;
	}
	if (g->uuid[0] && strcmp(meta.group, g->uuid) != 0) {
		group_fail(g, "the engine holds another group than this member's: was it restored, or is it the wrong one?");
		return;
	}
	if (g->meta.shards && (strcmp(meta.group, g->meta.group) != 0 || meta.shards != g->meta.shards ||
			       meta.generation != g->meta.generation)) {
		group_fail(g, "the engine holds another group than before: was it restored, or emptied?");
		return;
	}
	g->meta = meta;
	if (text.ptr != buf_str(&g->meta_text)) { /* else it was made here */
		buf_reset(&g->meta_text);
		(void)buf_add_slice(&g->meta_text, text);
	}
	if (g->owner)
		owner_set_meta(g->owner, buf_slice(&g->meta_key), buf_slice(&g->meta_text), meta.sealed);
}

static void meta_again(uv_timer_t *timer)
{
	group_ask_meta(timer->data);
}

static void meta_later(struct group *g)
{
	if (!g->closing)
		uv_timer_start(&g->meta_timer, meta_again, META_AGAIN_MS, 0);
}

static void begin(struct group *g, struct mp_str text)
{
	group_take_meta(g, text);
	if (!g->meta.shards || g->copy)
		return;
	g->calls.known(g->calls.ctx);
	if (group_build(g) < 0)
		group_fail(g, "out of memory");
}

/* `meta` becomes that, if it is still as it was (ptr NULL: not there). */
static void store_meta(struct group *g, struct mp_str before, const struct meta *meta, engine_done_fn *done)
{
	struct engine_compare same = { .key = buf_slice(&g->meta_key), .value = before };
	struct engine_op put = { .kind = ENGINE_PUT, .key = same.key };
	struct engine_txn txn = { .compares = &same, .n_compares = 1, .ops = &put, .n_ops = 1 };

	buf_reset(&g->meta_text);
	(void)meta_write(&g->meta_text, meta);
	put.value = buf_slice(&g->meta_text);
	if (g->engine->ops->commit(g->engine, &txn, done, g) < 0)
		meta_later(g);
}

static void on_meta_made(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (g->closing)
		return;
	if (answer->outcome == ENGINE_COMMITTED)
		begin(g, buf_slice(&g->meta_text));
	else
		meta_later(g); /* somebody else has made it, or nobody knows: it is read again */
}

static void make_meta(struct group *g)
{
	struct meta meta = { .generation = 1, .shards = g->options.shards, .cluster = identity_of(g) };
	uint64_t id[2] = { 0 };

	for (size_t i = 0; i < 2; i++)
		id[i] = group_chance(g);
	if (g->uuid[0])
		(void)snprintf(meta.group, sizeof(meta.group), "%s", g->uuid);
	else
		hex_encode(meta.group, id, sizeof(id));
	store_meta(g, (struct mp_str){ 0 }, &meta, on_meta_made);
}

/* The tenant of a key, as it stands there; ptr NULL: that is no key of a tenant's. */
static struct mp_str tenant_of(struct mp_str key)
{
	struct mp_str tenant, rest;

	if (!slice_cut(key, '/', &tenant, &rest) || !slice_cut(rest, '/', &tenant, &rest))
		return (struct mp_str){ 0 };
	return tenant;
}

static void on_first_key(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;
	struct mp_str theirs = { 0 }, ours = tenant_of(buf_slice(&g->meta_key));
	char why[600];

	if (g->closing)
		return;
	if (answer->outcome != ENGINE_COMMITTED) {
		meta_later(g);
		return;
	}
	if (answer->n_items)
		theirs = tenant_of(answer->items[0].key);
	if (!theirs.ptr || slice_eq(theirs, ours)) {
		make_meta(g);
		return;
	}
	(void)snprintf(why, sizeof(why), "the rows of this group are those of tenant %.*s, and not of %.*s: start it with "
		       "that --tenant", SLICE_ARG(theirs), SLICE_ARG(ours));
	group_fail(g, why);
}

/*
 * There is no `meta` of this tenant.  In an engine that is the group's own there must not be another tenant's rows
 * either: then this member was started with the wrong name, and would begin a second set of rows under one group;
 * also when that group is not known by its uuid, because a restored backup holds it.
 */
static void begin_tenant(struct group *g)
{
	struct engine_range range = { .limit = 1 };
	struct buf from, end;

	buf_init(&from, KEY_MAX);
	buf_init(&end, KEY_MAX);
	(void)key_root(&from);
	(void)key_range_end(&end, buf_slice(&from));
	range.from = buf_slice(&from);
	range.end = buf_slice(&end);
	if (!g->uuid[0] && !g->options.runs_engine)
		make_meta(g);
	else if (from.error || end.error || g->engine->ops->range(g->engine, &range, on_first_key, g) < 0)
		meta_later(g);
	buf_fini(&from);
	buf_fini(&end);
}

static void on_generation(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (g->closing)
		return;
	if (answer->outcome == ENGINE_COMMITTED)
		g->options.lost = false;
	meta_later(g); /* it is read, and is what it is now */
}

/* Whoever still has the generation before commits nothing. */
static void next_generation(struct group *g, struct mp_str text, const struct meta *now, uint64_t revision)
{
	struct meta next = *now;
	struct buf prefix;

	next.generation++;
	next.cluster = identity_of(g);
	g->raised = true;
	log_warn("a loss was accepted", "group=%s generation=%" PRIu64 " from=%016" PRIx64 " to=%016" PRIx64
		 " revision=%" PRIu64, next.group, next.generation, now->cluster, next.cluster, revision);
	buf_init(&prefix, KEY_MAX);
	if (key_prefix(&prefix, buf_slice(&g->tenant)) ||
	    restored_commit(g->engine, buf_slice(&prefix), text, &next, &g->meta_text, on_generation, g) < 0)
		meta_later(g);
	buf_fini(&prefix);
}

/* A group of an older program: from now on it says in which engine it is. */
static void say_engine(struct group *g, struct mp_str text, const struct meta *now)
{
	struct meta next = *now;

	next.cluster = identity_of(g);
	store_meta(g, text, &next, on_generation);
}

/* It is there: is it that of this engine? */
static void judge(struct group *g, struct mp_str text, uint64_t revision)
{
	char why[RESTORED_WHY_SIZE];
	struct err err = { 0 };
	struct meta meta;

	if (meta_read(text, &meta, &err) < 0) {
		group_fail(g, err.text);
		return;
	}
	if (g->options.lost) {
		next_generation(g, text, &meta, revision);
		return;
	}
	switch (restored_judge(&meta, identity_of(g), g->options.accept)) {
	case RESTORED_NOT:
		begin(g, text);
		break;
	case RESTORED_UNKNOWN:
		say_engine(g, text, &meta);
		break;
	case RESTORED_ACCEPTED:
		next_generation(g, text, &meta, revision);
		break;
	case RESTORED_REFUSED:
		restored_why(&meta, identity_of(g), why);
		group_fail(g, why);
		break;
	}
}

static void on_meta(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (g->closing)
		return;
	if (answer->outcome != ENGINE_COMMITTED)
		meta_later(g);
	else if (answer->n_items)
		judge(g, answer->items[0].value, answer->revision);
	else
		begin_tenant(g);
}

void group_ask_meta(struct group *g)
{
	const struct engine_range range = { .from = buf_slice(&g->meta_key) };

	if (g->engine->ops->range(g->engine, &range, on_meta, g) < 0)
		meta_later(g);
}

void group_say_rows(const struct group *g)
{
	const struct map *rows = copy_rows(g->copy);
	size_t n = 0;

	for (struct map_entry *e = map_next(rows, NULL); e; e = map_next(rows, e)) {
		const struct row *row = map_entry_value(e);

		if (row_exists(row) && n++ < ROWS_SAID)
			log_warn("a row goes on behind its highest seq", "row=%s incarnation=%016" PRIx64 " highest=%" PRIu64,
				 LOG_SLICE(row_name(row)), row->head.incarnation, row->head.last);
	}
	log_warn("what was put behind that is lost", "group=%s generation=%" PRIu64 " rows=%zu", g->meta.group,
		 g->meta.generation, n);
}
