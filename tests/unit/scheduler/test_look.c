/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler/look.c: what the control thread is shown, and that one look is
 * bounded however much was asked for.
 */
#include "scheduler/look.h"

#include "tests/unit/scheduler/chains_fixture.h"

#define DESTINATIONS 1000

static struct data *data;
static unsigned statuses; /* calls of filters */

static void status(void *self, struct mp_writer *w)
{
	(void)self;
	statuses++;
	w->text(w, "state", MP_LIT("closed"));
	w->number(w, "calls", 7);
}

static struct mp_filter talker;

static struct unit *find_none(void *ctx, const char *key)
{
	(void)ctx, (void)key;
	return NULL;
}

/* 1,000 destinations with one unit each, which talks. */
static struct chainset *many(void)
{
	size_t size = DESTINATIONS * 128;
	char *text = malloc(size), *at = text;
	struct chainset *set = NULL;
	struct err err = { 0 };

	for (int i = 0; i < DESTINATIONS; i++)
		at += snprintf(at, size - (size_t)(at - text),
			       "%s{\"name\":\"d%d\",\"match\":[\"d%d:80\"],\"chain\":["
			       "{\"middlepipe\":\"p%d\",\"type\":\"plain\"}]}", i ? "," : "", i, i, i);
	if (chainset_new(data, data->blame, fixture_chains(1, text), find_none, NULL, &set, &err) < 0)
		note("%s", err.text);
	free(text);
	talker = fixture_filters[0];
	talker.status = status;
	for (uint32_t i = 0; set && i < set->n_units; i++) {
		set->units[i]->filter = &talker;
		set->units[i]->started = true;
	}
	return set;
}

/* Asks for all that is left, as often as it takes. */
static void test_bounded(struct chainset *set)
{
	struct look *l = malloc(sizeof(*l));
	unsigned looks = 0, most = 0;
	uint32_t at = 0;

	look_init(l);
	l->set = data->current = set;
	while (at < set->n_units) {
		unsigned before = statuses;

		l->chain = at;
		l->units = set->units + at;
		l->n_chains = l->n_units = set->n_units - at;
		look_at(data, l);
		if (statuses - before > most)
			most = statuses - before;
		if (!l->n_units || l->n_units != l->n_chains)
			break;
		at += l->n_units;
		looks++;
	}
	is_u64(at, DESTINATIONS, "all units were looked at");
	is_u64(statuses, DESTINATIONS, "each was asked once");
	is_u64(most, LOOK_MAX, "and no more than LOOK_MAX at a time");
	is_u64(looks, (DESTINATIONS + LOOK_MAX - 1) / LOOK_MAX, "in as many looks as that takes");
	look_fini(l);
	free(l);
}

static void test_said(struct chainset *set)
{
	struct look *l = malloc(sizeof(*l));
	struct look_said head;
	double number;

	look_init(l);
	l->set = data->current = set;
	l->units = set->units;
	l->n_units = 1;
	look_at(data, l);
	is_u64(l->seen_units[0].said_size, l->said.len, "what a unit said is its own");
	is_u64(l->said.len, 2 * sizeof(head) + 5 + 6 + 5 + sizeof(number), "name and value of each");
	memcpy(&head, l->said.ptr, sizeof(head));
	ok(head.kind == LOOK_TEXT && head.name_size == 5 && head.value_size == 6 &&
	   !memcmp(l->said.ptr + sizeof(head), "stateclosed", 11), "a text");
	memcpy(&number, l->said.ptr + l->said.len - sizeof(number), sizeof(number));
	ok(number == 7, "a number");
	look_fini(l);
	free(l);
}

static void test_missed(struct chainset *set)
{
	struct look *l = malloc(sizeof(*l));
	unsigned before = statuses;

	look_init(l);
	l->set = set;
	l->units = set->units;
	l->n_units = 1;
	data->current = NULL;
	look_at(data, l);
	ok(l->missed && statuses == before, "after a swap nothing is looked at: the set may be going");
	look_fini(l);
	free(l);
}

int main(void)
{
	struct chainset *set;

	data = calloc(1, sizeof(*data));
	data->blame = blame_new();
	list_init(&data->lanes);
	set = many();
	ok(set && set->n_units == DESTINATIONS, "%d units", DESTINATIONS);
	test_bounded(set);
	test_said(set);
	test_missed(set);
	chainset_free(set, data->blame);
	free(data);
	return done();
}
