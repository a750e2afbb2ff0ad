/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control API's explain, override and reset: which chain a URL meets and
 * why, and an operator's word to a middlepipe.  Data thread.
 */
#include <errno.h>
#include <string.h>

#include <curl/curl.h>

#include "lib/slice.h"
#include "scheduler/control.h"
#include "scheduler/status_priv.h"

/* The parts of a URL that choose a chain. */
struct target {
	char *host;
	char *path;
	uint32_t port; /* with the scheme's default filled in */
};

static void target_fini(struct target *t)
{
	curl_free(t->host);
	curl_free(t->path);
}

/* The document repeats it: only text can stand there. */
static bool is_text(const char *url)
{
	json_t *text = json_string(url);

	json_decref(text);
	return text;
}

static int url_parse(const char *url, struct target *t)
{
	CURLU *u = curl_url();
	char *port = NULL;
	uint64_t number = 0;
	int r = -EINVAL;

	*t = (struct target){ 0 };
	if (u && is_text(url) && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_HOST, &t->host, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PATH, &t->path, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
	    slice_to_u64(slice_of(port), &number) == 0)
		r = 0;
	t->port = (uint32_t)number;
	curl_free(port);
	curl_url_cleanup(u);
	return r;
}

static json_t *links_json(struct data *d, const struct chain *c)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < c->n_units; i++) {
		const struct unit *u = c->units[i];

		json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:o,s:o}", "middlepipe",
			u->middlepipe, "type", u->filter->name, "standing",
			standing_name(unit_standing(u, d->now_ns)), "ejected", ejected_json(u),
			"status", unit_status_json(d, u)));
	}
	return list;
}

static json_t *explain(struct data *d, const char *url, const struct target *t)
{
	const struct chain_destination *dest = NULL, *all;
	const struct unit *by;
	const struct chain *c;
	uint32_t index = 0;
	size_t match, n;
	int standing;

	if (d->current)
		dest = chains_find(d->current->chains, slice_of(t->host), t->port, &match);
	if (!dest)
		return json_pack("{s:s,s:n}", "url", url, "destination");
	all = chains_destinations(d->current->chains, &n);
	for (const struct chain_destination *at = all; at != dest; at++)
		index += (uint32_t)at->n_prefixes;
	c = &d->current->chain[index + chain_prefix_find(dest, slice_of(t->path))];
	standing = chain_standing(c, d->now_ns, &by);
	return json_pack("{s:s,s:s,s:s%,s:s%,s:s,s:o,s:s?,s:o}", "url", url, "destination",
		dest->name, "match", dest->matches[match].text, (size_t)dest->matches[match].size,
		"prefix", c->prefix.ptr ? c->prefix.ptr : "", c->prefix.len, "standing",
		standing_name(standing), "until",
		time_json(d, standing == MP_STANDING_REPLY ? by->until_ns : 0), "why",
		by ? by->middlepipe : NULL, "chain", links_json(d, c));
}

void explain_there(struct data *d, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;
	struct target t = { 0 };

	call->status = 200;
	if (!call->argument)
		api_fail(call, 400, "explain needs ?url=URL");
	else if (url_parse(call->argument, &t) < 0)
		api_fail(call, 400, "cannot read the URL %.200s", call->argument);
	else
		call->reply = explain(d, call->argument, &t);
	target_fini(&t);
	data_return(d, mail);
}

/* Gives a command to every unit of the call's middlepipe; counts those who took it. */
static void command(struct data *d, struct api_call *call, const char *name, const char *value)
{
	int found = 0, taken = 0, refused = 0;

	for (uint32_t i = 0; d->current && i < d->current->n_units; i++) {
		struct unit *u = d->current->units[i];
		int r = -ENOTSUP;

		if (strcmp(u->middlepipe, call->name))
			continue;
		found++;
		if (u->ejected && !strcmp(name, "reset")) {
			call->reinstall = true;
			taken++;
			continue;
		}
		if (unit_alive(u) && u->filter->command) {
			unit_enter(u);
			r = u->filter->command(u->self, name, value);
			unit_leave(u);
		}
		taken += r >= 0;
		data_touch(d, u);
		refused += r == -EINVAL;
	}
	call->status = 200;
	if (!found)
		api_fail(call, 404, "no middlepipe is called %s", call->name);
	else if (refused)
		api_fail(call, 400, "%s: %s is none of open, closed, auto", name, value);
	else if (!taken)
		api_fail(call, 422, "%s has no %s", call->name, name);
	else
		call->reply = json_pack("{s:i}", "units", taken);
}

void override_there(struct data *d, struct mail *mail)
{
	struct api_call *call = (struct api_call *)(void *)mail;
	struct err err = { 0 };
	json_t *body = NULL;
	const char *state = NULL;

	if (json_load_text(buf_slice(&call->body), 4096, 2, &body, &err) < 0)
		api_fail(call, 400, "body: %s", err.text);
	else if (!(state = json_string_value(json_object_get(body, "state"))))
		api_fail(call, 400, "body: {\"state\": \"open\", \"closed\" or \"auto\"} is expected");
	else
		command(d, call, "override", state);
	json_decref(body);
	data_return(d, mail);
}

void reset_there(struct data *d, struct mail *mail)
{
	command(d, (struct api_call *)(void *)mail, "reset", "");
	data_return(d, mail);
}
