/* SPDX-License-Identifier: Apache-2.0 */
/* See chainset.h. */
#include "scheduler/chainset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What building a chain set goes through. */
struct builder {
	struct data *data;
	struct blame *blame;
	chainset_find find;
	void *ctx;
	struct chainset *set;
	const struct chain_destination *first; /* of the file */
};

static void counts_of(const struct chains *chains, uint32_t *ret_chains, uint32_t *ret_units)
{
	size_t n;
	const struct chain_destination *d = chains_destinations(chains, &n);

	*ret_chains = *ret_units = 0;
	for (size_t i = 0; i < n; i++) {
		*ret_chains += (uint32_t)d[i].n_prefixes;
		for (size_t j = 0; j < d[i].n_bindings; j++)
			*ret_units += (uint32_t)d[i].bindings[j].n_prefixes + 1;
	}
}

static struct unit *unit_in_set(const struct chainset *set, const char *key)
{
	for (uint32_t i = 0; i < set->n_units; i++)
		if (!strcmp(set->units[i]->key, key))
			return set->units[i];
	return NULL;
}

/* An unchanged unit is shared; anything else is made, with the old one as its ancestor. */
static int unit_make(struct builder *b, const struct chain_destination *d,
		     const struct chain_binding *binding, struct mp_str prefix, const char *key,
		     struct unit **ret, struct err *err)
{
	struct unit *old = b->find(b->ctx, key);
	int r;

	if (old && !old->ejected && !strcmp(old->config, binding->config) &&
	    old->closed == binding->closed && old->filter == binding->filter) {
		*ret = old;
		return 0;
	}
	/* A middlepipe that was left out comes back with a new configuration. */
	if (old && old->ejected && strcmp(old->config, binding->config))
		blame_forgive(b->blame, binding->middlepipe);
	r = unit_new(b->data, b->blame, d, binding, prefix, ret, err);
	if (r < 0)
		return r;
	if (old && old->filter == binding->filter && !old->ejected)
		(*ret)->ancestor = old;
	return 0;
}

static int unit_get(struct builder *b, const struct chain_destination *d,
		    const struct chain_binding *binding, struct mp_str entry_prefix,
		    struct unit **ret, struct err *err)
{
	struct mp_str prefix = chain_binding_prefix(binding, entry_prefix);
	char *key = unit_key(d->name, binding, prefix);
	int r = 0;

	if (!key)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = unit_in_set(b->set, key);
	if (!*ret) {
		r = unit_make(b, d, binding, prefix, key, ret, err);
		if (!r) {
			(*ret)->refs++;
			b->set->units[b->set->n_units++] = *ret;
		}
	}
	free(key);
	return r;
}

static void failure_add(struct mp_failure *to, const struct mp_failure *from)
{
	for (unsigned i = 0; i < 8; i++)
		to->statuses[i] |= from->statuses[i];
	to->errors |= from->errors;
	if (from->slow_ns && (!to->slow_ns || from->slow_ns < to->slow_ns))
		to->slow_ns = from->slow_ns;
}

bool failure_matches(const struct mp_failure *f, int32_t status, int32_t error,
		     uint64_t duration_ns)
{
	unsigned bit = (unsigned)(status - 100);

	if (f->slow_ns && duration_ns > f->slow_ns && error != MP_ERROR_CANCELLED)
		return true;
	if (error != MP_ERROR_NONE)
		return f->errors >> error & 1;
	return status >= 100 && bit < 512 && f->statuses[bit / 64] >> bit % 64 & 1;
}

/* What the needs of its filters make of a chain. */
static void chain_sum(struct chain *c, struct board_static *fixed)
{
	static const struct {
		uint32_t need, flag;
	} table[] = {
		{ MP_NEED_RESPONSE, ENTRY_RESPONSE },
		{ MP_NEED_COPY, ENTRY_COPY },
		{ MP_NEED_REQUEST_BODY, ENTRY_REQUEST_BODY },
		{ MP_NEED_RESPONSE_BODY, ENTRY_RESPONSE_BODY },
		{ MP_NEED_OUTCOME, ENTRY_OUTCOME },
	};

	for (uint32_t i = 0; i < c->n_units; i++) {
		const struct unit *u = c->units[i];

		for (size_t k = 0; k < sizeof(table) / sizeof(table[0]); k++)
			if (u->plan.needs & table[k].need)
				c->flags |= table[k].flag;
		if (u->plan.needs & MP_NEED_OUTCOME)
			failure_add(&c->failure, &u->plan.failure);
		if (u->closed)
			c->flags |= ENTRY_CLOSED;
		if (u->closed && !fixed->pipe.len)
			fixed->pipe = (struct mp_str){ u->middlepipe, strlen(u->middlepipe) };
		if ((u->plan.needs & (MP_NEED_OUTCOME | MP_NEED_COPY | MP_NEED_RESPONSE)) ||
		    u->filter->on_abandon)
			c->tracked = true;
	}
	fixed->flags = c->flags;
	fixed->failure = c->failure;
}

static int chain_build(struct builder *b, const struct chain_destination *d, struct mp_str prefix,
		       struct err *err)
{
	struct chainset *set = b->set;
	struct chain *c = &set->chain[set->n_chains];

	*c = (struct chain){ .set = set, .index = set->n_chains, .destination = d,
			     .prefix = prefix };
	set->n_chains++;
	c->units = calloc(d->n_bindings + 1, sizeof(*c->units));
	if (!c->units)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < d->n_bindings; i++) {
		int r = unit_get(b, d, &d->bindings[i], prefix, &c->units[i], err);

		if (r < 0)
			return err_wrap(err, r, "$.destinations[%td].chain[%zu].config", d - b->first, i);
		c->n_units++;
	}
	chain_sum(c, &set->statics[c->index]);
	return 0;
}

int chainset_new(struct data *data, struct blame *blame, struct chains *chains,
		 chainset_find find, void *ctx, struct chainset **ret, struct err *err)
{
	struct builder b = { .data = data, .blame = blame, .find = find, .ctx = ctx };
	uint32_t n_chains, n_units;
	size_t n;
	const struct chain_destination *d = chains_destinations(chains, &n);
	int r = -ENOMEM;

	b.first = d;
	counts_of(chains, &n_chains, &n_units);
	b.set = calloc(1, sizeof(*b.set));
	if (!b.set) {
		chains_free(chains);
		return err_set(err, r, "out of memory");
	}
	b.set->chains = chains;
	b.set->epoch = chains_epoch(chains);
	b.set->chain = calloc(n_chains + 1, sizeof(*b.set->chain));
	b.set->units = calloc(n_units + 1, sizeof(struct unit *));
	b.set->statics = calloc(n_chains + 1, sizeof(*b.set->statics));
	if (!b.set->chain || !b.set->units || !b.set->statics) {
		err_set(err, r, "out of memory");
		goto fail;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < d[i].n_prefixes; j++) {
			r = chain_build(&b, &d[i], d[i].prefixes[j], err);
			if (r < 0)
				goto fail;
		}
	*ret = b.set;
	return 0;
fail:
	chainset_free(b.set, blame);
	return r;
}

void chainset_free(struct chainset *set, struct blame *blame)
{
	if (!set)
		return;
	for (uint32_t i = 0; i < set->n_units; i++)
		if (--set->units[i]->refs == 0)
			unit_free(set->units[i], blame);
	for (uint32_t i = 0; i < set->n_chains; i++)
		free(set->chain[i].units);
	free(set->units);
	free(set->chain);
	free(set->statics);
	chains_free(set->chains);
	free(set);
}

int chain_standing(const struct chain *c, uint64_t now_ns, const struct unit **ret_by)
{
	bool response = false;

	*ret_by = NULL;
	for (uint32_t i = 0; i < c->n_units; i++) {
		const struct unit *u = c->units[i];
		int standing = unit_standing(u, now_ns);

		if (standing == MP_STANDING_REPLY && response)
			standing = MP_STANDING_ASK;
		if (standing != MP_STANDING_PASS) {
			*ret_by = u;
			return standing;
		}
		if (!u->ejected && u->plan.needs & MP_NEED_RESPONSE)
			response = true;
	}
	return response ? MP_STANDING_ASK : MP_STANDING_PASS;
}
