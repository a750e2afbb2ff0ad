/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls in progress of one JavaScript thread: see slots.h.
 */
#include "buildpack-hooks/node/slots.h"

#include <stdlib.h>

#define INDEX(number) ((number) & 0xffffu)
#define NEXT_USE(number) (((number) + 0x10000u) & 0x3fffffffu)

static bool slots_grow(struct slots *slots)
{
	struct slot *chunk;

	if (slots->n_chunks == SLOTS_CHUNKS)
		return false;
	chunk = calloc(SLOTS_CHUNK, sizeof(*chunk));
	if (!chunk)
		return false;
	for (uint32_t i = 0; i < SLOTS_CHUNK; i++) {
		chunk[i].number = slots->n_chunks * SLOTS_CHUNK + i;
		chunk[i].next_free = i + 1 < SLOTS_CHUNK ? chunk[i].number + 2 : 0;
	}
	slots->first_free = chunk[0].number + 1;
	slots->chunks[slots->n_chunks++] = chunk;
	return true;
}

static struct slot *slot_at(struct slots *slots, uint32_t index)
{
	return &slots->chunks[index / SLOTS_CHUNK][index % SLOTS_CHUNK];
}

struct slot *slots_take(struct slots *slots)
{
	struct slot *slot;

	if (!slots->first_free && !slots_grow(slots))
		return NULL;
	slot = slot_at(slots, slots->first_free - 1);
	slots->first_free = slot->next_free;
	slot->head_ns = 0;
	slot->swept = slot->has_verdict = false;
	return slot;
}

struct slot *slots_get(struct slots *slots, uint32_t number)
{
	struct slot *slot;

	if (INDEX(number) / SLOTS_CHUNK >= slots->n_chunks)
		return NULL;
	slot = slot_at(slots, INDEX(number));
	return slot->live && slot->number == number ? slot : NULL;
}

void slots_give(struct slots *slots, struct slot *slot)
{
	slot->live = false;
	slot->next_free = slots->first_free;
	slots->first_free = INDEX(slot->number) + 1;
	slot->number = NEXT_USE(slot->number);
}

static void finish(struct slot *slot, int status, int error)
{
	mp_end(&slot->call, status, error, slot->head_ns);
	if (slot->has_verdict)
		mp_verdict_free(&slot->verdict);
}

void slots_end(struct slots *slots, struct slot *slot, int status, int error)
{
	finish(slot, status, error);
	slots->heads[INDEX(slot->number)] = 0;
	slots_give(slots, slot);
}

uint32_t slots_sweep(struct slots *slots)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < slots->n_chunks * SLOTS_CHUNK; i++) {
		struct slot *slot = slot_at(slots, i);

		if (!slot->live || !slots->heads[i])
			continue;
		if (slot->swept)
			slots_end(slots, slot, slots->heads[i], 0);
		else
			n++;
		slot->swept = true;
	}
	return n;
}

void slots_fini(struct slots *slots)
{
	for (uint32_t i = 0; i < slots->n_chunks * SLOTS_CHUNK; i++) {
		struct slot *slot = slot_at(slots, i);

		if (slot->live)
			finish(slot, 0, MP_ERROR_CANCELLED);
	}
	for (uint32_t i = 0; i < slots->n_chunks; i++)
		free(slots->chunks[i]);
	*slots = (struct slots){ 0 };
}
