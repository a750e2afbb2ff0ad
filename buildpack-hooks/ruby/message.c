/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request or a response of a Ruby library, copied; see message.h.
 *
 * The text grows while it is filled, so until message_seal() the pointer of a
 * string is its offset.  Without memory a string is shown as empty.
 */
#include "buildpack-hooks/ruby/message.h"

#include <middlepipe/client.h>

#include <stdlib.h>
#include <string.h>

struct mp_str message_borrow(VALUE string)
{
	if (!RB_TYPE_P(string, T_STRING))
		return (struct mp_str){NULL, 0};
	return (struct mp_str){RSTRING_PTR(string), (size_t)RSTRING_LEN(string)};
}

static int grow(struct message *m, size_t more)
{
	size_t size = (m->used + more) * 2 + 1024;
	char *text = realloc(m->text, size);

	if (!text)
		return 0;
	m->text = text;
	m->size = size;
	return 1;
}

static struct mp_str put(struct message *m, struct mp_str s)
{
	size_t at = m->used;

	if (m->size - at < s.len && !grow(m, s.len))
		s.len = 0;
	if (s.len)
		memcpy(m->text + at, s.ptr, s.len);
	m->used += s.len;
	return (struct mp_str){(const char *)(uintptr_t)at, s.len};
}

struct message *message_start(struct message **where)
{
	struct message *m = *where ? *where : calloc(1, sizeof(*m));

	if (!m)
		rb_memerror();
	m->used = m->n_fields = 0;
	memset(m->part, 0, sizeof(m->part));
	m->body = (struct mp_str){NULL, 0};
	return *where = m;
}

void message_put_part(struct message *m, enum message_part part, struct mp_str s)
{
	m->part[part] = put(m, s);
}

static void put_field(struct message *m, VALUE name, VALUE value)
{
	struct mp_field *field = &m->fields[m->n_fields];

	if (m->n_fields == MESSAGE_FIELDS_MAX || !RB_TYPE_P(name, T_STRING) ||
	    !RB_TYPE_P(value, T_STRING))
		return;
	field->name = put(m, message_borrow(name));
	field->value = put(m, message_borrow(value));
	m->n_fields++;
}

/* Net::HTTP keeps names in lower case and sends them like this. */
static void capitalize(char *name, size_t len)
{
	int first = 1;

	for (size_t i = 0; i < len; i++) {
		if (first && name[i] >= 'a' && name[i] <= 'z')
			name[i] = (char)(name[i] - 'a' + 'A');
		first = name[i] == '-';
	}
}

static int put_hash_entry(VALUE name, VALUE values, VALUE memory)
{
	struct message *m = (struct message *)memory;
	size_t i = m->n_fields;

	if (!RB_TYPE_P(values, T_ARRAY))
		return ST_CONTINUE;
	for (long n = 0; n < RARRAY_LEN(values); n++)
		put_field(m, name, rb_ary_entry(values, n));
	for (; i < m->n_fields; i++)
		capitalize(m->text + (uintptr_t)m->fields[i].name.ptr, m->fields[i].name.len);
	return ST_CONTINUE;
}

static void put_pairs(struct message *m, VALUE pairs)
{
	for (long n = 0; n < RARRAY_LEN(pairs); n++) {
		VALUE pair = rb_ary_entry(pairs, n);

		if (RB_TYPE_P(pair, T_ARRAY))
			put_field(m, rb_ary_entry(pair, 0), rb_ary_entry(pair, 1));
	}
}

void message_put_header(struct message *m, VALUE header)
{
	if (!RB_TYPE_P(header, T_HASH) && !RB_TYPE_P(header, T_ARRAY))
		header = rb_ivar_get(header, rb_intern("@header"));
	if (RB_TYPE_P(header, T_HASH))
		rb_hash_foreach(header, put_hash_entry, (VALUE)m);
	else if (RB_TYPE_P(header, T_ARRAY))
		put_pairs(m, header);
}

void message_put_body(struct message *m, VALUE body, VALUE complete)
{
	struct mp_str bytes = message_borrow(body);
	size_t limit = mp_body_limit();

	m->complete = RTEST(complete) && bytes.len <= limit;
	if (bytes.len > limit)
		bytes.len = limit;
	m->body = put(m, bytes);
}

static void seal(const struct message *m, struct mp_str *s)
{
	s->ptr = s->len ? m->text + (uintptr_t)s->ptr : "";
}

void message_seal(struct message *m)
{
	seal(m, &m->body);
	for (size_t i = 0; i < PART_COUNT; i++)
		seal(m, &m->part[i]);
	for (size_t i = 0; i < m->n_fields; i++) {
		seal(m, &m->fields[i].name);
		seal(m, &m->fields[i].value);
	}
}

void message_free(struct message *m)
{
	if (m)
		free(m->text);
	free(m);
}

size_t message_size(const struct message *m)
{
	return m ? sizeof(*m) + m->size : 0;
}
