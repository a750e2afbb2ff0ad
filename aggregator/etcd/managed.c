/* SPDX-License-Identifier: Apache-2.0 */
/* See managed.h. */
#include "aggregator/etcd/managed_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aggregator/etcd/life.h"
#include "aggregator/http/tls.h"
#include "lib/buf.h"
#include "lib/log.h"
#include "lib/slice.h"

#define CONNECT_MS 500
#define KEPT 16
#define REFRESH_MS 1000       /* from list to list */
#define STATUS_MS 1000        /* for a sign of life */
#define BACKOFF_MS 100        /* until etcd is started again; twice that after each failure */
#define BACKOFF_DOUBLED 6     /* times: 6.4 s at most */
#define LIVED_MS 30000        /* who lived that long has not failed in a row */
#define TERM_MS 5000          /* from SIGTERM to SIGKILL */
#define STEPS_AT_ONCE 16

/* ------------------------------------------------------------------------ facts */

static uint32_t state_fact(const struct managed *m)
{
	static const uint32_t facts[] = {
		[IDENTITY_NONE] = 0,
		[IDENTITY_BOOTSTRAPPING] = FACT_BOOTSTRAPPING,
		[IDENTITY_JOINING] = FACT_JOINING,
		[IDENTITY_MEMBER] = FACT_MEMBER,
		[IDENTITY_CLIENT] = FACT_CLIENT,
		[IDENTITY_LEAVING] = FACT_LEAVING,
	};

	return facts[m->id.state];
}

static uint32_t list_facts(const struct managed *m)
{
	const struct cluster_member *own = cluster_by_id(&m->list, m->id.etcd_id);
	uint32_t facts = m->known ? FACT_KNOWN : 0;

	if (!m->known)
		return m->unheard >= MANAGED_UNHEARD ? FACT_UNHEARD : 0;
	if (own)
		facts |= FACT_LISTED | (own->learner ? 0 : FACT_VOTER);
	if (own && !own->learner && cluster_voters(&m->list) == 1)
		facts |= FACT_LAST;
	return facts;
}

static uint32_t facts_of(const struct managed *m)
{
	bool data = etcd_child_has_data(m->child), running = etcd_child_pid(m->child) != 0;
	const struct {
		bool is;
		uint32_t fact;
	} all[] = {
		{ data, FACT_DATA },
		{ data && !running && life_read(etcd_child_data(m->child)) < m->id.life, FACT_OLD },
		{ m->id.started, FACT_STARTED },
		{ m->id.etcd_id != 0, FACT_ADMITTED },
		{ running, FACT_RUNNING },
		{ m->ready, FACT_READY },
		{ m->id.endpoints[0] != '\0', FACT_OTHERS },
		{ m->id.peer[0] && strcmp(m->peer, m->id.peer) != 0, FACT_MOVED },
		{ m->failed, FACT_FAILED },
		{ m->options.join_url != NULL, FACT_JOIN },
		{ m->leave, FACT_LEAVE },
		{ m->serving, FACT_SERVING },
		{ m->removed, FACT_REMOVED },
		{ data && m->id.state == IDENTITY_NONE && managed_accepted(m), FACT_ACCEPTED },
	};
	uint32_t facts = state_fact(m) | list_facts(m);

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		facts |= all[i].is ? all[i].fact : 0;
	return facts;
}

/* ------------------------------------------------------------------------- loop */

static bool is_busy(const struct managed *m)
{
	return cluster_is_busy(&m->ask) || cluster_is_busy(&m->join) || managed_now(m) < m->not_before;
}

static void look(struct managed *m)
{
	for (int i = 0; i < STEPS_AT_ONCE && !m->over && !is_busy(m); i++) {
		enum step step;

		if (!m->chosen && !etcd_child_pid(m->child) && !managed_choose(m))
			return;
		step = step_next(facts_of(m));
		if (step != m->step)
			log_debug("managed etcd goes on", "step=%s", LOG_STR(step_name(step)));
		m->step = step;
		if (!managed_do(m, step))
			return;
	}
}

void managed_look(struct managed *m)
{
	if (!m->closing && !m->over)
		look(m);
}

/* One of the others, each in its turn. */
static void ask_status(struct managed *m)
{
	const struct cluster_member *member;

	if (!m->list.n || cluster_is_busy(&m->status))
		return;
	member = &m->list.member[m->turn++ % m->list.n];
	m->asked = member->id;
	if (member->client[0] && member->id != m->id.etcd_id)
		(void)cluster_status(&m->status, member->client, STATUS_MS); /* else in the next round */
}

static struct managed_seen *seen_of(struct managed *m, uint64_t id)
{
	struct managed_seen *free_place = NULL;

	for (size_t i = 0; i < CLUSTER_MAX; i++) {
		if (m->seen[i].id == id)
			return &m->seen[i];
		if (!m->seen[i].id || !cluster_by_id(&m->list, m->seen[i].id))
			free_place = &m->seen[i];
	}
	if (free_place)
		*free_place = (struct managed_seen){ .id = id };
	return free_place;
}

/* Of the one that was asked; it may have left meanwhile, and nobody else is silent for that. */
static void on_status(void *ctx, struct cluster_ask *ask)
{
	struct managed *m = ctx;
	struct managed_seen *seen = cluster_by_id(&m->list, m->asked) ? seen_of(m, m->asked) : NULL;

	if (!seen || (ask->status == 200 && cluster_answered(ask) != m->asked))
		return;
	if (ask->status == 200)
		seen->silent_since = 0;
	else if (!seen->silent_since)
		seen->silent_since = managed_now(m);
}

/* In peace: what is to be done now and then. */
static void keep(struct managed *m)
{
	const char *url = managed_url(m);

	etcd_child_rotate(m->child);
	if (m->serving && m->step == STEP_WAIT && url[0] && !cluster_is_busy(&m->ask))
		(void)cluster_list(&m->ask, url); /* else the next time */
}

static void close_work(struct managed *m);

static void on_timer(uv_timer_t *timer)
{
	struct managed *m = timer->data;
	uint64_t now = managed_now(m);

	if (m->closing) {
		close_work(m);
		return;
	}
	if (m->over)
		return;
	look(m);
	if (!m->over && m->serving)
		ask_status(m);
	if (!m->over && now >= m->refresh_at) {
		m->refresh_at = now + REFRESH_MS;
		keep(m);
	}
}

/* -------------------------------------------------------------- what is learnt */

static void warn_even(struct managed *m)
{
	size_t voters = cluster_voters(&m->list);

	if (voters == m->told_voters)
		return;
	m->told_voters = voters;
	if (voters % 2 == 0)
		log_warn("even number of etcd members", "members=%zu advice=%s", voters,
			 LOG_STR("one more, or one less, bears as many failures"));
}

/* A full disk keeps the older ones: they are written with whatever is written next. */
static bool save_endpoints(struct managed *m)
{
	struct err err = { 0 };
	int rc = identity_save(m->file, &m->id, &err);

	if (rc < 0 && !managed_no_room(rc))
		managed_fail(m, "%s", err.text);
	return !m->over;
}

void managed_take_list(struct managed *m, const struct cluster_list *list)
{
	struct buf text;

	if (m->id.cluster_id && list->cluster != m->id.cluster_id) {
		managed_fail(m, "etcd at %s is of another cluster: give the right addresses", managed_url(m));
		return;
	}
	m->list = *list;
	m->known = true;
	m->unheard = 0;
	if (m->id.state != IDENTITY_MEMBER && m->id.state != IDENTITY_CLIENT)
		return;
	warn_even(m);
	buf_init(&text, ETCD_TEXT_SIZE - 1);
	if (cluster_endpoints(&text, list, m->id.etcd_id) == 0 && strcmp(buf_str(&text), m->id.endpoints) != 0 &&
	    (text.len || m->id.state == IDENTITY_MEMBER)) {
		(void)snprintf(m->id.endpoints, sizeof(m->id.endpoints), "%s", buf_str(&text));
		if (save_endpoints(m) && m->serving)
			m->calls.endpoints(m->calls.ctx);
	}
	buf_fini(&text);
}

bool managed_save(struct managed *m)
{
	struct err err = { 0 };

	if (identity_save(m->file, &m->id, &err) == 0)
		return true;
	managed_fail(m, "%s", err.text);
	return false;
}

void managed_fail(struct managed *m, const char *fmt, ...)
{
	char why[512];
	va_list args;

	if (m->over)
		return;
	m->over = true;
	va_start(args, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	m->calls.failed(m->calls.ctx, why);
}

static void on_child_ended(void *ctx, int status)
{
	struct managed *m = ctx;
	uint64_t now = managed_now(m);
	char words[256];

	m->ready = m->known = m->chosen = false;
	m->unheard = 0;
	if (m->closing || m->step == STEP_END)
		return;
	m->failed = true;
	m->failures = m->started_at && now - m->started_at < LIVED_MS ? m->failures + 1 : 0;
	m->not_before = now + (BACKOFF_MS << (m->failures < BACKOFF_DOUBLED ? m->failures : BACKOFF_DOUBLED));
	etcd_child_last_words(m->child, words, sizeof(words));
	log_warn("etcd ended", "status=%d signal=%d failures=%u again_ms=%" PRIu64 " words=%s",
		 status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1,
		 status >= 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0, m->failures, m->not_before - now,
		 LOG_STR(words));
}

/* ------------------------------------------------------------------------ queries */

const struct identity *managed_identity(const struct managed *managed)
{
	return &managed->id;
}

const struct cluster_list *managed_members(const struct managed *managed)
{
	return &managed->list;
}

struct http_multi *managed_http(const struct managed *managed)
{
	return managed->http;
}

const char *managed_other(const struct managed *m)
{
	const char *url = m->id.endpoints;
	unsigned n = 1;

	for (const char *at = url; *at; at++)
		n += *at == ',';
	for (unsigned i = m->other % n; i; i--)
		url = strchr(url, ',') + 1;
	return url;
}

const char *managed_url(const struct managed *managed)
{
	return managed->ready ? managed->client : managed_other(managed);
}

size_t managed_endpoints(const struct managed *managed, char text[ETCD_TEXT_SIZE], const char **urls, size_t max)
{
	char *save = NULL;
	size_t n = 0;

	(void)snprintf(text, ETCD_TEXT_SIZE, "%s", managed->id.endpoints);
	if (managed->id.state == IDENTITY_MEMBER && max)
		urls[n++] = managed->client;
	for (char *url = strtok_r(text, ",", &save); url && n < max; url = strtok_r(NULL, ",", &save))
		urls[n++] = url;
	return n;
}

uint64_t managed_silent_since(const struct managed *managed, uint64_t etcd_id)
{
	for (size_t i = 0; i < CLUSTER_MAX; i++)
		if (managed->seen[i].id == etcd_id)
			return managed->seen[i].silent_since;
	return 0;
}

/* Does another one answer besides it, or is there none?  Else it may be we who cannot be reached. */
static bool sees_others(const struct managed *managed, uint64_t gone)
{
	bool others = false;

	for (size_t i = 0; i < managed->list.n; i++) {
		const struct cluster_member *m = &managed->list.member[i];

		if (m->id == gone || m->id == managed->id.etcd_id || m->learner)
			continue;
		others = true;
		if (!managed_silent_since(managed, m->id))
			return true;
	}
	return !others;
}

uint64_t managed_gone(const struct managed *managed)
{
	uint64_t after = (uint64_t)managed->options.replace_after_ms, now = managed_now(managed);

	for (size_t i = 0; after && i < managed->list.n; i++) {
		uint64_t since = managed_silent_since(managed, managed->list.member[i].id);

		if (since && now - since >= after && sees_others(managed, managed->list.member[i].id))
			return managed->list.member[i].id;
	}
	return 0;
}

bool managed_may_leave(const struct managed *managed, const char **ret_why)
{
	*ret_why = "";
	if (managed->id.state == IDENTITY_CLIENT)
		return true;
	*ret_why = step_refusal(STEP_REFUSE_LAST);
	if (managed->id.state != IDENTITY_MEMBER)
		return false;
	/* Right after a start the list is that of the identity. */
	return managed->list.n ? cluster_voters(&managed->list) > 1 : managed->id.endpoints[0] != '\0';
}

/* --------------------------------------------------------------------- life cycle */

static void destroy(struct managed *m)
{
	void (*closed)(void *) = m->closed;
	void *ctx = m->closed_ctx;

	cluster_ask_fini(&m->ask);
	cluster_ask_fini(&m->join);
	cluster_ask_fini(&m->status);
	explicit_bzero(m->id.token, sizeof(m->id.token));
	free(m->help);
	if (m->lock >= 0)
		(void)close(m->lock); /* nothing was written to it */
	free(m);
	if (closed)
		closed(ctx);
}

static void on_part_closed(void *ctx)
{
	struct managed *m = ctx;

	if (--m->handles == 0)
		destroy(m);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

/* All that there is: opening may have failed halfway. */
static void close_parts(struct managed *m)
{
	m->handles = 1;
	m->handles += m->child != NULL;
	m->handles += m->http != NULL;
	m->handles += m->join_http != NULL;
	uv_close((uv_handle_t *)&m->timer, on_timer_closed);
	if (m->child)
		etcd_child_free(m->child, on_part_closed, m);
	if (m->http)
		http_multi_close(m->http, on_part_closed, m);
	if (m->join_http)
		http_multi_close(m->join_http, on_part_closed, m);
}

/* Waits for the end of etcd. */
static void close_work(struct managed *m)
{
	if (m->handles)
		return;
	if (m->kill_at && etcd_child_pid(m->child)) {
		if (managed_now(m) >= m->kill_at)
			(void)etcd_child_kill(m->child, SIGKILL); /* looked at again in the next round */
		return;
	}
	close_parts(m);
}

void managed_close(struct managed *managed, bool end, void (*closed)(void *ctx), void *ctx)
{
	managed->closing = true;
	managed->closed = closed;
	managed->closed_ctx = ctx;
	http_task_cancel(managed->ask.post);
	http_task_cancel(managed->join.post);
	http_task_cancel(managed->status.post);
	managed->ask.post = managed->join.post = managed->status.post = NULL;
	if (end && etcd_child_kill(managed->child, SIGTERM))
		managed->kill_at = managed_now(managed) + TERM_MS;
	uv_timer_start(&managed->timer, on_timer, 0, MANAGED_TICK_MS / 5);
}

void managed_leave(struct managed *managed)
{
	managed->leave = true;
	managed->known = false;
	managed->unheard = 0;
	managed_look(managed);
}

/* One process a directory: two would fight for the etcd. */
static int lock_directory(struct managed *m, struct err *err)
{
	char path[MANAGED_PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/managed.lock", m->options.dir);
	m->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->lock < 0)
		return err_sys(err, errno, path);
	if (flock(m->lock, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(err, -EBUSY, "another mp-aggregator uses %s", m->options.dir) :
					      err_sys(err, errno, path);
	return 0;
}

static int open_connections(struct managed *m, struct err *err)
{
	const struct managed_options *o = &m->options;
	const struct http_multi_options own = { .ca = o->ca, .cert = o->cert, .key = o->key, .connect_ms = CONNECT_MS,
						.kept = KEPT };
	const struct http_multi_options join = { .ca = o->join_ca, .cert = o->join_cert, .key = o->join_key,
						 .connect_ms = CONNECT_MS, .kept = 1 };
	int rc = http_multi_open(o->loop, &own, &m->http, err);

	if (rc == 0)
		rc = http_multi_open(o->loop, &join, &m->join_http, err);
	return rc;
}

/* Who it was, and what etcd it has. */
static int find_out(struct managed *m, struct err *err)
{
	const char *given = m->options.member;
	int rc = identity_load(m->file, &m->id, err);

	if (rc)
		return rc;
	if (given && m->id.state != IDENTITY_NONE && strcmp(given, m->id.member) != 0)
		return err_set(err, -EINVAL, "--member says %s, but %s is %s's", given, m->options.dir, m->id.member);
	rc = etcd_child_ask(m->options.program, "--help", m->help, MANAGED_HELP_SIZE, err);
	if (rc)
		return err_wrap(err, rc, "etcd (Debian package etcd-server; --etcd-program)");
	if (!strstr(m->help, "--initial-cluster-state"))
		return err_set(err, -EINVAL, "%s is no etcd", m->options.program);
	rc = etcd_child_adopt(m->child, err);
	if (rc == 1)
		log_info("etcd was adopted", "pid=%d", (int)etcd_child_pid(m->child));
	return rc < 0 ? rc : 0;
}

static void adopted_addresses(struct managed *m)
{
	if (!etcd_child_pid(m->child))
		return;
	(void)snprintf(m->peer, sizeof(m->peer), "%s", m->id.peer);
	(void)snprintf(m->client, sizeof(m->client), "%s", m->id.client);
	m->chosen = true;
}

int managed_check_certificate(const struct managed *m, struct err *err)
{
	const struct managed_options *o = &m->options;
	struct tls_set *set = NULL;
	int rc = o->cert ? tls_load(o->cert, o->key, o->ca, &set, err) : 0;

	if (set)
		rc = tls_set_check(set, o->cert, o->ca, err);
	tls_set_free(set);
	return rc;
}

/* With a certificate that no peer takes it would join, and be in everybody's way. */
static int prepare(struct managed *m, struct err *err)
{
	int rc = lock_directory(m, err);

	m->help = malloc(MANAGED_HELP_SIZE);
	m->child = etcd_child_new(m->options.loop, m->options.dir, on_child_ended, m);
	if (!m->help || !m->child)
		return err_set(err, -ENOMEM, "out of memory, or %s is too long", m->options.dir);
	if (rc == 0)
		rc = managed_check_certificate(m, err);
	return rc ? rc : find_out(m, err);
}

int managed_open(const struct managed_options *options, const struct managed_calls *calls,
		 struct managed **ret, struct err *err)
{
	struct managed *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	m->options = *options;
	m->calls = *calls;
	m->lock = -1;
	m->leave = options->leave;
	(void)snprintf(m->file, sizeof(m->file), "%s/managed.json", options->dir);
	uv_timer_init(options->loop, &m->timer); /* cannot fail */
	m->timer.data = m;
	rc = prepare(m, err);
	if (rc == 0)
		rc = open_connections(m, err);
	if (rc) {
		close_parts(m);
		return rc;
	}
	cluster_ask_init(&m->ask, m->http, managed_answered, m);
	cluster_ask_init(&m->join, m->join_http, managed_answered, m);
	cluster_ask_init(&m->status, m->http, on_status, m);
	adopted_addresses(m);
	uv_timer_start(&m->timer, on_timer, 0, MANAGED_TICK_MS);
	*ret = m;
	return 0;
}
