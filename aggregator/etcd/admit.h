/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Letting another aggregator into the group of this one (rows.md 6): its token is
 * claimed in a transaction, what it replaces is taken out, then its etcd is added as a
 * learner, or it is told to be a client when there are five.
 *
 * Everything may be asked again by the same joiner: it is found as it was left.
 * One at a time, once its token is known to be good: until then nothing is told or held.  admit_next() is pure; the rest is on the loop.
 */
#ifndef AGGREGATOR_ETCD_ADMIT_H
#define AGGREGATOR_ETCD_ADMIT_H

#include "aggregator/etcd/managed.h"
#include "aggregator/etcd/token.h"
#include "aggregator/rows/engine/engine.h"

/* What the joiner says. */
struct admit_request {
	char token[ETCD_TOKEN_SIZE];
	char member[ROW_TENANT_MAX + 1];
	char nonce[ETCD_NONCE_SIZE]; /* of its identity */
	uint64_t replaces;           /* etcd id of its life before; 0: none */
	char peer[ETCD_URL_SIZE];    /* where its etcd will be */
	char tenant[ROW_TENANT_MAX + 1]; /* whose rows it would keep; "": it does not say (an older program) */
	int64_t format;              /* of rows (meta.h) that it knows: with another it would have a vote and not serve */
};

/* 0 and *ret; -EINVAL and err. */
int admit_request_read(struct mp_str text, struct admit_request *ret, struct err *err);

/* What is to be done next, by the list of members. */
enum admit_step {
	ADMIT_READY,  /* it is in: as the member `id` */
	ADMIT_CLIENT, /* it is in: as a client of those that there are */
	ADMIT_PROBE,  /* look whether `id`, whose place it would have, lives: dead is who twice gives no answer */
	ADMIT_REMOVE, /* take `id` out */
	ADMIT_ADD,    /* add its etcd as a learner */
	ADMIT_ALIVE,  /* refuse: `id` lives */
};

/*
 * dead, alive: ids of members that were found so; gone: one that has not answered for so long that
 * its place is free; 0: none.
 */
enum admit_step admit_next(const struct cluster_list *list, const struct admit_request *request, uint64_t dead,
			   uint64_t alive, uint64_t gone, uint64_t *ret_id);

struct admit;

/* How it ended: HTTP's status, and an error's code and text or the body. */
struct admit_answer {
	int status;
	const char *code;  /* of an error */
	const char *text;  /* likewise */
	struct buf *body;  /* of 200; may be taken */
};

/* Both come from the loop, with ctx. */
struct admit_calls {
	/* Its token is good: it begins now, or, with false, another is at it.  Perhaps again, and perhaps never. */
	bool (*begins)(void *ctx);
	void (*done)(void *ctx, const struct admit_answer *answer); /* the end; once */
	void *ctx;
};

/* tenant: the group's; copied, like the request and the calls.  NULL without memory. */
struct admit *admit_start(uv_loop_t *loop, struct managed *managed, struct engine *engine, struct mp_str tenant,
			  const struct admit_request *request, uint64_t now_ms, const struct admit_calls *calls);

/* Nobody waits for it any more: done() comes soon. */
void admit_stop(struct admit *admit);

#endif
