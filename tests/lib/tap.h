/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test harness: prints TAP for prove(1), one binary per unit.
 *
 *	int main(void)
 *	{
 *		is_int(add(1, 2), 3, "adds");
 *		return done();
 *	}
 *
 * A failed check does not stop the test; each returns whether it held, for
 * the cases where going on makes no sense.  One thread only: other threads
 * hand their findings over.  The condition comes first, then what was wanted,
 * then the name of the check, a printf format.
 */
#ifndef TESTS_LIB_TAP_H
#define TESTS_LIB_TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_int(got, want, ...) \
	tap_int((got), (want), __FILE__, __LINE__, __VA_ARGS__)
#define is_u64(got, want, ...) \
	tap_u64((got), (want), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, want, ...) \
	tap_str((got), (want), __FILE__, __LINE__, __VA_ARGS__)

static int tap_count, tap_failed;

/* A line for people; never counted. */
__attribute__((format(printf, 1, 2))) static inline void note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("# ", stdout);
	vprintf(fmt, args);
	putchar('\n');
	va_end(args);
}

__attribute__((format(printf, 4, 0))) static inline bool
tap_line(bool good, const char *file, int line, const char *fmt, va_list args)
{
	printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	vprintf(fmt, args);
	putchar('\n');
	if (!good) {
		tap_failed++;
		note("failed at %s:%d", file, line);
	}
	fflush(stdout);
	return good;
}

/* Calls tap_line() with the caller's variadic arguments. */
#define TAP_LINE(good)                                       \
	va_list args;                                        \
	va_start(args, fmt);                                 \
	bool held = tap_line((good), file, line, fmt, args); \
	va_end(args)

__attribute__((format(printf, 4, 5))) static inline bool
tap_ok(bool good, const char *file, int line, const char *fmt, ...)
{
	TAP_LINE(good);
	return held;
}

__attribute__((format(printf, 5, 6))) static inline bool
tap_int(int64_t got, int64_t want, const char *file, int line, const char *fmt, ...)
{
	TAP_LINE(got == want);
	if (!held)
		note("got %" PRId64 ", want %" PRId64, got, want);
	return held;
}

__attribute__((format(printf, 5, 6))) static inline bool
tap_u64(uint64_t got, uint64_t want, const char *file, int line, const char *fmt, ...)
{
	TAP_LINE(got == want);
	if (!held)
		note("got %" PRIu64 ", want %" PRIu64, got, want);
	return held;
}

/* NULL equals NULL only. */
__attribute__((format(printf, 5, 6))) static inline bool
tap_str(const char *got, const char *want, const char *file, int line,
	const char *fmt, ...)
{
	TAP_LINE(got && want ? !strcmp(got, want) : got == want);
	if (!held)
		note("got \"%s\", want \"%s\"", got ? got : "(null)",
		     want ? want : "(null)");
	return held;
}

/* For a test that cannot run here: return skip_all("needs root"). */
static inline int skip_all(const char *reason)
{
	printf("1..0 # SKIP %s\n", reason);
	return 0;
}

/* The plan and main()'s result. */
static inline int done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed || !tap_count ? 1 : 0;
}

#endif
