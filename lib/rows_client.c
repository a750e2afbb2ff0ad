/* SPDX-License-Identifier: Apache-2.0 */
/* The client itself; see rows_client.h and rows_client_priv.h. */
#include "lib/rows_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/rows_client_priv.h"
#include "lib/slice.h"

#define KNOWN_MAX 4096       /* rows of which something is known */
#define TIMEOUT_MS 30000
#define ATTEMPT_MS 2000
#define OPEN_MS 10000
#define REQUESTS_MAX 1024
#define CONNECT_MS 1000L     /* until a connection stands, TLS included */
#define KEPT_MAX 256L        /* connections that are kept for later */
#define TOKEN_MAX 4096       /* bytes */

/* ------------------------------------------------------------------------- time */

uint64_t rowc_now(const struct rows_client *client)
{
	return uv_now(client->loop);
}

uint32_t rowc_chance(struct rows_client *client)
{
	client->seed ^= client->seed << 13;
	client->seed ^= client->seed >> 7;
	client->seed ^= client->seed << 17;
	return (uint32_t)(client->seed >> 32);
}

static void on_timer(uv_timer_t *timer);

static void arm(struct rows_client *client, uint64_t due)
{
	uint64_t now = rowc_now(client);

	if (due >= client->armed || client->closed)
		return;
	client->armed = due;
	uv_timer_start(&client->timer, on_timer, due > now ? due - now : 0, 0);
}

void rowc_wait(struct rows_client *client, struct rowc_waiter *waiter, uint64_t due)
{
	list_remove(&waiter->link);
	if (client->closed)
		return;
	waiter->due = due;
	list_push_back(&client->waiting, &waiter->link);
	arm(client, due);
}

/* Those that are due, one by one: each may take others away, or add some. */
static void on_timer(uv_timer_t *timer)
{
	struct rows_client *client = timer->data;
	uint64_t now = rowc_now(client);
	struct list due, *link;

	list_init(&due);
	client->armed = 0; /* nothing is armed meanwhile */
	LIST_FOR_EACH_SAFE(at, &client->waiting) {
		if (LIST_ENTRY_OF(at, struct rowc_waiter, link)->due > now)
			continue;
		list_remove(at);
		list_push_back(&due, at);
	}
	while ((link = list_pop_front(&due))) {
		struct rowc_waiter *waiter = LIST_ENTRY_OF(link, struct rowc_waiter, link);

		waiter->fire(waiter);
	}
	client->armed = UINT64_MAX;
	LIST_FOR_EACH(at, &client->waiting)
		arm(client, LIST_ENTRY_OF(at, struct rowc_waiter, link)->due);
}

/* ------------------------------------------------------------------------- rows */

int rowc_name_check(struct mp_str row, struct err *err)
{
	if (!row.len || row.len > 256)
		return err_set(err, -EINVAL, "the name of a row has 1 to 256 bytes, not %zu", row.len);
	for (size_t i = 0; i < row.len; i++)
		if ((unsigned char)row.ptr[i] < ' ' || row.ptr[i] == 0x7f)
			return err_set(err, -EINVAL, "the name of a row has no control characters");
	return 0;
}

struct rowc_known *rowc_known(const struct rows_client *client, struct mp_str row)
{
	return map_get(&client->known, row);
}

void rowc_forget(struct rows_client *client, struct mp_str row)
{
	free(map_remove(&client->known, row));
}

/* What is known, or room for it; NULL without memory. */
static struct rowc_known *know(struct rows_client *client, struct mp_str row)
{
	struct rowc_known *known = rowc_known(client, row);

	if (known)
		return known;
	if (map_count(&client->known) >= KNOWN_MAX)
		rowc_forget(client, map_entry_key(map_next(&client->known, NULL)));
	known = calloc(1, sizeof(*known));
	if (!known)
		return NULL;
	known->owner = ROWS_NOBODY;
	if (map_put(&client->known, row, known, NULL) < 0) {
		free(known);
		return NULL;
	}
	return known;
}

void rowc_learn(struct rows_client *client, struct mp_str row, uint64_t incarnation, uint64_t highest)
{
	struct rowc_known *known = know(client, row);

	if (!known)
		return; /* it is asked for again */
	if (known->incarnation != incarnation || known->highest < highest) {
		known->incarnation = incarnation;
		known->highest = highest;
	}
	known->at = rowc_now(client);
}

/* ---------------------------------------------------------------------- members */

/* The member with that URL; one that is new is added when there is room. */
static size_t member_of(struct rows_client *client, const char *url)
{
	bool tls = !strncmp(client->urls[0], "https:", 6);
	size_t n = client->members.n;

	for (size_t i = 0; i < n; i++)
		if (!strcmp(client->urls[i], url))
			return i;
	/* The token goes where it was meant to go: never in the clear when it was not before. */
	if (n == ROWS_MEMBERS_MAX || strncmp(url, tls ? "https://" : "http://", tls ? 8 : 7))
		return ROWS_NOBODY;
	client->urls[n] = slice_dup(slice_of(url));
	if (!client->urls[n])
		return ROWS_NOBODY;
	client->members.all[n] = (struct rows_member){ 0 };
	return client->members.n++;
}

void rowc_learn_owner(struct rows_client *client, struct mp_str row, const char *url)
{
	size_t owner = member_of(client, url);
	/* One that does not answer us may answer other members: they take the puts there. */
	bool deaf = owner != ROWS_NOBODY && client->members.all[owner].failures;
	struct rowc_known *known = owner == ROWS_NOBODY || deaf ? NULL : know(client, row);

	if (known)
		known->owner = owner;
}

static int add_url(struct rows_client *client, const char *url, struct err *err)
{
	struct mp_str text = slice_of(url);
	size_t n = client->members.n;

	while (text.len && text.ptr[text.len - 1] == '/')
		text.len--;
	if (text.len >= ROWS_URL_MAX || (!slice_starts(text, MP_LIT("http://")) &&
					 !slice_starts(text, MP_LIT("https://"))))
		return err_set(err, -EINVAL, "a member is http://HOST:PORT or https://HOST:PORT, not %s", url);
	client->urls[n] = slice_dup(text);
	if (!client->urls[n])
		return err_set(err, -ENOMEM, "out of memory");
	client->members.n++;
	return 0;
}

/* ------------------------------------------------------------------- life cycle */

static void client_free(struct rows_client *client)
{
	for (size_t i = 0; i < client->members.n; i++)
		free(client->urls[i]);
	for (struct map_entry *e = map_next(&client->known, NULL); e; e = map_next(&client->known, e))
		free(map_entry_value(e));
	map_fini(&client->known);
	if (client->authorization.ptr)
		explicit_bzero(client->authorization.ptr, client->authorization.len);
	buf_fini(&client->authorization);
	free(client->ca);
	free(client->cert);
	free(client->key);
	free(client);
}

static void handle_closed(struct rows_client *client)
{
	void (*closed)(void *) = client->closed;
	void *ctx = client->closed_ctx;

	if (--client->handles)
		return;
	client_free(client);
	closed(ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

static void on_http_closed(void *ctx)
{
	handle_closed(ctx);
}

static void on_turned(void *ctx)
{
	rowc_subscriptions_turn(ctx);
}

/* A copy, or NULL for NULL; *ret_bad without memory. */
static char *copy(const char *text, bool *ret_bad)
{
	char *out = text ? slice_dup(slice_of(text)) : NULL;

	*ret_bad |= text && !out;
	return out;
}

static void or_default(uint64_t *value, uint64_t otherwise)
{
	*value = *value ? *value : otherwise;
}

static int set_token(struct rows_client *client, const char *token, struct err *err)
{
	for (const char *at = token; *at; at++)
		if (*at <= ' ' || *at >= 0x7f)
			return err_set(err, -EINVAL, "a token has printable characters only");
	if (buf_printf(&client->authorization, "Authorization: Bearer %s", token) < 0)
		return err_set(err, client->authorization.error, "a token of %zu bytes", strlen(token));
	return 0;
}

static int set_options(struct rows_client *client, const struct rows_client_options *options, struct err *err)
{
	struct rows_client_options *own = &client->options;
	bool bad = false;
	int r = 0;

	if (!options->n_urls || options->n_urls > ROWS_MEMBERS_MAX)
		return err_set(err, -EINVAL, "1 to %d members are wanted, not %zu", ROWS_MEMBERS_MAX, options->n_urls);
	*own = *options;
	own->urls = NULL;
	own->token = NULL;
	own->ca = client->ca = copy(options->ca, &bad);
	own->cert = client->cert = copy(options->cert, &bad);
	own->key = client->key = copy(options->key, &bad);
	or_default(&own->timeout_ms, TIMEOUT_MS);
	or_default(&own->attempt_ms, ATTEMPT_MS);
	or_default(&own->open_ms, OPEN_MS);
	own->requests_max = own->requests_max ? own->requests_max : REQUESTS_MAX;
	if (own->open_ms < own->attempt_ms)
		return err_set(err, -EINVAL, "open_ms must not be below attempt_ms");
	for (size_t i = 0; r == 0 && i < options->n_urls; i++)
		r = add_url(client, options->urls[i], err);
	if (r == 0 && options->token)
		r = set_token(client, options->token, err);
	return r == 0 && bad ? err_set(err, -ENOMEM, "out of memory") : r;
}

static void init(struct rows_client *client, uv_loop_t *loop)
{
	client->loop = loop;
	client->armed = UINT64_MAX;
	list_init(&client->waiting);
	list_init(&client->requests);
	list_init(&client->subscriptions);
	list_init(&client->ready);
	map_init(&client->known, KNOWN_MAX);
	buf_init(&client->authorization, TOKEN_MAX);
	while (getrandom(&client->seed, sizeof(client->seed), 0) != (ssize_t)sizeof(client->seed))
		;
	client->seed |= 1;
}

int rows_client_open(uv_loop_t *loop, const struct rows_client_options *options, struct rows_client **ret,
		     struct err *err)
{
	struct rows_client *client = calloc(1, sizeof(*client));
	struct http_multi_options http = { .connect_ms = CONNECT_MS, .turned = on_turned, .ctx = client };
	int r;

	if (!client)
		return err_set(err, -ENOMEM, "out of memory");
	init(client, loop);
	r = set_options(client, options, err);
	http.ca = client->ca;
	http.cert = client->cert;
	http.key = client->key;
	http.kept = KEPT_MAX;
	if (r == 0)
		r = http_multi_open(loop, &http, &client->http, err);
	if (r < 0) {
		client_free(client);
		return r;
	}
	uv_timer_init(loop, &client->timer); /* cannot fail */
	client->timer.data = client;
	client->handles = 2;
	*ret = client;
	return 0;
}

void rows_client_close(struct rows_client *client, void (*closed)(void *ctx), void *ctx)
{
	struct list *link;

	client->closed = closed;
	client->closed_ctx = ctx;
	rowc_subscriptions_drop(client);
	while ((link = list_pop_front(&client->requests)))
		rowc_request_abandon(LIST_ENTRY_OF(link, struct rowc_request, link));
	uv_close((uv_handle_t *)&client->timer, on_timer_closed);
	http_multi_close(client->http, on_http_closed, client);
}
