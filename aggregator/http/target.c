/* SPDX-License-Identifier: Apache-2.0 */
/* See target.h. */
#include "aggregator/http/target.h"

#include <string.h>

#include "lib/slice.h"

static int hex_any(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = slice_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes text[0..size) in place; plus: `+` is a blank.  The new size, or -1. */
static long decode(char *text, size_t size, bool plus)
{
	char *to = text;

	if (!memchr(text, '%', size) && !(plus && memchr(text, '+', size)))
		return (long)size;
	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (c == '%') {
			int high = i + 2 < size ? hex_any(text[i + 1]) : -1;
			int low = high >= 0 ? hex_any(text[i + 2]) : -1;

			if (low < 0 || !(high | low))
				return -1;
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		*to++ = c;
	}
	return to - text;
}

static int decode_slice(char *text, size_t size, bool plus, struct mp_str *ret, struct err *err)
{
	long len = decode(text, size, plus);

	if (len < 0)
		return err_set(err, -EINVAL, "a percent sign of the target is not followed by two "
					     "hex digits, or they say 00");
	*ret = slice_make(text, (size_t)len);
	return 0;
}

static int parse_path(char *text, size_t size, struct target *t, struct err *err)
{
	char *end = text + size, *at = text + 1;

	for (;;) {
		char *slash = memchr(at, '/', (size_t)(end - at));
		char *stop = slash ? slash : end;
		int rc;

		if (t->n == TARGET_SEGMENTS)
			return err_set(err, -E2BIG, "the path has more than %d segments",
				       TARGET_SEGMENTS);
		rc = decode_slice(at, (size_t)(stop - at), false, &t->segments[t->n++], err);
		if (rc || !slash)
			return rc;
		at = slash + 1;
	}
}

static int parse_pair(char *text, size_t size, struct target *t, struct err *err)
{
	char *equals = memchr(text, '=', size);
	size_t name_size = equals ? (size_t)(equals - text) : size;
	struct mp_str name = { "", 0 }, value = name, before;
	int rc = decode_slice(text, name_size, true, &name, err);

	if (!rc && equals)
		rc = decode_slice(equals + 1, size - name_size - 1, true, &value, err);
	if (rc)
		return rc;
	if (!name.len)
		return err_set(err, -EINVAL, "a parameter of the query has no name");
	if (target_query(t, name, &before))
		return err_set(err, -EINVAL, "the query has the same parameter twice");
	if (t->n_query == TARGET_QUERY)
		return err_set(err, -E2BIG, "the query has more than %d parameters", TARGET_QUERY);
	t->query[t->n_query].name = name;
	t->query[t->n_query++].value = value;
	return 0;
}

static int parse_query(char *text, size_t size, struct target *t, struct err *err)
{
	char *end = text + size;

	for (char *at = text; at < end;) {
		char *stop = memchr(at, '&', (size_t)(end - at));

		if (!stop)
			stop = end;
		if (stop > at) {
			int rc = parse_pair(at, (size_t)(stop - at), t, err);

			if (rc)
				return rc;
		}
		at = stop + 1;
	}
	return 0;
}

int target_parse(char *text, size_t size, struct target *t, struct err *err)
{
	char *question;
	size_t path_size;
	int rc;

	t->n = t->n_query = 0;
	if (!size || text[0] != '/')
		return err_set(err, -EINVAL, "the target does not begin with a slash");
	for (size_t i = 0; i < size; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f || text[i] == '#')
			return err_set(err, -EINVAL, "the target has a byte that must be "
						     "percent-encoded");
	question = memchr(text, '?', size);
	path_size = question ? (size_t)(question - text) : size;
	rc = parse_path(text, path_size, t, err);
	if (!rc && question)
		rc = parse_query(question + 1, size - path_size - 1, t, err);
	return rc;
}

bool target_query(const struct target *t, struct mp_str name, struct mp_str *ret_value)
{
	for (size_t i = 0; i < t->n_query; i++) {
		if (slice_eq(t->query[i].name, name)) {
			*ret_value = t->query[i].value;
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------ patterns */

static int pattern_add(struct pattern *p, struct mp_str segment, const char *text,
		       struct err *err)
{
	bool param = segment.len && segment.ptr[0] == '{';

	if (p->n == TARGET_SEGMENTS)
		return err_set(err, -EINVAL, "route %s has more than %d segments", text,
			       TARGET_SEGMENTS);
	if (param && (segment.len < 3 || segment.ptr[segment.len - 1] != '}'))
		return err_set(err, -EINVAL, "route %s has a parameter without name or brace", text);
	p->is_param[p->n] = param;
	p->segments[p->n++] = param ? slice_make(segment.ptr + 1, segment.len - 2) : segment;
	return 0;
}

int pattern_parse(const char *text, struct pattern *p, struct err *err)
{
	struct mp_str rest = slice_of(text), segment;
	bool more;
	int rc;

	p->n = 0;
	if (!rest.len || rest.ptr[0] != '/')
		return err_set(err, -EINVAL, "route %s does not begin with a slash", text);
	rest = slice_skip(rest, 1);
	do {
		more = slice_cut(rest, '/', &segment, &rest);
		rc = pattern_add(p, segment, text, err);
	} while (!rc && more);
	return rc;
}

bool pattern_match(const struct pattern *p, const struct target *t)
{
	if (p->n != t->n)
		return false;
	for (size_t i = 0; i < p->n; i++)
		if (p->is_param[i] ? !t->segments[i].len : !slice_eq(p->segments[i], t->segments[i]))
			return false;
	return true;
}

struct mp_str pattern_param(const struct pattern *p, const struct target *t, struct mp_str name)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->is_param[i] && slice_eq(p->segments[i], name))
			return t->segments[i];
	return (struct mp_str){ "", 0 };
}
