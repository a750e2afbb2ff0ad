/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fallback "last-good": what is kept, what is given, and to whom never.
 */
#include "tests/unit/middlepipes/breaker_fixture.h"

#define S (1000 * FAKE_MS)
#define FIELDS 8

/* A request and its response; fields are "name: value", ended by NULL. */
struct sample {
	const char *method, *path;
	const char *request[FIELDS];
	int32_t status;
	const char *response[FIELDS];
	const char *body;
	uint32_t flags; /* beside those of a complete copy */
	bool incomplete;
};

static size_t split(const char *const *lines, struct mp_field *fields)
{
	size_t n = 0;

	for (; n < FIELDS && lines[n]; n++) {
		const char *colon = strchr(lines[n], ':');

		fields[n] = (struct mp_field){{lines[n], (size_t)(colon - lines[n])}, fake_str(colon + 2)};
	}
	return n;
}

static void observe(struct fake_host *host, const struct sample *s)
{
	struct mp_field request[FIELDS], response[FIELDS];
	struct fake_exchange fx;

	fake_exchange_init(&fx, host, s->method ? s->method : "GET", s->path ? s->path : "/a");
	fx.x.request_fields = request;
	fx.x.n_request_fields = split(s->request, request);
	fx.x.response_fields = response;
	fx.x.n_response_fields = split(s->response, response);
	fx.x.status = s->status ? s->status : 200;
	fx.x.response_body = fake_str(s->body ? s->body : "good");
	fx.x.flags = MP_X_COPY | s->flags | (s->incomplete ? 0 : MP_X_RESPONSE_BODY_COMPLETE);
	if (fake_response(&fx) != MP_VERDICT_PASS)
		ok(false, "a copy is only looked at");
}

/* Asks an open circuit; returns the body given, NULL when it raises. */
static const char *ask(struct fake_host *host, const struct sample *s, struct fake_exchange *fx)
{
	struct mp_field request[FIELDS];

	fake_exchange_init(fx, host, s->method ? s->method : "GET", s->path ? s->path : "/a");
	fx->x.request_fields = request;
	fx->x.n_request_fields = split(s->request, request);
	if (fake_request(fx) != MP_VERDICT_REPLY)
		return "sent";
	return strcmp(fx->reply.marker_callback, "raise") ? fx->reply.body : NULL;
}

/* Is this exchange, once seen, given to that request? */
static const char *given(const char *config, const struct sample *seen, const struct sample *asked)
{
	static struct fake_exchange fx;
	struct fake_host host;
	const char *body;

	make(&host, config);
	observe(&host, seen);
	(void)filter->command(host.self, "override", "open");
	body = ask(&host, asked, &fx);
	fake_unload(&host);
	return body;
}

#define CONFIG "{\"fallback\":\"last-good\"}"

static void gives(void)
{
	struct fake_host host;
	struct fake_exchange fx;

	make(&host, CONFIG);
	is_int(host.plan.needs, MP_NEED_REQUEST | MP_NEED_OUTCOME | MP_NEED_COPY | MP_NEED_RESPONSE_BODY,
	       "needs copies with bodies");
	observe(&host, &(struct sample){.response = {"Content-Type: text/plain", "Content-Length: 4",
						    "Age: 7", "ETag: \"1\"", "Connection: close"}});
	is_int((int64_t)number(&host, "answers_kept"), 1, "keeps a good answer");
	ok(passes(&host), "closed costs no question");
	(void)fail(&host, 20);
	is_int(host.post.verdict, MP_STANDING_ASK, "open is a question");
	fake_advance(&host, 3 * S);
	is_str(ask(&host, &(struct sample){0}, &fx), "good", "answered by the last good answer");
	is_int(fx.reply.status, 200, "as 200");
	is_str(fx.reply.fields, "Content-Type: text/plain\nETag: \"1\"\nage: 3\n",
	       "with its fields, but for those of the connection, and its age");
	is_str(fx.reply.marker_state, "open", "marked as what it is");
	is_u64(fake_counter(&host, "last_good"), 1, "counted");
	ok(!ask(&host, &(struct sample){.path = "/b"}, &fx), "another URL raises");
	is_int(fx.reply.status, 503, "with 503");
	ok(fx.reply.retry_at_ns > host.now_ns, "and Retry-After");
	fake_advance(&host, 2 * S);
	is_str(ask(&host, &(struct sample){0}, &fx), "sent", "after the open time there is a probe");
	is_str(ask(&host, &(struct sample){0}, &fx), "good", "beside which the others get the answer");
	fake_unload(&host);

	is_str(given(CONFIG, &(struct sample){.path = "/a?x=1"}, &(struct sample){.path = "/a?x=1"}),
	       "good", "the query is part of the key");
	ok(!given(CONFIG, &(struct sample){.path = "/a?x=1"}, &(struct sample){.path = "/a?x=2"}),
	   "all of it");
}

static void keeps_only(void)
{
	static const struct sample not_kept[] = {
		{.method = "POST"},
		{.method = "HEAD"},
		{.status = 201},
		{.status = 206},
		{.status = 404},
		{.incomplete = true},
		{.flags = MP_X_SYNTHESIZED},
		{.request = {"Authorization: Bearer x"}},
		{.request = {"cookie: a=b"}},
		{.request = {"Proxy-Authorization: x"}},
		{.request = {"X-Api-Key: x"}},
		{.request = {"X-Auth-User: x"}},
		{.request = {"X-Session-Id: x"}},
		{.request = {"X-CSRF-Token: x"}},
		{.request = {"Range: bytes=0-1"}},
		{.request = {"Content-Length: 3"}},
		{.request = {"Cache-Control: no-store"}},
		{.response = {"Set-Cookie: a=b"}},
		{.response = {"Cache-Control: max-age=3, Private"}},
		{.response = {"cache-control: NO-STORE"}},
		{.response = {"Vary: *"}},
		{.response = {"Vary: accept, *"}},
	};
	struct fake_host host;

	for (size_t i = 0; i < sizeof(not_kept) / sizeof(not_kept[0]); i++) {
		make(&host, CONFIG);
		observe(&host, &not_kept[i]);
		is_int((int64_t)number(&host, "answers_kept"), 0, "case %zu is not kept", i);
		fake_unload(&host);
	}
}

static void never_to_another(void)
{
	struct sample public = {0};

	ok(!given(CONFIG, &public, &(struct sample){.request = {"Authorization: Bearer x"}}),
	   "who says who he is gets none");
	ok(!given(CONFIG, &public, &(struct sample){.request = {"Cookie: a=b"}}), "nor with a cookie");
	ok(!given(CONFIG, &public, &(struct sample){.method = "POST"}), "nor for POST");
	ok(!given(CONFIG, &(struct sample){.request = {"Accept: text/html"}},
		  &(struct sample){.request = {"Accept: application/json"}}),
	   "nor what was made for another Accept");
	is_str(given(CONFIG, &(struct sample){.request = {"accept: text/html"}},
		     &(struct sample){.request = {"Accept: text/html"}}),
	       "good", "but for the same");
	ok(!given(CONFIG, &(struct sample){.request = {"X-Tenant: a"}, .response = {"Vary: x-tenant"}},
		  &(struct sample){.request = {"X-Tenant: b"}}),
	   "Vary is heeded");
	ok(!given(CONFIG, &(struct sample){.request = {"X-Tenant: a"}, .response = {"Vary: x-tenant"}},
		  &(struct sample){0}),
	   "also when the field is absent");
	is_str(given(CONFIG, &(struct sample){.request = {"X-Tenant: a"}, .response = {"Vary: x-tenant"}},
		     &(struct sample){.request = {"X-Tenant: a", "X-Other: 1"}}),
	       "good", "and equal values match");
	ok(!given("{\"fallback\":\"last-good\",\"last_good_vary\":[\"x-region\"]}",
		  &(struct sample){.request = {"X-Region: eu"}},
		  &(struct sample){.request = {"X-Region: us"}}),
	   "fields of the configuration vary too");
	is_str(given(CONFIG, &public, &(struct sample){.request = {"User-Agent: curl"}}), "good",
	       "User-Agent is no user");
}

static void forgets(void)
{
	struct fake_host host;
	struct fake_exchange fx;

	make(&host, "{\"fallback\":\"last-good\",\"last_good_entries\":3,\"last_good_bytes\":2048,"
		    "\"last_good_ms\":\"1m\"}");
	for (int i = 0; i < 10; i++) {
		char path[16];

		(void)snprintf(path, sizeof(path), "/%d", i);
		observe(&host, &(struct sample){.path = path});
	}
	is_int((int64_t)number(&host, "answers_kept"), 3, "bounded in number");
	observe(&host, &(struct sample){.path = "/9", .status = 500});
	observe(&host, &(struct sample){.path = "/9", .status = 429});
	is_int((int64_t)number(&host, "answers_kept"), 3, "failures leave what there is");
	observe(&host, &(struct sample){.path = "/9", .status = 404});
	is_int((int64_t)number(&host, "answers_kept"), 2, "what the service took back is dropped");
	observe(&host, &(struct sample){.path = "/8", .response = {"Cache-Control: private"}});
	is_int((int64_t)number(&host, "answers_kept"), 1, "and what became private");
	observe(&host, &(struct sample){.path = "/7", .method = "PUT"});
	is_int((int64_t)number(&host, "answers_kept"), 0, "and what was changed");
	observe(&host, &(struct sample){.body = "first"});
	observe(&host, &(struct sample){.body = "second"});
	is_int((int64_t)number(&host, "answers_kept"), 1, "one answer a key");
	(void)filter->command(host.self, "override", "open");
	is_str(ask(&host, &(struct sample){0}, &fx), "second", "the newest");
	fake_advance(&host, 60 * S);
	is_str(ask(&host, &(struct sample){0}, &fx), "second", "as long as it is young");
	fake_advance(&host, 1);
	ok(!ask(&host, &(struct sample){0}, &fx), "then no more");
	fake_unload(&host);

	make(&host, "{\"fallback\":\"last-good\",\"last_good_bytes\":2048}");
	for (int i = 0; i < 64; i++) {
		char path[16], body[301];

		memset(body, 'x', 300);
		body[300] = '\0';
		(void)snprintf(path, sizeof(path), "/%d", i);
		observe(&host, &(struct sample){.path = path, .body = body});
	}
	ok(number(&host, "answers_kept") > 0 && number(&host, "answers_kept") < 7, "bounded in bytes");
	{
		static char large[4001];

		memset(large, 'x', sizeof(large) - 1);
		observe(&host, &(struct sample){.path = "/large", .body = large});
		(void)filter->command(host.self, "override", "open");
		ok(!ask(&host, &(struct sample){.path = "/large"}, &fx), "too large an answer is not kept");
		large[3000] = '\0';
		large[0] = '/';
		observe(&host, &(struct sample){.path = large});
		ok(!ask(&host, &(struct sample){.path = large}, &fx), "nor one with too long a URL");
	}
	is_int(filter->command(host.self, "reset", ""), 0, "reset");
	is_int((int64_t)number(&host, "answers_kept"), 0, "forgets all");
	fake_unload(&host);
}

static void suite(void)
{
	gives();
	keeps_only();
	never_to_another();
	forgets();
}

int main(void)
{
	return breaker_main(suite);
}
