/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swapping chain sets and reposting verdicts: what keeps the board true.
 * Data thread, between two exchanges.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lib/slice.h"
#include "scheduler/data.h"

/* Posts what a chain has agreed on. */
static void chain_post(struct data *d, const struct chain *c)
{
	const struct unit *by;
	int standing = chain_standing(c, d->now_ns, &by);
	const void *blob = NULL;
	uint64_t until = 0;
	int size = 0;

	if (standing == MP_STANDING_REPLY && by->ejected) {
		size = refusal_render(by, d->blob, sizeof(d->blob));
		blob = d->blob;
	} else if (standing == MP_STANDING_REPLY) {
		size = (int)by->blob_size;
		blob = by->blob;
		until = by->until_ns;
	}
	if (size < 0)
		standing = MP_STANDING_ASK;
	(void)board_post(d->board, c->index, standing, until, blob, size > 0 ? (size_t)size : 0);
}

static bool chain_has(const struct chain *c, const struct unit *u)
{
	for (uint32_t i = 0; i < c->n_units; i++)
		if (c->units[i] == u)
			return true;
	return false;
}

void data_repost(struct data *d, struct unit *u)
{
	if (d->installing || !d->current)
		return;
	for (uint32_t i = 0; i < d->current->n_chains; i++)
		if (chain_has(&d->current->chain[i], u))
			chain_post(d, &d->current->chain[i]);
}

/* A slot for one more chain set, or -1. */
static int slot_free(const struct data *d)
{
	for (int i = 0; i < (int)LANE_SETS; i++)
		if (!d->sets[i])
			return i;
	return -1;
}

/* True when the unit was left out in the set before, so that it is no news. */
static bool was_ejected(const struct data *d, const struct unit *u)
{
	for (uint32_t i = 0; d->current && i < d->current->n_units; i++)
		if (!strcmp(d->current->units[i]->key, u->key))
			return d->current->units[i]->ejected;
	return false;
}

static void units_start(struct data *d, struct chainset *set)
{
	d->installing = true;
	for (uint32_t i = 0; i < set->n_units; i++) {
		struct unit *u = set->units[i];
		bool news = !u->started && u->ejected && !was_ejected(d, u);

		unit_start(u);
		/* Who ejected it, a worker before this one, is not there to tell. */
		if (news)
			unit_tell_ejected(u);
	}
	d->installing = false;
}

static void tell_swapped(struct data *d, uint64_t from, uint64_t to)
{
	char before[24], epoch[24];

	snprintf(before, sizeof(before), "%" PRIu64, from);
	snprintf(epoch, sizeof(epoch), "%" PRIu64, to);
	data_event(d, NULL, "swapped", (const struct mp_field[]){
		{ MP_LIT("before"), slice_of(before) }, { MP_LIT("epoch"), slice_of(epoch) } }, 2);
}

static void set_install(struct data *d, struct chainset *set)
{
	/* Every outcome of before belongs to the windows that are carried over. */
	(void)drain_all(d);
	units_start(d, set);
	board_fill(d->board, set->chains, set->statics);
	for (uint32_t i = 0; i < set->n_chains; i++)
		chain_post(d, &set->chain[i]);
	board_flip(d->board, set->epoch, set->slot);
	if (d->current) {
		d->current->retired_ns = d->now_ns;
		d->counts.swaps++;
	}
	tell_swapped(d, d->current ? d->current->epoch : 0, set->epoch);
	d->current = set;
	for (uint32_t i = 0; i < set->n_units; i++)
		data_touch(d, set->units[i]);
}

void install_there(struct data *d, struct mail *mail)
{
	struct install_mail *m = (struct install_mail *)(void *)mail;
	int slot;

	data_retire(d);
	slot = slot_free(d);
	if (slot < 0) {
		m->result = -EBUSY;
	} else {
		m->set->slot = (unsigned)slot;
		d->sets[slot] = m->set;
		set_install(d, m->set);
		m->result = 0;
	}
	data_return(d, mail);
}
