/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes that come and go.
 *
 *   lanes cycle N           opens, uses a little and closes N lanes, one after another
 *   lanes forks N PORT      N children, each of which makes a call through libmiddlepipe and
 *                           dies without a word
 *   lanes hold N            children that open a lane each, until one is refused, or N; prints
 *                           "N lanes, error E"; they stay until standard input ends
 *   lanes orphan PORT       opens a lane, leaves a child behind that has its socket too, prints
 *                           the child's pid and dies
 *   lanes hello MAJOR MINOR SIZE   one hello; prints "error E major M minor N fds F", or "closed"
 */
#include <signal.h>
#include <sys/wait.h>

#include "tests/functional/prog/raw.h"

/* Opens a lane; waits while all are taken by lanes that are still on their way out. */
static void open_patiently(struct raw *raw)
{
	uint64_t end = prog_now() + 10 * NS_PER_S;

	while (!raw_open(raw)) {
		raw_close(raw);
		if (prog_now() > end)
			prog_die("no lane in time");
		prog_sleep(NS_PER_MS / 10);
	}
}

/* One call through the library, heeded as far as it goes. */
static void call_once(long port)
{
	struct mp_target target = { .size = sizeof(target), .port = (uint32_t)port, .scheme = MP_LIT("http"),
				    .host = MP_LIT("127.0.0.1"), .path = MP_LIT("/") };
	struct mp_request request = { .size = sizeof(request), .flags = MP_BODY_COMPLETE,
				      .method = MP_LIT("GET"), .scheme = MP_LIT("http"),
				      .authority = MP_LIT("127.0.0.1"), .path = MP_LIT("/") };
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_call call;
	int how = mp_begin(&target, &call, &v);

	if (how == MP_ASK)
		(void)mp_ask(&call, &request, &v); /* whatever it says, the call is over */
	if (how != MP_NONE)
		mp_end(&call, 200, 0, 0);
	mp_verdict_free(&v);
}

static int cycle(long n)
{
	for (long i = 0; i < n; i++) {
		struct raw raw;
		size_t slots;

		open_patiently(&raw);
		slots = raw_header(&raw)->slots_offset;
		raw_slot(&raw, slots, 0)->ticket = 1;
		raw_header(&raw)->pending[0] = 1;
		raw_ring_bell(&raw);
		raw_close(&raw);
	}
	printf("%ld lanes\n", n);
	return 0;
}

static int forks(long n, long port)
{
	for (long i = 0; i < n; i++) {
		struct mp_counters k = { .size = sizeof(k) };
		int status;
		pid_t pid = fork();

		if (pid < 0)
			prog_die("fork: %s", strerror(errno));
		if (!pid) {
			call_once(port);
			mp_counters_get(&k);
			_exit(k.connects == 1 ? 0 : 1);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			prog_die("child %ld got no lane", i);
	}
	printf("%ld lanes\n", n);
	return 0;
}

/* A child that opens a lane, tells how that went, and keeps it. */
static void holder(int tell)
{
	struct raw raw;
	char error = raw_open(&raw) ? WELCOME_OK : (char)(raw.socket < 0 ? 99 : raw.welcome.error);

	if (write(tell, &error, 1) == 1 && !error)
		(void)pause();
	_exit(0);
}

static int hold(long n)
{
	pid_t *pids = calloc((size_t)n, sizeof(*pids));
	int tell[2];
	long have = 0, started = 0;
	char error = 0, byte;

	if (!pids || pipe(tell))
		prog_die("no memory, or no pipe");
	while (!error && started < n) {
		pids[started] = fork();
		if (!pids[started])
			holder(tell[1]);
		started++;
		if (read(tell[0], &error, 1) != 1)
			prog_die("a child says nothing");
		have += !error;
	}
	printf("%ld lanes, error %d\n", have, error);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	for (long i = 0; i < started; i++) {
		(void)kill(pids[i], SIGKILL); /* ours, and not reaped */
		(void)waitpid(pids[i], NULL, 0); /* likewise */
	}
	return 0;
}

static int orphan(long port)
{
	struct mp_counters k = { .size = sizeof(k) };
	pid_t pid;

	call_once(port);
	mp_counters_get(&k);
	pid = k.connected ? fork() : -1;
	if (pid < 0)
		prog_die("no lane, or no child");
	if (!pid) {
		(void)close(STDOUT_FILENO); /* the test waits for its end */
		(void)close(STDERR_FILENO); /* likewise */
		(void)pause();
		_exit(0);
	}
	printf("child %d\n", (int)pid);
	fflush(stdout);
	(void)raise(SIGKILL); /* does not return */
	return 1;
}

static int hello(unsigned long major, unsigned long minor, unsigned long size)
{
	struct raw raw = { .socket = raw_connect() };
	char bytes[256] = "";
	struct lane_hello message = raw_hello();

	message.major = (uint16_t)major;
	message.minor = (uint16_t)minor;
	memcpy(bytes, &message, sizeof(message));
	if (raw.socket < 0 || size > sizeof(bytes) || send(raw.socket, bytes, size, MSG_NOSIGNAL) < 0)
		prog_die("hello: %s", strerror(errno));
	if (raw_welcome(&raw))
		printf("error %u major %u minor %u fds %zu\n", raw.welcome.error, raw.welcome.major,
		       raw.welcome.minor, raw.n_fds);
	else
		puts("closed");
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	long n = argc > 2 ? strtol(argv[2], NULL, 10) : 0;

	if (!strcmp(mode, "cycle"))
		return cycle(n);
	if (!strcmp(mode, "forks") && argc == 4)
		return forks(n, strtol(argv[3], NULL, 10));
	if (!strcmp(mode, "hold"))
		return hold(n);
	if (!strcmp(mode, "orphan"))
		return orphan(n);
	if (!strcmp(mode, "hello") && argc == 5)
		return hello((unsigned long)n, strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
	prog_die("usage: lanes cycle N | forks N PORT | hold N | orphan PORT | hello MAJOR MINOR SIZE");
}
