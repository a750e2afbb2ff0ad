/* SPDX-License-Identifier: Apache-2.0 */
/* See proc.h. */
#include "aggregator/etcd/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/slice.h"

#define STAT_SIZE 1024
#define STAT_STARTED 22             /* field of /proc/PID/stat */
#define ARGS_SIZE ((size_t)64 << 10) /* bytes of arguments that are looked at */

/* All of a small file of /proc, NUL-terminated; its size, or -1. */
static ssize_t read_proc(pid_t pid, const char *name, char *out, size_t size)
{
	char path[64];
	CLEANUP_CLOSE int fd = -1;
	size_t len = 0;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while (len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	return (ssize_t)len;
}

bool proc_stat_field(const char *text, unsigned field, uint64_t *ret, char *ret_state)
{
	const char *at = strrchr(text, ')'); /* the name may have blanks and brackets */
	unsigned n = 2;

	if (!at || at[1] != ' ' || !isalpha((unsigned char)at[2]))
		return false;
	*ret_state = at[2];
	at++;
	while (*at && n < field)
		n += *at++ == ' ';
	if (n != field || !isdigit((unsigned char)*at))
		return false;
	*ret = strtoull(at, NULL, 10);
	return true;
}

uint64_t proc_started(pid_t pid)
{
	char text[STAT_SIZE], state = 'X';
	uint64_t started = 0;

	if (pid <= 0 || read_proc(pid, "stat", text, sizeof(text)) < 0 ||
	    !proc_stat_field(text, STAT_STARTED, &started, &state))
		return 0;
	return state == 'Z' || state == 'X' ? 0 : started;
}

bool proc_has_arg(pid_t pid, const char *arg)
{
	char *args = malloc(ARGS_SIZE);
	ssize_t len = args ? read_proc(pid, "cmdline", args, ARGS_SIZE) : -1;
	bool found = false;

	for (const char *at = args; !found && len > 0 && at < args + len; at += strlen(at) + 1)
		found = strcmp(at, arg) == 0;
	free(args);
	return found;
}

static bool is_ours(pid_t pid)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return stat(path, &st) == 0 && st.st_uid == geteuid();
}

pid_t proc_find(const char *arg)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (dir && !found && (entry = readdir(dir))) {
		uint64_t pid;

		if (slice_to_u64(slice_of(entry->d_name), &pid) < 0 || pid > INT32_MAX)
			continue;
		if (is_ours((pid_t)pid) && proc_has_arg((pid_t)pid, arg) && proc_started((pid_t)pid))
			found = (pid_t)pid;
	}
	if (dir)
		(void)closedir(dir); /* it was only read */
	return found;
}
