/* SPDX-License-Identifier: Apache-2.0 */
/* See unit.h. */
#include "scheduler/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/slice.h"
#include "scheduler/data.h"

char *unit_key(const char *destination, const struct chain_binding *binding, struct mp_str prefix)
{
	char *key;

	if (asprintf(&key, "%s\n%s\n%s\n%.*s", destination, binding->middlepipe, binding->type,
		     SLICE_ARG(prefix)) < 0)
		return NULL;
	return key;
}

static uint32_t counters_of(const struct mp_filter *filter, uint32_t max)
{
	uint32_t n = 0;

	while (filter->counters && n < max && filter->counters[n])
		n++;
	return n;
}

/* Calls load() with its name in the blame page: loading may crash as well. */
static int filter_load(struct unit *u, struct blame *blame, const struct chain_binding *binding,
		       struct err *err)
{
	char text[160] = "";
	int32_t r;

	u->plan = (struct mp_plan){ .size = sizeof(u->plan), .needs = u->filter->needs };
	blame_load_enter(blame, &blame->loading, u->number);
	r = u->filter->load(&scheduler_host, (struct mp_unit *)(void *)u, binding->values, &u->plan, &u->self, text,
			    sizeof(text));
	blame_load_leave(blame, &blame->loading);
	text[sizeof(text) - 1] = '\0';
	if (r < 0)
		return err_set(err, r, "%s", text[0] ? text : strerror(-r));
	if (u->plan.needs & ~u->filter->needs)
		return err_set(err, -EINVAL, "filter %s needs more (0x%x) than its table says (0x%x)",
			       u->filter->name, u->plan.needs, u->filter->needs);
	return 0;
}

static void start_ejected(struct unit *u, const struct blame_ejected *row)
{
	u->ejected = true;
	u->plan.needs = 0;
	u->ejected_wall_ns = row->wall_ns;
	snprintf(u->reason, sizeof(u->reason), "%s", row->reason);
}

int unit_new(struct data *data, struct blame *blame, const struct chain_destination *destination,
	     const struct chain_binding *binding, struct mp_str prefix, struct unit **ret,
	     struct err *err)
{
	struct unit *u = calloc(1, sizeof(*u));
	const struct blame_ejected *row = blame_find(blame, binding->middlepipe);
	int r = 0;

	if (!u)
		return err_set(err, -ENOMEM, "out of memory");
	u->magic = UNIT_MAGIC;
	u->data = data;
	u->filter = binding->filter;
	u->closed = binding->closed;
	u->key = unit_key(destination->name, binding, prefix);
	u->middlepipe = strdup(binding->middlepipe);
	u->destination = strdup(destination->name);
	u->prefix = slice_dup(prefix);
	u->config = strdup(binding->config);
	u->n_counters = counters_of(binding->filter, UNIT_COUNTERS_MAX);
	u->number = blame_number(blame, binding->middlepipe);
	if (!u->key || !u->middlepipe || !u->destination || !u->prefix || !u->config)
		r = err_set(err, -ENOMEM, "out of memory");
	else if (!u->number)
		r = err_set(err, -ENOSPC, "more than %u filters at once, those of old epochs included",
			    BLAME_UNITS - 1);
	else if (row)
		start_ejected(u, row);
	else
		r = filter_load(u, blame, binding, err);
	if (r < 0) {
		unit_free(u, blame);
		return r;
	}
	*ret = u;
	return 0;
}

void unit_free(struct unit *u, struct blame *blame)
{
	if (!u)
		return;
	if (u->self) {
		blame_load_enter(blame, &blame->unloading, u->number);
		u->filter->unload(u->self);
		blame_load_leave(blame, &blame->unloading);
	}
	blame_number_free(blame, u->number);
	free(u->key);
	free(u->middlepipe);
	free(u->destination);
	free(u->prefix);
	free(u->config);
	free(u->blob);
	free(u->restored);
	free(u->saved);
	free(u);
}

void unit_enter(const struct unit *u)
{
	blame_enter(u->data->blame, u->number);
}

void unit_leave(const struct unit *u)
{
	blame_leave(u->data->blame);
}

/* Puts what a state file had for this unit. */
static void state_restore(struct unit *u)
{
	if (!u->restored || u->ejected || !u->filter->put)
		return;
	unit_enter(u);
	if (u->filter->put(u->self, "state", u->restored, u->restored_size) < 0)
		log_warn("state refused, starting afresh", "middlepipe=%s", LOG_STR(u->middlepipe));
	unit_leave(u);
}

/* Moves the state of the ancestor, if both filters say how. */
static void state_take_over(struct unit *u)
{
	struct unit *old = u->ancestor;
	int64_t size;

	u->ancestor = NULL;
	if (!old || old->ejected || !old->started) {
		state_restore(u);
		return;
	}
	old->heir = u;
	if (!u->filter->get || !u->filter->put)
		return;
	unit_enter(old);
	size = old->filter->get(old->self, "state", u->data->state, UNIT_STATE_MAX);
	unit_leave(old);
	if (size <= 0 || size > UNIT_STATE_MAX)
		return;
	unit_enter(u);
	(void)u->filter->put(u->self, "state", u->data->state, (size_t)size);
	unit_leave(u);
}

void unit_start(struct unit *u)
{
	if (u->started)
		return;
	u->standing = MP_STANDING_ASK;
	u->starting = true;
	u->timer = malloc(sizeof(*u->timer));
	if (u->timer) {
		uv_timer_init(&u->data->loop, u->timer);
		u->timer->data = u;
	}
	state_take_over(u);
	u->started = true;
	/* A filter that decides no requests stands as PASS until it says otherwise. */
	if (!(u->plan.needs & MP_NEED_REQUEST))
		u->standing = MP_STANDING_PASS;
	if (!u->ejected && u->filter->start) {
		unit_enter(u);
		u->filter->start(u->self);
		unit_leave(u);
	}
}

void unit_tell_ejected(const struct unit *u)
{
	data_event(u->data, u, "ejected", &(struct mp_field){ { "reason", 6 }, slice_of(u->reason) }, 1);
}

void unit_eject(struct unit *u, const char *reason)
{
	if (u->ejected)
		return;
	u->ejected = true;
	u->ejected_wall_ns = clock_wall_now();
	snprintf(u->reason, sizeof(u->reason), "%s", reason);
	/* So that it stays out across a swap or a restart. */
	(void)blame_eject(u->data->blame, u->middlepipe, reason);
	log_warn("filter ejected", "middlepipe=%s destination=%s reason=%s", LOG_STR(u->middlepipe),
		 LOG_STR(u->destination), LOG_STR(reason));
	unit_tell_ejected(u);
	data_repost(u->data, u);
}

int unit_standing(const struct unit *u, uint64_t now_ns)
{
	if (u->ejected)
		return u->closed ? MP_STANDING_REPLY : MP_STANDING_PASS;
	if (u->standing == MP_STANDING_REPLY && u->until_ns && now_ns >= u->until_ns)
		return MP_STANDING_ASK;
	return u->standing;
}
