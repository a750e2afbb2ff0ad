/* SPDX-License-Identifier: Apache-2.0 */
/* What etcd says of its members, tokens, and whom the group lets in: all that needs no etcd. */
#include "aggregator/etcd/admit.h"

#include <errno.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

#define HEADER "{\"header\":{\"cluster_id\":\"1333971233446545601\",\"member_id\":\"7\",\"raft_term\":\"2\"}"
#define NAMED(id, name) "{\"ID\":\"" id "\",\"name\":\"" name "\",\"peerURLs\":[\"http://p" id ":1\"]," \
			"\"clientURLs\":[\"http://c" id ":1\",\"http://d:1\"]}"

static const char three[] = HEADER ",\"members\":[" NAMED("7", "m1") "," NAMED("8", "m2")
	",{\"ID\":\"18446744073709551615\",\"peerURLs\":[\"http://p9:1\"],\"isLearner\":true}]}";

static void test_list(void)
{
	struct cluster_list list;
	struct err err = { 0 };
	struct buf text;

	is_int(cluster_list_read(slice_of(three), &list, &err), 0, "a list is read (%s)", err.text);
	is_u64(list.n, 3, "of three");
	ok(list.cluster == UINT64_C(1333971233446545601) && list.answered == 7, "by whom");
	ok(list.member[2].id == UINT64_MAX && list.member[2].learner && !list.member[2].name[0], "a learner that has not started");
	is_str(list.member[0].client, "http://c7:1", "the first URL counts");
	is_u64(cluster_voters(&list), 2, "two vote");
	ok(cluster_by_name(&list, "m2") == &list.member[1] && !cluster_by_name(&list, "m3"), "by name");
	ok(cluster_by_peer(&list, "http://p9:1") == &list.member[2] && !cluster_by_id(&list, 0), "by address");
	buf_init(&text, 4096);
	is_int(cluster_initial(&text, &list, UINT64_MAX, "m3"), 0, "the members as etcd wants them");
	is_str(buf_str(&text), "m1=http://p7:1,m2=http://p8:1,m3=http://p9:1", "with the new one's name");
	buf_reset(&text);
	is_int(cluster_endpoints(&text, &list, 7), 0, "endpoints");
	is_str(buf_str(&text), "http://c8:1", "of others that have started");
	buf_fini(&text);
}

static void test_wrong_lists(void)
{
	static const struct { const char *text, *what; } cases[] = {
		{ "", "nothing" },
		{ "[]", "an array" },
		{ "{}", "an empty object" },
		{ HEADER "}", "no members" },
		{ HEADER ",\"members\":[]}", "none" },
		{ HEADER ",\"members\":[{\"name\":\"m1\"}]}", "one without an id" },
		{ HEADER ",\"members\":[{\"ID\":7}]}", "an id that is a number" },
		{ HEADER ",\"members\":[{\"ID\":\"-7\"}]}", "a negative id" },
		{ HEADER ",\"members\":[{\"ID\":\"18446744073709551616\"}]}", "an id of 65 bits" },
		{ HEADER ",\"members\":[7]}", "a member that is a number" },
		{ HEADER ",\"members\":[{\"ID\":\"7\",\"peerURLs\":\"http://a\"}]}", "URLs that are one text" },
		{ HEADER ",\"members\":[{\"ID\":\"7\",\"peerURLs\":[\"http://a,b=c\"]}]}", "an URL with a comma" },
		{ HEADER ",\"members\":[{\"ID\":\"7\",\"name\":\"a b\"}]}", "a name with a blank" },
		{ "{\"members\":[{\"ID\":\"7\"}]}", "no header" },
		{ "{\"header\":{},\"members\":[{\"ID\":\"7\"}]}", "no cluster" },
		{ HEADER ",\"members\":[{\"ID\":\"7\"}", "a torn one" },
	};
	struct cluster_list list;
	struct buf many;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = { 0 };

		is_int(cluster_list_read(slice_of(cases[i].text), &list, &err), -EINVAL, "%s: %s", cases[i].what, err.text);
	}
	buf_init(&many, 65536);
	(void)buf_add_str(&many, HEADER ",\"members\":[{\"ID\":\"1\"}");
	for (int i = 0; i < CLUSTER_MAX; i++)
		(void)buf_add_str(&many, ",{\"ID\":\"2\"}");
	(void)buf_add_str(&many, "]}");
	is_int(cluster_list_read(buf_slice(&many), &list, NULL), -EINVAL, "too many");
	buf_fini(&many);
}

static void test_judge(void)
{
	static const struct { int status; const char *text; enum cluster_word want; } cases[] = {
		{ 200, "{}", CLUSTER_DONE },
		{ 404, "{\"error\":\"etcdserver: member not found\",\"code\":5}", CLUSTER_NO_MEMBER },
		{ 400, "{\"error\":\"etcdserver: can only promote a learner member which is in sync with leader\",\"code\":9}",
		  CLUSTER_NOT_SYNCED },
		{ 400, "{\"error\":\"etcdserver: can only promote a learner member\",\"code\":9}", CLUSTER_NO_LEARNER },
		{ 400, "{\"message\":\"etcdserver: Peer URLs already exists\",\"code\":9}", CLUSTER_EXISTS },
		{ 400, "{\"error\":\"etcdserver: too many learner members in cluster\"}", CLUSTER_BUSY },
		{ 503, "{\"error\":\"etcdserver: unhealthy cluster\",\"code\":14}", CLUSTER_UNHEALTHY },
		{ 503, "{\"error\":\"etcdserver: no leader\"}", CLUSTER_TROUBLE },
		{ 500, "<html>", CLUSTER_TROUBLE },
		{ 0, "{\"error\":\"etcdserver: member not found\"}", CLUSTER_TROUBLE },
		{ 404, "{\"error\":7}", CLUSTER_TROUBLE },
	};
	char why[24];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[200];

		is_int(cluster_judge(cases[i].status, slice_of(cases[i].text), text, sizeof(text)), cases[i].want, "%d %s",
		       cases[i].status, text);
	}
	(void)cluster_judge(400, slice_of("{\"error\":\"a\\nlong text that goes on and on\"}"), why, sizeof(why));
	is_str(why, "a?long text that goes o", "a text is printable, and cut");
}

/* ------------------------------------------------------------------------ tokens */

static void test_tokens(void)
{
	static const char group[] = "000102030405060708090a0b0c0d0e0f";
	char token[ETCD_TOKEN_SIZE], other[ETCD_TOKEN_SIZE], of[META_UUID_SIZE], hash[TOKEN_HASH_SIZE];
	struct token_record record = { .expires_ms = 1000 }, back;
	struct buf text;

	is_int(token_make(group, token), 0, "a token");
	is_int(token_make(group, other), 0, "another");
	ok(strcmp(token, other) != 0 && strlen(token) == ETCD_TOKEN_SIZE - 1, "is not the same");
	ok(token_group(slice_of(token), of) && strcmp(of, group) == 0, "it says of which group it is");
	ok(!token_group(slice_of(""), of) && !token_group(slice_of(group), of), "that is none");
	token[70 % (ETCD_TOKEN_SIZE - 1)] = 'G';
	ok(!token_group(slice_of(token), of), "nor that");
	is_int(token_hash(slice_of("abc"), hash), 0, "its hash");
	is_str(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "is SHA-256");
	is_int(token_state(&record, 999, "n1"), TOKEN_FREE, "it is free");
	is_int(token_state(&record, 1000, "n1"), TOKEN_EXPIRED, "and expires");
	(void)snprintf(record.nonce, sizeof(record.nonce), "n1");
	(void)snprintf(record.member, sizeof(record.member), "m1");
	is_int(token_state(&record, 5000, "n1"), TOKEN_OURS, "who has claimed it may go on");
	is_int(token_state(&record, 1, "n2"), TOKEN_USED, "nobody else may");
	buf_init(&text, TOKEN_RECORD_MAX);
	is_int(token_record_write(&text, &record), 0, "a record is written");
	is_int(token_record_read(buf_slice(&text), &back), 0, "and read");
	ok(back.expires_ms == 1000 && !strcmp(back.member, "m1") && !strcmp(back.nonce, "n1"), "the same");
	is_int(token_record_read(slice_of("{\"format\":2,\"expires\":1,\"member\":\"\",\"nonce\":\"\"}"), &back), -EINVAL, "a newer one");
	is_int(token_record_read(slice_of("{\"format\":1,\"expires\":1,\"member\":\"\",\"nonce\":\"12345678901234567\"}"), &back),
	       -EINVAL, "one with a nonce that is too long");
	is_int(token_record_read(slice_of("{"), &back), -EINVAL, "a torn one");
	buf_fini(&text);
}

/* --------------------------------------------------------------------- letting in */

static void test_request(void)
{
	struct admit_request request;
	struct err err = { 0 };

	is_int(admit_request_read(slice_of("{\"token\":\"t\",\"member\":\"m1\",\"nonce\":\"0123456789abcdef\",\"replaces\":"
					   "\"00000000000000ff\",\"peer\":\"https://[::1]:2380\"}"), &request, &err), 0,
	       "a wish to join (%s)", err.text);
	is_int((int)request.format, 1, "of who does not say which format it knows");
	is_str(request.tenant, "", "nor whose rows it would keep");
	is_int(admit_request_read(slice_of("{\"tenant\":\"shop \\u00e9\",\"format\":2,\"token\":\"t\",\"member\":\"m1\",\"nonce\":\"0123456789abcdef\","
					   "\"replaces\":\"00000000000000ff\",\"peer\":\"https://[::1]:2380\"}"), &request, &err), 0,
	       "a wish that says it");
	is_int((int)request.format, 2, "of who says another");
	is_str(request.tenant, "shop \303\251", "and a tenant");
	ok(request.replaces == 255 && strcmp(request.peer, "https://[::1]:2380") == 0, "as it was said");
	is_int(admit_request_read(slice_of("{\"token\":\"t\",\"member\":\"m1\",\"nonce\":\"0123456789abcdef\",\"replaces\":"
					   "\"00000000000000ff\",\"peer\":\"http://a --x\"}"), &request, &err), -EINVAL,
	       "an address with blanks");
}

/* What is next for a joiner, by a list of up to five: 7 and 8 are m1 and m2, the rest by the case. */
static void test_next(void)
{
	static const struct {
		const char *more;      /* further members */
		const char *member, *peer;
		uint64_t replaces, dead, alive, gone;
		enum admit_step want;
		uint64_t id;
		const char *what;
	} cases[] = {
		{ "", "m3", "http://new:1", 0, 0, 0, 0, ADMIT_ADD, 0, "a new one" },
		{ ",{\"ID\":\"9\",\"peerURLs\":[\"http://new:1\"],\"isLearner\":true}", "m3", "http://new:1", 0, 0, 0, 0,
		  ADMIT_READY, 9, "it was added before" },
		{ ",{\"ID\":\"9\",\"peerURLs\":[\"http://new:1\"],\"isLearner\":true}", "m3", "http://new:1", 9, 0, 0, 0,
		  ADMIT_REMOVE, 9, "it was added before, and its directory was emptied" },
		{ "", "m2", "http://new:1", 0, 0, 0, 0, ADMIT_PROBE, 8, "a name that is there: does it live?" },
		{ "", "m2", "http://new:1", 0, 0, 8, 0, ADMIT_ALIVE, 8, "it does" },
		{ "", "m2", "http://new:1", 0, 8, 0, 0, ADMIT_REMOVE, 8, "it does not" },
		{ "", "m3", "http://p8:1", 0, 0, 0, 0, ADMIT_PROBE, 8, "an address that is there" },
		{ "", "m3", "http://new:1", 8, 0, 0, 0, ADMIT_PROBE, 8, "a life before this one" },
		{ "", "m3", "http://new:1", 77, 0, 0, 0, ADMIT_ADD, 0, "whose member has gone already" },
		{ "", "m3", "http://new:1", 0, 0, 0, 8, ADMIT_PROBE, 8, "one that was silent for long: does it live?" },
		{ "", "m3", "http://new:1", 0, 0, 8, 8, ADMIT_ADD, 0, "it does, and stays" },
		{ "", "m3", "http://new:1", 0, 8, 0, 8, ADMIT_REMOVE, 8, "it does not, and gives its place" },
		{ ",{\"ID\":\"9\",\"peerURLs\":[\"http://never:1\"],\"isLearner\":true}", "m3", "http://new:1", 0, 0, 0, 9,
		  ADMIT_REMOVE, 9, "one that has never started has nothing to be asked at" },
		{ "", "m3", "http://new:1", 0, 0, 0, 99, ADMIT_ADD, 0, "one that is gone already does not" },
		{ "," NAMED("9", "m3") "," NAMED("10", "m4") "," NAMED("11", "m5"), "m6", "http://new:1", 0, 0, 0, 0,
		  ADMIT_CLIENT, 0, "the sixth is a client" },
		{ "," NAMED("9", "m3") "," NAMED("10", "m4") "," NAMED("11", "m5"), "m6", "http://new:1", 0, 0, 0, 10,
		  ADMIT_PROBE, 10, "unless one of the five is gone: is it?" },
		{ "," NAMED("9", "m3") "," NAMED("10", "m4") "," NAMED("11", "m5"), "m6", "http://new:1", 0, 10, 0, 10,
		  ADMIT_REMOVE, 10, "it is" },
		{ "," NAMED("9", "m3") "," NAMED("10", "m4") "," NAMED("11", "m5"), "m6", "http://new:1", 0, 0, 10, 10,
		  ADMIT_CLIENT, 0, "it is not" },
		{ "," NAMED("9", "m3") "," NAMED("10", "m4") "," NAMED("11", "m5"), "m5", "http://new:1", 0, 11, 0, 0,
		  ADMIT_REMOVE, 11, "or it is one of them" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct admit_request request = { .replaces = cases[i].replaces };
		struct cluster_list list;
		struct buf text;
		uint64_t id = 0;

		buf_init(&text, 65536);
		(void)buf_printf(&text, "%s,\"members\":[%s,%s%s]}", HEADER, NAMED("7", "m1"), NAMED("8", "m2"), cases[i].more);
		(void)cluster_list_read(buf_slice(&text), &list, NULL);
		(void)snprintf(request.member, sizeof(request.member), "%s", cases[i].member);
		(void)snprintf(request.peer, sizeof(request.peer), "%s", cases[i].peer);
		is_int(admit_next(&list, &request, cases[i].dead, cases[i].alive, cases[i].gone, &id), cases[i].want, "%s",
		       cases[i].what);
		is_u64(id, cases[i].id, "that one");
		buf_fini(&text);
	}
}

int main(void)
{
	test_list();
	test_wrong_lists();
	test_judge();
	test_tokens();
	test_request();
	test_next();
	return done();
}
