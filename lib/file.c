/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and replacing whole files.
 *
 * Called at start, by helper threads and by tools: it blocks.
 */
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define READ_STEP ((size_t)16384)
#define NEW_MODE 0600

/* Up to a step, and one byte over the bound to notice a longer file. */
static ssize_t read_step(int fd, struct buf *buf)
{
	size_t room = buf->max - buf->len;
	size_t want = room < READ_STEP ? room : READ_STEP;
	char *at, extra;
	ssize_t n;

	if (!want) {
		n = read(fd, &extra, 1);
		return n > 0 ? -E2BIG : n < 0 ? -errno : 0;
	}
	at = buf_reserve(buf, want);
	if (!at)
		return buf->error;
	n = read(fd, at, want);
	if (n < 0)
		return -errno;
	buf_commit(buf, (size_t)n);
	return n;
}

int file_read(const char *path, size_t max, struct buf *ret_buf, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n;

	buf_init(ret_buf, max);
	if (fd < 0)
		return err_sys(err, errno, path);
	do
		n = read_step(fd, ret_buf);
	while (n > 0 || n == -EINTR);
	if (!n)
		return 0;
	buf_fini(ret_buf);
	if (n == -E2BIG)
		return err_set(err, -E2BIG, "%s: longer than %zu bytes", path, max);
	return err_sys(err, (int)n, path);
}

static int write_all(int fd, struct mp_str data)
{
	while (data.len) {
		ssize_t n = write(fd, data.ptr, data.len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data.ptr += n;
			data.len -= (size_t)n;
		}
	}
	return 0;
}

static mode_t mode_for(const char *path)
{
	struct stat st;

	return stat(path, &st) ? NEW_MODE : st.st_mode & 07777;
}

/*
 * Content and mode are on the disk before the name is: else a crash between
 * could leave an empty file under the right name.
 */
static int fill(int fd, const char *path, struct mp_str data)
{
	int rc = write_all(fd, data);

	if (rc)
		return rc;
	if (fchmod(fd, mode_for(path)) || fsync(fd))
		return -errno;
	return 0;
}

/* Makes the rename itself durable. */
static int sync_folder(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) + 1 : 0;
	CLEANUP_CLOSE int fd = -1;

	memcpy(folder, path, len); /* path + ".XXXXXX" fitted into PATH_MAX */
	memcpy(folder + len, ".", sizeof("."));
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) ? -EIO : 0;
}

int file_write_atomic(const char *path, struct mp_str data, struct err *err)
{
	char temp[PATH_MAX];
	CLEANUP_CLOSE int fd = -1;
	int len = snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
	int rc;

	if (len < 0 || (size_t)len >= sizeof(temp))
		return err_sys(err, ENAMETOOLONG, path);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, path);
	rc = fill(fd, path, data);
	if (!rc && rename(temp, path))
		rc = -errno;
	if (rc) {
		(void)unlink(temp); /* the first failure is the one to tell */
		return err_sys(err, rc, path);
	}
	rc = sync_folder(path);
	return rc ? err_sys(err, rc, path) : 0;
}
