/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See runtime_dir.h.  Called by cmd_run.c and control.c.
 */
#include "cf-plugin/runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/slice.h"

#define LOCK_NAME "lock"
#define NAME_ROOM (RUNTIME_APP_MAX + sizeof("/-2147483647/scheduler.sock"))

/* Where the folders of runs may be, the best first; false at the end. */
static bool base_at(int i, char *out, size_t size)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	/* A folder too deep for a socket's path is of no use. */
	if (i == 0 && (!xdg || xdg[0] != '/' ||
		       strlen(xdg) + sizeof("/middlepipe") + NAME_ROOM > RUNTIME_PATH_MAX))
		out[0] = '\0';
	else if (i == 0)
		(void)snprintf(out, size, "%s/middlepipe", xdg);
	else if (i == 1)
		(void)snprintf(out, size, "/tmp/middlepipe-%u", (unsigned)geteuid());
	return i < 2;
}

/* Ours alone: a folder that nobody else may write to. */
static int check_private(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, path);
	if (st.st_uid != geteuid())
		return err_set(err, -EPERM, "%s belongs to another user", path);
	if (st.st_mode & 077)
		return err_set(err, -EPERM, "%s is open to others (mode %o); chmod 700 it", path,
			       (unsigned)st.st_mode & 07777);
	return 0;
}

static int open_base(const char *path, bool make, int *ret_fd, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	int rc;

	if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, path);
	rc = check_private(fd, path, err);
	if (!rc)
		*ret_fd = steal_fd(&fd);
	return rc;
}

int runtime_dir_name(const char *name, char ret_app[RUNTIME_APP_MAX + 1], int *ret_pid)
{
	const char *dash = strrchr(name, '-');
	size_t len = dash ? (size_t)(dash - name) : 0;
	uint64_t pid;

	if (!len || len > RUNTIME_APP_MAX || slice_to_u64(slice_of(dash + 1), &pid) || !pid ||
	    pid > INT_MAX)
		return -EINVAL;
	memcpy(ret_app, name, len);
	ret_app[len] = '\0';
	*ret_pid = (int)pid;
	return 0;
}

static DIR *read_folder(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = copy < 0 ? NULL : fdopendir(copy);

	if (!folder && copy >= 0)
		close(copy);
	return folder;
}

/*
 * Removes a folder of a run with what is in it: sockets and files, also a half
 * of a state file.  Nobody makes folders there; one would stay, and its parent.
 */
static void remove_at(int base, const char *name, int dir)
{
	DIR *folder = read_folder(dir);
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		(void)unlinkat(dir, entry->d_name, 0); /* fails for "." and ".." */
	if (folder)
		closedir(folder);
	(void)unlinkat(base, name, AT_REMOVEDIR);
}

/* Removes the folder below base whose lock nobody holds. */
static void remove_dead(int base, const char *name)
{
	CLEANUP_CLOSE int dir = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_CLOSE int lock = -1;

	if (dir < 0)
		return;
	lock = openat(dir, LOCK_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (lock < 0 || !flock(lock, LOCK_EX | LOCK_NB))
		remove_at(base, name, dir);
}

static void sweep(int base)
{
	DIR *folder = read_folder(base);
	char app[RUNTIME_APP_MAX + 1];
	struct dirent *entry;
	int pid;

	while (folder && (entry = readdir(folder))) {
		if (!runtime_dir_name(entry->d_name, app, &pid))
			remove_dead(base, entry->d_name);
	}
	if (folder)
		closedir(folder);
}

static void set_paths(struct runtime_dir *dir, const char *base, const char *name)
{
	char path[RUNTIME_PATH_MAX];

	/* base_at() made sure that all fit. */
	(void)snprintf(path, sizeof(path), "%s/%s", base, name);
	(void)snprintf(dir->scheduler, RUNTIME_PATH_MAX, "%.80s/scheduler.sock", path);
	(void)snprintf(dir->control, RUNTIME_PATH_MAX, "%.80s/control.sock", path);
	(void)snprintf(dir->state, RUNTIME_PATH_MAX, "%.80s/state", path);
	(void)snprintf(dir->hooks, RUNTIME_PATH_MAX, "%.80s/hooks", path);
	memcpy(dir->path, path, sizeof(path));
}

/* With the base's lock held, so that a sweep does not meet a half-made folder. */
static int make_below(int base, const char *path, const char *app, struct runtime_dir *ret,
		      struct err *err)
{
	char name[NAME_ROOM], lock[NAME_ROOM + sizeof(LOCK_NAME)];

	(void)snprintf(name, sizeof(name), "%.*s-%d", RUNTIME_APP_MAX, app, (int)getpid());
	(void)snprintf(lock, sizeof(lock), "%s/%s", name, LOCK_NAME);
	set_paths(ret, path, name);
	/* This pid may have had a folder before; its lock is free, so it is gone by now. */
	if (mkdirat(base, name, 0700) < 0) {
		int rc = err_sys(err, errno, ret->path);

		ret->path[0] = '\0';
		return rc;
	}
	ret->lock_fd = openat(base, lock, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (ret->lock_fd < 0 || flock(ret->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int rc = err_sys(err, errno, ret->path);

		runtime_dir_remove(ret);
		return rc;
	}
	return 0;
}

int runtime_dir_make(const char *app, struct runtime_dir *ret, struct err *err)
{
	char path[RUNTIME_PATH_MAX];
	int rc = -ENOENT;

	*ret = (struct runtime_dir){ .lock_fd = -1 };
	for (int i = 0; rc && base_at(i, path, sizeof(path)); i++) {
		CLEANUP_CLOSE int base = -1;

		if (!path[0])
			continue;
		rc = open_base(path, true, &base, err);
		if (rc)
			continue;
		if (flock(base, LOCK_EX) < 0)
			return err_sys(err, errno, path);
		sweep(base);
		rc = make_below(base, path, app, ret, err);
	}
	return rc;
}

void runtime_dir_remove(struct runtime_dir *dir)
{
	CLEANUP_CLOSE int fd = -1;

	if (!dir->path[0])
		return;
	fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		remove_at(AT_FDCWD, dir->path, fd);
	if (dir->lock_fd >= 0)
		close(dir->lock_fd);
	dir->lock_fd = -1;
	dir->path[0] = '\0';
}

/* -------------------------------------------------------------------- search */

static bool answers(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return false;
	memcpy(address.sun_path, path, strlen(path) + 1);
	/* A full backlog (EAGAIN) is a sign of life, too. */
	return !connect(fd, (struct sockaddr *)&address, sizeof(address)) || errno == EAGAIN;
}

static void list_one(const char *base, const char *name, const char *app,
		     struct runtime_list *list)
{
	struct runtime_run *run = &list->run[list->n];
	struct runtime_dir dir;

	if (list->n == RUNTIME_LIST_MAX || runtime_dir_name(name, run->app, &run->pid))
		return;
	if (app && strncmp(app, run->app, RUNTIME_APP_MAX))
		return;
	set_paths(&dir, base, name);
	if (!answers(dir.control))
		return;
	memcpy(run->control, dir.control, RUNTIME_PATH_MAX);
	list->n++;
}

void runtime_dir_list(const char *app, struct runtime_list *ret)
{
	char path[RUNTIME_PATH_MAX];
	struct dirent *entry;

	ret->n = 0;
	for (int i = 0; base_at(i, path, sizeof(path)); i++) {
		CLEANUP_CLOSE int base = -1;
		DIR *folder = NULL;

		if (path[0] && !open_base(path, false, &base, NULL))
			folder = read_folder(base);
		while (folder && (entry = readdir(folder)))
			list_one(path, entry->d_name, app, ret);
		if (folder)
			closedir(folder);
	}
}
