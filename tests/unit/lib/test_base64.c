/* SPDX-License-Identifier: Apache-2.0 */
/* Base64: the vectors of RFC 4648, all bytes both ways, and texts that are none. */
#include <errno.h>

#include "lib/base64.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

static const struct {
	const char *bytes, *text;
} vectors[] = {
	{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
};

static const char *const wrong[] = {
	"Z", "Zg", "Zg=", "Zg===", "====", "Z===", "Zg==Zg==", "Zm9=v", "Zm9v\n", "Zm-_", "Zh==", "Zm9=", " Zg=", "Zm\xff=",
};

static void test_vectors(void)
{
	struct buf out;

	buf_init(&out, 100);
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		buf_reset(&out);
		ok(!base64_encode(&out, slice_of(vectors[i].bytes)), "\"%s\" is encoded", vectors[i].bytes);
		is_str(buf_str(&out), vectors[i].text, "to its text");
		buf_reset(&out);
		ok(!base64_decode(&out, slice_of(vectors[i].text)), "\"%s\" is decoded", vectors[i].text);
		is_str(buf_str(&out), vectors[i].bytes, "to its bytes");
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		buf_reset(&out);
		ok(base64_decode(&out, slice_of(wrong[i])) == -EINVAL && !out.len && !out.error,
		   "case %zu is no base64, and nothing is added", i);
	}
	buf_fini(&out);
}

static void test_bytes(void)
{
	char bytes[256];
	struct buf text, back;
	size_t good = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)i;
	buf_init(&text, 1000);
	buf_init(&back, 1000);
	for (size_t size = 0; size <= sizeof(bytes); size++) {
		struct mp_str part = slice_make(bytes + sizeof(bytes) - size, size);

		buf_reset(&text);
		buf_reset(&back);
		good += !base64_encode(&text, part) && !base64_decode(&back, buf_slice(&text)) &&
			slice_eq(buf_slice(&back), part);
	}
	is_int((long)good, 257, "all bytes come back, at every length");
	buf_fini(&text);
	buf_fini(&back);
}

static void test_bounds(void)
{
	struct buf out;

	buf_init(&out, 7);
	is_int(base64_encode(&out, MP_LIT("abcd")), -E2BIG, "no text longer than the buffer may be");
	is_int((long)out.len, 0, "nor half of it");
	buf_fini(&out);
}

int main(void)
{
	test_vectors();
	test_bytes();
	test_bounds();
	return done();
}
