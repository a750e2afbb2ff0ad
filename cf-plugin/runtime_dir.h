/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private folder of one `middlepipe run`, and finding those of others.
 *
 *   $XDG_RUNTIME_DIR/middlepipe/ or /tmp/middlepipe-UID/     mode 0700, ours
 *     APP-PID/  scheduler.sock control.sock state lock hooks
 *
 * `lock` is held (flock) as long as the run lives; what a killed run left is
 * removed by the next one.  Nothing is ever made in, or removed from, a folder
 * that somebody else could write to.
 */
#ifndef CF_PLUGIN_RUNTIME_DIR_H
#define CF_PLUGIN_RUNTIME_DIR_H

#include "lib/err.h"

#define RUNTIME_PATH_MAX 108 /* bytes of a socket's path with its NUL, unix(7) */
#define RUNTIME_LIST_MAX 64  /* folders that a search looks at */
#define RUNTIME_APP_MAX 32   /* bytes of the app in a folder's name */

struct runtime_dir {
	char path[RUNTIME_PATH_MAX];      /* the folder; "" when there is none */
	char scheduler[RUNTIME_PATH_MAX]; /* the socket for apps */
	char control[RUNTIME_PATH_MAX];   /* the socket of the control API */
	char state[RUNTIME_PATH_MAX];     /* the scheduler's state file */
	char hooks[RUNTIME_PATH_MAX];     /* a link to the hooks, where one is needed */
	int lock_fd;                      /* held, closed on exec; -1: none */
};

/* A run whose control socket answers. */
struct runtime_run {
	char control[RUNTIME_PATH_MAX]; /* path of the socket */
	char app[RUNTIME_APP_MAX + 1];  /* whose */
	int pid;                        /* of `middlepipe run` */
};

struct runtime_list {
	struct runtime_run run[RUNTIME_LIST_MAX]; /* in no order */
	int n;                                    /* how many */
};

/* Makes a folder for a run of this process and takes its lock.  0 or -errno. */
int runtime_dir_make(const char *app, struct runtime_dir *ret, struct err *err);

/* Removes the folder with what is in it; harmless when there is none. */
void runtime_dir_remove(struct runtime_dir *dir);

/* Runs of this user, of one app when `app` is not NULL. */
void runtime_dir_list(const char *app, struct runtime_list *ret);

/* "shop-4711": 0 and its parts, or -EINVAL. */
int runtime_dir_name(const char *name, char ret_app[RUNTIME_APP_MAX + 1], int *ret_pid);

#endif
