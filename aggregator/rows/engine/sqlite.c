/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlite.h. */
#include "aggregator/rows/engine/sqlite.h"

#include <errno.h>
#include <stdlib.h>

#include "aggregator/rows/engine/deliver.h"
#include "aggregator/rows/engine/sqlite_kept.h"
#include "aggregator/rows/engine/sqlite_known.h"
#include "aggregator/rows/engine/sqlite_room.h"
#include "lib/slice.h"

struct engine_sqlite {
	struct engine engine;
	struct sqlite_file file;
	struct known known;        /* what it is known to hold */
	struct deliver deliver;
	void (*closed)(void *ctx); /* of close() */
	void *closed_ctx;
};

static struct engine_sqlite *of(const struct engine *engine)
{
	return (struct engine_sqlite *)(uintptr_t)engine;
}

/* Nobody knows what is found there when it is opened again. */
static void close_file(struct engine_sqlite *e)
{
	sqlite_close_file(&e->file);
	known_forget(&e->known);
}

static int answer(struct engine_sqlite *e, struct delivery *d, enum engine_outcome outcome,
		  const char *why)
{
	deliver_answer(&e->deliver, d, outcome, why);
	return 0;
}

/* --------------------------------------------------------------- transactions */

/* `c` is NULL when nobody watches. */
static int apply_put(struct engine_sqlite *e, const struct engine_op *op, struct changes *c)
{
	int rc = sqlite_run(&e->file, PUT, op->key, op->value);

	known_write(&e->known, op->key, op->value.ptr ? op->value : MP_LIT(""));
	if (rc == SQLITE_OK && c)
		changes_add(c, op->key, &op->value);
	return rc;
}

static int apply_delete(struct engine_sqlite *e, const struct engine_op *op, struct changes *c)
{
	int rc = sqlite_run(&e->file, DELETE, op->key, MP_LIT(""));

	known_write(&e->known, op->key, (struct mp_str){ 0 });
	if (rc == SQLITE_OK && c && sqlite3_changes(e->file.db))
		changes_add(c, op->key, NULL);
	return rc;
}

/* A watch is told of each key that goes. */
static int collect_range(struct engine_sqlite *e, const struct engine_op *op, struct changes *c)
{
	sqlite3_stmt *statement = e->file.statement[UP];
	int rc;

	sqlite_bind(statement, 1, op->key);
	sqlite_bind(statement, 2, op->value);
	sqlite3_bind_int64(statement, 3, -1);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
		changes_add(c, sqlite_column(statement, 0), NULL);
	sqlite3_reset(statement); /* repeats the error of the step */
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int apply_delete_range(struct engine_sqlite *e, const struct engine_op *op, struct changes *c)
{
	int rc = c ? collect_range(e, op, c) : SQLITE_OK;

	known_forget_range(&e->known, op->key, op->value);
	return rc == SQLITE_OK ? sqlite_run(&e->file, DELETE_RANGE, op->key, op->value) : rc;
}

static int apply_all(struct engine_sqlite *e, const struct engine_txn *txn, struct changes *c)
{
	static int (*const apply[])(struct engine_sqlite *, const struct engine_op *,
				    struct changes *) = {
		[ENGINE_PUT] = apply_put,
		[ENGINE_DELETE] = apply_delete,
		[ENGINE_DELETE_RANGE] = apply_delete_range,
	};
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < txn->n_ops; i++)
		rc = apply[txn->ops[i].kind](e, &txn->ops[i], c);
	return rc;
}

/* What the file has, ptr NULL for nothing; borrowed until the next one. */
static int have(struct engine_sqlite *e, struct mp_str key, struct mp_str *ret)
{
	int rc;

	if (known_get(&e->known, key, ret))
		return SQLITE_OK;
	rc = sqlite_get(&e->file, key, ret);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return rc;
	known_read(&e->known, key, *ret);
	return SQLITE_OK;
}

static bool is_same(struct mp_str a, struct mp_str b)
{
	return a.ptr && b.ptr ? slice_eq(a, b) : a.ptr == b.ptr;
}

/* SQLITE_OK: all hold; SQLITE_MISMATCH: one does not. */
static int compare_all(struct engine_sqlite *e, const struct engine_txn *txn)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < txn->n_compares; i++) {
		const struct engine_compare *want = &txn->compares[i];
		struct mp_str value;

		rc = have(e, want->key, &value);
		if (rc == SQLITE_OK && !is_same(value, want->value))
			rc = SQLITE_MISMATCH;
	}
	sqlite3_reset(e->file.statement[GET]); /* nothing is borrowed from it any more */
	return rc;
}

static int read_all(struct engine_sqlite *e, const struct engine_txn *txn, struct delivery *d)
{
	int rc = SQLITE_DONE;

	for (size_t i = 0; i < txn->n_reads && (rc == SQLITE_ROW || rc == SQLITE_DONE); i++) {
		struct mp_str value;

		rc = sqlite_get(&e->file, txn->reads[i], &value);
		if (rc == SQLITE_ROW && !delivery_item(d, txn->reads[i], value))
			rc = SQLITE_NOMEM;
	}
	sqlite3_reset(e->file.statement[GET]);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Nothing of it happened, for certain: it was never committed. */
static void roll_back(struct engine_sqlite *e, struct delivery *d, int rc)
{
	sqlite_failed(&e->file, rc);
	known_forget(&e->known);
	if (!sqlite3_get_autocommit(e->file.db) && sqlite_command(&e->file, ROLLBACK) != SQLITE_OK)
		close_file(e);
	delivery_clear(d);
}

static int give_up(struct engine_sqlite *e, struct delivery *d, int rc)
{
	roll_back(e, d, rc);
	return answer(e, d, ENGINE_REFUSED, e->file.health.text);
}

static int transact(struct engine_sqlite *e, const struct engine_txn *txn, struct delivery *d, bool grows);

/* Likewise.  When room can be made it is tried again: each time there is less that could be given up. */
static int no_room(struct engine_sqlite *e, const struct engine_txn *txn, struct delivery *d, bool grows, int rc)
{
	roll_back(e, d, rc);
	if (sqlite_room_make(&e->file, grows))
		return transact(e, txn, d, grows);
	return answer(e, d, ENGINE_REFUSED, e->file.health.text);
}

/* Ends a transaction that changes nothing by its reads. */
static int look(struct engine_sqlite *e, const struct engine_txn *txn, struct delivery *d,
		enum engine_outcome outcome, const char *why)
{
	int rc = read_all(e, txn, d);

	if (rc == SQLITE_OK)
		rc = sqlite_command(&e->file, ROLLBACK);
	if (rc != SQLITE_OK)
		return give_up(e, d, rc);
	sqlite_succeeded(&e->file, false, false);
	return answer(e, d, outcome, why);
}

static int finish(struct engine_sqlite *e, const struct engine_txn *txn, struct delivery *d, struct changes *c,
		  bool grows)
{
	int rc;

	errno = 0;
	rc = sqlite_command(&e->file, COMMIT);
	/* No room in the log: then the frame that says COMMIT, its last, was not written, and can be rolled back. */
	if ((rc & 0xff) == SQLITE_FULL)
		return no_room(e, txn, d, grows, rc);
	/* Likewise a file system that takes no writes any more (SQLite keeps no errno of a COMMIT). */
	if (rc == SQLITE_IOERR_WRITE && errno == EROFS)
		return give_up(e, d, SQLITE_READONLY);
	if (rc != SQLITE_OK) {
		/* It may be in the log all the same: see the header. */
		sqlite_failed(&e->file, rc);
		close_file(e);
		return answer(e, d, ENGINE_UNKNOWN, e->file.health.text);
	}
	rc = sqlite_kept_commit(&e->file);
	sqlite_succeeded(&e->file, true, grows);
	if (rc != SQLITE_OK) {
		sqlite_failed(&e->file, rc); /* the next one may not go on behind it */
		close_file(e);
	} else {
		sqlite_room_keep(&e->file);
	}
	deliver_committed(&e->deliver, d, c);
	return 0;
}

static int transact(struct engine_sqlite *e, const struct engine_txn *txn, struct delivery *d, bool grows)
{
	struct changes changes;
	int rc = sqlite_command(&e->file, BEGIN);

	if (rc == SQLITE_OK)
		rc = compare_all(e, txn);
	if (rc == SQLITE_MISMATCH)
		return look(e, txn, d, ENGINE_FAILED, "a comparison failed");
	if (rc == SQLITE_OK && !txn->n_compares && !txn->n_ops)
		return look(e, txn, d, ENGINE_COMMITTED, "");
	changes_init(&changes);
	if (rc == SQLITE_OK && txn->n_ops)
		rc = sqlite_kept_count(&e->file);
	if (rc == SQLITE_OK)
		rc = apply_all(e, txn, deliver_watched(&e->deliver) ? &changes : NULL);
	if (rc == SQLITE_OK)
		rc = finish(e, txn, d, &changes, grows);
	else
		rc = (rc & 0xff) == SQLITE_FULL ? no_room(e, txn, d, grows, rc) : give_up(e, d, rc);
	changes_fini(&changes);
	return rc;
}

static int commit(struct engine_sqlite *e, const struct engine_txn *txn, bool grows, engine_done_fn *done, void *ctx)
{
	struct delivery *d = delivery_new(done, ctx);
	const char *wrong = engine_txn_wrong(txn);

	if (!d)
		return -ENOMEM;
	if (wrong)
		return answer(e, d, ENGINE_REFUSED, wrong);
	if (!sqlite_ready(&e->file) || (grows && !sqlite_room_for_cells(&e->file)))
		return answer(e, d, ENGINE_REFUSED, e->file.health.text);
	return transact(e, txn, d, grows);
}

static int engine_commit(struct engine *engine, const struct engine_txn *txn, engine_done_fn *done,
			 void *ctx)
{
	return commit(of(engine), txn, false, done, ctx);
}

static int engine_commit_cells(struct engine *engine, const struct engine_txn *txn, engine_done_fn *done,
			       void *ctx)
{
	return commit(of(engine), txn, true, done, ctx);
}

/* --------------------------------------------------------------------- ranges */

/* The rows of a range; one more than it may have tells that there are more. */
static int range_read(struct engine_sqlite *e, const struct engine_range *range, struct delivery *d)
{
	sqlite3_stmt *statement = e->file.statement[range->last_first ? DOWN : UP];
	int rc;

	sqlite_bind(statement, 1, range->from);
	sqlite_bind(statement, 2, range->end);
	sqlite3_bind_int64(statement, 3, range->limit ? (int64_t)range->limit + 1 : -1);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		if (engine_range_full(range, d->n, d->bytes.len)) {
			d->answer.more = true;
			rc = SQLITE_DONE;
			break;
		}
		if (!delivery_item(d, sqlite_column(statement, 0), sqlite_column(statement, 1))) {
			rc = SQLITE_NOMEM;
			break;
		}
	}
	sqlite3_reset(statement); /* repeats the error of the step */
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int one_read(struct engine_sqlite *e, const struct engine_range *range, struct delivery *d)
{
	const struct engine_txn txn = { .reads = &range->from, .n_reads = 1 };

	return read_all(e, &txn, d);
}

static int engine_range(struct engine *engine, const struct engine_range *range,
			engine_done_fn *done, void *ctx)
{
	struct engine_sqlite *e = of(engine);
	struct delivery *d = delivery_new(done, ctx);
	int rc;

	if (!d)
		return -ENOMEM;
	if (range->revision && range->revision != e->deliver.revision)
		return answer(e, d, ENGINE_REFUSED, "that revision is not to be had any more");
	if (!sqlite_ready(&e->file))
		return answer(e, d, ENGINE_UNKNOWN, e->file.health.text);
	rc = (range->end.len ? range_read : one_read)(e, range, d);
	if (rc == SQLITE_OK) {
		sqlite_succeeded(&e->file, false, false);
		return answer(e, d, ENGINE_COMMITTED, "");
	}
	sqlite_failed(&e->file, rc);
	delivery_clear(d);
	return answer(e, d, ENGINE_UNKNOWN, e->file.health.text);
}

/* ----------------------------------------------------------------- life cycle */

static uint64_t engine_watch(struct engine *engine, struct mp_str from, struct mp_str end,
			     uint64_t after, const struct engine_watch *calls)
{
	return deliver_watch(&of(engine)->deliver, from, end, after, calls);
}

static void engine_unwatch(struct engine *engine, uint64_t id)
{
	deliver_unwatch(&of(engine)->deliver, id);
}

static void engine_health(const struct engine *engine, struct engine_health *ret)
{
	*ret = of(engine)->file.health;
}

static void on_closed(void *ctx)
{
	struct engine_sqlite *e = ctx;
	void (*closed)(void *) = e->closed;
	void *closed_ctx = e->closed_ctx;

	sqlite_file_fini(&e->file);
	known_fini(&e->known);
	free(e);
	closed(closed_ctx);
}

static void engine_close(struct engine *engine, void (*closed)(void *ctx), void *ctx)
{
	struct engine_sqlite *e = of(engine);

	e->closed = closed;
	e->closed_ctx = ctx;
	deliver_close(&e->deliver, on_closed, e);
}

static const struct engine_ops ops = {
	.name = "embedded",
	.commit = engine_commit,
	.commit_cells = engine_commit_cells,
	.range = engine_range,
	.watch = engine_watch,
	.unwatch = engine_unwatch,
	.health = engine_health,
	.close = engine_close,
};

int engine_sqlite_open(uv_loop_t *loop, const struct engine_sqlite_options *options,
		       struct engine **ret, struct err *err)
{
	struct engine_sqlite *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return err_set(err, -ENOMEM, "out of memory");
	rc = sqlite_file_init(&e->file, options, err);
	if (rc) {
		free(e);
		return rc;
	}
	e->engine.ops = &ops;
	known_init(&e->known);
	deliver_init(&e->deliver, loop);
	*ret = &e->engine;
	return 0;
}

bool engine_sqlite_lost(const struct engine *engine)
{
	return of(engine)->file.accepted;
}
