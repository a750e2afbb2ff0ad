/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a closed circuit opens, and when it does not: the cases of Hystrix's
 * HystrixCircuitBreakerTest, resilience4j's rates and slow calls, and what
 * counts as an error here.
 */
#include "tests/unit/middlepipes/breaker_fixture.h"

static void trips_like_hystrix(void)
{
	struct fake_host host;

	make(&host, "{\"volume\":1}");
	is_int(succeed(&host, 4), 4, "successes are sent");
	ok(passes(&host), "and trip nothing");
	is_int(fail(&host, 4), 4, "as many failures are sent");
	is_str(state(&host), "open", "50%% failed: trips");
	is_int(call_standing(&host), MP_STANDING_REPLY, "and refuses");
	fake_unload(&host);

	make(&host, "{\"volume\":8}");
	(void)calls(&host, 1, 200, 0, 60);
	(void)succeed(&host, 3);
	(void)fail(&host, 3);
	ok(passes(&host), "3 of 7: the volume is too low");
	(void)fail(&host, 1);
	is_str(state(&host), "open", "4 of 8: trips at the threshold itself");
	is_str(reason(&host), "4 of 8 calls failed (50%)", "and says why");
	fake_unload(&host);

	make(&host, "{\"volume\":8}");
	(void)succeed(&host, 5);
	(void)fail(&host, 3);
	is_str(state(&host), "closed", "3 of 8 do not trip");
	is_int((int64_t)number(&host, "error_percent"), 37, "37.5%% is shown truncated");
	fake_unload(&host);

	make(&host, "{\"volume\":1}");
	is_int(calls(&host, 4, 0, MP_ERROR_TIMEOUT, 100), 1, "a timeout alone trips at a volume of 1");
	is_str(state(&host), "open", "on timeouts");
	fake_unload(&host);

	make(&host, "{\"volume\":9}");
	(void)succeed(&host, 4);
	(void)calls(&host, 5, 0, MP_ERROR_TIMEOUT, 100);
	is_str(state(&host), "open", "trips on timeouts mixed with successes");
	fake_unload(&host);
}

static void low_volume(void)
{
	struct fake_host host;

	make(&host, "{}");
	is_int(fail(&host, 19), 19, "19 failures, default volume 20");
	is_str(state(&host), "closed", "low volume does not trip");
	(void)succeed(&host, 1);
	is_str(state(&host), "open", "the 20th call trips even as a success, as in resilience4j");
	is_str(reason(&host), "19 of 20 calls failed (95%)", "and says why");
	fake_unload(&host);

	make(&host, "{}");
	(void)fail(&host, 19);
	fake_advance(&host, 10000 * FAKE_MS);
	(void)fail(&host, 19);
	is_str(state(&host), "closed", "what left the window does not count");
	fake_unload(&host);
}

static void window_slides(void)
{
	struct fake_host host;

	make(&host, "{\"window_ms\":\"1s\",\"buckets\":10,\"volume\":1,\"error_percent\":100}");
	for (int i = 0; i < 10; i++) {
		(void)succeed(&host, 1);
		fake_advance(&host, 99 * FAKE_MS);
	}
	is_int((int64_t)number(&host, "calls"), 9, "one bucket at a time falls out");
	fake_advance(&host, 800 * FAKE_MS);
	is_int((int64_t)number(&host, "calls"), 1, "until the last");
	fake_advance(&host, 100 * FAKE_MS);
	is_int((int64_t)number(&host, "calls"), 0, "is gone too");
	(void)fail(&host, 1);
	is_str(state(&host), "open", "an emptied window judges what comes alone");
	fake_unload(&host);
}

static void slow_calls(void)
{
	struct fake_host host;
	const char *config = "{\"volume\":5,\"error_percent\":0,\"slow_percent\":50,\"slow_ms\":\"4s\","
			     "\"window_ms\":\"1m\"}";

	make(&host, config);
	is_u64(host.plan.failure.slow_ns, 4000 * FAKE_MS, "slow calls ring");
	(void)calls(&host, 1, 500, 0, 1500);
	(void)calls(&host, 1, 200, 0, 4000);
	is_int((int64_t)number(&host, "slow"), 0, "exactly the threshold is not slow");
	fake_unload(&host);

	make(&host, config);
	for (int i = 0; i < 2; i++) {
		struct call call[2];

		(void)call_begin(&host, &call[0]);
		(void)call_begin(&host, &call[1]);
		fake_advance(&host, 100 * FAKE_MS);
		call_end(&host, &call[0], i ? 200 : 500, 0);
		fake_advance(&host, 3901 * FAKE_MS);
		call_end(&host, &call[1], i ? 200 : 500, 0);
	}
	is_str(state(&host), "closed", "2 slow of 4: below the volume");
	(void)calls(&host, 1, 200, 0, 1);
	is_str(state(&host), "closed", "2 of 5: below the threshold");
	(void)calls(&host, 1, 200, 0, 4001);
	is_str(reason(&host), "3 of 6 calls were slow (50%)", "3 of 6: trips");
	fake_unload(&host);

	make(&host, "{\"volume\":1}");
	is_u64(host.plan.failure.slow_ns, 0, "by default nothing is slow");
	(void)calls(&host, 3, 200, 0, 100000);
	is_str(state(&host), "closed", "however long it takes");
	fake_unload(&host);
}

static void runs_of_errors(void)
{
	struct fake_host host;

	make(&host, "{\"consecutive\":3,\"soft_statuses\":[429]}");
	(void)fail(&host, 2);
	(void)succeed(&host, 1);
	(void)fail(&host, 2);
	is_str(state(&host), "closed", "a success ends the run");
	(void)calls(&host, 3, 429, 0, 1);
	is_str(state(&host), "closed", "a soft error neither adds to it");
	(void)fail(&host, 1);
	is_str(reason(&host), "3 errors in a row", "nor ends it, and volume does not matter");
	fake_unload(&host);

	make(&host, "{\"volume\":4,\"soft_statuses\":[429]}");
	(void)calls(&host, 4, 429, 0, 1);
	is_str(state(&host), "open", "soft errors count in the percentage");
	fake_unload(&host);
}

static int trips_on(const char *config, int32_t status, int32_t error)
{
	struct fake_host host;
	int r;

	make(&host, config);
	(void)calls(&host, 20, status, error, 1);
	r = !strcmp(state(&host), "open");
	fake_unload(&host);
	return r;
}

static void what_counts(void)
{
	const char *custom = "{\"error_statuses\":[404,\"502-504\"],\"errors\":[\"cancelled\"]}";

	ok(trips_on("{}", 500, 0) && trips_on("{}", 599, 0), "500 to 599 are errors");
	ok(!trips_on("{}", 499, 0) && !trips_on("{}", 429, 0) && !trips_on("{}", 404, 0),
	   "other statuses are not");
	ok(trips_on("{}", 0, MP_ERROR_REFUSED) && trips_on("{}", 0, MP_ERROR_TIMEOUT) &&
		   trips_on("{}", 0, MP_ERROR_BROKEN) && trips_on("{}", 0, MP_ERROR_PROTOCOL) &&
		   trips_on("{}", 0, MP_ERROR_OTHER),
	   "so are calls without a response");
	ok(!trips_on("{}", 0, MP_ERROR_CANCELLED), "but not those that were given up");
	ok(trips_on(custom, 404, 0) && trips_on(custom, 503, 0) && !trips_on(custom, 500, 0) &&
		   !trips_on(custom, 505, 0),
	   "the statuses can be chosen");
	ok(trips_on(custom, 0, MP_ERROR_CANCELLED) && !trips_on(custom, 0, MP_ERROR_REFUSED),
	   "and the kinds");
	ok(!trips_on("{\"error_percent\":0}", 500, 0), "0 turns the percentage off");
}

static void what_does_not(void)
{
	struct fake_host host;
	struct mp_outcome o = {.size = sizeof(o), .status = 503, .synthesized = 1};

	make(&host, "{\"volume\":1}");
	o.ended_ns = host.now_ns;
	for (int i = 0; i < 30; i++)
		filter->on_outcome(host.self, &o);
	filter->on_drained(host.self);
	is_int((int64_t)number(&host, "calls"), 0, "what the chain itself answered");
	o.standing = MP_STANDING_REPLY;
	filter->on_outcome(host.self, &o);
	filter->on_drained(host.self);
	is_int((int64_t)number(&host, "calls"), 0, "also by a standing reply");
	is_u64(fake_counter(&host, "rejected"), 0, "of another filter");
	(void)calls(&host, 5, 0, MP_ERROR_CANCELLED, 1);
	is_int((int64_t)number(&host, "calls"), 0, "cancelled calls are neither good nor bad");
	is_u64(fake_counter(&host, "ignored"), 5, "and are counted apart");
	(void)fail(&host, 1);
	(void)succeed(&host, 7);
	is_u64(fake_counter(&host, "rejected"), 7, "our own refusals are counted");
	is_int((int64_t)number(&host, "calls"), 1, "but never as calls");
	fake_unload(&host);
}

static void batches(void)
{
	struct fake_host host;
	struct call calls_out[40];

	make(&host, "{}");
	for (int i = 0; i < 40; i++)
		(void)call_begin(&host, &calls_out[i]);
	for (int i = 0; i < 20; i++)
		call_outcome(&host, &calls_out[i], 500, 0);
	is_str(state(&host), "closed", "nothing is judged before all lanes are drained");
	for (int i = 20; i < 40; i++)
		call_outcome(&host, &calls_out[i], 200, 0);
	call_outcome(&host, &calls_out[0], 200, 0);
	filter->on_drained(host.self);
	is_str(state(&host), "closed", "20 of 41 do not trip");
	fake_unload(&host);

	make(&host, "{\"volume\":1,\"consecutive\":1}");
	filter->on_lost(host.self, 10, UINT64_MAX);
	filter->on_drained(host.self);
	is_str(state(&host), "closed", "lost outcomes may be those of another service");
	is_int((int64_t)number(&host, "calls"), 0, "and are not judged");
	is_u64(fake_counter(&host, "lost_ok"), 10, "but counted");
	is_u64(fake_counter(&host, "lost_failed"), UINT64_MAX, "apart");
	fake_unload(&host);
}

static void late_calls(void)
{
	struct fake_host host;
	struct call old[30], call;

	make(&host, "{\"volume\":1}");
	for (int i = 0; i < 30; i++)
		(void)call_begin(&host, &old[i]);
	(void)fail(&host, 1);
	call_end(&host, &old[0], 200, 0);
	is_str(state(&host), "open", "a call from before does not close an open circuit");
	is_u64(fake_counter(&host, "late"), 1, "it is late");
	fake_advance(&host, 5000 * FAKE_MS);
	ok(call_begin(&host, &call), "a probe");
	call_end(&host, &old[1], 200, 0);
	is_str(state(&host), "half-open", "nor a half-open one");
	call_end(&host, &old[2], 500, 0);
	is_str(state(&host), "half-open", "or opens it");
	call_end(&host, &call, 200, 0);
	is_str(state(&host), "closed", "the probe closes it");
	for (int i = 3; i < 30; i++)
		call_end(&host, &old[i], 0, MP_ERROR_TIMEOUT);
	is_str(state(&host), "closed", "timeouts of calls from before the outage do not reopen it");
	is_u64(fake_counter(&host, "late"), 30, "they are late");
	fake_unload(&host);
}

static void refuses_bad_options(void)
{
	static const struct {
		const char *config;
		const char *says;
	} bad[] = {
		{"{\"window_ms\":1000,\"buckets\":3}", "window_ms: 1000 is not a multiple of buckets (3)"},
		{"{\"open_ms\":2000,\"open_max_ms\":1000}", "open_max_ms: 1000 is less than open_ms (2000)"},
		{"{\"error_statuses\":[99]}", "error_statuses"},
		{"{\"error_statuses\":[\"500-600\"]}", "error_statuses"},
		{"{\"soft_statuses\":[4294967295]}", "soft_statuses"},
		{"{\"static_fields\":{\"Content-Length\":\"3\"}}", "Content-Length"},
		{"{\"static_fields\":{\"middlepipe\":\"breaker\"}}", "middlepipe"},
		{"{\"last_good_vary\":[\"a b\"]}", "last_good_vary"},
		{"{\"error_percent\":101}", "error_percent"},
		{"{\"probes\":65}", "probes"},
		{"{\"errors\":[\"lost\"]}", "errors"},
		{"{\"mode\":\"off\"}", "mode"},
		{"{\"unknown\":1}", "unknown"},
	};
	struct fake_host host;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		is_int(fake_load(&host, filter, bad[i].config), -EINVAL, "refuses %s", bad[i].config);
		ok(strstr(host.error, bad[i].says) != NULL, "and names it: %s", host.error);
		fake_unload(&host);
	}
	make(&host, "{\"open_ms\":\"2m\"}");
	ok(true, "an open time above the default maximum raises it");
	fake_unload(&host);
}

static void suite(void)
{
	trips_like_hystrix();
	low_volume();
	window_slides();
	slow_calls();
	runs_of_errors();
	what_counts();
	what_does_not();
	batches();
	late_calls();
	refuses_bad_options();
}

int main(void)
{
	return breaker_main(suite);
}
