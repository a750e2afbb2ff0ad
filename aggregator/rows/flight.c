/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flight: one transaction of all rows that have something, and finding out
 * how it ended (rows.md 3.2 to 3.4).
 *
 * It is known to have happened when the engine says so, or when a head that it
 * wrote, or its batch, is found; and not to have happened when a comparison
 * failed or it was killed, and one of the heads that it would have changed is
 * as before: a transaction happens whole or not at all.  A library under us
 * may deliver it twice; then the second fails on what the first has done,
 * perhaps behind a new owner's cells.  That is why a failed comparison alone
 * proves nothing, not even with another owner's name in it.
 */
#include <string.h>

#include "aggregator/rows/owner_priv.h"
#include "lib/clock.h"
#include "lib/slice.h"

#define HOLD_PUTS 4       /* a flight of fewer holds up nothing */
#define HOLD_MIN NS_PER_MS /* what the loop's timers can tell */
#define HOLD_MAX (5 * NS_PER_MS)

#define ENGINE_SHARE 2    /* bytes that the engine gets for one of ours: pages are not full, and others put, too */

#define BACKOFF_MIN (20 * NS_PER_MS)
#define BACKOFF_MAX NS_PER_S

/* What became of a flight. */
enum verdict { HAPPENED, NOT_HAPPENED, NOBODY_KNOWS };

/* ----------------------------------------------------------------------- words */

static struct mp_str shard_text(const struct shard *shard)
{
	return (struct mp_str){ shard->text, shard->size };
}

static struct mp_str shard_key(const struct owner *owner, uint32_t shard)
{
	return buf_slice(&owner->shard_key[shard]);
}

/* Walks the rows on the flight; `o` is their struct owned. */
#define FOR_EACH_ABOARD(o, owner) \
	LIST_FOR_EACH_SAFE(o##_link, &(owner)->aboard) \
		for (struct owned *o = LIST_ENTRY_OF(o##_link, struct owned, aboard); o; o = NULL)

/* Not now, but after a while that grows. */
static void again(struct owner *owner, enum flight_state state)
{
	owner->flight = state;
	owner->again_at = host_now(owner->host) + owner->backoff;
	owner->backoff = owner->backoff * 2 > BACKOFF_MAX ? BACKOFF_MAX : owner->backoff * 2;
}

/* ------------------------------------------------------------------- its end */

/* The flight is over: nothing is aboard any more. */
static void clear(struct owner *owner)
{
	FOR_EACH_ABOARD(o, owner)
		plan_forget(o);
	for (uint32_t i = 0; i < owner->n_shards; i++)
		owner->shard[i].aboard = false;
	owner->probe = NULL;
	owner->snapshot_aboard = false;
	owner->rows_aboard = owner->bytes_aboard = 0;
	owner->backoff = BACKOFF_MIN;
	owner->flight = FLIGHT_NONE;
}

/* Answers all puts of a row that were on the flight. */
static void answer_all(struct owner *owner, struct owned *owned, enum put_code code, const char *why)
{
	while (!list_empty(&owned->flying)) {
		struct put *put = LIST_ENTRY_OF(owned->flying.next, struct put, link);
		struct put_answer answer = {
			.code = code,
			.seq = put->seq,
			.why = why,
		};

		if (code == PUT_COMMITTED) { /* else the row is not what the flight would have made of it */
			answer.incarnation = owned->next.deleted ? 0 : owned->next.incarnation;
			answer.highest = owned->next.last;
			answer.floor = owned->next.floor;
		}
		owner_answer(owner, put, &answer);
	}
}

/* The row's check has refused a put. */
static void count_refusal(struct owner *owner, const struct row *row)
{
	for (size_t i = 0; i < OWNER_REFUSALS; i++) {
		struct owner_refusals *r = &owner->refusals[i];

		if (!r->check[0])
			memcpy(r->check, row->head.check, sizeof(r->check));
		if (strcmp(r->check, row->head.check) != 0)
			continue;
		r->n++;
		return;
	}
}

static void measure(struct owner *owner)
{
	uint64_t cells = 0;

	FOR_EACH_ABOARD(o, owner)
		cells += o->batch.len ? o->next.last - o->first + 1 : 0;
	owner_spend_room(owner, ENGINE_SHARE * (uint64_t)owner->bytes_aboard);
	owner->counts.cells += cells;
	hist_record(&owner->commit_time, host_now(owner->host) - owner->sent_at);
	if (cells)
		hist_record(&owner->batch_cells, cells);
}

/*
 * Who was answered is likely to put again at once.  The next flight waits for them, a
 * third of what this one took at most: else those who were answered and those who wait
 * take turns, and each flight goes half empty, while it costs etcd nearly as much as
 * a full one.  Short flights, and those of few, hold up nothing.
 */
static void hold(struct owner *owner, size_t puts)
{
	uint64_t now = host_now(owner->host), time = (now - owner->sent_at) / 3;

	if (puts < HOLD_PUTS || time < HOLD_MIN)
		return;
	owner->hold_until = now + (time < HOLD_MAX ? time : HOLD_MAX);
	owner->hold_for = puts + owner->counts.waiting;
}

static bool is_held(const struct owner *owner)
{
	return owner->counts.waiting < owner->hold_for && host_now(owner->host) < owner->hold_until;
}

static void land(struct owner *owner, uint64_t revision)
{
	size_t puts = owner->counts.waiting;

	owner->counts.committed++;
	measure(owner);
	FOR_EACH_ABOARD(o, owner) {
		struct mp_str batch = { 0 };

		if (o->batch.len)
			batch = buf_slice(&o->batch);
		snapshot_landed(owner, o);
		/* What cannot be taken in is read again; it is committed all the same. */
		if (o->overtaken)
			copy_doubt(owner->copy, o->row);
		else if (o->writes)
			copy_wrote(owner->copy, o->row, buf_slice(&o->head), batch, revision);
		while (!list_empty(&o->refused)) {
			struct put *put = LIST_ENTRY_OF(o->refused.next, struct put, link);

			if (put->refusal.code == PUT_REFUSED && put->kind == PUT_CELLS && !put->dry)
				count_refusal(owner, o->row);
			owner_answer(owner, put, &put->refusal);
		}
		answer_all(owner, o, PUT_COMMITTED, "");
	}
	clear(owner);
	hold(owner, puts - owner->counts.waiting);
}

/* It did not happen: the puts go on another flight, in the same order, before those that came later. */
static void return_puts(struct owner *owner)
{
	FOR_EACH_ABOARD(o, owner) {
		plan_return(o);
		if (owner->shard[o->row->shard].state != SHARD_MINE)
			owner_turn_away(owner, o);
		else if (list_empty(&o->work))
			list_push_front(&owner->work, &o->work);
	}
	clear(owner);
}

/* Nobody will ever know: whoever asks again is answered by what is there then. */
static void give_up(struct owner *owner)
{
	FOR_EACH_ABOARD(o, owner) {
		answer_all(owner, o, PUT_UNKNOWN, "it cannot be known whether it was committed");
		copy_doubt(owner->copy, o->row);
	}
	return_puts(owner);
}

/* --------------------------------------------------------------- what was found */

/* Reads that tell what became of the flight, in this order: owners, heads, the probe's batch. */
static void add_reads(struct owner *owner, struct owner_txn *txn)
{
	for (uint32_t i = 0; i < owner->n_shards; i++)
		if (owner->shard[i].aboard)
			txn_read(txn, shard_key(owner, i));
	FOR_EACH_ABOARD(o, owner)
		txn_read(txn, buf_slice(&o->head_key));
	if (owner->probe)
		txn_read(txn, buf_slice(&owner->probe->batch_key));
}

/* By the batch where the probe's was to be. */
static enum verdict judge_batch(const struct owned *probe, struct mp_str value, struct mp_str head_text)
{
	struct batch batch;
	struct head head;

	if (value.ptr && batch_open(value, &batch, NULL) == 0)
		return memcmp(batch.id.bytes, probe->next.batch.bytes, BATCH_ID_SIZE) ? NOT_HAPPENED : HAPPENED;
	/* It is not there.  Has it never been, or has it gone? */
	if (!value.ptr && head_text.ptr && head_read(head_text, &head, NULL) == 0 && !head.deleted &&
	    head.incarnation == probe->next.incarnation && head.floor <= probe->first)
		return NOT_HAPPENED;
	return NOBODY_KNOWS;
}

/*
 * Takes in what the reads say.  A row whose head is neither as before nor as
 * the flight left it was changed by somebody else: it is read again.
 */
static enum verdict take_reads(struct owner *owner, const struct engine_answer *answer)
{
	struct mp_str probe_head = { 0 };
	enum verdict verdict = NOBODY_KNOWS;
	size_t i = 0, at = 0;

	for (uint32_t s = 0; s < owner->n_shards; s++) {
		struct mp_str text;

		if (!owner->shard[s].aboard)
			continue;
		text = txn_answer(&owner->txn, i++, answer, &at);
		copy_wrote_owner(owner->copy, s, text, answer->revision);
		if (!slice_eq(text, shard_text(&owner->shard[s])))
			owner_shard_lost(owner, s);
	}
	FOR_EACH_ABOARD(o, owner) {
		struct mp_str text = txn_answer(&owner->txn, i++, answer, &at);

		o->overtaken = o->writes && !slice_eq(text, buf_slice(&o->head));
		if (o->writes && !o->overtaken)
			verdict = HAPPENED;
		else if (o->writes && verdict != HAPPENED && slice_eq(text, buf_slice(&o->before)))
			verdict = NOT_HAPPENED;
		if (o == owner->probe)
			probe_head = text;
	}
	if (verdict == NOBODY_KNOWS && owner->probe)
		verdict = judge_batch(owner->probe, txn_answer(&owner->txn, i, answer, &at), probe_head);
	return verdict;
}

/* Rows whose head was not as they had it are read again. */
static void doubt_changed(struct owner *owner, const struct engine_answer *answer)
{
	FOR_EACH_ABOARD(o, owner) {
		struct mp_str text = { 0 };

		for (size_t i = 0; i < answer->n_items; i++)
			if (slice_eq(answer->items[i].key, buf_slice(&o->head_key)))
				text = answer->items[i].value;
		if (!slice_eq(text, row_head_text(o->row)) && !slice_eq(text, buf_slice(&o->head)))
			copy_doubt(owner->copy, o->row);
	}
}

static void conclude(struct owner *owner, const struct engine_answer *answer)
{
	enum verdict verdict = take_reads(owner, answer);

	if (verdict == HAPPENED) {
		owner->counts.found++;
		land(owner, answer->revision);
	} else {
		doubt_changed(owner, answer);
		(verdict == NOT_HAPPENED ? return_puts : give_up)(owner);
	}
	flight_try(owner);
}

/* ----------------------------------------------------------- killed, and looked for */

static void on_looked(void *ctx, const struct engine_answer *answer)
{
	struct owner *owner = ctx;

	if (!owner_answered(owner))
		return;
	if (answer->outcome == ENGINE_COMMITTED)
		conclude(owner, answer);
	else
		again(owner, FLIGHT_LOOK);
}

static void look(struct owner *owner)
{
	owner->flight = FLIGHT_LOOKING;
	if (!txn_begin(&owner->txn, owner->n_shards + owner->rows_aboard + 1)) {
		again(owner, FLIGHT_LOOK);
		return;
	}
	add_reads(owner, &owner->txn);
	if (!txn_commit(owner, &owner->txn, on_looked))
		again(owner, FLIGHT_LOOK);
}

/* The owners' keys were rewritten, by us or by others: the flight can commit no more. */
static void killed(struct owner *owner, uint64_t revision)
{
	for (uint32_t i = 0; i < owner->n_shards; i++) {
		struct shard *s = &owner->shard[i];

		if (!s->aboard || s->state != SHARD_MINE)
			continue;
		memcpy(s->text, s->next, s->next_size);
		s->size = s->next_size;
		s->next_size = 0;
		copy_wrote_owner(owner->copy, i, shard_text(s), revision);
	}
	owner->counts.kills++;
	owner->backoff = BACKOFF_MIN;
	look(owner);
}

static void kill_flight(struct owner *owner);

/* One comparison did not hold: whose was it? */
static void kill_failed(struct owner *owner, const struct engine_answer *answer)
{
	bool done = false, mine = false;
	size_t i = 0, at = 0;

	for (uint32_t s = 0; s < owner->n_shards; s++) {
		struct shard *shard = &owner->shard[s];
		struct mp_str text;

		if (!shard->killing)
			continue;
		text = txn_answer(&owner->txn, i++, answer, &at);
		if (shard->state != SHARD_MINE)
			continue; /* it was lost meanwhile */
		if (slice_eq(text, (struct mp_str){ shard->next, shard->next_size })) {
			done = true; /* an earlier attempt has happened, whole */
		} else if (slice_eq(text, shard_text(shard))) {
			mine = true;
		} else {
			copy_wrote_owner(owner->copy, s, text, answer->revision);
			owner_shard_lost(owner, s);
		}
	}
	if (done || !mine)
		killed(owner, answer->revision);
	else
		kill_flight(owner);
}

static void on_killed(void *ctx, const struct engine_answer *answer)
{
	struct owner *owner = ctx;

	if (!owner_answered(owner))
		return;
	if (answer->outcome == ENGINE_COMMITTED)
		killed(owner, answer->revision);
	else if (answer->outcome == ENGINE_FAILED)
		kill_failed(owner, answer);
	else
		again(owner, FLIGHT_KILL);
}

/*
 * Rewrites the keys of the owners that the flight compares: it can commit
 * before that, or not at all.  The same again until it is known to be done.
 */
static void kill_flight(struct owner *owner)
{
	bool any = false;

	owner->flight = FLIGHT_KILLING;
	if (!txn_begin(&owner->txn, owner->n_shards)) {
		again(owner, FLIGHT_KILL);
		return;
	}
	for (uint32_t i = 0; i < owner->n_shards; i++) {
		struct shard *s = &owner->shard[i];

		s->killing = s->aboard && s->state == SHARD_MINE;
		if (!s->killing)
			continue;
		txn_compare(&owner->txn, shard_key(owner, i), shard_text(s));
		txn_op(&owner->txn, ENGINE_PUT, shard_key(owner, i), (struct mp_str){ s->next, s->next_size });
		txn_read(&owner->txn, shard_key(owner, i));
		any = true;
	}
	if (!any)
		look(owner); /* others have all of them by now: that has killed it */
	else if (!txn_commit(owner, &owner->txn, on_killed))
		again(owner, FLIGHT_KILL);
}

static void begin_kill(struct owner *owner)
{
	for (uint32_t i = 0; i < owner->n_shards; i++)
		if (owner->shard[i].aboard)
			owner_text_write(owner, owner->shard[i].next, &owner->shard[i].next_size);
	kill_flight(owner);
}

void flight_again(struct owner *owner)
{
	if (host_now(owner->host) < owner->again_at)
		return;
	if (owner->flight == FLIGHT_KILL)
		kill_flight(owner);
	else if (owner->flight == FLIGHT_LOOK)
		look(owner);
}

/* -------------------------------------------------------------------- departure */

/*
 * Cells found no room; what makes room flies again without them: deletions and floors go back, chores
 * are due again.  How many flights that takes.
 */
static unsigned keep_others(struct owner *owner)
{
	unsigned n = 0;

	FOR_EACH_ABOARD(o, owner) {
		LIST_FOR_EACH_SAFE(link, &o->flying) {
			struct put *put = LIST_ENTRY_OF(link, struct put, link);

			if (put->kind == PUT_CELLS)
				continue;
			list_remove(link);
			list_push_back(&o->refused, link);
			n++;
		}
		o->chores |= o->trim_end.len > 0;
		n += o->chores;
	}
	return n;
}

/* The engine does not take it.  Several puts go again one by one; one alone is answered. */
static void refused(struct owner *owner, const char *why)
{
	struct engine_health health = { 0 };
	enum put_code code = PUT_TOO_LARGE;
	size_t puts = 0;

	owner->engine->ops->health(owner->engine, &health);
	if (health.full || health.read_only)
		code = PUT_FULL;
	else if (!health.serving)
		code = PUT_UNAVAILABLE;
	FOR_EACH_ABOARD(o, owner) {
		puts += o->n_flying + !list_empty(&o->refused);
		snapshot_drop(o); /* it is begun anew some time */
	}
	if (owner->snapshot_aboard && code == PUT_TOO_LARGE) {
		return_puts(owner);
		return;
	}
	if (puts > 1 && code == PUT_TOO_LARGE) {
		owner->alone = (unsigned)puts;
		return_puts(owner);
		return;
	}
	if (code == PUT_FULL && owner->txn.cells)
		owner->alone = keep_others(owner);
	FOR_EACH_ABOARD(o, owner)
		answer_all(owner, o, code, health.text[0] ? health.text : why);
	return_puts(owner);
}

static void on_flown(void *ctx, const struct engine_answer *answer)
{
	struct owner *owner = ctx;

	if (!owner_answered(owner))
		return;
	switch (answer->outcome) {
	case ENGINE_COMMITTED:
		land(owner, answer->revision);
		flight_try(owner);
		break;
	case ENGINE_FAILED:
		owner->counts.failed++;
		conclude(owner, answer);
		break;
	case ENGINE_REFUSED:
		owner->counts.refused++;
		refused(owner, answer->why);
		flight_try(owner);
		break;
	case ENGINE_UNKNOWN:
		owner->counts.unknown++;
		begin_kill(owner);
		break;
	}
}

static void add_row(struct owner *owner, struct owned *o)
{
	struct shard *s = &owner->shard[o->row->shard];
	const struct mp_str none = { 0 };

	if (!s->aboard)
		txn_compare(&owner->txn, shard_key(owner, o->row->shard), shard_text(s));
	s->aboard = true;
	txn_compare(&owner->txn, buf_slice(&o->head_key), o->before.len ? buf_slice(&o->before) : none);
	if (o->writes)
		txn_op(&owner->txn, ENGINE_PUT, buf_slice(&o->head_key), buf_slice(&o->head));
	if (o->batch.len)
		txn_op(&owner->txn, ENGINE_PUT, buf_slice(&o->batch_key), buf_slice(&o->batch));
	owner->txn.cells |= o->batch.len > 0;
	if (o->storing && o->storing->part.len)
		txn_op(&owner->txn, ENGINE_PUT, buf_slice(&o->storing->key), buf_slice(&o->storing->part));
	if (o->storing && o->storing->end.len)
		txn_op(&owner->txn, ENGINE_DELETE_RANGE, buf_slice(&o->storing->from), buf_slice(&o->storing->end));
	if (o->trim_end.len)
		txn_op(&owner->txn, ENGINE_DELETE_RANGE, buf_slice(&o->trim_from), buf_slice(&o->trim_end));
}

/* Puts rows on the flight, those first that have waited longest. */
static void board(struct owner *owner)
{
	size_t turns = 0;

	LIST_FOR_EACH(link, &owner->work)
		turns++;
	while (turns-- && owner->rows_aboard < owner->limits.rows &&
	       owner->bytes_aboard < owner->limits.bytes && !(owner->alone && owner->rows_aboard)) {
		struct list *link = list_pop_front(&owner->work);
		struct owned *o = LIST_ENTRY_OF(link, struct owned, work);
		enum shard_state state = owner->shard[o->row->shard].state;

		if (state == SHARD_OTHERS || state == SHARD_RELEASING) {
			owner_turn_away(owner, o);
			continue;
		}
		if (state == SHARD_MINE && row_whole(o->row))
			(void)plan_row(owner, o);
		if (!list_empty(&o->queue))
			list_push_back(&owner->work, link);
	}
}

void flight_try(struct owner *owner)
{
	if (owner->flight != FLIGHT_NONE || owner->dead || owner->sealed)
		return;
	owner_say_overdue(owner);
	if (is_held(owner))
		return;
	board(owner);
	if (list_empty(&owner->aboard))
		return;
	owner->alone -= owner->alone > 0;
	if (!txn_begin(&owner->txn, owner->n_shards + 3 * owner->rows_aboard + 2)) {
		return_puts(owner);
		return;
	}
	if (owner->meta_key.len)
		txn_compare(&owner->txn, buf_slice(&owner->meta_key), buf_slice(&owner->meta));
	FOR_EACH_ABOARD(o, owner)
		add_row(owner, o);
	add_reads(owner, &owner->txn);
	owner->counts.flights++;
	owner->flight = FLIGHT_SENT;
	owner->sent_at = host_now(owner->host);
	if (!txn_commit(owner, &owner->txn, on_flown))
		return_puts(owner);
}
