/* SPDX-License-Identifier: Apache-2.0 */
/* See data_dir.h. */
#include "lib/data_dir.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/slice.h"

#define PATH_BYTES_MAX 4000 /* leaves room for the names of files in it */

int data_dir_find(const char *given, struct buf *ret, struct err *err)
{
	const char *home = getenv("HOME"), *state = getenv("XDG_STATE_HOME");

	buf_init(ret, PATH_BYTES_MAX);
	if (given && given[0])
		(void)buf_add_str(ret, given);
	else if (geteuid() == 0)
		(void)buf_add_str(ret, "/var/lib/middlepipe");
	else if (state && state[0] == '/')
		(void)buf_printf(ret, "%s/middlepipe", state);
	else if (home && home[0] == '/')
		(void)buf_printf(ret, "%s/.local/state/middlepipe", home);
	else
		return err_set(err, -EINVAL, "no HOME to keep data in: say --data DIR");
	return ret->error ? err_set(err, ret->error, "the data directory's name is too long") : 0;
}

/* Makes the directory and those above it; the path is cut and mended meanwhile. */
static int make_all(char *path, struct err *err)
{
	for (char *at = path + 1;; at++) {
		char end = *at;

		if (end && end != '/')
			continue;
		*at = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return err_sys(err, errno, path);
		*at = end;
		if (!end)
			return 0;
	}
}

int data_dir_make(const char *path, struct err *err)
{
	char *copy = slice_dup(slice_of(path));
	int r;

	if (copy && copy[0])
		r = make_all(copy, err);
	else
		r = err_set(err, copy ? -EINVAL : -ENOMEM, "no data directory can be made of \"%s\"", path);
	free(copy);
	return r;
}
