/* SPDX-License-Identifier: Apache-2.0 */
/* Pid files, and that another process of the same pid is not taken for ours. */
#include "cf-plugin/background.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/lib/tap.h"

static char folder[] = "/tmp/mpt-XXXXXX";
static char pid_file[64], log_file[64];

static void test_parse(void)
{
	static const char *const wrong[] = {
		"", "17", "17 5", "17 5 ", "0 5 -", "-17 5 -", "99999999999 5 -", "x 5 -", "17 x -", "17 18446744073709551616 -",
	};
	struct background b;

	is_int(background_parse(MP_LIT("17 5 http://127.0.0.1:9780\n"), &b), 0, "a file");
	ok(b.pid == 17 && b.started == 5 && !strcmp(b.url, "http://127.0.0.1:9780"), "says who and where");
	is_int(background_parse(MP_LIT("17 5 -"), &b), 0, "one that does not serve yet");
	is_str(b.url, "", "says so");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		is_int(background_parse(slice_of(wrong[i]), &b), -EINVAL, "no file: \"%s\"", wrong[i]);
}

/* A program of a few words. */
static int start(const char *script, uint64_t wait_ms, struct background *ret, char line[64], struct err *err)
{
	char words[4][256] = { "sh", "-c", "", "READY" };
	char *argv[] = { words[0], words[1], words[2], words[3], NULL };
	struct background_start what = { .program = "sh", .argv = argv, .log = log_file, .pid_file = pid_file,
					 .wait_ms = wait_ms };

	(void)snprintf(words[2], sizeof(words[2]), "%s", script);
	return background_start(&what, ret, line, 64, err);
}

static void test_life(void)
{
	struct background b, found;
	struct err err = { 0 };
	char line[64] = "";

	is_int(background_find(pid_file, &found, &err), -ENOENT, "nothing runs");
	if (!is_int(start("echo here >&3; exec sleep 1000", 20000, &b, line, &err), 0, "starts %s", err.text))
		return;
	is_str(line, "here", "and says so");
	is_int(background_find(pid_file, &found, &err), 0, "is found %s", err.text);
	ok(found.pid == b.pid && found.started == b.started, "by pid and start time");
	found.started++;
	is_int(background_write(pid_file, &found, &err), 0, "a file of an older process");
	is_int(background_find(pid_file, &found, &err), -ENOENT, "is not taken for it");
	is_int(background_stop(&found, 1000, true, &err), -ESRCH, "nor is that stopped");
	is_int(background_stop(&b, 20000, false, &err), 0, "is stopped %s", err.text);
	is_int(background_stop(&b, 1000, false, &err), -ESRCH, "once");
}

/* Two are started at once: the file is that one's who stays. */
static void test_two(void)
{
	struct background b, other, found;
	char line[64] = "", script[200];
	struct err err = { 0 };

	if (!is_int(start("echo here >&3; exec sleep 1000", 20000, &b, line, &err), 0, "one starts %s", err.text))
		return;
	/* As soon as the file is the other's the first one writes it. */
	(void)snprintf(script, sizeof(script), "until read p x <%s && [ $p = $$ ]; do :; done; echo %d %" PRIu64 " - >%s; exit 3",
		       pid_file, (int)b.pid, b.started, pid_file);
	is_int(start(script, 20000, &other, line, &err), -ECHILD, "the other ends");
	is_int(background_find(pid_file, &found, &err), 0, "the file is left");
	is_int(found.pid, b.pid, "and names the first");
	is_int(background_stop(&b, 20000, false, &err), 0, "which is stopped %s", err.text);
}

static void test_failures(void)
{
	struct background b;
	struct err err = { 0 };
	char line[64] = "";

	is_int(start("echo no way >&2; exit 3", 20000, &b, line, &err), -ECHILD, "one that ends");
	ok(strstr(err.text, "no way") != NULL, "with its last words: %s", err.text);
	ok(access(pid_file, F_OK) < 0, "and no file is left");
	is_int(start("exec sleep 1000", 50, &b, line, &err), -ETIMEDOUT, "one that does not serve: %s", err.text);
	is_int(start("trap '' TERM; echo here >&3; exec sleep 1000", 20000, &b, line, &err), 0,
	       "one that does not listen");
	is_int(background_stop(&b, 50, false, &err), -ETIMEDOUT, "is not stopped: %s", err.text);
	is_int(background_stop(&b, 50, true, &err), 0, "but by force %s", err.text);
}

int main(void)
{
	if (!mkdtemp(folder))
		return 1;
	(void)snprintf(pid_file, sizeof(pid_file), "%s/pid", folder);
	(void)snprintf(log_file, sizeof(log_file), "%s/log", folder);
	test_parse();
	test_life();
	test_two();
	test_failures();
	(void)unlink(pid_file);
	(void)unlink(log_file);
	(void)rmdir(folder);
	return done();
}
