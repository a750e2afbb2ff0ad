/* SPDX-License-Identifier: Apache-2.0 */
/* See token.h. */
#include "aggregator/etcd/token.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "lib/hex.h"
#include "lib/json.h"
#include "lib/slice.h"

#define RECORD_FORMAT 1
#define SECRET_SIZE 16

int token_make(const char *group, char out[ETCD_TOKEN_SIZE])
{
	uint8_t secret[SECRET_SIZE];
	char digits[2 * SECRET_SIZE + 1] = "";

	if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret))
		return -EIO;
	hex_encode(digits, secret, sizeof(secret));
	(void)snprintf(out, ETCD_TOKEN_SIZE, "%s.%s", group, digits);
	explicit_bzero(secret, sizeof(secret));
	explicit_bzero(digits, sizeof(digits));
	return 0;
}

bool token_group(struct mp_str token, char ret_group[META_UUID_SIZE])
{
	struct mp_str group, secret;
	uint8_t bytes[SECRET_SIZE];

	if (!slice_cut(token, '.', &group, &secret) || !hex_decode(group, bytes, sizeof(bytes)) ||
	    !hex_decode(secret, bytes, sizeof(bytes)))
		return false;
	memcpy(ret_group, group.ptr, group.len);
	ret_group[group.len] = '\0';
	return true;
}

int token_hash(struct mp_str token, char out[TOKEN_HASH_SIZE])
{
	uint8_t digest[32];

	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, token.ptr, token.len, digest) < 0)
		return -EIO;
	hex_encode(out, digest, sizeof(digest));
	out[TOKEN_HASH_SIZE - 1] = '\0';
	return 0;
}

int token_record_write(struct buf *out, const struct token_record *record)
{
	return buf_printf(out, "{\"format\":%d,\"expires\":%" PRIu64 ",\"member\":\"%s\",\"nonce\":\"%s\"}",
			  RECORD_FORMAT, record->expires_ms, record->member, record->nonce);
}

static bool take(char *to, size_t size, const char *text)
{
	return snprintf(to, size, "%s", text) < (int)size;
}

int token_record_read(struct mp_str text, struct token_record *ret)
{
	CLEANUP_JSON json_t *value = NULL;
	const char *member, *nonce;
	json_int_t expires;
	int format;

	*ret = (struct token_record){ .expires_ms = 0 };
	if (json_load_text(text, TOKEN_RECORD_MAX, 2, &value, NULL) ||
	    json_unpack(value, "{s:i, s:I, s:s, s:s}", "format", &format, "expires", &expires, "member", &member,
			"nonce", &nonce) ||
	    format != RECORD_FORMAT || expires < 0)
		return -EINVAL;
	ret->expires_ms = (uint64_t)expires;
	return take(ret->member, sizeof(ret->member), member) && take(ret->nonce, sizeof(ret->nonce), nonce) ? 0 :
													     -EINVAL;
}

enum token_state token_state(const struct token_record *record, uint64_t now_ms, const char *nonce)
{
	if (record->nonce[0])
		return strcmp(record->nonce, nonce) == 0 ? TOKEN_OURS : TOKEN_USED;
	return now_ms >= record->expires_ms ? TOKEN_EXPIRED : TOKEN_FREE;
}
