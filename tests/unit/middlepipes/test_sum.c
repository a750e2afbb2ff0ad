/* SPDX-License-Identifier: Apache-2.0 */
/* sum: what each cell does, against a naive model, damaged, and coming home from a fork. */
#include "tests/unit/middlepipes/half_fixture.h"

#define DATA MP_CELL_DATA
#define ADMIN MP_CELL_ADMIN
#define MOST "9007199254740991"

/* One line of a story: a cell, and what the check says before it is applied. */
struct line {
	uint32_t kind;
	const char *text;
	const char *reason; /* "": allowed */
	int64_t taken;      /* by all, afterwards */
};

static void tell(const char *config, const struct line *lines, size_t n)
{
	void *self;

	half_config = config;
	self = half_make();
	for (size_t i = 0; i < n; i++) {
		is_str(half_check(self, lines[i].kind, lines[i].text), lines[i].reason, "check %s",
		       lines[i].text);
		is_int(half_apply(self, lines[i].kind, lines[i].text), 0, "apply");
		is_int(half_figure(self, "taken"), lines[i].taken, "taken");
	}
	half->fini(self);
}

#define TELL(config, lines) tell((config), (lines), sizeof(lines) / sizeof((lines)[0]))

static void test_story(void)
{
	static const struct line lines[] = {
		{ DATA, "{\"name\":\"a\",\"take\":1}", "\"a\" wants 1 more, 0 of 0 are left", 0 },
		{ DATA, "{\"max_names\":5}",
		  "the total is 0, to change it or max_names wants admin rights", 0 },
		{ DATA, "{\"total\":100}", "", 0 },
		{ DATA, "{\"total\":200}",
		  "the total is 100, to change it or max_names wants admin rights", 0 },
		{ DATA, "{\"name\":\"a\",\"take\":60}", "", 60 },
		{ DATA, "{\"name\":\"b\",\"take\":41}", "\"b\" wants 41 more, 40 of 100 are left", 60 },
		{ DATA, "{\"name\":\"b\",\"take\":40}", "", 100 },
		{ DATA, "{\"name\":\"a\",\"give\":61}", "\"a\" has 60 and cannot give 61", 100 },
		{ DATA, "{\"name\":\"c\",\"give\":1}", "\"c\" has 0 and cannot give 1", 100 },
		{ DATA, "{\"set\":10,\"name\":\"a\"}", "", 50 },
		{ DATA, "{\"name\":\"a\",\"set\":61}", "\"a\" wants 51 more, 50 of 100 are left", 50 },
		{ DATA, "{\"name\":\"a\",\"set\":60}", "", 100 },
		{ DATA, "{\"name\":\"a\",\"set\":0}", "", 40 },
		{ ADMIN, "{\"total\":39}", "the total cannot be 39, 40 are taken", 40 },
		{ ADMIN, "{\"total\":40,\"max_names\":1}", "", 40 },
		{ ADMIN, "{\"total\":41}", "", 40 },
		{ DATA, "{\"name\":\"a\",\"take\":1}", "full: 1 names have something, max_names is 1", 40 },
		{ ADMIN, "{\"max_names\":2}", "", 40 },
		{ ADMIN, "{\"name\":\"a\",\"take\":1}", "", 41 },
		{ ADMIN, "{\"max_names\":1,\"total\":99}", "max_names cannot be 1, 2 have something", 41 },
		{ DATA, "{\"name\":\"b\",\"give\":40}", "", 1 },
		{ MP_CELL_BASE, "anything", "", 1 },
		{ 99, "{\"name\":\"b\",\"take\":1}", "", 1 },
	};

	TELL(NULL, lines);
}

/* Amounts are exact to the last one, and nothing runs over. */
static void test_amounts(void)
{
	static const struct line lines[] = {
		{ DATA, "{\"name\":\"a\",\"take\":" MOST "}", "", INT64_C(9007199254740991) },
		{ DATA, "{\"name\":\"a\",\"take\":" MOST "}",
		  "\"a\" wants " MOST " more, 0 of " MOST " are left", INT64_C(9007199254740991) },
		{ DATA, "{\"name\":\"b\",\"set\":1}", "\"b\" wants 1 more, 0 of " MOST " are left",
		  INT64_C(9007199254740991) },
		{ DATA, "{\"name\":\"a\",\"give\":1}", "", INT64_C(9007199254740990) },
		{ DATA, "{\"name\":\"b\",\"set\":1}", "", INT64_C(9007199254740991) },
	};
	static const char *const wrong[] = {
		"{\"name\":\"a\",\"take\":9007199254740992}", "{\"name\":\"a\",\"take\":1.0}",
		"{\"name\":\"a\",\"take\":1e3}", "{\"name\":\"a\",\"take\":-1}",
		"{\"name\":\"a\",\"take\":0}", "{\"name\":\"a\",\"give\":0}",
		"{\"name\":\"a\",\"set\":-1}", "{\"name\":\"a\",\"take\":18446744073709551617}",
		"{\"name\":\"a\",\"take\":\"1\"}", "{\"name\":\"a\",\"take\":true}",
		"{\"name\":\"a\"}", "{\"take\":1}", "{\"name\":\"\",\"take\":1}",
		"{\"name\":\"a\",\"take\":1,\"give\":1}", "{\"name\":\"a\",\"take\":1,\"total\":9}",
		"{\"total\":0}", "{\"total\":9007199254740992}", "{}", "[1]", "{\"name\":\"a\",\"take\":null}",
		"{\"name\":7,\"take\":1}", "{\"name\":\"a\",\"take\":1,\"take\":2}", "{\"max_names\":0}",
		"{\"max_names\":1000001}", "{\"name\":\"a\",\"take\":1} ", "\0", "{\"name\":\"a\",\"take\":1}x",
	};
	size_t n = sizeof(wrong) / sizeof(wrong[0]), n_taken = 0;
	void *self;

	TELL("{\"total\": " MOST "}", lines);
	self = half_make();
	for (size_t i = 0; i < n; i++) {
		bool taken = !half_check(self, DATA, wrong[i])[0];

		(void)half_apply(self, DATA, wrong[i]); /* counted below */
		ok(taken == !strcmp(wrong[i], "{\"name\":\"a\",\"take\":1} "), "%s: %s", wrong[i],
		   half_check(self, DATA, wrong[i]));
		n_taken += taken;
	}
	is_int(half_figure(self, "unreadable"), (int64_t)(n - n_taken), "skipped and counted");
	is_int(half_figure(self, "taken"), (int64_t)n_taken, "nothing else");
	half->fini(self);
}

/* An atomic request is judged as a whole, and behind what is pending. */
static void test_atomic(void)
{
	struct mp_cell give = half_cell(DATA, MP_LIT("{\"name\":\"a\",\"give\":5}"));
	struct mp_cell take = half_cell(DATA, MP_LIT("{\"name\":\"b\",\"take\":5}"));
	const struct mp_cell *both[] = { &give, &take }, *turned[] = { &take, &give };
	const struct mp_cell *pending[] = { &give };
	char reason[MP_REASON_MAX];
	void *self;

	half_config = "{\"total\": 5}";
	self = half_make();
	(void)half_apply(self, DATA, "{\"name\":\"a\",\"take\":5}"); /* seen below */
	is_int(half->check(self, NULL, 0, both, 2, reason, sizeof(reason)), MP_CHECK_ALLOW,
	       "give and take");
	is_int(half->check(self, NULL, 0, turned, 2, reason, sizeof(reason)), MP_CHECK_REFUSE,
	       "take and give is not");
	is_str(reason, "cell 1 of 2: \"b\" wants 5 more, 0 of 5 are left", "and says which cell");
	is_int(half->check(self, pending, 1, both, 2, reason, sizeof(reason)), MP_CHECK_REFUSE,
	       "behind a pending give");
	is_str(reason, "cell 1 of 2: \"a\" has 0 and cannot give 5", "there is nothing to give");
	is_int(half->check(self, pending, 1, turned, 1, reason, sizeof(reason)), MP_CHECK_ALLOW,
	       "but something to take");
	is_int(half->check(self, NULL, 0, NULL, 0, reason, sizeof(reason)), MP_CHECK_ALLOW,
	       "nothing is always allowed");
	reason[3] = 'x';
	is_int(half->check(self, NULL, 0, turned, 1, reason, 4), MP_CHECK_REFUSE, "a short reason");
	is_str(reason, "\"b\"", "is cut");
	half->fini(self);
}

/* ----------------------------------------------------------------------- merge */

struct home {
	struct mp_cell_sink sink; /* first */
	char text[256];           /* of the last cell */
	int n;
	int32_t answer;           /* to the half */
};

static int32_t on_cell(struct mp_cell_sink *sink, const struct mp_cell *cell)
{
	struct home *home = (struct home *)sink;

	(void)snprintf(home->text, sizeof(home->text), "%.*s", SLICE_ARG(cell->content));
	home->n++;
	return home->answer;
}

static void comes_home(void *fork, const char *text, const char *want, int n)
{
	struct home home = { .sink = { sizeof(home.sink), 0, on_cell } };
	struct mp_cell cell = half_cell(DATA, slice_of(text));
	void *self = half_make();

	is_int(half->merge(self, fork, &cell, &home.sink), 0, "%s comes home", text);
	is_str(home.text, want, "as %s", want);
	is_int(home.n, n, "cells");
	home.answer = -E2BIG;
	is_int(half->merge(self, fork, &cell, &home.sink), n ? -E2BIG : 0, "what the sink says is told");
	half->fini(self);
}

static void test_merge(void)
{
	void *fork;

	half_config = "{\"total\": 100}";
	fork = half_make();
	(void)half_apply(fork, DATA, "{\"name\":\"a\\\"\",\"take\":50}"); /* seen below */
	comes_home(fork, "{\"name\":\"a\\\"\",\"take\":5}", "{\"name\":\"a\\\"\",\"take\":5}", 1);
	comes_home(fork, "{\"name\":\"a\\\"\",\"set\":70}", "{\"name\":\"a\\\"\",\"take\":20}", 1);
	comes_home(fork, "{\"name\":\"a\\\"\",\"set\":0}", "{\"name\":\"a\\\"\",\"give\":50}", 1);
	comes_home(fork, "{\"name\":\"a\\\"\",\"set\":50}", "", 0);
	comes_home(fork, "{\"name\":\"b\",\"set\":7}", "{\"name\":\"b\",\"take\":7}", 1);
	comes_home(fork, "{\"total\":7}", "{\"total\":7}", 1);
	comes_home(fork, "garbage", "garbage", 1);
	comes_home(NULL, "{\"name\":\"b\",\"set\":7}", "{\"name\":\"b\",\"set\":7}", 1);
	half->fini(fork);
}

/* ------------------------------------------------------------------- the model */

enum { TAKE, GIVE, SET, TOTAL, MAX_NAMES, GARBAGE, OTHER_KIND };
#define NAMES 5
#define W_TOTAL NAMES /* behind the names' amounts */
#define W_MAX (NAMES + 1)

static const char *const words[] = { "take", "give", "set", "total", "max_names" };

static void draw(struct deed *d)
{
	static const int whats[] = { TAKE, TAKE, TAKE, TAKE, TAKE, GIVE, GIVE, GIVE, SET, SET, TOTAL,
				     MAX_NAMES, GARBAGE, OTHER_KIND };

	d->what = whats[half_draw(sizeof(whats) / sizeof(whats[0]))];
	d->who = (int)half_draw(NAMES);
	d->amount = (d->what == SET ? 0 : 1) + half_draw(d->what == TOTAL ? 150 : 40);
	if (d->what == MAX_NAMES)
		d->amount = 1 + half_draw(NAMES);
	if (d->what <= SET) {
		(void)snprintf(d->text, sizeof(d->text), "{\"name\":\"n%d\",\"%s\":%d}", d->who,
			       words[d->what], (int)d->amount);
	} else if (d->what <= MAX_NAMES) {
		d->cell.kind = d->what == MAX_NAMES || half_draw(2) ? ADMIN : DATA;
		(void)snprintf(d->text, sizeof(d->text), "{\"%s\":%d}", words[d->what], (int)d->amount);
	} else if (d->what == GARBAGE) {
		(void)snprintf(d->text, sizeof(d->text), "{\"name\":\"n%d\",\"take\":1.5}", d->who);
	} else {
		d->cell.kind = half_draw(2) ? MP_CELL_CONFLICT : 77;
		(void)snprintf(d->text, sizeof(d->text), "{\"name\":\"n%d\",\"take\":1}", d->who);
	}
}

static size_t entries(const struct model *m)
{
	size_t n = 0;

	for (int i = 0; i < NAMES; i++)
		n += m->word[i] != 0;
	return n;
}

static int64_t all_of(const struct model *m)
{
	int64_t all = 0;

	for (int i = 0; i < NAMES; i++)
		all += m->word[i];
	return all;
}

/* What it would be, taken when the rules hold then. */
static int step(struct model *m, const struct deed *d)
{
	struct model then = *m;

	switch (d->what) {
	case TAKE: then.word[d->who] += d->amount; break;
	case GIVE: then.word[d->who] -= d->amount; break;
	case SET: then.word[d->who] = d->amount; break;
	case TOTAL: then.word[W_TOTAL] = d->amount; break;
	case MAX_NAMES: then.word[W_MAX] = d->amount; break;
	default: return d->what == GARBAGE ? CANNOT_READ : TAKES;
	}
	if (then.word[d->who] < 0 || all_of(&then) > then.word[W_TOTAL] ||
	    (int64_t)entries(&then) > then.word[W_MAX] ||
	    (d->what == TOTAL && d->cell.kind == DATA && m->word[W_TOTAL]))
		return REFUSES;
	*m = then;
	return TAKES;
}

static const struct half_kind kind = { draw, step, { { [W_MAX] = 4 } }, entries };

static void test_layout(void)
{
	static const char want[] = "sum \1\4\0\0\2\0\0\0\0\0\0\0"
				   "\7\1\0\0\0\0\0\0\0\0\1\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
				   "\1\0\10\0a\1\1\0\0\0\0\0\0\1\0\10\0b\2\0\0\0\0\0\0\0";
	struct buf bytes;
	void *self;

	half_config = "{\"total\": 263}";
	self = half_make();
	(void)half_apply(self, DATA, "{\"name\":\"b\",\"take\":2}"); /* compared below */
	(void)half_apply(self, DATA, "{\"name\":\"a\",\"take\":257}");
	(void)half_apply(self, DATA, "{\"name\":\"a\",\"take\":257}");
	bytes = half_bytes(self);
	ok(slice_eq(buf_slice(&bytes), slice_make(want, sizeof(want) - 1)), "the layout of a snapshot");
	buf_fini(&bytes);
	half->fini(self);
}

static void suite(void)
{
	test_story();
	test_amounts();
	test_atomic();
	test_merge();
	test_layout();
	half_config = "{\"max_names\": 4}";
	half_histories(&kind, 600);
	half_replays(&kind);
	half_damage(&kind);
}

int main(void)
{
	return half_main("sum", suite);
}
