/* SPDX-License-Identifier: Apache-2.0 */
/* See etcd_json.h. */
#include "aggregator/rows/etcd_json.h"

#include <stdio.h>
#include <string.h>

#include "lib/slice.h"

#define NUMBER_MAX 40 /* characters; etcd's own have 20 */

/* What may come next. */
enum state {
	TOP,        /* an object, or nothing more */
	VALUE,      /* a value */
	FIRST,      /* a value, or the end of the array */
	FIRST_NAME, /* a name, or the end of the object */
	NAME,       /* a name */
	COLON,      /* : */
	NEXT,       /* , or the end */
	STRING,     /* the string goes on */
	ESCAPE,     /* what \ is followed by */
	HEX,        /* a digit of \u */
	NUMBER,     /* the number may go on */
	WORD,       /* true, false or null goes on */
};

bool etcd_json_fail(struct etcd_json *json, const char *fmt, ...)
{
	va_list args;

	if (json->wrong[0])
		return false;
	va_start(args, fmt);
	(void)vsnprintf(json->wrong, sizeof(json->wrong), fmt, args);
	va_end(args);
	return false;
}

/* `c` is nothing that may stand there. */
static bool stray(struct etcd_json *json, char c)
{
	if (c > ' ' && c <= '~')
		return etcd_json_fail(json, "no JSON: a stray %c", c);
	return etcd_json_fail(json, "no JSON: a stray byte 0x%02x", (unsigned char)c);
}

/* ------------------------------------------------------------------- nesting */

/* What follows a value. */
static void after_value(struct etcd_json *json)
{
	json->state = json->depth ? NEXT : TOP;
	json->name[0] = '\0';
}

static bool open(struct etcd_json *json, bool array)
{
	if (json->depth >= ETCD_JSON_DEPTH)
		return etcd_json_fail(json, "nested deeper than %d", ETCD_JSON_DEPTH);
	if (!json->token(json, array ? ETCD_ARRAY : ETCD_OBJECT, (struct mp_str){ 0 }))
		return etcd_json_fail(json, "not wanted");
	json->in_array[++json->depth] = array;
	json->name[0] = '\0';
	json->state = array ? FIRST : FIRST_NAME;
	return true;
}

static bool shut(struct etcd_json *json, char c)
{
	if (json->in_array[json->depth] != (c == ']'))
		return stray(json, c);
	json->depth--;
	json->name[0] = '\0';
	if (!json->token(json, c == ']' ? ETCD_ARRAY_END : ETCD_OBJECT_END, (struct mp_str){ 0 }))
		return etcd_json_fail(json, "not wanted");
	after_value(json);
	return true;
}

static bool scalar(struct etcd_json *json, enum etcd_token token)
{
	if (!json->token(json, token, buf_slice(&json->text)))
		return etcd_json_fail(json, "not wanted");
	after_value(json);
	return true;
}

/* ------------------------------------------------------------------- scalars */

static bool word_end(struct etcd_json *json)
{
	static const struct {
		struct mp_str word;
		enum etcd_token token;
	} words[] = {
		{ MP_LIT_INIT("true"), ETCD_TRUE },
		{ MP_LIT_INIT("false"), ETCD_FALSE },
		{ MP_LIT_INIT("null"), ETCD_NULL },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (slice_eq(buf_slice(&json->text), words[i].word))
			return scalar(json, words[i].token);
	return etcd_json_fail(json, "no JSON: an unknown word");
}

static bool begin_value(struct etcd_json *json, char c)
{
	if (c == '{' || c == '[')
		return open(json, c == '[');
	buf_reset(&json->text);
	json->naming = false;
	if (c == '"') {
		json->state = STRING;
		return true;
	}
	json->state = c == '-' || (c >= '0' && c <= '9') ? NUMBER : WORD;
	if (json->state == WORD && (c < 'a' || c > 'z'))
		return stray(json, c);
	return !buf_add(&json->text, &c, 1) || etcd_json_fail(json, "out of memory");
}

static bool string_end(struct etcd_json *json)
{
	if (!json->naming)
		return scalar(json, ETCD_STRING);
	json->naming = false;
	json->state = COLON;
	json->name[0] = '\0';
	/* A name with a NUL in it is none of ours, either. */
	if (json->text.len < sizeof(json->name) && strlen(buf_str(&json->text)) == json->text.len)
		memcpy(json->name, buf_str(&json->text), json->text.len + 1);
	return true;
}

static bool add(struct etcd_json *json, const char *bytes, size_t len)
{
	if (!buf_add(&json->text, bytes, len))
		return true;
	return etcd_json_fail(json, "a string without an end, or no memory for it");
}

/* All of a string that needs no thought.  Returns how much that was. */
static size_t plain_run(struct etcd_json *json, struct mp_str bytes)
{
	size_t n = 0;

	while (n < bytes.len && bytes.ptr[n] != '"' && bytes.ptr[n] != '\\' && (unsigned char)bytes.ptr[n] >= ' ')
		n++;
	(void)add(json, bytes.ptr, n); /* fails for good: feed() sees it */
	return n;
}

static bool in_string(struct etcd_json *json, char c)
{
	if (c == '"')
		return string_end(json);
	if (c != '\\')
		return stray(json, c);
	json->state = ESCAPE;
	return true;
}

static bool in_escape(struct etcd_json *json, char c)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at = c ? strchr(from, c) : NULL;

	json->state = c == 'u' ? HEX : STRING;
	json->digits = json->code = 0;
	if (c == 'u')
		return true;
	return at ? add(json, to + (at - from), 1) : stray(json, c);
}

/* Halves of a pair are for texts that people read: a question mark will do. */
static bool add_code(struct etcd_json *json, unsigned code)
{
	const char three[] = { (char)(0xe0 | code >> 12), (char)(0x80 | (code >> 6 & 63)), (char)(0x80 | (code & 63)) };
	const char two[] = { (char)(0xc0 | code >> 6), (char)(0x80 | (code & 63)) };
	const char one = (char)code;

	if (code < 0x80)
		return add(json, &one, 1);
	if (code < 0x800)
		return add(json, two, 2);
	return code >= 0xd800 && code < 0xe000 ? add(json, "?", 1) : add(json, three, 3);
}

static bool in_hex(struct etcd_json *json, char c)
{
	static const char hex[] = "0123456789abcdef";
	const char *at = c ? strchr(hex, slice_lower(c)) : NULL;

	if (!at)
		return stray(json, c);
	json->code = json->code << 4 | (unsigned)(at - hex);
	if (++json->digits < 4)
		return true;
	json->state = STRING;
	return add_code(json, json->code);
}

/* ---------------------------------------------------------------- the machine */

static bool is_number(char c)
{
	return (c >= '0' && c <= '9') || (c && strchr("+-.eE", c));
}

/* A number or a word ends with the first byte that is none of it. */
static bool in_bare(struct etcd_json *json, char c, bool *ret_again)
{
	bool number = json->state == NUMBER;

	if (number ? is_number(c) : c >= 'a' && c <= 'z') {
		if (json->text.len >= NUMBER_MAX)
			return etcd_json_fail(json, "a number or word without an end");
		return add(json, &c, 1);
	}
	*ret_again = true;
	return number ? scalar(json, ETCD_NUMBER) : word_end(json);
}

static bool begin_name(struct etcd_json *json, char c)
{
	if (c == '}' && json->state == FIRST_NAME)
		return shut(json, c);
	if (c != '"')
		return stray(json, c);
	buf_reset(&json->text);
	json->naming = true;
	json->state = STRING;
	return true;
}

static bool in_next(struct etcd_json *json, char c)
{
	if (c == '}' || c == ']')
		return shut(json, c);
	if (c != ',')
		return stray(json, c);
	json->state = json->in_array[json->depth] ? VALUE : NAME;
	return true;
}

/* One byte of what is between values. */
static bool between(struct etcd_json *json, char c)
{
	if (c == ' ' || c == '\n' || c == '\t' || c == '\r')
		return true;
	switch ((enum state)json->state) {
	case TOP:
		return c == '{' ? open(json, false) : stray(json, c);
	case FIRST:
		return c == ']' ? shut(json, c) : begin_value(json, c);
	case VALUE:
		return begin_value(json, c);
	case FIRST_NAME:
	case NAME:
		return begin_name(json, c);
	case COLON:
		json->state = VALUE;
		return c == ':' || stray(json, c);
	default:
		return in_next(json, c);
	}
}

/* *ret_again: the byte was not taken. */
static bool step(struct etcd_json *json, char c, bool *ret_again)
{
	switch ((enum state)json->state) {
	case STRING:
		return in_string(json, c);
	case ESCAPE:
		return in_escape(json, c);
	case HEX:
		return in_hex(json, c);
	case NUMBER:
	case WORD:
		return in_bare(json, c, ret_again);
	default:
		return between(json, c);
	}
}

bool etcd_json_feed(struct etcd_json *json, struct mp_str bytes)
{
	for (size_t i = 0; i < bytes.len && !json->wrong[0];) {
		bool again = false;

		if (json->state == STRING) {
			i += plain_run(json, slice_skip(bytes, i));
			if (i == bytes.len || json->wrong[0])
				break;
		}
		if (step(json, bytes.ptr[i], &again) && !again)
			i++;
	}
	return !json->wrong[0];
}

void etcd_json_init(struct etcd_json *json, size_t string_max, etcd_token_fn *token)
{
	*json = (struct etcd_json){ .token = token };
	buf_init(&json->text, string_max);
}

void etcd_json_fini(struct etcd_json *json)
{
	buf_fini(&json->text);
}
