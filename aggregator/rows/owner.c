/* SPDX-License-Identifier: Apache-2.0 */
/* See owner.h.  Here: life cycle, the puts that wait, and what is due now and then. */
#include "aggregator/rows/owner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/meta.h"
#include "aggregator/rows/owner_priv.h"
#include "aggregator/rows/retain.h"
#include "lib/clock.h"
#include "lib/slice.h"

#define CHORES_NS (2 * NS_PER_S) /* how often rows are looked at for retention */
#define CHORES_MAX 4096          /* rows at a time */
#define BATCH_MAX ((size_t)INT32_MAX)

/* -------------------------------------------------------------------- life cycle */

static void destroy(struct owner *owner)
{
	for (uint32_t i = 0; i < SHARDS_MAX; i++)
		buf_fini(&owner->shard_key[i]);
	buf_fini(&owner->meta_key);
	buf_fini(&owner->meta);
	txn_fini(&owner->txn);
	txn_fini(&owner->take);
	free(owner);
}

static bool make_keys(struct owner *owner)
{
	for (uint32_t i = 0; i < owner->n_shards; i++)
		if (key_owner(&owner->shard_key[i], copy_prefix(owner->copy), i) < 0)
			return false;
	return true;
}

struct owner *owner_new(const struct owner_options *options)
{
	struct owner *owner = calloc(1, sizeof(*owner));
	struct limits_set set = options->limits.set;

	if (!owner)
		return NULL;
	owner->engine = options->engine;
	owner->copy = options->copy;
	owner->host = options->host;
	owner->checks = options->checks;
	owner->nonce = options->nonce;
	owner->ids = 1;
	owner->n_shards = options->n_shards;
	owner->limits = options->limits;
	set.waiting = options->limits.waiting;
	set.transaction = options->limits.bytes;
	limits_init(&owner->bounds, &set);
	owner->room = OWNER_ROOM_ANY;
	if (!owner->limits.snapshot_cells)
		owner->limits.snapshot_cells = OWNER_SNAPSHOT_CELLS;
	if (!owner->limits.snapshot_bytes)
		owner->limits.snapshot_bytes = OWNER_SNAPSHOT_BYTES;
	owner->take_backoff = OWNER_TAKE_BACKOFF;
	snprintf(owner->member, sizeof(owner->member), "%.*s", SLICE_ARG(options->member));
	list_init(&owner->all);
	list_init(&owner->work);
	list_init(&owner->due);
	list_init(&owner->aboard);
	buf_init(&owner->meta_key, KEY_MAX);
	buf_init(&owner->meta, META_SIZE_MAX);
	for (uint32_t i = 0; i < SHARDS_MAX; i++)
		buf_init(&owner->shard_key[i], KEY_MAX);
	if (!make_keys(owner)) {
		destroy(owner);
		return NULL;
	}
	return owner;
}

void owner_drop_check(struct owner *owner, struct row *row)
{
	if (row->owned)
		snapshot_drop(row->owned);
	if (row->check)
		owner->checks->drop(owner->checks->ctx, row);
}

static void owned_free(struct owner *owner, struct owned *owned)
{
	owner_drop_check(owner, owned->row);
	buf_fini(&owned->before);
	buf_fini(&owned->head);
	buf_fini(&owned->head_key);
	buf_fini(&owned->batch);
	buf_fini(&owned->batch_key);
	buf_fini(&owned->trim_from);
	buf_fini(&owned->trim_end);
	row_forget_keys(owned->row);
	owned->row->owned = NULL;
	list_remove(&owned->link);
	free(owned);
}

struct owned *owner_owned(struct owner *owner, struct row *row)
{
	struct owned *owned = row->owned;

	if (owned)
		return owned;
	if (row_keep_keys(row) < 0 || !(owned = calloc(1, sizeof(*owned))))
		return NULL;
	owned->row = row;
	row->owned = owned;
	list_init(&owned->work);
	list_init(&owned->queue);
	list_init(&owned->aboard);
	list_init(&owned->flying);
	list_init(&owned->refused);
	list_push_back(&owner->all, &owned->link);
	buf_init(&owned->before, HEAD_SIZE_MAX);
	buf_init(&owned->head, HEAD_SIZE_MAX);
	buf_init(&owned->head_key, KEY_MAX);
	buf_init(&owned->batch, BATCH_MAX);
	buf_init(&owned->batch_key, KEY_MAX);
	buf_init(&owned->trim_from, KEY_MAX);
	buf_init(&owned->trim_end, KEY_MAX);
	return owned;
}

bool owner_answered(struct owner *owner)
{
	owner->asked--;
	if (owner->dead && !owner->asked)
		destroy(owner);
	else if (!owner->dead)
		return true;
	return false;
}

static void say(struct owner *owner, struct put *put, enum put_code code, const char *why)
{
	struct put_answer answer = { .code = code, .why = why };

	owner_answer(owner, put, &answer);
}

/* The state that the put brought is being stored, and goes on without it. */
static bool is_begun(const struct owner *owner, const struct put *put)
{
	const struct row *row = put->kind == PUT_STATE ? copy_row(owner->copy, put->row) : NULL;

	return row && row->owned && snapshot_is_given(row->owned, put);
}

/* Not done in time, or not to be done any more.  An engine that has stopped for good says what to do. */
static void say_late(struct owner *owner, struct put *put, const char *why)
{
	struct engine_health health = { 0 };
	const struct row *row = copy_row(owner->copy, put->row);

	why = engine_why(owner->engine, row && row->damaged ? ROW_DAMAGED : why, &health);
	if (put->flying)
		say(owner, put, PUT_UNKNOWN, "the engine has not answered in time");
	else if (is_begun(owner, put))
		say(owner, put, PUT_UNKNOWN, "the state was not stored in time, and goes on being stored");
	else
		say(owner, put, PUT_UNAVAILABLE, why);
}

void owner_free(struct owner *owner)
{
	if (!owner)
		return;
	owner->dead = true;
	while (!list_empty(&owner->due))
		say_late(owner, LIST_ENTRY_OF(owner->due.next, struct put, due), "this member stops");
	LIST_FOR_EACH_SAFE(link, &owner->all)
		owned_free(owner, LIST_ENTRY_OF(link, struct owned, link));
	if (!owner->asked)
		destroy(owner);
}

void owner_set_meta(struct owner *owner, struct mp_str key, struct mp_str text, bool sealed)
{
	buf_reset(&owner->meta_key);
	buf_reset(&owner->meta);
	(void)buf_add_slice(&owner->meta_key, key);
	(void)buf_add_slice(&owner->meta, text);
	owner->sealed = sealed;
	owner->woken = true;
}

/* -------------------------------------------------------------------------- puts */

void owner_answer(struct owner *owner, struct put *put, struct put_answer *answer)
{
	char *reason = put->reason; /* done() may end the put */

	list_remove(&put->link);
	list_remove(&put->due);
	owner->counts.waiting--;
	if (put->dry)
		owner->counts.dry++;
	else
		owner->counts.put[answer->code]++;
	put->done(put, answer);
	free(reason);
}

void owner_turn_away(struct owner *owner, struct owned *owned)
{
	while (!list_empty(&owned->queue))
		say(owner, LIST_ENTRY_OF(owned->queue.next, struct put, link), PUT_ELSEWHERE,
		    "another member owns the row");
}

/* Most deadlines are later than those before them. */
static void wait_by_deadline(struct owner *owner, struct put *put)
{
	struct list *at = owner->due.prev;

	while (at != &owner->due && LIST_ENTRY_OF(at, struct put, due)->deadline > put->deadline)
		at = at->prev;
	list_insert_before(at->next, &put->due);
}

/* What a put meets before it may wait; *ret_why unless it is PUT_COMMITTED. */
static enum put_code admit(struct owner *owner, struct put *put, struct row **ret_row, const char **ret_why)
{
	struct limits *bounds = &owner->bounds;
	enum shard_state state;

	*ret_row = NULL;
	if (owner->counts.waiting >= owner->limits.waiting) {
		*ret_why = limits_reach(bounds, LIMIT_WAITING);
		return PUT_UNAVAILABLE;
	}
	if (owner->sealed) {
		*ret_why = "the group is sealed: its rows are elsewhere";
		return PUT_UNAVAILABLE;
	}
	if (copy_row_make(owner->copy, put->row, ret_row) < 0) {
		*ret_why = limits_reach(bounds, LIMIT_ROWS);
		return PUT_FULL;
	}
	state = owner->shard[(*ret_row)->shard].state;
	if (state == SHARD_OTHERS || state == SHARD_RELEASING) {
		*ret_why = "another member owns the row";
		return PUT_ELSEWHERE;
	}
	if (put_size(put) > owner->limits.bytes) {
		*ret_why = limits_reach(bounds, LIMIT_TRANSACTION);
		return PUT_TOO_LARGE;
	}
	*ret_why = "out of memory";
	return owner_owned(owner, *ret_row) ? PUT_COMMITTED : PUT_UNAVAILABLE;
}

/* Puts of cells may come too fast. */
static enum put_code admit_rate(struct owner *owner, const struct put *put, struct row *row, const char **ret_why)
{
	if (put->kind != PUT_CELLS || put->unhurried ||
	    limits_rate(&owner->bounds, &row->owned->rate_due, host_now(owner->host)))
		return PUT_COMMITTED;
	*ret_why = limits_reach(&owner->bounds, LIMIT_RATE);
	return PUT_TOO_MANY;
}

void owner_put(struct owner *owner, struct put *put)
{
	struct row *row;
	const char *why = "";
	enum put_code code = admit(owner, put, &row, &why);

	if (code == PUT_COMMITTED)
		code = admit_rate(owner, put, row, &why);
	list_init(&put->link);
	list_init(&put->due);
	put->flying = false;
	put->reason = NULL;
	if (!put->time_ms)
		put->time_ms = owner->host->wall(owner->host->ctx);
	put->id = owner->ids;
	owner->ids += put->n + 1;
	owner->counts.waiting++;
	if (row && put->kind == PUT_CELLS && put->base.kind == BASE_UNKNOWN)
		put->base = base_of(row);
	if (code != PUT_COMMITTED) {
		say(owner, put, code, why);
		return;
	}
	wait_by_deadline(owner, put);
	list_push_back(&row->owned->queue, &put->link);
	if (list_empty(&row->owned->work))
		list_push_back(&owner->work, &row->owned->work);
	owner->woken = true;
}

void owner_row_changed(struct owner *owner, struct row *row)
{
	if (row->owned)
		owner->woken = true; /* it may be whole again, and puts wait */
}

/* -------------------------------------------------------------------------- wake */

void owner_say_overdue(struct owner *owner)
{
	uint64_t now = host_now(owner->host);

	while (!list_empty(&owner->due)) {
		struct put *put = LIST_ENTRY_OF(owner->due.next, struct put, due);

		if (put->deadline > now)
			return;
		say_late(owner, put, "not done in time, and not attempted");
	}
}

/*
 * Nothing of the row waits or flies.  What is remembered of one that another member owns by now, or that
 * is not there, goes; of others the memory of a batch.
 */
static void rest(struct owner *owner, struct owned *owned)
{
	const struct row *row = owned->row;

	if (owner->shard[row->shard].state != SHARD_MINE || !row_exists(row))
		owned_free(owner, owned);
	else
		buf_fini(&owned->batch);
}

static void look_at(struct owner *owner, struct row *row, uint64_t wall)
{
	bool may = owner->shard[row->shard].state == SHARD_MINE && row_whole(row);
	bool due = may && retain_due(row, wall), wants = may && snapshot_due(owner, row, wall);
	struct owned *owned = due || wants ? owner_owned(owner, row) : row->owned;

	if (!owned)
		return;
	if (due || wants) {
		owned->chores = due;
		if (wants)
			(void)snapshot_begin(owner, owned); /* else the next time */
		if (list_empty(&owned->work))
			list_push_back(&owner->work, &owned->work);
	} else if (list_empty(&owned->work) && list_empty(&owned->queue) && list_empty(&owned->aboard)) {
		rest(owner, owned);
	}
}

/* Looks at some rows for retention; in some rounds at all. */
static void find_chores(struct owner *owner)
{
	const struct map *rows = copy_rows(owner->copy);
	uint64_t wall = owner->host->wall(owner->host->ctx);
	size_t skip = owner->chores_next, n = 0;

	for (struct map_entry *e = map_next(rows, NULL); e && n < CHORES_MAX; e = map_next(rows, e)) {
		if (skip) {
			skip--;
			continue;
		}
		n++;
		look_at(owner, map_entry_value(e), wall);
	}
	owner->chores_next = n < CHORES_MAX ? 0 : owner->chores_next + n;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t owner_wake(struct owner *owner)
{
	uint64_t now = host_now(owner->host), next = owner->chores_at;

	owner->woken = false;
	owner_say_overdue(owner);
	if (owner->chores_at <= now) {
		next = owner->chores_at = now + CHORES_NS;
		find_chores(owner);
	}
	owner_change_shards(owner);
	if (owner->checks && owner->checks->work(owner->checks->ctx))
		next = now; /* but the loop looks around in between */
	flight_again(owner);
	flight_try(owner);
	if (!list_empty(&owner->due))
		next = sooner(next, LIST_ENTRY_OF(owner->due.next, struct put, due)->deadline);
	if (owner->flight == FLIGHT_NONE && owner->hold_until > now)
		next = sooner(next, owner->hold_until);
	if (owner->flight == FLIGHT_KILL || owner->flight == FLIGHT_LOOK)
		next = sooner(next, owner->again_at);
	if (!owner->taking && owner_wants_change(owner))
		next = sooner(next, owner->take_at);
	return next;
}

bool owner_is_woken(const struct owner *owner)
{
	return owner->woken;
}

void owner_count(const struct owner *owner, struct owner_counts *ret)
{
	*ret = owner->counts;
	memcpy(ret->limit, owner->bounds.reached, sizeof(ret->limit));
}

const struct hist *owner_commit_time(const struct owner *owner)
{
	return &owner->commit_time;
}

const struct hist *owner_batch_cells(const struct owner *owner)
{
	return &owner->batch_cells;
}

const struct owner_refusals *owner_refusals(const struct owner *owner)
{
	return owner->refusals;
}
