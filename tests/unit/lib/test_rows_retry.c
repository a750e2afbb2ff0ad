/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a request about rows is sent again: cases by hand, and thousands of seeds of
 * a world in which attempts arrive late, answers are lost, and what a put is allowed
 * changes.  What is told in the end must be true for ever.
 */
#include "lib/rows_retry.h"

#include "tests/lib/tap.h"

static const struct rows_times times = { .attempt = 2000, .open = 10000 };

/* A request and members, at a time. */
static struct {
	struct rows_retry retry;
	struct rows_members members;
	uint64_t now;
} t;

static void begin(enum rows_retry_kind kind, size_t n_members)
{
	t.now = 1000;
	t.members = (struct rows_members){ .n = n_members };
	rows_retry_begin(&t.retry, kind, &times, t.now + 30000);
}

/* Waits as it is told until an attempt is to be made, or the end. */
static struct rows_step next(size_t prefer)
{
	struct rows_step step;

	for (int i = 0; i < 100; i++) {
		step = rows_retry_next(&t.retry, &t.members, prefer, t.now, 7);
		if (step.act != ROWS_WAIT)
			break;
		ok(step.until > t.now, "it waits for what is to come");
		t.now = step.until;
	}
	return step;
}

/* An attempt that ends so. */
static struct rows_step attempt(struct rows_said said, uint64_t takes)
{
	struct rows_step step = next(ROWS_NOBODY);

	is_int(step.act, ROWS_SEND, "an attempt, at member %zu", step.member);
	t.now += takes;
	return rows_retry_answer(&t.retry, &t.members, &said, t.now, 7);
}

static void is_end(struct rows_step step, enum rows_outcome outcome, const char *name)
{
	ok(step.act == ROWS_END && step.outcome == outcome, "%s", name);
}

#define STATUS(n) ((struct rows_said){ .status = (n) })
#define BROKEN ((struct rows_said){ .sent = true })
#define UNSENT ((struct rows_said){ .sent = false })

/* One answer and nothing before it. */
static void first_answers(void)
{
	static const struct {
		int status;
		enum rows_retry_kind kind;
		int outcome; /* -1: it is sent again */
	} cases[] = {
		{ 200, ROWS_RETRY_PUT, ROWS_OK }, { 201, ROWS_RETRY_PUT, ROWS_OK }, { 400, ROWS_RETRY_PUT, ROWS_REJECTED },
		{ 401, ROWS_RETRY_PUT, ROWS_REJECTED }, { 403, ROWS_RETRY_PUT, ROWS_REJECTED },
		{ 404, ROWS_RETRY_READ, ROWS_NOT_THERE }, { 409, ROWS_RETRY_PUT, ROWS_REFUSED },
		{ 410, ROWS_RETRY_PUT, ROWS_GONE }, { 412, ROWS_RETRY_PUT, ROWS_REFUSED },
		{ 413, ROWS_RETRY_PUT, ROWS_REJECTED }, { 422, ROWS_RETRY_PUT, ROWS_REFUSED },
		{ 429, ROWS_RETRY_PUT, -1 }, { 503, ROWS_RETRY_PUT, -1 }, { 503, ROWS_RETRY_ONCE, -1 },
		{ 504, ROWS_RETRY_PUT, -1 }, { 504, ROWS_RETRY_ONCE, ROWS_UNKNOWN }, { 504, ROWS_RETRY_READ, -1 },
		{ 500, ROWS_RETRY_PUT, -1 }, { 302, ROWS_RETRY_PUT, -1 }, { 507, ROWS_RETRY_PUT, ROWS_REJECTED },
		{ 418, ROWS_RETRY_PUT, ROWS_REJECTED }, { 408, ROWS_RETRY_PUT, -1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rows_step step;

		begin(cases[i].kind, 1);
		step = attempt(STATUS(cases[i].status), 1);
		is_int(step.act == ROWS_END ? (int)step.outcome : -1, cases[i].outcome, "%d, kind %d", cases[i].status,
		       cases[i].kind);
	}
}

/* Behind one of which nobody knows. */
static void open_answers(void)
{
	static const struct {
		int status;
		int outcome; /* -1: it is sent again */
	} cases[] = { { 200, ROWS_OK }, { 422, ROWS_REFUSED }, { 409, -1 }, { 412, -1 }, { 403, -1 }, { 507, -1 },
		      { 410, ROWS_UNKNOWN }, { 503, -1 }, { 504, -1 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rows_step step;

		begin(ROWS_RETRY_PUT, 3);
		(void)attempt(BROKEN, 10);
		step = attempt(STATUS(cases[i].status), 1);
		is_int(step.act == ROWS_END ? (int)step.outcome : -1, cases[i].outcome, "%d behind an open attempt",
		       cases[i].status);
	}
}

static void settles(void)
{
	struct rows_step step;

	begin(ROWS_RETRY_PUT, 3);
	(void)attempt(BROKEN, 5);
	step = attempt(STATUS(409), 5);
	ok(step.act == ROWS_WAIT && step.until >= 1000 + times.open, "409: it waits until the open one cannot be applied");
	step = attempt(STATUS(409), 5);
	is_end(step, ROWS_REFUSED, "409 to one that was sent then is final");
	begin(ROWS_RETRY_PUT, 3);
	(void)attempt(BROKEN, 5);
	(void)attempt(STATUS(409), 5);
	is_end(attempt(STATUS(200), 5), ROWS_OK, "or the open one was applied");
	begin(ROWS_RETRY_PUT, 1);
	t.retry.deadline = t.now + 5000;
	(void)attempt(BROKEN, 5);
	(void)attempt(STATUS(409), 5);
	is_end(next(ROWS_NOBODY), ROWS_UNKNOWN, "without the time for that nobody knows");
	ok(t.now == 6000, "and it is told at the deadline");
}

static void gives_up(void)
{
	begin(ROWS_RETRY_PUT, 2);
	while (t.now < 31000 && next(ROWS_NOBODY).act == ROWS_SEND)
		(void)rows_retry_answer(&t.retry, &t.members, &UNSENT, t.now, 3);
	is_end(next(ROWS_NOBODY), ROWS_UNAVAILABLE, "nobody was there: it was not applied");
	ok(t.retry.tries > 10 && t.retry.tries < 300, "%u attempts in 30 s", (unsigned)t.retry.tries);
	begin(ROWS_RETRY_PUT, 2);
	t.retry.deadline = t.now + 700;
	is_u64(next(ROWS_NOBODY).limit, 700, "an attempt has no more time than there is");
	is_int(rows_retry_give_up(&t.retry, true), ROWS_UNKNOWN, "given up under way it is unknown");
	is_int(rows_retry_give_up(&t.retry, false), ROWS_UNAVAILABLE, "before it was not applied");
	t.retry.kind = ROWS_RETRY_READ;
	is_int(rows_retry_give_up(&t.retry, true), ROWS_UNAVAILABLE, "a read is nothing");
}

static void members(void)
{
	struct rows_said busy = { .status = 503, .retry_after_ms = 1000 };
	struct rows_said elsewhere = { .status = 503, .retry_after_ms = 1000, .elsewhere = true };
	size_t first;

	begin(ROWS_RETRY_PUT, 3);
	is_u64(next(2).member, 2, "the owner first");
	(void)rows_retry_answer(&t.retry, &t.members, &elsewhere, t.now, 7);
	is_u64(t.members.all[2].not_before, 0, "who is not the owner is not to be left alone");
	first = t.now;
	is_u64(next(1).member, 1, "then who it said");
	is_u64(t.now, first, "at once");

	begin(ROWS_RETRY_PUT, 3);
	for (int i = 0; i < 3; i++)
		(void)attempt(busy, 1);
	ok(t.now < 1100, "three members are asked one after the other");
	(void)next(ROWS_NOBODY);
	ok(t.now >= 2001 && t.now < 2200, "then as Retry-After has it");

	begin(ROWS_RETRY_PUT, 2);
	(void)rows_retry_answer(&t.retry, &t.members, &UNSENT, (next(0), t.now), 7);
	for (int i = 0; i < 4; i++) {
		struct rows_retry other;
		uint64_t until;

		rows_retry_begin(&other, ROWS_RETRY_PUT, &times, t.now + 1000);
		is_u64(rows_members_pick(&t.members, 0, ROWS_NOBODY, t.now, (uint32_t)i, &until), 1,
		       "one that does not answer is avoided by all");
	}
	for (int i = 0; i < 50; i++)
		rows_members_told(&t.members, 0, false, t.now, 7);
	ok(t.members.all[0].failures == 1 && t.members.all[0].not_before <= t.now + 50,
	   "many that fail at once are one failure");
	t.now += 100;
	rows_members_told(&t.members, 0, true, t.now, 7);
	is_u64(t.members.all[0].failures, 0, "until it does");
	begin(ROWS_RETRY_PUT, 3);
	(void)attempt((struct rows_said){ .status = 429, .retry_after_ms = 3000 }, 1);
	(void)next(ROWS_NOBODY);
	ok(t.now >= 4001, "429 is about the row, not the member");
}

static void pauses(void)
{
	uint64_t most = 0;

	is_u64(rows_pause(1, 3, 9), 0, "no pause before the second of three");
	for (uint32_t r = 0; r < 1000; r++)
		most = rows_pause(60, 3, r * 7919) > most ? rows_pause(60, 3, r * 7919) : most;
	ok(most <= 1000 && most > 900, "the longest is a second (%u)", (unsigned)most);
	ok(rows_pause(3, 3, 1) != rows_pause(3, 3, 8), "they differ by chance");
}

/* ------------------------------------------------------------------- a whole world */

static uint64_t seed;

static uint32_t chance(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % below;
}

#define ATTEMPTS_MAX 256

/* The owner, and what is on its way to it. */
static struct {
	uint64_t at[ATTEMPTS_MAX]; /* when each attempt is decided; UINT64_MAX: it was, or never is */
	size_t n;
	unsigned applied;          /* how often */
	bool sick;                 /* nobody takes anything */
} world;

/* Is it allowed at that time?  That changes. */
static bool allowed(uint64_t now, uint64_t shift)
{
	return (now / 700 + shift) % 3 == 0;
}

/* What the owner says at that time. */
static int decide(uint64_t now, uint64_t shift)
{
	if (chance(8) == 0)
		return 507; /* before it looks for the key */
	if (world.applied)
		return 200;
	if (!allowed(now, shift))
		return 409;
	world.applied++;
	return 201;
}

/* Attempts that nobody waits for any more. */
static void pass(uint64_t until, uint64_t shift)
{
	for (size_t i = 0; i < world.n; i++) {
		if (world.at[i] > until)
			continue;
		(void)decide(world.at[i], shift);
		world.at[i] = UINT64_MAX;
	}
}

/* An attempt of at most `limit` ms: what the client is told. */
static struct rows_said send(uint64_t limit, uint64_t shift)
{
	uint64_t delay = chance(4) ? chance(50) : chance((uint32_t)times.open);
	uint32_t fate = chance(world.sick ? 2 : 10);
	struct rows_said said = { 0 };

	if (fate == 0) { /* nobody there */
		t.now += chance(5);
		return said;
	}
	if (fate == 1) { /* not attempted */
		t.now += chance(5);
		said.status = 503;
		return said;
	}
	said.sent = true;
	if (delay >= limit || fate < 5) { /* the answer does not come, whatever it is */
		if (world.n < ATTEMPTS_MAX)
			world.at[world.n++] = t.now + delay;
		t.now += fate < 5 && delay < limit ? delay : limit;
		pass(t.now, shift);
		return said;
	}
	t.now += delay;
	pass(t.now, shift);
	said.status = decide(t.now, shift);
	return said;
}

/* The outcome, with the time at which it was told in t.now. */
static enum rows_outcome run(uint64_t shift)
{
	struct rows_step step;

	begin(ROWS_RETRY_PUT, 1 + chance(3));
	t.retry.deadline = t.now + 1000 + chance(60000);
	world.n = 0;
	world.applied = 0;
	for (;;) {
		struct rows_said said;

		step = rows_retry_next(&t.retry, &t.members, ROWS_NOBODY, t.now, chance(1000));
		if (step.act == ROWS_WAIT) {
			pass(step.until, shift);
			t.now = step.until;
			continue;
		}
		if (step.act == ROWS_END)
			return step.outcome;
		said = send(step.limit, shift);
		step = rows_retry_answer(&t.retry, &t.members, &said, t.now, chance(1000));
		if (step.act == ROWS_END)
			return step.outcome;
	}
}

static void worlds(void)
{
	unsigned outcomes[ROWS_UNKNOWN + 1] = { 0 }, wrong = 0;

	for (uint64_t i = 1; i <= 20000; i++) {
		enum rows_outcome outcome;
		uint64_t shift;
		bool before;

		seed = i * UINT64_C(0x9e3779b97f4a7c15);
		shift = chance(3);
		world.sick = chance(16) == 0;
		outcome = run(shift);
		before = world.applied;
		pass(UINT64_MAX - 1, shift); /* all that is on its way arrives */
		outcomes[outcome]++;
		if (outcome == ROWS_OK ? before : outcome == ROWS_UNKNOWN || !world.applied)
			continue;
		note("seed %u: outcome %d, applied %u", (unsigned)i, (int)outcome, world.applied);
		wrong++;
	}
	is_int(wrong, 0, "what was told is true for ever, in 20,000 worlds");
	note("%u committed, %u refused, %u rejected, %u unavailable, %u unknown", outcomes[ROWS_OK],
	     outcomes[ROWS_REFUSED], outcomes[ROWS_REJECTED], outcomes[ROWS_UNAVAILABLE], outcomes[ROWS_UNKNOWN]);
	for (size_t i = 0; i <= ROWS_UNKNOWN; i++)
		ok(outcomes[i] > 50 || i == ROWS_GONE || i == ROWS_NOT_THERE, "outcome %zu comes", i);
}

int main(void)
{
	first_answers();
	open_answers();
	settles();
	gives_up();
	members();
	pauses();
	worlds();
	return done();
}
