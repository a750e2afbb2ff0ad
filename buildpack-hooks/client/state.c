/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's state: the pages that a fork wipes, and the environment.  See
 * state.h.  Called at the first call of each process, and never again.
 */
#include "buildpack-hooks/client/state.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "buildpack-hooks/client/conn.h"

#define BUDGET_MS_DEFAULT 5
#define BUDGET_MS_MAX 60000
#define START_YIELDS 1000 /* how long a second thread waits for the first one's getenv() */

_Atomic(struct live *) client_page;

/* True: the kernel cannot wipe on fork, so that a child could not be told apart. */
static atomic_bool hopeless;

static bool env_is_one(const char *name)
{
	const char *value = getenv(name);

	return value && !strcmp(value, "1");
}

static uint64_t env_budget_ns(void)
{
	const char *value = getenv("MIDDLEPIPE_BUDGET_MS");
	char *end;
	long ms;

	if (!value || !*value)
		return BUDGET_MS_DEFAULT * NS_PER_MS;
	ms = strtol(value, &end, 10);
	if (*end || ms < 1)
		return BUDGET_MS_DEFAULT * NS_PER_MS;
	return (uint64_t)(ms > BUDGET_MS_MAX ? BUDGET_MS_MAX : ms) * NS_PER_MS;
}

/* Reads the environment; the mode that follows from it. */
static enum client_mode configure(struct live *live)
{
	const char *path = getenv("MIDDLEPIPE_SOCK");
	size_t len = path ? strlen(path) : 0;

	if (!len || len >= sizeof(live->path) || env_is_one("MIDDLEPIPE_DISABLED"))
		return MODE_INERT;
	memcpy(live->path, path, len + 1);
	live->required = env_is_one("MIDDLEPIPE_REQUIRED");
	live->budget_ns = env_budget_ns();
	live->grace_ns = live->budget_ns > CLIENT_BEAT_NS ? live->budget_ns : CLIENT_BEAT_NS;
	return MODE_READY;
}

/* The pages of this process, made at the first call; NULL when they cannot be. */
static struct live *page_get(void)
{
	struct live *page = LOAD(client_page), *none = NULL;

	if (page || LOAD(hopeless))
		return page;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return NULL;
	if (madvise(page, sizeof(*page), MADV_WIPEONFORK) < 0) {
		atomic_store(&hopeless, true);
		(void)munmap(page, sizeof(*page)); /* ours and mapped: cannot fail */
		return NULL;
	}
	if (atomic_compare_exchange_strong(&client_page, &none, page))
		return page;
	(void)munmap(page, sizeof(*page)); /* another thread was first */
	return none;
}

struct live *client_start(void)
{
	struct quiet quiet = client_quiet();
	struct live *live = page_get();
	uint32_t mode = MODE_FRESH;

	if (!live)
		goto out;
	if (atomic_compare_exchange_strong(&live->mode, &mode, MODE_STARTING)) {
		client_conns_inherited();
		mode = configure(live);
		atomic_store(&live->mode, mode);
	}
	for (int i = 0; mode == MODE_STARTING && i < START_YIELDS; i++) {
		(void)sched_yield(); /* cannot fail on Linux */
		mode = LOAD(live->mode);
	}
out:
	client_quiet_end(quiet);
	return mode == MODE_READY ? live : NULL;
}

struct quiet client_quiet(void)
{
	struct quiet quiet = { .error = errno };

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &quiet.cancel); /* valid arguments */
	return quiet;
}

void client_quiet_end(struct quiet quiet)
{
	(void)pthread_setcancelstate(quiet.cancel, NULL); /* what it was before */
	errno = quiet.error;
}
