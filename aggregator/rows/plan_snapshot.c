/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State snapshots of rows with a check, on which their floors rest (rows.md 4.4):
 * the owner takes one when retention, or an admin, wants the floor above the
 * last, and enough has been put since.
 *
 * Its parts go along with flights of the row, one a flight, under the same
 * comparisons; so what a deposed owner sent never comes to be.  When the last
 * part is known to be there the next flight names the snapshot in the head,
 * moves the floor and takes the older ones away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/owner_priv.h"
#include "aggregator/rows/retain.h"
#include "aggregator/rows/snapshot.h"
#include "lib/slice.h"

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Bytes of a part. */
static size_t part_size(const struct owner *owner)
{
	size_t size = owner->limits.snapshot_part;

	return smaller(size ? size : SNAPSHOT_PART_MAX, smaller(owner->limits.bytes / 2, SNAPSHOT_PART_MAX));
}

static struct storing *storing_of(struct owned *owned)
{
	struct storing *s = owned->storing;

	if (s || !(s = calloc(1, sizeof(*s))))
		return s;
	buf_init(&s->bytes, SNAPSHOT_SIZE_MAX);
	buf_init(&s->part, SNAPSHOT_PART_MAX);
	buf_init(&s->key, KEY_MAX);
	buf_init(&s->from, KEY_MAX);
	buf_init(&s->end, KEY_MAX);
	return owned->storing = s;
}

void snapshot_drop(struct owned *owned)
{
	struct storing *s = owned->storing;

	if (!s)
		return;
	buf_fini(&s->bytes);
	buf_fini(&s->part);
	buf_fini(&s->key);
	buf_fini(&s->from);
	buf_fini(&s->end);
	free(s);
	owned->storing = NULL;
}

/* -------------------------------------------------------------------- begin */

int snapshot_begin(struct owner *owner, struct owned *owned)
{
	struct row *row = owned->row;
	struct storing *s = owned->storing;
	int r;

	if (s && s->seq)
		return 0;
	if (!owner->checks || !row_exists(row) || !row->head.check[0])
		return -ENOENT;
	if (!row_whole(row))
		return -EAGAIN;
	s = storing_of(owned);
	if (!s)
		return -ENOMEM;
	buf_reset(&s->bytes);
	r = owner->checks->snapshot(owner->checks->ctx, row, &s->bytes);
	if (r < 0) {
		snapshot_drop(owned);
		return r;
	}
	s->seq = row->applied;
	s->life = row->head.incarnation;
	s->rules = (uint32_t)row->head.rules;
	s->next = 0;
	s->n_parts = snapshot_parts(s->bytes.len, part_size(owner));
	return 0;
}

int snapshot_give(struct owner *owner, struct owned *owned, const struct put *put)
{
	const struct head *head = &owned->row->head;
	struct storing *s = owned->storing;

	if (s && s->seq)
		return 0; /* that one, or another whose turn is over soon */
	if (put->state.len > SNAPSHOT_SIZE_MAX)
		return -E2BIG;
	s = storing_of(owned);
	if (!s)
		return -ENOMEM;
	buf_reset(&s->bytes);
	if (buf_add_slice(&s->bytes, put->state)) {
		snapshot_drop(owned);
		return -ENOMEM;
	}
	s->given = true;
	s->seq = put->state_seq;
	s->life = head->incarnation;
	s->rules = (uint32_t)head->rules;
	memcpy(s->check, head->check, sizeof(s->check));
	s->next = 0;
	s->n_parts = snapshot_parts(s->bytes.len, part_size(owner));
	return 0;
}

bool snapshot_is_given(const struct owned *owned, const struct put *put)
{
	const struct storing *s = owned->storing;

	return s && s->given && s->seq == put->state_seq && slice_eq(buf_slice(&s->bytes), put->state);
}

bool snapshot_begins_row(const struct owned *owned)
{
	return owned->storing && owned->storing->given && owned->storing->names;
}

bool snapshot_is(const struct owned *owned, const struct put *put)
{
	return snapshot_begins_row(owned) && snapshot_is_given(owned, put);
}

/* Bytes of the cells behind that seq, as far as they are worth counting. */
static uint64_t bytes_since(const struct row *row, uint64_t seq, uint64_t enough)
{
	uint64_t bytes = 0;

	for (size_t i = row->n_batches; i-- > 0 && bytes < enough;) {
		const struct row_batch *b = &row->batches[row->gone + i];

		if (b->first <= seq)
			break;
		bytes += b->size;
	}
	return bytes;
}

bool snapshot_due(const struct owner *owner, const struct row *row, uint64_t now_ms)
{
	const struct head *head = &row->head;
	const struct owner_limits *limits = &owner->limits;

	return row_exists(row) && head->check[0] && head->last - head->snapshot > 0 &&
	       (head->last - head->snapshot >= limits->snapshot_cells ||
		bytes_since(row, head->snapshot, limits->snapshot_bytes) >= limits->snapshot_bytes) &&
	       retain_wish(row, now_ms) > head->snapshot + 1;
}

/* ------------------------------------------------------------- on a flight */

static void plan_part(struct owner *owner, struct owned *owned)
{
	struct storing *s = owned->storing;
	struct mp_str prefix = copy_prefix(owner->copy), name = row_name(owned->row);

	if (key_snapshot(&s->key, prefix, name, s->life, s->seq, s->next) ||
	    snapshot_write(&s->part, buf_slice(&s->bytes), s->rules, part_size(owner), s->next) ||
	    owner->bytes_aboard + s->part.len > owner->limits.bytes)
		buf_reset(&s->part); /* on another flight */
}

/* What is below `seq` goes. */
static void plan_removal(struct owner *owner, struct owned *owned, uint64_t life, uint64_t seq)
{
	struct storing *s = owned->storing;
	struct mp_str prefix = copy_prefix(owner->copy), name = row_name(owned->row);

	if (key_snapshot(&s->from, prefix, name, life, 0, 0) || key_snapshot(&s->end, prefix, name, life, seq, 0))
		buf_reset(&s->end); /* with the next one */
}

/* What it is for is not there any more: another life of the row, another check, a newer snapshot. */
static bool is_idle(const struct owned *owned)
{
	const struct storing *s = owned->storing;
	const struct head *head = &owned->row->head;

	return !row_exists(owned->row) || head->incarnation != s->life || head->snapshot >= s->seq ||
	       head->rules != s->rules || (s->given && (head->last || strcmp(head->check, s->check) != 0));
}

void snapshot_plan(struct owner *owner, struct owned *owned)
{
	struct storing *s = owned->storing;

	if (!s || !s->seq || owner->snapshot_aboard || owner->alone)
		return;
	if (is_idle(owned)) {
		snapshot_drop(owned);
	} else if (s->next < s->n_parts) {
		plan_part(owner, owned);
	} else {
		s->names = true;
		plan_removal(owner, owned, s->life, s->seq);
	}
}

bool snapshot_plan_end(struct owner *owner, struct owned *owned, uint64_t life)
{
	if (!storing_of(owned))
		return false;
	plan_removal(owner, owned, life, UINT64_MAX);
	return owned->storing->end.len;
}

bool snapshot_aboard(const struct owned *owned)
{
	const struct storing *s = owned->storing;

	return s && (s->part.len || s->names);
}

size_t snapshot_size(const struct owned *owned)
{
	return owned->storing ? owned->storing->part.len : 0;
}

void snapshot_name(struct owned *owned)
{
	const struct storing *s = owned->storing;

	if (!s || !s->names)
		return;
	owned->next.snapshot = s->seq;
	if (!s->given)
		return;
	owned->next.last = s->seq;
	owned->next.floor = s->seq + 1;
}

void snapshot_forget(struct owned *owned)
{
	struct storing *s = owned->storing;

	if (!s)
		return;
	s->names = false;
	buf_reset(&s->part);
	buf_reset(&s->key);
	buf_reset(&s->from);
	buf_reset(&s->end);
	if (!s->seq)
		snapshot_drop(owned);
}

void snapshot_landed(struct owner *owner, struct owned *owned)
{
	struct storing *s = owned->storing;

	if (!s || !s->seq)
		return;
	if (s->names) {
		owner->counts.snapshots++;
		snapshot_drop(owned);
		return;
	}
	s->next += s->part.len > 0;
	if (list_empty(&owned->work))
		list_push_back(&owner->work, &owned->work);
}
