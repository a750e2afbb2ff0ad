/* SPDX-License-Identifier: Apache-2.0 */
/* How the etcd engine is opened, and which endpoints it has.  See etcd_priv.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/engine/etcd_priv.h"
#include "lib/slice.h"

#define URL_MAX 300          /* bytes of an endpoint */
#define TIMEOUT_MS 700       /* rows.md 3.4 */
#define OPS_MAX 128          /* etcd's own */
#define BYTES_MAX (3u << 19) /* etcd's own: 1.5 MiB */
#define LEASE_S 5

static void text_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text)); /* one is a password */
	free(text);
}

void etcd_free(struct etcd *e)
{
	for (size_t i = 0; i < e->n_ends; i++)
		free(e->ends[i].url);
	for (size_t i = 0; i < sizeof(e->texts) / sizeof(e->texts[0]); i++)
		text_free(e->texts[i]);
	text_free(e->token);
	free(e);
}

/* Without slashes at its end; owned by the caller.  NULL and *ret_rc: it is none. */
static char *endpoint_url(const char *url, int *ret_rc, struct err *err)
{
	struct mp_str s = slice_of(url);
	char *copy = NULL;

	while (s.len && s.ptr[s.len - 1] == '/')
		s.len--;
	if (s.len > URL_MAX || !(slice_starts(s, MP_LIT("http://")) || slice_starts(s, MP_LIT("https://")))) {
		*ret_rc = err_set(err, -EINVAL, "an etcd endpoint is http://host:port or https://host:port, not %.100s",
				  url);
		return NULL;
	}
	copy = slice_dup(s);
	*ret_rc = copy ? 0 : err_set(err, -ENOMEM, "out of memory");
	return copy;
}

/* The i-th is that one from now on. */
static int set_endpoint(struct etcd *e, size_t i, const char *text, struct err *err)
{
	struct endpoint *at = &e->ends[i];
	char *url;
	int rc;

	url = endpoint_url(text, &rc, err);
	if (!url)
		return rc;
	if (i < e->n_ends && !at->gone && strcmp(at->url, url) == 0) {
		free(url);
		return 0;
	}
	if (i < e->n_ends && at->probe.done)
		etcd_ask_fini(&at->probe);
	if (i < e->n_ends)
		free(at->url);
	*at = (struct endpoint){ .url = url };
	(void)snprintf(at->why, sizeof(at->why), "no answer yet");
	if (e->used == at)
		e->used = NULL;
	e->n_ends = i < e->n_ends ? e->n_ends : i + 1;
	return 0;
}

int etcd_set_options(struct etcd *e, const struct engine_etcd_options *options, struct err *err)
{
	const char *const texts[] = { [ETCD_CA] = options->ca,     [ETCD_CERT] = options->cert,
				      [ETCD_KEY] = options->key,   [ETCD_USER] = options->user,
				      [ETCD_PASSWORD] = options->password, [ETCD_PROBE] = options->probe };
	int rc = 0;

	if (!options->n_endpoints || options->n_endpoints > ENGINE_ETCD_ENDPOINTS)
		return err_set(err, -EINVAL, "etcd needs 1 to %d endpoints", ENGINE_ETCD_ENDPOINTS);
	for (size_t i = 0; i < options->n_endpoints && !rc; i++)
		rc = set_endpoint(e, i, options->endpoints[i], err);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && !rc; i++) {
		e->texts[i] = texts[i] ? slice_dup(slice_of(texts[i])) : NULL;
		if (texts[i] && !e->texts[i])
			rc = err_set(err, -ENOMEM, "out of memory");
	}
	e->limits.max_ops = options->limits.max_ops ? options->limits.max_ops : OPS_MAX;
	e->limits.max_bytes = options->limits.max_bytes ? options->limits.max_bytes : BYTES_MAX;
	e->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
	e->lease_s = options->lease_s ? options->lease_s : LEASE_S;
	e->lease_lost = options->lease_lost;
	e->ctx = options->ctx;
	e->cluster = options->cluster_id;
	return rc;
}

int engine_etcd_set_endpoints(struct engine *engine, const char *const *endpoints, size_t n, struct err *err)
{
	struct etcd *e = (struct etcd *)engine;
	int rc = 0;

	if (!n || n > ENGINE_ETCD_ENDPOINTS)
		return err_set(err, -EINVAL, "etcd needs 1 to %d endpoints", ENGINE_ETCD_ENDPOINTS);
	if (e->closing)
		return 0;
	for (size_t i = 0; i < n && !rc; i++)
		rc = set_endpoint(e, i, endpoints[i], err);
	for (size_t i = n; i < e->n_ends && !rc; i++) {
		/* Its place stays: requests that are under way point there. */
		if (e->ends[i].probe.done)
			etcd_ask_fini(&e->ends[i].probe);
		e->ends[i].probe.done = NULL;
		e->ends[i].gone = true;
		e->ends[i].good = false;
		e->used = e->used == &e->ends[i] ? NULL : e->used;
	}
	etcd_wake(e);
	return rc;
}
