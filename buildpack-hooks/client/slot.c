/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions and answers: see slot.h.  A slot belongs to the thread that has
 * taken its bit in `busy`, which is in private memory; what stands in the lane
 * is never read back.
 */
#include "buildpack-hooks/client/slot.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/wire.h"

/*
 * Looks at the answer that many times before sleeping, if the scheduler was
 * awake: a few microseconds, about what a sleep and a wake-up cost.  After a
 * doorbell never: the woken scheduler may be placed on our own core.
 */
#define SPINS 100

/* A longer sleep is cut there, to see whether the scheduler is still with us. */
#define SLICE_NS (20 * NS_PER_MS)

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* ------------------------------------------------------------- taking slots */

static uint64_t word_mask(const struct conn *conn, uint32_t word)
{
	uint32_t n = conn->layout.n_slots, first = word * 64;

	if (n <= first)
		return 0;
	return n - first >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << (n - first)) - 1;
}

/* Frees the slots of this word that were left and are answered by now. */
static void word_reclaim(struct live *live, const struct conn *conn, uint32_t word)
{
	struct conn_live *at = conn_live(live, conn);
	uint64_t left = LOAD(at->left[word]);

	while (left) {
		uint64_t bit = left & -left;
		uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(left);

		left &= ~bit;
		if (LOAD(conn->answer_slots[slot].done) != LOAD(at->ticket[slot]))
			continue;
		if (atomic_fetch_and(&at->left[word], ~bit) & bit)
			atomic_fetch_and(&at->busy[word], ~bit);
	}
}

static bool word_take(struct live *live, const struct conn *conn, uint32_t word, uint32_t *ret)
{
	_Atomic uint64_t *busy = &conn_live(live, conn)->busy[word];
	uint64_t taken = LOAD(*busy), idle;

	while ((idle = ~taken & word_mask(conn, word))) {
		uint64_t bit = idle & -idle;

		if (atomic_compare_exchange_weak(busy, &taken, taken | bit)) {
			*ret = word * 64 + (uint32_t)__builtin_ctzll(bit);
			return true;
		}
	}
	return false;
}

static bool slot_take(struct live *live, const struct conn *conn, uint32_t *ret)
{
	for (uint32_t word = 0; word < LANE_SLOTS_MAX / 64; word++) {
		word_reclaim(live, conn, word);
		if (word_take(live, conn, word, ret))
			return true;
	}
	return false;
}

void client_slot_free(struct live *live, const struct conn *conn, uint32_t slot)
{
	atomic_fetch_and(&conn_live(live, conn)->busy[slot / 64], ~(UINT64_C(1) << slot % 64));
}

void client_slot_leave(struct live *live, const struct conn *conn, uint32_t slot)
{
	atomic_fetch_or(&conn_live(live, conn)->left[slot / 64], UINT64_C(1) << slot % 64);
}

/* The next question's number in that slot; never 0, which stands for no question. */
static uint32_t ticket_next(struct live *live, const struct conn *conn, uint32_t slot)
{
	_Atomic uint32_t *ticket = &conn_live(live, conn)->ticket[slot];
	uint32_t next = LOAD(*ticket) + 1;

	next += !next;
	atomic_store(ticket, next);
	return next;
}

/* ------------------------------------------------------------------- writing */

static void put_fields(struct wire_writer *writer, enum wire_tag tag,
		       const struct mp_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		wire_put(writer, tag, fields[i].name, fields[i].value);
}

static int head_write(char *data, size_t size, const struct slot_question *q, uint32_t *ret_size)
{
	const struct mp_request *request = q->request;
	const struct mp_response *response = q->response;
	size_t n_request = request ? request->n_fields : 0;
	size_t n_response = response ? response->n_fields : 0;
	struct wire_writer writer;

	if (n_request > LANE_FIELDS_MAX || n_response > LANE_FIELDS_MAX - n_request)
		return -E2BIG;
	wire_start(&writer, data, size < LANE_HEAD_MAX ? size : LANE_HEAD_MAX);
	if (request) {
		wire_put_value(&writer, WIRE_METHOD, request->method);
		wire_put_value(&writer, WIRE_SCHEME, request->scheme);
		wire_put_value(&writer, WIRE_AUTHORITY, request->authority);
		wire_put_value(&writer, WIRE_PATH, request->path);
		put_fields(&writer, WIRE_FIELD, request->fields, n_request);
	}
	if (response)
		put_fields(&writer, WIRE_RESPONSE_FIELD, response->fields, n_response);
	*ret_size = (uint32_t)writer.size;
	return writer.full ? -E2BIG : 0;
}

/* Copies as much of a body as the chain wants and `room` allows; true when that is all of it. */
static bool body_write(char *at, size_t room, struct mp_str body, bool complete, bool wanted,
		       uint32_t *ret_size)
{
	size_t size = wanted ? body.len : 0;

	if (size > room)
		size = room;
	if (size)
		memcpy(at, body.ptr, size);
	*ret_size = (uint32_t)size;
	return complete && size == body.len;
}

/* Writes both bodies behind the head; a response leaves room for at least half. */
static uint32_t bodies_write(char *at, size_t room, const struct slot_question *q, uint32_t wanted,
			     struct lane_slot *slot)
{
	uint32_t flags = 0, request = 0, response = 0;
	bool both = q->response && (wanted & ENTRY_RESPONSE_BODY);

	if (q->request && body_write(at, both ? room / 2 : room, q->request->body,
				     q->request->flags & MP_BODY_COMPLETE,
				     wanted & ENTRY_REQUEST_BODY, &request))
		flags |= LANE_REQUEST_COMPLETE;
	if (q->response && body_write(at + request, room - request, q->response->body,
				      q->response->flags & MP_BODY_COMPLETE,
				      wanted & ENTRY_RESPONSE_BODY, &response))
		flags |= LANE_RESPONSE_COMPLETE;
	STORE(slot->request_body_size, request);
	STORE(slot->response_body_size, response);
	return flags;
}

static int question_write(const struct conn *conn, const struct call_state *state, uint32_t index,
			  const struct slot_question *q)
{
	struct lane_slot *slot = &conn->slots[index];
	char *data = conn->slot_data + index * conn->layout.slot_size;
	uint64_t us = q->duration_ns / NS_PER_US;
	uint32_t head;
	int r = head_write(data, conn->layout.slot_size, q, &head);

	if (r < 0)
		return r;
	STORE(slot->head_size, head);
	STORE(slot->flags,
	      bodies_write(data + head, conn->layout.slot_size - head, q, state->flags, slot));
	STORE(slot->waiting, 0);
	STORE(slot->kind, q->kind);
	STORE(slot->set, state->set);
	STORE(slot->entry, state->entry);
	STORE(slot->exchange, q->exchange);
	STORE(slot->status, q->response ? (uint32_t)q->response->status : 0);
	STORE(slot->error, q->response ? (uint32_t)q->response->error : 0);
	STORE(slot->duration_us, us > UINT32_MAX ? UINT32_MAX : (uint32_t)us);
	return 0;
}

static bool half_used(struct live *live, const struct conn *conn)
{
	uint32_t used = 0;

	for (uint32_t word = 0; word < LANE_SLOTS_MAX / 64; word++)
		used += (uint32_t)__builtin_popcountll(LOAD(conn_live(live, conn)->busy[word]));
	return used > conn->layout.n_slots / 2;
}

/*
 * Sees to it that the scheduler looks.  A copy can wait for the next tick,
 * unless slots run short; only a question may spin, and only unrung.
 */
static void wake(struct live *live, struct conn *conn, const struct call_state *state,
		 uint32_t kind)
{
	bool asleep = atomic_load(&conn->board->asleep);

	if (kind == LANE_COPY) {
		if (asleep && (!atomic_load(&conn->board->ticking) || half_used(live, conn)))
			client_ring(live, conn);
		return;
	}
	if (asleep) {
		client_ring(live, conn);
		return;
	}
	for (int i = 0; i < SPINS && LOAD(conn->answer_slots[state->slot].done) != state->ticket; i++)
		cpu_pause();
}

int client_slot_post(struct live *live, struct conn *conn, struct call_state *state,
		     const struct slot_question *question)
{
	uint32_t slot;
	int r;

	if (!slot_take(live, conn, &slot))
		return -EBUSY;
	r = question_write(conn, state, slot, question);
	if (r < 0) {
		client_slot_free(live, conn, slot);
		return r;
	}
	state->slot = (uint8_t)slot;
	state->ticket = ticket_next(live, conn, slot);
	STORE(conn->slots[slot].ticket, state->ticket);
	/* Pending first, then asleep: the scheduler does it the other way round. */
	atomic_fetch_or(&conn->lane->pending[slot / 64], UINT64_C(1) << slot % 64);
	wake(live, conn, state, question->kind);
	return 0;
}

/* ------------------------------------------------------------------- waiting */

static void futex_wait(const _Atomic uint32_t *word, uint32_t seen, uint64_t until_ns)
{
	struct timespec until = { .tv_sec = (time_t)(until_ns / NS_PER_S),
				  .tv_nsec = (long)(until_ns % NS_PER_S) };
	struct quiet quiet = client_quiet();

	/* Whatever ends it, the caller looks again; the word is in a read-only mapping. */
	(void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, &until, NULL,
		      FUTEX_BITSET_MATCH_ANY);
	client_quiet_end(quiet);
}

static int answer_await(const struct conn *conn, const struct call_state *state,
			uint64_t deadline_ns, bool hold_ends)
{
	const struct answers_slot *answer = &conn->answer_slots[state->slot];
	uint64_t now = 0, slice = 0;

	for (;;) {
		uint32_t done = atomic_load(&answer->done);

		if (done == state->ticket)
			return 0;
		if (hold_ends && LOAD(answer->held) == state->ticket)
			return 1;
		if (now && now >= slice && client_at_eof(conn))
			return -EPIPE;
		now = client_now();
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		if (now >= slice)
			slice = deadline_ns - now > SLICE_NS ? now + SLICE_NS : deadline_ns;
		futex_wait(&answer->done, done, slice);
		now = client_now();
	}
}

int client_slot_wait(const struct conn *conn, const struct call_state *state, uint64_t deadline_ns,
		     bool hold_ends)
{
	struct lane_slot *slot = &conn->slots[state->slot];
	int r;

	if (LOAD(conn->answer_slots[state->slot].done) == state->ticket)
		return 0;
	/* Waiting first, then a look at done: the scheduler does it the other way round. */
	atomic_store(&slot->waiting, 1);
	r = answer_await(conn, state, deadline_ns, hold_ends);
	STORE(slot->waiting, 0);
	return r;
}

int client_slot_answer(const struct conn *conn, uint32_t slot, struct slot_answer *ret)
{
	const struct answers_slot *a = &conn->answer_slots[slot];
	const char *data = conn->answer_data + slot * conn->layout.answer_size;
	uint64_t head = LOAD(a->head_size), body = LOAD(a->body_size);

	*ret = (struct slot_answer){
		.verdict = LOAD(a->verdict), .exchange = LOAD(a->exchange),
		.delay_ns = LOAD(a->delay_ns),
	};
	ret->raw = (struct raw_verdict){
		.status = (int32_t)LOAD(a->status), .retry_at_ns = LOAD(a->retry_at_ns),
		.head = data, .head_size = head, .body = data + head, .body_size = body,
		.has_body = LOAD(a->has_body),
	};
	if (head > LANE_HEAD_MAX || head > conn->layout.answer_size ||
	    body > conn->layout.answer_size - head)
		return -EPROTO;
	return 0;
}

uint64_t client_slot_hold_ns(const struct conn *conn, uint32_t slot)
{
	return LOAD(conn->answer_slots[slot].delay_ns);
}
