/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer of the aggregator's HTTP front: libmicrohttpd alone, a second thread
 * behind it, and nothing in between.  A request is suspended, its connection
 * put into a queue, and resumed by that thread with an answer of 201.
 *
 *	bare_handler [THREADS [FOLDER]]     prints its port, ends with its standard input
 *
 * With a folder that thread commits before it answers (bare_commit.h), once for all
 * that wait: the least that a put which is stored can take.
 *
 * A thread of libmicrohttpd 0.9.75 that gets exactly 128 events at once waits for
 * more before it looks at them: with one thread and 256 connections this program
 * can come to rest.  Two threads, the default, were not seen to.
 */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/bench/rows/bare_commit.h"

static const char text[] = "{\"row\":\"bench\",\"seq\":1}";

/* A request on its way through the second thread. */
struct call {
	struct call *next;               /* in the queue */
	struct MHD_Connection *connection; /* its own */
	bool answered;                   /* by the second thread */
};

static _Atomic(struct call *) queue;
static int bell = -1;
static struct MHD_Response *response;
static bool commits; /* before it answers */

static void push(struct call *call)
{
	uint64_t one = 1;
	struct call *first = atomic_load(&queue);

	do {
		call->next = first;
	} while (!atomic_compare_exchange_weak(&queue, &first, call));
	if (!first && write(bell, &one, sizeof(one)) < 0)
		abort();
}

static void *answer_all(void *unused)
{
	struct call *call, *next;
	uint64_t n, number = 0;

	(void)unused;
	while (read(bell, &n, sizeof(n)) == (ssize_t)sizeof(n)) {
		call = atomic_exchange(&queue, NULL);
		if (commits && call && bare_commit(++number))
			abort();
		for (; call; call = next) {
			next = call->next;
			call->answered = true;
			MHD_resume_connection(call->connection);
		}
	}
	return NULL;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *size, void **ctx)
{
	struct call *call = *ctx;

	(void)cls, (void)url, (void)method, (void)version, (void)data;
	if (!call) {
		*ctx = call = calloc(1, sizeof(*call));
		if (call)
			call->connection = connection;
		return call ? MHD_YES : MHD_NO;
	}
	if (*size) {
		*size = 0;
		return MHD_YES;
	}
	if (call->answered)
		return MHD_queue_response(connection, 201, response);
	MHD_suspend_connection(connection);
	push(call);
	return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **ctx,
			 enum MHD_RequestTerminationCode code)
{
	(void)cls, (void)connection, (void)code;
	free(*ctx);
	*ctx = NULL;
}

static bool open_file(const char *folder)
{
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/bare-handler-%d", folder, (int)getpid());
	return !bare_commit_open(path);
}

int main(int argc, char **argv)
{
	unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct MHD_Daemon *daemon;
	pthread_t thread;
	char byte;

	commits = argc > 2;
	if (commits && !open_file(argv[2]))
		return 1;
	bell = eventfd(0, EFD_CLOEXEC);
	response = MHD_create_response_from_buffer(sizeof(text) - 1, (void *)(uintptr_t)text,
						   MHD_RESPMEM_PERSISTENT);
	if (bell < 0 || !response || pthread_create(&thread, NULL, answer_all, NULL))
		return 1;
	daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL,
				  NULL, on_request, NULL, MHD_OPTION_SOCK_ADDR, &address,
				  MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
				  MHD_OPTION_CONNECTION_LIMIT, 4096u,
				  MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? threads : 0u,
				  MHD_OPTION_END);
	if (!daemon)
		return 1;
	printf("%d\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
