/* SPDX-License-Identifier: Apache-2.0 */
/* Where data is kept, and that folders are made for this user alone. */
#include "lib/data_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/tap.h"

static void is_found(const char *given, const char *want, const char *name)
{
	struct err err = { 0 };
	struct buf path;

	is_int(data_dir_find(given, &path, &err), want ? 0 : -EINVAL, "%s %s", name, err.text);
	if (want)
		is_str(buf_str(&path), want, "%s", name);
	buf_fini(&path);
}

static void test_find(void)
{
	bool root = geteuid() == 0;
	const char *system = "/var/lib/middlepipe";

	setenv("HOME", "/home/a", 1);
	setenv("XDG_STATE_HOME", "/state", 1);
	is_found("/data/x", "/data/x", "what is said");
	is_found(NULL, root ? system : "/state/middlepipe", "the state folder");
	setenv("XDG_STATE_HOME", "relative", 1);
	is_found("", root ? system : "/home/a/.local/state/middlepipe", "the home folder");
	unsetenv("HOME");
	is_found(NULL, root ? system : NULL, "no home");
}

static void test_make(void)
{
	char folder[] = "/tmp/mpt-XXXXXX", path[64], file[80];
	struct err err = { 0 };
	struct stat st;

	if (!ok(mkdtemp(folder) != NULL, "a folder for the test"))
		return;
	(void)snprintf(path, sizeof(path), "%s/a/b", folder);
	is_int(data_dir_make(path, &err), 0, "is made %s", err.text);
	ok(!stat(path, &st) && S_ISDIR(st.st_mode) && (st.st_mode & 0777) == 0700, "for this user alone");
	is_int(data_dir_make(path, &err), 0, "is there already");
	(void)snprintf(file, sizeof(file), "%s/file", path);
	fclose(fopen(file, "w"));
	(void)snprintf(file, sizeof(file), "%s/file/c", path);
	is_int(data_dir_make(file, &err), -ENOTDIR, "below a file: %s", err.text);
	is_int(data_dir_make("", &err), -EINVAL, "nowhere: %s", err.text);
	(void)snprintf(file, sizeof(file), "%s/file", path);
	(void)unlink(file);
	(void)rmdir(path);
	(void)snprintf(path, sizeof(path), "%s/a", folder);
	(void)rmdir(path);
	(void)rmdir(folder);
}

int main(void)
{
	test_find();
	test_make();
	return done();
}
