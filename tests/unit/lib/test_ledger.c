/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/ledger.c below the halves' own suites (tests/unit/middlepipes/half_fixture.h):
 * a step that runs out of memory, and what follows from a cell number by number.
 */
#include "lib/ledger.h"

#include <errno.h>

#include "lib/buf.h"
#include "lib/slice.h"
#include "tests/lib/tap.h"

static unsigned n_steps; /* calls of step() */

/* "+kv" sets, "-k" removes, "!k" sets and then has no memory, "#" adds to the number, else refused. */
static int step(struct ledger *ledger, const struct mp_cell *cell, struct err *err)
{
	struct mp_str key = slice_make(cell->content.ptr + 1, 1);
	int r;

	n_steps++;
	switch (cell->content.ptr[0]) {
	case '+': return ledger_set(ledger, key, slice_skip(cell->content, 2));
	case '-': return ledger_remove(ledger, key);
	case '#': return ledger->number[0]++, 0;
	case '!': r = ledger_set(ledger, key, MP_LIT("half")); return r ? r : -ENOMEM;
	default: return err_set(err, -EPERM, "no");
	}
}

static int entry_ok(struct ledger *ledger, struct mp_str key, struct mp_str value, struct err *err)
{
	ledger->number[1] += value.len;
	return slice_eq(key, MP_LIT("z")) ? err_set(err, -EINVAL, "no z") : 0;
}

static int all_ok(const struct ledger *ledger, struct err *err)
{
	return ledger->number[1] < 5 ? 0 : err_set(err, -EINVAL, "too long");
}

static const struct ledger_rules rules = {
	.tag = { 't', 'e', 's', 't' }, .n_stored = 1, .step = step, .entry_ok = entry_ok, .all_ok = all_ok,
};

static struct mp_cell cell_of(const char *text, uint64_t id)
{
	return (struct mp_cell){ .size = sizeof(struct mp_cell), .kind = MP_CELL_DATA, .id = id,
				 .content = slice_of(text) };
}

struct sink {
	struct mp_sink sink; /* first */
	struct buf bytes;
};

static int32_t on_write(struct mp_sink *sink, const void *bytes, size_t n)
{
	return buf_add(&((struct sink *)sink)->bytes, bytes, n);
}

/* "k=v " of each entry and the number, out of its snapshot. */
static const char *show(struct ledger *ledger)
{
	static char text[256];
	struct sink sink = { { sizeof(sink.sink), 0, on_write }, { 0 } };
	size_t len = 0;

	buf_init(&sink.bytes, 4096);
	is_int(ledger_snapshot(ledger, &sink.sink), 0, "a snapshot");
	for (size_t at = 40; at < sink.bytes.len;) {
		const char *p = sink.bytes.ptr + at;

		len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s=%.*s ", p[0], p + 4, p[2],
					p + 4 + p[0]);
		at += 4 + (size_t)p[0] + (size_t)p[2];
	}
	(void)snprintf(text + len, sizeof(text) - len, "#%d", sink.bytes.ptr[16]);
	is_int((int64_t)sink.bytes.len, (int64_t)ledger->size, "of the size that was reckoned");
	buf_fini(&sink.bytes);
	return text;
}

static int check(struct ledger *ledger, const char *const *texts, size_t n_pending, size_t n,
		 bool numbered)
{
	static char reason[MP_REASON_MAX];
	struct mp_cell cells[8];
	const struct mp_cell *list[8];

	for (size_t i = 0; i < n_pending + n; i++) {
		cells[i] = cell_of(texts[i], numbered ? (uint64_t)(uintptr_t)texts[i] : 0);
		list[i] = &cells[i];
	}
	return ledger_check(ledger, list, n_pending, list + n_pending, n, reason, sizeof(reason));
}

static void apply(struct ledger *ledger, const char *text, int want)
{
	struct mp_cell cell = cell_of(text, 0);

	is_int(ledger_apply(ledger, &cell), want, "apply %s", text);
}

static void test_memory(void)
{
	static const char *const cells[] = { "-a", "+bx", "#", "+ay", "!b", "+cc" };
	struct ledger *ledger = ledger_new(&rules);

	apply(ledger, "+a1", 0);
	apply(ledger, "+b2", 0);
	for (size_t n_pending = 0; n_pending <= 5; n_pending++) {
		is_int(check(ledger, cells, n_pending, 6 - n_pending, n_pending % 2), -ENOMEM,
		       "no memory behind %zu", n_pending);
		is_str(show(ledger), "a=1 b=2 #0", "all is taken back");
	}
	is_int(check(ledger, cells, 2, 2, true), MP_CHECK_ALLOW, "what comes before it may be");
	is_int(check(ledger, cells, 4, 1, true), -ENOMEM, "and it not");
	is_str(show(ledger), "a=1 b=2 #0", "nothing has changed");
	apply(ledger, "!b", -ENOMEM);
	ledger_free(ledger);
	ledger_free(NULL);
}

/* A check steps through what is new only. */
static void test_steps(void)
{
	static const char *const cells[] = { "+a1", "-a", "#", "+b2", "?", "+b3" };
	struct ledger *ledger = ledger_new(&rules);

	for (size_t i = 0; i < 4; i++) {
		n_steps = 0;
		is_int(check(ledger, cells, i, 1, true), MP_CHECK_ALLOW, "behind %zu", i);
		is_int(n_steps, 1, "one step");
	}
	n_steps = 0;
	is_int(check(ledger, cells, 4, 2, true), MP_CHECK_REFUSE, "a refused one");
	is_int(n_steps, 1, "ends it");
	is_int(check(ledger, cells, 3, 1, true), MP_CHECK_ALLOW, "and one back");
	is_int(n_steps, 2, "is one step, too");
	n_steps = 0;
	is_int(check(ledger, cells, 3, 1, false), MP_CHECK_ALLOW, "without numbers");
	is_int(n_steps, 4, "it steps through all");
	apply(ledger, "+c3", 0);
	is_str(show(ledger), "c=3 #0", "nothing stays ahead");
	n_steps = 0;
	is_int(check(ledger, cells, 3, 1, true), MP_CHECK_ALLOW, "after a cell");
	is_int(n_steps, 4, "all are new");
	ledger_free(ledger);
}

static void test_restore(void)
{
	static const char z[] = "test\1\3\0\0\1\0\0\0\0\0\0\0........"
				"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0z1";
	struct ledger *ledger = ledger_new(&rules);
	char bytes[sizeof(z) + 8], error[64];
	struct mp_str all = slice_make(bytes, sizeof(z) - 1);

	apply(ledger, "+a1", 0);
	memcpy(bytes, z, sizeof(z));
	is_int(ledger_restore(ledger, all, error, sizeof(error)), -EINVAL, "an entry that cannot be");
	is_str(error, "no z", "says why");
	bytes[44] = 'y';
	is_int(ledger_restore(ledger, all, error, sizeof(error)), 0, "another one");
	is_str(show(ledger), "y=1 #46", "is there");
	bytes[42] = 5;
	memcpy(bytes + 45, "12345", 5);
	all.len += 4;
	is_int(ledger_restore(ledger, all, error, sizeof(error)), -EINVAL, "all of them cannot be");
	is_str(error, "too long", "says why");
	bytes[30] = 0x11; /* of n_refused */
	is_int(ledger_restore(ledger, all, error, sizeof(error)), -EINVAL, "too many cells skipped");
	is_str(error, "a snapshot that has skipped too many cells", "says why");
	is_str(show(ledger), "y=1 #46", "and all stays");
	ledger_free(ledger);
}

int main(void)
{
	test_memory();
	test_steps();
	test_restore();
	return done();
}
