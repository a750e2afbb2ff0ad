/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of runs: made, refused, found, and swept when their run is dead. */
#include "cf-plugin/runtime_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/tap.h"

static char top[] = "/tmp/mpu-XXXXXX"; /* stands for $XDG_RUNTIME_DIR */

static const char *path_of(const char *name)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s/middlepipe/%s", top, name);
	return path;
}

static bool exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static void test_names(void)
{
	static const struct {
		const char *name; /* of a folder */
		const char *app;  /* NULL: none of ours */
		int pid;
	} rows[] = {
		{ "shop-1", "shop", 1 },        { "my-shop-4711", "my-shop", 4711 },
		{ "shop", NULL, 0 },            { "shop-", NULL, 0 },
		{ "-1", NULL, 0 },              { "shop-0", NULL, 0 },
		{ "shop-1x", NULL, 0 },         { "shop--1", "shop-", 1 },
		{ "shop-2147483648", NULL, 0 }, { "..", NULL, 0 },
		{ "a23456789b23456789c23456789d23456-1", NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char app[RUNTIME_APP_MAX + 1] = "";
		int pid = 0, rc = runtime_dir_name(rows[i].name, app, &pid);

		is_int(rc, rows[i].app ? 0 : -EINVAL, "name %s", rows[i].name);
		is_str(app, rows[i].app ? rows[i].app : "", "its app");
		is_int(pid, rows[i].pid, "its pid");
	}
}

static void test_make(void)
{
	struct runtime_dir dir;
	struct err err = { 0 };
	struct stat st;

	is_int(runtime_dir_make("shop", &dir, &err), 0, "made");
	is_str(err.text, "", "without a word");
	ok(!stat(dir.path, &st) && (st.st_mode & 07777) == 0700, "for us alone");
	ok(!strncmp(dir.control, dir.path, strlen(dir.path)), "with paths in it");
	ok(dir.lock_fd >= 0, "and a lock");
	runtime_dir_remove(&dir);
	ok(!exists(path_of("shop")), "removed");
	is_str(dir.path, "", "and forgotten");
	runtime_dir_remove(&dir);
	ok(true, "twice is harmless");
}

static void test_long_app(void)
{
	struct runtime_dir dir;
	struct err err = { 0 };

	is_int(runtime_dir_make("a123456789b123456789c123456789d123456789e123456789", &dir, &err), 0,
	       "a long name is cut");
	ok(strlen(dir.scheduler) < RUNTIME_PATH_MAX - 1, "so that the path of a socket fits");
	ok(strstr(dir.scheduler, "/scheduler.sock") != NULL, "whole");
	runtime_dir_remove(&dir);
}

static void test_refused(void)
{
	struct runtime_dir dir;
	struct err err = { 0 };
	char base[64];

	(void)snprintf(base, sizeof(base), "%s/middlepipe", top);
	(void)chmod(base, 0770);
	/* The other place may do; this one may not. */
	if (!runtime_dir_make("shop", &dir, &err))
		ok(strncmp(dir.path, base, strlen(base)) != 0, "a folder open to others is not used");
	else
		ok(strstr(err.text, "open to others") != NULL, "a folder open to others is refused");
	runtime_dir_remove(&dir);
	(void)chmod(base, 0700);
}

static void test_sweep(void)
{
	struct runtime_dir live, next;
	struct err err = { 0 };
	char dead[256], foreign[256], file[300];
	FILE *out;

	(void)snprintf(dead, sizeof(dead), "%s", path_of("dead-99"));
	(void)snprintf(foreign, sizeof(foreign), "%s", path_of("notes"));
	(void)mkdir(dead, 0700);
	(void)mkdir(foreign, 0700);
	(void)snprintf(file, sizeof(file), "%s/state.tmp", dead);
	out = fopen(file, "w");
	if (out)
		fclose(out);
	is_int(runtime_dir_make("live", &live, &err), 0, "a run");
	ok(!exists(dead), "removes what a dead one left");
	ok(exists(foreign), "and nothing else");
	/* The same pid again: another name, for the same process. */
	is_int(runtime_dir_make("next", &next, &err), 0, "another run");
	ok(exists(live.path), "leaves a live one alone");
	runtime_dir_remove(&live);
	runtime_dir_remove(&next);
	(void)rmdir(foreign);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(address.sun_path, path, strlen(path) + 1);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		return -1;
	return fd;
}

static void test_list(void)
{
	static struct runtime_list list;
	struct runtime_dir a, b, silent;
	struct err err = { 0 };
	int fd_a, fd_b;

	(void)runtime_dir_make("list-a", &a, &err);
	(void)runtime_dir_make("list-b", &b, &err);
	(void)runtime_dir_make("list-c", &silent, &err);
	fd_a = listen_at(a.control);
	fd_b = listen_at(b.control);
	runtime_dir_list("list-a", &list);
	is_int(list.n, 1, "by app");
	is_str(list.run[0].control, a.control, "its socket");
	is_int(list.run[0].pid, getpid(), "its pid");
	runtime_dir_list(NULL, &list);
	ok(list.n >= 2, "all of them");
	runtime_dir_list("list-c", &list);
	is_int(list.n, 0, "but one that does not answer");
	close(fd_a);
	close(fd_b);
	runtime_dir_remove(&a);
	runtime_dir_remove(&b);
	runtime_dir_remove(&silent);
}

int main(void)
{
	char base[64];

	if (!mkdtemp(top))
		return skip_all("no temporary folder");
	(void)setenv("XDG_RUNTIME_DIR", top, 1);
	test_names();
	test_make();
	test_long_app();
	test_refused();
	test_sweep();
	test_list();
	(void)snprintf(base, sizeof(base), "%s/middlepipe", top);
	(void)rmdir(base);
	is_int(rmdir(top), 0, "nothing is left");
	return done();
}
