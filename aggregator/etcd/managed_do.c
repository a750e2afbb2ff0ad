/* SPDX-License-Identifier: Apache-2.0 */
/* What each step of managed etcd does; see managed.h. */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "aggregator/etcd/flags.h"
#include "aggregator/etcd/life.h"
#include "aggregator/etcd/managed_priv.h"
#include "aggregator/etcd/ports.h"
#include "lib/address.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/json_text.h"
#include "lib/log.h"
#include "lib/slice.h"

#define PROBE_MS 1000       /* for a linearizable read of our own etcd */
#define JOIN_MS 30000       /* for the answer of who lets us in: etcd takes 7 s for a change */
#define AGAIN_MS 500        /* until somebody is asked again */
#define SYNC_MS 200         /* likewise whether our learner has caught up */
#define TREE_FDS 16

/* ------------------------------------------------------------------ little helpers */

static void draw_hex(char *out, size_t bytes)
{
	uint8_t chance[16] = { 0 };

	while (getrandom(chance, bytes, 0) != (ssize_t)bytes)
		;
	hex_encode(out, chance, bytes);
	out[2 * bytes] = '\0';
}

static void set_text(char *out, size_t size, const char *text)
{
	(void)snprintf(out, size, "%s", text); /* bounded by who read it */
}

static void later(struct managed *m, uint64_t ms)
{
	m->not_before = managed_now(m) + ms;
}

/* Who is asked about members. */
static const char *asked_url(const struct managed *m)
{
	return m->id.endpoints[0] ? managed_other(m) : m->client;
}

/* A request that was begun, or not. */
static bool sent(struct managed *m, bool begun)
{
	if (!begun)
		later(m, AGAIN_MS);
	return false;
}

/* -------------------------------------------------------------------- identities */

static void new_identity(struct managed *m, enum identity_state state)
{
	uint64_t replaces = m->id.etcd_id;
	char member[sizeof(m->id.member)];

	set_text(member, sizeof(member), m->id.member);
	if (!member[0] && m->options.member)
		set_text(member, sizeof(member), m->options.member);
	if (!member[0])
		draw_hex(member, 8);
	m->id = (struct identity){ .state = state, .replaces = replaces };
	set_text(m->id.member, sizeof(m->id.member), member);
	draw_hex(m->id.nonce, 8);
	set_text(m->id.peer, sizeof(m->id.peer), m->peer);
	set_text(m->id.client, sizeof(m->id.client), m->client);
	m->known = m->failed = false;
}

static bool begin_group(struct managed *m)
{
	new_identity(m, IDENTITY_BOOTSTRAPPING);
	m->id.replaces = 0;
	m->id.restored = m->step == STEP_BEGIN_RESTORED;
	draw_hex(m->id.group, 16);
	return managed_save(m);
}

/* What the user says now counts, as long as nobody has let us in. */
static bool take_join_options(struct managed *m)
{
	const struct managed_options *o = &m->options;

	if (o->join_url)
		set_text(m->id.join_url, sizeof(m->id.join_url), o->join_url);
	if (o->join_token)
		set_text(m->id.token, sizeof(m->id.token), o->join_token);
	if (m->id.join_url[0] && m->id.token[0])
		return true;
	managed_fail(m, "to join a group takes --join URL and --join-token T (POST /v1/members/token of one that "
			"is in it)");
	return false;
}

static bool begin_join(struct managed *m)
{
	const char *token = m->options.join_token;

	if (!token) {
		managed_fail(m, "there is no identity in %s: --join takes --join-token T (POST /v1/members/token of a "
				"member)", m->options.dir);
		return false;
	}
	if (strlen(m->options.join_url) >= ETCD_URL_SIZE || strlen(token) >= ETCD_TOKEN_SIZE) {
		managed_fail(m, "--join or --join-token is too long to be one");
		return false;
	}
	new_identity(m, IDENTITY_JOINING);
	return take_join_options(m) && managed_save(m);
}

/* Not again under that etcd id: the token lets this nonce in again. */
static bool forget(struct managed *m)
{
	m->id.replaces = m->id.etcd_id;
	m->id.etcd_id = 0;
	m->id.started = false;
	m->known = m->failed = false;
	return managed_save(m);
}

static bool become_member(struct managed *m)
{
	if (m->id.state == IDENTITY_BOOTSTRAPPING) {
		m->id.etcd_id = m->list.answered;
		m->id.cluster_id = m->list.cluster;
		managed_take_peer(m);
	}
	m->id.state = IDENTITY_MEMBER;
	m->id.replaces = 0;
	m->id.initial[0] = m->id.join_url[0] = m->id.token[0] = '\0';
	m->failed = false;
	if (!managed_save(m))
		return false;
	log_info("etcd takes part", "group=%s member=%s etcd=%016" PRIx64, m->id.group, m->id.member, m->id.etcd_id);
	return true;
}

static bool begin_leave(struct managed *m)
{
	m->id.state = IDENTITY_LEAVING;
	m->leave_until = 0;
	return managed_save(m);
}

/* ---------------------------------------------------------------------- the child */

static int initial_of(const struct managed *m, struct buf *out)
{
	if (m->id.state == IDENTITY_JOINING && m->known)
		return cluster_initial(out, &m->list, m->id.etcd_id, m->id.member);
	if (m->id.state == IDENTITY_JOINING)
		return buf_add_str(out, m->id.initial);
	return buf_printf(out, "%s=%s", m->id.member, m->peer);
}

static int listen_urls(const struct managed *m, char peer[ETCD_URL_SIZE], char client[ETCD_URL_SIZE])
{
	bool tls = m->options.cert != NULL;
	char address[ADDRESS_SIZE];
	const char *bind;

	if (!etcd_url_address(m->peer, address, sizeof(address)))
		return -EINVAL;
	bind = etcd_bind_address(address);
	return etcd_url(peer, ETCD_URL_SIZE, tls, bind, etcd_url_port(m->peer)) &&
	       etcd_url(client, ETCD_URL_SIZE, tls, bind, etcd_url_port(m->client)) ? 0 : -EINVAL;
}

static int run_etcd(struct managed *m, bool fresh, struct err *err)
{
	const struct managed_options *o = &m->options;
	char peer[ETCD_URL_SIZE], client[ETCD_URL_SIZE];
	struct etcd_start start = { .program = o->program, .help = m->help, .name = m->id.member,
				    .dir = etcd_child_data(m->child), .group = m->id.group, .listen_peer = peer,
				    .listen_client = client, .peer = m->peer, .client = m->client, .fresh = fresh,
				    .force = m->id.restored, .quota = o->quota, .ca = o->ca, .cert = o->cert, .key = o->key };
	struct etcd_args args;
	struct buf initial;
	int rc = listen_urls(m, peer, client);

	buf_init(&initial, ETCD_TEXT_SIZE * 2);
	if (rc == 0)
		rc = initial_of(m, &initial);
	start.initial = buf_str(&initial);
	if (rc == 0) {
		rc = etcd_args_make(&args, &start);
		if (rc == 0)
			rc = etcd_child_start(m->child, args.argv, err);
		etcd_args_fini(&args);
	}
	buf_fini(&initial);
	return rc && !err->text[0] ? err_sys(err, rc, o->program) : rc;
}

/* Whom its doors are open to, or shut. */
static void warn_of_doors(const struct managed *m)
{
	char address[ADDRESS_SIZE] = "";
	struct err err = { 0 };

	if (managed_check_certificate(m, &err) < 0)
		log_warn("peers of etcd will not take its certificate", "why=%s", LOG_STR(err.text));
	if (!m->options.ca && etcd_url_address(m->peer, address, sizeof(address)) && !address_is_loopback(address))
		log_warn("whoever reaches etcd may do everything there", "address=%s advice=%s", LOG_STR(address),
			 LOG_STR("--etcd-ca with --etcd-cert and --etcd-key"));
}

/* A directory that others count on begins another life: first there, then in the identity. */
static int begin_life(struct managed *m, struct err *err)
{
	const char *dir = etcd_child_data(m->child);
	uint64_t life = life_read(dir) + 1;
	int rc = m->id.state == IDENTITY_MEMBER ? life_write(dir, life, err) : 0;

	if (rc == 0 && m->id.state == IDENTITY_MEMBER)
		m->id.life = life;
	return rc;
}

/* A member waits for its disk: it serves by the others' etcd meanwhile.  Whoever is none yet can wait for nobody. */
static bool not_written(struct managed *m, int rc, const struct err *err)
{
	if (m->id.state != IDENTITY_MEMBER || !managed_no_room(rc)) {
		managed_fail(m, "%s", err->text);
		return false;
	}
	if (!m->waits_for_room)
		log_warn("etcd is not started until the disk takes writes", "why=%s advice=%s", LOG_STR(err->text),
			 LOG_STR("make room on the disk, or mount it for writing again"));
	m->waits_for_room = true;
	later(m, AGAIN_MS);
	return false;
}

static bool start_etcd(struct managed *m, bool fresh)
{
	bool client_moved = strcmp(m->id.client, m->client) != 0;
	struct err err = { 0 };
	int rc;

	/* A fresh one has told nobody its address yet. */
	if (fresh && strcmp(m->id.peer, m->peer) != 0) {
		set_text(m->id.peer, sizeof(m->id.peer), m->peer);
		client_moved = true;
	}
	rc = begin_life(m, &err);
	if (rc == 0 && (!m->id.started || client_moved || m->id.state == IDENTITY_MEMBER)) {
		m->id.started = true;
		set_text(m->id.client, sizeof(m->id.client), m->client);
		rc = identity_save(m->file, &m->id, &err);
	}
	if (rc < 0)
		return not_written(m, rc, &err);
	m->waits_for_room = false;
	m->ready = false;
	if (run_etcd(m, fresh, &err) < 0) {
		managed_fail(m, "etcd cannot be started: %s", err.text);
		return false;
	}
	m->started_at = managed_now(m);
	warn_of_doors(m);
	log_info("etcd started", "pid=%d fresh=%d peer=%s client=%s", (int)etcd_child_pid(m->child), fresh, m->peer,
		 m->client);
	if (m->serving)
		m->calls.endpoints(m->calls.ctx);
	later(m, MANAGED_TICK_MS);
	return false;
}

static bool do_start_new(struct managed *m)
{
	return start_etcd(m, true);
}

static bool do_start(struct managed *m)
{
	return start_etcd(m, false);
}

static bool do_end(struct managed *m)
{
	/* Nothing that it has is wanted any more; ended() follows. */
	(void)etcd_child_kill(m->child, m->id.state == IDENTITY_NONE ? SIGKILL : SIGTERM);
	if (m->leave_until && managed_now(m) > m->leave_until)
		(void)etcd_child_kill(m->child, SIGKILL);
	later(m, AGAIN_MS);
	return false;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

/* The identity goes last: until then it says that it leaves. */
static bool do_clean(struct managed *m)
{
	char path[MANAGED_PATH_SIZE];

	if (nftw(etcd_child_data(m->child), remove_one, TREE_FDS, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT) {
		managed_fail(m, "%s: %s", etcd_child_data(m->child), strerror(errno));
		return false;
	}
	(void)snprintf(path, sizeof(path), "%s/etcd.pid", m->options.dir);
	(void)unlink(path); /* it may not be there */
	if (unlink(m->file) < 0 && errno != ENOENT) {
		managed_fail(m, "%s: %s", m->file, strerror(errno));
		return false;
	}
	m->over = true;
	m->calls.left(m->calls.ctx);
	return false;
}

/* ------------------------------------------------------------------- what is asked */

static bool do_ask(struct managed *m)
{
	struct buf *body = &m->join.body;

	if (!take_join_options(m))
		return false;
	if (strcmp(m->id.peer, m->peer) != 0 || strcmp(m->id.client, m->client) != 0) {
		set_text(m->id.peer, sizeof(m->id.peer), m->peer);
		set_text(m->id.client, sizeof(m->id.client), m->client);
		if (!managed_save(m))
			return false;
	}
	buf_reset(body);
	(void)buf_printf(body, "{\"format\":%d,\"token\":", META_FORMAT);
	(void)json_text_add(body, slice_of(m->id.token));
	(void)buf_printf(body, ",\"member\":\"%s\",\"nonce\":\"%s\",\"replaces\":\"%016" PRIx64 "\",\"peer\":", m->id.member,
			 m->id.nonce, m->id.replaces);
	(void)json_text_add(body, slice_of(m->id.peer));
	(void)buf_add_str(body, ",\"tenant\":");
	(void)json_text_add(body, slice_of(m->options.tenant));
	(void)buf_add_str(body, "}");
	return sent(m, cluster_send(&m->join, m->id.join_url, "/v1/members/join", JOIN_MS));
}

static bool do_probe(struct managed *m)
{
	return sent(m, cluster_probe(&m->ask, m->client, PROBE_MS));
}

static bool do_list(struct managed *m)
{
	return sent(m, cluster_list(&m->ask, asked_url(m)));
}

static bool do_promote(struct managed *m)
{
	return sent(m, cluster_promote(&m->ask, asked_url(m), m->id.etcd_id));
}

static bool do_update(struct managed *m)
{
	return sent(m, cluster_update(&m->ask, m->ready ? m->client : asked_url(m), m->id.etcd_id, m->peer));
}

static bool do_remove(struct managed *m)
{
	if (!m->leave_until)
		m->leave_until = managed_now(m) + MANAGED_LEAVE_MS;
	return sent(m, cluster_remove(&m->ask, asked_url(m), m->id.etcd_id));
}

static bool do_serve(struct managed *m)
{
	m->serving = true;
	m->calls.serve(m->calls.ctx);
	return true;
}

static bool do_wait(struct managed *m)
{
	(void)m;
	return false;
}

/* ------------------------------------------------------------------ what is answered */

static void take_admission(struct managed *m, const struct json_at *at, struct json_errs *errs)
{
	static const char *const roles[] = { "member", "client", NULL };
	struct { const char *name; char *to; size_t size; } texts[] = {
		{ "group", m->id.group, sizeof(m->id.group) },
		{ "initial", m->id.initial, sizeof(m->id.initial) },
		{ "endpoints", m->id.endpoints, sizeof(m->id.endpoints) },
	};
	const char *ids[] = { "0000000000000000", "0000000000000000" };
	int role = 0;

	json_get_choice(at, "role", JSON_REQUIRED, roles, &role, errs);
	json_get_str(at, "cluster_id", JSON_REQUIRED, &ids[0], errs);
	json_get_str(at, "etcd_id", JSON_REQUIRED, &ids[1], errs);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *text = "";

		json_get_str(at, texts[i].name, JSON_REQUIRED, &text, errs);
		if (strlen(text) >= texts[i].size)
			json_errs_add(errs, at, "%s is too long", texts[i].name);
		else
			set_text(texts[i].to, texts[i].size, text);
	}
	if (!hex_number(slice_of(ids[0]), 16, &m->id.cluster_id) || !hex_number(slice_of(ids[1]), 16, &m->id.etcd_id))
		json_errs_add(errs, at, "ids want 16 hex digits");
	m->id.state = role ? IDENTITY_CLIENT : IDENTITY_JOINING;
}

/* Let in, as a member or as a client of the five that there are. */
static void admitted(struct managed *m, struct cluster_ask *ask)
{
	CLEANUP_JSON json_t *value = NULL;
	const struct identity before = m->id;
	struct json_errs errs;
	struct err err = { 0 };
	int rc = json_load_text(buf_slice(&ask->answer), CLUSTER_ANSWER_MAX, 4, &value, &err);

	if (rc == 0) {
		struct json_at root = json_at_root(value);

		json_errs_init(&errs, 4);
		take_admission(m, &root, &errs);
		rc = json_errs_result(&errs, &err);
		json_errs_fini(&errs);
	}
	if (rc) {
		m->id = before;
		managed_fail(m, "%s gives no sensible answer to the wish to join: %s", m->id.join_url, err.text);
		return;
	}
	if (m->id.state == IDENTITY_CLIENT)
		m->id.token[0] = m->id.join_url[0] = m->id.replaces = 0;
	m->id.started = false;
	log_info("let in", "group=%s as=%s", m->id.group, identity_state_name(m->id.state));
	(void)managed_save(m); /* a failure ends it */
}

static void on_join(struct managed *m, struct cluster_ask *ask)
{
	if (ask->status == 200) {
		admitted(m, ask);
	} else if (ask->status >= 400 && ask->status < 500 && ask->status != 429) {
		managed_fail(m, "%s does not let this member join: %s", m->id.join_url, ask->why);
	} else {
		log_warn("not let in yet", "url=%s why=%s", LOG_STR(m->id.join_url), LOG_STR(ask->why));
		later(m, AGAIN_MS);
	}
}

/* Another one next time, and a while later. */
static void trouble(struct managed *m, const struct cluster_ask *ask)
{
	m->other++;
	log_warn("etcd was asked in vain", "step=%s why=%s", LOG_STR(step_name(m->step)), LOG_STR(ask->why));
	later(m, AGAIN_MS);
}

static void on_list(struct managed *m, struct cluster_ask *ask)
{
	struct cluster_list list;
	struct err err = { 0 };

	if (ask->word == CLUSTER_DONE && cluster_list_read(buf_slice(&ask->answer), &list, &err) == 0) {
		managed_take_list(m, &list);
		return;
	}
	m->unheard++;
	m->other++;
	log_debug("no list of etcd's members", "why=%s", LOG_STR(err.text[0] ? err.text : ask->why));
	if (m->step != STEP_WAIT)
		later(m, AGAIN_MS);
}

static void on_probe(struct managed *m, struct cluster_ask *ask)
{
	m->ready = ask->word == CLUSTER_DONE;
	if (m->ready)
		m->failed = false;
	else
		later(m, MANAGED_TICK_MS);
}

static void on_promote(struct managed *m, struct cluster_ask *ask)
{
	m->known = false; /* the list says what came of it */
	if (ask->word == CLUSTER_NOT_SYNCED || ask->word == CLUSTER_DONE || ask->word == CLUSTER_NO_LEARNER)
		later(m, ask->word == CLUSTER_NOT_SYNCED ? SYNC_MS : 0);
	else
		trouble(m, ask);
}

static void on_update(struct managed *m, struct cluster_ask *ask)
{
	if (ask->word != CLUSTER_DONE) {
		m->known = ask->word != CLUSTER_NO_MEMBER && m->known;
		trouble(m, ask);
		return;
	}
	log_info("peers know the new address", "peer=%s", m->peer);
	set_text(m->id.peer, sizeof(m->id.peer), m->peer);
	m->known = false;
	(void)managed_save(m); /* a failure ends it */
}

static void on_remove(struct managed *m, struct cluster_ask *ask)
{
	m->removed = ask->word == CLUSTER_DONE || ask->word == CLUSTER_NO_MEMBER;
	if (m->removed)
		return;
	trouble(m, ask);
	if (managed_now(m) > m->leave_until)
		managed_fail(m, "the group does not let this member go: %s", ask->why);
}

static const struct {
	bool (*begin)(struct managed *m);
	void (*answered)(struct managed *m, struct cluster_ask *ask);
} does[] = {
	[STEP_WAIT] = { do_wait, on_list }, /* the list is read anew now and then */
	[STEP_BEGIN_GROUP] = { begin_group, NULL },
	[STEP_BEGIN_RESTORED] = { begin_group, NULL },
	[STEP_BEGIN_JOIN] = { begin_join, NULL },
	[STEP_ASK] = { do_ask, on_join },
	[STEP_FORGET] = { forget, NULL },
	[STEP_START_NEW] = { do_start_new, NULL },
	[STEP_START] = { do_start, NULL },
	[STEP_PROBE] = { do_probe, on_probe },
	[STEP_LIST] = { do_list, on_list },
	[STEP_PROMOTE] = { do_promote, on_promote },
	[STEP_UPDATE] = { do_update, on_update },
	[STEP_BECOME_MEMBER] = { become_member, NULL },
	[STEP_SERVE] = { do_serve, NULL },
	[STEP_BEGIN_LEAVE] = { begin_leave, NULL },
	[STEP_REMOVE] = { do_remove, on_remove },
	[STEP_END] = { do_end, NULL },
	[STEP_CLEAN] = { do_clean, NULL },
};

bool managed_do(struct managed *m, enum step step)
{
	if (!step_refusal(step))
		return does[step].begin(m);
	managed_refuse(m, step);
	return false;
}

void managed_answered(void *ctx, struct cluster_ask *ask)
{
	struct managed *m = ctx;

	if (does[m->step].answered)
		does[m->step].answered(m, ask);
	managed_look(m);
}
