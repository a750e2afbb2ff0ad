/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What etcd answers, of any kind, and what it means.
 *
 * Pure: bytes in, a struct out.  An answer is gRPC's: messages of protobuf, each behind its
 * length, and a status that comes last (etcd.proto; gRPC over HTTP/2, PROTOCOL-HTTP2.md).  It
 * believes nothing: a length that is too great, bytes that are no such message, a negative
 * revision make the whole answer one that cannot be read.
 *
 * One struct holds all kinds, because their fields never contradict one another: the
 * caller knows what it asked.  A watch is a stream of messages; then object() is called behind
 * each, and events stay until they are taken.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_ETCD_ANSWER_H
#define AGGREGATOR_ROWS_ENGINE_ETCD_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "aggregator/rows/engine/engine.h"
#include "lib/buf.h"

/* What is called; etcd_rpc.h has their paths. */
enum etcd_method {
	ETCD_TXN,
	ETCD_RANGE,
	ETCD_WATCH,
	ETCD_GRANT,
	ETCD_KEEP_ALIVE,
	ETCD_REVOKE,
	ETCD_LOGIN,
};

#define ETCD_METHODS (ETCD_LOGIN + 1)

#define ETCD_USER_TOKEN_MAX 4096 /* bytes of a user's token: JSON web tokens take some 700 */

/* A key with its value, or an event. */
struct etcd_item {
	size_t start;              /* its bytes stand behind that point of `bytes` */
	size_t key, value;         /* where they stand */
	size_t key_len, value_len;
	uint64_t revision;         /* of the transaction that made it */
	bool gone;                 /* an event: the key went */
};

/* Fields are for reading; those of one message are 0, false or "" when it lacks them. */
struct etcd_answer {
	enum etcd_method method;    /* what was called: which messages come */
	struct buf part;            /* of the message that comes, with its prefix */
	char wrong[160];            /* why it cannot be read; "" */
	bool (*object)(struct etcd_answer *answer); /* behind each message; NULL: there is one only */
	size_t objects;             /* whole messages */

	bool ended;                 /* gRPC's status has come */
	uint64_t code;              /* it; 0: good */
	char text[160];             /* its reason, or why a watch has ended: printable */

	uint64_t cluster;           /* header: which cluster says so */
	uint64_t revision;          /* header: of the map */
	uint64_t id, ttl;           /* a lease; ttl in s, 0: it is none any more */
	uint64_t compact_revision;  /* a watch: changes before that one are gone */
	size_t responses;           /* a transaction: operations that were answered */
	bool succeeded;             /* a transaction: its comparisons held */
	bool more;                  /* a range: the limit cut it */
	bool created, canceled;     /* a watch: it has begun, has ended */
	bool fragment;              /* a watch: the next message belongs to this one */
	char *token;                /* owned: of a user who has logged in; NULL: of all other messages */

	struct etcd_item *items;    /* owned; of all messages until they are taken */
	size_t n_items, room;       /* used and allocated */
	struct buf bytes;           /* keys and values */
	size_t max;                 /* bytes of both and of their items; and of a message */
	bool large;                 /* they were more */
};

/* max: see there.  etcd_answer_fini() is due. */
void etcd_answer_init(struct etcd_answer *answer, size_t max);
void etcd_answer_fini(struct etcd_answer *answer);

/* For another answer, to that method; the first `keep` items stay. */
void etcd_answer_again(struct etcd_answer *answer, enum etcd_method method, size_t keep);

/* Reads on.  False: it cannot be read, see `wrong`. */
bool etcd_answer_feed(struct etcd_answer *answer, struct mp_str bytes);

/* A field of the answer's head or trailer: the status may be among them. */
void etcd_answer_field(struct etcd_answer *answer, struct mp_str name, struct mp_str value);

/* It cannot be read, for that reason; returns false. */
bool etcd_answer_fail(struct etcd_answer *answer, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Something of it has come, but not all. */
bool etcd_answer_begun(const struct etcd_answer *answer);

/* Memory that the items take. */
size_t etcd_answer_size(const struct etcd_answer *answer);

struct mp_str etcd_item_key(const struct etcd_answer *answer, size_t i);

/* ptr is not NULL, also when it is empty. */
struct mp_str etcd_item_value(const struct etcd_answer *answer, size_t i);

/* Forgets the first n items. */
void etcd_answer_take(struct etcd_answer *answer, size_t n);

/* What an answer means, whatever was asked. */
enum etcd_kind {
	ETCD_GOOD,      /* it was done, or looked up */
	ETCD_WRONG,     /* it will not be done, for certain */
	ETCD_COMPACTED, /* the same: that revision is gone */
	ETCD_FUTURE,    /* the same: that revision is not there yet */
	ETCD_FULL,      /* no space */
	ETCD_NO_LEASE,  /* the lease is gone */
	ETCD_NO_TOKEN,  /* the user has to log in again */
	ETCD_FORBIDDEN, /* the user has no right to those keys */
	ETCD_LARGE,     /* more than is taken: ask for less */
	ETCD_TROUBLE,   /* ask another one */
	ETCD_STOPPED,   /* that is another cluster, or an older state of ours */
};

struct etcd_verdict {
	enum etcd_kind kind;
	char why[256]; /* for people; "" when it is good */
};

/* Of a unary call.  status: HTTP's, 0 when there was no whole answer; then reason says why. */
void etcd_judge(const struct etcd_answer *answer, int status, const char *reason,
		struct etcd_verdict *ret);

/*
 * Of a transaction that was sent, with so many comparisons, operations and reads.  Anything
 * that does not fit is ENGINE_UNKNOWN, and the verdict says why.
 */
enum engine_outcome etcd_txn_outcome(const struct etcd_answer *answer, const struct engine_txn *txn,
				     struct etcd_verdict *verdict);

#endif
