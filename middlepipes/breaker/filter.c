/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The circuit breaker as a filter: outcomes in, standing verdicts out.
 *
 * For the host that runs it, through struct mp_filter; built in or as a `.so`.
 * The state machine is breaker_machine.h, what the host is told is made in
 * breaker_host.h; here are the hooks.  A closed circuit costs its callers
 * nothing (PASS stands), an open one neither (REPLY stands); only probes and a
 * ramp are asked for, and `last-good`.
 *
 * An operator's override is stronger than the mode of the configuration.  A
 * circuit that is forced open or closed neither judges nor probes.
 */
#include "middlepipes/breaker/breaker_host.h"

/* ----------------------------------------------------------------- requests */

static int32_t on_request(void *data, struct mp_exchange *x)
{
	struct self *self = data;
	struct breaker_moment m = moment(self);
	enum rule rule = rule_of(self);
	uint64_t token;
	bool admitted;

	if (rule == RULE_CLOSED || rule == RULE_DRY_RUN)
		return MP_VERDICT_PASS;
	if (rule == RULE_OPEN)
		return refuse(self, x, m.ns);
	admitted = breaker_admit(&self->breaker, &m, &token);
	sync_host(self);
	if (!admitted)
		return refuse(self, x, m.ns);
	if (token) {
		x->memo = token;
		count(self, C_PROBES, 1);
	}
	return MP_VERDICT_PASS;
}

/* ----------------------------------------------------------------- outcomes */

static bool has_bit(const uint64_t bits[8], int32_t status)
{
	uint32_t i = (uint32_t)status - 100;

	return i < 512 && bits[i / 64] >> i % 64 & 1;
}

static enum breaker_result classify(const struct config *config, const struct mp_outcome *o)
{
	if (o->synthesized)
		return BREAKER_IGNORED; /* not the service's doing */
	if (o->error)
		return o->error > 0 && o->error < 32 && config->errors >> o->error & 1
			       ? BREAKER_FAILED
			       : BREAKER_IGNORED;
	if (has_bit(config->statuses, o->status))
		return BREAKER_FAILED;
	if (has_bit(config->soft, o->status))
		return BREAKER_SOFT;
	return o->status ? BREAKER_OK : BREAKER_IGNORED;
}

static struct breaker_call make_call(const struct config *config, const struct mp_outcome *o,
				     uint64_t now_ns)
{
	uint64_t ended_ns = o->ended_ns && o->ended_ns < now_ns ? o->ended_ns : now_ns;

	return (struct breaker_call){
		.result = classify(config, o),
		.slow = config->slow_ns && o->duration_ns > config->slow_ns,
		.ended_ns = ended_ns,
		.begun_ns = ended_ns > o->duration_ns ? ended_ns - o->duration_ns : 0,
	};
}

static void note_result(struct self *self, const struct breaker_call *call,
			const struct mp_outcome *o)
{
	if (call->result == BREAKER_IGNORED) {
		count(self, C_IGNORED, 1);
		return;
	}
	if (call->slow)
		count(self, C_SLOW, 1);
	if (call->result == BREAKER_OK)
		return;
	count(self, C_ERRORS, 1);
	state_note_error(&self->extra,
			 &(struct state_error){call->ended_ns, o->error ? 0 : o->status, o->error});
}

static void settle(struct self *self, uint64_t token, const struct breaker_call *call,
		   const struct mp_outcome *o, const struct breaker_moment *m)
{
	bool ignored = call->result == BREAKER_IGNORED || is_forced(self);
	struct breaker_call given_back = {.result = BREAKER_IGNORED};

	note_result(self, call, o);
	if (!breaker_settle(&self->breaker, token, ignored ? &given_back : call, m))
		count(self, C_LATE, 1);
	else if (ignored)
		count(self, C_PROBES_RETURNED, 1);
}

static void record(struct self *self, const struct breaker_call *call, const struct mp_outcome *o,
		   const struct breaker_moment *m)
{
	if (call->result != BREAKER_IGNORED && !breaker_record(&self->breaker, call, m))
		count(self, C_LATE, 1);
	else
		note_result(self, call, o);
}

/*
 * Dry-run, virtually open or half-open: calls begun before the open time's end
 * would have been refused, the first ones after it are the probes.
 */
static void rehearse(struct self *self, const struct breaker_call *call, const struct mp_outcome *o,
		     const struct breaker_moment *m)
{
	struct breaker_moment begun = {call->begun_ns, m->random};
	uint64_t token = 0;

	if (!breaker_admit(&self->breaker, &begun, &token)) {
		count(self, C_WOULD_REJECT, 1);
		return;
	}
	sync_host(self); /* half-open is an event of its own */
	count(self, C_PROBES, 1);
	settle(self, token, call, o, m);
}

/* Dry-run on a ramp: everything counts, some of it would have been refused. */
static void rehearse_ramp(struct self *self, const struct breaker_moment *m)
{
	if (self->breaker.state == BREAKER_RECOVERING &&
	    m->random >= breaker_ramp_share(&self->breaker, m->ns))
		count(self, C_WOULD_REJECT, 1);
}

/* Was this answered by our own standing reply? */
static bool is_our_reply(const struct self *self, const struct mp_outcome *o)
{
	enum rule rule = rule_of(self);

	return o->standing == MP_STANDING_REPLY &&
	       (rule == RULE_OPEN || (rule == RULE_MACHINE && !breaker_counts(&self->breaker)));
}

static void on_outcome(void *data, const struct mp_outcome *o)
{
	struct self *self = data;
	struct breaker_moment m = moment(self);
	struct breaker_call call = make_call(&self->config, o, m.ns);
	bool dry = rule_of(self) == RULE_DRY_RUN;

	if (o->standing == MP_STANDING_REPLY) {
		if (is_our_reply(self, o))
			count(self, C_REJECTED, 1);
	} else if (o->synthesized && !o->memo) {
		return; /* refused, by us or by another filter of the chain */
	} else if (o->memo) {
		settle(self, o->memo, &call, o, &m);
	} else if (dry && !breaker_counts(&self->breaker)) {
		rehearse(self, &call, o, &m);
	} else {
		if (dry)
			rehearse_ramp(self, &m);
		record(self, &call, o, &m);
	}
	sync_host(self);
}

static void on_abandon(void *data, uint64_t exchange, uint64_t memo)
{
	struct self *self = data;

	(void)exchange; /* the memo says all */
	if (memo && breaker_return(&self->breaker, memo))
		count(self, C_PROBES_RETURNED, 1);
	sync_host(self);
}

/*
 * Nobody knows which service these calls went to, so they are counted and
 * never judged: the failures of one must not open the circuit of another.
 */
static void on_lost(void *data, uint64_t n_ok, uint64_t n_failed)
{
	struct self *self = data;

	count(self, C_LOST_OK, n_ok);
	count(self, C_LOST_FAILED, n_failed);
}

static void on_drained(void *data)
{
	struct self *self = data;
	struct breaker_moment m;

	if (!self->breaker.unjudged || is_forced(self))
		return;
	m = moment(self);
	breaker_judge(&self->breaker, &m);
	sync_host(self);
}

static void on_timer(void *data, uint64_t now_ns)
{
	struct self *self = data;
	struct breaker_moment m = moment(self);
	uint32_t n_overdue;

	(void)now_ns; /* the same as now() */
	self->timer_ns = 0;
	n_overdue = is_forced(self) ? 0 : breaker_tick(&self->breaker, &m);
	if (n_overdue)
		state_note_error(&self->extra,
				 &(struct state_error){m.ns, 0, MP_ERROR_TIMEOUT});
	count(self, C_PROBES_OVERDUE, n_overdue);
	sync_host(self);
}

/* ------------------------------------------------------------------- copies */

/* Retry-After as a number of seconds; a date is not understood.  0: none. */
static uint64_t retry_after_seconds(const struct mp_exchange *x)
{
	for (size_t i = 0; i < x->n_response_fields; i++) {
		const struct mp_field *f = &x->response_fields[i];
		uint64_t seconds = 0;

		if (!cache_same_name(f->name, cache_word("retry-after")) || f->value.len > 9)
			continue;
		for (size_t k = 0; k < f->value.len; k++) {
			if (f->value.ptr[k] < '0' || f->value.ptr[k] > '9')
				return 0;
			seconds = seconds * 10 + (uint64_t)(f->value.ptr[k] - '0');
		}
		return seconds;
	}
	return 0;
}

static void heed_retry_after(struct self *self, const struct mp_exchange *x, uint64_t now_ns)
{
	bool error = has_bit(self->config.statuses, x->status) ||
		     has_bit(self->config.soft, x->status);
	uint64_t seconds = error ? retry_after_seconds(x) : 0;

	if (seconds && breaker_retry_after(&self->breaker, now_ns + seconds * 1000 * BREAKER_MS, now_ns))
		post(self); /* the open time has grown */
}

static int32_t on_response(void *data, struct mp_exchange *x)
{
	struct self *self = data;
	uint64_t now_ns = self->host->now(self->unit);

	if (x->flags & MP_X_SYNTHESIZED)
		return MP_VERDICT_PASS;
	if (self->config.retry_after)
		heed_retry_after(self, x, now_ns);
	if (self->cache.entries)
		cache_observe(&self->cache, x, now_ns);
	return MP_VERDICT_PASS;
}

/* ----------------------------------------------------- operators and status */

static int32_t command_override(struct self *self, const char *value)
{
	struct breaker_moment m = moment(self);
	uint32_t i = 0;

	while (i < STATE_OVERRIDES && strcmp(value, override_names[i]))
		i++;
	if (i == STATE_OVERRIDES)
		return -EINVAL;
	if (i == self->extra.override)
		return 0;
	self->extra.override = i;
	self->host->report(self->unit, "override",
			   &(struct mp_field){cache_word("value"), cache_word(value)}, 1);
	if (i == OVERRIDE_CLOSED && self->breaker.state != BREAKER_CLOSED)
		breaker_reset(&self->breaker, &m); /* so that its calls count again */
	self->breaker.unjudged = self->breaker.window.sum.calls > 0;
	sync_host(self);
	post(self);
	return 0;
}

static int32_t command_reset(struct self *self, const char *value)
{
	struct breaker_moment m = moment(self);

	if (*value)
		return -EINVAL;
	breaker_reset(&self->breaker, &m);
	self->extra.n_errors = 0;
	cache_clear(&self->cache);
	sync_host(self);
	return 0;
}

static const struct {
	const char *name;
	int32_t (*run)(struct self *self, const char *value);
} commands[] = {
	{"override", command_override},
	{"reset", command_reset},
};

static int32_t command(void *data, const char *name, const char *value)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].run(data, value ? value : "");
	return -ENOTSUP;
}

static void status_errors(const struct self *self, struct mp_writer *w, uint64_t now_ns)
{
	char all[STATE_ERRORS * 48], one[32];
	size_t len = 0;

	if (!self->extra.n_errors)
		return;
	for (uint32_t i = self->extra.n_errors; i-- > 0;) {
		const struct state_error *e = &self->extra.errors[i];

		write_error(e, one, sizeof(one));
		if (i == self->extra.n_errors - 1) {
			w->text(w, "last_error", cache_word(one));
			w->time(w, "last_error_at", e->at_ns);
		}
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s %.1f s ago",
					len ? ", " : "", one, (double)(now_ns - e->at_ns) / 1e9);
		if (len >= sizeof(all))
			len = sizeof(all) - 1;
	}
	w->text(w, "last_errors", (struct mp_str){all, len});
}

static void status(void *data, struct mp_writer *w)
{
	struct self *self = data;
	struct breaker *b = &self->breaker;
	uint64_t now_ns = self->host->now(self->unit);
	const struct window_counts *sum = &b->window.sum;
	char reason[TEXT_SIZE];

	window_advance(&b->window, now_ns);
	write_why(self, reason);
	w->text(w, "state", cache_word(state_word(self)));
	w->time(w, "since", b->since_ns);
	w->text(w, "reason", cache_word(reason));
	w->time(w, "probes_at", is_forced(self) || b->state != BREAKER_OPEN ? 0 : b->until_ns);
	w->text(w, "mode", cache_word(mode_names[self->config.mode]));
	w->text(w, "override", cache_word(override_names[self->extra.override]));
	w->number(w, "calls", (double)sum->calls);
	w->number(w, "failed", (double)sum->failed);
	w->number(w, "error_percent", window_percent(sum->failed, sum->calls));
	w->number(w, "slow", (double)sum->slow);
	w->number(w, "slow_percent", window_percent(sum->slow, sum->calls));
	w->number(w, "window_ms", (double)self->config.window_ns / (double)BREAKER_MS);
	w->number(w, "volume", b->rules->volume);
	w->number(w, "errors_in_a_row", b->run);
	w->number(w, "attempts", b->attempts);
	w->number(w, "probes_out", b->n_leased);
	if (self->cache.entries)
		w->number(w, "answers_kept", (double)self->cache.n);
	status_errors(self, w, now_ns);
}

/* -------------------------------------------------------------------- state */

static int64_t get(void *data, const char *key, void *buf, size_t size)
{
	struct self *self = data;
	uint64_t now_ns = self->host->now(self->unit);
	char text[STATE_SIZE_MAX];
	size_t len;

	if (strcmp(key, "state"))
		return -ENOENT;
	window_advance(&self->breaker.window, now_ns);
	len = state_write(text, &self->breaker, &self->extra, now_ns);
	if (size)
		memcpy(buf, text, len < size ? len : size);
	return (int64_t)len;
}

static int32_t put(void *data, const char *key, const void *value, size_t size)
{
	struct self *self = data;
	int r;

	if (strcmp(key, "state"))
		return -ENOENT;
	r = state_load(&self->breaker, &self->extra, value, size, self->host->now(self->unit));
	if (r)
		return r;
	if (self->started) {
		sync_host(self); /* it is no move: nothing to report */
		post(self);
	}
	return 0;
}

static int32_t del(void *data, const char *key)
{
	return strcmp(key, "state") ? -ENOENT : command_reset(data, "");
}

/* --------------------------------------------------------------- life cycle */

static void make_plan(const struct config *config, struct mp_plan *plan)
{
	plan->needs = MP_NEED_REQUEST | MP_NEED_OUTCOME;
	if (config->retry_after)
		plan->needs |= MP_NEED_COPY;
	if (config->fallback == FALLBACK_LAST_GOOD)
		plan->needs |= MP_NEED_COPY | MP_NEED_RESPONSE_BODY;
	for (size_t i = 0; i < 8; i++)
		plan->failure.statuses[i] = config->statuses[i] | config->soft[i];
	plan->failure.errors = config->errors;
	plan->failure.slow_ns = config->slow_ns;
}

static int32_t allocate(struct self *self)
{
	const struct config *config = &self->config;
	struct window *w = &self->breaker.window;
	struct cache *cache = &self->cache;

	w->n = config->n_buckets;
	w->width_ns = config->window_ns / w->n;
	w->buckets = calloc(w->n, sizeof(*w->buckets));
	if (!w->buckets)
		return -ENOMEM;
	if (config->fallback != FALLBACK_LAST_GOOD)
		return 0;
	cache->max_entries = config->cache_entries;
	cache->max_bytes = config->cache_bytes;
	cache->max_age_ns = config->cache_age_ns;
	cache->vary = config->vary;
	cache->entries = calloc(cache->max_entries, sizeof(*cache->entries));
	return cache->entries ? 0 : -ENOMEM;
}

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	struct self *self = calloc(1, sizeof(*self));
	int32_t r;

	*ret_self = self; /* unload() takes what a failure leaves */
	if (!self)
		return -ENOMEM;
	self->host = host;
	self->unit = unit;
	r = config_load(&self->config, values, error, error_size);
	if (!r)
		r = allocate(self);
	if (r)
		return r;
	breaker_init(&self->breaker, &self->config.rules, host->now(unit));
	make_plan(&self->config, plan);
	return 0;
}

static void unload(void *data)
{
	struct self *self = data;

	if (!self)
		return;
	cache_clear(&self->cache);
	free(self->cache.entries);
	free(self->breaker.window.buckets);
	free(self->config.memory);
	free(self);
}

static void start(void *data)
{
	struct self *self = data;
	struct breaker_moment m = moment(self);

	self->started = true;
	if (rule_of(self) == RULE_CLOSED && self->breaker.state != BREAKER_CLOSED)
		breaker_reset(&self->breaker, &m);
	sync_host(self);
	post(self);
}

MP_FILTER(breaker) = {
	MP_FILTER_HEAD,
	.name = "breaker",
	.summary = "refuses calls to a service that fails, until it has recovered",
	.level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_REQUEST | MP_NEED_OUTCOME | MP_NEED_COPY | MP_NEED_RESPONSE_BODY,
	.options = breaker_options,
	.counters = breaker_counters,
	.load = load,
	.unload = unload,
	.start = start,
	.on_request = on_request,
	.on_response = on_response,
	.on_outcome = on_outcome,
	.on_abandon = on_abandon,
	.on_lost = on_lost,
	.on_drained = on_drained,
	.on_timer = on_timer,
	.command = command,
	.status = status,
	.get = get,
	.put = put,
	.del = del,
};
