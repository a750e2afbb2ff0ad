/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer of etcd means (etcd_answer.h, rows.md 3.4): what happened for
 * certain, what did not, and everything else.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/engine/etcd_answer.h"
#include "lib/slice.h"

/* gRPC's codes, as far as etcd tells something by them. */
enum code { INVALID_ARGUMENT = 3, NOT_FOUND = 5, DENIED = 7, EXHAUSTED = 8, OUT_OF_RANGE = 11, UNAUTHENTICATED = 16 };

/* Errors that mean more than their number says; the text decides where codes are shared. */
static const struct {
	uint64_t code;
	const char *text; /* part of it */
	enum etcd_kind kind;
} meanings[] = {
	{ OUT_OF_RANGE, "compacted", ETCD_COMPACTED },
	{ OUT_OF_RANGE, "future revision", ETCD_FUTURE },
	{ OUT_OF_RANGE, "", ETCD_WRONG },
	{ INVALID_ARGUMENT, "etcdserver:", ETCD_WRONG },
	{ EXHAUSTED, "space exceeded", ETCD_FULL },
	{ NOT_FOUND, "lease not found", ETCD_NO_LEASE },
	{ DENIED, "permission denied", ETCD_FORBIDDEN },
	{ UNAUTHENTICATED, "", ETCD_NO_TOKEN },
};

static enum etcd_kind meaning(const struct etcd_answer *a)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].code == a->code && strstr(a->text, meanings[i].text))
			return meanings[i].kind;
	return ETCD_TROUBLE;
}

static void trouble(struct etcd_verdict *ret, const char *what)
{
	ret->kind = ETCD_TROUBLE;
	(void)snprintf(ret->why, sizeof(ret->why), "%s", what);
}

/* Something that etcd says of its own. */
static void judge_error(const struct etcd_answer *a, struct etcd_verdict *ret)
{
	ret->kind = meaning(a);
	(void)snprintf(ret->why, sizeof(ret->why), "gRPC status %" PRIu64 ": %s", a->code,
		       a->text[0] ? a->text : "no reason given");
}

void etcd_judge(const struct etcd_answer *a, int status, const char *reason, struct etcd_verdict *ret)
{
	*ret = (struct etcd_verdict){ .kind = ETCD_GOOD };
	if (a->wrong[0]) {
		ret->kind = a->large ? ETCD_LARGE : ETCD_TROUBLE;
		(void)snprintf(ret->why, sizeof(ret->why), "%s", a->wrong);
	} else if (!status) {
		trouble(ret, reason);
	} else if (status != 200) {
		ret->kind = ETCD_TROUBLE;
		(void)snprintf(ret->why, sizeof(ret->why), "HTTP %d and no gRPC", status);
	} else if (!a->ended) {
		trouble(ret, "an answer without its status");
	} else if (a->code) {
		judge_error(a, ret);
	} else if (a->objects != 1 || a->part.len) {
		trouble(ret, "half an answer");
	} else if (!a->cluster || !a->revision) {
		trouble(ret, "an answer without cluster_id and revision");
	}
}

/* The items are those of the reads that exist, in their order. */
static bool items_fit(const struct etcd_answer *a, const struct mp_str *reads, size_t n)
{
	size_t i = 0;

	for (size_t r = 0; r < n && i < a->n_items; r++)
		i += slice_eq(etcd_item_key(a, i), reads[r]);
	return i == a->n_items;
}

enum engine_outcome etcd_txn_outcome(const struct etcd_answer *a, const struct engine_txn *txn,
				     struct etcd_verdict *verdict)
{
	bool reads = !a->succeeded || (!txn->n_compares && !txn->n_ops);
	size_t n_reads = reads ? txn->n_reads : 0;

	if (verdict->kind == ETCD_WRONG || verdict->kind == ETCD_COMPACTED || verdict->kind == ETCD_FUTURE)
		return ENGINE_REFUSED;
	if (verdict->kind != ETCD_GOOD)
		return ENGINE_UNKNOWN;
	if (a->responses != (reads ? n_reads : txn->n_ops) || (!a->succeeded && !txn->n_compares) ||
	    !items_fit(a, txn->reads, n_reads)) {
		trouble(verdict, "an answer that does not fit the transaction");
		return ENGINE_UNKNOWN;
	}
	if (a->succeeded)
		return ENGINE_COMMITTED;
	(void)snprintf(verdict->why, sizeof(verdict->why), "a comparison failed");
	return ENGINE_FAILED;
}
