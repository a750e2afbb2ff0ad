/* SPDX-License-Identifier: Apache-2.0 */
/* Fork, exec and exit, at every moment of a call. */
#include "tests/unit/client/fake.h"

static const struct fake_row rows[] = {
	{ "payments", 80, "", ENTRY_OUTCOME, "guard", MP_STANDING_PASS },
};

static struct fake fake;

static int child_status(pid_t pid)
{
	int status = -1;

	(void)waitpid(pid, &status, 0);
	return status;
}

static bool is_socket(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISSOCK(st.st_mode);
}

static int sockets(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += is_socket(fd);
	return n;
}

static int mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	while (maps && fgets(line, sizeof(line), maps))
		n += strstr(line, "memfd:fake") != NULL;
	if (maps)
		fclose(maps);
	return n;
}

/* In the child: what the parent began is ignored, and a first call connects. */
static int child_calls(struct mp_call *begun)
{
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_request request = { .size = sizeof(request) };
	int before = mappings(), n_sockets;

	mp_end(begun, 200, 0, 0);
	/* The first call of any kind has released what was the parent's. */
	if (before - mappings() != 3)
		return 1;
	n_sockets = sockets();
	if (mp_ask(begun, &request, &v) != MP_VERDICT_PASS || mp_resume(begun, 0, &v))
		return 2;
	if (fake_counters().passed || fake_counters().connected)
		return 3;
	if (fake_call("/") != MP_GO || fake_counters().connects != 1)
		return 4;
	return sockets() == n_sockets + 1 ? 0 : 5;
}

static void fork_in_a_call(void)
{
	struct mp_call call;
	int status;
	pid_t pid;

	fake_init(&fake, rows, 1);
	fake_run(&fake);
	is_int(fake_begin("payments", 80, "/", &call, NULL), MP_GO, "the parent begins");
	pid = fork();
	if (!pid)
		_exit(child_calls(&call));
	status = child_status(pid);
	is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0, "the child connects for itself");
	is_u64(fake.n_lanes, 2, "over a lane of its own");
	is_u64(fake_head(&fake.lanes[0])->ended[1], 0, "it has ended nothing of its parent's");
	ok(fake_balanced(&fake.lanes[1]), "and its own");
	mp_end(&call, 200, 0, 0);
	ok(fake_balanced(&fake.lanes[0]), "the parent ends its call");
	is_u64(fake_head(&fake.lanes[0])->ring_head, 1, "with one outcome");
	is_int(fake_call("/"), MP_GO, "and goes on");
	is_u64(fake_counters().connects, 1, "over the lane that it had");
	fake_end(&fake);
}

/* A grandchild of a child that never called: three lives, one state each. */
static void grandchild(void)
{
	pid_t pid;
	int status;

	fake_init(&fake, rows, 1);
	fake_run(&fake);
	is_int(fake_call("/"), MP_GO, "the parent calls");
	pid = fork();
	if (!pid) {
		pid = fork();
		if (!pid)
			_exit(fake_call("/") == MP_GO && fake_counters().connects == 1 ? 0 : 1);
		_exit(child_status(pid) ? 1 : 0);
	}
	status = child_status(pid);
	is_int(status, 0, "the grandchild connects");
	is_u64(fake.n_lanes, 2, "two lanes in all");
	fake_end(&fake);
}

static atomic_bool stop;

static void *caller(void *arg)
{
	_Atomic uint64_t *calls = arg;

	while (!atomic_load(&stop))
		if (fake_call("/") == MP_GO)
			atomic_fetch_add(calls, 1);
	return NULL;
}

/* Forks while other threads are in the middle of calls. */
static void fork_in_threads(void)
{
	static _Atomic uint64_t calls;
	pthread_t threads[4];
	int good = 0;

	fake_init(&fake, rows, 1);
	fake_run(&fake);
	for (size_t i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, caller, &calls))
			abort();
	(void)EVENTUALLY(calls > 1000);
	for (int i = 0; i < FAKE_LANES - 1; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(fake_call("/") == MP_GO && fake_counters().connects == 1 ? 0 : 1);
		good += child_status(pid) == 0;
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	is_int(good, FAKE_LANES - 1, "each child calls over a lane of its own");
	ok(fake_balanced(&fake.lanes[0]), "the threads have lost nothing");
	is_u64(fake_counters().passed, fake_head(&fake.lanes[0])->begun[1], "nor gained anything");
	fake_end(&fake);
}

static void exec(void)
{
	struct mp_call call;
	pid_t pid;

	fake_init(&fake, rows, 1);
	fake_run(&fake);
	(void)fake_begin("payments", 80, "/", &call, NULL);
	pid = fork();
	if (!pid) {
		execl("/bin/sh", "sh", "-c", "! ls -l /proc/$$/fd | grep -q 'socket\\|eventfd\\|memfd'",
		      (char *)NULL);
		_exit(9);
	}
	is_int(child_status(pid), 0, "exec closes all that is ours");
	mp_end(&call, 200, 0, 0);
	fake_end(&fake);
}

/* Exit in the middle of a call, with other threads in theirs. */
static void exits(void)
{
	static _Atomic uint64_t calls;
	struct mp_call call;
	pthread_t thread;

	fake_init(&fake, rows, 1);
	fake.beating = 1;
	fake_run(&fake);
	for (size_t i = 0; i < 2; i++)
		if (pthread_create(&thread, NULL, caller, &calls))
			abort();
	(void)EVENTUALLY(calls > 100);
	is_int(fake_begin("payments", 80, "/", &call, NULL), MP_GO, "a call is under way");
	unlink(fake.path);
	rmdir(fake.dir);
	/* scenario() calls exit(): the check is that it ends by itself. */
}

int main(void)
{
	scenario("fork in a call", fork_in_a_call);
	scenario("a grandchild", grandchild);
	scenario("fork in a threaded program", fork_in_threads);
	scenario("exec", exec);
	scenario("exit in the middle of a call", exits);
	return done();
}
