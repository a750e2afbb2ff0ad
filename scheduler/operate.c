/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control API's override and reset: an operator's word to a middlepipe.
 * The data thread gives it to the filters; the control thread reads the
 * request and says what came of it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/slice.h"
#include "scheduler/control.h"

/* Gives the command to every unit of the call's middlepipe; counts those who took it. */
static void command_there(struct data *d, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;

	for (uint32_t i = 0; d->current && i < d->current->n_units; i++) {
		struct unit *u = d->current->units[i];
		int r = -ENOTSUP;

		if (strcmp(u->middlepipe, call->name))
			continue;
		call->found++;
		if (u->ejected && !strcmp(call->command, "reset")) {
			call->reinstall = true;
			call->taken++;
			continue;
		}
		if (unit_alive(u) && u->filter->command) {
			unit_enter(u);
			r = u->filter->command(u->self, call->command, call->value);
			unit_leave(u);
		}
		call->taken += r >= 0;
		data_touch(d, u);
		call->refused += r == -EINVAL;
	}
	data_return(d, mail);
}

/* A reset of an ejected middlepipe: the same chains again, with it. */
static void reinstalled(struct load *load, int result)
{
	struct api_call *call = load->ctx;

	if (result < 0)
		api_fail(call, 503, "not taken back in: %s", load->err.text);
	config_load_fini(load);
	api_done(call);
}

static void reinstall(struct api_call *call, const struct chainset *set)
{
	blame_forgive(call->control->blame, call->name);
	call->load.done = reinstalled;
	call->load.ctx = call;
	call->load.force = true;
	config_load(&call->load, call->control, slice_of(chains_text(set->chains)));
}

static void command_back(void *ctx, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;
	struct control *c = ctx;

	call->status = 200;
	if (!call->found)
		api_fail(call, 404, "no middlepipe is called %s", call->name);
	else if (call->refused)
		api_fail(call, 400, "%s: %s is none of open, closed, auto", call->command, call->value);
	else if (!call->taken)
		api_fail(call, 422, "%s has no %s", call->name, call->command);
	else
		call->reply = json_pack("{s:i}", "units", call->taken);
	if (call->reinstall && c->current)
		reinstall(call, c->current);
	else
		api_done(call);
}

void override_post(struct api_call *call)
{
	struct err err = { 0 };
	json_t *body = NULL;
	const char *state = NULL;

	if (json_load_text(buf_slice(&call->body), 4096, 2, &body, &err) < 0) {
		api_fail(call, 400, "body: %s", err.text);
	} else if (!(state = json_string_value(json_object_get(body, "state")))) {
		api_fail(call, 400, "body: {\"state\": \"open\", \"closed\" or \"auto\"} is expected");
	} else {
		call->command = "override";
		/* Cut short it is no state any more than it was. */
		snprintf(call->value, sizeof(call->value), "%s", state);
		api_send(call, command_there, command_back);
	}
	json_decref(body);
}

void reset_post(struct api_call *call)
{
	call->command = "reset";
	api_send(call, command_there, command_back);
}
