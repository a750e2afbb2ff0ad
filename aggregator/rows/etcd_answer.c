/* SPDX-License-Identifier: Apache-2.0 */
/* See etcd_answer.h. */
#include "aggregator/rows/etcd_answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base64.h"
#include "lib/slice.h"

#define STRING_MAX (ENGINE_VALUE_MAX / 3 * 4 + 1024) /* a value in base64 */

/* etcd's objects and arrays. */
enum place {
	ELSEWHERE, /* passed over with all that is in it */
	TOP,       /* an answer, or `result` of a stream */
	HEADER,
	RESPONSES, /* an array of RESPONSE */
	RESPONSE,
	RANGE,
	KVS,       /* an array of KV */
	KV,
	EVENTS,    /* an array of EVENT */
	EVENT,
	EVENT_KV,
	FAILURE,   /* `error` of a stream */
};

enum type {
	U64,   /* a string of digits, or a number */
	BOOL,
	TEXT,  /* for people */
	TOKEN,
	KEY,   /* base64 */
	VALUE, /* base64 */
	KIND,  /* PUT or DELETE */
	INTO,  /* an object or array: `to` is the place */
};

struct field {
	const char *name;
	size_t to;       /* where it is kept, or the place */
	unsigned char in; /* enum place */
	unsigned char type;
};

#define AT(member) offsetof(struct etcd_answer, member)

/* At most 64: each has a bit. */
static const struct field fields[] = {
	{ "header", HEADER, TOP, INTO },
	{ "result", TOP, TOP, INTO },
	{ "responses", RESPONSES, TOP, INTO },
	{ "kvs", KVS, TOP, INTO },
	{ "events", EVENTS, TOP, INTO },
	{ "error", FAILURE, TOP, INTO }, /* a text in unary answers, see string() */
	{ "succeeded", AT(succeeded), TOP, BOOL },
	{ "more", AT(more), TOP, BOOL },
	{ "created", AT(created), TOP, BOOL },
	{ "canceled", AT(canceled), TOP, BOOL },
	{ "fragment", AT(fragment), TOP, BOOL },
	{ "compact_revision", AT(compact_revision), TOP, U64 },
	{ "cancel_reason", AT(text), TOP, TEXT },
	{ "message", AT(text), TOP, TEXT },
	{ "code", AT(code), TOP, U64 },
	{ "ID", AT(id), TOP, U64 },
	{ "TTL", AT(ttl), TOP, U64 },
	{ "token", AT(token), TOP, TOKEN },
	{ "cluster_id", AT(cluster), HEADER, U64 },
	{ "revision", AT(revision), HEADER, U64 },
	{ "response_range", RANGE, RESPONSE, INTO },
	{ "kvs", KVS, RANGE, INTO },
	{ "key", 0, KV, KEY },
	{ "value", 0, KV, VALUE },
	{ "mod_revision", AT(item.revision), KV, U64 },
	{ "type", 0, EVENT, KIND },
	{ "kv", EVENT_KV, EVENT, INTO },
	{ "key", 0, EVENT_KV, KEY },
	{ "value", 0, EVENT_KV, VALUE },
	{ "mod_revision", AT(item.revision), EVENT_KV, U64 },
	{ "message", AT(text), FAILURE, TEXT },
	{ "grpc_code", AT(code), FAILURE, U64 },
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))
_Static_assert(N_FIELDS <= 64, "a bit for each");

/* What the elements of an array are. */
static const unsigned char element[] = { [RESPONSES] = RESPONSE, [KVS] = KV, [EVENTS] = EVENT };

/* ------------------------------------------------------------------- scalars */

/* Returns how much that is. */
static size_t set_text(char *to, size_t size, struct mp_str text)
{
	size_t len = text.len < size ? text.len : size - 1;

	for (size_t i = 0; i < len; i++)
		to[i] = text.ptr[i] >= ' ' && text.ptr[i] <= '~' ? text.ptr[i] : '?';
	to[len] = '\0';
	return len;
}

/* Signed 64 bits hold them all but ids, which are unsigned. */
static bool set_number(struct etcd_answer *a, const struct field *field, struct mp_str text)
{
	uint64_t value;

	if (slice_to_u64(text, &value))
		return etcd_json_fail(&a->json, "%s is not a number", field->name);
	memcpy((char *)a + field->to, &value, sizeof(value));
	return true;
}

static bool fits(struct etcd_answer *a)
{
	a->large = etcd_answer_size(a) > a->max;
	return !a->large || etcd_json_fail(&a->json, "an answer of more than %zu bytes", a->max);
}

/* Bytes behind all others; where they went comes back in *ret_at and *ret_len. */
static bool set_bytes(struct etcd_answer *a, const struct field *field, struct mp_str text, size_t *ret_at,
		      size_t *ret_len)
{
	int rc;

	*ret_at = a->bytes.len;
	rc = base64_decode(&a->bytes, text);
	if (rc == -EINVAL)
		return etcd_json_fail(&a->json, "%s is not base64", field->name);
	if (rc)
		return etcd_json_fail(&a->json, "too large, or out of memory");
	*ret_len = a->bytes.len - *ret_at;
	return fits(a);
}

static bool set_kind(struct etcd_answer *a, struct mp_str text)
{
	a->item.gone = slice_eq(text, MP_LIT("DELETE"));
	return a->item.gone || slice_eq(text, MP_LIT("PUT")) || etcd_json_fail(&a->json, "an unknown kind of event");
}

/* A token goes into a header: it is kept only as it is. */
static bool set_token(struct etcd_answer *a, struct mp_str text)
{
	(void)set_text(a->token, sizeof(a->token), text);
	return slice_eq(text, slice_of(a->token)) || etcd_json_fail(&a->json, "a strange token");
}

static bool string(struct etcd_answer *a, const struct field *field, struct mp_str text)
{
	switch ((enum type)field->type) {
	case U64:
		return set_number(a, field, text);
	case TEXT:
		(void)set_text(a->text, sizeof(a->text), text);
		return true;
	case TOKEN:
		return set_token(a, text);
	case KEY:
		return set_bytes(a, field, text, &a->item.key, &a->item.key_len);
	case VALUE:
		return set_bytes(a, field, text, &a->item.value, &a->item.value_len);
	case KIND:
		return set_kind(a, text);
	case INTO:
		if (field->to != FAILURE)
			break;
		(void)set_text(a->text, sizeof(a->text), text);
		return true;
	default:
		break;
	}
	return etcd_json_fail(&a->json, "%s is a text", field->name);
}

static bool boolean(struct etcd_answer *a, const struct field *field, bool value)
{
	if (field->type != BOOL)
		return etcd_json_fail(&a->json, "%s is true or false", field->name);
	memcpy((char *)a + field->to, &value, sizeof(value));
	return true;
}

/* ------------------------------------------------------------------- nesting */

/* What an object has said of itself so far is forgotten: another one begins. */
static void forget(struct etcd_answer *a)
{
	a->cluster = a->revision = a->id = a->ttl = a->compact_revision = a->code = 0;
	a->responses = 0;
	a->succeeded = a->more = a->created = a->canceled = a->fragment = a->failed = false;
	a->text[0] = a->token[0] = '\0';
}

/* An object or array begins: its place, or false. */
static bool enter(struct etcd_answer *a, unsigned place, bool array)
{
	bool is_array = place == RESPONSES || place == KVS || place == EVENTS;

	if (place != ELSEWHERE && is_array != array)
		return etcd_json_fail(&a->json, "an %s where there is none", array ? "array" : "object");
	if (place == KV || place == EVENT) {
		size_t at = a->bytes.len;

		a->item = (struct etcd_item){ .start = at, .key = at, .value = at };
		a->reading = true;
	}
	if (place == RESPONSE)
		a->responses++;
	a->failed |= place == FAILURE;
	a->place[a->json.depth + 1] = (unsigned char)place;
	a->have[a->json.depth + 1] = 0;
	return true;
}

static bool item_end(struct etcd_answer *a)
{
	a->reading = false;
	if (a->n_items == a->room) {
		size_t room = a->room ? 2 * a->room : 16;
		struct etcd_item *items = reallocarray(a->items, room, sizeof(*items));

		if (!items)
			return etcd_json_fail(&a->json, "out of memory");
		a->items = items;
		a->room = room;
	}
	if (!a->item.key_len)
		return etcd_json_fail(&a->json, "an item without a key");
	if (!a->item.revision)
		return etcd_json_fail(&a->json, "an item without its revision");
	a->items[a->n_items++] = a->item;
	return fits(a);
}

static bool leave(struct etcd_answer *a)
{
	unsigned place = a->place[a->json.depth + 1];

	if (place == KV || place == EVENT)
		return item_end(a);
	if (a->json.depth)
		return true;
	a->objects++;
	if (a->object)
		return a->object(a);
	return a->objects == 1 || etcd_json_fail(&a->json, "more than one answer");
}

/* The field that has the name where the reader stands; NULL: none of ours. */
static const struct field *find(const struct etcd_answer *a, unsigned in)
{
	for (size_t i = 0; i < N_FIELDS; i++)
		if (fields[i].in == in && !strcmp(fields[i].name, a->json.name))
			return &fields[i];
	return NULL;
}

/* A field must not be there twice: which one would hold? */
static bool note(struct etcd_answer *a, const struct field *field)
{
	uint64_t bit = UINT64_C(1) << (field - fields), *have = &a->have[a->json.depth];

	if (*have & bit)
		return etcd_json_fail(&a->json, "%s is there twice", field->name);
	*have |= bit;
	return true;
}

static bool in_array(struct etcd_answer *a, unsigned in, enum etcd_token token)
{
	if (token != ETCD_OBJECT)
		return etcd_json_fail(&a->json, "an element that is no object");
	return enter(a, element[in], false);
}

static bool nested(struct etcd_answer *a, const struct field *field, bool array)
{
	if (!field)
		return enter(a, ELSEWHERE, array);
	if (field->type != INTO)
		return etcd_json_fail(&a->json, "%s is an %s", field->name, array ? "array" : "object");
	return enter(a, (unsigned)field->to, array);
}

static bool member(struct etcd_answer *a, unsigned in, enum etcd_token token, struct mp_str text)
{
	const struct field *field = find(a, in);

	if (field && token != ETCD_NULL && !note(a, field))
		return false;
	switch (token) {
	case ETCD_OBJECT:
	case ETCD_ARRAY:
		return nested(a, field, token == ETCD_ARRAY);
	case ETCD_STRING:
		return !field || string(a, field, text);
	case ETCD_NUMBER:
		if (field && field->type != U64)
			return etcd_json_fail(&a->json, "%s is a number", field->name);
		return !field || set_number(a, field, text);
	case ETCD_TRUE:
	case ETCD_FALSE:
		return !field || boolean(a, field, token == ETCD_TRUE);
	default:
		return true; /* null: as if it were not there */
	}
}

static bool on_token(struct etcd_json *json, enum etcd_token token, struct mp_str text)
{
	struct etcd_answer *a = (struct etcd_answer *)(void *)json;
	unsigned in = a->place[json->depth];

	if (token == ETCD_OBJECT_END || token == ETCD_ARRAY_END)
		return leave(a);
	if (!json->depth) {
		forget(a);
		return enter(a, TOP, false);
	}
	if (in == ELSEWHERE)
		return token > ETCD_ARRAY || enter(a, ELSEWHERE, token == ETCD_ARRAY);
	if (json->in_array[json->depth])
		return in_array(a, in, token);
	return member(a, in, token, text);
}

/* --------------------------------------------------------------------- public */

void etcd_answer_init(struct etcd_answer *a, size_t max)
{
	*a = (struct etcd_answer){ .max = max };
	etcd_json_init(&a->json, STRING_MAX, on_token);
	buf_init(&a->bytes, SIZE_MAX); /* see fits() */
}

void etcd_answer_fini(struct etcd_answer *a)
{
	etcd_json_fini(&a->json);
	buf_fini(&a->bytes);
	free(a->items);
	a->items = NULL;
	a->n_items = a->room = 0;
}

void etcd_answer_again(struct etcd_answer *a, size_t keep)
{
	if (keep < a->n_items) {
		a->bytes.len = a->items[keep].start;
		a->n_items = keep;
	} else if (a->reading) {
		a->bytes.len = a->item.start;
	}
	a->bytes.error = 0;
	a->reading = a->large = false;
	buf_reset(&a->json.text);
	a->json = (struct etcd_json){ .token = on_token, .text = a->json.text };
	a->objects = a->start_len = 0;
	forget(a);
}

bool etcd_answer_feed(struct etcd_answer *a, struct mp_str bytes)
{
	if (a->start_len + 1 < sizeof(a->start))
		a->start_len += set_text(a->start + a->start_len, sizeof(a->start) - a->start_len, bytes);
	return etcd_json_feed(&a->json, bytes);
}

size_t etcd_answer_size(const struct etcd_answer *a)
{
	return a->bytes.len + a->n_items * sizeof(*a->items);
}

struct mp_str etcd_item_key(const struct etcd_answer *a, size_t i)
{
	return slice_make(a->bytes.ptr + a->items[i].key, a->items[i].key_len);
}

struct mp_str etcd_item_value(const struct etcd_answer *a, size_t i)
{
	return slice_make(a->bytes.ptr + a->items[i].value, a->items[i].value_len);
}

static void move(struct etcd_item *item, size_t by)
{
	item->start -= by;
	item->key -= by;
	item->value -= by;
}

void etcd_answer_take(struct etcd_answer *a, size_t n)
{
	size_t from = a->reading ? a->item.start : a->bytes.len;

	if (n < a->n_items)
		from = a->items[n].start;
	a->n_items -= n;
	memmove(a->items, a->items + n, a->n_items * sizeof(*a->items));
	buf_consume(&a->bytes, from);
	for (size_t i = 0; i < a->n_items; i++)
		move(&a->items[i], from);
	if (a->reading)
		move(&a->item, from);
}
