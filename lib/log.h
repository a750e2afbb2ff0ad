/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log lines on standard error, one event a line:
 *
 *	ts=2026-11-21T10:00:00.123Z level=info prog=mp-scheduler
 *	    event="lane opened" lane=3 pid=17          (on one line)
 *
 * Programs call it.  Library code stays at debug, and nobody logs what it
 * also returns: one line a failure.  A line is formatted on the stack and
 * leaves by one write(2), so lines of several threads and processes do not
 * mix.  It never allocates, never blocks on a lock and never exits.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stdbool.h>

#include "lib/slice.h"

enum log_level {
	LOG_LEVEL_OFF = -1,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* Longest line in bytes, newline included; a longer one ends in "...". */
#define LOG_LINE_MAX 2048

/* Bytes of a LOG_STR(), its quotes, escapes and NUL included. */
#define LOG_STR_SIZE 128

/* The level that means "whatever the environment says". */
#define LOG_LEVEL_DEFAULT (-2)

/*
 * Names the program and sets the level.  Call it once, before threads start.
 * program: borrowed for ever (a literal).  level: enum log_level, or
 * LOG_LEVEL_DEFAULT for $MIDDLEPIPE_LOG, which is info when unset or wrong.
 */
void log_open(const char *program, int level);

/* "error", "warn", "info", "debug", "off": the level, or -EINVAL. */
int log_level_parse(const char *name);

/* True when a line of this level would be written: ask before costly work. */
bool log_enabled(int level);

/*
 * One line.  event: a short constant phrase in the past tense, without
 * numbers, so that lines group.  fmt: the rest as key=value pairs separated
 * by blanks, or "".  Quote foreign text by LOG_STR().  Any thread.
 */
void log_error(const char *event, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void log_warn(const char *event, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void log_info(const char *event, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void log_debug(const char *event, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * A value that a reader of key=value lines cannot misread: as it is when it
 * is plain, else as slice_quote() writes it, cut to LOG_STR_SIZE.  The text is
 * in a buffer of the enclosing block:
 *
 *	log_info("pipe attached", "name=%s", LOG_STR(name));
 */
#define LOG_STR(str) LOG_SLICE(slice_of(str))

/* LOG_STR() of a slice. */
#define LOG_SLICE(s) log_quote((char[LOG_STR_SIZE]){0}, s)

/* Behind LOG_STR().  Returns out, NUL-terminated. */
const char *log_quote(char out[LOG_STR_SIZE], struct mp_str s);

#endif
