/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who drives libmicrohttpd: the workers' threads, or, while there is little to
 * do, the loop itself.  From a thread to the loop and back is two wake-ups, which
 * is much of what a lone put waits for; with many requests the threads read,
 * parse and send while the loop is at work, and that is worth more.
 *
 * The loop takes over when few were owed an answer for a whole beat, and gives
 * back as soon as they are more.  The worker's lock says who is in libmicrohttpd.
 * With TLS it is always the threads: a handshake takes long.
 *
 * The loop's thread only.
 */
#include <stdlib.h>

#include "aggregator/http/server_priv.h"

#define CALM_OWED 2         /* requests at once, at most, for the loop to take over ... */
#define BUSY_OWED 5         /* ... and so many give it back */
#define CALM_CONNECTIONS 64 /* that there may be meanwhile: each can cost the loop time */
#define CALM_STREAMS 4      /* likewise */

static void on_again(uv_idle_t *again);

static bool is_calm(struct http_server *s)
{
	return atomic_load_explicit(&s->calm, memory_order_relaxed);
}

/* What comes out of it has its handlers called.  They may have the server stopped. */
static void drive(struct http_server *s, struct worker *w)
{
	if (worker_drive(w))
		uv_idle_start(&s->again, on_again);
	queue_take(s);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct worker *w = poll->data;

	(void)status;
	(void)events; /* libmicrohttpd knows best */
	drive(w->server, w);
}

/* libmicrohttpd has more to do, streams have more to send, or an answer's client was quick. */
static void on_again(uv_idle_t *again)
{
	struct http_server *s = again->data;

	uv_idle_stop(again);
	for (size_t i = 0; is_calm(s) && i < s->n_workers; i++)
		if (s->workers[i].again || worker_has_answers(&s->workers[i]))
			drive(s, &s->workers[i]);
	queue_take(s);
}

static void set(struct http_server *s, bool calm)
{
	atomic_store(&s->calm, calm);
	for (size_t i = 0; i < s->n_polls; i++) {
		if (calm)
			uv_poll_start(&s->polls[i], UV_READABLE, on_ready);
		else
			uv_poll_stop(&s->polls[i]);
		s->workers[i].again = calm; /* something may be half done */
		bell_ring(s->workers[i].bell);
	}
	if (calm) {
		uv_idle_start(&s->again, on_again);
	} else {
		uv_idle_stop(&s->again);
		bell_ring(s->bell); /* something may lie in the queue */
	}
}

void calm_later(struct http_server *s)
{
	uv_idle_start(&s->again, on_again);
}

void calm_answer(struct http_server *s, struct worker *w)
{
	if (!is_calm(s))
		return;
	(void)worker_drive(w);
	calm_later(s); /* a handler may have called: what came in has its turn when it is done */
}

void calm_owed(struct http_server *s)
{
	if (++s->owed > s->owed_most)
		s->owed_most = s->owed;
	if (s->owed >= BUSY_OWED && is_calm(s))
		set(s, false);
}

void calm_beat(struct http_server *s)
{
	bool few = conns_count(&s->conns) <= CALM_CONNECTIONS && atomic_load(&s->streams) <= CALM_STREAMS;

	if (is_calm(s) && !few)
		set(s, false);
	else if (!is_calm(s) && few && s->can_be_calm && s->owed_most <= CALM_OWED)
		set(s, true);
	s->owed_most = s->owed;
}

/* Without memory, and with TLS, the threads go on for ever. */
void calm_init(struct http_server *s)
{
	uv_idle_init(s->loop, &s->again); /* cannot fail */
	s->again.data = s;
	s->handles++;
	s->polls = s->tls ? NULL : calloc(s->n_workers, sizeof(*s->polls));
	while (s->polls && s->n_polls < s->n_workers) {
		struct worker *w = &s->workers[s->n_polls];

		if (uv_poll_init(s->loop, &s->polls[s->n_polls], worker_fd(w)))
			break;
		s->polls[s->n_polls++].data = w;
		s->handles++;
	}
	s->can_be_calm = s->n_polls == s->n_workers;
}

void calm_end(struct http_server *s, uv_close_cb closed)
{
	set(s, false);
	for (size_t i = 0; i < s->n_polls; i++) {
		s->polls[i].data = s;
		uv_close((uv_handle_t *)&s->polls[i], closed);
	}
	uv_close((uv_handle_t *)&s->again, closed);
	s->n_polls = 0;
	s->can_be_calm = false;
}
