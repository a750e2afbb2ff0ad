/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: what one handshake with a scheduler has given, from a small
 * static pool whose memory is never freed, so that taking a reference is
 * always safe.
 *
 *   FREE -> OPENING -> LIVE -> RETIRED -> CLOSING -> FREE
 *
 * One of them is current.  When its scheduler is away it stays current, marked
 * CONN_AWAY, because its board still says which bindings are `closed`; the
 * next one replaces it.  A retired one is unmapped when its last call ends.
 *
 * The lists of what is open are in ordinary memory: a forked child releases
 * there what it inherited.
 */
#ifndef CLIENT_CONN_H
#define CLIENT_CONN_H

#include "buildpack-hooks/client/state.h"

enum conn_phase { CONN_FREE, CONN_OPENING, CONN_LIVE, CONN_RETIRED, CONN_CLOSING };

#define CONN_AWAY UINT64_C(0x80) /* in live.current: the scheduler is away */

/*
 * A descriptor of ours.  An application may close any number and open it
 * anew: before a use we look whether it is still the same object.
 */
struct owned_fd {
	atomic_bool open; /* the rest is valid */
	int fd;
	dev_t device;
	ino_t inode;
};

/* A shared mapping of ours. */
struct owned_map {
	_Atomic(void *) at; /* NULL: not mapped */
	size_t size;
};

/* Geometry, copied out of the headers and checked once. */
struct conn_layout {
	uint64_t tables_offset; /* in the board */
	uint64_t table_size;
	uint64_t blobs_offset;
	uint64_t blobs_size;
	uint32_t n_slots;
	uint32_t n_ring;
	uint64_t slot_size;   /* bytes of data a slot in the lane */
	uint64_t answer_size; /* likewise in the answers */
};

struct conn {
	struct owned_fd socket;
	struct owned_fd doorbell;
	struct owned_map maps[3]; /* board, lane, answers */
	struct conn_layout layout;
	const uint32_t index; /* in the pool and in live.conns */
	/* Into the mappings; those of the lane are NULL when no lane was free. */
	const struct board_header *board;
	struct lane_header *lane;
	struct lane_outcome *ring;
	struct lane_slot *slots;
	char *slot_data;
	const struct answers_header *answers;
	const struct answers_slot *answer_slots;
	const char *answer_data;
};

static inline struct conn_live *conn_live(struct live *live, const struct conn *conn)
{
	return &live->conns[conn->index];
}

/* Adopts a descriptor; closes it if it is still the same. */
int client_fd_own(struct owned_fd *owned, int fd);
bool client_fd_is_ours(const struct owned_fd *owned);

/*
 * Holds the current connection, away or not: *ret_word is live.current.  NULL
 * when there was none yet.
 */
struct conn *client_hold(struct live *live, uint64_t *ret_word);
void client_drop(struct live *live, struct conn *conn);

/* The connection that a call holds; NULL when the call is from before a fork. */
struct conn *client_conn_of(struct live *live, uint64_t word);

/* A free place, OPENING and held by the caller, or NULL; then one of the two below. */
struct conn *client_reserve(struct live *live);
void client_publish(struct live *live, struct conn *conn); /* makes it current */
void client_discard(struct live *live, struct conn *conn);

/* Marks the current connection as away, if `word` is still the current one. */
void client_away(struct live *live, uint64_t word);

/*
 * Counts for the scheduler, once: in the lane of the call that goes over
 * `conn`, whose word is `word`; or, while there is none (conn may be NULL) or
 * its scheduler is away, in the next lane that is opened.
 */
void client_count_lane(struct live *live, struct conn *conn, uint64_t word,
		       enum lane_counter counter);

/* Gives the current lane, if there is one, what was counted without. */
void client_tell(struct live *live);

/* Wakes the scheduler. */
void client_ring(struct live *live, struct conn *conn);

/* True when the scheduler has closed the socket, or the application has closed ours. */
bool client_at_eof(const struct conn *conn);

/*
 * The beat rule: false when the scheduler is away.  Rings and looks at the
 * socket when a beat is stale for the first time.
 */
bool client_is_alive(struct live *live, struct conn *conn, uint64_t now);

/*
 * One attempt to connect, unless it is too early, another thread is at it, or
 * live.current is not `seen` any more.
 */
void client_connect(struct live *live, uint64_t seen, uint64_t now);

/*
 * Maps what a welcome brought and checks every seal, size and offset: `lane`
 * -1 when there is only the board.  Takes the descriptors, whatever happens.
 * Returns 0 or -EPROTO.
 */
int client_map(struct conn *conn, int board, int lane, int answers);

/* Releases what this process has inherited by a fork. */
void client_conns_inherited(void);

#endif
