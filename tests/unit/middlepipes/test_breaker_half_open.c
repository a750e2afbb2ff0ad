/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an open circuit recovers: probes, their leases, back-off, Retry-After
 * and the ramp.  With the bugs of others: Hystrix #1621, opossum #276 and
 * #277, resilience4j #1389 and #2093 (a circuit that stays half-open for ever).
 */
#include "tests/unit/middlepipes/breaker_fixture.h"

#define S (1000 * FAKE_MS)

/* A circuit that has just opened. */
static void make_open(struct fake_host *host, const char *config)
{
	make(host, config);
	(void)fail(host, 20);
	is_str(state(host), "open", "open: %s", config);
}

static void one_probe_like_hystrix(void)
{
	struct fake_host host;
	struct call probe, other;

	make_open(&host, "{}");
	is_u64(host.post.until_ns, host.now_ns + 5 * S, "refuses for 5 s");
	is_int(succeed(&host, 3), 0, "everything");
	fake_advance(&host, 5 * S - 1);
	is_int(succeed(&host, 1), 0, "until the last nanosecond");
	fake_advance(&host, 1);
	is_str(state(&host), "open", "time alone changes nothing");
	ok(call_begin(&host, &probe), "then one call is sent");
	is_str(state(&host), "half-open", "as a probe");
	is_int(host.post.verdict, MP_STANDING_ASK, "all others have to ask");
	ok(!call_begin(&host, &other), "and are refused");
	is_str(other.fx.reply.marker_state, "half-open", "with the state");
	ok(other.fx.reply.retry_at_ns == host.now_ns + S, "and a hint when to come back");
	fake_advance(&host, 60 * FAKE_MS);
	call_end(&host, &probe, 200, 0);
	is_str(state(&host), "closed", "its success closes the circuit");
	is_str(reason(&host), "1 of 1 probes succeeded (100%)", "and is the reason");
	is_int((int64_t)number(&host, "calls"), 0, "with an empty window");
	is_int(succeed(&host, 3), 3, "for all");
	is_int(fail(&host, 16), 16, "and the volume counts anew");
	is_str(state(&host), "closed", "still closed");
	fake_unload(&host);
}

static void several_windows_before_closing(void)
{
	struct fake_host host;

	make_open(&host, "{}");
	for (int i = 0; i < 3; i++) {
		struct call probe;

		fake_advance(&host, 5 * S);
		ok(call_begin(&host, &probe), "window %d: one probe", i);
		is_int(succeed(&host, 3), 0, "no other call meanwhile");
		call_end(&host, &probe, 500, 0);
		is_str(state(&host), "open", "its failure opens it again");
		is_int(succeed(&host, 3), 0, "for a whole open time");
		is_u64(host.post.until_ns, host.now_ns + 5 * S, "of the same length");
	}
	fake_advance(&host, 5 * S);
	is_int(succeed(&host, 4), 4, "then it succeeds and closes");
	is_str(state(&host), "closed", "closed");
	is_u64(fake_counter(&host, "opened"), 4, "opened four times");
	is_u64(fake_counter(&host, "half_opened"), 4, "half-open four times");
	is_u64(fake_counter(&host, "closed"), 1, "closed once");
	fake_unload(&host);
}

static void closes_while_busy(void)
{
	struct fake_host host;

	make_open(&host, "{}");
	for (int i = 0; i < 100; i++) {
		fake_advance(&host, 100 * FAKE_MS);
		(void)succeed(&host, 1);
	}
	is_str(state(&host), "closed", "a steady stream of calls closes it");
	fake_unload(&host);
}

static void never_stuck(void)
{
	struct fake_host host;
	struct call probe, next;

	make_open(&host, "{}");
	fake_advance(&host, 5 * S);
	(void)call_begin(&host, &probe);
	call_end(&host, &probe, 0, MP_ERROR_CANCELLED);
	is_str(state(&host), "half-open", "a cancelled probe is no result");
	is_u64(fake_counter(&host, "probes_returned"), 1, "its lease is given back");
	ok(call_begin(&host, &probe), "to the next call");
	filter->on_abandon(host.self, probe.fx.x.id, probe.fx.x.memo);
	ok(call_begin(&host, &next), "as is that of a process that died");
	call_end(&host, &probe, 500, 0);
	is_str(state(&host), "half-open", "whose outcome then tells nothing");
	filter->on_abandon(host.self, probe.fx.x.id, probe.fx.x.memo);
	ok(!call_begin(&host, &probe), "and gives nothing back twice");
	fake_advance(&host, 10 * S - 1);
	is_str(state(&host), "half-open", "the probe has 10 s");
	fake_advance(&host, 1);
	is_str(state(&host), "open", "then it has failed");
	is_u64(fake_counter(&host, "probes_overdue"), 1, "as overdue");
	is_str(fake_status(&host, "last_error")->text, "timeout", "with a timeout");
	call_end(&host, &next, 200, 0);
	is_str(state(&host), "open", "its late success tells nothing");
	fake_advance(&host, 5 * S);
	ok(call_begin(&host, &probe), "a new round has a new probe");
	call_end(&host, &next, 200, 0);
	is_str(state(&host), "half-open", "and tokens of the old one are void");
	call_end(&host, &probe, 200, 0);
	is_str(state(&host), "closed", "its own closes it");
	call_end(&host, &probe, 500, 0);
	is_str(state(&host), "closed", "and counts once");
	fake_unload(&host);

	make_open(&host, "{}");
	fake_advance(&host, 5 * S);
	(void)call_begin(&host, &probe);
	probe.sent = false; /* a later filter of the chain answered */
	call_end(&host, &probe, 500, 0);
	is_str(state(&host), "half-open", "a synthesized answer is no result");
	ok(call_begin(&host, &probe), "and gives the lease back");
	fake_unload(&host);
}

static void permits(void)
{
	struct fake_host host;
	struct call probes[6];

	make_open(&host, "{\"probes\":4}");
	fake_advance(&host, 5 * S);
	for (int i = 0; i < 4; i++)
		ok(call_begin(&host, &probes[i]), "probe %d of 4", i + 1);
	ok(!call_begin(&host, &probes[4]), "no fifth");
	call_end(&host, &probes[0], 0, MP_ERROR_CANCELLED);
	ok(call_begin(&host, &probes[0]), "a permit that was given back is given again");
	ok(!call_begin(&host, &probes[4]), "once");
	for (int i = 0; i < 3; i++)
		call_end(&host, &probes[i], 200, 0);
	is_str(state(&host), "half-open", "3 of 4 are not all");
	ok(!call_begin(&host, &probes[4]), "results use permits up");
	call_end(&host, &probes[3], 200, 0);
	is_str(state(&host), "closed", "4 of 4 close it");
	fake_unload(&host);

	make_open(&host, "{\"probes\":4,\"probes_percent\":50}");
	fake_advance(&host, 5 * S);
	for (int i = 0; i < 4; i++)
		(void)call_begin(&host, &probes[i]);
	call_end(&host, &probes[0], 500, 0);
	call_end(&host, &probes[1], 200, 0);
	call_end(&host, &probes[2], 500, 0);
	is_str(state(&host), "half-open", "1 of 3 could still be 2 of 4");
	call_end(&host, &probes[3], 200, 0);
	is_str(state(&host), "closed", "50%% close it");
	fake_unload(&host);

	make_open(&host, "{\"probes\":10,\"probes_percent\":80}");
	fake_advance(&host, 5 * S);
	for (int i = 0; i < 3; i++) {
		(void)call_begin(&host, &probes[i]);
		call_end(&host, &probes[i], 500, 0);
	}
	is_str(state(&host), "open", "3 failures make 80%% of 10 impossible");
	is_str(reason(&host), "3 of 3 probes failed (100%)", "and are the reason");
	fake_unload(&host);

	make_open(&host, "{\"probes\":3,\"probes_at_once\":1}");
	fake_advance(&host, 5 * S);
	for (int i = 0; i < 3; i++) {
		is_str(state(&host), i ? "half-open" : "open", "round %d", i);
		ok(call_begin(&host, &probes[0]), "one at a time");
		ok(!call_begin(&host, &probes[1]), "no second");
		call_end(&host, &probes[0], 200, 0);
	}
	is_str(state(&host), "closed", "three in a row close it");
	fake_unload(&host);
}

static void slow_and_soft_probes(void)
{
	struct fake_host host;

	make_open(&host, "{\"slow_percent\":100,\"slow_ms\":\"1s\"}");
	fake_advance(&host, 5 * S);
	(void)calls(&host, 1, 200, 0, 1001);
	is_str(state(&host), "open", "a slow probe is no success");
	fake_unload(&host);

	make_open(&host, "{\"soft_statuses\":[429]}");
	fake_advance(&host, 5 * S);
	(void)calls(&host, 1, 429, 0, 1);
	is_str(state(&host), "open", "nor is a soft error");
	is_str(fake_status(&host, "last_error")->text, "status 429", "which is told");
	fake_unload(&host);
}

/* Opens, fails each probe, and checks the open times against bounds. */
static void backs_off(const char *config, const uint64_t *want_ms, size_t n, double jitter,
		      uint64_t max_ms)
{
	struct fake_host host;
	uint64_t distinct = 0, last = 0;

	make_open(&host, config);
	for (size_t i = 0; i < n; i++) {
		uint64_t open_ns = host.post.until_ns - host.now_ns;
		double want = (double)want_ms[i] * 1e6;
		double most = want * (1 + jitter) + 1;

		if (most > (double)max_ms * 1e6)
			most = (double)max_ms * 1e6;
		ok((double)open_ns >= want * (1 - jitter) - 1 && (double)open_ns <= most,
		   "attempt %zu: %.3f s", i + 1, (double)open_ns / 1e9);
		distinct += open_ns != last;
		last = open_ns;
		fake_advance(&host, open_ns);
		is_int(fail(&host, 2), 1, "one failing probe");
	}
	if (jitter > 0)
		ok(distinct > n / 2, "chance is at work");
	fake_advance(&host, host.post.until_ns - host.now_ns);
	(void)succeed(&host, 1);
	(void)fail(&host, 20);
	ok((double)(host.post.until_ns - host.now_ns) <= (double)want_ms[0] * 1e6 * (1 + jitter) + 1,
	   "recovery takes it back to the first");
	fake_unload(&host);
}

static void back_off(void)
{
	static const uint64_t constant[] = {5000, 5000, 5000};
	static const uint64_t doubling[] = {1000, 2000, 4000, 8000, 10000, 10000};
	static const uint64_t same[] = {1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000};

	backs_off("{}", constant, 3, 0, 60000);
	backs_off("{\"open_ms\":1000,\"open_factor\":2,\"open_max_ms\":10000}", doubling, 6, 0, 10000);
	backs_off("{\"open_ms\":1000,\"open_factor\":2,\"open_max_ms\":10000,\"open_jitter\":0.5}",
		  doubling, 6, 0.5, 10000);
	backs_off("{\"open_ms\":1000,\"open_jitter\":1}", same, 10, 1, 60000);
}

static void fail_with_retry_after(struct fake_host *host, const char *value)
{
	struct mp_field field = {fake_str("Retry-After"), fake_str(value)};
	struct fake_exchange fx;

	fake_exchange_init(&fx, host, "GET", "/");
	fx.x.flags = MP_X_COPY;
	fx.x.status = 503;
	fx.x.response_fields = &field;
	fx.x.n_response_fields = 1;
	is_int(fake_response(&fx), MP_VERDICT_PASS, "a copy is only looked at");
}

static void retry_after(void)
{
	struct fake_host host;

	make(&host, "{\"retry_after\":true}");
	ok(host.plan.needs & MP_NEED_COPY, "needs copies");
	fail_with_retry_after(&host, "20");
	(void)fail(&host, 20);
	ok(host.post.until_ns >= host.now_ns + 19 * S, "the open time is what the service wants");
	fail_with_retry_after(&host, "30");
	is_u64(host.post.until_ns, host.now_ns + 30 * S, "also when it says so afterwards");
	fail_with_retry_after(&host, "999999999");
	is_u64(host.post.until_ns, host.now_ns + 60 * S, "up to open_max_ms");
	fail_with_retry_after(&host, "Wed, 21 Oct 2026 07:28:00 GMT");
	fail_with_retry_after(&host, "99999999999999999999");
	fail_with_retry_after(&host, "-1");
	is_u64(host.post.until_ns, host.now_ns + 60 * S, "other forms change nothing");
	fake_unload(&host);

	make(&host, "{}");
	ok(!(host.plan.needs & MP_NEED_COPY), "by default it costs nothing");
	fake_unload(&host);
}

static void ramp(void)
{
	struct fake_host host;
	int early = 0, late = 0;

	make_open(&host, "{\"ramp_ms\":\"10s\",\"ramp_percent\":20,\"window_ms\":\"30s\"}");
	fake_advance(&host, 5 * S);
	(void)succeed(&host, 1);
	is_str(state(&host), "recovering", "a good probe begins the ramp");
	is_int(host.post.verdict, MP_STANDING_ASK, "on which all have to ask");
	for (int i = 0; i < 1000; i++)
		early += calls(&host, 1, 200, 0, 0);
	ok(early > 140 && early < 270, "about 20%% are admitted: %d of 1000", early);
	fake_advance(&host, 7500 * FAKE_MS);
	for (int i = 0; i < 1000; i++)
		late += calls(&host, 1, 200, 0, 0);
	ok(late > 740 && late < 860, "later about 80%%: %d of 1000", late);
	fake_advance(&host, 2500 * FAKE_MS);
	is_str(state(&host), "closed", "it ends by itself");
	is_int(host.post.verdict, MP_STANDING_PASS, "and all may pass");
	ok(number(&host, "calls") >= early + late, "what it has learned stays");
	fake_unload(&host);

	make_open(&host, "{\"ramp_ms\":\"10s\",\"ramp_percent\":100,\"open_factor\":2}");
	fake_advance(&host, 5 * S);
	(void)succeed(&host, 1);
	(void)fail(&host, 20);
	is_str(state(&host), "open", "failures on the ramp open it again");
	is_u64(host.post.until_ns, host.now_ns + 10 * S, "as one more attempt");
	fake_unload(&host);
}

static void suite(void)
{
	one_probe_like_hystrix();
	several_windows_before_closing();
	closes_while_busy();
	never_stuck();
	permits();
	slow_and_soft_probes();
	back_off();
	retry_after();
	ramp();
}

int main(void)
{
	return breaker_main(suite);
}
