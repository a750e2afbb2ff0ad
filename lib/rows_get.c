/* SPDX-License-Identifier: Apache-2.0 */
/* Reads, policies and deletion of the client of rows; see rows_client.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/json_text.h"
#include "lib/rows_client_priv.h"
#include "lib/slice.h"

#define WAIT_MAX_MS 60000
#define LIMIT_MAX 1000

/* ------------------------------------------------------------------------ the query */

static void add_number(struct buf *out, const char *name, uint64_t value)
{
	char mark = memchr(out->ptr, '?', out->len) ? '&' : '?';

	if (value)
		(void)buf_printf(out, "%c%s=%" PRIu64, mark, name, value);
}

static void add_how(const struct rowc_request *r, struct rowc_wire *out)
{
	const struct rows_get *get = &r->get;

	if (out->target.error)
		return;
	add_number(&out->target, "at_least", get->at_least);
	add_number(&out->target, "wait", get->wait_ms);
	if (get->stale)
		(void)buf_add_str(&out->target, memchr(out->target.ptr, '?', out->target.len) ? "&stale=ok"
												: "?stale=ok");
}

static void row_write(const struct rowc_request *r, struct rowc_wire *out)
{
	rowc_add_path(&out->target, buf_slice(&r->row), "");
	add_how(r, out);
}

static void cell_write(const struct rowc_request *r, struct rowc_wire *out)
{
	rowc_add_path(&out->target, buf_slice(&r->row), "/cells/");
	if (r->get.want == ROWS_LATEST)
		(void)buf_add_str(&out->target, "latest");
	else
		(void)buf_printf(&out->target, "%" PRIu64, r->get.from);
	add_how(r, out);
}

static void range_write(const struct rowc_request *r, struct rowc_wire *out)
{
	rowc_add_path(&out->target, buf_slice(&r->row), "/cells");
	if (out->target.error)
		return;
	add_number(&out->target, "from", r->get.from);
	add_number(&out->target, "to", r->get.to);
	add_number(&out->target, "limit", r->get.limit);
	add_how(r, out);
}

/* ------------------------------------------------------------------------ the reads */

const struct rowc_request_kind rowc_kind_row = {
	.retry = ROWS_RETRY_READ,
	.write = row_write,
	.read = rowc_read_row,
};

static const struct rowc_request_kind kind_cell = {
	.retry = ROWS_RETRY_READ,
	.write = cell_write,
	.read = rowc_read_cell,
};

static const struct rowc_request_kind kind_range = {
	.retry = ROWS_RETRY_READ,
	.write = range_write,
	.read = rowc_read_range,
};

static const struct rowc_request_kind *const kinds[] = {
	[ROWS_LATEST] = &kind_cell,
	[ROWS_SEQ] = &kind_cell,
	[ROWS_RANGE] = &kind_range,
	[ROWS_HIGHEST] = &rowc_kind_row,
};

static int check(const struct rows_get *get, struct err *err)
{
	if (rowc_name_check(get->row, err) < 0)
		return -EINVAL;
	if ((size_t)get->want >= sizeof(kinds) / sizeof(kinds[0]))
		return err_set(err, -EINVAL, "no such read");
	if (get->want == ROWS_SEQ && !get->from)
		return err_set(err, -EINVAL, "a cell is known by its seq, from 1");
	if (get->from > INT64_MAX || get->to > INT64_MAX || get->at_least > INT64_MAX)
		return err_set(err, -EINVAL, "no seq is so high");
	if (get->limit > LIMIT_MAX || get->wait_ms > WAIT_MAX_MS)
		return err_set(err, -EINVAL, "at most %d cells and %d ms of waiting", LIMIT_MAX, WAIT_MAX_MS);
	return 0;
}

int rows_client_get(struct rows_client *client, const struct rows_get *get, rows_done_fn *done, void *ctx,
		    struct err *err)
{
	struct rowc_request *r;
	int rc = check(get, err);

	if (rc < 0)
		return rc;
	r = rowc_request_new(client, kinds[get->want], get->row, done, ctx, &rc);
	if (!r)
		return err_set(err, rc, "%s", strerror(-rc));
	r->get = *get;
	r->get.row = (struct mp_str){ 0 };
	rowc_request_start(r, get->timeout_ms, get->wait_ms);
	return 0;
}

int rows_client_highest_sequence_number(struct rows_client *client, struct mp_str row, rows_done_fn *done, void *ctx,
					struct err *err)
{
	return rows_client_get(client, &(struct rows_get){ .row = row, .want = ROWS_HIGHEST }, done, ctx, err);
}

/* ---------------------------------------------------------------------- the changes */

static void policy_write(const struct rowc_request *r, struct rowc_wire *out)
{
	rowc_add_path(&out->target, buf_slice(&r->row), "");
	rowc_add_field(out, "Content-Type: application/json");
	out->method = "PUT";
	out->body = buf_slice(&r->body);
}

static void delete_write(const struct rowc_request *r, struct rowc_wire *out)
{
	rowc_add_path(&out->target, buf_slice(&r->row), "");
	out->method = "DELETE";
	out->fresh = true;
}

/* Whoever was to be first has been or will be. */
static void delete_over(struct rowc_request *r, struct rows_answer *answer)
{
	rowc_forget(r->client, buf_slice(&r->row));
	rowc_request_finish(r, answer);
}

/* Done twice it is as done once. */
static const struct rowc_request_kind kind_policy = {
	.retry = ROWS_RETRY_PUT,
	.write = policy_write,
	.read = rowc_read_row,
};

static const struct rowc_request_kind kind_delete = {
	.retry = ROWS_RETRY_ONCE,
	.write = delete_write,
	.read = rowc_read_row,
	.over = delete_over,
};

static int change(struct rows_client *client, const struct rowc_request_kind *kind, struct mp_str row,
		  rows_done_fn *done, void *ctx, struct rowc_request **ret, struct err *err)
{
	int rc;

	if (rowc_name_check(row, err) < 0)
		return -EINVAL;
	*ret = rowc_request_new(client, kind, row, done, ctx, &rc);
	return *ret ? 0 : err_set(err, rc, "%s", strerror(-rc));
}

int rows_client_set_semantic_check_policy(struct rows_client *client, struct mp_str row, struct mp_str name,
					  rows_done_fn *done, void *ctx, struct err *err)
{
	struct rowc_request *r;
	int rc = 0;

	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.ptr[i] <= ' ' || (unsigned char)name.ptr[i] >= 0x7f)
			return err_set(err, -EINVAL, "the name of a check has printable characters only");
	rc = change(client, &kind_policy, row, done, ctx, &r, err);
	if (rc < 0)
		return rc;
	(void)buf_add_str(&r->body, "{\"check\":");
	(void)json_text_add(&r->body, name);
	rc = buf_add_str(&r->body, "}");
	if (rc < 0) {
		rowc_request_free(r);
		return err_set(err, rc, "%s", strerror(-rc));
	}
	rowc_request_start(r, 0, 0);
	return 0;
}

int rows_client_delete(struct rows_client *client, struct mp_str row, rows_done_fn *done, void *ctx,
		       struct err *err)
{
	struct rowc_request *r;
	int rc = change(client, &kind_delete, row, done, ctx, &r, err);

	if (rc == 0)
		rowc_request_start(r, 0, 0);
	return rc;
}
