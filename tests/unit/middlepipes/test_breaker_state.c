/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The breaker's state through get and put: over swaps, restarts, another
 * configuration, another boot, and hostile bytes.
 */
#include "tests/unit/middlepipes/breaker_fixture.h"

#define S (1000 * FAKE_MS)
#define STATE_SIZE 20000

static char saved[STATE_SIZE];
static size_t saved_size;

static void save(struct fake_host *host)
{
	saved_size = (size_t)filter->get(host->self, "state", saved, sizeof(saved));
}

/* A new unit at a time, with what was saved. */
static void revive(struct fake_host *host, const char *config, uint64_t now_ns)
{
	fake_init(host, filter, now_ns);
	if (fake_make(host, config) ||
	    filter->put(host->self, "state", saved, saved_size)) {
		printf("Bail out! %s: %s\n", config, host->error);
		exit(1);
	}
	fake_start(host);
}

static void open_stays_open(void)
{
	struct fake_host host, next;
	uint64_t until_ns, since_ns;

	make(&host, "{}");
	(void)fail(&host, 20);
	until_ns = host.post.until_ns;
	since_ns = host.now_ns;
	fake_advance(&host, 2 * S);
	save(&host);
	fake_unload(&host);

	revive(&next, "{}", since_ns + 3 * S);
	is_str(state(&next), "open", "an open circuit stays open");
	is_int(next.post.verdict, MP_STANDING_REPLY, "and refuses");
	is_u64(next.post.until_ns, until_ns, "until the same time");
	is_str(reason(&next), "20 of 20 calls failed (100%)", "for the same reason");
	is_u64((uint64_t)number(&next, "since"), since_ns, "since the same time");
	is_str(fake_status(&next, "last_error")->text, "status 500", "after the same error");
	is_u64(next.n_events, 0, "which is no event");
	fake_advance(&next, 2 * S);
	is_int(succeed(&next, 1), 1, "then it probes");
	is_str(state(&next), "closed", "and closes");
	fake_unload(&next);

	revive(&next, "{}", since_ns + 100 * S);
	is_int(next.post.verdict, MP_STANDING_ASK, "long after it probes at once");
	is_int(succeed(&next, 1), 1, "and closes");
	fake_unload(&next);

	revive(&next, "{\"open_ms\":100,\"open_max_ms\":1000}", since_ns);
	is_u64(next.post.until_ns, since_ns + S, "a shorter greatest open time holds at once");
	fake_unload(&next);

	revive(&next, "{\"mode\":\"forced-closed\"}", since_ns + 3 * S);
	ok(passes(&next), "forced-closed ends it");
	fake_unload(&next);

	revive(&next, "{\"mode\":\"dry-run\"}", since_ns + 3 * S);
	ok(passes(&next), "dry-run refuses nothing");
	is_str(state(&next), "open", "virtually open");
	fake_unload(&next);
}

static void window_is_carried(void)
{
	struct fake_host host, next;
	uint64_t now_ns;

	make(&host, "{\"consecutive\":15}");
	(void)succeed(&host, 9);
	fake_advance(&host, 5 * S);
	(void)fail(&host, 8);
	save(&host);
	now_ns = host.now_ns;
	fake_unload(&host);

	revive(&next, "{\"consecutive\":15}", now_ns);
	is_int((int64_t)number(&next, "calls"), 17, "calls are carried");
	is_int((int64_t)number(&next, "failed"), 8, "and errors");
	is_int((int64_t)number(&next, "errors_in_a_row"), 8, "and the run of errors");
	(void)fail(&next, 3);
	is_str(reason(&next), "11 of 20 calls failed (55%)", "and are judged with what comes");
	fake_unload(&next);

	revive(&next, "{}", now_ns + 6 * S);
	is_int((int64_t)number(&next, "calls"), 8, "what is too old meanwhile is left out");
	fake_unload(&next);

	revive(&next, "{\"window_ms\":\"1m\",\"buckets\":100}", now_ns);
	is_int((int64_t)number(&next, "calls"), 17, "other buckets take the same calls");
	fake_unload(&next);

	revive(&next, "{\"window_ms\":\"2s\",\"buckets\":2}", now_ns);
	is_int((int64_t)number(&next, "calls"), 8, "a shorter window those that are young enough");
	fake_unload(&next);

	revive(&next, "{\"volume\":17,\"error_percent\":40}", now_ns);
	filter->on_drained(next.self);
	is_str(state(&next), "open", "a stricter configuration judges at once");
	fake_unload(&next);
}

static void half_open_probes_anew(void)
{
	struct fake_host host, next;
	struct call old, probe;

	make(&host, "{}");
	(void)fail(&host, 20);
	fake_advance(&host, 5 * S);
	(void)call_begin(&host, &old);
	save(&host);

	revive(&next, "{}", host.now_ns);
	is_str(state(&next), "open", "half-open is carried as open");
	ok(call_begin(&next, &probe), "that probes at once");
	call_end(&next, &old, 500, 0);
	is_str(state(&next), "half-open", "tokens of before are void");
	call_end(&next, &probe, 200, 0);
	is_str(state(&next), "closed", "its own closes it");
	fake_unload(&next);
	is_int(filter->put(host.self, "state", saved, saved_size), 0, "put into a living unit");
	is_str(state(&host), "open", "is the same");
	call_end(&host, &old, 200, 0);
	is_str(state(&host), "open", "also for its own tokens");
	fake_unload(&host);
}

static void others_are_carried(void)
{
	struct fake_host host, next;

	make(&host, "{}");
	(void)filter->command(host.self, "override", "open");
	save(&host);
	revive(&next, "{}", host.now_ns);
	is_int(succeed(&next, 1), 0, "an override outlives a restart");
	is_str(reason(&next), "override open", "and says so");
	(void)filter->command(next.self, "override", "auto");
	is_int(succeed(&next, 1), 1, "until it is taken back");
	fake_unload(&next);
	fake_unload(&host);

	make(&host, "{\"open_ms\":1000,\"open_factor\":2}");
	(void)fail(&host, 20);
	fake_advance(&host, S);
	(void)fail(&host, 1);
	fake_advance(&host, 2 * S);
	save(&host);
	revive(&next, "{\"open_ms\":1000,\"open_factor\":2}", host.now_ns);
	(void)fail(&next, 1);
	is_u64(next.post.until_ns, next.now_ns + 4 * S, "back-off goes on where it was");
	fake_unload(&next);
	fake_unload(&host);

	make(&host, "{\"ramp_ms\":\"10s\"}");
	(void)fail(&host, 20);
	fake_advance(&host, 5 * S);
	(void)succeed(&host, 1);
	save(&host);
	revive(&next, "{\"ramp_ms\":\"10s\"}", host.now_ns + S);
	is_str(state(&next), "recovering", "a ramp goes on");
	fake_advance(&next, 9 * S);
	is_str(state(&next), "closed", "and ends when it would have");
	fake_unload(&next);
	revive(&next, "{}", host.now_ns);
	is_str(state(&next), "closed", "without a ramp it is closed");
	fake_unload(&next);
	fake_unload(&host);
}

static void another_boot(void)
{
	struct fake_host host, next;
	uint64_t now_ns;

	make(&host, "{}");
	(void)succeed(&host, 20);
	fake_advance(&host, 3 * S);
	(void)fail(&host, 25);
	save(&host);
	now_ns = host.now_ns;
	fake_unload(&host);
	is_str(now_ns > FAKE_START ? "later" : "", "later", "saved at a late time");

	revive(&next, "{}", S);
	is_str(state(&next), "open", "a clock that begins anew");
	ok(next.post.until_ns > S && next.post.until_ns <= 6 * S, "keeps it open for what was left");
	fake_unload(&next);
	revive(&next, "{}", 0);
	is_str(state(&next), "open", "even at its very first moment");
	fake_advance(&next, 6 * S);
	is_int(succeed(&next, 2), 2, "and it recovers");
	fake_unload(&next);
}

static void sizes_and_keys(void)
{
	struct fake_host host;
	char small[10] = "untouched";
	int64_t size;

	make(&host, "{\"buckets\":100}");
	for (int i = 0; i < 100; i++) {
		(void)calls(&host, 1, i & 1 ? 404 : 200, 0, 99);
		fake_advance(&host, FAKE_MS);
	}
	(void)fail(&host, 9);
	size = filter->get(host.self, "state", NULL, 0);
	ok(size > 2000 && size < 16384, "the size of a full window: %d", (int)size);
	is_int(filter->get(host.self, "state", small, 7), size, "get says the whole size");
	ok(!memcmp(small, "breakered", 9), "and writes no more than asked: %.9s", small);
	is_int(filter->get(host.self, "bodies", small, 7), -ENOENT, "another key");
	is_int(filter->put(host.self, "bodies", small, 7), -ENOENT, "is not known");
	is_int(filter->del(host.self, "bodies"), -ENOENT, "at all");
	is_int(filter->del(host.self, "state"), 0, "del");
	is_int((int64_t)number(&host, "calls"), 0, "is a reset");
	fake_unload(&host);
}

/* Small, and the same everywhere. */
static uint32_t chance(uint32_t below)
{
	static uint64_t seed = 42;

	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static void mutate(char *text, size_t *size)
{
	static const char bytes[] = "0123456789 \n-x";
	size_t at = chance((uint32_t)*size);

	switch (chance(4)) {
	case 0:
		text[at] = bytes[chance(sizeof(bytes) - 1)];
		break;
	case 1:
		text[at] = (char)chance(256);
		break;
	case 2: /* a byte less */
		memmove(text + at, text + at + 1, --*size - at);
		break;
	default: /* a byte more */
		memmove(text + at + 1, text + at, (*size)++ - at);
		text[at] = bytes[chance(sizeof(bytes) - 1)];
		break;
	}
}

/* Does what get gives stay the same, the line `now` apart? */
static bool unchanged(struct fake_host *host, const char *before, int64_t size)
{
	char after[STATE_SIZE];

	return filter->get(host->self, "state", after, sizeof(after)) == size &&
	       !memcmp(before, after, (size_t)size);
}

static void hostile_bytes(void)
{
	static const char *const bad[] = {
		"", "\n", "breaker 2\n", "breaker 1\n", "breaker 1\nend\n",
		"breaker 18446744073709551617\n",
	};
	struct fake_host host;
	char before[STATE_SIZE], text[STATE_SIZE];
	int64_t before_size;
	int n_taken = 0, n_wrong = 0;

	make(&host, "{\"probes\":3}");
	(void)succeed(&host, 30);
	(void)fail(&host, 40);
	save(&host);
	(void)filter->command(host.self, "reset", "");
	(void)succeed(&host, 3);
	before_size = filter->get(host.self, "state", before, sizeof(before));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_int(filter->put(host.self, "state", bad[i], strlen(bad[i])), -EINVAL,
		       "bad text %zu is refused", i);
	for (size_t size = 0; size < saved_size; size++)
		n_wrong += filter->put(host.self, "state", saved, size) != -EINVAL;
	memcpy(text, saved, saved_size);
	text[saved_size] = '\n';
	n_wrong += filter->put(host.self, "state", text, saved_size + 1) != -EINVAL;
	memset(text, '0', sizeof(text));
	n_wrong += filter->put(host.self, "state", text, sizeof(text)) != -EINVAL;
	is_int(n_wrong, 0, "every part of a state, and more than one, is refused");
	ok(unchanged(&host, before, before_size), "and changes nothing");

	for (int i = 0; i < 20000; i++) {
		size_t size = saved_size;

		memcpy(text, saved, saved_size);
		for (uint32_t n = 1 + chance(4); n > 0; n--)
			mutate(text, &size);
		before_size = filter->get(host.self, "state", before, sizeof(before));
		if (filter->put(host.self, "state", text, size))
			n_wrong += !unchanged(&host, before, before_size);
		else
			n_taken++;
		(void)calls(&host, 2, i & 1 ? 200 : 500, 0, chance(3000));
		(void)state(&host);
	}
	is_int(n_wrong, 0, "20000 mutated states: refused ones change nothing");
	note("%d were taken", n_taken);
	fake_unload(&host);
}

static void suite(void)
{
	open_stays_open();
	window_is_carried();
	half_open_probes_anew();
	others_are_carried();
	another_boot();
	sizes_and_keys();
	hostile_bytes();
}

int main(void)
{
	return breaker_main(suite);
}
