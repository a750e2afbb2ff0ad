/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unit: one filter, configured, at one (destination, middlepipe, path
 * prefix).  Here are its life cycle, what stands for it, and the guard around
 * every call into filter code.
 *
 * The control thread makes and frees units; from unit_start() on they belong
 * to the data thread.  A unit whose configuration is unchanged is shared by
 * the chain sets of several epochs; a changed one gets its state from its
 * ancestor, which passes late outcomes on to it.
 */
#ifndef SCHEDULER_UNIT_H
#define SCHEDULER_UNIT_H

#include <stdbool.h>

#include <middlepipe/filter.h>
#include <uv.h>

#include "lib/chain.h"
#include "lib/err.h"
#include "scheduler/blame.h"

struct data;

/* Bounds of what a filter may hand to the host. */
#define UNIT_STATE_MAX 65536  /* bytes of its "state" */
#define UNIT_REPLY_MAX 32768  /* bytes of a standing REPLY: a body of 16 KiB, and as much for its head */
#define UNIT_REASON_MAX 128
#define UNIT_COUNTERS_MAX 32

struct unit {
	uint32_t magic;  /* UNIT_MAGIC */
	uint32_t number; /* in the blame page */
	const struct mp_filter *filter;
	void *self;        /* the filter's own */
	struct data *data; /* the data thread's world, for the host functions */

	char *key;         /* destination, middlepipe, type and prefix, divided by '\n' */
	char *middlepipe;
	char *destination;
	char *prefix;      /* "" for the whole destination */
	char *config;      /* canonical JSON */
	bool closed;       /* on_failure: closed */
	struct mp_plan plan;

	uint32_t refs;         /* chain sets that hold it; control thread */
	struct unit *ancestor; /* whose state it takes at the swap; control sets, data clears */
	void *restored;        /* its state as a file had it, owned; NULL: none */
	size_t restored_size;
	char *saved;           /* its row of the state file, owned; control thread */
	struct unit *heir;     /* who took its state: late outcomes go there; data thread */

	/* Data thread from here on. */
	bool starting; /* within unit_start() */
	bool started;
	bool ejected;
	bool touched;           /* its state may have changed since it was collected */
	bool judging;           /* had outcomes since the last drain */
	char reason[UNIT_REASON_MAX]; /* why it is ejected */
	uint64_t ejected_wall_ns;
	int standing;       /* MP_STANDING_* */
	uint64_t until_ns;  /* of a REPLY */
	char *blob;         /* of a REPLY: struct board_blob, head, body */
	uint32_t blob_size;
	uv_timer_t *timer;  /* for on_timer; its own allocation, freed when its handle is closed */
	uint64_t counters[UNIT_COUNTERS_MAX]; /* by row of filter->counters */
	uint32_t n_counters;
	struct unit *next_judged; /* list of those with judging set */
};
#define UNIT_MAGIC 0x756e6974u

/*
 * Makes a unit and loads its filter (control thread).  *ret is to be freed by
 * unit_free().  A middlepipe that the blame page has ejected is not loaded.
 */
int unit_new(struct data *data, struct blame *blame, const struct chain_destination *destination,
	     const struct chain_binding *binding, struct mp_str prefix, struct unit **ret,
	     struct err *err);
void unit_free(struct unit *unit, struct blame *blame);

/* The key that a unit of these would have; malloc'd. */
char *unit_key(const char *destination, const struct chain_binding *binding, struct mp_str prefix);

/* First call on the data thread: takes over state, then lets the filter post. */
void unit_start(struct unit *unit);

/* Takes a unit out of its chains: `reason` is for people. */
void unit_eject(struct unit *unit, const char *reason);

/* An event of its ejection. */
void unit_tell_ejected(const struct unit *unit);

/* What stands for it, ejection included: MP_STANDING_*. */
int unit_standing(const struct unit *unit, uint64_t now_ns);

/* True when the filter may be called. */
static inline bool unit_alive(const struct unit *unit)
{
	return unit->started && !unit->ejected;
}

/* Brackets every call into the filter, so that a crash or hang has a name. */
void unit_enter(const struct unit *unit);
void unit_leave(const struct unit *unit);

/* The unit that outcomes of `unit` belong to now. */
static inline struct unit *unit_now(struct unit *unit)
{
	while (unit->heir)
		unit = unit->heir;
	return unit;
}

/* The services that all filters get. */
extern const struct mp_host scheduler_host;

#endif
