/* SPDX-License-Identifier: Apache-2.0 */
/* The token file (aggregator/http/access.h). */
#include "aggregator/http/access.h"

#include "aggregator/http/server.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

/* printf %s secret | sha256sum, and of "other". */
#define SECRET "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
#define OTHER "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"

static struct err err;

static void test_rights(void)
{
	static const char text[] =
		"[{\"token_sha256\":\"" SECRET "\",\"name\":\"ops\",\"rights\":["
		"{\"prefix\":\"chains/\",\"read\":true,\"put\":true},{\"prefix\":\"\",\"read\":true}]},"
		"{\"token_sha256\":\"" OTHER "\",\"name\":\"root\",\"rights\":["
		"{\"prefix\":\"\",\"read\":true,\"put\":true,\"admin\":true}]},"
		"{\"cert_ou\":\"app:1\",\"name\":\"shop\",\"rights\":[]},"
		"{\"cert_cn\":\"m2\",\"name\":\"member\",\"rights\":[{\"prefix\":\"\",\"admin\":true}]}]";
	static const char *const ous[] = { "org:9", "app:1" };
	const struct access_entry *e;
	struct access *access = NULL;

	is_int(access_parse(slice_of(text), &access, &err), 0, "a file is taken: %s", err.text);
	if (!access)
		return;
	ok(access_names_certs(access), "it speaks of certificates");
	e = access_by_token(access, MP_LIT("secret"));
	if (!ok(e, "a token is known"))
		return;
	is_str(access_name(e), "ops", "by its name");
	is_int(access_rights(e, MP_LIT("chains/shop")), RIGHT_READ | RIGHT_PUT, "rights add up");
	is_int(access_rights(e, MP_LIT("chains")), RIGHT_READ, "half a prefix is none");
	is_int(access_rights(e, MP_LIT("")), RIGHT_READ, "all rows are those of the empty prefix");
	is_int(access_rights_somewhere(e), RIGHT_READ | RIGHT_PUT, "of all that it may do with some row");
	e = access_by_token(access, MP_LIT("other"));
	ok(e && access_rights(e, MP_LIT("x")) == (RIGHT_READ | RIGHT_PUT | RIGHT_ADMIN), "another token");
	ok(!access_by_token(access, MP_LIT("Secret")), "an unknown token");
	ok(!access_by_token(access, MP_LIT("")), "an empty token");
	ok(!access_by_token(access, MP_LIT(SECRET)), "the digest is no token");
	e = access_by_cert(access, "x", ous, 2);
	ok(e && !strcmp(access_name(e), "shop") && !access_rights(e, MP_LIT("x")) && !access_rights_somewhere(e),
	   "by an OU");
	e = access_by_cert(access, "m2", ous, 1);
	ok(e && !strcmp(access_name(e), "member"), "by a CN");
	ok(!access_by_cert(access, "", ous, 1), "no certificate of those");
	ok(!access_by_cert(access, NULL, NULL, 0), "none at all");
	access_unref(access_ref(access));
	access_unref(access);
	access_unref(NULL);
}

static void test_wrong(void)
{
	static const char *const wrong[] = {
		"", "{}", "[1]", "[{}]", "nonsense",
		"[{\"name\":\"a\",\"rights\":[]}]",
		"[{\"token_sha256\":\"12\",\"name\":\"a\",\"rights\":[]}]",
		"[{\"token_sha256\":\"" SECRET "\",\"rights\":[]}]",
		"[{\"token_sha256\":\"" SECRET "\",\"name\":\"\",\"rights\":[]}]",
		"[{\"token_sha256\":\"" SECRET "\",\"name\":\"a\"}]",
		"[{\"token_sha256\":\"" SECRET "\",\"cert_cn\":\"b\",\"name\":\"a\",\"rights\":[]}]",
		"[{\"token_sha256\":\"" SECRET "\",\"name\":\"a\",\"rights\":[{}]}]",
		"[{\"token_sha256\":\"" SECRET "\",\"name\":\"a\",\"rights\":[{\"prefix\":\"\",\"read\":1}]}]",
		"[{\"token_sha256\":\"" SECRET "\",\"name\":\"a\",\"rights\":[],\"more\":1}]",
		"[{\"cert_ou\":\"\",\"name\":\"a\",\"rights\":[]}]",
		"[{\"cert_ou\":5,\"name\":\"a\",\"rights\":[]}]",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct access *access = NULL;

		err.text[0] = '\0';
		ok(access_parse(slice_of(wrong[i]), &access, &err) < 0 && !access && err.text[0],
		   "refused: %s", err.text);
	}
}

static void test_bearer(void)
{
	struct mp_str token;

	ok(access_bearer(MP_LIT("Bearer abc"), &token) && slice_eq(token, MP_LIT("abc")), "a token");
	ok(access_bearer(MP_LIT(" bEARER  a.b-c_d~e+f/g== "), &token) &&
		   slice_eq(token, MP_LIT("a.b-c_d~e+f/g==")),
	   "in other writing");
	ok(!access_bearer(MP_LIT("Bearer"), &token), "no token");
	ok(!access_bearer(MP_LIT("Bearer "), &token), "an empty one");
	ok(!access_bearer(MP_LIT("Bearer a b"), &token), "two");
	ok(!access_bearer(MP_LIT("Bearer a\xc3"), &token), "odd bytes");
	ok(!access_bearer(MP_LIT("Basic abc"), &token), "another scheme");
	ok(!access_bearer(MP_LIT(""), &token), "nothing");
}

int main(void)
{
	test_rights();
	test_wrong();
	test_bearer();
	return done();
}
