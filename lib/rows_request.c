/* SPDX-License-Identifier: Apache-2.0 */
/* Any request of the client of rows, attempt by attempt; see rows_client_priv.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rows_client_priv.h"
#include "lib/slice.h"

#define REPLY_MAX ((size_t)20 << 20) /* bytes of an answer: a range is 16 MiB */
#define BODY_MAX ((size_t)8 << 20)   /* bytes that are sent, base64 included */
#define TEXT_MAX 4096                /* bytes of a reason */

/* ---------------------------------------------------------------------- writing */

void rowc_add_escaped(struct buf *out, struct mp_str text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c && strchr(plain, c))
			(void)buf_add(out, &text.ptr[i], 1);
		else
			(void)buf_printf(out, "%%%02X", c);
	}
}

void rowc_add_path(struct buf *out, struct mp_str row, const char *rest)
{
	(void)buf_add_str(out, "/v1/rows/");
	rowc_add_escaped(out, row);
	(void)buf_add_str(out, rest);
}

void rowc_add_field(struct rowc_wire *out, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	/* Lines are made of what was checked: they fit. */
	(void)vsnprintf(out->lines[out->n_lines++], ROWS_LINE_MAX, fmt, args);
	va_end(args);
}

/* ----------------------------------------------------------------------- the end */

void rowc_request_free(struct rowc_request *r)
{
	buf_fini(&r->reply);
	buf_fini(&r->row);
	buf_fini(&r->body);
	buf_fini(&r->code);
	buf_fini(&r->why);
	buf_fini(&r->bytes);
	free(r->cells);
	free(r);
}

static void take_out(struct rowc_request *r)
{
	list_remove(&r->link);
	list_remove(&r->waiter.link);
	http_task_cancel(r->task);
	r->task = NULL;
	r->client->n_requests--;
}

void rowc_request_finish(struct rowc_request *r, struct rows_answer *answer)
{
	answer->key = r->idempotency;
	answer->base = r->base;
	answer->attempts = r->retry.tries;
	take_out(r);
	r->done(r->ctx, answer);
	rowc_request_free(r);
}

void rowc_request_cancel(struct rowc_request *r)
{
	if (!r)
		return;
	take_out(r);
	rowc_request_free(r);
}

static struct rows_answer empty(void)
{
	return (struct rows_answer){ .check = "", .code = "", .why = "", .key = "", .base = "" };
}

void rowc_request_abandon(struct rowc_request *r)
{
	struct rows_answer answer = empty();

	answer.outcome = rows_retry_give_up(&r->retry, r->task);
	answer.why = "the client was closed";
	rowc_request_finish(r, &answer);
}

static void over(struct rowc_request *r, struct rows_answer *answer)
{
	if (r->kind->over)
		r->kind->over(r, answer);
	else
		rowc_request_finish(r, answer);
}

/* --------------------------------------------------------------------- attempts */

static void attempt_trace(const struct rowc_request *r, bool is_over, const struct rows_said *said,
			  const struct rows_answer *answer)
{
	const struct rows_client *client = r->client;
	struct rows_attempt attempt = { .ctx = r->ctx, .number = r->retry.tries, .key = r->idempotency,
					.url = client->urls[r->retry.member], .base = r->base, .over = is_over,
					.stamped = "" };

	if (!client->options.attempt || !r->kind->traced)
		return;
	if (is_over) {
		attempt.status = said->status;
		attempt.sent = said->sent;
		attempt.stamped = r->head.base;
		attempt.incarnation = answer->incarnation;
		attempt.seq = answer->seq;
	}
	client->options.attempt(client->options.ctx, &attempt);
}

/* What was there to be read; the status of something that cannot be read is 0. */
static void read_answer(struct rowc_request *r, struct rows_said *said, struct rows_answer *ret)
{
	uint64_t seconds = 0;

	ret->status = said->status;
	if (!said->status)
		return;
	if (r->head.owner[0])
		rowc_learn_owner(r->client, buf_slice(&r->row), r->head.owner);
	if (slice_to_u64(slice_of(r->head.retry_after), &seconds) == 0 && seconds < 1u << 20)
		said->retry_after_ms = seconds * 1000;
	if (said->status != 200 && said->status != 201) {
		rowc_read_error(r, ret);
		said->elsewhere = !strcmp(ret->code, "elsewhere");
	} else if (r->kind->read(r, ret) < 0) {
		said->status = ret->status = 0;
		said->sent = true;
		ret->why = "an answer that cannot be read";
	}
}

static void go_on(struct rowc_request *r, const struct rows_step *step, struct rows_answer *answer);

static void on_done(void *ctx, const struct http_multi_end *end)
{
	struct rowc_request *r = ctx;
	struct rows_client *client = r->client;
	struct rowc_known *known = rowc_known(client, buf_slice(&r->row));
	struct rows_said said = { .status = end->status, .sent = end->sent };
	struct rows_answer answer = empty();
	struct rows_step step;

	r->task = NULL;
	if (!end->status && known && known->owner == r->retry.member)
		known->owner = ROWS_NOBODY;
	if (!end->status) {
		buf_reset(&r->why);
		(void)buf_add_str(&r->why, end->why);
		answer.why = buf_str(&r->why);
	}
	read_answer(r, &said, &answer);
	attempt_trace(r, true, &said, &answer);
	if (r->kind->told)
		r->kind->told(r, said.status);
	step = rows_retry_answer(&r->retry, &client->members, &said, rowc_now(client), rowc_chance(client));
	go_on(r, &step, &answer);
}

static bool on_data(void *ctx, struct mp_str bytes)
{
	struct rowc_request *r = ctx;

	return buf_add_slice(&r->reply, bytes) == 0;
}

static void on_field(void *ctx, struct mp_str name, struct mp_str value)
{
	rowc_read_field(&((struct rowc_request *)ctx)->head, name, value);
}

static struct http_task *post(struct rowc_request *r, const struct rows_step *step, const struct rowc_wire *wire)
{
	const struct http_multi_calls calls = { .data = on_data, .done = on_done, .field = on_field, .ctx = r };
	const char *fields[ROWS_FIELDS_MAX + 2] = { NULL };
	char url[ROWS_URL_MAX + ROWS_TARGET_MAX];
	size_t n = 0;

	for (; n < wire->n_lines; n++)
		fields[n] = wire->lines[n];
	if (r->client->authorization.len)
		fields[n] = buf_str(&r->client->authorization);
	if (wire->target.error)
		return NULL;
	(void)snprintf(url, sizeof(url), "%s%s", r->client->urls[step->member], buf_str(&wire->target));
	return http_multi_start(r->client->http, &(struct http_multi_request){
		.method = wire->method, .url = url, .fields = fields, .body = wire->body, .fresh = wire->fresh,
		.timeout_ms = (long)step->limit }, &calls);
}

static void send_it(struct rowc_request *r, const struct rows_step *step)
{
	struct rows_client *client = r->client;
	struct rows_said none = { .status = 0 };
	struct rowc_wire wire = { .method = NULL };
	struct rows_answer answer = empty();
	struct rows_step next;

	memset(&r->head, 0, sizeof(r->head));
	buf_reset(&r->reply);
	buf_init(&wire.target, ROWS_TARGET_MAX);
	r->kind->write(r, &wire);
	attempt_trace(r, false, NULL, NULL);
	r->task = post(r, step, &wire);
	buf_fini(&wire.target);
	if (r->task)
		return;
	answer.why = "out of memory";
	attempt_trace(r, true, &none, &answer);
	next = rows_retry_answer(&r->retry, &client->members, &none, rowc_now(client), rowc_chance(client));
	go_on(r, &next, &answer);
}

static void go_on(struct rowc_request *r, const struct rows_step *step, struct rows_answer *answer)
{
	if (step->act == ROWS_SEND) {
		send_it(r, step);
	} else if (step->act == ROWS_WAIT) {
		rowc_wait(r->client, &r->waiter, step->until);
	} else {
		answer->outcome = step->outcome;
		over(r, answer);
	}
}

static void on_wait(struct rowc_waiter *waiter)
{
	struct rowc_request *r = ROWC_OF(waiter, struct rowc_request, waiter);
	struct rows_client *client = r->client;
	const struct rowc_known *known = rowc_known(client, buf_slice(&r->row));
	struct rows_answer answer = empty();
	struct rows_step step = rows_retry_next(&r->retry, &client->members, known ? known->owner : ROWS_NOBODY,
						rowc_now(client), rowc_chance(client));

	answer.why = r->why.len ? buf_str(&r->why) : "its time is over";
	answer.code = buf_str(&r->code);
	go_on(r, &step, &answer);
}

/* ----------------------------------------------------------------------- the start */

struct rowc_request *rowc_request_new(struct rows_client *client, const struct rowc_request_kind *kind,
				      struct mp_str row, rows_done_fn *done, void *ctx, int *ret_rc)
{
	struct rowc_request *r;

	*ret_rc = -EAGAIN;
	if (client->n_requests >= client->options.requests_max || client->closed)
		return NULL;
	*ret_rc = -ENOMEM;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	list_init(&r->link);
	list_init(&r->waiter.link);
	r->waiter.fire = on_wait;
	r->client = client;
	r->kind = kind;
	r->done = done;
	r->ctx = ctx;
	buf_init(&r->row, 256);
	buf_init(&r->body, BODY_MAX);
	buf_init(&r->reply, REPLY_MAX);
	buf_init(&r->bytes, REPLY_MAX);
	buf_init(&r->code, TEXT_MAX);
	buf_init(&r->why, TEXT_MAX);
	if (buf_add_slice(&r->row, row) < 0) {
		rowc_request_free(r);
		return NULL;
	}
	return r;
}

void rowc_request_start(struct rowc_request *r, uint64_t timeout_ms, uint64_t more_ms)
{
	struct rows_client *client = r->client;
	const struct rows_client_options *o = &client->options;
	const struct rows_times times = { .attempt = o->attempt_ms + more_ms, .open = o->open_ms + more_ms };
	uint64_t limit = timeout_ms ? timeout_ms : o->timeout_ms + more_ms, deadline;

	uv_update_time(client->loop); /* whoever calls may have worked for long */
	if (__builtin_add_overflow(rowc_now(client), limit, &deadline))
		deadline = UINT64_MAX;
	rows_retry_begin(&r->retry, r->kind->retry, &times, deadline);
	client->n_requests++;
	list_push_back(&client->requests, &r->link);
	rowc_wait(client, &r->waiter, rowc_now(client));
}

void rowc_request_become(struct rowc_request *r, const struct rowc_request_kind *kind)
{
	struct rows_times times = r->retry.times;

	r->kind = kind;
	rows_retry_begin(&r->retry, kind->retry, &times, r->retry.deadline);
	rowc_wait(r->client, &r->waiter, rowc_now(r->client));
}
