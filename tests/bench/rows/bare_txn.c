/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transaction that an owner sends for a put of one cell, on bare etcd by
 * gRPC: the same bytes, made and carried by the same functions, one after the other, with
 * a watch of the whole tenant at every member.
 *
 *	bare_txn SECONDS ADDRESS:PORT...
 *
 * Requests go to the members in turn.  Prints one JSON object: p50 and p99 in
 * milliseconds, a second, how many, and the bytes of a request.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "aggregator/rows/engine/etcd_body.h"
#include "aggregator/rows/engine/etcd_rpc.h"
#include "aggregator/rows/head.h"
#include "aggregator/rows/keys.h"
#include "aggregator/rows/meta.h"
#include "lib/clock.h"
#include "lib/hist.h"
#include "lib/slice.h"

#define MEMBERS_MAX 16
#define ANSWER_MAX ((size_t)1 << 20)
#define INCARNATION UINT64_C(0x1122334455667788)
#define OWNER "{\"format\":1,\"member\":\"a0\",\"nonce\":\"0011223344556677\",\"counter\":1}"

static struct hist times;
static struct buf prefix, meta_key, meta, owner_key, head_key, before, head, batch_key, batch, body;
static size_t request_size;
static struct http_multi *unary, *streams;
static uv_loop_t loop;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "bare_txn: %s\n", what);
	exit(1);
}

/* ----------------------------------------------------------------------- calls */

/* A call of etcd: sent, and waited for. */
static struct call {
	struct etcd_answer answer;
	struct etcd_verdict verdict;
	bool done;
} txn_call, watches[MEMBERS_MAX];

static void on_field(void *ctx, struct mp_str name, struct mp_str value)
{
	etcd_answer_field(&((struct call *)ctx)->answer, name, value);
}

static bool on_data(void *ctx, struct mp_str bytes)
{
	return etcd_answer_feed(&((struct call *)ctx)->answer, bytes);
}

static void on_done(void *ctx, const struct http_multi_end *end)
{
	struct call *call = ctx;

	etcd_judge(&call->answer, end->status, end->why, &call->verdict);
	call->done = true;
}

static void start(struct http_multi *http, struct call *call, enum etcd_method method, const char *url)
{
	const struct http_multi_calls calls = { .data = on_data, .done = on_done, .field = on_field, .ctx = call };

	etcd_answer_again(&call->answer, method, 0);
	call->done = false;
	if (body.error || !etcd_rpc(http, &(struct etcd_request){ .method = method, .url = url, .body = buf_slice(&body),
								  .fresh = method == ETCD_WATCH }, &calls))
		die("out of memory");
}

static struct http_multi *connect_all(void)
{
	const struct http_multi_options options = { .connect_ms = 1000, .kept = MEMBERS_MAX, .h2 = true };
	struct http_multi *http;
	struct err err;

	if (http_multi_open(&loop, &options, &http, &err))
		die(err.text);
	return http;
}

/* One transaction, which succeeds. */
static void commit(const char *url)
{
	request_size = body.len;
	start(unary, &txn_call, ETCD_TXN, url);
	while (!txn_call.done)
		uv_run(&loop, UV_RUN_ONCE);
	if (txn_call.verdict.kind != ETCD_GOOD || !txn_call.answer.succeeded)
		die(txn_call.verdict.kind == ETCD_GOOD ? "a comparison failed" : txn_call.verdict.why);
}

/* ---------------------------------------------------------------------- watches */

/* What a watch brings is read and forgotten. */
static bool on_message(struct etcd_answer *answer)
{
	answer->n_items = 0;
	buf_reset(&answer->bytes);
	return true;
}

static void watch(size_t i, const char *url)
{
	struct buf end;

	buf_init(&end, KEY_MAX);
	buf_reset(&body);
	etcd_answer_init(&watches[i].answer, ANSWER_MAX);
	watches[i].answer.object = on_message;
	if (key_range_end(&end, buf_slice(&prefix)) || etcd_body_watch(&body, buf_slice(&prefix), buf_slice(&end), 0))
		die("out of memory");
	start(streams, &watches[i], ETCD_WATCH, url);
	buf_fini(&end);
	while (!watches[i].answer.objects && !watches[i].done)
		uv_run(&loop, UV_RUN_ONCE);
	if (watches[i].done)
		die(watches[i].verdict.why);
}

/* ----------------------------------------------------------------- transactions */

static struct mp_str value_of(const struct buf *text)
{
	return text->len ? buf_slice(text) : (struct mp_str){ 0 };
}

/* The batch of cell n, and the head that names it. */
static void make_cell(uint64_t n)
{
	static const char content[128];
	struct head next = { .incarnation = INCARNATION, .last = n, .floor = 1 };
	char key[64];
	struct cell cell = { .kind = CELL_DATA, .time_ms = clock_wall_now() / NS_PER_MS, .origin = MP_LIT("127.0.0.1"),
			     .content = slice_make(content, sizeof(content)) };

	cell.key = slice_make(key, (size_t)snprintf(key, sizeof(key), "%d-%" PRIu64, (int)getpid(), n));
	memcpy(next.batch.bytes, &n, sizeof(n));
	buf_reset(&head);
	buf_reset(&batch);
	buf_reset(&batch_key);
	if (head_write(&head, &next) || batch_begin(&batch, &next.batch, n) || batch_add(&batch, &cell) ||
	    batch_end(&batch) || key_cells(&batch_key, buf_slice(&prefix), MP_LIT("bare"), INCARNATION, n))
		die("out of memory");
}

static void make_txn(void)
{
	const struct engine_compare compares[] = {
		{ buf_slice(&meta_key), buf_slice(&meta) },
		{ buf_slice(&owner_key), MP_LIT(OWNER) },
		{ buf_slice(&head_key), value_of(&before) },
	};
	const struct engine_op ops[] = {
		{ ENGINE_PUT, buf_slice(&head_key), buf_slice(&head), false },
		{ ENGINE_PUT, buf_slice(&batch_key), buf_slice(&batch), false },
	};
	const struct mp_str reads[] = { buf_slice(&owner_key), buf_slice(&head_key), buf_slice(&batch_key) };
	const struct engine_txn txn = { compares, 3, ops, 2, reads, 3 };

	buf_reset(&body);
	if (etcd_body_txn(&body, &txn))
		die("out of memory");
}

static void put_first(const char *url)
{
	const struct engine_op ops[] = {
		{ ENGINE_PUT, buf_slice(&meta_key), buf_slice(&meta), false },
		{ ENGINE_PUT, buf_slice(&owner_key), MP_LIT(OWNER), false },
		{ ENGINE_DELETE, buf_slice(&head_key), { 0 }, false },
	};
	const struct engine_txn txn = { .ops = ops, .n_ops = 3 };

	buf_reset(&body);
	if (etcd_body_txn(&body, &txn))
		die("out of memory");
	commit(url);
}

static void put_cell(const char *url, uint64_t n)
{
	uint64_t begin = clock_now(&clock_monotonic);

	make_cell(n);
	make_txn();
	commit(url);
	hist_record(&times, clock_now(&clock_monotonic) - begin);
	buf_reset(&before);
	buf_add_slice(&before, buf_slice(&head));
}

static void make_keys(void)
{
	struct buf *all[] = { &prefix, &meta_key, &meta, &owner_key, &head_key, &before, &head, &batch_key, &batch, &body };
	const struct meta begun = { .group = "00112233445566778899aabbccddeeff", .generation = 1, .shards = META_SHARDS };
	struct mp_str name = MP_LIT("bare");

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buf_init(all[i], 1u << 20);
	if (key_prefix(&prefix, MP_LIT("bare")) || key_meta(&meta_key, buf_slice(&prefix)) || meta_write(&meta, &begun) ||
	    key_owner(&owner_key, buf_slice(&prefix), row_shard(name, META_SHARDS)) ||
	    key_head(&head_key, buf_slice(&prefix), name))
		die("out of memory");
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? strtod(argv[1], NULL) : 0;
	size_t members = argc > 2 ? (size_t)argc - 2 : 0;
	char url[MEMBERS_MAX][100];
	uint64_t end, n = 0;

	if (seconds <= 0 || !members || members > MEMBERS_MAX)
		die("wants SECONDS ADDRESS:PORT...");
	make_keys();
	uv_loop_init(&loop); /* cannot fail with the memory that we have */
	unary = connect_all();
	streams = connect_all();
	etcd_answer_init(&txn_call.answer, ANSWER_MAX);
	for (size_t i = 0; i < members; i++) {
		(void)snprintf(url[i], sizeof(url[i]), "http://%s", argv[2 + i]);
		watch(i, url[i]);
	}
	put_first(url[0]);
	end = clock_now(&clock_monotonic) + (uint64_t)(seconds * 1e9);
	while (clock_now(&clock_monotonic) < end) {
		n++;
		put_cell(url[n % members], n);
	}
	printf("{\"requests\":%" PRIu64 ",\"rate\":%.0f,\"p50\":%.4f,\"p99\":%.4f,\"bytes\":%zu}\n", n, (double)n / seconds,
	       (double)hist_percentile(&times, 50) / 1e6, (double)hist_percentile(&times, 99) / 1e6, request_size);
	return 0;
}
