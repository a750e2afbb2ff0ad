/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the suites of aggregator halves share: instances, cells, and the suites
 * that any half must pass, against a naive model of it:
 *
 *  - half_histories(): an owner at work, with pending cells, failed flights and
 *    cells that nobody checked; every answer is the model's, and what was allowed is taken;
 *  - half_replays(): all cells = snapshot at any cut + the rest of the cells;
 *  - half_damage(): a damaged snapshot is refused, or is another state's own.
 *
 * half_main() runs a suite with the half built in, and with B in the
 * environment as the `.so` too.
 */
#ifndef TESTS_UNIT_MIDDLEPIPES_HALF_FIXTURE_H
#define TESTS_UNIT_MIDDLEPIPES_HALF_FIXTURE_H

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "middlepipes/catalog.h"
#include "middlepipes/half.h"
#include "middlepipes/registry.h"
#include "tests/lib/tap.h"

static const struct mp_aggregator *half; /* under test */
static const char *half_config;          /* of new instances */

/* ------------------------------------------------------------------ instances */

static inline void half_log(struct mp_instance *instance, int32_t level, const char *text)
{
	(void)instance;
	note("log %d: %s", (int)level, text);
}

static const struct mp_aggregator_host half_host = {
	MP_AGGREGATOR_ABI_MAJOR, MP_AGGREGATOR_ABI_MINOR, sizeof(half_host), half_log,
};

/* An instance, or the end of the test. */
static inline void *half_make(void)
{
	struct err err = { 0 };
	void *self = NULL;

	if (half_new(half, &half_host, NULL, slice_of(half_config), &self, &err)) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	return self;
}

/* Its snapshot, to be freed by buf_fini(). */
static inline struct buf half_bytes(void *self)
{
	struct buf out;

	buf_init(&out, MP_SNAPSHOT_MAX);
	if (half_snapshot(half, self, &out)) {
		printf("Bail out! no snapshot\n");
		exit(1);
	}
	return out;
}

static inline bool half_same(void *one, void *two)
{
	struct buf a = half_bytes(one), b = half_bytes(two);
	bool same = slice_eq(buf_slice(&a), buf_slice(&b));

	buf_fini(&a);
	buf_fini(&b);
	return same;
}

static inline void *half_restored(struct mp_str bytes)
{
	void *self = half_make();
	char error[MP_REASON_MAX] = "";

	if (half->restore(self, bytes, error, sizeof(error)))
		ok(false, "its own snapshot is restored: %s", error);
	return self;
}

/* ----------------------------------------------------------------------- cells */

static inline struct mp_cell half_cell(uint32_t kind, struct mp_str content)
{
	return (struct mp_cell){ .size = sizeof(struct mp_cell), .kind = kind, .content = content };
}

static inline int half_apply(void *self, uint32_t kind, const char *text)
{
	struct mp_cell cell = half_cell(kind, slice_of(text));

	return half->apply(self, &cell);
}

/* What check() says of one cell without pending ones: "" allowed, else the reason. */
static inline const char *half_check(void *self, uint32_t kind, const char *text)
{
	static char reason[MP_REASON_MAX];
	struct mp_cell cell = half_cell(kind, slice_of(text));
	const struct mp_cell *proposal = &cell;
	int r;

	reason[0] = '\0';
	r = half->check(self, NULL, 0, &proposal, 1, reason, sizeof(reason));
	if (r != MP_CHECK_ALLOW && r != MP_CHECK_REFUSE)
		return "it could not judge";
	return r == MP_CHECK_REFUSE && !reason[0] ? "refused without a reason" : reason;
}

/* A figure of status(). */
struct half_figure {
	struct mp_writer writer; /* first */
	const char *name;
	double value;
};

static inline void half_on_number(struct mp_writer *writer, const char *name, double value)
{
	struct half_figure *figure = (struct half_figure *)writer;

	if (!strcmp(figure->name, name))
		figure->value = value;
}

static inline int64_t half_figure(void *self, const char *name)
{
	struct half_figure figure = { { .size = sizeof(figure.writer), .number = half_on_number },
				      name, -1 };

	half->status(self, &figure.writer);
	return (int64_t)figure.value;
}

/* ------------------------------------------------------------------- histories */

#define DEEDS_MAX 512
#define HALF_WORDS 24

static uint64_t half_seed;

static inline uint32_t half_draw(uint32_t below)
{
	half_seed = half_seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(half_seed >> 33) % below;
}

/* A cell, and what it means to the model. */
struct deed {
	struct mp_cell cell;
	int what, who, whom; /* the model's */
	int64_t amount;      /* likewise */
	char text[200];      /* the content */
	size_t group;        /* of an atomic request */
};

/* The model's state; what it means is the model's. */
struct model {
	int64_t word[HALF_WORDS];
};

enum { TAKES, REFUSES, CANNOT_READ };

/* What a suite gives. */
struct half_kind {
	void (*draw)(struct deed *ret); /* what, who, whom, amount, text, and cell.kind */
	int (*step)(struct model *model, const struct deed *deed);
	struct model first;
	size_t (*entries)(const struct model *model);
};

/* An owner at work. */
struct owner {
	const struct half_kind *kind;
	void *self;
	struct model model;        /* as of the last committed cell */
	int64_t n_refused, n_unreadable; /* committed ones */
	struct deed pending[DEEDS_MAX];
	size_t n_pending, n_groups;
	struct deed committed[DEEDS_MAX];
	size_t n_committed;
	uint64_t ids;              /* given out; 0: none are given */
	int n_wrong;               /* answers that are not the model's */
};

static inline void deed_draw(struct owner *o, struct deed *ret)
{
	*ret = (struct deed){ .cell = half_cell(MP_CELL_DATA, slice_make(NULL, 0)) };
	o->kind->draw(ret);
	ret->cell.id = o->ids ? o->ids++ : 0;
}

static inline void commit(struct owner *o, const struct deed *deed)
{
	struct deed *kept = &o->committed[o->n_committed++];
	int r = o->kind->step(&o->model, deed);

	*kept = *deed;
	kept->cell.content = slice_of(kept->text);
	kept->cell.seq = o->n_committed;
	kept->cell.id = 0;
	o->n_refused += r == REFUSES;
	o->n_unreadable += r == CANNOT_READ;
	o->n_wrong += half->apply(o->self, &kept->cell) != 0;
}

/* Puts the deeds to the check behind what is pending: allowed as the model says? */
static inline bool propose(struct owner *o, struct deed *deeds, size_t n)
{
	const struct mp_cell *pending[DEEDS_MAX], *proposal[8];
	struct model model = o->model;
	char reason[MP_REASON_MAX] = "";
	int want = TAKES, r;

	for (size_t i = 0; i < o->n_pending; i++) {
		o->pending[i].cell.content = slice_of(o->pending[i].text);
		pending[i] = &o->pending[i].cell;
		(void)o->kind->step(&model, &o->pending[i]);
	}
	for (size_t i = 0; i < n; i++) {
		deeds[i].cell.content = slice_of(deeds[i].text);
		proposal[i] = &deeds[i].cell;
		if (want == TAKES)
			want = o->kind->step(&model, &deeds[i]);
	}
	r = half->check(o->self, pending, o->n_pending, proposal, n, reason, sizeof(reason));
	if (r != (want == TAKES ? MP_CHECK_ALLOW : MP_CHECK_REFUSE) || (r && !reason[0])) {
		note("%s behind %zu: answer %d (%s), want %d", deeds[0].text, o->n_pending, r, reason,
		     want);
		o->n_wrong++;
	}
	return r == MP_CHECK_ALLOW;
}

static inline void pend(struct owner *o, const struct deed *deeds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		o->pending[o->n_pending] = deeds[i];
		o->pending[o->n_pending++].group = o->n_groups;
	}
	o->n_groups++;
}

static inline void do_propose(struct owner *o)
{
	struct deed deeds[4];
	size_t n = half_draw(3) ? 1 : 1 + half_draw(4);

	if (o->n_pending + o->n_committed + n >= DEEDS_MAX)
		return;
	for (size_t i = 0; i < n; i++)
		deed_draw(o, &deeds[i]);
	if (propose(o, deeds, n))
		pend(o, deeds, n);
}

/* Some of the groups in front are committed. */
static inline void do_commit(struct owner *o)
{
	size_t n = o->n_pending ? half_draw((uint32_t)o->n_pending + 1) : 0;
	int64_t before = o->n_refused + o->n_unreadable;

	while (n && n < o->n_pending && o->pending[n].group == o->pending[n - 1].group)
		n++;
	for (size_t i = 0; i < n; i++)
		commit(o, &o->pending[i]);
	memmove(o->pending, o->pending + n, (o->n_pending - n) * sizeof(*o->pending));
	o->n_pending -= n;
	if (o->n_refused + o->n_unreadable != before ||
	    half_figure(o->self, "refused") != o->n_refused)
		o->n_wrong++; /* what was allowed is taken */
}

/* The flight failed, perhaps somebody else's cell is there, some puts were given up: all is judged again. */
static inline void do_fail(struct owner *o)
{
	static struct deed again[DEEDS_MAX];
	struct deed other;
	size_t n = o->n_pending;

	if (o->n_committed + n + 1 >= DEEDS_MAX)
		return;
	deed_draw(o, &other);
	if (half_draw(2))
		commit(o, &other);
	memcpy(again, o->pending, n * sizeof(*again));
	o->n_pending = 0;
	for (size_t i = 0, size; i < n; i += size) {
		for (size = 1; i + size < n && again[i + size].group == again[i].group;)
			size++;
		if (half_draw(3) && propose(o, again + i, size))
			pend(o, again + i, size);
	}
}

static inline void do_restart(struct owner *o)
{
	struct buf bytes = half_bytes(o->self);

	half->fini(o->self);
	o->self = half_restored(buf_slice(&bytes));
	buf_fini(&bytes);
}

/* One history by its seed; the committed cells stay in *o. */
static inline void history(struct owner *o, const struct half_kind *kind, uint64_t seed, int steps)
{
	*o = (struct owner){ .kind = kind, .self = half_make(), .model = kind->first,
			     .ids = seed % 3 ? 1 : 0 };
	half_seed = seed;
	for (int i = 0; i < steps && !o->n_wrong; i++) {
		uint32_t dice = half_draw(100);

		if (dice < 70)
			do_propose(o);
		else if (dice < 88)
			do_commit(o);
		else if (dice < 96)
			do_fail(o);
		else
			do_restart(o);
	}
	o->n_wrong += half_figure(o->self, "refused") != o->n_refused ||
		      half_figure(o->self, "unreadable") != o->n_unreadable ||
		      half_figure(o->self, half->name[0] == 'u' ? "keys" : "names") !=
			      (int64_t)kind->entries(&o->model);
}

static inline void half_histories(const struct half_kind *kind, int n)
{
	static struct owner o;
	size_t n_cells = 0, n_refused = 0;

	for (int seed = 0; seed < n; seed++) {
		history(&o, kind, (uint64_t)seed, 300);
		half->fini(o.self);
		n_cells += o.n_committed;
		n_refused += (size_t)o.n_refused;
		if (o.n_wrong) {
			ok(false, "%s: history %d is the model's", half->name, seed);
			return;
		}
	}
	ok(n_cells > (size_t)n * 20 && n_refused, "%s: %d histories, %zu cells, %zu skipped",
	   half->name, n, n_cells, n_refused);
}

/* --------------------------------------------------------------------- replays */

/* Cells up to a cut, its snapshot, the rest of the cells: the same bytes as `all`? */
static inline bool replay(const struct owner *o, size_t cut)
{
	void *early = half_make(), *late;
	struct buf bytes;
	bool same;

	for (size_t i = 0; i < cut; i++)
		(void)half->apply(early, &o->committed[i].cell); /* compared below */
	bytes = half_bytes(early);
	late = half_restored(buf_slice(&bytes));
	same = half_same(early, late);
	for (size_t i = cut; i < o->n_committed; i++)
		(void)half->apply(late, &o->committed[i].cell); /* compared below */
	same = same && half_same(o->self, late);
	buf_fini(&bytes);
	half->fini(early);
	half->fini(late);
	return same;
}

static inline void half_replays(const struct half_kind *kind)
{
	static struct owner o;
	size_t n_cuts = 0, n_wrong = 0;

	for (uint64_t seed = 1000; seed < 1010; seed++) {
		history(&o, kind, seed, 200);
		for (size_t cut = 0; cut <= o.n_committed; cut++, n_cuts++)
			n_wrong += !replay(&o, cut);
		half->fini(o.self);
	}
	ok(!n_wrong && n_cuts > 100, "%s: %zu cuts, %zu differ", half->name, n_cuts, n_wrong);
}

/* ---------------------------------------------------------------------- damage */

/* Taken as a whole and its own snapshot, or refused and nothing has changed. */
static inline bool restores_or_not(void *self, struct mp_str bytes)
{
	struct buf before = half_bytes(self), after;
	char error[MP_REASON_MAX] = "";
	int r = half->restore(self, bytes, error, sizeof(error));
	bool good;

	after = half_bytes(self);
	good = r ? r == -EINVAL && error[0] && slice_eq(buf_slice(&before), buf_slice(&after)) :
		   slice_eq(bytes, buf_slice(&after));
	buf_fini(&before);
	buf_fini(&after);
	return good;
}

static inline void half_damage(const struct half_kind *kind)
{
	static struct owner o;
	struct buf bytes;
	void *self = half_make();
	int n_wrong = 0, n_cut = 0;

	history(&o, kind, 77, 150);
	bytes = half_bytes(o.self);
	for (size_t i = 0; i < bytes.len; i++) {
		char was = bytes.ptr[i];

		for (int bit = 0; bit < 8; bit++) {
			bytes.ptr[i] = (char)(was ^ 1 << bit);
			n_wrong += !restores_or_not(self, buf_slice(&bytes));
		}
		bytes.ptr[i] = was;
	}
	is_int(n_wrong, 0, "%s: flipped bits are refused, or another state", half->name);
	for (size_t len = 0; len < bytes.len; len++) {
		char *exact = malloc(len ? len : 1); /* so that ASan sees its end */
		char error[MP_REASON_MAX];

		memcpy(exact, bytes.ptr, len);
		n_cut += half->restore(self, slice_make(exact, len), error, sizeof(error)) == -EINVAL;
		free(exact);
	}
	is_int(n_cut, (int64_t)bytes.len, "%s: no part of a snapshot is one", half->name);
	half->fini(self);
	half->fini(o.self);
	buf_fini(&bytes);
}

/* ------------------------------------------------------------------------ main */

static inline void half_refused(const char *path, const char *reason)
{
	ok(false, "%s: %s", path, reason);
}

static inline int half_main(const char *name, void (*suite)(void))
{
	const char *build = getenv("B");
	struct catalog *catalog = NULL;
	char folder[512];

	note("built in");
	half = registry_find_half(name);
	suite();
	(void)snprintf(folder, sizeof(folder), "%s/lib/middlepipe/filters", build ? build : "");
	if (!build)
		return done();
	note("from the shared object");
	is_int(catalog_new(&(struct catalog_options){ folder, true, half_refused }, &catalog, NULL), 0,
	       "a catalogue of %s", folder);
	half = catalog ? catalog_find_half(catalog, name) : NULL;
	if (ok(half && half != registry_find_half(name), "%s.so", name))
		suite();
	catalog_free(catalog);
	return done();
}

#endif
