/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chains of one epoch: for every (destination, path prefix) the ordered
 * units, and what of it stands on the board.
 *
 * Made by the control thread beside the one in force, installed by the data
 * thread between two exchanges, and kept until the last exchange that began
 * under it has ended (request-path.md 4.5).
 */
#ifndef SCHEDULER_CHAINSET_H
#define SCHEDULER_CHAINSET_H

#include "lib/chain.h"
#include "scheduler/board.h"
#include "scheduler/unit.h"

/* Calls by how they were decided. */
struct chain_counts {
	uint64_t asked;
	uint64_t passed;
	uint64_t replied;
	uint64_t failed; /* of all of them, by the chain's rule */
};

/* The ordered filters of one destination at one path prefix. */
struct chain {
	struct chainset *set;
	uint32_t index; /* of its entry on the board */
	const struct chain_destination *destination;
	struct mp_str prefix;
	uint32_t n_units;
	struct unit **units; /* in order of the request */
	uint32_t flags;      /* ENTRY_* */
	bool tracked;        /* some filter follows an exchange to its end */
	struct mp_failure failure; /* union over the units */
	struct chain_counts counts;
};

struct chainset {
	struct chains *chains; /* owned */
	unsigned slot;         /* 0..LANE_SETS-1 */
	uint64_t epoch;
	struct chain *chain; /* n_chains, numbered as the board's entries */
	uint32_t n_chains;
	struct unit **units; /* every unit once */
	uint32_t n_units;
	uint32_t exchanges;  /* in progress; data thread */
	uint64_t retired_ns; /* when it was replaced, 0: in force */
	struct board_static *statics; /* per chain, for board_fill() */
};

/* Finds the unit in force with that key, or NULL: control thread's memory. */
typedef struct unit *(*chainset_find)(void *ctx, const char *key);

/*
 * Builds the chain set of `chains` (which it owns from then on, also on
 * failure).  What a filter refuses is told with its JSON path.
 */
int chainset_new(struct data *data, struct blame *blame, struct chains *chains,
		 chainset_find find, void *ctx, struct chainset **ret, struct err *err);

/* Drops its units' references, freeing those that nobody else holds.  Control thread. */
void chainset_free(struct chainset *set, struct blame *blame);

/* What the chain's filters have agreed on (request-path.md 2.3); *ret_by: whose it is. */
int chain_standing(const struct chain *chain, uint64_t now_ns, const struct unit **ret_by);

/* True when an outcome is a failure by this rule. */
bool failure_matches(const struct mp_failure *failure, int32_t status, int32_t error,
		     uint64_t duration_ns);

#endif
