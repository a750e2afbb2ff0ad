/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls in progress of one JavaScript thread, by small numbers: JavaScript
 * holds a number, so that a stale one is harmless and no object is wrapped.
 * Used by addon.c only, from its own thread only.
 */
#ifndef NODE_SLOTS_H
#define NODE_SLOTS_H

#include <stdbool.h>

#include <middlepipe/client.h>

#define SLOTS_CHUNK 128u  /* slots allocated at once */
#define SLOTS_CHUNKS 512u /* so at most 65536 calls at once; a further one goes unfiltered */

/* One call. */
struct slot {
	struct mp_call call;
	struct mp_verdict verdict; /* the newest; freed with the slot */
	uint64_t head_ns;          /* when the response's head was there; 0: not yet */
	uint32_t number;           /* its own */
	uint32_t next_free;        /* number + 1 of the next free one; 0: none */
	bool live;                 /* begun and not ended */
	bool https;                /* scheme of its target */
};

/* All of them; zeroed is empty. */
struct slots {
	struct slot *chunks[SLOTS_CHUNKS]; /* owned */
	uint32_t n_chunks;
	uint32_t first_free; /* number + 1; 0: none */
};

/* A free slot, not live yet; NULL: none, or no memory. */
struct slot *slots_take(struct slots *slots);

/* The live slot of that number, or NULL. */
struct slot *slots_get(struct slots *slots, uint32_t number);

/* Ends the call of a live slot and gives the slot back. */
void slots_end(struct slots *slots, struct slot *slot, int status, int error);

/* Gives a slot back that never became live. */
void slots_give(struct slots *slots, struct slot *slot);

/* Ends what is live as cancelled, and frees everything. */
void slots_fini(struct slots *slots);

#endif
