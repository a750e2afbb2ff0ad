/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the C programs of the functional tests share: dying, time, and the page
 * of numbers by which a test watches a program while it runs.
 *
 * The page is a file of PROG_NUMBERS words of 64 bits, made by the test and
 * read by it (tests/functional/lib/survive.py); each program says in its head
 * what its words mean.
 */
#ifndef TESTS_FUNCTIONAL_PROG_H
#define TESTS_FUNCTIONAL_PROG_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <middlepipe/client.h>

#include "lib/clock.h"

#define PROG_NUMBERS 64

typedef _Atomic uint64_t prog_number;

__attribute__((noreturn, format(printf, 1, 2))) static inline void prog_die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static inline uint64_t prog_now(void)
{
	return clock_now(&clock_monotonic);
}

static inline void prog_sleep(uint64_t ns)
{
	struct timespec left = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		continue;
}

/* The page of numbers; private memory when no file is named. */
static inline prog_number *prog_numbers(const char *path)
{
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *page = mmap(NULL, PROG_NUMBERS * sizeof(prog_number), PROT_READ | PROT_WRITE,
			  MAP_SHARED | (path ? 0 : MAP_ANONYMOUS), fd, 0);

	if ((path && fd < 0) || page == MAP_FAILED)
		prog_die("%s: %s", path ? path : "mmap", strerror(errno));
	if (fd >= 0)
		(void)close(fd); /* the mapping stays */
	return page;
}

static inline struct mp_str prog_str(const char *text)
{
	return (struct mp_str){ text, strlen(text) };
}

#endif
