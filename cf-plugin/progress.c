/* SPDX-License-Identifier: Apache-2.0 */
/* See progress.h. */
#include "cf-plugin/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/clock.h"

#define EVERY_NS (NS_PER_S / 5)
#define WIPE "\r\033[K" /* the terminal: to the start, erase the line */

void progress_init(struct progress *progress)
{
	*progress = (struct progress){ .shown = isatty(STDERR_FILENO) };
}

void progress_say(struct progress *progress, const char *fmt, ...)
{
	uint64_t now = progress->shown ? clock_now(&clock_monotonic) : 0;
	va_list args;

	if (!progress->shown || now < progress->next_ns)
		return;
	progress->next_ns = now + EVERY_NS;
	progress->dirty = true;
	fputs(WIPE, stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fflush(stderr);
}

void progress_end(struct progress *progress)
{
	if (!progress->dirty)
		return;
	progress->dirty = false;
	progress->next_ns = 0; /* what comes next is shown at once */
	fputs(WIPE, stderr);
	fflush(stderr);
}
