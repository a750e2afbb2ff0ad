/* SPDX-License-Identifier: Apache-2.0 */
/* See parcel.h. */
#include "aggregator/rows/parcel.h"

#include <errno.h>
#include <string.h>

#include "aggregator/rows/keys.h"
#include "lib/le.h"
#include "lib/slice.h"

#define SIZE_FIELD 4 /* bytes of the first number, which do not count */

/* ------------------------------------------------------------------------ puts */

int parcel_add(struct buf *out, const struct put *put, uint32_t left_ms)
{
	const struct mp_str *parts[] = { &put->row, &put->key, &put->origin, &put->content[0] };
	size_t size = PARCEL_PUT_HEAD;
	char head[PARCEL_PUT_HEAD] = { 0 };

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		size += parts[i]->len;
	if (size > UINT32_MAX || !buf_reserve(out, size))
		return out->error ? out->error : -E2BIG;
	le_put(head, size - SIZE_FIELD, 4);
	head[4] = (char)put->base.kind;
	head[5] = (char)put->key.len;
	le_put(head + 6, put->row.len, 2);
	le_put(head + 8, put->origin.len, 2);
	head[10] = put->has_if_match;
	le_put(head + 12, left_ms, 4);
	le_put(head + 16, put->base.incarnation, 8);
	le_put(head + 24, put->base.seq, 8);
	le_put(head + 32, put->if_match, 8);
	(void)buf_add(out, head, sizeof(head)); /* there is room */
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		(void)buf_add_slice(out, *parts[i]);
	return out->error;
}

/* The next bytes of *rest. */
static struct mp_str cut(struct mp_str *rest, size_t len)
{
	struct mp_str part = { rest->ptr, len };

	*rest = slice_skip(*rest, len);
	return part;
}

int parcel_next(struct mp_str *rest, struct put *ret, struct mp_str *ret_content, uint32_t *ret_left_ms)
{
	const char *head = rest->ptr;
	size_t size, name, key, origin;
	struct mp_str body;

	if (!rest->len)
		return 0;
	if (rest->len < PARCEL_PUT_HEAD)
		return -EINVAL;
	size = SIZE_FIELD + (size_t)le_get(head, 4);
	key = (uint8_t)head[5];
	name = (size_t)le_get(head + 6, 2);
	origin = (size_t)le_get(head + 8, 2);
	if (size > rest->len || size < PARCEL_PUT_HEAD + name + key + origin || key > CELL_KEY_MAX ||
	    name > ROW_NAME_MAX || origin > CELL_ORIGIN_MAX || (uint8_t)head[4] > BASE_SEEN || (uint8_t)head[10] > 1 ||
	    size - PARCEL_PUT_HEAD - name - key - origin > PARCEL_CONTENT_MAX)
		return -EINVAL;
	body = slice_skip(cut(rest, size), PARCEL_PUT_HEAD);
	*ret = (struct put){ .kind = PUT_CELLS, .row = cut(&body, name), .key = cut(&body, key),
			     .origin = cut(&body, origin), .n = 1, .cell_kind = CELL_DATA,
			     .base = { (enum base_kind)head[4], le_get(head + 16, 8), le_get(head + 24, 8) },
			     .has_if_match = head[10], .if_match = le_get(head + 32, 8) };
	*ret_content = body;
	*ret_left_ms = (uint32_t)le_get(head + 12, 4);
	return 1;
}

/* --------------------------------------------------------------------- answers */

int parcel_add_answer(struct buf *out, uint32_t which, const struct put_answer *answer, int code)
{
	char head[PARCEL_ANSWER_HEAD] = { 0 };
	struct mp_str why = slice_of(answer->why ? answer->why : "");

	if (why.len > PARCEL_WHY_MAX)
		why.len = PARCEL_WHY_MAX;
	if (!buf_reserve(out, sizeof(head) + why.len))
		return out->error;
	le_put(head, sizeof(head) - SIZE_FIELD + why.len, 4);
	le_put(head + 4, which, 4);
	le_put(head + 8, (size_t)code, 2);
	le_put(head + 16, answer->incarnation, 8);
	le_put(head + 24, answer->seq, 8);
	le_put(head + 32, answer->highest, 8);
	le_put(head + 40, answer->floor, 8);
	(void)buf_add(out, head, sizeof(head)); /* there is room */
	return buf_add_slice(out, why);
}

/* Codes that one member may tell another. */
static bool code_ok(unsigned code)
{
	static const unsigned codes[] = { PUT_REPEATED, PUT_COMMITTED, PUT_NOT_THERE, PUT_REFUSED, PUT_GONE,
					  PUT_PRECONDITION, PUT_TOO_LARGE, PUT_KEY_REUSED, PUT_TOO_MANY, PUT_UNAVAILABLE,
					  PUT_UNKNOWN, PUT_FULL, PUT_ELSEWHERE, PARCEL_DENIED };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i] == code)
			return true;
	return false;
}

int parcel_next_answer(struct mp_str *rest, struct parcel_answer *ret)
{
	const char *head = rest->ptr;
	struct put_answer *answer = &ret->answer;
	struct mp_str why;
	size_t size;

	if (rest->len < SIZE_FIELD)
		return 0;
	size = SIZE_FIELD + (size_t)le_get(head, 4);
	if (size < PARCEL_ANSWER_HEAD || size > PARCEL_ANSWER_HEAD + PARCEL_WHY_MAX)
		return -EINVAL;
	if (size > rest->len)
		return 0;
	if (!code_ok(le_get(head + 8, 2)))
		return -EINVAL;
	why = slice_skip(cut(rest, size), PARCEL_ANSWER_HEAD);
	memcpy(ret->why, why.ptr, why.len);
	ret->why[why.len] = '\0';
	ret->which = (uint32_t)le_get(head + 4, 4);
	ret->denied = le_get(head + 8, 2) == PARCEL_DENIED;
	*answer = (struct put_answer){ .code = ret->denied ? PUT_UNAVAILABLE : (enum put_code)le_get(head + 8, 2),
				       .incarnation = le_get(head + 16, 8), .seq = le_get(head + 24, 8),
				       .highest = le_get(head + 32, 8), .floor = le_get(head + 40, 8), .why = ret->why };
	return 1;
}
