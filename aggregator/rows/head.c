/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See head.h.  A text that head_write() has made is read by read_plain(), in a
 * row and without memory of its own, since each transaction has up to 60 of them; every
 * other text goes by lib/json.h, which takes all of JSON and names mistakes.
 */
#include "aggregator/rows/head.h"

#include <string.h>

#include "lib/hex.h"
#include "lib/json.h"
#include "lib/slice.h"

#define MISTAKES_MAX 8
#define DIGITS_MAX 19 /* of HEAD_NUMBER_MAX */
#define FULL_FORMAT 1 /* the format that leaves nothing out */
#define TEXT_OF(number) #number
#define DIGITS_OF(number) TEXT_OF(number)
#define BEGIN "{\"format\":" DIGITS_OF(HEAD_FORMAT) ",\"incarnation\":\""

static const char *const partitions[] = { [ROW_SAFE] = "safe", [ROW_LIVE] = "live", NULL };

/* The numbers of a head, as they are called in its text. */
static const struct number {
	const char *name;
	struct mp_str word; /* as it stands in a text, behind what is before it */
	size_t offset; /* of a uint64_t in struct head */
	int64_t min;
	uint64_t usual; /* not written when it is that */
} numbers[] = {
#define NUMBER(name, min, usual) { #name, MP_LIT_INIT(",\"" #name "\":"), offsetof(struct head, name), min, usual }
	NUMBER(last, 0, UINT64_MAX), /* always written */
	NUMBER(floor, 1, 1),
	NUMBER(keep_cells, 0, 0),
	NUMBER(keep_bytes, 0, 0),
	NUMBER(keep_ms, 0, 0),
	NUMBER(snapshot, 0, 0),
	NUMBER(rules, 1, 0), /* there with a check only, whatever the format */
#undef NUMBER
};

#define N_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))
#define LAST 0
#define RULES (N_NUMBERS - 1)

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

/* A text that grows; HEAD_SIZE_MAX has room for the longest head. */
struct pen {
	char text[HEAD_SIZE_MAX];
	size_t len;
};

static void pen_add(struct pen *pen, struct mp_str text)
{
	memcpy(pen->text + pen->len, text.ptr, text.len);
	pen->len += text.len;
}

static void pen_hex(struct pen *pen, const void *bytes, size_t size)
{
	hex_encode(pen->text + pen->len, bytes, size);
	pen->len += 2 * size;
}

static void pen_incarnation(struct pen *pen, uint64_t incarnation)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(incarnation >> (56 - 8 * i));
	pen_hex(pen, bytes, sizeof(bytes));
}

static void pen_number(struct pen *pen, uint64_t number)
{
	char digits[DIGITS_MAX + 1];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	pen_add(pen, slice_make(digits + at, sizeof(digits) - at));
}

int head_write(struct buf *out, const struct head *head)
{
	struct head copy = *head;
	struct pen pen = { .len = 0 };

	if (!consistent(head) || (head->check[0] && !check_name_ok(slice_of(head->check))) ||
	    (unsigned)head->partition > ROW_LIVE)
		return -EINVAL;
	pen_add(&pen, MP_LIT(BEGIN));
	pen_incarnation(&pen, head->incarnation);
	if (head->before) {
		pen_add(&pen, MP_LIT("\",\"before\":\""));
		pen_incarnation(&pen, head->before);
	}
	pen_add(&pen, MP_LIT("\",\"batch\":\""));
	pen_hex(&pen, head->batch.bytes, sizeof(head->batch.bytes));
	pen_add(&pen, MP_LIT("\""));
	if (head->deleted)
		pen_add(&pen, MP_LIT(",\"deleted\":true"));
	if (head->check[0]) {
		pen_add(&pen, MP_LIT(",\"check\":\""));
		pen_add(&pen, slice_of(head->check));
		pen_add(&pen, MP_LIT("\""));
	}
	if (head->partition == ROW_LIVE)
		pen_add(&pen, MP_LIT(",\"partition\":\"live\""));
	for (size_t i = 0; i < N_NUMBERS; i++) {
		uint64_t number = *number_of(&copy, i);

		if (number == numbers[i].usual)
			continue;
		pen_add(&pen, numbers[i].word);
		pen_number(&pen, number);
	}
	pen_add(&pen, MP_LIT("}"));
	return buf_add(out, pen.text, pen.len);
}

/* --------------------------------------------------------- reading what we wrote */

static bool take(struct mp_str *rest, struct mp_str word)
{
	bool is = slice_starts(*rest, word);

	if (is)
		*rest = slice_skip(*rest, word.len);
	return is;
}

static struct mp_str cut(struct mp_str *rest, size_t size)
{
	struct mp_str piece = { rest->ptr, size < rest->len ? size : rest->len };

	*rest = slice_skip(*rest, size);
	return piece;
}

/* A number as pen_number() writes it. */
static bool take_number(struct mp_str *rest, uint64_t *ret)
{
	uint64_t value = 0;
	size_t n = 0;

	while (n < rest->len && n < DIGITS_MAX && rest->ptr[n] >= '0' && rest->ptr[n] <= '9')
		value = value * 10 + (uint64_t)(rest->ptr[n++] - '0');
	if (!n || (rest->ptr[0] == '0' && n > 1))
		return false;
	*rest = slice_skip(*rest, n);
	*ret = value;
	return true;
}

static bool take_check(struct mp_str *rest, struct head *head)
{
	struct mp_str name;

	if (!take(rest, MP_LIT(",\"check\":\"")))
		return true;
	if (!slice_cut(*rest, '"', &name, rest) || !check_name_ok(name))
		return false;
	memcpy(head->check, name.ptr, name.len);
	return true;
}

/* False: it is none that head_write() has made, but it may be a head all the same. */
static bool read_plain(struct mp_str rest, struct head *ret)
{
	struct head head = { .partition = ROW_SAFE };

	if (!take(&rest, MP_LIT(BEGIN)) || !hex_number(cut(&rest, 16), 16, &head.incarnation))
		return false;
	if (take(&rest, MP_LIT("\",\"before\":\"")) && (!hex_number(cut(&rest, 16), 16, &head.before) || !head.before))
		return false;
	if (!take(&rest, MP_LIT("\",\"batch\":\"")) ||
	    !hex_decode(cut(&rest, 2 * sizeof(head.batch.bytes)), head.batch.bytes, sizeof(head.batch.bytes)) ||
	    !take(&rest, MP_LIT("\"")))
		return false;
	head.deleted = take(&rest, MP_LIT(",\"deleted\":true"));
	if (!take_check(&rest, &head))
		return false;
	if (take(&rest, MP_LIT(",\"partition\":\"live\"")))
		head.partition = ROW_LIVE;
	for (size_t i = 0; i < N_NUMBERS; i++) {
		uint64_t *number = number_of(&head, i);

		*number = numbers[i].usual;
		if (take(&rest, numbers[i].word) && (!take_number(&rest, number) || *number == numbers[i].usual))
			return false;
	}
	/* Without `last` it is UINT64_MAX still, and fits nothing. */
	if (!take(&rest, MP_LIT("}")) || rest.len || !consistent(&head))
		return false;
	*ret = head;
	return true;
}

/* ---------------------------------------------------------- reading what others wrote */

static void get_hex(const struct json_at *at, const char *key, bool required, uint8_t *ret, size_t size,
		    struct json_errs *errs)
{
	const char *text = NULL;
	struct json_at member = json_at_member(at, key);

	if (json_get_str(at, key, required, &text, errs) || !text)
		return;
	if (!hex_decode(slice_of(text), ret, size))
		json_errs_add(errs, &member, "wants %zu lower-case hex digits, not %s", 2 * size,
			      JSON_QUOTE(text));
}

static void get_check(const struct json_at *at, bool required, struct head *ret, struct json_errs *errs)
{
	const char *name = "";
	struct json_at member = json_at_member(at, "check");

	if (json_get_str(at, "check", required, &name, errs) || !name[0])
		return;
	if (!check_name_ok(slice_of(name)))
		json_errs_add(errs, &member, "is no name of a check: %s", JSON_QUOTE(name));
	else
		memcpy(ret->check, name, strlen(name) + 1); /* check_name_ok() has measured it */
}

static void get_numbers(const struct json_at *at, bool full, struct head *ret, struct json_errs *errs)
{
	for (size_t i = 0; i < N_NUMBERS; i++) {
		bool required = i == RULES ? ret->check[0] : full || i == LAST;
		int64_t value = i == LAST ? 0 : (int64_t)numbers[i].usual;

		json_get_int(at, numbers[i].name, required, numbers[i].min, HEAD_NUMBER_MAX, &value, errs);
		*number_of(ret, i) = (uint64_t)value;
	}
}

static void get_incarnation(const struct json_at *at, const char *key, bool required, uint64_t *ret,
			    struct json_errs *errs)
{
	uint8_t bytes[8] = { 0 };

	get_hex(at, key, required, bytes, sizeof(bytes), errs);
	for (size_t i = 0; i < sizeof(bytes); i++)
		*ret = *ret << 8 | bytes[i];
}

/* Everything but the format; in the full one all members have to be there. */
static void get_all(const struct json_at *at, int format, void *head, struct json_errs *errs)
{
	bool full = format == FULL_FORMAT;
	int partition = ROW_SAFE;
	struct head *ret = head;

	*ret = (struct head){ 0 };
	get_incarnation(at, "incarnation", JSON_REQUIRED, &ret->incarnation, errs);
	get_incarnation(at, "before", full, &ret->before, errs);
	get_hex(at, "batch", JSON_REQUIRED, ret->batch.bytes, sizeof(ret->batch.bytes), errs);
	json_get_bool(at, "deleted", full, &ret->deleted, errs);
	get_check(at, full, ret, errs);
	json_get_choice(at, "partition", full, partitions, &partition, errs);
	ret->partition = (enum row_partition)partition;
	get_numbers(at, full, ret, errs);
	if (!errs->count && !consistent(ret))
		json_errs_add(errs, at, "floor or snapshot do not fit the last seq, or rules not the check");
}

int head_read(struct mp_str text, struct head *ret, struct err *err)
{
	static const struct json_kind kind = { "a head", 1, HEAD_FORMAT, HEAD_SIZE_MAX, MISTAKES_MAX, get_all };

	return read_plain(text, ret) ? 0 : json_read_kind(text, &kind, ret, err);
}
