/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/file: bounds, replacing, failures that leave nothing. */
#include "lib/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static char folder[] = "/tmp/test_file.XXXXXX";

static const char *in_folder(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static int files(void)
{
	DIR *dir = opendir(folder);
	int count = -2; /* "." and ".." */

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static void test_round_trip(void)
{
	const char *path = in_folder("state");
	struct err err = {0};
	struct stat st = {0};
	struct buf buf;
	char data[40000];

	memset(data, 'd', sizeof(data));
	is_int(file_write_atomic(path, MP_LIT("one"), &err), 0, "a new file");
	stat(path, &st);
	is_int(st.st_mode & 07777, 0600, "is private");
	chmod(path, 0640);
	is_int(file_write_atomic(path, slice_make(data, sizeof(data)), &err), 0, "replaced");
	stat(path, &st);
	is_int(st.st_mode & 07777, 0640, "keeps its mode");
	is_int(file_read(path, sizeof(data), &buf, &err), 0, "read");
	ok(slice_eq(buf_slice(&buf), slice_make(data, sizeof(data))), "same bytes");
	buf_fini(&buf);
	is_int(file_read(path, sizeof(data) - 1, &buf, &err), -E2BIG, "over the bound");
	ok(strstr(err.text, "/state: longer than 39999 bytes") != NULL, "is named: %s", err.text);
	is_int(file_write_atomic(path, MP_LIT(""), &err), 0, "emptied");
	is_int(file_read(path, 0, &buf, &err), 0, "read nothing");
	is_u64(buf.len, 0, "nothing is there");
	buf_fini(&buf);
	is_int(files(), 1, "no temporary file is left");
	unlink(path);
}

static void test_failures(void)
{
	char longer[5000];
	struct err err = {0};
	struct buf buf;

	is_int(file_read(in_folder("none"), 10, &buf, &err), -ENOENT, "no such file");
	ok(strstr(err.text, "/none: No such file") != NULL, "is named");
	is_int(file_read(folder, 10, &buf, &err), -EISDIR, "a folder");
	is_int(file_write_atomic(in_folder("no/file"), MP_LIT("x"), &err), -ENOENT, "no folder");
	mkdir(in_folder("sub"), 0700);
	is_int(file_write_atomic(in_folder("sub"), MP_LIT("x"), &err), -EISDIR, "over a folder");
	is_int(files(), 1, "no temporary file is left");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	is_int(file_write_atomic(longer, MP_LIT("x"), &err), -ENAMETOOLONG, "a long name");
	rmdir(in_folder("sub"));
}

int main(void)
{
	if (!mkdtemp(folder))
		return 1;
	test_round_trip();
	test_failures();
	is_int(rmdir(folder), 0, "the folder is empty");
	return done();
}
