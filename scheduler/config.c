/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading chain files: parse and check beside what is in force, build the
 * chain set, hand it to the data thread.  Whole or not at all.  Control thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/slice.h"
#include "scheduler/control.h"

#define ERRORS_SHOWN 64

static struct unit *unit_in_force(void *ctx, const char *key)
{
	const struct control *c = ctx;

	for (uint32_t i = 0; c->current && i < c->current->n_units; i++)
		if (!strcmp(c->current->units[i]->key, key))
			return c->current->units[i];
	return NULL;
}

const struct chainset *config_in_force(const struct control *c)
{
	return c->loading ? c->before : c->current;
}

static void finish(struct load *load, int result)
{
	if (result < 0)
		log_warn("chains refused", "result=%d reason=%s", result,
			 LOG_STR(load->errs.count ? json_errs_text(&load->errs) : load->err.text));
	load->done(load, result);
}

/* The data thread has swapped, or could not. */
static void installed(void *ctx, struct mail *mail)
{
	struct load *load = (struct load *)(void *)mail;
	struct control *c = ctx;
	int r = load->install.result;

	c->loading = NULL;
	if (r < 0) {
		c->current = c->before;
		chainset_free(load->install.set, c->blame);
		err_set(&load->err, r, "%u epochs still have calls in progress: try again", LANE_SETS);
	} else {
		keep_put(c->options->keep, chains_text(load->install.set->chains));
		log_info("chains in force", "epoch=%llu destinations=%u",
			 (unsigned long long)load->epoch, load->install.set->n_chains);
	}
	c->before = NULL;
	finish(load, r);
}

/* What the number says: 1 go on, 0 nothing to do, negative: refused. */
static int epoch_check(struct load *load, const struct chains *chains)
{
	const struct chainset *now = load->control->current;

	load->epoch = chains_epoch(chains);
	if (!now || load->force || load->epoch > now->epoch)
		return 1;
	if (!strcmp(chains_identity(chains), chains_identity(now->chains))) {
		load->epoch = now->epoch;
		return 0;
	}
	return err_set(&load->err, -EEXIST, "epoch %llu is not greater than %llu, which is in force",
		       (unsigned long long)load->epoch, (unsigned long long)now->epoch);
}

static int build(struct load *load, struct chains *chains)
{
	struct control *c = load->control;
	struct chainset *set;
	int r = chainset_new(c->data, c->blame, chains, unit_in_force, c, &set, &load->err);

	if (r < 0)
		return r;
	state_give(c, set);
	load->changed = true;
	load->install.mail.there = install_there;
	load->install.mail.back = installed;
	load->install.set = set;
	c->before = c->current;
	c->current = set;
	c->loading = load;
	data_post(c->data, &load->install.mail);
	return 0;
}

void config_load(struct load *load, struct control *c, struct mp_str text)
{
	struct chains *chains;
	int r;

	load->control = c;
	json_errs_init(&load->errs, ERRORS_SHOWN);
	if (c->loading) {
		finish(load, err_set(&load->err, -EBUSY, "another load is under way: try again"));
		return;
	}
	r = chains_parse(text, catalog_chain(c->catalog), &chains, &load->errs);
	if (r < 0) {
		finish(load, r);
		return;
	}
	r = epoch_check(load, chains);
	if (r <= 0) {
		chains_free(chains);
		finish(load, r);
		return;
	}
	r = build(load, chains);
	if (r < 0)
		finish(load, r);
}

void config_load_fini(struct load *load)
{
	json_errs_fini(&load->errs);
}

void config_reload(struct load *load, struct control *c)
{
	struct buf text;
	int r;

	if (!c->options->chain) {
		json_errs_init(&load->errs, 1);
		finish(load, err_set(&load->err, -ENOENT, "no chain file was named (--chain)"));
		return;
	}
	r = file_read(c->options->chain, CHAIN_TEXT_MAX, &text, &load->err);
	if (r < 0) {
		json_errs_init(&load->errs, 1);
		finish(load, -ENOENT);
		return;
	}
	config_load(load, c, buf_slice(&text));
	buf_fini(&text);
}

void config_retired(void *ctx, struct mail *mail)
{
	struct control *c = ctx;
	struct retire_mail *m = (struct retire_mail *)(void *)mail;

	chainset_free(m->set, c->blame);
	free(m);
}
