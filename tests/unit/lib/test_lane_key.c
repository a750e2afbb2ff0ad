/* SPDX-License-Identifier: Apache-2.0 */
/* lib/lane_key.c: both sides spell a destination alike. */
#include "lib/lane_key.h"

#include "lib/slice.h"
#include "tests/lib/tap.h"

static const char *key_of(struct mp_str host, uint32_t port)
{
	static char text[LANE_KEY_MAX + 1];
	struct lane_key key;

	if (!lane_key_make(&key, host, port))
		return NULL;
	memcpy(text, key.text, key.size);
	text[key.size] = '\0';
	if (key.hash != lane_hash(LANE_HASH_START, key.text, key.size) ||
	    key.host_hash != lane_hash(LANE_HASH_START, key.text, key.host_size))
		return "wrong hash";
	return text;
}

static void test_spelling(void)
{
	static const struct {
		const char *host;
		uint32_t port;
		const char *want;
	} rows[] = {
		{ "payments", 0, "payments" },
		{ "payments", 80, "payments:80" },
		{ "Payments.INTERNAL.", 65535, "payments.internal:65535" },
		{ "127.0.0.1", 9292, "127.0.0.1:9292" },
		{ "::1", 80, "[::1]:80" },
		{ "[::1]", 80, "[::1]:80" },
		{ "2001:DB8::A", 0, "[2001:db8::a]" },
		{ "[2001:DB8::A]", 443, "[2001:db8::a]:443" },
		{ "unix:/Run/App.sock", 80, "unix:/Run/App.sock" },
		{ "unix:/Run/dir.", 0, "unix:/Run/dir." },
		{ "a", 7, "a:7" },
		{ "", 80, NULL },
		{ ".", 80, NULL },
		{ "a", 65536, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_str(key_of(slice_of(rows[i].host), rows[i].port), rows[i].want,
		       "\"%s\" port %u", rows[i].host, rows[i].port);
}

static void test_length(void)
{
	char host[LANE_KEY_MAX];

	memset(host, 'h', sizeof(host));
	ok(key_of((struct mp_str){ host, 312 }, 65535), "312 bytes of host");
	ok(!key_of((struct mp_str){ host, 313 }, 65535), "313 are too many");
	memset(host, ':', sizeof(host));
	ok(key_of((struct mp_str){ host, 312 }, 65535), "312 with brackets to add");
}

static void test_paths(void)
{
	static const struct {
		const char *prefix, *path;
		bool want;
	} rows[] = {
		{ "", "/", true },
		{ "", "", true },
		{ "/", "/anything", true },
		{ "/api", "/api", true },
		{ "/api", "/api/v1", true },
		{ "/api", "/api?x=1", true },
		{ "/api", "/apis", false },
		{ "/api", "/ap", false },
		{ "/api", "/ap?i", false },
		{ "/api/", "/api/v1", true },
		{ "/api/", "/api", false },
		{ "/a?b", "/a?b", false },
		{ "/API", "/api", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ok(lane_path_covers(slice_of(rows[i].prefix), slice_of(rows[i].path)) ==
			   rows[i].want,
		   "\"%s\" %s \"%s\"", rows[i].prefix, rows[i].want ? "covers" : "does not cover",
		   rows[i].path);
}

int main(void)
{
	test_spelling();
	test_length();
	test_paths();
	return done();
}
