/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups on the board: see board.h.  The hot path of every call. */
#include "buildpack-hooks/client/board.h"

#include <errno.h>
#include <string.h>

#include "lib/lane_key.h"

#define FIND_TRIES 64 /* a board that moves more often than that is nonsense */
#define SEQ_TRIES 64  /* then ASK: a writer that was killed leaves it odd for ever */

/* A table with its areas, checked against the table's size. */
struct table {
	const struct board_key *keys;
	const struct board_destination *destinations;
	const struct board_entry *entries;
	const char *text;
	uint32_t n_keys; /* a power of two */
	uint32_t n_destinations;
	uint32_t n_entries;
	uint32_t text_size;
	bool overflow;        /* not all fitted ... */
	bool overflow_closed; /* ... and of that something is `closed` */
};

static bool area_ok(uint64_t size, uint32_t offset, uint32_t n, uint32_t each)
{
	return offset % 8 == 0 && offset + (uint64_t)n * each <= size;
}

static bool table_open(const struct conn *conn, uint64_t word, struct table *ret)
{
	uint64_t size = conn->layout.table_size;
	const char *base = (const char *)conn->board + conn->layout.tables_offset +
			   board_word_table(word) * size;
	const struct board_table *t = (const struct board_table *)(const void *)base;
	uint32_t keys = LOAD(t->keys_offset), destinations = LOAD(t->destinations_offset);
	uint32_t entries = LOAD(t->entries_offset), text = LOAD(t->text_offset);

	ret->overflow = LOAD(t->overflow);
	ret->overflow_closed = LOAD(t->overflow_closed);
	ret->n_keys = LOAD(t->n_keys);
	ret->n_destinations = LOAD(t->n_destinations);
	ret->n_entries = LOAD(t->n_entries);
	ret->text_size = LOAD(t->text_size);
	ret->keys = (const struct board_key *)(const void *)(base + keys);
	ret->destinations = (const struct board_destination *)(const void *)(base + destinations);
	ret->entries = (const struct board_entry *)(const void *)(base + entries);
	ret->text = base + text;
	return !(ret->n_keys & (ret->n_keys - 1)) &&
	       area_ok(size, keys, ret->n_keys, sizeof(struct board_key)) &&
	       area_ok(size, destinations, ret->n_destinations, sizeof(struct board_destination)) &&
	       area_ok(size, entries, ret->n_entries, sizeof(struct board_entry)) &&
	       (uint64_t)text + ret->text_size <= size;
}

/* Bytes of the table's text; false when they are outside. */
static bool text_at(const struct table *t, uint32_t offset, uint32_t size, struct mp_str *ret)
{
	if (offset > t->text_size || size > t->text_size - offset)
		return false;
	*ret = (struct mp_str){ t->text + offset, size };
	return true;
}

static bool key_matches(const struct table *t, const struct board_key *key, uint32_t key_size,
			const char *text, uint32_t size)
{
	struct mp_str stored;

	if (!text)
		return true;
	return key_size == size && text_at(t, LOAD(key->text), key_size, &stored) &&
	       !memcmp(stored.ptr, text, size);
}

static bool key_find(const struct table *t, uint64_t hash, const char *text, uint32_t size,
		     uint32_t *ret_destination)
{
	for (uint32_t i = 0; i < t->n_keys; i++) {
		const struct board_key *key = &t->keys[(hash + i) & (t->n_keys - 1)];
		uint32_t key_size = LOAD(key->size);

		if (!key_size)
			return false;
		if (LOAD(key->hash) == hash && key_matches(t, key, key_size, text, size)) {
			*ret_destination = LOAD(key->destination);
			return true;
		}
	}
	return false;
}

/* The entries of the destination that a call would meet: "host:port" before "host". */
static bool destination_find(const struct table *t, const struct probe *probe, uint32_t *ret_first,
			     uint32_t *ret_count)
{
	uint32_t index;

	if (!key_find(t, probe->hash, probe->text, probe->size, &index) &&
	    (probe->hash == probe->host_hash ||
	     !key_find(t, probe->host_hash, probe->text, probe->host_size, &index)))
		return false;
	if (index >= t->n_destinations)
		return false;
	*ret_first = LOAD(t->destinations[index].first);
	*ret_count = LOAD(t->destinations[index].count);
	return *ret_first <= t->n_entries && *ret_count <= t->n_entries - *ret_first;
}

/* The first, which is the longest, prefix that covers the path. */
static bool entry_find(const struct table *t, const struct probe *probe, uint32_t *ret)
{
	uint32_t first, count;

	if (!destination_find(t, probe, &first, &count))
		return false;
	for (uint32_t i = first; i < first + count; i++) {
		const struct board_entry *entry = &t->entries[i];
		struct mp_str prefix;

		if (text_at(t, LOAD(entry->prefix), LOAD(entry->prefix_size), &prefix) &&
		    lane_path_covers(prefix, probe->path)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static void entry_note(const struct table *t, uint32_t index, struct call_state *state)
{
	const struct board_entry *entry = &t->entries[index];
	struct mp_str pipe;
	uint32_t size = LOAD(entry->pipe_size);

	state->entry = index;
	state->flags = (uint8_t)LOAD(entry->flags);
	state->pipe_size = 0;
	if (!(state->flags & ENTRY_CLOSED) || size > CLIENT_PIPE_MAX ||
	    !text_at(t, LOAD(entry->pipe), size, &pipe))
		return;
	memcpy(state->pipe, pipe.ptr, size);
	state->pipe_size = (uint8_t)size;
}

/* One look under one word: 1, 0, or -EAGAIN when the table makes no sense. */
static int table_look(const struct conn *conn, const struct probe *probe, uint64_t word,
		      struct call_state *state)
{
	struct table table;
	uint32_t index;

	if (!table_open(conn, word, &table))
		return -EAGAIN;
	state->word = word;
	state->set = (uint8_t)board_word_set(word);
	if (entry_find(&table, probe, &index)) {
		entry_note(&table, index, state);
		return 1;
	}
	if (!table.overflow)
		return 0;
	state->entry = LANE_ENTRY_NONE;
	/* Which of them is closed cannot be told here: then all are. */
	state->flags = table.overflow_closed ? ENTRY_CLOSED : 0;
	state->pipe_size = 0;
	return 1;
}

static bool word_holds(const struct conn *conn, uint64_t word)
{
	return atomic_load(&conn->board->word) == word;
}

int client_board_find(const struct conn *conn, const struct probe *probe, struct call_state *state)
{
	for (int i = 0; i < FIND_TRIES; i++) {
		uint64_t word = LOAD(conn->board->word);
		int r = word ? table_look(conn, probe, word, state) : 0;

		client_fence();
		if (word_holds(conn, word) && r >= 0)
			return r;
	}
	return -EAGAIN;
}

int client_board_begin(const struct conn *conn, const struct probe *probe,
		       struct call_state *state)
{
	int r;

	for (int i = 0; i < FIND_TRIES; i++) {
		r = client_board_find(conn, probe, state);
		if (r <= 0 || !conn->lane)
			return r;
		atomic_fetch_add(&conn->lane->begun[state->set], 1);
		/* Unchanged: whoever flips it now sees this call before it frees the set. */
		if (word_holds(conn, state->word))
			return r;
		client_board_end(conn, state);
	}
	return -EAGAIN;
}

void client_board_end(const struct conn *conn, const struct call_state *state)
{
	if (conn->lane)
		atomic_fetch_add(&conn->lane->ended[state->set], 1);
}

/* ----------------------------------------------------------------- standing */

/* Reads an entry under its sequence word. */
static struct standing entry_read(const struct board_entry *entry)
{
	struct standing s = { .verdict = MP_STANDING_ASK };

	for (int i = 0; i < SEQ_TRIES; i++) {
		s.seq = LOAD(entry->seq);
		s.verdict = LOAD(entry->standing);
		s.until_ns = LOAD(entry->until_ns);
		s.blob = LOAD(entry->blob);
		if (!(s.seq & 1) && LOAD(entry->seq) == s.seq)
			return s;
	}
	s.verdict = MP_STANDING_ASK;
	return s;
}

/* What a reader makes of it now: an ended REPLY, or an unknown verdict, is ASK. */
static struct standing judge(struct standing s, uint64_t now)
{
	if (s.verdict > MP_STANDING_REPLY ||
	    (s.verdict == MP_STANDING_REPLY && s.until_ns && now >= s.until_ns))
		s.verdict = MP_STANDING_ASK;
	return s;
}

struct standing client_board_standing(const struct conn *conn, const struct call_state *state,
				      uint64_t now)
{
	struct standing s = { .verdict = MP_STANDING_ASK };
	struct table table;

	if (state->entry == LANE_ENTRY_NONE || !table_open(conn, state->word, &table) ||
	    state->entry >= table.n_entries)
		return s;
	s = judge(entry_read(&table.entries[state->entry]), now);
	/* The table may be another epoch's by now; its set is kept for us, so asking is right. */
	if (!word_holds(conn, state->word))
		s.verdict = MP_STANDING_ASK;
	return s;
}

bool client_board_unchanged(const struct conn *conn, const struct call_state *state,
			    const struct standing *standing)
{
	struct table table;

	client_fence();
	return table_open(conn, state->word, &table) && state->entry < table.n_entries &&
	       LOAD(table.entries[state->entry].seq) == standing->seq &&
	       word_holds(conn, state->word);
}

static struct board_summary table_summary(const struct table *t, const struct probe *probe,
					  uint64_t now)
{
	struct board_summary all = { .standing = -ENOENT };
	uint32_t first, count;

	if (!destination_find(t, probe, &first, &count)) {
		if (t->overflow)
			all = (struct board_summary){ MP_STANDING_ASK, t->overflow_closed,
						      t->overflow_closed };
		return all;
	}
	for (uint32_t i = first; i < first + count; i++) {
		int one = (int)judge(entry_read(&t->entries[i]), now).verdict;
		bool closed = LOAD(t->entries[i].flags) & ENTRY_CLOSED;

		all.standing = i == first || all.standing == one ? one : MP_STANDING_ASK;
		all.closed_all = closed && (i == first || all.closed_all);
		all.closed_any = closed || all.closed_any;
	}
	return all;
}

struct board_summary client_board_summary(const struct conn *conn, const struct probe *probe,
					  uint64_t now)
{
	struct board_summary nothing = { .standing = -ENOENT };

	for (int i = 0; i < FIND_TRIES; i++) {
		uint64_t word = LOAD(conn->board->word);
		struct board_summary all;
		struct table table;

		if (!word || !table_open(conn, word, &table))
			continue;
		all = table_summary(&table, probe, now);
		client_fence();
		if (word_holds(conn, word))
			return all;
	}
	return nothing;
}

bool client_board_failure(const struct conn *conn, const struct call_state *state, unsigned status,
			  struct failure_rule *ret)
{
	const struct board_entry *entry;
	struct table table;

	if (!table_open(conn, state->word, &table) || state->entry >= table.n_entries)
		return false;
	entry = &table.entries[state->entry];
	ret->statuses = status >= 100 && status < 612 ?
				LOAD(entry->fail_statuses[(status - 100) / 64]) : 0;
	ret->errors = LOAD(entry->fail_errors);
	ret->slow_ns = LOAD(entry->fail_slow_ns);
	return word_holds(conn, state->word);
}
