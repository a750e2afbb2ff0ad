/* SPDX-License-Identifier: Apache-2.0 */
/* See steps.h. */
#include "aggregator/etcd/steps.h"

#include <stddef.h>

#define ANY_STATE (FACT_BOOTSTRAPPING | FACT_JOINING | FACT_MEMBER | FACT_CLIENT | FACT_LEAVING)

/* Facts that must be, facts that must not be. */
static const struct row {
	uint32_t yes;
	uint32_t no;
	enum step step;
} rows[] = {
	/* Without an identity. */
	{ FACT_RUNNING, ANY_STATE, STEP_END }, /* an orphan whose directory was emptied */
	{ FACT_LEAVE, ANY_STATE, STEP_REFUSE_NOTHING },
	{ FACT_DATA | FACT_ACCEPTED, ANY_STATE, STEP_BEGIN_RESTORED },
	{ FACT_DATA, ANY_STATE, STEP_REFUSE_STRAY },
	{ FACT_JOIN, ANY_STATE, STEP_BEGIN_JOIN },
	{ 0, ANY_STATE, STEP_BEGIN_GROUP },

	/* It begins a group: nobody else knows it. */
	{ FACT_BOOTSTRAPPING | FACT_LEAVE, 0, STEP_REFUSE_LAST },
	{ FACT_BOOTSTRAPPING, FACT_RUNNING, STEP_START_NEW },
	{ FACT_BOOTSTRAPPING, FACT_READY, STEP_PROBE },
	{ FACT_BOOTSTRAPPING, FACT_KNOWN, STEP_LIST },
	{ FACT_BOOTSTRAPPING, 0, STEP_BECOME_MEMBER },

	/* It joins one. */
	{ FACT_JOINING | FACT_LEAVE | FACT_ADMITTED, 0, STEP_BEGIN_LEAVE },
	{ FACT_JOINING | FACT_LEAVE, 0, STEP_CLEAN },
	{ FACT_JOINING | FACT_RUNNING, FACT_ADMITTED, STEP_END },
	{ FACT_JOINING, FACT_ADMITTED, STEP_ASK },
	{ FACT_JOINING | FACT_STARTED, FACT_DATA | FACT_RUNNING, STEP_FORGET },
	{ FACT_JOINING | FACT_OLD, FACT_RUNNING, STEP_REFUSE_OLD },
	{ FACT_JOINING | FACT_FAILED, FACT_RUNNING | FACT_KNOWN | FACT_UNHEARD, STEP_LIST },
	{ FACT_JOINING | FACT_KNOWN, FACT_LISTED, STEP_REFUSE_REMOVED },
	{ FACT_JOINING | FACT_MOVED, FACT_RUNNING, STEP_UPDATE },
	{ FACT_JOINING, FACT_RUNNING, STEP_START },
	{ FACT_JOINING, FACT_KNOWN, STEP_LIST },
	{ FACT_JOINING, FACT_VOTER, STEP_PROMOTE },
	{ FACT_JOINING, FACT_READY, STEP_PROBE },
	{ FACT_JOINING, 0, STEP_BECOME_MEMBER },

	/* It is a member. */
	{ FACT_MEMBER | FACT_LEAVE | FACT_OTHERS, FACT_KNOWN, STEP_LIST },
	{ FACT_MEMBER | FACT_LEAVE, FACT_OTHERS, STEP_REFUSE_LAST },
	{ FACT_MEMBER | FACT_LEAVE | FACT_LAST, 0, STEP_REFUSE_LAST },
	{ FACT_MEMBER | FACT_LEAVE, 0, STEP_BEGIN_LEAVE },
	{ FACT_MEMBER | FACT_JOIN, FACT_DATA | FACT_RUNNING, STEP_BEGIN_JOIN },
	{ FACT_MEMBER, FACT_DATA | FACT_RUNNING, STEP_REFUSE_EMPTY },
	{ FACT_MEMBER | FACT_OLD, FACT_RUNNING, STEP_REFUSE_OLD },
	{ FACT_MEMBER | FACT_FAILED | FACT_OTHERS, FACT_RUNNING | FACT_KNOWN | FACT_UNHEARD, STEP_LIST },
	{ FACT_MEMBER | FACT_KNOWN, FACT_LISTED, STEP_REFUSE_REMOVED },
	{ FACT_MEMBER | FACT_MOVED | FACT_OTHERS, FACT_RUNNING, STEP_UPDATE },
	{ FACT_MEMBER, FACT_RUNNING, STEP_START },
	{ FACT_MEMBER, FACT_SERVING, STEP_SERVE },
	{ FACT_MEMBER, FACT_READY, STEP_PROBE },
	{ FACT_MEMBER | FACT_MOVED, 0, STEP_UPDATE },
	{ FACT_MEMBER, 0, STEP_WAIT },

	/* It uses the others' etcd. */
	{ FACT_CLIENT | FACT_RUNNING, 0, STEP_END },
	{ FACT_CLIENT | FACT_LEAVE, 0, STEP_CLEAN },
	{ FACT_CLIENT, FACT_SERVING, STEP_SERVE },

	/* It leaves. */
	{ FACT_LEAVING | FACT_DATA, FACT_REMOVED | FACT_RUNNING | FACT_FAILED | FACT_OLD, STEP_START }, /* its vote may be needed */
	{ FACT_LEAVING, FACT_REMOVED, STEP_REMOVE },
	{ FACT_LEAVING | FACT_RUNNING, 0, STEP_END },
	{ FACT_LEAVING, 0, STEP_CLEAN },
};

enum step step_next(uint32_t facts)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if ((facts & rows[i].yes) == rows[i].yes && !(facts & rows[i].no))
			return rows[i].step;
	return STEP_WAIT;
}

static const struct {
	const char *name;
	const char *refusal;
} texts[] = {
	[STEP_WAIT] = { "wait", NULL },
	[STEP_BEGIN_GROUP] = { "begin a group", NULL },
	[STEP_BEGIN_RESTORED] = { "begin with a restored backup", NULL },
	[STEP_BEGIN_JOIN] = { "begin to join", NULL },
	[STEP_ASK] = { "ask", NULL },
	[STEP_FORGET] = { "forget", NULL },
	[STEP_START_NEW] = { "start anew", NULL },
	[STEP_START] = { "start", NULL },
	[STEP_PROBE] = { "probe", NULL },
	[STEP_LIST] = { "list", NULL },
	[STEP_PROMOTE] = { "promote", NULL },
	[STEP_UPDATE] = { "update", NULL },
	[STEP_BECOME_MEMBER] = { "become a member", NULL },
	[STEP_SERVE] = { "serve", NULL },
	[STEP_BEGIN_LEAVE] = { "begin to leave", NULL },
	[STEP_REMOVE] = { "remove", NULL },
	[STEP_END] = { "end", NULL },
	[STEP_CLEAN] = { "clean", NULL },
	[STEP_REFUSE_STRAY] = { "refuse", "etcd's data lies there without the identity that belongs to it: put "
					  "managed.json back, or move the directory away" },
	[STEP_REFUSE_EMPTY] = { "refuse", "etcd's directory was emptied, and a member must not come back without "
					  "what it has acknowledged: join the group anew (--join URL --join-token T)" },
	[STEP_REFUSE_OLD] = { "refuse", "etcd's directory is that of an earlier time (a backup was put back), and a member "
					"must not come back with less than it has acknowledged: delete etcd's directory, then "
					"join the group anew (--join URL --join-token T); to go back with the whole group, "
					"put back the whole data directory of every member" },
	[STEP_REFUSE_REMOVED] = { "refuse", "this member was taken out of its group: move its directory away, then "
					    "join anew (--join URL --join-token T)" },
	[STEP_REFUSE_LAST] = { "refuse", "the last member cannot leave its group: stop it, and delete its directory "
					 "if the rows are not wanted any more" },
	[STEP_REFUSE_NOTHING] = { "refuse", "there is no member in that directory that could leave" },
};

const char *step_name(enum step step)
{
	return texts[step].name;
}

const char *step_refusal(enum step step)
{
	return texts[step].refusal;
}
