/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An app that attacks its scheduler through all that it was given.
 *
 *   hostile MODE AUTHORITY NUMBERS-FILE    until SIGTERM
 *
 *   scribble   random bytes all over its lane
 *   flip       questions and outcomes whose every word changes while they are read
 *   endless    64 questions at a time, again and again, as fast as they are answered
 *   bells      rings without end, with and without a question
 *   eventfd    fills the doorbell's counter, makes it blocking, reads it, closes it
 *   punch      punches holes into its lane while it asks
 *   silent     1,000 connections that say nothing
 *   garbage    1,000 connections that say something else, with descriptors
 *   greedy     1,000 connections that say hello
 *
 * The first words of the page count rounds, and lanes that it was given.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "tests/functional/prog/raw.h"

enum number { ROUNDS, LANES, CONNECTIONS };

#define MANY 1000
#define BATCH 64

static prog_number *numbers;
static const char *authority;
static atomic_int ending; /* lock-free: a signal handler may write it */
static _Thread_local uint64_t seed = 88172645463325252ull;

/* The geometry as it was at first: the header is soon scribbled over. */
static uint64_t slots_at, data_at, data_size, ring_at, n_ring;
static uint32_t n_slots;

static uint64_t chance(void)
{
	/* xorshift64: Marsaglia, "Xorshift RNGs" */
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void round_done(void)
{
	atomic_fetch_add(&numbers[ROUNDS], 1);
}

static void open_lane(struct raw *raw)
{
	uint64_t end = prog_now() + 10 * NS_PER_S;

	while (!raw_open(raw)) {
		raw_close(raw);
		if (prog_now() > end)
			prog_die("no lane");
		prog_sleep(NS_PER_MS);
	}
	slots_at = raw_header(raw)->slots_offset;
	data_at = raw_header(raw)->data_offset;
	data_size = raw_header(raw)->data_size;
	ring_at = raw_header(raw)->ring_offset;
	n_ring = raw_header(raw)->n_ring;
	n_slots = raw_header(raw)->n_slots;
	atomic_fetch_add(&numbers[LANES], 1);
}

static struct lane_outcome *ring_entry(const struct raw *raw, uint64_t index)
{
	return (struct lane_outcome *)(void *)(raw->lane + ring_at) + index % n_ring;
}

/* A proper question about the authority, in the newest chain set. */
static void question_put(const struct raw *raw, uint32_t i)
{
	static uint32_t ticket;
	struct lane_slot *s = raw_slot(raw, slots_at, i);
	uint64_t word = ((const struct board_header *)(const void *)raw->board)->word;

	s->kind = LANE_REQUEST;
	s->set = board_word_set(word);
	s->entry = LANE_ENTRY_NONE;
	s->head_size = raw_head(raw->lane + data_at + i * data_size, data_size, authority);
	s->request_body_size = s->response_body_size = 0;
	s->exchange = 0;
	s->ticket = ++ticket ? ticket : 1;
}

static void questions_post(const struct raw *raw)
{
	for (uint32_t i = 0; i < BATCH && i < n_slots; i++)
		question_put(raw, i);
	atomic_fetch_or(&raw_header(raw)->pending[0], ~UINT64_C(0));
	raw_ring_bell(raw);
}

/* ---------------------------------------------------------------- the memory */

static void scribble(void)
{
	struct raw raw;

	open_lane(&raw);
	while (!ending) {
		/* All of it is as good a target as the head, where the words are. */
		for (int i = 0; i < 4096; i++) {
			size_t size = i % 2 ? raw.lane_size : data_at;
			uint64_t at = chance() % (size - 8), value = chance();

			memcpy(raw.lane + at, &value, 1 + value % 8);
		}
		raw_header(&raw)->pending[0] = chance();
		raw_ring_bell(&raw);
		round_done();
	}
	raw_close(&raw);
}

/* Values at which a check that is made twice, or not at all, goes wrong. */
static uint64_t odd_value(void)
{
	const uint64_t odd[] = { 0, 1, 2, 3, 4, 15, 16, 17, 63, 64, 99, 100, 599, 600, 255, 256, 4095,
				 4096, 65535, 65536, 65537, data_size, data_size - 1, data_size + 1,
				 INT32_MAX, UINT64_C(1) << 31, UINT32_MAX, UINT32_MAX - 1,
				 UINT64_C(1) << 32, INT64_MAX, UINT64_MAX, chance() };

	return odd[chance() % (sizeof(odd) / sizeof(odd[0]))];
}

/* Changes words of a question that is about to be read, or is being read. */
static void flip_slot(const struct raw *raw, uint32_t i)
{
	struct lane_slot *s = raw_slot(raw, slots_at, i);
	_Atomic uint32_t *words = (_Atomic uint32_t *)(void *)s;
	unsigned at = (unsigned)(chance() % (sizeof(*s) / sizeof(uint32_t)));
	uint32_t before = words[at];
	char *data = raw->lane + data_at + i * data_size;

	atomic_store_explicit(&words[at], (uint32_t)odd_value(), memory_order_relaxed);
	/* Lengths of the encoded items lie in the first bytes: u16, u16, u32 each. */
	*(volatile uint32_t *)(void *)(data + chance() % 64 / 4 * 4) = (uint32_t)odd_value();
	atomic_store_explicit(&words[at], before, memory_order_relaxed);
}

static void flip_ring(const struct raw *raw)
{
	struct lane_header *h = raw_header(raw);
	uint64_t head = h->ring_head, at = head - chance() % 8;
	struct lane_outcome *e = ring_entry(raw, at);

	e->where = chance();
	e->exchange = odd_value();
	e->duration_ns = odd_value();
	e->seq = chance() % 4 ? at + 1 : odd_value();
	h->ring_head = chance() % 16 ? head + 1 : odd_value();
	h->ring_head = head + chance() % 3;
	h->begun[chance() % LANE_SETS] = odd_value();
	h->ended[chance() % LANE_SETS] = odd_value();
	h->lost_ok = odd_value();
	h->lost_failed = odd_value();
	h->counters[chance() % LANE_COUNTERS] = odd_value();
}

static void *flipper(void *arg)
{
	const struct raw *raw = arg;

	seed ^= (uintptr_t)&raw; /* not the other thread's numbers */
	while (!ending) {
		flip_slot(raw, (uint32_t)(chance() % BATCH));
		flip_ring(raw);
		raw_header(raw)->pending[chance() % 4] = odd_value();
	}
	return NULL;
}

static void flip(void)
{
	struct raw raw;
	pthread_t thread;

	open_lane(&raw);
	if (pthread_create(&thread, NULL, flipper, &raw))
		prog_die("pthread_create");
	while (!ending) {
		questions_post(&raw);
		round_done();
	}
	(void)pthread_join(thread, NULL); /* ours and joinable */
	raw_close(&raw);
}

static void endless(void)
{
	struct raw raw;

	open_lane(&raw);
	while (!ending) {
		questions_post(&raw);
		round_done();
	}
	raw_close(&raw);
}

static void punch(void)
{
	struct raw raw;

	open_lane(&raw);
	while (!ending) {
		questions_post(&raw);
		if (fallocate(raw.fds[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(chance() % raw.lane_size / LANE_PAGE * LANE_PAGE),
			      (off_t)(LANE_PAGE * (1 + chance() % 64))))
			(void)madvise(raw.lane, raw.lane_size, MADV_REMOVE); /* either will do */
		round_done();
	}
	raw_close(&raw);
}

/* -------------------------------------------------------------- the doorbell */

static void bells(void)
{
	struct raw raw;

	open_lane(&raw);
	while (!ending) {
		for (int i = 0; i < 1000 && !ending; i++)
			raw_ring_bell(&raw);
		raw_header(&raw)->pending[0] = 1;
		round_done();
	}
	raw_close(&raw);
}

static void eventfd_tricks(void)
{
	while (!ending) {
		uint64_t most = UINT64_MAX - 1, count;
		struct raw raw;

		open_lane(&raw);
		for (int i = 0; i < 200 && !ending; i++) {
			(void)!fcntl(raw.fds[3], F_SETFL, O_NONBLOCK); /* so that the next does not block us */
			(void)!write(raw.fds[3], &most, sizeof(most));
			(void)!fcntl(raw.fds[3], F_SETFL, 0); /* for us and for the scheduler */
			atomic_fetch_or(&raw_header(&raw)->pending[0], chance());
			(void)!fcntl(raw.fds[3], F_SETFL, O_NONBLOCK);
			(void)!read(raw.fds[3], &count, sizeof(count)); /* steals the ring */
			(void)!fcntl(raw.fds[3], F_SETFL, 0);
		}
		raw_close(&raw);
		round_done();
	}
}

/* ------------------------------------------------------------ the connections */

static void fds_send(int fd, const void *bytes, size_t size)
{
	int fds[8];
	_Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof(fds))] = { 0 };
	struct iovec part = { (void *)(uintptr_t)bytes, size };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
			    .msg_controllen = sizeof(space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	for (size_t i = 0; i < 8; i++)
		fds[i] = STDERR_FILENO;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	(void)!sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT); /* it may have hung up */
}

static void say_nothing(int fd)
{
	(void)fd;
}

/* Anything but a hello: nothing at all, noise, half of one, too much, descriptors. */
static void say_garbage(int fd)
{
	static char noise[4096];
	struct lane_hello hello = raw_hello();

	memset(noise, (int)chance(), sizeof(noise));
	switch (chance() % 6) {
	case 0:
		(void)!send(fd, noise, 0, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 1:
		(void)!send(fd, noise, sizeof(noise), MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 2:
		(void)!send(fd, &hello, sizeof(hello) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 3:
		hello.major = (uint16_t)chance();
		(void)!send(fd, &hello, sizeof(hello), MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 4:
		fds_send(fd, noise, 24);
		break;
	default:
		fds_send(fd, noise, 1);
		(void)!shutdown(fd, SHUT_WR);
	}
}

/* Keeps MANY connections, and goes on replacing the oldest. */
static void crowd(void (*say)(int fd))
{
	static int fds[MANY];
	size_t n = 0;

	while (!ending) {
		int *fd = &fds[n++ % MANY];

		if (n > MANY && *fd >= 0)
			(void)close(*fd); /* nothing was promised on it */
		*fd = raw_connect();
		if (*fd < 0)
			continue;
		atomic_fetch_add(&numbers[CONNECTIONS], 1);
		say(*fd);
		if (n % MANY == 0)
			round_done();
	}
}

/* Takes whatever it is given, and leaves all of it to the kernel. */
static void greedy(void)
{
	static struct raw many[MANY];
	size_t n = 0;

	while (!ending) {
		struct raw *raw = &many[n++ % MANY];

		if (n > MANY)
			raw_close(raw);
		atomic_fetch_add(&numbers[LANES], raw_open(raw));
		atomic_fetch_add(&numbers[CONNECTIONS], 1);
		if (n % MANY == 0)
			round_done();
	}
}

static void silent(void)
{
	crowd(say_nothing);
}

static void garbage(void)
{
	crowd(say_garbage);
}

/* ---------------------------------------------------------------- the program */

static void on_term(int signum)
{
	(void)signum;
	ending = 1;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{ "scribble", scribble }, { "flip", flip }, { "endless", endless }, { "punch", punch },
		{ "bells", bells }, { "eventfd", eventfd_tricks }, { "silent", silent },
		{ "garbage", garbage }, { "greedy", greedy },
	};
	struct sigaction on_end = { .sa_handler = on_term };

	if (argc != 4)
		prog_die("usage: hostile MODE AUTHORITY NUMBERS-FILE");
	authority = argv[2];
	numbers = prog_numbers(argv[3]);
	(void)sigaction(SIGTERM, &on_end, NULL); /* valid arguments */
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(argv[1], modes[i].name)) {
			modes[i].run();
			return 0;
		}
	prog_die("no mode is called %s", argv[1]);
}
