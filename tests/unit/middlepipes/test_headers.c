/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter `headers`: which edits it makes, in which order, what it needs
 * for them, and what it refuses to edit.
 */
#include "middlepipes/registry.h"
#include "tests/lib/fake_host.h"
#include "tests/lib/tap.h"

static const struct mp_filter *filter;

static void make(struct fake_host *host, const char *config)
{
	if (fake_load(host, filter, config)) {
		printf("Bail out! %s: %s\n", config, host->error);
		exit(1);
	}
}

static void edits_both_halves(void)
{
	struct fake_host host;
	struct fake_exchange fx;

	make(&host, "{\"request_set\":{\"X-Epoch\":\"7\"},\"request_add\":{\"Via\":\"mp\"},"
		    "\"request_remove\":[\"Referer\",\"X-Debug\"],\"response_set\":{\"Server\":\"\"},"
		    "\"response_add\":{\"X-A\":\"b: c\"},\"response_remove\":[\"X-Powered-By\"]}");
	is_int(host.plan.needs, MP_NEED_REQUEST | MP_NEED_RESPONSE, "needs both halves");
	is_int(host.post.verdict, MP_STANDING_ASK, "has to be asked");
	fake_exchange_init(&fx, &host, "GET", "/");
	is_int(fake_request(&fx), MP_VERDICT_PASS, "the request passes");
	is_str(fx.edits, "remove Referer: \nremove X-Debug: \nset X-Epoch: 7\nadd Via: mp\n",
	       "removed, set, added");
	fake_exchange_init(&fx, &host, "GET", "/");
	fx.x.status = 200;
	is_int(fake_response(&fx), MP_VERDICT_PASS, "the response passes");
	is_str(fx.edits, "remove X-Powered-By: \nset Server: \nadd X-A: b: c\n", "edited alike");
	fake_exchange_init(&fx, &host, "GET", "/");
	fx.x.flags = MP_X_SYNTHESIZED;
	(void)fake_response(&fx);
	is_int((int64_t)fx.n_edits, 3, "a filter's own response too");
	fake_exchange_init(&fx, &host, "GET", "/");
	fx.x.flags = MP_X_COPY;
	(void)fake_response(&fx);
	is_int((int64_t)fx.n_edits, 0, "but not a copy");
	is_u64(fake_counter(&host, "requests"), 1, "requests are counted");
	is_u64(fake_counter(&host, "responses"), 2, "and responses");
	fake_exchange_init(&fx, &host, "GET", "/");
	fx.no_room = true;
	is_int(fake_request(&fx), MP_VERDICT_PASS, "without room the exchange goes on");
	is_u64(fake_counter(&host, "failed"), 4, "which is counted");
	fake_unload(&host);
}

static void needs_no_more(void)
{
	struct fake_host host;

	make(&host, "{\"request_remove\":[\"a\"]}");
	is_int(host.plan.needs, MP_NEED_REQUEST, "request edits need requests");
	is_int(host.post.verdict, MP_STANDING_ASK, "and a question");
	fake_unload(&host);
	make(&host, "{\"response_add\":{\"a\":\"b\"}}");
	is_int(host.plan.needs, MP_NEED_RESPONSE, "response edits need responses");
	is_int(host.post.verdict, MP_STANDING_PASS, "the request may pass");
	fake_unload(&host);
	make(&host, "{}");
	is_int(host.plan.needs, 0, "nothing needs nothing");
	is_int(host.post.verdict, MP_STANDING_PASS, "and costs nothing");
	fake_unload(&host);
}

static void refuses(void)
{
	static const char *const names[] = {
		"Connection", "proxy-connection", "Keep-Alive", "TE", "Trailer",
		"Transfer-Encoding", "Upgrade", "CONTENT-LENGTH", "Host", "Expect", "Middlepipe",
		"", "a b", "a:b", "na\\u00efve",
	};
	static const struct {
		const char *before, *after; /* the name */
	} shapes[] = {
		{"{\"request_set\":{\"", "\":\"x\"}}"},  {"{\"request_add\":{\"", "\":\"x\"}}"},
		{"{\"request_remove\":[\"", "\"]}"},      {"{\"response_set\":{\"", "\":\"x\"}}"},
		{"{\"response_add\":{\"", "\":\"x\"}}"}, {"{\"response_remove\":[\"", "\"]}"},
	};
	static const char *const values[] = {
		"{\"request_set\":{\"a\":\"b\\r\\nc: d\"}}", "{\"request_add\":{\"a\":\"b\\n\"}}",
		"{\"response_set\":{\"a\":\"b\\u0000\"}}", "{\"response_add\":{\"a\":\"\\r\"}}",
		"{\"request_set\":{\"a\":1}}", "{\"request_remove\":\"a\"}",
	};
	struct fake_host host;
	char config[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int n_refused = 0;

		for (size_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
			(void)snprintf(config, sizeof(config), "%s%s%s", shapes[k].before, names[i],
				       shapes[k].after);
			n_refused += fake_load(&host, filter, config) == -EINVAL && *host.error;
			fake_unload(&host);
		}
		is_int(n_refused, 6, "\"%s\" is edited nowhere", names[i]);
	}
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		is_int(fake_load(&host, filter, values[i]), -EINVAL, "refuses %s", values[i]);
		fake_unload(&host);
	}
	is_int(fake_load(&host, filter, "{\"response_remove\":[\"ok\",\"Content-Length\"]}"), -EINVAL,
	       "the message names");
	is_str(host.error,
	       "response_remove: \"Content-Length\" belongs to the connection, the message's "
	       "framing or Middlepipe, and is not edited", "option and field, and says why");
	fake_unload(&host);
}

int main(void)
{
	filter = registry_find("headers");
	edits_both_halves();
	needs_no_more();
	refuses();
	return done();
}
