/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of an etcd that may say anything.  Read in one piece and in parts they
 * are the same; what is kept lies within what is held and is bounded; nothing
 * that does not say so is a commit; base64 that is taken has one text.
 *
 * Byte 0: HTTP's status, and whether it is a stream; byte 1: size of the parts.
 * With FUZZ_PLANT the target keeps a key where it has no room.
 */
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/etcd_answer.h"
#include "lib/base64.h"
#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#define MAX ((size_t)1 << 20)
#define STREAM 0x80

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
	FUZZ_CHECK(!strcmp(a->json.wrong, b->json.wrong));
	FUZZ_CHECK(a->n_items == b->n_items && a->objects == b->objects && a->responses == b->responses);
	FUZZ_CHECK(a->cluster == b->cluster && a->revision == b->revision && a->succeeded == b->succeeded);
	FUZZ_CHECK(slice_eq(buf_slice(&a->bytes), buf_slice(&b->bytes)));
	FUZZ_CHECK(!strcmp(a->text, b->text) && !strcmp(a->token, b->token));
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

static void check_outcome(const struct etcd_answer *a, int status)
{
	static const struct mp_str read = MP_LIT_INIT("a");
	const struct engine_txn txn = { .n_compares = 1, .n_ops = 1, .reads = &read, .n_reads = 1 };
	struct etcd_verdict verdict;
	enum engine_outcome outcome;

	etcd_judge(a, status, "no reason", &verdict);
	FUZZ_CHECK(verdict.kind == ETCD_GOOD || verdict.why[0]);
	outcome = etcd_txn_outcome(a, &txn, &verdict);
	if (outcome == ENGINE_COMMITTED || outcome == ENGINE_FAILED)
		FUZZ_CHECK(status == 200 && a->objects == 1 && etcd_json_idle(&a->json) && a->cluster && a->revision);
	FUZZ_CHECK(outcome != ENGINE_COMMITTED || (a->succeeded && a->responses == 1 && !a->n_items));
	FUZZ_CHECK(outcome != ENGINE_FAILED || (!a->succeeded && a->n_items <= 1));
	FUZZ_CHECK(outcome != ENGINE_REFUSED || status == 400);
}

static void check_base64(struct mp_str text)
{
	struct buf bytes, again;

	buf_init(&bytes, MAX);
	buf_init(&again, MAX);
	if (!base64_decode(&bytes, text)) {
		FUZZ_CHECK(!base64_encode(&again, buf_slice(&bytes)));
		FUZZ_CHECK(slice_eq(buf_slice(&again), text));
	}
	buf_fini(&bytes);
	buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = { 200, 400, 429, 503, 0, 404, 401 };
	struct etcd_answer whole, parts;
	struct mp_str text;
	int status;

	if (size < 2)
		return 0;
	status = statuses[(data[0] & 0x7f) % (sizeof(statuses) / sizeof(statuses[0]))];
	text = slice_make(data + 2, size - 2);
	etcd_answer_init(&whole, MAX);
	etcd_answer_init(&parts, MAX);
	whole.object = parts.object = data[0] & STREAM ? on_object : NULL;
	feed(&whole, text, text.len + 1);
	feed(&parts, text, data[1] % 16 + 1);
	check_same(&whole, &parts);
	check_items(&whole);
	if (data[0] & STREAM)
		check_take(&whole, data[1]);
	else
		check_outcome(&whole, status);
	check_base64(text);
	etcd_answer_fini(&whole);
	etcd_answer_fini(&parts);
	return 0;
}
