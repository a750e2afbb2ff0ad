/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded engine on a disk that fails and crashes (faulty_disk.h): whatever
 * it does, what was answered is there, whole, and nothing else is.
 *
 * The model is a set of maps, any of which may be the truth: an unknown outcome
 * doubles it, a read or a crash tells.  Each operation of the disk is hit once in
 * each way, then seeds draw where, how and how long.
 */
#include "aggregator/rows/engine/sqlite.h"

#include <errno.h>

#include "tests/lib/sim.h"
#include "tests/unit/aggregator/engine_suite.h"
#include "tests/unit/aggregator/faulty_disk.h"

#define PATH "rows.db"
#define KEYS 6
#define TRUTHS 64
#define STEPS 24     /* transactions of a run */
#define SEEDS 300
#define VALUE_SMALL 16
#define VALUE_BIG ((size_t)200 << 10) /* some of them, and SQLite checkpoints */

/* Values by key; 0: none. */
struct truth {
	int value[KEYS];
};

/* Maps of which one is what is stored. */
static struct truth truths[TRUTHS];
static size_t n_truths;
static uint64_t outcomes[ENGINE_UNKNOWN + 1];
static struct sim chance;          /* for its generator */
static size_t value_size; /* bytes of each value of this run */
static char what[96];  /* is being done, for a failure's text */

/* -------------------------------------------------------------------- the model */

static bool same(const struct truth *a, const struct truth *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static void add_truth(const struct truth *truth)
{
	for (size_t i = 0; i < n_truths; i++)
		if (same(&truths[i], truth))
			return;
	if (n_truths == TRUTHS)
		ok(false, "%s: too much is unknown", what);
	else
		truths[n_truths++] = *truth;
}

/* What was read must be one of them; it is the only one then. */
static bool settle(const struct truth *read)
{
	for (size_t i = 0; i < n_truths; i++) {
		if (!same(&truths[i], read))
			continue;
		truths[0] = *read;
		n_truths = 1;
		return true;
	}
	return ok(false, "%s: what is stored was never answered, or was lost", what);
}

/* ------------------------------------------------------------------- the engine */

static int open_engine(void)
{
	const struct engine_sqlite_options options = { .path = PATH, .vfs = DISK_VFS };
	struct err err = { 0 };
	int r = engine_sqlite_open(&suite_loop, &options, &suite_engine, &err);

	if (r && r != -EIO)
		ok(false, "%s: %s", what, err.text);
	return r;
}

static bool read_all(struct truth *ret)
{
	const struct engine_range range = { .from = MP_LIT("k"), .end = MP_LIT("l") };
	struct suite_answer answer = suite_range(&range);

	*ret = (struct truth){ 0 };
	for (size_t i = 0; i < answer.n && i < SUITE_ITEMS; i++)
		ret->value[(answer.key[i][1] - '0') % KEYS] = atoi(answer.value[i]);
	return answer.outcome == ENGINE_COMMITTED;
}

/* One transaction: some keys get this number, one may go, and one is compared. */
struct step {
	char key[KEYS][4];
	struct engine_op op[KEYS];
	struct engine_compare compare;
	struct engine_txn txn;
	struct truth wants; /* .value: as an op sets it; -1: left alone */
	int compared;       /* value of key 0 that is expected */
};

/* A number and blanks. */
static struct mp_str value_of(char text[VALUE_BIG + 1], int number)
{
	int n = snprintf(text, VALUE_BIG, "%d", number);

	memset(text + n, ' ', value_size - (size_t)n);
	return slice_make(text, value_size);
}

static void make_step(struct step *s, int number)
{
	static char text[VALUE_BIG + 1], expected[VALUE_BIG + 1];
	struct mp_str value = value_of(text, number);

	*s = (struct step){ .compared = truths[0].value[0] };
	for (size_t i = 0; i < KEYS; i++) {
		bool puts = sim_below(&chance, 2), deletes = !puts && !sim_below(&chance, 3);

		(void)snprintf(s->key[i], sizeof(s->key[i]), "k%zu", i);
		s->wants.value[i] = puts ? number : deletes ? 0 : -1;
		if (puts || deletes)
			s->op[s->txn.n_ops++] = (struct engine_op){ puts ? ENGINE_PUT : ENGINE_DELETE,
				slice_of(s->key[i]), value, false };
	}
	s->compare.key = slice_of(s->key[0]);
	if (s->compared)
		s->compare.value = value_of(expected, s->compared);
	s->txn.compares = &s->compare;
	s->txn.n_compares = 1;
	s->txn.ops = s->op;
}

static struct truth after(const struct truth *before, const struct step *s)
{
	struct truth ret = *before;

	for (size_t i = 0; i < KEYS; i++)
		if (s->wants.value[i] >= 0)
			ret.value[i] = s->wants.value[i];
	return ret;
}

/* By the outcome: which maps can there be now? */
static void learn(const struct step *s, enum engine_outcome outcome)
{
	struct truth old[TRUTHS];
	size_t n = n_truths;

	memcpy(old, truths, n * sizeof(*old));
	n_truths = 0;
	for (size_t i = 0; i < n; i++) {
		bool holds = old[i].value[0] == s->compared;
		struct truth next = after(&old[i], s);

		if (outcome == ENGINE_COMMITTED && holds)
			add_truth(&next);
		if (outcome == ENGINE_REFUSED || (outcome == ENGINE_FAILED && !holds))
			add_truth(&old[i]);
		if (outcome == ENGINE_UNKNOWN) {
			add_truth(&old[i]);
			if (holds)
				add_truth(&next);
		}
	}
	if (!n_truths)
		ok(false, "%s: outcome %d cannot be", what, (int)outcome);
}

static void one_step(int number)
{
	struct suite_answer answer;
	struct truth read;
	struct step s;

	make_step(&s, number);
	answer = suite_commit(&s.txn);
	outcomes[answer.outcome]++;
	learn(&s, answer.outcome);
	if (read_all(&read))
		(void)settle(&read);
}

/* ------------------------------------------------------------------------- runs */

/* Opens it: a disk that fails meanwhile is well again some time. */
static bool begin(void)
{
	for (int i = 0; i < 10; i++)
		if (open_engine() == 0)
			return true;
	return false;
}

/* A crash, and everything must be there, and go on. */
static void crash(enum disk_crash how, int number)
{
	struct truth read;

	disk_crash(how, &chance);
	if (open_engine() != 0) {
		ok(false, "%s: it cannot be opened after the crash", what);
		return;
	}
	if (read_all(&read))
		(void)settle(&read);
	else
		ok(false, "%s: it cannot be read after the crash", what);
	one_step(number);
	if (n_truths != 1)
		ok(false, "%s: a disk that is well leaves nothing unknown", what);
	suite_close();
}

/*
 * A new file, transactions under the script, and a crash: of a process that was
 * killed, or had closed its file.  How many operations of the disk there were.
 */
static uint64_t run(const struct disk_script *faults, enum disk_crash how, uint64_t seed)
{
	const struct disk_script dead = { .fault = DISK_DEAD };
	struct disk_counts counts;

	sim_init(&chance, seed);
	disk_erase();
	n_truths = 1;
	truths[0] = (struct truth){ 0 };
	disk_script(faults);
	if (begin()) {
		for (int i = 1; i <= STEPS; i++)
			one_step(i);
		disk_count(&counts);
		if (sim_below(&chance, 2))
			disk_script(&dead);
		suite_close();
	} else {
		disk_count(&counts);
	}
	crash(how, STEPS + 1);
	sim_fini(&chance);
	return counts.operations;
}

/* Each operation is hit once, in each way, and once each with the next one, too. */
static void test_each(void)
{
	static const char *const names[] = { [DISK_ERROR] = "fails", [DISK_FULL] = "finds no room",
					     [DISK_TEAR] = "is done in part", [DISK_FORGET] = "is forgotten",
					     [DISK_DEAD] = "is the last" };
	uint64_t n, runs = 0;

	value_size = VALUE_SMALL;
	n = run(&(struct disk_script){ .fault = DISK_WELL }, CRASH_DROPS, 1);
	ok(n > STEPS, "%" PRIu64 " operations of the disk for %d transactions", n, STEPS);
	for (enum disk_fault fault = DISK_ERROR; fault < DISK_FAULTS; fault++) {
		int before = tap_failed;

		for (uint64_t at = 0; at < n; at++, runs++) {
			struct disk_script faults = { .fault = fault, .at = at, .count = 1 + at % 2 };

			(void)snprintf(what, sizeof(what), "operation %" PRIu64 " %s", at, names[fault]);
			(void)run(&faults, (enum disk_crash)(runs % CRASHES), 1);
		}
		ok(tap_failed == before, "each operation %s once: nothing is lost", names[fault]);
	}
	note("%" PRIu64 " runs", runs);
}

static void test_seeds(void)
{
	int before = tap_failed;

	for (uint64_t seed = 1; seed <= SEEDS && tap_failed == before; seed++) {
		struct disk_script faults;
		enum disk_crash how;

		sim_init(&chance, seed);
		faults.fault = (enum disk_fault)sim_below(&chance, DISK_FAULTS);
		faults.at = sim_below(&chance, 120);
		faults.count = sim_between(&chance, 1, 12);
		how = (enum disk_crash)sim_below(&chance, CRASHES);
		sim_fini(&chance);
		value_size = seed % 4 ? VALUE_SMALL : VALUE_BIG;
		(void)snprintf(what, sizeof(what), "seed %" PRIu64, seed);
		(void)run(&faults, how, seed);
	}
	ok(tap_failed == before, "%d seeds: nothing is lost", SEEDS);
}

/* Tests of faults that did not happen say nothing. */
static void test_counts(void)
{
	struct disk_counts c;

	disk_count(&c);
	note("failed: %" PRIu64 " writes, %" PRIu64 " syncs; %" PRIu64 " torn, %" PRIu64 " dropped, %" PRIu64
	     " forgotten, %" PRIu64 " crashes", c.writes, c.syncs, c.torn, c.dropped, c.forgotten, c.crashes);
	note("outcomes: %" PRIu64 " committed, %" PRIu64 " failed, %" PRIu64 " refused, %" PRIu64 " unknown",
	     outcomes[ENGINE_COMMITTED], outcomes[ENGINE_FAILED], outcomes[ENGINE_REFUSED], outcomes[ENGINE_UNKNOWN]);
	ok(c.writes && c.syncs && c.torn && c.dropped && c.forgotten && c.crashes, "every fault has happened");
	ok(outcomes[ENGINE_COMMITTED] && outcomes[ENGINE_REFUSED] && outcomes[ENGINE_UNKNOWN], "and every outcome");
}

int main(void)
{
	if (suite_uv_init())
		return 1;
	disk_start();
	(void)snprintf(what, sizeof(what), "a disk that is well");
	is_int(open_engine(), 0, "the embedded engine on a disk of the test's own");
	suite_run(suite_engine);
	test_each();
	test_seeds();
	test_counts();
	disk_erase();
	suite_uv_fini();
	return done();
}
