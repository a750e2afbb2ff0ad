/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a message in a slot, an answer or a REPLY blob: a list of
 * length-prefixed items, so that nobody parses HTTP.
 *
 *   item   u16 tag, u16 name size, u32 value size, name bytes, value bytes
 *
 * Native-endian, unaligned, no padding; unknown tags are skipped.  The decoder
 * reads memory that nobody else can write: copy first, then decode.
 */
#ifndef LIB_WIRE_H
#define LIB_WIRE_H

#include <middlepipe/types.h>

/* Tags.  A request uses 1 to 5, a response 6, a verdict 7 to 16.  Append-only. */
enum wire_tag {
	WIRE_METHOD = 1,
	WIRE_SCHEME = 2,
	WIRE_AUTHORITY = 3, /* in a verdict: the new one */
	WIRE_PATH = 4,      /* likewise */
	WIRE_FIELD = 5,     /* name, value: of the request */
	WIRE_RESPONSE_FIELD = 6, /* name, value: of the response, or of a REPLY */
	WIRE_EDIT_SET = 7,
	WIRE_EDIT_ADD = 8,
	WIRE_EDIT_REMOVE = 9,
	WIRE_MARKER_TYPE = 10,
	WIRE_MARKER_STATE = 11,
	WIRE_MARKER_PIPE = 12,
	WIRE_MARKER_CALLBACK = 13,
	WIRE_MARKER_RETRY = 14, /* decimal seconds from the call on; a retry_at_ns wins */
};

/* One item; decoded strings borrow from the input. */
struct wire_item {
	uint32_t tag;
	struct mp_str name;
	struct mp_str value;
};

/* Writes items into memory of a fixed size; the first that does not fit sets `full`. */
struct wire_writer {
	char *at;     /* where the next item goes */
	size_t left;  /* bytes left there */
	size_t size;  /* bytes written */
	int full;     /* 1: something did not fit; nothing is written from then on */
};

void wire_start(struct wire_writer *writer, void *memory, size_t size);
void wire_put(struct wire_writer *writer, enum wire_tag tag, struct mp_str name, struct mp_str value);
static inline void wire_put_value(struct wire_writer *writer, enum wire_tag tag, struct mp_str value)
{
	wire_put(writer, tag, (struct mp_str){ 0 }, value);
}

/*
 * Takes the next item off *rest.  Returns 1, 0 at the end, or -EINVAL when the
 * bytes are no item.
 */
int wire_next(struct mp_str *rest, struct wire_item *ret);

/* True when a name and value can stand in a header field: no CR, LF, NUL; a token as name. */
int wire_field_ok(struct mp_str name, struct mp_str value);

#endif
