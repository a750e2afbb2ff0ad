/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the owner: owner.c has the shards and the puts that wait, plan.c puts
 * rows on a flight, flight.c sends it and finds out how it ended.
 */
#ifndef AGGREGATOR_ROWS_OWNER_PRIV_H
#define AGGREGATOR_ROWS_OWNER_PRIV_H

#include "aggregator/rows/owner.h"
#include "lib/buf.h"

#define OWNER_TEXT_MAX 320 /* bytes of an owner's text, and a NUL */
#define OWNER_REFUSALS 32  /* checks whose refusals are told apart */
#define OWNER_SEEN_BITS 4096 /* of the filter of keys on a flight */

enum shard_state {
	SHARD_OTHERS,    /* somebody else's, or nobody's */
	SHARD_TAKING,    /* the transaction is on its way */
	SHARD_MINE,
	SHARD_RELEASING, /* likewise */
};

struct shard {
	enum shard_state state;
	bool want;                 /* see owner_want() */
	bool was_free;             /* TAKING: from nobody */
	char text[OWNER_TEXT_MAX]; /* MINE: what this process wrote there; TAKING: writes */
	size_t size;               /* bytes of it */
	char next[OWNER_TEXT_MAX]; /* while a flight is killed: what is written instead */
	size_t next_size;
	bool aboard;               /* a row of it is on the flight */
	bool killing;              /* the transaction on its way rewrites its key */
};

/* A state snapshot that is being stored; see plan_snapshot.c. */
struct storing {
	uint64_t seq;     /* of the last cell in it; 0: none is stored, others go */
	uint64_t life;    /* incarnation of the row */
	uint32_t rules;   /* of the check */
	bool given;       /* it came from elsewhere, and the row begins behind it */
	char check[CHECK_NAME_MAX + 1]; /* given: that of the row */
	uint32_t n_parts; /* in all */
	uint32_t next;    /* part that is not known to be there */
	struct buf bytes; /* all of it */
	bool names;       /* the flight names it in the head */
	struct buf part, key; /* on the flight; empty: none */
	struct buf from, end; /* older ones that go with the flight; empty: none */
};

/* What the owner remembers of a row that has, or had, something to do. */
struct owned {
	struct row *row;
	struct list link;     /* in owner->all */
	struct list work;     /* in owner->work while puts wait */
	struct list queue;    /* puts that wait, oldest first */
	struct list aboard;   /* in owner->aboard while it is on the flight */
	struct list flying;   /* its puts there, in the order of their cells */
	uint32_t n_flying;
	uint64_t rate_due;    /* see limits_rate() */
	struct list refused;  /* puts that are refused if the flight finds the row as it is here */
	bool writes;          /* the flight changes the row */
	bool overtaken;       /* what the flight wrote was found, and the head changed since */
	bool chores;          /* retention has something to do */
	struct buf before;    /* the head that it finds; empty: none */
	uint64_t first;       /* seq of the first cell that it adds */
	struct head next;     /* the head that it writes */
	struct buf head;      /* its text */
	struct buf head_key;
	struct buf batch;     /* empty: no cells */
	struct buf batch_key;
	struct buf trim_from, trim_end; /* batches that go; empty: none */
	struct storing *storing; /* owned; NULL: no snapshot of it is being stored, and none goes */
	uint64_t seen[OWNER_SEEN_BITS / 64]; /* a bit for each idempotency key on the flight */
};

enum flight_state {
	FLIGHT_NONE,
	FLIGHT_SENT,    /* its transaction was sent */
	FLIGHT_KILL,    /* its outcome is unknown: it will be killed, at owner->again_at */
	FLIGHT_KILLING, /* that was sent */
	FLIGHT_LOOK,    /* it can commit no more: it will be looked for, at owner->again_at */
	FLIGHT_LOOKING, /* that was sent */
};

/* A transaction under construction; the arrays keep their memory. */
struct owner_txn {
	struct engine_compare *compares; /* owned, like the rest */
	struct engine_op *ops;
	struct mp_str *reads;
	size_t n_compares, n_ops, n_reads; /* used */
	size_t room;                       /* of each */
	bool cells;                        /* it brings some */
};

struct owner {
	struct engine *engine;
	struct copy *copy;
	const struct rows_host *host;
	const struct owner_checks *checks;
	char member[OWNER_TEXT_MAX];  /* its id */
	uint64_t nonce;               /* of this process */
	uint64_t counter;             /* of the texts that it wrote */
	uint64_t ids;                 /* of cells that are not committed: the next one */
	uint32_t n_shards;
	struct owner_limits limits;
	struct buf meta_key, meta;    /* see owner_set_meta() */
	bool sealed;                  /* likewise */
	struct shard shard[SHARDS_MAX];
	struct buf shard_key[SHARDS_MAX]; /* keys of the owners */
	struct list all;              /* every struct owned */
	struct list work;             /* struct owned with puts that wait, in turn */
	struct list due;              /* all puts that wait or fly, by deadline */
	enum flight_state flight;
	struct list aboard;           /* struct owned on the flight */
	struct owned *probe;          /* of them one with cells, or NULL */
	size_t rows_aboard, bytes_aboard;
	uint64_t hold_until;          /* ns; the next flight waits till then, see flight.c ... */
	size_t hold_for;              /* ... unless so many puts wait */
	bool snapshot_aboard;         /* one of them has to do with its snapshots: one a flight */
	uint64_t again_at, backoff;   /* ns; see enum flight_state */
	unsigned alone;               /* so many flights carry one put: a larger one was refused */
	struct owner_txn txn;         /* of the flight and what follows it */
	struct owner_txn take;        /* of takeovers and releases */
	bool taking;                  /* such a one is on its way */
	uint64_t take_at, take_backoff; /* ns; not before */
	uint64_t chores_at;           /* ns; when to look at rows for retention */
	size_t chores_next;           /* how many rows that passes over: they had their turn */
	bool woken;                   /* see owner_is_woken() */
	unsigned asked;               /* answers that the engine owes */
	bool dead;                    /* owner_free() was called */
	struct owner_counts counts;
	struct limits bounds;         /* of rows and the tenant */
	uint64_t room;                /* bytes of cells that the engine may still be given; OWNER_ROOM_ANY */
	char room_why[256];           /* for those who find none */
	uint64_t spent[2];            /* of the engine's room: since spent_at, and in the second before that */
	uint64_t spent_at;            /* ns */
	uint64_t sent_at;             /* ns; when the flight was sent */
	struct hist commit_time;      /* ns, from then to its landing */
	struct hist batch_cells;      /* cells of those that had some */
	struct owner_refusals refusals[OWNER_REFUSALS + 1]; /* filled from the front; the last stays empty */
};

/* owner.c */
struct owned *owner_owned(struct owner *owner, struct row *row); /* NULL without memory */
void owner_answer(struct owner *owner, struct put *put, struct put_answer *answer);
void owner_say_overdue(struct owner *owner); /* answers all whose time is over */
void owner_turn_away(struct owner *owner, struct owned *owned); /* answers all that wait: ELSEWHERE */
void owner_drop_check(struct owner *owner, struct row *row); /* what the row's check came to, and a snapshot that is stored */
bool owner_answered(struct owner *owner); /* as copy_answered() */
bool owner_text_write(struct owner *owner, char *out, size_t *ret_size); /* with a counter of its own */

/* plan.c: so many bytes of the engine's room were used just now. */
void owner_spend_room(struct owner *owner, uint64_t bytes);

/* owner_shards.c */
#define OWNER_TAKE_BACKOFF (20 * NS_PER_MS) /* the first */
void owner_shard_lost(struct owner *owner, uint32_t shard);
void owner_change_shards(struct owner *owner); /* takes and releases what is to be, in one transaction at a time */
bool owner_wants_change(const struct owner *owner);

/* What follows reserves room in a transaction, then adds.  False without memory. */
bool txn_begin(struct owner_txn *txn, size_t room);
void txn_compare(struct owner_txn *txn, struct mp_str key, struct mp_str value);
void txn_op(struct owner_txn *txn, enum engine_op_kind kind, struct mp_str key, struct mp_str value);
void txn_read(struct owner_txn *txn, struct mp_str key);
bool txn_commit(struct owner *owner, const struct owner_txn *txn, engine_done_fn *done);
void txn_fini(struct owner_txn *txn);
/* The value that an answer has for the i-th read; *at starts as 0 and follows.  ptr NULL: none. */
struct mp_str txn_answer(const struct owner_txn *txn, size_t i, const struct engine_answer *answer,
			 size_t *at);

/* plan.c: puts as much of the row on the flight as fits; false when there is nothing. */
bool plan_row(struct owner *owner, struct owned *owned);
void plan_forget(struct owned *owned); /* it is not on the flight any more */
void plan_return(struct owned *owned); /* likewise, and its puts wait again, in front */

/*
 * plan_snapshot.c.  begin: 0: it is being stored; -EAGAIN: later, and why not as
 * the check says.  give: likewise that of a PUT_STATE; -E2BIG.  due: retention would like one.
 */
int snapshot_begin(struct owner *owner, struct owned *owned);
int snapshot_give(struct owner *owner, struct owned *owned, const struct put *put);
bool snapshot_is_given(const struct owned *owned, const struct put *put); /* the put's is being stored */
bool snapshot_begins_row(const struct owned *owned); /* the flight names one that was given ... */
bool snapshot_is(const struct owned *owned, const struct put *put); /* ... and it is that one */
bool snapshot_due(const struct owner *owner, const struct row *row, uint64_t now_ms);
void snapshot_drop(struct owned *owned);
/* The next step of storing it; and for a life of the row that ends, or has ended: all of them go. */
void snapshot_plan(struct owner *owner, struct owned *owned);
bool snapshot_plan_end(struct owner *owner, struct owned *owned, uint64_t life); /* false without memory */
bool snapshot_aboard(const struct owned *owned);   /* there is such a step */
size_t snapshot_size(const struct owned *owned);   /* its bytes */
void snapshot_name(struct owned *owned);           /* in the head that is written, when it is that */
void snapshot_forget(struct owned *owned);         /* it is not on the flight any more */
void snapshot_landed(struct owner *owner, struct owned *owned); /* it was done */

/* flight.c */
void flight_try(struct owner *owner);  /* sends one when there is none and something waits */
void flight_again(struct owner *owner); /* kills or looks, when that is due */

#endif
