/* SPDX-License-Identifier: Apache-2.0 */
/* What members tell of themselves: today's texts, older ones and wrong ones. */
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/members.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

#define OLD "{\"format\":1,\"member\":\"m1\",\"nonce\":\"00000000000000ff\",\"since\":17,\"draining\":true," \
	    "\"version\":\"0.1\",\"url\":\"http://h:1\""

static struct member_info info;

/* With what stands behind the members that there always were. */
static bool reads(const char *more)
{
	char text[8000];

	(void)snprintf(text, sizeof(text), OLD "%s}", more);
	return member_text_read(slice_of(text), &info);
}

static void test_old(void)
{
	ok(reads("") && info.n_checks == 0, "a text of an older program: no check is known");
	ok(!strcmp(info.id, "m1") && info.nonce == 255 && info.since_ms == 17 && info.draining &&
		   !strcmp(info.version, "0.1") && !strcmp(info.url, "http://h:1"), "all the rest is there");
	ok(reads(",\"more\":[1]") && !info.suspected, "what a newer program adds is passed over");
}

static void test_checks(void)
{
	ok(reads(",\"checks\":{}") && info.n_checks == 0, "no checks");
	ok(reads(",\"checks\":{\"unique\":1,\"sum\":4294967295}") && info.n_checks == 2 &&
		   !strcmp(info.check[0].name, "unique") && info.check[0].rules == 1 &&
		   !strcmp(info.check[1].name, "sum") && info.check[1].rules == UINT32_MAX, "two of them");
}

static void test_wrong(void)
{
	static const char *const wrong[] = {
		",\"checks\":[]", ",\"checks\":\"unique\"", ",\"checks\":{\"Unique\":1}", ",\"checks\":{\"\":1}",
		",\"checks\":{\"unique\":0}", ",\"checks\":{\"unique\":-1}", ",\"checks\":{\"unique\":4294967296}",
		",\"checks\":{\"unique\":\"1\"}", ",\"checks\":{\"unique\":{\"rules\":1}}", ",\"member\":\"m1\"",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ok(!reads(wrong[i]), "not %s", wrong[i]);
	ok(!member_text_read(MP_LIT("{}"), &info) && !member_text_read((struct mp_str){ 0 }, &info), "nor nothing");
}

static void test_many(void)
{
	char text[4000] = ",\"checks\":{";
	size_t n = strlen(text);

	for (int i = 0; i < MEMBER_CHECKS_MAX + 10; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s\"c%d\":%d", i ? "," : "", i, i + 1);
	(void)snprintf(text + n, sizeof(text) - n, "}");
	ok(reads(text) && info.n_checks == MEMBER_CHECKS_MAX && info.check[MEMBER_CHECKS_MAX - 1].rules == MEMBER_CHECKS_MAX,
	   "of more than are kept, the first ones");
}

int main(void)
{
	test_old();
	test_checks();
	test_wrong();
	test_many();
	return done();
}
