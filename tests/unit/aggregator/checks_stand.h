/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What test_checks.c stands on: a half that counts, and one member over the simulated
 * engine that loads it.
 */
#ifndef TESTS_UNIT_AGGREGATOR_CHECKS_STAND_H
#define TESTS_UNIT_AGGREGATOR_CHECKS_STAND_H

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/checks_priv.h"
#include "aggregator/rows/copy_priv.h"
#include "aggregator/rows/owner_priv.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"
#include "tests/unit/aggregator/engine_sim.h"

#define SHARDS 1
#define SLICE 10
#define LIMIT_NS (60 * NS_PER_S)
#define PREFIX MP_LIT("middlepipe/t/")

/* ------------------------------------------------------------------------- half */

/* What is asked of the half. */
static struct {
	int applied, restored, made, freed; /* calls */
	int no_memory;                      /* apply() that so many calls ahead has none; 0: all have */
	uint64_t id, time_ms;               /* of the last proposal's first cell */
	size_t pending;                     /* of the last check */
	bool same_again;                    /* the pending cells were those that it had been asked about */
	uint64_t asked[8];                  /* ids that it was asked about */
	size_t n_asked;
	uint64_t applied_time;              /* of the last cell applied */
	size_t padding;                     /* bytes of a snapshot behind the number */
	int snapshots;                      /* asked for */
	uint32_t others;                    /* rules of the check `other`, which other members have */
} seen;

static int32_t count_init(const struct mp_aggregator_host *host, struct mp_instance *instance,
			  const struct mp_value *values, void **ret_self, char *error, size_t size)
{
	(void)values, (void)error, (void)size;
	host->log(instance, MP_LOG_DEBUG, "begins");
	seen.made++;
	*ret_self = calloc(1, sizeof(uint64_t));
	return *ret_self ? 0 : -ENOMEM;
}

static void count_fini(void *self)
{
	seen.freed += self != NULL;
	free(self);
}

static int32_t count_apply(void *self, const struct mp_cell *cell)
{
	seen.applied++;
	seen.applied_time = cell->time_ms;
	if (seen.no_memory && !--seen.no_memory)
		return -ENOMEM;
	if (cell->seq != ++*(uint64_t *)self || cell->id)
		*(uint64_t *)self = UINT64_MAX / 2; /* out of order: no snapshot is right any more */
	return 0;
}

static bool was_asked(uint64_t id)
{
	for (size_t i = 0; i < seen.n_asked && i < 8; i++)
		if (seen.asked[i] == id)
			return true;
	return false;
}

/* Cells that say "no" are refused, and how many there are is said. */
static int32_t count_check(void *self, const struct mp_cell *const *pending, size_t n_pending,
			   const struct mp_cell *const *proposal, size_t n_proposal, char *reason, size_t size)
{
	seen.pending = n_pending;
	for (size_t i = 0; i < n_pending; i++)
		seen.same_again &= was_asked(pending[i]->id);
	for (size_t i = 0; i < n_proposal; i++) {
		seen.asked[seen.n_asked++ % 8] = proposal[i]->id;
		if (!slice_starts(proposal[i]->content, MP_LIT("no")))
			continue;
		snprintf(reason, size, "behind %" PRIu64 " and %zu", *(uint64_t *)self, n_pending);
		return MP_CHECK_REFUSE;
	}
	seen.id = proposal[0]->id;
	seen.time_ms = proposal[0]->time_ms;
	return MP_CHECK_ALLOW;
}

static int32_t count_snapshot(void *self, struct mp_sink *sink)
{
	static const char zeros[1000];
	int32_t r = sink->write(sink, self, sizeof(uint64_t));

	seen.snapshots++;
	for (size_t left = seen.padding; left && !r;) {
		size_t n = left < sizeof(zeros) ? left : sizeof(zeros);

		r = sink->write(sink, zeros, n);
		left -= n;
	}
	return r;
}

static int32_t count_restore(void *self, struct mp_str bytes, char *error, size_t size)
{
	seen.restored++;
	if (bytes.len < sizeof(uint64_t)) {
		snprintf(error, size, "too short");
		return -EINVAL;
	}
	memcpy(self, bytes.ptr, sizeof(uint64_t));
	return 0;
}

static const struct mp_option no_options[] = { { .name = NULL } };

static struct mp_aggregator count = {
	MP_AGGREGATOR_HEAD, .name = "count", .summary = "counts", .rules = 1, .options = no_options,
	.init = count_init, .fini = count_fini, .apply = count_apply, .check = count_check,
	.snapshot = count_snapshot, .restore = count_restore,
};

static const struct mp_aggregator *find(void *ctx, const char *name)
{
	(void)ctx;
	return strcmp(name, "count") ? NULL : &count;
}

static uint32_t elsewhere(void *ctx, const char *name, uint32_t rules)
{
	(void)ctx;
	return !strcmp(name, "other") && (!rules || rules == seen.others) ? seen.others : 0;
}

/* ------------------------------------------------------------------------ stand */

static struct stand {
	struct sim sim;
	struct sim_store *store;
	struct sim_actor actor;
	struct engine *engine;
	struct rows_host host;
	struct copy *copy;
	struct checks *checks;
	struct owner *owner;
	uint64_t next; /* ns; when owner and copy want to be called */
} stand;

static void on_loaded(void *ctx)
{
	(void)ctx;
	owner_want(stand.owner, 0, true);
}

static void on_row(void *ctx, struct row *row)
{
	(void)ctx;
	if (stand.owner)
		owner_row_changed(stand.owner, row);
}

static void on_owner(void *ctx, uint32_t shard)
{
	(void)ctx;
	if (stand.owner)
		owner_shard_changed(stand.owner, shard);
}

static void on_other(void *ctx, const struct key *key, struct mp_str value)
{
	(void)ctx, (void)key, (void)value;
}

static void nothing(struct sim *sim, void *ctx)
{
	(void)sim, (void)ctx;
}

/* One turn of a member's loop: something happens, then what is due is done. */
static void turn(void)
{
	uint64_t next, other;

	(void)sim_after(&stand.sim, NULL, NS_PER_MS, nothing, NULL);
	(void)sim_step(&stand.sim);
	next = copy_wake(stand.copy);
	do {
		other = owner_wake(stand.owner);
	} while (owner_is_woken(stand.owner));
	stand.next = next < other ? next : other;
}

static bool follows_and_owns(void *ctx)
{
	(void)ctx;
	return copy_follows(stand.copy) && owner_has(stand.owner, 0);
}

/* Turns until it is so. */
static bool until(bool (*cond)(void *ctx), void *ctx)
{
	uint64_t end = stand.sim.now_ns + LIMIT_NS;

	while (!cond(ctx) && stand.sim.now_ns < end)
		turn();
	return cond(ctx);
}

static void member_start(void)
{
	const struct copy_calls calls = { on_loaded, on_row, on_owner, on_other, NULL };

	sim_actor_init(&stand.actor, "m");
	stand.host = (struct rows_host){ sim_now_of, sim_wall_of, sim_random_of, &stand.sim };
	stand.engine = engine_sim_open(stand.store, &stand.actor);
	stand.copy = copy_new(&(struct copy_options){ stand.engine, &stand.host, MP_LIT("t"), SHARDS, 16 }, &calls);
	stand.checks = checks_new(&(struct checks_options){ stand.engine, &stand.host, copy_prefix(stand.copy), find, NULL,
								    SLICE, elsewhere });
	stand.owner = owner_new(&(struct owner_options){
		.engine = stand.engine, .copy = stand.copy, .host = &stand.host,
		.checks = checks_calls(stand.checks), .member = MP_LIT("m"), .nonce = 1, .n_shards = SHARDS,
		.limits = { .rows = 40, .bytes = 1 << 16, .waiting = 64, .snapshot_cells = 20,
			    .snapshot_part = 100 } });
	copy_start(stand.copy);
	ok(until(follows_and_owns, NULL), "a member begins");
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static bool is_true(void *ctx)
{
	return *(bool *)ctx;
}

static void member_end(void)
{
	bool closed = false;
	uint64_t end = stand.sim.now_ns + LIMIT_NS;

	owner_free(stand.owner);
	checks_free(stand.checks);
	copy_free(stand.copy);
	stand.owner = NULL;
	stand.engine->ops->close(stand.engine, on_closed, &closed);
	while (!closed && stand.sim.now_ns < end && sim_step(&stand.sim))
		;
	ok(closed && seen.made == seen.freed, "it ends, and %d instances with it", seen.made);
}

static void begin(void)
{
	memset(&seen, 0, sizeof(seen));
	seen.same_again = true;
	count.rules = 1;
	sim_init(&stand.sim, 1);
	stand.store = sim_store_new(&stand.sim);
	member_start();
}

static void end(void)
{
	member_end();
	sim_store_free(stand.store);
	sim_fini(&stand.sim);
}

#endif
