/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects of the fake scheduler (fake.h) and its board, filled by hand.
 * For fake.h alone.
 */
#ifndef TESTS_UNIT_CLIENT_FAKE_BOARD_H
#define TESTS_UNIT_CLIENT_FAKE_BOARD_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <middlepipe/client.h>

#include "lib/clock.h"
#include "lib/lane.h"
#include "lib/lane_key.h"
#include "lib/slice.h"
#include "lib/wire.h"
#include "tests/lib/tap.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define FAKE_LANES 8
#define FAKE_TABLE 16384u
#define FAKE_BLOBS 16384u
#define FAKE_KEYS 16u
#define FAKE_DATA 16384u
#define FAKE_SEALS_READ (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define FAKE_SEALS_WRITE (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* One row of the board: consecutive rows with the same key are one destination. */
struct fake_row {
	const char *host;
	uint32_t port; /* 0: any */
	const char *prefix;
	uint32_t flags;
	const char *pipe;
	int standing;
};

/* An object as the fake sees it: writable. */
struct fake_object {
	int fd;
	char *base;
	size_t size;
};

struct fake_lane {
	struct fake_object lane, answers;
	int doorbell, socket;
	uint64_t tail; /* of the ring */
};

struct fake;

/* What a test answers.  The head and body are in memory of the fake's own. */
struct fake_answer {
	uint32_t verdict, status;
	uint64_t exchange, delay_ns, retry_at_ns;
	bool has_body, none; /* none: no answer at all */
	struct wire_writer head;
	char bytes[2048];
	const char *body;
};
typedef void fake_answer_fn(struct fake *fake, struct fake_lane *lane, uint32_t slot,
			    struct fake_answer *answer);

/* What a welcome does wrong. */
enum fake_fault {
	FAULT_NONE, FAULT_FULL, FAULT_VERSION, FAULT_GARBAGE, FAULT_SHORT, FAULT_FEW, FAULT_MANY,
	FAULT_SEALS_BOARD, FAULT_SEALS_LANE, FAULT_SIZE, FAULT_OFFSET, FAULT_RING, FAULT_SILENT,
	FAULT_CLOSE, FAULT_MAGIC, FAULT_SLOTS,
};

struct fake {
	char dir[64], path[96];
	struct fake_object board;
	struct fake_lane lanes[FAKE_LANES];
	_Atomic uint32_t n_lanes, hellos, questions, rings, faults;
	_Atomic uint32_t served; /* questions whose slots have been given back, unless none was answered */
	_Atomic uint32_t beating, stop, deaf;
	_Atomic uint32_t n_slots, n_ring;
	int listener;
	fake_answer_fn *answer;
	pthread_t thread;
};

static inline uint64_t fake_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Waits until a condition holds, 20 seconds at most. */
#define EVENTUALLY(condition)                                                          \
	__extension__({                                                                \
		uint64_t until_ = fake_now() + 20 * NS_PER_S;                          \
		bool held_;                                                            \
		while (!(held_ = (condition)) && fake_now() < until_)                  \
			nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);      \
		held_;                                                                 \
	})

/* ----------------------------------------------------------------- objects */

static inline struct fake_object fake_object(size_t size)
{
	struct fake_object o = { .fd = memfd_create("fake", MFD_CLOEXEC | MFD_ALLOW_SEALING),
				 .size = size };

	if (o.fd < 0 || ftruncate(o.fd, (off_t)size) < 0)
		abort();
	o.base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, o.fd, 0);
	if (o.base == MAP_FAILED)
		abort();
	return o;
}

static inline void fake_seal(struct fake_object *o, int seals)
{
	if (fcntl(o->fd, F_ADD_SEALS, seals) < 0)
		abort();
}

static inline struct board_header *fake_board(struct fake *f)
{
	return (struct board_header *)(void *)f->board.base;
}

static inline char *fake_table(struct fake *f, unsigned table)
{
	return f->board.base + LANE_PAGE + table * FAKE_TABLE;
}

static inline struct board_entry *fake_entry(struct fake *f, unsigned table, uint32_t index)
{
	const struct board_table *t = (struct board_table *)(void *)fake_table(f, table);

	return (struct board_entry *)(void *)(fake_table(f, table) + t->entries_offset) + index;
}

static inline void fake_board_make(struct fake *f)
{
	struct board_header *h;

	f->board = fake_object(LANE_PAGE + 2 * FAKE_TABLE + FAKE_BLOBS);
	h = fake_board(f);
	h->magic = BOARD_MAGIC;
	h->major = LANE_MAJOR;
	h->header_size = sizeof(*h);
	h->size = f->board.size;
	h->tables_offset = LANE_PAGE;
	h->table_size = FAKE_TABLE;
	h->blobs_offset = LANE_PAGE + 2 * FAKE_TABLE;
	h->blobs_size = FAKE_BLOBS;
	h->started_ns = fake_now();
	atomic_store(&h->beat, fake_now());
	atomic_store(&h->asleep, 1);
	atomic_store(&h->ticking, 1);
}

static inline uint32_t fake_text(struct board_table *t, const char *bytes, size_t size)
{
	uint32_t at = t->text_size;

	memcpy((char *)t + t->text_offset + at, bytes, size);
	t->text_size += (uint32_t)size;
	return at;
}

static inline void fake_key(struct board_table *t, const struct fake_row *row, uint32_t destination)
{
	struct board_key *keys = (struct board_key *)(void *)((char *)t + t->keys_offset);
	struct lane_key key;
	uint32_t i;

	if (!lane_key_make(&key, slice_of(row->host), row->port))
		abort();
	i = (uint32_t)key.hash & (FAKE_KEYS - 1);
	while (keys[i].size)
		i = (i + 1) & (FAKE_KEYS - 1);
	keys[i].hash = key.hash;
	keys[i].text = fake_text(t, key.text, key.size);
	keys[i].size = key.size;
	keys[i].destination = destination;
}

/* Fills a table; rows of one destination stand together, longest prefix first. */
static inline void fake_fill(struct fake *f, unsigned table, const struct fake_row *rows, size_t n)
{
	struct board_table *t = (struct board_table *)(void *)fake_table(f, table);
	struct board_destination *d;

	memset(t, 0, FAKE_TABLE);
	t->n_keys = FAKE_KEYS;
	t->keys_offset = sizeof(*t);
	t->destinations_offset = t->keys_offset + FAKE_KEYS * (uint32_t)sizeof(struct board_key);
	t->entries_offset = t->destinations_offset + 128;
	t->text_offset = 8192;
	d = (struct board_destination *)(void *)((char *)t + t->destinations_offset);
	for (size_t i = 0; i < n; i++) {
		struct board_entry *e = fake_entry(f, table, (uint32_t)i);

		if (!i || strcmp(rows[i].host, rows[i - 1].host) != 0 ||
		    rows[i].port != rows[i - 1].port) {
			fake_key(t, &rows[i], t->n_destinations);
			d[t->n_destinations++].first = (uint32_t)i;
		}
		d[t->n_destinations - 1].count++;
		e->standing = (uint64_t)rows[i].standing;
		e->prefix_size = (uint32_t)strlen(rows[i].prefix);
		e->prefix = fake_text(t, rows[i].prefix, e->prefix_size);
		e->pipe_size = (uint32_t)strlen(rows[i].pipe);
		e->pipe = fake_text(t, rows[i].pipe, e->pipe_size);
		e->flags = rows[i].flags;
		e->fail_errors = 1u << MP_ERROR_REFUSED | 1u << MP_ERROR_TIMEOUT;
		e->fail_statuses[(503 - 100) / 64] = UINT64_C(1) << (503 - 100) % 64;
		t->n_entries++;
	}
}

static inline void fake_flip(struct fake *f, uint64_t epoch, unsigned set, unsigned table)
{
	atomic_store(&fake_board(f)->word, board_word(epoch, set, table));
}

static inline void fake_post(struct fake *f, unsigned table, uint32_t index, int standing,
			     uint64_t until_ns, uint64_t blob)
{
	struct board_entry *e = fake_entry(f, table, index);
	uint64_t seq = e->seq;

	atomic_store(&e->seq, seq + 1);
	atomic_store(&e->standing, (uint64_t)standing);
	atomic_store(&e->until_ns, until_ns);
	atomic_store(&e->blob, blob);
	atomic_store(&e->seq, seq + 2);
}

/* The lane that was given last: a slow machine may have missed the welcome of the first. */
static inline struct fake_lane *fake_last(struct fake *f)
{
	return &f->lanes[f->n_lanes - 1];
}

/* A REPLY blob at an offset of the blob area; returns the entry's word. */
static inline uint64_t fake_blob(struct fake *f, uint32_t offset, uint32_t status,
				 uint64_t retry_at_ns, const char *body)
{
	char *at = f->board.base + LANE_PAGE + 2 * FAKE_TABLE + offset;
	struct board_blob *blob = (struct board_blob *)(void *)at;
	struct wire_writer w;

	wire_start(&w, at + sizeof(*blob), 1024);
	wire_put(&w, WIRE_RESPONSE_FIELD, MP_LIT("Content-Type"), MP_LIT("text/plain"));
	wire_put(&w, WIRE_RESPONSE_FIELD, MP_LIT("middlepipe"), MP_LIT("forged"));
	wire_put_value(&w, WIRE_MARKER_TYPE, MP_LIT("breaker"));
	wire_put_value(&w, WIRE_MARKER_STATE, MP_LIT("open"));
	wire_put_value(&w, WIRE_MARKER_PIPE, MP_LIT("guard"));
	wire_put_value(&w, WIRE_MARKER_CALLBACK, MP_LIT("raise"));
	memcpy(at + sizeof(*blob) + w.size, body, strlen(body));
	*blob = (struct board_blob){ .status = status, .head_size = (uint32_t)w.size,
				     .body_size = (uint32_t)strlen(body),
				     .retry_at_ns = retry_at_ns };
	return (uint64_t)offset << 32 | (sizeof(*blob) + w.size + strlen(body));
}

#endif
