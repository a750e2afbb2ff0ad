/* SPDX-License-Identifier: Apache-2.0 */
/* See blame.h. */
#include "scheduler/blame.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/clock.h"

struct blame *blame_new(void)
{
	void *page = mmap(NULL, sizeof(struct blame), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

static void name_copy(char to[BLAME_NAME], const char *from)
{
	snprintf(to, BLAME_NAME, "%s", from);
}

uint32_t blame_number(struct blame *blame, const char *middlepipe)
{
	uint32_t start = atomic_load(&blame->next);

	for (uint32_t i = 1; i < BLAME_UNITS; i++) {
		uint32_t number = 1 + (start + i - 1) % (BLAME_UNITS - 1);

		if (blame->names[number][0])
			continue;
		name_copy(blame->names[number], middlepipe);
		atomic_store(&blame->next, number);
		return number;
	}
	return 0;
}

void blame_number_free(struct blame *blame, uint32_t number)
{
	if (number)
		blame->names[number % BLAME_UNITS][0] = '\0';
}

const struct blame_ejected *blame_find(const struct blame *blame, const char *middlepipe)
{
	for (unsigned i = 0; i < BLAME_EJECTED; i++) {
		const struct blame_ejected *row = &blame->ejected[i];

		if (row->middlepipe[0] && !strncmp(row->middlepipe, middlepipe, BLAME_NAME - 1))
			return row;
	}
	return NULL;
}

static struct blame_ejected *blame_place(struct blame *blame)
{
	struct blame_ejected *oldest = &blame->ejected[0];

	for (unsigned i = 0; i < BLAME_EJECTED; i++) {
		if (!blame->ejected[i].middlepipe[0])
			return &blame->ejected[i];
		if (blame->ejected[i].wall_ns < oldest->wall_ns)
			oldest = &blame->ejected[i];
	}
	return oldest;
}

struct blame_ejected *blame_eject(struct blame *blame, const char *middlepipe, const char *reason)
{
	struct blame_ejected *row = (struct blame_ejected *)blame_find(blame, middlepipe);

	if (!row)
		row = blame_place(blame);
	name_copy(row->middlepipe, middlepipe);
	snprintf(row->reason, sizeof(row->reason), "%s", reason);
	row->wall_ns = clock_wall_now();
	return row;
}

void blame_forgive(struct blame *blame, const char *middlepipe)
{
	struct blame_ejected *row = (struct blame_ejected *)blame_find(blame, middlepipe);

	if (row)
		row->middlepipe[0] = '\0';
}

/* The unit whose code was running when the worker ended, 0: none. */
static uint32_t guilty(const struct blame *blame)
{
	uint32_t number = atomic_load(&blame->hung);

	if (!number)
		number = atomic_load(&blame->running);
	if (!number)
		number = atomic_load(&blame->loading);
	return number % BLAME_UNITS;
}

const struct blame_ejected *blame_verdict(struct blame *blame, int status)
{
	uint32_t number = guilty(blame);
	bool hung = WIFEXITED(status) && WEXITSTATUS(status) == BLAME_EXIT_HUNG;
	/* SIGKILL comes from outside: whatever ran at that moment is innocent. */
	bool crashed = (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL &&
			WTERMSIG(status) != SIGTERM) ||
		       (WIFEXITED(status) && !hung);
	const struct blame_ejected *row = NULL;
	char reason[128];

	if (hung)
		snprintf(reason, sizeof(reason), "did not return within %llu ms",
			 (unsigned long long)blame->budget_ms);
	else if (WIFSIGNALED(status))
		snprintf(reason, sizeof(reason), "crashed with signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(reason, sizeof(reason), "ended the scheduler with exit code %d",
			 WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	if (number && blame->names[number][0] && (hung || crashed))
		row = blame_eject(blame, blame->names[number], reason);
	atomic_store(&blame->running, 0);
	atomic_store(&blame->loading, 0);
	atomic_store(&blame->hung, 0);
	memset(blame->names, 0, sizeof(blame->names));
	return row;
}
