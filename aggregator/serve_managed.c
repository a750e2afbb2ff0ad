/* SPDX-License-Identifier: Apache-2.0 */
/* mp-aggregator with an etcd of its own (--group managed); see serve_priv.h. */
#include "aggregator/serve_priv.h"

#include <errno.h>
#include <stdio.h>

#include "aggregator/etcd/flags.h"
#include "aggregator/rows/engine/etcd.h"
#include "lib/log.h"

/* Our own etcd first; what it takes we have said ourselves. */
int serve_managed_engine(struct program *p, struct engine **ret, struct err *err)
{
	const struct serve_options *o = p->options;
	const char *urls[ENGINE_ETCD_ENDPOINTS];
	char text[ETCD_TEXT_SIZE];
	const struct engine_etcd_options etcd = {
		.endpoints = urls,
		.n_endpoints = managed_endpoints(p->managed, text, urls, ENGINE_ETCD_ENDPOINTS),
		.ca = o->etcd_ca, .cert = o->etcd_cert, .key = o->etcd_key,
		.cluster_id = managed_identity(p->managed)->cluster_id,
		.limits = { ETCD_TXN_OPS, ETCD_REQUEST_BYTES - ETCD_REQUEST_BYTES / 8 },
		.lease_lost = serve_lease_lost, .ctx = p,
	};

	return engine_etcd_open(&p->loop, &etcd, ret, err);
}

/* An administrator's wish: the rows are closed, then the group is left. */
static void on_leave(void *ctx)
{
	struct program *p = ctx;

	p->leaving = !p->failed;
	serve_stop(p, 0);
}

static void on_managed_serve(void *ctx)
{
	struct program *p = ctx;
	struct err err = { 0 };

	(void)snprintf(p->member, sizeof(p->member), "%s", managed_identity(p->managed)->member);
	p->http.managed = p->managed;
	p->http.leave = on_leave;
	p->http.leave_ctx = p;
	if (serve_rows(p, &err) < 0)
		serve_failed(p, err.text);
}

/* Others have come, or gone: the engine uses those that are there. */
static void on_endpoints(void *ctx)
{
	struct program *p = ctx;
	const char *urls[ENGINE_ETCD_ENDPOINTS];
	char text[ETCD_TEXT_SIZE];
	size_t n = managed_endpoints(p->managed, text, urls, ENGINE_ETCD_ENDPOINTS);
	struct err err = { 0 };

	if (p->group && !p->stopping && n && engine_etcd_set_endpoints(group_engine(p->group), urls, n, &err) < 0)
		log_warn("endpoints of etcd were not taken", "why=%s", LOG_STR(err.text));
	if (p->room && !p->stopping)
		serve_room_endpoints(p);
}

/* It cannot go on, whatever it was about to do.  While the rows are being closed its end comes behind theirs. */
static void on_managed_failed(void *ctx, const char *why)
{
	struct program *p = ctx;

	p->failed = true;
	p->leaving = false;
	if (!p->stopping) {
		serve_failed(p, why);
		return;
	}
	fprintf(stderr, "mp-aggregator: %s\n", why);
	p->code = EXIT_WRONG;
	if (p->ending)
		serve_end(p);
}

static void on_left(void *ctx)
{
	struct program *p = ctx;

	log_info("left the group", "member=%s", p->member);
	p->leaving = false;
	if (p->stopping)
		serve_end(p);
	else
		serve_stop(p, 0);
}

int serve_managed(struct program *p, struct err *err)
{
	const struct serve_options *o = p->options;
	const struct managed_calls calls = { on_managed_serve, on_endpoints, on_managed_failed, on_left, p };
	const struct managed_options options = {
		.loop = &p->loop, .dir = buf_str(&p->data), .tenant = o->tenant, .member = o->member, .program = o->etcd_program,
		.address = o->etcd_address, .client_port = (int)o->etcd_client_port,
		.peer_port = (int)o->etcd_peer_port, .quota = serve_quota(o),
		.ca = o->etcd_ca, .cert = o->etcd_cert, .key = o->etcd_key,
		.join_ca = o->http.ca_file, .join_cert = o->http.cert_file, .join_key = o->http.key_file,
		.join_url = o->join, .join_token = o->join_token, .leave = o->leave,
		.accept = o->accept_loss,
		.replace_after_ms = o->replace_after_ms,
	};

	if (!o->etcd_cert != !o->etcd_key)
		return err_set(err, -EINVAL, "--etcd-cert and --etcd-key belong together");
	return managed_open(&options, &calls, &p->managed, err);
}
