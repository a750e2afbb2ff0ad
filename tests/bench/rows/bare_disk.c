/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disk and SQLite cost by themselves, one after the other:
 *
 *	bare_disk fdatasync|sqlite FOLDER SECONDS
 *
 * fdatasync writes 4 KiB behind one another into a file of the folder and syncs
 * each.  sqlite commits one row a transaction, see bare_commit.h.
 *
 * Prints one JSON object: p50 and p99 in milliseconds, a second, and how many.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/hist.h"
#include "tests/bench/rows/bare_commit.h"

#define PAGE 4096

static struct hist times;
static char path[4096];

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "bare_disk: %s\n", what);
	exit(1);
}

/* ------------------------------------------------------------------ fdatasync */

static int fd = -1;

static void sync_begin(void)
{
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		die(strerror(errno));
}

static void sync_once(uint64_t n)
{
	static const char page[PAGE];

	(void)n;
	if (write(fd, page, PAGE) != PAGE || fdatasync(fd))
		die(strerror(errno));
}

/* --------------------------------------------------------------------- SQLite */

static void sqlite_begin(void)
{
	const char *wrong = bare_commit_open(path);

	if (wrong)
		die(wrong);
}

static void sqlite_once(uint64_t n)
{
	const char *wrong = bare_commit(n);

	if (wrong)
		die(wrong);
}

/* ------------------------------------------------------------------------- all */

static const struct {
	const char *name;
	void (*begin)(void);
	void (*once)(uint64_t n);
} kinds[] = {
	{ "fdatasync", sync_begin, sync_once },
	{ "sqlite", sqlite_begin, sqlite_once },
};

int main(int argc, char **argv)
{
	uint64_t end, last, now, n = 0;
	size_t kind = 0;
	double seconds = argc == 4 ? strtod(argv[3], NULL) : 0;

	while (argc == 4 && kind < 2 && strcmp(argv[1], kinds[kind].name) != 0)
		kind++;
	if (argc != 4 || kind == 2 || seconds <= 0)
		die("wants fdatasync|sqlite FOLDER SECONDS");
	(void)snprintf(path, sizeof(path), "%s/bare-%s-%d", argv[2], argv[1], (int)getpid());
	kinds[kind].begin();
	last = clock_now(&clock_monotonic);
	for (end = last + (uint64_t)(seconds * 1e9); last < end; last = now) {
		kinds[kind].once(++n);
		now = clock_now(&clock_monotonic);
		hist_record(&times, now - last);
	}
	printf("{\"requests\":%" PRIu64 ",\"rate\":%.0f,\"p50\":%.4f,\"p99\":%.4f}\n", n, (double)n / seconds,
	       (double)hist_percentile(&times, 50) / 1e6, (double)hist_percentile(&times, 99) / 1e6);
	return 0;
}
