/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds verdicts: see verdict.h.  All that a verdict points to is one block of
 * malloc(), laid out as
 *
 *   fields or edits | head (the strings point into it) | body | rendered text
 */
#include "buildpack-hooks/client/verdict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <middlepipe/markers.h>

#include "lib/slice.h"
#include "lib/wire.h"

#define OWN_FIELDS 2u /* Retry-After and the marker */
#define RETRY_MAX_S UINT64_C(999999999999999) /* the largest Integer of a marker */
#define RETRY_SIZE 24u /* digits of a Retry-After and a NUL */
#define TEXT_SIZE (RETRY_SIZE + MP_MARKER_MAX + 1)

/* A verdict being built. */
struct build {
	struct mp_verdict *verdict;
	struct mp_field *fields; /* of a reply, or NULL */
	struct mp_edit *edits;   /* of a pass, or NULL */
	size_t n;                /* of these */
	size_t room;             /* how many may be taken from the wire */
	struct mp_marker marker;
	char *text;              /* TEXT_SIZE bytes */
};

struct mp_verdict *client_verdict_ready(struct mp_verdict *verdict)
{
	struct mp_verdict empty = { .retry_after = -1 };

	if (!verdict || verdict->size < MP_VERDICT_1_0)
		return NULL;
	empty.size = verdict->size;
	if (empty.size >= sizeof(empty))
		*verdict = empty;
	else
		memcpy(verdict, &empty, empty.size); /* the caller's is an older, shorter one */
	return verdict;
}

/* ------------------------------------------------------------------- items */

static int take_field(struct build *b, const struct wire_item *item)
{
	if (!b->fields)
		return 0;
	if (!wire_field_ok(item->name, item->value) || b->n == b->room)
		return -EPROTO;
	if (slice_eq_nocase(item->name, MP_LIT(MP_MARKER_FIELD)))
		return 0; /* ours to write */
	b->fields[b->n++] = (struct mp_field){ item->name, item->value };
	return 0;
}

static int take_edit(struct build *b, const struct wire_item *item)
{
	if (!b->edits)
		return 0;
	if (!wire_field_ok(item->name, item->value) || b->n == b->room)
		return -EPROTO;
	b->edits[b->n++] = (struct mp_edit){
		.op = (int32_t)(item->tag - WIRE_EDIT_SET), .field = { item->name, item->value },
	};
	return 0;
}

_Static_assert(WIRE_EDIT_ADD - WIRE_EDIT_SET == MP_EDIT_ADD &&
		       WIRE_EDIT_REMOVE - WIRE_EDIT_SET == MP_EDIT_REMOVE,
	       "edits have the same order on the wire");

/* A request line or Host field that can be sent: no blank, no control byte. */
static bool is_target(struct mp_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
			return false;
	return s.len > 0;
}

static int take_authority(struct build *b, const struct wire_item *item)
{
	b->verdict->authority = item->value;
	return is_target(item->value) ? 0 : -EPROTO;
}

static int take_path(struct build *b, const struct wire_item *item)
{
	b->verdict->path = item->value;
	return is_target(item->value) ? 0 : -EPROTO;
}

static int take_marker(struct build *b, const struct wire_item *item)
{
	struct mp_str *const parts[] = { &b->marker.type, &b->marker.state, &b->marker.pipe,
					 &b->marker.callback };

	*parts[item->tag - WIRE_MARKER_TYPE] = item->value;
	return 0;
}

static int take_retry(struct build *b, const struct wire_item *item)
{
	uint64_t seconds;

	if (slice_to_u64(item->value, &seconds) < 0 || seconds > RETRY_MAX_S)
		return -EPROTO;
	b->marker.retry_after = (int64_t)seconds;
	return 0;
}

/* What to do with each tag; others are skipped. */
static int (*const takers[])(struct build *b, const struct wire_item *item) = {
	[WIRE_AUTHORITY] = take_authority,
	[WIRE_PATH] = take_path,
	[WIRE_RESPONSE_FIELD] = take_field,
	[WIRE_EDIT_SET] = take_edit,
	[WIRE_EDIT_ADD] = take_edit,
	[WIRE_EDIT_REMOVE] = take_edit,
	[WIRE_MARKER_TYPE] = take_marker,
	[WIRE_MARKER_STATE] = take_marker,
	[WIRE_MARKER_PIPE] = take_marker,
	[WIRE_MARKER_CALLBACK] = take_marker,
	[WIRE_MARKER_RETRY] = take_retry,
};

static int items_take(struct build *b, struct mp_str head)
{
	struct wire_item item;
	int r;

	while ((r = wire_next(&head, &item)) > 0) {
		if (item.tag >= sizeof(takers) / sizeof(takers[0]) || !takers[item.tag])
			continue;
		r = takers[item.tag](b, &item);
		if (r < 0)
			return r;
	}
	return r < 0 ? -EPROTO : 0;
}

/* ------------------------------------------------------------------- blocks */

/* The most items that a head of that size can hold and we accept. */
static size_t items_max(size_t head_size)
{
	size_t n = head_size / 8;

	return n < LANE_FIELDS_MAX ? n : LANE_FIELDS_MAX;
}

/* Copies the raw bytes into a block; *ret_head is the head in there. */
static char *block_make(struct build *b, const struct raw_verdict *raw, size_t each,
			struct mp_str *ret_head)
{
	size_t list = (b->room + OWN_FIELDS) * each;
	char *block = malloc(list + raw->head_size + raw->body_size + TEXT_SIZE);
	char *head, *body;

	if (!block)
		return NULL;
	head = block + list;
	body = head + raw->head_size;
	if (raw->head_size)
		memcpy(head, raw->head, raw->head_size);
	if (raw->body_size)
		memcpy(body, raw->body, raw->body_size);
	if (raw->has_body)
		b->verdict->body = (struct mp_str){ body, raw->body_size };
	b->text = body + raw->body_size;
	*ret_head = (struct mp_str){ head, raw->head_size };
	return block;
}

/* Drops what is half built. */
static int build_fail(struct build *b, char *block, int r)
{
	free(block);
	(void)client_verdict_ready(b->verdict); /* it was ready before */
	return r;
}

static void fields_drop(struct build *b, struct mp_str name)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		if (!slice_eq_nocase(b->fields[i].name, name))
			b->fields[n++] = b->fields[i];
	b->n = n;
}

static void field_add(struct build *b, const char *name, const char *value)
{
	b->fields[b->n++] = (struct mp_field){ slice_of(name), slice_of(value) };
}

/* Adds the fields that are ours, and what the marker says to the verdict. */
static void own_fields(struct build *b)
{
	struct mp_verdict *v = b->verdict;
	char *marker = b->text + RETRY_SIZE;

	v->retry_after = b->marker.retry_after;
	v->type = b->marker.type;
	v->pipe = b->marker.pipe;
	v->state = b->marker.state;
	v->raise = slice_eq(b->marker.callback, MP_LIT("raise"));
	if (v->retry_after >= 0) {
		fields_drop(b, MP_LIT("Retry-After")); /* a filter's own does not age */
		(void)snprintf(b->text, RETRY_SIZE, "%lld", (long long)v->retry_after); /* fits */
		field_add(b, "Retry-After", b->text);
	}
	/* A marker that cannot be written as a field still reaches the hook. */
	if (v->type.len && mp_marker_format(&b->marker, marker, MP_MARKER_MAX + 1) > 0)
		field_add(b, MP_MARKER_FIELD, marker);
	v->fields = b->fields;
	v->n_fields = b->n;
}

/* Whole seconds until then, at least 1: nobody shall come back too early. */
static int64_t seconds_until(uint64_t at_ns, uint64_t now)
{
	uint64_t left = at_ns > now ? at_ns - now : 0;

	return left <= NS_PER_S ? 1 : (int64_t)((left - 1) / NS_PER_S + 1);
}

int client_verdict_reply(struct mp_verdict *verdict, const struct raw_verdict *raw, uint64_t now)
{
	struct build b = { .verdict = verdict, .room = items_max(raw->head_size),
			   .marker = { .retry_after = -1 } };
	struct mp_str head;
	char *block;
	int r;

	if (raw->status < 100 || raw->status > 599)
		return -EPROTO;
	block = block_make(&b, raw, sizeof(struct mp_field), &head);
	if (!block)
		return -ENOMEM;
	b.fields = (struct mp_field *)(void *)block;
	r = items_take(&b, head);
	if (r < 0)
		return build_fail(&b, block, r);
	if (raw->retry_at_ns)
		b.marker.retry_after = seconds_until(raw->retry_at_ns, now);
	own_fields(&b);
	if (!verdict->body.ptr)
		verdict->body.ptr = b.text;
	verdict->authority = verdict->path = (struct mp_str){ 0 };
	verdict->status = raw->status;
	verdict->verdict = MP_VERDICT_REPLY;
	verdict->memory = block;
	return 0;
}

int client_verdict_edits(struct mp_verdict *verdict, const struct raw_verdict *raw)
{
	struct build b = { .verdict = verdict, .room = items_max(raw->head_size) };
	struct mp_str head;
	char *block;
	int r;

	verdict->status = raw->status;
	if (!raw->head_size && !raw->has_body)
		return 0;
	block = block_make(&b, raw, sizeof(struct mp_edit), &head);
	if (!block)
		return build_fail(&b, NULL, -ENOMEM);
	b.edits = (struct mp_edit *)(void *)block;
	r = items_take(&b, head);
	if (r < 0)
		return build_fail(&b, block, r);
	verdict->edits = b.edits;
	verdict->n_edits = b.n;
	verdict->memory = block;
	return 0;
}

int client_verdict_standing(struct mp_verdict *verdict, const struct conn *conn,
			    const struct call_state *state, const struct standing *standing,
			    uint64_t now)
{
	uint64_t offset = standing->blob >> 32, size = standing->blob & UINT32_MAX;
	const char *at = (const char *)conn->board + conn->layout.blobs_offset + offset;
	struct board_blob blob;
	struct raw_verdict raw;
	int r;

	if (offset > conn->layout.blobs_size || size > conn->layout.blobs_size - offset ||
	    size < sizeof(blob))
		return -EAGAIN;
	memcpy(&blob, at, sizeof(blob));
	size -= sizeof(blob);
	if (blob.head_size > LANE_HEAD_MAX || blob.head_size > size ||
	    blob.body_size > size - blob.head_size)
		return -EAGAIN;
	raw = (struct raw_verdict){
		.status = (int32_t)blob.status, .retry_at_ns = blob.retry_at_ns,
		.head = at + sizeof(blob), .head_size = blob.head_size,
		.body = at + sizeof(blob) + blob.head_size, .body_size = blob.body_size,
		.has_body = true,
	};
	r = client_verdict_reply(verdict, &raw, now);
	if (client_board_unchanged(conn, state, standing))
		return r;
	if (!r)
		mp_verdict_free(verdict);
	return -EAGAIN;
}

/* ---------------------------------------------------------------- refusals */

/* What is said when there is no memory to name the pipe. */
#define REFUSAL "middlepipe;state=unavailable;retry-after=1;callback=raise"
static const struct mp_field refusal_fields[] = {
	{ { "Retry-After", 11 }, { "1", 1 } },
	{ { MP_MARKER_FIELD, sizeof(MP_MARKER_FIELD) - 1 },
	  { REFUSAL, sizeof(REFUSAL) - 1 } },
};

void client_verdict_refuse(struct mp_verdict *verdict, struct mp_str pipe, const char *state)
{
	struct raw_verdict raw = { .status = 503, .retry_at_ns = 1 };
	struct wire_writer writer;
	char head[256];

	wire_start(&writer, head, sizeof(head));
	wire_put_value(&writer, WIRE_MARKER_TYPE, MP_LIT("middlepipe"));
	wire_put_value(&writer, WIRE_MARKER_STATE, slice_of(state));
	wire_put_value(&writer, WIRE_MARKER_CALLBACK, MP_LIT("raise"));
	if (pipe.len)
		wire_put_value(&writer, WIRE_MARKER_PIPE, pipe);
	raw.head = head;
	raw.head_size = writer.size;
	if (!client_verdict_reply(verdict, &raw, 1))
		return;
	(void)client_verdict_ready(verdict); /* it was ready before */
	verdict->verdict = MP_VERDICT_REPLY;
	verdict->status = 503;
	verdict->raise = 1;
	verdict->retry_after = 1;
	verdict->fields = refusal_fields;
	verdict->n_fields = 2;
	verdict->type = MP_LIT("middlepipe");
	verdict->state = MP_LIT("unavailable");
	verdict->body = MP_LIT("");
}
