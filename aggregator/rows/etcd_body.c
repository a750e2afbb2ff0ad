/* SPDX-License-Identifier: Apache-2.0 */
/* See etcd_body.h. */
#include "aggregator/rows/etcd_body.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "lib/base64.h"
#include "lib/cleanup.h"
#include "lib/json.h"
#include "lib/slice.h"

/* Room for a lease's number in quotes; blanks may stand there in JSON. */
#define LEASE_ROOM 22
#define LEASE_NAME ",\"lease\":"
#define COST_EACH 64 /* of an operation or comparison in protobuf, without its key and value */

/* ,"name":"base64" */
static void add_bytes(struct buf *out, const char *name, struct mp_str bytes)
{
	buf_add_str(out, name);
	base64_encode(out, bytes);
	buf_add_str(out, "\"");
}

/* --------------------------------------------------------------- transactions */

static void add_compare(struct buf *out, const struct engine_compare *compare)
{
	add_bytes(out, "{\"result\":\"EQUAL\",\"key\":\"", compare->key);
	if (compare->value.ptr)
		add_bytes(out, ",\"target\":\"VALUE\",\"value\":\"", compare->value);
	else
		buf_add_str(out, ",\"target\":\"CREATE\",\"create_revision\":\"0\"");
	buf_add_str(out, "}");
}

static void add_op(struct buf *out, const struct engine_op *op)
{
	if (op->kind == ENGINE_PUT) {
		add_bytes(out, "{\"request_put\":{\"key\":\"", op->key);
		add_bytes(out, ",\"value\":\"", op->value);
		if (op->leased)
			buf_printf(out, LEASE_NAME "%*s", LEASE_ROOM, "");
	} else {
		add_bytes(out, "{\"request_delete_range\":{\"key\":\"", op->key);
		if (op->kind == ENGINE_DELETE_RANGE)
			add_bytes(out, ",\"range_end\":\"", op->value);
	}
	buf_add_str(out, "}}");
}

static void add_read(struct buf *out, struct mp_str key)
{
	add_bytes(out, "{\"request_range\":{\"key\":\"", key);
	buf_add_str(out, "}}");
}

/* name: the member that the reads are. */
static void add_reads(struct buf *out, const char *name, const struct engine_txn *txn)
{
	buf_add_str(out, name);
	for (size_t i = 0; i < txn->n_reads; i++) {
		buf_add_str(out, i ? "," : "");
		add_read(out, txn->reads[i]);
	}
	buf_add_str(out, "]");
}

int etcd_body_txn(struct buf *out, const struct engine_txn *txn)
{
	if (!txn->n_compares && !txn->n_ops) {
		add_reads(out, "{\"success\":[", txn);
		return buf_add_str(out, "}");
	}
	buf_add_str(out, "{\"compare\":[");
	for (size_t i = 0; i < txn->n_compares; i++) {
		buf_add_str(out, i ? "," : "");
		add_compare(out, &txn->compares[i]);
	}
	buf_add_str(out, "],\"success\":[");
	for (size_t i = 0; i < txn->n_ops; i++) {
		buf_add_str(out, i ? "," : "");
		add_op(out, &txn->ops[i]);
	}
	buf_add_str(out, "]");
	if (txn->n_compares)
		add_reads(out, ",\"failure\":[", txn);
	return buf_add_str(out, "}");
}

bool etcd_body_leased(const struct engine_txn *txn)
{
	for (size_t i = 0; i < txn->n_ops; i++)
		if (txn->ops[i].kind == ENGINE_PUT && txn->ops[i].leased)
			return true;
	return false;
}

/* Nothing else in a body has a name with quotes: what comes from outside is base64. */
void etcd_body_lease(struct buf *body, uint64_t lease)
{
	char number[LEASE_ROOM + 1];
	int len = snprintf(number, sizeof(number), "\"%" PRIu64 "\"", lease);
	char *end = body->ptr + body->len, *at = body->ptr;

	while ((at = memmem(at, (size_t)(end - at), LEASE_NAME, strlen(LEASE_NAME)))) {
		at += strlen(LEASE_NAME);
		memset(at, ' ', LEASE_ROOM);
		memcpy(at, number, (size_t)len);
	}
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
	add_bytes(out, "{\"key\":\"", page->from);
	if (page->end.len)
		add_bytes(out, ",\"range_end\":\"", page->end);
	if (page->limit)
		buf_printf(out, ",\"limit\":\"%zu\"", page->limit);
	if (page->revision)
		buf_printf(out, ",\"revision\":\"%" PRIu64 "\"", page->revision);
	if (page->last_first)
		buf_add_str(out, ",\"sort_order\":\"DESCEND\",\"sort_target\":\"KEY\"");
	if (page->stale)
		buf_add_str(out, ",\"serializable\":true");
	return buf_add_str(out, "}");
}

int etcd_body_probe(struct buf *out, struct mp_str key)
{
	add_bytes(out, "{\"key\":\"", key);
	return buf_add_str(out, ",\"count_only\":true}");
}

int etcd_body_watch(struct buf *out, struct mp_str from, struct mp_str end, uint64_t first)
{
	add_bytes(out, "{\"create_request\":{\"key\":\"", from);
	add_bytes(out, ",\"range_end\":\"", end);
	if (first)
		buf_printf(out, ",\"start_revision\":\"%" PRIu64 "\"", first);
	return buf_add_str(out, ",\"progress_notify\":true,\"fragment\":true}}");
}

int etcd_body_login(struct buf *out, const char *user, const char *password)
{
	CLEANUP_JSON json_t *body = json_pack("{s:s,s:s}", "name", user, "password", password);
	CLEANUP_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	return text ? buf_add_str(out, text) : -ENOMEM;
}
