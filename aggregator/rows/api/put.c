/* SPDX-License-Identifier: Apache-2.0 */
/* Puts over HTTP, and the other changes of a row; see api.h and docs/rows-api.md. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/put.h"
#include "lib/base64.h"
#include "lib/json.h"
#include "lib/json_text.h"
#include "lib/slice.h"
#include "lib/utf8.h"

#define CELLS_TYPE "application/vnd.middlepipe.cells+json"
#define CELLS_MAX 4096 /* in one request */
#define MISTAKES_MAX 8
#define KEEP_MAX ((INT64_C(1) << 53) - 1) /* what every reader of JSON tells exactly */

static void request_free(struct rows_request *r)
{
	list_remove(&r->parked);
	buf_fini(&r->bytes);
	free(r->content);
	free(r);
}

/* --------------------------------------------------------------------- answers */

/* What an answer is called, beside its number. */
static const struct {
	enum put_code code;
	const char *name;
	const char *retry_after; /* seconds, or NULL */
} codes[] = {
	{ PUT_NOT_THERE, "not_there", NULL },
	{ PUT_REFUSED, "refused", NULL },
	{ PUT_GONE, "gone", NULL },
	{ PUT_PRECONDITION, "precondition", NULL },
	{ PUT_TOO_LARGE, "too_large", NULL },
	{ PUT_KEY_REUSED, "key_reused", NULL },
	{ PUT_TOO_MANY, "too_many", "1" },
	{ PUT_UNAVAILABLE, "unavailable", "1" },
	{ PUT_UNKNOWN, "unknown", NULL },
	{ PUT_FULL, "full", "10" },
	{ PUT_ELSEWHERE, "elsewhere", "1" },
};

static size_t find_code(enum put_code code)
{
	size_t i = 0;

	while (i + 1 < sizeof(codes) / sizeof(codes[0]) && codes[i].code != code)
		i++;
	return i;
}

const char *rows_base_text(const struct base *base, char out[48])
{
	if (base->kind == BASE_ABSENT)
		return "-:0";
	if (base->kind == BASE_DELETED)
		(void)snprintf(out, 48, "%016" PRIx64 ":-", base->incarnation);
	else
		(void)snprintf(out, 48, "%016" PRIx64 ":%" PRIu64, base->incarnation, base->seq);
	return out;
}

void rows_request_fail(struct rows_request *r, const struct put_answer *answer)
{
	size_t i = find_code(answer->code);
	char base[48];
	struct http_field fields[5] = { { "Content-Type", "application/json" } };
	size_t n = 1;
	struct buf body;

	if (codes[i].retry_after)
		fields[n++] = (struct http_field){ "Retry-After", codes[i].retry_after };
	if (r->owner[0])
		fields[n++] = (struct http_field){ "Middlepipe-Owner", r->owner };
	if (r->put.base.kind != BASE_UNKNOWN)
		fields[n] = (struct http_field){ "Middlepipe-Base", rows_base_text(&r->put.base, base) };
	buf_init(&body, 4096);
	(void)buf_add_str(&body, "{\"error\":");
	(void)json_text_add(&body, slice_of(answer->why));
	(void)buf_printf(&body, ",\"code\":\"%s\"", codes[i].name);
	if (answer->floor) /* the row was looked at */
		(void)buf_printf(&body, ",\"highest\":%" PRIu64 ",\"floor\":%" PRIu64, answer->highest, answer->floor);
	(void)buf_add_str(&body, "}");
	http_audit_add(r->req, " code=%s", codes[i].name);
	http_answer_buf(r->req, answer->code == PUT_ELSEWHERE ? 503 : (int)answer->code, fields, &body);
	buf_fini(&body);
	request_free(r);
}

void rows_request_deny(struct rows_request *r)
{
	http_deny(r->req);
	request_free(r);
}

void rows_request_relay(struct rows_request *r, int status, const struct http_field *fields, struct buf *body)
{
	http_answer_buf(r->req, status, fields, body);
	request_free(r);
}

static void answer_row(struct rows_request *r, int status)
{
	struct row *row = copy_row(group_copy(r->http->group), r->put.row);
	struct buf body;

	buf_init(&body, 4096);
	rows_add_row(&body, r->http, row);
	rows_answer(r->req, status, &body);
}

/* A dry run went well: the row as its owner judged by, and the seq that the first cell has, or would have now. */
static void answer_dry(struct rows_request *r, const struct put_answer *answer)
{
	const struct http_field fields[] = { { "Content-Type", "application/json" }, { NULL, NULL } };
	const struct row *row = copy_row(group_copy(r->http->group), r->put.row);
	struct buf body;

	buf_init(&body, 4096);
	(void)buf_add_str(&body, "{\"row\":");
	(void)json_text_add(&body, r->put.row);
	(void)buf_printf(&body, ",\"incarnation\":\"%016" PRIx64 "\",\"highest\":%" PRIu64 ",\"floor\":%" PRIu64
			 ",\"check\":\"%s\",\"seq\":%" PRIu64 ",\"cells\":%zu}", answer->incarnation, answer->highest,
			 answer->floor, row && row_exists(row) ? row->head.check : "", answer->seq, r->put.n);
	http_answer_buf(r->req, 200, fields, &body);
	buf_fini(&body);
}

static void answer_cells(struct rows_request *r, const struct put_answer *answer)
{
	const struct http_field fields[] = { { "Content-Type", "application/json" },
					     { r->owner[0] ? "Middlepipe-Owner" : NULL, r->owner }, { NULL, NULL } };
	struct buf body;

	buf_init(&body, 4096);
	(void)buf_add_str(&body, "{\"row\":");
	(void)json_text_add(&body, r->put.row);
	(void)buf_printf(&body, ",\"incarnation\":\"%016" PRIx64 "\",\"seq\":%" PRIu64 ",\"cells\":%zu}",
			 answer->incarnation, answer->seq, r->put.n);
	http_answer_buf(r->req, (int)answer->code, fields, &body);
	buf_fini(&body);
}

static void on_done(struct put *put, const struct put_answer *answer)
{
	struct rows_request *r = (struct rows_request *)(void *)((char *)put - offsetof(struct rows_request, put));
	bool done = answer->code == PUT_COMMITTED || answer->code == PUT_REPEATED;

	if (answer->code == PUT_ELSEWHERE && rows_forward(r))
		return;
	if (!done) {
		rows_request_fail(r, answer);
		return;
	}
	if (put->kind != PUT_CELLS)
		answer_row(r, put->makes ? 201 : 200);
	else if (put->dry)
		answer_dry(r, answer);
	else
		answer_cells(r, answer);
	request_free(r);
}

/* -------------------------------------------------------------------- requests */

/* False: a mistake in the fields; it was answered. */
static bool bad(struct rows_request *r, const char *why)
{
	http_answer_error(r->req, 400, "bad_request", "%s", why);
	request_free(r);
	return false;
}

static bool read_number(struct mp_str text, uint64_t *ret)
{
	return slice_to_u64(text, ret) == 0 && *ret <= INT64_MAX;
}

/* "incarnation:seq", "incarnation:-", "-:0" */
static bool read_base(struct mp_str text, struct base *ret)
{
	struct mp_str incarnation = { text.ptr, 16 };

	if (slice_eq(text, MP_LIT("-:0"))) {
		ret->kind = BASE_ABSENT;
		return true;
	}
	if (text.len < 18 || text.ptr[16] != ':' || !rows_incarnation(incarnation, &ret->incarnation))
		return false;
	text = slice_skip(text, 17);
	ret->kind = slice_eq(text, MP_LIT("-")) ? BASE_DELETED : BASE_SEEN;
	return ret->kind == BASE_DELETED || read_number(text, &ret->seq);
}

/* The key, the base and the condition. */
static bool read_fields(struct rows_request *r)
{
	struct mp_str text;
	int n = http_header(r->req, "Idempotency-Key", &text);

	if (n > 1 || (n == 1 && (!text.len || text.len > CELL_KEY_MAX || !utf8_is_plain(text))))
		return bad(r, "Idempotency-Key wants 1 to 64 bytes of UTF-8, without control characters, once");
	r->put.key = text;
	n = http_header(r->req, "Middlepipe-Base", &text);
	if (n > 1 || (n == 1 && !read_base(text, &r->put.base)))
		return bad(r, "Middlepipe-Base wants INCARNATION:SEQ, INCARNATION:- or -:0, once");
	n = http_header(r->req, "If-Match", &text);
	if (n == 0)
		return true;
	r->put.has_if_match = n == 1 && text.len > 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"' &&
			      read_number((struct mp_str){ text.ptr + 1, text.len - 2 }, &r->put.if_match);
	return r->put.has_if_match || bad(r, "If-Match wants a highest seq in double quotes, like \"17\", once");
}

static void audit_row(struct http_req *req, const char *act)
{
	http_audit(req, act);
	http_audit_text(req, "row", http_param(req, "row"));
}

/* NULL: it was answered. */
static struct rows_request *request_new(struct rows_http *http, struct http_req *req, enum put_kind kind,
				   enum http_right right)
{
	static const char *const acts[] = { [PUT_POLICIES] = "row policies", [PUT_FLOOR] = "row compact",
					    [PUT_DELETE] = "row delete" };
	struct mp_str name;
	struct rows_request *r;

	if (http_header(req, "Middlepipe-Forwarded", &name) && !rows_is_meant(http, req))
		return NULL;
	if (kind != PUT_CELLS)
		audit_row(req, acts[kind]);
	if (!rows_name(req, right, &name) || !rows_query_only(req, ""))
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r || !group_owner(http->group)) {
		http_answer_error(req, 503, "unavailable", r ? "it has not read its rows yet" : "out of memory");
		free(r);
		return NULL;
	}
	buf_init(&r->bytes, ROWS_REQUEST_MAX);
	list_init(&r->parked);
	r->req = req;
	r->http = http;
	r->put = (struct put){ .kind = kind, .row = name, .origin = slice_of(http_peer(req)),
			       .cell_kind = CELL_DATA, .done = on_done,
			       .deadline = group_now(http->group) + http->put_ns };
	rows_origin(r);
	if (r->forwarded) /* that member writes it down as well */
		http_audit_add(req, " forwarded=yes");
	return read_fields(r) ? r : NULL;
}

/* The name has to live as long as the put: it is the request's. */
static void go(struct rows_request *r)
{
	group_put(r->http->group, &r->put);
}

/* ----------------------------------------------------------------------- cells */

/* Decodes the i-th cell.  What it decodes to may move: the place is told by its end. */
static bool read_cell(struct rows_request *r, const struct json_at *array, size_t i, struct json_errs *errs)
{
	struct json_at at = json_at_index(array, i);

	if (json_want(&at, JSON_STRING, errs))
		return false;
	if (base64_decode(&r->bytes, slice_make(json_string_value(at.value), json_string_length(at.value)))) {
		json_errs_add(errs, &at, "is not base64");
		return false;
	}
	return true;
}

static void read_array(struct rows_request *r, const json_t *document, struct json_errs *errs)
{
	struct json_at root = json_at_root(document), array;
	size_t n, *end = NULL;

	if (json_only(&root, errs, "cells", NULL) || json_get_array(&root, "cells", JSON_REQUIRED, CELLS_MAX, &array, errs))
		return;
	n = json_at_size(&array);
	if (!n) {
		json_errs_add(errs, &array, "wants at least one cell");
		return;
	}
	r->content = calloc(n, sizeof(*r->content));
	end = calloc(n, sizeof(*end));
	for (size_t i = 0; r->content && end && i < n; i++)
		if (read_cell(r, &array, i, errs))
			end[i] = r->bytes.len;
	for (size_t i = 0; r->content && end && i < n; i++)
		r->content[i] = slice_make(buf_str(&r->bytes) + (i ? end[i - 1] : 0), end[i] - (i ? end[i - 1] : 0));
	r->put.n = r->content && end ? n : 0;
	free(end);
}

/* Several cells, in base64. */
static bool read_cells(struct rows_request *r)
{
	CLEANUP_JSON json_t *document = NULL;
	struct json_errs errs;
	struct err err = { 0 };
	int rc;

	if (json_load_text(http_body(r->req), ROWS_REQUEST_MAX, 3, &document, &err) < 0)
		return bad(r, err.text);
	json_errs_init(&errs, MISTAKES_MAX);
	read_array(r, document, &errs);
	rc = json_errs_result(&errs, &err);
	json_errs_fini(&errs);
	r->put.content = r->content;
	return rc == 0 && r->put.n ? true : bad(r, rc < 0 ? err.text : "out of memory");
}

static bool too_large(struct rows_request *r, const char *what, size_t max)
{
	char why[96];
	const struct put_answer answer = { .code = PUT_TOO_LARGE, .why = why };

	(void)snprintf(why, sizeof(why), "%s may have %zu bytes", what, max);
	r->http->too_large++;
	rows_request_fail(r, &answer);
	return false;
}

static bool check_sizes(struct rows_request *r)
{
	for (size_t i = 0; i < r->put.n; i++)
		if (r->put.content[i].len > r->http->cell_max)
			return too_large(r, "a cell", r->http->cell_max);
	return true;
}

/* What kind of cells it puts: those of admins need the right as well.  False: answered. */
static bool read_kind(struct rows_request *r)
{
	struct mp_str text;
	int n = http_header(r->req, "Middlepipe-Cell-Kind", &text);

	if (n == 0 || (n == 1 && slice_eq(text, MP_LIT("data"))))
		return true;
	if (n > 1 || !slice_eq(text, MP_LIT("admin")))
		return bad(r, "Middlepipe-Cell-Kind wants data or admin, once");
	if (!r->put.dry)
		audit_row(r->req, "row admin cells");
	if (!http_may(r->req, RIGHT_ADMIN, r->put.row)) {
		http_deny(r->req);
		request_free(r);
		return false;
	}
	r->put.cell_kind = CELL_ADMIN;
	return true;
}

static void take_cells(void *ctx, struct http_req *req, bool dry)
{
	struct rows_request *r = request_new(ctx, req, PUT_CELLS, RIGHT_PUT);
	struct mp_str type;

	if (!r)
		return;
	r->put.dry = dry;
	if (!read_kind(r))
		return;
	r->single = http_body(req);
	if (http_header(req, "Content-Type", &type) > 1) {
		(void)bad(r, "Content-Type must be given once");
		return;
	}
	if (r->single.len > r->http->request_max) {
		(void)too_large(r, "a request", r->http->request_max);
		return;
	}
	r->put.content = &r->single;
	r->put.n = 1;
	if (rows_media_is(type, MP_LIT(CELLS_TYPE)) && !read_cells(r))
		return;
	if (check_sizes(r))
		go(r);
}

void rows_put_cells(void *ctx, struct http_req *req)
{
	take_cells(ctx, req, false);
}

void rows_check_cells(void *ctx, struct http_req *req)
{
	take_cells(ctx, req, true);
}

/* -------------------------------------------------------------------- policies */

static const char *const partitions[] = { [ROW_SAFE] = "safe", [ROW_LIVE] = "live", NULL };

static bool get_keep(const struct json_at *at, const char *name, uint64_t *ret, struct json_errs *errs)
{
	int64_t value = 0;

	if (!json_object_get(at->value, name))
		return false;
	json_get_int(at, name, JSON_REQUIRED, 0, KEEP_MAX, &value, errs);
	*ret = (uint64_t)value;
	return true;
}

/* Those checks that there are here, for people. */
static void list_checks(struct catalog *halves, struct buf *out)
{
	const struct mp_aggregator **all = catalog_all_halves(halves);

	for (size_t i = 0; all && all[i]; i++)
		(void)buf_printf(out, "%s%s", i ? ", " : "", all[i]->name);
	free(all);
}

/* Here, or at another member, which then orders the row. */
static bool is_check(const struct rows_http *http, const char *name)
{
	struct members *members = group_members(http->group);

	return catalog_find_half(http->halves, name) || (members && members_check_rules(members, name, 0));
}

static void check_check(const struct rows_http *http, const char *name, const struct json_at *at, struct json_errs *errs)
{
	struct buf list;

	if (!check_name_ok(slice_of(name))) {
		json_errs_add(errs, at, "is no name of a check: %s", JSON_QUOTE(name));
	} else if (!is_check(http, name)) {
		buf_init(&list, 256);
		list_checks(http->halves, &list);
		json_errs_add(errs, at, "no such check: %s; there are: %s", JSON_QUOTE(name), buf_str(&list));
		buf_fini(&list);
	}
}

static void read_policies(const struct rows_http *http, const json_t *document, struct policies *ret,
			  struct json_errs *errs)
{
	struct json_at root = json_at_root(document), member = json_at_member(&root, "check");
	const char *check = NULL;
	int partition = ROW_SAFE;

	if (json_only(&root, errs, "check", "partition", "keep_cells", "keep_bytes", "keep_ms", NULL))
		return;
	json_get_str(&root, "check", JSON_OPTIONAL, &check, errs);
	if (check && check[0])
		check_check(http, check, &member, errs);
	if (check)
		(void)snprintf(ret->check, sizeof(ret->check), "%s", check);
	ret->has_check = check;
	ret->has_partition = json_object_get(document, "partition");
	json_get_choice(&root, "partition", JSON_OPTIONAL, partitions, &partition, errs);
	ret->partition = (enum row_partition)partition;
	ret->has_keep_cells = get_keep(&root, "keep_cells", &ret->keep_cells, errs);
	ret->has_keep_bytes = get_keep(&root, "keep_bytes", &ret->keep_bytes, errs);
	ret->has_keep_ms = get_keep(&root, "keep_ms", &ret->keep_ms, errs);
}

/* The body as JSON, read by `read`.  False: answered. */
static bool read_body(struct rows_request *r, void (*read)(struct rows_request *r, const json_t *document,
						      struct json_errs *errs))
{
	CLEANUP_JSON json_t *document = NULL;
	struct mp_str body = http_body(r->req);
	struct json_errs errs;
	struct err err = { 0 };
	int rc;

	if (json_load_text(body.len ? body : MP_LIT("{}"), 4096, 3, &document, &err) < 0)
		return bad(r, err.text);
	json_errs_init(&errs, MISTAKES_MAX);
	read(r, document, &errs);
	rc = json_errs_result(&errs, &err);
	json_errs_fini(&errs);
	return rc == 0 || bad(r, err.text);
}

static void take_policies(struct rows_request *r, const json_t *document, struct json_errs *errs)
{
	read_policies(r->http, document, &r->put.policies, errs);
}

static void audit_policies(struct http_req *req, const struct policies *p)
{
	if (p->has_check)
		http_audit_text(req, "check", slice_of(p->check));
	if (p->has_partition)
		http_audit_add(req, " partition=%s", partitions[p->partition]);
	if (p->has_keep_cells)
		http_audit_add(req, " keep_cells=%" PRIu64, p->keep_cells);
	if (p->has_keep_bytes)
		http_audit_add(req, " keep_bytes=%" PRIu64, p->keep_bytes);
	if (p->has_keep_ms)
		http_audit_add(req, " keep_ms=%" PRIu64, p->keep_ms);
}

void rows_put_policies(void *ctx, struct http_req *req)
{
	struct rows_request *r = request_new(ctx, req, PUT_POLICIES, RIGHT_ADMIN);

	if (!r || !read_body(r, take_policies))
		return;
	audit_policies(req, &r->put.policies);
	go(r);
}

/* ------------------------------------------------------------- floor, deletion */

static void take_floor(struct rows_request *r, const json_t *document, struct json_errs *errs)
{
	struct json_at root = json_at_root(document);
	int64_t floor = 0;

	if (json_only(&root, errs, "floor", NULL))
		return;
	json_get_int(&root, "floor", JSON_REQUIRED, 1, INT64_MAX - 1, &floor, errs);
	r->put.floor = (uint64_t)floor;
}

void rows_put_floor(void *ctx, struct http_req *req)
{
	struct rows_request *r = request_new(ctx, req, PUT_FLOOR, RIGHT_ADMIN);

	if (!r || !read_body(r, take_floor))
		return;
	http_audit_add(req, " floor=%" PRIu64, r->put.floor);
	go(r);
}

void rows_delete(void *ctx, struct http_req *req)
{
	struct rows_request *r = request_new(ctx, req, PUT_DELETE, RIGHT_ADMIN);

	if (!r)
		return;
	go(r);
}
