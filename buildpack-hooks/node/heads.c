/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the head of a message: see heads.h.  The text is Node's own
 * serialisation, or one that the hook made of undici's fields, so it is well
 * formed; the bounds hold whatever it is.
 */
#include "buildpack-hooks/node/heads.h"

#include <string.h>
#include <strings.h>

static struct mp_str trimmed(const char *from, const char *to)
{
	while (from < to && (*from == ' ' || *from == '\t'))
		from++;
	while (from < to && (to[-1] == ' ' || to[-1] == '\t'))
		to--;
	return (struct mp_str){ from, (size_t)(to - from) };
}

static void parse_first_line(struct head *head, const char *from, const char *to)
{
	for (size_t i = 0; i < 2; i++) {
		const char *space = memchr(from, ' ', (size_t)(to - from));
		const char *end = space ? space : to;

		head->words[i] = (struct mp_str){ from, (size_t)(end - from) };
		from = space ? space + 1 : to;
	}
}

static void parse_field(struct head *head, const char *from, const char *to)
{
	const char *colon = memchr(from, ':', (size_t)(to - from));
	struct mp_field *field = &head->fields[head->n_fields];

	if (!colon || colon == from || head->n_fields == HEAD_FIELDS)
		return;
	field->name = (struct mp_str){ from, (size_t)(colon - from) };
	field->value = trimmed(colon + 1, to);
	head->n_fields++;
	if (!head->host.ptr && field->name.len == 4 && !strncasecmp(from, "host", 4))
		head->host = field->value;
}

void head_parse(struct head *head, const char *text, size_t size)
{
	const char *end = text + size, *line = text;

	head->n_fields = 0;
	head->words[0] = head->words[1] = head->host = (struct mp_str){ NULL, 0 };
	while (line < end) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		const char *to = stop && stop > line && stop[-1] == '\r' ? stop - 1 : stop;

		if (!stop || to == line)
			return;
		if (line == text)
			parse_first_line(head, line, to);
		else
			parse_field(head, line, to);
		line = stop + 1;
	}
}

struct mp_str head_path(struct mp_str target)
{
	static const struct mp_str root = { "/", 1 };
	const char *slash;
	size_t skip;

	if (!target.len || target.ptr[0] == '/')
		return target.len ? target : root;
	if (target.len > 7 && !strncasecmp(target.ptr, "http://", 7))
		skip = 7;
	else if (target.len > 8 && !strncasecmp(target.ptr, "https://", 8))
		skip = 8;
	else
		return target;
	slash = memchr(target.ptr + skip, '/', target.len - skip);
	if (!slash)
		return root;
	return (struct mp_str){ slash, target.len - (size_t)(slash - target.ptr) };
}
