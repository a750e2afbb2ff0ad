/* SPDX-License-Identifier: Apache-2.0 */
/* See lane.h. */
#include "scheduler/lane.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "scheduler/memfd.h"

#define LOAD(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define STORE(word, value) atomic_store_explicit(&(word), value, memory_order_relaxed)

/* Duration that no call has: 36 hours in ns. */
#define DURATION_MAX UINT64_C(0x800000000000)

static size_t page_up(size_t n)
{
	return (n + LANE_PAGE - 1) / LANE_PAGE * LANE_PAGE;
}

static size_t ring_at(void)
{
	return LANE_PAGE;
}

static size_t slots_at(const struct lane_limits *l)
{
	return page_up(ring_at() + l->n_ring * sizeof(struct lane_outcome));
}

static size_t data_at(const struct lane_limits *l)
{
	return page_up(slots_at(l) + l->n_slots * sizeof(struct lane_slot));
}

static size_t answers_data_at(const struct lane_limits *l)
{
	return page_up(LANE_PAGE + l->n_slots * sizeof(struct answers_slot));
}

static void lane_header_init(struct lane *lane)
{
	struct lane_header *h = lane_head(lane);

	h->magic = LANE_MAGIC;
	h->major = LANE_MAJOR;
	h->minor = LANE_MINOR;
	h->header_size = sizeof(*h);
	h->size = lane->lane_size;
	h->n_slots = lane->limits.n_slots;
	h->n_ring = lane->limits.n_ring;
	h->ring_offset = ring_at();
	h->slots_offset = slots_at(&lane->limits);
	h->data_offset = data_at(&lane->limits);
	h->data_size = lane->limits.data_size;
}

static struct answers_header *answers_head(const struct lane *lane)
{
	return (struct answers_header *)(void *)lane->answers_base;
}

static void answers_header_init(struct lane *lane)
{
	struct answers_header *h = answers_head(lane);

	h->magic = ANSWERS_MAGIC;
	h->major = LANE_MAJOR;
	h->minor = LANE_MINOR;
	h->header_size = sizeof(*h);
	h->size = lane->answers_size;
	h->slots_offset = LANE_PAGE;
	h->data_offset = answers_data_at(&lane->limits);
	h->data_size = lane->limits.data_size;
	h->n_slots = lane->limits.n_slots;
}

int lane_new(const struct lane_limits *limits, uint32_t number, uint64_t id, struct lane **ret,
	     struct err *err)
{
	struct lane *lane = calloc(1, sizeof(*lane));
	int r;

	if (!lane)
		return err_set(err, -ENOMEM, "lane: out of memory");
	lane->magic = LANE_STRUCT_MAGIC;
	lane->number = number;
	lane->id = id;
	lane->limits = *limits;
	lane->lane_fd = lane->answers_fd = lane->socket = lane->pidfd = -1;
	lane->lane_size = data_at(limits) + (size_t)limits->n_slots * limits->data_size;
	lane->answers_size = answers_data_at(limits) + (size_t)limits->n_slots * limits->data_size;
	list_init(&lane->exchanges);
	list_init(&lane->link);
	lane->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lane->doorbell < 0) {
		r = err_sys(err, errno, "eventfd");
		goto fail;
	}
	r = memfd_make("middlepipe-lane", lane->lane_size, MEMFD_WRITABLE, &lane->lane_fd,
		       &lane->lane_base, err);
	if (r < 0)
		goto fail;
	r = memfd_make("middlepipe-answers", lane->answers_size, MEMFD_READ_ONLY, &lane->answers_fd,
		       &lane->answers_base, err);
	if (r < 0)
		goto fail;
	lane_header_init(lane);
	answers_header_init(lane);
	*ret = lane;
	return 0;
fail:
	lane_free(lane);
	return r;
}

void lane_free(struct lane *lane)
{
	if (!lane)
		return;
	memfd_free(lane->lane_fd, lane->lane_base, lane->lane_size);
	memfd_free(lane->answers_fd, lane->answers_base, lane->answers_size);
	if (lane->doorbell >= 0)
		close(lane->doorbell);
	if (lane->socket >= 0)
		close(lane->socket);
	if (lane->pidfd >= 0)
		close(lane->pidfd);
	free(lane);
}

/* ---------------------------------------------------------------- questions */

bool lane_pending(const struct lane *lane)
{
	for (unsigned i = 0; i * 64 < lane->limits.n_slots; i++)
		if (LOAD(lane_head(lane)->pending[i]))
			return true;
	return false;
}

uint64_t lane_take(struct lane *lane, unsigned word)
{
	_Atomic uint64_t *pending = &lane_head(lane)->pending[word];
	uint32_t left = lane->limits.n_slots - word * 64;
	uint64_t mask = left >= 64 ? ~0ull : (1ull << left) - 1;

	if (!LOAD(*pending))
		return 0;
	return atomic_exchange_explicit(pending, 0, memory_order_seq_cst) & mask;
}

static struct lane_slot *slot_at(const struct lane *lane, uint32_t slot)
{
	return (struct lane_slot *)(void *)(lane->lane_base + slots_at(&lane->limits)) + slot;
}

static const char *slot_data(const struct lane *lane, uint32_t slot)
{
	return lane->lane_base + data_at(&lane->limits) + (size_t)slot * lane->limits.data_size;
}

/* Status and error as one of the two must be: garbage becomes "other error". */
static void end_clamp(int32_t *status, int32_t *error)
{
	if (*error < 0 || *error >= MP_ERROR_COUNT)
		*error = MP_ERROR_OTHER;
	if (*error != MP_ERROR_NONE)
		*status = 0;
	else if (*status < 100 || *status > 599) {
		*status = 0;
		*error = MP_ERROR_OTHER;
	}
}

int lane_question(const struct lane *lane, uint32_t slot, char *buffer, struct question *q)
{
	const struct lane_slot *s = slot_at(lane, slot);
	uint32_t head, request, response, max = lane->limits.data_size;

	*q = (struct question){
		.ticket = atomic_load_explicit(&s->ticket, memory_order_acquire),
		.kind = LOAD(s->kind), .set = LOAD(s->set), .entry = LOAD(s->entry),
		.flags = LOAD(s->flags), .exchange = LOAD(s->exchange),
		.status = (int32_t)LOAD(s->status), .error = (int32_t)LOAD(s->error),
		.duration_ns = LOAD(s->duration_us) * UINT64_C(1000),
	};
	head = LOAD(s->head_size);
	request = LOAD(s->request_body_size);
	response = LOAD(s->response_body_size);
	if (q->kind < LANE_REQUEST || q->kind > LANE_COPY || q->set >= LANE_SETS ||
	    !q->ticket || head > LANE_HEAD_MAX || head > max || request > max - head ||
	    response > max - head - request)
		return -EINVAL;
	if (q->kind != LANE_REQUEST)
		end_clamp(&q->status, &q->error);
	memcpy(buffer, slot_data(lane, slot), head + request + response);
	q->head = (struct mp_str){ buffer, head };
	q->request_body = (struct mp_str){ buffer + head, request };
	q->response_body = (struct mp_str){ buffer + head + request, response };
	return 0;
}

/* ------------------------------------------------------------------ answers */

static struct answers_slot *answer_at(const struct lane *lane, uint32_t slot)
{
	return (struct answers_slot *)(void *)(lane->answers_base + LANE_PAGE) + slot;
}

char *lane_answer_data(const struct lane *lane, uint32_t slot)
{
	return lane->answers_base + answers_data_at(&lane->limits) +
	       (size_t)slot * lane->limits.data_size;
}

/*
 * Wakes the thread that waits, if it says so.  That word is the app's: a lie
 * costs the app its own wake-up, or us one system call.
 */
static void wake(const struct lane *lane, uint32_t slot)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (LOAD(slot_at(lane, slot)->waiting))
		(void)syscall(SYS_futex, &answer_at(lane, slot)->done, FUTEX_WAKE, 1, NULL, NULL, 0);
}

bool lane_answer(struct lane *lane, uint32_t slot, uint32_t ticket, const struct answer *a)
{
	struct answers_slot *s = answer_at(lane, slot);

	if (a->body.len > lane->limits.data_size - a->head_size)
		return false;
	if (a->body.len)
		memcpy(lane_answer_data(lane, slot) + a->head_size, a->body.ptr, a->body.len);
	STORE(s->verdict, a->verdict);
	STORE(s->status, a->status);
	STORE(s->exchange, a->exchange);
	STORE(s->delay_ns, a->delay_ns);
	STORE(s->retry_at_ns, a->retry_at_ns);
	STORE(s->head_size, a->head_size);
	STORE(s->body_size, (uint32_t)a->body.len);
	STORE(s->has_body, a->has_body);
	atomic_store_explicit(&s->done, ticket, memory_order_release);
	wake(lane, slot);
	return true;
}

void lane_hold(struct lane *lane, uint32_t slot, uint32_t ticket, uint64_t delay_ns)
{
	struct answers_slot *s = answer_at(lane, slot);

	STORE(s->delay_ns, delay_ns);
	atomic_store_explicit(&s->held, ticket, memory_order_release);
	wake(lane, slot);
}

/* ----------------------------------------------------------------- outcomes */

static const struct lane_outcome *ring_entry(const struct lane *lane, uint64_t index)
{
	return (const struct lane_outcome *)(const void *)(lane->lane_base + ring_at()) +
	       (index & (lane->limits.n_ring - 1));
}

uint64_t lane_ring_end(const struct lane *lane)
{
	uint64_t head = atomic_load_explicit(&lane_head(lane)->ring_head, memory_order_acquire);

	/* A head that moved back or too far is a lie: nothing, or a full ring. */
	if (head - lane->ring_tail > UINT64_MAX / 2)
		return lane->ring_tail;
	if (head - lane->ring_tail > lane->limits.n_ring)
		return lane->ring_tail + lane->limits.n_ring;
	return head;
}

static void outcome_unpack(const struct lane_outcome *e, struct outcome *ret)
{
	uint64_t where = LOAD(e->where);

	*ret = (struct outcome){
		.entry = (uint32_t)(where >> 32),
		.set = (uint32_t)(where >> 24) & 15u,
		.standing = (int32_t)(where >> 16 & 3u),
		.error = (int32_t)(where >> 12 & 15u),
		.status = (int32_t)(where & 0xfffu),
		.exchange = LOAD(e->exchange),
		.duration_ns = LOAD(e->duration_ns),
	};
	if (ret->duration_ns > DURATION_MAX)
		ret->duration_ns = DURATION_MAX;
	end_clamp(&ret->status, &ret->error);
}

/* True when the unpublished entry at the tail is given up. */
static bool stuck_too_long(struct lane *lane, uint64_t end, uint64_t now_ns)
{
	if (!now_ns || end - lane->ring_tail > lane->limits.n_ring / 2)
		return true;
	if (lane->stuck != lane->ring_tail + 1) {
		lane->stuck = lane->ring_tail + 1;
		lane->stuck_ns = now_ns;
	}
	return now_ns - lane->stuck_ns > LANE_STUCK_NS;
}

int lane_outcome_next(struct lane *lane, struct outcome *ret, uint64_t *skipped, uint64_t now_ns)
{
	uint64_t end = lane_ring_end(lane);

	while (lane->ring_tail != end) {
		const struct lane_outcome *e = ring_entry(lane, lane->ring_tail);

		if (atomic_load_explicit(&e->seq, memory_order_acquire) == lane->ring_tail + 1) {
			outcome_unpack(e, ret);
			lane->ring_tail++;
			return 1;
		}
		if (!stuck_too_long(lane, end, now_ns))
			return 0;
		lane->ring_tail++;
		(*skipped)++;
	}
	return 0;
}

void lane_ring_release(struct lane *lane)
{
	atomic_store_explicit(&answers_head(lane)->ring_tail, lane->ring_tail, memory_order_release);
}

void lane_bell_clear(struct lane *lane)
{
	uint64_t count;
	struct iovec v = { &count, sizeof(count) };

	/* O_NONBLOCK is shared with the app, which can clear it: ask for no wait each time. */
	if (preadv2(lane->doorbell, &v, 1, -1, RWF_NOWAIT) < 0)
		return; /* it was empty, or the app read it itself */
}

uint64_t lane_in_progress(const struct lane *lane, unsigned set)
{
	/* ended first: then a call that begins and ends in between cannot hide one. */
	uint64_t ended = atomic_load_explicit(&lane_head(lane)->ended[set], memory_order_seq_cst);
	uint64_t begun = atomic_load_explicit(&lane_head(lane)->begun[set], memory_order_seq_cst);

	return begun > ended ? begun - ended : 0;
}

/* No honest count comes near it, and sums of a million lies do not overflow. */
static uint64_t believable(uint64_t n)
{
	return n > UINT32_MAX ? UINT32_MAX : n;
}

uint64_t lane_counter(const struct lane *lane, unsigned index)
{
	return believable(LOAD(lane_head(lane)->counters[index]));
}

void lane_lost(struct lane *lane, uint64_t *ret_ok, uint64_t *ret_failed)
{
	uint64_t ok = LOAD(lane_head(lane)->lost_ok), failed = LOAD(lane_head(lane)->lost_failed);

	*ret_ok = ok > lane->lost_ok ? believable(ok - lane->lost_ok) : 0;
	*ret_failed = failed > lane->lost_failed ? believable(failed - lane->lost_failed) : 0;
	lane->lost_ok = ok;
	lane->lost_failed = failed;
}
