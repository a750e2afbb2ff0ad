/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of the owner; see owner_priv.h. */
#include <stdlib.h>

#include "aggregator/rows/owner_priv.h"
#include "lib/slice.h"

static void *grown(void *array, size_t room, size_t size, bool *ok)
{
	void *more = reallocarray(array, room, size);

	if (more)
		return more;
	*ok = false;
	return array;
}

bool txn_begin(struct owner_txn *txn, size_t room)
{
	bool ok = true;

	txn->n_compares = txn->n_ops = txn->n_reads = 0;
	txn->cells = false;
	if (room <= txn->room)
		return true;
	txn->compares = grown(txn->compares, room, sizeof(*txn->compares), &ok);
	txn->ops = grown(txn->ops, room, sizeof(*txn->ops), &ok);
	txn->reads = grown(txn->reads, room, sizeof(*txn->reads), &ok);
	if (ok)
		txn->room = room;
	return ok;
}

void txn_compare(struct owner_txn *txn, struct mp_str key, struct mp_str value)
{
	txn->compares[txn->n_compares++] = (struct engine_compare){ key, value };
}

void txn_op(struct owner_txn *txn, enum engine_op_kind kind, struct mp_str key, struct mp_str value)
{
	txn->ops[txn->n_ops++] = (struct engine_op){ kind, key, value, false };
}

void txn_read(struct owner_txn *txn, struct mp_str key)
{
	txn->reads[txn->n_reads++] = key;
}

bool txn_commit(struct owner *owner, const struct owner_txn *txn, engine_done_fn *done)
{
	const struct engine_txn all = {
		txn->compares, txn->n_compares, txn->ops, txn->n_ops, txn->reads, txn->n_reads,
	};

	const struct engine_ops *ops = owner->engine->ops;

	if ((txn->cells && ops->commit_cells ? ops->commit_cells : ops->commit)(owner->engine, &all, done, owner) < 0)
		return false;
	owner->asked++;
	return true;
}

void txn_fini(struct owner_txn *txn)
{
	free(txn->compares);
	free(txn->ops);
	free(txn->reads);
	*txn = (struct owner_txn){ 0 };
}

struct mp_str txn_answer(const struct owner_txn *txn, size_t i, const struct engine_answer *answer,
			 size_t *at)
{
	if (*at < answer->n_items && slice_eq(answer->items[*at].key, txn->reads[i]))
		return answer->items[(*at)++].value;
	return (struct mp_str){ 0 };
}
