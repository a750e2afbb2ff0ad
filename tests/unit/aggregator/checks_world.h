/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated group whose two rows have checks, for test_checks_sim.c: members,
 * clients and what they want.  checks_truth.h says whether they got it; checks_group.h has members
 * that agree on who owns what.
 */
#ifndef TESTS_UNIT_AGGREGATOR_CHECKS_WORLD_H
#define TESTS_UNIT_AGGREGATOR_CHECKS_WORLD_H

#include "aggregator/rows/checks_priv.h"
#include "aggregator/rows/copy_priv.h"
#include "aggregator/rows/members_priv.h"
#include "aggregator/rows/owner_priv.h"
#include "tests/unit/aggregator/engine_sim.h"

#define MEMBERS 4
#define CLIENTS 8
#define WORLD_SHARDS 4
#define OPS 512
#define WORLD_ATTEMPTS 512 /* under way at once */
#define CELLS 2      /* of one put, at most */
#define WORLD_PINGS 64     /* under way at once */
#define KEYS 6       /* that are claimed; names that take */
#define TOTAL 100    /* of `sum` */

enum { UNIQUE, SUM, ROWS };

static const char *const row_names[ROWS] = { "nat/claims", "bandwidths" };
static const char *const row_checks[ROWS] = { "unique", "sum" };

struct world;

struct member {
	struct world *world;
	char name[16];
	struct sim_actor actor;
	struct engine *engine; /* NULL while it is dead */
	struct rows_host host;
	struct copy *copy;
	struct checks *checks;
	size_t loads;          /* snapshots that its checks were reading when they were last looked at */
	struct owner *owner;
	struct members *members; /* NULL: it takes shards as it pleases */
	uint64_t members_at; /* ns; when it is to be woken */
	unsigned life;       /* how often it was started */
	unsigned hurried;    /* turns, one behind the other, after which it wanted the next at once */
	bool has[ROWS];      /* the checks of those */
	uint64_t timer; /* its next wake */
	struct engine tapped; /* the same engine, for its copy and its checks */
	struct engine *real;  /* likewise; stays when it is dead */
	struct list reads;    /* struct tap, those that were not answered */
};

/* A ping on its way. */
struct sim_ping {
	struct member *from, *to; /* from NULL: this place is free */
	uint64_t nonce;           /* of the process that is meant */
	unsigned life;            /* of who asked */
};

/* A read.  When the member is killed it is answered all the same: the asker's memory has to go. */
struct tap {
	struct list link;
	engine_done_fn *done;
	void *ctx;
};

/* What a cell asks for. */
enum what { CLAIM, RELEASE, TAKE, GIVE, SETTLE, BOUND };

struct wish {
	enum what what;
	unsigned key, who; /* of KEYS, of CLIENTS; sum: who is the name */
	unsigned amount;
	char text[64];
};

struct op;

/* One time that a put was sent to a member. */
struct attempt {
	struct put put;
	struct op *op; /* NULL: this place is free */
	struct member *at;
	bool given_up; /* its answer reaches nobody */
};

struct op {
	struct world *world;
	enum put_kind kind;
	unsigned client, row;
	struct attempt *now; /* that it waits for; NULL: between two */
	uint64_t patience;   /* event that gives it up */
	char key[24];
	struct wish wish[CELLS];
	struct mp_str content[CELLS];
	size_t n;
	struct base base;
	uint64_t invoked, began, returned; /* ns; first and last attempt, 0: not yet */
	uint64_t unanswered_until;         /* ns; by then no unanswered attempt can be carried out */
	enum put_code code;
	uint64_t seq;
};

struct totals {
	uint64_t acked, refused, retries, lives, takeovers, kills, lost, no_memory, snapshots, parts, restored, agreed;
	uint64_t fault[SIM_FAULTS];
};

struct world {
	struct sim *sim;
	struct sim_store *store;
	struct member member[MEMBERS];
	unsigned n_members;
	bool agree; /* members prefer owners by their checks, which not all have */
	struct sim_ping ping[WORLD_PINGS];
	struct op op[OPS];
	struct attempt attempt[WORLD_ATTEMPTS];
	uint64_t given_up;          /* attempts that clients did not wait for */
	unsigned n_ops, left, busy; /* begun, still to begin, clients that have not ended */
	bool ready[ROWS];           /* the row has its check */
	struct totals count;
};

#endif
