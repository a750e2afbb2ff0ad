/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated engine: one store shared by an engine for each simulated member
 * (aggregator/rows/engine/engine.h), on virtual time (tests/lib/sim.h), with faults.
 *
 * Without faults it keeps every promise of aggregator/rows/engine/engine.h: test_engine_sim.c runs the
 * conformance suite over it.  What it hands out is a copy that is overwritten
 * and freed behind the callback, so that who keeps a pointer is found.
 *
 *	struct sim_store *store = sim_store_new(sim);
 *	struct engine *a = engine_sim_open(store, &actor_a), *b = engine_sim_open(store, &actor_b);
 *
 *	engine_sim_odds(a, SIM_ANSWER_LOST, 50000);   now and then
 *	engine_sim_script(b, SIM_COMMIT_LATE, 2);     its next commit but one
 *	sim_store_weather(store, 60 * NS_PER_S);      cuts and stops, as their odds say
 *
 * The member's own timers belong to the same actor, so that they stop with it.
 *
 * One thread.  A test without memory ends: assert().
 */
#ifndef TESTS_UNIT_AGGREGATOR_ENGINE_SIM_H
#define TESTS_UNIT_AGGREGATOR_ENGINE_SIM_H

#include "aggregator/rows/engine/engine.h"
#include "tests/lib/sim.h"
#include "tests/unit/aggregator/sim_map.h"

#define SIM_LIMIT_NS (700 * NS_PER_MS)  /* then a request is UNKNOWN */
#define SIM_WAY_LOW_NS (200 * NS_PER_US) /* one way of a link that is well */
#define SIM_WAY_HIGH_NS (3 * NS_PER_MS)
#define SIM_LATE_MAX_NS (5 * NS_PER_S)  /* behind the limit, for SIM_COMMIT_LATE */
#define SIM_CALM_NS (12 * NS_PER_S)     /* after the weather's end nothing of it is left */
#define SIM_OPS_MAX 128                 /* comparisons, ops and reads of a transaction, each */
#define SIM_BYTES_MAX (1536u << 10)     /* of a transaction */

/* What can go wrong.  Each is counted when it has had its effect. */
enum sim_fault {
	/* Drawn for each commit that changes something; one a commit at most. */
	SIM_ANSWER_LOST,  /* it was committed, and is UNKNOWN */
	SIM_REQUEST_LOST, /* it was not, and is UNKNOWN */
	SIM_COMMIT_LATE,  /* UNKNOWN, and is committed after that */
	SIM_TWICE,        /* delivered twice; the second one, which met the first, is answered */
	SIM_AGAIN,        /* committed, and delivered once more up to five seconds later */
	SIM_NO_SPACE,     /* REFUSED, when it puts anything; the health says so until the next commit */
	SIM_NOT_SENT,     /* REFUSED after a while: it never went out, and the health says so */
	/* Drawn for each range, and transaction that only reads. */
	SIM_RANGE_LOST,   /* UNKNOWN */
	SIM_STALE,        /* a `stale` range is as things stood some transactions ago */
	/* Drawn for both. */
	SIM_SLOW,         /* the way takes ten to a hundred times as long */
	/* Drawn for each transaction that a watch is to be told of. */
	SIM_WATCH_DELAYED,   /* for up to two seconds */
	SIM_WATCH_ENDED,     /* it breaks off instead */
	SIM_WATCH_COMPACTED, /* the store is compacted, and the watch ends so */
	SIM_WATCH_MERGED,    /* those of the next milliseconds come in one call */
	SIM_EVENT_LOST,      /* it is not told, or its last event is not (etcd 3.4) */
	/* Drawn by the weather, for each engine, about ten times a second. */
	SIM_CUT,          /* off from the store, one way or both; up to four seconds */
	SIM_STOPPED,      /* SIGSTOP; up to four seconds */
	SIM_SLOW_LINK,    /* up to 400 ms each way; up to four seconds */
	/* Drawn by the weather, for the store; its odds are the store's own. */
	SIM_FULL,         /* REFUSED to all that put; up to four seconds */
	SIM_COMPACTED,    /* what is older than now can be read and watched no more */
	SIM_RESTORED,     /* a backup, up to 20 transactions old: what was acknowledged is lost */
	/* Never drawn, only counted. */
	SIM_KILLED,       /* engine_sim_kill() */
	SIM_LEASE_GONE,   /* leased keys went */
	SIM_FAULTS,
};

/* Directions of a cut. */
#define SIM_OUT 1u  /* what the engine asks does not arrive */
#define SIM_IN 2u   /* answers and events do not */

struct sim_store;

struct sim_store *sim_store_new(struct sim *sim);

/* Frees the engines as well, closed or not; before sim_fini(). */
void sim_store_free(struct sim_store *store);

/*
 * One more member.  The actor is borrowed for as long as the sim runs.  close()
 * answers what is under way first; then, or after engine_sim_kill(), another may
 * be opened for the same actor.
 */
struct engine *engine_sim_open(struct sim_store *store, struct sim_actor *actor);

/* What is stored, and the log of all changes: the truth. */
const struct sim_map *sim_store_map(const struct sim_store *store);

/* ----------------------------------------------------------------------- faults */

const char *sim_fault_name(enum sim_fault fault);

/* For one engine; for those that are opened later, and the store's own weather. */
void engine_sim_odds(struct engine *engine, enum sim_fault fault, uint32_t per_million);
void sim_store_odds(struct sim_store *store, enum sim_fault fault, uint32_t per_million);

/* The n-th (from 1) that the fault is drawn for from now on, whatever the odds. */
void engine_sim_script(struct engine *engine, enum sim_fault fault, unsigned n);

/* How often it has had its effect; the store's count is that of all. */
uint64_t engine_sim_count(const struct engine *engine, enum sim_fault fault);
uint64_t sim_store_count(const struct sim_store *store, enum sim_fault fault);

/* One way takes that long; SIM_WAY_LOW_NS to SIM_WAY_HIGH_NS before the first call. */
void engine_sim_link(struct engine *engine, uint64_t low_ns, uint64_t high_ns);

/* Cuts these ways, 0: heals.  A watch that stays cut ends within three seconds. */
void engine_sim_cut(struct engine *engine, unsigned ways);

/*
 * fn is called when its lease had run out and it has another: leased keys are
 * gone.  NULL, as at first: nobody wants to know.
 */
void engine_sim_lease_lost(struct engine *engine, void (*fn)(void *ctx), void *ctx);

/* SIGSTOP, and SIGCONT after that time.  Nothing when it is stopped already. */
void engine_sim_stop(struct engine *engine, uint64_t for_ns);

/* SIGKILL: nothing is called any more, what was sent may still be committed. */
void engine_sim_kill(struct engine *engine);

void sim_store_full(struct sim_store *store, bool full);
void sim_store_compact(struct sim_store *store, uint64_t revision);
void sim_store_restore(struct sim_store *store, uint64_t revision);

/* Draws of the weather for that long. */
void sim_store_weather(struct sim_store *store, uint64_t for_ns);

#endif
