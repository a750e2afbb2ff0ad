/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts of the client of rows; see rows_client.h.
 *
 * A put is sent with a base from the first attempt on: a connection that breaks
 * before an answer could tell one would leave a put that must not be sent again.
 * Where the base is not known from an earlier answer, the row is read before.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "lib/base64.h"
#include "lib/hex.h"
#include "lib/rows_client_priv.h"
#include "lib/slice.h"

#define KNOWN_MS 60000   /* a base is as old as that at most: members know ten minutes of keys at least */
#define RENEWED_MAX 3    /* times that another base is learned */
#define CELLS_TYPE "application/vnd.middlepipe.cells+json"

static const struct rowc_request_kind kind_put;

/* ------------------------------------------------------------------------ the base */

static void learn_write(const struct rowc_request *r, struct rowc_wire *out)
{
	rowc_add_path(&out->target, buf_slice(&r->row), "");
}

/* Without a right to read there is none: a put without a base is possible, but only once. */
static void learn_over(struct rowc_request *r, struct rows_answer *answer)
{
	if (answer->outcome == ROWS_OK) {
		rowc_learn(r->client, buf_slice(&r->row), answer->incarnation, answer->highest);
		(void)snprintf(r->base, sizeof(r->base), "%016" PRIx64 ":%" PRIu64, answer->incarnation, answer->highest);
	} else if (answer->outcome == ROWS_NOT_THERE) {
		(void)snprintf(r->base, sizeof(r->base), "%s", r->head.base);
	} else if (answer->outcome != ROWS_REJECTED) {
		rowc_request_finish(r, answer);
		return;
	}
	rowc_request_become(r, &kind_put);
}

static const struct rowc_request_kind kind_learn = {
	.retry = ROWS_RETRY_READ,
	.write = learn_write,
	.read = rowc_read_row,
	.over = learn_over,
};

/* From what is known of the row, as long as that is not too old. */
static bool take_base(struct rowc_request *r)
{
	const struct rowc_known *known = rowc_known(r->client, buf_slice(&r->row));

	if (!known || !known->incarnation || rowc_now(r->client) - known->at > KNOWN_MS)
		return false;
	(void)snprintf(r->base, sizeof(r->base), "%016" PRIx64 ":%" PRIu64, known->incarnation, known->highest);
	return true;
}

/* ------------------------------------------------------------------------- the put */

static void put_write(const struct rowc_request *r, struct rowc_wire *out)
{
	rowc_add_path(&out->target, buf_slice(&r->row), "/cells");
	rowc_add_field(out, "Content-Type: %s", r->n > 1 ? CELLS_TYPE : "application/octet-stream");
	rowc_add_field(out, "Idempotency-Key: %s", r->idempotency);
	if (r->base[0])
		rowc_add_field(out, "Middlepipe-Base: %s", r->base);
	if (r->has_if_match)
		rowc_add_field(out, "If-Match: \"%" PRIu64 "\"", r->if_match);
	out->body = slice_make(buf_str(&r->body), r->body.len);
	/* libcurl would send it again, as what has no body; only a base makes that harmless. */
	out->fresh = !r->body.len && !r->base[0];
}

/* A base that was stamped is that of all later attempts. */
static void put_told(struct rowc_request *r, int status)
{
	if (!r->base[0] && (status == 503 || status == 504) && rowc_base_ok(slice_of(r->head.base)))
		memcpy(r->base, r->head.base, sizeof(r->base));
	r->retry.kind = r->base[0] ? ROWS_RETRY_PUT : ROWS_RETRY_ONCE;
}

/* It was not applied, and the row is another one now: as if it were put for the first time. */
static bool renew(struct rowc_request *r, const struct rows_answer *answer)
{
	if (answer->outcome != ROWS_GONE || r->base_given || r->renewed == RENEWED_MAX)
		return false;
	r->renewed++;
	r->base[0] = '\0';
	rowc_request_become(r, &kind_learn);
	return true;
}

/* Who says nothing of another owner is it. */
static void learn(struct rowc_request *r, struct mp_str row, const struct rows_answer *answer)
{
	struct rowc_known *known;

	rowc_learn(r->client, row, answer->incarnation, answer->seq + r->n - 1);
	known = rowc_known(r->client, row);
	if (known && !r->head.owner[0])
		known->owner = r->retry.member;
}

static void put_over(struct rowc_request *r, struct rows_answer *answer)
{
	struct mp_str row = buf_slice(&r->row);

	if (answer->outcome == ROWS_OK)
		learn(r, row, answer);
	else if (answer->status == 410)
		rowc_forget(r->client, row);
	if (!renew(r, answer))
		rowc_request_finish(r, answer);
}

static const struct rowc_request_kind kind_put = {
	.retry = ROWS_RETRY_PUT,
	.traced = true,
	.write = put_write,
	.read = rowc_read_put,
	.told = put_told,
	.over = put_over,
};

/* -------------------------------------------------------------------- a proposal */

static void check_write(const struct rowc_request *r, struct rowc_wire *out)
{
	rowc_add_path(&out->target, buf_slice(&r->row), "/check");
	rowc_add_field(out, "Content-Type: %s", r->n > 1 ? CELLS_TYPE : "application/octet-stream");
	if (r->has_if_match)
		rowc_add_field(out, "If-Match: \"%" PRIu64 "\"", r->if_match);
	out->body = slice_make(buf_str(&r->body), r->body.len);
}

/* It changes nothing, so it is retried as a read is. */
static const struct rowc_request_kind kind_check = {
	.retry = ROWS_RETRY_READ,
	.write = check_write,
	.read = rowc_read_check,
};

/* ----------------------------------------------------------------------- the call */

static void draw_key(char out[ROWS_KEY_MAX + 1])
{
	unsigned char random[16];

	while (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		;
	hex_encode(out, random, sizeof(random));
	out[2 * sizeof(random)] = '\0';
}

static int check(const struct rows_put *put, struct err *err)
{
	size_t len = put->key ? strlen(put->key) : 0;

	if (rowc_name_check(put->row, err) < 0)
		return -EINVAL;
	if (!put->n || put->n > ROWS_CELLS_MAX)
		return err_set(err, -EINVAL, "a put has 1 to %d cells, not %zu", ROWS_CELLS_MAX, put->n);
	for (size_t i = 0; i < put->n; i++)
		if (put->cells[i].len > ROWS_CELL_BYTES_MAX)
			return err_set(err, -E2BIG, "a cell has 1 MiB at most, not %zu bytes", put->cells[i].len);
	if (put->key && (!len || len > ROWS_KEY_MAX))
		return err_set(err, -EINVAL, "a key has 1 to %d bytes", ROWS_KEY_MAX);
	for (size_t i = 0; i < len; i++)
		if (put->key[i] <= ' ' || put->key[i] >= 0x7f)
			return err_set(err, -EINVAL, "a key has printable characters only");
	if (put->base && (!put->key || !rowc_base_ok(slice_of(put->base))))
		return err_set(err, -EINVAL, "a base is INCARNATION:SEQ, INCARNATION:- or -:0, and belongs to a key");
	return 0;
}

/* One cell as it is, several as JSON. */
static int write_body(struct rowc_request *r, const struct rows_put *put)
{
	if (put->n == 1)
		return buf_add_slice(&r->body, put->cells[0]);
	(void)buf_add_str(&r->body, "{\"cells\":[");
	for (size_t i = 0; i < put->n; i++) {
		(void)buf_add_str(&r->body, i ? ",\"" : "\"");
		(void)base64_encode(&r->body, put->cells[i]);
		(void)buf_add_str(&r->body, "\"");
	}
	return buf_add_str(&r->body, "]}");
}

/* With the cells in it; NULL: *ret_rc and err say why. */
static struct rowc_request *request_new(struct rows_client *client, const struct rowc_request_kind *kind,
					const struct rows_put *put, rows_done_fn *done, void *ctx, int *ret_rc,
					struct err *err)
{
	struct rowc_request *r = NULL;

	*ret_rc = check(put, err);
	if (*ret_rc < 0)
		return NULL;
	r = rowc_request_new(client, kind, put->row, done, ctx, ret_rc);
	if (!r) {
		(void)err_set(err, *ret_rc, "%s", strerror(-*ret_rc));
		return NULL;
	}
	*ret_rc = write_body(r, put);
	if (*ret_rc < 0) {
		rowc_request_free(r);
		(void)err_set(err, *ret_rc, "the cells are too large for one request");
		return NULL;
	}
	r->n = put->n;
	r->has_if_match = put->has_if_match;
	r->if_match = put->if_match;
	return r;
}

int rows_client_check(struct rows_client *client, const struct rows_put *proposal, rows_done_fn *done, void *ctx,
		      struct err *err)
{
	int rc;
	struct rowc_request *r = request_new(client, &kind_check, proposal, done, ctx, &rc, err);

	if (!r)
		return rc;
	rowc_request_start(r, proposal->timeout_ms, 0);
	return 0;
}

int rows_client_put(struct rows_client *client, const struct rows_put *put, rows_done_fn *done, void *ctx,
		    struct err *err)
{
	int rc;
	struct rowc_request *r = request_new(client, &kind_learn, put, done, ctx, &rc, err);

	if (!r)
		return rc;
	if (put->key)
		memcpy(r->idempotency, put->key, strlen(put->key) + 1);
	else
		draw_key(r->idempotency);
	r->base_given = put->base;
	if (put->base)
		memcpy(r->base, put->base, strlen(put->base) + 1);
	if (put->base || take_base(r))
		r->kind = &kind_put;
	rowc_request_start(r, put->timeout_ms, 0);
	return 0;
}
