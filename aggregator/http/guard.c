/* SPDX-License-Identifier: Apache-2.0 */
/* See guard.h. */
#include "aggregator/http/guard.h"

#include <string.h>

#include "lib/slice.h"

#define LENGTH_MAX ((uint64_t)1 << 53) /* that all agree on */

/* RFC 9110, 5.6.2. */
static bool is_token_byte(unsigned char c)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr(others, c));
}

static bool is_token(struct mp_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_token_byte((unsigned char)s.ptr[i]))
			return false;
	return s.len > 0;
}

static bool is_value(struct mp_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* A name, an IPv4 address or one in brackets, and perhaps a port. */
static bool is_host(struct mp_str s)
{
	static const char others[] = "-._~:[]%!$&'()*+,;=";

	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (!((c >= '0' && c <= '9') || (slice_lower((char)c) >= 'a' &&
		      slice_lower((char)c) <= 'z') || (c && strchr(others, c))))
			return false;
	}
	return s.len > 0;
}

/* How many fields have that name; the last one's value. */
static size_t count(const struct guard_head *head, struct mp_str name, struct mp_str *ret_value)
{
	size_t n = 0;

	for (size_t i = 0; i < head->n; i++) {
		if (slice_eq_nocase(head->fields[i].name, name)) {
			*ret_value = slice_trim(head->fields[i].value);
			n++;
		}
	}
	return n;
}

static const char *check_length(const struct guard_head *head, bool modern, struct guard_body *body)
{
	struct mp_str length = { 0 }, coding = { 0 };
	size_t lengths = count(head, MP_LIT("Content-Length"), &length);
	size_t codings = count(head, MP_LIT("Transfer-Encoding"), &coding);

	if (lengths + codings > 1)
		return "the body's length must be given once: one Content-Length, or one "
		       "Transfer-Encoding";
	if (codings && (!modern || !slice_eq_nocase(coding, MP_LIT("chunked"))))
		return "Transfer-Encoding may be chunked only, and with HTTP/1.1";
	body->chunked = codings;
	body->length = 0;
	if (lengths && (slice_to_u64(length, &body->length) || body->length > LENGTH_MAX))
		return "Content-Length is not a number of bytes";
	return NULL;
}

const char *guard_check(const struct guard_head *head, struct guard_body *ret_body)
{
	bool modern = slice_eq(head->version, MP_LIT("HTTP/1.1"));
	struct mp_str host = { 0 };

	if (!modern && !slice_eq(head->version, MP_LIT("HTTP/1.0")))
		return "the version must be HTTP/1.1 or HTTP/1.0";
	for (size_t i = 0; i < head->n; i++) {
		if (!is_token(head->fields[i].name))
			return "the name of a field has a byte that it may not have";
		if (!is_value(head->fields[i].value))
			return "the value of a field has a control byte";
	}
	if (count(head, MP_LIT("Host"), &host) != 1 || !is_host(host))
		return "there must be one field Host, with a host";
	return check_length(head, modern, ret_body);
}

static const char *end_of(struct mp_str s)
{
	return s.ptr + s.len;
}

/* The blank or tabs between the colon and the value are still there. */
static bool only_blanks(const char *from, const char *to)
{
	for (; from < to; from++)
		if (*from != ' ' && *from != '\t')
			return false;
	return true;
}

bool guard_plain(struct mp_str method, struct mp_str target, const struct guard_head *head)
{
	static const char ends[4]; /* of the last line and of the empty one */
	const char *line;

	if (target.ptr != end_of(method) + 1 || head->version.ptr != end_of(target) + 1)
		return false;
	line = end_of(head->version);
	for (size_t i = 0; i < head->n; i++) {
		const struct guard_field *f = &head->fields[i];

		if (f->name.ptr != line + 2 || f->value.ptr <= end_of(f->name) ||
		    !only_blanks(end_of(f->name) + 1, f->value.ptr))
			return false;
		line = end_of(f->value);
	}
	return !memcmp(line, ends, sizeof(ends));
}
