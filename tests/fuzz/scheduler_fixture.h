/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler without threads for the fuzz targets: control and data side in
 * one, driven by hand, with the built-in filters and one chain file.
 */
#ifndef TESTS_FUZZ_SCHEDULER_FIXTURE_H
#define TESTS_FUZZ_SCHEDULER_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/slice.h"
#include "scheduler/control.h"
#include "tests/fuzz/replay.h"

/* Edits, made-up failures, delays, and a breaker of each kind; bodies and prefixes. */
#define FIXTURE_CHAINS                                                                          \
	"{\"app\":\"fuzz\",\"epoch\":1,\"destinations\":["                                      \
	"{\"name\":\"svc\",\"match\":[\"svc:80\",\"[::1]:8080\"],\"chain\":["                   \
	"{\"middlepipe\":\"mark\",\"type\":\"headers\",\"config\":{\"request_set\":{\"X-A\":\"1\"},"   \
	"\"request_remove\":[\"Cookie\"],\"response_add\":{\"X-B\":\"2\"}}},"                   \
	"{\"middlepipe\":\"guard\",\"type\":\"breaker\",\"config\":{\"volume\":3,\"prefixes\":[\"/pay\"]}}," \
	"{\"middlepipe\":\"chaos\",\"type\":\"delay\",\"config\":{\"fixed_ms\":5,\"error_percent\":30}}]}," \
	"{\"name\":\"cached\",\"match\":[\"cached\"],\"chain\":["                               \
	"{\"middlepipe\":\"good\",\"type\":\"breaker\",\"on_failure\":\"closed\","              \
	"\"config\":{\"volume\":3,\"fallback\":\"last-good\"}}]}]}"

static struct control fixture;
static struct scheduler_options fixture_options;

static inline void fixture_loaded(struct load *load, int result)
{
	FUZZ_CHECK(result == 0);
	config_load_fini(load);
	free(load);
}

/* Does what the two threads would do, until neither has mail. */
static inline void fixture_pump(void)
{
	struct data *d = fixture.data;
	void *item;

	while (spsc_pop(&d->in, &item)) {
		struct mail *mail = item;

		mail->there(d, mail);
		data_deliver(d);
	}
	data_deliver(d);
}

/* Puts the chains of the fixture in force, whatever is. */
static inline void fixture_chains(void)
{
	struct load *load = calloc(1, sizeof(*load));

	FUZZ_CHECK(load);
	load->done = fixture_loaded;
	load->force = true;
	config_load(load, &fixture, slice_of(FIXTURE_CHAINS));
	fixture_pump();
}

static inline void fixture_open(void)
{
	const struct data_limits limits = { .lane = { .n_slots = 4, .n_ring = 8, .data_size = 2 * LANE_PAGE },
					    .n_lanes = 4, .call_age_ns = 1000000000 };
	struct err err = { 0 };

	log_open("fuzz", LOG_LEVEL_OFF);
	fixture_options.lanes = 4;
	fixture_options.keep = keep_new();
	fixture.options = &fixture_options;
	fixture.blame = blame_new();
	fixture.data = calloc(1, sizeof(*fixture.data));
	FUZZ_CHECK(fixture_options.keep && fixture.blame && fixture.data && !uv_loop_init(&fixture.loop));
	fixture.lanes = calloc(4, sizeof(struct lane *));
	FUZZ_CHECK(fixture.lanes &&
		   !catalog_new(&(struct catalog_options){ .folder = NULL }, &fixture.catalog, &err));
	data_on_retired = config_retired;
	uv_async_init(&fixture.loop, &fixture.wake, NULL);
	FUZZ_CHECK(!data_init(fixture.data, &limits, fixture.blame, &fixture.wake, &fixture, &err));
	fixture_chains();
}

#endif
