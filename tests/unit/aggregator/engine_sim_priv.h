/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the simulated engine share: engine_sim.c (requests on their
 * way), engine_sim_store.c (what the store does with them), engine_sim_watch.c
 * (watches) and engine_sim_fault.c (what goes wrong).
 */
#ifndef TESTS_UNIT_AGGREGATOR_ENGINE_SIM_PRIV_H
#define TESTS_UNIT_AGGREGATOR_ENGINE_SIM_PRIV_H

#include "tests/unit/aggregator/engine_sim.h"

#define SCRIPT_MAX 32 /* scripted faults of an engine that are still to come */

/* See sim_store_new(). */
struct sim_store {
	struct sim *sim;             /* borrowed */
	struct sim_map map;          /* what is stored */
	struct list engines;         /* struct engine_sim, all that ever were */
	struct list requests;        /* struct sim_request, those that something still happens to */
	struct list watches;         /* struct sim_watch */
	uint64_t asked;              /* requests so far: their numbers in the trace */
	uint64_t watched;            /* id of the last watch */
	uint64_t leases;             /* id of the last lease */
	uint64_t restores;           /* counts sim_store_restore(): what was under way is lost */
	bool full;                   /* no space */
	uint64_t full_end;           /* event that ends it */
	uint64_t weather_ends_ns;    /* see sim_store_weather() */
	uint64_t weather;            /* event of its next draw */
	uint32_t odds[SIM_FAULTS];   /* of engines to come, and of the store */
	uint64_t counts[SIM_FAULTS]; /* of all engines */
};

struct engine_sim {
	struct engine engine;         /* first */
	struct list link;             /* in the store */
	struct sim_store *store;
	struct sim_actor *actor;      /* borrowed */
	uint64_t low_ns, high_ns;     /* one way */
	unsigned cut;                 /* SIM_OUT, SIM_IN */
	bool dead;                    /* closed or killed */
	bool serving;                 /* the last request was answered */
	bool full;                    /* the last one that put anything was refused for that */
	size_t under_way;             /* requests without an answer */
	void (*closed)(void *ctx);    /* of close(), NULL before */
	void *closed_ctx;
	uint64_t lease;               /* its present one */
	uint64_t lease_end;           /* event: the lease ends, unless somebody keeps it alive */
	void (*lease_lost)(void *ctx); /* see engine_sim_lease_lost() */
	void *lease_ctx;
	bool lease_ended;             /* which it has not heard of */
	uint64_t heal, resume, unslow; /* events that end a cut, a stop, a slow link; 0: none */
	uint32_t odds[SIM_FAULTS];
	uint64_t counts[SIM_FAULTS];
	struct {
		enum sim_fault fault;
		unsigned n;           /* draws until it is */
	} script[SCRIPT_MAX];
	size_t n_script;
};

struct sim_watch {
	struct list link;          /* in the store */
	struct engine_sim *engine; /* whose it is */
	uint64_t id;
	struct mp_str from, end;   /* owned */
	struct engine_watch calls;
	uint64_t after;            /* revision up to which nothing is to be told */
	size_t at;                 /* place in the store's log: what comes next */
	uint64_t next;             /* event of what happens to it next, or 0 */
	uint64_t detect;           /* event: that it is cut is noticed */
	uint64_t compacted;        /* as ended() gets it */
	const char *why;           /* likewise */
	bool started;              /* the store has heard of it */
	bool ending;               /* ended() is on its way */
	bool over;                 /* nothing is called any more */
	bool calling;              /* it is being called now, and freed behind that */
	size_t caught_up;          /* place in the log: what is before that is not delayed again */
	bool held;                 /* its delay is over, or that for others to join it */
	bool merge;                /* all that there is is told at once */
};

/* From the call to the last event that has to do with it. */
struct sim_request {
	struct list link;          /* in the store */
	struct engine_sim *engine; /* who asks */
	engine_done_fn *done;
	void *ctx;                 /* of done */
	uint64_t number;           /* for the trace */
	uint64_t restores;         /* of the store, when it was sent */
	uint64_t lease;            /* of the engine, likewise */
	uint64_t limit;            /* event: its time limit */
	size_t events;             /* that still hold it */
	size_t arrivals;           /* so far */
	bool answered;
	bool ranges;               /* it is one of range() */
	bool writes;               /* a transaction with ops */
	bool happened;             /* it was committed */
	bool no_space;             /* it was refused for that */
	bool lost;                 /* its answer is */
	enum sim_fault fault;      /* SIM_FAULTS: none */
	struct engine_txn txn;     /* of commit(); zeros otherwise */
	struct engine_range range; /* of range(); likewise */
	char *bytes;               /* what both point into, owned */
	struct sim_reply *reply;       /* on its way back, owned; or NULL */
};

/* An answer.  Items borrow from the map, which keeps everything, and from the request. */
struct sim_reply {
	struct engine_answer answer;
	struct engine_item *items; /* owned */
	size_t cap;                /* of them */
};

static inline struct engine_sim *engine_sim_of(const struct engine *engine)
{
	return (struct engine_sim *)(uintptr_t)engine;
}

/* A time for one way; drawn. */
uint64_t sim_way(struct engine_sim *engine);

/* Is it now?  By script or by chance. */
bool sim_fault_draw(struct engine_sim *engine, enum sim_fault fault);

/* It has had its effect. */
void sim_fault_count(struct engine_sim *engine, enum sim_fault fault);

/* Whether somebody keeps its lease alive has changed. */
void sim_lease_check(struct engine_sim *engine);

/* A copy of the bytes at *at, which moves on; what has no address stays so. */
struct mp_str sim_lend(char **at, struct mp_str bytes);

/* Bytes for things that are lent for a call; sim_lend_end() overwrites and frees them. */
void *sim_lend_begin(size_t size);
void sim_lend_end(void *bytes, size_t size);

/* Carries it out, now. */
struct sim_reply *sim_request_run(struct sim_request *r);

/* `why` is a literal. */
struct sim_reply *sim_reply_new(struct sim_request *r, enum engine_outcome outcome, const char *why);

/* Does it put anything, or anything leased? */
bool sim_txn_puts(const struct engine_txn *txn, bool leased_only);

/* As engine_ops has them. */
uint64_t sim_watch_begin(struct engine *engine, struct mp_str from, struct mp_str end, uint64_t after,
			 const struct engine_watch *calls);
void sim_watch_stop(struct engine *engine, uint64_t id);

/* The store has changed. */
void sim_watches_changed(struct sim_store *store);

/* All watches of an engine: it is cut or healed; they break off; they are forgotten. */
void sim_watches_cut(struct engine_sim *engine);
void sim_watches_break(struct engine_sim *engine, const char *why);
void sim_watches_free(struct engine_sim *engine);

#endif
