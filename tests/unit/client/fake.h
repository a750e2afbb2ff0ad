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

#include "tests/unit/client/fake_board.h"

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
			if (f->answer)
				f->answer(f, l, slot, &a);
			atomic_fetch_add(&f->questions, 1); /* before who asked goes on, and behind what the test looks at */
			if (!a.none)
				fake_reply(l, slot, &a);
			atomic_fetch_add(&f->served, 1);
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
