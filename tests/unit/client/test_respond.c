/* SPDX-License-Identifier: Apache-2.0 */
/* mp_respond: responses decided on, responses copied. */
#include "tests/unit/client/asking.h"

static void answer_decide(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	const struct lane_slot *s = fake_slot(l, slot);

	(void)f;
	a->exchange = 21;
	if (s->kind == LANE_REQUEST)
		return;
	seen_good = s->kind == LANE_RESPONSE && s->exchange == 21 && s->status == 200 &&
		    s->response_body_size == 8 && (s->flags & LANE_RESPONSE_COMPLETE) &&
		    !item_of(l, slot, WIRE_METHOD, 0).len &&
		    slice_eq(item_of(l, slot, WIRE_RESPONSE_FIELD, 0), MP_LIT("*/*"));
	a->status = 203;
	wire_put(&a->head, WIRE_EDIT_REMOVE, MP_LIT("Server"), (struct mp_str){ 0 });
}

static void respond(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_response response = response_make(200, 0);
	struct mp_call call;

	start(answer_decide);
	(void)fake_begin("decided", 80, "/pay", &call, &v);
	(void)mp_ask(&call, &request, &v);
	mp_verdict_free(&v);
	is_int(call.wants, MP_WANT_RESPONSE | MP_WANT_RESPONSE_BODY, "the response is wanted");
	is_int(mp_respond(&call, NULL, &response, &v), MP_VERDICT_PASS, "PASS");
	is_int(seen_good, 1, "the response was whole");
	is_int(v.status, 203, "with another status");
	is_u64(v.n_edits, 1, "and an edit");
	mp_verdict_free(&v);
	is_int(mp_respond(&call, NULL, &response, &v), MP_VERDICT_PASS, "a second time it is ignored");
	is_u64(fake.questions, 2, "nothing more was asked");
	end(&call, &v);
	is_u64(fake_outcome(&fake.lanes[0], 0)->exchange, 21, "the outcome names the exchange");
	fake_end(&fake);
}

static void answer_replace(struct fake *f, struct fake_lane *l, uint32_t slot,
			   struct fake_answer *a)
{
	(void)f;
	a->exchange = 21;
	if (fake_slot(l, slot)->kind == LANE_REQUEST)
		return;
	a->verdict = MP_VERDICT_REPLY;
	a->status = 200;
	a->body = "cached";
	a->has_body = true;
}

static void respond_reply(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_response response = response_make(0, MP_ERROR_TIMEOUT);
	struct mp_call call;

	start(answer_replace);
	(void)fake_begin("decided", 80, "/pay", &call, &v);
	(void)mp_ask(&call, &request, &v);
	mp_verdict_free(&v);
	is_int(mp_respond(&call, NULL, &response, &v), MP_VERDICT_REPLY, "a failure is replaced");
	ok(slice_eq(v.body, MP_LIT("cached")), "by a body");
	end(&call, &v);
	is_u64(fake_outcome(&fake.lanes[0], 0)->where,
	       lane_where(2, 1, MP_STANDING_ASK, MP_ERROR_TIMEOUT, 0),
	       "the outcome is the service's all the same");
	fake_end(&fake);
}

static void answer_failed(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	(void)f;
	(void)l;
	(void)slot;
	a->verdict = ANSWER_FAILED;
}

static void respond_fails(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("");
	struct mp_response response = response_make(200, 0);
	struct mp_call call;

	start(answer_failed);
	is_int(fake_begin("strict", 80, "/pay", &call, &v), MP_GO, "not asked");
	is_int(mp_respond(&call, NULL, &response, &v), MP_VERDICT_PASS, "without a request: nothing");
	is_u64(fake.questions, 0, "was asked");
	is_int(mp_respond(&call, &request, &response, &v), MP_VERDICT_REPLY, "a failure is refused");
	end(&call, &v);
	is_u64(fake_outcome(&fake.lanes[0], 0)->where, lane_where(4, 1, MP_STANDING_PASS, 0, 200),
	       "the outcome is the service's");
	fake_end(&fake);
}

static void answer_copy(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	const struct lane_slot *s = fake_slot(l, slot);

	(void)f;
	(void)a;
	seen_good = s->kind == LANE_COPY && s->status == 200 && !s->exchange &&
		    s->request_body_size == 4 && s->response_body_size == 8 &&
		    !memcmp(fake_slot_data(l, slot) + s->head_size, "bodyresponse", 12) &&
		    slice_eq(item_of(l, slot, WIRE_METHOD, 0), MP_LIT("POST"));
}

static void copies(void)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = request_make("body");
	struct mp_response response = response_make(200, 0);
	struct mp_call call;

	fake_init(&fake, rows, N_ROWS);
	fake.answer = answer_copy;
	fake.n_slots = 4;
	atomic_store(&fake_board(&fake)->ticking, 0);
	fake_run(&fake);
	is_int(fake_begin("copied", 80, "/pay", &call, &v), MP_GO, "PASS stands");
	is_int(call.wants, MP_WANT_COPY | MP_WANT_REQUEST_BODY | MP_WANT_RESPONSE_BODY, "a copy");
	is_int(mp_respond(&call, &request, &response, &v), MP_VERDICT_PASS, "is not waited for");
	end(&call, &v);
	ok(EVENTUALLY(fake.questions == 1), "it arrives");
	is_int(seen_good, 1, "and is whole");
	for (int i = 0; i < 40; i++) {
		(void)fake_begin("copied", 80, "/pay", &call, &v);
		(void)EVENTUALLY(fake.questions == (uint32_t)i + 1);
		(void)mp_respond(&call, &request, &response, &v);
		end(&call, &v);
	}
	is_u64(fake_counters().lost, 0, "slots come back");
	ok(EVENTUALLY(fake.served == 41), "all of them arrive");
	fake.deaf = 1;
	for (int i = 0; i < 6; i++) {
		(void)fake_begin("copied", 80, "/pay", &call, &v);
		(void)mp_respond(&call, &request, &response, &v);
		end(&call, &v);
	}
	is_u64(fake_counters().lost, 2, "what finds no slot is lost");
	is_u64(fake_counters().unfiltered, 0, "which harms no call");
	fake_end(&fake);
}

int main(void)
{
	scenario("a response decided on", respond);
	scenario("a response replaced", respond_reply);
	scenario("a response that cannot be decided on", respond_fails);
	scenario("copies", copies);
	return done();
}
