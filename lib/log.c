/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines: format on the stack, one write(2), no state but two settings
 * that log_open() makes before threads start.
 *
 * Called by programs.  It must not fail, block on a lock or change errno.
 */
#include "lib/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/clock.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static const char *log_program = "?";
static int log_level = LOG_LEVEL_INFO;

/* A line being written; text past the end is dropped and marked. */
struct line {
	char text[LOG_LINE_MAX]; /* not terminated */
	size_t len;              /* bytes so far, below LOG_LINE_MAX */
	bool cut;                /* something did not fit */
};

static int level_from_env(void)
{
	const char *name = getenv("MIDDLEPIPE_LOG");
	int level = name ? log_level_parse(name) : -EINVAL;

	return level == -EINVAL ? LOG_LEVEL_INFO : level;
}

void log_open(const char *program, int level)
{
	log_program = program;
	log_level = level == LOG_LEVEL_DEFAULT ? level_from_env() : level;
}

int log_level_parse(const char *name)
{
	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
		if (!strcmp(name, level_names[i]))
			return i;
	}
	return strcmp(name, "off") ? -EINVAL : LOG_LEVEL_OFF;
}

bool log_enabled(int level)
{
	return level <= log_level;
}

__attribute__((format(printf, 2, 0))) static void
line_vadd(struct line *line, const char *fmt, va_list args)
{
	size_t room = sizeof(line->text) - line->len;
	int n = vsnprintf(line->text + line->len, room, fmt, args);

	if (n < 0)
		return;
	if ((size_t)n >= room) {
		line->cut = true;
		n = (int)room - 1;
	}
	line->len += (size_t)n;
}

__attribute__((format(printf, 2, 3))) static void
line_add(struct line *line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	line_vadd(line, fmt, args);
	va_end(args);
}

/* Whatever the values held, a line stays one line. */
static void line_finish(struct line *line)
{
	for (size_t i = 0; i < line->len; i++) {
		if ((unsigned char)line->text[i] < ' ' || line->text[i] == 0x7f)
			line->text[i] = '?';
	}
	if (line->cut)
		memcpy(line->text + line->len - 3, "...", 3);
	line->text[line->len++] = '\n';
}

__attribute__((format(printf, 3, 0))) static void
log_line(int level, const char *event, const char *fmt, va_list args)
{
	char when[CLOCK_WALL_SIZE];
	struct line line = {.len = 0};
	int saved = errno;

	line_add(&line, "ts=%s level=%s prog=%s event=\"%s\"%s",
		 clock_wall_format(clock_wall_now(), when), level_names[level],
		 log_program, event, fmt[0] ? " " : "");
	line_vadd(&line, fmt, args);
	line_finish(&line);
	if (write(STDERR_FILENO, line.text, line.len) < 0) {
		/* Nobody is left to tell when standard error is gone. */
	}
	errno = saved;
}

/* The public functions differ in the level only. */
#define LOG_FUNCTION(name, level)                      \
	void name(const char *event, const char *fmt, ...) \
	{                                              \
		va_list args;                          \
                                                       \
		if (!log_enabled(level))               \
			return;                        \
		va_start(args, fmt);                   \
		log_line(level, event, fmt, args);     \
		va_end(args);                          \
	}

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

static bool is_plain(struct mp_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~' || strchr("\"=\\", s.ptr[i]))
			return false;
	}
	return s.len > 0 && s.len < LOG_STR_SIZE;
}

const char *log_quote(char out[LOG_STR_SIZE], struct mp_str s)
{
	if (!is_plain(s))
		return slice_quote(out, LOG_STR_SIZE, s);
	memcpy(out, s.ptr, s.len);
	out[s.len] = '\0';
	return out;
}
