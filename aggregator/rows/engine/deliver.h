/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers and events on their way to whoever asked, for engines that do their
 * work within the call (sqlite.c, and the one of the tests): everything
 * is kept until the loop's next round, in the order in which it happened.
 *
 * It knows watches and what they watch, but no storage.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_DELIVER_H
#define AGGREGATOR_ROWS_ENGINE_DELIVER_H

#include <uv.h>

#include "aggregator/rows/engine/engine.h"
#include "lib/buf.h"

/* All that is on its way. */
struct deliver {
	uv_idle_t idle;            /* runs while there is something */
	struct delivery *first;    /* oldest of what is on its way, or NULL */
	struct delivery **last;    /* where the next one is linked */
	struct watch *watches;     /* newest first */
	uint64_t last_watch;       /* id given last */
	uint64_t revision;         /* of the map: transactions so far, from 1 */
	void (*closed)(void *ctx); /* of deliver_close(), NULL before */
	void *closed_ctx;
};

/* An answer, or the events of one transaction for one watch. */
struct delivery {
	struct delivery *next;       /* in struct deliver */
	engine_done_fn *done;        /* NULL: it is for a watch */
	void *ctx;                   /* of done */
	uint64_t watch;              /* its id */
	struct engine_answer answer; /* of events only the revision */
	struct engine_item *items;   /* of an answer; owned */
	struct engine_event *events; /* for a watch; owned */
	size_t n;                    /* items or events */
	struct buf bytes;            /* what their keys and values point into */
	char why[200];               /* text of the answer */
};

/* What a transaction did, for the watches.  Empty it is { 0 }. */
struct changes {
	struct engine_event *list; /* owned; in the order in which it was done */
	size_t n;                  /* of them */
	struct buf bytes;          /* keys and values, one behind the other */
	bool lost;                 /* no memory: all watches begin anew */
};

void deliver_init(struct deliver *deliver, uv_loop_t *loop);

/* Delivers what there is, then forgets the watches and calls closed(): from the loop, once. */
void deliver_close(struct deliver *deliver, void (*closed)(void *ctx), void *ctx);

/* An answer that is filled by delivery_item() and sent by deliver_answer(); NULL without memory. */
struct delivery *delivery_new(engine_done_fn *done, void *ctx);

/* Copies an item into it.  False without memory. */
bool delivery_item(struct delivery *d, struct mp_str key, struct mp_str value);

/* Forgets the items again. */
void delivery_clear(struct delivery *d);

/* Sends and owns it. */
void deliver_answer(struct deliver *deliver, struct delivery *d, enum engine_outcome outcome,
		    const char *why);

/* True when a change would be told to anybody. */
static inline bool deliver_watched(const struct deliver *deliver)
{
	return deliver->watches;
}

void changes_init(struct changes *changes);
void changes_fini(struct changes *changes);

/* Copies a change; value NULL: the key went. */
void changes_add(struct changes *changes, struct mp_str key, const struct mp_str *value);

/* A transaction was committed: counts it, answers, then tells each watch its part.  Owns the answer. */
void deliver_committed(struct deliver *deliver, struct delivery *answer, struct changes *changes);

/* As engine_ops has them. */
uint64_t deliver_watch(struct deliver *deliver, struct mp_str from, struct mp_str end,
		       uint64_t after, const struct engine_watch *calls);
void deliver_unwatch(struct deliver *deliver, uint64_t id);

#endif
