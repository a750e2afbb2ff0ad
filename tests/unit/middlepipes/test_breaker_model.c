/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The breaker against a naive model of it: thousands of random histories of
 * calls, in which state, window and every admission must agree.
 *
 * The model keeps a list of all calls and counts it anew each time; it shares
 * no code with the filter.  A failing history is named by its seed.
 */
#include "tests/unit/middlepipes/breaker_fixture.h"

#define HISTORIES 2000 /* for each kind of filter */
#define STEPS 150
#define OUT_MAX 24     /* calls on their way */
#define SEEN_MAX 4096

enum { CLOSED, OPEN, HALF_OPEN };
static const char *const names[] = {"closed", "open", "half-open"};

/* The rules of a history, drawn by its seed. */
struct rules {
	uint64_t width_ns, open_ns, probe_ns, slow_ns;
	int buckets, volume, error_percent, slow_percent, consecutive;
	int probes, at_once, needed;
};

struct seen {
	uint64_t at_ns;
	bool failed, slow;
};

struct out {
	struct call call;
	bool used, probe;
	uint64_t deadline_ns;
};

struct model {
	struct rules rules;
	int state, run, good, bad;
	bool pending; /* something to judge */
	uint64_t until_ns, fresh_ns;
	struct seen seen[SEEN_MAX];
	int n_seen;
	struct out out[OUT_MAX];
	uint64_t seed;
};

static uint32_t draw(struct model *m, uint32_t below)
{
	m->seed = m->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(m->seed >> 33) % below;
}

/* ------------------------------------------------------------------- the model */

static void model_counts(const struct model *m, uint64_t now_ns, int *n, int *failed, int *slow)
{
	uint64_t newest = now_ns / m->rules.width_ns;

	*n = *failed = *slow = 0;
	for (int i = 0; i < m->n_seen; i++) {
		if (m->seen[i].at_ns / m->rules.width_ns + (uint64_t)m->rules.buckets <= newest)
			continue;
		*n += 1;
		*failed += m->seen[i].failed;
		*slow += m->seen[i].slow;
	}
}

static int model_probes_out(const struct model *m)
{
	int n = 0;

	for (int i = 0; i < OUT_MAX; i++)
		n += m->out[i].used && m->out[i].probe;
	return n;
}

static void model_void_probes(struct model *m)
{
	for (int i = 0; i < OUT_MAX; i++)
		m->out[i].probe = false;
	m->good = m->bad = 0;
}

static void model_open(struct model *m, uint64_t now_ns)
{
	m->state = OPEN;
	m->until_ns = now_ns + m->rules.open_ns;
	m->run = 0;
	m->pending = false;
	model_void_probes(m);
}

static void model_close(struct model *m, uint64_t now_ns)
{
	if (m->state != CLOSED)
		m->fresh_ns = now_ns;
	m->state = CLOSED;
	m->n_seen = m->run = 0;
	m->pending = false;
	model_void_probes(m);
}

static void model_judge(struct model *m, uint64_t now_ns)
{
	const struct rules *r = &m->rules;
	int n, failed, slow;

	if (m->state != CLOSED || !m->pending)
		return;
	m->pending = false;
	model_counts(m, now_ns, &n, &failed, &slow);
	if ((r->consecutive && m->run >= r->consecutive) ||
	    (n >= r->volume && ((r->error_percent && failed * 100 >= r->error_percent * n) ||
				(r->slow_percent && slow * 100 >= r->slow_percent * n))))
		model_open(m, now_ns);
}

static void model_probe_result(struct model *m, bool good, uint64_t now_ns)
{
	if (good)
		m->good++;
	else
		m->bad++;
	if (m->good >= m->rules.needed)
		model_close(m, now_ns);
	else if (m->bad > m->rules.probes - m->rules.needed)
		model_open(m, now_ns);
}

static bool model_admits(struct model *m, uint64_t now_ns, bool *probe)
{
	*probe = false;
	if (m->state == CLOSED)
		return true;
	if (m->state == OPEN && now_ns < m->until_ns)
		return false;
	m->state = HALF_OPEN;
	*probe = model_probes_out(m) < m->rules.at_once &&
		 model_probes_out(m) + m->good + m->bad < m->rules.probes;
	return *probe;
}

/* Overdue probes up to a time, in the order of their deadlines. */
static void model_advance(struct model *m, uint64_t now_ns)
{
	for (;;) {
		struct out *first = NULL;

		for (int i = 0; i < OUT_MAX; i++)
			if (m->out[i].used && m->out[i].probe && m->out[i].deadline_ns <= now_ns &&
			    (!first || m->out[i].deadline_ns < first->deadline_ns))
				first = &m->out[i];
		if (!first)
			return;
		first->probe = false;
		model_probe_result(m, false, first->deadline_ns);
	}
}

/* --------------------------------------------------------------------- a history */

static void draw_rules(struct model *m, char *config, size_t size)
{
	struct rules *r = &m->rules;
	int window_ms, percent = 1 + (int)draw(m, 100);

	r->buckets = 1 + (int)draw(m, 12);
	window_ms = r->buckets * (100 + (int)draw(m, 900));
	r->width_ns = (uint64_t)window_ms * FAKE_MS / (uint64_t)r->buckets;
	r->volume = 1 + (int)draw(m, 12);
	r->error_percent = draw(m, 4) ? 1 + (int)draw(m, 100) : 0;
	r->slow_percent = draw(m, 2) ? 1 + (int)draw(m, 100) : 0;
	r->consecutive = draw(m, 2) ? (int)draw(m, 8) : 0;
	r->open_ns = (1 + draw(m, 3000)) * FAKE_MS;
	r->probe_ns = (1 + draw(m, 3000)) * FAKE_MS;
	r->slow_ns = (1 + draw(m, 500)) * FAKE_MS;
	r->probes = 1 + (int)draw(m, 6);
	r->at_once = 1 + (int)draw(m, (uint32_t)r->probes);
	r->needed = (r->probes * percent + 99) / 100;
	(void)snprintf(config, size,
		       "{\"window_ms\":%d,\"buckets\":%d,\"volume\":%d,\"error_percent\":%d,"
		       "\"slow_percent\":%d,\"slow_ms\":%d,\"consecutive\":%d,\"open_ms\":%d,"
		       "\"probe_ms\":%d,\"probes\":%d,\"probes_at_once\":%d,\"probes_percent\":%d,"
		       "\"soft_statuses\":[429]}",
		       window_ms, r->buckets, r->volume, r->error_percent, r->slow_percent,
		       (int)(r->slow_ns / FAKE_MS), r->consecutive, (int)(r->open_ns / FAKE_MS),
		       (int)(r->probe_ns / FAKE_MS), r->probes, r->at_once, percent);
}

static struct out *draw_out(struct model *m, bool used)
{
	uint32_t first = draw(m, OUT_MAX);

	for (uint32_t i = 0; i < OUT_MAX; i++)
		if (m->out[(first + i) % OUT_MAX].used == used)
			return &m->out[(first + i) % OUT_MAX];
	return NULL;
}

/* Each step returns whether filter and model did the same. */
static bool step_begin(struct model *m, struct fake_host *host)
{
	struct out *out = draw_out(m, false);
	bool admitted, probe;

	if (!out)
		return true;
	admitted = model_admits(m, host->now_ns, &probe);
	if (call_begin(host, &out->call) != admitted)
		return false;
	out->used = admitted;
	out->probe = probe;
	out->deadline_ns = host->now_ns + m->rules.probe_ns;
	if (!admitted)
		model_judge(m, host->now_ns); /* its own outcome is drained */
	return !probe == !out->call.fx.x.memo;
}

static void model_end(struct model *m, struct out *out, bool failed, bool soft, uint64_t now_ns)
{
	bool slow = m->rules.slow_percent && now_ns - out->call.begun_ns > m->rules.slow_ns;
	bool token = out->call.fx.x.memo != 0;

	out->used = false;
	if (token) {
		if (out->probe)
			model_probe_result(m, !failed && !soft && !slow, now_ns);
	} else if (m->state == CLOSED && out->call.begun_ns >= m->fresh_ns) {
		m->seen[m->n_seen++] = (struct seen){now_ns, failed || soft, slow};
		m->run = failed ? m->run + 1 : soft ? m->run : 0;
		m->pending = true;
	}
}

static bool step_end(struct model *m, struct fake_host *host)
{
	static const int32_t statuses[] = {200, 200, 404, 500, 503, 429, 0, 0};
	struct out *out = draw_out(m, true);
	uint32_t kind = draw(m, sizeof(statuses) / sizeof(statuses[0]));
	int32_t status = statuses[kind];
	bool cancelled = kind == 7;

	if (!out)
		return true;
	call_outcome(host, &out->call, status,
		     status ? 0 : cancelled ? MP_ERROR_CANCELLED : MP_ERROR_TIMEOUT);
	if (cancelled)
		out->used = out->probe = false;
	else
		model_end(m, out, !status || status >= 500, status == 429, host->now_ns);
	if (draw(m, 4)) {
		filter->on_drained(host->self);
		model_judge(m, host->now_ns);
	}
	return true;
}

static bool step_abandon(struct model *m, struct fake_host *host)
{
	struct out *out = draw_out(m, true);

	if (!out)
		return true;
	filter->on_abandon(host->self, out->call.fx.x.id, out->call.fx.x.memo);
	out->used = out->probe = false;
	return true;
}

static bool step_advance(struct model *m, struct fake_host *host)
{
	uint64_t ns = draw(m, 3) ? draw(m, 200) * FAKE_MS : draw(m, 3000) * FAKE_MS + draw(m, 3);

	if (m->state == OPEN && !draw(m, 4) && m->until_ns > host->now_ns)
		ns = m->until_ns - host->now_ns; /* exactly there */
	fake_advance(host, ns);
	model_advance(m, host->now_ns);
	return true;
}

static bool step_lost(struct model *m, struct fake_host *host)
{
	uint32_t n_ok = draw(m, 3), n_failed = draw(m, 3);

	filter->on_lost(host->self, n_ok, n_failed);
	filter->on_drained(host->self);
	model_judge(m, host->now_ns); /* what came before: these tell nothing */
	return true;
}

static bool step_reset(struct model *m, struct fake_host *host)
{
	model_close(m, host->now_ns);
	return filter->command(host->self, "reset", "") == 0;
}

static bool step_restore(struct model *m, struct fake_host *host)
{
	char text[16384];
	int64_t size = filter->get(host->self, "state", text, sizeof(text));
	int n, failed, slow;

	model_counts(m, host->now_ns, &n, &failed, &slow);
	m->pending = n > 0;
	if (m->state == HALF_OPEN) {
		m->state = OPEN;
		m->until_ns = host->now_ns;
	}
	model_void_probes(m);
	return filter->put(host->self, "state", text, (size_t)size) == 0;
}

static const struct {
	uint32_t below; /* of 100 */
	bool (*step)(struct model *m, struct fake_host *host);
} steps[] = {
	{40, step_begin}, {74, step_end},  {78, step_abandon}, {95, step_advance},
	{97, step_lost},  {98, step_reset}, {100, step_restore},
};

static int said(const struct fake_host *host, const char *name)
{
	return (int)fake_status_line(host, name)->number;
}

static bool agree(struct model *m, struct fake_host *host)
{
	int n, failed, slow, probes = model_probes_out(m);
	bool same;

	model_counts(m, host->now_ns, &n, &failed, &slow);
	fake_read_status(host);
	same = !strcmp(fake_status_line(host, "state")->text, names[m->state]) &&
	       said(host, "calls") == n && said(host, "failed") == failed &&
	       said(host, "slow") == slow && said(host, "probes_out") == probes &&
	       probes <= m->rules.at_once && said(host, "errors_in_a_row") == m->run;
	if (!same)
		note("state %s/%s calls %d/%d failed %d/%d slow %d/%d probes %d/%d run %d/%d (filter/model)",
		     fake_status_line(host, "state")->text, names[m->state], said(host, "calls"), n,
		     said(host, "failed"), failed, said(host, "slow"), slow,
		     said(host, "probes_out"), probes, said(host, "errors_in_a_row"), m->run);
	return same;
}

static bool history(uint64_t seed, int *n_opened, int *n_closed)
{
	static struct model m;
	static struct fake_host host;
	char config[512];
	bool same = true;

	m = (struct model){.seed = seed * 7919 + 1};
	draw_rules(&m, config, sizeof(config));
	make(&host, config);
	for (int i = 0; same && i < STEPS; i++) {
		uint32_t die = draw(&m, 100);
		size_t k = 0;

		while (die >= steps[k].below)
			k++;
		same = steps[k].step(&m, &host) && agree(&m, &host);
		if (!same)
			note("seed %" PRIu64 ", step %d of kind %zu, %s", seed, i, k, config);
	}
	*n_opened += (int)fake_counter(&host, "opened");
	*n_closed += (int)fake_counter(&host, "closed");
	fake_unload(&host);
	return same;
}

static void suite(void)
{
	int n_different = 0, n_opened = 0, n_closed = 0;

	for (uint64_t seed = 1; seed <= HISTORIES && n_different < 5; seed++)
		n_different += !history(seed, &n_opened, &n_closed);
	is_int(n_different, 0, "filter and model agree in %d histories", HISTORIES);
	ok(n_opened > HISTORIES / 2 && n_closed > HISTORIES / 4,
	   "which opened %d and closed %d times", n_opened, n_closed);
}

int main(void)
{
	return breaker_main(suite);
}
