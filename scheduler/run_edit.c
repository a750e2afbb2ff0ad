/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a filter may do to the exchange at hand: the edits of run.h.  Each is
 * applied to what the next filter sees, and recorded for the hook.
 */
#include <errno.h>
#include <string.h>

#include "lib/slice.h"
#include "lib/wire.h"
#include "scheduler/run_priv.h"

/* The run of an exchange; NULL when the filter is only shown a copy of it. */
static struct run *run_of(struct mp_exchange *x)
{
	struct run *run = (struct run *)(void *)x; /* x is its first member */

	return run->magic == RUN_MAGIC && !(x->flags & MP_X_COPY) ? run : NULL;
}

/* Copies bytes that must outlive the filter's call. */
static int keep(struct run *run, struct mp_str s, struct mp_str *ret)
{
	char *to = run->arena + run->arena_used;

	if (s.len > RUN_ARENA - run->arena_used) {
		run->overrun = true;
		return -ENOSPC;
	}
	if (s.len)
		memcpy(to, s.ptr, s.len);
	run->arena_used += (uint32_t)s.len;
	*ret = (struct mp_str){ to, s.len };
	return 0;
}

/* The half that the walk may edit. */
static struct mp_field *fields_of(struct run *run, size_t **ret_n)
{
	*ret_n = run->on_response ? &run->x.n_response_fields : &run->x.n_request_fields;
	return run->on_response ? run->response_fields : run->request_fields;
}

static void fields_drop(struct mp_field *fields, size_t *n, struct mp_str name)
{
	size_t to = 0;

	for (size_t i = 0; i < *n; i++)
		if (!slice_eq_nocase(fields[i].name, name))
			fields[to++] = fields[i];
	*n = to;
}

int32_t run_edit(struct mp_exchange *x, const struct mp_edit *edit)
{
	struct run *run = run_of(x);
	struct mp_edit own = *edit;
	struct mp_field *fields;
	size_t *n;

	if (!run || edit->op < MP_EDIT_SET || edit->op > MP_EDIT_REMOVE ||
	    !wire_field_ok(edit->field.name, edit->field.value))
		return -EINVAL;
	fields = fields_of(run, &n);
	if (run->n_edits == RUN_EDITS_MAX || *n == LANE_FIELDS_MAX)
		return -ENOSPC;
	if (keep(run, edit->field.name, &own.field.name) < 0 ||
	    keep(run, edit->field.value, &own.field.value) < 0)
		return -ENOSPC;
	if (edit->op != MP_EDIT_ADD)
		fields_drop(fields, n, own.field.name);
	if (edit->op != MP_EDIT_REMOVE)
		fields[(*n)++] = own.field;
	run->edits[run->n_edits++] = own;
	return 0;
}

/* A target part: printable, no space, so that no hook can be made to send a second request. */
static bool target_ok(struct mp_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
			return false;
	return s.len > 0;
}

int32_t run_set_path(struct mp_exchange *x, struct mp_str path)
{
	struct run *run = run_of(x);

	if (!run || run->on_response || !target_ok(path) || path.ptr[0] != '/')
		return -EINVAL;
	if (keep(run, path, &x->path) < 0)
		return -ENOSPC;
	run->path_changed = true;
	return 0;
}

int32_t run_set_authority(struct mp_exchange *x, struct mp_str authority)
{
	struct run *run = run_of(x);

	if (!run || run->on_response || !target_ok(authority))
		return -EINVAL;
	if (keep(run, authority, &x->authority) < 0)
		return -ENOSPC;
	run->authority_changed = true;
	return 0;
}

int32_t run_set_body(struct mp_exchange *x, struct mp_str body)
{
	struct run *run = run_of(x);
	struct mp_str own;

	if (!run)
		return -EINVAL;
	if (keep(run, body, &own) < 0)
		return -ENOSPC;
	if (run->on_response)
		x->response_body = own;
	else
		x->request_body = own;
	x->flags |= run->on_response ? MP_X_RESPONSE_BODY_COMPLETE : MP_X_REQUEST_BODY_COMPLETE;
	run->body_changed = true;
	return 0;
}

int32_t run_set_status(struct mp_exchange *x, int32_t status)
{
	struct run *run = run_of(x);

	if (!run || !run->on_response || status < 200 || status > 599)
		return -EINVAL;
	x->status = status;
	run->status_changed = true;
	return 0;
}

static int marker_keep(struct run *run, const struct mp_marker *from, struct mp_marker *to)
{
	*to = *from;
	marker_complete(to, run->unit);
	if (keep(run, to->type, &to->type) < 0 || keep(run, to->state, &to->state) < 0 ||
	    keep(run, to->pipe, &to->pipe) < 0 || keep(run, to->callback, &to->callback) < 0)
		return -ENOSPC;
	return 0;
}

int32_t run_reply(struct mp_exchange *x, const struct mp_reply *reply)
{
	struct run *run = run_of(x);
	struct run_reply own = { .status = reply->status, .retry_at_ns = reply->retry_at_ns };

	if (!run || !run->unit || reply->status < 200 || reply->status > 599 ||
	    reply->n_fields > LANE_FIELDS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < reply->n_fields; i++)
		if (!wire_field_ok(reply->fields[i].name, reply->fields[i].value))
			return -EINVAL;
	if (keep(run, reply->body, &own.body) < 0 ||
	    (reply->marker && marker_keep(run, reply->marker, &own.marker) < 0))
		return -ENOSPC;
	for (size_t i = 0; i < reply->n_fields; i++)
		if (keep(run, reply->fields[i].name, &run->response_fields[i].name) < 0 ||
		    keep(run, reply->fields[i].value, &run->response_fields[i].value) < 0)
			return -ENOSPC;
	own.by = run->unit;
	run->reply = own;
	x->response_fields = run->response_fields;
	x->n_response_fields = reply->n_fields;
	x->response_body = own.body;
	run->has_reply = true;
	return 0;
}

int32_t run_delay(struct mp_exchange *x, uint64_t ns)
{
	struct run *run = run_of(x);

	if (!run || run->on_response || run->delay_ns + ns < ns)
		return -EINVAL;
	run->delay_ns += ns;
	return 0;
}

int32_t run_hold(struct mp_exchange *x, uint64_t until_ns)
{
	struct run *run = run_of(x);

	if (!run || run->on_response || until_ns <= run->now_ns)
		return -EINVAL;
	run->hold_until_ns = until_ns;
	return 0;
}
