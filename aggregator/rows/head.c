/* SPDX-License-Identifier: Apache-2.0 */
/* See head.h. */
#include "aggregator/rows/head.h"

#include <inttypes.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/json.h"

#define MISTAKES_MAX 8

static const char *const partitions[] = { [ROW_SAFE] = "safe", [ROW_LIVE] = "live", NULL };

/* The numbers of a head, as they are called in its text. */
static const struct {
	const char *name;
	size_t offset; /* of a uint64_t in struct head */
	int64_t min;
} numbers[] = {
	{ "last", offsetof(struct head, last), 0 },
	{ "floor", offsetof(struct head, floor), 1 },
	{ "keep_cells", offsetof(struct head, keep_cells), 0 },
	{ "keep_bytes", offsetof(struct head, keep_bytes), 0 },
	{ "keep_ms", offsetof(struct head, keep_ms), 0 },
	{ "snapshot", offsetof(struct head, snapshot), 0 },
	{ "rules", offsetof(struct head, rules), 1 },
};

#define N_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))
#define N_ALWAYS (N_NUMBERS - 1) /* rules are there with a check only */

static uint64_t *number_of(struct head *head, size_t i)
{
	return (uint64_t *)(void *)((char *)head + numbers[i].offset);
}

bool check_name_ok(struct mp_str name)
{
	if (!name.len || name.len > CHECK_NAME_MAX || name.ptr[0] < 'a' || name.ptr[0] > 'z')
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
			return false;
	}
	return true;
}

/* What the numbers have to do with one another. */
static bool consistent(const struct head *head)
{
	return head->floor >= 1 && head->floor <= HEAD_NUMBER_MAX && head->last <= HEAD_NUMBER_MAX &&
	       head->floor <= head->last + 1 && head->snapshot <= head->last &&
	       head->keep_cells <= HEAD_NUMBER_MAX && head->keep_bytes <= HEAD_NUMBER_MAX &&
	       head->keep_ms <= HEAD_NUMBER_MAX && head->rules <= UINT32_MAX &&
	       !head->rules == !head->check[0];
}

/* -------------------------------------------------------------------- writing */

int head_write(struct buf *out, const struct head *head)
{
	struct head copy = *head;
	char batch[2 * BATCH_ID_SIZE];

	if (!consistent(head) || (head->check[0] && !check_name_ok(slice_of(head->check))) ||
	    (unsigned)head->partition > ROW_LIVE)
		return -EINVAL;
	hex_encode(batch, head->batch.bytes, sizeof(head->batch.bytes));
	buf_printf(out, "{\"format\":%d,\"incarnation\":\"%016" PRIx64 "\",\"before\":\"%016" PRIx64 "\"", HEAD_FORMAT,
		   head->incarnation, head->before);
	buf_printf(out, ",\"batch\":\"%.*s\",\"deleted\":%s,\"check\":\"%s\",\"partition\":\"%s\"",
		   (int)sizeof(batch), batch, head->deleted ? "true" : "false", head->check, partitions[head->partition]);
	for (size_t i = 0; i < (head->check[0] ? N_NUMBERS : N_ALWAYS); i++)
		buf_printf(out, ",\"%s\":%" PRIu64, numbers[i].name, *number_of(&copy, i));
	return buf_add_str(out, "}");
}

/* -------------------------------------------------------------------- reading */

static void get_hex(const struct json_at *at, const char *key, uint8_t *ret, size_t size,
		    struct json_errs *errs)
{
	const char *text = NULL;
	struct json_at member = json_at_member(at, key);

	if (!json_get_str(at, key, JSON_REQUIRED, &text, errs) && !hex_decode(slice_of(text), ret, size))
		json_errs_add(errs, &member, "wants %zu lower-case hex digits, not %s", 2 * size,
			      JSON_QUOTE(text));
}

static void get_check(const struct json_at *at, struct head *ret, struct json_errs *errs)
{
	const char *name = "";
	struct json_at member = json_at_member(at, "check");

	if (json_get_str(at, "check", JSON_REQUIRED, &name, errs) || !name[0])
		return;
	if (!check_name_ok(slice_of(name)))
		json_errs_add(errs, &member, "is no name of a check: %s", JSON_QUOTE(name));
	else
		memcpy(ret->check, name, strlen(name) + 1); /* check_name_ok() has measured it */
}

static void get_numbers(const struct json_at *at, struct head *ret, struct json_errs *errs)
{
	for (size_t i = 0; i < N_NUMBERS; i++) {
		bool required = i < N_ALWAYS || ret->check[0];
		int64_t value = 0;

		json_get_int(at, numbers[i].name, required, numbers[i].min, HEAD_NUMBER_MAX, &value, errs);
		*number_of(ret, i) = (uint64_t)value;
	}
}

static void get_incarnation(const struct json_at *at, const char *key, uint64_t *ret,
			    struct json_errs *errs)
{
	uint8_t bytes[8] = { 0 };

	get_hex(at, key, bytes, sizeof(bytes), errs);
	for (size_t i = 0; i < sizeof(bytes); i++)
		*ret = *ret << 8 | bytes[i];
}

/* Everything but the format. */
static void get_all(const struct json_at *at, struct head *ret, struct json_errs *errs)
{
	int partition = ROW_SAFE;

	get_incarnation(at, "incarnation", &ret->incarnation, errs);
	get_incarnation(at, "before", &ret->before, errs);
	get_hex(at, "batch", ret->batch.bytes, sizeof(ret->batch.bytes), errs);
	json_get_bool(at, "deleted", JSON_REQUIRED, &ret->deleted, errs);
	get_check(at, ret, errs);
	json_get_choice(at, "partition", JSON_REQUIRED, partitions, &partition, errs);
	ret->partition = (enum row_partition)partition;
	get_numbers(at, ret, errs);
	if (!errs->count && !consistent(ret))
		json_errs_add(errs, at, "floor or snapshot do not fit the last seq, or rules not the check");
}

int head_read(struct mp_str text, struct head *ret, struct err *err)
{
	CLEANUP_JSON json_t *value = NULL;
	struct json_errs errs;
	struct json_at root;
	int64_t format = 0;
	int rc = json_load_text(text, HEAD_SIZE_MAX, 2, &value, err);

	if (rc)
		return rc == -ENOMEM ? rc : -EINVAL;
	root = json_at_root(value);
	*ret = (struct head){ 0 };
	json_errs_init(&errs, MISTAKES_MAX);
	json_get_int(&root, "format", JSON_REQUIRED, 1, INT32_MAX, &format, &errs);
	if (!errs.count && format != HEAD_FORMAT)
		rc = err_set(err, -EPROTONOSUPPORT, "a head of format %d, and this program knows %d",
			     (int)format, HEAD_FORMAT);
	else
		get_all(&root, ret, &errs);
	if (!rc)
		rc = json_errs_result(&errs, err);
	json_errs_fini(&errs);
	return rc;
}
