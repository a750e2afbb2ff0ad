/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that take in and send.  Each drives a libmicrohttpd of its own, on
 * the same listening socket, from the outside.  libmicrohttpd's own threads
 * would not do: 0.9.75 waits for events again when it has got exactly 128, so
 * that a thread with as many busy connections can sleep on all of them.
 *
 * Answers come back through a queue, many at one wake-up.  While it is calm the
 * loop does all of that itself, and the threads sleep (calm.c).
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aggregator/http/server_priv.h"
#include "lib/cleanup.h"

#define HEAD_ROOM ((size_t)20 << 10) /* for more than a head may have, see intake.c; in all below 32 KiB, where it would be mapped */
#define INACTIVE_S 120u /* libmicrohttpd's time-out, behind all of ours */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

void worker_resume(struct http_req *req)
{
	struct worker *w = req->worker;
	struct http_req *first = atomic_load_explicit(&w->resumes, memory_order_relaxed);

	do {
		req->next_resume = first;
	} while (!atomic_compare_exchange_weak_explicit(&w->resumes, &first, req,
							memory_order_release,
							memory_order_relaxed));
	if (first)
		return;
	if (atomic_load_explicit(&w->server->calm, memory_order_relaxed))
		calm_later(w->server);
	else
		bell_ring(w->bell);
}

bool worker_has_answers(struct worker *w)
{
	return atomic_load_explicit(&w->resumes, memory_order_relaxed);
}

static void resume_all(struct worker *w)
{
	struct http_req *req = atomic_exchange_explicit(&w->resumes, NULL, memory_order_acquire);
	struct http_req *next;

	for (; req; req = next) {
		next = req->next_resume; /* then it can be gone */
		MHD_resume_connection(req->mhd);
	}
}

static void stop_listening(struct worker *w)
{
	int fd = w->quiet ? -1 : MHD_quiesce_daemon(w->daemon);

	w->quiet = true;
	if (fd >= 0)
		(void)close(fd); /* nothing was promised about it */
}

int worker_fd(struct worker *w)
{
	return MHD_get_daemon_info(w->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

/* Milliseconds until libmicrohttpd has something to do by itself; -1: never. */
static int timeout_of(struct MHD_Daemon *daemon)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(daemon, &ms) != MHD_YES)
		return -1;
	return ms > 60000 ? 60000 : (int)ms;
}

bool worker_drive(struct worker *w)
{
	pthread_mutex_lock(&w->driving);
	w->by_loop = true;
	resume_all(w);
	MHD_run(w->daemon);
	w->again = !timeout_of(w->daemon);
	w->by_loop = false;
	pthread_mutex_unlock(&w->driving);
	return w->again;
}

/* The thread does, unless the loop has taken over; then it sleeps on these events, so long. */
static void run(struct worker *w, struct pollfd *events, int *ret_ms)
{
	pthread_mutex_lock(&w->driving);
	if (atomic_load(&w->quiesce))
		stop_listening(w);
	if (atomic_load(&w->server->calm)) {
		events->fd = *ret_ms = -1;
	} else {
		resume_all(w);
		MHD_run(w->daemon);
		events->fd = worker_fd(w);
		*ret_ms = timeout_of(w->daemon);
	}
	pthread_mutex_unlock(&w->driving);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct pollfd fds[2] = { { .events = POLLIN }, { .fd = w->bell, .events = POLLIN } };
	int ms;

	while (!atomic_load(&w->stop)) {
		run(w, &fds[0], &ms);
		(void)poll(fds, 2, ms); /* interrupted: nothing has come */
		if (fds[1].revents)
			bell_hear(w->bell);
	}
	resume_all(w);
	MHD_stop_daemon(w->daemon);
	return NULL;
}

/* A request's path stays as it came: it is cut first, then decoded. */
static size_t leave_escaped(void *cls, struct MHD_Connection *connection, char *text)
{
	(void)cls;
	(void)connection;
	return strlen(text);
}

static void drop_message(void *cls, const char *fmt, va_list args)
{
	(void)cls;
	(void)fmt;
	(void)args; /* what clients do wrong is counted, not logged */
}

/* libmicrohttpd takes pointers that it does not write through as void *. */
static struct MHD_OptionItem option(enum MHD_OPTION name, uintptr_t value)
{
	return (struct MHD_OptionItem){ value ? name : MHD_OPTION_END, 0, (void *)value };
}

static struct MHD_Daemon *start_daemon(struct worker *w, int fd)
{
	struct http_server *s = w->server;
	const struct http_options *o = &s->options;
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
			 (s->tls ? MHD_USE_TLS : 0u);
	struct MHD_OptionItem tls[] = {
		option(MHD_OPTION_HTTPS_CERT_CALLBACK2, s->tls ? (uintptr_t)intake_certificate : 0),
		option(MHD_OPTION_HTTPS_PRIORITIES, (uintptr_t)PRIORITIES),
		option(MHD_OPTION_HTTPS_MEM_TRUST, s->tls ? (uintptr_t)tls_trust(s->tls) : 0),
		option(MHD_OPTION_END, 0),
	};

	return MHD_start_daemon(
		flags, 0, intake_accept, w, intake_request, w,
		MHD_OPTION_EXTERNAL_LOGGER, drop_message, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->connections + 64,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, o->head_max + HEAD_ROOM,
		MHD_OPTION_CONNECTION_TIMEOUT, INACTIVE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_NOTIFY_CONNECTION, intake_connection, w,
		MHD_OPTION_NOTIFY_COMPLETED, intake_completed, w,
		MHD_OPTION_URI_LOG_CALLBACK, intake_target, w,
		MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,
		MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

int worker_start(struct worker *w, struct http_server *server, int listen_fd, struct err *err)
{
	CLEANUP_CLOSE int fd = dup(listen_fd);
	int rc;

	memset(w, 0, sizeof(*w));
	w->server = server;
	pthread_mutex_init(&w->driving, NULL); /* cannot fail on Linux */
	w->bell = bell_new();
	if (fd < 0 || w->bell < 0) {
		rc = errno;
		if (w->bell >= 0)
			(void)close(w->bell); /* nothing was promised about it */
		return err_sys(err, rc, "a descriptor of the HTTP front");
	}
	w->daemon = start_daemon(w, fd);
	rc = w->daemon ? pthread_create(&w->thread, NULL, work, w) : EIO;
	if (!rc) {
		(void)steal_fd(&fd); /* libmicrohttpd's */
		return 0;
	}
	if (w->daemon) {
		(void)steal_fd(&fd);
		MHD_stop_daemon(w->daemon);
	}
	(void)close(w->bell); /* nothing was promised about it */
	return err_sys(err, rc, "a thread of the HTTP front");
}

void worker_quiesce(struct worker *w)
{
	atomic_store(&w->quiesce, true);
	bell_ring(w->bell);
}

void worker_stop(struct worker *w)
{
	atomic_store(&w->stop, true);
	bell_ring(w->bell);
	pthread_join(w->thread, NULL);
	pthread_mutex_destroy(&w->driving);
	(void)close(w->bell); /* nothing was promised about it */
}
