/* SPDX-License-Identifier: Apache-2.0 */
/* See blame.h. */
#include "scheduler/blame.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "lib/clock.h"

struct blame *blame_new(void)
{
	void *page = mmap(NULL, sizeof(struct blame), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

static void name_copy(char to[BLAME_NAME], const char *from)
{
	snprintf(to, BLAME_NAME, "%s", from);
}

uint32_t blame_number(struct blame *blame, const char *middlepipe)
{
	uint32_t number = blame->first_free;

	if (number)
		blame->first_free = blame->unit[number].next_free;
	else if (blame->n_units + 1 < BLAME_UNITS)
		number = ++blame->n_units;
	if (number)
		name_copy(blame->unit[number].middlepipe, middlepipe);
	return number;
}

void blame_number_free(struct blame *blame, uint32_t number)
{
	if (!number)
		return;
	blame->unit[number].middlepipe[0] = '\0';
	blame->unit[number].next_free = blame->first_free;
	blame->first_free = number;
}

const char *blame_name(const struct blame *blame, uint32_t number)
{
	return number < BLAME_UNITS ? blame->unit[number].middlepipe : "";
}

const struct blame_ejected *blame_find(const struct blame *blame, const char *middlepipe)
{
	for (unsigned i = 0; i < BLAME_EJECTED; i++) {
		const struct blame_ejected *row = &blame->ejected[i];

		if (row->middlepipe[0] && !strncmp(row->middlepipe, middlepipe, CHAIN_NAME_MAX))
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

void blame_load_open(void)
{
	sigset_t alarm;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	signal(SIGALRM, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &alarm, NULL);
}

static void alarm_in(uint64_t ms)
{
	const struct itimerval timer = { .it_value = { .tv_sec = (time_t)(ms / 1000),
						       .tv_usec = (suseconds_t)(ms % 1000) * 1000 } };

	(void)setitimer(ITIMER_REAL, &timer, NULL);
}

void blame_load_enter(struct blame *blame, _Atomic uint32_t *word, uint32_t number)
{
	atomic_store(word, number);
	if (blame->load_ms)
		alarm_in(blame->load_ms);
}

void blame_load_leave(struct blame *blame, _Atomic uint32_t *word)
{
	if (blame->load_ms)
		alarm_in(0);
	atomic_store(word, 0);
}

/* Whose code was running when the worker ended. */
struct suspect {
	uint32_t number;   /* of the unit, 0: none */
	const char *where; /* the function, for the reason's text; "": any */
	bool late;         /* it did not return */
};

/* Loading before running: of two at once the newcomer is the likelier culprit. */
static struct suspect suspect_of(const struct blame *blame, int status)
{
	const struct suspect rows[] = {
		{ atomic_load(&blame->hung), "", true },
		{ atomic_load(&blame->loading), "load()", false },
		{ atomic_load(&blame->unloading), "unload()", false },
		{ atomic_load(&blame->running), "", false },
	};
	struct suspect suspect = { 0, "", false };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !suspect.number; i++)
		suspect = rows[i];
	if (suspect.where[0])
		suspect.late = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
	return suspect;
}

/* False when it was ended from outside: whatever ran at that moment is innocent. */
static bool by_itself(int status)
{
	return !WIFSIGNALED(status) || (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM);
}

static void reason_text(char *text, size_t size, const struct blame *blame,
			const struct suspect *suspect, int status)
{
	const char *where = suspect->where;
	uint64_t ms = where[0] ? blame->load_ms : blame->budget_ms;

	if (suspect->late)
		snprintf(text, size, "did not return%s%s within %llu ms", where[0] ? " from " : "",
			 where, (unsigned long long)ms);
	else if (WIFSIGNALED(status))
		snprintf(text, size, "crashed with signal %d (%s)%s%s", WTERMSIG(status),
			 strsignal(WTERMSIG(status)), where[0] ? " in " : "", where);
	else
		snprintf(text, size, "ended the scheduler with exit code %d%s%s",
			 WIFEXITED(status) ? WEXITSTATUS(status) : -1, where[0] ? " in " : "", where);
}

const struct blame_ejected *blame_verdict(struct blame *blame, int status)
{
	struct suspect suspect = suspect_of(blame, status);
	const char *name = blame_name(blame, suspect.number);
	const struct blame_ejected *row = NULL;
	char reason[128];

	reason_text(reason, sizeof(reason), blame, &suspect, status);
	if (name[0] && by_itself(status))
		row = blame_eject(blame, name, reason);
	atomic_store(&blame->running, 0);
	atomic_store(&blame->loading, 0);
	atomic_store(&blame->unloading, 0);
	atomic_store(&blame->hung, 0);
	memset(blame->unit, 0, (blame->n_units + 1) * sizeof(blame->unit[0]));
	blame->n_units = blame->first_free = 0;
	return row;
}
