/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the etcd engine: what its files share.  etcd.c has the calls,
 * etcd_options.c how it is opened, etcd_ends.c the endpoints and whatever is asked of them, etcd_range.c the
 * pages, etcd_watch.c the watches, etcd_lease.c the lease.
 *
 * Everything that waits for its time or for an endpoint is looked at by etcd_work(), which
 * the loop calls soon after etcd_wake() and when the next thing is due.
 */
#ifndef AGGREGATOR_ROWS_ENGINE_ETCD_PRIV_H
#define AGGREGATOR_ROWS_ENGINE_ETCD_PRIV_H

#include <uv.h>

#include "aggregator/rows/engine/etcd.h"
#include "aggregator/rows/engine/etcd_answer.h"
#include "aggregator/rows/engine/etcd_rpc.h"
#include "lib/list.h"

#define ETCD_ANSWER_MAX ((size_t)32 << 20) /* bytes of one answer, decoded */
#define ETCD_NEVER UINT64_MAX              /* a time that does not come */

struct etcd;
struct etcd_ask;

enum etcd_text { ETCD_CA, ETCD_CERT, ETCD_KEY, ETCD_USER, ETCD_PASSWORD, ETCD_PROBE };

/* What waits for its time: the earliest wins. */
static inline void etcd_sooner(uint64_t *due, uint64_t at)
{
	if (at < *due)
		*due = at;
}

/* A request and its answer; part of what wants it. */
struct etcd_ask {
	struct etcd *etcd;
	struct endpoint *at;       /* where it is, or was */
	struct http_task *post;    /* while it is under way */
	struct buf body;           /* owned */
	struct etcd_answer answer; /* owned */
	uint64_t floor;            /* revision that was seen before it was sent */
	bool stale;                /* the answer's revision promises nothing */
	bool leaderless;           /* a member without a leader may answer */
	bool sent;                 /* afterwards: something of it has gone out */
	bool probe;                /* trouble with it is no news of its endpoint */
	/* It is over, also when it could not be sent. */
	void (*done)(struct etcd_ask *ask, struct etcd_verdict *verdict);
};

struct endpoint {
	char *url;              /* owned */
	bool gone;              /* it is none of ours any more; whatever points here may stay */
	bool good;              /* has answered, and may be used */
	uint64_t trusted;       /* when it is preferred again after trouble */
	unsigned failures;      /* since it last answered */
	uint64_t due;           /* when it is asked again whether it is good */
	struct etcd_ask probe;  /* the question */
	char why[256];          /* what the last trouble was */
};

enum lease_state { LEASE_NONE, LEASE_GRANTING, LEASE_HELD, LEASE_KEEPING, LEASE_REVOKING };

struct lease {
	enum lease_state state;
	bool wanted;         /* somebody has put a leased key */
	bool had;            /* there was one before: who put the keys is told of the next */
	uint64_t id;         /* 0: none */
	uint64_t due;        /* when it is kept alive, or asked for again */
	struct etcd_ask ask; /* grant, keepalive, revoke */
};

struct etcd {
	struct engine engine;
	uv_loop_t *loop;                      /* borrowed */
	struct http_multi *calls;             /* owned: connections for calls */
	struct http_multi *streams;           /* owned: and one for each watch, which outlives a call that hangs */
	uv_timer_t timer;                     /* for etcd_work() */
	struct endpoint ends[ENGINE_ETCD_ENDPOINTS];
	size_t n_ends;
	struct endpoint *used;                /* last, or NULL */
	char *texts[6];                       /* owned: see enum etcd_text; NULL where there is none */
	char *token;                          /* of the user, owned; NULL before the log-in */
	struct engine_etcd_limits limits;     /* defaults filled in */
	uint64_t timeout_ms;                  /* of a request */
	unsigned lease_s;                     /* asked for */
	void (*lease_lost)(void *ctx);        /* or NULL */
	void *ctx;                            /* of lease_lost */
	uint64_t cluster;                     /* 0: not known yet */
	size_t each;                          /* bytes of an item of the last range that had to end by bytes; 0: there was none */
	uint64_t seen;                        /* highest revision of a linearizable answer, or that a watch has told */
	struct list waiting;                  /* calls: for an endpoint */
	struct list flying;                   /* calls: sent */
	size_t n_flying;                      /* of them */
	struct list over;                     /* calls: to be answered from the loop */
	struct list watches;                  /* all of them */
	uint64_t last_watch;                  /* id given last */
	bool telling;                         /* watches are being told: none is freed */
	struct lease lease;
	struct engine_health health;
	struct engine_etcd_counts counts;
	bool closing;                         /* no more calls */
	int open_http;                        /* of `calls` and `streams`: not closed */
	bool closed_http;                     /* their end has begun */
	void (*closed)(void *ctx);            /* of close() */
	void *closed_ctx;
};

/* -------------------------------------------------------------- etcd_options.c */

/* Takes them over.  etcd_free() is due whatever it returns. */
int etcd_set_options(struct etcd *etcd, const struct engine_etcd_options *options, struct err *err);

/* Its memory; nothing is under way any more. */
void etcd_free(struct etcd *etcd);

/* ----------------------------------------------------------------- etcd_ends.c */

void etcd_ask_init(struct etcd_ask *ask, struct etcd *etcd,
		   void (*done)(struct etcd_ask *ask, struct etcd_verdict *verdict));
void etcd_ask_fini(struct etcd_ask *ask); /* cancels it */

/* Sends its body, as answer.method; done() comes from the loop.  False: out of memory, and it does not come. */
bool etcd_ask_send(struct etcd_ask *ask, struct endpoint *at, uint64_t timeout_ms);

/* The one to be used, or NULL. */
struct endpoint *etcd_pick(struct etcd *etcd);

/* Another than that one, when there is any; NULL: none is good. */
struct endpoint *etcd_pick_other(struct etcd *etcd, const struct endpoint *than);

/* The one behind that one, round about, with a leader or without; NULL: no cluster was ever seen. */
struct endpoint *etcd_pick_stale(struct etcd *etcd, const struct endpoint *than);

/* It is not used until it has answered again. */
void etcd_trouble(struct etcd *etcd, struct endpoint *at, const char *why);

/* Its answer could be read, but was none to what was asked. */
void etcd_misfit(struct etcd *etcd, struct endpoint *at, const char *why);

/* Something was put: there is space again. */
void etcd_has_room(struct etcd *etcd);

/* Is that our cluster?  False: the engine has stopped. */
bool etcd_is_ours(struct etcd *etcd, const struct endpoint *at, uint64_t cluster);

/* Asks those whose time has come; returns when the next is due. */
uint64_t etcd_ends_work(struct etcd *etcd, uint64_t now);

/* ---------------------------------------------------------------- etcd.c */

/* etcd_work() is called soon. */
void etcd_wake(struct etcd *etcd);

/* For good; `why` is for health.text. */
void etcd_stop(struct etcd *etcd, const char *why);

/* ----------------------------------------------------------------- etcd_range.c */

struct etcd_call;

/* A call of commit() or range(). */
struct etcd_call {
	struct list link;             /* in waiting, flying or over */
	struct etcd_ask ask;          /* its request */
	engine_done_fn *done;         /* whom it answers, with ctx */
	void *ctx;
	uint64_t deadline;            /* when it has waited long enough */
	unsigned tries;               /* of the present request */
	bool reads;                   /* it changes nothing and may be sent again */
	bool leased;                  /* it needs the lease */
	bool puts;                    /* it needs space */
	bool drops;                   /* the caller asked for no items */
	/* From an answer: true when the call is over. */
	bool (*answered)(struct etcd_call *call, struct etcd_verdict *verdict);
	bool unsent;                  /* when it is over: nobody could be asked */
	enum engine_outcome outcome;  /* when it is over */
	uint64_t revision;            /* of the answer */
	bool more;                    /* of the answer */
	char why[256];                /* of the answer */
	/* Of a transaction: its shape, to check the answer by. */
	struct engine_txn txn;        /* only the counts, and reads */
	struct mp_str *read_keys;     /* owned */
	struct buf keys;              /* what they point into; of a range: from and end */
	/* Of a range. */
	struct engine_range range;    /* as it was asked; keys in `keys` */
	struct engine_range page;     /* what is asked for now */
	size_t page_first;            /* items before this page */
	struct buf last;              /* key where the page begins or ends */
};

/* Prepares the first page; false: out of memory. */
bool etcd_range_begin(struct etcd_call *call, const struct engine_range *range);

/* See etcd_call.answered. */
bool etcd_range_answered(struct etcd_call *call, struct etcd_verdict *verdict);

/* The call is over; it is answered from the loop. */
void etcd_call_end(struct etcd_call *call, enum engine_outcome outcome, const char *why);

/* ----------------------------------------------------------------- etcd_watch.c */

uint64_t etcd_watch(struct etcd *etcd, struct mp_str from, struct mp_str end, uint64_t after,
		    const struct engine_watch *calls);
void etcd_unwatch(struct etcd *etcd, uint64_t id);

/* Starts those that wait; returns when the next is due. */
uint64_t etcd_watches_work(struct etcd *etcd, uint64_t now);

/* Tells what has come. */
void etcd_watches_tell(struct etcd *etcd);

/* Those of that endpoint end (NULL: all). */
void etcd_watches_end(struct etcd *etcd, const struct endpoint *at, const char *why);

void etcd_watches_fini(struct etcd *etcd);

/* ----------------------------------------------------------------- etcd_lease.c */

void etcd_lease_init(struct etcd *etcd);
void etcd_lease_fini(struct etcd *etcd);
uint64_t etcd_lease_work(struct etcd *etcd, uint64_t now);

/* etcd has said that it is gone. */
void etcd_lease_gone(struct etcd *etcd);

/* Gives it back; false: there is nothing to be waited for. */
bool etcd_lease_revoke(struct etcd *etcd);

#endif
