/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of mp_ask and of mp_respond share: a board, messages, a fake. */
#ifndef TESTS_UNIT_CLIENT_ASKING_H
#define TESTS_UNIT_CLIENT_ASKING_H

#include "tests/unit/client/fake.h"

static const struct fake_row rows[] = {
	{ "payments", 80, "", ENTRY_OUTCOME | ENTRY_REQUEST_BODY, "guard", MP_STANDING_ASK },
	{ "closed", 80, "", ENTRY_OUTCOME | ENTRY_CLOSED, "guard", MP_STANDING_ASK },
	{ "decided", 80, "", ENTRY_RESPONSE | ENTRY_RESPONSE_BODY, "guard", MP_STANDING_ASK },
	{ "copied", 80, "", ENTRY_COPY | ENTRY_RESPONSE_BODY | ENTRY_REQUEST_BODY, "guard",
	  MP_STANDING_PASS },
	{ "strict", 80, "", ENTRY_RESPONSE | ENTRY_CLOSED, "guard", MP_STANDING_PASS },
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static struct fake fake;

static const struct mp_field fields[] = {
	{ { "Accept", 6 }, { "*/*", 3 } },
	{ { "Host", 4 }, { "payments", 8 } },
};

static inline struct mp_request request_make(const char *body)
{
	return (struct mp_request){ .size = sizeof(struct mp_request), .flags = MP_BODY_COMPLETE,
				    .method = MP_LIT("POST"), .scheme = MP_LIT("http"),
				    .authority = MP_LIT("payments"), .path = MP_LIT("/pay?x=1"),
				    .fields = fields, .n_fields = 2, .body = slice_of(body) };
}

static inline struct mp_response response_make(int status, int error)
{
	return (struct mp_response){ .size = sizeof(struct mp_response), .flags = MP_BODY_COMPLETE,
				     .status = status, .error = error, .fields = fields,
				     .n_fields = 1, .body = MP_LIT("response") };
}

static inline void start(fake_answer_fn *answer)
{
	fake_init(&fake, rows, N_ROWS);
	fake.answer = answer;
	fake_run(&fake);
}

/* One item of a question, by tag and number. */
static inline struct mp_str item_of(struct fake_lane *l, uint32_t slot, enum wire_tag tag, int nth)
{
	struct mp_str rest = { fake_slot_data(l, slot), fake_slot(l, slot)->head_size };
	struct wire_item item;

	while (wire_next(&rest, &item) > 0)
		if (item.tag == tag && !nth--)
			return item.value;
	return (struct mp_str){ 0 };
}

static inline void end(struct mp_call *call, struct mp_verdict *v)
{
	mp_verdict_free(v);
	mp_end(call, 200, 0, 0);
}

/* Set by an answer function: the question was as it should be. */
static _Atomic uint32_t seen_good;

#endif
