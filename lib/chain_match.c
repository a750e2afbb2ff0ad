/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The matches of a destination: "host", "host:port", "[IPv6]:port" and
 * "unix:/path", and the index that finds those that overlap.
 *
 * Called by chain.c.  How a key is spelled is the business of lane_key.c.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "lib/chain_priv.h"

#define PORT_MAX 65535
#define HOST_MAX 253  /* bytes of a name, RFC 1035 */
#define LABEL_MAX 63  /* bytes between two dots */
#define UNIX_MAX 107  /* bytes of a socket's path, unix(7) */

static bool is_ipv6(struct mp_str text)
{
	char copy[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (!text.len || text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	return inet_pton(AF_INET6, copy, &address) == 1;
}

static bool is_host_byte(char c)
{
	c = slice_lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static const char *check_host(struct mp_str host)
{
	size_t label = 0;

	if (host.len && host.ptr[host.len - 1] == '.')
		host.len--;
	if (!host.len)
		return "the host is empty";
	if (host.len > HOST_MAX)
		return "a host has at most 253 bytes";
	for (size_t i = 0; i < host.len; i++) {
		if (host.ptr[i] == '.' && !label)
			return "a part between two dots is empty";
		if (host.ptr[i] != '.' && !is_host_byte(host.ptr[i]))
			return "a host has letters, digits, '-', '_' and '.' only";
		label = host.ptr[i] == '.' ? 0 : label + 1;
		if (label > LABEL_MAX)
			return "a part between two dots has at most 63 bytes";
	}
	return label ? NULL : "a part between two dots is empty";
}

static const char *read_port(struct mp_str text, uint32_t *ret_port)
{
	uint64_t port;

	if (slice_to_u64(text, &port) || port < 1 || port > PORT_MAX)
		return "a port is 1 to 65535";
	*ret_port = (uint32_t)port;
	return NULL;
}

/* "[...]" or "[...]:port" */
static const char *read_brackets(struct mp_str text, struct mp_str *ret_host,
				 uint32_t *ret_port)
{
	struct mp_str inner, rest;

	if (!slice_cut(slice_skip(text, 1), ']', &inner, &rest))
		return "the closing bracket is missing";
	if (!is_ipv6(inner))
		return "that is no IPv6 address";
	*ret_host = slice_make(text.ptr, inner.len + 2);
	if (!rest.len)
		return NULL;
	if (rest.ptr[0] != ':')
		return "after the bracket may follow a colon and a port";
	return read_port(slice_skip(rest, 1), ret_port);
}

static const char *read_unix(struct mp_str text)
{
	if (text.len < sizeof("unix:/") || text.ptr[sizeof("unix:") - 1] != '/')
		return "after unix: comes a path that begins with '/'";
	if (text.len - (sizeof("unix:") - 1) > UNIX_MAX)
		return "the path of a socket has at most 107 bytes";
	return NULL;
}

static const char *read_plain(struct mp_str text, struct mp_str *ret_host, uint32_t *ret_port)
{
	struct mp_str port;
	const char *wrong;

	if (is_ipv6(text))
		return "an IPv6 address stands in brackets";
	if (text.len && memchr(text.ptr, '/', text.len))
		return "no scheme and no path";
	wrong = slice_cut(text, ':', ret_host, &port) ? read_port(port, ret_port) : NULL;
	return wrong ? wrong : check_host(*ret_host);
}

const char *chain_match_read(struct mp_str text, struct lane_key *key, uint32_t *ret_port)
{
	struct mp_str host = text;
	const char *wrong;

	*ret_port = 0;
	if (slice_starts(text, MP_LIT("unix:")))
		wrong = read_unix(text);
	else if (slice_starts(text, MP_LIT("[")))
		wrong = read_brackets(text, &host, ret_port);
	else
		wrong = read_plain(text, &host, ret_port);
	if (!wrong && !lane_key_make(key, host, *ret_port))
		wrong = "it is too long";
	return wrong;
}

/* --------------------------------------------------------------------- index */

static int compare_bytes(struct mp_str a, struct mp_str b)
{
	size_t size = a.len < b.len ? a.len : b.len;
	int order = size ? memcmp(a.ptr, b.ptr, size) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static struct mp_str host_of(const struct chain_ref *ref)
{
	return slice_make(ref->key->text, ref->key->host_size);
}

/* Host, then port; "any port" sorts first. */
static int compare_place(const struct chain_ref *a, const struct chain_ref *b)
{
	int order = compare_bytes(host_of(a), host_of(b));

	return order ? order : (a->port > b->port) - (a->port < b->port);
}

static bool is_later(const struct chain_ref *a, const struct chain_ref *b)
{
	return a->destination != b->destination ? a->destination > b->destination :
						  a->match > b->match;
}

static int compare_refs(const void *one, const void *two)
{
	const struct chain_ref *a = one, *b = two;
	int order = compare_place(a, b);

	return order ? order : is_later(a, b) - is_later(b, a);
}

/* The message stands at the one that comes later in the file. */
static void refuse_pair(struct chain_parser *parser, const struct chain_ref *a,
			const struct chain_ref *b)
{
	const struct chain_ref *later = is_later(a, b) ? a : b;
	const struct chain_ref *first = later == a ? b : a;
	struct json_at root = json_at_root(parser->root);
	struct json_at all = json_at_member(&root, "destinations");
	struct json_at destination = json_at_index(&all, later->destination);
	struct json_at list = json_at_member(&destination, "match");
	struct json_at at = json_at_index(&list, later->match);
	char mine[JSON_QUOTE_SIZE], other[JSON_QUOTE_SIZE];

	json_errs_add(parser->errs, &at, "%s overlaps %s of $.destinations[%u].match[%u]%s",
		      json_quote(mine, slice_make(later->key->text, later->key->size)),
		      json_quote(other, slice_make(first->key->text, first->key->size)),
		      first->destination, first->match,
		      later->port == first->port ? "" : ": without a port it means any port");
}

/* One host's matches: with "any port" in front, all others overlap it. */
static void check_host_group(struct chain_parser *parser, const struct chain_ref *refs, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (!refs[0].port)
			refuse_pair(parser, &refs[0], &refs[i]);
		else if (refs[i].port == refs[i - 1].port)
			refuse_pair(parser, &refs[i - 1], &refs[i]);
	}
}

void chain_index(struct chain_parser *parser)
{
	struct chain_ref *refs = parser->chains->index;
	size_t n = parser->chains->n_index, end;

	if (n)
		qsort(refs, n, sizeof(*refs), compare_refs);
	for (size_t i = 0; i < n; i = end) {
		end = i + 1;
		while (end < n && slice_eq(host_of(&refs[i]), host_of(&refs[end])))
			end++;
		check_host_group(parser, &refs[i], end - i);
	}
}

static int compare_found(const void *one, const void *two)
{
	return compare_place(one, two);
}

const struct chain_ref *chain_index_find(const struct chains *chains, struct mp_str host,
					 uint32_t port)
{
	struct lane_key key;
	struct chain_ref wanted = {.key = &key, .port = port};
	const struct chain_ref *found;

	if (!chains->n_index || !lane_key_make(&key, host, port))
		return NULL;
	found = bsearch(&wanted, chains->index, chains->n_index, sizeof(wanted), compare_found);
	wanted.port = 0;
	return found ? found :
		       bsearch(&wanted, chains->index, chains->n_index, sizeof(wanted),
			       compare_found);
}
