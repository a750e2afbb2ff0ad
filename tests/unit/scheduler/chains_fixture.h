/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chain files for the scheduler's unit tests: written here as text, read by
 * lib/chain.h, with filters "plain" (loads, decides on requests), "watch"
 * (watches outcomes) and "bad" (does not load).
 */
#ifndef TESTS_UNIT_SCHEDULER_CHAINS_FIXTURE_H
#define TESTS_UNIT_SCHEDULER_CHAINS_FIXTURE_H

#include <errno.h>
#include <stdlib.h>

#include "lib/chain.h"
#include "lib/slice.h"
#include "scheduler/blame.h"
#include "scheduler/data.h"
#include "tests/lib/tap.h"

static unsigned fixture_loads, fixture_unloads;

static const struct mp_option fixture_options[] = {
	{ .name = "n", .type = MP_OPTION_INT, .initial = "0", .max = 1000, .help = "any number" },
	{ .name = "prefixes", .type = MP_OPTION_PREFIXES, .help = "path prefixes" },
	{ .name = NULL },
};

static inline int32_t fixture_load(const struct mp_host *host, struct mp_unit *unit,
				   const struct mp_value *values, struct mp_plan *plan,
				   void **ret_self, char *error, size_t error_size)
{
	(void)host, (void)unit, (void)error, (void)error_size;
	*ret_self = malloc(1);
	fixture_loads++;
	if (plan->needs & MP_NEED_OUTCOME) {
		plan->failure.errors = 1u << (values[0].integer % MP_ERROR_COUNT);
		plan->failure.statuses[6] = UINT64_C(1) << 19; /* 503 */
		plan->failure.slow_ns = (uint64_t)values[0].integer;
	}
	return 0;
}

static inline int32_t fixture_load_bad(const struct mp_host *host, struct mp_unit *unit,
				       const struct mp_value *values, struct mp_plan *plan,
				       void **ret_self, char *error, size_t error_size)
{
	(void)host, (void)unit, (void)plan, (void)ret_self;
	(void)snprintf(error, error_size, "n is %d, which nobody likes", (int)values[0].integer);
	return -EINVAL;
}

static inline void fixture_unload(void *self)
{
	fixture_unloads++;
	free(self);
}

#define FIXTURE_FILTER(name_, needs_, load_)                                       \
	{ MP_FILTER_HEAD, .name = name_, .summary = "test", .level = MP_LEVEL_REQUEST, \
	  .needs = needs_, .options = fixture_options, .load = load_, .unload = fixture_unload }

static const struct mp_filter fixture_filters[] = {
	FIXTURE_FILTER("plain", MP_NEED_REQUEST, fixture_load),
	FIXTURE_FILTER("watch", MP_NEED_OUTCOME, fixture_load),
	FIXTURE_FILTER("both", MP_NEED_REQUEST | MP_NEED_RESPONSE | MP_NEED_RESPONSE_BODY, fixture_load),
	FIXTURE_FILTER("bad", MP_NEED_REQUEST, fixture_load_bad),
};

static inline const struct mp_filter *fixture_find(const struct chain_catalog *catalog, const char *type)
{
	(void)catalog;
	for (size_t i = 0; i < sizeof(fixture_filters) / sizeof(fixture_filters[0]); i++)
		if (!strcmp(fixture_filters[i].name, type))
			return &fixture_filters[i];
	return NULL;
}

/* The chains of {"app":"test","epoch":EPOCH,"destinations":[TEXT]}; they must be right. */
static inline struct chains *fixture_chains(unsigned epoch, const char *text)
{
	static const char *const names[] = { "plain", "watch", "both", "bad", NULL };
	const struct chain_catalog catalog = { fixture_find, names };
	size_t size = strlen(text) + 128;
	char *file = malloc(size);
	struct chains *chains = NULL;
	struct json_errs errs;

	(void)snprintf(file, size, "{\"app\":\"test\",\"epoch\":%u,\"destinations\":[%s]}", epoch, text);
	json_errs_init(&errs, 8);
	if (chains_parse(slice_of(file), &catalog, &chains, &errs) < 0)
		note("%s: %s", file, json_errs_text(&errs));
	json_errs_fini(&errs);
	free(file);
	return chains;
}

#endif
