/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler of a few lines, for the unit tests of libmiddlepipe: it makes
 * the sealed objects, fills the board by hand, and answers questions from one
 * thread as the test says.
 *
 * Each scenario runs in a process of its own (scenario()), because the library
 * has one state a process: a forked child finds it fresh.
 */
#ifndef TESTS_UNIT_CLIENT_FAKE_H
#define TESTS_UNIT_CLIENT_FAKE_H

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

/* Waits until a condition holds, five seconds at most. */
#define EVENTUALLY(condition)                                                          \
	__extension__({                                                                \
		uint64_t until_ = fake_now() + 5 * NS_PER_S;                           \
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

/* ------------------------------------------------------------------- lanes */

static inline struct lane_header *fake_head(struct fake_lane *l)
{
	return (struct lane_header *)(void *)l->lane.base;
}

static inline struct lane_slot *fake_slot(struct fake_lane *l, uint32_t slot)
{
	return (struct lane_slot *)(void *)(l->lane.base + fake_head(l)->slots_offset) + slot;
}

static inline const char *fake_slot_data(struct fake_lane *l, uint32_t slot)
{
	return l->lane.base + fake_head(l)->data_offset + slot * FAKE_DATA;
}

static inline struct answers_header *fake_answers(struct fake_lane *l)
{
	return (struct answers_header *)(void *)l->answers.base;
}

static inline struct answers_slot *fake_answer_slot(struct fake_lane *l, uint32_t slot)
{
	return (struct answers_slot *)(void *)(l->answers.base + LANE_PAGE) + slot;
}

static inline struct lane_outcome *fake_outcome(struct fake_lane *l, uint64_t index)
{
	struct lane_header *h = fake_head(l);

	return (struct lane_outcome *)(void *)(l->lane.base + h->ring_offset) +
	       (index & (h->n_ring - 1));
}

static inline size_t fake_page_up(size_t n)
{
	return (n + LANE_PAGE - 1) / LANE_PAGE * LANE_PAGE;
}

static inline void fake_lane_make(struct fake *f, struct fake_lane *l)
{
	uint32_t n_slots = f->n_slots, n_ring = f->n_ring;
	size_t slots = fake_page_up(LANE_PAGE + n_ring * sizeof(struct lane_outcome));
	size_t data = fake_page_up(slots + n_slots * sizeof(struct lane_slot));
	size_t answers = fake_page_up(LANE_PAGE + n_slots * sizeof(struct answers_slot));
	struct lane_header *h;
	struct answers_header *a;

	l->tail = 0;
	l->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->lane = fake_object(data + n_slots * FAKE_DATA);
	l->answers = fake_object(answers + n_slots * FAKE_DATA);
	h = fake_head(l);
	*h = (struct lane_header){ .magic = LANE_MAGIC, .major = LANE_MAJOR,
				   .header_size = sizeof(*h), .size = l->lane.size,
				   .n_slots = n_slots, .n_ring = n_ring, .ring_offset = LANE_PAGE,
				   .slots_offset = slots, .data_offset = data,
				   .data_size = FAKE_DATA };
	a = fake_answers(l);
	*a = (struct answers_header){ .magic = ANSWERS_MAGIC, .major = LANE_MAJOR,
				      .header_size = sizeof(*a), .size = l->answers.size,
				      .slots_offset = LANE_PAGE, .data_offset = answers,
				      .data_size = FAKE_DATA, .n_slots = n_slots };
}

static inline void fake_faults(struct fake *f, struct fake_lane *l, enum fake_fault fault)
{
	struct lane_header *h = fake_head(l);

	(void)f;
	if (fault == FAULT_SIZE)
		h->size += LANE_PAGE;
	if (fault == FAULT_OFFSET)
		h->data_offset = l->lane.size - 64;
	if (fault == FAULT_RING)
		h->n_ring = 3;
	if (fault == FAULT_MAGIC)
		fake_answers(l)->magic ^= 1;
	if (fault == FAULT_SLOTS)
		h->n_slots = LANE_SLOTS_MAX + 1;
	if (fault != FAULT_SEALS_LANE)
		fake_seal(&l->lane, FAKE_SEALS_WRITE);
	fake_seal(&l->answers, fault == FAULT_SEALS_BOARD ? F_SEAL_SHRINK : FAKE_SEALS_READ);
}

static inline void fake_send(int fd, const struct lane_welcome *w, size_t size, const int *fds,
			     size_t n)
{
	_Alignas(struct cmsghdr) char space[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	struct iovec v = { (void *)(uintptr_t)w, size };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (n) {
		struct cmsghdr *c;

		m.msg_control = space;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	(void)sendmsg(fd, &m, MSG_NOSIGNAL); /* the library may have gone already */
}

static inline void fake_welcome(struct fake *f, int fd)
{
	struct lane_welcome w = { .magic = HELLO_MAGIC, .major = LANE_MAJOR, .size = sizeof(w) };
	enum fake_fault fault = (enum fake_fault)f->faults;
	uint32_t i = f->n_lanes;
	struct fake_lane *l = &f->lanes[i];
	size_t n = WELCOME_FDS;

	if (fault == FAULT_SILENT || i == FAKE_LANES)
		return;
	if (fault == FAULT_CLOSE) {
		close(fd);
		return;
	}
	fake_lane_make(f, l);
	fake_faults(f, l, fault);
	l->socket = fd;
	if (fault == FAULT_GARBAGE)
		w.magic = 7;
	if (fault == FAULT_FEW)
		n = 3;
	if (fault == FAULT_MANY)
		n = 6;
	if (fault == FAULT_FULL)
		w.error = WELCOME_FULL, n = 1;
	if (fault == FAULT_VERSION)
		w.error = WELCOME_VERSION, w.major = 9, n = 0;
	atomic_store(&f->n_lanes, i + 1);
	fake_send(fd, &w, fault == FAULT_SHORT ? 8 : sizeof(w),
		  (int[]){ f->board.fd, l->lane.fd, l->answers.fd, l->doorbell, l->doorbell,
			   l->doorbell }, n);
	if (fault == FAULT_FULL)
		close(fd);
}

static inline void fake_reply(struct fake_lane *l, uint32_t slot, const struct fake_answer *a)
{
	struct answers_slot *s = fake_answer_slot(l, slot);
	char *data = l->answers.base + fake_answers(l)->data_offset + slot * FAKE_DATA;
	size_t body = a->body ? strlen(a->body) : 0;

	memcpy(data, a->bytes, a->head.size);
	if (body)
		memcpy(data + a->head.size, a->body, body);
	s->verdict = a->verdict;
	s->status = a->status;
	s->exchange = a->exchange;
	s->delay_ns = a->delay_ns;
	s->retry_at_ns = a->retry_at_ns;
	s->head_size = (uint32_t)a->head.size;
	s->body_size = (uint32_t)body;
	s->has_body = a->has_body;
	atomic_store(&s->done, atomic_load(&fake_slot(l, slot)->ticket));
	if (atomic_load(&fake_slot(l, slot)->waiting))
		syscall(SYS_futex, &s->done, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static inline void fake_serve(struct fake *f, struct fake_lane *l)
{
	for (uint32_t w = 0; w < LANE_SLOTS_MAX / 64; w++) {
		uint64_t pending = atomic_exchange(&fake_head(l)->pending[w], 0);

		for (; pending; pending &= pending - 1) {
			uint32_t slot = w * 64 + (uint32_t)__builtin_ctzll(pending);
			struct fake_answer a = { .verdict = MP_VERDICT_PASS };

			wire_start(&a.head, a.bytes, sizeof(a.bytes));
			atomic_fetch_add(&f->questions, 1);
			if (f->answer)
				f->answer(f, l, slot, &a);
			if (!a.none)
				fake_reply(l, slot, &a);
		}
	}
}

static inline void fake_bells(struct fake *f)
{
	for (uint32_t i = 0; i < f->n_lanes; i++) {
		uint64_t count;

		if (read(f->lanes[i].doorbell, &count, sizeof(count)) == (ssize_t)sizeof(count))
			atomic_fetch_add(&f->rings, (uint32_t)count);
		if (!f->deaf)
			fake_serve(f, &f->lanes[i]);
	}
}

static inline void fake_accept(struct fake *f)
{
	struct lane_hello hello;
	int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (recv(fd, &hello, sizeof(hello), 0) == (ssize_t)sizeof(hello) &&
	    hello.magic == HELLO_MAGIC) {
		atomic_fetch_add(&f->hellos, 1);
		fake_welcome(f, fd);
	}
}

static inline void *fake_main(void *arg)
{
	struct fake *f = arg;

	while (!f->stop) {
		struct pollfd fds[1 + FAKE_LANES] = { { .fd = f->listener, .events = POLLIN } };
		nfds_t n = 1;

		for (uint32_t i = 0; i < f->n_lanes; i++)
			fds[n++] = (struct pollfd){ .fd = f->lanes[i].doorbell, .events = POLLIN };
		(void)poll(fds, n, 2);
		if (f->beating)
			atomic_store(&fake_board(f)->beat, fake_now());
		if (fds[0].revents)
			fake_accept(f);
		fake_bells(f);
	}
	return NULL;
}

/* --------------------------------------------------------------- life cycle */

static inline void fake_listen(struct fake *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, f->path, sizeof(f->path));
	f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (f->listener < 0 || bind(f->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(f->listener, 16) < 0)
		abort();
}

/* A board with these rows stands in table 0, set 1, epoch 1; it is not running yet. */
static inline void fake_init(struct fake *f, const struct fake_row *rows, size_t n)
{
	memset(f, 0, sizeof(*f));
	f->beating = 1;
	f->n_slots = 64;
	f->n_ring = 64;
	strcpy(f->dir, "/tmp/mp-fake-XXXXXX");
	if (!mkdtemp(f->dir))
		abort();
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	fake_board_make(f);
	fake_seal(&f->board, FAKE_SEALS_READ);
	fake_fill(f, 0, rows, n);
	fake_flip(f, 1, 1, 0);
	setenv("MIDDLEPIPE_SOCK", f->path, 1);
	setenv("MIDDLEPIPE_BUDGET_MS", "5000", 1); /* a slow machine is no failure here */
}

/* A beat that never grows old: for tests whose budget is smaller than a loaded machine's pauses. */
static inline void fake_beat_for_ever(struct fake *f)
{
	f->beating = 0;
	atomic_store(&fake_board(f)->beat, fake_now() + 3600 * NS_PER_S);
}

static inline void fake_run(struct fake *f)
{
	f->stop = 0;
	fake_listen(f);
	if (pthread_create(&f->thread, NULL, fake_main, f))
		abort();
}

/* Ends it as a kill would: sockets closed, the memory stays with the library. */
static inline void fake_kill(struct fake *f)
{
	atomic_store(&f->stop, 1);
	pthread_join(f->thread, NULL);
	close(f->listener);
	unlink(f->path);
	for (uint32_t i = 0; i < f->n_lanes; i++) {
		close(f->lanes[i].socket);
		close(f->lanes[i].doorbell);
		close(f->lanes[i].lane.fd);
		close(f->lanes[i].answers.fd);
	}
}

static inline void fake_end(struct fake *f)
{
	fake_kill(f);
	for (uint32_t i = 0; i < f->n_lanes; i++) {
		munmap(f->lanes[i].lane.base, f->lanes[i].lane.size);
		munmap(f->lanes[i].answers.base, f->lanes[i].answers.size);
	}
	munmap(f->board.base, f->board.size);
	close(f->board.fd);
	rmdir(f->dir);
}

/* ------------------------------------------------------------------- calls */

static inline struct mp_target fake_target(const char *host, uint32_t port, const char *path)
{
	return (struct mp_target){ .size = sizeof(struct mp_target), .port = port,
				   .scheme = MP_LIT("http"), .host = slice_of(host),
				   .path = slice_of(path) };
}

static inline int fake_begin(const char *host, uint32_t port, const char *path,
			     struct mp_call *call, struct mp_verdict *verdict)
{
	struct mp_target target = fake_target(host, port, path);

	return mp_begin(&target, call, verdict);
}

static inline struct mp_counters fake_counters(void)
{
	struct mp_counters c = { .size = sizeof(c) };

	mp_counters_get(&c);
	return c;
}

/* A whole call to payments:80 that ends with 200; what mp_begin said. */
static inline int fake_call(const char *path)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_call call;
	int r = fake_begin("payments", 80, path, &call, &v);

	mp_verdict_free(&v);
	if (r != MP_NONE)
		mp_end(&call, 200, 0, 0);
	return r;
}

static inline const struct mp_field *fake_field(const struct mp_verdict *v, const char *name)
{
	for (size_t i = 0; i < v->n_fields; i++)
		if (slice_eq_nocase(v->fields[i].name, slice_of(name)))
			return &v->fields[i];
	return NULL;
}

static inline bool fake_has(const struct mp_verdict *v, const char *name, const char *value)
{
	const struct mp_field *f = fake_field(v, name);

	return f && slice_eq(f->value, slice_of(value));
}

/* True when begun and ended agree, and both are what was counted, over all sets. */
static inline bool fake_balanced(struct fake_lane *l)
{
	for (unsigned i = 0; i < LANE_SETS; i++)
		if (fake_head(l)->begun[i] != fake_head(l)->ended[i])
			return false;
	return true;
}

/* --------------------------------------------------------------- scenarios */

/* Runs one scenario in a process of its own and takes over its count of checks. */
static inline void scenario(const char *name, void (*run)(void))
{
	int *shared = mmap(NULL, LANE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t pid;

	if (shared == MAP_FAILED)
		abort();
	fflush(stdout);
	pid = fork();
	if (!pid) {
		run();
		shared[0] = tap_count;
		shared[1] = tap_failed;
		exit(0);
	}
	if (pid > 0)
		(void)waitpid(pid, &status, 0);
	if (WIFEXITED(status) && !WEXITSTATUS(status)) {
		tap_count = shared[0];
		tap_failed = shared[1];
	}
	munmap(shared, LANE_PAGE);
	ok(WIFEXITED(status) && !WEXITSTATUS(status), "%s (status %x)", name, (unsigned)status);
}

#endif
