/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a long command is: one line on standard error that is written over
 * and over, when that is a terminal; nothing otherwise.
 */
#ifndef CF_PLUGIN_PROGRESS_H
#define CF_PLUGIN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool shown;       /* standard error is a terminal */
	bool dirty;       /* there is a line to be wiped off */
	uint64_t next_ns; /* no other line before */
};

void progress_init(struct progress *progress);

/* Shows a line, a few times a second at most. */
void progress_say(struct progress *progress, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Wipes it off; before anything else is printed. */
void progress_end(struct progress *progress);

#endif
