/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What managed etcd reads: lists of members, refusals, wishes to join, tokens'
 * records, its identity, /proc; and what members tell of themselves, of shards and of the
 * group.  What is taken is within its bounds and fit to become an argument; what is
 * written is read as the same again.
 *
 * Byte 0: which of them.  With FUZZ_PLANT the target keeps a name where it has no room.
 */
#include <stdlib.h>
#include <string.h>

#include "aggregator/etcd/admit.h"
#include "aggregator/etcd/proc.h"
#include "aggregator/rows/keys.h"
#include "aggregator/rows/members.h"
#include "aggregator/rows/meta.h"
#include "aggregator/rows/owner.h"
#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#ifdef FUZZ_PLANT
/* The planted bug: a name may be longer than that. */
static void plant(const char *name)
{
	char *copy = malloc(4);

	for (size_t i = 0; copy && name[i]; i++)
		((char *volatile)copy)[i] = name[i];
	free(copy);
}
#else
static void plant(const char *name)
{
	(void)name; /* no bug in an honest build */
}
#endif

static bool is_plain(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~' || *text == ',' || *text == '"')
			return false;
	return true;
}

static void check_list(struct mp_str text)
{
	struct cluster_list list;
	struct buf out;

	if (cluster_list_read(text, &list, NULL) < 0)
		return;
	FUZZ_CHECK(list.n && list.n <= CLUSTER_MAX && list.cluster);
	buf_init(&out, 1 << 16);
	for (size_t i = 0; i < list.n; i++) {
		const struct cluster_member *m = &list.member[i];

		FUZZ_CHECK(m->id && is_plain(m->name) && is_plain(m->peer) && is_plain(m->client));
		FUZZ_CHECK(cluster_by_id(&list, m->id) && cluster_by_name(&list, m->name));
		plant(m->name);
	}
	FUZZ_CHECK(cluster_voters(&list) <= list.n);
	FUZZ_CHECK(cluster_initial(&out, &list, list.member[0].id, "m") == 0);
	buf_reset(&out);
	FUZZ_CHECK(cluster_endpoints(&out, &list, 0) == 0);
	buf_fini(&out);
}

static void check_judge(struct mp_str text)
{
	char why[40];

	FUZZ_CHECK(cluster_judge(200, text, why, sizeof(why)) == CLUSTER_DONE && !why[0]);
	FUZZ_CHECK(cluster_judge(0, text, why, sizeof(why)) == CLUSTER_TROUBLE);
	FUZZ_CHECK(cluster_judge(400, text, why, sizeof(why)) != CLUSTER_DONE);
	for (const char *at = why; *at; at++)
		FUZZ_CHECK(*at >= ' ' && *at <= '~');
}

static void check_identity(struct mp_str text)
{
	struct identity first, again;
	struct buf out, twice;

	if (identity_read(text, &first, NULL) < 0)
		return;
	FUZZ_CHECK(first.state != IDENTITY_NONE && first.member[0]);
	buf_init(&out, 1 << 17);
	FUZZ_CHECK(identity_write(&out, &first) == 0);
	/* It may have been longer than a file is allowed to be, once it is escaped. */
	buf_init(&twice, 1 << 17);
	if (identity_read(buf_slice(&out), &again, NULL) == 0)
		FUZZ_CHECK(identity_write(&twice, &again) == 0 && slice_eq(buf_slice(&out), buf_slice(&twice)));
	buf_fini(&out);
	buf_fini(&twice);
}

static void check_token(struct mp_str text)
{
	struct token_record record;
	char group[META_UUID_SIZE];

	if (token_record_read(text, &record) == 0)
		FUZZ_CHECK(strlen(record.nonce) < sizeof(record.nonce) && token_state(&record, 0, record.nonce) != TOKEN_USED);
	if (token_group(text, group))
		FUZZ_CHECK(strlen(group) == META_UUID_SIZE - 1 && text.len == ETCD_TOKEN_SIZE - 1);
}

static void check_wish(struct mp_str text)
{
	struct admit_request request;

	if (admit_request_read(text, &request, NULL) == 0)
		FUZZ_CHECK(request.member[0] && is_plain(request.member) && is_plain(request.peer));
}

static void check_stat(struct mp_str text)
{
	char copy[1024], state = 0;
	uint64_t value = 0;
	size_t len = text.len < sizeof(copy) - 1 ? text.len : sizeof(copy) - 1;

	memcpy(copy, text.ptr, len);
	copy[len] = '\0';
	(void)proc_stat_field(copy, 22, &value, &state); /* it only must not read elsewhere */
}

static void check_member(struct mp_str text)
{
	struct member_info info;

	if (!member_text_read(text, &info))
		return;
	FUZZ_CHECK(info.n_checks <= MEMBER_CHECKS_MAX);
	for (size_t i = 0; i < info.n_checks; i++)
		FUZZ_CHECK(check_name_ok(slice_of(info.check[i].name)) && info.check[i].rules);
}

static void check_meta(struct mp_str text)
{
	struct meta first, again;
	struct buf out;

	if (meta_read(text, &first, NULL) < 0)
		return;
	FUZZ_CHECK(first.generation && first.shards && first.shards <= SHARDS_MAX);
	buf_init(&out, META_SIZE_MAX);
	FUZZ_CHECK(meta_write(&out, &first) == 0 && meta_read(buf_slice(&out), &again, NULL) == 0);
	FUZZ_CHECK(strcmp(first.group, again.group) == 0 && first.generation == again.generation &&
		   first.shards == again.shards && first.sealed == again.sealed && first.cluster == again.cluster);
	buf_fini(&out);
}

static void check_owner(struct mp_str text)
{
	struct owner_name name;

	if (owner_text_read(text, &name))
		FUZZ_CHECK(strlen(name.member) < sizeof(name.member) && name.counter <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const checks[])(struct mp_str) = { check_list, check_judge, check_identity, check_token, check_wish,
							 check_stat, check_member, check_meta, check_owner };

	if (size)
		checks[data[0] % (sizeof(checks) / sizeof(checks[0]))](slice_make(data + 1, size - 1));
	return 0;
}
