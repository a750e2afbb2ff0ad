/* SPDX-License-Identifier: Apache-2.0 */
/* See owner.h and owner_priv.h.  Here: what stands in `owner/<shard>`. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/owner_priv.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/slice.h"

bool owner_text_write(struct owner *owner, char *out, size_t *ret_size)
{
	int n = snprintf(out, OWNER_TEXT_MAX, "{\"format\":1,\"member\":\"%s\",\"nonce\":\"%016" PRIx64
			 "\",\"counter\":%" PRIu64 "}", owner->member, owner->nonce, ++owner->counter);

	*ret_size = n < 0 || n >= OWNER_TEXT_MAX ? 0 : (size_t)n;
	return *ret_size;
}

bool owner_text_read(struct mp_str text, struct owner_name *ret)
{
	CLEANUP_JSON json_t *value = NULL;
	const char *member, *nonce;
	json_int_t counter;

	if (!text.ptr || json_load_text(text, OWNER_TEXT_MAX, 2, &value, NULL) ||
	    json_unpack(value, "{s:s, s:s, s:I}", "member", &member, "nonce", &nonce, "counter", &counter) ||
	    strlen(member) >= sizeof(ret->member) || counter < 0 ||
	    !hex_number(slice_of(nonce), 16, &ret->nonce))
		return false;
	memcpy(ret->member, member, strlen(member) + 1);
	ret->counter = (uint64_t)counter;
	return true;
}
