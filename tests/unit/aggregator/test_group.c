/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aggregator/rows/group.c: whatever is under way when a group is closed, no key says
 * afterwards that its process is there; and what a group that was just made compares.  Over SQLite,
 * behind an engine that is slow to tell of the commits that it is told.
 */
#include "aggregator/rows/group_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aggregator/rows/engine/sqlite.h"
#include "lib/clock.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

#define SLOW_MS 150     /* how late an answer comes */
#define RELEASE_MS 20000
#define LIMIT_NS (60 * NS_PER_S)

static uv_loop_t loop;
static char folder[] = "/tmp/test_group.XXXXXX";
static char path[64];

/* ---------------------------------------------------------------- a slow engine */

/* Commits that change a key with `hold` in it are done at once, and answered late. */
static struct slow {
	struct engine engine; /* first */
	struct engine *inner;
	const char *hold;
	int held;             /* answers that are held now */
	void (*closed)(void *ctx); /* it was to be closed meanwhile */
	void *closed_ctx;
} slow;

struct held {
	uv_timer_t timer; /* first */
	engine_done_fn *done;
	void *ctx;
	struct engine_answer answer;
};

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

static void let_go(uv_timer_t *timer)
{
	struct held *held = (struct held *)(void *)timer;

	held->done(held->ctx, &held->answer);
	uv_close((uv_handle_t *)timer, on_timer_closed);
	if (!--slow.held && slow.closed)
		slow.inner->ops->close(slow.inner, slow.closed, slow.closed_ctx);
}

static void hold(void *ctx, const struct engine_answer *answer)
{
	struct held *held = ctx;

	ok(answer->outcome == ENGINE_COMMITTED, "what is held was committed");
	held->answer = (struct engine_answer){ .outcome = answer->outcome, .revision = answer->revision, .why = "" };
	uv_timer_start(&held->timer, let_go, SLOW_MS, 0);
}

static bool is_slow(const struct engine_txn *txn)
{
	for (size_t i = 0; i < txn->n_ops; i++)
		if (memmem(txn->ops[i].key.ptr, txn->ops[i].key.len, slow.hold, strlen(slow.hold)))
			return true;
	return false;
}

static int slow_commit(struct engine *engine, const struct engine_txn *txn, engine_done_fn *tell, void *ctx)
{
	struct held *held = is_slow(txn) ? calloc(1, sizeof(*held)) : NULL;

	(void)engine;
	if (!held)
		return slow.inner->ops->commit(slow.inner, txn, tell, ctx);
	slow.held++;
	held->done = tell;
	held->ctx = ctx;
	uv_timer_init(&loop, &held->timer);
	return slow.inner->ops->commit(slow.inner, txn, hold, held);
}

static int slow_range(struct engine *engine, const struct engine_range *range, engine_done_fn *tell, void *ctx)
{
	(void)engine;
	return slow.inner->ops->range(slow.inner, range, tell, ctx);
}

static uint64_t slow_watch(struct engine *engine, struct mp_str from, struct mp_str end, uint64_t after,
			   const struct engine_watch *watch)
{
	(void)engine;
	return slow.inner->ops->watch(slow.inner, from, end, after, watch);
}

static void slow_unwatch(struct engine *engine, uint64_t id)
{
	(void)engine;
	slow.inner->ops->unwatch(slow.inner, id);
}

static void slow_health(const struct engine *engine, struct engine_health *ret)
{
	(void)engine;
	slow.inner->ops->health(slow.inner, ret);
}

static void slow_close(struct engine *engine, void (*closed)(void *ctx), void *ctx)
{
	(void)engine;
	slow.closed = closed;
	slow.closed_ctx = ctx;
	if (!slow.held)
		slow.inner->ops->close(slow.inner, closed, ctx);
}

static const struct engine_ops slow_ops = {
	.name = "slow", .commit = slow_commit, .range = slow_range, .watch = slow_watch,
	.unwatch = slow_unwatch, .health = slow_health, .close = slow_close,
};

static struct engine *open_file(void)
{
	struct err err = { 0 };
	struct engine *engine = NULL;

	if (engine_sqlite_open(&loop, &(struct engine_sqlite_options){ .path = path }, &engine, &err))
		note("%s", err.text);
	return engine;
}

/* ---------------------------------------------------------------------- a group */

static struct group *opened;

static void on_known(void *ctx)
{
	struct err err = { 0 };
	struct meta meta;

	(void)ctx;
	is_int(meta_read(buf_slice(&opened->meta_text), &meta, &err), 0, "what flights compare is `meta` %s", err.text);
}

static void on_ready(void *ctx)
{
	(void)ctx;
}

static void on_failed(void *ctx, const char *why)
{
	(void)ctx;
	ok(false, "the group fails: %s", why);
}

static void on_row(void *ctx, struct row *row)
{
	(void)ctx, (void)row;
}

static void no_ping(void *ctx, const char *id, uint64_t nonce, const char *url)
{
	(void)ctx, (void)id, (void)nonce, (void)url;
}

static void on_usurped(void *ctx, const char *why)
{
	(void)ctx;
	ok(false, "usurped: %s", why);
}

static struct group *open_group(bool alone, const char *slow_key)
{
	struct group_options options = {
		.loop = &loop, .engine = &slow.engine, .tenant = MP_LIT("t"), .member = MP_LIT("m"), .shards = 4,
		.rows_max = 16, .limits = { .rows = 16, .bytes = 1 << 16, .waiting = 16 }, .alone = alone,
		.url = "http://m", .net = { .ping = no_ping, .usurped = on_usurped },
	};
	const struct group_calls calls = { .known = on_known, .ready = on_ready, .failed = on_failed, .row = on_row };
	struct group *group = NULL;
	struct err err = { 0 };

	slow = (struct slow){ .engine = { &slow_ops }, .inner = open_file(), .hold = slow_key };
	is_int(group_open(&options, &calls, &group, &err), 0, "a group %s", err.text);
	return opened = group;
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static void until(const bool *done)
{
	uint64_t end = clock_now(&clock_monotonic) + LIMIT_NS;

	while (!*done && clock_now(&clock_monotonic) < end)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ok(*done, "it ends");
}

/* ------------------------------------------------------------------ what is left */

struct left {
	bool done;
	int keys, owners, members;
};

static void on_range(void *ctx, const struct engine_answer *answer)
{
	struct left *left = ctx;

	for (size_t i = 0; i < answer->n_items; i++) {
		struct mp_str key = answer->items[i].key;

		left->keys++;
		left->owners += slice_starts(key, MP_LIT("middlepipe/t/owner/"));
		left->members += slice_starts(key, MP_LIT("middlepipe/t/member/"));
	}
	left->done = true;
}

static struct left look_into_file(void)
{
	const struct engine_range all = { .from = MP_LIT("a"), .end = MP_LIT("z") };
	struct engine *engine = open_file();
	struct left left = { 0 };
	bool closed = false;

	is_int(engine->ops->range(engine, &all, on_range, &left), 0, "what is in the file");
	until(&left.done);
	engine->ops->close(engine, on_closed, &closed);
	until(&closed);
	return left;
}

/* ------------------------------------------------------------------------ tests */

/* It is closed while a commit of such a key is under way. */
static void test_close(bool alone, const char *key)
{
	struct group *group = open_group(alone, key);
	uint64_t end = clock_now(&clock_monotonic) + LIMIT_NS;
	struct left left;
	bool closed = false;

	while (!slow.held && clock_now(&clock_monotonic) < end)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ok(slow.held, "%s is being written", key);
	group_close(group, RELEASE_MS, on_closed, &closed);
	until(&closed);
	left = look_into_file();
	ok(left.keys > 0, "the file is that of the group");
	is_int(left.owners, 0, "no shard has an owner any more");
	is_int(left.members, 0, "and no member is there");
}

static void remove_files(void)
{
	static const char *const behind[] = { "", "-wal", "-shm", "-mark" };

	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
		char name[80];

		(void)snprintf(name, sizeof(name), "%s%s", path, behind[i]);
		(void)unlink(name); /* it may not be there */
	}
	(void)rmdir(folder);
}

int main(void)
{
	uv_loop_init(&loop);
	if (!mkdtemp(folder))
		return 1;
	(void)snprintf(path, sizeof(path), "%s/rows.db", folder);
	test_close(true, "/owner/");
	test_close(false, "/member/");
	test_close(false, "/owner/");
	is_int(uv_loop_close(&loop), 0, "the loop is empty");
	remove_files();
	return done();
}
