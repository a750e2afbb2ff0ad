/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a group agrees by: an ordered map of keys, changed by transactions under
 * comparisons.  Alone it is SQLite (sqlite.h), in a group etcd; both
 * keep the same promises, and one conformance suite checks them
 * (tests/unit/aggregator/engine_suite.h).
 *
 * The promises:
 *  - a transaction happens whole or not at all, at one point between call and
 *    answer; COMMITTED is on the disk of whoever must have it;
 *  - FAILED and REFUSED mean that it did not happen and never will; UNKNOWN
 *    says nothing at all (rows.md 3.4);
 *  - a range that is not `stale` sees everything that was answered before it
 *    was asked;
 *  - a watch sees each change of its range once, in order, transactions whole.
 *
 * One loop, one thread.  Callbacks come from the loop, never from within the
 * call; each is called exactly once, also when the engine is closed meanwhile.
 * What a call gets is copied or used before it returns; what a callback gets is
 * borrowed for its duration.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_ENGINE_H
#define AGGREGATOR_ROWS_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "middlepipe/types.h"

#define ENGINE_KEY_MAX 2048         /* bytes */
#define ENGINE_VALUE_MAX (16u << 20) /* bytes */

enum engine_outcome {
	ENGINE_COMMITTED, /* it happened */
	ENGINE_FAILED,    /* a comparison failed: it did not; `items` are those of the reads that exist */
	ENGINE_REFUSED,   /* the engine does not take it (too large, no space): it did not */
	ENGINE_UNKNOWN,   /* it may have happened, or may happen later */
};

/* The key has that value, or is absent. */
struct engine_compare {
	struct mp_str key;
	struct mp_str value; /* ptr NULL: there is no such key */
};

enum engine_op_kind {
	ENGINE_PUT,          /* key gets value */
	ENGINE_DELETE,       /* key goes, when it is there */
	ENGINE_DELETE_RANGE, /* key <= k < value goes */
};

struct engine_op {
	enum engine_op_kind kind;
	struct mp_str key;
	struct mp_str value; /* of a PUT; the end of a DELETE_RANGE */
	/*
	 * A PUT of a key that goes by itself some seconds after this process has
	 * gone.  In an engine that one process has alone it may stay.
	 */
	bool leased;
};

/*
 * No key twice among the ops.  One without comparisons and ops reads its keys,
 * all at one point, as a range that is not `stale` would, and is COMMITTED.
 */
struct engine_txn {
	const struct engine_compare *compares; /* all must hold */
	size_t n_compares;
	const struct engine_op *ops;           /* what happens then */
	size_t n_ops;
	const struct mp_str *reads;            /* keys that are read when one does not hold,
						  or when nothing is to be done */
	size_t n_reads;
};

struct engine_item {
	struct mp_str key;
	struct mp_str value;
};

/* What a range asks for. */
struct engine_range {
	struct mp_str from;  /* first key */
	struct mp_str end;   /* first key that is not meant; empty: `from` alone */
	size_t limit;        /* items at most; 0: as many as there are */
	size_t bytes;        /* behind the item that brings it to so many it may end, `more`; 0: not for that */
	uint64_t revision;   /* as things stood then; 0: now */
	bool stale;          /* the local copy will do */
	bool last_first;     /* descending */
};

struct engine_answer {
	enum engine_outcome outcome;    /* a range: COMMITTED, REFUSED or UNKNOWN */
	const struct engine_item *items; /* a range's in order of their keys, a transaction's in that of its reads */
	size_t n_items;
	bool more;                      /* the limit cut it, or `bytes` */
	uint64_t revision;              /* of the map, when this was answered */
	const char *why;                /* for people, unless COMMITTED */
};

/* Have so many items, of so many bytes, all that was asked for? */
static inline bool engine_range_full(const struct engine_range *range, size_t items, size_t bytes)
{
	return (range->limit && items >= range->limit) || (range->bytes && bytes >= range->bytes);
}

/* Of an answer that has items. */
static inline struct mp_str engine_last_key(const struct engine_answer *answer)
{
	return answer->items[answer->n_items - 1].key;
}

typedef void engine_done_fn(void *ctx, const struct engine_answer *answer);

/* A key was put, or went. */
struct engine_event {
	struct mp_str key;
	struct mp_str value; /* ptr NULL: it went */
};

/* What a watch calls; each gets ctx. */
struct engine_watch {
	/* All events of one or several whole transactions; `revision` is that of the last. */
	void (*events)(void *ctx, uint64_t revision, const struct engine_event *events, size_t n);
	/*
	 * The watch ended; it is not called again.  compacted: changes up to that
	 * revision are not to be had, read and watch anew; 0: it broke off.
	 */
	void (*ended)(void *ctx, uint64_t compacted, const char *why);
	void *ctx;
};

/* How an engine is. */
struct engine_health {
	bool serving;     /* the last operation was answered */
	bool full;        /* no space: puts cannot be, deletes may */
	bool read_only;   /* the disk takes no writes at all */
	bool damaged;     /* what is read is not what was written, or is another map: it stays so */
	char text[256];   /* for people: what to do; "" when all is well */
};

struct engine;

/* What an engine can; see the promises above. */
struct engine_ops {
	const char *name; /* "embedded", "etcd" */
	/* Both: 0; or -ENOMEM, then nothing happens and done() is not called. */
	int (*commit)(struct engine *engine, const struct engine_txn *txn, engine_done_fn *done,
		      void *ctx);
	int (*range)(struct engine *engine, const struct engine_range *range, engine_done_fn *done,
		     void *ctx);
	/*
	 * As commit(), of what brings cells: an engine that is nearly full refuses it, and keeps its room for
	 * all else.  NULL: it makes no difference.
	 */
	int (*commit_cells)(struct engine *engine, const struct engine_txn *txn, engine_done_fn *done,
			    void *ctx);
	/*
	 * Changes of from <= k < end after that revision (0: from now on).  An id
	 * for unwatch(), or 0 without memory.
	 */
	uint64_t (*watch)(struct engine *engine, struct mp_str from, struct mp_str end,
			  uint64_t after, const struct engine_watch *watch);
	void (*unwatch)(struct engine *engine, uint64_t id); /* nothing is called any more */
	void (*health)(const struct engine *engine, struct engine_health *ret);
	/*
	 * Which map this is, known with the first answer: one that was restored elsewhere from a backup is
	 * another.  0: not known yet.  NULL: nobody can tell.
	 */
	uint64_t (*identity)(const struct engine *engine);
	/* Answers what is under way, then calls closed() from the loop and is gone. */
	void (*close)(struct engine *engine, void (*closed)(void *ctx), void *ctx);
};

/* The first member of every engine. */
struct engine {
	const struct engine_ops *ops;
};

/* What no engine takes in a transaction, for people; NULL: nothing of that. */
static inline const char *engine_txn_wrong(const struct engine_txn *txn)
{
	for (size_t i = 0; i < txn->n_compares; i++)
		if (txn->compares[i].key.len > ENGINE_KEY_MAX)
			return "a key is too long";
	for (size_t i = 0; i < txn->n_ops; i++) {
		if (txn->ops[i].key.len > ENGINE_KEY_MAX || !txn->ops[i].key.len)
			return "a key is empty or too long";
		if (txn->ops[i].value.len > ENGINE_VALUE_MAX)
			return "a value is too large";
	}
	return NULL;
}

/* Why something was not done: what a damaged engine says must be done, of *ret; else `why`. */
static inline const char *engine_why(const struct engine *engine, const char *why, struct engine_health *ret)
{
	engine->ops->health(engine, ret);
	return ret->damaged ? ret->text : why;
}

#endif
