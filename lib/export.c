/* SPDX-License-Identifier: Apache-2.0 */
/* See export.h.  Called by the aggregator and the command line. */
#include "lib/export.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/base64.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define DEPTH_MAX 2         /* nesting of a line */
#define MISTAKES_MAX 4      /* that are told */
#define KEY_MAX 64          /* bytes, decoded */
#define ORIGIN_MAX 256
#define CHECK_MAX 63        /* bytes of a check's name */
#define NUMBER_MAX (INT64_MAX - 1)

/* --------------------------------------------------------------------- writing */

/* Room for the sum; where the JSON begins. */
static size_t begin_line(struct buf *out)
{
	(void)buf_add_str(out, "0000000000000000 ");
	return out->len;
}

static int end_line(struct buf *out, size_t from, uint64_t *sum)
{
	unsigned char bytes[8];

	if (out->error)
		return out->error;
	*sum = XXH64(out->ptr + from, out->len - from, *sum);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(*sum >> (56 - 8 * i));
	hex_encode(out->ptr + from - EXPORT_SUM_SIZE - 1, bytes, sizeof(bytes));
	return buf_add(out, "\n", 1);
}

/* Everything but printable ASCII as %XX. */
static void add_encoded(struct buf *out, struct mp_str bytes)
{
	(void)buf_add(out, "\"", 1);
	for (size_t i = 0; i < bytes.len; i++) {
		unsigned char c = (unsigned char)bytes.ptr[i];

		if (c <= ' ' || c > '~' || c == '%' || c == '"' || c == '\\')
			(void)buf_printf(out, "%%%02X", c);
		else
			(void)buf_add(out, bytes.ptr + i, 1);
	}
	(void)buf_add(out, "\"", 1);
}

static void add_text(struct buf *out, const char *before, struct mp_str text)
{
	(void)buf_add_str(out, before);
	(void)json_text_add(out, text);
}

int export_write_begin(struct buf *out, uint64_t *sum, const struct export_begin *begin)
{
	size_t from = begin_line(out);

	(void)buf_printf(out, "{\"export\":%d", EXPORT_FORMAT);
	add_text(out, ",\"group\":", slice_of(begin->group));
	(void)buf_printf(out, ",\"time\":%" PRIu64, begin->time_ms);
	add_text(out, ",\"prefix\":", slice_of(begin->prefix));
	(void)buf_add_str(out, "}");
	return end_line(out, from, sum);
}

int export_write_row(struct buf *out, uint64_t *sum, const struct export_row *row)
{
	size_t from = begin_line(out);

	add_text(out, "{\"row\":", row->name);
	(void)buf_printf(out, ",\"incarnation\":\"%016" PRIx64 "\",\"highest\":%" PRIu64 ",\"floor\":%" PRIu64,
			 row->incarnation, row->highest, row->floor);
	add_text(out, ",\"check\":", slice_of(row->check));
	add_text(out, ",\"partition\":", slice_of(row->partition));
	(void)buf_printf(out, ",\"keep_cells\":%" PRIu64 ",\"keep_bytes\":%" PRIu64 ",\"keep_ms\":%" PRIu64 "}",
			 row->keep_cells, row->keep_bytes, row->keep_ms);
	return end_line(out, from, sum);
}

int export_write_cell(struct buf *out, uint64_t *sum, const struct export_cell *cell)
{
	size_t from = begin_line(out);

	add_text(out, "{\"cell\":", cell->row);
	(void)buf_printf(out, ",\"at\":%" PRIu64 ",\"seq\":%" PRIu64 ",\"kind\":%u,\"time\":%" PRIu64 ",\"key\":",
			 cell->at, cell->seq, cell->kind, cell->time_ms);
	add_encoded(out, cell->key);
	(void)buf_add_str(out, ",\"origin\":");
	add_encoded(out, cell->origin);
	(void)buf_add_str(out, ",\"data\":\"");
	(void)base64_encode(out, cell->content);
	(void)buf_add_str(out, "\"}");
	return end_line(out, from, sum);
}

int export_write_state(struct buf *out, uint64_t *sum, const struct export_state *state)
{
	size_t from = begin_line(out);

	add_text(out, "{\"state\":", state->row);
	(void)buf_printf(out, ",\"seq\":%" PRIu64 ",\"rules\":%" PRIu64 ",\"part\":%" PRIu64 ",\"parts\":%" PRIu64
			 ",\"data\":\"", state->seq, state->rules, state->part, state->parts);
	(void)base64_encode(out, state->content);
	(void)buf_add_str(out, "\"}");
	return end_line(out, from, sum);
}

int export_write_gone(struct buf *out, uint64_t *sum, struct mp_str row)
{
	size_t from = begin_line(out);

	add_text(out, "{\"gone\":", row);
	(void)buf_add_str(out, "}");
	return end_line(out, from, sum);
}

int export_write_error(struct buf *out, uint64_t *sum, const char *why)
{
	size_t from = begin_line(out);

	add_text(out, "{\"error\":", slice_of(why));
	(void)buf_add_str(out, "}");
	return end_line(out, from, sum);
}

int export_write_end(struct buf *out, uint64_t *sum, const struct export_end *end)
{
	size_t from = begin_line(out);

	(void)buf_printf(out, "{\"end\":true,\"rows\":%" PRIu64 ",\"cells\":%" PRIu64 "}", end->rows, end->cells);
	return end_line(out, from, sum);
}

/* --------------------------------------------------------------------- the sum */

/* The JSON of a line, and what its sum says.  False: that is no line. */
static bool split(struct mp_str line, uint64_t *ret_sum, struct mp_str *ret_json)
{
	if (line.len <= EXPORT_SUM_SIZE || line.ptr[EXPORT_SUM_SIZE] != ' ' ||
	    !hex_number((struct mp_str){ line.ptr, EXPORT_SUM_SIZE }, EXPORT_SUM_SIZE, ret_sum))
		return false;
	*ret_json = slice_skip(line, EXPORT_SUM_SIZE + 1);
	return true;
}

int export_check(struct mp_str line, uint64_t *sum, struct err *err)
{
	struct mp_str json;
	uint64_t said, is;

	if (!split(line, &said, &json))
		return err_set(err, -EBADMSG, "does not begin with a sum of 16 hex digits and a blank");
	is = XXH64(json.ptr, json.len, *sum);
	if (is != said)
		return err_set(err, -EBADMSG, "is damaged, or not the one that follows: its sum is %016" PRIx64
			       " and not %016" PRIx64, is, said);
	*sum = is;
	return 0;
}

/* --------------------------------------------------------------------- reading */

static void get_number(const struct json_at *at, const char *name, int64_t min, uint64_t *ret,
		       struct json_errs *errs)
{
	int64_t value = min;

	(void)json_get_int(at, name, JSON_REQUIRED, min, NUMBER_MAX, &value, errs);
	*ret = (uint64_t)value;
}

static void get_text(const struct json_at *at, const char *name, size_t max, const char **ret,
		     struct json_errs *errs)
{
	struct json_at member = json_at_member(at, name);

	*ret = "";
	if (!json_get_str(at, name, JSON_REQUIRED, ret, errs) && strlen(*ret) > max)
		json_errs_add(errs, &member, "has more than %zu bytes", max);
}

static void get_name(const struct json_at *at, const char *name, struct mp_str *ret, struct json_errs *errs)
{
	struct json_at member = json_at_member(at, name);
	const char *text;

	get_text(at, name, EXPORT_NAME_MAX, &text, errs);
	*ret = slice_of(text);
	if (!ret->len && json_is_string(member.value))
		json_errs_add(errs, &member, "is no name of a row");
}

/* Appends what the text encodes.  False: none of ours. */
static bool decode(struct buf *out, const char *text)
{
	uint64_t code;

	for (; *text; text++) {
		char low[2], byte = *text;

		if (byte <= ' ' || byte > '~')
			return false;
		if (byte == '%') {
			for (size_t i = 0; i < 2; i++)
				low[i] = text[1] && text[1 + i] ? slice_lower(text[1 + i]) : 'x';
			if (!hex_number((struct mp_str){ low, 2 }, 2, &code))
				return false;
			byte = (char)code;
			text += 2;
		}
		(void)buf_add(out, &byte, 1);
	}
	return true;
}

/* Key or origin; its bytes stand behind the others, and may move yet. */
static size_t get_encoded(const struct json_at *at, const char *name, size_t max, struct export_line *line,
			  struct json_errs *errs)
{
	struct json_at member = json_at_member(at, name);
	size_t before = line->bytes.len;
	const char *text;

	get_text(at, name, 3 * max, &text, errs);
	if (!decode(&line->bytes, text) || line->bytes.len - before > max)
		json_errs_add(errs, &member, "is not percent-encoded, or longer than %zu bytes", max);
	return line->bytes.len - before;
}

static void read_begin(const struct json_at *at, struct export_line *line, struct json_errs *errs)
{
	(void)json_only(at, errs, "export", "group", "time", "prefix", NULL);
	get_text(at, "group", 64, &line->is.begin.group, errs);
	get_number(at, "time", 0, &line->is.begin.time_ms, errs);
	get_text(at, "prefix", EXPORT_NAME_MAX, &line->is.begin.prefix, errs);
}

static void read_row(const struct json_at *at, struct export_line *line, struct json_errs *errs)
{
	struct json_at member = json_at_member(at, "incarnation");
	struct export_row *row = &line->is.row;
	const char *text;

	(void)json_only(at, errs, "row", "incarnation", "highest", "floor", "check", "partition", "keep_cells",
			"keep_bytes", "keep_ms", NULL);
	get_name(at, "row", &row->name, errs);
	get_text(at, "incarnation", 16, &text, errs);
	if (member.value && !hex_number(slice_of(text), 16, &row->incarnation))
		json_errs_add(errs, &member, "wants 16 lower-case hex digits");
	get_number(at, "highest", 0, &row->highest, errs);
	get_number(at, "floor", 1, &row->floor, errs);
	get_text(at, "check", CHECK_MAX, &row->check, errs);
	get_text(at, "partition", 16, &row->partition, errs);
	get_number(at, "keep_cells", 0, &row->keep_cells, errs);
	get_number(at, "keep_bytes", 0, &row->keep_bytes, errs);
	get_number(at, "keep_ms", 0, &row->keep_ms, errs);
}

static void read_cell(const struct json_at *at, struct export_line *line, struct json_errs *errs)
{
	struct json_at member = json_at_member(at, "data");
	struct export_cell *cell = &line->is.cell;
	const char *data = "";
	int64_t kind = 1;
	char *from;

	(void)json_only(at, errs, "cell", "at", "seq", "kind", "time", "key", "origin", "data", NULL);
	get_name(at, "cell", &cell->row, errs);
	get_number(at, "at", 1, &cell->at, errs);
	get_number(at, "seq", 1, &cell->seq, errs);
	get_number(at, "time", 0, &cell->time_ms, errs);
	(void)json_get_int(at, "kind", JSON_REQUIRED, 1, UINT8_MAX, &kind, errs);
	cell->kind = (uint8_t)kind;
	cell->key.len = get_encoded(at, "key", KEY_MAX, line, errs);
	cell->origin.len = get_encoded(at, "origin", ORIGIN_MAX, line, errs);
	(void)json_get_str(at, "data", JSON_REQUIRED, &data, errs);
	if (base64_decode(&line->bytes, slice_of(data)))
		json_errs_add(errs, &member, "is not base64, or longer than 1 MiB");
	from = line->bytes.ptr;
	cell->key.ptr = from;
	cell->origin.ptr = from ? from + cell->key.len : NULL;
	cell->content = slice_skip(buf_slice(&line->bytes), cell->key.len + cell->origin.len);
	if (cell->content.len > EXPORT_DATA_MAX)
		json_errs_add(errs, &member, "is longer than 1 MiB");
}

static void read_state(const struct json_at *at, struct export_line *line, struct json_errs *errs)
{
	struct json_at member = json_at_member(at, "data"), part = json_at_member(at, "part");
	struct export_state *state = &line->is.state;
	const char *data = "";

	(void)json_only(at, errs, "state", "seq", "rules", "part", "parts", "data", NULL);
	get_name(at, "state", &state->row, errs);
	get_number(at, "seq", 1, &state->seq, errs);
	get_number(at, "rules", 1, &state->rules, errs);
	get_number(at, "part", 0, &state->part, errs);
	get_number(at, "parts", 1, &state->parts, errs);
	if (state->parts > EXPORT_PARTS_MAX || state->part >= state->parts)
		json_errs_add(errs, &part, "is none of 1 to %d parts", EXPORT_PARTS_MAX);
	(void)json_get_str(at, "data", JSON_REQUIRED, &data, errs);
	if (base64_decode(&line->bytes, slice_of(data)) || line->bytes.len > EXPORT_DATA_MAX)
		json_errs_add(errs, &member, "is not base64, or longer than 1 MiB");
	state->content = buf_slice(&line->bytes);
}

static void read_gone(const struct json_at *at, struct export_line *line, struct json_errs *errs)
{
	(void)json_only(at, errs, "gone", NULL);
	get_name(at, "gone", &line->is.gone, errs);
}

static void read_error(const struct json_at *at, struct export_line *line, struct json_errs *errs)
{
	(void)json_only(at, errs, "error", NULL);
	get_text(at, "error", 1024, &line->is.error, errs);
}

static void read_end(const struct json_at *at, struct export_line *line, struct json_errs *errs)
{
	bool yes;

	(void)json_only(at, errs, "end", "rows", "cells", NULL);
	(void)json_get_bool(at, "end", JSON_REQUIRED, &yes, errs);
	get_number(at, "rows", 0, &line->is.end.rows, errs);
	get_number(at, "cells", 0, &line->is.end.cells, errs);
}

/* A line's kind is told by the member that only it has. */
static const struct {
	const char *member;
	void (*read)(const struct json_at *at, struct export_line *line, struct json_errs *errs);
} kinds[] = {
	[EXPORT_BEGIN] = { "export", read_begin }, [EXPORT_ROW] = { "row", read_row },
	[EXPORT_CELL] = { "cell", read_cell },     [EXPORT_GONE] = { "gone", read_gone },
	[EXPORT_ERROR] = { "error", read_error },  [EXPORT_END] = { "end", read_end },
	[EXPORT_STATE] = { "state", read_state },
};

static int read_document(struct export_line *line, struct err *err)
{
	struct json_at root = json_at_root(line->document);
	struct json_errs errs;
	json_int_t format;
	size_t i = 0;
	int rc;

	while (i < sizeof(kinds) / sizeof(kinds[0]) && !json_object_get(line->document, kinds[i].member))
		i++;
	if (i == sizeof(kinds) / sizeof(kinds[0]))
		return err_set(err, -EINVAL, "is no line of an export");
	line->kind = (enum export_kind)i;
	format = json_integer_value(json_object_get(line->document, "export"));
	if (line->kind == EXPORT_BEGIN && (format < 1 || format > EXPORT_FORMAT))
		return err_set(err, -EPROTONOSUPPORT, "has format %" JSON_INTEGER_FORMAT "; this program knows 1 to %d",
			       format, EXPORT_FORMAT);
	json_errs_init(&errs, MISTAKES_MAX);
	kinds[i].read(&root, line, &errs);
	rc = json_errs_result(&errs, err);
	json_errs_fini(&errs);
	return rc ? rc : line->bytes.error;
}

int export_read(struct mp_str line, struct export_line *ret, struct err *err)
{
	struct mp_str json;
	uint64_t sum;
	int rc;

	*ret = (struct export_line){ .document = NULL };
	if (!split(line, &sum, &json))
		return err_set(err, -EINVAL, "does not begin with a sum of 16 hex digits and a blank");
	rc = json_load_text(json, EXPORT_LINE_MAX, DEPTH_MAX, &ret->document, err);
	if (rc)
		return rc == -E2BIG ? -EINVAL : rc;
	buf_init(&ret->bytes, KEY_MAX * 3 + ORIGIN_MAX * 3 + EXPORT_DATA_MAX + 8);
	rc = read_document(ret, err);
	if (rc)
		export_line_fini(ret);
	return rc;
}

void export_line_fini(struct export_line *line)
{
	json_decref(line->document);
	buf_fini(&line->bytes);
	line->document = NULL;
}
