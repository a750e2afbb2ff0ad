/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of managed etcd's steps: what must hold for all facts, and whole
 * lives played through it.
 */
#include "aggregator/etcd/steps.h"

#include "tests/lib/tap.h"

#define STATES (FACT_BOOTSTRAPPING | FACT_JOINING | FACT_MEMBER | FACT_CLIENT | FACT_LEAVING)

/* Facts that can be at all: one state at most, no list and "nobody gave it" at once. */
static bool can_be(uint32_t facts)
{
	uint32_t state = facts & STATES;

	if ((facts & FACT_ACCEPTED) && ((facts & STATES) || !(facts & FACT_DATA)))
		return false; /* it is asked where there is no identity */
	if (state & (state - 1))
		return false;
	if ((facts & FACT_UNHEARD) && (facts & FACT_KNOWN))
		return false;
	if (!(facts & FACT_KNOWN) && (facts & (FACT_LISTED | FACT_VOTER | FACT_LAST)))
		return false;
	if ((facts & (FACT_VOTER | FACT_LAST)) && !(facts & FACT_LISTED))
		return false;
	if ((facts & FACT_OLD) && (!(facts & FACT_DATA) || (facts & FACT_RUNNING)))
		return false;
	return !(facts & FACT_READY) || (facts & FACT_RUNNING);
}

/* The invariants of steps.h; counted, since there are millions. */
static void test_invariants(void)
{
	unsigned twice = 0, fresh = 0, emptied = 0, served = 0, cleaned = 0, removed = 0, seen = 0, old = 0;

	for (uint32_t facts = 0; facts < 1u << FACTS; facts++) {
		enum step step;
		bool starts;

		if (!can_be(facts))
			continue;
		seen++;
		step = step_next(facts);
		starts = step == STEP_START || step == STEP_START_NEW;
		twice += starts && (facts & FACT_RUNNING);
		fresh += step == STEP_START_NEW && !(facts & FACT_BOOTSTRAPPING);
		/* Started once, and what it had is gone: never under that id again. */
		emptied += step == STEP_START && !(facts & FACT_DATA) && (facts & (FACT_STARTED | FACT_MEMBER));
		old += step == STEP_START && (facts & FACT_OLD);
		served += step == STEP_SERVE && !(facts & (FACT_MEMBER | FACT_CLIENT));
		cleaned += step == STEP_CLEAN &&
			   ((facts & FACT_RUNNING) || ((facts & FACT_LEAVING) && !(facts & FACT_REMOVED)) ||
			    (facts & FACT_MEMBER)) && !(facts & FACT_JOINING);
		removed += starts && (facts & FACT_KNOWN) && !(facts & FACT_LISTED) &&
			   (facts & (FACT_JOINING | FACT_MEMBER));
	}
	ok(seen > 100000, "%u sets of facts", seen);
	is_u64(twice, 0, "no etcd is started while one runs");
	is_u64(fresh, 0, "only who bootstraps starts anew");
	is_u64(emptied, 0, "an emptied directory never comes back under its old id");
	is_u64(old, 0, "nor does one of an earlier time");
	is_u64(served, 0, "nobody is served before etcd takes part");
	is_u64(cleaned, 0, "only a directory that is out of the group is emptied");
	is_u64(removed, 0, "who was taken out is not started");
}

struct turn {
	uint32_t facts;
	enum step want;
	const char *what;
};

static void play(const char *name, const struct turn *turns, size_t n)
{
	for (size_t i = 0; i < n; i++)
		is_str(step_name(step_next(turns[i].facts)), step_name(turns[i].want), "%s: %s", name, turns[i].what);
}

#define PLAY(name, turns) play(name, turns, sizeof(turns) / sizeof((turns)[0]))

static void test_bootstrap(void)
{
	static const struct turn turns[] = {
		{ 0, STEP_BEGIN_GROUP, "an empty directory" },
		{ FACT_BOOTSTRAPPING, STEP_START_NEW, "written, and not started" },
		{ FACT_BOOTSTRAPPING | FACT_STARTED, STEP_START_NEW, "killed before etcd had written anything" },
		{ FACT_BOOTSTRAPPING | FACT_STARTED | FACT_RUNNING, STEP_PROBE, "it runs" },
		{ FACT_BOOTSTRAPPING | FACT_RUNNING | FACT_READY | FACT_DATA, STEP_LIST, "it serves" },
		{ FACT_BOOTSTRAPPING | FACT_RUNNING | FACT_READY | FACT_KNOWN | FACT_DATA, STEP_BECOME_MEMBER, "its ids are known" },
		{ FACT_MEMBER | FACT_STARTED | FACT_RUNNING | FACT_READY | FACT_KNOWN | FACT_LISTED | FACT_VOTER | FACT_DATA,
		  STEP_SERVE, "it is a member" },
	};

	PLAY("bootstrap", turns);
}

static void test_restored(void)
{
	static const struct turn turns[] = {
		{ FACT_DATA | FACT_ACCEPTED | FACT_RUNNING, STEP_END, "an etcd that somebody has started there" },
		{ FACT_DATA | FACT_ACCEPTED | FACT_LEAVE, STEP_REFUSE_NOTHING, "who leaves accepts nothing" },
		{ FACT_DATA | FACT_ACCEPTED, STEP_BEGIN_RESTORED, "a backup that was accepted" },
		{ FACT_BOOTSTRAPPING | FACT_DATA, STEP_START_NEW, "written, and not started" },
		{ FACT_BOOTSTRAPPING | FACT_DATA | FACT_STARTED | FACT_RUNNING, STEP_PROBE, "it runs" },
		{ FACT_BOOTSTRAPPING | FACT_RUNNING | FACT_READY | FACT_DATA, STEP_LIST, "it serves" },
		{ FACT_BOOTSTRAPPING | FACT_RUNNING | FACT_READY | FACT_KNOWN | FACT_DATA, STEP_BECOME_MEMBER, "its ids are known" },
		{ FACT_MEMBER | FACT_STARTED | FACT_RUNNING | FACT_READY | FACT_KNOWN | FACT_LISTED | FACT_VOTER | FACT_DATA |
		  FACT_LAST | FACT_MOVED, STEP_SERVE, "it is a member" },
		{ FACT_MEMBER | FACT_STARTED | FACT_RUNNING | FACT_READY | FACT_KNOWN | FACT_LISTED | FACT_VOTER | FACT_DATA |
		  FACT_LAST | FACT_MOVED | FACT_SERVING, STEP_UPDATE, "the backup was told another address" },
	};

	PLAY("restored", turns);
}

static void test_join(void)
{
	const uint32_t in = FACT_JOINING | FACT_ADMITTED | FACT_OTHERS | FACT_JOIN;
	const struct turn turns[] = {
		{ FACT_JOIN, STEP_BEGIN_JOIN, "an empty directory" },
		{ FACT_JOINING | FACT_JOIN, STEP_ASK, "written" },
		{ in, STEP_START, "let in" },
		{ in | FACT_STARTED | FACT_RUNNING | FACT_DATA, STEP_LIST, "it runs" },
		{ in | FACT_STARTED | FACT_RUNNING | FACT_DATA | FACT_KNOWN | FACT_LISTED, STEP_PROMOTE, "a learner" },
		{ in | FACT_STARTED | FACT_RUNNING | FACT_DATA | FACT_KNOWN | FACT_LISTED | FACT_VOTER, STEP_PROBE, "it votes" },
		{ in | FACT_STARTED | FACT_RUNNING | FACT_DATA | FACT_KNOWN | FACT_LISTED | FACT_VOTER | FACT_READY,
		  STEP_BECOME_MEMBER, "it serves" },
		{ in | FACT_STARTED, STEP_FORGET, "killed, and the directory was emptied" },
		{ in | FACT_STARTED | FACT_DATA, STEP_START, "killed" },
		{ in | FACT_STARTED | FACT_DATA | FACT_FAILED, STEP_LIST, "etcd has ended" },
		{ in | FACT_STARTED | FACT_DATA | FACT_FAILED | FACT_KNOWN, STEP_REFUSE_REMOVED, "since it was taken out" },
		{ in | FACT_STARTED | FACT_DATA | FACT_FAILED | FACT_UNHEARD, STEP_START, "and nobody answers" },
		{ in | FACT_MOVED, STEP_UPDATE, "its port was taken meanwhile" },
	};

	PLAY("join", turns);
}

static void test_member(void)
{
	const uint32_t in = FACT_MEMBER | FACT_STARTED | FACT_ADMITTED;
	const struct turn turns[] = {
		{ in | FACT_DATA, STEP_START, "started again" },
		{ in | FACT_DATA | FACT_RUNNING, STEP_SERVE, "adopted" },
		{ in | FACT_DATA | FACT_RUNNING | FACT_SERVING, STEP_PROBE, "does it answer?" },
		{ in | FACT_DATA | FACT_RUNNING | FACT_SERVING | FACT_READY, STEP_WAIT, "all is well" },
		{ in, STEP_REFUSE_EMPTY, "emptied" },
		{ in | FACT_JOIN, STEP_BEGIN_JOIN, "emptied, and may join anew" },
		{ in | FACT_DATA | FACT_OLD, STEP_REFUSE_OLD, "a backup was put back" },
		{ in | FACT_DATA | FACT_OLD | FACT_JOIN | FACT_OTHERS, STEP_REFUSE_OLD, "and its wish to join changes nothing" },
		{ in | FACT_DATA | FACT_MOVED | FACT_OTHERS, STEP_UPDATE, "another address: the others are told first" },
		{ in | FACT_DATA | FACT_MOVED, STEP_START, "another address, alone" },
		{ in | FACT_DATA | FACT_MOVED | FACT_RUNNING | FACT_SERVING | FACT_READY, STEP_UPDATE, "then it tells itself" },
		{ in | FACT_DATA | FACT_RUNNING | FACT_SERVING | FACT_READY | FACT_KNOWN, STEP_REFUSE_REMOVED, "taken out" },
		{ FACT_DATA, STEP_REFUSE_STRAY, "data without identity" },
		{ FACT_DATA | FACT_JOIN, STEP_REFUSE_STRAY, "to join does not change that" },
		{ FACT_RUNNING, STEP_END, "an etcd whose directory is gone" },
	};

	PLAY("member", turns);
}

static void test_leave(void)
{
	const uint32_t in = FACT_MEMBER | FACT_STARTED | FACT_ADMITTED | FACT_DATA | FACT_LEAVE;
	const uint32_t two = FACT_OTHERS | FACT_KNOWN | FACT_LISTED | FACT_VOTER;
	const struct turn turns[] = {
		{ in, STEP_REFUSE_LAST, "alone" },
		{ in | FACT_OTHERS, STEP_LIST, "who is there?" },
		{ in | two | FACT_LAST, STEP_REFUSE_LAST, "the only one that votes" },
		{ in | two, STEP_BEGIN_LEAVE, "there are others" },
		{ FACT_LEAVING | FACT_LEAVE | FACT_RUNNING | FACT_DATA, STEP_REMOVE, "written" },
		{ FACT_LEAVING | FACT_LEAVE | FACT_RUNNING | FACT_DATA | FACT_REMOVED, STEP_END, "out" },
		{ FACT_LEAVING | FACT_LEAVE | FACT_DATA | FACT_REMOVED, STEP_CLEAN, "etcd has ended" },
		{ FACT_LEAVING | FACT_DATA, STEP_START, "killed in between: perhaps its vote is needed" },
		{ FACT_LEAVING | FACT_DATA | FACT_FAILED, STEP_REMOVE, "etcd was taken out, and has ended" },
		{ FACT_LEAVING | FACT_DATA | FACT_OLD, STEP_REMOVE, "killed, and a backup was put back" },
		{ FACT_LEAVING, STEP_REMOVE, "killed, and emptied" },
		{ FACT_CLIENT | FACT_LEAVE, STEP_CLEAN, "a client" },
		{ FACT_LEAVE, STEP_REFUSE_NOTHING, "nobody" },
	};

	PLAY("leave", turns);
}

int main(void)
{
	test_invariants();
	test_bootstrap();
	test_restored();
	test_join();
	test_member();
	test_leave();
	return done();
}
