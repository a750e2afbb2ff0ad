/* SPDX-License-Identifier: Apache-2.0 */
/* See admit.h. */
#include "aggregator/etcd/admit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/keys.h"
#include "aggregator/rows/meta.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/json_text.h"
#include "lib/log.h"
#include "lib/slice.h"

#define REQUEST_MAX 4096
#define MISTAKES_MAX 4
#define STEPS_MAX 16   /* changes of members for one joiner; then it has to ask again */
#define CLAIMS_MAX 8   /* tries to claim its token */
#define PROBE_MS 1500
#define PROBE_AGAIN_MS 3000 /* behind a probe without an answer: one packet lost is no death */

struct admit {
	struct managed *managed;     /* borrowed, like the engine */
	struct engine *engine;
	struct admit_request request;
	char tenant[ROW_TENANT_MAX + 1]; /* the group's */
	uint64_t now_ms;             /* when it asked, since 1970 */
	struct buf key;              /* of its token */
	struct buf record;           /* as it was read */
	struct buf claim;            /* as it is written */
	unsigned claims;             /* tries */
	struct cluster_ask ask;      /* to etcd */
	enum admit_step step;        /* that is under way */
	bool listing;                /* rather the list is */
	uint64_t id;                 /* of whom the step speaks */
	uint64_t dead, alive;        /* found so */
	uint64_t silent;             /* has not answered the first of two probes */
	uv_timer_t timer;            /* until the second one */
	struct cluster_list list;    /* read last */
	unsigned steps;              /* so far */
	bool stopped;                /* nobody waits */
	struct buf body;             /* of the answer */
	struct admit_calls calls;
};

/* ------------------------------------------------------------------- the request */

static bool is_id(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n && !text[n];
}

/* What may become an argument of etcd, and nothing else. */
static bool is_url(const char *text)
{
	struct mp_str s = slice_of(text);
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/[]");

	return !text[n] && (slice_starts(s, MP_LIT("http://")) || slice_starts(s, MP_LIT("https://")));
}

static void get(const struct json_at *at, const char *name, bool required, char *out, size_t size,
		bool (*fits)(const char *), struct json_errs *errs)
{
	struct json_at member = json_at_member(at, name);
	const char *text = "";

	if (json_get_str(at, name, required ? JSON_REQUIRED : JSON_OPTIONAL, &text, errs))
		return;
	if (strlen(text) >= size || (fits && !fits(text)))
		json_errs_add(errs, &member, "is too long, or has odd characters");
	else
		memcpy(out, text, strlen(text) + 1);
}

static bool is_nonce(const char *text)
{
	uint64_t value;

	return hex_number(slice_of(text), 16, &value);
}

int admit_request_read(struct mp_str text, struct admit_request *ret, struct err *err)
{
	CLEANUP_JSON json_t *value = NULL;
	char replaces[ETCD_NONCE_SIZE] = "";
	struct json_errs errs;
	struct json_at root;
	int rc = json_load_text(text, REQUEST_MAX, 2, &value, err);

	*ret = (struct admit_request){ .replaces = 0 };
	if (rc)
		return -EINVAL;
	root = json_at_root(value);
	json_errs_init(&errs, MISTAKES_MAX);
	get(&root, "token", true, ret->token, sizeof(ret->token), NULL, &errs);
	get(&root, "member", true, ret->member, sizeof(ret->member), is_id, &errs);
	get(&root, "nonce", true, ret->nonce, sizeof(ret->nonce), is_nonce, &errs);
	get(&root, "replaces", true, replaces, sizeof(replaces), is_nonce, &errs);
	get(&root, "peer", true, ret->peer, sizeof(ret->peer), is_url, &errs);
	get(&root, "tenant", false, ret->tenant, sizeof(ret->tenant), NULL, &errs);
	ret->format = 1; /* of those who do not say */
	json_get_int(&root, "format", JSON_OPTIONAL, 1, INT32_MAX, &ret->format, &errs);
	rc = json_errs_result(&errs, err);
	json_errs_fini(&errs);
	(void)hex_number(slice_of(replaces), 16, &ret->replaces); /* 16 digits, or an error above */
	return rc;
}

/* ------------------------------------------------------------------ what is next */

/* A life of the joiner before this one: by its id, by its name, by its address. */
static const struct cluster_member *predecessor(const struct cluster_list *list, const struct admit_request *request)
{
	const struct cluster_member *m = request->replaces ? cluster_by_id(list, request->replaces) : NULL;

	if (!m)
		m = cluster_by_name(list, request->member);
	if (!m)
		m = cluster_by_peer(list, request->peer);
	/* That is this life: it was added and has not started yet. */
	if (m && !m->name[0] && m->id != request->replaces && strcmp(m->peer, request->peer) == 0)
		return NULL;
	return m;
}

enum admit_step admit_next(const struct cluster_list *list, const struct admit_request *request, uint64_t dead,
			   uint64_t alive, uint64_t gone, uint64_t *ret_id)
{
	const struct cluster_member *m = predecessor(list, request);

	*ret_id = m ? m->id : 0;
	if (m && m->client[0] && m->id != dead)
		return m->id == alive ? ADMIT_ALIVE : ADMIT_PROBE;
	if (m)
		return ADMIT_REMOVE;
	m = cluster_by_peer(list, request->peer);
	*ret_id = m ? m->id : 0;
	if (m)
		return ADMIT_READY;
	m = gone != alive ? cluster_by_id(list, gone) : NULL;
	*ret_id = m ? m->id : 0;
	if (m)
		return m->client[0] && m->id != dead ? ADMIT_PROBE : ADMIT_REMOVE;
	return list->n < ETCD_VOTERS_MAX ? ADMIT_ADD : ADMIT_CLIENT;
}

/* ------------------------------------------------------------------------ the end */

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void finish(struct admit *a, int status, const char *code, const char *text)
{
	const struct admit_answer answer = { status, code, text, &a->body };

	cluster_ask_fini(&a->ask);
	a->calls.done(a->calls.ctx, &answer);
	buf_fini(&a->key);
	buf_fini(&a->record);
	buf_fini(&a->claim);
	buf_fini(&a->body);
	explicit_bzero(&a->request, sizeof(a->request));
	uv_close((uv_handle_t *)&a->timer, on_closed);
}

__attribute__((format(printf, 4, 5))) static void refuse(struct admit *a, int status, const char *code,
							   const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	finish(a, status, code, text);
}

static void let_in(struct admit *a, bool client)
{
	const struct identity *self = managed_identity(a->managed);
	struct buf list;

	buf_init(&list, ETCD_TEXT_SIZE - 1);
	(void)buf_printf(&a->body, "{\"role\":\"%s\",\"group\":\"%s\",\"cluster_id\":\"%016" PRIx64
			 "\",\"etcd_id\":\"%016" PRIx64 "\",\"initial\":", client ? "client" : "member", self->group,
			 a->list.cluster, client ? 0 : a->id);
	if (!client)
		(void)cluster_initial(&list, &a->list, a->id, a->request.member);
	(void)json_text_add(&a->body, buf_slice(&list));
	if (!list.error) {
		buf_reset(&list);
		(void)cluster_endpoints(&list, &a->list, a->id);
		(void)buf_add_str(&a->body, ",\"endpoints\":");
		(void)json_text_add(&a->body, buf_slice(&list));
	}
	(void)buf_add_str(&a->body, "}");
	log_info("a member is let in", "member=%s as=%s etcd=%016" PRIx64, a->request.member,
		 client ? "client" : "learner", a->id);
	if (list.error || a->body.error)
		finish(a, 500, "internal", "the list of members is too long");
	else
		finish(a, 200, NULL, NULL);
	buf_fini(&list);
}

/* ---------------------------------------------------------------------- the steps */

static void sent(struct admit *a, bool begun)
{
	if (!begun)
		refuse(a, 503, "unavailable", "out of memory, or no etcd is known");
}

static void read_list(struct admit *a)
{
	a->listing = true;
	if (a->stopped)
		refuse(a, 503, "unavailable", "this member stops");
	else if (a->steps++ >= STEPS_MAX)
		refuse(a, 503, "unavailable", "the members change all the time: ask again");
	else
		sent(a, cluster_list(&a->ask, managed_url(a->managed)));
}

static void go_on(struct admit *a)
{
	const struct cluster_member *m;
	const char *url = managed_url(a->managed);

	a->listing = false;
	a->step = admit_next(&a->list, &a->request, a->dead, a->alive, managed_gone(a->managed), &a->id);
	m = cluster_by_id(&a->list, a->id);
	switch (a->step) {
	case ADMIT_READY:
	case ADMIT_CLIENT:
		let_in(a, a->step == ADMIT_CLIENT);
		break;
	case ADMIT_ALIVE:
		refuse(a, 409, "alive", "member %s (etcd %016" PRIx64 " at %s) lives: stop it, or take it out first",
		       m->name, m->id, m->client);
		break;
	case ADMIT_PROBE:
		sent(a, cluster_status(&a->ask, m->client, PROBE_MS));
		break;
	case ADMIT_REMOVE:
		log_warn("a dead member is taken out", "member=%s etcd=%016" PRIx64 " for=%s", m->name, m->id,
			 a->request.member);
		sent(a, cluster_remove(&a->ask, url, a->id));
		break;
	case ADMIT_ADD:
		sent(a, cluster_add(&a->ask, url, a->request.peer));
		break;
	}
}

static void on_list(struct admit *a, const struct cluster_ask *ask)
{
	struct err err = { 0 };

	if (ask->word != CLUSTER_DONE)
		refuse(a, 503, "unavailable", "etcd does not list its members: %s", ask->why);
	else if (cluster_list_read(buf_slice(&ask->answer), &a->list, &err) < 0)
		refuse(a, 503, "unavailable", "etcd does not list its members: %s", err.text);
	else
		go_on(a);
}

/* A change that was not done may be done all the same: the list says so, the next time it is asked. */
static void on_change(struct admit *a, const struct cluster_ask *ask)
{
	if (ask->word == CLUSTER_DONE || ask->word == CLUSTER_NO_MEMBER || ask->word == CLUSTER_EXISTS)
		read_list(a);
	else if (ask->word == CLUSTER_UNHEALTHY)
		refuse(a, 503, "unhealthy", "a member of etcd is down (%s): bring it back, or take it out (DELETE "
		       "/v1/members/ID), before another one joins", ask->why);
	else if (ask->word == CLUSTER_BUSY)
		refuse(a, 503, "busy", "another member is joining: %s", ask->why);
	else
		refuse(a, 503, "unavailable", "etcd: %s", ask->why);
}

static void probe_again(uv_timer_t *timer)
{
	go_on(timer->data); /* to the same step */
}

static void on_probe(struct admit *a, const struct cluster_ask *ask)
{
	if (ask->status && cluster_answered(ask) == a->id) {
		a->alive = a->id;
	} else if (a->silent == a->id) {
		a->dead = a->id;
	} else {
		a->silent = a->id;
		uv_timer_start(&a->timer, probe_again, PROBE_AGAIN_MS, 0);
		return;
	}
	go_on(a);
}

static void on_answer(void *ctx, struct cluster_ask *ask)
{
	struct admit *a = ctx;

	if (a->listing)
		on_list(a, ask);
	else if (a->step == ADMIT_PROBE)
		on_probe(a, ask);
	else
		on_change(a, ask);
}

/* ---------------------------------------------------------------------- the token */

static void read_token(struct admit *a);

static void on_claimed(void *ctx, const struct engine_answer *answer)
{
	struct admit *a = ctx;

	if (a->stopped)
		refuse(a, 503, "unavailable", "this member stops");
	else if (answer->outcome == ENGINE_COMMITTED)
		read_list(a);
	else if (answer->outcome == ENGINE_REFUSED)
		refuse(a, 503, "unavailable", "the token was not claimed: %s", answer->why);
	else
		read_token(a); /* somebody was faster, perhaps we ourselves */
}

static void claim(struct admit *a, const struct token_record *free_record)
{
	struct token_record record = *free_record;
	const struct engine_compare same = { buf_slice(&a->key), buf_slice(&a->record) };
	struct engine_op put = { .kind = ENGINE_PUT, .key = same.key };
	const struct engine_txn txn = { .compares = &same, .n_compares = 1, .ops = &put, .n_ops = 1 };

	memcpy(record.member, a->request.member, sizeof(record.member));
	memcpy(record.nonce, a->request.nonce, sizeof(record.nonce));
	buf_reset(&a->claim);
	(void)token_record_write(&a->claim, &record);
	put.value = buf_slice(&a->claim);
	if (a->claim.error || a->engine->ops->commit(a->engine, &txn, on_claimed, a) < 0)
		refuse(a, 503, "unavailable", "out of memory");
}

/*
 * What is told to who has a token only, and before it is used up.  With another tenant's rows it would
 * have a vote here, and begin rows of its own.  False: it was refused.
 */
static bool may_begin(struct admit *a)
{
	if (a->request.format != META_FORMAT)
		refuse(a, 409, "format", "the rows of this group are of format %d, and the joining program knows %d: use one of "
		       "the same format", META_FORMAT, (int)a->request.format);
	else if (a->request.tenant[0] && strcmp(a->request.tenant, a->tenant) != 0)
		refuse(a, 409, "tenant", "the rows of this group are those of tenant %s, and not of %s: start the joining member "
		       "with --tenant %s", a->tenant, a->request.tenant, a->tenant);
	else if (!a->calls.begins(a->calls.ctx))
		refuse(a, 503, "busy", "another member is joining");
	else
		return true;
	return false;
}

static void on_token(void *ctx, const struct engine_answer *answer)
{
	struct admit *a = ctx;
	struct token_record record;

	if (answer->outcome != ENGINE_COMMITTED || a->stopped) {
		refuse(a, 503, "unavailable", "the token cannot be looked up: %s", answer->why ? answer->why : "it stops");
		return;
	}
	buf_reset(&a->record);
	if (answer->n_items)
		(void)buf_add_slice(&a->record, answer->items[0].value);
	if (!answer->n_items || token_record_read(buf_slice(&a->record), &record) < 0) {
		refuse(a, 403, "token", "there is no such token, or it has expired");
		return;
	}
	switch (token_state(&record, a->now_ms, a->request.nonce)) {
	case TOKEN_FREE:
		if (may_begin(a))
			claim(a, &record);
		break;
	case TOKEN_OURS:
		if (may_begin(a))
			read_list(a);
		break;
	case TOKEN_USED:
		refuse(a, 403, "token", "the token was used by member %s: each is good for once", record.member);
		break;
	case TOKEN_EXPIRED:
		refuse(a, 403, "token", "the token has expired");
		break;
	}
}

static void read_token(struct admit *a)
{
	const struct engine_range range = { .from = buf_slice(&a->key) };

	if (a->claims++ >= CLAIMS_MAX || a->engine->ops->range(a->engine, &range, on_token, a) < 0)
		refuse(a, 503, "unavailable", "the token cannot be claimed now");
}

/* --------------------------------------------------------------------- life cycle */

/* The key of its token. */
static int make_key(struct admit *a)
{
	char hash[TOKEN_HASH_SIZE];
	struct buf prefix;
	int rc;

	buf_init(&prefix, KEY_MAX);
	rc = token_hash(slice_of(a->request.token), hash);
	if (rc == 0)
		rc = key_prefix(&prefix, slice_of(a->tenant));
	if (rc == 0)
		rc = key_token(&a->key, buf_slice(&prefix), slice_of(hash));
	buf_fini(&prefix);
	return rc;
}

struct admit *admit_start(uv_loop_t *loop, struct managed *managed, struct engine *engine, struct mp_str tenant,
			  const struct admit_request *request, uint64_t now_ms, const struct admit_calls *calls)
{
	struct admit *a = calloc(1, sizeof(*a));
	struct engine_range first = { .from = { 0 } };

	if (!a)
		return NULL;
	*a = (struct admit){ .managed = managed, .engine = engine, .request = *request, .now_ms = now_ms,
			     .calls = *calls, .claims = 1 };
	uv_timer_init(loop, &a->timer); /* cannot fail */
	a->timer.data = a;
	cluster_ask_init(&a->ask, managed_http(managed), on_answer, a);
	buf_init(&a->key, KEY_MAX);
	buf_init(&a->record, TOKEN_RECORD_MAX);
	buf_init(&a->claim, TOKEN_RECORD_MAX);
	buf_init(&a->body, REQUEST_MAX * 4);
	(void)snprintf(a->tenant, sizeof(a->tenant), "%.*s", SLICE_ARG(tenant));
	if (make_key(a) == 0) {
		first.from = buf_slice(&a->key);
		if (engine->ops->range(engine, &first, on_token, a) == 0)
			return a;
	}
	buf_fini(&a->key);
	uv_close((uv_handle_t *)&a->timer, on_closed);
	return NULL;
}

void admit_stop(struct admit *admit)
{
	admit->stopped = true;
	if (!cluster_is_busy(&admit->ask) && !uv_is_active((uv_handle_t *)&admit->timer))
		return; /* the engine answers soon */
	http_task_cancel(admit->ask.post);
	admit->ask.post = NULL;
	refuse(admit, 503, "unavailable", "this member stops");
}
