/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Length-prefixed items: see wire.h.  Used by libmiddlepipe and the scheduler;
 * pure, allocates nothing, trusts no byte of what it decodes.
 */
#include "lib/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* The fixed part of an item, as it stands in memory. */
struct item_head {
	uint16_t tag;
	uint16_t name_size;
	uint32_t value_size;
};

_Static_assert(sizeof(struct item_head) == 8, "no padding on the wire");

void wire_start(struct wire_writer *writer, void *memory, size_t size)
{
	*writer = (struct wire_writer){ .at = memory, .left = size };
}

static void append(struct wire_writer *writer, const void *bytes, size_t size)
{
	if (size)
		memcpy(writer->at, bytes, size);
	writer->at += size;
	writer->left -= size;
	writer->size += size;
}

static bool fits(const struct wire_writer *writer, struct mp_str name, struct mp_str value)
{
	size_t left = writer->left;

	if (writer->full || left < sizeof(struct item_head) || name.len > UINT16_MAX)
		return false;
	left -= sizeof(struct item_head);
	if (name.len > left)
		return false;
	left -= name.len;
	return value.len <= left && value.len <= UINT32_MAX;
}

void wire_put(struct wire_writer *writer, enum wire_tag tag, struct mp_str name, struct mp_str value)
{
	struct item_head head = { .tag = (uint16_t)tag };

	if (!fits(writer, name, value)) {
		writer->full = 1;
		return;
	}
	head.name_size = (uint16_t)name.len;
	head.value_size = (uint32_t)value.len;
	append(writer, &head, sizeof(head));
	append(writer, name.ptr, name.len);
	append(writer, value.ptr, value.len);
}

int wire_next(struct mp_str *rest, struct wire_item *ret)
{
	struct item_head head;
	const char *at = rest->ptr;
	size_t left = rest->len;

	if (!left)
		return 0;
	if (left < sizeof(head))
		return -EINVAL;
	memcpy(&head, at, sizeof(head));
	at += sizeof(head);
	left -= sizeof(head);
	if (head.name_size > left || head.value_size > left - head.name_size)
		return -EINVAL;
	*ret = (struct wire_item){
		.tag = head.tag,
		.name = { at, head.name_size },
		.value = { at + head.name_size, head.value_size },
	};
	*rest = (struct mp_str){ at + head.name_size + head.value_size,
				 left - head.name_size - head.value_size };
	return 1;
}

/* RFC 9110 tchar: 1 for the bytes of a token. */
static const unsigned char token_byte[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
	['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
	['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1,
	['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1,
	['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1,
	['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1,
	['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1,
	['Y'] = 1, ['Z'] = 1,
	['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1,
	['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1,
	['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1,
	['y'] = 1, ['z'] = 1,
};

int wire_field_ok(struct mp_str name, struct mp_str value)
{
	if (!name.len)
		return 0;
	for (size_t i = 0; i < name.len; i++)
		if (!token_byte[(unsigned char)name.ptr[i]])
			return 0;
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] == '\r' || value.ptr[i] == '\n' || value.ptr[i] == '\0')
			return 0;
	return 1;
}
