/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane whose memory is the input, served and drained by the scheduler's own
 * code with the built-in filters.  What it answers must be whole.
 *
 * The input is split in two halves, served one after the other: first half,
 * answers, second half.  Each half fills, in this order, the changing words of
 * the lane's header, the slots, the ring, and the data of each slot.  Exchange
 * numbers 1 to 4 mean: the one that the answer in that slot has just named.
 *
 * With FUZZ_PLANT the target itself has a bug in what it does with answers
 * that edit.
 */
#include "lib/wire.h"
#include "tests/fuzz/scheduler_fixture.h"

#define SLOTS 4u

static struct lane *lane;

/* Takes up to size bytes off the input; what is missing stays zero. */
static void fill(char *to, size_t size, struct mp_str *input)
{
	size_t n = input->len < size ? input->len : size;

	memset(to, 0, size);
	if (n)
		memcpy(to, input->ptr, n);
	*input = slice_skip(*input, n);
}

static struct lane_slot *slot_of(uint32_t i)
{
	return (struct lane_slot *)(void *)(lane->lane_base + lane_head(lane)->slots_offset) + i;
}

static struct answers_slot *answer_of(uint32_t i)
{
	return (struct answers_slot *)(void *)(lane->answers_base + LANE_PAGE) + i;
}

static struct lane_outcome *ring_of(uint32_t i)
{
	return (struct lane_outcome *)(void *)(lane->lane_base + lane_head(lane)->ring_offset) + i;
}

/* What an app knows and a fuzzer cannot guess. */
static uint64_t exchange_named(uint64_t number)
{
	return number >= 1 && number <= SLOTS ? answer_of((uint32_t)number - 1)->exchange : number;
}

static void lane_fill(struct mp_str input)
{
	size_t words = offsetof(struct lane_header, pending);
	uint64_t data_offset = lane_head(lane)->data_offset;

	fill(lane->lane_base + words, sizeof(struct lane_header) - words, &input);
	fill((char *)slot_of(0), SLOTS * sizeof(struct lane_slot), &input);
	fill((char *)ring_of(0), lane->limits.n_ring * sizeof(struct lane_outcome), &input);
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct mp_str rest = input; /* all slots may ask the same */

		fill(lane->lane_base + data_offset + (size_t)i * lane->limits.data_size,
		     lane->limits.data_size, &rest);
		slot_of(i)->exchange = exchange_named(slot_of(i)->exchange);
	}
	for (uint32_t i = 0; i < lane->limits.n_ring; i++)
		ring_of(i)->exchange = exchange_named(ring_of(i)->exchange);
}

#ifdef FUZZ_PLANT
/* The planted bug: a question that edits may have any ticket. */
static void plant(const struct answers_slot *a)
{
	char *copy = malloc(256);

	if (copy)
		((char *volatile)copy)[a->done] = 1;
	free(copy);
}
#else
static void plant(const struct answers_slot *a)
{
	(void)a; /* no bug in an honest build */
}
#endif

static bool verdict_known(uint32_t verdict)
{
	return verdict <= MP_VERDICT_DELAY || (verdict >= ANSWER_STALE && verdict <= ANSWER_REFUSED);
}

static void check_answer(uint32_t i)
{
	const struct answers_slot *a = answer_of(i);
	struct mp_str head = { lane_answer_data(lane, i), a->head_size };
	struct wire_item item;
	int r;

	if (!a->done)
		return;
	FUZZ_CHECK(verdict_known(a->verdict));
	FUZZ_CHECK(a->head_size <= lane->limits.data_size &&
		   a->body_size <= lane->limits.data_size - a->head_size);
	FUZZ_CHECK(a->status == 0 || (a->status >= 100 && a->status <= 599));
	while ((r = wire_next(&head, &item)) > 0) {
		bool edit = item.tag >= WIRE_EDIT_SET && item.tag <= WIRE_EDIT_REMOVE;

		if (edit)
			FUZZ_CHECK(wire_field_ok(item.name, item.value));
		if (edit)
			plant(a);
	}
	FUZZ_CHECK(r == 0);
}

/* The data thread's round for that lane. */
static void serve(struct mp_str input)
{
	struct data *d = fixture.data;

	lane_fill(input);
	d->now_ns += 1000000;
	(void)serve_lane(d, lane);
	(void)serve_resumes(d);
	(void)drain_all(d);
	for (uint32_t i = 0; i < SLOTS; i++)
		check_answer(i);
	FUZZ_CHECK(lane->n_exchanges <= SLOTS * DATA_EXCHANGES_A_SLOT);
}

static void lane_make(void)
{
	struct err err = { 0 };
	static uint64_t id;

	FUZZ_CHECK(!lane_new(&fixture.data->limits.lane, 0, ++id, &lane, &err));
	list_push_back(&fixture.data->lanes, &lane->link);
}

static void units_reset(void)
{
	struct chainset *set = fixture.data->current;

	for (uint32_t i = 0; i < set->n_units; i++)
		if (set->units[i]->filter->command && !set->units[i]->ejected)
			(void)set->units[i]->filter->command(set->units[i]->self, "reset", "");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool open;
	size_t half = size / 2;

	if (!open)
		fixture_open();
	open = true;
	fixture.data->random = 88172645463325252ull;
	units_reset();
	lane_make();
	serve(slice_make(data, half));
	serve(slice_make(data + half, size - half));
	drain_lane_end(fixture.data, lane);
	FUZZ_CHECK(lane->n_exchanges == 0 && list_empty(&lane->exchanges));
	FUZZ_CHECK(fixture.data->current->exchanges == 0);
	list_remove(&lane->link);
	lane_free(lane);
	return 0;
}
