/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps board, lane and answers.  A scheduler that is wrong, or something else
 * that listens on its socket, must not make the application fault: every
 * offset that is used later is checked here, once, and copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buildpack-hooks/client/conn.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SEALS_READ (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define SEALS_WRITE (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define OBJECT_MAX (UINT64_C(1) << 32) /* bytes of an object */
#define RING_MAX (1u << 20)            /* outcomes */

/* What every object's first page begins with. */
struct object_head {
	uint64_t magic;
	uint16_t major;
	uint16_t minor;
	uint32_t header_size;
	uint64_t size;
};

_Static_assert(offsetof(struct board_header, size) == offsetof(struct object_head, size) &&
		       offsetof(struct lane_header, size) == offsetof(struct object_head, size) &&
		       offsetof(struct answers_header, size) == offsetof(struct object_head, size),
	       "one head for all objects");

/* How each object must look. */
struct object_kind {
	uint64_t magic;
	int seals;        /* at least these */
	int protection;   /* for mmap */
	size_t head_size; /* of the header that we know */
};

enum object { OBJECT_BOARD, OBJECT_LANE, OBJECT_ANSWERS };

static const struct object_kind kinds[] = {
	[OBJECT_BOARD] = { BOARD_MAGIC, SEALS_READ, PROT_READ, sizeof(struct board_header) },
	[OBJECT_LANE] = { LANE_MAGIC, SEALS_WRITE, PROT_READ | PROT_WRITE,
			  sizeof(struct lane_header) },
	[OBJECT_ANSWERS] = { ANSWERS_MAGIC, SEALS_READ, PROT_READ, sizeof(struct answers_header) },
};

static bool seals_ok(int fd, int want)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & want) == want;
}

/* Maps a sealed object of a sensible size; NULL when it is none. */
static const void *object_map(struct owned_map *map, int fd, const struct object_kind *kind)
{
	const struct object_head *head;
	struct stat st;
	void *at;

	if (!seals_ok(fd, kind->seals) || fstat(fd, &st) < 0 || st.st_size < (off_t)LANE_PAGE ||
	    (uint64_t)st.st_size > OBJECT_MAX)
		return NULL;
	at = mmap(NULL, (size_t)st.st_size, kind->protection, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return NULL;
	(void)madvise(at, (size_t)st.st_size, MADV_DONTDUMP); /* only keeps requests out of cores */
	map->size = (size_t)st.st_size;
	atomic_store(&map->at, at);
	head = at;
	if (head->magic != kind->magic || head->major != LANE_MAJOR ||
	    head->header_size < kind->head_size || head->header_size > LANE_PAGE ||
	    head->size != (uint64_t)st.st_size)
		return NULL;
	return at;
}

/* True when n things of `each` bytes stand at an aligned offset behind the header. */
static bool area_ok(uint64_t size, uint64_t offset, uint64_t n, uint64_t each, uint64_t alignment)
{
	return offset >= LANE_PAGE && offset % alignment == 0 && offset <= size && each &&
	       n <= (size - offset) / each;
}

static bool board_check(struct conn *conn, const struct board_header *h, uint64_t size)
{
	struct conn_layout *at = &conn->layout;

	at->tables_offset = h->tables_offset;
	at->table_size = h->table_size;
	at->blobs_offset = h->blobs_offset;
	at->blobs_size = h->blobs_size;
	conn->board = h;
	return at->table_size >= sizeof(struct board_table) && at->table_size % LANE_PAGE == 0 &&
	       at->table_size <= UINT32_MAX &&
	       area_ok(size, at->tables_offset, 2, at->table_size, 64) &&
	       at->blobs_size <= UINT32_MAX && area_ok(size, at->blobs_offset, at->blobs_size, 1, 8);
}

static bool lane_check(struct conn *conn, struct lane_header *h, uint64_t size)
{
	struct conn_layout *at = &conn->layout;
	uint64_t ring = h->ring_offset, slots = h->slots_offset, data = h->data_offset;

	at->n_slots = h->n_slots;
	at->n_ring = h->n_ring;
	at->slot_size = h->data_size;
	conn->lane = h;
	conn->ring = (struct lane_outcome *)(void *)((char *)h + ring);
	conn->slots = (struct lane_slot *)(void *)((char *)h + slots);
	conn->slot_data = (char *)h + data;
	return at->n_slots && at->n_slots <= LANE_SLOTS_MAX && at->n_ring && at->n_ring <= RING_MAX &&
	       !(at->n_ring & (at->n_ring - 1)) &&
	       area_ok(size, ring, at->n_ring, sizeof(struct lane_outcome), 8) &&
	       area_ok(size, slots, at->n_slots, sizeof(struct lane_slot), 64) &&
	       at->slot_size <= UINT32_MAX && area_ok(size, data, at->n_slots, at->slot_size, 8);
}

static bool answers_check(struct conn *conn, const struct answers_header *h, uint64_t size)
{
	struct conn_layout *at = &conn->layout;
	uint64_t slots = h->slots_offset, data = h->data_offset;

	at->answer_size = h->data_size;
	conn->answers = h;
	conn->answer_slots = (const struct answers_slot *)(const void *)((const char *)h + slots);
	conn->answer_data = (const char *)h + data;
	return h->n_slots == at->n_slots &&
	       area_ok(size, slots, at->n_slots, sizeof(struct answers_slot), 64) &&
	       at->answer_size <= UINT32_MAX && area_ok(size, data, at->n_slots, at->answer_size, 8);
}

static bool map_board(struct conn *conn, int fd)
{
	struct owned_map *map = &conn->maps[OBJECT_BOARD];
	const struct board_header *h = object_map(map, fd, &kinds[OBJECT_BOARD]);

	return h && board_check(conn, h, map->size);
}

static bool map_lane(struct conn *conn, int fd)
{
	struct owned_map *map = &conn->maps[OBJECT_LANE];

	if (!object_map(map, fd, &kinds[OBJECT_LANE]))
		return false;
	return lane_check(conn, atomic_load(&map->at), map->size);
}

static bool map_answers(struct conn *conn, int fd)
{
	struct owned_map *map = &conn->maps[OBJECT_ANSWERS];
	const struct answers_header *h = object_map(map, fd, &kinds[OBJECT_ANSWERS]);

	return h && answers_check(conn, h, map->size);
}

int client_map(struct conn *conn, int board, int lane, int answers)
{
	bool good = map_board(conn, board);

	if (lane >= 0)
		good = good && map_lane(conn, lane) && map_answers(conn, answers);
	(void)close(board); /* the mappings stay */
	if (lane >= 0)
		(void)close(lane);
	if (answers >= 0)
		(void)close(answers);
	return good ? 0 : -EPROTO;
}
