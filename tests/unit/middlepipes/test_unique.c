/* SPDX-License-Identifier: Apache-2.0 */
/* unique: what each cell does, against a naive model, damaged, and at its bounds. */
#include "tests/unit/middlepipes/half_fixture.h"

#define DATA MP_CELL_DATA
#define ADMIN MP_CELL_ADMIN

/* One line of a story: a cell, and what the check says before it is applied. */
struct line {
	uint32_t kind;
	const char *text;
	const char *reason; /* "": allowed */
	int64_t keys;       /* held afterwards */
};

static void tell(void *self, const struct line *lines, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		is_str(half_check(self, lines[i].kind, lines[i].text), lines[i].reason, "check %s",
		       lines[i].text);
		is_int(half_apply(self, lines[i].kind, lines[i].text), 0, "apply");
		is_int(half_figure(self, "keys"), lines[i].keys, "keys");
	}
}

static void test_story(void)
{
	static const struct line lines[] = {
		{ DATA, "{\"claim\":\"a\",\"holder\":\"x\"}", "", 1 },
		{ DATA, "{\"claim\":\"a\",\"holder\":\"x\"}", "", 1 },
		{ DATA, "{\"claim\":\"a\",\"holder\":\"y\"}", "\"a\" is held by \"x\"", 1 },
		{ DATA, "{\"holder\":\"y\",\"claim\":\"A\"}", "", 2 },
		{ DATA, "{\"release\":\"a\",\"holder\":\"y\"}", "\"a\" is held by \"x\", not by \"y\"", 2 },
		{ DATA, "{\"release\":\"b\",\"holder\":\"y\"}", "\"b\" is not held", 2 },
		{ DATA, "{\"claim\":\"b\",\"holder\":\"y\"}", "full: 2 keys are held, max_keys is 2", 2 },
		{ DATA, "{\"release\":\"\\u0061\",\"holder\":\"x\"}", "", 1 },
		{ DATA, "{\"claim\":\"a\",\"holder\":\"y\"}", "", 2 },
		{ ADMIN, "{\"max_keys\":1}", "max_keys cannot be 1, 2 keys are held", 2 },
		{ ADMIN, "{\"release\":\"a\"}", "", 1 },
		{ ADMIN, "{\"release\":\"a\"}", "\"a\" is not held", 1 },
		{ ADMIN, "{\"max_keys\":3}", "", 1 },
		{ ADMIN, "{\"claim\":\"a\",\"holder\":\"z\"}", "", 2 },
		{ DATA, "{\"claim\":\"c\",\"holder\":\"z\"}", "", 3 },
		{ MP_CELL_CONFLICT, "{\"claim\":\"d\",\"holder\":\"z\"}", "", 3 },
		{ MP_CELL_BASE, "anything", "", 3 },
		{ 99, "anything", "", 3 },
	};
	void *self;

	half_config = "{\"max_keys\": 2}";
	self = half_make();
	tell(self, lines, sizeof(lines) / sizeof(lines[0]));
	is_int(half_figure(self, "refused"), 6, "cells that broke a rule");
	is_int(half_figure(self, "unreadable"), 0, "and all could be read");
	half->fini(self);
}

static void test_unreadable(void)
{
	static const struct line lines[] = {
		{ DATA, "", "byte 1: wants an object in braces", 0 },
		{ DATA, "[]", "byte 1: wants an object in braces", 0 },
		{ DATA, "{}", "wants one of claim, release", 0 },
		{ DATA, "{\"claim\":\"a\"}", "wants a holder", 0 },
		{ DATA, "{\"release\":\"a\"}", "wants a holder", 0 },
		{ DATA, "{\"claim\":\"a\",\"release\":\"a\",\"holder\":\"x\"}",
		  "wants one of claim, release", 0 },
		{ DATA, "{\"claim\":\"\",\"holder\":\"x\"}", "claim: wants 1 to 256 bytes, not 0", 0 },
		{ DATA, "{\"claim\":7,\"holder\":\"x\"}", "byte 10: wants a text in quotes", 0 },
		{ DATA, "{\"claim\":\"a\",\"holder\":null}", "byte 23: wants a text in quotes", 0 },
		{ DATA, "{\"claim\":\"a\",\"holder\":\"x\",\"more\":1}", "\"more\" is not known here", 0 },
		{ DATA, "{\"max_keys\":3}", "\"max_keys\" is not known here", 0 },
		{ ADMIN, "{\"max_keys\":0}", "max_keys: wants 1 to 1000000, not 0", 0 },
		{ ADMIN, "{\"max_keys\":3,\"holder\":\"x\"}", "wants no holder with max_keys", 0 },
		{ ADMIN, "{}", "wants one of claim, release and max_keys", 0 },
		{ DATA, "{\"claim\":{},\"holder\":\"x\"}", "byte 10: wants a text in quotes", 0 },
		{ DATA, "{\"claim\":\"a\",\"claim\":\"b\",\"holder\":\"x\"}",
		  "\"claim\" is there twice", 0 },
	};
	size_t n = sizeof(lines) / sizeof(lines[0]);
	void *self;

	half_config = NULL;
	self = half_make();
	tell(self, lines, n);
	is_int(half_figure(self, "unreadable"), (int64_t)n, "all are counted");
	is_int(half_figure(self, "refused"), 0, "as that");
	half->fini(self);
}

/* Keys and holders of 256 bytes are taken, of 257 not; bytes that are no UTF-8 and NUL neither. */
static void test_sizes(void)
{
	static char text[8192], part[300];
	static const char *const wrong[] = {
		"{\"claim\":\"\xff\",\"holder\":\"x\"}", "{\"claim\":\"a\\u0000\",\"holder\":\"x\"}",
		"{\"claim\":\"\xc0\xaf\",\"holder\":\"x\"}", "{\"claim\":\"\\ud800\",\"holder\":\"x\"}",
	};
	void *self = half_make();

	for (int size = 256; size <= 257; size++) {
		memset(part, 'k', (size_t)size);
		part[size] = '\0';
		(void)snprintf(text, sizeof(text), "{\"claim\":\"%s\",\"holder\":\"x\"}", part);
		is_int(half_check(self, DATA, text)[0] == '\0', size == 256, "a key of %d bytes", size);
		(void)snprintf(text, sizeof(text), "{\"claim\":\"k\",\"holder\":\"%s\"}", part);
		is_int(half_check(self, DATA, text)[0] == '\0', size == 256, "a holder likewise");
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ok(half_check(self, DATA, wrong[i])[0], "text that is none: %s", half_check(self, DATA, wrong[i]));
	(void)snprintf(text, sizeof(text), "%4200s{\"claim\":\"k\",\"holder\":\"x\"}", "");
	ok(half_check(self, DATA, text)[0], "a cell above 4,096 bytes");
	half->fini(self);
}

/* What was claimed once is refused when the snapshot would not hold it. */
static void test_full(void)
{
	static char text[1024], part[257];
	struct buf bytes;
	void *self;
	int n = 0;

	half_config = "{\"max_keys\": 1000000}";
	self = half_make();
	memset(part, 'h', 250);
	for (;; n++) {
		(void)snprintf(text, sizeof(text), "{\"claim\":\"%06d%s\",\"holder\":\"%s\"}", n, part, part);
		if (half_check(self, DATA, text)[0])
			break;
		(void)half_apply(self, DATA, text); /* counted below */
	}
	ok(!strncmp(half_check(self, DATA, text), "full: keys and holders take ", 28), "%d keys: %s", n,
	   half_check(self, DATA, text));
	is_int(half_figure(self, "keys"), n, "all are held");
	bytes = half_bytes(self);
	ok(bytes.len <= MP_SNAPSHOT_MAX && bytes.len > MP_SNAPSHOT_MAX - 510, "a snapshot of %zu bytes",
	   bytes.len);
	(void)half_apply(self, DATA, text);
	is_int(half_figure(self, "refused"), 1, "and it is not applied");
	buf_fini(&bytes);
	half->fini(self);
}

/* Pending cells are known by their numbers, whatever came before them. */
static void test_pending(void)
{
	struct mp_cell one = half_cell(DATA, MP_LIT("{\"claim\":\"a\",\"holder\":\"x\"}"));
	struct mp_cell two = half_cell(DATA, MP_LIT("{\"claim\":\"b\",\"holder\":\"x\"}"));
	struct mp_cell put = half_cell(DATA, MP_LIT("{\"claim\":\"a\",\"holder\":\"y\"}"));
	const struct mp_cell *pending[] = { &one }, *proposal[] = { &put };
	char reason[MP_REASON_MAX];
	void *self;

	half_config = NULL;
	self = half_make();
	for (uint64_t numbered = 0; numbered < 2; numbered++) {
		one.id = numbered;
		two.id = 2 * numbered;
		put.id = 3 * numbered;
		pending[0] = &one;
		is_int(half->check(self, pending, 1, proposal, 1, reason, sizeof(reason)),
		       MP_CHECK_REFUSE, "behind a claim of the same key");
		is_int(half->check(self, NULL, 0, proposal, 1, reason, sizeof(reason)),
		       MP_CHECK_ALLOW, "when that was given up");
		pending[0] = &two;
		is_int(half->check(self, pending, 1, proposal, 1, reason, sizeof(reason)),
		       MP_CHECK_ALLOW, "behind another claim");
		pending[0] = &one;
		is_int(half->check(self, pending, 1, proposal, 1, reason, sizeof(reason)),
		       MP_CHECK_REFUSE, "and behind the first again");
		is_int(half_figure(self, "keys"), 0, "nothing stays");
	}
	half->fini(self);
}

/* ------------------------------------------------------------------- the model */

enum { CLAIM, RELEASE, MAX_KEYS, GARBAGE, OTHER_KIND };
#define KEYS 6
#define W_MAX KEYS /* the bound, behind the keys' holders (0: free) */

static void draw(struct deed *d)
{
	static const int whats[] = { CLAIM, CLAIM, CLAIM, CLAIM, CLAIM, RELEASE, RELEASE, RELEASE,
				     RELEASE, MAX_KEYS, GARBAGE, OTHER_KIND };

	d->what = whats[half_draw(sizeof(whats) / sizeof(whats[0]))];
	d->who = (int)half_draw(KEYS);
	d->whom = 1 + (int)half_draw(3);
	if (d->what == CLAIM) {
		(void)snprintf(d->text, sizeof(d->text), "{\"claim\":\"key %d\",\"holder\":\"h%d\"}",
			       d->who, d->whom);
	} else if (d->what == RELEASE && half_draw(5)) {
		(void)snprintf(d->text, sizeof(d->text), "{\"holder\":\"h%d\",\"release\":\"key %d\"}",
			       d->whom, d->who);
	} else if (d->what == RELEASE) {
		d->whom = 0;
		d->cell.kind = ADMIN;
		(void)snprintf(d->text, sizeof(d->text), "{\"release\":\"key %d\"}", d->who);
	} else if (d->what == MAX_KEYS) {
		d->cell.kind = ADMIN;
		d->amount = 1 + half_draw(KEYS + 1);
		(void)snprintf(d->text, sizeof(d->text), "{\"max_keys\":%d}", (int)d->amount);
	} else if (d->what == GARBAGE) {
		(void)snprintf(d->text, sizeof(d->text), "{\"claim\":\"key %d\",\"holder\":", d->who);
	} else {
		d->cell.kind = half_draw(2) ? MP_CELL_CONFLICT : 77;
		(void)snprintf(d->text, sizeof(d->text), "{\"claim\":\"key %d\",\"holder\":\"h1\"}", d->who);
	}
}

static size_t entries(const struct model *m)
{
	size_t n = 0;

	for (int i = 0; i < KEYS; i++)
		n += m->word[i] != 0;
	return n;
}

static int step(struct model *m, const struct deed *d)
{
	int64_t *held = &m->word[d->who];

	switch (d->what) {
	case CLAIM:
		if (*held ? *held != d->whom : (int64_t)entries(m) >= m->word[W_MAX])
			return REFUSES;
		*held = d->whom;
		return TAKES;
	case RELEASE:
		if (!*held || (d->whom && *held != d->whom))
			return REFUSES;
		*held = 0;
		return TAKES;
	case MAX_KEYS:
		if (d->amount < (int64_t)entries(m))
			return REFUSES;
		m->word[W_MAX] = d->amount;
		return TAKES;
	default:
		return d->what == GARBAGE ? CANNOT_READ : TAKES;
	}
}

static const struct half_kind kind = { draw, step, { { [W_MAX] = 4 } }, entries };

/* Is the snapshot the same text for ever? */
static void test_layout(void)
{
	static const char want[] = "uniq\1\3\0\0\2\0\0\0\0\0\0\0"
				   "\7\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
				   "\1\0\2\0ahx\2\0\1\0bay";
	struct buf bytes;
	void *self;

	half_config = "{\"max_keys\": 7}";
	self = half_make();
	(void)half_apply(self, DATA, "{\"claim\":\"ba\",\"holder\":\"y\"}"); /* compared below */
	(void)half_apply(self, DATA, "{\"claim\":\"a\",\"holder\":\"hx\"}");
	(void)half_apply(self, DATA, "{\"claim\":\"a\",\"holder\":\"y\"}");
	(void)half_apply(self, DATA, "nothing");
	bytes = half_bytes(self);
	ok(slice_eq(buf_slice(&bytes), slice_make(want, sizeof(want) - 1)), "the layout of a snapshot");
	buf_fini(&bytes);
	half->fini(self);
}

static void suite(void)
{
	test_story();
	test_unreadable();
	test_sizes();
	test_full();
	test_pending();
	test_layout();
	half_config = "{\"max_keys\": 4}";
	half_histories(&kind, 600);
	half_replays(&kind);
	half_damage(&kind);
}

int main(void)
{
	return half_main("unique", suite);
}
