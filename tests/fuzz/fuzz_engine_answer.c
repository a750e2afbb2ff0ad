/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of an etcd that may say anything.  Read in one piece and in parts they
 * are the same; what is kept lies within what is held and is bounded; nothing
 * that does not say so is a commit; what a sender of ours makes is read as it was meant.
 *
 * Byte 0: what was called; byte 1: the status that comes behind; byte 2: size of the parts.
 * With FUZZ_PLANT the target keeps a key where it has no room.
 */
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/engine/etcd_answer.h"
#include "aggregator/rows/engine/etcd_body.h"
#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#define MAX ((size_t)1 << 20)

#ifdef FUZZ_PLANT
/* The planted bug: a key may be longer than that. */
static void plant(struct mp_str key)
{
	char *copy = malloc(24);

	for (size_t i = 0; copy && i < key.len; i++)
		((char *volatile)copy)[i] = key.ptr[i];
	free(copy);
}
#else
static void plant(struct mp_str key)
{
	(void)key; /* no bug in an honest build */
}
#endif

static bool on_object(struct etcd_answer *answer)
{
	return answer->objects < 100;
}

static void feed(struct etcd_answer *answer, struct mp_str text, size_t part)
{
	while (text.len && etcd_answer_feed(answer, slice_make(text.ptr, text.len < part ? text.len : part)))
		text = slice_skip(text, part);
}

static void check_items(const struct etcd_answer *a)
{
	for (size_t i = 0; i < a->n_items; i++) {
		const struct etcd_item *item = &a->items[i];

		FUZZ_CHECK(item->key_len && item->revision);
		FUZZ_CHECK(item->start <= item->key && item->key + item->key_len <= a->bytes.len);
		FUZZ_CHECK(item->start <= item->value && item->value + item->value_len <= a->bytes.len);
		FUZZ_CHECK(!i || a->items[i - 1].start <= item->start);
		plant(etcd_item_key(a, i));
	}
	FUZZ_CHECK(etcd_answer_size(a) <= 2 * MAX);
}

static void check_same(const struct etcd_answer *a, const struct etcd_answer *b)
{
	FUZZ_CHECK(!strcmp(a->wrong, b->wrong));
	FUZZ_CHECK(a->wrong[0] || slice_eq(buf_slice(&a->part), buf_slice(&b->part)));
	FUZZ_CHECK(a->n_items == b->n_items && a->objects == b->objects && a->responses == b->responses);
	FUZZ_CHECK(a->cluster == b->cluster && a->revision == b->revision && a->succeeded == b->succeeded);
	FUZZ_CHECK(slice_eq(buf_slice(&a->bytes), buf_slice(&b->bytes)));
	FUZZ_CHECK(!strcmp(a->text, b->text) && !strcmp(a->token ? a->token : "", b->token ? b->token : ""));
}

/* What is left after some were taken is what it was. */
static void check_take(struct etcd_answer *a, size_t n)
{
	struct mp_str last;
	struct buf kept;

	if (!a->n_items)
		return;
	n %= a->n_items;
	buf_init(&kept, 4 * MAX);
	last = etcd_item_value(a, a->n_items - 1);
	(void)buf_add_slice(&kept, last);
	etcd_answer_take(a, n);
	check_items(a);
	FUZZ_CHECK(slice_eq(etcd_item_value(a, a->n_items - 1), buf_slice(&kept)));
	buf_fini(&kept);
}

/* How a call ends. */
static const struct ending {
	int http;             /* 0: in the middle */
	const char *status;   /* NULL: it does not say */
	const char *message;
} endings[] = {
	{ 200, "0", "" },
	{ 200, NULL, "" },
	{ 200, "3", "etcdserver: key is not provided" },
	{ 200, "3", "somebody else's" },
	{ 200, "11", "etcdserver: mvcc: required revision has been compacted" },
	{ 200, "8", "etcdserver: mvcc: database space exceeded" },
	{ 200, "14", "etcdserver%3A no leader" },
	{ 200, "16", "%zz%0" },
	{ 200, "x", "" },
	{ 0, NULL, "" },
	{ 404, NULL, "" },
};

static void check_outcome(const struct etcd_answer *a, const struct ending *ending)
{
	static const struct mp_str read = MP_LIT_INIT("a");
	const struct engine_txn txn = { .n_compares = 1, .n_ops = 1, .reads = &read, .n_reads = 1 };
	struct etcd_verdict verdict;
	enum engine_outcome outcome;

	etcd_judge(a, ending->http, "no reason", &verdict);
	FUZZ_CHECK(verdict.kind == ETCD_GOOD || verdict.why[0]);
	outcome = etcd_txn_outcome(a, &txn, &verdict);
	if (outcome == ENGINE_COMMITTED || outcome == ENGINE_FAILED)
		FUZZ_CHECK(ending == &endings[0] && a->objects == 1 && !a->part.len && a->cluster && a->revision);
	FUZZ_CHECK(outcome != ENGINE_COMMITTED || (a->succeeded && a->responses == 1 && !a->n_items));
	FUZZ_CHECK(outcome != ENGINE_FAILED || (!a->succeeded && a->n_items <= 1));
	FUZZ_CHECK(outcome != ENGINE_REFUSED || ending == &endings[2] || ending == &endings[4]);
}

/* A leased transaction gets its lease, whatever is in it; the message is rewritten whole. */
static void check_lease(struct mp_str bytes)
{
	const struct engine_op ops[] = { { ENGINE_PUT, MP_LIT("leased"), bytes, true },
					 { ENGINE_PUT, MP_LIT("plain"), bytes, false } };
	const struct engine_txn txn = { .ops = ops, .n_ops = 2 };
	struct buf body;
	size_t size;

	buf_init(&body, 4 * MAX);
	FUZZ_CHECK(!etcd_body_txn(&body, &txn));
	size = body.len;
	FUZZ_CHECK(!etcd_body_lease(&body, UINT64_MAX / 2));
	FUZZ_CHECK(body.len < size && size - body.len <= 3); /* nine bytes instead of ten, and two lengths of them */
	buf_fini(&body);
}

static void end(struct etcd_answer *a, const struct ending *ending)
{
	if (!ending->status)
		return;
	etcd_answer_field(a, MP_LIT("grpc-status"), slice_of(ending->status));
	etcd_answer_field(a, MP_LIT("grpc-message"), slice_of(ending->message));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct etcd_answer whole, parts;
	const struct ending *ending;
	enum etcd_method method;
	struct mp_str text;

	if (size < 3)
		return 0;
	method = data[0] % ETCD_METHODS;
	ending = &endings[data[1] % (sizeof(endings) / sizeof(endings[0]))];
	text = slice_make(data + 3, size - 3);
	etcd_answer_init(&whole, MAX);
	etcd_answer_init(&parts, MAX);
	etcd_answer_again(&whole, method, 0);
	etcd_answer_again(&parts, method, 0);
	whole.object = parts.object = method == ETCD_WATCH ? on_object : NULL;
	feed(&whole, text, text.len + 1);
	feed(&parts, text, data[2] % 16 + 1);
	end(&whole, ending);
	end(&parts, ending);
	check_same(&whole, &parts);
	check_items(&whole);
	if (method == ETCD_WATCH)
		check_take(&whole, data[2]);
	else
		check_outcome(&whole, ending);
	check_lease(text);
	etcd_answer_fini(&whole);
	etcd_answer_fini(&parts);
	return 0;
}
