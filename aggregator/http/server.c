/* SPDX-License-Identifier: Apache-2.0 */
/* The front's start and end, and its beat. */
#include "aggregator/http/server.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "aggregator/http/server_priv.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/slice.h"

#define SWEEP_MS 100
#define ASK_EVERY 10          /* sweeps: have clients gone, or files changed? */
#define FILES_BESIDES 256     /* descriptors that are left to others */
#define POOL_MIN ((size_t)4096)

struct http_options http_options_default(void)
{
	return (struct http_options){
		.address = "127.0.0.1",
		.listen_fd = -1,
		.threads = 2,
		.connections = 12000,
		.per_address = 4000,
		.head_max = (size_t)8 << 10,
		.body_total = (size_t)256 << 20,
		.stream_max = (size_t)1 << 20,
		.stream_total = (size_t)256 << 20,
		.head_ms = 10000,
		.idle_ms = 60000,
		.body_ms = 20000,
		.least_rate = 16 << 10,
	};
}

/* ----------------------------------------------------------------- the loop */

static void on_wake(uv_poll_t *wake, int status, int events)
{
	struct http_server *s = wake->data;

	(void)status;
	(void)events; /* it can only have been rung */
	bell_hear(s->bell);
	queue_take(s);
}

static void forget(struct http_server *s)
{
	reload_fini(&s->reload);
	tls_free(s->tls);
	access_unref(s->access);
	pthread_mutex_destroy(&s->access_lock);
	conns_fini(&s->conns);
	if (s->bell >= 0)
		(void)close(s->bell); /* nothing was promised about it */
	free(s->unix_path);
	free(s->polls);
	free(s);
}

static void on_closed(uv_handle_t *handle)
{
	struct http_server *s = handle->data;
	void (*stopped)(void *ctx) = s->stopped;
	void *ctx = s->stopped_ctx;

	if (--s->handles)
		return;
	forget(s);
	if (stopped)
		stopped(ctx);
}

static void close_handles(struct http_server *s)
{
	s->closing = true;
	uv_close((uv_handle_t *)&s->wake, on_closed);
	uv_close((uv_handle_t *)&s->sweep, on_closed);
}

/* libmicrohttpd must have no suspended connection when it stops. */
static void stop_workers(struct http_server *s)
{
	for (size_t i = 0; i < s->n_workers; i++)
		worker_stop(&s->workers[i]);
	free(s->workers);
	s->workers = NULL;
	queue_take(s); /* streams that ended with them */
}

/* The time is up, or nothing is left: ends what there is, then itself. */
static void stop_step(struct http_server *s)
{
	bool late = uv_now(s->loop) >= s->stop_at;

	if (late) {
		queue_sweep(s, true);
		conns_cut_all(&s->conns);
	}
	if (s->workers && ((late && list_empty(&s->open)) || !conns_count(&s->conns)))
		stop_workers(s);
	if (!s->workers && list_empty(&s->open) && !s->reload.busy && !s->closing)
		close_handles(s);
}

static void on_sweep(uv_timer_t *timer)
{
	struct http_server *s = timer->data;

	conns_sweep(&s->conns);
	calm_beat(s);
	if (++s->beats % ASK_EVERY == 0 && !s->stopping) {
		queue_sweep(s, false);
		reload_look(&s->reload, s->loop);
	}
	if (s->stopping)
		stop_step(s);
}

/* -------------------------------------------------------------------- start */

static int add_routes(struct http_server *s, const struct http_route *rows, struct err *err)
{
	for (; rows->path; rows++) {
		int rc;

		if (s->n_routes == HTTP_ROUTES)
			return err_set(err, -EINVAL, "there are more than %d routes", HTTP_ROUTES);
		rc = pattern_parse(rows->path, &s->routes[s->n_routes].pattern, err);
		if (rc)
			return rc;
		s->routes[s->n_routes++].row = rows;
	}
	return 0;
}

/* As many connections as there are descriptors for. */
static int affordable(int wanted)
{
	struct rlimit files = { 0 };
	rlim_t need = (rlim_t)wanted + FILES_BESIDES;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return wanted;
	if (files.rlim_cur < need && files.rlim_cur != RLIM_INFINITY) {
		files.rlim_cur = files.rlim_max < need ? files.rlim_max : need;
		if (setrlimit(RLIMIT_NOFILE, &files))
			(void)getrlimit(RLIMIT_NOFILE, &files); /* then what there is must do */
	}
	if (files.rlim_cur >= need)
		return wanted;
	return files.rlim_cur > 2 * FILES_BESIDES ? (int)files.rlim_cur - FILES_BESIDES :
						    (int)files.rlim_cur / 2;
}

static int check_options(const struct http_options *o, struct err *err)
{
	if (o->threads < 1 || o->threads > 64 || o->connections < 1 || o->per_address < 0)
		return err_set(err, -EINVAL, "threads (1 to 64) or connections are out of range");
	if (o->head_ms < 1 || o->idle_ms < 1 || o->body_ms < 1 || o->least_rate < 1)
		return err_set(err, -EINVAL, "time limits and rates must be above 0");
	if (o->head_max < POOL_MIN || !o->stream_max || !o->body_total)
		return err_set(err, -EINVAL, "sizes must be above 0, and a head's at least 4096");
	return 0;
}

static int start_conns(struct http_server *s)
{
	const struct http_options *o = &s->options;
	struct conn_limits limits = {
		.total = o->connections,
		.per_address = o->per_address,
		.head_ms = o->head_ms,
		.idle_ms = o->idle_ms,
		.body_ms = o->body_ms,
		.least_rate = o->least_rate,
	};

	return conns_init(&s->conns, &limits);
}

static int start_workers(struct http_server *s, int fd, struct err *err)
{
	s->workers = calloc((size_t)s->options.threads, sizeof(*s->workers));
	if (!s->workers)
		return err_sys(err, ENOMEM, "threads");
	while (s->n_workers < (size_t)s->options.threads) {
		int rc = worker_start(&s->workers[s->n_workers], s, fd, err);

		if (rc) {
			stop_workers(s);
			return rc;
		}
		s->n_workers++;
	}
	return 0;
}

/* Handles are closed by the loop only. */
static int start(struct http_server *s, int fd, struct err *err)
{
	int rc = uv_poll_init(s->loop, &s->wake, s->bell);

	if (rc)
		return err_set(err, rc, "the loop: %s", uv_strerror(rc));
	uv_timer_init(s->loop, &s->sweep); /* cannot fail */
	s->wake.data = s->sweep.data = s;
	s->handles = 2;
	uv_poll_start(&s->wake, UV_READABLE, on_wake);
	rc = start_workers(s, fd, err);
	if (rc)
		return rc;
	calm_init(s);
	uv_timer_start(&s->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
	return 0;
}

static int check_reach(struct http_server *s, int fd, struct err *err)
{
	bool local = listen_is_local(fd, &s->port);

	if (!local && s->access && !s->tls)
		log_warn("tokens travel in the clear", "port=%d", s->port);
	if (local || s->access || s->asks_certs)
		return 0;
	return err_set(err, -EACCES, "an address that other machines reach needs a token file, or a "
				     "CA for client certificates");
}

/* In the loop. */
static void on_changed(void *ctx, struct tls_set *set, struct access *table)
{
	struct http_server *s = ctx;

	if (set)
		tls_use(s->tls, set);
	if (table)
		rights_use(s, table);
}

static int read_files(struct http_server *s, struct err *err)
{
	const struct http_options *o = &s->options;
	struct tls_set *set;
	int rc = reload_init(&s->reload, o->cert_file, o->key_file, o->ca_file, o->token_file, &set,
			     &s->access, err);

	if (!rc && set) {
		s->tls = tls_new(set);
		set = NULL;
		if (!s->tls)
			rc = err_sys(err, ENOMEM, "certificates");
	}
	tls_set_free(set);
	s->asks_certs = s->tls && tls_trust(s->tls);
	s->reload.changed = on_changed;
	s->reload.ctx = s;
	return rc;
}

/* Everything that can fail before the loop has a part in it. */
static int prepare(struct http_server *s, const struct http_route *routes, int *ret_fd,
		   struct err *err)
{
	const struct http_options *o = &s->options;
	int rc = check_options(o, err);

	if (!rc)
		rc = add_routes(s, routes, err);
	if (!rc)
		rc = read_files(s, err);
	if (rc)
		return rc;
	*ret_fd = listen_open(o, err);
	if (*ret_fd < 0)
		return *ret_fd;
	if (o->listen_fd < 0 && o->address[0] == '/')
		s->unix_path = strdup(o->address);
	return check_reach(s, *ret_fd, err);
}

int http_server_start(struct http_server **ret_server, uv_loop_t *loop,
		      const struct http_options *options, const struct http_route *routes,
		      void *ctx, struct err *err)
{
	struct http_server *s = calloc(1, sizeof(*s));
	CLEANUP_CLOSE int fd = -1;
	int rc;

	if (!s)
		return err_sys(err, ENOMEM, "server");
	s->loop = loop;
	s->options = *options;
	s->options.connections = affordable(options->connections);
	s->ctx = ctx;
	s->plain_heads = !strncmp(MHD_get_version(), "0.", 2);
	pthread_mutex_init(&s->access_lock, NULL); /* cannot fail */
	list_init(&s->open);
	s->bell = bell_new();
	rc = start_conns(s);
	if (!rc && s->bell < 0)
		rc = err_sys(err, errno, "eventfd");
	if (!rc)
		rc = prepare(s, routes, &fd, err);
	if (rc) {
		forget(s);
		return rc;
	}
	s->options.address = s->options.token_file = NULL; /* the caller's */
	s->options.cert_file = s->options.key_file = s->options.ca_file = NULL;
	rc = start(s, fd, err);
	if (!rc)
		*ret_server = s;
	else if (s->wake.data)
		close_handles(s);
	else
		forget(s);
	return rc;
}

int http_server_port(const struct http_server *s)
{
	return s->port;
}

/* --------------------------------------------------------------------- stop */

void http_server_stop(struct http_server *s, int grace_ms, void (*stopped)(void *ctx), void *ctx)
{
	if (s->stopping)
		return;
	s->stopping = true;
	s->stopped = stopped;
	s->stopped_ctx = ctx;
	s->stop_at = uv_now(s->loop) + (uint64_t)(grace_ms > 0 ? grace_ms : 0);
	atomic_store(&s->conns.draining, true);
	calm_end(s, on_closed);
	for (size_t i = 0; i < s->n_workers; i++)
		worker_quiesce(&s->workers[i]);
	if (s->unix_path)
		(void)unlink(s->unix_path); /* somebody else may have done it */
	uv_timer_start(&s->sweep, on_sweep, 0, 20);
}

void http_server_stats(struct http_server *s, struct http_stats *ret)
{
	struct conn_counts *c = &s->conns.counts;

	*ret = (struct http_stats){
		.requests = atomic_load(&s->requests),
		.connections = conns_count(&s->conns),
		.streams = atomic_load(&s->streams),
		.over_total = atomic_load(&c->over_total),
		.over_address = atomic_load(&c->over_address),
		.cut_head = atomic_load(&c->cut[CONN_NEW]) + atomic_load(&c->cut[CONN_HEAD]),
		.cut_idle = atomic_load(&c->cut[CONN_IDLE]),
		.cut_body = atomic_load(&c->cut[CONN_BODY]),
		.cut_answer = atomic_load(&c->cut[CONN_ANSWER]),
		.refused = atomic_load(&s->refused),
		.misdirected = atomic_load(&s->misdirected),
		.held = atomic_load(&s->held),
		.unread = atomic_load(&s->unread),
	};
	for (size_t i = 0; i < 6; i++)
		ret->answers[i] = atomic_load(&s->answers[i]);
}
