/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/log: the line as it leaves, levels, quoting, cutting. */
#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/lib/tap.h"

static char line[8192];
static int ends[2];

/* Standard error is a pipe; gives what was written since, without the time. */
static const char *logged(void)
{
	ssize_t n = read(ends[0], line, sizeof(line) - 1);
	const char *level;

	line[n > 0 ? n : 0] = '\0';
	level = strstr(line, " level=");
	return level ? level + 1 : line;
}

static void test_levels(void)
{
	is_int(log_level_parse("error"), LOG_LEVEL_ERROR, "error");
	is_int(log_level_parse("debug"), LOG_LEVEL_DEBUG, "debug");
	is_int(log_level_parse("off"), LOG_LEVEL_OFF, "off");
	is_int(log_level_parse("loud"), -EINVAL, "no such level");
	setenv("MIDDLEPIPE_LOG", "warn", 1);
	log_open("mp-test", LOG_LEVEL_DEFAULT);
	ok(log_enabled(LOG_LEVEL_WARN) && !log_enabled(LOG_LEVEL_INFO), "from the environment");
	setenv("MIDDLEPIPE_LOG", "loud", 1);
	log_open("mp-test", LOG_LEVEL_DEFAULT);
	ok(log_enabled(LOG_LEVEL_INFO) && !log_enabled(LOG_LEVEL_DEBUG), "else info");
	log_open("mp-test", LOG_LEVEL_OFF);
	log_error("not shown", "%s", "");
	is_str(logged(), "", "off is silent");
}

static void test_lines(void)
{
	log_open("mp-test", LOG_LEVEL_INFO);
	errno = EPERM;
	log_info("lane opened", "lane=%d pid=%d", 3, 17);
	is_int(errno, EPERM, "errno survives");
	is_str(logged(), "level=info prog=mp-test event=\"lane opened\" lane=3 pid=17\n", "a line");
	ok(!strncmp(line, "ts=20", 5) && line[26] == 'Z', "starts with the time");
	log_warn("plain", "%s", "");
	is_str(logged(), "level=warn prog=mp-test event=\"plain\" \n", "an empty tail");
	log_debug("not shown", "x=%d", 1);
	is_str(logged(), "", "below the level");
	log_error("bad\n", "x=%s", "a\nlevel=info\x7f");
	is_str(logged(), "level=error prog=mp-test event=\"bad?\" x=a?level=info?\n", "always one line");
}

static void test_long(void)
{
	char tail[LOG_LINE_MAX * 2];

	memset(tail, 'x', sizeof(tail) - 1);
	tail[sizeof(tail) - 1] = '\0';
	log_info("long", "x=%s", tail);
	logged();
	is_u64(strlen(line), LOG_LINE_MAX, "a long line is cut");
	is_str(line + LOG_LINE_MAX - 4, "...\n", "and marked");
}

static void test_quote(void)
{
	char longer[300];

	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	is_str(LOG_STR("plain-1.2/x"), "plain-1.2/x", "plain");
	is_str(LOG_STR("two words"), "\"two words\"", "a blank");
	is_str(LOG_STR("a=b"), "\"a=b\"", "an equals sign");
	is_str(LOG_STR("say \"x\""), "\"say \\\"x\\\"\"", "quotes");
	is_str(LOG_STR(""), "\"\"", "empty");
	is_str(LOG_STR(NULL), "\"\"", "NULL");
	is_str(LOG_SLICE(slice_make("ab\0c", 4)), "\"ab\\x00c\"", "NUL");
	is_u64(strlen(LOG_STR(longer)), LOG_STR_SIZE - 1, "long");
}

int main(void)
{
	int saved = dup(STDERR_FILENO);

	if (pipe2(ends, O_NONBLOCK) || dup2(ends[1], STDERR_FILENO) < 0)
		return 1;
	test_levels();
	test_lines();
	test_long();
	test_quote();
	dup2(saved, STDERR_FILENO);
	return done();
}
