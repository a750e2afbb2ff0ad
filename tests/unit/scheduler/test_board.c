/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler/board.c: what is filled in is found again by a reader that knows
 * the layout only, what does not fit says so, and a blob is never rewritten
 * while an entry points to it.
 */
#include "scheduler/board.h"

#include <errno.h>
#include <sys/mman.h>

#include "lib/lane_key.h"
#include "tests/unit/scheduler/chains_fixture.h"

#define TWO                                                                        \
	"{\"name\":\"a\",\"match\":[\"a.example:80\",\"A2.example.\",\"[::1]:8080\"],\"chain\":[" \
	"{\"middlepipe\":\"p\",\"type\":\"plain\",\"config\":{\"prefixes\":[\"/x\",\"/x/y\"]}}]}," \
	"{\"name\":\"b\",\"match\":[\"b.example:80\"],\"chain\":[]}"

static const struct board_limits small = { .keys = 8, .entries = 8, .text = 256, .blobs = 4096 };

/* One board with the chains of `text` in it, flipped. */
static struct board *make_with(const struct board_limits *limits, const char *text,
			       const struct board_static *statics)
{
	struct chains *chains = fixture_chains(1, text);
	struct board *board = NULL;
	struct err err = { 0 };

	ok(chains && !board_new(limits, &board, &err), "a board");
	board_fill(board, chains, statics);
	board_flip(board, 1, 3);
	chains_free(chains);
	return board;
}

/* The same, and its first entry is `closed`. */
static struct board *make(const struct board_limits *limits, const char *text)
{
	static const struct board_static statics[64] = {
		{ .flags = ENTRY_CLOSED, .failure = { .errors = 6, .slow_ns = 7, .statuses = { [6] = 5 } },
		  .pipe = { "guard", 5 } },
	};

	return make_with(limits, text, statics);
}

/* The reader's side: the table that holds. */
static const char *table(struct board *b)
{
	const struct board_header *h = board_header(b);

	return (const char *)h + h->tables_offset + board_word_table(h->word) * h->table_size;
}

static const struct board_table *head(struct board *b)
{
	return (const struct board_table *)(const void *)table(b);
}

static struct board_entry *entry(struct board *b, uint32_t i)
{
	return (struct board_entry *)(void *)(uintptr_t)(table(b) + head(b)->entries_offset) + i;
}

/* First entry and count of a key's destination; -1: not there. */
static int find(struct board *b, const char *host, uint32_t port, uint32_t *ret_count)
{
	const struct board_table *t = head(b);
	const struct board_key *keys = (const void *)(table(b) + t->keys_offset);
	const struct board_destination *d = (const void *)(table(b) + t->destinations_offset);
	struct lane_key key;

	if (!lane_key_make(&key, slice_of(host), port))
		return -1;
	for (uint32_t i = (uint32_t)key.hash & (t->n_keys - 1); keys[i].size; i = (i + 1) & (t->n_keys - 1)) {
		if (keys[i].hash != key.hash || keys[i].size != key.size ||
		    memcmp(table(b) + t->text_offset + keys[i].text, key.text, key.size))
			continue;
		*ret_count = d[keys[i].destination].count;
		return (int)d[keys[i].destination].first;
	}
	return -1;
}

static void is_prefix(struct board *b, uint32_t i, const char *want)
{
	const struct board_entry *e = entry(b, i);
	char text[32] = "";

	memcpy(text, table(b) + head(b)->text_offset + e->prefix, e->prefix_size);
	is_str(text, want, "entry %u is prefix \"%s\"", i, want);
}

static void test_lookup(void)
{
	struct board *b = make(&small, TWO);
	const struct board_entry *e = entry(b, 0);
	uint32_t n = 0;

	is_u64(board_header(b)->word, board_word(1, 3, board_word_table(board_header(b)->word)),
	       "the header word has epoch and set");
	is_int(find(b, "a.example", 80, &n), 0, "host and port");
	is_u64(n, 3, "has three prefixes");
	is_prefix(b, 0, "/x/y");
	is_prefix(b, 1, "/x");
	is_prefix(b, 2, "");
	is_int(find(b, "a2.EXAMPLE", 0, &n), 0, "a host without a port");
	is_int(find(b, "::1", 8080, &n), 0, "an IPv6 address");
	is_int(find(b, "b.example", 80, &n), 3, "the second destination follows");
	is_u64(n, 1, "with one entry");
	is_int(find(b, "a.example", 81, &n), -1, "another port is not there");
	is_int(find(b, "c.example", 80, &n), -1, "another host is not there");
	ok(!head(b)->overflow && head(b)->n_entries == 4, "nothing was left out");
	ok(e->flags == ENTRY_CLOSED && e->fail_errors == 6 && e->fail_slow_ns == 7 && e->fail_statuses[6] == 5,
	   "flags and failure rule");
	ok(e->pipe_size == 5 && !memcmp(table(b) + head(b)->text_offset + e->pipe, "guard", 5),
	   "the binding that a refusal names");
	ok(e->standing == MP_STANDING_ASK, "all stand as ASK");
	ok(board_has(b, 3) && !board_has(b, 4), "board_has");
	is_int(board_post(b, 4, MP_STANDING_PASS, 0, NULL, 0), -ENOENT, "there is no entry 4");
	board_free(b);
}

static void test_overflow(void)
{
	static const struct {
		const char *what;
		struct board_limits limits;
		int first; /* of a.example, -1: left out */
	} rows[] = {
		{ "too few entries", { 8, 2, 256, 4096 }, -1 },
		{ "room for the first only", { 8, 3, 256, 4096 }, 0 },
		{ "too little text", { 8, 8, 8, 4096 }, -1 },
		{ "too few keys", { 1, 8, 256, 4096 }, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct board *b = make(&rows[i].limits, TWO);
		uint32_t n;

		ok(head(b)->overflow == 1, "%s: the table says so", rows[i].what);
		is_int(find(b, "a.example", 80, &n), rows[i].first, "%s: a.example", rows[i].what);
		is_int(find(b, "b.example", 80, &n), -1, "%s: b.example is left out", rows[i].what);
		ok(!board_has(b, 3), "%s: it cannot be posted to", rows[i].what);
		board_free(b);
	}
}

/* Entries 0 to 2 are a.example's, 3 is b.example's. */
static void test_overflow_closed(void)
{
	static const struct {
		const char *what;
		struct board_limits limits;
		uint32_t entry; /* the one that is `closed` */
		uint32_t want;
	} rows[] = {
		{ "all fits", { 8, 8, 256, 4096 }, 0, 0 },
		{ "what fitted is closed", { 8, 3, 256, 4096 }, 0, 0 },
		{ "what is left out is closed", { 8, 3, 256, 4096 }, 3, 1 },
		{ "what fits in part is closed", { 8, 2, 256, 4096 }, 2, 1 },
		{ "what lacks names is closed", { 1, 8, 256, 4096 }, 0, 1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct board_static statics[4] = { 0 };
		struct board *b;

		statics[rows[i].entry].flags = ENTRY_CLOSED;
		b = make_with(&rows[i].limits, TWO, statics);
		is_u64(head(b)->overflow_closed, rows[i].want, "%s", rows[i].what);
		board_free(b);
	}
}

/* The blob of an entry, checked to lie in its area. */
static const char *blob(struct board *b, uint32_t i, size_t *ret_size)
{
	const struct board_header *h = board_header(b);
	uint64_t word = entry(b, i)->blob;

	*ret_size = (uint32_t)word;
	ok((word >> 32) + (uint32_t)word <= h->blobs_size, "the blob of entry %u lies in its area", i);
	return (const char *)h + h->blobs_offset + (word >> 32);
}

static void test_post(void)
{
	struct board *b = make(&small, TWO);
	const char *first, *second;
	size_t size;

	is_int(board_post(b, 0, MP_STANDING_PASS, 0, NULL, 0), 0, "PASS");
	ok(entry(b, 0)->standing == MP_STANDING_PASS && entry(b, 0)->seq == 2, "stands, under an even sequence");
	is_int(board_post(b, 0, MP_STANDING_REPLY, 55, "one", 3), 0, "REPLY");
	first = blob(b, 0, &size);
	ok(size == 3 && !memcmp(first, "one", 3) && entry(b, 0)->until_ns == 55, "with its blob and its end");
	is_int(board_post(b, 1, MP_STANDING_REPLY, 0, "two", 3), 0, "REPLY elsewhere");
	ok(blob(b, 1, &size) != first, "takes other memory");
	is_int(board_post(b, 0, MP_STANDING_REPLY, 0, "new", 3), 0, "another REPLY");
	second = blob(b, 0, &size);
	ok(second != first && !memcmp(first, "one", 3), "leaves the old one as it was for late readers");
	is_int(board_post(b, 0, MP_STANDING_ASK, 0, NULL, 0), 0, "ASK");
	ok(!entry(b, 0)->blob && entry(b, 0)->seq == 8, "drops it");
	board_free(b);
}

static void test_blob_room(void)
{
	struct board *b = make(&small, TWO);
	static char big[3000];
	int r = 0;

	is_int(board_post(b, 0, MP_STANDING_REPLY, 0, big, sizeof(big)), 0, "3000 of 4096 bytes");
	is_int(board_post(b, 1, MP_STANDING_REPLY, 0, big, sizeof(big)), -E2BIG, "no room for as many");
	is_int(entry(b, 1)->standing, MP_STANDING_ASK, "so it stands as ASK");
	is_int(board_post(b, 0, MP_STANDING_PASS, 0, NULL, 0), 0, "the first gives way");
	is_int(board_post(b, 1, MP_STANDING_REPLY, 0, big, sizeof(big)), 0, "now there is room");
	for (int i = 0; i < 1000; i++)
		r |= board_post(b, 0, i % 2 ? MP_STANDING_PASS : MP_STANDING_REPLY, 0, "x", 1);
	is_int(r, 0, "500 REPLYs one after another leak nothing");
	board_free(b);
}

/* Swaps: what stands in the table before is not touched until it is filled again. */
static void test_swap(void)
{
	static const struct board_static statics[8];
	struct board *b = make(&small, TWO);
	struct chains *chains = fixture_chains(2, TWO);
	const char *before = table(b), *old;
	size_t size;
	int r = 0;

	(void)board_post(b, 0, MP_STANDING_REPLY, 0, "old", 3);
	old = blob(b, 0, &size);
	board_fill(b, chains, statics);
	ok(table(b) == before, "filling shows nothing");
	is_int(board_post(b, 0, MP_STANDING_REPLY, 0, "new", 3), 0, "a post goes to the filled table");
	ok(!memcmp(old, "old", 3) && entry(b, 0)->standing == MP_STANDING_REPLY,
	   "the table that holds still has the old one");
	board_flip(b, 2, 4);
	ok(table(b) != before && !memcmp(blob(b, 0, &size), "new", 3), "the flip shows the new one");
	is_u64(board_word_epoch(board_header(b)->word), 2, "of epoch 2");
	for (unsigned i = 3; i < 300; i++) {
		board_fill(b, chains, statics);
		r |= board_post(b, 0, MP_STANDING_REPLY, 0, "again", 5);
		board_flip(b, i, i % LANE_SETS);
	}
	is_int(r, 0, "300 swaps leak no blobs");
	chains_free(chains);
	board_free(b);
}

static void test_sealed(void)
{
	struct board *b = make(&small, TWO);
	void *map = mmap(NULL, LANE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, board_fd(b), 0);

	ok(map == MAP_FAILED, "nobody else can map it for writing");
	map = mmap(NULL, LANE_PAGE, PROT_READ, MAP_SHARED, board_fd(b), 0);
	ok(map != MAP_FAILED && ((struct board_header *)map)->magic == BOARD_MAGIC, "but for reading");
	board_free(b);
}

int main(void)
{
	test_lookup();
	test_overflow();
	test_overflow_closed();
	test_post();
	test_blob_room();
	test_swap();
	test_sealed();
	return done();
}
