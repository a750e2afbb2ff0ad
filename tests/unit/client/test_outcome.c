/* SPDX-License-Identifier: Apache-2.0 */
/* mp_end: outcomes in the ring, doorbells, the full ring. */
#include "tests/unit/client/fake.h"

static const struct fake_row rows[] = {
	{ "payments", 80, "", ENTRY_OUTCOME, "guard", MP_STANDING_PASS },
	{ "unwatched", 80, "", 0, "guard", MP_STANDING_PASS },
};

static struct fake fake;

static void start(void)
{
	fake_init(&fake, rows, 2);
	fake_run(&fake);
}

static void call_ends(const char *host, int status, int error, uint64_t took_ns)
{
	struct mp_call call;

	if (fake_begin(host, 80, "/", &call, NULL) == MP_GO)
		mp_end(&call, status, error, took_ns ? call.started_ns + took_ns : 0);
}

static uint64_t doorbells(void)
{
	return fake_counters().doorbells;
}

static void in_the_ring(void)
{
	static const struct {
		int status, error;
		uint32_t want_status, want_error;
	} ends[] = {
		{ 200, 0, 200, 0 }, { 599, 0, 599, 0 }, { 0, MP_ERROR_TIMEOUT, 0, MP_ERROR_TIMEOUT },
		{ 503, MP_ERROR_BROKEN, 0, MP_ERROR_BROKEN }, { 0, 0, 0, MP_ERROR_CANCELLED },
		{ 99, 0, 0, MP_ERROR_PROTOCOL }, { 600, 0, 0, MP_ERROR_PROTOCOL },
		{ -1, 0, 0, MP_ERROR_PROTOCOL }, { 0, 99, 0, MP_ERROR_OTHER },
		{ 0, -1, 0, MP_ERROR_OTHER },
	};

	start();
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		const struct lane_outcome *o;

		call_ends("payments", ends[i].status, ends[i].error, 1234);
		o = fake_outcome(&fake.lanes[0], i);
		is_u64(o->seq, i + 1, "outcome %zu is published", i);
		is_u64(o->where, lane_where(0, 1, MP_STANDING_PASS, ends[i].want_error,
					    ends[i].want_status), "and says what happened");
		is_u64(o->duration_ns, 1234, "how long it took");
		is_u64(o->exchange, 0, "and that it was not asked");
	}
	is_u64(fake_counters().passed, 10, "ten passed");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	fake_end(&fake);
}

static void bells(void)
{
	uint64_t before;

	start();
	call_ends("payments", 200, 0, 0);
	before = doorbells();
	for (int i = 0; i < 10; i++)
		call_ends("payments", 200, 0, 0);
	is_u64(doorbells() - before, 0, "successes do not ring while the scheduler ticks");
	call_ends("payments", 503, 0, 0);
	is_u64(doorbells() - before, 1, "a status that fails does");
	call_ends("payments", 500, 0, 0);
	is_u64(doorbells() - before, 1, "another one does not");
	call_ends("payments", 0, MP_ERROR_TIMEOUT, 0);
	is_u64(doorbells() - before, 2, "an error that fails does");
	call_ends("payments", 0, MP_ERROR_CANCELLED, 0);
	is_u64(doorbells() - before, 2, "a cancelled call does not");
	atomic_store(&fake_entry(&fake, 0, 0)->fail_slow_ns, 1000);
	call_ends("payments", 200, 0, 1000);
	is_u64(doorbells() - before, 2, "as slow as allowed does not");
	call_ends("payments", 200, 0, 1001);
	is_u64(doorbells() - before, 3, "slower does");
	call_ends("unwatched", 503, 0, 0);
	is_u64(doorbells() - before, 3, "where nobody watches, nothing rings");
	atomic_store(&fake_board(&fake)->ticking, 0);
	call_ends("unwatched", 200, 0, 0);
	is_u64(doorbells() - before, 3, "not even the first after a pause");
	call_ends("payments", 200, 0, 0);
	is_u64(doorbells() - before, 4, "which else rings");
	fake_end(&fake);
}

static void drain(uint64_t to)
{
	atomic_store(&fake_answers(&fake.lanes[0])->ring_tail, to);
}

static void full(void)
{
	uint64_t before;

	start();
	call_ends("payments", 200, 0, 0);
	before = doorbells();
	for (int i = 1; i < 31; i++)
		call_ends("payments", 200, 0, 0);
	is_u64(doorbells() - before, 0, "31 of 64: silence");
	call_ends("payments", 200, 0, 0);
	is_u64(doorbells() - before, 1, "half full rings");
	for (int i = 32; i < 64; i++)
		call_ends("payments", 200, 0, 0);
	is_u64(doorbells() - before, 1, "once");
	is_u64(fake_counters().lost, 0, "64 fit");
	call_ends("payments", 200, 0, 0);
	call_ends("payments", 503, 0, 0);
	call_ends("payments", 0, MP_ERROR_TIMEOUT, 0);
	is_u64(fake_counters().lost, 3, "three do not");
	is_u64(fake_head(&fake.lanes[0])->lost_ok, 1, "one of them a success");
	is_u64(fake_head(&fake.lanes[0])->lost_failed, 2, "two of them failures");
	is_u64(fake_head(&fake.lanes[0])->ring_head, 64, "the head stays");
	drain(64);
	before = doorbells();
	for (int i = 0; i < 32; i++)
		call_ends("payments", 200, 0, 0);
	is_u64(doorbells() - before, 1, "once drained, half full rings again");
	is_u64(fake_outcome(&fake.lanes[0], 95)->seq, 96, "the ring goes round");
	drain(1000);
	call_ends("payments", 200, 0, 0);
	is_u64(fake_counters().lost, 4, "a tail in front of the head: lost, no harm");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	fake_end(&fake);
}

/* The chain changed while the call was under way: what a failure is, is guessed. */
static void after_a_swap(void)
{
	uint64_t before;
	struct mp_call call;

	start();
	fake_fill(&fake, 1, rows, 2);
	(void)fake_begin("payments", 80, "/", &call, NULL);
	fake_flip(&fake, 2, 2, 1);
	before = doorbells();
	mp_end(&call, 502, 0, 0);
	is_u64(doorbells() - before, 1, "a 5xx rings");
	is_u64(fake_outcome(&fake.lanes[0], 0)->where, lane_where(0, 1, MP_STANDING_PASS, 0, 502),
	       "it goes to the set that it began in");
	is_u64(fake_head(&fake.lanes[0])->ended[1], 1, "where it ends");
	fake_end(&fake);
}

int main(void)
{
	scenario("outcomes in the ring", in_the_ring);
	scenario("doorbells", bells);
	scenario("a full ring", full);
	scenario("after a swap", after_a_swap);
	return done();
}
