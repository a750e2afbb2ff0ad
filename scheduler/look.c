/* SPDX-License-Identifier: Apache-2.0 */
/* See look.h.  Data thread, but look_init() and look_fini(). */
#include "scheduler/look.h"

#include <stdio.h>
#include <string.h>

void look_init(struct look *l)
{
	*l = (struct look){ 0 };
	buf_init(&l->said, LOOK_SAID_MAX);
}

void look_fini(struct look *l)
{
	buf_fini(&l->said);
}

/* A writer that keeps what is written for the control thread. */
struct said_writer {
	struct mp_writer base;
	struct buf *out;
};

static void said(struct mp_writer *w, int32_t kind, const char *name, const void *value, size_t size)
{
	struct buf *out = ((struct said_writer *)(void *)w)->out;
	struct look_said head = { kind, (uint32_t)strlen(name), (uint32_t)size };
	/* At once: half of it would be read as something else. */
	char *at = buf_reserve(out, sizeof(head) + head.name_size + size);

	if (!at)
		return;
	memcpy(at, &head, sizeof(head));
	memcpy(at + sizeof(head), name, head.name_size);
	if (size)
		memcpy(at + sizeof(head) + head.name_size, value, size);
	buf_commit(out, sizeof(head) + head.name_size + size);
}

static void said_text(struct mp_writer *w, const char *name, struct mp_str value)
{
	said(w, LOOK_TEXT, name, value.ptr, value.len);
}

static void said_number(struct mp_writer *w, const char *name, double value)
{
	said(w, LOOK_NUMBER, name, &value, sizeof(value));
}

static void said_time(struct mp_writer *w, const char *name, uint64_t at_ns)
{
	said(w, LOOK_TIME, name, &at_ns, sizeof(at_ns));
}

static void unit_look(const struct data *d, const struct unit *u, struct look_unit *seen, struct buf *out)
{
	struct said_writer w = {
		.base = { .size = sizeof(w.base), .text = said_text, .number = said_number,
			  .time = said_time },
		.out = out,
	};
	size_t before = out->len;

	seen->standing = unit_standing(u, d->now_ns);
	seen->ejected = u->ejected;
	snprintf(seen->reason, sizeof(seen->reason), "%s", u->reason);
	seen->ejected_wall_ns = u->ejected_wall_ns;
	memcpy(seen->counters, u->counters, sizeof(seen->counters));
	if (unit_alive(u) && u->filter->status) {
		unit_enter(u);
		u->filter->status(u->self, &w.base);
		unit_leave(u);
	}
	seen->said_size = out->len - before;
}

static void chain_look(const struct data *d, const struct chain *c, struct look_chain *seen)
{
	seen->standing = chain_standing(c, d->now_ns, &seen->by);
	seen->until_ns = seen->standing == MP_STANDING_REPLY ? seen->by->until_ns : 0;
	seen->counts = c->counts;
}

static void head_look(struct data *d, struct look_head *h)
{
	h->counts = d->counts;
	LIST_FOR_EACH(link, &d->lanes)
		for (unsigned i = 0; i < LANE_COUNTERS; i++)
			h->counts.lane[i] += lane_counter(LIST_ENTRY_OF(link, struct lane, link), i);
	h->epochs_alive = 0;
	for (unsigned i = 0; i < LANE_SETS; i++)
		h->epochs_alive += d->sets[i] != NULL;
	h->restarts = d->blame->restarts;
	memcpy(h->ejected, d->blame->ejected, sizeof(h->ejected));
}

void look_at(struct data *d, struct look *l)
{
	buf_reset(&l->said);
	l->missed = l->set != d->current;
	if (l->missed)
		return;
	if (l->n_chains > LOOK_MAX)
		l->n_chains = LOOK_MAX;
	if (l->n_units > LOOK_MAX)
		l->n_units = LOOK_MAX;
	for (uint32_t i = 0; i < l->n_chains; i++)
		chain_look(d, &l->set->chain[l->chain + i], &l->seen_chains[i]);
	for (uint32_t i = 0; i < l->n_units; i++)
		unit_look(d, l->units[i], &l->seen_units[i], &l->said);
	if (l->heads)
		head_look(d, &l->head);
}

void look_there(struct data *d, struct mail *mail)
{
	look_at(d, (struct look *)(void *)mail);
	data_return(d, mail);
}
