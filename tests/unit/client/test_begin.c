/* SPDX-License-Identifier: Apache-2.0 */
/* mp_begin and mp_standing: look-ups, standing verdicts, being inert. */
#include "tests/unit/client/fake.h"

static const struct fake_row rows[] = {
	{ "payments", 80, "/api/v1", ENTRY_OUTCOME, "guard", MP_STANDING_PASS },
	{ "payments", 80, "/api", ENTRY_OUTCOME, "guard", MP_STANDING_ASK },
	{ "payments", 80, "", ENTRY_OUTCOME, "guard", MP_STANDING_PASS },
	{ "payments", 81, "", ENTRY_OUTCOME, "guard", MP_STANDING_ASK },
	{ "any.port", 0, "", ENTRY_OUTCOME | ENTRY_COPY, "guard", MP_STANDING_PASS },
	{ "secure", 443, "", ENTRY_RESPONSE | ENTRY_COPY | ENTRY_REQUEST_BODY, "guard",
	  MP_STANDING_ASK },
	{ "unix:/run/app.sock", 0, "", ENTRY_OUTCOME, "guard", MP_STANDING_PASS },
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static struct fake fake;

static int begin(const char *host, uint32_t port, const char *path)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_call call;
	int r = fake_begin(host, port, path, &call, &v);

	mp_verdict_free(&v);
	if (r != MP_NONE)
		mp_end(&call, 200, 0, 0);
	return r;
}

static void inert(void)
{
	struct mp_counters c;

	unsetenv("MIDDLEPIPE_SOCK");
	is_int(mp_enabled(), 0, "no socket is named: not enabled");
	is_int(begin("payments", 80, "/"), MP_NONE, "nothing is there");
	is_int(mp_body_limit(), 0, "no body is shown");
	c = fake_counters();
	is_u64(c.unfiltered + c.away + c.connects, 0, "nothing is counted");
	is_str(mp_version(), "1.0", "the version");
}

static void disabled(void)
{
	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	setenv("MIDDLEPIPE_DISABLED", "1", 1);
	is_int(mp_enabled(), 0, "MIDDLEPIPE_DISABLED=1: not enabled");
	is_int(begin("payments", 80, "/"), MP_NONE, "nothing is there");
	is_u64(fake.hellos, 0, "nobody was asked");
	fake_end(&fake);
}

static void no_scheduler(void)
{
	struct mp_counters c;

	setenv("MIDDLEPIPE_SOCK", "/nonexistent/socket", 1);
	is_int(mp_enabled(), 1, "a socket is named: enabled");
	is_int(begin("payments", 80, "/"), MP_NONE, "nobody is there: go");
	c = fake_counters();
	is_u64(c.unfiltered, 1, "counted as unfiltered");
	is_u64(c.away, 1, "and as away");
	is_u64(c.connected, 0, "not connected");
}

static void required(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_call call;

	setenv("MIDDLEPIPE_SOCK", "/nonexistent/socket", 1);
	setenv("MIDDLEPIPE_REQUIRED", "1", 1);
	is_int(fake_begin("payments", 80, "/", &call, &v), MP_REPLY, "required: refused");
	is_int(v.status, 503, "with 503");
	is_int(v.raise, 1, "and an exception");
	ok(fake_has(&v, "Middlepipe", "middlepipe;state=unavailable;retry-after=1;callback=raise"),
	   "the marker");
	ok(fake_has(&v, "Retry-After", "1"), "Retry-After");
	mp_verdict_free(&v);
	mp_end(&call, 0, 0, 0);
	is_int(fake_begin("payments", 80, "/", &call, NULL), MP_NONE, "a caller without a verdict goes");
	is_u64(fake_counters().refused, 1, "one was refused");
	is_int(mp_standing(&(struct mp_target){ .size = sizeof(struct mp_target), .host = MP_LIT("a"),
						.scheme = MP_LIT("http") }), MP_REPLY,
	       "mp_standing says so too");
}

static void look_ups(void)
{
	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	is_int(begin("payments", 80, "/"), MP_GO, "host:port");
	is_int(begin("PayMents.", 0, "/"), MP_GO, "in another spelling, the scheme's port");
	is_int(begin("payments", 81, "/"), MP_ASK, "another port of it");
	is_int(begin("payments", 82, "/"), MP_NONE, "a port that is not there");
	is_int(begin("any.port", 82, "/"), MP_GO, "a match without a port takes any");
	is_int(begin("other", 80, "/"), MP_NONE, "another host");
	is_int(begin("", 80, "/"), MP_NONE, "no host at all");
	is_int(begin("unix:/run/app.sock", 0, "/"), MP_GO, "a Unix socket");
	is_int(begin("payments", 80, "/api"), MP_ASK, "a prefix");
	is_int(begin("payments", 80, "/api?x"), MP_ASK, "with a query");
	is_int(begin("payments", 80, "/api/v2"), MP_ASK, "below it");
	is_int(begin("payments", 80, "/api/v1/x"), MP_GO, "a longer prefix comes first");
	is_int(begin("payments", 80, "/apis"), MP_GO, "not at a segment boundary");
	is_int(begin("payments", 80, ""), MP_GO, "an empty path is /");
	is_u64(fake_counters().connects, 1, "all over one lane");
	is_u64(fake_counters().connected, 1, "which is open");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	is_u64(fake_head(&fake.lanes[0])->begun[1], 11, "eleven calls in set 1");
	is_u64(mp_body_limit(), FAKE_DATA / 2, "a body limit");
	fake_end(&fake);
}

/* Frozen: hooks of 1.0 pass these, whatever is appended. */
_Static_assert(sizeof(void *) != 8 ||
		       (MP_TARGET_1_0 == 56 && MP_REQUEST_1_0 == 104 && MP_RESPONSE_1_0 == 48 &&
			MP_VERDICT_1_0 == 168 && MP_COUNTERS_1_0 == 96),
	       "sizes of 1.0");

/* Structs as long as those of 1.0 are taken, shorter ones refused, longer ones left alone. */
static void sizes(void)
{
	struct mp_target target = fake_target("payments", 80, "/");
	struct {
		struct mp_verdict v;
		char more[16]; /* what the caller's struct has and ours has not */
	} verdict = { .v.size = MP_VERDICT_1_0 - 1, .v.status = 7, .more = "more" };
	struct {
		struct mp_counters c;
		char more[16];
	} counters = { .c.size = MP_COUNTERS_1_0 - 1, .more = "more" };
	struct mp_call call;

	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, 0, fake_blob(&fake, 64, 503, 1, "no"));
	target.size = MP_TARGET_1_0 - 1;
	is_int(mp_begin(&target, &call, NULL), MP_NONE, "a target shorter than that of 1.0");
	is_int(mp_standing(&target), MP_NONE, "to mp_standing too");
	target.size = MP_TARGET_1_0;
	is_int(mp_standing(&target), MP_REPLY, "as long as that of 1.0 it is taken");
	is_int(mp_begin(&target, &call, &verdict.v), MP_GO, "a verdict shorter than that of 1.0: none");
	mp_end(&call, 200, 0, 0);
	is_int(verdict.v.status, 7, "nothing is written to it");
	verdict.v.size = MP_VERDICT_1_0;
	is_int(mp_begin(&target, &call, &verdict.v), MP_REPLY, "as long as that of 1.0 it is filled");
	mp_verdict_free(&verdict.v);
	mp_end(&call, 0, 0, 0);
	verdict.v.size = sizeof(verdict);
	is_int(mp_begin(&target, &call, &verdict.v), MP_REPLY, "a longer one is filled");
	mp_verdict_free(&verdict.v);
	mp_end(&call, 0, 0, 0);
	is_u64(verdict.v.size, sizeof(verdict), "and keeps its size");
	is_str(verdict.more, "more", "and what we do not know");
	mp_counters_get(&counters.c);
	is_u64(counters.c.replied, 0, "counters shorter than those of 1.0 are not filled");
	counters.c.size = MP_COUNTERS_1_0;
	mp_counters_get(&counters.c);
	is_u64(counters.c.replied, 2, "as long as those of 1.0 they are");
	counters.c.size = sizeof(counters);
	mp_counters_get(&counters.c);
	is_u64(counters.c.doorbells, fake_counters().doorbells, "and longer ones");
	is_str(counters.more, "more", "as far as we know them");
	fake_end(&fake);
}

static void wants(void)
{
	struct mp_target secure = fake_target("secure", 0, "/");
	struct mp_call call;

	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	secure.scheme = MP_LIT("https");
	is_int(mp_begin(&secure, &call, NULL), MP_ASK, "https: port 443");
	is_int(call.wants, MP_WANT_RESPONSE | MP_WANT_REQUEST_BODY, "response and body are wanted");
	mp_end(&call, 200, 0, 0);
	is_int(fake_begin("any.port", 1, "/", &call, NULL), MP_GO, "the other");
	is_int(call.wants, MP_WANT_COPY, "wants a copy");
	mp_end(&call, 200, 0, 0);
	mp_end(&call, 200, 0, 0);
	ok(fake_balanced(&fake.lanes[0]), "ended once, though mp_end came twice");
	fake_end(&fake);
}

static void overflow(void)
{
	struct mp_call call;

	fake_init(&fake, rows, N_ROWS);
	((struct board_table *)(void *)fake_table(&fake, 0))->overflow = 1;
	fake_run(&fake);
	is_int(fake_begin("payments", 80, "/", &call, NULL), MP_GO, "what fitted stands");
	mp_end(&call, 200, 0, 0);
	is_int(fake_begin("other", 80, "/", &call, NULL), MP_ASK, "the rest is asked about");
	mp_end(&call, 0, MP_ERROR_TIMEOUT, 0);
	is_u64(fake_outcome(&fake.lanes[0], 1)->where >> 32, LANE_ENTRY_NONE, "with no entry's number");
	fake_end(&fake);
}

/* Of what did not fit, something is `closed`: without a scheduler all of it is refused. */
static void overflow_closed(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_target other = fake_target("other", 80, "/");
	struct board_table *t;
	struct mp_call call;

	fake_init(&fake, rows, N_ROWS);
	t = (struct board_table *)(void *)fake_table(&fake, 0);
	t->overflow = t->overflow_closed = 1;
	setenv("MIDDLEPIPE_BUDGET_MS", "200", 1);
	fake_run(&fake);
	if (!ok(EVENTUALLY(begin("payments", 80, "/") == MP_GO), "connected"))
		return;
	is_int(fake_begin("other", 80, "/", &call, NULL), MP_ASK, "what did not fit is asked about");
	mp_end(&call, 200, 0, 0);
	is_int(mp_standing(&other), MP_ASK, "mp_standing says so too");
	fake_kill(&fake);
	ok(EVENTUALLY(begin("payments", 80, "/") == MP_NONE), "the scheduler is away: what fitted goes");
	is_int(fake_begin("other", 80, "/", &call, &v), MP_REPLY, "what did not fit is refused");
	ok(fake_has(&v, "Middlepipe", "middlepipe;state=unavailable;retry-after=1;callback=raise"),
	   "in no pipe's name");
	mp_verdict_free(&v);
	mp_end(&call, 0, 0, 0);
	is_int(mp_standing(&other), MP_REPLY, "mp_standing refuses");
	other.path = MP_LIT("");
	is_int(mp_standing(&other), MP_REPLY, "on every path");
	t->overflow_closed = 0;
	is_int(begin("other", 80, "/"), MP_NONE, "nothing of it is closed: it goes");
	is_int(mp_standing(&other), MP_NONE, "mp_standing lets it go");
	rmdir(fake.dir);
}

static void empty_board(void)
{
	fake_init(&fake, rows, N_ROWS);
	atomic_store(&fake_board(&fake)->word, 0);
	fake_run(&fake);
	is_int(begin("payments", 80, "/"), MP_NONE, "no chains yet");
	fake_flip(&fake, 1, 1, 0);
	is_int(begin("payments", 80, "/"), MP_GO, "now there are");
	fake_fill(&fake, 1, rows + 3, 1);
	fake_flip(&fake, 2, 2, 1);
	is_int(begin("payments", 80, "/"), MP_NONE, "after a swap it has gone");
	is_int(begin("payments", 81, "/"), MP_ASK, "another is there");
	is_u64(fake_head(&fake.lanes[0])->begun[2], 1, "begun in the new set");
	fake_end(&fake);
}

/* A writer that died leaves the sequence word odd: ASK, and no endless loop. */
static void torn_entry(void)
{
	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	is_int(begin("payments", 80, "/"), MP_GO, "PASS stands");
	atomic_store(&fake_entry(&fake, 0, 2)->seq, 7);
	is_int(begin("payments", 80, "/"), MP_ASK, "odd: ASK");
	atomic_store(&fake_entry(&fake, 0, 2)->seq, 8);
	atomic_store(&fake_entry(&fake, 0, 2)->standing, 9);
	is_int(begin("payments", 80, "/"), MP_ASK, "an unknown verdict: ASK");
	fake_end(&fake);
}

static void reply(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_call call;
	uint64_t where;

	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, 0,
		  fake_blob(&fake, 64, 503, fake_now() + 3500 * NS_PER_MS, "no"));
	is_int(fake_begin("payments", 80, "/", &call, &v), MP_REPLY, "REPLY stands");
	is_int(v.verdict, MP_VERDICT_REPLY, "the verdict");
	is_int(v.status, 503, "its status");
	ok(slice_eq(v.body, MP_LIT("no")), "its body");
	is_int(v.retry_after, 4, "3.5 s are rounded up");
	ok(fake_has(&v, "Retry-After", "4"), "as a field too");
	ok(fake_has(&v, "Content-Type", "text/plain"), "the filter's own field");
	ok(fake_has(&v, "Middlepipe", "breaker;state=open;pipe=\"guard\";retry-after=4;callback=raise"),
	   "the marker, and not a forged one");
	is_u64(v.n_fields, 3, "nothing else");
	ok(slice_eq(v.type, MP_LIT("breaker")) && slice_eq(v.pipe, MP_LIT("guard")) &&
	   slice_eq(v.state, MP_LIT("open")), "type, pipe and state");
	is_int(v.raise, 1, "raise");
	mp_verdict_free(&v);
	mp_verdict_free(&v);
	mp_end(&call, 200, 0, 0);
	where = fake_outcome(&fake.lanes[0], 0)->where;
	is_u64(where, lane_where(2, 1, MP_STANDING_REPLY, 0, 503), "published as a REPLY with 503");
	is_u64(fake_counters().replied, 1, "counted");
	is_u64(fake_counters().doorbells, 0, "no failure: no doorbell");
	is_int(fake_begin("payments", 80, "/", &call, NULL), MP_GO, "without a verdict it goes");
	mp_end(&call, 200, 0, 0);
	fake_end(&fake);
}

static void reply_corners(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	uint64_t blob;

	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	is_int(begin("payments", 80, "/"), MP_GO, "PASS stands");
	blob = fake_blob(&fake, 64, 503, 1, "no");
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, fake_now() + NS_PER_S, blob);
	is_int(begin("payments", 80, "/"), MP_REPLY, "until has not come");
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, fake_now() - 1, blob);
	is_int(begin("payments", 80, "/"), MP_ASK, "until has passed: ASK");
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, 0, (uint64_t)FAKE_BLOBS << 32 | 64);
	is_int(begin("payments", 80, "/"), MP_ASK, "a blob outside: ASK");
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, 0, UINT64_C(64) << 32 | 8);
	is_int(begin("payments", 80, "/"), MP_ASK, "a blob that is too short: ASK");
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, 0, UINT64_C(64) << 32 | 40);
	is_int(begin("payments", 80, "/"), MP_ASK, "a head that sticks out: ASK");
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, 0, fake_blob(&fake, 64, 99, 1, "no"));
	is_int(begin("payments", 80, "/"), MP_ASK, "no status: ASK");
	fake_post(&fake, 0, 2, MP_STANDING_REPLY, 0, fake_blob(&fake, 64, 204, 1, ""));
	struct mp_call call;

	is_int(fake_begin("payments", 80, "/", &call, &v), MP_REPLY, "204 with a past retry time");
	is_int(v.retry_after, 1, "is at least one second");
	ok(v.body.ptr && !v.body.len, "an empty body");
	mp_verdict_free(&v);
	mp_end(&call, 0, 0, 0);
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	fake_end(&fake);
}

static void garbage_table(void)
{
	struct board_table *t;

	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	is_int(begin("payments", 80, "/"), MP_GO, "PASS stands");
	t = (struct board_table *)(void *)fake_table(&fake, 0);
	atomic_store(&t->n_entries, 1u << 30);
	is_int(begin("payments", 80, "/"), MP_NONE, "a table that sticks out: unfiltered");
	is_u64(fake_counters().unfiltered, 1, "and counted");
	t->n_entries = N_ROWS;
	t->text_size = 3;
	(void)begin("payments", 80, "/");
	t->text_size = 1024;
	atomic_store(&((struct board_destination *)(void *)((char *)t + t->destinations_offset))->count,
		     1000);
	(void)begin("payments", 80, "/");
	ok(1, "nonsense leads nowhere");
	fake_end(&fake);
}

static int standing(const char *host, uint32_t port, const char *path)
{
	struct mp_target target = fake_target(host, port, path);

	return mp_standing(&target);
}

static void standings(void)
{
	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	is_int(standing("payments", 80, "/"), MP_GO, "one path");
	is_int(standing("payments", 80, "/api"), MP_ASK, "another path");
	is_int(standing("payments", 80, ""), MP_ASK, "every path: they differ");
	fake_post(&fake, 0, 1, MP_STANDING_PASS, 0, 0);
	is_int(standing("payments", 80, ""), MP_GO, "every path: now all are PASS");
	fake_post(&fake, 0, 3, MP_STANDING_REPLY, 0, fake_blob(&fake, 64, 503, 1, "no"));
	is_int(standing("payments", 81, ""), MP_REPLY, "REPLY");
	is_int(standing("other", 81, ""), MP_NONE, "nothing there");
	is_u64(fake_head(&fake.lanes[0])->begun[1], 0, "nothing was begun");
	is_u64(fake_counters().passed + fake_counters().replied, 0, "nothing was counted");
	fake_end(&fake);
}

int main(void)
{
	scenario("inert", inert);
	scenario("disabled", disabled);
	scenario("no scheduler", no_scheduler);
	scenario("required", required);
	scenario("look-ups", look_ups);
	scenario("sizes", sizes);
	scenario("wants", wants);
	scenario("overflow", overflow);
	scenario("overflow of closed ones", overflow_closed);
	scenario("an empty board", empty_board);
	scenario("a torn entry", torn_entry);
	scenario("a standing REPLY", reply);
	scenario("corners of a REPLY", reply_corners);
	scenario("a garbage table", garbage_table);
	scenario("mp_standing", standings);
	return done();
}
