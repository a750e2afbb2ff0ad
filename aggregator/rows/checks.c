/* SPDX-License-Identifier: Apache-2.0 */
/* See checks.h. */
#include "aggregator/rows/checks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/checks_priv.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/slice.h"
#include "middlepipes/half.h"

#define SLICE_BYTES ((size_t)4 << 20)    /* of cells, taken in at a time */
#define AGAIN_NS (500 * NS_PER_MS)       /* until what could not be made is tried again */
#define LARGE_NS (60 * NS_PER_S)         /* likewise a snapshot that was too large: it costs as much as one that fits */

/* --------------------------------------------------------------------- the host */

static void host_log(struct mp_instance *instance, int32_t level, const char *text)
{
	static void (*const say[])(const char *event, const char *fmt, ...) = {
		[MP_LOG_ERROR] = log_error, [MP_LOG_WARN] = log_warn,
		[MP_LOG_INFO] = log_info, [MP_LOG_DEBUG] = log_debug,
	};
	const struct row_check *c = (const struct row_check *)(const void *)instance;

	if (level >= MP_LOG_ERROR && level <= MP_LOG_DEBUG)
		say[level]("check", "check=%s row=%s text=%s", c->half->name, LOG_STR(c->row->name),
			   LOG_STR(text));
}

static const struct mp_aggregator_host host = {
	MP_AGGREGATOR_ABI_MAJOR, MP_AGGREGATOR_ABI_MINOR, sizeof(struct mp_aggregator_host), host_log,
};

/* -------------------------------------------------------------------- life cycle */

/* Lets go of the instance; the next that asks for it makes another. */
static void forget(struct row_check *c)
{
	if (c->load)
		snapshot_load_cancel(c->load);
	c->load = NULL;
	if (c->self)
		c->half->fini(c->self);
	c->self = NULL;
	c->applied = 0;
	list_remove(&c->busy);
}

static void check_free(struct row_check *c)
{
	forget(c);
	list_remove(&c->link);
	c->row->check = NULL;
	free(c);
}

/* Nobody here can judge.  -EAGAIN: another member can, and will take the row's shard. */
static int not_here(const struct checks *checks, const struct head *head)
{
	const struct checks_options *o = &checks->options;

	return o->elsewhere && o->elsewhere(o->ctx, head->check, (uint32_t)head->rules) ? -EAGAIN : -ENOENT;
}

static int check_new(struct checks *checks, struct row *row, const char **ret_why)
{
	const struct mp_aggregator *half = checks->options.find(checks->options.ctx, row->head.check);
	struct row_check *c;

	*ret_why = "this member has not the row's check";
	if (!half)
		return not_here(checks, &row->head);
	*ret_why = "the row goes by other rules of its check than this member has";
	if (half->rules != row->head.rules)
		return not_here(checks, &row->head);
	*ret_why = "out of memory";
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct row_check){ .checks = checks, .row = row, .half = half,
			     .incarnation = row->head.incarnation };
	list_init(&c->busy);
	list_push_back(&checks->all, &c->link);
	row->check = c;
	return 0;
}

/* Is it still the check of that row? */
static bool fits(const struct row_check *c, const struct row *row)
{
	return c->incarnation == row->head.incarnation && !strcmp(c->half->name, row->head.check) &&
	       c->half->rules == row->head.rules;
}

/* ------------------------------------------------------------------- an instance */

static int fail(struct row_check *c, int error, const char *why)
{
	log_warn("a check cannot judge", "check=%s row=%s why=%s", c->half->name, LOG_STR(c->row->name),
		 LOG_STR(why));
	forget(c);
	c->error = error == -ENOMEM ? error : -EIO; /* a half may say anything */
	c->again_at = host_now(c->checks->options.host) + AGAIN_NS;
	return c->error;
}

/* The state as of `seq`; bytes empty and seq 0: before the first cell. */
static int make(struct row_check *c, struct mp_str bytes, uint64_t seq)
{
	char why[MP_REASON_MAX] = "";
	struct err err = { 0 };
	int r = half_new(c->half, &host, (struct mp_instance *)(void *)c, slice_make(NULL, 0), &c->self, &err);

	if (r < 0)
		return fail(c, r, err.text);
	if (seq)
		r = c->half->restore(c->self, bytes, why, sizeof(why));
	why[sizeof(why) - 1] = '\0';
	if (r < 0)
		return fail(c, r, why);
	c->applied = seq;
	return 0;
}

static int make_from_cells(struct row_check *c, const char *why)
{
	return row_first(c->row) == 1 ? make(c, slice_make(NULL, 0), 0) : fail(c, -EIO, why);
}

static void on_loaded(void *ctx, int r, struct mp_str bytes, uint32_t rules, const char *why)
{
	struct row_check *c = ctx;

	(void)rules; /* whoever has others was told so by the head */
	c->load = NULL;
	if (!fits(c, c->row) || c->row->head.snapshot != c->loading)
		return; /* a newer one took its place: whoever asks next makes it from that */
	if (r == -EINVAL && c->suspect != c->loading) {
		/* The head that names it may be an old one: the next is on its way, or it is damaged. */
		c->suspect = c->loading;
		c->again_at = host_now(c->checks->options.host) + AGAIN_NS;
		r = c->error = -EAGAIN;
	}
	if (r == 0)
		r = make(c, bytes, c->loading);
	else if (r != -EAGAIN)
		r = fail(c, r, why);
	if (r < 0 && r != -EAGAIN && r != -ENOMEM)
		(void)make_from_cells(c, "its state snapshot cannot be read, and the cells before it are gone");
}

/* Begins with what is stored.  -EAGAIN: it has to be read. */
static int begin(struct row_check *c)
{
	struct checks *checks = c->checks;
	struct row *row = c->row;
	const struct snapshot_id id = { checks->options.prefix, row_name(row), c->incarnation, row->head.snapshot };

	if (row->head.snapshot == c->loading && host_now(checks->options.host) < c->again_at)
		return c->error;
	if (!row->head.snapshot)
		return make_from_cells(c, "cells are gone, and there is no state snapshot");
	c->loading = row->head.snapshot;
	c->load = snapshot_load(checks->options.engine, &id, on_loaded, c);
	return c->load ? -EAGAIN : fail(c, -ENOMEM, "out of memory");
}

static struct mp_cell cell_of(const struct cell *cell)
{
	return (struct mp_cell){ .size = sizeof(struct mp_cell), .kind = cell->kind, .seq = cell->seq,
				 .time_ms = cell->time_ms, .key = cell->key, .origin = cell->origin,
				 .content = cell->content };
}

/* Takes in the row's cells.  0: all; -EAGAIN: there are more; -ESTALE: some are gone; -ENOMEM. */
static int apply_some(struct row_check *c)
{
	size_t cells = 0, bytes = 0;
	struct row_walk walk;
	struct cell cell;

	if (row_first(c->row) > c->applied + 1)
		return -ESTALE;
	row_walk(&walk, c->row, c->applied + 1);
	while (c->applied < c->row->applied && row_walk_next(&walk, &cell)) {
		struct mp_cell mp = cell_of(&cell);

		if (++cells > c->checks->options.slice || (bytes += cell.content.len) > SLICE_BYTES)
			return -EAGAIN;
		if (c->half->apply(c->self, &mp) != 0)
			return -ENOMEM;
		c->applied = cell.seq;
	}
	return 0;
}

/* Brings it up to the row's last cell; what cannot be done now is done by work(). */
static int catch_up(struct row_check *c)
{
	int r;

	if (c->load)
		return -EAGAIN;
	if (c->self && c->applied > c->row->applied)
		forget(c); /* the row is not what it was: its engine was restored */
	r = c->self ? 0 : begin(c);
	if (r == 0)
		r = apply_some(c);
	if (r == -ENOMEM || r == -ESTALE) {
		if (c->self)
			forget(c);
		return r == -ESTALE ? -EAGAIN : r;
	}
	list_remove(&c->busy);
	if (r == -EAGAIN && c->self)
		list_push_back(&c->checks->busy, &c->busy);
	return r;
}

static bool work(void *ctx)
{
	struct checks *checks = ctx;
	struct list *link = list_pop_front(&checks->busy);

	if (link)
		(void)catch_up(LIST_ENTRY_OF(link, struct row_check, busy)); /* who asks again is told */
	return !list_empty(&checks->busy);
}

/* ----------------------------------------------------------------------- judging */

/* A list of cells with room for so many; the pointers follow when it moves. */
static bool reserve(struct checks *checks, size_t n)
{
	size_t room = checks->room ? checks->room : 64;

	while (room < n)
		room *= 2;
	if (room > checks->room) {
		struct mp_cell *cells = reallocarray(checks->cells, room, sizeof(*cells));
		const struct mp_cell **list;

		if (!cells)
			return false;
		checks->cells = cells;
		list = reallocarray(checks->list, room, sizeof(*list));
		if (!list)
			return false;
		checks->list = list;
		for (size_t i = 0; i < room; i++)
			list[i] = &cells[i];
		checks->room = room;
	}
	return true;
}

/* Adds the cells of a put.  One number, one cell: what stands there under that number stays. */
static bool add_put(struct checks *checks, const struct put *put, size_t *n)
{
	size_t cells = put->kind == PUT_CELLS ? put->n : 0;

	if (!reserve(checks, *n + cells))
		return false;
	for (size_t i = 0; i < cells; i++, ++*n)
		if (*n >= checks->n_known || checks->cells[*n].id != put->id + i)
			checks->cells[*n] = (struct mp_cell){
				.size = sizeof(struct mp_cell), .kind = put->cell_kind, .id = put->id + i,
				.time_ms = put->time_ms, .key = put->key, .origin = put->origin,
				.content = put->content[i],
			};
	checks->n_known = *n > checks->n_known ? *n : checks->n_known;
	return true;
}

static int judge(struct row_check *c, const struct put *const *pending, size_t n, const struct put *put,
		 const char **ret_why)
{
	struct checks *checks = c->checks;
	size_t before = 0, all;
	int r;

	*ret_why = "out of memory";
	for (size_t i = 0; i < n; i++)
		if (!add_put(checks, pending[i], &before))
			return -ENOMEM;
	all = before;
	if (!add_put(checks, put, &all))
		return -ENOMEM;
	checks->reason[0] = '\0';
	r = c->half->check(c->self, checks->list, before, checks->list + before, all - before, checks->reason,
			   sizeof(checks->reason));
	checks->reason[sizeof(checks->reason) - 1] = '\0';
	if (r == MP_CHECK_ALLOW)
		return 0;
	*ret_why = r == MP_CHECK_REFUSE ? checks->reason : "the row's check could not judge";
	return r == MP_CHECK_REFUSE ? -EPERM : -EIO;
}

/* The row's check with its state after the last cell. */
static int ready(struct checks *checks, struct row *row, const char **ret_why)
{
	int r = 0;

	if (row->check && !fits(row->check, row)) {
		check_free(row->check);
		row->check = NULL; /* which it did: for the analyzer */
	}
	if (!row->check)
		r = check_new(checks, row, ret_why);
	if (r < 0)
		return r;
	*ret_why = "the row's check has no state to judge by";
	return catch_up(row->check);
}

static int allows(void *ctx, struct row *row, const struct put *const *pending, size_t n,
		  const struct put *put, const char **ret_why)
{
	int r = ready(ctx, row, ret_why);

	return r < 0 ? r : judge(row->check, pending, n, put, ret_why);
}

static int snapshot(void *ctx, struct row *row, struct buf *out)
{
	const struct checks *checks = ctx;
	uint64_t now = host_now(checks->options.host);
	struct row_check *c;
	const char *why;
	int r = ready(ctx, row, &why);

	if (r < 0)
		return r;
	c = row->check;
	if (c->large_until > now)
		return -E2BIG;
	r = half_snapshot(c->half, c->self, out);
	if (r < 0)
		log_warn("no snapshot of a row's state", "check=%s row=%s error=%d", c->half->name,
			 LOG_STR(row->name), r);
	if (r == -E2BIG)
		c->large_until = now + LARGE_NS;
	return r < 0 && r != -E2BIG ? -EIO : r;
}

static uint32_t rules(void *ctx, const char *name)
{
	struct checks *checks = ctx;
	const struct checks_options *o = &checks->options;
	const struct mp_aggregator *half = o->find(o->ctx, name);

	if (half)
		return half->rules;
	return o->elsewhere ? o->elsewhere(o->ctx, name, 0) : 0;
}

static void drop(void *ctx, struct row *row)
{
	(void)ctx;
	if (row->check)
		check_free(row->check);
}

/* -------------------------------------------------------------------------- all */

struct checks *checks_new(const struct checks_options *options)
{
	struct checks *checks = calloc(1, sizeof(*checks));

	if (!checks)
		return NULL;
	checks->options = *options;
	checks->calls = (struct owner_checks){ rules, allows, snapshot, drop, work, checks };
	list_init(&checks->all);
	list_init(&checks->busy);
	return checks;
}

void checks_free(struct checks *checks)
{
	if (!checks)
		return;
	LIST_FOR_EACH_SAFE(link, &checks->all)
		check_free(LIST_ENTRY_OF(link, struct row_check, link));
	free(checks->cells);
	free(checks->list);
	free(checks);
}

const struct owner_checks *checks_calls(struct checks *checks)
{
	return &checks->calls;
}
