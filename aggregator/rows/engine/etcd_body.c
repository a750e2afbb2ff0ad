/* SPDX-License-Identifier: Apache-2.0 */
/* See etcd_body.h. */
#include "aggregator/rows/engine/etcd_body.h"

#include <errno.h>
#include <stdlib.h>

#include "aggregator/rows/engine/etcd.pb-c.h"
#include "lib/arena.h"
#include "lib/slice.h"

#define PREFIX 5       /* of a message: not compressed, and its length */
#define COST_EACH 64   /* bytes of an operation or comparison, without its key and value */
#define NO_LEASE (-1)  /* of a leased put that has none yet */
#define TREE_MAX ((size_t)64 << 20)

static ProtobufCBinaryData bytes_of(struct mp_str s)
{
	return (ProtobufCBinaryData){ s.len, (uint8_t *)(uintptr_t)s.ptr };
}

static int add_message(struct buf *out, const void *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	char *at = size <= UINT32_MAX ? buf_reserve(out, PREFIX + size) : NULL;

	if (!at)
		return out->error ? out->error : -E2BIG;
	at[0] = 0;
	for (int i = 0; i < 4; i++)
		at[1 + i] = (char)(size >> (24 - 8 * i));
	(void)protobuf_c_message_pack(message, (uint8_t *)at + PREFIX); /* it fits */
	buf_commit(out, PREFIX + size);
	return 0;
}

/* --------------------------------------------------------------- transactions */

/* A message for each, and the list of them that protobuf-c wants. */
#define MAKE_ALL(arena, n, type, list)                                         \
	do {                                                                   \
		type *made_ = arena_get(arena, (n) + 1, sizeof(type));         \
		(list) = arena_get(arena, (n) + 1, sizeof(*(list)));           \
		for (size_t i_ = 0; made_ && (list) && i_ < (n); i_++)         \
			(list)[i_] = &made_[i_];                               \
	} while (0)

static void set_compare(Pb__Compare *to, const struct engine_compare *compare)
{
	pb__compare__init(to);
	to->key = bytes_of(compare->key);
	to->target = compare->value.ptr ? PB__COMPARE__TARGET__VALUE : PB__COMPARE__TARGET__CREATE;
	if (compare->value.ptr) {
		to->target_union_case = PB__COMPARE__TARGET_UNION_VALUE;
		to->value = bytes_of(compare->value);
	} else {
		to->target_union_case = PB__COMPARE__TARGET_UNION_CREATE_REVISION;
		to->create_revision = 0;
	}
}

static void set_put(struct arena *arena, Pb__RequestOp *to, const struct engine_op *op)
{
	Pb__PutRequest *put = arena_get(arena, 1, sizeof(*put));

	if (!put)
		return;
	pb__put_request__init(put);
	put->key = bytes_of(op->key);
	put->value = bytes_of(op->value);
	put->lease = op->leased ? NO_LEASE : 0;
	to->request_case = PB__REQUEST_OP__REQUEST_REQUEST_PUT;
	to->request_put = put;
}

static void set_delete(struct arena *arena, Pb__RequestOp *to, const struct engine_op *op)
{
	Pb__DeleteRangeRequest *delete = arena_get(arena, 1, sizeof(*delete));

	if (!delete)
		return;
	pb__delete_range_request__init(delete);
	delete->key = bytes_of(op->key);
	if (op->kind == ENGINE_DELETE_RANGE)
		delete->range_end = bytes_of(op->value);
	to->request_case = PB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
	to->request_delete_range = delete;
}

static void set_read(struct arena *arena, Pb__RequestOp *to, struct mp_str key)
{
	Pb__RangeRequest *range = arena_get(arena, 1, sizeof(*range));

	if (!range)
		return;
	pb__range_request__init(range);
	range->key = bytes_of(key);
	to->request_case = PB__REQUEST_OP__REQUEST_REQUEST_RANGE;
	to->request_range = range;
}

static void set_compares(struct arena *arena, Pb__TxnRequest *to, const struct engine_txn *txn)
{
	MAKE_ALL(arena, txn->n_compares, Pb__Compare, to->compare);
	to->n_compare = txn->n_compares;
	for (size_t i = 0; !arena->failed && i < txn->n_compares; i++)
		set_compare(to->compare[i], &txn->compares[i]);
}

static void set_ops(struct arena *arena, Pb__TxnRequest *to, const struct engine_txn *txn)
{
	MAKE_ALL(arena, txn->n_ops, Pb__RequestOp, to->success);
	to->n_success = txn->n_ops;
	for (size_t i = 0; !arena->failed && i < txn->n_ops; i++) {
		pb__request_op__init(to->success[i]);
		if (txn->ops[i].kind == ENGINE_PUT)
			set_put(arena, to->success[i], &txn->ops[i]);
		else
			set_delete(arena, to->success[i], &txn->ops[i]);
	}
}

static Pb__RequestOp **make_reads(struct arena *arena, const struct engine_txn *txn)
{
	Pb__RequestOp **reads;

	MAKE_ALL(arena, txn->n_reads, Pb__RequestOp, reads);
	for (size_t i = 0; !arena->failed && i < txn->n_reads; i++) {
		pb__request_op__init(reads[i]);
		set_read(arena, reads[i], txn->reads[i]);
	}
	return reads;
}

int etcd_body_txn(struct buf *out, const struct engine_txn *txn)
{
	Pb__TxnRequest message = PB__TXN_REQUEST__INIT;
	struct arena arena;
	int rc;

	arena_init(&arena, TREE_MAX);
	set_compares(&arena, &message, txn);
	set_ops(&arena, &message, txn);
	if (!txn->n_compares && !txn->n_ops) {
		message.success = make_reads(&arena, txn);
		message.n_success = txn->n_reads;
	} else if (txn->n_compares) {
		message.failure = make_reads(&arena, txn);
		message.n_failure = txn->n_reads;
	}
	rc = arena.failed ? -ENOMEM : add_message(out, &message);
	arena_fini(&arena);
	return rc;
}

bool etcd_body_leased(const struct engine_txn *txn)
{
	for (size_t i = 0; i < txn->n_ops; i++)
		if (txn->ops[i].kind == ENGINE_PUT && txn->ops[i].leased)
			return true;
	return false;
}

/* Leased keys are few and small: reading the message again costs nothing that counts. */
int etcd_body_lease(struct buf *body, uint64_t lease)
{
	Pb__TxnRequest *txn = pb__txn_request__unpack(NULL, body->len - PREFIX, (const uint8_t *)body->ptr + PREFIX);
	int rc;

	if (!txn)
		return -ENOMEM;
	for (size_t i = 0; i < txn->n_success; i++) {
		Pb__RequestOp *op = txn->success[i];

		if (op->request_case == PB__REQUEST_OP__REQUEST_REQUEST_PUT && op->request_put->lease)
			op->request_put->lease = (int64_t)lease;
	}
	buf_reset(body);
	rc = add_message(body, txn);
	pb__txn_request__free_unpacked(txn, NULL);
	return rc;
}

size_t etcd_body_cost(const struct engine_txn *txn)
{
	size_t cost = COST_EACH * (1 + txn->n_compares + txn->n_ops + txn->n_reads);

	for (size_t i = 0; i < txn->n_compares; i++)
		cost += txn->compares[i].key.len + txn->compares[i].value.len;
	for (size_t i = 0; i < txn->n_ops; i++)
		cost += txn->ops[i].key.len + txn->ops[i].value.len;
	for (size_t i = 0; i < txn->n_reads; i++)
		cost += txn->reads[i].len;
	return cost;
}

/* ---------------------------------------------------------------------- others */

int etcd_body_range(struct buf *out, const struct engine_range *page)
{
	Pb__RangeRequest message = PB__RANGE_REQUEST__INIT;

	message.key = bytes_of(page->from);
	message.range_end = bytes_of(page->end);
	message.limit = (int64_t)page->limit;
	message.revision = (int64_t)page->revision;
	message.serializable = page->stale;
	if (page->last_first)
		message.sort_order = PB__RANGE_REQUEST__SORT_ORDER__DESCEND;
	return add_message(out, &message);
}

int etcd_body_probe(struct buf *out, struct mp_str key)
{
	Pb__RangeRequest message = PB__RANGE_REQUEST__INIT;

	message.key = bytes_of(key);
	message.count_only = true;
	return add_message(out, &message);
}

int etcd_body_watch(struct buf *out, struct mp_str from, struct mp_str end, uint64_t first)
{
	Pb__WatchCreateRequest create = PB__WATCH_CREATE_REQUEST__INIT;
	Pb__WatchRequest message = PB__WATCH_REQUEST__INIT;

	create.key = bytes_of(from);
	create.range_end = bytes_of(end);
	create.start_revision = (int64_t)first;
	create.progress_notify = create.fragment = true;
	message.create_request = &create;
	return add_message(out, &message);
}

int etcd_body_grant(struct buf *out, unsigned ttl_s)
{
	Pb__LeaseGrantRequest message = PB__LEASE_GRANT_REQUEST__INIT;

	message.ttl = ttl_s;
	return add_message(out, &message);
}

int etcd_body_of_lease(struct buf *out, uint64_t lease)
{
	Pb__LeaseRequest message = PB__LEASE_REQUEST__INIT;

	message.id = (int64_t)lease;
	return add_message(out, &message);
}

int etcd_body_login(struct buf *out, const char *user, const char *password)
{
	Pb__AuthenticateRequest message = PB__AUTHENTICATE_REQUEST__INIT;

	message.name = (char *)(uintptr_t)user;
	message.password = (char *)(uintptr_t)password;
	return add_message(out, &message);
}
