/* SPDX-License-Identifier: Apache-2.0 */
/* See group_priv.h.  Here: `meta`, which says what the group is. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/group_priv.h"
#include "lib/hex.h"
#include "lib/log.h"
#include "lib/slice.h"

#define META_AGAIN_MS 200 /* until `meta` is asked for again */

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
	if (g->meta.shards && (strcmp(meta.group, g->meta.group) != 0 || meta.shards != g->meta.shards)) {
		group_fail(g, "the engine holds another group than before: was it restored, or emptied?");
		return;
	}
	g->meta = meta;
	buf_reset(&g->meta_text);
	(void)buf_add_slice(&g->meta_text, text);
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
	if (g->meta.shards && !g->copy && group_build(g) < 0)
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
	else
		g->asked++;
}

static void on_meta_made(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (!group_answered(g))
		return;
	if (answer->outcome == ENGINE_COMMITTED)
		begin(g, buf_slice(&g->meta_text));
	else
		meta_later(g); /* somebody else has made it, or nobody knows: it is read again */
}

static void make_meta(struct group *g)
{
	struct meta meta = { .generation = 1, .shards = g->options.shards };
	uint64_t id[2] = { 0 };

	for (size_t i = 0; i < 2; i++)
		id[i] = group_chance(g);
	if (g->uuid[0])
		(void)snprintf(meta.group, sizeof(meta.group), "%s", g->uuid);
	else
		hex_encode(meta.group, id, sizeof(id));
	store_meta(g, (struct mp_str){ 0 }, &meta, on_meta_made);
}

static void on_generation(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (!group_answered(g))
		return;
	g->options.lost = answer->outcome != ENGINE_COMMITTED;
	meta_later(g); /* it is read, and is what it is now */
}

/* Whoever still has the generation before commits nothing. */
static void next_generation(struct group *g, struct mp_str text)
{
	struct err err = { 0 };
	struct meta meta;

	if (meta_read(text, &meta, &err) < 0) {
		group_fail(g, err.text);
		return;
	}
	meta.generation++;
	log_warn("a loss was accepted", "group=%s generation=%" PRIu64, meta.group, meta.generation);
	store_meta(g, text, &meta, on_generation);
}

static void on_meta(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (!group_answered(g))
		return;
	if (answer->outcome != ENGINE_COMMITTED)
		meta_later(g);
	else if (answer->n_items && g->options.lost)
		next_generation(g, answer->items[0].value);
	else if (answer->n_items)
		begin(g, answer->items[0].value);
	else
		make_meta(g);
}

void group_ask_meta(struct group *g)
{
	const struct engine_range range = { .from = buf_slice(&g->meta_key) };

	if (g->engine->ops->range(g->engine, &range, on_meta, g) < 0)
		meta_later(g);
	else
		g->asked++;
}
