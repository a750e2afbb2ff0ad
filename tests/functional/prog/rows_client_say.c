/* SPDX-License-Identifier: Apache-2.0 */
/* What the driven client writes; see rows_client_priv.h. */
#include "tests/functional/prog/rows_client_priv.h"

#include <gnutls/crypto.h>

#include "lib/clock.h"
#include "lib/hex.h"
#include "lib/json_text.h"

const char *const driven_outcomes[] = {
	[ROWS_OK] = "ok", [ROWS_REFUSED] = "refused", [ROWS_REJECTED] = "rejected", [ROWS_NOT_THERE] = "not_there",
	[ROWS_GONE] = "gone", [ROWS_UNAVAILABLE] = "unavailable", [ROWS_UNKNOWN] = "unknown",
};

void add_text(struct buf *out, const char *name, struct mp_str text)
{
	(void)buf_printf(out, ",\"%s\":", name);
	(void)json_text_add(out, text);
}

void say(struct buf *out)
{
	(void)buf_add_str(out, "}\n");
	fwrite(out->ptr, 1, out->len, stdout);
	fflush(stdout);
	buf_fini(out);
}

void say_begin(struct buf *out, uint64_t id)
{
	buf_init(out, 32u << 20);
	(void)buf_printf(out, "{\"id\":%" PRIu64, id);
}

void add_sha(struct buf *out, struct mp_str bytes)
{
	unsigned char digest[32];
	char text[17] = "";

	(void)gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes.ptr ? bytes.ptr : "", bytes.len, digest); /* cannot fail */
	hex_encode(text, digest, 8);
	(void)buf_printf(out, "\"%s\"", text);
}

void event_begin(struct buf *out, const char *name, uint64_t o)
{
	buf_init(out, 1u << 20);
	(void)buf_printf(out, "{\"t\":%" PRIu64 ",\"e\":\"%s\",\"c\":\"c\",\"o\":%" PRIu64, clock_now(&clock_monotonic),
			 name, o);
}

void event_end(struct buf *out)
{
	(void)buf_add_str(out, "}\n");
	if (driven.history) {
		fwrite(out->ptr, 1, out->len, driven.history);
		fflush(driven.history);
	}
	buf_fini(out);
}
