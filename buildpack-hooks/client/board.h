/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-ups on the board: which entry a call meets, and what stands there.
 *
 * The board is another process's memory: whatever is read counts only when the
 * header word is the same afterwards, and every offset is checked before use.
 */
#ifndef CLIENT_BOARD_H
#define CLIENT_BOARD_H

#include "buildpack-hooks/client/conn.h"

/* What is looked up. */
struct probe {
	uint64_t hash;      /* of "host:port", or of "host" without a port */
	uint64_t host_hash; /* of "host" */
	const char *text;   /* the key, borrowed; NULL: the hashes alone decide */
	uint32_t size;      /* bytes of the whole key */
	uint32_t host_size; /* bytes of its host part */
	struct mp_str path;
};

/* What stands at an entry, read as one. */
struct standing {
	uint64_t seq;      /* of the entry, when it was read */
	uint64_t verdict;  /* MP_STANDING_* */
	uint64_t until_ns; /* 0: no end */
	uint64_t blob;     /* offset << 32 | size */
};

/* What the chain counts as a failure; see struct mp_failure. */
struct failure_rule {
	uint64_t statuses; /* the word that the status is in */
	uint64_t slow_ns;
	uint32_t errors;
};

/*
 * Finds the entry and fills the call's word, entry, set, flags and pipe.
 * Returns 1; 0 when nothing is there; -EAGAIN when the board would not hold
 * still (also when it is nonsense).
 */
int client_board_find(const struct conn *conn, const struct probe *probe, struct call_state *state);

/* The same, and counts the call as begun in its chain set, before it can go away. */
int client_board_begin(const struct conn *conn, const struct probe *probe,
		       struct call_state *state);

/* Counts the call as ended. */
void client_board_end(const struct conn *conn, const struct call_state *state);

/* What stands at the call's entry; ASK when it cannot be read. */
struct standing client_board_standing(const struct conn *conn, const struct call_state *state,
				      uint64_t now);

/* True when what client_board_standing() gave still holds. */
bool client_board_unchanged(const struct conn *conn, const struct call_state *state,
			    const struct standing *standing);

/* What is the same on every path of a destination. */
struct board_summary {
	int standing; /* MP_STANDING_*, ASK where they differ; negative: nothing is there */
	bool closed_all; /* every entry is on_failure: closed */
	bool closed_any; /* some entry is */
};
struct board_summary client_board_summary(const struct conn *conn, const struct probe *probe,
					  uint64_t now);

/* The failure rule of the call's entry for this status; false when it is gone. */
bool client_board_failure(const struct conn *conn, const struct call_state *state, unsigned status,
			  struct failure_rule *ret);

#endif
