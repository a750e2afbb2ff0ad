/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modes, overrides, fallbacks, and what a breaker says: events, status, the
 * failures that ring.
 */
#include "tests/unit/middlepipes/breaker_fixture.h"

#define S (1000 * FAKE_MS)

static void dry_run(void)
{
	struct fake_host host;
	struct call before, probe;

	make(&host, "{\"mode\":\"dry-run\",\"probes\":2}");
	(void)fail(&host, 20);
	is_str(state(&host), "open", "opens virtually");
	ok(passes(&host), "but nothing is refused");
	is_str(fake_last_event(&host)->name, "opened", "and says so");
	ok(strstr(fake_last_event(&host)->text, "mode=dry-run\n") != NULL, "as a rehearsal");
	is_int(succeed(&host, 7), 7, "calls are sent");
	is_u64(fake_counter(&host, "would_reject"), 7, "that would have been refused");
	is_str(state(&host), "open", "and do not move it");
	fake_exchange_init(&before.fx, &host, "GET", "/");
	is_int(fake_request(&before.fx), MP_VERDICT_PASS, "who asks passes too");
	(void)call_begin(&host, &before);
	fake_advance(&host, 5 * S);
	call_end(&host, &before, 200, 0);
	is_str(state(&host), "open", "nor does one begun before the open time's end");
	is_u64(fake_counter(&host, "would_reject"), 8, "it would have been refused");
	(void)succeed(&host, 1);
	is_str(state(&host), "half-open", "the first one after it is a probe");
	(void)call_begin(&host, &probe);
	call_end(&host, &probe, 500, 0);
	is_str(state(&host), "open", "a bad one opens it again");
	fake_advance(&host, 5 * S);
	(void)calls(&host, 1, 0, MP_ERROR_CANCELLED, 1);
	(void)succeed(&host, 2);
	is_str(state(&host), "closed", "good ones close it");
	is_u64(fake_counter(&host, "rejected"), 0, "never was a call refused");
	is_u64(fake_counter(&host, "opened"), 2, "it would have opened twice");
	fake_unload(&host);
}

static void forced_modes(void)
{
	struct fake_host host;

	make(&host, "{\"mode\":\"forced-open\"}");
	is_int(host.post.verdict, MP_STANDING_REPLY, "forced-open refuses from the start");
	is_u64(host.post.until_ns, 0, "without an end");
	is_u64(host.post.reply.retry_at_ns, 0, "and without a time to come back");
	is_int(host.post.reply.marker_retry_after, 5, "but each call is told the open time");
	is_int(succeed(&host, 3), 0, "everything");
	is_str(state(&host), "open", "its state is open");
	is_str(reason(&host), "mode forced-open", "because of the mode");
	is_u64(fake_counter(&host, "rejected"), 3, "refusals are counted");
	is_u64((uint64_t)number(&host, "probes_at"), 0, "it never probes");
	fake_unload(&host);

	make(&host, "{\"mode\":\"forced-open\",\"open_ms\":100,\"fallback\":\"static\"}");
	is_int(host.post.reply.marker_retry_after, 1, "at least a second");
	fake_unload(&host);

	make(&host, "{\"mode\":\"forced-closed\",\"consecutive\":1}");
	is_int(fail(&host, 100), 100, "forced-closed sends all");
	is_str(state(&host), "closed", "whatever comes of it");
	is_int((int64_t)number(&host, "calls"), 100, "but counts");
	fake_unload(&host);
}

static int32_t override(struct fake_host *host, const char *value)
{
	return filter->command(host->self, "override", value);
}

static void overrides(void)
{
	struct fake_host host;
	struct call probe;

	make(&host, "{}");
	is_int(override(&host, "open"), 0, "override open");
	is_int(succeed(&host, 2), 0, "refuses all");
	is_str(reason(&host), "override open", "as an operator's word");
	is_int(host.post.reply.marker_retry_after, 5, "callers are told the open time");
	is_int(override(&host, "auto"), 0, "override auto");
	is_int(succeed(&host, 2), 2, "takes it back");
	is_str(reason(&host), "no call was judged yet", "the circuit was closed all the time");

	(void)fail(&host, 20);
	is_str(state(&host), "open", "open by itself");
	is_int(override(&host, "closed"), 0, "override closed");
	is_int(fail(&host, 30), 30, "sends all");
	is_str(state(&host), "closed", "and judges nothing");
	is_int(override(&host, "auto"), 0, "override auto");
	(void)fail(&host, 1);
	is_str(state(&host), "open", "judges what it saw meanwhile");

	fake_advance(&host, 5 * S);
	(void)call_begin(&host, &probe);
	is_int(override(&host, "open"), 0, "override open with a probe on its way");
	is_u64(host.timer_ns, 0, "nothing is awaited");
	call_end(&host, &probe, 200, 0);
	is_str(state(&host), "open", "its result is not used");
	is_int(override(&host, "auto"), 0, "override auto");
	is_str(state(&host), "half-open", "goes on where it was");
	is_int(succeed(&host, 1), 1, "with a new probe");
	is_str(state(&host), "closed", "that closes it");

	is_int(override(&host, "half"), -EINVAL, "other words are refused");
	is_int(filter->command(host.self, "explode", ""), -ENOTSUP, "other commands too");
	is_int(filter->command(host.self, "reset", "now"), -EINVAL, "reset takes no word");
	(void)fail(&host, 20);
	is_int(filter->command(host.self, "reset", ""), 0, "reset");
	is_str(state(&host), "closed", "closes it");
	is_int((int64_t)number(&host, "calls"), 0, "and forgets");
	ok(passes(&host), "all may pass");
	fake_unload(&host);

	make(&host, "{\"mode\":\"forced-closed\"}");
	(void)override(&host, "open");
	is_int(succeed(&host, 1), 0, "an override is stronger than the mode");
	(void)override(&host, "auto");
	is_int(succeed(&host, 1), 1, "which then holds again");
	fake_unload(&host);
}

static void fallbacks(void)
{
	struct fake_host host;
	struct call call;

	make(&host, "{}");
	(void)fail(&host, 20);
	is_int(host.post.reply.status, 503, "raise: 503");
	is_str(host.post.reply.marker_type, "breaker", "marked");
	is_str(host.post.reply.marker_state, "open", "with the state");
	is_str(host.post.reply.marker_callback, "raise", "raises");
	is_u64(host.post.reply.retry_at_ns, host.post.until_ns, "Retry-After is the open time's end");
	fake_unload(&host);

	make(&host, "{\"fallback\":\"static\",\"static_status\":404,\"static_body\":\"{}\","
		    "\"static_fields\":{\"Content-Type\":\"application/json\"}}");
	(void)fail(&host, 20);
	is_int(host.post.reply.status, 404, "static: its status");
	is_str(host.post.reply.fields, "Content-Type: application/json\n", "fields");
	is_str(host.post.reply.body, "{}", "and body");
	is_str(host.post.reply.marker_state, "open", "marked");
	is_str(host.post.reply.marker_callback, "", "but does not raise");
	fake_advance(&host, 5 * S);
	(void)call_begin(&host, &call);
	ok(!call_begin(&host, &call), "who asks and is refused");
	is_str(call.fx.reply.body, "{}", "gets the same");
	fake_unload(&host);

	make(&host, "{\"fallback\":\"empty\"}");
	(void)fail(&host, 20);
	is_int(host.post.reply.status, 204, "empty: 204");
	is_int((int64_t)host.post.reply.body_len, 0, "without a body");
	fake_unload(&host);

	make(&host, "{\"fallback\":\"static\",\"static_body\":\"too large for this board\"}");
	host.max_reply = 10;
	(void)fail(&host, 20);
	is_int(host.post.verdict, MP_STANDING_ASK, "a reply that does not fit cannot stand");
	is_int(succeed(&host, 1), 0, "but who asks is refused with it");
	fake_unload(&host);
}

static void says(void)
{
	struct fake_host host;
	const char *text;

	make(&host, "{}");
	is_str(state(&host), "closed", "closed at first");
	is_u64((uint64_t)number(&host, "since"), FAKE_START, "since it was made");
	(void)succeed(&host, 8);
	(void)fail(&host, 11);
	(void)calls(&host, 1, 0, MP_ERROR_REFUSED, 1);
	is_u64(host.n_events, 1, "one event a transition");
	is_str(fake_last_event(&host)->name, "opened", "opened");
	text = fake_last_event(&host)->text;
	ok(strstr(text, "reason=12 of 20 calls failed (60%)\n") != NULL, "with the reason");
	ok(strstr(text, "calls=20\nfailed=12\nslow=0\nerror_percent=60\nopen_ms=5000\nattempt=1\n") != NULL,
	   "and the numbers");
	ok(strstr(text, "last_error=refused\n") != NULL, "and the last error");
	is_str(reason(&host), "12 of 20 calls failed (60%)", "the status has the reason too");
	is_u64((uint64_t)number(&host, "probes_at"), host.post.until_ns, "when it probes");
	is_u64((uint64_t)number(&host, "since"), host.now_ns, "since when it is open");
	is_str(fake_status(&host, "last_error")->text, "refused", "the last error");
	ok(strstr(fake_status(&host, "last_errors")->text, "refused 0.0 s ago, status 500 0.0 s ago") != NULL,
	   "and those before");
	fake_advance(&host, 5 * S);
	(void)succeed(&host, 1);
	is_u64(host.n_events, 3, "two more events");
	is_str(host.events[1].name, "half-open", "half-open");
	is_str(host.events[2].name, "closed", "closed");
	ok(strstr(host.events[2].text, "reason=1 of 1 probes succeeded (100%)\n") != NULL, "with the reason");
	is_u64(fake_counter(&host, "errors"), 12, "errors are counted");
	is_u64(fake_counter(&host, "probes"), 1, "and probes");
	fake_unload(&host);
}

static bool bit(const uint64_t *bits, int status)
{
	return bits[(status - 100) / 64] >> (status - 100) % 64 & 1;
}

static void rings(void)
{
	struct fake_host host;

	make(&host, "{\"error_statuses\":[\"500-503\"],\"soft_statuses\":[429],\"slow_percent\":1,"
		    "\"slow_ms\":250,\"errors\":[\"timeout\",\"cancelled\"]}");
	is_int(host.plan.needs, MP_NEED_REQUEST | MP_NEED_OUTCOME, "needs requests and outcomes");
	ok(bit(host.plan.failure.statuses, 500) && bit(host.plan.failure.statuses, 503) &&
		   bit(host.plan.failure.statuses, 429),
	   "errors ring");
	ok(!bit(host.plan.failure.statuses, 499) && !bit(host.plan.failure.statuses, 504) &&
		   !bit(host.plan.failure.statuses, 200),
	   "others do not");
	is_int(host.plan.failure.errors, 1 << MP_ERROR_TIMEOUT | 1 << MP_ERROR_CANCELLED, "nor kinds");
	is_u64(host.plan.failure.slow_ns, 250 * FAKE_MS, "slow calls do");
	fake_unload(&host);
}

static void suite(void)
{
	dry_run();
	forced_modes();
	overrides();
	fallbacks();
	says();
	rings();
}

int main(void)
{
	return breaker_main(suite);
}
