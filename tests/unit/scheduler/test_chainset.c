/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler/chainset.c: which units a chain file makes, which of them an epoch
 * takes over from the one before, and what stands for a chain.
 */
#include "scheduler/chainset.h"

#include "tests/unit/scheduler/chains_fixture.h"

static struct data *data;

#define DEST(chain) "{\"name\":\"svc\",\"match\":[\"svc:80\"],\"chain\":[" chain "]}"
#define PLAIN(name, more) "{\"middlepipe\":\"" name "\",\"type\":\"plain\"" more "}"
#define WATCH(name, n) "{\"middlepipe\":\"" name "\",\"type\":\"watch\",\"config\":{\"n\":" n "}}"

static struct unit *find_in(void *ctx, const char *key)
{
	const struct chainset *set = ctx;

	for (uint32_t i = 0; set && i < set->n_units; i++)
		if (!strcmp(set->units[i]->key, key))
			return set->units[i];
	return NULL;
}

/* The set of an epoch beside `before`, or NULL with the reason in err. */
static struct chainset *make(unsigned epoch, const char *text, struct chainset *before, struct err *err)
{
	struct chainset *set = NULL;

	if (chainset_new(data, data->blame, fixture_chains(epoch, text), find_in, before, &set, err) < 0)
		return NULL;
	for (uint32_t i = 0; i < set->n_units; i++)
		set->units[i]->started = true;
	return set;
}

static void test_shape(void)
{
	struct err err = { 0 };
	struct chainset *set = make(7,
		DEST(PLAIN("p", ",\"config\":{\"prefixes\":[\"/x\"]}") "," PLAIN("q", ""))
		",{\"name\":\"free\",\"match\":[\"free:80\"],\"chain\":[]}", NULL, &err);

	is_u64(set->epoch, 7, "epoch");
	is_u64(set->n_chains, 3, "a chain for each prefix of each destination");
	is_u64(set->n_units, 3, "p has two units, q one");
	ok(set->chain[0].n_units == 2 && set->chain[1].n_units == 2 && set->chain[2].n_units == 0, "lengths");
	ok(set->chain[0].units[0] != set->chain[1].units[0], "p has one for /x and one for the rest");
	ok(set->chain[0].units[1] == set->chain[1].units[1], "q is the same in both");
	is_str(set->chain[0].units[0]->prefix, "/x", "whose prefix is known");
	ok(set->chain[0].index == 0 && set->chain[2].index == 2, "chains are numbered as the board's entries");
	chainset_free(set, data->blame);
}

static void test_sharing(void)
{
	struct err err = { 0 };
	struct chainset *one = make(1, DEST(WATCH("a", "1") "," WATCH("b", "1") "," WATCH("c", "1")), NULL, &err);
	struct chainset *two = make(2, DEST(WATCH("c", "1") "," WATCH("b", "2") "," WATCH("d", "1")), one, &err);
	unsigned unloads = fixture_unloads;

	ok(two->chain[0].units[0] == one->chain[0].units[2], "an unchanged unit is shared, wherever it stands");
	ok(two->chain[0].units[1] != one->chain[0].units[1], "a changed one is new");
	ok(two->chain[0].units[1]->ancestor == one->chain[0].units[1], "and takes the state of the old one");
	ok(!two->chain[0].units[2]->ancestor, "a new one has no ancestor");
	chainset_free(one, data->blame);
	is_u64(fixture_unloads - unloads, 2, "of the old epoch only what is not shared is unloaded");
	chainset_free(two, data->blame);
	is_u64(fixture_unloads - unloads, 5, "then the rest");
	is_u64(fixture_loads, fixture_unloads, "all that was loaded was unloaded");
}

static void test_refused(void)
{
	struct err err = { 0 };
	struct chainset *one = make(1, DEST(WATCH("a", "1")), NULL, &err);
	unsigned loads = fixture_loads, unloads = fixture_unloads;
	struct chainset *two = make(2, DEST(WATCH("a", "1") "," WATCH("n", "1")
		",{\"middlepipe\":\"x\",\"type\":\"bad\",\"config\":{\"n\":3}}"), one, &err);

	ok(!two, "a filter that does not load refuses all");
	is_str(err.text, "$.destinations[0].chain[2].config: n is 3, which nobody likes", "and says where and why");
	is_u64(fixture_loads - loads, fixture_unloads - unloads, "what was loaded for it is gone");
	ok(one->units[0]->refs == 1, "the old epoch is as it was");
	chainset_free(one, data->blame);
}

static void test_needs(void)
{
	struct err err = { 0 };
	struct chainset *set = make(1, DEST(WATCH("a", "3") "," WATCH("b", "5") ","
		"{\"middlepipe\":\"c\",\"type\":\"both\",\"on_failure\":\"closed\"}"), NULL, &err);
	const struct chain *c = &set->chain[0];

	is_u64(c->flags, ENTRY_CLOSED | ENTRY_RESPONSE | ENTRY_RESPONSE_BODY | ENTRY_OUTCOME,
	       "needs add up to the entry's flags");
	ok(set->statics[0].flags == c->flags && slice_eq(set->statics[0].pipe, MP_LIT("c")), "on the board, too");
	ok(c->failure.errors == (1u << 3 | 1u << 5) && c->failure.slow_ns == 3, "failure rules: the union");
	ok(c->tracked, "exchanges are followed to their end");
	chainset_free(set, data->blame);
	set = make(1, DEST(PLAIN("p", "")), NULL, &err);
	ok(!set->chain[0].tracked, "not where nobody asks how they end");
	chainset_free(set, data->blame);
}

static void test_failure_rule(void)
{
	const struct mp_failure f = { .statuses = { [6] = UINT64_C(1) << 19 }, .slow_ns = 1000,
				      .errors = 1u << MP_ERROR_REFUSED };
	static const struct {
		int32_t status, error;
		uint64_t ns;
		bool want;
	} rows[] = {
		{ 503, 0, 1, true }, { 502, 0, 1, false }, { 0, MP_ERROR_REFUSED, 1, true },
		{ 0, MP_ERROR_TIMEOUT, 1, false }, { 200, 0, 1000, false }, { 200, 0, 1001, true },
		{ 0, MP_ERROR_CANCELLED, 1001, false }, { 0, 0, 1, false }, { 599, 0, 1, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ok(failure_matches(&f, rows[i].status, rows[i].error, rows[i].ns) == rows[i].want,
		   "status %d, error %d, %d ns: %s", rows[i].status, rows[i].error, (int)rows[i].ns,
		   rows[i].want ? "a failure" : "none");
}

#define A MP_STANDING_ASK
#define P MP_STANDING_PASS
#define R MP_STANDING_REPLY

/* request-path.md 2.3, for three filters each. */
static void test_standing(void)
{
	static const struct {
		const char *what;
		int standing[3];
		uint32_t response; /* bit i: filter i decides on responses */
		int want;
		int by; /* whose it is, -1: nobody's */
	} rows[] = {
		{ "all pass", { P, P, P }, 0, P, -1 },
		{ "the last asks", { P, P, A }, 0, A, 2 },
		{ "the first that is not PASS counts", { P, R, A }, 0, R, 1 },
		{ "likewise", { P, A, R }, 0, A, 1 },
		{ "REPLY after one that decides on responses is ASK", { P, R, P }, 1, A, 1 },
		{ "REPLY of that one itself is REPLY", { P, R, P }, 2, R, 1 },
		{ "a later one that decides on responses does not matter to a REPLY", { R, P, P }, 4, R, 0 },
		{ "but it forbids a plain PASS", { P, P, P }, 4, A, -1 },
	};
	struct err err = { 0 };
	struct chainset *set = make(1, DEST(PLAIN("a", "") "," PLAIN("b", "") "," PLAIN("c", "")), NULL, &err);
	struct chain *c = &set->chain[0];
	const struct unit *by;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned k = 0; k < 3; k++) {
			c->units[k]->standing = rows[i].standing[k];
			c->units[k]->plan.needs = MP_NEED_REQUEST |
				(rows[i].response >> k & 1 ? MP_NEED_RESPONSE : 0);
		}
		is_int(chain_standing(c, 100, &by), rows[i].want, "%s", rows[i].what);
		ok(by == (rows[i].by < 0 ? NULL : c->units[rows[i].by]), "%s: whose it is", rows[i].what);
	}
	c->units[0]->standing = R;
	c->units[0]->until_ns = 100;
	is_int(chain_standing(c, 99, &by), R, "a REPLY until 100 at 99");
	is_int(chain_standing(c, 100, &by), A, "is ASK at 100");
	c->units[0]->ejected = true;
	c->units[2]->plan.needs = MP_NEED_REQUEST;
	is_int(chain_standing(c, 99, &by), P, "an ejected one that is open counts as PASS");
	c->units[1]->ejected = c->units[1]->closed = true;
	is_int(chain_standing(c, 99, &by), R, "one that is closed refuses");
	ok(by == c->units[1], "in its name");
	chainset_free(set, data->blame);
}

static void test_blamed(void)
{
	struct err err = { 0 };
	struct chainset *one, *two;
	unsigned loads;

	(void)blame_eject(data->blame, "a", "crashed");
	loads = fixture_loads;
	one = make(1, DEST(WATCH("a", "1") "," WATCH("b", "1")), NULL, &err);
	ok(one->units[0]->ejected && !one->units[0]->self && fixture_loads == loads + 1,
	   "a middlepipe that is left out is not even loaded");
	is_str(one->units[0]->reason, "crashed", "and says why");
	ok(!(one->chain[0].units[0]->plan.needs), "it needs nothing");
	two = make(2, DEST(WATCH("a", "2") "," WATCH("b", "1")), one, &err);
	ok(!two->units[0]->ejected, "with a new configuration it is back");
	chainset_free(one, data->blame);
	chainset_free(two, data->blame);
}

int main(void)
{
	data = calloc(1, sizeof(*data));
	data->blame = blame_new();
	test_shape();
	test_sharing();
	test_refused();
	test_needs();
	test_failure_rule();
	test_standing();
	test_blamed();
	is_u64(fixture_loads, fixture_unloads, "every unit was freed");
	free(data);
	return done();
}
