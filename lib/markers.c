/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Markers: see middlepipe/markers.h.  A strict parser of an RFC 9651 Item with
 * parameters, bounded by MP_MARKER_MAX, and its writer.  libmiddlepipe exports
 * both; the scheduler and tests link them.
 */
#pragma GCC visibility push(default)
#include <middlepipe/markers.h>
#pragma GCC visibility pop

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lib/slice.h"

/* Kinds of bare item (RFC 9651, section 3.3). */
enum item_kind {
	ITEM_NUMBER_INTEGER,
	ITEM_NUMBER_DECIMAL,
	ITEM_STRING,
	ITEM_TOKEN,
	ITEM_BYTES,
	ITEM_BOOLEAN,
	ITEM_DATE,
	ITEM_DISPLAY,
};

/* A bare item as it was read. */
struct bare_item {
	enum item_kind kind;
	struct mp_str raw; /* its text; of a STRING what is between the quotes */
	int64_t integer;   /* INTEGER, DATE, BOOLEAN */
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_alpha(char c)
{
	return is_lower(slice_lower(c));
}

/* True for c in the list; NUL is in none. */
static bool is_one_of(char c, const char *list)
{
	return c && strchr(list, c);
}

static bool is_token_byte(char c)
{
	return is_alpha(c) || is_digit(c) || is_one_of(c, "!#$%&'*+-.^_`|~:/");
}

static bool is_key_byte(char c)
{
	return is_lower(c) || is_digit(c) || is_one_of(c, "_-.*");
}

static bool is_base64_byte(char c)
{
	return is_alpha(c) || is_digit(c) || is_one_of(c, "+/=");
}

/* Takes the bytes that pass `test` off *rest. */
static struct mp_str take_while(struct mp_str *rest, bool (*test)(char))
{
	size_t n = 0;
	struct mp_str taken;

	while (n < rest->len && test(rest->ptr[n]))
		n++;
	taken = (struct mp_str){ rest->ptr, n };
	*rest = slice_skip(*rest, n);
	return taken;
}

static bool take_byte(struct mp_str *rest, char c)
{
	if (!rest->len || rest->ptr[0] != c)
		return false;
	*rest = slice_skip(*rest, 1);
	return true;
}

static bool is_space(char c)
{
	return c == ' ';
}

/* ------------------------------------------------------------- bare items */

static bool read_number(struct mp_str *rest, struct bare_item *ret)
{
	bool minus = take_byte(rest, '-');
	struct mp_str whole = take_while(rest, is_digit), part;

	if (!whole.len || whole.len > 15)
		return false;
	ret->kind = ITEM_NUMBER_INTEGER;
	ret->integer = 0;
	for (size_t i = 0; i < whole.len; i++)
		ret->integer = ret->integer * 10 + (whole.ptr[i] - '0');
	if (minus)
		ret->integer = -ret->integer;
	if (!take_byte(rest, '.'))
		return true;
	ret->kind = ITEM_NUMBER_DECIMAL;
	part = take_while(rest, is_digit);
	return whole.len <= 12 && part.len >= 1 && part.len <= 3;
}

static bool read_string(struct mp_str *rest, struct bare_item *ret)
{
	const char *start;

	ret->kind = ITEM_STRING;
	*rest = slice_skip(*rest, 1);
	start = rest->ptr;
	for (size_t i = 0; i < rest->len; i++) {
		char c = rest->ptr[i];

		if (c == '"') {
			ret->raw = (struct mp_str){ start, i };
			*rest = slice_skip(*rest, i + 1);
			return true;
		}
		if (c < 0x20 || c > 0x7e)
			return false;
		if (c != '\\')
			continue;
		if (++i == rest->len || !is_one_of(rest->ptr[i], "\"\\"))
			return false;
	}
	return false;
}

static bool read_token(struct mp_str *rest, struct bare_item *ret)
{
	ret->kind = ITEM_TOKEN;
	if (!rest->len || !(is_alpha(rest->ptr[0]) || rest->ptr[0] == '*'))
		return false;
	ret->raw = take_while(rest, is_token_byte);
	return true;
}

static bool read_bytes(struct mp_str *rest, struct bare_item *ret)
{
	ret->kind = ITEM_BYTES;
	*rest = slice_skip(*rest, 1);
	ret->raw = take_while(rest, is_base64_byte);
	return take_byte(rest, ':');
}

static bool read_boolean(struct mp_str *rest, struct bare_item *ret)
{
	ret->kind = ITEM_BOOLEAN;
	*rest = slice_skip(*rest, 1);
	ret->integer = take_byte(rest, '1');
	return ret->integer || take_byte(rest, '0');
}

static bool read_date(struct mp_str *rest, struct bare_item *ret)
{
	*rest = slice_skip(*rest, 1);
	if (!read_number(rest, ret) || ret->kind != ITEM_NUMBER_INTEGER)
		return false;
	ret->kind = ITEM_DATE;
	return true;
}

/* Display String: %"..." with lower-case %xx; that the bytes are UTF-8 is not checked. */
static bool read_display(struct mp_str *rest, struct bare_item *ret)
{
	ret->kind = ITEM_DISPLAY;
	*rest = slice_skip(*rest, 1);
	if (!take_byte(rest, '"'))
		return false;
	while (rest->len) {
		char c = rest->ptr[0];

		*rest = slice_skip(*rest, 1);
		if (c == '"')
			return true;
		if (c < 0x20 || c > 0x7e)
			return false;
		if (c != '%')
			continue;
		if (rest->len < 2 || !is_one_of(rest->ptr[0], "0123456789abcdef") ||
		    !is_one_of(rest->ptr[1], "0123456789abcdef"))
			return false;
		*rest = slice_skip(*rest, 2);
	}
	return false;
}

static bool read_bare(struct mp_str *rest, struct bare_item *ret)
{
	static const struct {
		char first;
		bool (*read)(struct mp_str *rest, struct bare_item *ret);
	} readers[] = {
		{ '"', read_string }, { ':', read_bytes }, { '?', read_boolean },
		{ '@', read_date }, { '%', read_display }, { '-', read_number },
	};
	char c = rest->len ? rest->ptr[0] : '\0';

	*ret = (struct bare_item){ .kind = ITEM_TOKEN };
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
		if (c == readers[i].first)
			return readers[i].read(rest, ret);
	return is_digit(c) ? read_number(rest, ret) : read_token(rest, ret);
}

/* ------------------------------------------------------------- parameters */

/* Where a marker is being put together. */
struct reader {
	struct mp_marker *marker;
	char *scratch; /* of the caller: the unescaped pipe */
};

static bool set_token(struct mp_str *ret, const struct bare_item *item)
{
	*ret = item->raw;
	return item->kind == ITEM_TOKEN;
}

static bool set_state(struct reader *r, const struct bare_item *item)
{
	return set_token(&r->marker->state, item);
}

static bool set_callback(struct reader *r, const struct bare_item *item)
{
	return set_token(&r->marker->callback, item);
}

static bool set_retry_after(struct reader *r, const struct bare_item *item)
{
	r->marker->retry_after = item->integer;
	return item->kind == ITEM_NUMBER_INTEGER && item->integer >= 0;
}

static bool set_pipe(struct reader *r, const struct bare_item *item)
{
	size_t n = 0;

	if (item->kind != ITEM_STRING)
		return false;
	for (size_t i = 0; i < item->raw.len; i++) {
		if (item->raw.ptr[i] == '\\')
			i++;
		r->scratch[n++] = item->raw.ptr[i];
	}
	r->marker->pipe = (struct mp_str){ r->scratch, n };
	return true;
}

/* The parameters that mean something; another one is read and skipped. */
static const struct {
	const char *name;
	bool (*set)(struct reader *r, const struct bare_item *item);
} parameters[] = {
	{ "state", set_state },
	{ "pipe", set_pipe },
	{ "retry-after", set_retry_after },
	{ "callback", set_callback },
};

static bool set_parameter(struct reader *r, struct mp_str key, const struct bare_item *item)
{
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++)
		if (slice_eq(key, slice_of(parameters[i].name)))
			return parameters[i].set(r, item);
	return true;
}

/* One parameter behind its semicolon: key, and a value unless it is true. */
static bool read_parameter(struct mp_str *rest, struct reader *r)
{
	struct bare_item item = { .kind = ITEM_BOOLEAN, .integer = 1 };
	struct mp_str key;

	(void)take_while(rest, is_space);
	if (!rest->len || !(is_lower(rest->ptr[0]) || rest->ptr[0] == '*'))
		return false;
	key = take_while(rest, is_key_byte);
	if (take_byte(rest, '=') && !read_bare(rest, &item))
		return false;
	return set_parameter(r, key, &item);
}

int mp_marker_parse(struct mp_str value, char *scratch, struct mp_marker *ret)
{
	struct reader r = { .marker = ret, .scratch = scratch };
	struct bare_item item;

	*ret = (struct mp_marker){ .retry_after = -1 };
	if (value.len > MP_MARKER_MAX)
		return -EINVAL;
	(void)take_while(&value, is_space);
	if (!read_bare(&value, &item) || item.kind != ITEM_TOKEN)
		return -EINVAL;
	ret->type = item.raw;
	while (take_byte(&value, ';'))
		if (!read_parameter(&value, &r))
			return -EINVAL;
	(void)take_while(&value, is_space);
	return value.len ? -EINVAL : 0;
}

/* ---------------------------------------------------------------- writing */

/* The field value being written. */
struct writer {
	char *out;
	size_t size; /* bytes of out, NUL included */
	size_t len;  /* bytes wanted so far; past size nothing is written */
};

static void put_byte(struct writer *w, char c)
{
	if (w->len + 1 < w->size)
		w->out[w->len] = c;
	w->len++;
}

static void put_text(struct writer *w, struct mp_str text)
{
	for (size_t i = 0; i < text.len; i++)
		put_byte(w, text.ptr[i]);
}

static bool put_token(struct writer *w, const char *before, struct mp_str token)
{
	struct bare_item item;
	struct mp_str rest = token;

	put_text(w, slice_of(before));
	put_text(w, token);
	return read_token(&rest, &item) && !rest.len;
}

static bool put_string(struct writer *w, const char *before, struct mp_str string)
{
	put_text(w, slice_of(before));
	put_byte(w, '"');
	for (size_t i = 0; i < string.len; i++) {
		if (string.ptr[i] < 0x20 || string.ptr[i] > 0x7e)
			return false;
		if (is_one_of(string.ptr[i], "\"\\"))
			put_byte(w, '\\');
		put_byte(w, string.ptr[i]);
	}
	put_byte(w, '"');
	return true;
}

static bool put_integer(struct writer *w, const char *before, int64_t value)
{
	char digits[15];
	size_t at = sizeof(digits);

	put_text(w, slice_of(before));
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value && at);
	put_text(w, (struct mp_str){ digits + at, sizeof(digits) - at });
	return !value;
}

int mp_marker_format(const struct mp_marker *marker, char *out, size_t size)
{
	struct writer w = { .out = out, .size = size < MP_MARKER_MAX + 1 ? size : MP_MARKER_MAX + 1 };

	if (!put_token(&w, "", marker->type) ||
	    (marker->state.len && !put_token(&w, ";state=", marker->state)) ||
	    (marker->pipe.len && !put_string(&w, ";pipe=", marker->pipe)) ||
	    (marker->retry_after >= 0 && !put_integer(&w, ";retry-after=", marker->retry_after)) ||
	    (marker->callback.len && !put_token(&w, ";callback=", marker->callback)))
		return -EINVAL;
	if (w.len >= w.size)
		return -E2BIG;
	out[w.len] = '\0';
	return (int)w.len;
}
