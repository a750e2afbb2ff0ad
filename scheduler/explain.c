/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control API's explain: which chain a URL meets and why.  The control
 * thread finds the chain and makes the document, the data thread only looks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "lib/slice.h"
#include "scheduler/control.h"
#include "scheduler/status_priv.h"

#define URL_FORMS                                                                  \
	"http://host[:port]/path, https://..., unix:/socket[:/path] or "           \
	"http+unix://%2Fsocket/path is expected"

/* The parts of a URL that choose a chain; owned. */
struct target {
	char *host; /* or unix:/socket */
	char *path;
	uint32_t port; /* with the scheme's default filled in; 0: none */
};

static void target_fini(struct target *t)
{
	free(t->host);
	free(t->path);
}

/* The document repeats it: only text can stand there. */
static bool is_text(const char *url)
{
	json_t *text = json_string(url);

	json_decref(text);
	return text;
}

/* unix:/socket or unix:/socket:/path */
static int socket_parse(const char *url, struct target *t)
{
	const char *colon = strstr(url + strlen("unix:"), ":/");

	t->host = strndup(url, colon ? (size_t)(colon - url) : strlen(url));
	t->path = strdup(colon ? colon + 1 : "/");
	return t->host && t->path ? 0 : -ENOMEM;
}

/* http+unix://%2Fsocket/path, as requests_unixsocket and others write it. */
static int socket_url_parse(const char *url, struct target *t)
{
	const char *host = url + strlen("http+unix://");
	size_t size = strcspn(host, "/?#");
	int n = 0;
	char *socket = size ? curl_easy_unescape(NULL, host, (int)size, &n) : NULL;
	int r = -EINVAL;

	if (socket && socket[0] == '/' && strlen(socket) == (size_t)n) {
		if (asprintf(&t->host, "unix:%s", socket) < 0)
			t->host = NULL; /* asprintf() leaves it undefined */
		t->path = strdup(host[size] == '/' ? host + size : "/");
		r = t->host && t->path ? 0 : -ENOMEM;
	}
	curl_free(socket);
	return r;
}

/* A part of a URL, malloc'd, or NULL. */
static char *part(CURLU *u, CURLUPart what)
{
	char *text = NULL, *copy = NULL;

	if (curl_url_get(u, what, &text, CURLU_DEFAULT_PORT) == CURLUE_OK)
		copy = strdup(text);
	curl_free(text);
	return copy;
}

static int http_parse(const char *url, struct target *t)
{
	CURLU *u = curl_url();
	char *port = NULL;
	uint64_t number = 0;
	int r = -EINVAL;

	if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
		t->host = part(u, CURLUPART_HOST);
		t->path = part(u, CURLUPART_PATH);
		port = part(u, CURLUPART_PORT);
	}
	if (t->host && t->path && port && slice_to_u64(slice_of(port), &number) == 0)
		r = 0;
	t->port = (uint32_t)number;
	free(port);
	curl_url_cleanup(u);
	return r;
}

static int url_parse(const char *url, struct target *t)
{
	static const struct {
		const char *start;
		int (*parse)(const char *url, struct target *t);
	} forms[] = {
		{ "unix:/", socket_parse },
		{ "http+unix://", socket_url_parse },
		{ "", http_parse },
	};
	size_t i = 0;

	*t = (struct target){ 0 };
	if (!is_text(url))
		return -EINVAL;
	while (strncmp(url, forms[i].start, strlen(forms[i].start)))
		i++;
	return forms[i].parse(url, t);
}

static json_t *links_json(const struct look *l)
{
	struct mp_str said = buf_slice(&l->said);
	json_t *list = json_array();

	for (uint32_t i = 0; i < l->n_units; i++) {
		const struct look_unit *seen = &l->seen_units[i];

		json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:o,s:o}", "middlepipe",
			l->units[i]->middlepipe, "type", l->units[i]->filter->name, "standing",
			standing_name(seen->standing), "ejected", ejected_json(seen), "status",
			said_json(seen, &said)));
	}
	return list;
}

static json_t *explain_json(const struct api_call *call)
{
	const struct look *l = &call->look;
	const struct look_chain *seen = &l->seen_chains[0];
	const struct chain *c = &l->set->chain[l->chain];
	const struct lane_key *match = &c->destination->matches[call->match];

	return json_pack("{s:s,s:s,s:s%,s:s%,s:s,s:o,s:s?,s:o}", "url", call->argument,
		"destination", c->destination->name, "match", match->text, (size_t)match->size,
		"prefix", c->prefix.ptr ? c->prefix.ptr : "", c->prefix.len, "standing",
		standing_name(seen->standing), "until", time_json(seen->until_ns), "why",
		seen->by ? seen->by->middlepipe : NULL, "chain", links_json(l));
}

static void explain_back(void *ctx, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;

	(void)ctx;
	if (call->look.missed) {
		explain_get(call);
		/* Where no chain is met any more, the reply is there already. */
	} else {
		call->reply = explain_json(call);
	}
	if (call->reply)
		api_done(call);
}

/* Has a look at the chain that the target meets; replies at once when there is none. */
static void target_look(struct api_call *call, const struct target *t)
{
	const struct chainset *set = config_in_force(call->control);
	const struct chain_destination *dest = NULL, *all;
	struct look *l = &call->look;
	size_t n;

	call->status = 200;
	if (set)
		dest = chains_find(set->chains, slice_of(t->host), t->port, &call->match);
	if (!dest) {
		call->reply = json_pack("{s:s,s:n}", "url", call->argument, "destination");
		return;
	}
	all = chains_destinations(set->chains, &n);
	l->set = set;
	l->chain = (uint32_t)chain_prefix_find(dest, slice_of(t->path));
	for (const struct chain_destination *at = all; at != dest; at++)
		l->chain += (uint32_t)at->n_prefixes;
	l->n_chains = 1;
	l->units = set->chain[l->chain].units;
	l->n_units = set->chain[l->chain].n_units;
	api_send(call, look_there, explain_back);
}

void explain_get(struct api_call *call)
{
	struct target t = { 0 };

	if (!call->argument)
		api_fail(call, 400, "explain needs ?url=URL");
	else if (url_parse(call->argument, &t) < 0)
		api_fail(call, 400, "cannot read the URL %.200s: %s", call->argument, URL_FORMS);
	else
		target_look(call, &t);
	target_fini(&t);
}
