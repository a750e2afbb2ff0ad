/* SPDX-License-Identifier: Apache-2.0 */
/* The identity file of managed etcd: written, read, damaged. */
#include "aggregator/etcd/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aggregator/etcd/life.h"
#include "lib/file.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

static const struct identity member = {
	.state = IDENTITY_MEMBER,
	.member = "m1",
	.nonce = "0123456789abcdef",
	.group = "000102030405060708090a0b0c0d0e0f",
	.cluster_id = UINT64_C(0xfedcba9876543210),
	.etcd_id = 1,
	.life = 7,
	.started = true,
	.peer = "http://127.0.0.1:2380",
	.client = "http://127.0.0.1:2379",
	.endpoints = "http://127.0.0.1:3379,http://127.0.0.1:4379",
};

static void write_text(struct buf *out, const struct identity *identity)
{
	buf_reset(out);
	is_int(identity_write(out, identity), 0, "an identity is written");
}

/* Equal identities have equal texts. */
static bool same(const struct identity *a, const struct identity *b)
{
	struct buf text[2];
	bool equal;

	buf_init(&text[0], 65536);
	buf_init(&text[1], 65536);
	write_text(&text[0], a);
	write_text(&text[1], b);
	equal = slice_eq(buf_slice(&text[0]), buf_slice(&text[1]));
	buf_fini(&text[0]);
	buf_fini(&text[1]);
	return equal;
}

static void test_round_trip(void)
{
	struct identity back;
	struct err err = { 0 };
	struct buf text;

	buf_init(&text, 65536);
	write_text(&text, &member);
	is_int(identity_read(buf_slice(&text), &back, &err), 0, "and read (%s)", err.text);
	ok(same(&back, &member) && !back.restored, "and is the same");
	back.restored = true;
	write_text(&text, &back);
	ok(identity_read(buf_slice(&text), &back, &err) == 0 && back.restored && !same(&back, &member),
	   "one of a restored backup says so: %s", buf_str(&text));
	buf_fini(&text);
}

/* What is wrong with it after one text was replaced by another. */
static int read_changed(const char *from, const char *to, struct err *err)
{
	struct identity back;
	struct buf text, changed;
	const char *at;
	int rc = -ENOENT;

	buf_init(&text, 65536);
	buf_init(&changed, 65536);
	(void)identity_write(&text, &member);
	at = strstr(buf_str(&text), from);
	if (at) {
		(void)buf_add(&changed, buf_str(&text), (size_t)(at - buf_str(&text)));
		(void)buf_add_str(&changed, to);
		(void)buf_add_str(&changed, at + strlen(from));
		rc = identity_read(buf_slice(&changed), &back, err);
	}
	buf_fini(&text);
	buf_fini(&changed);
	return rc;
}

static void test_wrong(void)
{
	static const struct { const char *from, *to; int want; const char *what; } cases[] = {
		{ "\"format\":1", "\"format\":2", -EPROTONOSUPPORT, "a newer format" },
		{ "\"member\",", "\"king\",", -EINVAL, "an unknown state" },
		{ "\"state\":\"member\"", "\"state\":\"none\"", -EINVAL, "no state" },
		{ "\"m1\"", "\"\"", -EINVAL, "no member" },
		{ "0123456789abcdef", "0123", -EINVAL, "a short nonce" },
		{ "000102030405", "00010203040x", -EINVAL, "a group that is no uuid" },
		{ "fedcba9876543210", "FEDCBA9876543210", -EINVAL, "a number in capitals" },
		{ "0000000000000001", "0000000000000000", -EINVAL, "a member without an etcd id" },
		{ "\"http://127.0.0.1:2380\"", "\"\"", -EINVAL, "no address" },
		{ "\"http://127.0.0.1:2380\"", "7", -EINVAL, "an address that is a number" },
		{ "}\n", "", -EINVAL, "a torn file" },
		{ "\"started\":true", "\"started\":1", -EINVAL, "a flag of another type" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = { 0 };

		is_int(read_changed(cases[i].from, cases[i].to, &err), cases[i].want, "%s is refused: %s",
		       cases[i].what, err.text);
	}
}

static void test_long(void)
{
	struct err err = { 0 };
	char url[ETCD_URL_SIZE + 32];

	memset(url, 'a', sizeof(url));
	url[0] = '"';
	url[sizeof(url) - 2] = '"';
	url[sizeof(url) - 1] = '\0';
	is_int(read_changed("\"http://127.0.0.1:2380\"", url, &err), -EINVAL, "a text that is too long: %s", err.text);
}

static void test_file(void)
{
	char dir[] = "/tmp/identity-XXXXXX", path[64];
	struct identity back;
	struct err err = { 0 };

	if (!ok(mkdtemp(dir) != NULL, "a directory"))
		return;
	(void)snprintf(path, sizeof(path), "%s/managed.json", dir);
	is_int(identity_load(path, &back, &err), 0, "no file is no mistake");
	is_int(back.state, IDENTITY_NONE, "and no identity");
	is_int(identity_save(path, &member, &err), 0, "it is saved");
	is_int(identity_load(path, &back, &err), 0, "and loaded");
	ok(same(&back, &member), "the same");
	(void)unlink(path);
	(void)rmdir(dir);
}

/* Without waiting for the disk: there are thousands. */
static void scribble(const char *path, const char *bytes, size_t size)
{
	FILE *out = fopen(path, "w");

	if (out) {
		(void)fwrite(bytes, 1, size, out);
		(void)fclose(out); /* what is not there whole fails the test */
	}
}

/* Whatever bit turns, and wherever it is cut: it is refused. */
static void test_damaged(void)
{
	char dir[] = "/tmp/identity-XXXXXX", path[64];
	struct err err = { 0 };
	struct identity back;
	struct buf text;
	char *bytes;
	unsigned taken = 0, tries = 0;

	if (!ok(mkdtemp(dir) != NULL, "a directory"))
		return;
	(void)snprintf(path, sizeof(path), "%s/managed.json", dir);
	is_int(identity_save(path, &member, &err), 0, "it is saved");
	is_int(file_read(path, 65536, &text, &err), 0, "and read as bytes");
	bytes = slice_dup(buf_slice(&text));
	for (size_t bit = 0; bit < 8 * text.len; bit++, tries++) {
		bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
		scribble(path, bytes, text.len);
		taken += identity_load(path, &back, &err) == 0;
		bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
	}
	free(bytes);
	for (size_t len = 0; len < text.len; len++, tries++) {
		scribble(path, buf_str(&text), len);
		taken += identity_load(path, &back, &err) == 0;
	}
	is_int(taken, 0, "of %u damaged ones none is taken", tries);
	ok(strstr(err.text, "managed.json") != NULL, "and the file is named: %s", err.text);
	buf_fini(&text);
	(void)unlink(path);
	(void)rmdir(dir);
}

static void test_life(void)
{
	char dir[] = "/tmp/life-XXXXXX", path[64];
	struct err err = { 0 };

	if (!ok(mkdtemp(dir) != NULL, "a directory"))
		return;
	(void)snprintf(path, sizeof(path), "%s/life", dir);
	is_u64(life_read(dir), 0, "a directory without a life");
	is_int(life_write(dir, 41, &err), 0, "has one");
	is_u64(life_read(dir), 41, "which is read");
	is_int(life_write(dir, UINT64_MAX, &err), 0, "and another");
	is_u64(life_read(dir), UINT64_MAX, "which is read");
	is_int(file_write_atomic(path, slice_of("0000000000000007 0123456789abcdef\n"), &err), 0, "a damaged one");
	is_u64(life_read(dir), 0, "is none");
	(void)unlink(path);
	is_int(life_write("/nonexistent", 1, &err), -ENOENT, "no directory: %s", err.text);
	(void)rmdir(dir);
}

int main(void)
{
	test_round_trip();
	test_wrong();
	test_long();
	test_file();
	test_damaged();
	test_life();
	return done();
}
