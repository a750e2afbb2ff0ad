/* SPDX-License-Identifier: Apache-2.0 */
/* Which shards are this process', and how they change hands.  See owner.h. */
#include "aggregator/rows/owner_priv.h"
#include "lib/clock.h"
#include "lib/slice.h"

#define TAKE_BACKOFF_MAX NS_PER_S

bool owner_has(const struct owner *owner, uint32_t shard)
{
	return owner->shard[shard].state == SHARD_MINE;
}

static struct mp_str text_of(const struct shard *s)
{
	return (struct mp_str){ s->text, s->size };
}

/* What its rows' checks came to is somebody else's matter now. */
static void drop_checks(struct owner *owner, uint32_t shard)
{
	LIST_FOR_EACH(link, &owner->all) {
		struct owned *owned = LIST_ENTRY_OF(link, struct owned, link);

		if (owned->row->shard == shard)
			owner_drop_check(owner, owned->row);
	}
}

void owner_shard_lost(struct owner *owner, uint32_t shard)
{
	struct shard *s = &owner->shard[shard];

	if (s->state != SHARD_MINE)
		return;
	s->state = SHARD_OTHERS;
	drop_checks(owner, shard);
	s->want = false; /* whoever took it had a reason; members.c decides anew */
	owner->counts.lost++;
	owner->counts.shards--;
	/* What waits for its rows is turned away when the next flight is planned. */
	owner->woken = true;
}

static void got(struct owner *owner, struct shard *s)
{
	s->state = SHARD_MINE;
	owner->counts.takeovers++;
	owner->counts.free += s->was_free;
	owner->counts.shards++;
	owner->woken = true;
}

void owner_shard_changed(struct owner *owner, uint32_t shard)
{
	struct shard *s = &owner->shard[shard];
	struct mp_str text = copy_owner(owner->copy, shard);

	if (s->state == SHARD_MINE && !slice_eq(text, text_of(s)) &&
	    !(s->next_size && slice_eq(text, (struct mp_str){ s->next, s->next_size })))
		owner_shard_lost(owner, shard);
	owner->woken = true;
}

void owner_want(struct owner *owner, uint32_t shard, bool want)
{
	owner->woken |= owner->shard[shard].want != want;
	owner->shard[shard].want = want;
}

/* Not while a flight of before, when it was ours, is looked for. */
static bool to_take(const struct shard *s)
{
	return s->want && s->state == SHARD_OTHERS && !s->aboard;
}

/* Not while a row of it is on its way: then it would be lost, not released. */
static bool to_release(const struct shard *s)
{
	return !s->want && s->state == SHARD_MINE && !s->aboard;
}

static void take_failed(struct owner *owner)
{
	owner->take_at = host_now(owner->host) + owner->take_backoff;
	owner->take_backoff = owner->take_backoff * 2 > TAKE_BACKOFF_MAX ? TAKE_BACKOFF_MAX :
									   owner->take_backoff * 2;
}

/* What the reads say of the shards that were to change hands. */
static void take_reads(struct owner *owner, const struct engine_answer *answer)
{
	size_t i = 0, at = 0;

	for (uint32_t n = 0; n < owner->n_shards; n++) {
		struct shard *s = &owner->shard[n];

		if (s->state != SHARD_TAKING && s->state != SHARD_RELEASING)
			continue;
		copy_wrote_owner(owner->copy, n, txn_answer(&owner->take, i++, answer, &at), answer->revision);
	}
}

static void settle(struct owner *owner, enum engine_outcome outcome, uint64_t revision)
{
	for (uint32_t n = 0; n < owner->n_shards; n++) {
		struct shard *s = &owner->shard[n];
		bool taking = s->state == SHARD_TAKING;

		if (!taking && s->state != SHARD_RELEASING)
			continue;
		s->state = SHARD_OTHERS;
		*(taking ? &owner->counts.taking : &owner->counts.releasing) -= 1;
		if (outcome != ENGINE_COMMITTED)
			continue;
		copy_wrote_owner(owner->copy, n, taking ? text_of(s) : (struct mp_str){ 0 }, revision);
		owner->counts.released += !taking;
		if (taking)
			got(owner, s);
	}
}

static void on_taken(void *ctx, const struct engine_answer *answer)
{
	struct owner *owner = ctx;

	if (!owner_answered(owner))
		return;
	owner->taking = false;
	if (answer->outcome == ENGINE_FAILED)
		take_reads(owner, answer);
	settle(owner, answer->outcome, answer->revision);
	if (answer->outcome == ENGINE_COMMITTED)
		owner->take_backoff = OWNER_TAKE_BACKOFF;
	else
		take_failed(owner);
}

static bool add_change(struct owner *owner, uint32_t n)
{
	struct shard *s = &owner->shard[n];
	struct mp_str key = buf_slice(&owner->shard_key[n]);

	if (to_release(s)) {
		txn_compare(&owner->take, key, text_of(s));
		txn_op(&owner->take, ENGINE_DELETE, key, (struct mp_str){ 0 });
		s->state = SHARD_RELEASING;
		drop_checks(owner, n);
		owner->counts.shards--;
		owner->counts.releasing++;
	} else if (to_take(s) && owner_text_write(owner, s->text, &s->size)) {
		s->next_size = 0;
		s->was_free = !copy_owner(owner->copy, n).ptr;
		txn_compare(&owner->take, key, copy_owner(owner->copy, n));
		txn_op(&owner->take, ENGINE_PUT, key, text_of(s));
		s->state = SHARD_TAKING;
		owner->counts.taking++;
	} else {
		return false;
	}
	txn_read(&owner->take, key);
	return true;
}

/* As many as a flight of the most rows may compare; the others in the next one. */
void owner_change_shards(struct owner *owner)
{
	size_t most = 2 * owner->limits.rows, changes = 0;
	uint64_t now = host_now(owner->host);

	if (owner->taking || now < owner->take_at)
		return;
	if (!copy_follows(owner->copy) || !txn_begin(&owner->take, owner->n_shards)) {
		owner->take_at = now + OWNER_TAKE_BACKOFF; /* not at once: nothing changes by asking */
		return;
	}
	for (uint32_t n = 0; n < owner->n_shards && changes < most; n++)
		changes += add_change(owner, n);
	if (!changes)
		return;
	owner->taking = true;
	if (!txn_commit(owner, &owner->take, on_taken)) {
		owner->taking = false;
		settle(owner, ENGINE_REFUSED, 0);
		take_failed(owner);
	}
}

bool owner_wants_change(const struct owner *owner)
{
	for (uint32_t n = 0; n < owner->n_shards; n++)
		if (to_take(&owner->shard[n]) || to_release(&owner->shard[n]))
			return true;
	return false;
}
