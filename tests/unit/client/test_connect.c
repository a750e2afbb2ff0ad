/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the scheduler, losing it, finding it again. */
#include "tests/unit/client/fake.h"

static const struct fake_row rows[] = {
	{ "payments", 80, "", ENTRY_OUTCOME, "guard", MP_STANDING_PASS },
	{ "closed", 80, "", ENTRY_OUTCOME | ENTRY_CLOSED, "guard", MP_STANDING_PASS },
	{ "asked", 80, "", ENTRY_OUTCOME, "guard", MP_STANDING_ASK },
	{ "mixed", 80, "/a", ENTRY_CLOSED, "guard", MP_STANDING_PASS },
	{ "mixed", 80, "", 0, "guard", MP_STANDING_PASS },
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static struct fake fake, second;

static void start(const char *budget_ms)
{
	fake_init(&fake, rows, N_ROWS);
	setenv("MIDDLEPIPE_BUDGET_MS", budget_ms, 1);
	fake_run(&fake);
}

static int call(const char *host)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_call c;
	int r = fake_begin(host, 80, "/", &c, &v);

	mp_verdict_free(&v);
	if (r != MP_NONE)
		mp_end(&c, 200, 0, 0);
	return r;
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A broken welcome leaves nothing open; the next good one is used. */
static void faults(void)
{
	static const enum fake_fault kinds[] = {
		FAULT_GARBAGE, FAULT_SHORT, FAULT_FEW, FAULT_MANY, FAULT_SEALS_BOARD,
		FAULT_SEALS_LANE, FAULT_SIZE, FAULT_OFFSET, FAULT_RING, FAULT_CLOSE, FAULT_MAGIC,
		FAULT_SLOTS,
	};
	const size_t n = sizeof(kinds) / sizeof(kinds[0]);

	fake_init(&fake, rows, N_ROWS);
	fake_run(&fake);
	for (size_t i = 0; i < n; i++) {
		uint32_t seen = fake.hellos;
		int before;

		atomic_store(&fake.n_lanes, 0); /* the fake forgets, and leaks, what it made */
		atomic_store(&fake.faults, kinds[i]);
		before = open_fds();
		(void)EVENTUALLY((call("payments"), fake.hellos > seen));
		/* The fake keeps a doorbell, two objects and a socket of each. */
		ok(open_fds() - before <= 4, "fault %d: nothing is left open here", kinds[i]);
		is_u64(fake_counters().connects, 0, "and it was not used");
	}
	atomic_store(&fake.n_lanes, 0);
	atomic_store(&fake.faults, FAULT_NONE);
	ok(EVENTUALLY(call("payments") == MP_GO), "a good welcome is");
	is_u64(fake_counters().connects, 1, "once");
	fake_end(&fake);
}

static void silent(void)
{
	uint64_t before = fake_now();

	start("20");
	atomic_store(&fake.faults, FAULT_SILENT);
	is_int(call("payments"), MP_NONE, "a scheduler that says nothing");
	ok(fake_now() - before >= 20 * NS_PER_MS, "is waited for as long as the budget");
	is_int(call("payments"), MP_NONE, "then calls go on");
	ok(fake.hellos <= 2, "and attempts have pauses");
	fake_end(&fake);
}

static void full(void)
{
	struct mp_call c;

	start("5000");
	atomic_store(&fake.faults, FAULT_FULL);
	is_int(call("payments"), MP_GO, "no lane is free: a standing PASS holds");
	is_int(call("closed"), MP_GO, "for a closed one too");
	fake_post(&fake, 0, 1, MP_STANDING_REPLY, 0, fake_blob(&fake, 64, 503, 1, "no"));
	is_int(call("closed"), MP_REPLY, "and so does a REPLY");
	fake_post(&fake, 0, 1, MP_STANDING_ASK, 0, 0);
	is_int(call("closed"), MP_REPLY, "what would be asked is refused (closed)");
	is_int(fake_begin("asked", 80, "/", &c, NULL), MP_GO, "or let through (open)");
	is_int(c.wants, 0, "and nothing is wanted of it");
	mp_end(&c, 200, 0, 0);
	is_u64(fake_counters().refused, 1, "one refused");
	is_u64(fake_counters().unfiltered, 1, "one unfiltered");
	is_u64(fake_counters().connected, 0, "not connected");
	is_u64(mp_body_limit(), 0, "no body is shown");
	atomic_store(&fake.faults, FAULT_NONE);
	ok(EVENTUALLY((call("payments"), fake_counters().connected)), "a lane that comes free is taken");
	is_int(call("asked"), MP_ASK, "and used");
	is_u64(fake_head(fake_last(&fake))->counters[LANE_UNFILTERED], fake_counters().unfiltered,
	       "it is told of the unfiltered before it");
	is_u64(fake_head(fake_last(&fake))->counters[LANE_REFUSED], 1, "and of the refused");
	is_u64(fake_head(fake_last(&fake))->counters[LANE_NO_SLOT], fake_counters().no_slot,
	       "and that no slot was there");
	fake_end(&fake);
}

static void version(void)
{
	uint64_t until;

	start("5000");
	atomic_store(&fake.faults, FAULT_VERSION);
	is_int(call("payments"), MP_NONE, "another major: inert");
	is_u64(fake.hellos, 1, "asked once");
	until = fake_now() + 100 * NS_PER_MS;
	while (fake_now() < until)
		(void)call("payments");
	is_u64(fake.hellos, 1, "and not again while the socket is the same");
	atomic_store(&fake.faults, FAULT_NONE);
	atomic_store(&fake.stop, 1);
	pthread_join(fake.thread, NULL);
	close(fake.listener);
	unlink(fake.path);
	fake_run(&fake);
	ok(EVENTUALLY(call("payments") == MP_GO), "another socket is asked at once");
	fake_end(&fake);
}

/* What the lanes of both schedulers have counted. */
static uint64_t told(enum lane_counter counter)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < fake.n_lanes; i++)
		n += fake_head(&fake.lanes[i])->counters[counter];
	for (uint32_t i = 0; i < second.n_lanes; i++)
		n += fake_head(&second.lanes[i])->counters[counter];
	return n;
}

/* The scheduler is killed: end of file on the socket, the beat stands still. */
static void killed(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_target target = fake_target("closed", 80, "/");
	struct mp_call c;
	uint64_t doorbells;

	start("200");
	if (!ok(EVENTUALLY(call("payments") == MP_GO), "connected"))
		return;
	is_int(mp_standing(&target), MP_GO, "PASS stands");
	fake_kill(&fake);
	doorbells = fake_counters().doorbells;
	ok(EVENTUALLY(call("payments") == MP_NONE), "the scheduler is away: calls go on");
	ok(fake_counters().doorbells - doorbells <= 2, "rung once for it, and for an outcome at most");
	is_int(fake_begin("closed", 80, "/", &c, &v), MP_REPLY, "closed: refused");
	ok(fake_has(&v, "Middlepipe",
		    "middlepipe;state=unavailable;pipe=\"guard\";retry-after=1;callback=raise"),
	   "in the name of the pipe");
	mp_verdict_free(&v);
	mp_end(&c, 0, 0, 0);
	is_int(call("other"), MP_NONE, "what was not on the board goes");
	is_int(mp_standing(&target), MP_REPLY, "mp_standing says the same");
	target.host = MP_LIT("mixed");
	target.path = MP_LIT("");
	is_int(mp_standing(&target), MP_ASK, "closed on some paths only: ASK");
	is_u64(fake_counters().connected, 0, "not connected");
	ok(fake_counters().away >= 2, "counted as away");
	second = fake;
	fake_init(&second, rows + 2, 1);
	rmdir(second.dir);
	memcpy(second.dir, fake.dir, sizeof(fake.dir));
	memcpy(second.path, fake.path, sizeof(fake.path));
	fake_run(&second);
	ok(EVENTUALLY(call("asked") == MP_ASK), "the next one is found");
	is_int(call("closed"), MP_NONE, "and its board holds alone");
	ok(fake_counters().connects >= 2, "by a second lane");
	is_u64(told(LANE_UNFILTERED), fake_counters().unfiltered, "which is told of the unfiltered");
	is_u64(told(LANE_REFUSED), fake_counters().refused, "and of the refused");
	fake_end(&second);
}

/* Stopped, not dead: the socket stays, the beat does not move. */
static void stopped(void)
{
	struct mp_call c;

	start("200");
	if (!ok(EVENTUALLY(call("payments") == MP_GO), "connected"))
		return;
	atomic_store(&fake.beating, 0);
	atomic_store(&fake_board(&fake)->beat, 1);
	is_int(fake_begin("payments", 80, "/", &c, NULL), MP_GO, "a stale beat: rung, still trusted");
	atomic_store(&fake.faults, FAULT_SILENT);
	ok(EVENTUALLY(call("payments") == MP_NONE), "later it is away");
	mp_end(&c, 200, 0, 0);
	atomic_store(&fake.faults, FAULT_NONE);
	atomic_store(&fake.beating, 1);
	ok(EVENTUALLY(call("payments") == MP_GO), "and comes back");
	ok(fake_counters().connects >= 2, "over a new lane");
	fake_end(&fake);
}

/* It dies while a call waits: the wait ends early, not with the budget. */
static void answer_die(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	(void)f;
	(void)slot;
	a->none = true;
	shutdown(l->socket, SHUT_RDWR);
}

static void dies_while_asked(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = { .size = sizeof(request), .method = MP_LIT("GET"),
				      .scheme = MP_LIT("http"), .authority = MP_LIT("asked"),
				      .path = MP_LIT("/") };
	struct mp_call c;
	uint64_t before;

	fake_init(&fake, rows, N_ROWS);
	fake.answer = answer_die;
	setenv("MIDDLEPIPE_BUDGET_MS", "60000", 1);
	fake_run(&fake);
	is_int(fake_begin("asked", 80, "/", &c, &v), MP_ASK, "ASK");
	before = fake_now();
	is_int(mp_ask(&c, &request, &v), MP_VERDICT_PASS, "let through");
	ok(fake_now() - before < 10 * NS_PER_S, "long before the budget");
	is_u64(fake_counters().away, 1, "counted as away");
	is_u64(fake_counters().over_budget, 0, "and not as over the budget");
	mp_end(&c, 200, 0, 0);
	fake_end(&fake);
}

/* A scheduler that was replaced while only calls without a chain were made. */
static void noticed_without_chain(void)
{
	start("200");
	if (!ok(EVENTUALLY(call("payments") == MP_GO), "connected"))
		return;
	fake_kill(&fake);
	ok(EVENTUALLY((call("other"), !fake_counters().connected)), "noticed by calls without a chain");
	rmdir(fake.dir);
}

/* The application closes all descriptors, and another file takes their numbers. */
static void descriptors_closed(void)
{
	char path[] = "/tmp/mp-file-XXXXXX";
	struct stat st;
	int file;

	start("200");
	if (!ok(EVENTUALLY(call("payments") == MP_GO), "connected"))
		return;
	file = mkstemp(path);
	for (int fd = 3; fd < 256; fd++) {
		struct stat other;

		/* The library's are the only sockets and eventfds that are not the fake's. */
		if (fd == file || fd == fake.listener || fd == fake.lanes[0].socket ||
		    fd == fake.lanes[0].doorbell || fstat(fd, &other) < 0 ||
		    S_ISREG(other.st_mode) || fd == fake.board.fd)
			continue;
		(void)dup2(file, fd);
	}
	atomic_store(&fake_board(&fake)->ticking, 0);
	(void)call("payments");
	(void)fstat(file, &st);
	is_u64((uint64_t)st.st_size, 0, "a doorbell does not ring in a stranger's file");
	atomic_store(&fake.beating, 0);
	atomic_store(&fake_board(&fake)->beat, 1);
	(void)call("payments");
	atomic_store(&fake.beating, 1);
	ok(EVENTUALLY(call("payments") == MP_GO && fake_counters().connects >= 2),
	   "the library connects anew");
	ok(fstat(file, &st) == 0, "and closes nobody's file");
	unlink(path);
	fake_end(&fake);
}

int main(void)
{
	scenario("faulty welcomes", faults);
	scenario("a silent scheduler", silent);
	scenario("no lane is free", full);
	scenario("another version", version);
	scenario("killed and restarted", killed);
	scenario("stopped and continued", stopped);
	scenario("dies while it is asked", dies_while_asked);
	scenario("noticed without a chain", noticed_without_chain);
	scenario("closed descriptors", descriptors_closed);
	return done();
}
