/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the control thread sees what the data thread owns.
 *
 * A look is a letter that names a part of the chain set in force; the data
 * thread copies plain numbers and the filters' own words into it, at most
 * LOOK_MAX chains and as many units, and sends it back.  What is larger is
 * looked at in parts, so that no question of an operator keeps calls waiting.
 * Documents are made of it on the control thread (status.c, explain.c).
 */
#ifndef SCHEDULER_LOOK_H
#define SCHEDULER_LOOK_H

#include "lib/buf.h"
#include "scheduler/data.h"

#define LOOK_MAX MP_CHAIN_MAX /* chains, and units, at a time: any one chain whole */
#define LOOK_SAID_MAX (1024 * 1024) /* bytes that the units of one look may say of themselves */

/* The totals of a scheduler. */
struct look_head {
	struct data_counts counts; /* open lanes included */
	uint32_t epochs_alive;
	uint32_t restarts;
	struct blame_ejected ejected[BLAME_EJECTED];
};

/* What stands for a chain. */
struct look_chain {
	int standing; /* MP_STANDING_* */
	uint64_t until_ns;
	const struct unit *by; /* whose verdict it is, NULL: nobody's */
	struct chain_counts counts;
};

/* What changes in a unit. */
struct look_unit {
	int standing; /* MP_STANDING_*, ejection included */
	bool ejected;
	char reason[UNIT_REASON_MAX]; /* why */
	uint64_t ejected_wall_ns;
	uint64_t counters[UNIT_COUNTERS_MAX];
	size_t said_size; /* its part of `said`: struct look_said and bytes, again and again */
};

/* One thing that a filter said of itself; name and value follow. */
struct look_said {
	int32_t kind; /* LOOK_TEXT.. */
	uint32_t name_size;
	uint32_t value_size;
};
#define LOOK_TEXT 0   /* bytes */
#define LOOK_NUMBER 1 /* double */
#define LOOK_TIME 2   /* uint64_t: ns, monotonic */

struct look {
	struct mail mail;
	/* Asked: by the control thread, which sees to it that the set is alive. */
	const struct chainset *set; /* in force as far as it knows, NULL: none */
	uint32_t chain;             /* first */
	uint32_t n_chains;          /* how many; returned: how many were looked at */
	struct unit *const *units;  /* of the set */
	uint32_t n_units;           /* like n_chains */
	bool heads;                 /* the totals as well */
	/* Seen. */
	bool missed; /* another set is in force: nothing was looked at */
	struct look_head head;
	struct look_chain seen_chains[LOOK_MAX];
	struct look_unit seen_units[LOOK_MAX];
	struct buf said;
};

void look_init(struct look *look);
void look_fini(struct look *look);

/* Data thread: looks, and sends it back. */
void look_there(struct data *data, struct mail *mail);
/* The first half of it. */
void look_at(struct data *data, struct look *look);

#endif
