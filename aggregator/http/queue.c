/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a request into the loop and out of it.  Many can be on their way
 * at one wake-up: who finds the queue empty wakes the loop, which takes all.
 *
 * It wakes by an eventfd and not by uv_async_send(), for libuv 1.44 has the loop
 * spin until the sender is back from its system call: 15 us of each request
 * that comes alone.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aggregator/http/server_priv.h"

#define PATIENCE_MS 500 /* younger requests are not asked about */

int bell_new(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void bell_ring(int bell)
{
	uint64_t one = 1;

	while (write(bell, &one, sizeof(one)) < 0 && errno == EINTR)
		continue; /* full means that it rings already */
}

void bell_hear(int bell)
{
	uint64_t n;

	while (read(bell, &n, sizeof(n)) < 0 && errno == EINTR)
		continue; /* empty means that it was heard already */
}

void queue_push(struct http_req *req)
{
	struct http_server *s = req->server;
	struct http_req *first = atomic_load_explicit(&s->queue, memory_order_relaxed);

	do {
		req->next = first;
	} while (!atomic_compare_exchange_weak_explicit(&s->queue, &first, req,
							memory_order_release,
							memory_order_relaxed));
	if (!first && !req->worker->by_loop)
		bell_ring(s->bell);
}

void req_tell_gone(struct http_req *req)
{
	req->gone = true;
	if (req->told || !req->on_gone)
		return;
	req->told = true;
	req->on_gone(req->on_gone_ctx);
}

/* A request that is new, or a stream of which there is news. */
static void take(struct http_server *s, struct http_req *req)
{
	if (req->handed) {
		stream_told(req);
		return;
	}
	req->handed = true;
	req->handed_at = uv_now(s->loop);
	calm_owed(s);
	list_push_back(&s->open, &req->open);
	req->route->row->handler(s->ctx, req);
}

void queue_take(struct http_server *s)
{
	struct http_req *req = atomic_exchange_explicit(&s->queue, NULL, memory_order_acquire);
	struct http_req *oldest = NULL, *next;

	for (; req; req = next) {
		next = req->next;
		req->next = oldest;
		oldest = req;
	}
	for (req = oldest; req; req = next) {
		next = req->next;
		take(s, req);
	}
}

void req_drop(struct http_req *req)
{
	list_remove(&req->open);
	req->done = true;
	req->server->owed -= !req->stream.open;
	req_unref(req);
}

void req_finish(struct http_req *req)
{
	struct http_server *s = req->server;
	struct worker *w = req->gone ? NULL : req->worker;

	if (s->stopping)
		req->answer.close = true;
	if (w)
		worker_resume(req);
	req_drop(req);
	if (w)
		calm_answer(s, w); /* what follows may be a commit */
}

/* Nobody will see its answer: the connection goes, the handler may still answer. */
static void give_up(struct http_req *req)
{
	if (req->gone)
		return;
	if (req->stream.open) {
		stream_abort(req);
		return;
	}
	req->gone = true;
	req->answer.drop = true;
	worker_resume(req);
	req_tell_gone(req);
}

/* May the socket be asked whether the client is there?  The loop alone can wake its connection. */
static bool is_asleep(struct http_req *req)
{
	bool asleep;

	if (req->gone || !req->stream.open)
		return !req->gone;
	pthread_mutex_lock(&req->stream.lock);
	asleep = req->stream.suspended;
	pthread_mutex_unlock(&req->stream.lock);
	return asleep;
}

/* Moves those whose clients have gone to `gone`. */
static void collect_gone(struct http_server *s, struct list *gone)
{
	size_t n = 0, room = conns_count(&s->conns);
	struct pollfd *fds = calloc(room + 1, sizeof(*fds));
	struct http_req **reqs = calloc(room + 1, sizeof(*reqs));
	uint64_t now = uv_now(s->loop);

	LIST_FOR_EACH(link, &s->open) {
		struct http_req *req = LIST_ENTRY_OF(link, struct http_req, open);

		if (!fds || !reqs || n == room || now - req->handed_at < PATIENCE_MS)
			break; /* those behind it are younger */
		if (!is_asleep(req))
			continue;
		fds[n] = (struct pollfd){ .fd = req->conn->fd, .events = POLLRDHUP };
		reqs[n++] = req;
	}
	if (n && poll(fds, n, 0) > 0) {
		for (size_t i = 0; i < n; i++) {
			if (fds[i].revents) {
				list_remove(&reqs[i]->open);
				list_push_back(gone, &reqs[i]->open);
			}
		}
	}
	free(fds);
	free(reqs);
}

/* What it calls may end any request, hence one after the other. */
void queue_sweep(struct http_server *s, bool all)
{
	struct list gone, *link;

	list_init(&gone);
	if (!all) {
		collect_gone(s, &gone);
	} else {
		while ((link = list_pop_front(&s->open)))
			list_push_back(&gone, link);
	}
	while ((link = list_pop_front(&gone))) {
		list_push_back(&s->open, link);
		give_up(LIST_ENTRY_OF(link, struct http_req, open));
	}
}
