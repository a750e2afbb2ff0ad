/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an aggregator with an etcd of its own does next: a table, without any I/O.
 * managed.c gathers facts, looks here, does what it says and looks again.
 *
 * The invariants, which the unit test checks for all facts:
 *  - a fresh cluster is begun by STEP_START_NEW, and only by who bootstraps; nobody is
 *    served before that is over (IDENTITY_MEMBER);
 *  - an etcd whose directory was emptied, or is that of an earlier time, is never started
 *    under its old id;
 *  - no etcd is started while one runs.
 */
#ifndef AGGREGATOR_ETCD_STEPS_H
#define AGGREGATOR_ETCD_STEPS_H

#include <stdint.h>

/* What is known, a bit each. */
enum fact {
	FACT_BOOTSTRAPPING = 1 << 0, /* the identity's state; none of them: there is no identity */
	FACT_JOINING = 1 << 1,
	FACT_MEMBER = 1 << 2,
	FACT_CLIENT = 1 << 3,
	FACT_LEAVING = 1 << 4,
	FACT_DATA = 1 << 5,      /* etcd's directory holds what a member leaves there */
	FACT_STARTED = 1 << 6,   /* the identity says that etcd may have been started */
	FACT_ADMITTED = 1 << 7,  /* joining: it has an etcd id */
	FACT_RUNNING = 1 << 8,   /* etcd lives */
	FACT_READY = 1 << 9,     /* and has answered a linearizable read */
	FACT_OTHERS = 1 << 10,   /* endpoints of others are known */
	FACT_KNOWN = 1 << 11,    /* the list of members was read */
	FACT_UNHEARD = 1 << 12,  /* nobody gave it, though they were asked often enough */
	FACT_LISTED = 1 << 13,   /* KNOWN: our etcd id is in it */
	FACT_VOTER = 1 << 14,    /* LISTED: as one that votes */
	FACT_LAST = 1 << 15,     /* KNOWN: as the only one that votes */
	FACT_MOVED = 1 << 16,    /* the address for peers is another than the cluster was told */
	FACT_FAILED = 1 << 17,   /* etcd has ended by itself since it was last ready */
	FACT_JOIN = 1 << 18,     /* the user names a group to join */
	FACT_LEAVE = 1 << 19,    /* it is to leave the group */
	FACT_SERVING = 1 << 20,  /* STEP_SERVE was done */
	FACT_REMOVED = 1 << 21,  /* leaving: etcd has let it go */
	FACT_OLD = 1 << 22,      /* DATA: and it is that of an earlier time */
	FACT_ACCEPTED = 1 << 23, /* DATA without an identity: a restored backup, and the user says to go on with it */
};

#define FACTS 24

enum step {
	STEP_WAIT,          /* nothing: something has to happen first */
	STEP_BEGIN_GROUP,   /* write the identity of a bootstrapping member */
	STEP_BEGIN_RESTORED, /* likewise, and that it goes on with a restored backup */
	STEP_BEGIN_JOIN,    /* likewise of a joining one */
	STEP_ASK,           /* ask to be let in */
	STEP_FORGET,        /* joining, and the directory was emptied: not under that etcd id again */
	STEP_START_NEW,     /* start etcd with --initial-cluster-state new */
	STEP_START,         /* start it as a member that others know, or that has data */
	STEP_PROBE,         /* ask our etcd whether it serves */
	STEP_LIST,          /* read the list of members */
	STEP_PROMOTE,       /* ask for our learner to vote */
	STEP_UPDATE,        /* tell the cluster our new address */
	STEP_BECOME_MEMBER, /* write that our etcd votes */
	STEP_SERVE,         /* rows can be opened */
	STEP_BEGIN_LEAVE,   /* write that it leaves */
	STEP_REMOVE,        /* ask the others to take our etcd out */
	STEP_END,           /* end our etcd */
	STEP_CLEAN,         /* empty the directory; that is the end */
	STEP_REFUSE_STRAY,  /* etcd's data lies there without an identity */
	STEP_REFUSE_EMPTY,  /* the directory was emptied: it has to join anew */
	STEP_REFUSE_OLD,    /* somebody put back a directory of an earlier time */
	STEP_REFUSE_REMOVED, /* somebody took it out of the group */
	STEP_REFUSE_LAST,   /* the last member cannot leave */
	STEP_REFUSE_NOTHING, /* there is nothing to leave */
};

/* The first row of the table that fits. */
enum step step_next(uint32_t facts);

/* "start" and so on, for logs. */
const char *step_name(enum step step);

/* Why it refuses, for people; NULL for other steps. */
const char *step_refusal(enum step step);

#endif
