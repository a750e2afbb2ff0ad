/* SPDX-License-Identifier: Apache-2.0 */
/* See board.h. */
#include "scheduler/board.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/clock.h"
#include "scheduler/memfd.h"

#define BLOB_CHUNK 256u /* blobs are handed out in units of this many bytes */

const struct board_limits board_default_limits = {
	.keys = 4096, .entries = 4096, .text = 256 * 1024, .blobs = 1024 * 1024,
};

struct board {
	int fd;                  /* sealed against further writable mappings */
	char *base;              /* our writable mapping */
	size_t size;             /* bytes mapped */
	struct board_header *header;
	struct board_limits limits;
	uint32_t n_slots;        /* hash slots, a power of two, twice the keys */
	unsigned table;          /* the one being filled, or that holds */
	uint32_t n_entries;      /* entries in it */
	uint8_t *chunks;         /* bit t: an entry of table t points to the chunk */
	uint32_t n_chunks;
};

static uint32_t align(uint32_t n, uint32_t to)
{
	return (n + to - 1) / to * to;
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

/* Offsets within a table, from the limits alone: both tables are alike. */
struct layout {
	uint32_t keys, destinations, entries, text, size;
};

static struct layout table_layout(const struct board *b)
{
	struct layout at;

	at.keys = align(sizeof(struct board_table), 128);
	at.destinations = align(at.keys + b->n_slots * (uint32_t)sizeof(struct board_key), 128);
	at.entries = align(at.destinations + b->limits.entries *
			   (uint32_t)sizeof(struct board_destination), 128);
	at.text = at.entries + b->limits.entries * (uint32_t)sizeof(struct board_entry);
	at.size = align(at.text + b->limits.text, LANE_PAGE);
	return at;
}

static char *table_at(const struct board *b)
{
	return b->base + b->header->tables_offset + b->table * b->header->table_size;
}

static struct board_entry *entry_at(const struct board *b, uint32_t index)
{
	return (struct board_entry *)(void *)(table_at(b) + table_layout(b).entries) + index;
}

static void header_init(struct board *b, const struct layout *at)
{
	struct board_header *h = b->header;

	h->magic = BOARD_MAGIC;
	h->major = LANE_MAJOR;
	h->minor = LANE_MINOR;
	h->header_size = sizeof(*h);
	h->size = b->size;
	h->tables_offset = LANE_PAGE;
	h->table_size = at->size;
	h->blobs_offset = LANE_PAGE + 2ull * at->size;
	h->blobs_size = b->limits.blobs;
	h->started_ns = clock_now(&clock_monotonic);
	atomic_store(&h->beat, h->started_ns);
}

int board_new(const struct board_limits *limits, struct board **ret, struct err *err)
{
	struct board *b = calloc(1, sizeof(*b));
	struct layout at;
	int r = -ENOMEM;

	if (!b)
		return err_set(err, -ENOMEM, "board: out of memory");
	b->fd = -1;
	b->limits = *limits;
	b->n_slots = power_of_two(2 * limits->keys);
	b->n_chunks = limits->blobs / BLOB_CHUNK;
	at = table_layout(b);
	b->size = LANE_PAGE + 2ull * at.size + align(limits->blobs, LANE_PAGE);
	b->chunks = calloc(b->n_chunks, 1);
	if (!b->chunks) {
		err_set(err, r, "board: out of memory");
		goto fail;
	}
	r = memfd_make("middlepipe-board", b->size, MEMFD_READ_ONLY, &b->fd, &b->base, err);
	if (r < 0)
		goto fail;
	b->header = (struct board_header *)(void *)b->base;
	header_init(b, &at);
	*ret = b;
	return 0;
fail:
	board_free(b);
	return r;
}

void board_free(struct board *b)
{
	if (!b)
		return;
	memfd_free(b->fd, b->base, b->size);
	free(b->chunks);
	free(b);
}

int board_fd(const struct board *b)
{
	return b->fd;
}

struct board_header *board_header(struct board *b)
{
	return b->header;
}

bool board_has(const struct board *b, uint32_t index)
{
	return index < b->n_entries;
}

/* Filling one table: where the next of each kind goes, and whether all fitted. */
struct filler {
	struct board *board;
	struct layout at;    /* offsets */
	char *table;         /* the table's start */
	uint32_t text_used;  /* bytes of text */
	uint32_t n_keys;     /* matches put */
	uint32_t n_entries;  /* entries put */
	uint32_t n_destinations;
	bool overflow;        /* something did not fit ... */
	bool overflow_closed; /* ... and of that something is `closed` */
};

/* Appends text and gives its offset; false when there is no room. */
static bool text_put(struct filler *f, struct mp_str s, uint32_t *ret_offset)
{
	if (s.len > f->board->limits.text - f->text_used)
		return false;
	if (s.len)
		memcpy(f->table + f->at.text + f->text_used, s.ptr, s.len);
	*ret_offset = f->text_used;
	f->text_used += (uint32_t)s.len;
	return true;
}

static bool key_put(struct filler *f, const struct lane_key *key, uint32_t destination)
{
	struct board_key *keys = (struct board_key *)(void *)(f->table + f->at.keys);
	uint32_t mask = f->board->n_slots - 1, i = (uint32_t)key->hash & mask, text;

	if (f->n_keys == f->board->limits.keys ||
	    !text_put(f, (struct mp_str){ key->text, key->size }, &text))
		return false;
	while (atomic_load_explicit(&keys[i].size, memory_order_relaxed))
		i = (i + 1) & mask;
	atomic_store_explicit(&keys[i].hash, key->hash, memory_order_relaxed);
	atomic_store_explicit(&keys[i].text, text, memory_order_relaxed);
	atomic_store_explicit(&keys[i].destination, destination, memory_order_relaxed);
	atomic_store_explicit(&keys[i].size, key->size, memory_order_relaxed);
	f->n_keys++;
	return true;
}

static bool entry_put(struct filler *f, struct mp_str prefix, const struct board_static *fixed)
{
	struct board_entry *e = entry_at(f->board, f->n_entries);
	uint32_t text, pipe;

	if (f->n_entries == f->board->limits.entries || !text_put(f, prefix, &text) ||
	    !text_put(f, fixed->pipe, &pipe))
		return false;
	atomic_store_explicit(&e->prefix, text, memory_order_relaxed);
	atomic_store_explicit(&e->prefix_size, (uint32_t)prefix.len, memory_order_relaxed);
	atomic_store_explicit(&e->pipe, pipe, memory_order_relaxed);
	atomic_store_explicit(&e->pipe_size, (uint32_t)fixed->pipe.len, memory_order_relaxed);
	atomic_store_explicit(&e->flags, fixed->flags, memory_order_relaxed);
	atomic_store_explicit(&e->fail_errors, fixed->failure.errors, memory_order_relaxed);
	atomic_store_explicit(&e->fail_slow_ns, fixed->failure.slow_ns, memory_order_relaxed);
	for (unsigned i = 0; i < 8; i++)
		atomic_store_explicit(&e->fail_statuses[i], fixed->failure.statuses[i],
				      memory_order_relaxed);
	f->n_entries++;
	return true;
}

/* Puts a destination with all its entries and matches, or marks the overflow. */
static void destination_put(struct filler *f, const struct chain_destination *d,
			    const struct board_static *fixed)
{
	struct board_destination *row = (struct board_destination *)(void *)
		(f->table + f->at.destinations) + f->n_destinations;
	uint32_t first = f->n_entries;

	for (size_t i = 0; i < d->n_prefixes; i++)
		if (!entry_put(f, d->prefixes[i], &fixed[i])) {
			f->overflow = true;
			return;
		}
	atomic_store_explicit(&row->first, first, memory_order_relaxed);
	atomic_store_explicit(&row->count, (uint32_t)d->n_prefixes, memory_order_relaxed);
	for (size_t i = 0; i < d->n_matches; i++)
		if (!key_put(f, &d->matches[i], f->n_destinations))
			f->overflow = true;
	f->n_destinations++;
}

static void table_close(struct filler *f)
{
	struct board_table *t = (struct board_table *)(void *)f->table;

	atomic_store_explicit(&t->n_keys, f->board->n_slots, memory_order_relaxed);
	atomic_store_explicit(&t->n_destinations, f->n_destinations, memory_order_relaxed);
	atomic_store_explicit(&t->n_entries, f->n_entries, memory_order_relaxed);
	atomic_store_explicit(&t->keys_offset, f->at.keys, memory_order_relaxed);
	atomic_store_explicit(&t->destinations_offset, f->at.destinations, memory_order_relaxed);
	atomic_store_explicit(&t->entries_offset, f->at.entries, memory_order_relaxed);
	atomic_store_explicit(&t->text_offset, f->at.text, memory_order_relaxed);
	atomic_store_explicit(&t->text_size, f->text_used, memory_order_relaxed);
	atomic_store_explicit(&t->overflow, f->overflow, memory_order_relaxed);
	atomic_store_explicit(&t->overflow_closed, f->overflow_closed, memory_order_relaxed);
}

/* Empties the idle table.  A reader that is still in it notices by the header word. */
static void table_clear(struct filler *f, uint32_t old_entries)
{
	memset(f->table, 0, f->at.entries);
	memset(f->table + f->at.entries, 0, old_entries * sizeof(struct board_entry));
}

/*
 * The next destination.  Once one is left out, so are the rest: entry numbers
 * stay those of the file.  One that is there by some of its names only counts
 * as left out too.
 */
static void destination_try(struct filler *f, const struct chain_destination *d,
			    const struct board_static *fixed)
{
	if (!f->overflow)
		destination_put(f, d, fixed);
	if (!f->overflow)
		return;
	for (size_t i = 0; i < d->n_prefixes; i++)
		if (fixed[i].flags & ENTRY_CLOSED)
			f->overflow_closed = true;
}

void board_fill(struct board *b, const struct chains *chains, const struct board_static *statics)
{
	struct filler f = { .board = b, .at = table_layout(b) };
	size_t n, at = 0;
	const struct chain_destination *d = chains_destinations(chains, &n);
	struct board_table *old;

	b->table ^= 1;
	f.table = table_at(b);
	old = (struct board_table *)(void *)f.table;
	table_clear(&f, atomic_load_explicit(&old->n_entries, memory_order_relaxed));
	for (size_t i = 0; i < n; i++) {
		destination_try(&f, &d[i], &statics[at]);
		at += d[i].n_prefixes;
	}
	table_close(&f);
	b->n_entries = f.n_entries;
	/* Blobs of this table's last use are free now; those of the other one still stand. */
	for (uint32_t i = 0; i < b->n_chunks; i++)
		b->chunks[i] &= (uint8_t)~(1u << b->table);
}

void board_flip(struct board *b, uint64_t epoch, unsigned set)
{
	atomic_store_explicit(&b->header->word, board_word(epoch, set, b->table),
			      memory_order_seq_cst);
}

/* First fit; returns the first chunk or n_chunks. */
static uint32_t chunks_take(struct board *b, size_t size)
{
	uint32_t want = (uint32_t)((size + BLOB_CHUNK - 1) / BLOB_CHUNK), run = 0;

	for (uint32_t i = 0; want && i < b->n_chunks; i++) {
		run = b->chunks[i] ? 0 : run + 1;
		if (run < want)
			continue;
		memset(b->chunks + i + 1 - want, 1 << b->table, want);
		return i + 1 - want;
	}
	return b->n_chunks;
}

static void chunks_give(struct board *b, uint64_t word)
{
	uint32_t first = (uint32_t)(word >> 32) / BLOB_CHUNK;
	uint32_t n = ((uint32_t)word + BLOB_CHUNK - 1) / BLOB_CHUNK;

	if (word)
		memset(b->chunks + first, 0, n);
}

/* Writes the verdict under the sequence word (request-path.md 2.2). */
static void entry_write(struct board_entry *e, int verdict, uint64_t until_ns, uint64_t blob)
{
	uint64_t seq = atomic_load_explicit(&e->seq, memory_order_relaxed);

	atomic_store_explicit(&e->seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&e->standing, (uint64_t)verdict, memory_order_relaxed);
	atomic_store_explicit(&e->until_ns, until_ns, memory_order_relaxed);
	atomic_store_explicit(&e->blob, blob, memory_order_relaxed);
	atomic_store_explicit(&e->seq, seq + 2, memory_order_release);
}

int board_post(struct board *b, uint32_t index, int verdict, uint64_t until_ns, const void *blob,
	       size_t blob_size)
{
	struct board_entry *e;
	uint64_t old, word = 0;
	int r = 0;

	if (!board_has(b, index))
		return -ENOENT;
	e = entry_at(b, index);
	old = atomic_load_explicit(&e->blob, memory_order_relaxed);
	if (verdict == MP_STANDING_REPLY) {
		uint32_t chunk = chunks_take(b, blob_size);

		if (chunk == b->n_chunks) {
			verdict = MP_STANDING_ASK;
			r = -E2BIG;
		} else {
			word = (uint64_t)chunk * BLOB_CHUNK << 32 | blob_size;
			memcpy(b->base + b->header->blobs_offset + (word >> 32), blob, blob_size);
		}
	}
	entry_write(e, verdict, until_ns, word);
	chunks_give(b, old);
	return r;
}
