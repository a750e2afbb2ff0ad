/* SPDX-License-Identifier: Apache-2.0 */
/* See members.h. */
#include "aggregator/rows/members_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define TEXT_MAX 8192                  /* bytes of a member's text */
#define PING_NS (MEMBER_PING_MS * NS_PER_MS)
#define LATE_NS (PING_NS / 2)          /* without an answer: it may be lost */
#define PAUSE_NS (2 * PING_NS)         /* without a ping: what was lost before says nothing any more */
#define LOST_PINGS 2                   /* then it is suspected, by who is well */
#define WELL_NS (250 * NS_PER_MS)      /* so old may be what shows that */
#define PROOF_NS (WELL_NS / 4)         /* from one such read to the next */
#define MOVE_NS (2 * NS_PER_S)         /* a shard that has an owner moves no sooner after it has moved */
#define MOVE_MAX_NS (60 * NS_PER_S)    /* nor later than that, however often it has moved */
#define CALM_NS (120 * NS_PER_S)       /* without a move: then it may move soon again */
#define HEIRS 2                        /* so many of those in line look after an owner */
#define HEIR_NS (300 * NS_PER_MS)      /* the next in line waits so long for the one before it */
#define LOOK_NS (50 * NS_PER_MS)       /* how often shards are looked at while something is amiss */
#define WRITE_AGAIN_NS (200 * NS_PER_MS)

/* ------------------------------------------------------------------------ texts */

static int write_text(struct members *m)
{
	const struct member_info *self = &m->self;

	buf_reset(&m->text);
	(void)buf_printf(&m->text, "{\"format\":1,\"member\":\"%s\",\"nonce\":\"%016" PRIx64 "\",\"since\":%" PRIu64
			 ",\"draining\":%s,\"engine\":%s,\"version\":\"%s\",\"url\":", self->id, self->nonce,
			 self->since_ms, self->draining ? "true" : "false", self->engine ? "true" : "false",
			 self->version);
	(void)json_text_add(&m->text, slice_of(self->url));
	(void)buf_add_str(&m->text, ",\"checks\":{");
	for (size_t i = 0; i < self->n_checks; i++)
		(void)buf_printf(&m->text, "%s\"%s\":%" PRIu32, i ? "," : "", self->check[i].name,
				 self->check[i].rules);
	return buf_add_str(&m->text, "}}");
}

static bool take_text(char *ret, size_t size, const char *text)
{
	return snprintf(ret, size, "%s", text) < (int)size;
}

/* {name: rules}; without it, from an older program, none is known.  False: it is no such list. */
static bool read_checks(json_t *checks, struct member_info *ret)
{
	json_t *rules;
	const char *name;

	if (!checks)
		return true;
	if (!json_is_object(checks))
		return false;
	json_object_foreach(checks, name, rules) {
		struct member_check *check = &ret->check[ret->n_checks];
		json_int_t number = json_integer_value(rules);

		if (!check_name_ok(slice_of(name)) || number < 1 || number > UINT32_MAX)
			return false;
		if (ret->n_checks == MEMBER_CHECKS_MAX)
			break; /* a newer program may tell of more */
		(void)take_text(check->name, sizeof(check->name), name);
		check->rules = (uint32_t)number;
		ret->n_checks++;
	}
	return true;
}

bool member_text_read(struct mp_str text, struct member_info *ret)
{
	CLEANUP_JSON json_t *value = NULL;
	const char *id, *nonce, *url, *version;
	json_int_t since;
	int draining, engine = false; /* an older program does not say */

	*ret = (struct member_info){ .id = "" };
	if (!text.ptr || json_load_text(text, TEXT_MAX, 2, &value, NULL) ||
	    json_unpack(value, "{s:s, s:s, s:s, s:s, s:I, s:b, s?b}", "member", &id, "nonce", &nonce, "url", &url,
			"version", &version, "since", &since, "draining", &draining, "engine",
			&engine))
		return false;
	ret->since_ms = since < 0 ? 0 : (uint64_t)since;
	ret->draining = draining;
	ret->engine = engine;
	return hex_number(slice_of(nonce), 16, &ret->nonce) && read_checks(json_object_get(value, "checks"), ret) &&
	       take_text(ret->id, sizeof(ret->id), id) &&
	       take_text(ret->url, sizeof(ret->url), url) &&
	       take_text(ret->version, sizeof(ret->version), version);
}

/* ------------------------------------------------------------------- life cycle */

static void destroy(struct members *m)
{
	for (size_t i = 0; i < m->n_peers; i++)
		free(m->peer[i]);
	buf_fini(&m->key);
	buf_fini(&m->text);
	free(m);
}

struct members *members_new(const struct members_options *options)
{
	struct members *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->engine = options->engine;
	m->copy = options->copy;
	m->owner = options->owner;
	m->host = options->host;
	m->net = options->net;
	m->self = options->self;
	m->n_shards = options->n_shards;
	m->write = true;
	for (uint32_t i = 0; i < m->n_shards; i++)
		m->moves[i].hold_ns = MOVE_NS;
	buf_init(&m->key, KEY_MAX);
	buf_init(&m->text, TEXT_MAX);
	if (key_member(&m->key, copy_prefix(m->copy), slice_of(m->self.id)) < 0) {
		destroy(m);
		return NULL;
	}
	return m;
}

void members_free(struct members *members)
{
	if (!members)
		return;
	members->dead = true;
	if (!members->writing && !members->proving)
		destroy(members);
}

/* ---------------------------------------------------------------------- the key */

static void on_written(void *ctx, const struct engine_answer *answer)
{
	struct members *m = ctx;

	m->writing = false;
	if (m->dead) {
		members_free(m);
		return;
	}
	m->woken = true;
	if (answer->outcome == ENGINE_COMMITTED)
		return;
	m->write = true; /* the same again does no harm */
	m->write_at = host_now(m->host) + WRITE_AGAIN_NS;
}

static void write_key(struct members *m)
{
	struct engine_op op = { .kind = m->leaving ? ENGINE_DELETE : ENGINE_PUT, .key = buf_slice(&m->key),
				.leased = !m->leaving };
	const struct engine_txn txn = { .ops = &op, .n_ops = 1 };

	if (m->writing || !m->write || host_now(m->host) < m->write_at || write_text(m) < 0)
		return;
	if (!m->leaving)
		op.value = buf_slice(&m->text);
	m->write = false;
	m->writing = true;
	if (m->engine->ops->commit(m->engine, &txn, on_written, m) == 0)
		return;
	m->writing = false;
	m->write = true;
	m->write_at = host_now(m->host) + WRITE_AGAIN_NS;
}

void members_lease_lost(struct members *members)
{
	members->write = true;
	members->woken = true;
}

void members_drain(struct members *members)
{
	members->self.draining = true;
	members->write = true;
	members->woken = true;
	for (uint32_t i = 0; i < members->n_shards; i++)
		owner_want(members->owner, i, false);
}

void members_leave(struct members *members)
{
	members_drain(members);
	members->leaving = true;
}

bool members_has_left(const struct members *members)
{
	return members->leaving && !members->write && !members->writing;
}

/* ------------------------------------------------------------------------ peers */

/* Place of that id, or where it would be. */
static size_t place_of(const struct members *m, const char *id)
{
	size_t i = 0;

	while (i < m->n_peers && strcmp(m->peer[i]->info.id, id) < 0)
		i++;
	return i;
}

static struct peer *find(const struct members *m, const char *id)
{
	size_t i = place_of(m, id);

	return i < m->n_peers && !strcmp(m->peer[i]->info.id, id) ? m->peer[i] : NULL;
}

static void forget(struct members *m, const char *id)
{
	size_t i = place_of(m, id);

	if (i == m->n_peers || strcmp(m->peer[i]->info.id, id) != 0)
		return;
	free(m->peer[i]);
	memmove(&m->peer[i], &m->peer[i + 1], (m->n_peers - i - 1) * sizeof(m->peer[0]));
	m->n_peers--;
}

static struct peer *add(struct members *m, const char *id)
{
	size_t i = place_of(m, id);
	struct peer *peer = m->n_peers < MEMBERS_MAX ? calloc(1, sizeof(*peer)) : NULL;

	if (!peer)
		return NULL;
	memmove(&m->peer[i + 1], &m->peer[i], (m->n_peers - i) * sizeof(m->peer[0]));
	m->peer[i] = peer;
	m->n_peers++;
	return peer;
}

static bool is_self(const struct members *m, const struct member_info *info)
{
	return info->nonce == m->self.nonce && !strcmp(info->id, m->self.id);
}

void members_key(struct members *members, const struct key *key, struct mp_str value)
{
	struct member_info info;
	struct peer *peer;

	members->woken = members->choose = true;
	if (!member_text_read(value, &info)) {
		forget(members, key->name);
		if (!value.ptr && !strcmp(key->name, members->self.id) && !members->leaving)
			members->write = true; /* it was not this process that took it away */
		return;
	}
	if (strcmp(info.id, key->name) != 0)
		return;
	/* The younger process has it: that is how one is restarted under its id. */
	if (!strcmp(info.id, members->self.id) && info.nonce != members->self.nonce) {
		if (info.since_ms > members->self.since_ms)
			members->net.usurped(members->net.ctx, "another process has this member's id");
		else
			members->write = true;
		return;
	}
	peer = find(members, info.id);
	if (!peer && !(peer = add(members, info.id)))
		return;
	if (peer->info.nonce != info.nonce) {
		peer->asked = false; /* what comes of that is not heard */
		peer->lost = 0;
		peer->ping_at = 0;
	}
	info.suspected = peer->info.nonce == info.nonce && peer->info.suspected;
	info.chosen = peer->info.chosen; /* until that is looked at again */
	peer->info = info;
	members_count_checks(members, peer);
}

/* ------------------------------------------------------------------------- proofs */

/*
 * Is this member well itself, so that what it does not hear counts?  What shows it is its last
 * linearizable read that ended well, by the moment at which that began: whenever its answer came, it says nothing
 * of later moments, and the answer to one from before a stop is found right after it.
 */
static bool is_well(const struct members *m)
{
	return m->well_at && host_now(m->host) - m->well_at < WELL_NS;
}

static void on_proof(void *ctx, const struct engine_answer *answer)
{
	struct proof *proof = ctx;
	struct members *m = proof->members;

	proof->busy = false;
	m->proving--;
	if (m->dead)
		members_free(m);
	else if (answer->outcome == ENGINE_COMMITTED && proof->begun > m->well_at)
		m->well_at = proof->begun;
}

/* Reads its own key, now and then; also while the last read takes long.  When the next is due. */
static uint64_t prove(struct members *m, uint64_t now)
{
	const struct engine_range range = { .from = buf_slice(&m->key) };
	struct proof *proof = m->proof;

	if (now - m->proof_at < PROOF_NS)
		return m->proof_at + PROOF_NS;
	m->proof_at = now;
	if (m->proving == MEMBERS_PROOFS)
		return now + PROOF_NS;
	while (proof->busy)
		proof++;
	*proof = (struct proof){ m, now, true };
	m->proving++;
	if (m->engine->ops->range(m->engine, &range, on_proof, proof) < 0) {
		proof->busy = false; /* without memory: the next time */
		m->proving--;
	}
	return now + PROOF_NS;
}

/* ------------------------------------------------------------------------ pings */

/* A ping was lost; or, for one that was stopped meanwhile, its answer was not read in time. */
static void lose(const struct members *m, struct peer *peer)
{
	peer->lost = is_well(m) ? peer->lost + 1 : 0;
	peer->late = true; /* so that the next one counts, however soon it is lost */
	peer->info.suspected |= peer->lost >= LOST_PINGS;
}

void members_pong(struct members *members, const char *id, uint64_t nonce, enum pong pong)
{
	struct peer *peer = find(members, id);

	if (!peer || peer->info.nonce != nonce)
		return;
	members->woken |= pong != PONG_ALIVE || peer->lost;
	peer->asked = false;
	if (pong == PONG_SILENT)
		lose(members, peer);
	else if (pong != PONG_BUSY)
		peer->lost = pong == PONG_REFUSED;
	if (pong != PONG_REFUSED && pong != PONG_ALIVE)
		return;
	peer->info.suspected = pong == PONG_REFUSED;
	peer->late = false;
}

/* Sees to it that this member knows how it is itself before a ping can be lost.  When it is to be called next. */
static uint64_t watch_pings(struct members *m, uint64_t now)
{
	uint64_t next = UINT64_MAX;
	bool doubt = false;

	for (size_t i = 0; i < m->n_peers; i++) {
		struct peer *peer = m->peer[i];
		uint64_t late_at = peer->ping_at - PING_NS + LATE_NS;

		if (peer->info.suspected || (!peer->asked && (!peer->late || late_at + PAUSE_NS < now)))
			continue;
		peer->late |= late_at <= now;
		doubt |= peer->late;
		if (!peer->late && late_at < next)
			next = late_at;
	}
	return doubt ? prove(m, now) : next;
}

/* When that is due; when it may be due again. */
static uint64_t ping(struct members *m, struct peer *peer, uint64_t now)
{
	if (is_self(m, &peer->info))
		return UINT64_MAX;
	if (peer->asked || peer->ping_at > now)
		return peer->ping_at > now ? peer->ping_at : now + PING_NS; /* it is asked again when it is answered */
	if (now - peer->ping_at > PAUSE_NS && !peer->info.suspected)
		peer->lost = 0;
	peer->asked = true;
	peer->ping_at = now + PING_NS;
	m->net.ping(m->net.ctx, peer->info.id, peer->info.nonce, peer->info.url);
	return peer->ping_at;
}

/* --------------------------------------------------------------------- preference */

static uint64_t weight(const struct member_info *info, uint32_t shard)
{
	return XXH64(info->id, strlen(info->id), shard);
}

/* Is it preferred to that one? */
static bool is_before(const struct members *m, const struct peer *a, const struct peer *b, uint32_t shard)
{
	unsigned fit_a = members_fitness(m, a, shard), fit_b = members_fitness(m, b, shard);

	if (fit_a != fit_b)
		return fit_a > fit_b;
	if (a->info.chosen != b->info.chosen)
		return a->info.chosen;
	return weight(&a->info, shard) > weight(&b->info, shard);
}

/* How many members come before this one for the shard; SIZE_MAX: it does not want any. */
static size_t rank_of_self(const struct members *m, uint32_t shard)
{
	const struct peer *self = find(m, m->self.id);
	size_t before = 0;

	if (m->self.draining || !self)
		return SIZE_MAX; /* until all see it, it wants nothing */
	for (size_t i = 0; i < m->n_peers; i++) {
		const struct member_info *info = &m->peer[i]->info;

		before += !is_self(m, info) && members_may_own(info) && is_before(m, m->peer[i], self, shard);
	}
	return before;
}

const struct member_info *members_owner(const struct members *members, uint32_t shard)
{
	const struct owner_name *name = &members->moves[shard].owner;
	const struct peer *peer = name->nonce ? find(members, name->member) : NULL;

	return peer && peer->info.nonce == name->nonce ? &peer->info : NULL;
}

void members_shard_changed(struct members *members, uint32_t shard)
{
	struct moves *moves = &members->moves[shard];
	uint64_t before = moves->owner.nonce, now = host_now(members->host);

	members->woken = true;
	if (!owner_text_read(copy_owner(members->copy, shard), &moves->owner))
		moves->owner.nonce = 0;
	/* An owner that kills a flight rewrites its key: that is no move. */
	if (moves->owner.nonce == before)
		return;
	if (now - moves->moved_at > CALM_NS)
		moves->hold_ns = MOVE_NS;
	else if (moves->moved_at)
		moves->hold_ns = moves->hold_ns * 2 > MOVE_MAX_NS ? MOVE_MAX_NS : moves->hold_ns * 2;
	moves->moved_at = now;
}

/* Looks at one shard. True: it has to be looked at again soon. */
static bool look(struct members *m, uint32_t shard, uint64_t now)
{
	const struct member_info *owner = members_owner(m, shard);
	struct moves *moves = &m->moves[shard];
	size_t rank = rank_of_self(m, shard);

	if (owner && is_self(m, owner)) {
		moves->orphan_at = 0;
		if (!m->self.draining)
			owner_want(m->owner, shard, true); /* also when it took it, and has lost sight of it */
		return false;
	}
	if (owner && !owner->suspected) {
		moves->orphan_at = 0;
		/* What it wanted while there was nobody it does not want any more. */
		owner_want(m->owner, shard, rank == 0 && now - moves->moved_at >= moves->hold_ns);
		return rank == 0;
	}
	if (!moves->orphan_at)
		moves->orphan_at = now;
	/* Each waits a while for those who come before it. */
	if (rank != SIZE_MAX && now - moves->orphan_at >= rank * HEIR_NS)
		owner_want(m->owner, shard, true);
	return true;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Those from whom this member would inherit, and the suspected, are pinged.  When the next ping is due. */
static uint64_t ping_owners(struct members *m, uint64_t now)
{
	uint64_t next = now + PING_NS;

	for (uint32_t s = 0; s < m->n_shards; s++) {
		const struct member_info *owner = members_owner(m, s);
		struct peer *peer = owner ? find(m, owner->id) : NULL;

		/* The owner itself comes before this one, or would not be it for long. */
		if (peer && !is_self(m, owner) && rank_of_self(m, s) <= HEIRS)
			next = sooner(next, ping(m, peer, now));
	}
	for (size_t i = 0; i < m->n_peers; i++)
		if (m->peer[i]->info.suspected)
			next = sooner(next, ping(m, m->peer[i], now));
	return next;
}

uint64_t members_wake(struct members *members)
{
	uint64_t now = host_now(members->host), next = now + PING_NS;

	members->woken = false;
	write_key(members);
	if (members->choose)
		members_choose(members);
	members->choose = false;
	if (!copy_follows(members->copy))
		return next;
	members_look_at_rows(members, now);
	next = ping_owners(members, now);
	next = sooner(next, watch_pings(members, now));
	for (uint32_t i = 0; i < members->n_shards; i++)
		if (look(members, i, now))
			next = sooner(next, now + LOOK_NS);
	return next;
}

bool members_is_woken(const struct members *members)
{
	return members->woken;
}

bool members_is_chosen(const struct members *members)
{
	const struct peer *self = find(members, members->self.id);

	return self && self->info.chosen;
}

const struct member_info *members_at(const struct members *members, size_t i)
{
	return i < members->n_peers ? &members->peer[i]->info : NULL;
}
