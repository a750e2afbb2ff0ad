/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a group: what group.c (its parts, its loop and its life) and group_meta.c
 * (`meta`: read, made, watched) share.
 */
#ifndef AGGREGATOR_ROWS_GROUP_PRIV_H
#define AGGREGATOR_ROWS_GROUP_PRIV_H

#include "aggregator/rows/group.h"
#include "aggregator/rows/meta.h"

#define CHANCE 64 /* random words drawn at a time */

struct group {
	uv_loop_t *loop;            /* borrowed */
	struct engine *engine;      /* owned */
	struct rows_host host;      /* of all that follow */
	struct copy *copy;          /* NULL until `meta` is known */
	struct checks *checks;      /* likewise; NULL without halves */
	struct owner *owner;        /* likewise */
	struct reader *reader;      /* likewise */
	struct members *members;    /* likewise; NULL: alone */
	uint64_t members_at;        /* ns; when members_wake() is due */
	struct group_options options; /* texts point into the bufs below */
	struct group_calls calls;
	struct buf tenant, member;  /* copies */
	struct buf meta_key;        /* key of `meta` */
	struct buf meta_text;       /* as it is stored */
	struct meta meta;           /* the same, read */
	char uuid[META_UUID_SIZE];  /* that it must be; "": any */
	uint64_t nonce;             /* of this process */
	uv_prepare_t prepare;       /* does what is to be done before the loop sleeps */
	uv_timer_t timer;           /* wakes it when something is due */
	uv_timer_t meta_timer;      /* asks for `meta` again; then looks for the end of a release */
	uint64_t room;              /* of group_set_room(), until there is an owner */
	char room_why[256];         /* likewise */
	uint64_t words[CHANCE];     /* random */
	size_t n_words;             /* left of them */
	bool raised;                /* a loss was accepted: what is left is said */
	bool ready;                 /* calls.ready() was called */
	bool closing;               /* group_close() was called */
	bool ended;                 /* everything but the handles has gone */
	bool releasing;             /* group_release() was called */
	uint64_t release_until;     /* ns; then it closes, released or not; 0: nothing is being released */
	void (*released)(void *ctx); /* of group_release() */
	void *released_ctx;
	int handles;                /* still open */
	void (*closed)(void *ctx);  /* of group_close() */
	void *closed_ctx;
};

/* --------------------------------------------------------------------- group.c */

/* All that needs to know the number of shards.  0; -ENOMEM. */
int group_build(struct group *g);

/* Rows cannot be used, for good. */
void group_fail(struct group *g, const char *why);

uint64_t group_chance(void *g); /* of struct rows_host */

/* ---------------------------------------------------------------- group_meta.c */

/* Reads `meta`, or makes it, and builds the group with it; again until it is known. */
void group_ask_meta(struct group *g);

/* Names what is left, once it was read. */
void group_say_rows(const struct group *g);

/* It is that now. */
void group_take_meta(struct group *g, struct mp_str text);

#endif
