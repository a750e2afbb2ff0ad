/* SPDX-License-Identifier: Apache-2.0 */
/* What members tell of themselves: today's texts, older ones and wrong ones; and who of them is chosen. */
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/members_priv.h"
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

static void test_engine(void)
{
	ok(reads("") && !info.engine, "of an older program it is not known whether it runs an engine");
	ok(reads(",\"engine\":true") && info.engine, "one that does");
	ok(reads(",\"engine\":false") && !info.engine, "one that does not");
	ok(!reads(",\"engine\":1"), "one that does not know");
}

/* -------------------------------------------------------------------- who is chosen */

static struct peer peers[MEMBERS_MAX];

/* So many members, m0 and so on; those below `engines` run one. */
static struct members *group_of(unsigned n, unsigned engines)
{
	static struct members m;

	memset(&m, 0, sizeof(m));
	memset(peers, 0, sizeof(peers));
	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(peers[i].info.id, sizeof(peers[i].info.id), "m%u", i);
		peers[i].info.engine = i < engines;
		m.peer[m.n_peers++] = &peers[i];
	}
	members_choose(&m);
	return &m;
}

static unsigned count_chosen(unsigned from, unsigned to)
{
	unsigned n = 0;

	for (unsigned i = from; i < to; i++)
		n += peers[i].info.chosen;
	return n;
}

static void test_small(void)
{
	for (unsigned n = 1; n <= MEMBERS_SMALL; n++) {
		(void)group_of(n, 0);
		is_int(count_chosen(0, n), n, "of %u members all", n);
	}
	(void)group_of(MEMBERS_SMALL + 1, 0);
	is_int(count_chosen(0, MEMBERS_SMALL + 1), MEMBERS_FEW, "of one more a few");
	(void)group_of(MEMBERS_MAX, 0);
	is_int(count_chosen(0, MEMBERS_MAX), MEMBERS_FEW, "of very many no more");
}

static void test_engines(void)
{
	(void)group_of(20, 5);
	is_int(count_chosen(0, 5), MEMBERS_FEW, "those that run an engine come first");
	(void)group_of(20, 1);
	ok(peers[0].info.chosen && count_chosen(0, 20) == MEMBERS_FEW, "also when they are less than a few");
}

static void test_draining(void)
{
	struct members *m = group_of(20, 0);
	bool before[20];
	unsigned gone = 0, changed = 0;

	while (!peers[gone].info.chosen)
		gone++;
	for (unsigned i = 0; i < 20; i++)
		before[i] = peers[i].info.chosen;
	peers[gone].info.suspected = true;
	members_choose(m);
	ok(peers[gone].info.chosen && count_chosen(0, 20) == MEMBERS_FEW, "who is suspected stays one of them");
	peers[gone].info.draining = true;
	members_choose(m);
	for (unsigned i = 0; i < 20; i++)
		changed += peers[i].info.chosen != before[i];
	ok(!peers[gone].info.chosen && count_chosen(0, 20) == MEMBERS_FEW, "who drains does not");
	is_int(changed, 2, "one comes for it, the others stay");
	m = group_of(MEMBERS_SMALL + 1, 0);
	peers[0].info.draining = true;
	members_choose(m);
	is_int(count_chosen(0, MEMBERS_SMALL + 1), MEMBERS_SMALL, "and does not count as a member");
}

/* Each member that comes changes one of them at most. */
static void test_growing(void)
{
	unsigned most = 0;

	for (unsigned n = MEMBERS_SMALL + 1; n < 100; n++) {
		bool before[100];
		unsigned went = 0;

		(void)group_of(n, 0);
		for (unsigned i = 0; i < n; i++)
			before[i] = peers[i].info.chosen;
		(void)group_of(n + 1, 0);
		for (unsigned i = 0; i < n; i++)
			went += before[i] && !peers[i].info.chosen;
		most = went > most ? went : most;
	}
	is_int(most, 1, "a member that comes replaces one at most");
}

int main(void)
{
	test_engine();
	test_small();
	test_engines();
	test_draining();
	test_growing();
	test_old();
	test_checks();
	test_wrong();
	test_many();
	return done();
}
