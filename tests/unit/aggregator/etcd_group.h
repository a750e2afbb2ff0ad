/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group of real etcd members for unit tests: free ports on the loopback, a
 * folder of its own, ended by pid.  (Functional tests: tests/functional/lib/etcd.py.)
 */
#ifndef TESTS_UNIT_AGGREGATOR_ETCD_GROUP_H
#define TESTS_UNIT_AGGREGATOR_ETCD_GROUP_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/http_client.h"
#include "lib/slice.h"

#define ETCD_GROUP_MAX 5
#define ETCD_GROUP_OPTIONS 12

struct etcd_group {
	size_t n;                        /* members */
	char folder[64];                 /* theirs */
	int client[ETCD_GROUP_MAX];      /* ports */
	int peer[ETCD_GROUP_MAX];
	char url[ETCD_GROUP_MAX][64];    /* of the clients */
	const char *urls[ETCD_GROUP_MAX]; /* the same */
	pid_t pid[ETCD_GROUP_MAX];       /* 0: not running */
	char token[32];                  /* of the cluster */
	const char *scheme;              /* "http" or "https" of the clients */
	const char *const *extra;        /* more options for all, NULL behind the last; or NULL */
};

/* A port that is free, in *ret (0: none), and taken until the descriptor that is returned is closed. */
static inline int etcd_group_port(int *ret)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret = 0;
	if (fd >= 0 && !bind(fd, (struct sockaddr *)&address, size) &&
	    !getsockname(fd, (struct sockaddr *)&address, &size))
		*ret = ntohs(address.sin_port);
	return fd;
}

/* All are held until the last is found: no two are the same. */
static inline void etcd_group_ports(struct etcd_group *g)
{
	int held[2 * ETCD_GROUP_MAX];
	size_t n = 0;

	for (size_t i = 0; i < g->n; i++) {
		held[n++] = etcd_group_port(&g->client[i]);
		held[n++] = etcd_group_port(&g->peer[i]);
	}
	while (n--)
		if (held[n] >= 0)
			close(held[n]);
}

/* In the child. */
static inline void etcd_group_exec(const struct etcd_group *g, size_t i)
{
	char name[8], folder[96], peer[64], cluster[400] = "";
	const char *args[24 + ETCD_GROUP_OPTIONS];
	size_t n = 0;
	int log;

	for (size_t k = 0; k < g->n; k++)
		(void)snprintf(cluster + strlen(cluster), sizeof(cluster) - strlen(cluster), "%sm%zu=http://127.0.0.1:%d",
			       k ? "," : "", k, g->peer[k]);
	(void)snprintf(name, sizeof(name), "m%zu", i);
	(void)snprintf(peer, sizeof(peer), "http://127.0.0.1:%d", g->peer[i]);
	(void)snprintf(folder, sizeof(folder), "%s/m%zu.log", g->folder, i);
	log = open(folder, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	(void)dup2(log, 1);
	(void)dup2(log, 2);
	(void)snprintf(folder, sizeof(folder), "%s/m%zu", g->folder, i);
	for (const char *const *arg = (const char *const[]){ "etcd", "--name", name, "--data-dir", folder,
							      "--listen-client-urls", g->url[i], "--advertise-client-urls",
							      g->url[i], "--listen-peer-urls", peer,
							      "--initial-advertise-peer-urls", peer, "--initial-cluster",
							      cluster, "--initial-cluster-token", g->token, "--pre-vote=true",
							      "--heartbeat-interval=50", "--election-timeout=500", NULL };
	     *arg; arg++)
		args[n++] = *arg;
	for (const char *const *arg = g->extra; arg && *arg && n + 1 < sizeof(args) / sizeof(args[0]); arg++)
		args[n++] = *arg;
	args[n] = NULL;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is killed leaves none behind */
	(void)execvp("etcd", (char *const *)(uintptr_t)args);
	_exit(127);
}

static inline void etcd_group_start(struct etcd_group *g, size_t i)
{
	fflush(stdout);
	g->pid[i] = fork();
	if (!g->pid[i])
		etcd_group_exec(g, i);
}

static inline void etcd_group_kill(struct etcd_group *g, size_t i, int signal_number)
{
	siginfo_t stopped;

	if (g->pid[i] <= 0)
		return;
	kill(g->pid[i], signal_number);
	if (signal_number == SIGCONT)
		return;
	if (signal_number == SIGSTOP) {
		(void)waitid(P_PID, (id_t)g->pid[i], &stopped, WSTOPPED); /* until then some of its threads go on */
		return;
	}
	waitpid(g->pid[i], NULL, 0);
	g->pid[i] = 0;
}

/* True when /bin/sh ends with 0. */
static inline bool etcd_group_run(const char *command)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		(void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* Ports, folder and names, nothing runs yet.  False: there is no etcd here. */
static inline bool etcd_group_prepare(struct etcd_group *g, size_t n, const char *scheme, const char *const *extra)
{
	if (!etcd_group_run("command -v etcd >/dev/null 2>&1"))
		return false;
	*g = (struct etcd_group){ .n = n, .scheme = scheme, .extra = extra };
	(void)snprintf(g->folder, sizeof(g->folder), "/tmp/test_etcd.XXXXXX");
	if (!mkdtemp(g->folder))
		return false;
	(void)snprintf(g->token, sizeof(g->token), "%s", g->folder + 10);
	etcd_group_ports(g);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(g->url[i], sizeof(g->url[i]), "%s://127.0.0.1:%d", g->scheme, g->client[i]);
		g->urls[i] = g->url[i];
	}
	return true;
}

/* The same, and started. */
static inline bool etcd_group_open(struct etcd_group *g, size_t n, const char *const *extra)
{
	if (!etcd_group_prepare(g, n, "http", extra))
		return false;
	for (size_t i = 0; i < n; i++)
		etcd_group_start(g, i);
	return true;
}

/* A request beside the engine.  HTTP's status, 0 when nobody answers; the start of the answer. */
static inline int etcd_group_post(const struct etcd_group *g, size_t i, const char *path, const char *body, char *ret,
				  size_t size)
{
	char url[128];
	struct http_request request = { .url = url, .body = slice_of(body), .timeout_ms = 10000 };
	struct http_reply reply;
	struct err err;
	int status;

	(void)snprintf(url, sizeof(url), "%s%s", g->url[i], path);
	if (http_call(&request, &reply, &err))
		return 0;
	status = reply.status;
	(void)snprintf(ret, size, "%s", buf_str(&reply.body));
	http_reply_fini(&reply);
	return status;
}

/* The number (in quotes) behind "name": in an answer; 0: there is none. */
static inline unsigned long long etcd_group_number(const char *text, const char *name)
{
	char pattern[64];
	const char *at;

	(void)snprintf(pattern, sizeof(pattern), "\"%s\":\"", name);
	at = strstr(text, pattern);
	return at ? strtoull(at + strlen(pattern), NULL, 10) : 0;
}

static inline int etcd_group_remove(const char *path, const struct stat *what, int kind, struct FTW *walk)
{
	(void)what;
	(void)kind;
	(void)walk;
	return remove(path);
}

static inline void etcd_group_close(struct etcd_group *g)
{
	for (size_t i = 0; i < g->n; i++)
		etcd_group_kill(g, i, SIGKILL);
	(void)nftw(g->folder, etcd_group_remove, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
