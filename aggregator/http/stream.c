/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: the loop writes, libmicrohttpd's thread reads and sends.  Two
 * buffers change places, so that neither side waits while the other copies.
 * A reader that finds nothing suspends its connection, and the next byte
 * resumes it: returning 0 without that would keep its thread busy.
 */
#include <stdlib.h>
#include <string.h>

#include "aggregator/http/server_priv.h"
#include "lib/slice.h"

#define BLOCK ((size_t)16 << 10)  /* bytes that are read at a time, about */
#define SMALL ((size_t)64 << 10)  /* unread bytes of a stream when all have too many */
#define KEEP ((size_t)64 << 10)   /* bytes of buffers that an idle stream keeps */

static size_t unread(const struct stream *st)
{
	return st->in.len + st->out.len - st->sent;
}

int http_stream_open(struct http_req *req, int status, const struct http_field *fields)
{
	struct stream *st = &req->stream;

	if (req->gone)
		return -EPIPE;
	pthread_mutex_init(&st->lock, NULL); /* cannot fail on Linux */
	buf_init(&st->in, SIZE_MAX / 4);
	buf_init(&st->out, SIZE_MAX / 4);
	st->open = true;
	req->answer.status = status;
	for (; fields && fields->name; fields++)
		answer_field(req, fields->name, fields->value);
	atomic_fetch_add(&req->server->streams, 1);
	req->server->owed--;
	worker_resume(req);
	return 0;
}

void stream_fini(struct http_req *req)
{
	struct stream *st = &req->stream;

	if (!st->open)
		return;
	atomic_fetch_sub(&req->server->unread, unread(st));
	buf_fini(&st->in);
	buf_fini(&st->out);
	pthread_mutex_destroy(&st->lock);
}

/* Under the lock. */
static void wake_reader(struct http_req *req)
{
	if (!req->stream.suspended)
		return;
	req->stream.suspended = false;
	worker_resume(req);
}

/* Under the lock: hands it to the loop, once. */
static void tell_loop(struct http_req *req)
{
	if (req->stream.queued)
		return;
	req->stream.queued = true;
	atomic_fetch_add(&req->refs, 1);
	queue_push(req);
}

/* ------------------------------------------------------------ the loop's half */

static int add(struct http_req *req, struct mp_str bytes)
{
	int rc = buf_add_slice(&req->stream.in, bytes);

	if (rc)
		return rc;
	atomic_fetch_add(&req->server->unread, bytes.len);
	wake_reader(req);
	return 0;
}

int http_stream_write(struct http_req *req, struct mp_str bytes)
{
	const struct http_options *o = &req->server->options;
	struct stream *st = &req->stream;
	size_t max;
	int rc;

	if (!st->open || req->gone)
		return -EPIPE;
	max = atomic_load(&req->server->unread) > o->stream_total && o->stream_max > SMALL ?
	      SMALL : o->stream_max;
	pthread_mutex_lock(&st->lock);
	if (st->over || st->aborted)
		rc = -EPIPE;
	else if (unread(st) && unread(st) + bytes.len > max)
		rc = -ENOBUFS; /* one that is bigger passes when nothing lies before it */
	else
		rc = add(req, bytes);
	pthread_mutex_unlock(&st->lock);
	return rc;
}

size_t http_stream_unread(struct http_req *req)
{
	size_t n;

	if (!req->stream.open)
		return 0;
	pthread_mutex_lock(&req->stream.lock);
	n = req->stream.over ? 0 : unread(&req->stream);
	pthread_mutex_unlock(&req->stream.lock);
	return n;
}

/* Under the lock: the time has come. */
static void check_drain(struct http_req *req)
{
	struct stream *st = &req->stream;

	if (!st->waiting || unread(st) > st->low)
		return;
	st->waiting = false;
	st->drained = true;
	tell_loop(req);
}

void http_stream_on_drain(struct http_req *req, size_t low, void (*drained)(void *ctx),
			  void *ctx)
{
	struct stream *st = &req->stream;

	if (!st->open)
		return;
	req->on_drain = drained;
	req->on_drain_ctx = ctx;
	pthread_mutex_lock(&st->lock);
	st->drained = false;
	st->low = low;
	st->waiting = drained && !st->over;
	check_drain(req);
	pthread_mutex_unlock(&st->lock);
}

/* An unopened stream ends as a request that is not answered: its client has gone. */
void http_stream_end(struct http_req *req, struct mp_str farewell)
{
	struct stream *st = &req->stream;

	audit_end(req, req->answer.status);
	if (st->open) {
		pthread_mutex_lock(&st->lock);
		st->ended = true;
		if (!st->over)
			(void)add(req, farewell); /* without memory it ends without a reason */
		wake_reader(req);
		pthread_mutex_unlock(&st->lock);
		atomic_fetch_sub(&req->server->streams, 1);
	}
	req_drop(req);
}

void stream_abort(struct http_req *req)
{
	pthread_mutex_lock(&req->stream.lock);
	req->stream.aborted = true;
	wake_reader(req);
	pthread_mutex_unlock(&req->stream.lock);
}

void stream_told(struct http_req *req)
{
	struct stream *st = &req->stream;
	bool over, drained;

	pthread_mutex_lock(&st->lock);
	st->queued = false;
	over = st->over;
	drained = st->drained;
	st->drained = false;
	pthread_mutex_unlock(&st->lock);
	if (!req->done && over && !req->gone)
		req_tell_gone(req);
	else if (!req->done && drained && req->on_drain)
		req->on_drain(req->on_drain_ctx);
	req_unref(req);
}

/* ----------------------------------------------------- libmicrohttpd's threads */

static void shrink(struct buf *b)
{
	if (b->cap > KEEP)
		buf_fini(b);
	else
		buf_reset(b);
}

/* Under the lock: what was written comes to be sent. */
static void swap(struct stream *st)
{
	struct buf empty = st->out;

	shrink(&empty);
	st->out = st->in;
	st->in = empty;
	st->sent = 0;
}

/* Under the lock. */
static ssize_t read_some(struct http_req *req, char *to, size_t max)
{
	struct stream *st = &req->stream;
	size_t n;

	if (st->aborted)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (st->sent == st->out.len)
		swap(st);
	n = st->out.len < st->sent + max ? st->out.len - st->sent : max;
	if (!n && st->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (!n) {
		st->suspended = true;
		MHD_suspend_connection(req->mhd);
		return 0;
	}
	memcpy(to, st->out.ptr + st->sent, n);
	st->sent += n;
	atomic_fetch_sub(&req->server->unread, n);
	check_drain(req);
	return (ssize_t)n;
}

static ssize_t on_read(void *cls, uint64_t position, char *to, size_t max)
{
	struct http_req *req = cls;
	ssize_t n;

	(void)position; /* it only goes forward */
	pthread_mutex_lock(&req->stream.lock);
	n = read_some(req, to, max);
	pthread_mutex_unlock(&req->stream.lock);
	return n;
}

static void on_free(void *cls)
{
	req_unref(cls);
}

struct MHD_Response *stream_response(struct http_req *req)
{
	struct MHD_Response *response;

	atomic_fetch_add(&req->refs, 1);
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, req, on_free);
	if (!response)
		req_unref(req);
	return response;
}

void stream_over(struct http_req *req)
{
	pthread_mutex_lock(&req->stream.lock);
	req->stream.over = true;
	if (!req->stream.ended)
		tell_loop(req);
	pthread_mutex_unlock(&req->stream.lock);
}
