/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler/lane.c: whatever an app writes into its lane, the scheduler reads
 * a question, an outcome or a number that is in range, or nothing.
 */
#include "scheduler/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

#define SLOTS 70u /* two words of pending bits, the second not full */
#define RING 64u
#define DATA 8192u

static char buffer[DATA];

static struct lane *make(void)
{
	const struct lane_limits limits = { SLOTS, RING, DATA };
	struct err err = { 0 };
	struct lane *lane = NULL;

	is_int(lane_new(&limits, 3, 9, &lane, &err), 0, "a lane is made");
	return lane;
}

/* The app's view of its own memory, at the offsets that the header names. */
static struct lane_slot *slot_of(struct lane *lane, uint32_t i)
{
	return (struct lane_slot *)(void *)(lane->lane_base + lane_head(lane)->slots_offset) + i;
}

static char *data_of(struct lane *lane, uint32_t i)
{
	return lane->lane_base + lane_head(lane)->data_offset + (size_t)i * DATA;
}

static struct lane_outcome *ring_of(struct lane *lane, uint64_t index)
{
	return (struct lane_outcome *)(void *)(lane->lane_base + lane_head(lane)->ring_offset) +
	       index % RING;
}

static struct answers_slot *answer_of(struct lane *lane, uint32_t i)
{
	return (struct answers_slot *)(void *)(lane->answers_base + LANE_PAGE) + i;
}

/* A question that is right in every word. */
static struct lane_slot *question_write(struct lane *lane, uint32_t i)
{
	struct lane_slot *s = slot_of(lane, i);

	s->ticket = 7;
	s->kind = LANE_RESPONSE;
	s->set = 2;
	s->entry = 5;
	s->flags = LANE_REQUEST_COMPLETE;
	s->exchange = 99;
	s->head_size = 10;
	s->request_body_size = 20;
	s->response_body_size = 30;
	s->status = 200;
	s->error = 0;
	s->duration_us = 1500;
	memset(data_of(lane, i), 'h', 10);
	memset(data_of(lane, i) + 10, 'q', 20);
	memset(data_of(lane, i) + 30, 'r', 30);
	return s;
}

static int ask(struct lane *lane, uint32_t i, struct question *q)
{
	memset(buffer, 0, sizeof(buffer));
	return lane_question(lane, i, buffer, q);
}

static void test_question(void)
{
	struct lane *lane = make();
	struct question q;

	question_write(lane, SLOTS - 1);
	is_int(ask(lane, SLOTS - 1, &q), 0, "a right question is taken");
	ok(q.ticket == 7 && q.kind == LANE_RESPONSE && q.set == 2 && q.entry == 5 &&
	   q.exchange == 99 && q.flags == LANE_REQUEST_COMPLETE, "its words");
	ok(q.status == 200 && !q.error && q.duration_ns == 1500000, "its outcome");
	ok(q.head.len == 10 && q.request_body.len == 20 && q.response_body.len == 30, "its parts");
	ok(q.head.ptr == buffer && q.request_body.ptr == buffer + 10 && q.response_body.ptr == buffer + 30,
	   "they lie in our own memory");
	memset(data_of(lane, SLOTS - 1), 'X', 60);
	ok(buffer[0] == 'h' && buffer[29] == 'q' && buffer[59] == 'r', "what the app writes later is not seen");
	lane_free(lane);
}

/* Each line breaks one word of a right question. */
static void test_hostile_questions(void)
{
	static const struct {
		const char *what;
		size_t offset; /* of the word in struct lane_slot */
		uint32_t value;
	} rows[] = {
		{ "ticket 0", offsetof(struct lane_slot, ticket), 0 },
		{ "kind 0", offsetof(struct lane_slot, kind), 0 },
		{ "kind 4", offsetof(struct lane_slot, kind), 4 },
		{ "kind 2^32-1", offsetof(struct lane_slot, kind), UINT32_MAX },
		{ "set 16", offsetof(struct lane_slot, set), LANE_SETS },
		{ "set 2^31", offsetof(struct lane_slot, set), 1u << 31 },
		{ "head past the slot", offsetof(struct lane_slot, head_size), DATA + 1 },
		{ "head 2^32-1", offsetof(struct lane_slot, head_size), UINT32_MAX },
		{ "head that leaves too little", offsetof(struct lane_slot, head_size), DATA - 49 },
		{ "request body past the slot", offsetof(struct lane_slot, request_body_size), DATA - 39 },
		{ "request body 2^32-1", offsetof(struct lane_slot, request_body_size), UINT32_MAX },
		{ "request body that wraps the sum", offsetof(struct lane_slot, request_body_size), UINT32_MAX - 9 },
		{ "response body past the slot", offsetof(struct lane_slot, response_body_size), DATA - 29 },
		{ "response body 2^32-1", offsetof(struct lane_slot, response_body_size), UINT32_MAX },
		{ "response body that wraps the sum", offsetof(struct lane_slot, response_body_size), UINT32_MAX - 29 },
	};
	struct lane *lane = make();
	struct question q;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *s = (char *)question_write(lane, 1);

		memcpy(s + rows[i].offset, &rows[i].value, sizeof(rows[i].value));
		is_int(ask(lane, 1, &q), -EINVAL, "%s: no question", rows[i].what);
	}
	question_write(lane, 1)->response_body_size = DATA - 30;
	is_int(ask(lane, 1, &q), 0, "a question that fills its slot to the last byte");
	is_u64((uint64_t)(q.response_body.ptr + q.response_body.len - buffer), DATA, "ends where the slot ends");
	lane_free(lane);
}

static void test_clamped_ends(void)
{
	static const struct {
		uint32_t status, error;
		int want_status, want_error;
	} rows[] = {
		{ 599, 0, 599, 0 }, { 600, 0, 0, MP_ERROR_OTHER }, { 99, 0, 0, MP_ERROR_OTHER },
		{ UINT32_MAX, 0, 0, MP_ERROR_OTHER }, { 200, MP_ERROR_TIMEOUT, 0, MP_ERROR_TIMEOUT },
		{ 200, MP_ERROR_COUNT, 0, MP_ERROR_OTHER }, { 200, UINT32_MAX, 0, MP_ERROR_OTHER },
	};
	struct lane *lane = make();
	struct question q;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct lane_slot *s = question_write(lane, 0);

		s->status = rows[i].status;
		s->error = rows[i].error;
		ok(!ask(lane, 0, &q) && q.status == rows[i].want_status && q.error == rows[i].want_error,
		   "status %u, error %u is %d, %d", rows[i].status, rows[i].error, q.status, q.error);
	}
	lane_free(lane);
}

static void test_pending(void)
{
	struct lane *lane = make();
	struct lane_header *h = lane_head(lane);

	ok(!lane_pending(lane) && !lane_take(lane, 0), "nothing is pending at first");
	h->pending[0] = UINT64_MAX;
	h->pending[1] = UINT64_MAX;
	ok(lane_pending(lane), "something is pending");
	is_u64(lane_take(lane, 0), UINT64_MAX, "64 slots of the first word");
	is_u64(lane_take(lane, 1), (1u << (SLOTS - 64)) - 1, "bits of slots that do not exist are dropped");
	ok(!lane_pending(lane), "all is taken");
	h->pending[2] = h->pending[3] = UINT64_MAX;
	ok(!lane_pending(lane), "words that belong to no slot are not looked at");
	lane_free(lane);
}

/* The geometry in the lane is for the app; ours is elsewhere. */
static void test_scribbled_header(void)
{
	struct lane *lane = make();
	struct answers_header *a = (struct answers_header *)(void *)lane->answers_base;
	struct question q;

	question_write(lane, 0);
	memset(lane->lane_base, 0xff, offsetof(struct lane_header, pending));
	is_int(ask(lane, 0, &q), 0, "a scribbled header changes nothing");
	ok(q.head.len == 10 && !memcmp(buffer, "hhhhhhhhhhqq", 12), "what was asked");
	memset(lane->lane_base, 0xff, LANE_PAGE);
	is_u64(lane_ring_end(lane), 0, "a head of 2^64-1 is one that moved back");
	is_u64(a->data_size, DATA, "the answers are out of its reach");
	lane_free(lane);
}

static void outcome_write(struct lane *lane, uint64_t index, uint64_t where)
{
	struct lane_outcome *e = ring_of(lane, index);

	e->where = where;
	e->exchange = index;
	e->duration_ns = 1000;
	e->seq = index + 1;
}

static void test_ring(void)
{
	struct lane *lane = make();
	struct lane_header *h = lane_head(lane);
	struct answers_header *a = (struct answers_header *)(void *)lane->answers_base;
	struct outcome o;
	uint64_t skipped = 0, n = 0;

	is_int(lane_outcome_next(lane, &o, &skipped, 1), 0, "an empty ring has none");
	for (uint64_t i = 0; i < 3 * RING; i++) {
		outcome_write(lane, i, lane_where((uint32_t)i, 3, MP_STANDING_PASS, 0, 200));
		h->ring_head = i + 1;
		n += lane_outcome_next(lane, &o, &skipped, 1) == 1 && o.entry == i && o.set == 3 &&
		     o.standing == MP_STANDING_PASS && o.status == 200 && o.exchange == i;
	}
	is_u64(n, 3 * RING, "three rounds of the ring, each outcome once");
	is_u64(skipped, 0, "none skipped");
	lane_ring_release(lane);
	is_u64(a->ring_tail, 3 * RING, "the app is told how far");
	lane_free(lane);
}

static void test_ring_unpublished(void)
{
	struct lane *lane = make();
	struct outcome o;
	uint64_t skipped = 0, later = 1 + LANE_STUCK_NS;

	outcome_write(lane, 1, lane_where(1, 0, 0, 0, 200));
	lane_head(lane)->ring_head = 2;
	is_int(lane_outcome_next(lane, &o, &skipped, 1), 0, "an unpublished outcome ends the drain");
	is_int(lane_outcome_next(lane, &o, &skipped, later), 0, "is waited for");
	outcome_write(lane, 0, lane_where(7, 0, 0, 0, 200));
	is_int(lane_outcome_next(lane, &o, &skipped, later), 1, "and taken when it is there");
	ok(o.entry == 7 && !skipped, "none was skipped");
	is_int(lane_outcome_next(lane, &o, &skipped, later), 1, "so is the one behind it");
	outcome_write(lane, 3, lane_where(3, 0, 0, 0, 200));
	lane_head(lane)->ring_head = 5;
	is_int(lane_outcome_next(lane, &o, &skipped, later), 0, "another one");
	is_int(lane_outcome_next(lane, &o, &skipped, 2 * later), 1, "is given up after a while");
	ok(skipped == 1 && o.entry == 3, "and counted");
	is_int(lane_outcome_next(lane, &o, &skipped, 2 * later), 0, "a third");
	is_int(lane_outcome_next(lane, &o, &skipped, 0), 0, "is given up when the app is gone");
	is_u64(skipped, 2, "and counted");
	lane_free(lane);
}

static void test_ring_lies(void)
{
	struct lane *lane = make();
	struct lane_header *h = lane_head(lane);
	struct outcome o;
	uint64_t skipped = 0;

	h->ring_head = 1000 * RING;
	is_u64(lane_ring_end(lane), RING, "a head too far is a full ring");
	is_int(lane_outcome_next(lane, &o, &skipped, 1), 0, "of nothing that is published");
	is_u64(skipped, RING / 2, "half of it is given up at once, so that the rest can wait");
	h->ring_head = 1000 * RING + 1;
	is_int(lane_outcome_next(lane, &o, &skipped, 1), 0, "the same again");
	is_u64(skipped, RING, "and again: a drain is bounded whatever the head says");
	lane->ring_tail = 100;
	h->ring_head = 99;
	is_u64(lane_ring_end(lane), 100, "a head that moved back is an empty ring");
	h->ring_head = UINT64_MAX;
	is_u64(lane_ring_end(lane), 100, "so is one that moved back across 0");
	lane->ring_tail = UINT64_MAX - 1;
	h->ring_head = 3;
	is_u64(lane_ring_end(lane), 3, "indices may wrap");
	lane_free(lane);
}

static void test_outcome_clamps(void)
{
	struct lane *lane = make();
	struct outcome o;
	uint64_t skipped = 0;

	outcome_write(lane, 0, UINT64_MAX);
	ring_of(lane, 0)->duration_ns = UINT64_MAX;
	lane_head(lane)->ring_head = 1;
	is_int(lane_outcome_next(lane, &o, &skipped, 1), 1, "an outcome of all ones");
	ok(o.set < LANE_SETS && o.standing >= 0 && o.standing <= 3, "set and standing are in range");
	ok(o.error == MP_ERROR_OTHER && o.status == 0, "its end is some error");
	ok(o.duration_ns <= UINT64_C(0x800000000000), "its duration is bounded");
	lane_free(lane);
}

static void test_counters(void)
{
	struct lane *lane = make();
	struct lane_header *h = lane_head(lane);
	uint64_t good, failed;

	h->lost_ok = 5;
	h->lost_failed = 2;
	lane_lost(lane, &good, &failed);
	ok(good == 5 && failed == 2, "what was lost");
	h->lost_ok = 6;
	h->lost_failed = 1;
	lane_lost(lane, &good, &failed);
	ok(good == 1 && failed == 0, "since then; a count that went back is nothing");
	h->lost_ok = UINT64_MAX;
	h->counters[7] = UINT64_MAX;
	lane_lost(lane, &good, &failed);
	is_u64(good, UINT32_MAX, "no more than an app can have lost");
	is_u64(lane_counter(lane, 7), UINT32_MAX, "nor counted");
	h->begun[15] = 3;
	h->ended[15] = 1;
	is_u64(lane_in_progress(lane, 15), 2, "two calls in progress");
	h->ended[15] = 4;
	is_u64(lane_in_progress(lane, 15), 0, "never fewer than none");
	lane_free(lane);
}

static void test_answer(void)
{
	struct lane *lane = make();
	struct answer a = { .verdict = MP_VERDICT_REPLY, .status = 503, .exchange = 4, .delay_ns = 5,
			    .retry_at_ns = 6, .head_size = 4, .body = MP_LIT("body"), .has_body = true };
	struct answers_slot *s = answer_of(lane, SLOTS - 1);
	static char big[DATA];

	memcpy(lane_answer_data(lane, SLOTS - 1), "head", 4);
	ok(lane_answer(lane, SLOTS - 1, 77, &a), "an answer");
	ok(s->done == 77 && s->verdict == MP_VERDICT_REPLY && s->status == 503 && s->exchange == 4 &&
	   s->delay_ns == 5 && s->retry_at_ns == 6 && s->head_size == 4 && s->body_size == 4 &&
	   s->has_body == 1, "its words");
	ok(!memcmp(lane_answer_data(lane, SLOTS - 1), "headbody", 8), "its bytes");
	a.body = (struct mp_str){ big, DATA - 4 };
	ok(lane_answer(lane, SLOTS - 1, 78, &a), "a body that just fits");
	a.body.len++;
	ok(!lane_answer(lane, SLOTS - 1, 79, &a), "one that does not");
	is_u64(s->done, 78, "is not answered");
	lane_hold(lane, 0, 80, 1000);
	ok(answer_of(lane, 0)->held == 80 && answer_of(lane, 0)->delay_ns == 1000 &&
	   answer_of(lane, 0)->done == 0, "held, not done");
	lane_free(lane);
}

static void test_descriptors(void)
{
	struct lane *lane = make();
	uint64_t most = UINT64_MAX - 1;
	void *map;

	is_int(fcntl(lane->doorbell, F_SETFL, 0), 0, "the app clears O_NONBLOCK");
	lane_bell_clear(lane);
	ok(true, "reading an empty doorbell does not block");
	is_int((int)write(lane->doorbell, &most, sizeof(most)), 8, "the app fills its counter");
	lane_bell_clear(lane);
	lane_bell_clear(lane);
	ok(true, "and it is read empty");
	map = mmap(NULL, LANE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, lane->answers_fd, 0);
	ok(map == MAP_FAILED, "the answers cannot be mapped for writing");
	ok(ftruncate(lane->lane_fd, 0) < 0 && ftruncate(lane->answers_fd, 0) < 0, "nothing can be cut");
	lane_free(lane);
}

static void test_punched(void)
{
	struct lane *lane = make();
	struct question q;
	struct outcome o;
	uint64_t skipped = 0;

	question_write(lane, 0);
	lane_head(lane)->pending[0] = 1;
	if (fallocate(lane->lane_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      (off_t)lane->lane_size) < 0)
		memset(lane->lane_base, 0, lane->lane_size);
	ok(!lane_pending(lane), "a lane with a hole instead of pages is empty");
	is_int(ask(lane, 0, &q), -EINVAL, "no question");
	is_int(lane_outcome_next(lane, &o, &skipped, 1), 0, "no outcome");
	lane_free(lane);
}

int main(void)
{
	test_question();
	test_hostile_questions();
	test_clamped_ends();
	test_pending();
	test_scribbled_header();
	test_ring();
	test_ring_unpublished();
	test_ring_lies();
	test_outcome_clamps();
	test_counters();
	test_answer();
	test_descriptors();
	test_punched();
	return done();
}
