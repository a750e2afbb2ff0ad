/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See group.h.
 *
 * First `meta` is read, or made; then the copy reads everything, and the owner
 * takes what it is told to.  Before the loop sleeps, whatever was woken does
 * its work (on_prepare); that is what makes many requests of one turn share a
 * transaction.
 */
#include "aggregator/rows/group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "aggregator/rows/meta.h"
#include "aggregator/rows/subscribe.h"
#include "lib/clock.h"
#include "lib/hex.h"
#include "lib/log.h"
#include "lib/slice.h"

#define CHANCE 64                     /* random words drawn at a time */
#define META_AGAIN_MS 200             /* until `meta` is asked for again */
#define RELEASE_LOOK_MS 10            /* how often group_close() looks whether all is released */

struct group {
	uv_loop_t *loop;            /* borrowed */
	struct engine *engine;      /* owned */
	struct rows_host host;      /* of all that follow */
	struct copy *copy;          /* NULL until `meta` is known */
	struct checks *checks;      /* likewise; NULL without halves */
	struct owner *owner;        /* likewise */
	struct reader *reader;      /* likewise */
	struct members *members;    /* likewise; NULL: alone */
	uint64_t members_at;        /* ns; when members_wake() is due */
	struct group_options options; /* texts point into the bufs below */
	struct group_calls calls;
	struct buf tenant, member;  /* copies */
	struct buf meta_key;        /* key of `meta` */
	struct buf meta_text;       /* as it is stored */
	struct meta meta;           /* the same, read */
	char uuid[META_UUID_SIZE];  /* that it must be; "": any */
	uint64_t nonce;             /* of this process */
	uv_prepare_t prepare;       /* does what is to be done before the loop sleeps */
	uv_timer_t timer;           /* wakes it when something is due */
	uv_timer_t meta_timer;      /* asks for `meta` again; then looks for the end of a release */
	uint64_t room;              /* of group_set_room(), until there is an owner */
	char room_why[256];         /* likewise */
	uint64_t words[CHANCE];     /* random */
	size_t n_words;             /* left of them */
	bool ready;                 /* calls.ready() was called */
	bool closing;               /* group_close() was called */
	bool ended;                 /* everything but the handles has gone */
	uint64_t release_until;     /* ns; then it closes, released or not */
	unsigned asked;             /* answers for `meta` that the engine owes */
	int handles;                /* still open */
	void (*closed)(void *ctx);  /* of group_close() */
	void *closed_ctx;
};

/* ------------------------------------------------------------------------ host */

static uint64_t host_clock(void *ctx)
{
	(void)ctx;
	return clock_now(&clock_monotonic);
}

static uint64_t host_wall(void *ctx)
{
	(void)ctx;
	return clock_wall_now() / NS_PER_MS;
}

static uint64_t host_chance(void *ctx)
{
	struct group *g = ctx;

	while (!g->n_words)
		if (getrandom(g->words, sizeof(g->words), 0) == (ssize_t)sizeof(g->words))
			g->n_words = CHANCE;
	return g->words[--g->n_words];
}

/* ----------------------------------------------------------------------- calls */

static void take_all(struct group *g)
{
	for (uint32_t i = 0; g->options.alone && i < g->meta.shards; i++)
		owner_want(g->owner, i, true);
}

static void on_loaded(void *ctx)
{
	struct group *g = ctx;

	take_all(g);
	g->ready = true;
	g->calls.ready(g->calls.ctx);
}

static void on_row(void *ctx, struct row *row)
{
	struct group *g = ctx;

	if (g->owner)
		owner_row_changed(g->owner, row);
	if (g->reader)
		reader_row_changed(g->reader, row);
	if (g->members)
		members_row_changed(g->members, row);
	subscribe_row_changed(row);
	g->calls.row(g->calls.ctx, row);
}

static void on_owner(void *ctx, uint32_t shard)
{
	struct group *g = ctx;

	if (g->owner)
		owner_shard_changed(g->owner, shard);
	if (g->members)
		members_shard_changed(g->members, shard);
	g->calls.owner(g->calls.ctx, shard);
}

static void fail(struct group *g, const char *why)
{
	log_error("rows cannot be used", "why=%s", LOG_STR(why));
	g->calls.failed(g->calls.ctx, why);
}

static void take_meta(struct group *g, struct mp_str text)
{
	struct err err = { 0 };
	struct meta meta;

	if (meta_read(text, &meta, &err) < 0) {
		fail(g, err.text);
		return;
	}
	if (g->uuid[0] && strcmp(meta.group, g->uuid) != 0) {
		fail(g, "the engine holds another group than this member's: was it restored, or is it the wrong one?");
		return;
	}
	if (g->meta.shards && (strcmp(meta.group, g->meta.group) != 0 || meta.shards != g->meta.shards)) {
		fail(g, "the engine holds another group than before: was it restored, or emptied?");
		return;
	}
	g->meta = meta;
	buf_reset(&g->meta_text);
	(void)buf_add_slice(&g->meta_text, text);
	if (g->owner)
		owner_set_meta(g->owner, buf_slice(&g->meta_key), buf_slice(&g->meta_text), meta.sealed);
}

static void on_other(void *ctx, const struct key *key, struct mp_str value)
{
	struct group *g = ctx;

	if (key->kind == KEY_MEMBER && g->members)
		members_key(g->members, key, value);
	if (key->kind != KEY_META)
		g->calls.other(g->calls.ctx, key, value);
	else if (value.ptr)
		take_meta(g, value);
	else
		fail(g, "the engine does not hold the group any more: was it emptied?");
}

/* ------------------------------------------------------------------------ loop */

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void on_timer(uv_timer_t *timer)
{
	(void)timer; /* on_prepare() follows */
}

/* Does all that is to be done, and sleeps until the next. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct group *g = prepare->data;
	uint64_t next, now, ms;

	if (!g->copy || g->ended)
		return;
	if (g->members && (members_is_woken(g->members) || clock_now(&clock_monotonic) >= g->members_at))
		g->members_at = members_wake(g->members);
	do {
		next = sooner(copy_wake(g->copy), sooner(owner_wake(g->owner), reader_wake(g->reader)));
	} while (owner_is_woken(g->owner) || reader_is_woken(g->reader));
	if (g->members)
		next = sooner(next, members_is_woken(g->members) ? 0 : g->members_at);
	now = clock_now(&clock_monotonic);
	ms = next <= now ? 0 : (next - now + NS_PER_MS - 1) / NS_PER_MS;
	uv_update_time(g->loop);
	if (next != UINT64_MAX)
		uv_timer_start(&g->timer, on_timer, ms, 0);
}

/* ------------------------------------------------------------------------ meta */

static void ask_meta(struct group *g);

static void meta_again(uv_timer_t *timer)
{
	ask_meta(timer->data);
}

static void meta_later(struct group *g)
{
	if (!g->closing)
		uv_timer_start(&g->meta_timer, meta_again, META_AGAIN_MS, 0);
}

/* The checks that this member has, for others to know. */
static void add_checks(struct group *g, struct member_info *self)
{
	const struct mp_aggregator **all = g->options.halves ? catalog_all_halves(g->options.halves) : NULL;

	for (size_t i = 0; all && all[i]; i++) {
		struct member_check *check = &self->check[self->n_checks];

		if (self->n_checks == MEMBER_CHECKS_MAX) {
			log_warn("others are not told of all checks", "check=%s most=%d", all[i]->name, MEMBER_CHECKS_MAX);
			break;
		}
		check->rules = all[i]->rules;
		(void)snprintf(check->name, sizeof(check->name), "%s", all[i]->name);
		self->n_checks++;
	}
	free(all);
}

static struct members *build_members(struct group *g)
{
	struct members_options options = {
		.engine = g->engine, .copy = g->copy, .owner = g->owner, .host = &g->host,
		.net = g->options.net, .n_shards = g->meta.shards,
		.self = { .version = MIDDLEPIPE_VERSION, .nonce = g->nonce, .since_ms = host_wall(g),
			  .engine = g->options.runs_engine },
	};

	(void)snprintf(options.self.id, sizeof(options.self.id), "%s", buf_str(&g->member));
	(void)snprintf(options.self.url, sizeof(options.self.url), "%s", g->options.url);
	add_checks(g, &options.self);
	return members_new(&options);
}

static const struct mp_aggregator *find_half(void *ctx, const char *name)
{
	return catalog_find_half(((struct group *)ctx)->options.halves, name);
}

static uint32_t find_elsewhere(void *ctx, const char *name, uint32_t rules)
{
	const struct group *g = ctx;

	return g->members ? members_check_rules(g->members, name, rules) : 0;
}

static struct checks *make_checks(struct group *g)
{
	return checks_new(&(struct checks_options){ g->engine, &g->host, copy_prefix(g->copy), find_half,
						    g, CHECKS_SLICE, find_elsewhere });
}

/* All that needs to know the number of shards. */
static int build(struct group *g)
{
	const struct copy_calls calls = { on_loaded, on_row, on_owner, on_other, g };
	struct mp_str tenant = buf_slice(&g->tenant);

	g->copy = copy_new(&(struct copy_options){ g->engine, &g->host, tenant, g->meta.shards,
						   g->options.rows_max },
			   &calls);
	if (!g->copy)
		return -ENOMEM;
	if (g->options.halves && !(g->checks = make_checks(g)))
		return -ENOMEM;
	g->owner = owner_new(&(struct owner_options){ .engine = g->engine, .copy = g->copy, .host = &g->host,
						      .checks = g->checks ? checks_calls(g->checks) : NULL,
						      .member = buf_slice(&g->member), .nonce = g->nonce,
						      .n_shards = g->meta.shards,
						      .limits = g->options.limits });
	g->reader = reader_new(&(struct reader_options){ g->engine, g->copy, &g->host });
	if (g->owner && !g->options.alone)
		g->members = build_members(g);
	if (!g->owner || !g->reader || (!g->members && !g->options.alone))
		return -ENOMEM;
	owner_set_meta(g->owner, buf_slice(&g->meta_key), buf_slice(&g->meta_text), g->meta.sealed);
	owner_set_room(g->owner, g->room, g->room_why);
	copy_start(g->copy);
	return 0;
}

static void begin(struct group *g, struct mp_str text)
{
	take_meta(g, text);
	if (g->meta.shards && !g->copy && build(g) < 0)
		fail(g, "out of memory");
}

/* False: the group is on its way out. */
static bool answered(struct group *g);

static void on_meta_made(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (!answered(g))
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
	struct engine_compare none = { .key = buf_slice(&g->meta_key) };
	struct engine_op put = { .kind = ENGINE_PUT, .key = none.key };
	struct engine_txn txn = { .compares = &none, .n_compares = 1, .ops = &put, .n_ops = 1 };

	for (size_t i = 0; i < 2; i++)
		id[i] = host_chance(g);
	if (g->uuid[0])
		(void)snprintf(meta.group, sizeof(meta.group), "%s", g->uuid);
	else
		hex_encode(meta.group, id, sizeof(id));
	buf_reset(&g->meta_text);
	(void)meta_write(&g->meta_text, &meta);
	put.value = buf_slice(&g->meta_text);
	if (g->engine->ops->commit(g->engine, &txn, on_meta_made, g) < 0)
		meta_later(g);
	else
		g->asked++;
}

static void on_generation(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (!answered(g))
		return;
	g->options.lost = answer->outcome != ENGINE_COMMITTED;
	meta_later(g); /* it is read, and is what it is now */
}

/* Whoever still has the generation before commits nothing. */
static void next_generation(struct group *g, struct mp_str text)
{
	struct engine_compare same = { .key = buf_slice(&g->meta_key), .value = text };
	struct engine_op put = { .kind = ENGINE_PUT, .key = same.key };
	struct engine_txn txn = { .compares = &same, .n_compares = 1, .ops = &put, .n_ops = 1 };
	struct err err = { 0 };
	struct meta meta;

	if (meta_read(text, &meta, &err) < 0) {
		fail(g, err.text);
		return;
	}
	meta.generation++;
	buf_reset(&g->meta_text);
	(void)meta_write(&g->meta_text, &meta);
	put.value = buf_slice(&g->meta_text);
	log_warn("a loss was accepted", "group=%s generation=%" PRIu64, meta.group, meta.generation);
	if (g->engine->ops->commit(g->engine, &txn, on_generation, g) < 0)
		meta_later(g);
	else
		g->asked++;
}

static void on_meta(void *ctx, const struct engine_answer *answer)
{
	struct group *g = ctx;

	if (!answered(g))
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

static void ask_meta(struct group *g)
{
	const struct engine_range range = { .from = buf_slice(&g->meta_key) };

	if (g->engine->ops->range(g->engine, &range, on_meta, g) < 0)
		meta_later(g);
	else
		g->asked++;
}

/* ------------------------------------------------------------------ life cycle */

static void destroy(struct group *g)
{
	buf_fini(&g->tenant);
	buf_fini(&g->member);
	buf_fini(&g->meta_key);
	buf_fini(&g->meta_text);
	free(g);
}

static int make_key(struct group *g)
{
	struct buf prefix;
	int r;

	buf_init(&prefix, KEY_MAX);
	r = key_prefix(&prefix, g->options.tenant);
	if (r == 0)
		r = key_meta(&g->meta_key, buf_slice(&prefix));
	buf_fini(&prefix);
	return r;
}

static void open_handles(struct group *g)
{
	uv_prepare_init(g->loop, &g->prepare);
	uv_timer_init(g->loop, &g->timer);
	uv_timer_init(g->loop, &g->meta_timer);
	g->prepare.data = g->timer.data = g->meta_timer.data = g;
	g->handles = 3;
	uv_prepare_start(&g->prepare, on_prepare);
}

int group_open(const struct group_options *options, const struct group_calls *calls, struct group **ret,
	       struct err *err)
{
	struct group *g = calloc(1, sizeof(*g));

	if (!g)
		return err_set(err, -ENOMEM, "out of memory");
	g->loop = options->loop;
	g->engine = options->engine;
	g->options = *options;
	g->calls = *calls;
	(void)snprintf(g->uuid, sizeof(g->uuid), "%s", options->uuid ? options->uuid : "");
	g->host = (struct rows_host){ host_clock, host_wall, host_chance, g };
	g->nonce = host_chance(g);
	g->room = OWNER_ROOM_ANY;
	buf_init(&g->tenant, ROW_TENANT_MAX);
	buf_init(&g->member, ROW_TENANT_MAX);
	buf_init(&g->meta_key, KEY_MAX);
	buf_init(&g->meta_text, META_SIZE_MAX);
	if (buf_add_slice(&g->tenant, options->tenant) || buf_add_slice(&g->member, options->member) ||
	    make_key(g)) {
		destroy(g);
		return err_set(err, -EINVAL, "the tenant or the member's id is too long");
	}
	open_handles(g);
	ask_meta(g);
	*ret = g;
	return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct group *g = handle->data;
	void (*closed)(void *) = g->closed;
	void *ctx = g->closed_ctx;

	if (--g->handles)
		return;
	destroy(g);
	closed(ctx);
}

static void on_engine_closed(void *ctx)
{
	struct group *g = ctx;

	uv_close((uv_handle_t *)&g->prepare, on_handle_closed);
	uv_close((uv_handle_t *)&g->timer, on_handle_closed);
	uv_close((uv_handle_t *)&g->meta_timer, on_handle_closed);
}

static void end(struct group *g)
{
	if (g->ended)
		return;
	g->ended = true;
	uv_timer_stop(&g->timer);
	uv_timer_stop(&g->meta_timer);
	members_free(g->members);
	owner_free(g->owner);
	checks_free(g->checks);
	reader_free(g->reader);
	copy_free(g->copy);
	g->members = NULL;
	g->owner = NULL;
	g->checks = NULL;
	g->reader = NULL;
	g->copy = NULL;
	/* It answers what it owes first. */
	g->engine->ops->close(g->engine, on_engine_closed, g);
}

static bool answered(struct group *g)
{
	g->asked--;
	return !g->closing;
}

static void look_for_end(uv_timer_t *timer)
{
	struct group *g = timer->data;
	struct owner_counts counts = { 0 };

	if (g->owner)
		owner_count(g->owner, &counts);
	if ((!counts.shards && !counts.waiting && !counts.releasing) ||
	    clock_now(&clock_monotonic) >= g->release_until)
		end(g);
}

void group_close(struct group *group, uint64_t release_ms, void (*closed)(void *ctx), void *ctx)
{
	group->closing = true;
	group->closed = closed;
	group->closed_ctx = ctx;
	group->release_until = clock_now(&clock_monotonic) + release_ms * NS_PER_MS;
	for (uint32_t i = 0; group->owner && i < group->meta.shards; i++)
		owner_want(group->owner, i, false);
	if (group->members)
		members_leave(group->members);
	uv_timer_start(&group->meta_timer, look_for_end, RELEASE_LOOK_MS, RELEASE_LOOK_MS);
}

/* ------------------------------------------------------------------------- use */

void group_put(struct group *group, struct put *put)
{
	owner_put(group->owner, put);
}

void group_set_room(struct group *group, uint64_t bytes, const char *why)
{
	group->room = bytes;
	(void)snprintf(group->room_why, sizeof(group->room_why), "%s", why);
	if (group->owner)
		owner_set_room(group->owner, bytes, why);
}

void group_read(struct group *group, struct read *read)
{
	reader_read(group->reader, read);
}

struct copy *group_copy(struct group *group)
{
	return group->copy;
}

struct owner *group_owner(struct group *group)
{
	return group->owner;
}

struct reader *group_reader(struct group *group)
{
	return group->reader;
}

struct members *group_members(struct group *group)
{
	return group->members;
}

void group_lease_lost(struct group *group)
{
	if (group->members)
		members_lease_lost(group->members);
}

struct engine *group_engine(struct group *group)
{
	return group->engine;
}

uv_loop_t *group_loop(struct group *group)
{
	return group->loop;
}

uint64_t group_now(struct group *group)
{
	return host_now(&group->host);
}

uint32_t group_shards(const struct group *group)
{
	return group->meta.shards;
}

const char *group_uuid(const struct group *group)
{
	return group->meta.group;
}

bool group_is_ready(struct group *group, const char **ret_why)
{
	struct engine_health health = { 0 };

	*ret_why = "it has not read its rows yet";
	if (!group->ready || group->closing || !group->copy)
		return false;
	group->engine->ops->health(group->engine, &health);
	*ret_why = "its engine does not answer";
	if (!health.serving || !copy_follows(group->copy))
		return false;
	*ret_why = "a shard has no owner";
	for (uint32_t i = 0; i < group->meta.shards; i++)
		if (!copy_owner(group->copy, i).ptr)
			return false;
	*ret_why = "";
	return true;
}
