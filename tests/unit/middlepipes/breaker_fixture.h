/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A circuit and its callers, for the tests of the breaker.
 *
 * call_begin() does what the library in an application does (it goes by the
 * standing verdict, and asks when it has to), call_end() what the host does
 * with an outcome.  breaker_main() runs a suite against the built-in filter
 * and against the `.so` that MP_BREAKER_SO names, or that the build $B has.
 */
#ifndef TESTS_UNIT_MIDDLEPIPES_BREAKER_FIXTURE_H
#define TESTS_UNIT_MIDDLEPIPES_BREAKER_FIXTURE_H

#include <dlfcn.h>
#include <unistd.h>

#include "middlepipes/registry.h"
#include "tests/lib/fake_host.h"
#include "tests/lib/tap.h"

static const struct mp_filter *filter; /* the one under test */

/* A call on its way. */
struct call {
	bool sent;            /* false: refused */
	int32_t standing;     /* what it went by */
	struct fake_exchange fx;
	uint64_t begun_ns;
};

static inline void call_outcome(struct fake_host *host, const struct call *call, int32_t status,
				int32_t error)
{
	struct mp_outcome o = {
		.size = sizeof(o),
		.status = status,
		.error = error,
		.standing = call->standing,
		.exchange = call->standing == MP_STANDING_ASK ? call->fx.x.id : 0,
		.memo = call->fx.x.memo,
		.duration_ns = host->now_ns - call->begun_ns,
		.ended_ns = host->now_ns,
		.synthesized = !call->sent,
	};

	host->filter->on_outcome(host->self, &o);
}

static inline int32_t call_standing(const struct fake_host *host)
{
	const struct fake_post *post = &host->post;

	if (post->verdict == MP_STANDING_REPLY && post->until_ns && host->now_ns >= post->until_ns)
		return MP_STANDING_ASK;
	return post->verdict;
}

/* Begins a call; a refused one has its outcome at once.  Returns whether it was sent. */
static inline bool call_begin(struct fake_host *host, struct call *call)
{
	fake_exchange_init(&call->fx, host, "GET", "/");
	call->begun_ns = host->now_ns;
	call->standing = call_standing(host);
	call->sent = call->standing == MP_STANDING_PASS;
	if (call->standing == MP_STANDING_ASK)
		call->sent = fake_request(&call->fx) == MP_VERDICT_PASS;
	if (!call->sent) {
		call_outcome(host, call, 503, 0);
		host->filter->on_drained(host->self);
	}
	return call->sent;
}

static inline void call_end(struct fake_host *host, const struct call *call, int32_t status,
			    int32_t error)
{
	call_outcome(host, call, status, error);
	host->filter->on_drained(host->self);
}

/* n whole calls, each taking `ms`; returns how many were sent. */
static inline int calls(struct fake_host *host, int n, int32_t status, int32_t error, uint64_t ms)
{
	int n_sent = 0;

	for (int i = 0; i < n; i++) {
		struct call call;

		if (!call_begin(host, &call))
			continue;
		fake_advance(host, ms * FAKE_MS);
		call_end(host, &call, status, error);
		n_sent++;
	}
	return n_sent;
}

static inline int succeed(struct fake_host *host, int n)
{
	return calls(host, n, 200, 0, 1);
}

static inline int fail(struct fake_host *host, int n)
{
	return calls(host, n, 500, 0, 1);
}

/* Would a call be sent now?  Asks nothing and changes nothing. */
static inline bool passes(const struct fake_host *host)
{
	return call_standing(host) == MP_STANDING_PASS;
}

static inline const char *state(struct fake_host *host)
{
	return fake_status(host, "state")->text;
}

static inline const char *reason(struct fake_host *host)
{
	return fake_status(host, "reason")->text;
}

static inline double number(struct fake_host *host, const char *name)
{
	return fake_status(host, name)->number;
}

/* Loads a breaker or ends the test. */
static inline void make(struct fake_host *host, const char *config)
{
	if (fake_load(host, filter, config)) {
		printf("Bail out! %s: %s\n", config, host->error);
		exit(1);
	}
}

static inline const struct mp_filter *breaker_shared(void)
{
	const char *path = getenv("MP_BREAKER_SO"), *build = getenv("B");
	const struct mp_filter *shared;
	char built[512];
	void *so;

	if (!path && build) {
		(void)snprintf(built, sizeof(built), "%s/lib/middlepipe/filters/breaker.so", build);
		path = access(built, R_OK) ? NULL : built;
	}
	if (!path)
		return NULL;
	so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	shared = so ? dlsym(so, MP_FILTER_SYMBOL) : NULL;
	ok(shared != NULL && shared->abi_major == MP_ABI_MAJOR &&
		   shared->size == sizeof(struct mp_filter),
	   "loads %s", path);
	return shared;
}

static inline int breaker_main(void (*suite)(void))
{
	const struct mp_filter *shared = breaker_shared();

	note("built in");
	filter = registry_find("breaker");
	suite();
	if (shared) {
		note("from the shared object");
		filter = shared;
		suite();
	}
	return done();
}

#endif
