/* SPDX-License-Identifier: Apache-2.0 */
/* See control.h: the loop, signals, and the watchdog. */
#include "scheduler/control.h"

#include <errno.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/slice.h"

/* ----------------------------------------------------------------- watchdog */

/*
 * Looks whether the data thread has been in one and the same call of a filter
 * for longer than the budget.  Then nothing but a new process helps.
 */
static void on_watchdog(uv_timer_t *timer)
{
	struct control *c = timer->data;
	uint32_t unit = atomic_load_explicit(&c->blame->running, memory_order_acquire);
	uint32_t round = atomic_load_explicit(&c->blame->round, memory_order_acquire);
	uint64_t now = clock_now(&clock_monotonic);

	if (!unit || round != c->watched || unit != c->watched_unit) {
		c->watched = round;
		c->watched_unit = unit;
		c->watched_ns = now;
	} else if (now - c->watched_ns > (uint64_t)c->options->filter_budget_ms * NS_PER_MS) {
		atomic_store(&c->blame->hung, unit);
		log_error("filter hangs, starting again without it", "middlepipe=%s",
			  LOG_STR(blame_name(c->blame, unit)));
		_exit(BLAME_EXIT_HUNG);
	}
	if (!atomic_load(&c->data->ticking))
		uv_timer_stop(&c->watchdog);
}

static void watchdog_start(struct control *c)
{
	uint64_t every = (uint64_t)c->options->filter_budget_ms / 4 + 1;

	if (atomic_load(&c->data->ticking) && !uv_is_active((uv_handle_t *)&c->watchdog))
		uv_timer_start(&c->watchdog, on_watchdog, every, every);
}

static void on_wake(uv_async_t *handle)
{
	struct control *c = handle->data;

	watchdog_start(c);
	data_deliver(c->data);
}

/* ------------------------------------------------------------------ signals */

static void stopped(void *ctx, struct mail *mail)
{
	struct control *c = ctx;

	(void)mail;
	uv_stop(&c->loop);
}

static void on_stop(uv_signal_t *handle, int signum)
{
	static struct mail stop = { .there = data_stop_there, .back = stopped };
	struct control *c = handle->data;

	if (c->stopping)
		return;
	c->stopping = true;
	log_info("stopping", "signal=%d", signum);
	data_post(c->data, &stop);
}

static void reloaded(struct load *load, int result)
{
	(void)result; /* config.c has logged it */
	config_load_fini(load);
	free(load);
}

static void on_reload(uv_signal_t *handle, int signum)
{
	struct load *load = calloc(1, sizeof(*load));

	(void)signum;
	if (!load)
		return;
	load->done = reloaded;
	config_reload(load, handle->data);
}

static int signals_open(struct control *c)
{
	const struct {
		uv_signal_t *handle;
		uv_signal_cb cb;
		int signum;
	} rows[] = {
		{ &c->on_term, on_stop, SIGTERM },
		{ &c->on_int, on_stop, SIGINT },
		{ &c->on_hup, on_reload, SIGHUP },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r = uv_signal_init(&c->loop, rows[i].handle);

		if (r < 0)
			return r;
		rows[i].handle->data = c;
		r = uv_signal_start(rows[i].handle, rows[i].cb, rows[i].signum);
		if (r < 0)
			return r;
	}
	return 0;
}

/* -------------------------------------------------------------------- start */

static void ready(struct control *c)
{
	doorway_serve(c);
	atomic_store(&c->blame->ready, true);
	if (c->options->ready_fd < 0)
		return;
	/* Whoever waited for it may be gone: after a restart that is the rule. */
	if (write((int)c->options->ready_fd, "\n", 1) != 1 && errno != EPIPE)
		log_warn("readiness not told", "fd=%d", (int)c->options->ready_fd);
	close((int)c->options->ready_fd);
}

/* The first chains are in force, or there are none. */
static void started(struct load *load, int result)
{
	struct control *c = load->control;
	const char *reason = load->errs.count ? json_errs_text(&load->errs) : load->err.text;

	if (result < 0 && !c->current && c->options->chain && !state_chains(c)) {
		fprintf(stderr, "mp-scheduler: %s:\n%s\n", c->options->chain, reason);
		c->failed = true;
		on_stop(&c->on_term, 0);
	} else {
		ready(c);
	}
	config_load_fini(load);
	free(load);
}

/* What was in force before a restart wins over an older file. */
static void restored(struct load *load, int result)
{
	struct control *c = load->control;
	struct load *next = calloc(1, sizeof(*next));

	(void)result;
	config_load_fini(load);
	free(load);
	if (!next || !c->options->chain) {
		free(next);
		ready(c);
		return;
	}
	next->done = started;
	config_reload(next, c);
}

static int chains_start(struct control *c, struct err *err)
{
	struct load *load = calloc(1, sizeof(*load));

	if (!load)
		return err_set(err, -ENOMEM, "out of memory");
	if (state_chains(c)) {
		load->done = restored;
		config_load(load, c, slice_of(state_chains(c)));
	} else if (c->options->chain) {
		load->done = started;
		config_reload(load, c);
	} else {
		free(load);
		ready(c);
	}
	return 0;
}

static int data_open(struct control *c, struct err *err)
{
	struct data_limits limits = {
		.lane = { .n_slots = (uint32_t)c->options->slots,
			  .n_ring = (uint32_t)c->options->ring,
			  .data_size = (uint32_t)c->options->slot_size },
		.n_lanes = (uint32_t)c->options->lanes,
		.call_age_ns = (uint64_t)c->options->call_age_ms * NS_PER_MS,
	};
	int r;

	c->data = calloc(1, sizeof(*c->data));
	if (!c->data)
		return err_set(err, -ENOMEM, "out of memory");
	r = data_init(c->data, &limits, c->blame, &c->wake, c, err);
	if (r < 0)
		return r;
	if (c->options->state)
		c->data->save = state_collect;
	data_on_retired = config_retired;
	return data_start(c->data, err);
}

static void on_filter_refused(const char *path, const char *reason)
{
	log_error("filter refused", "path=%s reason=%s", LOG_STR(path), LOG_STR(reason));
}

static int catalog_open(struct control *c, struct err *err)
{
	struct catalog_options options = {
		.folder = c->options->filters_dir,
		.prefer_shared = c->options->prefer_shared,
		.refused = on_filter_refused,
	};
	int r = catalog_new(&options, &c->catalog, err);

	if (r >= 0 || !atomic_load(&c->blame->ready))
		return r;
	/* It was there once: better some of the chains than no worker at all. */
	log_error("filter folder is gone", "reason=%s", LOG_STR(err->text));
	options.folder = NULL;
	return catalog_new(&options, &c->catalog, err);
}

static int control_open(struct control *c, struct err *err)
{
	int r = uv_loop_init(&c->loop);

	if (r < 0)
		return err_set(err, r, "loop: %s", uv_strerror(r));
	c->loop.data = c;
	c->wake.data = c->watchdog.data = c;
	if ((r = uv_async_init(&c->loop, &c->wake, on_wake)) < 0 ||
	    (r = uv_timer_init(&c->loop, &c->watchdog)) < 0 || (r = signals_open(c)) < 0)
		return err_set(err, r, "loop: %s", uv_strerror(r));
	if ((r = catalog_open(c, err)) < 0 || (r = state_load(c, err)) < 0 || (r = data_open(c, err)) < 0 ||
	    (r = doorway_open(c, err)) < 0 || (r = api_open(c, err)) < 0)
		return r;
	return chains_start(c, err);
}

int control_run(const struct scheduler_options *options, struct blame *blame)
{
	struct control *c = calloc(1, sizeof(*c));
	struct err err = { 0 };

	if (!c)
		return 111;
	c->options = options;
	c->blame = blame;
	c->started_wall_ns = clock_wall_now();
	blame_load_open();
	if (control_open(c, &err) < 0) {
		log_error("scheduler not started", "reason=%s", LOG_STR(err.text));
		return 111;
	}
	uv_run(&c->loop, UV_RUN_DEFAULT);
	/* The process ends here: what it holds goes with it. */
	return c->failed ? 1 : 0;
}
