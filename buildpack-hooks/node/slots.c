/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls in progress of one JavaScript thread: see slots.h.
 */
#include "buildpack-hooks/node/slots.h"

#include <stdlib.h>

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

static struct slot *slot_at(struct slots *slots, uint32_t number)
{
	return &slots->chunks[number / SLOTS_CHUNK][number % SLOTS_CHUNK];
}

struct slot *slots_take(struct slots *slots)
{
	struct slot *slot;

	if (!slots->first_free && !slots_grow(slots))
		return NULL;
	slot = slot_at(slots, slots->first_free - 1);
	slots->first_free = slot->next_free;
	slot->verdict = (struct mp_verdict){ .size = sizeof(slot->verdict) };
	slot->head_ns = 0;
	return slot;
}

struct slot *slots_get(struct slots *slots, uint32_t number)
{
	struct slot *slot;

	if (number / SLOTS_CHUNK >= slots->n_chunks)
		return NULL;
	slot = slot_at(slots, number);
	return slot->live ? slot : NULL;
}

void slots_give(struct slots *slots, struct slot *slot)
{
	slot->live = false;
	slot->next_free = slots->first_free;
	slots->first_free = slot->number + 1;
}

void slots_end(struct slots *slots, struct slot *slot, int status, int error)
{
	mp_end(&slot->call, status, error, slot->head_ns);
	mp_verdict_free(&slot->verdict);
	slots_give(slots, slot);
}

void slots_fini(struct slots *slots)
{
	for (uint32_t i = 0; i < slots->n_chunks * SLOTS_CHUNK; i++) {
		struct slot *slot = slots_get(slots, i);

		if (slot)
			slots_end(slots, slot, 0, MP_ERROR_CANCELLED);
	}
	for (uint32_t i = 0; i < slots->n_chunks; i++)
		free(slots->chunks[i]);
	*slots = (struct slots){ 0 };
}
