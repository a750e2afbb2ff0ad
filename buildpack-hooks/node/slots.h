/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls in progress of one JavaScript thread, by small numbers: JavaScript
 * holds a number, so that no object is wrapped, and a number that is no longer
 * valid is harmless, because each use of a slot has another one.
 * Used by addon.c only, from its own thread only.
 */
#ifndef NODE_SLOTS_H
#define NODE_SLOTS_H

#include <stdbool.h>

#include <middlepipe/client.h>

#define SLOTS_CHUNK 128u /* slots allocated at once */
#define SLOTS_MAX 65536u /* calls at once; a further one goes unfiltered */
#define SLOTS_CHUNKS (SLOTS_MAX / SLOTS_CHUNK)

/* One call. */
struct slot {
	struct mp_call call;
	uint64_t head_ns;    /* when the response's head was there; 0: when it ends */
	uint32_t number;     /* index | use << 16; below 2^30, which JavaScript likes best */
	uint32_t next_free;  /* index + 1 of the next free one; 0: none */
	bool live;           /* begun and not ended */
	bool https;          /* scheme of its target */
	bool swept;          /* lingered already when slots_sweep() passed before */
	bool has_verdict;    /* the next member is set */
	struct mp_verdict verdict; /* the newest, freed with the slot; untouched by most calls */
};

/* All of them; zeroed, but for heads, is empty. */
struct slots {
	struct slot *chunks[SLOTS_CHUNKS]; /* owned */
	uint32_t n_chunks;
	uint32_t first_free; /* index + 1; 0: none */
	uint16_t *heads;     /* by index: status of a call that lingers after its response's head,
	                      * else 0; written by JavaScript; SLOTS_MAX of them, borrowed */
};

/* A free slot, not live yet; NULL: none, or no memory. */
struct slot *slots_take(struct slots *slots);

/* The live slot of that number, or NULL. */
struct slot *slots_get(struct slots *slots, uint32_t number);

/* Ends the call of a live slot and gives the slot back. */
void slots_end(struct slots *slots, struct slot *slot, int status, int error);

/* Gives a slot back that never became live. */
void slots_give(struct slots *slots, struct slot *slot);

/* Ends those that have lingered since the last time; returns how many still do. */
uint32_t slots_sweep(struct slots *slots);

/* Ends what is live as cancelled, and frees everything; heads may be gone already. */
void slots_fini(struct slots *slots);

#endif
