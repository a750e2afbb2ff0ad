/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes on a flight: the puts of a row that may be committed now, one
 * behind the other, as one batch and one head.
 *
 * Nothing is on its way while this runs: each put is judged by what is
 * committed and by what stands before it on the same flight.
 *
 * That is what this process knows to be committed, and it may have been stopped
 * for an hour.  Repetitions are true whatever has happened since; refusals are
 * not: they go on the flight, too, and are answered when its comparisons held.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "aggregator/rows/owner_priv.h"
#include "aggregator/rows/retain.h"
#include "lib/clock.h"
#include "lib/slice.h"

#define CELLS_MAX 4096 /* in a batch */
#define BATCH_KEPT ((size_t)64 << 10) /* bytes: the memory of a larger one is given back when no put waits behind it */

/* ------------------------------------------------------------------- its keys */

static uint64_t *seen_word(struct owned *owned, struct mp_str key, uint64_t *ret_bit)
{
	uint64_t hash = XXH3_64bits(key.ptr, key.len);

	*ret_bit = UINT64_C(1) << (hash & 63);
	return &owned->seen[(hash >> 6) % (OWNER_SEEN_BITS / 64)];
}

/* A put with that key is on the flight: this one is judged when that has landed. */
static bool has_key(struct owned *owned, struct mp_str key)
{
	uint64_t bit;

	if (!key.len || !(*seen_word(owned, key, &bit) & bit))
		return false;
	LIST_FOR_EACH(link, &owned->flying)
		if (slice_eq(LIST_ENTRY_OF(link, struct put, link)->key, key))
			return true;
	return false;
}

static void add_key(struct owned *owned, struct mp_str key)
{
	uint64_t bit = 0;

	if (key.len)
		*seen_word(owned, key, &bit) |= bit;
}

/* --------------------------------------------------------------------- begin */

void plan_forget(struct owned *owned)
{
	list_remove(&owned->aboard);
	owned->n_flying = 0;
	owned->writes = owned->overtaken = false;
	if (owned->batch.cap > BATCH_KEPT && list_empty(&owned->queue))
		buf_fini(&owned->batch);
	buf_reset(&owned->batch);
	buf_reset(&owned->trim_from);
	buf_reset(&owned->trim_end);
	snapshot_forget(owned);
	memset(owned->seen, 0, sizeof(owned->seen));
}

static uint64_t draw(const struct owner *owner)
{
	uint64_t word = owner->host->random(owner->host->ctx);

	return word ? word : 1;
}

static struct batch_id id_of(const struct owner *owner)
{
	uint64_t words[2] = { draw(owner), draw(owner) };
	struct batch_id id;

	memcpy(id.bytes, words, sizeof(id.bytes));
	return id;
}

/*
 * Puts wait for a row that was deleted, and cells and snapshots of its life are still there: a flight without them
 * ends it first, since all of that together would be more than three ops.
 */
static bool ends_first(const struct owned *owned)
{
	const struct head *head = &owned->row->head;

	return head->deleted && head->check[0] && head->floor <= head->last && !list_empty(&owned->queue);
}

/* A head that follows the one that is stored; its id tells this flight from all others. */
static void begin(struct owner *owner, struct owned *owned)
{
	const struct row *row = owned->row;

	owned->next = row->head;
	if (!row_exists(row) && !list_empty(&owned->queue))
		owned->next = (struct head){ .incarnation = draw(owner), .before = row->head.incarnation,
					     .floor = 1 };
	owned->next.batch = id_of(owner);
}

/* --------------------------------------------------------------------- one put */

static int check(struct owner *owner, struct owned *owned, const struct put *put, const char **ret_why)
{
	const struct put **pending = calloc(owned->n_flying + 1, sizeof(*pending));
	size_t n = 0;
	int r;

	if (!pending)
		return -ENOMEM;
	LIST_FOR_EACH(link, &owned->flying)
		pending[n++] = LIST_ENTRY_OF(link, struct put, link);
	r = owner->checks->allows(owner->checks->ctx, owned->row, pending, n, put, ret_why);
	free(pending);
	return r;
}

static enum put_code judge_check(struct owner *owner, struct owned *owned, const struct put *put,
				 struct put_answer *ret)
{
	int r;

	if (!owned->next.check[0])
		return PUT_COMMITTED;
	if (!row_exists(owned->row) || strcmp(owned->next.check, owned->row->head.check) != 0)
		return PUT_LATER; /* it gets its check by what is on the flight */
	ret->why = "the row's check is not to be had here";
	r = owner->checks ? check(owner, owned, put, &ret->why) : -ENOENT;
	if (r == 0)
		return PUT_COMMITTED;
	if (r == -EAGAIN)
		return PUT_LATER;
	return ret->code = r == -EPERM ? PUT_REFUSED : PUT_UNAVAILABLE;
}

static void use_room(struct owner *owner, uint64_t bytes)
{
	if (owner->room != OWNER_ROOM_ANY)
		owner->room -= bytes < owner->room ? bytes : owner->room;
}

/* What was used lately, in the last second at least. */
static void spent_turn(struct owner *owner)
{
	uint64_t now = host_now(owner->host), slots = (now - owner->spent_at) / NS_PER_S;

	if (!slots)
		return;
	owner->spent[1] = slots == 1 ? owner->spent[0] : 0;
	owner->spent[0] = 0;
	owner->spent_at = now;
}

void owner_spend_room(struct owner *owner, uint64_t bytes)
{
	spent_turn(owner);
	owner->spent[0] += bytes;
	use_room(owner, bytes);
}

/* etcd writes its file some time after it has answered, later when the disk is busy: what it says lacks the last puts. */
void owner_set_room(struct owner *owner, uint64_t bytes, const char *why)
{
	spent_turn(owner);
	owner->room = bytes;
	use_room(owner, owner->spent[0] + owner->spent[1]);
	(void)snprintf(owner->room_why, sizeof(owner->room_why), "%s", why);
}

/* Puts stop before the engine is full, so that floors, deletions and takeovers can still be committed. */
static bool engine_has_room(const struct owner *owner, const struct owned *owned, const struct put *put)
{
	return owner->room == OWNER_ROOM_ANY || owner->bytes_aboard + owned->batch.len + put_size(put) <= owner->room;
}

/* Has the row, has the tenant, has the engine room for it? */
static enum put_code judge_room(struct owner *owner, const struct owned *owned, const struct put *put,
				struct put_answer *ret)
{
	uint64_t tenant = copy_bytes(owner->copy) + owner->bytes_aboard + owned->batch.len;
	enum limit limit = limits_bytes(&owner->bounds, owned->row->bytes + owned->batch.len, tenant, put_size(put));

	if (limit == LIMITS && !engine_has_room(owner, owned, put))
		limit = LIMIT_ENGINE;
	if (limit == LIMITS)
		return PUT_COMMITTED;
	if (owned->n_flying)
		return PUT_LATER; /* what is on the flight may yet fail */
	ret->why = limits_reach(&owner->bounds, limit);
	if (limit == LIMIT_ENGINE && owner->room_why[0])
		ret->why = owner->room_why;
	return ret->code = PUT_FULL;
}

/* A check that its owner has not would never let anything in. */
static enum put_code judge_new_check(struct owner *owner, const struct put *put, struct put_answer *ret)
{
	const struct policies *p = &put->policies;

	if (!p->has_check || !p->check[0] ||
	    (owner->checks && owner->checks->rules(owner->checks->ctx, p->check)))
		return PUT_COMMITTED;
	ret->why = "neither the row's owner nor a member that it knows has such a check";
	return ret->code = PUT_REFUSED;
}

/* The floor of a row with a check rests on a snapshot: when there is none that new, it is made first. */
static enum put_code judge_floor(struct owner *owner, struct owned *owned, const struct put *put,
				 struct put_answer *ret)
{
	int r;

	if (!owned->next.check[0] || put->floor <= owned->next.snapshot + 1)
		return PUT_COMMITTED;
	r = snapshot_begin(owner, owned);
	if (r == 0 || r == -EAGAIN)
		return PUT_LATER;
	if (r == -E2BIG) {
		ret->why = limits_reach(&owner->bounds, LIMIT_SNAPSHOT);
		return ret->code = PUT_FULL;
	}
	ret->why = "the row's floor rests on the state of its check, which is not to be had here";
	return ret->code = PUT_UNAVAILABLE;
}

/* The row begins behind that snapshot when it is stored, and no cell has come meanwhile. */
static enum put_code judge_state(struct owner *owner, struct owned *owned, const struct put *put,
				 struct put_answer *ret)
{
	const struct head *head = &owned->row->head;
	int r;

	if (head->last || !head->check[0]) {
		ret->why = head->last ? "the row has cells" : "the row has no check whose state that could be";
		return ret->code = PUT_REFUSED;
	}
	if (snapshot_is(owned, put))
		return PUT_COMMITTED;
	if (owner->room != OWNER_ROOM_ANY && put->state.len > owner->room) {
		ret->why = limits_reach(&owner->bounds, LIMIT_ENGINE);
		ret->why = owner->room_why[0] ? owner->room_why : ret->why;
		return ret->code = PUT_FULL;
	}
	r = snapshot_give(owner, owned, put);
	if (r == 0)
		return PUT_LATER;
	ret->why = r == -E2BIG ? limits_reach(&owner->bounds, LIMIT_SNAPSHOT) : "out of memory";
	return ret->code = r == -E2BIG ? PUT_TOO_LARGE : PUT_UNAVAILABLE;
}

/*
 * As put_judge(), behind what is on the flight already.  What only that speaks
 * against is PUT_LATER: nothing is refused because of what may yet fail.
 */
static enum put_code judge(struct owner *owner, struct owned *owned, const struct put *put,
			   struct put_answer *ret)
{
	enum put_code code = put_judge(put, owned->row, ret);

	if (code == PUT_COMMITTED && put->kind == PUT_STATE)
		code = judge_state(owner, owned, put, ret);
	else if (code == PUT_COMMITTED && snapshot_begins_row(owned))
		return PUT_LATER; /* it is judged behind that */
	if (code == PUT_COMMITTED && put->kind == PUT_CELLS)
		code = judge_room(owner, owned, put, ret);
	if (code == PUT_COMMITTED && put->kind == PUT_CELLS)
		code = judge_check(owner, owned, put, ret);
	if (code == PUT_COMMITTED && put->kind == PUT_POLICIES)
		code = judge_new_check(owner, put, ret);
	if (code == PUT_COMMITTED && put->kind == PUT_FLOOR)
		code = judge_floor(owner, owned, put, ret);
	if (!owned->n_flying || code == PUT_REPEATED || code == PUT_LATER)
		return code;
	if (code != PUT_COMMITTED || (put->has_if_match && put->if_match != owned->next.last) ||
	    ((put->kind == PUT_DELETE || put->policies.has_check) && owned->batch.len))
		return PUT_LATER;
	return code;
}

static bool add_cells(struct owner *owner, struct owned *owned, struct put *put)
{
	struct cell cell = {
		.kind = put->cell_kind,
		.time_ms = put->time_ms,
		.key = put->key,
		.origin = put->origin,
	};

	(void)owner;
	if (!owned->batch.len && batch_begin(&owned->batch, &owned->next.batch, owned->next.last + 1) < 0)
		return false;
	put->seq = owned->next.last + 1;
	/* Cells of a put are within bounds (put.h): what can fail is memory, and the batch keeps that error. */
	for (size_t i = 0; i < put->n; i++) {
		cell.content = put->content[i];
		if (batch_add(&owned->batch, &cell) < 0)
			return false;
	}
	owned->next.last += put->n;
	add_key(owned, put->key);
	return true;
}

static bool add_policies(struct owner *owner, struct owned *owned, struct put *put)
{
	const struct policies *p = &put->policies;
	struct head *next = &owned->next;

	put->makes = !row_exists(owned->row) && !owned->n_flying;
	if (p->has_check)
		memcpy(next->check, p->check, sizeof(next->check));
	if (p->has_check) /* judge_new_check() has seen that there is one */
		next->rules = p->check[0] ? owner->checks->rules(owner->checks->ctx, p->check) : 0;
	if (p->has_partition)
		next->partition = p->partition;
	next->keep_cells = p->has_keep_cells ? p->keep_cells : next->keep_cells;
	next->keep_bytes = p->has_keep_bytes ? p->keep_bytes : next->keep_bytes;
	next->keep_ms = p->has_keep_ms ? p->keep_ms : next->keep_ms;
	return true;
}

static bool add_floor(struct owner *owner, struct owned *owned, struct put *put)
{
	(void)owner;
	if (put->floor > owned->next.floor)
		owned->next.floor = put->floor;
	return true;
}

static bool add_delete(struct owner *owner, struct owned *owned, struct put *put)
{
	const struct row *row = owned->row;
	uint64_t first = row_first(row), last = row->head.last;

	(void)put;
	if (!last && row->head.check[0]) { /* no slice will follow: what there is of a state goes now */
		snapshot_drop(owned);
		if (!snapshot_plan_end(owner, owned, row->head.incarnation))
			return false;
	}
	/*
	 * Its cells follow in slices: from now on the floor says how far they have gone, see retain.h. Those
	 * before the first that is held went long ago.
	 */
	owned->next.deleted = true;
	owned->next.floor = first < last ? first : last ? last : 1;
	return true;
}

static bool add_state(struct owner *owner, struct owned *owned, struct put *put)
{
	(void)owner, (void)owned, (void)put; /* snapshot_name() has done it */
	return true;
}

static bool (*const add[])(struct owner *owner, struct owned *owned, struct put *put) = {
	[PUT_CELLS] = add_cells,
	[PUT_POLICIES] = add_policies,
	[PUT_FLOOR] = add_floor,
	[PUT_DELETE] = add_delete,
	[PUT_STATE] = add_state,
};

/* --------------------------------------------------------------------- a row */

/* Is there room for it on the flight?  For one alone there always is. */
static bool fits(const struct owner *owner, const struct owned *owned, const struct put *put)
{
	size_t bytes = owner->bytes_aboard + owned->batch.len + put_size(put) + snapshot_size(owned);

	if (!owned->n_flying && !owner->rows_aboard && !snapshot_size(owned))
		return true;
	return !owner->alone && bytes <= owner->limits.bytes &&
	       (!owned->n_flying || owned->next.last - owned->row->head.last + put->n <= CELLS_MAX);
}

/* The check's reason lives until the next one's. */
static void keep_reason(struct put *put, const struct put_answer *answer)
{
	put->refusal = *answer;
	if (put->kind != PUT_CELLS || answer->code != PUT_REFUSED)
		return;
	free(put->reason);
	put->reason = strdup(answer->why);
	put->refusal.why = put->reason ? put->reason : "the row's check does not allow it";
}

/* It is answered so when the flight's comparisons have held. */
static void prove(struct owned *owned, struct put *put, const struct put_answer *answer)
{
	keep_reason(put, answer);
	list_remove(&put->link);
	list_push_back(&owned->refused, &put->link);
}

static void refuse(struct owner *owner, struct owned *owned, struct put *put, struct put_answer *answer)
{
	static const enum put_code proven[] = { PUT_NOT_THERE, PUT_REFUSED, PUT_GONE, PUT_PRECONDITION };

	for (size_t i = 0; i < sizeof(proven) / sizeof(proven[0]); i++) {
		if (answer->code != proven[i])
			continue;
		prove(owned, put, answer);
		return;
	}
	owner_answer(owner, put, answer);
}

/* It would be committed behind what is on the flight: said when that has landed. */
static void allow_dry(struct owned *owned, struct put *put, struct put_answer *answer)
{
	answer->code = PUT_REPEATED;
	answer->seq = owned->next.last + 1;
	prove(owned, put, answer);
}

/* Puts what may go on the flight; answers what may not. */
static void take_puts(struct owner *owner, struct owned *owned)
{
	LIST_FOR_EACH_SAFE(link, &owned->queue) {
		struct put *put = LIST_ENTRY_OF(link, struct put, link);
		struct put_answer answer;
		enum put_code code;

		if (owned->next.deleted && owned->n_flying)
			return; /* the row is deleted by what is on the flight: next time */
		if (has_key(owned, put->key))
			continue;
		if (!put->dry && !fits(owner, owned, put))
			return;
		code = judge(owner, owned, put, &answer);
		if (code == PUT_LATER)
			continue;
		if (code != PUT_COMMITTED) {
			refuse(owner, owned, put, &answer);
			continue;
		}
		if (put->dry) {
			allow_dry(owned, put, &answer);
			continue;
		}
		if (!add[put->kind](owner, owned, put)) {
			answer.code = PUT_UNAVAILABLE;
			answer.why = "out of memory";
			owner_answer(owner, put, &answer);
			return; /* half a put may be in the batch: plan_row() sees its error */
		}
		list_remove(link);
		list_push_back(&owned->flying, link);
		owned->n_flying++;
		put->flying = true;
	}
}

static void return_list(struct owned *owned, struct list *from)
{
	while (!list_empty(from)) {
		struct list *last = from->prev;

		list_remove(last);
		LIST_ENTRY_OF(last, struct put, link)->flying = false;
		list_push_front(&owned->queue, last);
	}
}

void plan_return(struct owned *owned)
{
	return_list(owned, &owned->flying);
	return_list(owned, &owned->refused);
	plan_forget(owned);
}

/*
 * What the row keeps, and what may leave the engine.  The snapshots of a life that is over go with its last
 * cells; when it is made again there may be some that an older program has left.  False without memory.
 */
static bool clean(struct owner *owner, struct owned *owned)
{
	struct mp_str prefix = copy_prefix(owner->copy), name = row_name(owned->row);
	const struct head *before = &owned->row->head;
	uint64_t incarnation = before->incarnation, to = 0;
	bool unfinished = before->deleted && before->floor <= before->last;
	bool again = owned->next.incarnation != incarnation;

	retain_floor(&owned->next);
	if (again || ends_first(owned))
		to = unfinished ? UINT64_MAX : 0;
	else if (owned->chores || owned->next.snapshot != before->snapshot)
		to = retain(owned->row, &owned->next, owner->host->wall(owner->host->ctx));
	if (ends_first(owned))
		owned->next.floor = before->last + 1;
	if (before->deleted && before->check[0] && (again || to > before->last) &&
	    !snapshot_plan_end(owner, owned, incarnation))
		return false;
	if (to) {
		(void)key_cells(&owned->trim_from, prefix, name, incarnation, 0);
		(void)key_cells(&owned->trim_end, prefix, name, incarnation, to);
	}
	return true;
}

static bool finish(struct owner *owner, struct owned *owned)
{
	struct mp_str prefix = copy_prefix(owner->copy), name = row_name(owned->row);

	owned->first = row_exists(owned->row) ? owned->row->head.last + 1 : 1;
	buf_reset(&owned->before);
	buf_reset(&owned->head);
	buf_reset(&owned->head_key);
	buf_reset(&owned->batch_key);
	return !(owned->batch.len && batch_end(&owned->batch)) && !owned->batch.error &&
	       !owned->trim_end.error && !(owned->writes && head_write(&owned->head, &owned->next)) &&
	       !key_head(&owned->head_key, prefix, name) &&
	       !buf_add_slice(&owned->before, row_head_text(owned->row)) &&
	       !key_cells(&owned->batch_key, prefix, name, owned->next.incarnation, owned->first);
}

/* The head as it is, for chores or to be compared alone. */
static bool stays(struct owner *owner, struct owned *owned)
{
	owned->next = owned->row->head;
	owned->writes = (owned->chores || snapshot_aboard(owned)) && owned->row->head_text;
	snapshot_name(owned);
	owned->next.batch = id_of(owner);
	return owned->writes || !list_empty(&owned->refused);
}

bool plan_row(struct owner *owner, struct owned *owned)
{
	plan_forget(owned);
	begin(owner, owned);
	snapshot_plan(owner, owned);
	snapshot_name(owned);
	if (ends_first(owned))
		owned->chores = true;
	else
		take_puts(owner, owned);
	owned->writes = !list_empty(&owned->flying);
	if (!owned->writes && !stays(owner, owned))
		return false;
	if ((owned->writes && !clean(owner, owned)) || !finish(owner, owned)) {
		plan_return(owned);
		return false;
	}
	owned->chores = owned->chores && !owned->writes;
	list_push_back(&owner->aboard, &owned->aboard);
	owner->rows_aboard++;
	owner->bytes_aboard += owned->batch.len + owned->head.len + snapshot_size(owned);
	owner->snapshot_aboard |= snapshot_aboard(owned);
	if (owned->batch.len && !owner->probe)
		owner->probe = owned;
	return true;
}
