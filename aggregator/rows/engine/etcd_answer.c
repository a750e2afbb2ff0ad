/* SPDX-License-Identifier: Apache-2.0 */
/* See etcd_answer.h. */
#include "aggregator/rows/engine/etcd_answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/engine/etcd.pb-c.h"
#include "lib/arena.h"
#include "lib/hex.h"
#include "lib/slice.h"

#define PREFIX 5 /* of a message: whether it is compressed, and its length */
/*
 * Memory of a message while it is read: an event of a few bytes takes a hundred, and nobody
 * who means well sends millions of them in one.
 */
#define TREE_MAX ((size_t)128 << 20)

bool etcd_answer_fail(struct etcd_answer *a, const char *fmt, ...)
{
	va_list args;

	if (a->wrong[0])
		return false;
	va_start(args, fmt);
	(void)vsnprintf(a->wrong, sizeof(a->wrong), fmt, args);
	va_end(args);
	return false;
}

/* Printable, and as much as there is room for. */
static void set_text(char *to, size_t size, struct mp_str text)
{
	size_t len = text.len < size ? text.len : size - 1;

	for (size_t i = 0; i < len; i++)
		to[i] = text.ptr[i] >= ' ' && text.ptr[i] <= '~' ? text.ptr[i] : '?';
	to[len] = '\0';
}

/* ---------------------------------------------------------------------- items */

static bool fits(struct etcd_answer *a)
{
	a->large = etcd_answer_size(a) > a->max;
	return !a->large || etcd_answer_fail(a, "an answer of more than %zu bytes", a->max);
}

static bool make_room(struct etcd_answer *a)
{
	size_t room = a->room ? 2 * a->room : 16;
	struct etcd_item *items;

	if (a->n_items < a->room)
		return true;
	items = reallocarray(a->items, room, sizeof(*items));
	if (!items)
		return etcd_answer_fail(a, "out of memory");
	a->items = items;
	a->room = room;
	return true;
}

static bool add_item(struct etcd_answer *a, const Pb__KeyValue *kv, bool gone)
{
	struct etcd_item item = { .start = a->bytes.len, .key = a->bytes.len, .gone = gone };

	if (!kv || !kv->key.len)
		return etcd_answer_fail(a, "an item without a key");
	if (kv->mod_revision <= 0)
		return etcd_answer_fail(a, "an item without its revision");
	if (!make_room(a))
		return false;
	item.key_len = kv->key.len;
	item.value = item.key + item.key_len;
	item.value_len = kv->value.len;
	item.revision = (uint64_t)kv->mod_revision;
	(void)buf_add(&a->bytes, kv->key.data, kv->key.len); /* seen below */
	if (buf_add(&a->bytes, kv->value.data, kv->value.len)) {
		a->bytes.len = item.start;
		return etcd_answer_fail(a, "out of memory");
	}
	a->items[a->n_items++] = item;
	return fits(a);
}

static bool add_range(struct etcd_answer *a, const Pb__RangeResponse *range)
{
	a->more = range->more;
	for (size_t i = 0; i < range->n_kvs; i++)
		if (!add_item(a, range->kvs[i], false))
			return false;
	return true;
}

/* ------------------------------------------------------------ the kinds of messages */

static bool set_header(struct etcd_answer *a, const Pb__Header *header)
{
	if (!header)
		return true; /* the judge misses what is in it */
	if (header->revision < 0)
		return etcd_answer_fail(a, "a negative revision");
	a->cluster = header->cluster_id;
	a->revision = (uint64_t)header->revision;
	return true;
}

static bool read_txn(struct etcd_answer *a, const void *message)
{
	const Pb__TxnResponse *txn = message;

	a->succeeded = txn->succeeded;
	a->responses = txn->n_responses;
	for (size_t i = 0; i < txn->n_responses; i++) {
		const Pb__ResponseOp *op = txn->responses[i];

		if (op->response_case == PB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE && !add_range(a, op->response_range))
			return false;
	}
	return set_header(a, txn->header);
}

static bool read_range(struct etcd_answer *a, const void *message)
{
	const Pb__RangeResponse *range = message;

	return set_header(a, range->header) && add_range(a, range);
}

static bool read_watch(struct etcd_answer *a, const void *message)
{
	const Pb__WatchResponse *watch = message;

	a->created = watch->created;
	a->canceled = watch->canceled;
	a->fragment = watch->fragment;
	if (watch->compact_revision < 0)
		return etcd_answer_fail(a, "a negative revision");
	a->compact_revision = (uint64_t)watch->compact_revision;
	set_text(a->text, sizeof(a->text), slice_of(watch->cancel_reason));
	for (size_t i = 0; i < watch->n_events; i++) {
		const Pb__Event *event = watch->events[i];

		if (event->type != PB__EVENT__TYPE__PUT && event->type != PB__EVENT__TYPE__DELETE)
			return etcd_answer_fail(a, "an unknown kind of event");
		if (!add_item(a, event->kv, event->type == PB__EVENT__TYPE__DELETE))
			return false;
	}
	return set_header(a, watch->header);
}

static bool read_lease(struct etcd_answer *a, const void *message)
{
	const Pb__LeaseResponse *lease = message;

	a->id = (uint64_t)lease->id;
	a->ttl = lease->ttl > 0 ? (uint64_t)lease->ttl : 0;
	return set_header(a, lease->header);
}

/* A token goes into a header: it is kept only as it is, and fits. */
static bool read_login(struct etcd_answer *a, const void *message)
{
	const Pb__AuthenticateResponse *login = message;

	size_t len = strlen(login->token);

	if (len > ETCD_USER_TOKEN_MAX)
		return etcd_answer_fail(a, "a token of %zu bytes; %d are taken at most", len, ETCD_USER_TOKEN_MAX);
	for (size_t i = 0; i < len; i++)
		if (login->token[i] < ' ' || login->token[i] > '~')
			return etcd_answer_fail(a, "a strange token");
	a->token = len ? strdup(login->token) : NULL;
	if (len && !a->token)
		return etcd_answer_fail(a, "out of memory");
	return set_header(a, login->header);
}

static const struct kind {
	const ProtobufCMessageDescriptor *message;
	bool (*read)(struct etcd_answer *answer, const void *message);
} kinds[ETCD_METHODS] = {
	[ETCD_TXN] = { &pb__txn_response__descriptor, read_txn },
	[ETCD_RANGE] = { &pb__range_response__descriptor, read_range },
	[ETCD_WATCH] = { &pb__watch_response__descriptor, read_watch },
	[ETCD_GRANT] = { &pb__lease_response__descriptor, read_lease },
	[ETCD_KEEP_ALIVE] = { &pb__lease_response__descriptor, read_lease },
	[ETCD_REVOKE] = { &pb__lease_response__descriptor, read_lease },
	[ETCD_LOGIN] = { &pb__authenticate_response__descriptor, read_login },
};

/* ------------------------------------------------------------------ a message */

/* What a message has said so far is forgotten: another one begins. */
static void forget(struct etcd_answer *a)
{
	a->cluster = a->revision = a->id = a->ttl = a->compact_revision = 0;
	a->responses = 0;
	a->succeeded = a->more = a->created = a->canceled = a->fragment = false;
	free(a->token);
	a->token = NULL;
	if (!a->ended)
		a->text[0] = '\0';
}

static void *tree_alloc(void *arena, size_t size)
{
	return arena_get(arena, 1, size);
}

/* It is all freed at once. */
static void tree_free(void *arena, void *ptr)
{
	(void)arena;
	(void)ptr;
}

static bool read_message(struct etcd_answer *a, struct mp_str bytes)
{
	const struct kind *kind = &kinds[a->method];
	struct arena arena;
	ProtobufCAllocator allocator = { tree_alloc, tree_free, &arena };
	ProtobufCMessage *message;
	bool good;

	forget(a);
	if (a->objects++ && !a->object)
		return etcd_answer_fail(a, "more than one answer");
	arena_init(&arena, TREE_MAX);
	message = protobuf_c_message_unpack(kind->message, &allocator, bytes.len, (const uint8_t *)bytes.ptr);
	if (!message)
		good = etcd_answer_fail(a, arena.failed ? "out of memory, or too much of it" : "no answer of etcd's");
	else
		good = kind->read(a, message) && (!a->object || a->object(a));
	arena_fini(&arena);
	return good || etcd_answer_fail(a, "not wanted");
}

/* The length of the message that begins there. */
static size_t message_length(struct mp_str bytes)
{
	const unsigned char *b = (const unsigned char *)bytes.ptr;

	return (size_t)b[1] << 24 | (size_t)b[2] << 16 | (size_t)b[3] << 8 | b[4];
}

/* All messages of it that are whole; the rest comes back in *bytes. */
static bool read_whole(struct etcd_answer *a, struct mp_str *bytes)
{
	while (bytes->len >= PREFIX) {
		size_t length = message_length(*bytes);

		if (bytes->ptr[0])
			return etcd_answer_fail(a, "no gRPC, or a compressed message");
		a->large = length > a->max;
		if (a->large)
			return etcd_answer_fail(a, "an answer of more than %zu bytes", a->max);
		if (bytes->len - PREFIX < length)
			break;
		if (!read_message(a, slice_make(bytes->ptr + PREFIX, length)))
			return false;
		*bytes = slice_skip(*bytes, PREFIX + length);
	}
	return true;
}

/* Adds what is missing of the message in `part`, and reads it when it is whole. */
static bool read_part(struct etcd_answer *a, struct mp_str *bytes)
{
	size_t have = a->part.len, want = have < PREFIX ? PREFIX : PREFIX + message_length(buf_slice(&a->part));
	size_t more = want - have < bytes->len ? want - have : bytes->len;
	struct mp_str whole;

	if (buf_add(&a->part, bytes->ptr, more))
		return etcd_answer_fail(a, "out of memory");
	*bytes = slice_skip(*bytes, more);
	whole = buf_slice(&a->part);
	if (!read_whole(a, &whole))
		return false;
	if (!whole.len)
		buf_reset(&a->part);
	return true;
}

bool etcd_answer_feed(struct etcd_answer *a, struct mp_str bytes)
{
	while (!a->wrong[0] && a->part.len && bytes.len)
		if (!read_part(a, &bytes))
			return false;
	if (a->wrong[0] || !read_whole(a, &bytes))
		return false;
	return !bytes.len || !buf_add_slice(&a->part, bytes) || etcd_answer_fail(a, "out of memory");
}

/* ------------------------------------------------------------------- its status */

/* gRPC writes bytes that are not printable as %XX. */
static void set_reason(struct etcd_answer *a, struct mp_str text)
{
	char plain[sizeof(a->text)];
	size_t n = 0;

	for (size_t i = 0; i < text.len && n < sizeof(plain); i++) {
		bool escaped = text.ptr[i] == '%' && i + 2 < text.len;
		uint64_t byte;

		if (escaped && hex_number(slice_make(text.ptr + i + 1, 2), 2, &byte))
			i += 2;
		else
			byte = (unsigned char)text.ptr[i];
		plain[n++] = (char)byte;
	}
	set_text(a->text, sizeof(a->text), slice_make(plain, n));
}

void etcd_answer_field(struct etcd_answer *a, struct mp_str name, struct mp_str value)
{
	if (slice_eq(name, MP_LIT("grpc-status"))) {
		if (slice_to_u64(value, &a->code))
			(void)etcd_answer_fail(a, "a status that is no number");
		a->ended = true;
	} else if (slice_eq(name, MP_LIT("grpc-message")) && value.len) {
		set_reason(a, value);
	}
}

/* --------------------------------------------------------------------- public */

void etcd_answer_init(struct etcd_answer *a, size_t max)
{
	*a = (struct etcd_answer){ .max = max };
	buf_init(&a->part, SIZE_MAX);  /* see read_whole() */
	buf_init(&a->bytes, SIZE_MAX); /* see fits() */
}

void etcd_answer_fini(struct etcd_answer *a)
{
	buf_fini(&a->part);
	buf_fini(&a->bytes);
	free(a->items);
	free(a->token);
	a->items = NULL;
	a->token = NULL;
	a->n_items = a->room = 0;
}

void etcd_answer_again(struct etcd_answer *a, enum etcd_method method, size_t keep)
{
	if (keep < a->n_items) {
		a->bytes.len = a->items[keep].start;
		a->n_items = keep;
	}
	a->bytes.error = 0;
	a->method = method;
	a->large = a->ended = false;
	a->wrong[0] = '\0';
	a->code = 0;
	a->objects = 0;
	buf_reset(&a->part);
	forget(a);
}

bool etcd_answer_begun(const struct etcd_answer *a)
{
	return a->part.len > 0 || a->objects > 0;
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

void etcd_answer_take(struct etcd_answer *a, size_t n)
{
	size_t from = n < a->n_items ? a->items[n].start : a->bytes.len;

	a->n_items -= n;
	memmove(a->items, a->items + n, a->n_items * sizeof(*a->items));
	buf_consume(&a->bytes, from);
	for (size_t i = 0; i < a->n_items; i++) {
		a->items[i].start -= from;
		a->items[i].key -= from;
		a->items[i].value -= from;
	}
}
