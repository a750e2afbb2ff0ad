/* SPDX-License-Identifier: Apache-2.0 */
/* mp_ask and mp_resume: questions, answers, budgets, slots. */
#include "tests/unit/client/asking.h"

/* ------------------------------------------------------------- round trips */

static void answer_edits(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	const struct lane_slot *s = fake_slot(l, slot);

	(void)f;
	seen_good = s->kind == LANE_REQUEST && s->entry == 0 && s->set == 1 && !s->exchange &&
		    (s->flags & LANE_REQUEST_COMPLETE) && s->request_body_size == 4 &&
		    !memcmp(fake_slot_data(l, slot) + s->head_size, "body", 4) &&
		    slice_eq(item_of(l, slot, WIRE_METHOD, 0), MP_LIT("POST")) &&
		    slice_eq(item_of(l, slot, WIRE_SCHEME, 0), MP_LIT("http")) &&
		    slice_eq(item_of(l, slot, WIRE_AUTHORITY, 0), MP_LIT("payments")) &&
		    slice_eq(item_of(l, slot, WIRE_PATH, 0), MP_LIT("/pay?x=1")) &&
		    slice_eq(item_of(l, slot, WIRE_FIELD, 1), MP_LIT("payments"));
	wire_put(&a->head, WIRE_EDIT_SET, MP_LIT("X-Set"), MP_LIT("1"));
	wire_put(&a->head, WIRE_EDIT_ADD, MP_LIT("X-Add"), MP_LIT("2"));
	wire_put(&a->head, WIRE_EDIT_REMOVE, MP_LIT("X-Remove"), (struct mp_str){ 0 });
	wire_put_value(&a->head, WIRE_AUTHORITY, MP_LIT("other:81"));
	wire_put_value(&a->head, WIRE_PATH, MP_LIT("/new"));
	wire_put_value(&a->head, 999, MP_LIT("from the future"));
	a->body = "new body";
	a->has_body = true;
	a->exchange = 77;
}

static void edits(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("body");
	struct mp_call call;

	start(answer_edits);
	is_int(fake_begin("payments", 80, "/pay", &call, &v), MP_ASK, "ASK");
	request.size = MP_REQUEST_1_0 - 1;
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "a request shorter than that of 1.0");
	is_u64(fake.questions, 0, "is not asked about");
	request.size = MP_REQUEST_1_0;
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "PASS");
	is_int(seen_good, 1, "the question was whole");
	is_u64(v.n_edits, 3, "three edits");
	ok(v.n_edits == 3 && v.edits[0].op == MP_EDIT_SET && v.edits[1].op == MP_EDIT_ADD &&
	   v.edits[2].op == MP_EDIT_REMOVE, "in order");
	ok(slice_eq(v.edits[1].field.name, MP_LIT("X-Add")) &&
	   slice_eq(v.edits[1].field.value, MP_LIT("2")), "with name and value");
	ok(slice_eq(v.authority, MP_LIT("other:81")), "the new authority");
	ok(slice_eq(v.path, MP_LIT("/new")), "the new path");
	ok(slice_eq(v.body, MP_LIT("new body")), "the new body");
	end(&call, &v);
	is_u64(fake_outcome(&fake.lanes[0], 0)->exchange, 77, "the outcome names the exchange");
	is_u64(fake_outcome(&fake.lanes[0], 0)->where, lane_where(0, 1, MP_STANDING_ASK, 0, 200),
	       "and where it was asked");
	is_u64(fake_counters().asked, 1, "counted as asked");
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "an ended call is ignored");
	is_u64(fake.questions, 1, "nothing more was asked");
	fake_end(&fake);
}

static void answer_none(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	(void)f;
	(void)l;
	(void)slot;
	(void)a;
}

static void plain(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;
	uint64_t doorbells;

	start(answer_none);
	for (int i = 0; i < 100; i++) {
		(void)fake_begin("payments", 80, "/pay", &call, &v);
		(void)mp_ask(&call, &request, &v);
		if (v.memory || v.verdict)
			break;
		end(&call, &v);
	}
	is_u64(fake_counters().asked, 100, "a hundred plain PASSes, and no allocation");
	is_u64(fake_counters().unfiltered, 0, "none unfiltered");
	doorbells = fake_counters().doorbells;
	atomic_store(&fake_board(&fake)->asleep, 0);
	for (int i = 0; i < 20; i++) {
		(void)fake_begin("payments", 80, "/pay", &call, &v);
		(void)mp_ask(&call, &request, &v);
		end(&call, &v);
	}
	is_u64(fake_counters().asked, 120, "and of a scheduler that is awake");
	is_u64(fake_counters().doorbells, doorbells, "which nobody rang for");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	fake_end(&fake);
}

static void answer_reply(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	(void)f;
	(void)l;
	(void)slot;
	a->verdict = MP_VERDICT_REPLY;
	a->status = 429;
	a->retry_at_ns = fake_now() + NS_PER_S / 2;
	wire_put(&a->head, WIRE_RESPONSE_FIELD, MP_LIT("retry-after"), MP_LIT("99"));
	wire_put(&a->head, WIRE_RESPONSE_FIELD, MP_LIT("X-Why"), MP_LIT("throttled"));
	wire_put_value(&a->head, WIRE_MARKER_TYPE, MP_LIT("throttle"));
}

static void reply(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_reply);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_REPLY, "REPLY");
	is_int(v.status, 429, "its status");
	is_int(v.raise, 0, "it does not raise");
	ok(fake_has(&v, "Retry-After", "1"), "the library's Retry-After wins");
	ok(fake_has(&v, "X-Why", "throttled"), "a field of the filter");
	ok(fake_has(&v, "Middlepipe", "throttle;retry-after=1"), "the marker");
	ok(v.body.ptr && !v.body.len, "an empty body");
	end(&call, &v);
	is_u64(fake_head(&fake.lanes[0])->ring_head, 0, "no exchange is left: no outcome");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	fake_end(&fake);
}

static void answer_reply_soon(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	answer_reply(f, l, slot, a);
	a->retry_at_ns = 0;
	wire_put_value(&a->head, WIRE_MARKER_RETRY, MP_LIT("7"));
}

/* A time that each call is told from its own begin on. */
static void reply_soon(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_reply_soon);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_REPLY, "REPLY");
	is_int(v.retry_after, 7, "7 s from now");
	ok(fake_has(&v, "Retry-After", "7"), "as the field, too");
	ok(fake_has(&v, "Middlepipe", "throttle;retry-after=7"), "and in the marker");
	end(&call, &v);
	fake_end(&fake);
}

static void answer_delay(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	(void)f;
	(void)l;
	(void)slot;
	a->verdict = MP_VERDICT_DELAY;
	a->delay_ns = 123;
	a->exchange = 5;
}

static void delay(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_delay);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_DELAY, "DELAY");
	is_u64(v.delay_ns, 123, "for so long");
	end(&call, &v);
	fake_end(&fake);
}

/* Answers that make no sense, one after the other: each ends in the failure rule. */
static _Atomic uint32_t bad_kind;

static void answer_bad(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	(void)f;
	(void)l;
	(void)slot;
	switch ((int)bad_kind) {
	case 0: a->verdict = ANSWER_FAILED; break;
	case 1: a->verdict = 4711; break;
	case 2: wire_put(&a->head, WIRE_EDIT_SET, MP_LIT("A"), MP_LIT("b\r\nC: d")); break;
	case 3: wire_put(&a->head, WIRE_EDIT_SET, MP_LIT("A b"), MP_LIT("c")); break;
	case 4: wire_put_value(&a->head, WIRE_PATH, MP_LIT("/a b")); break;
	case 5: wire_put_value(&a->head, WIRE_AUTHORITY, MP_LIT("a\nb")); break;
	case 6: a->head.size = 5; break;
	case 7: a->verdict = MP_VERDICT_REPLY; a->status = 700; break;
	case 8: a->verdict = MP_VERDICT_HOLD; break;
	default: a->verdict = ANSWER_STALE; break;
	}
}

static void bad_answers(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_bad);
	for (bad_kind = 0; bad_kind < 10; bad_kind++) {
		(void)fake_begin("closed", 80, "/pay", &call, &v);
		is_int(mp_ask(&call, &request, &v), MP_VERDICT_REPLY, "answer %u: refused", bad_kind);
		ok(fake_has(&v, "Middlepipe",
			    "middlepipe;state=unavailable;pipe=\"guard\";retry-after=1;callback=raise"),
		   "in the name of the pipe");
		end(&call, &v);
		(void)fake_begin("payments", 80, "/pay", &call, &v);
		is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "open: let through");
		ok(!v.memory && !v.n_edits && !v.authority.ptr && !v.path.ptr, "untouched");
		end(&call, &v);
	}
	is_u64(fake_counters().refused, 10, "ten refused");
	is_u64(fake_counters().unfiltered, 10, "ten unfiltered");
	is_u64(fake_head(&fake.lanes[0])->counters[LANE_REFUSED], 10, "the lane says so too");
	is_u64(fake_head(&fake.lanes[0])->counters[LANE_UNFILTERED], 10, "of both");
	is_u64(fake_head(&fake.lanes[0])->ring_head, 10, "only those that went have outcomes");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	fake_end(&fake);
}

static void answer_refused(struct fake *f, struct fake_lane *l, uint32_t slot,
			   struct fake_answer *a)
{
	(void)f;
	(void)l;
	(void)slot;
	a->verdict = ANSWER_REFUSED;
}

static void ejected(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_refused);
	(void)fake_begin("closed", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_REPLY, "an ejected filter, bound closed");
	ok(fake_has(&v, "Middlepipe",
		    "middlepipe;state=ejected;pipe=\"guard\";retry-after=1;callback=raise"),
	   "is what the refusal says");
	end(&call, &v);
	fake_end(&fake);
}

/* The set was gone: the second question comes under the new one. */
static void answer_stale(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	if (fake_slot(l, slot)->set == 2) {
		a->exchange = 9;
		return;
	}
	fake_fill(f, 1, rows, N_ROWS);
	fake_flip(f, 2, 2, 1);
	a->verdict = ANSWER_STALE;
}

static void stale(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_stale);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "PASS");
	end(&call, &v);
	is_u64(fake.questions, 2, "asked twice");
	is_u64(fake_counters().unfiltered, 0, "and served");
	is_u64(fake_head(&fake.lanes[0])->begun[2], 1, "under the new set");
	is_u64(fake_outcome(&fake.lanes[0], 0)->where, lane_where(0, 2, MP_STANDING_ASK, 0, 200),
	       "where its outcome goes");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	fake_end(&fake);
}

static void answer_stale_gone(struct fake *f, struct fake_lane *l, uint32_t slot,
			      struct fake_answer *a)
{
	(void)l;
	(void)slot;
	fake_fill(f, 1, rows + 1, 1);
	fake_flip(f, 2, 2, 1);
	a->verdict = ANSWER_STALE;
}

static void stale_gone(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_stale_gone);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "no chain any more: PASS");
	end(&call, &v);
	is_u64(fake_head(&fake.lanes[0])->ring_head, 0, "no outcome");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree");
	fake_end(&fake);
}

/* ----------------------------------------------------------------- budgets */

static void over_budget(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;
	struct fake_answer late = { .verdict = MP_VERDICT_PASS };

	fake_init(&fake, rows, N_ROWS);
	fake.deaf = 1;
	fake_beat_for_ever(&fake);
	setenv("MIDDLEPIPE_BUDGET_MS", "10", 1);
	fake_run(&fake);
	if (!ok(EVENTUALLY(fake_begin("payments", 80, "/pay", &call, &v) == MP_ASK), "connected"))
		return;
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "nobody answers: let through");
	ok(fake_now() - call.started_ns >= 10 * NS_PER_MS, "after the budget");
	end(&call, &v);
	is_u64(fake_counters().over_budget, 1, "counted as such");
	is_u64(fake_head(fake_last(&fake))->counters[LANE_OVER_BUDGET], 1, "in the lane too");
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	(void)mp_ask(&call, &request, &v);
	end(&call, &v);
	is_u64(fake_head(fake_last(&fake))->pending[0], 3, "its slot was not used again");
	wire_start(&late.head, late.bytes, sizeof(late.bytes));
	fake_reply(fake_last(&fake), 0, &late);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	(void)mp_ask(&call, &request, &v);
	end(&call, &v);
	is_u64(fake_slot(fake_last(&fake), 0)->ticket, 2, "after its late answer it is");
	is_u64(fake_slot(fake_last(&fake), 1)->ticket, 1, "the other one is still out");
	ok(fake_balanced(fake_last(&fake)), "begun and ended agree");
	fake_end(&fake);
}

static void no_slot(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	fake_init(&fake, rows, N_ROWS);
	fake.deaf = 1;
	fake.n_slots = 65;
	fake_beat_for_ever(&fake);
	setenv("MIDDLEPIPE_BUDGET_MS", "10", 1);
	fake_run(&fake);
	if (!ok(EVENTUALLY(fake_begin("closed", 80, "/pay", &call, &v) == MP_ASK), "connected"))
		return;
	end(&call, &v);
	for (int i = 0; i < 65; i++) {
		(void)fake_begin("payments", 80, "/pay", &call, &v);
		(void)mp_ask(&call, &request, &v);
		end(&call, &v);
	}
	is_u64(fake_counters().no_slot, 0, "65 slots take 65 questions");
	is_u64(fake_counters().over_budget, 65, "which nobody answers");
	(void)fake_begin("closed", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_REPLY, "the 66th is refused (closed)");
	end(&call, &v);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "or let through (open)");
	end(&call, &v);
	is_u64(fake_counters().no_slot, 2, "both counted");
	is_u64(fake_head(fake_last(&fake))->counters[LANE_NO_SLOT], 2, "in the lane too");
	fake_end(&fake);
}

static void too_big(void)
{
	static char bytes[FAKE_DATA];
	static struct mp_field many[LANE_FIELDS_MAX + 1];
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_none);
	memset(bytes, 'x', sizeof(bytes));
	for (size_t i = 0; i < LANE_FIELDS_MAX + 1; i++)
		many[i] = fields[0];
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	request.fields = many;
	request.n_fields = LANE_FIELDS_MAX + 1;
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "257 fields: let through");
	end(&call, &v);
	request.n_fields = LANE_FIELDS_MAX;
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	(void)mp_ask(&call, &request, &v);
	end(&call, &v);
	is_u64(fake_counters().asked, 1, "256 are asked about");
	request.n_fields = 0;
	request.path = (struct mp_str){ bytes, sizeof(bytes) };
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	(void)mp_ask(&call, &request, &v);
	end(&call, &v);
	is_u64(fake_counters().unfiltered, 2, "a head larger than a slot is not");
	is_u64(fake.questions, 1, "nobody saw either");
	fake_end(&fake);
}

static void answer_cut(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	const struct lane_slot *s = fake_slot(l, slot);

	(void)f;
	(void)a;
	seen_good = !(s->flags & LANE_REQUEST_COMPLETE) &&
		    s->head_size + s->request_body_size == FAKE_DATA;
}

static void cut_body(void)
{
	static char bytes[2 * FAKE_DATA];
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_cut);
	memset(bytes, 'x', sizeof(bytes));
	request.body = (struct mp_str){ bytes, sizeof(bytes) };
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_PASS, "a large body");
	is_int(seen_good, 1, "is cut to what fits, and the chain knows");
	end(&call, &v);
	fake_end(&fake);
}

/* -------------------------------------------------------------------- hold */

static void hold_for(struct fake_lane *l, uint32_t slot, struct fake_answer *a, uint64_t ns)
{
	struct answers_slot *s = fake_answer_slot(l, slot);

	s->delay_ns = ns; /* first: it is read as soon as `held` says so */
	atomic_store(&s->held, atomic_load(&fake_slot(l, slot)->ticket));
	syscall(SYS_futex, &s->done, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	a->none = true;
}

static void answer_hold(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	(void)f;
	hold_for(l, slot, a, 60 * NS_PER_S);
}

static void hold(void)
{
	struct fake_answer passed = { .verdict = MP_VERDICT_PASS, .exchange = 11 };
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	start(answer_hold);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_HOLD, "HOLD");
	is_u64(v.delay_ns, 60 * NS_PER_S, "for a minute at most");
	is_int(mp_resume(&call, 0, &v), MP_VERDICT_HOLD, "only looked: still held");
	is_int(mp_resume(&call, NS_PER_MS, &v), MP_VERDICT_HOLD, "waited: still held");
	ok(v.delay_ns < 60 * NS_PER_S, "for less by now");
	wire_start(&passed.head, passed.bytes, sizeof(passed.bytes));
	wire_put(&passed.head, WIRE_EDIT_SET, MP_LIT("A"), MP_LIT("b"));
	fake_reply(&fake.lanes[0], 0, &passed);
	is_int(mp_resume(&call, 10 * NS_PER_S, &v), MP_VERDICT_PASS, "resumed");
	is_u64(v.n_edits, 1, "with an edit");
	end(&call, &v);
	is_u64(fake_outcome(&fake.lanes[0], 0)->exchange, 11, "the outcome names the exchange");
	fake_end(&fake);
}

static void answer_hold_short(struct fake *f, struct fake_lane *l, uint32_t slot,
			      struct fake_answer *a)
{
	(void)f;
	hold_for(l, slot, a, 2 * NS_PER_MS);
}

static void hold_ends(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_call call;

	fake_init(&fake, rows, N_ROWS);
	fake.answer = answer_hold_short;
	fake_beat_for_ever(&fake);
	setenv("MIDDLEPIPE_BUDGET_MS", "1000", 1);
	fake_run(&fake);
	if (!ok(EVENTUALLY(fake_begin("closed", 80, "/pay", &call, &v) == MP_ASK), "connected"))
		return;
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_HOLD, "HOLD");
	is_int(mp_resume(&call, UINT64_MAX, &v), MP_VERDICT_PASS, "ended by the library, by PASS");
	ok(fake_now() - call.started_ns >= 1002 * NS_PER_MS, "after its time and the budget");
	end(&call, &v);
	(void)fake_begin("payments", 80, "/pay", &call, &v);
	is_int(mp_ask(&call, &request, &v), MP_VERDICT_HOLD, "HOLD again");
	mp_verdict_free(&v);
	mp_end(&call, 200, 0, 0);
	is_u64(fake_outcome(fake_last(&fake), 1)->where,
	       lane_where(0, 1, MP_STANDING_ASK, MP_ERROR_CANCELLED, 0), "given up: cancelled");
	is_u64(fake_slot(fake_last(&fake), 1)->ticket, 1, "slots of both are left alone");
	ok(fake_balanced(fake_last(&fake)), "begun and ended agree");
	fake_end(&fake);
}

int main(void)
{
	scenario("a round trip with edits", edits);
	scenario("plain round trips", plain);
	scenario("a REPLY", reply);
	scenario("a REPLY for a while", reply_soon);
	scenario("a DELAY", delay);
	scenario("answers that make no sense", bad_answers);
	scenario("an ejected filter", ejected);
	scenario("a stale chain set", stale);
	scenario("a stale chain set without a successor", stale_gone);
	scenario("over the budget", over_budget);
	scenario("no slot", no_slot);
	scenario("too big to ask", too_big);
	scenario("a body that is cut", cut_body);
	scenario("HOLD", hold);
	scenario("the end of a HOLD", hold_ends);
	return done();
}
