/* SPDX-License-Identifier: Apache-2.0 */
/* See run.h: the walk and the answer.  Edits are in run_edit.c. */
#include "scheduler/run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/slice.h"
#include "lib/wire.h"
#include "scheduler/data.h"
#include "scheduler/run_priv.h"

void run_reset(struct run *run, struct chain *chain, struct exchange *exchange, uint64_t now_ns)
{
	/* Field by field: the big arrays need no clearing. */
	run->x = (struct mp_exchange){ .size = sizeof(run->x), .id = exchange ? exchange->id : 0 };
	run->magic = RUN_MAGIC;
	run->on_response = run->has_reply = run->response_is_reply = false;
	run->body_changed = run->authority_changed = run->path_changed = false;
	run->status_changed = run->overrun = false;
	run->chain = chain;
	run->exchange = exchange;
	run->unit = NULL;
	run->now_ns = now_ns;
	run->delay_ns = run->hold_until_ns = 0;
	run->at = 0;
	run->reply = (struct run_reply){ 0 };
	run->n_edits = 0;
	run->arena_used = 0;
}

static int field_add(struct mp_field *fields, size_t *n, const struct wire_item *item)
{
	if (*n == LANE_FIELDS_MAX)
		return -E2BIG;
	fields[*n].name = item->name;
	fields[*n].value = item->value;
	(*n)++;
	return 0;
}

static int item_take(struct run *run, const struct wire_item *item)
{
	struct mp_exchange *x = &run->x;

	switch (item->tag) {
	case WIRE_METHOD:
		x->method = item->value;
		return 0;
	case WIRE_SCHEME:
		x->scheme = item->value;
		return 0;
	case WIRE_AUTHORITY:
		x->authority = item->value;
		return 0;
	case WIRE_PATH:
		x->path = item->value;
		return 0;
	case WIRE_FIELD:
		return field_add(run->request_fields, &x->n_request_fields, item);
	case WIRE_RESPONSE_FIELD:
		return field_add(run->response_fields, &x->n_response_fields, item);
	default:
		return 0; /* a newer library may say more than we know */
	}
}

int run_read(struct run *run, const struct question *q)
{
	struct mp_exchange *x = &run->x;
	struct mp_str rest = q->head;
	struct wire_item item;
	int r;

	x->request_fields = run->request_fields;
	x->response_fields = run->response_fields;
	while ((r = wire_next(&rest, &item)) > 0)
		if (item_take(run, &item) < 0)
			return -EINVAL;
	if (r < 0)
		return -EINVAL;
	if (!x->path.len)
		x->path = MP_LIT("/");
	x->request_body = q->request_body;
	x->response_body = q->response_body;
	x->flags = (q->flags & LANE_REQUEST_COMPLETE ? MP_X_REQUEST_BODY_COMPLETE : 0) |
		   (q->flags & LANE_RESPONSE_COMPLETE ? MP_X_RESPONSE_BODY_COMPLETE : 0) |
		   (q->kind == LANE_COPY ? MP_X_COPY : 0);
	x->status = q->status;
	x->error = q->error;
	x->duration_ns = q->duration_ns;
	return 0;
}

/* Calls one hook with everything in place around it. */
static int32_t hook_call(struct run *run, uint32_t i,
			 int32_t (*hook)(void *self, struct mp_exchange *x))
{
	struct unit *u = run->chain->units[i];
	struct blame *blame = u->data->blame;
	uint64_t *memo = run->exchange ? &run->exchange->memo[i] : NULL;
	int32_t verdict;

	run->unit = u;
	run->x.memo = memo ? *memo : 0;
	blame_enter(blame, u->number);
	verdict = hook(u->self, &run->x);
	blame_leave(blame);
	if (memo)
		*memo = run->x.memo;
	return verdict;
}

/* A filter that failed is out; what becomes of the call is its binding's word. */
static uint32_t fail(struct run *run, struct unit *u, const char *reason)
{
	unit_eject(u, reason);
	run->has_reply = false;
	return u->closed ? ANSWER_REFUSED : MP_VERDICT_PASS;
}

/* What a verdict of on_request means for the walk. */
static uint32_t request_verdict(struct run *run, struct unit *u, int32_t verdict)
{
	switch (verdict) {
	case MP_VERDICT_PASS:
	case MP_VERDICT_DELAY:
		return MP_VERDICT_PASS;
	case MP_VERDICT_HOLD:
		return MP_VERDICT_HOLD;
	case MP_VERDICT_REPLY:
		return run->has_reply ? MP_VERDICT_REPLY : fail(run, u, "replied without a reply");
	case MP_VERDICT_ERROR:
		return fail(run, u, "failed on a request");
	default:
		return fail(run, u, "gave a verdict that does not exist");
	}
}

/* The units that let the request through hear that another one has answered. */
static void tell_synthesized(struct run *run)
{
	struct mp_outcome outcome = {
		.size = sizeof(outcome), .status = run->x.status, .standing = MP_STANDING_ASK,
		.exchange = run->x.id, .ended_ns = run->now_ns, .synthesized = 1,
	};

	for (uint32_t i = 0; i < run->at; i++) {
		struct unit *u = run->chain->units[i];

		if (!unit_alive(u) || !u->filter->on_outcome)
			continue;
		outcome.memo = run->exchange ? run->exchange->memo[i] : 0;
		unit_enter(u);
		u->filter->on_outcome(u->self, &outcome);
		unit_leave(u);
	}
}

/* A REPLY on the request: the filters before see it as a response, then hear of its end. */
static uint32_t answer_here(struct run *run)
{
	run->response_is_reply = true;
	run->x.flags |= MP_X_SYNTHESIZED | MP_X_RESPONSE_BODY_COMPLETE;
	run->x.status = run->reply.status;
	run->x.error = MP_ERROR_NONE;
	if (run->exchange)
		run->exchange->let_through = run->at;
	(void)run_response(run);
	tell_synthesized(run);
	return MP_VERDICT_REPLY;
}

/* Ends a walk at unit i. */
static uint32_t stop_at(struct run *run, uint32_t i, uint32_t verdict)
{
	run->at = i;
	return verdict == MP_VERDICT_REPLY ? answer_here(run) : verdict;
}

uint32_t run_request(struct run *run)
{
	struct chain *c = run->chain;

	for (uint32_t i = run->at; i < c->n_units; i++) {
		struct unit *u = c->units[i];
		uint32_t verdict;

		if (u->ejected && u->closed)
			return stop_at(run, i, ANSWER_REFUSED);
		if (!unit_alive(u) || !(u->plan.needs & MP_NEED_REQUEST) || !u->filter->on_request)
			continue;
		verdict = request_verdict(run, u, hook_call(run, i, u->filter->on_request));
		/* A resumed walk goes on behind the filter that held it. */
		if (verdict != MP_VERDICT_PASS)
			return stop_at(run, verdict == MP_VERDICT_HOLD ? i + 1 : i, verdict);
	}
	if (run->exchange)
		run->exchange->let_through = c->n_units;
	return stop_at(run, c->n_units, run->delay_ns ? MP_VERDICT_DELAY : MP_VERDICT_PASS);
}

uint32_t run_resume_reply(struct run *run)
{
	if (run->at)
		run->at--; /* back to the filter that held it: itself it does not see the answer */
	return answer_here(run);
}

/* True when a unit is shown responses; *ret_copy: without a say.  flags: of the whole walk. */
static bool sees_response(const struct unit *u, uint32_t flags, bool *ret_copy)
{
	*ret_copy = !(u->plan.needs & MP_NEED_RESPONSE) || flags & MP_X_COPY;
	return unit_alive(u) && u->filter->on_response &&
	       u->plan.needs & (MP_NEED_RESPONSE | MP_NEED_COPY);
}

static void response_verdict(struct run *run, struct unit *u, int32_t verdict)
{
	if (verdict == MP_VERDICT_REPLY && run->has_reply) {
		run->response_is_reply = true;
		run->x.flags |= MP_X_SYNTHESIZED | MP_X_RESPONSE_BODY_COMPLETE;
		run->x.status = run->reply.status;
		run->x.error = MP_ERROR_NONE;
	} else if (verdict != MP_VERDICT_PASS) {
		(void)fail(run, u, verdict == MP_VERDICT_ERROR ?
			   "failed on a response" : "gave a verdict that no response can have");
	}
}

uint32_t run_response(struct run *run)
{
	uint32_t n = run->exchange ? run->exchange->let_through : run->chain->n_units;
	uint32_t flags = run->x.flags;

	run->on_response = true;
	for (uint32_t i = n; i-- > 0;) {
		struct unit *u = run->chain->units[i];
		bool copy;
		int32_t verdict;

		if (!sees_response(u, flags, &copy))
			continue;
		run->x.flags = (run->x.flags & ~MP_X_COPY) | (copy ? MP_X_COPY : flags & MP_X_COPY);
		verdict = hook_call(run, i, u->filter->on_response);
		if (!copy)
			response_verdict(run, u, verdict);
		else if (verdict == MP_VERDICT_ERROR)
			(void)fail(run, u, "failed on a response");
	}
	run->x.flags = (run->x.flags & ~MP_X_COPY) | (flags & MP_X_COPY);
	return run->response_is_reply ? MP_VERDICT_REPLY : MP_VERDICT_PASS;
}

/* ------------------------------------------------------------------- answer */

static void put_marker(struct wire_writer *w, const struct mp_marker *m)
{
	char seconds[24];

	if (!m->type.len)
		return;
	wire_put_value(w, WIRE_MARKER_TYPE, m->type);
	wire_put_value(w, WIRE_MARKER_STATE, m->state);
	wire_put_value(w, WIRE_MARKER_PIPE, m->pipe);
	wire_put_value(w, WIRE_MARKER_CALLBACK, m->callback);
	if (m->retry_after <= 0)
		return;
	snprintf(seconds, sizeof(seconds), "%" PRId64, m->retry_after);
	wire_put_value(w, WIRE_MARKER_RETRY, slice_of(seconds));
}

static void put_edits(struct run *run, struct wire_writer *w)
{
	static const enum wire_tag tags[] = {
		[MP_EDIT_SET] = WIRE_EDIT_SET,
		[MP_EDIT_ADD] = WIRE_EDIT_ADD,
		[MP_EDIT_REMOVE] = WIRE_EDIT_REMOVE,
	};

	for (uint32_t i = 0; i < run->n_edits; i++)
		wire_put(w, tags[run->edits[i].op], run->edits[i].field.name,
			 run->edits[i].field.value);
	if (run->authority_changed)
		wire_put_value(w, WIRE_AUTHORITY, run->x.authority);
	if (run->path_changed)
		wire_put_value(w, WIRE_PATH, run->x.path);
}

static void put_reply(struct run *run, struct wire_writer *w)
{
	for (size_t i = 0; i < run->x.n_response_fields; i++)
		wire_put(w, WIRE_RESPONSE_FIELD, run->x.response_fields[i].name,
			 run->x.response_fields[i].value);
	put_marker(w, &run->reply.marker);
}

bool run_answer(struct run *run, uint32_t verdict, void *memory, size_t size, struct answer *a)
{
	struct wire_writer w;

	wire_start(&w, memory, size);
	*a = (struct answer){ .verdict = verdict, .exchange = run->x.id,
			      .delay_ns = run->delay_ns };
	if (verdict == MP_VERDICT_REPLY) {
		put_reply(run, &w);
		a->status = (uint32_t)run->x.status;
		a->retry_at_ns = run->reply.retry_at_ns;
		a->has_body = true;
		a->body = run->x.response_body;
	} else if (verdict == MP_VERDICT_PASS || verdict == MP_VERDICT_DELAY) {
		put_edits(run, &w);
		a->status = run->status_changed ? (uint32_t)run->x.status : 0;
		a->has_body = run->body_changed;
		if (run->body_changed)
			a->body = run->on_response ? run->x.response_body : run->x.request_body;
	}
	a->head_size = (uint32_t)w.size;
	return !w.full;
}

/* Fills in what the filter left to the host: its own type and name. */
void marker_complete(struct mp_marker *m, const struct unit *u)
{
	if (!m->type.len)
		m->type = slice_of(u->filter->name);
	if (!m->pipe.len)
		m->pipe = slice_of(u->middlepipe);
}

int reply_render(const struct unit *u, const struct mp_reply *reply, void *memory, size_t size)
{
	struct board_blob blob = { .status = (uint32_t)reply->status,
				   .body_size = (uint32_t)reply->body.len,
				   .retry_at_ns = reply->retry_at_ns };
	struct wire_writer w;

	if (reply->status < 200 || reply->status > 599)
		return -EINVAL;
	if (size < sizeof(blob) || reply->body.len > size - sizeof(blob))
		return -E2BIG;
	wire_start(&w, (char *)memory + sizeof(blob), size - sizeof(blob) - reply->body.len);
	for (size_t i = 0; i < reply->n_fields; i++) {
		if (!wire_field_ok(reply->fields[i].name, reply->fields[i].value))
			return -EINVAL;
		wire_put(&w, WIRE_RESPONSE_FIELD, reply->fields[i].name, reply->fields[i].value);
	}
	if (reply->marker) {
		struct mp_marker marker = *reply->marker;

		marker_complete(&marker, u);
		put_marker(&w, &marker);
	}
	if (w.full)
		return -E2BIG;
	blob.head_size = (uint32_t)w.size;
	memcpy(memory, &blob, sizeof(blob));
	if (reply->body.len)
		memcpy((char *)memory + sizeof(blob) + w.size, reply->body.ptr, reply->body.len);
	return (int)(sizeof(blob) + w.size + reply->body.len);
}

int refusal_render(const struct unit *u, void *memory, size_t size)
{
	/* Word for word what the library says when an answer tells it to refuse. */
	struct mp_marker marker = { .type = MP_LIT("middlepipe"), .state = MP_LIT("ejected"),
				    .callback = MP_LIT("raise"), .retry_after = 1 };
	struct mp_reply reply = { .size = sizeof(reply), .status = 503, .marker = &marker };

	return reply_render(u, &reply, memory, size);
}
