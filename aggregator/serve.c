/* SPDX-License-Identifier: Apache-2.0 */
/* See serve.h. */
#include "aggregator/serve_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "aggregator/etcd/room.h"
#include "aggregator/http/tls.h"
#include "aggregator/rows/api/lines.h"
#include "aggregator/rows/engine/etcd.h"
#include "aggregator/rows/engine/sqlite.h"
#include "aggregator/rows/meta.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/data_dir.h"
#include "lib/file.h"
#include "lib/hex.h"
#include "lib/http_multi.h"
#include "lib/log.h"
#include "lib/slice.h"

#define EXIT_SYSTEM 111
#define ID_SIZE 17          /* 16 hex digits and a NUL */
#define EMBEDDED_ROWS 1024  /* in one transaction */
#define EMBEDDED_BYTES ((size_t)8 << 20)
#define ETCD_ROWS 40        /* two operations each, and three with retention; etcd takes 128 */
#define RELEASE_MS 2000     /* of the stop, for the shards to be released */
#define CONNECT_MS 300      /* to another member */
#define KEPT_MAX 64         /* connections to them */

/* ----------------------------------------------------------------- the directory */

/* A path below the directory. */
static const char *below(struct program *p, struct buf *out, const char *name)
{
	buf_init(out, 4200);
	(void)buf_printf(out, "%s/%s", buf_str(&p->data), name);
	return buf_str(out);
}

/* -------------------------------------------------------------------- the member */

static bool id_ok(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n && n <= ROW_TENANT_MAX && !id[n];
}

static void draw_id(char out[ID_SIZE])
{
	uint64_t word = 0;

	while (getrandom(&word, sizeof(word), 0) != (ssize_t)sizeof(word))
		;
	hex_encode(out, &word, sizeof(word));
	out[ID_SIZE - 1] = '\0';
}

/* The id that was given, or kept in the directory, or is drawn and kept there. */
static int find_member(struct program *p, struct err *err)
{
	struct buf path, text;
	char id[ID_SIZE];
	int r = 0;

	if (p->options->member) {
		if (!id_ok(p->options->member))
			return err_set(err, -EINVAL, "--member wants letters, digits, '.', '_' and '-', at most %d",
				       ROW_TENANT_MAX);
		(void)snprintf(p->member, sizeof(p->member), "%s", p->options->member);
		return 0;
	}
	draw_id(id);
	(void)snprintf(p->member, sizeof(p->member), "%s", id);
	if (p->options->group)
		return 0; /* it needs no disk: a new process is a new member */
	r = file_read(below(p, &path, "member"), ROW_TENANT_MAX + 1, &text, err);
	if (r == -ENOENT) {
		r = file_write_atomic(buf_str(&path), slice_of(p->member), err);
	} else if (r == 0) {
		if (id_ok(buf_str(&text)))
			(void)snprintf(p->member, sizeof(p->member), "%s", buf_str(&text));
		else
			r = err_set(err, -EINVAL, "%s holds no member's id", buf_str(&path));
		buf_fini(&text);
	}
	buf_fini(&path);
	return r;
}

/* -------------------------------------------------------------------- the engine */

static int open_embedded(struct program *p, struct engine **ret, struct err *err)
{
	struct buf path;
	const struct engine_sqlite_options options = { .path = below(p, &path, "rows.db"),
						       .reserve = (uint64_t)p->options->disk_reserve,
						       .accept_loss = p->options->accept_loss };
	int r = engine_sqlite_open(&p->loop, &options, ret, err);

	buf_fini(&path);
	return r;
}

/* A file's first line. */
static int read_password(const char *path, char *ret, size_t size, struct err *err)
{
	struct buf text;
	int r = file_read(path, size - 1, &text, err);

	if (r < 0)
		return r;
	(void)snprintf(ret, size, "%.*s", (int)strcspn(buf_str(&text), "\r\n"), buf_str(&text));
	explicit_bzero(text.ptr, text.len);
	buf_fini(&text);
	return 0;
}

static int open_etcd(struct program *p, struct engine **ret, struct err *err)
{
	const struct serve_options *o = p->options;
	const char *urls[ENGINE_ETCD_ENDPOINTS];
	struct engine_etcd_options etcd = { .endpoints = urls, .ca = o->etcd_ca, .cert = o->etcd_cert,
					    .key = o->etcd_key, .user = o->etcd_user,
					    .lease_lost = serve_lease_lost, .ctx = p };
	char password[256] = "", *list = slice_dup(slice_of(o->group)), *save = NULL;
	int r = 0;

	if (!list)
		return err_set(err, -ENOMEM, "out of memory");
	for (char *url = strtok_r(list, ",", &save); url; url = strtok_r(NULL, ",", &save)) {
		if (etcd.n_endpoints == ENGINE_ETCD_ENDPOINTS)
			r = err_set(err, -EINVAL, "--group has more than %d URLs", ENGINE_ETCD_ENDPOINTS);
		else
			urls[etcd.n_endpoints++] = url;
	}
	if (r == 0 && o->etcd_password_file)
		r = read_password(o->etcd_password_file, password, sizeof(password), err);
	etcd.password = password[0] ? password : NULL;
	if (r == 0)
		r = engine_etcd_open(&p->loop, &etcd, ret, err);
	explicit_bzero(password, sizeof(password));
	free(list);
	return r;
}

/* --------------------------------------------------------------------- the group */

static void on_known(void *ctx)
{
	struct program *p = ctx;

	if (p->managed)
		managed_settle(p->managed, group_uuid(p->group));
}

static void on_ready(void *ctx)
{
	struct program *p = ctx;

	log_info("rows are there", "group=%s rows=%zu", group_uuid(p->group),
		 map_count(copy_rows(group_copy(p->group))));
}

void serve_failed(void *ctx, const char *why)
{
	struct program *p = ctx;

	fprintf(stderr, "mp-aggregator: %s\n", why);
	serve_stop(p, EXIT_WRONG);
}

static void on_row(void *ctx, struct row *row)
{
	struct program *p = ctx;

	rows_http_row(&p->http, row);
}

void serve_lease_lost(void *ctx)
{
	struct program *p = ctx;

	if (p->group)
		group_lease_lost(p->group);
}

static void on_ping(void *ctx, const char *id, uint64_t nonce, const char *url)
{
	struct program *p = ctx;

	rows_ping(&p->http, id, nonce, url);
}

/* For batches: a cell of a mebibyte with key and origin fits; the rest is for heads, comparisons and trims. */
static size_t transaction_bytes(const struct engine *etcd)
{
	return engine_etcd_limits(etcd).max_bytes / 4 * 3;
}

static int open_group(struct program *p, struct err *err)
{
	const struct serve_options *o = p->options;
	const struct group_calls calls = { on_known, on_ready, serve_failed, on_row, p };
	struct group_options options = {
		.loop = &p->loop,
		.tenant = slice_of(o->tenant),
		.member = slice_of(p->member),
		.shards = (uint32_t)o->shards,
		.rows_max = (size_t)o->rows_max,
		.limits = { .rows = EMBEDDED_ROWS, .bytes = EMBEDDED_BYTES, .waiting = (size_t)o->waiting_max,
			    .set = { .row_bytes = (uint64_t)o->row_bytes, .tenant_bytes = (uint64_t)o->tenant_bytes,
				     .puts_per_s = (uint64_t)o->puts_per_s, .rows = (uint64_t)o->rows_max },
			    .snapshot_cells = (uint64_t)o->snapshot_cells,
			    .snapshot_bytes = (uint64_t)o->snapshot_bytes },
		.halves = p->halves,
		.alone = !o->group,
		.url = p->url,
		.net = { on_ping, serve_failed, p },
		.accept = o->accept_loss,
	};
	int r;

	if (p->managed)
		r = serve_managed_engine(p, &options.engine, err);
	else
		r = o->group ? open_etcd(p, &options.engine, err) : open_embedded(p, &options.engine, err);
	if (r < 0)
		return r;
	options.lost = !o->group && engine_sqlite_lost(options.engine);
	if (p->managed) {
		options.lost = managed_identity(p->managed)->restored;
		options.uuid = options.lost ? NULL : managed_identity(p->managed)->group;
		options.runs_engine = managed_identity(p->managed)->state != IDENTITY_CLIENT;
		options.limits.bytes = transaction_bytes(options.engine);
	} else if (o->group) {
		options.limits.rows = ETCD_ROWS;
		options.limits.bytes = transaction_bytes(options.engine);
	}
	return group_open(&options, &calls, &p->group, err);
}

static void on_refused(const char *path, const char *reason)
{
	log_warn("a half is not taken", "file=%s why=%s", LOG_STR(path), LOG_STR(reason));
}

static int find_halves(struct program *p, struct err *err)
{
	const struct catalog_options options = { .folder = p->options->halves_dir, .refused = on_refused };
	int r = catalog_new(&options, &p->halves, err);

	p->http.halves = p->halves;
	return r < 0 ? err_wrap(err, r, "--halves-dir") : 0;
}

/* ----------------------------------------------------------------------- the end */

static void on_others_closed(void *ctx)
{
	struct program *p = ctx;

	p->others = NULL;
}

static void on_managed_closed(void *ctx)
{
	struct program *p = ctx;

	p->managed = NULL;
	serve_health_close(p);
	uv_close((uv_handle_t *)&p->on_term, NULL);
	uv_close((uv_handle_t *)&p->on_int, NULL);
	if (p->others)
		http_multi_close(p->others, on_others_closed, p);
}

/* No rows are open: etcd ends, too, perhaps after it was taken out of its group. */
void serve_end(struct program *p)
{
	p->ending = true;
	if (!p->managed)
		on_managed_closed(p);
	else if (p->leaving)
		managed_leave(p->managed);
	else
		managed_close(p->managed, true, on_managed_closed, p);
}

static void on_group_closed(void *ctx)
{
	struct program *p = ctx;

	p->group = NULL;
	rows_http_fini(&p->http);
	serve_room_close(p);
}

static void on_server_stopped(void *ctx)
{
	struct program *p = ctx;

	p->server = NULL;
	if (p->group)
		group_close(p->group, RELEASE_MS, on_group_closed, p);
	else
		serve_end(p);
}

/* Others have its shards, or can take them: it takes nothing new, and finishes what is under way. */
static void on_released(void *ctx)
{
	struct program *p = ctx;

	if (p->group) {
		rows_end_streams(&p->http, "stopping", "this member stops: go on at another");
		rows_end_waits(&p->http, "this member stops: ask another");
		rows_end_lines(&p->http, "this member stops");
	}
	if (p->server)
		http_server_stop(p->server, (int)p->options->stop_ms, on_server_stopped, p);
	else
		on_server_stopped(p);
}

/*
 * First the shards go to others, while this member still serves and forwards puts to them: once its
 * front has gone they would have to suspect it.
 */
void serve_stop(struct program *p, int code)
{
	if (p->stopping)
		return;
	p->stopping = true;
	p->code = code;
	if (p->group)
		group_release(p->group, RELEASE_MS, on_released, p);
	else
		on_released(p);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	log_info("stopping", "signal=%d", signum);
	serve_stop(handle->data, 0);
}

/* --------------------------------------------------------------------- the start */

/* "ADDRESS:PORT", "[ADDRESS]:PORT", "/path" */
static int read_listen(struct program *p, struct err *err)
{
	const char *text = p->options->listen, *colon = strrchr(text, ':');
	const char *from = text[0] == '[' ? text + 1 : text;
	char *end = NULL;
	long port = colon ? strtol(colon + 1, &end, 10) : -1;
	size_t len;

	if (text[0] == '/') {
		p->options->http.address = text;
		return 0;
	}
	if (!colon || colon == text || end == colon + 1 || *end || port < 0 || port > 65535)
		return err_set(err, -EINVAL, "--listen wants ADDRESS:PORT, [ADDRESS]:PORT or a path, not %s", text);
	len = (size_t)(colon - from) - (text[0] == '[' && colon[-1] == ']');
	if (len >= sizeof(p->address))
		return err_set(err, -EINVAL, "--listen: %s is no address", text);
	memcpy(p->address, from, len);
	p->options->http.address = p->address;
	p->options->http.port = (int)port;
	return 0;
}

static void say_ready(struct program *p)
{
	const struct http_options *http = &p->options->http;
	int port = http_server_port(p->server), fd = (int)p->options->ready_fd;
	char text[512];

	if (port)
		(void)snprintf(text, sizeof(text), strchr(http->address, ':') ? "[%s]:%d\n" : "%s:%d\n",
			       http->address, port);
	else
		(void)snprintf(text, sizeof(text), "%s\n", http->address);
	log_info("serving", "address=%.*s member=%s", (int)strcspn(text, "\n"), text, p->member);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		log_warn("nobody waits for the address", "fd=%d", fd);
	close(fd);
}

/* --advertise, or where it listens. */
static int make_url(struct program *p, struct err *err)
{
	const struct http_options *http = &p->options->http;
	const char *scheme = http->cert_file ? "https" : "http";
	int n;

	if (p->options->advertise)
		n = snprintf(p->url, sizeof(p->url), "%s", p->options->advertise);
	else if (http->address[0] == '/' || !strcmp(http->address, "0.0.0.0") || !strcmp(http->address, "::"))
		return err_set(err, -EINVAL, "others cannot reach %s: say --advertise URL", http->address);
	else
		n = snprintf(p->url, sizeof(p->url), strchr(http->address, ':') ? "%s://[%s]:%d" : "%s://%s:%d", scheme,
			     http->address, http_server_port(p->server));
	return n < (int)sizeof(p->url) ? 0 : err_set(err, -EINVAL, "--advertise is longer than %d bytes", MEMBER_URL_MAX);
}

static int start_server(struct program *p, struct err *err)
{
	struct serve_options *o = p->options;
	int r = 0;

	o->http.connections = (int)o->connections;
	o->http.per_address = (int)o->per_address;
	o->http.threads = (int)o->threads;
	p->http.group = p->group;
	p->http.member = p->member;
	p->http.data = o->group && !p->managed ? NULL : buf_str(&p->data);
	p->http.put_ns = (uint64_t)o->put_ms * NS_PER_MS;
	p->http.read_ns = (uint64_t)o->read_ms * NS_PER_MS;
	p->http.cell_max = (size_t)o->cell_bytes;
	p->http.request_max = (size_t)o->request_bytes;
	p->http.started_ns = group_now(p->group);
	rows_http_name(&p->http, slice_of(o->tenant));
	o->http.own = p->http.own;
	r = http_server_start(&p->server, &p->loop, &o->http, rows_routes, &p->http, err);
	if (r < 0)
		return r;
	p->http.server = p->server;
	if (o->group)
		r = make_url(p, err);
	if (r == 0)
		say_ready(p);
	return r;
}

static void watch_signal(struct program *p, uv_signal_t *handle, int signum)
{
	uv_signal_init(&p->loop, handle);
	handle->data = p;
	uv_signal_start(handle, on_signal, signum);
}

/* Members that show one another certificates: will they take this one's? */
static void check_certificate(const struct http_options *http)
{
	struct tls_set *set = NULL;
	struct err err = { 0 };

	/* Where there are tokens, those of clients are handed on. */
	if (!http->ca_file || !http->cert_file || !http->key_file || http->token_file)
		return;
	if (tls_load(http->cert_file, http->key_file, http->ca_file, &set, &err) == 0 &&
	    tls_set_check(set, http->cert_file, http->ca_file, &err) < 0)
		log_warn("other members will not take puts from this one", "why=%s", LOG_STR(err.text));
	tls_set_free(set);
}

/* Connections to other members, by the certificates that it serves with. */
static int open_others(struct program *p, struct err *err)
{
	const struct http_options *http = &p->options->http;
	const struct http_multi_options options = { .ca = http->ca_file, .cert = http->cert_file,
						    .key = http->key_file, .connect_ms = CONNECT_MS,
						    .kept = KEPT_MAX };

	check_certificate(http);
	return http_multi_open(&p->loop, &options, &p->others, err);
}

/* The rows and their front, once it is known who this is. */
int serve_rows(struct program *p, struct err *err)
{
	int r = find_halves(p, err);

	if (r == 0)
		r = open_group(p, err);
	if (r < 0)
		return r;
	rows_http_init(&p->http, &p->loop);
	p->http.others = p->others;
	if (p->options->group)
		r = serve_room_open(p, err);
	return r < 0 ? r : start_server(p, err);
}

/* The directory under its one name: etcd is known by it. */
static int resolve_data(struct program *p, struct err *err)
{
	char *path = realpath(buf_str(&p->data), NULL);

	if (!path)
		return err_sys(err, errno, buf_str(&p->data));
	buf_reset(&p->data);
	(void)buf_add_str(&p->data, path);
	free(path);
	return p->data.error;
}

/* ------------------------------------------------------------------------- start */

static int start(struct program *p, struct err *err)
{
	const char *group = p->options->group;
	bool managed = group && strcmp(group, "managed") == 0;
	size_t tenant = strlen(p->options->tenant);
	int r = read_listen(p, err);

	if (r == 0 && (!tenant || tenant > ROW_TENANT_MAX))
		r = err_set(err, -EINVAL, "--tenant wants 1 to %d bytes", ROW_TENANT_MAX);
	if (r == 0 && p->options->etcd_quota && p->options->etcd_quota < ETCD_QUOTA_MIN)
		r = err_set(err, -EINVAL, "--etcd-quota wants 16M at least");
	if (r == 0)
		r = data_dir_find(p->options->data, &p->data, err);
	if (r == 0 && (!group || managed))
		r = data_dir_make(buf_str(&p->data), err);
	if (r == 0)
		r = find_member(p, err);
	if (r == 0 && managed)
		r = resolve_data(p, err);
	if (r == 0 && group)
		r = open_others(p, err);
	if (r == 0 && managed)
		r = serve_managed(p, err);
	if (r < 0)
		return r;
	serve_health_open(p);
	watch_signal(p, &p->on_term, SIGTERM);
	watch_signal(p, &p->on_int, SIGINT);
	if (managed)
		return 0;
	r = serve_rows(p, err);
	if (r < 0) {
		fprintf(stderr, "mp-aggregator: %s\n", err->text);
		serve_stop(p, EXIT_WRONG);
	}
	return 0;
}

int serve(struct serve_options *options)
{
	struct program p = { .options = options };
	struct err err = { 0 };

	signal(SIGPIPE, SIG_IGN);
	if (uv_loop_init(&p.loop) < 0) {
		fprintf(stderr, "mp-aggregator: no event loop\n");
		return EXIT_SYSTEM;
	}
	if (start(&p, &err) < 0) {
		fprintf(stderr, "mp-aggregator: %s\n", err.text);
		p.code = EXIT_WRONG;
		if (p.others)
			http_multi_close(p.others, on_others_closed, &p);
	}
	uv_run(&p.loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&p.loop);
	catalog_free(p.halves);
	buf_fini(&p.data);
	return p.code;
}
