/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter `delay`: lengths and shares of delays, injected errors, methods.
 */
#include "middlepipes/registry.h"
#include "tests/lib/fake_host.h"
#include "tests/lib/tap.h"

static const struct mp_filter *filter;

static void make(struct fake_host *host, const char *config)
{
	if (fake_load(host, filter, config)) {
		printf("Bail out! %s: %s\n", config, host->error);
		exit(1);
	}
}

static int32_t ask(struct fake_host *host, struct fake_exchange *fx, const char *method)
{
	fake_exchange_init(fx, host, method, "/");
	return fake_request(fx);
}

static void fixed(void)
{
	struct fake_host host;
	struct fake_exchange fx;

	make(&host, "{\"fixed_ms\":\"250ms\"}");
	is_int(host.plan.needs, MP_NEED_REQUEST, "needs requests");
	is_int(host.post.verdict, MP_STANDING_ASK, "has to be asked");
	is_int(ask(&host, &fx, "GET"), MP_VERDICT_DELAY, "delays");
	is_u64(fx.delay_ns, 250 * FAKE_MS, "by that much");
	is_u64(fake_counter(&host, "delayed"), 1, "counted");
	is_u64(fake_counter(&host, "delayed_ms"), 250, "with its length");
	fake_unload(&host);

	make(&host, "{}");
	is_int(host.plan.needs, 0, "by default it does nothing");
	is_int(host.post.verdict, MP_STANDING_PASS, "at no cost");
	fake_unload(&host);
	make(&host, "{\"fixed_ms\":100,\"percent\":0}");
	is_int(host.plan.needs, 0, "nor for 0%% of the calls");
	fake_unload(&host);
}

static void spread(void)
{
	struct fake_host host;
	struct fake_exchange fx;
	int n_delayed = 0, n_low = 0, n_high = 0, n_bad = 0;

	make(&host, "{\"fixed_ms\":100,\"random_ms\":200,\"percent\":25}");
	for (int i = 0; i < 10000; i++) {
		if (ask(&host, &fx, "GET") != MP_VERDICT_DELAY)
			continue;
		n_delayed++;
		n_bad += fx.delay_ns < 100 * FAKE_MS || fx.delay_ns > 300 * FAKE_MS;
		n_low += fx.delay_ns < 150 * FAKE_MS;
		n_high += fx.delay_ns > 250 * FAKE_MS;
	}
	ok(n_delayed > 2300 && n_delayed < 2700, "about a quarter is delayed: %d", n_delayed);
	is_int(n_bad, 0, "within the bounds");
	ok(n_low > n_delayed / 5 && n_low < n_delayed * 3 / 10, "evenly: %d low", n_low);
	ok(n_high > n_delayed / 5 && n_high < n_delayed * 3 / 10, "and %d high", n_high);
	fake_unload(&host);
}

static void errors(void)
{
	struct fake_host host;
	struct fake_exchange fx;
	int n_failed = 0;

	make(&host, "{\"error_percent\":100,\"error_status\":418,\"error_body\":\"teapot\",\"fixed_ms\":9}");
	is_int(ask(&host, &fx, "GET"), MP_VERDICT_REPLY, "injects");
	is_int(fx.reply.status, 418, "the status");
	is_str(fx.reply.body, "teapot", "and the body");
	is_str(fx.reply.marker_type, "delay", "marked");
	is_str(fx.reply.marker_callback, "", "without an exception");
	is_int(fx.reply.marker_retry_after, -1, "and no Retry-After");
	is_u64(fx.delay_ns, 0, "without a delay");
	is_u64(fake_counter(&host, "injected"), 1, "counted");
	fake_unload(&host);

	make(&host, "{\"error_percent\":100,\"error\":\"raise\"}");
	is_int(ask(&host, &fx, "GET"), MP_VERDICT_REPLY, "raises");
	is_int(fx.reply.status, 503, "503");
	is_str(fx.reply.marker_callback, "raise", "with an exception");
	is_int(fx.reply.marker_retry_after, 1, "that says when to come back");
	is_str(fx.reply.fields, "", "no body, no content-type");
	fake_unload(&host);

	make(&host, "{\"error_percent\":0.5}");
	for (int i = 0; i < 20000; i++)
		n_failed += ask(&host, &fx, "GET") == MP_VERDICT_REPLY;
	ok(n_failed > 60 && n_failed < 150, "half a percent: %d of 20000", n_failed);
	fake_unload(&host);
}

static void methods(void)
{
	struct fake_host host;
	struct fake_exchange fx;

	make(&host, "{\"fixed_ms\":1,\"methods\":[\"POST\",\"PUT\"]}");
	is_int(ask(&host, &fx, "POST"), MP_VERDICT_DELAY, "a chosen method");
	is_int(ask(&host, &fx, "PUT"), MP_VERDICT_DELAY, "and another");
	is_int(ask(&host, &fx, "GET"), MP_VERDICT_PASS, "any other passes");
	is_int(ask(&host, &fx, "POS"), MP_VERDICT_PASS, "however similar");
	fake_unload(&host);
}

int main(void)
{
	filter = registry_find("delay");
	fixed();
	spread();
	errors();
	methods();
	return done();
}
