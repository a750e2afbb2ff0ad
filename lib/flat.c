/* SPDX-License-Identifier: Apache-2.0 */
/* See flat.h. */
#include "lib/flat.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/slice.h"
#include "lib/utf8.h"

#define SHOWN_SIZE 64 /* a name in a message */

/* Where the reader stands. */
struct reader {
	struct mp_str json; /* all of it */
	size_t at;          /* next byte */
	char *room;         /* next byte of the caller's room that is free */
	struct err *err;    /* may be NULL */
};

static int refuse(const struct reader *r, const char *wants)
{
	return err_set(r->err, -EBADMSG, "byte %zu: wants %s", r->at + 1, wants);
}

/* The next byte, or -1 behind the last. */
static int peek(const struct reader *r)
{
	return r->at < r->json.len ? (unsigned char)r->json.ptr[r->at] : -1;
}

static void skip_blanks(struct reader *r)
{
	while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n' || peek(r) == '\r')
		r->at++;
}

/* Takes that byte when it is the next one. */
static bool take(struct reader *r, char c)
{
	bool is = peek(r) == (unsigned char)c;

	r->at += is;
	return is;
}

/* ----------------------------------------------------------------------- texts */

bool flat_text_ok(struct mp_str text)
{
	while (text.len) {
		size_t size = utf8_size(text);

		if (!size || !text.ptr[0])
			return false;
		text = slice_skip(text, size);
	}
	return true;
}

static void write_utf8(struct reader *r, uint32_t c)
{
	if (c < 0x80) {
		*r->room++ = (char)c;
		return;
	}
	if (c < 0x800) {
		*r->room++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*r->room++ = (char)(0xe0 | c >> 12);
		} else {
			*r->room++ = (char)(0xf0 | c >> 18);
			*r->room++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*r->room++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*r->room++ = (char)(0x80 | (c & 0x3f));
}

/* Four hex digits; false when there are none. */
static bool read_hex(struct reader *r, uint32_t *ret)
{
	*ret = 0;
	for (int i = 0; i < 4; i++, r->at++) {
		int c = peek(r), lower = c | 0x20;

		if (c >= '0' && c <= '9')
			*ret = *ret << 4 | (uint32_t)(c - '0');
		else if (c > 0 && lower >= 'a' && lower <= 'f')
			*ret = *ret << 4 | (uint32_t)(lower - 'a' + 10);
		else
			return false;
	}
	return true;
}

/* Behind "\u": a character, or the two halves of one. */
static int read_unicode(struct reader *r)
{
	uint32_t c, low = 0;

	if (!read_hex(r, &c))
		return refuse(r, "four hex digits");
	if (c >= 0xd800 && c < 0xdc00) {
		if (!take(r, '\\') || !take(r, 'u') || !read_hex(r, &low) || low < 0xdc00 ||
		    low > 0xdfff)
			return refuse(r, "the other half of a surrogate pair");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	} else if (!c || (c >= 0xdc00 && c < 0xe000)) {
		return refuse(r, "a character, no NUL and no lone surrogate");
	}
	write_utf8(r, c);
	return 0;
}

static int read_escape(struct reader *r)
{
	static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	int c = peek(r);
	const char *name = c > 0 ? strchr(names, c) : NULL;

	if (take(r, 'u'))
		return read_unicode(r);
	if (!name)
		return refuse(r, "a character that may be escaped");
	r->at++;
	*r->room++ = bytes[name - names];
	return 0;
}

/* A text in quotes; unescaped it is never longer, so that there is room. */
static int read_text(struct reader *r, struct mp_str *ret)
{
	char *begin = r->room;
	int rc = 0;

	if (!take(r, '"'))
		return refuse(r, "a text in quotes");
	while (!rc && !take(r, '"')) {
		struct mp_str rest = slice_skip(r->json, r->at);
		size_t size = rest.len ? utf8_size(rest) : 0;

		if (take(r, '\\')) {
			rc = read_escape(r);
		} else if (!size || peek(r) < ' ') {
			return refuse(r, rest.len ? "UTF-8 without control characters" : "a quote");
		} else {
			memcpy(r->room, rest.ptr, size);
			r->room += size;
			r->at += size;
		}
	}
	*ret = slice_make(begin, (size_t)(r->room - begin));
	return rc;
}

/* --------------------------------------------------------------------- numbers */

static int read_number(struct reader *r, int64_t *ret)
{
	bool minus = take(r, '-');
	size_t begin = r->at;
	uint64_t number;
	struct mp_str digits;

	while (peek(r) >= '0' && peek(r) <= '9')
		r->at++;
	digits = slice_make(r->json.ptr + begin, r->at - begin);
	if (!digits.len || (digits.len > 1 && digits.ptr[0] == '0') || peek(r) == '.' ||
	    (peek(r) | 0x20) == 'e')
		return refuse(r, "a whole number");
	if (slice_to_u64(digits, &number) || number > INT64_MAX)
		return refuse(r, "a number below 2^63");
	*ret = minus ? -(int64_t)number : (int64_t)number;
	return 0;
}

/* ---------------------------------------------------------------------- members */

/* Is the value within the bounds of its want? */
static int check_value(const struct reader *r, const struct flat_want *want,
		       const struct flat_value *value)
{
	bool is_text = want->kind == FLAT_TEXT;
	int64_t n = is_text ? (int64_t)value->text.len : value->number;

	if (n >= want->min && n <= want->max)
		return 0;
	return err_set(r->err, -EBADMSG, "%s: wants %" PRId64 " to %" PRId64 "%s, not %" PRId64,
		       want->name, want->min, want->max, is_text ? " bytes" : "", n);
}

static int read_member(struct reader *r, const struct flat_want *wants, size_t n,
		       struct flat_value *values)
{
	char shown[SHOWN_SIZE];
	struct mp_str name = { NULL, 0 };
	size_t i = 0;
	int rc = read_text(r, &name);

	if (rc)
		return rc;
	while (i < n && !slice_eq(slice_of(wants[i].name), name))
		i++;
	slice_quote(shown, sizeof(shown), name);
	if (i == n)
		return err_set(r->err, -EBADMSG, "%s is not known here", shown);
	if (values[i].given)
		return err_set(r->err, -EBADMSG, "%s is there twice", shown);
	skip_blanks(r);
	if (!take(r, ':'))
		return refuse(r, "a colon");
	skip_blanks(r);
	values[i].given = true;
	rc = wants[i].kind == FLAT_TEXT ? read_text(r, &values[i].text) :
					  read_number(r, &values[i].number);
	return rc ? rc : check_value(r, &wants[i], &values[i]);
}

int flat_read(struct mp_str json, const struct flat_want *wants, size_t n,
	      struct flat_value *values, char *room, size_t size, struct err *err)
{
	struct reader r = { .json = json, .room = room, .err = err };
	bool more;
	int rc;

	memset(values, 0, n * sizeof(*values));
	if (json.len > size)
		return err_set(err, -EBADMSG, "%zu bytes, %zu are allowed", json.len, size);
	skip_blanks(&r);
	if (!take(&r, '{'))
		return refuse(&r, "an object in braces");
	skip_blanks(&r);
	more = !take(&r, '}');
	while (more) {
		skip_blanks(&r);
		rc = read_member(&r, wants, n, values);
		if (rc)
			return rc;
		skip_blanks(&r);
		more = take(&r, ',');
		if (!more && !take(&r, '}'))
			return refuse(&r, "a comma or a brace");
	}
	skip_blanks(&r);
	return r.at == json.len ? 0 : refuse(&r, "nothing behind the object");
}

int flat_quote(struct buf *out, struct mp_str text)
{
	buf_add_str(out, "\"");
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c < ' ')
			buf_printf(out, "\\u%04x", c);
		else
			buf_printf(out, "%s%c", c == '"' || c == '\\' ? "\\" : "", c);
	}
	return buf_add_str(out, "\"");
}
