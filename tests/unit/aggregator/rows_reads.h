/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Those who read in test_owner_sim.c: linearizable reads through a member's reader, and
 * subscriptions that go on at another member when theirs dies.
 *
 * A read is right when the head that it is given was the stored one at some moment between
 * its begin and its end, and when it has what a client was told before it began.  A subscription
 * is right when each cell follows the one before, is the one that was committed there, and all
 * have come in the end.
 */
#ifndef TESTS_UNIT_AGGREGATOR_ROWS_READS_H
#define TESTS_UNIT_AGGREGATOR_ROWS_READS_H

#include "tests/unit/aggregator/rows_truth.h"
#include "tests/unit/aggregator/sim_group.h"

#define READ_NS (2 * NS_PER_S) /* that a member is given for a read */

static inline uint64_t member_reads(struct member *m)
{
	uint64_t next;

	do {
		next = reader_wake(m->reader);
	} while (reader_is_woken(m->reader));
	return next;
}

/* A member that answers; NULL: it does not just now. */
static inline struct member *draw_member(struct world *w)
{
	struct member *m = &w->member[sim_below(w->sim, w->n_members)];

	return m->engine && !m->actor.stopped && copy_follows(m->copy) ? m : NULL;
}

/* ------------------------------------------------------------------------- reads */

/* Greatest seq of a row that an answer has told a client. */
static inline uint64_t acked_of(const struct world *w, unsigned row)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < w->n_ops; i++) {
		const struct op *op = &w->op[i];

		if (op->row == row && op->kind == PUT_CELLS && op->returned &&
		    (op->code == PUT_COMMITTED || op->code == PUT_REPEATED) && op->seq + op->n - 1 > last)
			last = op->seq + op->n - 1;
	}
	return last;
}

/* Was that the row's stored head at some moment since that revision?  ptr NULL: none. */
static inline bool was_stored(struct world *w, const char *name, struct mp_str head, uint64_t revision)
{
	const struct sim_map *map = sim_store_map(w->store);
	struct buf key;
	bool found;

	buf_init(&key, KEY_MAX);
	(void)key_head(&key, MP_LIT("middlepipe/t/"), slice_of(name));
	for (found = false; revision <= map->revision && !found; revision++) {
		struct mp_str value = sim_map_get(map, buf_slice(&key), revision);

		found = value.ptr && head.ptr ? slice_eq(value, head) : !value.ptr && !head.ptr;
	}
	buf_fini(&key);
	return found;
}

static inline void check_read(const struct sim_read *r, const struct row *row)
{
	struct world *w = r->world;
	const char *name = row_names[r->row];

	sim_check(w->sim, was_stored(w, name, row_head_text(row), r->revision),
		  "a read of row %s at %s has a head of before it began", name, r->at->name);
	sim_check(w->sim, w->admin || row->head.last >= r->acked,
		  "a read of row %s has %" PRIu64 " cells, and %" PRIu64 " were acknowledged before", name, row->head.last,
		  r->acked);
	sim_check(w->sim, row_whole(row), "a read of row %s lacks cells", name);
}

static inline void read_next(struct sim *sim, void *ctx);

static inline void on_read_done(struct read *read, struct row *row, const char *why)
{
	struct sim_read *r = (struct sim_read *)(void *)read;
	struct world *w = r->world;

	(void)why;
	w->reads += row != NULL;
	w->unread += row == NULL;
	if (row && r->at->engine)
		check_read(r, row);
	r->at = NULL;
	(void)sim_after(w->sim, NULL, sim_between(w->sim, 1, 300) * NS_PER_MS, read_next, r);
}

/* Asks a member.  False: none that it could. */
static inline bool read_ask(struct sim_read *r, void (*told)(struct read *read, struct row *row, const char *why))
{
	struct world *w = r->world;

	r->at = draw_member(w);
	if (!r->at)
		return false;
	r->revision = sim_store_map(w->store)->revision;
	r->acked = acked_of(w, r->row);
	r->read = (struct read){ .name = slice_of(row_names[r->row]), .deadline = w->sim->now_ns + READ_NS, .done = told };
	if (w->plant == PLANT_STALE && copy_row(r->at->copy, r->read.name)) {
		told(&r->read, copy_row(r->at->copy, r->read.name), "");
		return true;
	}
	reader_read(r->at->reader, &r->read);
	member_turn(r->at);
	return true;
}

static inline void read_next(struct sim *sim, void *ctx)
{
	struct sim_read *r = ctx;

	if (!r->world->busy)
		return;
	r->row = (unsigned)sim_below(sim, WORLD_ROWS);
	if (!read_ask(r, on_read_done))
		(void)sim_after(sim, NULL, sim_between(sim, 5, 50) * NS_PER_MS, read_next, r);
}

/* ----------------------------------------------------------------- subscriptions */

static inline void sub_begin(struct sim *sim, void *ctx);

static inline void sub_later(struct sim_sub *s)
{
	(void)sim_after(s->world->sim, NULL, sim_between(s->world->sim, 1, 100) * NS_PER_MS, sub_begin, s);
}

static inline void sub_pump(struct sim *sim, void *ctx)
{
	struct sim_sub *s = ctx;

	(void)sim;
	if (s->at)
		subscription_pump(&s->sub);
}

/* Now and then its reader is slow. */
static inline int on_sub_cell(struct subscription *sub, const struct cell *cell)
{
	struct sim_sub *s = (struct sim_sub *)(void *)sub;
	struct world *w = s->world;
	unsigned op = 0, part = 0;
	char text[24] = "";

	if (sim_below(w->sim, 20) == 0) {
		(void)sim_after(w->sim, NULL, sim_between(w->sim, 1, 50) * NS_PER_MS, sub_pump, s);
		return -EAGAIN;
	}
	s->incarnation = sub->incarnation;
	sim_check(w->sim, cell->seq == s->next, "a subscriber of row %s wants %" PRIu64 ", and is given %" PRIu64,
		  row_names[s->row], s->next, cell->seq);
	sim_check(w->sim, cell->seq >= sub->row->head.floor, "a subscriber of row %s is given a cell below the floor",
		  row_names[s->row]);
	memcpy(text, cell->content.ptr, cell->content.len < sizeof(text) ? cell->content.len : 0);
	sim_check(w->sim, sscanf(text, "k%u.%u", &op, &part) == 2, "a subscriber is given a strange cell");
	if (sim_check(w->sim, s->n_got < WORLD_GOT, "a subscriber is given more cells than there are"))
		s->got[s->n_got++] = (struct sim_got){ sub->incarnation, cell->seq, op, part, s->goes_on };
	s->goes_on = true;
	s->next = cell->seq + 1;
	w->delivered++;
	return 0;
}

/* It goes on with what there is now. */
static inline void sub_over(struct sim_sub *s, const struct row *row)
{
	sim_check(s->world->sim, !row_exists(row) || row->head.incarnation != s->incarnation || row->head.floor > s->next,
		  "a subscription of row %s ended for nothing", row_names[s->row]);
	s->world->ended++;
	s->at = NULL;
	s->incarnation = 0;
	s->next = 0;
	s->goes_on = false;
	sub_later(s);
}

static inline void on_sub_ended(struct subscription *sub, const char *why)
{
	struct sim_sub *s = (struct sim_sub *)(void *)sub;

	(void)why;
	s->incarnation = sub->incarnation;
	sub_over(s, sub->row);
}

static inline void on_sub_read(struct read *read, struct row *row, const char *why)
{
	struct sim_sub *s = (struct sim_sub *)(void *)((char *)read - offsetof(struct sim_sub, ask));
	enum subscribe_answer answer;

	(void)why;
	if (!row || !s->ask.at->engine || !row->name) {
		sub_later(s); /* it could not be told, or nobody has heard of such a row */
		return;
	}
	if (s->world->plant == PLANT_GAP && s->incarnation)
		s->next++;
	if (s->world->plant == PLANT_TWICE && s->incarnation && s->next > 1)
		s->next--;
	s->sub.cell = on_sub_cell;
	s->sub.ended = on_sub_ended;
	answer = subscription_start(&s->sub, row, s->next, s->incarnation, true);
	if (answer != SUBSCRIBE_OK) {
		sub_over(s, row);
		return;
	}
	s->world->resumed += s->incarnation != 0;
	s->at = s->ask.at;
	s->next = s->sub.next;
	s->incarnation = s->sub.incarnation;
	subscription_pump(&s->sub);
}

static inline void sub_begin(struct sim *sim, void *ctx)
{
	struct sim_sub *s = ctx;

	(void)sim;
	s->ask.row = s->row;
	if (!read_ask(&s->ask, on_sub_read))
		sub_later(s);
}

/* -------------------------------------------------------------------- the world */

static inline void reads_begin(struct world *w)
{
	for (unsigned i = 0; i < WORLD_READERS; i++) {
		w->reader[i].world = w;
		read_next(w->sim, &w->reader[i]);
	}
	for (unsigned i = 0; i < WORLD_SUBS; i++) {
		w->sub[i].world = w->sub[i].ask.world = w;
		w->sub[i].row = i;
		sub_later(&w->sub[i]);
	}
}

/* The member dies: its engine has gone, and its subscribers find broken connections. */
static inline void reads_end(struct member *m)
{
	m->reader->asked = false;
	reader_free(m->reader);
	m->reader = NULL;
	for (unsigned i = 0; i < WORLD_SUBS; i++) {
		struct sim_sub *s = &m->world->sub[i];

		if (s->at != m)
			continue;
		subscription_stop(&s->sub);
		s->at = NULL;
		sub_later(s);
	}
}

/* Both are in the order in which cells were committed.  How many there were. */
static inline size_t check_got(struct world *w, const struct sim_sub *s)
{
	static struct found found[WORLD_OPS * WORLD_CELLS];
	size_t n = read_row(w, row_names[s->row], found), at = 0;

	for (size_t i = 0; i < s->n_got; i++) {
		const struct sim_got *got = &s->got[i];

		sim_check(w->sim, !got->goes_on || (got[-1].incarnation == got->incarnation && got->seq == got[-1].seq + 1),
			  "a subscriber of row %s was given %" PRIu64 " behind %" PRIu64, row_names[s->row], got->seq,
			  got[-1].seq);
		while (at < n && (found[at].incarnation != got->incarnation || found[at].seq != got->seq))
			at++;
		sim_check(w->sim, at < n && found[at].op == got->op && found[at].part == got->part,
			  "a subscriber of row %s was given another cell as %" PRIu64, row_names[s->row], got->seq);
	}
	return n;
}

static inline void check_subs(struct world *w)
{
	for (unsigned i = 0; i < WORLD_SUBS && !w->sim->failed; i++) {
		struct sim_sub *s = &w->sub[i];
		const struct row *row = s->at ? s->sub.row : NULL;

		size_t n = check_got(w, s);

		if (row && row_exists(row))
			sim_check(w->sim, s->next == row->head.last + 1, "a subscriber of row %s was given cells up to %" PRIu64
				  " of %" PRIu64, row_names[s->row], s->next - 1, row->head.last);
		sim_check(w->sim, row || !n, "a subscriber of row %s has no member in the end",
			  row_names[s->row]);
	}
}

#endif
