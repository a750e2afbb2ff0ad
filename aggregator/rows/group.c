/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See group.h.
 *
 * First `meta` is read, or made; then the copy reads everything, and the owner
 * takes what it is told to.  Before the loop sleeps, whatever was woken does
 * its work (on_prepare); that is what makes many requests of one turn share a
 * transaction.
 */
#include "aggregator/rows/group_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "aggregator/rows/subscribe.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/slice.h"

#define RELEASE_LOOK_MS 10            /* how often it is looked whether all is released */

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

uint64_t group_chance(void *ctx)
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
	for (uint32_t i = 0; g->options.alone && !g->closing && i < g->meta.shards; i++)
		owner_want(g->owner, i, true);
}

static void on_loaded(void *ctx)
{
	struct group *g = ctx;

	take_all(g);
	if (g->raised)
		group_say_rows(g);
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
}

void group_fail(struct group *g, const char *why)
{
	log_error("rows cannot be used", "why=%s", LOG_STR(why));
	g->calls.failed(g->calls.ctx, why);
}

static void on_other(void *ctx, const struct key *key, struct mp_str value)
{
	struct group *g = ctx;

	if (key->kind == KEY_MEMBER && g->members)
		members_key(g->members, key, value);
	if (key->kind != KEY_META)
		return;
	if (value.ptr)
		group_take_meta(g, value);
	else
		group_fail(g, "the engine does not hold the group any more: was it emptied?");
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

/* -------------------------------------------------------------------- building */

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
int group_build(struct group *g)
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
	g->host = (struct rows_host){ host_clock, host_wall, group_chance, g };
	g->nonce = group_chance(g);
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
	group_ask_meta(g);
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

/* It has no shard and takes none; at the end nobody waits, and its key has gone, too.  Or the time is up. */
static bool is_released(struct group *g, bool ends)
{
	struct owner_counts counts = { 0 };

	if (g->owner)
		owner_count(g->owner, &counts);
	if (!counts.shards && !counts.taking && !counts.releasing &&
	    !(ends && (counts.waiting || (g->members && !members_has_left(g->members)))))
		return true;
	return clock_now(&clock_monotonic) >= g->release_until;
}

static void look_for_release(uv_timer_t *timer)
{
	struct group *g = timer->data;

	if (!is_released(g, false))
		return;
	uv_timer_stop(timer);
	g->released(g->released_ctx);
}

/* Is there anybody who could take its shards? */
static bool has_heirs(const struct group *g)
{
	const struct member_info *m;

	for (size_t i = 0; g->members && (m = members_at(g->members, i)); i++)
		if (!slice_eq(slice_of(m->id), buf_slice(&g->member)) && !m->suspected && !m->draining)
			return true;
	return false;
}

void group_release(struct group *group, uint64_t release_ms, void (*released)(void *ctx), void *ctx)
{
	group->releasing = true;
	if (!has_heirs(group)) {
		released(ctx);
		return;
	}
	group->released = released;
	group->released_ctx = ctx;
	group->release_until = clock_now(&clock_monotonic) + release_ms * NS_PER_MS;
	members_drain(group->members);
	uv_timer_start(&group->meta_timer, look_for_release, 0, RELEASE_LOOK_MS);
}

static void look_for_end(uv_timer_t *timer)
{
	struct group *g = timer->data;

	if (is_released(g, true))
		end(g);
}

void group_close(struct group *group, uint64_t release_ms, void (*closed)(void *ctx), void *ctx)
{
	group->closing = true;
	group->closed = closed;
	group->closed_ctx = ctx;
	if (!group->release_until) /* else that has had its time */
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

struct mp_str group_tenant(const struct group *group)
{
	return buf_slice(&group->tenant);
}

uint64_t group_nonce(const struct group *group)
{
	return group->nonce;
}

bool group_is_ready(struct group *group, const char **ret_why)
{
	struct engine_health health = { 0 };

	*ret_why = "this member stops";
	if (group->releasing || group->closing)
		return false;
	*ret_why = "it has not read its rows yet";
	if (!group->ready || !group->copy)
		return false;
	group->engine->ops->health(group->engine, &health);
	*ret_why = "its engine does not answer";
	if (!health.serving || !copy_follows(group->copy))
		return false;
	*ret_why = "a shard has no owner";
	for (uint32_t i = 0; i < group->meta.shards; i++)
		if (!copy_owner(group->copy, i).ptr || (group->members && !members_owner(group->members, i)))
			return false;
	*ret_why = "";
	return true;
}
