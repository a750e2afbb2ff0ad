/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What etcd's gateway answers, of any kind, and what it means.
 *
 * Pure: bytes in, a struct out.  It believes nothing: a field of the wrong type,
 * bytes that are no base64, a field given twice make the whole answer one that
 * cannot be read.  Fields that it does not know are passed over.
 *
 * One struct reads all answers, because their fields never contradict one
 * another: the caller knows what it asked.  A watch is a stream of objects; then
 * object() is called behind each, and events stay until they are taken.
 */
#ifndef AGGREGATOR_ROWS_ETCD_ANSWER_H
#define AGGREGATOR_ROWS_ETCD_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "aggregator/rows/engine.h"
#include "aggregator/rows/etcd_json.h"

/* A key with its value, or an event. */
struct etcd_item {
	size_t start;              /* its bytes stand behind that point of `bytes` */
	size_t key, value;         /* where they stand */
	size_t key_len, value_len;
	uint64_t revision;         /* of the transaction that made it */
	bool gone;                 /* an event: the key went */
};

/* Fields are for reading; those of one object are 0, false or "" when it lacks them. */
struct etcd_answer {
	struct etcd_json json;                  /* what reads it; json.wrong says why not */
	unsigned char place[ETCD_JSON_DEPTH + 2]; /* by depth: which object or array of etcd's that is */
	uint64_t have[ETCD_JSON_DEPTH + 2];     /* by depth: fields that were there, a bit each */
	bool (*object)(struct etcd_answer *answer); /* behind each whole object; NULL: there is one only */
	size_t objects;                         /* whole ones */

	uint64_t cluster;           /* header: which cluster says so */
	uint64_t revision;          /* header: of the map */
	uint64_t id, ttl;           /* a lease; ttl in s, 0: it is none any more */
	uint64_t compact_revision;  /* a watch: changes before that one are gone */
	uint64_t code;              /* an error: gRPC's code */
	size_t responses;           /* a transaction: operations that were answered */
	bool succeeded;             /* a transaction: its comparisons held */
	bool more;                  /* a range: the limit cut it */
	bool created, canceled;     /* a watch: it has begun, has ended */
	bool fragment;              /* a watch: the next object belongs to this one */
	bool failed;                /* an error inside of a stream */
	char text[160];             /* an error: printable */
	char token[200];            /* of a user who has logged in */

	char start[100];            /* of the first bytes: printable, for what is no JSON */
	size_t start_len;           /* of them */

	struct etcd_item *items;    /* owned; of all objects until they are taken */
	size_t n_items, room;       /* used and allocated */
	struct etcd_item item;      /* the one that is read */
	bool reading;               /* it has begun */
	struct buf bytes;           /* keys and values */
	size_t max;                 /* bytes of both and of their items */
	bool large;                 /* they were more */
};

/* max: see there.  etcd_answer_fini() is due. */
void etcd_answer_init(struct etcd_answer *answer, size_t max);
void etcd_answer_fini(struct etcd_answer *answer);

/* For another answer; the first `keep` items stay. */
void etcd_answer_again(struct etcd_answer *answer, size_t keep);

/* Reads on.  False: it cannot be read, see json.wrong. */
bool etcd_answer_feed(struct etcd_answer *answer, struct mp_str bytes);

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
	ETCD_WRONG,     /* HTTP 400: it will not be done, for certain */
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

/* Of a unary request.  status: HTTP's, 0 when there was no whole answer; then reason says why. */
void etcd_judge(const struct etcd_answer *answer, int status, const char *reason,
		struct etcd_verdict *ret);

/*
 * Of a transaction that was sent, with so many comparisons, operations and reads.  Anything
 * that does not fit is ENGINE_UNKNOWN, and the verdict says why.
 */
enum engine_outcome etcd_txn_outcome(const struct etcd_answer *answer, const struct engine_txn *txn,
				     struct etcd_verdict *verdict);

#endif
