/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd engine's endpoints: what is asked of one and what its answer says of
 * it; which of them is used.  See etcd_priv.h.
 */
#include "aggregator/rows/engine/etcd_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/engine/etcd_body.h"
#include "lib/slice.h"

#define PROBE_FIRST_MS 200 /* for the first question; twice that for the next */
#define AGAIN_FIRST_MS 25  /* between two questions; twice that after each failure */
#define AGAIN_DOUBLED 5    /* times: 800 ms at most */
#define TRUST_MS 10000     /* how long one that gave trouble is only used when others do so, too */

static const char full_text[] = "etcd has no space (NOSPACE): compact it, defragment its members one after "
				"another, then disarm each alarm by its member id";

/* ------------------------------------------------------------------- questions */

bool etcd_is_ours(struct etcd *e, const struct endpoint *at, uint64_t cluster)
{
	char why[sizeof(e->health.text)];

	if (!e->cluster)
		e->cluster = cluster;
	if (e->cluster == cluster)
		return !e->health.damaged;
	(void)snprintf(why, sizeof(why),
		       "%.48s is of cluster %016" PRIx64 ", not %016" PRIx64 ": another etcd, or a backup that was restored; "
		       "give the right addresses, or end all members and start again: one says how to go on "
		       "(--accept-loss)", at->url, cluster, e->cluster);
	etcd_stop(e, why);
	return false;
}

/* Nothing that was seen may be gone again. */
static bool is_newer(struct etcd *e, const struct etcd_ask *ask)
{
	char why[sizeof(e->health.text)];

	if (ask->stale)
		return true;
	if (ask->answer.revision >= ask->floor) {
		if (ask->answer.revision > e->seen)
			e->seen = ask->answer.revision;
		return true;
	}
	(void)snprintf(why, sizeof(why),
		       "%.48s is at revision %" PRIu64 " and was at %" PRIu64 ": a backup was restored; "
		       "end all members, restore it with a new cluster token, then start again: one says how to go on "
		       "(--accept-loss)", ask->at->url, ask->answer.revision, ask->floor);
	etcd_stop(e, why);
	return false;
}

static void serving(struct etcd *e)
{
	e->health.serving = true;
	(void)snprintf(e->health.text, sizeof(e->health.text), "%s", e->health.full ? full_text : "");
}

void etcd_has_room(struct etcd *e)
{
	e->health.full = false;
	serving(e);
}

static void not_serving(struct etcd *e, const struct endpoint *at, const char *why)
{
	e->counts.troubles++;
	if (e->health.damaged)
		return;
	e->health.serving = false;
	(void)snprintf(e->health.text, sizeof(e->health.text), "etcd at %.60s: %.180s", at->url, why);
}

void etcd_misfit(struct etcd *e, struct endpoint *at, const char *why)
{
	not_serving(e, at, why);
	etcd_trouble(e, at, why);
}

/* What an answer says of our state and of the endpoint. */
static void learn(struct etcd_ask *ask, struct etcd_verdict *verdict)
{
	struct etcd *e = ask->etcd;

	switch (verdict->kind) {
	case ETCD_GOOD:
		if (etcd_is_ours(e, ask->at, ask->answer.cluster) && is_newer(e, ask) && !ask->stale)
			serving(e);
		break;
	case ETCD_FULL:
		e->health.full = true;
		serving(e);
		break;
	case ETCD_WRONG:
	case ETCD_COMPACTED:
	case ETCD_FUTURE:
	case ETCD_NO_LEASE:
		if (ask->probe)
			not_serving(e, ask->at, verdict->why); /* there is no such user, for one */
		else
			serving(e); /* it was we who asked wrongly */
		break;
	case ETCD_FORBIDDEN:
		if (ask->probe)
			serving(e); /* so says who has a quorum */
		else
			not_serving(e, ask->at, verdict->why);
		break;
	case ETCD_NO_TOKEN:
		free(e->token);
		e->token = NULL;
		/* fall through */
	case ETCD_TROUBLE:
		not_serving(e, ask->at, verdict->why);
		if (!ask->probe)
			etcd_trouble(e, ask->at, verdict->why);
		break;
	default:
		break;
	}
	if (!e->health.damaged)
		return;
	verdict->kind = ETCD_STOPPED;
	(void)snprintf(verdict->why, sizeof(verdict->why), "%s", e->health.text);
}

static bool on_data(void *ctx, struct mp_str bytes)
{
	return etcd_answer_feed(&((struct etcd_ask *)ctx)->answer, bytes);
}

static void on_field(void *ctx, struct mp_str name, struct mp_str value)
{
	etcd_answer_field(&((struct etcd_ask *)ctx)->answer, name, value);
}

static void on_done(void *ctx, const struct http_multi_end *end)
{
	struct etcd_ask *ask = ctx;
	struct etcd_verdict verdict;

	ask->post = NULL;
	ask->sent = end->sent;
	etcd_judge(&ask->answer, end->status, end->why, &verdict);
	learn(ask, &verdict);
	ask->done(ask, &verdict);
}

void etcd_ask_init(struct etcd_ask *ask, struct etcd *e, void (*done)(struct etcd_ask *, struct etcd_verdict *))
{
	*ask = (struct etcd_ask){ .etcd = e, .done = done };
	buf_init(&ask->body, ENGINE_VALUE_MAX * 4);
	etcd_answer_init(&ask->answer, ETCD_ANSWER_MAX);
}

void etcd_ask_fini(struct etcd_ask *ask)
{
	http_task_cancel(ask->post);
	ask->post = NULL;
	buf_fini(&ask->body);
	etcd_answer_fini(&ask->answer);
}

bool etcd_ask_send(struct etcd_ask *ask, struct endpoint *at, uint64_t timeout_ms)
{
	const struct http_multi_calls calls = { .data = on_data, .done = on_done, .field = on_field, .ctx = ask };
	struct etcd *e = ask->etcd;
	/* A probe has a connection of its own: one that hangs would take calls along (lib/http_multi.h). */
	const struct etcd_request request = { .method = ask->answer.method, .url = at->url, .fresh = ask->probe,
					      .body = buf_slice(&ask->body), .leaderless = ask->leaderless,
					      .token = e->token, .timeout_ms = (long)timeout_ms };

	if (ask->body.error)
		return false;
	ask->at = at;
	ask->floor = e->seen;
	ask->sent = false;
	ask->post = etcd_rpc(e->calls, &request, &calls);
	e->counts.requests += ask->post != NULL;
	return ask->post != NULL;
}

/* ------------------------------------------------------------------- endpoints */

struct endpoint *etcd_pick(struct etcd *e)
{
	uint64_t now = uv_now(e->loop);
	struct endpoint *best = e->used && e->used->good ? e->used : NULL;

	for (struct endpoint *at = e->ends; at < e->ends + e->n_ends; at++) {
		/* The nearest that is trusted; else the one in use; else any. */
		if (at->good && (!best || (at < best && now >= at->trusted))) {
			best = at;
			break;
		}
	}
	if (best && best != e->used) {
		e->counts.failovers += e->used != NULL;
		e->used = best;
	}
	return best;
}

struct endpoint *etcd_pick_other(struct etcd *e, const struct endpoint *than)
{
	for (struct endpoint *at = e->ends; at < e->ends + e->n_ends; at++)
		if (at->good && at != than)
			return at;
	return etcd_pick(e);
}

struct endpoint *etcd_pick_stale(struct etcd *e, const struct endpoint *than)
{
	size_t next = than ? (size_t)(than - e->ends) + 1 : 0;

	for (size_t i = 0; e->cluster && i < e->n_ends; i++) {
		struct endpoint *at = &e->ends[(next + i) % e->n_ends];

		if (!at->gone)
			return at;
	}
	return NULL;
}

void etcd_trouble(struct etcd *e, struct endpoint *at, const char *why)
{
	uint64_t now = uv_now(e->loop);

	(void)snprintf(at->why, sizeof(at->why), "%s", why);
	at->trusted = now + TRUST_MS;
	if (at->good)
		at->due = now;
	at->good = false;
	etcd_wake(e);
}

/* -------------------------------------------------------------------- probing */

static uint64_t doubled(uint64_t first, unsigned times)
{
	return first << (times < AGAIN_DOUBLED ? times : AGAIN_DOUBLED);
}

static void on_failed(struct etcd *e, struct endpoint *at, const char *why)
{
	at->due = uv_now(e->loop) + doubled(AGAIN_FIRST_MS, at->failures++);
	(void)snprintf(at->why, sizeof(at->why), "%s", why);
	/* What is read from it might be old, and hang for ever. */
	etcd_watches_end(e, at, why);
	etcd_wake(e);
}

static void on_probed(struct etcd_ask *ask, struct etcd_verdict *verdict)
{
	struct etcd *e = ask->etcd;
	struct endpoint *at = ask->at;

	if (verdict->kind == ETCD_STOPPED)
		return;
	if (verdict->kind != ETCD_GOOD && verdict->kind != ETCD_FULL && verdict->kind != ETCD_FORBIDDEN) {
		on_failed(e, at, verdict->why);
		return;
	}
	if (ask->answer.token) {
		free(e->token);
		e->token = ask->answer.token;
		ask->answer.token = NULL;
	} else {
		at->good = true;
	}
	at->failures = 0;
	at->due = uv_now(e->loop); /* after the log-in comes the question */
	etcd_wake(e);
}

/*
 * A linearizable read.  A transaction of nothing would be answered by a member that has
 * lost the others, with an old revision: etcd takes it for one that may be stale.
 */
static bool probe(struct etcd *e, struct endpoint *at)
{
	const char *password = e->texts[ETCD_PASSWORD], *key = e->texts[ETCD_PROBE];
	bool login = e->texts[ETCD_USER] && !e->token;
	uint64_t limit = doubled(PROBE_FIRST_MS, at->failures);
	struct etcd_ask *ask = &at->probe;

	buf_reset(&ask->body);
	etcd_answer_again(&ask->answer, login ? ETCD_LOGIN : ETCD_RANGE, 0);
	ask->stale = login;
	if (login)
		(void)etcd_body_login(&ask->body, e->texts[ETCD_USER], password ? password : "");
	else
		(void)etcd_body_probe(&ask->body, slice_of(key ? key : "middlepipe/"));
	/* A failure is found when it is sent. */
	return etcd_ask_send(ask, at, limit < e->timeout_ms ? limit : e->timeout_ms);
}

uint64_t etcd_ends_work(struct etcd *e, uint64_t now)
{
	uint64_t due = ETCD_NEVER;

	for (struct endpoint *at = e->ends; at < e->ends + e->n_ends && !e->health.damaged; at++) {
		if (!at->probe.done) {
			etcd_ask_init(&at->probe, e, on_probed);
			at->probe.probe = true;
		}
		if (at->good || at->gone || at->probe.post)
			continue;
		if (at->due <= now && !probe(e, at))
			on_failed(e, at, "out of memory");
		if (!at->probe.post)
			etcd_sooner(&due, at->due);
	}
	return due;
}
