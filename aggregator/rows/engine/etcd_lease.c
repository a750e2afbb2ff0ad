/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd engine's lease: one a process, asked for when the first leased key is
 * put, kept alive three times in its life, given back at the end.  See etcd_priv.h.
 */
#include "aggregator/rows/engine/etcd_priv.h"

#include "aggregator/rows/engine/etcd_body.h"

#define AGAIN_MS 200  /* after trouble */
#define TTL_MAX 86400 /* s; more is no answer of etcd's */

static void forget(struct lease *lease)
{
	lease->state = LEASE_NONE;
	lease->id = 0;
}

static void granted(struct etcd *e)
{
	struct lease *lease = &e->lease;
	bool again = lease->had;

	lease->state = LEASE_HELD;
	lease->id = lease->ask.answer.id;
	lease->had = true;
	e->counts.leases++;
	if (again && e->lease_lost)
		e->lease_lost(e->ctx);
}

static bool is_alive(const struct etcd_ask *ask, const struct etcd_verdict *verdict)
{
	return verdict->kind == ETCD_GOOD && ask->answer.id && ask->answer.ttl && ask->answer.ttl <= TTL_MAX;
}

static void on_answer(struct etcd_ask *ask, struct etcd_verdict *verdict)
{
	struct etcd *e = ask->etcd;
	struct lease *lease = &e->lease;
	enum lease_state was = lease->state;
	bool alive = is_alive(ask, verdict);
	uint64_t now = uv_now(e->loop);

	lease->state = lease->id ? LEASE_HELD : LEASE_NONE;
	lease->due = now + (alive ? ask->answer.ttl * 1000 / 3 : AGAIN_MS);
	if (was == LEASE_REVOKING)
		forget(lease);
	else if (was == LEASE_GRANTING && alive)
		granted(e);
	else if (was == LEASE_KEEPING && verdict->kind == ETCD_GOOD && (!alive || ask->answer.id != lease->id))
		etcd_lease_gone(e);
	etcd_wake(e);
}

void etcd_lease_gone(struct etcd *e)
{
	if (e->lease.state != LEASE_HELD)
		return; /* what is under way will tell */
	forget(&e->lease);
	e->lease.due = uv_now(e->loop);
	etcd_wake(e);
}

static bool ask_for(struct etcd *e, struct endpoint *at, enum lease_state state)
{
	static const enum etcd_method method[] = { [LEASE_GRANTING] = ETCD_GRANT,
						   [LEASE_KEEPING] = ETCD_KEEP_ALIVE,
						   [LEASE_REVOKING] = ETCD_REVOKE };
	struct lease *lease = &e->lease;

	buf_reset(&lease->ask.body);
	etcd_answer_again(&lease->ask.answer, method[state], 0);
	if (state == LEASE_GRANTING)
		(void)etcd_body_grant(&lease->ask.body, e->lease_s); /* a failure is found when it is sent */
	else
		(void)etcd_body_of_lease(&lease->ask.body, lease->id);
	if (!etcd_ask_send(&lease->ask, at, e->timeout_ms))
		return false;
	lease->state = state;
	return true;
}

uint64_t etcd_lease_work(struct etcd *e, uint64_t now)
{
	struct lease *lease = &e->lease;
	struct endpoint *at;

	if (!lease->wanted || lease->ask.post || e->closing || e->health.damaged)
		return ETCD_NEVER;
	if (lease->due > now)
		return lease->due;
	at = etcd_pick(e);
	if (!at)
		return ETCD_NEVER; /* one that gets good wakes us */
	if (ask_for(e, at, lease->id ? LEASE_KEEPING : LEASE_GRANTING))
		return ETCD_NEVER;
	lease->due = now + AGAIN_MS;
	return lease->due;
}

bool etcd_lease_revoke(struct etcd *e)
{
	struct endpoint *at = etcd_pick(e);

	if (e->lease.state == LEASE_REVOKING)
		return true;
	if (!e->lease.id || !at || e->health.damaged)
		return false;
	http_task_cancel(e->lease.ask.post);
	e->lease.ask.post = NULL;
	return ask_for(e, at, LEASE_REVOKING);
}

void etcd_lease_init(struct etcd *e)
{
	etcd_ask_init(&e->lease.ask, e, on_answer);
	e->lease.ask.stale = true; /* other members answer these: their revision is no promise */
}

void etcd_lease_fini(struct etcd *e)
{
	etcd_ask_fini(&e->lease.ask);
}
