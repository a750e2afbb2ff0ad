/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated engine's store: carries out a request, at one point in time. */
#include <assert.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/unit/aggregator/engine_sim_priv.h"

#define STALE_MAX 20 /* transactions that a stale range is behind, at most */

struct sim_reply *sim_reply_new(struct sim_request *r, enum engine_outcome outcome, const char *why)
{
	struct sim_reply *reply = calloc(1, sizeof(*reply));

	assert(reply);
	reply->answer = (struct engine_answer){ .outcome = outcome, .why = why,
						.revision = r->engine->store->map.revision };
	return reply;
}

static void reply_item(struct sim_reply *reply, struct mp_str key, struct mp_str value)
{
	if (reply->answer.n_items == reply->cap) {
		reply->cap = reply->cap ? 2 * reply->cap : 8;
		reply->items = reallocarray(reply->items, reply->cap, sizeof(*reply->items));
		assert(reply->items);
	}
	reply->items[reply->answer.n_items++] = (struct engine_item){ key, value };
}

static struct sim_reply *txn_read(struct sim_request *r, enum engine_outcome outcome, const char *why)
{
	const struct sim_map *map = &r->engine->store->map;
	struct sim_reply *reply = sim_reply_new(r, outcome, why);

	for (size_t i = 0; i < r->txn.n_reads; i++) {
		struct mp_str value = sim_map_get(map, r->txn.reads[i], map->revision);

		if (value.ptr)
			reply_item(reply, r->txn.reads[i], value);
	}
	return reply;
}

static bool txn_holds(const struct sim_request *r)
{
	const struct sim_map *map = &r->engine->store->map;

	for (size_t i = 0; i < r->txn.n_compares; i++) {
		const struct engine_compare *want = &r->txn.compares[i];
		struct mp_str have = sim_map_get(map, want->key, map->revision);

		if (!want->value.ptr != !have.ptr || !slice_eq(want->value, have))
			return false;
	}
	return true;
}

static void txn_apply(struct sim_request *r)
{
	struct sim_store *store = r->engine->store;

	store->map.now_ns = store->sim->now_ns;
	for (size_t i = 0; i < r->txn.n_ops; i++) {
		const struct engine_op *op = &r->txn.ops[i];

		if (op->kind == ENGINE_PUT)
			sim_map_put(&store->map, op->key, op->value, op->leased ? r->lease : 0);
		else if (op->kind == ENGINE_DELETE)
			sim_map_delete(&store->map, op->key);
		else
			sim_map_delete_range(&store->map, op->key, op->value);
	}
	r->happened = true;
	sim_note(store->sim, "#%llu happens%s", (unsigned long long)r->number, r->answered ? ", late" : "");
	if (r->answered && r->fault != SIM_AGAIN)
		sim_fault_count(r->engine, SIM_COMMIT_LATE);
	if (sim_map_end(&store->map))
		sim_watches_changed(store);
}

bool sim_txn_puts(const struct engine_txn *txn, bool leased_only)
{
	for (size_t i = 0; i < txn->n_ops; i++)
		if (txn->ops[i].kind == ENGINE_PUT && (txn->ops[i].leased || !leased_only))
			return true;
	return false;
}

static struct sim_reply *txn_run(struct sim_request *r)
{
	if (sim_txn_puts(&r->txn, false) && (r->engine->store->full || r->fault == SIM_NO_SPACE)) {
		sim_fault_count(r->engine, SIM_NO_SPACE);
		r->no_space = true;
		return sim_reply_new(r, ENGINE_REFUSED, "no space");
	}
	if (!txn_holds(r))
		return txn_read(r, ENGINE_FAILED, "a comparison failed");
	if (!r->txn.n_compares && !r->txn.n_ops)
		return txn_read(r, ENGINE_COMMITTED, "");
	if (sim_txn_puts(&r->txn, true) && r->lease != r->engine->lease)
		return sim_reply_new(r, ENGINE_UNKNOWN, "the lease is gone");
	txn_apply(r);
	return sim_reply_new(r, ENGINE_COMMITTED, "");
}

/* As things stand now, then, or stood at somebody who is behind. */
static uint64_t range_revision(struct sim_request *r)
{
	const struct sim_map *map = &r->engine->store->map;
	uint64_t oldest = map->compacted ? map->compacted : 1;

	if (r->range.revision)
		return r->range.revision;
	if (r->fault != SIM_STALE || map->revision == oldest)
		return map->revision;
	if (map->revision - oldest > STALE_MAX)
		oldest = map->revision - STALE_MAX;
	sim_fault_count(r->engine, SIM_STALE);
	return sim_between(r->engine->store->sim, oldest, map->revision - 1);
}

/* Places of the range's keys: ret_from <= i < ret_end. */
static void range_places(const struct sim_map *map, const struct engine_range *range, size_t *ret_from,
			 size_t *ret_end)
{
	*ret_from = sim_map_seek(map, range->from);
	if (range->end.len)
		*ret_end = sim_map_seek(map, range->end);
	else
		*ret_end = *ret_from + (*ret_from < map->n_keys &&
					slice_eq(map->keys[*ret_from].key, range->from));
}

static struct sim_reply *range_run(struct sim_request *r)
{
	const struct sim_map *map = &r->engine->store->map;
	uint64_t revision = range_revision(r);
	struct sim_reply *reply;
	size_t from, end, bytes = 0;

	if (revision > map->revision || revision < map->compacted)
		return sim_reply_new(r, ENGINE_REFUSED, "that revision is not to be had");
	reply = sim_reply_new(r, ENGINE_COMMITTED, "");
	if (r->range.stale && !r->range.revision)
		reply->answer.revision = revision;
	range_places(map, &r->range, &from, &end);
	while (from < end && !reply->answer.more) {
		size_t place = r->range.last_first ? --end : from++;
		struct mp_str value = sim_map_at(map, place, revision);

		if (value.ptr && engine_range_full(&r->range, reply->answer.n_items, bytes))
			reply->answer.more = true;
		else if (value.ptr)
			reply_item(reply, map->keys[place].key, value);
		bytes += value.ptr ? map->keys[place].key.len + value.len : 0;
	}
	return reply;
}

struct sim_reply *sim_request_run(struct sim_request *r)
{
	return r->ranges ? range_run(r) : txn_run(r);
}
