/* SPDX-License-Identifier: Apache-2.0 */
/* What answers about rows say; see rows_client_priv.h and docs/rows-api.md. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base64.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/rows_client_priv.h"
#include "lib/slice.h"
#include "middlepipe/aggregator.h"

#define JSON_MAX ((size_t)20 << 20)
#define DEPTH_MAX 6
#define SEQ_MAX (INT64_C(1) << 53) /* JSON's numbers */
#define RANGE_MAX 4096             /* cells */

/* ------------------------------------------------------------------------ the head */

static const struct {
	const char *name;
	size_t at, size; /* in struct rowc_head */
} fields[] = {
#define FIELD(name, member) { name, offsetof(struct rowc_head, member), sizeof(((struct rowc_head *)NULL)->member) }
	FIELD("Middlepipe-Base", base),
	FIELD("Middlepipe-Owner", owner),
	FIELD("Retry-After", retry_after),
	FIELD("ETag", etag),
	FIELD("Middlepipe-Row-Incarnation", incarnation),
	FIELD("Middlepipe-Row-Highest", highest),
	FIELD("Middlepipe-Cell-Time", time),
	FIELD("Middlepipe-Cell-Kind", kind),
	FIELD("Middlepipe-Cell-Key", key),
	FIELD("Middlepipe-Cell-Origin", origin),
#undef FIELD
};

void rowc_read_field(struct rowc_head *head, struct mp_str name, struct mp_str value)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		char *to = (char *)head + fields[i].at;

		if (!slice_eq_nocase(name, slice_of(fields[i].name)) || value.len >= fields[i].size)
			continue;
		memcpy(to, value.ptr, value.len);
		to[value.len] = '\0';
	}
}

bool rowc_base_ok(struct mp_str text)
{
	struct mp_str incarnation, seq;
	uint64_t number;

	if (text.len >= ROWS_BASE_SIZE || !slice_cut(text, ':', &incarnation, &seq))
		return false;
	if (slice_eq(incarnation, MP_LIT("-")))
		return slice_eq(seq, MP_LIT("0"));
	return hex_number(incarnation, 16, &number) &&
	       (slice_eq(seq, MP_LIT("-")) || slice_to_u64(seq, &number) == 0);
}

/* ------------------------------------------------------------------------- numbers */

static uint64_t number_of(const json_t *root, const char *name)
{
	const json_t *value = json_object_get(root, name);

	return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

static const char *text_of(const json_t *root, const char *name)
{
	const char *text = json_string_value(json_object_get(root, name));

	return text ? text : "";
}

/* A number that has to be there. */
static bool get_number(const json_t *root, const char *name, uint64_t *ret)
{
	const json_t *value = json_object_get(root, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > SEQ_MAX)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

static bool get_incarnation(const json_t *root, uint64_t *ret)
{
	return hex_number(slice_of(text_of(root, "incarnation")), 16, ret) && *ret;
}

static json_t *load(const struct rowc_request *r)
{
	json_t *root = NULL;

	if (json_load_text(buf_slice(&r->reply), JSON_MAX, DEPTH_MAX, &root, NULL) < 0)
		return NULL;
	return root;
}

/* ---------------------------------------------------------------------------- rows */

/* What is said of a row, but for its incarnation. */
static bool get_row(const json_t *root, struct rowc_request *r, struct rows_answer *ret)
{
	const char *check = text_of(root, "check");

	if (!get_number(root, "highest", &ret->highest) || !get_number(root, "floor", &ret->floor) ||
	    strlen(check) >= sizeof(r->check))
		return false;
	memcpy(r->check, check, strlen(check) + 1);
	ret->check = r->check;
	return true;
}

int rowc_read_row(struct rowc_request *r, struct rows_answer *ret)
{
	CLEANUP_JSON json_t *root = load(r);

	return get_incarnation(root, &ret->incarnation) && get_row(root, r, ret) ? 0 : -EPROTO;
}

int rowc_read_put(struct rowc_request *r, struct rows_answer *ret)
{
	CLEANUP_JSON json_t *root = load(r);

	if (!get_incarnation(root, &ret->incarnation) || !get_number(root, "seq", &ret->seq) || !ret->seq)
		return -EPROTO;
	return 0;
}

int rowc_read_check(struct rowc_request *r, struct rows_answer *ret)
{
	CLEANUP_JSON json_t *root = load(r);

	(void)get_incarnation(root, &ret->incarnation); /* zeros: there is no such row yet */
	return get_row(root, r, ret) && get_number(root, "seq", &ret->seq) && ret->seq ? 0 : -EPROTO;
}

void rowc_read_error(struct rowc_request *r, struct rows_answer *ret)
{
	CLEANUP_JSON json_t *root = load(r);

	buf_reset(&r->code);
	buf_reset(&r->why);
	(void)buf_add_str(&r->code, text_of(root, "code"));
	(void)buf_add_str(&r->why, text_of(root, "error"));
	if (!r->why.len)
		(void)buf_printf(&r->why, "status %d", ret->status);
	ret->code = buf_str(&r->code);
	ret->why = buf_str(&r->why);
	ret->highest = number_of(root, "highest");
	ret->floor = number_of(root, "floor");
	(void)get_incarnation(root, &ret->incarnation);
}

/* --------------------------------------------------------------------------- cells */

static uint8_t kind_of(const char *name)
{
	static const char *const names[] = { [MP_CELL_DATA] = "data", [MP_CELL_CONFLICT] = "conflict",
					     [MP_CELL_BASE] = "base", [MP_CELL_ADMIN] = "admin" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] && !strcmp(names[i], name))
			return (uint8_t)i;
	return 0;
}

/* Where the next text begins; its bytes may move until all are there. */
static void add_text(struct buf *bytes, const char *text, struct mp_str *ret)
{
	ret->len = strlen(text);
	(void)buf_add_str(bytes, text);
}

static void settle(const struct rowc_request *r, size_t n)
{
	const char *at = r->bytes.ptr;

	for (size_t i = 0; i < n; i++) {
		struct rows_cell *cell = &r->cells[i];
		struct mp_str *parts[] = { &cell->key, &cell->origin, &cell->content };

		for (size_t j = 0; j < sizeof(parts) / sizeof(parts[0]); j++) {
			parts[j]->ptr = at;
			at = at ? at + parts[j]->len : NULL;
		}
		cell->row = buf_slice(&r->row);
	}
}

/* False: that is no cell. */
static bool read_cell(struct rowc_request *r, const json_t *value, struct rows_cell *ret)
{
	const json_t *data = json_object_get(value, "data");
	size_t before;

	if (!get_number(value, "seq", &ret->seq) || !get_number(value, "time", &ret->time_ms) || !json_is_string(data))
		return false;
	ret->kind = kind_of(text_of(value, "kind"));
	add_text(&r->bytes, text_of(value, "key"), &ret->key);
	add_text(&r->bytes, text_of(value, "origin"), &ret->origin);
	before = r->bytes.len;
	if (base64_decode(&r->bytes, slice_make(json_string_value(data), json_string_length(data))) < 0)
		return false;
	ret->content.len = r->bytes.len - before;
	return true;
}

int rowc_read_range(struct rowc_request *r, struct rows_answer *ret)
{
	CLEANUP_JSON json_t *root = load(r);
	const json_t *cells = json_object_get(root, "cells");
	size_t n = json_array_size(cells);

	if (!get_incarnation(root, &ret->incarnation) || !get_number(root, "highest", &ret->highest) ||
	    !get_number(root, "floor", &ret->floor) || !json_is_array(cells) || n > RANGE_MAX)
		return -EPROTO;
	buf_reset(&r->bytes);
	free(r->cells);
	r->cells = calloc(n + 1, sizeof(*r->cells));
	for (size_t i = 0; r->cells && i < n; i++) {
		if (!read_cell(r, json_array_get(cells, i), &r->cells[i]))
			return -EPROTO;
		r->cells[i].incarnation = ret->incarnation;
	}
	if (!r->cells || r->bytes.error)
		return -EPROTO;
	settle(r, n);
	ret->cells = r->cells;
	ret->n = n;
	return 0;
}

/* The byte that is encoded there.  False: none is. */
static bool encoded(const char *text, unsigned char *ret)
{
	char digits[2];

	if (text[0] != '%' || !text[1] || !text[2])
		return false;
	digits[0] = slice_lower(text[1]);
	digits[1] = slice_lower(text[2]);
	return hex_decode(slice_make(digits, sizeof(digits)), ret, 1);
}

/* Percent-decodes; what is not encoded stays as it is. */
static void add_decoded(struct buf *bytes, const char *text, struct mp_str *ret)
{
	size_t before = bytes->len;
	unsigned char byte;

	for (; *text; text++) {
		bool is_encoded = encoded(text, &byte);

		(void)buf_add(bytes, is_encoded ? (const void *)&byte : text, 1);
		text += is_encoded ? 2 : 0;
	}
	ret->len = bytes->len - before;
}

/* "17" in double quotes. */
static bool read_etag(const char *text, uint64_t *ret)
{
	struct mp_str s = slice_of(text);

	return s.len > 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"' &&
	       slice_to_u64(slice_make(s.ptr + 1, s.len - 2), ret) == 0;
}

int rowc_read_cell(struct rowc_request *r, struct rows_answer *ret)
{
	const struct rowc_head *head = &r->head;
	struct rows_cell *cell;

	buf_reset(&r->bytes);
	free(r->cells);
	cell = r->cells = calloc(1, sizeof(*cell));
	if (!cell || !read_etag(head->etag, &cell->seq) ||
	    !hex_number(slice_of(head->incarnation), 16, &cell->incarnation) ||
	    slice_to_u64(slice_of(head->time), &cell->time_ms) < 0 ||
	    slice_to_u64(slice_of(head->highest), &ret->highest) < 0)
		return -EPROTO;
	cell->kind = kind_of(head->kind);
	add_decoded(&r->bytes, head->key, &cell->key);
	add_decoded(&r->bytes, head->origin, &cell->origin);
	(void)buf_add_slice(&r->bytes, buf_slice(&r->reply));
	cell->content.len = r->reply.len;
	if (r->bytes.error)
		return -EPROTO;
	settle(r, 1);
	ret->cells = cell;
	ret->n = 1;
	ret->incarnation = cell->incarnation;
	ret->seq = cell->seq;
	return 0;
}
