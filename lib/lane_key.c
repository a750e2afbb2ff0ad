/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a destination is spelled: see lane_key.h.  On libmiddlepipe's path of
 * every call, so one pass over the host lowers and hashes it.
 */
#include "lib/lane_key.h"

#include <string.h>

#include "lib/slice.h"

#define PORT_SIZE_MAX 6u /* ":65535" */
#define PORT_MAX 65535u

/* Appends one byte to the host part. */
static void host_put(struct lane_key *key, char c)
{
	key->text[key->host_size++] = c;
	key->host_hash = lane_hash(key->host_hash, &c, 1);
}

static void host_put_lower(struct lane_key *key, struct mp_str host)
{
	for (size_t i = 0; i < host.len; i++)
		host_put(key, slice_lower(host.ptr[i]));
}

/* An address with colons that nobody has put into brackets yet. */
static bool is_bare_ipv6(struct mp_str host)
{
	return host.ptr[0] != '[' && memchr(host.ptr, ':', host.len);
}

static void port_put(struct lane_key *key, uint32_t port)
{
	char digits[PORT_SIZE_MAX];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + port % 10);
		port /= 10;
	} while (port);
	digits[--at] = ':';
	memcpy(key->text + key->size, digits + at, sizeof(digits) - at);
	key->size += (uint32_t)(sizeof(digits) - at);
	key->hash = lane_hash(key->hash, digits + at, sizeof(digits) - at);
}

bool lane_key_make(struct lane_key *key, struct mp_str host, uint32_t port)
{
	bool path = slice_starts(host, MP_LIT("unix:/"));

	key->host_size = 0;
	key->host_hash = LANE_HASH_START;
	if (!path && host.len && host.ptr[host.len - 1] == '.')
		host.len--;
	if (!host.len || host.len > LANE_KEY_MAX - PORT_SIZE_MAX - 2 || port > PORT_MAX)
		return false;
	if (path) {
		for (size_t i = 0; i < host.len; i++)
			host_put(key, host.ptr[i]);
	} else if (is_bare_ipv6(host)) {
		host_put(key, '[');
		host_put_lower(key, host);
		host_put(key, ']');
	} else {
		host_put_lower(key, host);
	}
	key->size = key->host_size;
	key->hash = key->host_hash;
	if (port && !path)
		port_put(key, port);
	return true;
}

bool lane_path_covers(struct mp_str prefix, struct mp_str path)
{
	struct mp_str rest;

	(void)slice_cut(path, '?', &path, &rest);
	if (!prefix.len)
		return true;
	if (!slice_starts(path, prefix))
		return false;
	return path.len == prefix.len || prefix.ptr[prefix.len - 1] == '/' ||
	       path.ptr[prefix.len] == '/';
}
