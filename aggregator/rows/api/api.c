/* SPDX-License-Identifier: Apache-2.0 */
/* See api.h. */
#include "aggregator/rows/api/api.h"

#include <inttypes.h>
#include <string.h>

#include "aggregator/rows/api/put.h"
#include "lib/base64.h"
#include "lib/hex.h"
#include "lib/json_text.h"
#include "lib/slice.h"

const struct http_route rows_routes[] = {
	{ HTTP_POST, "/v1/rows/{row}/cells", ROWS_REQUEST_MAX, rows_put_cells, false },
	{ HTTP_GET, "/v1/rows/{row}/cells/{seq}", 0, rows_get_cell, false },
	{ HTTP_GET, "/v1/rows/{row}/cells", 0, rows_get_range, false },
	{ HTTP_GET, "/v1/rows/{row}/snapshot", 0, rows_get_snapshot, false },
	{ HTTP_GET, "/v1/rows/{row}", 0, rows_get, false },
	{ HTTP_PUT, "/v1/rows/{row}", 4096, rows_put_policies, false },
	{ HTTP_DELETE, "/v1/rows/{row}", 0, rows_delete, false },
	{ HTTP_POST, "/v1/rows/{row}/compact", 4096, rows_put_floor, false },
	{ HTTP_POST, "/v1/rows/{row}/check", ROWS_REQUEST_MAX, rows_check_cells, false },
	{ HTTP_POST, "/v1/parcels", ROWS_REQUEST_MAX, rows_put_parcel, false },
	{ HTTP_GET, "/v1/rows", 0, rows_list, false },
	{ HTTP_GET, "/v1/subscribe", 0, rows_subscribe, false },
	{ HTTP_GET, "/v1/members", 0, rows_members, false },
	{ HTTP_POST, "/v1/members/token", 4096, rows_token, false },
	{ HTTP_POST, "/v1/members/join", 4096, rows_join, true },
	{ HTTP_POST, "/v1/members/{id}/drain", 0, rows_drain, false },
	{ HTTP_DELETE, "/v1/members/{id}", 0, rows_leave, false },
	{ HTTP_GET, "/v1/owners", 0, rows_owners, false },
	{ HTTP_GET, "/v1/export", 0, rows_export, false },
	{ HTTP_POST, "/v1/import", ROWS_IMPORT_MAX, rows_import, false },
	{ HTTP_GET, "/v1/check", 0, rows_check, false },
	{ HTTP_GET, "/v1/status", 0, rows_status, false },
	{ HTTP_GET, "/healthz", 0, rows_alive, true },
	{ HTTP_GET, "/readyz", 0, rows_ready, true },
	{ HTTP_GET, "/metrics", 0, rows_metrics, false },
	{ .path = NULL },
};

#define SEND_AGAIN_MS 20 /* how often what waits for a way to its owner is looked at */

static void on_turn(uv_timer_t *timer)
{
	struct rows_http *http = timer->data;

	http->turning = false;
	rows_send_answers(http);
	if (rows_send_parcels(http) && !http->turning)
		uv_timer_start(timer, on_turn, SEND_AGAIN_MS, 0);
}

void rows_turn(struct rows_http *http)
{
	if (!http->turning)
		uv_timer_start(&http->turn_timer, on_turn, 0, 0);
	http->turning = true;
}

void rows_http_init(struct rows_http *http, uv_loop_t *loop)
{
	list_init(&http->waits);
	list_init(&http->streams);
	list_init(&http->waiting);
	list_init(&http->lines);
	list_init(&http->parked);
	uv_timer_init(loop, &http->park_timer);
	http->park_timer.data = http;
	list_init(&http->ways);
	list_init(&http->received);
	uv_timer_init(loop, &http->turn_timer);
	http->turn_timer.data = http;
}

void rows_http_fini(struct rows_http *http)
{
	http->group = NULL; /* a ping may be under way: it ends later */
	uv_close((uv_handle_t *)&http->park_timer, NULL);
	uv_close((uv_handle_t *)&http->turn_timer, NULL);
}

bool rows_name(struct http_req *req, enum http_right right, struct mp_str *ret)
{
	struct err err = { 0 };

	*ret = http_param(req, "row");
	if (row_name_check(*ret, &err) < 0) {
		http_answer_error(req, 400, "bad_request", "%s", err.text);
		return false;
	}
	if (!http_may(req, right, *ret)) {
		http_deny(req);
		return false;
	}
	return true;
}

/* Is it one of the names in `known`? */
static bool is_known(struct mp_str name, const char *known)
{
	struct mp_str rest = slice_of(known), one;
	bool more = rest.len;

	while (more) {
		more = slice_cut(rest, ' ', &one, &rest);
		if (slice_eq(one, name))
			return true;
	}
	return false;
}

bool rows_query_only(struct http_req *req, const char *known)
{
	struct mp_str name;

	for (size_t i = 0; (name = http_query_name(req, i)).ptr; i++) {
		if (is_known(name, known))
			continue;
		http_answer_error(req, 400, "bad_request", "the query has a parameter %.*s; allowed here: %s",
				  SLICE_ARG(name), known[0] ? known : "none");
		return false;
	}
	return true;
}

bool rows_media_is(struct mp_str text, struct mp_str type)
{
	struct mp_str name, parameters;

	(void)slice_cut(text, ';', &name, &parameters);
	return slice_eq_nocase(slice_trim(name), type);
}

bool rows_accepts(struct http_req *req, struct mp_str type)
{
	struct mp_str rest, one;
	bool more = http_header(req, "Accept", &rest) > 0;

	while (more) {
		more = slice_cut(rest, ',', &one, &rest);
		if (rows_media_is(one, type))
			return true;
	}
	return false;
}

static bool number(struct mp_str text, uint64_t max, uint64_t *ret)
{
	return slice_to_u64(text, ret) == 0 && *ret <= max;
}

bool rows_query_number(struct http_req *req, const char *name, uint64_t max, uint64_t *ret)
{
	struct mp_str text;

	if (!http_query(req, name, &text) || number(text, max, ret))
		return true;
	http_answer_error(req, 400, "bad_request", "%s wants a number from 0 to %" PRIu64, name, max);
	return false;
}

bool rows_incarnation(struct mp_str text, uint64_t *ret)
{
	return text.len == 16 && hex_number(text, 16, ret);
}

const char *cell_kind_name(uint8_t kind)
{
	static const char *const names[] = { [CELL_DATA] = "data", [CELL_CONFLICT] = "conflict",
					     [CELL_BASE] = "base", [CELL_ADMIN] = "admin" };

	return kind < sizeof(names) / sizeof(names[0]) && names[kind] ? names[kind] : "unknown";
}

/* Cells from the floor on. */
static uint64_t n_cells(const struct head *head)
{
	return head->deleted ? 0 : head->last + 1 - head->floor;
}

void rows_add_row(struct buf *out, const struct rows_http *http, const struct row *row)
{
	const struct head *head = &row->head;
	struct owner_name owner = { .member = "" };

	(void)owner_text_read(copy_owner(group_copy(http->group), row->shard), &owner);
	(void)buf_add_str(out, "{\"row\":");
	(void)json_text_add(out, row_name(row));
	(void)buf_printf(out, ",\"incarnation\":\"%016" PRIx64 "\",\"highest\":%" PRIu64 ",\"floor\":%" PRIu64,
			 head->incarnation, head->last, head->floor);
	(void)buf_printf(out, ",\"cells\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"check\":\"%s\",\"rules\":%" PRIu64
			 ",\"snapshot\":%" PRIu64
			 ",\"partition\":\"%s\"", n_cells(head), row->bytes, head->check, head->rules, head->snapshot,
			 head->partition == ROW_LIVE ? "live" : "safe");
	(void)buf_printf(out, ",\"keep_cells\":%" PRIu64 ",\"keep_bytes\":%" PRIu64 ",\"keep_ms\":%" PRIu64,
			 head->keep_cells, head->keep_bytes, head->keep_ms);
	(void)buf_printf(out, ",\"shard\":%" PRIu32 ",\"owner\":\"%s\"%s}", row->shard, owner.member,
			 head->deleted ? ",\"deleted\":true" : "");
}

void rows_add_cell(struct buf *out, const struct row *row, const struct cell *cell, bool with_row)
{
	(void)buf_add_str(out, "{");
	if (with_row) {
		(void)buf_add_str(out, "\"row\":");
		(void)json_text_add(out, row_name(row));
		(void)buf_printf(out, ",\"incarnation\":\"%016" PRIx64 "\",", row->head.incarnation);
	}
	(void)buf_printf(out, "\"seq\":%" PRIu64 ",\"kind\":\"%s\",\"time\":%" PRIu64 ",\"key\":", cell->seq,
			 cell_kind_name(cell->kind), cell->time_ms);
	(void)json_text_add(out, cell->key);
	(void)buf_add_str(out, ",\"origin\":");
	(void)json_text_add(out, cell->origin);
	(void)buf_add_str(out, ",\"data\":\"");
	(void)base64_encode(out, cell->content);
	(void)buf_add_str(out, "\"}");
}

void rows_answer(struct http_req *req, int status, struct buf *body)
{
	static const struct http_field json[] = { { "Content-Type", "application/json" }, { NULL, NULL } };

	http_answer_buf(req, status, json, body);
	buf_fini(body);
}

void rows_http_row(struct rows_http *http, struct row *row)
{
	rows_streams_row(http, row);
}
