/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool of connections: references, retirement, the doorbell and the signs
 * of life.  See conn.h.  Any thread; no lock.
 */
#include "buildpack-hooks/client/conn.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOLD_TRIES 64

static struct conn pool[CLIENT_CONNS] = {
	{ .index = 0 }, { .index = 1 }, { .index = 2 }, { .index = 3 },
	{ .index = 4 }, { .index = 5 }, { .index = 6 }, { .index = 7 },
};

/*
 * Names connections.  In ordinary memory: a forked child goes on from the
 * parent's number, so that a call from before the fork matches none of its own.
 */
static _Atomic uint64_t last_id;

static uint64_t state_word(uint64_t id, enum conn_phase phase)
{
	return id << 3 | (uint64_t)phase;
}

static enum conn_phase state_phase(uint64_t state)
{
	return (enum conn_phase)(state & 7);
}

static uint64_t state_id(uint64_t state)
{
	return state >> 3;
}

static uint64_t current_word(uint64_t id, uint32_t index)
{
	return id << 8 | (index + 1);
}

static struct conn *word_conn(uint64_t word)
{
	return &pool[((word & 0x7f) - 1) % CLIENT_CONNS];
}

/* -------------------------------------------------------- what we have open */

int client_fd_own(struct owned_fd *owned, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		int r = -errno;

		(void)close(fd); /* nothing was done with it */
		return r;
	}
	owned->fd = fd;
	owned->device = st.st_dev;
	owned->inode = st.st_ino;
	atomic_store(&owned->open, true);
	return 0;
}

bool client_fd_is_ours(const struct owned_fd *owned)
{
	struct stat st;

	return LOAD(owned->open) && !fstat(owned->fd, &st) && st.st_dev == owned->device &&
	       st.st_ino == owned->inode;
}

/*
 * The record goes first: a fork in between leaks a descriptor into the child,
 * where the other order could close a stranger's.
 */
static void fd_close(struct owned_fd *owned)
{
	bool ours = client_fd_is_ours(owned);

	atomic_store(&owned->open, false);
	if (ours)
		(void)close(owned->fd); /* nothing is buffered in it */
}

static void map_close(struct owned_map *map)
{
	void *at = atomic_exchange(&map->at, NULL);

	if (at)
		(void)munmap(at, map->size); /* ours and mapped: cannot fail */
}

static void conn_release(struct conn *conn)
{
	fd_close(&conn->socket);
	fd_close(&conn->doorbell);
	for (size_t i = 0; i < sizeof(conn->maps) / sizeof(conn->maps[0]); i++)
		map_close(&conn->maps[i]);
}

void client_conns_inherited(void)
{
	for (uint32_t i = 0; i < CLIENT_CONNS; i++)
		conn_release(&pool[i]);
}

/* --------------------------------------------------------------- references */

/*
 * Frees a retired connection that nobody holds.  Only fleeting references can
 * appear after the check, and these look at nothing before they have seen that
 * it is not current.
 */
static void reap(struct live *live, struct conn *conn)
{
	struct conn_live *at = conn_live(live, conn);
	uint64_t state = atomic_load(&at->state);
	struct quiet quiet;

	if (state_phase(state) != CONN_RETIRED || atomic_load(&at->refs) ||
	    !atomic_compare_exchange_strong(&at->state, &state,
					    state_word(state_id(state), CONN_CLOSING)))
		return;
	quiet = client_quiet();
	/* A child that has our socket too keeps it open: say clearly that it is over. */
	if (client_fd_is_ours(&conn->socket))
		(void)shutdown(conn->socket.fd, SHUT_RDWR); /* may be over already */
	conn_release(conn);
	client_quiet_end(quiet);
	atomic_store(&at->state, state_word(state_id(state), CONN_FREE));
}

void client_drop(struct live *live, struct conn *conn)
{
	_Atomic uint64_t *refs = &conn_live(live, conn)->refs;
	uint64_t held = LOAD(*refs);

	/* 0 only in a child that was forked in the middle of a call: nothing is held there. */
	while (held && !atomic_compare_exchange_weak(refs, &held, held - 1))
		;
	if (held == 1)
		reap(live, conn);
}

struct conn *client_hold(struct live *live, uint64_t *ret_word)
{
	for (int i = 0; i < HOLD_TRIES; i++) {
		uint64_t word = atomic_load(&live->current);
		struct conn *conn;

		if (!word)
			return NULL;
		conn = word_conn(word);
		atomic_fetch_add(&conn_live(live, conn)->refs, 1);
		if (atomic_load(&live->current) == word) {
			*ret_word = word;
			return conn;
		}
		client_drop(live, conn);
	}
	return NULL;
}

struct conn *client_conn_of(struct live *live, uint64_t word)
{
	struct conn *conn;

	if (!word)
		return NULL;
	conn = word_conn(word);
	if (state_id(LOAD(conn_live(live, conn)->state)) != word >> 8)
		return NULL;
	return conn;
}

struct conn *client_reserve(struct live *live)
{
	for (uint32_t i = 0; i < CLIENT_CONNS; i++) {
		struct conn_live *at = &live->conns[i];
		uint64_t state = atomic_load(&at->state), id = atomic_fetch_add(&last_id, 1) + 1;

		if (state_phase(state) != CONN_FREE ||
		    !atomic_compare_exchange_strong(&at->state, &state, state_word(id, CONN_OPENING)))
			continue;
		atomic_fetch_add(&at->refs, 1);
		for (size_t w = 0; w < LANE_SLOTS_MAX / 64; w++) {
			STORE(at->busy[w], 0);
			STORE(at->left[w], 0);
		}
		for (size_t s = 0; s < LANE_SLOTS_MAX; s++)
			STORE(at->ticket[s], 0);
		STORE(at->suspect_ns, client_now());
		STORE(at->suspect_beat, 0);
		STORE(at->half, 0);
		pool[i].board = NULL;
		pool[i].lane = NULL;
		return &pool[i];
	}
	return NULL;
}

static void retire(struct live *live, struct conn *conn)
{
	struct conn_live *at = conn_live(live, conn);
	uint64_t id = state_id(atomic_load(&at->state));

	atomic_store(&at->state, state_word(id, CONN_RETIRED));
	client_drop(live, conn);
}

void client_publish(struct live *live, struct conn *conn)
{
	struct conn_live *at = conn_live(live, conn);
	uint64_t id = state_id(atomic_load(&at->state)), old;

	atomic_store(&at->state, state_word(id, CONN_LIVE));
	old = atomic_exchange(&live->current, current_word(id, conn->index));
	if (old)
		retire(live, word_conn(old));
}

void client_discard(struct live *live, struct conn *conn)
{
	retire(live, conn);
}

void client_away(struct live *live, uint64_t word)
{
	word &= ~CONN_AWAY;
	(void)atomic_compare_exchange_strong(&live->current, &word, word | CONN_AWAY);
}

/* ----------------------------------------------------- what the scheduler is told */

/* Whoever counts looks for a lane afterwards, whoever opens one looks for counts: none is left. */
void client_tell(struct live *live)
{
	uint64_t word = 0;
	struct conn *conn = client_hold(live, &word);

	if (!conn)
		return;
	for (size_t i = 0; conn->lane && !(word & CONN_AWAY) && i < LANE_COUNTERS; i++) {
		uint64_t n = atomic_exchange(&live->untold[i], 0);

		if (n)
			atomic_fetch_add(&conn->lane->counters[i], n);
	}
	client_drop(live, conn);
}

void client_count_lane(struct live *live, struct conn *conn, uint64_t word,
		       enum lane_counter counter)
{
	if (conn && conn->lane && atomic_load(&live->current) == word) {
		atomic_fetch_add(&conn->lane->counters[counter], 1);
		return;
	}
	atomic_fetch_add(&live->untold[counter], 1);
	client_tell(live);
}

/* ------------------------------------------------------------ signs of life */

void client_ring(struct live *live, struct conn *conn)
{
	static const uint64_t one = 1;
	struct quiet quiet = client_quiet();

	/* The descriptor does not block; a counter that is full has rung already. */
	if (client_fd_is_ours(&conn->doorbell) &&
	    write(conn->doorbell.fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		client_count(live, COUNT_DOORBELLS);
	client_quiet_end(quiet);
}

bool client_at_eof(const struct conn *conn)
{
	struct quiet quiet = client_quiet();
	bool eof = true;
	char byte;

	if (client_fd_is_ours(&conn->socket)) {
		ssize_t n = recv(conn->socket.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

		eof = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	}
	client_quiet_end(quiet);
	return eof;
}

bool client_is_alive(struct live *live, struct conn *conn, uint64_t now)
{
	struct conn_live *at = conn_live(live, conn);
	uint64_t beat = LOAD(conn->board->beat), doubted;

	/* Signed: a beat may be younger than `now`. */
	if ((int64_t)(now - beat) <= (int64_t)live->grace_ns)
		return true;
	doubted = LOAD(at->suspect_beat);
	if (doubted != beat) {
		/* The time first: whoever finds this beat doubted finds a time that goes with it. */
		atomic_store(&at->suspect_ns, now);
		if (atomic_compare_exchange_strong(&at->suspect_beat, &doubted, beat)) {
			client_ring(live, conn);
			return !conn->lane || !client_at_eof(conn);
		}
		return true;
	}
	return (int64_t)(now - LOAD(at->suspect_ns)) <= (int64_t)live->grace_ns ||
	       LOAD(conn->board->beat) != beat;
}
