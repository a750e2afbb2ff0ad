/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of managed etcd: what managed.c and managed_do.c share. */
#ifndef AGGREGATOR_ETCD_MANAGED_PRIV_H
#define AGGREGATOR_ETCD_MANAGED_PRIV_H

#include <errno.h>

#include "aggregator/etcd/child.h"
#include "aggregator/etcd/managed.h"
#include "aggregator/etcd/steps.h"

#define MANAGED_PATH_SIZE 4200
#define MANAGED_HELP_SIZE ((size_t)64 << 10) /* bytes of `etcd --help` */
#define MANAGED_TICK_MS 100
#define MANAGED_UNHEARD 3      /* that many that do not answer: nobody gives the list */
#define MANAGED_LEAVE_MS 60000 /* that long it tries to be taken out */

/* When a member of etcd last answered. */
struct managed_seen {
	uint64_t id;           /* 0: a free place */
	uint64_t silent_since; /* 0: it answers */
};

struct managed {
	struct managed_options options;
	struct managed_calls calls;
	struct identity id;         /* as it stands in the file */
	char file[MANAGED_PATH_SIZE]; /* its path */
	int lock;                   /* of the directory */
	char *help;                 /* what etcd says of itself; owned */
	struct etcd_child *child;   /* owned */
	struct http_multi *http;    /* to etcd; owned */
	struct http_multi *join_http; /* to the aggregator that is asked; owned */
	uv_timer_t timer;           /* the next look */
	struct cluster_ask ask;     /* the step's request */
	struct cluster_ask join;    /* STEP_ASK */
	struct cluster_ask status;  /* whether another member of etcd lives */
	struct cluster_list list;   /* read last; n is 0 before */
	struct managed_seen seen[CLUSTER_MAX];
	size_t turn;                /* of the member that is asked next whether it lives */
	uint64_t asked;             /* the one that was asked last */
	enum step step;             /* that is under way, or was last */
	bool known;                 /* the list is of now */
	unsigned unheard;           /* those that did not give it */
	unsigned other;             /* which of the others is asked next */
	bool ready;                 /* our etcd has answered a linearizable read */
	bool failed;                /* it has ended since */
	bool waits_for_room;        /* the disk takes no writes, and that was told */
	bool chosen;                /* peer and client are chosen */
	bool serving;               /* calls.serve() was called */
	bool removed;               /* leaving: it is out */
	bool leave;                 /* it is to leave */
	bool over;                  /* failed() or left() was called */
	char peer[ETCD_URL_SIZE];   /* its addresses from now on */
	char client[ETCD_URL_SIZE];
	uint64_t started_at;        /* ms; of our etcd, 0: it was adopted */
	uint64_t not_before;        /* ms; when the next step may be */
	uint64_t refresh_at;        /* ms; when the list is read again */
	uint64_t leave_until;       /* ms; then it gives up */
	unsigned failures;          /* of etcd, in a row */
	size_t told_voters;         /* what was last said about their number */
	bool closing;               /* managed_close() was called */
	uint64_t kill_at;           /* ms; closing: SIGKILL */
	int handles;                /* that are still open */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

static inline uint64_t managed_now(const struct managed *m)
{
	return uv_now(m->options.loop);
}

/* That a write failed so passes: a full disk, or one that turned read-only. */
static inline bool managed_no_room(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT || rc == -EROFS;
}

/* managed.c: writes the identity; on failure that is the end, and false. */
bool managed_save(struct managed *m);

/* managed.c: will its peers take the certificate of its etcd?  0, or a negative errno and why not. */
int managed_check_certificate(const struct managed *m, struct err *err);

/* It is over: tells why, once. */
void managed_fail(struct managed *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The answer to the step has come: a look is due. */
void managed_look(struct managed *m);

/* The URL of one of the others, perhaps with more behind a comma: the next after each failure. */
const char *managed_other(const struct managed *m);

/* A list was read. */
void managed_take_list(struct managed *m, const struct cluster_list *list);

/* managed_restored.c: may etcd's directory be gone on with, although there is no identity? */
bool managed_accepted(const struct managed *m);

/* managed_restored.c: the step is a refusal: says so. */
void managed_refuse(struct managed *m, enum step step);

/* managed_restored.c: the list says where peers were told to reach it. */
void managed_take_peer(struct managed *m);

/* managed_do.c: the answer to m->ask or m->join. */
void managed_answered(void *ctx, struct cluster_ask *ask);

/* Begins the step.  True: the next one may follow at once. */
bool managed_do(struct managed *m, enum step step);

/* managed_address.c */
#define ADDRESS_SIZE 256 /* bytes of an address or name of etcd's, and a NUL */

/* Where etcd will be reached: chosen again before each start.  False: that is the end. */
bool managed_choose(struct managed *m);

#endif
